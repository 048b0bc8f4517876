"""What a Xexun card means, and what it must be answered."""

from __future__ import annotations

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
