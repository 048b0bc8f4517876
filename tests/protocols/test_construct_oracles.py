"""Second opinions: the layouts of the documents written down once more with `construct`, against our hand-written decoders.

Each declaration was written from the document, not from our code; checksums are computed by other means (bit by bit, binascii).
Both must agree on random frames, in both directions.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from typing import Any

import construct as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.building import gbt26875, gbt26875_objects
from protocols.errors import Reject, RemoteProtocolError
from protocols.serial import hilink, micradar, tinyframe
from protocols.tracker import gt06, gt06_blocks, jt808, jt808_position, minifinder2

MANY = settings(max_examples=60, deadline=None)
BYTE, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
MOMENTS = st.integers(1262304000, 2145830400).map(lambda second: datetime.fromtimestamp(second, UTC))
BEIJING = timezone(timedelta(hours=8))


def total(data: bytes) -> int:
    return sum(data) % 256


def exclusive(data: bytes) -> int:
    return reduce(lambda a, b: a ^ b, data, 0)


def x25(data: bytes) -> int:
    """CRC-16/X-25 one bit at a time."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return register ^ 0xFFFF


def epoch_ms(moment: datetime, zone: Any = UTC) -> int:
    return int(moment.replace(tzinfo=zone).timestamp()) * 1000


def bcd(moment: datetime) -> bytes:
    return bytes.fromhex(f"{moment:%y%m%d%H%M%S}")


# MicRadar: R60ABD1 user manual, "communication protocol": header, control word, command word, length, data, sum, tail.
MICRADAR = c.Struct(
    "counted" / c.RawCopy(
        c.Struct(
            c.Const(b"\x53\x59"), "control" / c.Int8ub, "command" / c.Int8ub, "data" / c.PascalString(c.Int16ub, "latin-1"),
        )
    ),
    "sum" / c.Checksum(c.Int8ub, total, c.this.counted.data),
    c.Const(b"\x54\x43"),
)  # fmt: skip


@MANY
@given(st.integers(0, 255).filter(lambda ctrl: ctrl not in micradar.FORBIDDEN), BYTE, st.binary(max_size=micradar.LENGTH_CAP))
def test_micradar_frame(control: int, command: int, data: bytes) -> None:
    frame = micradar.encode(micradar.Message(control, command, data))
    assert frame == MICRADAR.build({"counted": {"value": {"control": control, "command": command, "data": data.decode("latin-1")}}})
    seen = MICRADAR.parse(frame).counted.value
    found = micradar.Connection().receive(frame)
    assert len(found) == 1
    if isinstance(found[0], micradar.Message):
        assert (found[0].ctrl, found[0].cmd, found[0].data) == (seen.control, seen.command, seen.data.encode("latin-1"))


# TinyFrame: HLK-LD6002 interface V1.2: SOF, id, length, type, header check, data, data check; checks are the inverted xor.
TINYFRAME = c.Struct(
    "head" / c.RawCopy(c.Struct(c.Const(b"\x01"), "id" / c.Int16ub, "length" / c.Int16ub, "type" / c.Int16ub)),
    "head_check" / c.Checksum(c.Int8ub, lambda data: exclusive(data) ^ 0xFF, c.this.head.data),
    "data" / c.RawCopy(c.Bytes(c.this.head.value.length)),
    "data_check" / c.If(c.this.head.value.length, c.Checksum(c.Int8ub, lambda data: exclusive(data) ^ 0xFF, c.this.data.data)),
)


@MANY
@given(U16, U16.filter(lambda kind: kind != 0x2110 and kind >> 8 != 0x30), st.binary(max_size=200))
def test_tinyframe_header(ident: int, kind: int, data: bytes) -> None:
    frame = tinyframe.encode(kind, data, id=ident)
    values = {"head": {"value": {"id": ident, "length": len(data), "type": kind}}, "data": {"data": data}}
    assert frame == TINYFRAME.build(values)
    verdict = tinyframe.judge(frame, 0)
    assert verdict == len(frame)
    seen = TINYFRAME.parse(frame)
    assert (seen.head.value.type, seen.data.value) == (kind, data)


