"""LD2450 driver: every shared row, zones, hold time, staying too long."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Frame, Instant, OptionError, Output, Transport
from drivers.harness import render
from drivers.ld2450.driver import Ld2450
from protocols.serial import hilink
from protocols.serial.hilink import Target, Targets
from tests.shared import vectors

SHOWER = {"zones": [{"name": "shower", "x1": 0, "y1": 0, "x2": -1000, "y2": 2000, "minutes": 20}]}


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: Ld2450, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.SERIAL))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("quantity") or b.get("status") or b["type"] for b in bodies]


def seen(*places: tuple[int, int]) -> bytes:
    return hilink.encode(Targets(tuple(Target(slot, x, y, 0, 320) for slot, (x, y) in enumerate(places, 1))))


@pytest.mark.parametrize("row", vectors("vectors/sensor/ld2450.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect = row["expect"]
    output = hear(Ld2450({}, "bath"), bytes.fromhex(row["frame"]))
    if expect.get("encode"):
        return
    if expect.get("stream"):
        assert said(output) == ["presence start", "distance"]
    elif not expect["ok"]:
        assert output.rejects and not output.events
    else:
        assert said(output) == (["presence start", "distance"] if expect["targets"] else ["presence end"]) and not output.rejects


def test_ten_reports_a_second_become_few_events() -> None:
    driver = Ld2450(SHOWER, None)
    told = []
    for tick in range(600):
        places = [] if tick % 7 == 0 and tick else [(-500 + tick % 40, 1000)]
        told += said(hear(driver, seen(*places), tick / 10))
    assert told == ["presence start", "zone_occupied start", "distance"]


def test_a_zone_ends_after_the_hold_time_and_others_stay() -> None:
    driver = Ld2450(SHOWER, None)
    hear(driver, seen((-500, 1000), (800, 800)), 0)
    assert said(hear(driver, seen((800, 800)), 2.9)) == []
    output = hear(driver, seen((800, 800)), 3.1)
    assert said(output) == ["zone_occupied end"]
    assert render(output)["events"][0]["body"]["place"] == "shower"


def test_staying_too_long_is_a_warning_once_and_again_after_leaving() -> None:
    driver = Ld2450(SHOWER, None)
    output = hear(driver, seen((-500, 1000)), 0)
    told = []
    for second in range(1, 1400):
        told += render(hear(driver, seen((-500, 1000)), second))["events"]
    warned = [event["body"] for event in told if event["body"].get("severity") == 2]
    assert [body["detail"] for body in warned] == ["longer than 20 minutes"] and said(output)[1] == "zone_occupied start"
    hear(driver, seen(), 1410)
    assert "zone_occupied start" in said(hear(driver, seen((-500, 1000)), 1420))
    assert driver._places[1].deadline_s == 1000 + 1420 + 1200


def test_a_silent_radar_still_warns_and_ends_nothing() -> None:
    driver = Ld2450({**SHOWER, "offline_s": 0}, None)
    driver._probed = True
    wake_s = hear(driver, seen((-500, 1000)), 0).wake_s
    assert wake_s == 1000 + 1200
    assert said(driver.wake(at(600))) == [] and said(driver.wake(at(1200))) == ["zone_occupied start"]


@pytest.mark.parametrize(
    "zone",
    [{"name": "x"}, {"name": "x", "x1": 0, "y1": 0, "x2": "wide", "y2": 1}, {"name": "x", "x1": 0, "y1": 0, "x2": 1e9, "y2": 1}, "shower",
     {"name": "x", "x1": 0, "y1": 0, "x2": 1, "y2": 1, "minutes": 0}, {"name": "x", "x1": float("nan"), "y1": 0, "x2": 1, "y2": 1}],
)  # fmt: skip
def test_faulty_zones_are_refused(zone: Any) -> None:
    with pytest.raises(OptionError):
        Ld2450({"zones": [zone]}, None)


def test_a_zone_name_stands_once() -> None:
    with pytest.raises(OptionError):
        Ld2450({"zones": SHOWER["zones"] * 2}, None)
