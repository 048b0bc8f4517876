"""MicRadar driver: every shared row, installation height, commands, silence."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Frame, Instant, OptionError, Output, Transport, Verb
from drivers.harness import render
from drivers.micradar.driver import MicRadar
from protocols.serial import micradar
from protocols.serial.micradar import report
from tests.shared import vectors

EVENTS: dict[tuple[str, Any], list[str]] = {
    ("presence", True): ["presence start"],
    ("presence", False): ["presence end"],
    ("fall", True): ["fall start"],
    ("fall", False): [],
    ("static_residence", True): ["long_still start"],
    ("static_residence", False): [],
    ("motion", "active"): ["motion start"],
    ("motion", "still"): ["motion end"],
    ("motion", "none"): ["motion end"],
    ("bed", "in"): ["bed_entry start"],
    ("bed", "out"): ["bed_exit start"],
    ("bed", "none"): [],
    ("struggle", "abnormal"): ["struggle start"],
    ("nobody_timer", "abnormal"): ["bed_no_return start"],
    ("breath_state", "high"): ["breathing_abnormal start"],
    ("breath_state", "low"): ["breathing_abnormal start"],
    ("breath_state", "none"): ["breathing_abnormal start"],
    ("in_range", True): ["zone_occupied start"],
    ("in_range", False): ["zone_occupied end"],
}
STATE_KEYS = ("presence", "fall", "residence", "motion", "bed", "state")


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


def hear(driver: MicRadar, data: bytes, seconds: float = 0.0) -> Output:
    return driver.receive(Frame(data=data, received=at(seconds), transport=Transport.SERIAL))


def said(output: Output) -> list[str]:
    bodies = [event["body"] for event in render(output)["events"]]
    return [f"{b['kind']} {b['state']}" if "kind" in b else b.get("quantity") or b.get("status") or b["type"] for b in bodies]


def ask_until_quiet(driver: MicRadar, start: float, answer: dict[bytes, bytes]) -> tuple[list[bytes], list[str], float]:
    """Wakes the driver as it wishes and answers what `answer` knows; the questions it asked and what it said."""
    asked, told, now = [], [], start
    for _ in range(60):
        output = driver.wake(at(now))
        told += said(output)
        for send in output.replies:
            asked.append(send.data)
            if send.data in answer:
                told += said(hear(driver, answer[send.data], now))
        if output.wake_s is None or output.wake_s - 1000 > now + 5:
            break
        now = max(now + 0.01, output.wake_s - 1000)
    return asked, told, now


@pytest.mark.parametrize("row", vectors("vectors/sensor/radar_micradar.jsonl"))
def test_shared_row_has_its_events(row: dict[str, Any]) -> None:
    expect = row["expect"]
    output = hear(MicRadar({}, "bath"), bytes.fromhex(row["frame"]))
    if expect.get("encode"):
        return
    if expect.get("stream"):
        assert not [event for event in output.events if event.device != "micradar:bath"]
        assert said(output) in (["presence start", "fall start"], ["heart_rate"])
    elif not expect["ok"]:
        assert output.rejects and not output.events
    else:
        assert not output.rejects
        value = next((expect[key] for key in STATE_KEYS if key in expect), expect.get("value"))
        wanted = EVENTS.get((expect["name"], value))
        if wanted is not None:
            assert said(output) == wanted


def test_a_fall_in_noise_is_told_once_per_edge() -> None:
    driver = MicRadar({}, None)
    fall, up = report("fall", fall=True), report("fall", fall=False)
    assert said(hear(driver, b"\x53\x00\x59" + fall + fall[:4] + up + fall)) == ["fall start", "fall end", "fall start"]


def test_a_fall_whose_end_was_lost_does_not_hide_the_next() -> None:
    driver = MicRadar({}, None)
    fall = report("fall", fall=True)
    assert said(hear(driver, fall, 0)) == ["fall start"]
    assert said(hear(driver, fall, 3)) == []
    assert said(hear(driver, fall, 90)) == ["fall start"]


def test_a_fall_after_a_restart_of_the_radar_is_told() -> None:
    driver = MicRadar({}, None)
    hear(driver, report("fall", fall=True), 0)
    assert said(hear(driver, report("init_done") + report("fall", fall=True), 1)) == ["power_on pulse", "fall start"]


def test_probe_reads_identity_and_height_with_pauses() -> None:
    asked, told, _ = ask_until_quiet(
        MicRadar({}, "bath"),
        0.0,
        {
            micradar.query("model"): report("model", text="R60AFD1"),
            micradar.query("install_height_cm"): report("install_height_cm", is_reply=True, value=260),
        },
    )
    assert asked[0] == micradar.query("model") and micradar.query("install_height_cm") in asked
    assert "fault start" not in told and told.count("health") == 2


def test_a_wrong_height_is_written_once_then_a_fault() -> None:
    wrong = report("install_height_cm", is_reply=True, value=250)
    driver = MicRadar({"install_height_cm": 260}, None)
    write = report("install_height_cm", value=260)
    asked, told, now = ask_until_quiet(
        driver, 0.0, {micradar.query("install_height_cm"): wrong, write: report("install_height_cm", value=250)}
    )
    assert asked.count(write) == 1 and told.count("fault start") == 1
    assert said(hear(driver, report("install_height_cm", value=260), now + 1)) == ["health", "fault end"]


@pytest.mark.parametrize("height_cm", [0, 100, 219, 301, 65535])
def test_an_implausible_height_is_told(height_cm: int) -> None:
    assert said(hear(MicRadar({}, None), report("install_height_cm", is_reply=True, value=height_cm))) == ["health", "fault start"]


def command(verb: Verb, **args: Any) -> Command:
    return Command(id="c1", verb=verb, device="micradar:bath", args=args)


def settled(driver: MicRadar) -> None:
    driver._probed = True


def test_a_command_without_echo_fails_after_three_tries() -> None:
    driver = MicRadar({}, "bath")
    settled(driver)
    first = driver.command(command(Verb.CONFIGURE, name="fall_sensitivity", value="2"), at(0))
    assert [send.data for send in first.replies] == [report("fall_sensitivity", value=2)]
    outputs = [driver.wake(at(n)) for n in (1.0, 2.0, 3.0)]
    assert [len(output.replies) for output in outputs] == [1, 1, 0] and said(outputs[2]) == ["failed"]


def test_an_echo_with_another_value_is_a_failure() -> None:
    driver = MicRadar({}, "bath")
    settled(driver)
    driver.command(command(Verb.CONFIGURE, name="fall_sensitivity", value="2"), at(0))
    assert said(hear(driver, report("fall_sensitivity", value=1), 0.1)) == ["health", "failed"]


def test_fall_detection_sets_sensitivity_then_the_switch() -> None:
    driver = MicRadar({}, "bath")
    settled(driver)
    first = driver.command(command(Verb.FALL_DETECTION, on=True, sensitivity=3), at(0))
    assert [send.data for send in first.replies] == [report("fall_sensitivity", value=3)]
    assert said(hear(driver, report("fall_sensitivity", value=3), 0.1)) == ["health"]
    assert [send.data for send in driver.wake(at(0.3)).replies] == [report("fall_switch", value=True)]
    assert said(hear(driver, report("fall_switch", value=True), 0.4)) == ["health", "done"]


@pytest.mark.parametrize("name", ["firmware_upload", "", "factory", "3", "reset"])
def test_unknown_parameters_are_never_sent(name: str) -> None:
    for verb, args in ((Verb.CONFIGURE, {"name": name, "value": "1"}), (Verb.QUERY, {"name": name or "x"})):
        output = MicRadar({}, "bath").command(command(verb, **args), at(0))
        assert said(output) == ["failed"] and not output.replies


def test_a_flood_of_commands_is_refused_not_stored() -> None:
    driver = MicRadar({}, "bath")
    outputs = [driver.command(command(Verb.QUERY, name="fall"), at(0)) for _ in range(200)]
    assert sum(said(output) == ["failed"] for output in outputs) > 100


def test_silence_is_asked_after_then_offline_then_back() -> None:
    driver = MicRadar({"offline_s": 90}, None)
    settled(driver)
    hear(driver, report("heartbeat"), 0)
    assert driver.wake(at(31)).replies
    assert said(driver.wake(at(91))) == ["offline start"]
    assert said(driver.wake(at(200))) == []
    assert said(hear(driver, report("fall", fall=True), 201)) == ["offline end", "fall start"]


def test_options_are_checked() -> None:
    with pytest.raises(OptionError):
        MicRadar({"install_height_cm": 500}, None)


@pytest.mark.parametrize("device", ["bath", "micradar:bath"])
def test_both_forms_of_the_device_id_are_one(device: str) -> None:
    assert hear(MicRadar({}, device), report("fall", fall=True)).events[0].device == "micradar:bath"