@MANY
@given(st.floats(1, 5, width=32), st.floats(0.25, 1.5, width=32), st.integers(3, 30))
def test_tinyframe_parameters(height: float, threshold: float, sensitivity: int) -> None:
    layout = c.Struct("height" / c.Float32l, "threshold" / c.Float32l, "sensitivity" / c.Int32ul)
    data = layout.build({"height": height, "threshold": threshold, "sensitivity": sensitivity})
    values = tinyframe.decode(tinyframe.encode(tinyframe.PARAMETERS, data)).values
    found = sorted(value for value in values.values() if not isinstance(value, tuple | list))
    assert found == pytest.approx(sorted((height, threshold, sensitivity)), rel=1e-6)


# GB/T 26875.3-2011, 6.6.2 and 8.2.1.2.
CLOCK = c.Struct("second" / c.Byte, "minute" / c.Byte, "hour" / c.Byte, "day" / c.Byte, "month" / c.Byte, "year" / c.Byte)
FIRE_FRAME = c.Struct(
    c.Const(b"@@"),
    "counted" / c.RawCopy(
        c.Struct(
            "serial" / c.Int16ul, "major" / c.Byte, "user" / c.Byte, "clock" / CLOCK,
            "source" / c.BytesInteger(6, swapped=True), "dest" / c.BytesInteger(6, swapped=True),
            "length" / c.Rebuild(c.Int16ul, c.len_(c.this.unit)), "command" / c.Byte, "unit" / c.Bytes(c.this.length),
        )
    ),
    "sum" / c.Checksum(c.Byte, total, c.this.counted.data),
    c.Const(b"##"),
)  # fmt: skip
PART = c.Struct(
    "system" / c.Byte, "address" / c.Byte, "kind" / c.Byte, "loop" / c.Int32ul, "state" / c.Int16ul,
    "text" / c.Bytes(31), "clock" / CLOCK,
)  # fmt: skip


def clock(moment: datetime) -> dict[str, int]:
    return {"second": moment.second, "minute": moment.minute, "hour": moment.hour, "day": moment.day, "month": moment.month,
            "year": moment.year - 2000}  # fmt: skip


@MANY
@given(U16, BYTE, st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(1, 6), st.binary(max_size=300), MOMENTS)
def test_fire_frame(serial: int, user: int, source: int, dest: int, command: int, unit: bytes, moment: datetime) -> None:  # noqa: PLR0917
    values = {"serial": serial, "major": 1, "user": user, "clock": clock(moment), "source": source, "dest": dest, "command": command,
              "unit": unit}  # fmt: skip
    frame = FIRE_FRAME.build({"counted": {"value": values}})
    message = gbt26875.Message(serial, command, unit, f"{source:012x}", f"{dest:012x}", epoch_ms(moment), (1, user))
    assert gbt26875.decode(frame) == message
    assert gbt26875.encode(message) == frame
    assert gbt26875.cut(frame, 0).size == len(frame)


@MANY
@given(BYTE, BYTE, BYTE, U32, U16, st.sampled_from(["", "二楼走廊", "Room 201", "厨房 GAS"]), MOMENTS)
def test_state_of_a_part(system: int, address: int, kind: int, loop: int, state: int, text: str, moment: datetime) -> None:  # noqa: PLR0917
    values = {"system": system, "address": address, "kind": kind, "loop": loop, "state": state,
              "text": text.encode("gb18030").ljust(31, b"\0"), "clock": clock(moment)}  # fmt: skip
    unit = b"\x02\x01" + PART.build(values)
    part = gbt26875_objects.PartState(system, address, kind, loop, state, text, epoch_ms(moment))
    found = gbt26875_objects.decode_unit(unit)
    assert (found.objects, found.rejects) == ([part], [])
    assert gbt26875_objects.encode_unit([part]) == unit


