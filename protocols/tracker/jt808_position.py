"""Positions of JT/T 808: message 0200 and its kin, Jointech's 5501, transparent data F0 and FF. Both directions.

    0200   alarms u32 | status u32 | lat u32 1e-6 deg | lon u32 1e-6 deg | altitude i16 m | speed u16 0.1 km/h | course u16 deg
           | time BCD yymmddhhmmss, by the standard GMT+8 | items (see jt808_items)
    status bit 0 ignition, 1 fixed, 2 SOUTH, 3 WEST (magnitudes), 5 coordinates shifted by a plug-in (GCJ-02)

Source: JT/T 808-2013 8.18, JT/T 808-2019 8.12; Jointech as observed.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.tracker.fix import CellSeen, bcd_ms, civil_ms
from protocols.tracker.jt808_items import Items, read_items

ALARMS: dict[int, str] = {
    0: "sos", 1: "overspeed", 2: "fatigue", 3: "danger", 4: "fault_gnss", 5: "fault_antenna", 6: "fault_antenna", 7: "low_battery",
    8: "power_off", 9: "fault_display", 10: "fault_tts", 11: "fault_camera", 12: "fault_card", 13: "overspeed_warning",
    14: "fatigue_warning", 15: "vibration", 16: "tamper", 17: "tamper", 18: "low_battery", 19: "parking", 20: "fence", 21: "fence",
    22: "driving_time", 23: "off_route", 24: "fault_speed", 25: "fuel", 26: "stolen", 27: "ignition", 28: "moved", 29: "crash",
    30: "crash", 31: "door",
}  # fmt: skip
"""Word of each alarm bit: the standard's, and for 15-18 what personal terminals put there instead."""

_FIXED, _SOUTH, _WEST, _SHIFTED = 2, 4, 8, 32
_AMBIGUOUS = 1 << 16 | 1 << 20 | 1 << 21
"""Alarm bits whose word depends on the items."""
_BODY = struct.Struct(">IIIIhHH6s")
BODY_BYTES = 28
POSITIONS_LIMIT = 512


class Location(NamedTuple):
    """One position record.

    `alarms` are words of `ALARMS` and of the items, each once, SOS first. `lat`, `lon` signed degrees, None where the terminal
    has none; `out_of_range` tells that it sent an impossible one. `at_ms` None when its clock is unset. `stored`: recorded offline.
    """

    alarms: tuple[str, ...]
    status: int
    lat: float | None
    lon: float | None
    valid: bool
    shifted: bool
    altitude_m: int | None
    speed_kmh: float | None
    course_deg: int | None
    at_ms: int | None
    items: Items
    out_of_range: bool = False
    stored: bool = False


def read_location(body: bytes, *, offset_minutes: int = 480, follow_zone: bool = False, stored: bool = False) -> Location:
    """The location of a 0200 body. Raises RemoteProtocolError (TRUNCATED) below 28 bytes.

    `follow_zone`: a terminal that names its own time zone in an item is believed rather than `offset_minutes`.
    """
    if len(body) < BODY_BYTES:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a position of {BODY_BYTES} bytes expected, got {len(body)}", body)
    alarms, status, lat_raw, lon_raw, altitude, speed, course, time = _BODY.unpack_from(body)
    items = _lock_tail(body) if len(body) == BODY_BYTES + 18 and not _items_fit(body) else read_items(body, BODY_BYTES)
    if follow_zone and items.zone_minutes is not None:
        offset_minutes = items.zone_minutes
    lat, lon, bad = degrees(lat_raw, lon_raw, status)
    return Location(
        _alarm_words(alarms, items),
        status,
        lat,
        lon,
        bool(status & _FIXED),
        bool(status & _SHIFTED),
        altitude,
        speed / 10,
        course if course <= 360 else None,
        bcd_ms(time, offset_minutes=offset_minutes),
        items,
        bad,
        stored,
    )


def degrees(lat: int, lon: int, status: int) -> tuple[float | None, float | None, bool]:
    """Signed degrees of two magnitudes in 1e-6 degree, and whether they are impossible; 0,0 is no place."""
    if lat > 90_000_000 or lon > 180_000_000:
        return None, None, True
    if not lat and not lon:
        return None, None, False
    return (-lat if status & _SOUTH else lat) / 1e6, (-lon if status & _WEST else lon) / 1e6, False


