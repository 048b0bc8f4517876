"""TinyFrame driver: every shared row, falls, commands, installation height, silence."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Frame, Instant, OptionError, Output, Transport, Verb
from drivers.harness import render
from drivers.tinyframe.driver import TinyFrameRadar
from protocols.serial import tinyframe as tf
from tests.shared import vectors

FALL, UP = tf.encode_flag(tf.FALL, True), tf.encode_flag(tf.FALL, False)
STATED = {
    ("fall", True): ["fall start"],
    ("presence", True): ["presence start"],
    ("presence", False): ["presence end"],
    ("breath_rate", 16.0): ["respiration_rate"],
    ("heart_rate", 72.0): ["heart_rate"],
    ("heart_rate", 0.0): [],
}


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: TinyFrameRadar, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.SERIAL))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("quantity") or b.get("status") or b["type"] for b in bodies]


def probed(options: dict[str, Any] | None = None) -> TinyFrameRadar:
    driver = TinyFrameRadar(options or {}, "bath")
    driver._probed = True
    return driver


@pytest.mark.parametrize("row", vectors("vectors/sensor/radar_tinyframe.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect, output = row["expect"], hear(TinyFrameRadar({}, "bath"), bytes.fromhex(row["frame"]))
    if expect.get("stream"):
        kinds = {"presence": "presence", "fall": "fall"}
        wanted = [f"{kinds[key]} start" for frame in expect["frames"] for key, on in frame.items() if key in kinds and on]
        assert said(output) == wanted
    elif not expect.get("encode") and not expect["ok"]:
        assert not output.events and output.rejects
    elif not expect.get("encode"):
        assert not output.rejects
        name = expect.get("name", "")
        value = expect.get(name, expect.get("value"))
        wanted_row = None if isinstance(value, list) else STATED.get((name, value))
        assert wanted_row is None or said(output) == wanted_row


def test_a_fall_after_a_lost_end_is_another_fall() -> None:
    driver = probed()
    assert [said(hear(driver, FALL, s)) for s in (0, 2, 60)] == [["fall start"], [], ["fall start"]]
    assert said(hear(driver, UP, 61)) == ["fall end"]


def test_a_fall_behind_a_stuck_false_start_is_told_after_two_seconds() -> None:
    driver = probed()
    head = tf.encode(0x0A08, bytes(900))[: tf.HEAD_BYTES]
    assert said(hear(driver, head + FALL, 0)) == []
    assert said(driver.wake(at(2.1))) == ["fall start"]


def test_an_empty_echo_does_not_answer_a_query() -> None:
    driver = probed()
    ask = Command(id="c1", verb=Verb.QUERY, device="tinyframe:bath", args={"name": "parameters"})
    assert [send.data for send in driver.command(ask, at(0)).replies] == [tf.encode(tf.PARAMETERS)]
    assert said(hear(driver, tf.encode(tf.PARAMETERS), 0.1)) == []
    assert said(hear(driver, tf.encode_number(tf.PARAMETERS, 2.5, 0.5, 15), 0.2)) == ["health", "done"]


def test_a_command_is_repeated_after_a_second_and_fails_after_three() -> None:
    driver = probed()
    ask = Command(id="c1", verb=Verb.CONFIGURE, device="tinyframe:bath", args={"name": "fall_threshold", "value": "0.5"})
    driver.command(ask, at(0))
    outputs = [driver.wake(at(s)) for s in (0.5, 1.0, 2.0, 3.0)]
    assert [len(output.replies) for output in outputs] == [0, 1, 1, 0] and said(outputs[-1]) == ["failed"]


def test_a_wrong_height_is_written_once_then_a_fault() -> None:
    driver = probed({"install_height_m": 2.5})
    wrong = tf.encode_number(tf.PARAMETERS, 3.0, 0.5, 15)
    assert said(hear(driver, wrong, 0)) == ["health"]
    assert [send.data for send in driver.wake(at(0)).replies] == [tf.encode_number(tf.SET_HEIGHT, 2.5)]
    assert said(hear(driver, tf.encode_flag(tf.SET_HEIGHT, True), 0.1)) == []
    assert [send.data for send in driver.wake(at(0.2)).replies] == [tf.encode(tf.PARAMETERS)]
    assert said(hear(driver, wrong, 0.3)) == ["health", "fault start"]
    assert said(hear(driver, tf.encode_number(tf.PARAMETERS, 2.5, 0.5, 15), 9)) == ["health", "fault end"]


@pytest.mark.parametrize(
    "args",
    [{"name": "install_height", "value": "9"}, {"name": "area", "value": "1,2"}, {"name": "firmware", "value": "1"},
     {"name": "fall_sensitivity", "value": "nan"}, {"name": "control", "value": "8448"}],
)  # fmt: skip
def test_settings_outside_their_limits_are_not_sent(args: dict[str, str]) -> None:
    output = probed().command(Command(id="c1", verb=Verb.CONFIGURE, device="tinyframe:bath", args=args), at(0))
    assert said(output) == ["failed"] and not output.replies


def test_the_area_goes_out_as_four_floats() -> None:
    ask = Command(id="c1", verb=Verb.CONFIGURE, device="tinyframe:bath", args={"name": "area", "value": "0.5,0.5,0.5,0.5"})
    assert [send.data.hex() for send in probed().command(ask, at(0)).replies] == ["01000000100e0cec0000003f0000003f0000003f0000003fff"]


def test_silence_is_asked_after_then_offline_then_back() -> None:
    driver = probed({"offline_s": 90})
    hear(driver, UP, 0)
    assert [send.data for send in driver.wake(at(31)).replies] == [tf.encode(tf.PARAMETERS)]
    assert said(driver.wake(at(91))) == ["offline start"]
    assert said(hear(driver, FALL, 100)) == ["offline end", "fall start"]


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(OptionError):
        TinyFrameRadar({"model": "ld2410"}, None)
