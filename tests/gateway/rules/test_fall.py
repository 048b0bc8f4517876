"""The fall rule: confirmed, joined, doubted, cancelled; never vetoed in silence."""

from __future__ import annotations

import pytest

from gateway.rules.fall import FallRule
from tests.gateway.rules.scene import PERSONS, Scene, lines

ASK = '12:00:00 fall > message tv:1 {"text":"您跌倒了吗？如果没事请按确认键。","voice":true,"seconds":30}'
SCRIPTS = {
    "a suspicion followed by stillness is a fall": (
        "12:00:00 watch:1 fall_suspected\n+60s .",
        [ASK, "12:00:30 fall fall start emergency (still afterwards)"],
    ),
    "two devices within two minutes are one confirmed fall": (
        "12:00:00 pendant:1 fall start\n12:00:20 watch:1 fall_suspected\n+300s .",
        ["12:00:20 fall fall start emergency (second source)"],
    ),
    "a repeated report of one device confirms nothing by itself": (
        "12:00:00 pendant:1 fall start\n12:00:05 pendant:1 fall start\n12:00:06 .",
        [],
    ),
    "a call for help decides": (
        "12:00:00 watch:1 fall_suspected\n12:00:10 pendant:1 sos\n+300s .",
        [ASK, "12:00:10 fall fall start emergency (call for help)"],
    ),
    "the pendant's own report of no movement decides": (
        "12:00:00 pendant:1 fall start\n12:00:11 pendant:1 no_motion\n+300s .",
        ["12:00:11 fall fall start emergency (no movement reported)"],
    ),
    "who walks through the rooms is told as walking and not confirmed": (
        "12:00:00 watch:1 fall_suspected\n12:00:10 pir:1 motion start\n12:00:15 pir:2 motion start\n+90s .",
        [ASK, "12:00:45 fall fall_suspected pulse notice (walking afterwards, not confirmed)"],
    ),
    "movement on the spot waits for stillness anew": (
        "12:00:00 watch:1 fall_suspected\n12:00:20 pir:1 motion start\n+90s .",
        [ASK, "12:00:50 fall fall start emergency (still afterwards)"],
    ),
    "the wearer cancels a suspicion": (
        "12:00:00 watch:1 fall_suspected\n12:00:10 tv:1 reminder_confirmed\n+300s .",
        [ASK, "12:00:10 fall fall_suspected end warning (cancelled by the wearer)"],
    ),
    "no cancel takes back what a device reported as a fall": (
        "12:00:00 pendant:1 fall start\n12:00:10 tv:1 reminder_confirmed\n+60s .",
        ["12:00:30 fall fall start emergency (still afterwards)"],
    ),
    "a radar that saw nobody for minutes is doubted aloud": (
        "12:00:00 radar:1 fall start\n12:00:01 .",
        ["12:00:00 fall fall pulse alarm @bedroom (radar saw a fall where nobody was present)"],
    ),
    "a radar that saw somebody is not doubted": (
        "11:58:00 radar:1 presence start\n12:00:00 radar:1 fall start\n12:00:40 .",
        ["12:00:30 fall fall start emergency @bedroom (still afterwards)"],
    ),
    "a fall reported late is no base for stillness now": (
        "12:00:00 watch:1 fall start stored=1\n+60s .",
        [],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_fall(name: str) -> None:
    script, expected = SCRIPTS[name]
    assert Scene([FallRule()]).play(script) == expected


def test_setting_of_the_person_shortens_the_stillness() -> None:
    said = Scene([FallRule()], "[person.r-0417.fall]\nstill_s = 10\nask = false").play("12:00:00 watch:1 fall_suspected\n+60s .")
    assert said == lines("12:00:10 fall fall start emergency (still afterwards)")


def test_the_steps_of_a_flatmate_prove_nothing() -> None:
    from gateway.rules.contract import PersonFacts

    couple = {**PERSONS, "r-0418": PersonFacts((), "zh", "h-12")}
    scene = Scene([FallRule()], "[site.fall]\nask = false", persons=couple)
    said = scene.play("12:00:00 watch:1 fall_suspected\n12:00:10 pir:1 motion start\n12:00:15 pir:2 motion start\n+90s .")
    assert said == lines("12:00:30 fall fall start emergency (still afterwards)")


def test_every_source_of_one_fall_carries_one_incident_id() -> None:
    scene = Scene([FallRule()])
    scene.play("12:00:00 radar:1 fall start\n12:00:20 watch:1 fall_suspected\n+60s .")
    assert len({getattr(event.body, "incident", None) for event in scene.events}) == 1 and len(scene.events) == 2