def _alarm_words(bits: int, items: Items) -> tuple[str, ...]:
    if not items.alarms:
        if not bits:
            return ()
        if not bits & _AMBIGUOUS:
            return _plain_words(bits)
    words = [word for bit, word in ALARMS.items() if bits >> bit & 1 and not (bit == 16 and items.is_aovx)]
    if bits >> 16 & 1 and items.is_aovx:
        words.append("moved")
    fence = "fence_exit" if items.fence_side != 0 else "fence_entry"
    words = [fence if word == "fence" else word for word in words]
    return _sos_first(words + items.alarms)


@lru_cache(maxsize=256)
def _plain_words(bits: int) -> tuple[str, ...]:
    return _sos_first([word for bit, word in ALARMS.items() if bits >> bit & 1])


def _sos_first(words: list[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(words), key=lambda word: word != "sos"))


def _items_fit(body: bytes) -> bool:
    at = BODY_BYTES
    while at + 2 <= len(body):
        at += 2 + body[at + 1]
    return at == len(body)


def _lock_tail(body: bytes) -> Items:
    """18 bytes instead of items: reserved u32, mileage u32 km, battery u16 0.1 V, area u32, signal u8, reserved 3."""
    mileage, battery = struct.unpack_from(">IH", body, BODY_BYTES + 4)
    return Items(odometer_m=mileage * 1000, battery_mv=battery * 100, signal=body[BODY_BYTES + 14])


def read_batch(body: bytes, *, offset_minutes: int = 480, follow_zone: bool = False) -> tuple[list[Location], list[RemoteProtocolError]]:
    """The records of 0704: count u16, type u8 (1 = recorded offline), then length u16 and a 0200 body each.

    A bad record costs itself only; a length that runs past the end ends the list with a TRUNCATED error.
    """
    if len(body) < 3:
        raise RemoteProtocolError(Reason.TRUNCATED, f"count and type of a batch expected, got {len(body)} bytes", body)
    stored = body[2] == 1
    return _records(body, 3, 2, offset_minutes=offset_minutes, follow_zone=follow_zone, stored=stored)


def read_short_batch(
    body: bytes, *, offset_minutes: int = 480, follow_zone: bool = False
) -> tuple[list[Location], list[RemoteProtocolError]]:
    """The records of 0210: length u8 and a 0200 body each."""
    return _records(body, 0, 1, offset_minutes=offset_minutes, follow_zone=follow_zone, stored=False)


def _records(
    body: bytes, at: int, width: int, *, offset_minutes: int, follow_zone: bool, stored: bool
) -> tuple[list[Location], list[RemoteProtocolError]]:
    found: list[Location] = []
    faults: list[RemoteProtocolError] = []
    while at + width <= len(body) and len(found) + len(faults) < POSITIONS_LIMIT:
        size = int.from_bytes(body[at : at + width], "big")
        record = body[at + width : at + width + size]
        at += width + size
        try:
            if len(record) < size and size > BODY_BYTES:
                faults.append(RemoteProtocolError(Reason.TRUNCATED, f"a record of {size} bytes expected, got {len(record)}", record))
                if len(record) < BODY_BYTES:
                    continue
            found.append(read_location(record, offset_minutes=offset_minutes, follow_zone=follow_zone, stored=stored))
        except RemoteProtocolError as error:
            faults.append(error)
    return found, faults


class Jointech(NamedTuple):
    """A 5501 or 5502 position: `location` as for 0200; `product`, `state` and `alarm` words of the maker."""

    location: Location
    product: int
    state: int


_JOINTECH_ALARMS = {0: "overspeed", 1: "low_battery", 2: "vibration", 3: "low_battery", 5: "fence_entry", 6: "fence_exit"}


