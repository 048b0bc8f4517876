"""Modbus gas driver: every shared row, polling, dead units, alarms that stand."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Frame, Instant, OptionError, Output, Reason, Transport, Verb
from drivers.harness import render
from drivers.modbus_gas.driver import ModbusGas, profiles
from protocols.serial import modbus_gas as mb
from tests.shared import vectors

TWO = {"detectors": [{"unit": 1, "name": "kitchen"}, {"unit": 3, "name": "boiler", "profile": "co-bits"}]}
STATUS = {"low_alarm": ["gas start"], "high_alarm": ["gas start"], "fault": ["fault start"], "warmup": ["warming_up start"], "normal": []}
BITS = {(): [], ("low",): ["co_alarm start"], ("low", "high"): ["co_alarm start"], ("fault",): ["fault start"]}


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: ModbusGas, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.MODBUS))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("quantity") or b.get("status") or b["type"] for b in bodies]


def answer(value: int, status: int, unit: int = 1) -> bytes:
    return mb.encode(mb.Response(unit, 3, value.to_bytes(2, "big") + status.to_bytes(2, "big")))


@pytest.mark.parametrize("row", vectors("vectors/sensor/modbus_gas.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if "profile" not in row:
        return
    driver = ModbusGas({"profile": row["profile"]}, "kitchen")
    if expect.get("encode"):
        assert [send.data.hex() for send in driver.wake(at(0)).replies] == [row["frame"]]
        return
    output = hear(driver, bytes.fromhex(row["frame"]))
    if expect.get("stream"):
        assert said(output) == ["gas_lel"] and not output.rejects
    elif expect.get("error") == "short":
        late = driver.wake(at(1))
        assert not output.events and [reject.reason for reject in late.rejects] == [Reason.TRUNCATED]
    elif not expect["ok"]:
        assert len(output.rejects) == 1 and said(output) == (["fault start"] if expect.get("code") == 4 else [])
        assert expect.get("name", "") in output.rejects[0].detail
    else:
        states = STATUS.get(expect.get("status", ""), []) + BITS.get(tuple(expect.get("alarm", ())), [])
        assert [item for item in said(output) if " " in item] == states
        assert ("gas_lel" in said(output) or "co" in said(output)) == (not {"fault start", "warming_up start"} & set(states))


def test_two_units_are_asked_in_turn_one_at_a_time() -> None:
    driver = ModbusGas(TWO, "bus")
    first = driver.wake(at(0))
    assert [send.data for send in first.replies] == [mb.encode(mb.Request(1, 3, 0, 2))]
    assert driver.wake(at(0.1)).replies == []
    output = hear(driver, answer(25, 0), 0.2)
    assert [event.device for event in output.events] == ["modbus_gas:kitchen"]
    assert [send.data for send in driver.wake(at(0.25)).replies] == [mb.encode(mb.Request(3, 4, 16, 2))]


def test_a_dead_unit_is_offline_backs_off_and_does_not_slow_the_other() -> None:
    driver = ModbusGas(TWO, "bus")
    asked: dict[int, int] = {1: 0, 3: 0}
    told: list[str] = []
    now = 0.0
    while now < 120:
        output = driver.wake(at(now))
        told += said(output)
        for send in output.replies:
            asked[send.data[0]] += 1
            if send.data[0] == 1:
                told += said(hear(driver, answer(25, 0), now + 0.02))
        now = max(now + 0.01, (output.wake_s or 0) - 1000)
    assert told.count("offline start") == 1
    assert asked[1] > 50 and asked[3] < 12
    assert "offline end" in said(hear(driver, mb.encode(mb.Response(3, 4, bytes(4))), 121))


def test_another_units_answer_is_refused_and_the_question_stays_open() -> None:
    driver = ModbusGas(TWO, "bus")
    driver.wake(at(0))
    output = hear(driver, mb.encode(mb.Response(3, 4, b"\x01\xc2\0\3")), 0.1)
    assert not output.events and [reject.reason for reject in output.rejects] == [Reason.NOT_OURS]
    assert said(hear(driver, answer(250, 2), 0.2)) == ["gas start", "gas_lel"]


def test_an_alarm_stands_through_fault_unknown_state_and_silence() -> None:
    driver = ModbusGas({}, "kitchen")
    assert said(hear(driver, answer(250, 2), 0)) == ["gas start", "gas_lel"]
    assert said(hear(driver, answer(0, 3), 1)) == ["fault start"]
    assert "gas end" not in said(hear(driver, answer(0, 9), 2))
    assert said(hear(driver, answer(0, 0), 3))[0] == "gas end"


def test_a_saturated_value_alarms_without_a_status() -> None:
    assert said(hear(ModbusGas({}, "kitchen"), answer(65535, 0))) == ["gas start"]


def test_steady_values_are_thinned_and_rising_ones_are_not() -> None:
    driver = ModbusGas({}, "kitchen")
    assert [said(hear(driver, answer(value, 0), second)) for second, value in enumerate((10, 11, 12, 30))] == [
        ["gas_lel"],
        [],
        [],
        ["gas_lel"],
    ]
    assert said(hear(driver, answer(30, 0), 70)) == ["gas_lel"]


def test_an_echo_and_noise_do_not_hide_the_answer() -> None:
    driver = ModbusGas({}, "kitchen")
    question = driver.wake(at(0)).replies[0].data
    assert said(hear(driver, b"\x00\xff" + question + answer(50, 1), 0.1)) == ["gas start", "gas_lel"]


def test_a_query_asks_at_once() -> None:
    driver = ModbusGas({"poll_s": 60}, "kitchen")
    driver.wake(at(0))
    hear(driver, answer(0, 0), 0.1)
    assert driver.wake(at(5)).replies == []
    driver.command(Command(id="c1", verb=Verb.QUERY, device="modbus_gas:kitchen"), at(6))
    assert len(driver.wake(at(6)).replies) == 1


@pytest.mark.parametrize("name", profiles())
def test_shipped_profiles_are_sound(name: str) -> None:
    driver = ModbusGas({"profile": name}, None)
    assert len(driver.wake(at(0)).replies) == 1


@pytest.mark.parametrize(
    "options",
    [{"profile": "no-such"}, {"profile": "{"}, {"profile": {"unit": 0}}, {"detectors": [{"unit": 1}, {"unit": 1}]}, {"detectors": ["x"]}],
)
def test_faulty_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ModbusGas(options, None)


def test_a_profile_may_come_as_text() -> None:
    text = '{"unit":7,"fc":3,"base":100,"fields":[{"name":"gas","reg":100,"type":"f32","unit":"%LEL"}]}'
    assert said(hear(ModbusGas({"profile": text}, None), bytes.fromhex("070304414800000819"))) == ["gas_lel"]
