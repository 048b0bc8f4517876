"""LD2410 driver: every shared row, rate, flicker, commands in the open configuration."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Frame, Instant, Output, Transport, Verb
from drivers.harness import render
from drivers.ld2410.driver import Ld2410
from protocols.serial import hilink
from protocols.serial.hilink import Ack, Presence
from tests.shared import vectors


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: Ld2410, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.SERIAL))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("quantity") or b.get("status") or b["type"] for b in bodies]


def report(status: int, distance_cm: int = 100) -> bytes:
    return hilink.encode(Presence(status, distance_cm, 50, 0, 0, distance_cm))


@pytest.mark.parametrize("row", vectors("vectors/sensor/ld2410.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect = row["expect"]
    output = hear(Ld2410({}, "hall"), bytes.fromhex(row["frame"]))
    if expect.get("encode"):
        return
    if not expect.get("stream") and not expect["ok"]:
        assert output.rejects and not output.events
    elif "status" in expect:
        present = ["presence start" if expect["status"] else "presence end", "motion start" if expect["status"] & 1 else "motion end"]
        near = ["distance"] if expect["status"] and expect["detection_distance_cm"] else []
        assert said(output) == present + near and not output.rejects
    elif expect.get("stream"):
        assert said(output) == ["presence start", "motion start", "distance"]
    else:
        assert said(output) == ["health"]


def test_ten_reports_a_second_become_few_events() -> None:
    driver = Ld2410({}, None)
    told = [item for tick in range(1200) for item in said(hear(driver, report(1 + tick % 3, 100 + tick % 50), tick / 10))]
    assert told == ["presence start", "motion start", "distance", "distance"]


def test_a_motion_ends_after_the_hold_time() -> None:
    driver = Ld2410({"hold_s": 2}, None)
    hear(driver, report(1), 0)
    assert [said(hear(driver, report(2), s)) for s in (0.5, 1.9, 2.1)] == [[], [], ["motion end"]]
    assert said(hear(driver, report(3), 3)) == ["motion start"]


def test_a_silent_radar_ends_nothing() -> None:
    driver = Ld2410({"offline_s": 30}, None)
    hear(driver, report(1), 0)
    driver.wake(at(1))
    assert said(driver.wake(at(31))) == ["offline start"]
    assert said(hear(driver, report(1), 40)) == ["offline end"]


def test_commands_stand_between_open_and_close() -> None:
    driver = Ld2410({}, "hall")
    driver._probed = True
    ask = Command(id="c1", verb=Verb.CONFIGURE, device="ld2410:hall", args={"name": "sensitivity", "value": "3,40,40"})
    sent = [send.data for send in driver.command(ask, at(0)).replies]
    for word in (hilink.OPEN, hilink.SET_SENSITIVITY, hilink.CLOSE):
        told = said(hear(driver, hilink.encode(Ack(word, 0)), 0.1))
        assert told == (["done"] if word == hilink.SET_SENSITIVITY else [])
        sent += [send.data for send in driver.wake(at(0.1)).replies]
    arguments = bytes.fromhex("000003000000010028000000020028000000")
    assert sent == [hilink.open_command(), hilink.command(hilink.SET_SENSITIVITY, arguments), hilink.command(hilink.CLOSE)]


@pytest.mark.parametrize(
    ("name", "value"), [("baud", "9600"), ("gates", "1,8,5"), ("gates", "8,8"), ("sensitivity", "9,1,1"), ("engineering", "x")]
)
def test_faulty_settings_are_not_sent(name: str, value: str) -> None:
    ask = Command(id="c1", verb=Verb.CONFIGURE, device="ld2410:hall", args={"name": name, "value": value})
    output = Ld2410({}, "hall").command(ask, at(0))
    assert said(output) == ["failed"] and not output.replies