def read_jointech(body: bytes, *, stored: bool = False) -> Jointech:
    """The position of 5501 and (recorded out of coverage) 5502. Raises RemoteProtocolError. Times are UTC.

    ddmmyyhhmmss BCD | lat ddmmmmmm BCD 4 | lon dddmmmmm m BCD 4.5, flags nibble (1 fixed, 2 NORTH, 4 EAST) | knots BCD 1
    | course/2 u8 | signal u8 | satellites u8 | km u32 | battery u8 (%, AA/AB charging) | cid u32 | lac u16 | product u8
    | state u16 | alarm u16 | items id u8, length u8
    """
    if len(body) < 35:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a position of 35 bytes expected, got {len(body)}", body)
    text = body[:17].hex()
    digits = text[:29] + text[30:32]
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"BCD digits expected, got {text}", body)
    flags = int(text[29], 16)
    lat = int(text[12:14]) + int(text[14:20]) / 600000
    lon = int(text[20:23]) + int(text[23:29]) / 600000
    bad = lat > 90 or lon > 180
    placed = not bad and (lat != 0 or lon != 0)
    day, month, year, hour, minute, second = (int(text[i : i + 2]) for i in range(0, 12, 2))
    battery, cid, lac, product, state, alarm = struct.unpack_from(">BIHBHH", body, 22 + 1)
    items = Items(signal=body[17], satellites=body[18], odometer_m=struct.unpack_from(">I", body, 19)[0] * 1000)
    if battery <= 100:
        items.battery_percent = battery
    elif battery in {0xAA, 0xAB}:
        items.charging = True
    altitude, mcc, mnc = _jointech_items(body, items)
    if cid and lac:
        items.cells.append(CellSeen(mcc, mnc, lac, cid))
    names = {0: "low_battery"} if product in {1, 2} else _JOINTECH_ALARMS
    location = Location(
        tuple(dict.fromkeys(name for bit, name in names.items() if alarm >> bit & 1)),
        state,
        (lat if flags & 2 else -lat) if placed else None,
        (lon if flags & 4 else -lon) if placed else None,
        bool(flags & 1),
        False,
        altitude,
        int(text[30:32]) * 1.852,
        body[16] * 2 if body[16] <= 180 else None,
        civil_ms(year, month, day, hour, minute, second),
        items,
        bad,
        stored,
    )
    return Jointech(location, product, state)


def _jointech_items(body: bytes, items: Items) -> tuple[int | None, int | None, int | None]:
    """Altitude and network code out of the tail."""
    altitude = mcc = mnc = None
    at = 35
    while at + 2 <= len(body):
        kind, size = body[at], body[at + 1]
        value = body[at + 2 : at + 2 + size]
        at += 2 + size
        if len(value) < size:
            items.truncated = True
        elif kind == 0x02 and size == 2:
            altitude = struct.unpack(">h", value)[0]
        elif kind == 0x0A and size in {3, 4}:
            mcc, mnc = value[0] << 8 | value[1], int.from_bytes(value[2:], "big")
    return altitude, mcc, mnc


class Transparent(NamedTuple):
    """What a 0900 body tells: a location where it has one, `kind` its first byte, `text` where it is text."""

    kind: int
    location: Location | None = None
    text: str | None = None


_F0_EVENTS = {51: "acceleration", 52: "braking", 53: "cornering", 54: "lane_change", 56: "crash"}
_F0_ALARMS = {
    2: "power_cut",
    0x1A: "acceleration",
    0x1B: "braking",
    0x1C: "cornering",
    0x1D: "lane_change",
    0x1E: "lane_change",
    0x1F: "lane_change",
    0x23: "fatigue",
    0x25: "overspeed",
    0x26: "crash",
    0x27: "crash",
    0x28: "crash",
    0x31: "door",
    0x32: "door",
}


def read_transparent(body: bytes, *, offset_minutes: int = 480) -> Transparent:
    """A 0900 body of the kinds that tell a place or text. Raises RemoteProtocolError (UNSUPPORTED) on others."""
    if not body:
        raise RemoteProtocolError(Reason.TRUNCATED, "transparent data expected, got an empty body", body)
    kind = body[0]
    if kind in {0x40, 0x41}:
        # 40 has a length of two bytes in front of its text.
        counted = kind == 0x40 and int.from_bytes(body[1:3], "big") == len(body) - 3
        return Transparent(kind, None, body[3 if counted else 1 :].decode("ascii", "replace").strip("\x00 \r\n"))
    if kind == 0xFF and len(body) >= 21:
        lat, lon, altitude, speed, course = struct.unpack_from(">iihHH", body, 7)
        at_ms = bcd_ms(body[1:7], offset_minutes=offset_minutes)
        return Transparent(kind, _plain(lat, lon, 2, altitude, speed, course, at_ms))
    if kind in {0x53, 0x54} and len(body) >= 25:
        status, lat, lon, altitude, speed, course, time = struct.unpack_from(">IIIhHH6s", body, 1)
        return Transparent(kind, _plain(lat, lon, status, altitude, speed, course, bcd_ms(time, offset_minutes=offset_minutes)))
    if kind == 0xF0 and len(body) >= 10:
        return Transparent(kind, _vehicle_f0(body, offset_minutes))
    raise RemoteProtocolError(Reason.UNSUPPORTED, f"transparent data of kind {kind:02x} is not decoded", body)


