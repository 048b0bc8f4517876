"""The fall rule: confirmed, joined, doubted, cancelled; never vetoed in silence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rules.fall import FallRule
from gateway.rules.incident import IncidentRule
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
    "a call for help shortly before decides, too": (
        "11:59:30 pendant:1 sos\n12:00:00 watch:1 fall_suspected\n12:00:05 pir:1 motion start\n+300s .",
        ["12:00:00 fall fall start emergency (call for help)", ASK],
    ),
    "a call for help long before does not": (
        "11:50:00 pendant:1 sos\n12:00:00 watch:1 fall_suspected\n12:00:20 pir:1 motion start\n12:00:40 pir:2 motion start\n+300s .",
        [ASK, "12:01:10 fall fall_suspected pulse notice (walking afterwards, not confirmed)"],
    ),
    "long stillness seen by a radar decides": (
        "12:00:00 watch:1 fall_suspected\n12:00:15 pir:1 motion start\n12:00:20 radar:1 long_still start\n+300s .",
        [ASK, "12:00:20 fall fall start emergency (no movement reported)"],
    ),
    "a radar confirms a wristband": (
        "11:58:00 radar:1 presence start\n12:00:00 watch:1 fall_suspected\n12:00:20 radar:1 fall start\n+300s .",
        [ASK, "12:00:20 fall fall start emergency @bedroom (second source)"],
    ),
    "the flag of a wristband is confirmed by stillness like any other": (
        "12:00:00 watch:1 fall start\n+60s .",
        ["12:00:30 fall fall start emergency (still afterwards)"],
    ),
    "presence in the room of the fall only delays": (
        "11:58:00 radar:1 presence start\n12:00:00 radar:1 fall start\n12:00:20 radar:1 presence start\n+90s .",
        ["12:00:50 fall fall start emergency @bedroom (still afterwards)"],
    ),
    "going to bed is walking": (
        "12:00:00 watch:1 fall_suspected\n12:00:20 bed:1 bed_entry\n+120s .",
        [ASK, "12:00:50 fall fall_suspected pulse notice (walking afterwards, not confirmed)"],
    ),
    "an impact in bed stays a warning": (
        "11:00:00 bed:1 bed_entry\n12:00:00 watch:1 fall_suspected\n+120s .",
        [ASK, "12:00:30 fall fall_suspected pulse warning (in bed, not confirmed)"],
    ),
    "who fell out of bed is not resting": (
        "11:00:00 bed:1 bed_entry\n12:00:00 watch:1 fall_suspected\n12:00:03 bed:1 bed_exit start\n+120s .",
        [ASK, "12:00:33 fall fall start emergency (still afterwards)"],
    ),
    "the end of the stay in bed is leaving it": (
        "11:00:00 bed:1 bed_entry start\n12:00:00 watch:1 fall_suspected\n12:00:03 bed:1 bed_entry end\n+120s .",
        [ASK, "12:00:33 fall fall start emergency (still afterwards)"],
    ),
    "a bed that did not see its sleeper go is not believed": (
        "11:00:00 bed:1 bed_entry\n11:30:00 pir:1 motion start\n12:00:00 watch:1 fall_suspected\n+120s .",
        [ASK, "12:00:30 fall fall start emergency (still afterwards)"],
    ),
    "no bed speaks against what a pendant reports": (
        "11:00:00 bed:1 bed_entry\n12:00:00 pendant:1 fall start\n+120s .",
        ["12:00:30 fall fall start emergency (still afterwards)"],
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


def test_a_candidate_is_judged_even_where_the_window_is_shorter_than_the_wait() -> None:
    scene = Scene([FallRule()], "[site.fall]\nask = false\nwindow_s = 30\nstill_s = 60\n")
    assert scene.play("12:00:00 watch:1 fall_suspected\n+300s .") == lines("12:01:00 fall fall start emergency (still afterwards)")


def test_pendant_radar_wristband_and_call_are_one_incident_of_the_fall_and_one_of_the_call() -> None:
    scene = Scene([FallRule(), IncidentRule()], "[site.fall]\nask = false\n")
    scene.play(
        "12:00:00 watch:1 fall_suspected\n12:00:05 radar:1 fall start\n12:00:07 pendant:1 fall start\n12:00:20 pendant:1 sos\n+300s ."
    )
    told = [line.split(" ", 1)[1] for line in scene.said if "incident start" in line]
    assert told == ["incident incident start warning (opened: fall_suspected)", "incident incident start emergency (opened: sos)"]
    assert any("incident pulse emergency" in line and "raised: fall" in line for line in scene.said)


EVIDENCE = (
    "pendant:1 fall start",
    "radar:1 fall start",
    "watch:1 fall start",
    "watch:1 fall_suspected",
    "pendant:1 sos",
    "pendant:1 no_motion",
    "radar:1 presence start",
    "pir:1 motion start",
    "pir:2 motion start",
    "bed:1 bed_entry",
    "bed:1 bed_exit",
    "door:1 door_open start",
    "tv:1 reminder_confirmed",
    "watch:1 fall_suspected end",
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from(EVIDENCE)), max_size=8), st.sampled_from(EVIDENCE[:4]))
def test_whatever_follows_a_candidate_its_end_is_told(later: list[tuple[int, str]], candidate: str) -> None:
    scene = Scene([FallRule()], "[site.fall]\nask = false\n")
    scene.play(f"12:00:00 {candidate}")
    for wait_s, what in later:
        scene.play(f"+{wait_s}s {what}")
    scene.play("+900s .")
    verdicts = ("fall start emergency", "not confirmed", "cancelled by the wearer")
    assert any(any(verdict in line for verdict in verdicts) for line in scene.said)


def test_every_source_of_one_fall_carries_one_incident_id() -> None:
    scene = Scene([FallRule()])
    scene.play("12:00:00 radar:1 fall start\n12:00:20 watch:1 fall_suspected\n+60s .")
    assert len({getattr(event.body, "incident", None) for event in scene.events}) == 1 and len(scene.events) == 2