# JT/T 808-2019, 4.4.3 (message header) and 8.12 (position report); bit structures count from the most significant bit.
ATTRIBUTES = c.BitStruct(
    "reserved" / c.BitsInteger(1), "versioned" / c.Flag, "packaged" / c.Flag, "encryption" / c.BitsInteger(3), "length" / c.BitsInteger(10)
)
TERMINAL_HEAD = c.Struct(
    "id" / c.Int16ub, "attributes" / ATTRIBUTES, "version" / c.If(c.this.attributes.versioned, c.Byte),
    "phone" / c.Bytes(lambda this: 10 if this.attributes.versioned else 6), "serial" / c.Int16ub,
    "package" / c.If(c.this.attributes.packaged, c.Struct("total" / c.Int16ub, "number" / c.Int16ub)),
    "body" / c.Bytes(c.this.attributes.length), "check" / c.Byte, c.Terminated,
)  # fmt: skip
POSITION = c.Struct(
    "alarms" / c.Int32ub, "status" / c.Int32ub, "lat" / c.Int32ub, "lon" / c.Int32ub, "altitude" / c.Int16sb, "speed" / c.Int16ub,
    "course" / c.Int16ub, "time" / c.Bytes(6),
    "items" / c.GreedyRange(c.Struct("id" / c.Byte, "value" / c.Prefixed(c.Byte, c.GreedyBytes))),
)  # fmt: skip


@MANY
@given(
    st.sampled_from([0x0002, 0x0102, 0x0200, 0x0704, 0x0900, 0x8300]), st.sampled_from([None, 1]), st.binary(min_size=10, max_size=10), U16,
    st.binary(max_size=300), st.one_of(st.none(), st.tuples(st.integers(1, 300), st.integers(1, 300))),
)  # fmt: skip
def test_terminal_header(  # noqa: PLR0917
    kind: int, version: int | None, phone: bytes, serial: int, body: bytes, package: tuple[int, int] | None
) -> None:
    phone = phone if version is not None else phone[:6]
    message = jt808.Message(kind, jt808.Header(phone, version), serial, body, package)
    frame = jt808.encode(message)
    assert frame[0] == frame[-1] == 0x7E and 0x7E not in frame[1:-1]
    content = frame[1:-1].replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")
    seen = TERMINAL_HEAD.parse(content)
    assert seen.check == exclusive(content[:-1])
    assert (seen.id, seen.phone, seen.serial, seen.body, seen.version) == (kind, phone, serial, body, version)
    assert (None if seen.package is None else (seen.package.total, seen.package.number)) == package
    (found,) = jt808.Connection().receive(frame)
    assert isinstance(found, jt808.Message)
    assert (found.id, found.header.phone, found.serial, found.body, found.package) == (kind, phone, serial, body, package)


@MANY
@given(U32, U32, st.integers(0, 90_000_000), st.integers(0, 180_000_000), st.integers(-500, 9000), U16, st.integers(0, 360), MOMENTS)
def test_terminal_position(  # noqa: PLR0917
    alarms: int, status: int, lat: int, lon: int, altitude: int, speed: int, course: int, moment: datetime
) -> None:
    values = {"alarms": alarms, "status": status, "lat": lat, "lon": lon, "altitude": altitude, "speed": speed, "course": course,
              "time": bcd(moment), "items": [{"id": 0x30, "value": b"\x1f"}, {"id": 0x31, "value": b"\x09"}]}  # fmt: skip
    found = jt808_position.read_location(POSITION.build(values))
    south, west, fixed = status >> 2 & 1, status >> 3 & 1, status >> 1 & 1
    assert found.at_ms == epoch_ms(moment, BEIJING)
    assert (found.valid, found.altitude_m, found.speed_kmh, found.course_deg) == (bool(fixed), altitude, speed / 10, course)
    if lat or lon:
        assert found.lat is not None and found.lon is not None
        assert round(found.lat * 1e6) == (-lat if south else lat) and round(found.lon * 1e6) == (-lon if west else lon)
    else:
        assert found.lat is None
    assert ("sos" in found.alarms) == bool(alarms & 1)
    assert found.items.satellites == 9