def _plain(  # noqa: PLR0917 - the fields of one record in wire order
    lat: int, lon: int, status: int, altitude: int | None, speed: int | None, course: int | None, at_ms: int | None
) -> Location:
    status |= (_SOUTH if lat < 0 else 0) | (_WEST if lon < 0 else 0)
    north, east, bad = degrees(abs(lat), abs(lon), status)
    course = course if course is not None and course <= 360 else None
    kmh = None if speed is None else speed / 10
    fixed = bool(status & _FIXED)
    return Location((), status, north, east, fixed, bool(status & _SHIFTED), altitude, kmh, course, at_ms, Items(), bad)


def _vehicle_f0(body: bytes, offset_minutes: int) -> Location:
    """F0: time BCD 6, stored u8, vehicle u8, sub kind u8 and content; 1, 2 and 3 end in status, lat, lon; 15 is an event u32."""
    sub, at, alarms = body[9], 10, list[str]()
    if sub in {1, 3} and len(body) > 10:
        count, at = body[10], 11
        for _ in range(count):
            wide = 2 if sub == 1 else 1
            if at + wide + 1 > len(body):
                raise RemoteProtocolError(Reason.TRUNCATED, "an item of transparent data runs past the end", body)
            name = _F0_ALARMS.get(body[at]) if sub == 3 else None
            alarms += [name] if name else []
            at += wide + 1 + body[at + wide]
    elif sub == 0x15:
        name = _F0_EVENTS.get(int.from_bytes(body[10:14], "big")) if len(body) >= 14 else None
        alarms += [name] if name else []
    elif sub == 2:
        at = max(at, len(body) - 18)
    status = lat = lon = 0
    if sub in {1, 2, 3} and at + 12 <= len(body):
        status, lat, lon = struct.unpack_from(">III", body, at)
    location = _plain(lat, lon, status, None, None, None, bcd_ms(body[1:7], offset_minutes=offset_minutes))
    return location._replace(alarms=tuple(dict.fromkeys(alarms)), stored=body[7] > 0)


def encode_location(
    *,
    time: str,
    lat: float = 0.0,
    lon: float = 0.0,
    fixed: bool = True,
    alarms: int = 0,
    status: int = 0,
    altitude_m: int = 0,
    speed_kmh: float = 0.0,
    course_deg: int = 0,
    items: bytes = b"",
) -> bytes:
    """A 0200 body, as a terminal makes it. `time` is yymmddhhmmss in the terminal's zone; hemispheres and fix go into `status`.

    Raises LocalProtocolError when a value does not fit.
    """
    status |= (_FIXED if fixed else 0) | (_SOUTH if lat < 0 else 0) | (_WEST if lon < 0 else 0)
    if len(time) != 12 or not time.isdecimal():
        raise LocalProtocolError(f"a time yymmddhhmmss expected, got {time!r}")
    try:
        return (
            _BODY.pack(
                alarms,
                status,
                round(abs(lat) * 1e6),
                round(abs(lon) * 1e6),
                altitude_m,
                round(speed_kmh * 10),
                course_deg,
                bcd_encode(time),
            )
            + items
        )
    except struct.error as error:
        raise LocalProtocolError(f"position: {error}") from None


def encode_batch(records: list[bytes], *, stored: bool) -> bytes:
    """A 0704 body of 0200 bodies."""
    return struct.pack(">HB", len(records), int(stored)) + b"".join(struct.pack(">H", len(r)) + r for r in records)
