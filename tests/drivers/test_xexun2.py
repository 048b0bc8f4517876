"""What a Xexun card means, and what it must be answered."""

from __future__ import annotations

import struct

import pytest

from drivers.api import Frame, Instant, Match, Occurrence, Output, Position
from drivers.events import epoch_ms
from drivers.harness import step
from drivers.xexun2.driver import Xexun2
from protocols.tracker import xexun2
from protocols.tracker.xexun2 import Record
from tests.shared import vectors

IMEI = "861234567890124"


def feed(*frames: bytes, **options: object) -> Output:
    driver, total = Xexun2(options, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


@pytest.mark.parametrize("row", vectors("vectors/tracker/xexun2.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, data = row["expect"], bytes.fromhex(row["frame"])
    if row["layer"] == "wire":
        return
    output = feed(data)
    assert output.device == f"xexun2:{expect['device_id']}"
    assert output.events
    assert not output.rejects
    body = data[2:6] + data[6:14] + b"\x00\x01\xff\xfe\x01"
    assert [send.data for send in output.acks] == [xexun2.MARK + xexun2.escape(body) + xexun2.MARK]
    if "lat" in expect:
        event = next(e for e in output.events if isinstance(e.body, Position))
        assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
        assert (event.at_ms, event.body.valid) == (epoch_ms(expect["fix_time"]), True)


def test_fall_and_sos_in_one_word_are_both_told() -> None:
    output = feed(xexun2.write_records(IMEI, [Record(1795336200, 20, 80, False, alarms=0x8001)]))
    assert [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)] == ["sos", "fall"]


def test_an_sos_kept_until_the_device_connected_alarms_late() -> None:
    old, new = Record(1795336000, 20, 80, False, alarms=1), Record(1795336200, 20, 80, False, lat=31.2, lon=121.4)
    output = feed(xexun2.write_records(IMEI, [old, new]))
    [sos] = [event for event in output.events if isinstance(event.body, Occurrence)]
    assert (sos.at_ms, sos.body.stored) == (1795336000000, True)


@pytest.mark.parametrize(
    ("data", "verdict"), [(b"\xfa", Match.MORE), (b"\xfa\xaf\x00\x14\x00\x01\x86\x12\x34\x56\x78\x90\x12", Match.YES), (b"\xfb", Match.NO)]
)
def test_first_bytes(data: bytes, verdict: Match) -> None:
    assert Xexun2.match(Frame(data=data, received=Instant(0, 0))) is verdict


def block_record(block: bytes, *, alarms: int = 1, said: int | None = None) -> bytes:
    """A position message of one record with an alarm word and a block of place mask bit 7."""
    tail = struct.pack(">I", alarms) + b"\x80" + struct.pack(">H", len(block) if said is None else said) + block
    record = b"\x00" + struct.pack(">IBHB", 1_700_000_000, 20, 76, 3) + tail
    body = b"\x01" + struct.pack(">H", len(record)) + record
    return xexun2.encode(xexun2.Message(xexun2.POSITIONS, 1, IMEI, body))


@pytest.mark.parametrize("valid", [0, 1])
def test_a_place_in_a_block_is_told(valid: int) -> None:
    place = b"G" + struct.pack(">HddBBBHHf", 27, 12128.422, -3113.825, valid, 9, 40, 36, 900, 12.5)
    output = feed(block_record(b"X" + struct.pack(">H", 2) + b"ab" + place))
    [sos] = [event.body for event in output.events if isinstance(event.body, Occurrence)]
    [found] = [event.body for event in output.events if isinstance(event.body, Position)]
    assert (sos.kind.value, found.valid, found.satellites, found.altitude_m) == ("sos", bool(valid), 9, 12.5)
    assert (found.lat, found.lon) == (pytest.approx(-31.230417), pytest.approx(121.473700))
    assert (found.speed_kmh, found.course_deg) == (3.6, 90.0)


def test_a_block_that_is_cut_short_does_not_take_the_alarm() -> None:
    output = feed(block_record(b"G\x00\x1b\x40", said=30))
    assert [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)] == ["sos"]
    assert output.rejects
    assert len(output.acks) == 1