# GT06: Concox protocol 1.8, 4 (packet), 5.1.1 (login), 5.2.1 (GPS information).
PACKET = c.Struct(
    c.Const(b"\x78\x78"),
    "counted" / c.RawCopy(
        c.Struct(
            "length" / c.Rebuild(c.Byte, lambda this: len(this.content) + 5), "kind" / c.Byte, "content" / c.Bytes(c.this.length - 5),
            "serial" / c.Int16ub,
        )
    ),
    "crc" / c.Checksum(c.Int16ub, x25, c.this.counted.data),
    c.Const(b"\r\n"),
)  # fmt: skip
GPS = c.Struct(
    "date" / c.Array(6, c.Byte),
    "sizes" / c.BitStruct("length" / c.Nibble, "satellites" / c.Nibble),
    "lat" / c.Int32ub, "lon" / c.Int32ub, "speed" / c.Byte,
    "flags" / c.BitStruct(
        c.Padding(2), "differential" / c.Flag, "fixed" / c.Flag, "west" / c.Flag, "north" / c.Flag, "course" / c.BitsInteger(10)
    ),
)  # fmt: skip


@MANY
@given(st.from_regex(r"[0-9]{15}", fullmatch=True), U16, U16)
def test_gt06_login(imei: str, model: int, serial: int) -> None:
    content = gt06.write_login(imei, model=model)
    packet = gt06.Packet(gt06.LOGIN, content, serial)
    seen = PACKET.parse(gt06.encode(packet)).counted.value
    assert (seen.kind, seen.serial, seen.content[:8].hex(), int.from_bytes(seen.content[8:10], "big")) == (1, serial, "0" + imei, model)
    built = PACKET.build(
        {"counted": {"value": {"kind": 1, "content": bytes.fromhex("0" + imei) + model.to_bytes(2, "big"), "serial": serial}}}
    )
    (found,) = gt06.Connection().receive(built)
    assert isinstance(found, gt06.Packet) and found.serial == serial
    login = gt06.read_login(found.content)
    assert (login.imei, login.model) == (imei, model)


