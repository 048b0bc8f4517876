"""Xexun2 on the wire: marks that both begin and end, escapes, checks."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import xexun2
from protocols.tracker.fix import ApSeen, CellSeen
from protocols.tracker.xexun2 import Connection, Message, Record
from tests.shared import vectors

IMEI = "861234567890124"
PLACE = Record(1795336200, 25, 84, False, lat=31.230416, lon=121.473701, satellites=9)
FRAME = xexun2.write_records(IMEI, [PLACE])


def messages(found: list[Message | Reject]) -> list[Message]:
    return [each for each in found if isinstance(each, Message)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/xexun2.jsonl"))
def test_shared_captures(row: dict) -> None:
    data = bytes.fromhex(row["frame"])
    if row["layer"] == "wire":
        assert (xexun2.MARK + xexun2.unescape(data[2:-2]) + xexun2.MARK).hex() == row["expect"]["first_frame"]
        return
    [message] = messages(Connection().receive(data))
    assert (f"{message.kind:04x}", message.imei, message.check_ok) == (row["expect"]["message"], row["expect"]["device_id"], True)
    assert all(record.fault is None for record in xexun2.read_records(message))


def test_any_segmentation_gives_the_same_messages() -> None:
    stream = FRAME + xexun2.write_records(IMEI, [PLACE._replace(alarms=1)], serial=2) + FRAME
    whole = Connection().receive(stream)
    assert len(messages(whole)) == 3
    for cut in range(1, len(stream)):
        connection = Connection()
        assert connection.receive(stream[:cut]) + connection.receive(stream[cut:]) == whole


def test_a_frame_cut_short_does_not_take_its_neighbour() -> None:
    for cut in range(1, len(FRAME)):
        assert len(messages(Connection().receive(FRAME[:cut] + FRAME + FRAME))) >= 2, cut


def test_a_stray_mark_between_frames_is_passed_over() -> None:
    assert len(messages(Connection().receive(FRAME + xexun2.MARK + FRAME + b"\xfa" + FRAME))) == 3


def test_damage_of_a_body_is_refused() -> None:
    damaged = bytearray(FRAME)
    damaged[30] ^= 0x04
    [found] = Connection().receive(bytes(damaged))
    assert isinstance(found, Reject)
    assert found.reason is Reason.INTEGRITY


def test_a_flood_of_starts_is_bounded_and_linear() -> None:
    connection = Connection()
    for _ in range(10):
        connection.receive(xexun2.MARK + b"\x00" * 5000)
    assert connection.buffered <= xexun2.FRAME_LIMIT
    assert not messages(Connection().receive(xexun2.MARK * 50_000))


@settings(max_examples=150)
@given(st.lists(st.sampled_from([0xFA, 0xAF, 0xFB, 0xBF, 0x01, 0x02, 0x00]), max_size=60))
def test_escapes_survive_any_body(values: list[int]) -> None:
    body = bytes(values)
    message = Message(0x33, 0xFAAF, IMEI, body)
    [found] = messages(Connection().receive(xexun2.encode(message)))
    assert found._replace(raw=b"") == message


@settings(max_examples=150)
@given(st.binary(max_size=80), st.sampled_from([b"", FRAME[:25], FRAME[:60]]))
def test_any_bytes_give_messages_or_refusals(data: bytes, head: bytes) -> None:
    inner = xexun2.encode(Message(xexun2.POSITIONS, 1, IMEI, (head + data)[:200]))
    for found in Connection(tolerate_check=True).receive(head + data + inner):
        if isinstance(found, Message):
            try:
                xexun2.read_records(found)
            except RemoteProtocolError:
                pass


@settings(max_examples=80)
@given(lat=st.floats(-89, 89), lon=st.floats(-179, 179), alarms=st.integers(0, 2**32 - 1), heard=st.integers(0, 4))
def test_records_survive_the_wire(lat: float, lon: float, alarms: int, heard: int) -> None:
    record = PLACE._replace(
        lat=lat,
        lon=lon,
        alarms=alarms,
        aps=tuple(ApSeen(f"d4:6e:0e:00:00:{i:02x}", -60 - i) for i in range(heard)),
        cells=tuple(CellSeen(460, 1, 6150 + i, 0xA1B2C3 + i, -80) for i in range(heard)),
    )
    [message] = messages(Connection().receive(xexun2.write_records(IMEI, [record, record])))
    for read in xexun2.read_records(message):
        assert (read.alarms, read.aps, read.cells, read.fault) == (alarms, record.aps, record.cells, None)
        if abs(lat) > 1e-6 and abs(lon) > 1e-6:
            assert (read.lat, read.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))


def test_a_place_that_is_no_number_is_named_and_the_alarm_stays() -> None:
    record = b"\x00" + b"\x6b\x02\xa8\x08" + b"\x10\x00\x50\x03\x00\x00\x00\x01\x01\x09" + struct.pack(">ff", float("nan"), 1.0)
    [read] = xexun2.read_records(Message(xexun2.POSITIONS, 1, IMEI, b"\x01" + len(record).to_bytes(2, "big") + record))
    assert (read.alarms, read.lat) == (1, None)
    assert read.fault


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        xexun2.encode(Message(1, 1, "123"))
