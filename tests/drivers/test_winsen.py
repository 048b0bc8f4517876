"""Winsen driver: every shared row, warm-up, faults, questions."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Frame, Instant, OptionError, Output, Transport, Verb
from drivers.harness import render
from drivers.winsen.driver import Winsen
from protocols.serial import winsen
from tests.shared import vectors

HOT = {"warmup_s": 0.0}


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: Winsen, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.SERIAL))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("status") or f"{b['quantity']}={b['value']:g}" for b in bodies]


def co(value: float) -> bytes:
    return winsen.encode_active(4, 3, 1, value, 500)


@pytest.mark.parametrize("row", vectors("vectors/sensor/winsen_uart.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if expect.get("encode"):
        return
    options = {**HOT, "profile": row.get("profile", "generic-active"), "gas_code": row.get("gas_code", {})}
    output = hear(Winsen(options, "kitchen"), bytes.fromhex(row["frame"]))
    if expect.get("stream"):
        assert said(output) == ["co=2.5"]
    elif not expect["ok"]:
        assert output.rejects and not output.events
    elif "ppb" in expect:
        assert said(output) == [f"ch2o={expect['ppb'] / 1000:g}"]
    else:
        name, factor = {"CO": ("co", 1), "CO2": ("co2", 1), "CH4": ("gas_lel", 1 / 500)}[expect["gas"]]
        assert said(output)[0] == f"{name}={expect['value'] * factor:g}" and not output.rejects


def test_readings_of_a_cold_sensor_are_marked_until_it_is_warm() -> None:
    driver = Winsen({"profile": "ze07-co"}, None)
    assert said(driver.wake(at(0))) == ["warming_up start"]
    cold = hear(driver, co(90), 0.5).events[0].body
    assert getattr(cold, "channel", None) == "warming_up"
    warm = hear(driver, co(90), 31)
    assert said(warm) == ["warming_up end", "co=90"] and getattr(warm.events[1].body, "channel", "") is None


def test_a_rise_is_told_at_once_and_rest_once_a_minute() -> None:
    driver = Winsen({**HOT, "profile": "ze07-co"}, None)
    told = [said(hear(driver, co(value), second)) for second, value in enumerate((0, 1, 2, 60, 61))]
    assert told == [["co=0"], [], [], ["co=60"], []]
    assert said(hear(driver, co(61), 64)) == ["co=61"]


def test_a_sensor_without_value_is_a_fault_not_clean_air() -> None:
    driver = Winsen(HOT, None)
    broken = winsen.frame_of(bytes.fromhex("040301ffff1388"))
    assert said(hear(driver, broken)) == ["fault start"] and said(hear(driver, broken, 1)) == []
    assert said(hear(driver, co(0), 2)) == ["fault end", "co=0"]


def test_a_polled_sensor_is_asked_again_and_offline_when_dead() -> None:
    driver = Winsen({**HOT, "profile": "mh-z19", "poll_s": 5}, None)
    asked, told, now = 0, [], 0.0
    while now < 100:
        output = driver.wake(at(now))
        asked, told = asked + len(output.replies), told + said(output)
        now = max(now + 0.01, (output.wake_s or 0) - 1000)
    assert told == ["offline start"] and 15 < asked < 60
    assert said(hear(driver, winsen.encode_answer("mh-z19", 700, 24), 101)) == ["offline end", "co2=700", "temperature=24"]


def test_zero_calibration_needs_a_confirmed_word() -> None:
    driver = Winsen({"profile": "mh-z19"}, None)
    for value, sent in (("1", 0), ("confirmed", 1)):
        ask = Command(id="c1", verb=Verb.CONFIGURE, device="winsen:x", args={"name": "zero", "value": value})
        assert len(driver.command(ask, at(0)).replies) == sent


def test_the_mode_is_switched_before_the_first_question() -> None:
    driver = Winsen({"profile": "ze15-co", "mode": "answer"}, None)
    assert [send.data for send in driver.wake(at(0)).replies] == [winsen.command(winsen.MODE, 0x41)]
    assert [send.data for send in driver.wake(at(1)).replies] == [winsen.command(winsen.READ)]


@pytest.mark.parametrize("options", [{"profile": "mq-2"}, {"gas_code": {"1": "N2"}}, {"gas_code": {"x": "CO"}}])
def test_faulty_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Winsen(options, None)


def test_a_sensor_that_gets_its_power_after_the_line_was_opened_warms_up_from_then_on() -> None:
    driver = Winsen({"profile": "ze07-co", "warmup_s": 30, "offline_s": 0}, "co")
    assert said(driver.wake(at(0))) == ["warming_up start"]
    hear(driver, co(250), 25)
    assert said(driver.wake(at(31))) == []
    assert said(driver.wake(at(55.1))) == ["warming_up end"]
