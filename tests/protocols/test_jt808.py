"""JT/T 808 on the wire: framing, xor, headers, sub-packages, both directions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject
from protocols.tracker import jt808_bodies as bodies
from protocols.tracker.jt808 import (
    FRAME_LIMIT,
    Assembler,
    Connection,
    Header,
    Message,
    Missing,
    device_id,
    encode,
    escape,
    phone_bytes,
    split,
    unescape,
)
from protocols.tracker.jt808_items import encode_item, read_items
from protocols.tracker.jt808_position import encode_batch, encode_location, read_batch, read_location
from tests.shared import vectors

H = Header(bytes.fromhex("013912345678"))
HEADERS = [H, Header(phone_bytes("13912345678", version=1), 1), Header(bytes(6) + b"\x01", None, 0xE7)]


def essence(found: Message | Reject) -> object:
    return found._replace(raw=b"") if isinstance(found, Message) else found.reason


@settings(max_examples=60)
@given(
    st.sampled_from(HEADERS),
    st.integers(0, 0x7FFF).filter(lambda i: i not in {0x4401, 0x5501, 0x5502}),
    st.integers(0, 0xFFFF),
    st.binary(max_size=200),
)
def test_a_message_survives_the_wire(header: Header, kind: int, serial: int, body: bytes) -> None:
    if header.delimiter == 0xE7:
        kind = 0x0200
    message = Message(kind, header, serial, body)
    assert [essence(m) for m in Connection().receive(encode(message))] == [message]


@settings(max_examples=40)
@given(st.binary(max_size=300), st.sampled_from([0x7E, 0xE7]))
def test_escaping_is_undone_and_hides_the_delimiter(data: bytes, delimiter: int) -> None:
    escaped = escape(data, delimiter)
    assert delimiter not in escaped
    assert unescape(escaped, delimiter) == data


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_give_messages_or_refusals(data: bytes) -> None:
    connection = Connection()
    connection.receive(data)
    assert connection.buffered <= len(data)


def test_every_split_gives_the_same_messages() -> None:
    stream = b"".join(encode(Message(0x0200, h, 0x7E7D, b"\x7e\x7d\x7e" + bytes(40))) for h in (H, H, HEADERS[1]))
    whole = [essence(m) for m in Connection().receive(stream)]
    assert len(whole) == 3
    for cut in range(1, len(stream)):
        connection = Connection()
        assert [essence(m) for m in connection.receive(stream[:cut]) + connection.receive(stream[cut:])] == whole


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_frame_that_lost_its_end_does_not_take_its_neighbour(cut: int) -> None:
    good = encode(Message(0x0200, H, 5, bytes(28)))
    found = [m for m in Connection().receive(good[:cut] + good + good) if isinstance(m, Message)]
    assert len(found) == 2


def test_a_wrong_xor_is_refused_and_the_next_frame_is_read() -> None:
    good = encode(Message(2, H, 5, b""))
    found = Connection().receive(good[:-2] + b"\x55\x7e" + good)
    assert isinstance(found[0], Reject)
    assert found[0].reason is Reason.INTEGRITY
    assert isinstance(found[-1], Message)


def test_a_wrong_length_passes_with_a_flaw_since_the_xor_holds() -> None:
    frame = bytearray(encode(Message(2, H, 5, b"\x01\x02")))
    frame[4] ^= 1
    frame[-2] ^= 1
    found = Connection().receive(bytes(frame))[0]
    assert isinstance(found, Message)
    assert found.flaw is not None


def test_an_unfinished_frame_is_bounded() -> None:
    connection = Connection()
    for _ in range(40):
        connection.receive(b"\x7e" + b"\x01" * 999)
    assert connection.buffered <= FRAME_LIMIT + 1000


def test_sub_packages_come_together_in_any_order() -> None:
    body = bytes(range(256)) * 5
    parts = split(Message(0x0704, H, 0xFFFF, body), size=500)
    assembler = Assembler()
    found = [assembler.add(part) for part in (parts[1], parts[0], parts[2])]
    assert found[:2] == [None, None]
    assert isinstance(found[2], Message)
    assert found[2].body == body


def test_the_last_part_names_what_is_missing() -> None:
    parts = split(Message(0x0704, H, 10, bytes(1500)), size=500)
    found = Assembler().add(parts[2])
    assert isinstance(found, Missing)
    assert (found.first_serial, found.numbers) == (10, [1, 2])


def test_unfinished_messages_are_bounded() -> None:
    assembler = Assembler()
    for serial in range(0, 5000, 10):
        assert assembler.add(Message(0x0704, H, serial, bytes(900), (256, 1))) is None
    assert len(assembler._open) <= 4


@pytest.mark.parametrize("package", [(0, 0), (3, 0), (2, 3), (999, 1)])
def test_impossible_part_numbers_are_refused(package: tuple[int, int]) -> None:
    found = Assembler().add(Message(0x0704, H, 1, b"", package))
    assert isinstance(found, Reject)


def test_an_oversized_body_must_be_split() -> None:
    with pytest.raises(LocalProtocolError):
        encode(Message(0x0704, H, 1, bytes(1024)))


@settings(max_examples=40)
@given(
    st.floats(-89, 89).filter(lambda x: abs(x) > 1e-3), st.floats(-179, 179), st.integers(0, 0xFFFF), st.integers(-500, 8000),
    st.integers(0, 300),
)  # fmt: skip
def test_a_position_survives_the_wire(lat: float, lon: float, alarms: int, altitude: int, speed: int) -> None:
    body = encode_location(time="261122163000", lat=lat, lon=lon, alarms=alarms, altitude_m=altitude, speed_kmh=speed)
    found = read_location(body)
    assert (found.lat, found.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))
    assert (found.altitude_m, found.speed_kmh, found.valid) == (altitude, speed, True)
    assert ("sos" in found.alarms) == bool(alarms & 1)


@settings(max_examples=80)
@given(st.binary(max_size=80))
def test_any_items_are_read_without_an_exception(data: bytes) -> None:
    read_items(data)


@settings(max_examples=80)
@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_content_of_any_item_is_read_and_the_next_item_too(kind: int, value: bytes) -> None:
    items = read_items(encode_item(kind, value) + encode_item(0x31, b"\x09"))
    assert items.satellites == 9


def test_a_bad_record_of_a_batch_costs_itself_only() -> None:
    good = encode_location(time="261122163000", lat=1, lon=2)
    found, faults = read_batch(encode_batch([good, good[:9], good], stored=True))
    assert len(found) == 2
    assert [fault.reason for fault in faults] == [Reason.TRUNCATED]


def test_a_terminal_reads_what_the_platform_sends() -> None:
    assert bodies.read_answer(bodies.write_answer(bodies.Answer(7, 0x0200, 0))) == (7, 0x0200, 0)
    assert bodies.read_register_answer(bodies.write_register_answer(7, "code")) == (7, 0, "code")
    assert bodies.read_text(bodies.write_text("该吃药了", speak=True)) == (0x0C, "该吃药了")
    assert bodies.read_text(bodies.write_text("hi", version=1), version=1) == (0x04, "hi")
    assert bodies.read_call_back(bodies.write_call_back("13800000000", listen=True)) == (True, "13800000000")
    assert bodies.read_track(bodies.write_track(10, 600)) == (10, 600)
    assert bodies.read_parameters(bodies.write_parameters({0x29: 30, 0x13: "host"}), answer=False) == (0, {0x29: 30, 0x13: "host"})


@pytest.mark.parametrize("row", vectors("vectors/tracker/jt808.jsonl"))
def test_shared_captures_have_their_header_and_fields(row: dict) -> None:
    expect = row["expect"]
    found = Connection(tolerate_checksum=True).receive(bytes.fromhex(row.get("wire") or row["frame"]))
    if "first_frame" in expect:
        content = unescape(bytes.fromhex(row["wire"] if "wire" in row else row["frame"]).lstrip(b"\x24")[1:-1])
        assert content is not None
        assert (b"\x7e" + content + b"\x7e").hex() == expect["first_frame"]
        return
    message = found[0]
    if "message" not in expect:
        return
    assert isinstance(message, Message)
    assert f"{message.id:04x}" == expect["message"]
    assert (message.header.version is None) == (expect["version"] == 2013)
    if "device_id" in expect:
        assert device_id(message.header.phone) == expect["device_id"]
    if expect["checksum_ok"] and expect.get("length_ok", True):
        assert message.flaw is None
        strict = Connection().receive(bytes.fromhex(row.get("wire") or row["frame"]))
        assert strict == [message]
        if message.id not in {0x5501, 0x5502}:
            assert encode(message) == message.raw
