"""Supervision: offline by learnt gaps, battery by day, off the wrist by day."""

from __future__ import annotations

import pytest

from drivers.events import CommandResult, CommandStatus, Event
from gateway.rules.supervision import SupervisionRule
from tests.gateway.rules.scene import Scene, lines

SCRIPTS = {
    "a mains device is missed after five minutes and greeted when back": (
        "12:00:00 radar:1 health\n12:01:00 radar:1 health\n12:20:00 radar:1 health",
        ["12:06:00 supervision offline start warning (radar:1)", "12:20:00 supervision offline end warning (radar:1)"],
    ),
    "a device of a known interval is missed after three reports": (
        "12:00:00 climate:1 temperature=21\n13:00:00 .",
        ["12:30:00 supervision offline start warning (climate:1)"],
    ),
    "a pendant may be silent for a day": (
        "12:00:00 pendant:1 health\n12:01:00 pendant:1 health\n+24h .",
        [],
    ),
    "no device may be silent for longer than 25 hours": (
        "12:00:00 pendant:1 health\n+25h .",
        ["13:00:00 supervision offline start warning (pendant:1)"],
    ),
    "a hub that says offline is believed at once": (
        "12:00:00 pir:1 motion start\n12:00:30 pir:1 gone",
        ["12:00:30 supervision offline start warning (pir:1)"],
    ),
    "a battery is told once a level and once when it is charged": (
        "12:00:00 watch:1 battery=19\n12:10:00 watch:1 battery=18\n12:20:00 watch:1 battery=9\n12:30:00 watch:1 battery=80",
        [
            "12:00:00 supervision low_battery start notice (watch:1)",
            "12:20:00 supervision low_battery start alarm (watch:1)",
            "12:30:00 supervision low_battery end notice (watch:1)",
        ],
    ),
    "ten percent at night waits for the morning": (
        "23:00:00 watch:1 battery=9\n--- 2026-11-23\n08:00:00 .",
        ["23:00:00 supervision low_battery start notice (watch:1)", "06:00:00 supervision low_battery start alarm (watch:1)"],
    ),
    "five percent does not wait": (
        "23:00:00 watch:1 battery=4",
        ["23:00:00 supervision low_battery start alarm (watch:1)"],
    ),
    "a wristband off for a quarter of an hour is a warning by day": (
        "12:00:00 watch:1 removed start\n12:20:00 watch:1 worn",
        ["12:15:00 supervision removed start warning (watch:1)", "12:20:00 supervision removed end warning (watch:1)"],
    ),
    "a wristband off by night is asked for in the morning": (
        "22:30:00 watch:1 removed start\n--- 2026-11-23\n07:00:00 .",
        ["06:00:00 supervision removed start warning (watch:1)"],
    ),
    "a wristband put on again in time is nobody's business": (
        "12:00:00 watch:1 removed start\n12:10:00 watch:1 worn\n13:00:00 .",
        [],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_supervision(name: str) -> None:
    script, expected = SCRIPTS[name]
    assert Scene([SupervisionRule()]).play(script) == expected


def test_a_sensor_that_sleeps_at_night_is_judged_by_its_nights() -> None:
    scene = Scene([SupervisionRule()])
    days = "\n".join(
        f"--- 2026-11-{day}\n" + "\n".join(f"{hour:02d}:00:00 pir:1 motion start" for hour in range(7, 22)) for day in (22, 23)
    )
    assert scene.play(days + "\n--- 2026-11-24\n06:30:00 .") == []


def test_one_outage_does_not_teach_a_long_gap() -> None:
    scene = Scene([SupervisionRule()])
    scene.play("\n".join(f"12:{minute:02d}:00 radar:1 health" for minute in range(10)))
    scene.play("17:00:00 radar:1 health\n17:01:00 radar:1 health")
    assert scene.play("18:00:00 .") == lines("17:36:00 supervision offline start warning (radar:1)")


def test_what_was_silent_while_the_gateway_was_off_gets_grace() -> None:
    scene = Scene([SupervisionRule()])
    scene.play("12:00:00 radar:1 health")
    scene.steady_ms += 7_200_000
    scene.restart()
    assert scene.play("14:29:00 .") == []
    assert scene.play("14:31:00 .") == lines("14:30:00 supervision offline start warning (radar:1)")


def test_the_gateways_own_word_about_a_command_is_no_sign_of_the_device() -> None:
    scene = Scene([SupervisionRule()])
    scene.play("12:00:00 .")
    body = CommandResult(command="c", verb="siren", status=CommandStatus.ACCEPTED)
    scene.send([Event(device="siren:1", at_ms=scene.now.ms, body=body)])
    assert scene.play("14:00:00 .") == []
