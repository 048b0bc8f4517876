"""What a YX wristband means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Frame, Instant, Match, Output, Position
from drivers.events import epoch_ms
from drivers.harness import step
from drivers.wristband.driver import Wristband
from protocols.tracker import wristband
from protocols.tracker.wristband import Message
from tests.shared import vectors

IMEI = "861234567890124"


def feed(*frames: bytes, **options: object) -> Output:
    driver, total = Wristband(options, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


def places(output: Output) -> list[Position]:
    return [event.body for event in output.events if isinstance(event.body, Position)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/wristband.jsonl"))
def test_shared_captures(row: dict) -> None:
    output = feed(bytes.fromhex(row["frame"]), server="192.0.2.1,5174")
    assert output.device == f"wristband:{row['expect']['device_id']}"
    assert not output.rejects
    if "battery_percent" in row["expect"]:
        assert [event.body for event in output.events] == [DeviceHealth(battery_percent=row["expect"]["battery_percent"])]
    assert bool(output.events) == (row["expect"]["result"] != "none")


def test_longitude_comes_first_and_times_are_those_of_the_bands_zone() -> None:
    output = feed(wristband.encode(Message(IMEI, 2, "-9.14,38.71,202611221630,0")), utc_offset_minutes=480)
    [place] = places(output)
    assert (place.lat, place.lon) == (38.71, -9.14)
    assert output.events[0].at_ms == epoch_ms("2026-11-22T08:30:00Z")


def test_the_time_answer_is_wall_clock_of_the_bands_zone() -> None:
    output = feed(wristband.encode(Message(IMEI, 91, "10|0")), utc_offset_minutes=480, server="192.0.2.1,5174")
    [send] = output.replies
    assert send.data[5:-3] == f"YX{IMEI}|V1.0|0|{{F91#2026-11-22-16-30-15|192.0.2.1,5174}}\r\n".encode()


def test_points_on_the_way_are_stored_and_a_repeated_one_is_not_valid() -> None:
    first = wristband.encode(Message(IMEI, 2, "121.1,31.1,202611220810,3|121.2,31.2,202611220820,3"))
    second = wristband.encode(Message(IMEI, 2, "121.2,31.2,202611220820,0"))
    assert [(place.stored, place.valid) for place in places(feed(first, second))] == [(True, True), (False, True), (False, False)]


def test_nowhere_is_no_place() -> None:
    assert not places(feed(wristband.encode(Message(IMEI, 2, "0.0,0.0,202611220810,3"))))


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"\x00", Match.MORE),
        (b"\x00\x01\x02\x00\x44YX8", Match.YES),
        (b"\x00\x01\x03", Match.NO),
        (b"\x00\x01\x02\x00\x44\x00\x00\x00", Match.NO),
    ],
)
def test_first_bytes(data: bytes, verdict: Match) -> None:
    assert Wristband.match(Frame(data=data, received=Instant(0, 0))) is verdict