@MANY
@given(
    MOMENTS, st.integers(0, 15), st.integers(0, 90 * 1_800_000), st.integers(0, 180 * 1_800_000), BYTE, st.integers(0, 360), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_gt06_gps_block(  # noqa: PLR0917
    moment: datetime, satellites: int, lat: int, lon: int, speed: int, course: int, west: bool, north: bool, fixed: bool
) -> None:
    block = GPS.build(
        {
            "date": [moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute, moment.second],
            "sizes": {"length": 12, "satellites": satellites}, "lat": lat, "lon": lon, "speed": speed,
            "flags": {"differential": False, "fixed": fixed, "west": west, "north": north, "course": course},
        }
    )  # fmt: skip
    found = gt06_blocks.read_gps(block, 0, 480)
    assert (found.at_ms, found.valid, found.speed_kmh, found.course_deg, found.satellites) == (
        epoch_ms(moment, BEIJING), fixed, speed, course, satellites,
    )  # fmt: skip
    if lat or lon:
        assert found.lat is not None and found.lon is not None
        assert round(found.lat * 1_800_000) == (lat if north else -lat) and round(found.lon * 1_800_000) == (-lon if west else lon)


# LD2410: serial protocol V1.06, 2.3 (report frames).
LD2410 = c.Struct(
    c.Const(b"\xf4\xf3\xf2\xf1"),
    "data" / c.Prefixed(
        c.Int16ul,
        c.Struct(
            "kind" / c.Enum(c.Byte, engineering=1, basic=2), c.Const(b"\xaa"), "status" / c.Byte, "moving_cm" / c.Int16ul,
            "moving_energy" / c.Byte, "still_cm" / c.Int16ul, "still_energy" / c.Byte, "detection_cm" / c.Int16ul,
            "gates" / c.If(lambda this: this.kind == "engineering", c.Struct(
                "last_moving" / c.Byte, "last_still" / c.Byte, "moving" / c.Bytes(c.this.last_moving + 1),
                "still" / c.Bytes(c.this.last_still + 1), "light" / c.Byte, "pin" / c.Byte,
            )),
            c.Const(b"\x55"), "calibration" / c.Byte,
        ),
    ),
    c.Const(b"\xf8\xf7\xf6\xf5"),
)  # fmt: skip


@MANY
@given(st.integers(0, 3), U16, BYTE, U16, BYTE, U16, st.booleans(), st.binary(min_size=9, max_size=9), st.binary(min_size=9, max_size=9))
def test_ld2410_report(  # noqa: PLR0917
    status: int, moving: int, energy: int, still: int, still_energy: int, detection: int, engineering: bool, one: bytes, two: bytes
) -> None:
    gates = {"last_moving": 8, "last_still": 8, "moving": one, "still": two, "light": 77, "pin": 1} if engineering else None
    values = {"kind": "engineering" if engineering else "basic", "status": status, "moving_cm": moving, "moving_energy": energy,
              "still_cm": still, "still_energy": still_energy, "detection_cm": detection, "gates": gates, "calibration": 0}  # fmt: skip
    found = hilink.decode(LD2410.build({"data": values}))
    assert isinstance(found, hilink.Presence)
    assert found[:6] == (status, moving, energy, still, still_energy, detection)
    if engineering:
        assert (found.moving_gates, found.static_gates, found.light, found.out_pin) == (tuple(one), tuple(two), 77, 1)


# EV-07B: protocol v1.2, 2 (message format).
EVIEW = c.Struct(
    c.Const(b"\xab"),
    "flags" / c.BitStruct("encryption" / c.BitsInteger(2), "error" / c.Flag, "ack" / c.Flag, "version" / c.Nibble),
    "length" / c.Int16ul, "crc" / c.Int16ul, "sequence" / c.Int16ul,
    "body" / c.Bytes(c.this.length), c.Terminated,
)  # fmt: skip
EVIEW_BODY = c.Struct("command" / c.Byte, "items" / c.GreedyRange(c.Prefixed(c.Byte, c.Struct("key" / c.Byte, "value" / c.GreedyBytes))))


@MANY
@given(
    st.sampled_from(sorted(minifinder2.COMMANDS)),
    U16,
    st.booleans(),
    st.lists(st.tuples(BYTE, st.binary(max_size=40)), min_size=1, max_size=6),
)
def test_eview_header(command: int, sequence: int, ack: bool, items: list[tuple[int, bytes]]) -> None:
    body = EVIEW_BODY.build({"command": command, "items": [{"key": key, "value": value} for key, value in items]})
    flags = {"encryption": 0, "error": False, "ack": ack, "version": 0}
    head = {"flags": flags, "length": len(body), "crc": binascii.crc_hqx(body, 0), "sequence": sequence, "body": body}
    frame = EVIEW.build(head)
    (found,) = minifinder2.Connection().receive(frame)
    assert isinstance(found, minifinder2.Message)
    assert (found.command, found.sequence, found.wants_ack, found.items) == (command, sequence, ack, tuple(items))
    assert minifinder2.encode(found._replace(raw=b"")) == frame


@MANY
@given(st.binary(max_size=80))
def test_whatever_construct_refuses_we_refuse(data: bytes) -> None:
    """Behind a right start: a frame that its declaration cannot parse is none for us either."""
    frame = b"@@" + data
    try:
        FIRE_FRAME.parse(frame)
    except c.ConstructError:
        try:
            gbt26875.decode(frame)
        except RemoteProtocolError:
            return
        raise AssertionError("decoded although the declaration does not fit") from None
    assert not isinstance(gbt26875.decode(frame), Reject)
