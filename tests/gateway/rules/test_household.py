"""Inactivity, bathroom, bed, door, vitals, medicines, visits."""

from __future__ import annotations

import pytest

from drivers.vocabulary import Severity
from gateway.rules.bathroom import BathroomRule
from gateway.rules.bed import BedRule
from gateway.rules.contract import PersonFacts, Rule
from gateway.rules.door import DoorRule
from gateway.rules.inactivity import InactivityRule
from gateway.rules.medication import MedicationRule
from gateway.rules.visits import VisitsRule
from gateway.rules.vitals import VitalsRule
from tests.gateway.rules.scene import ANNA, Scene, lines

SCRIPTS: dict[str, tuple[type[Rule], str, str, str]] = {
    "four quiet hours by day": (
        InactivityRule,
        "",
        "10:00:00 pir:1 motion start\n15:00:00 pir:1 motion start",
        "14:00:00 inactivity inactivity start alarm\n15:00:00 inactivity inactivity end alarm",
    ),
    "ten quiet hours by night": (
        InactivityRule,
        "",
        "21:30:00 pir:1 motion start\n--- 2026-11-23\n09:00:00 .",
        "07:30:00 inactivity inactivity start alarm",
    ),
    "a night's sleep is no alarm": (
        InactivityRule,
        "",
        "22:30:00 pir:1 motion start\n--- 2026-11-23\n06:45:00 pir:1 motion start\n08:00:00 .",
        "",
    ),
    "an occupied bed halves the weight": (
        InactivityRule,
        "",
        "10:00:00 bed:1 bed_entry\n17:45:00 .\n18:30:00 .",
        "18:00:00 inactivity inactivity start alarm",
    ),
    "who left by the door is out, not still": (
        InactivityRule,
        "",
        "10:00:00 door:1 door_open start\n--- 2026-11-23\n11:00:00 .",
        "10:00:00 inactivity inactivity start warning (left by the door and not back)",
    ),
    "a counter that stands still is no sign of life": (
        InactivityRule,
        "",
        "10:00:00 watch:1 steps=100\n11:00:00 watch:1 steps=150\n13:00:00 watch:1 steps=150\n15:30:00 .",
        "15:00:00 inactivity inactivity start alarm",
    ),
    "half an hour in the bathroom by day": (
        BathroomRule,
        "",
        "12:00:00 pir:2 motion start\n12:00:20 pir:2 motion end\n12:40:00 pir:1 motion start",
        "12:30:00 bathroom bathroom_long start alarm @bathroom\n12:40:00 bathroom bathroom_long end alarm @bathroom",
    ),
    "twenty minutes by night": (
        BathroomRule,
        "",
        "02:00:00 radar:2 presence start\n02:25:00 radar:2 presence end",
        "02:20:00 bathroom bathroom_long start alarm @bathroom\n02:25:00 bathroom bathroom_long end alarm @bathroom",
    ),
    "motion elsewhere ends a stay in time": (
        BathroomRule,
        "",
        "12:00:00 pir:2 motion start\n12:20:00 pir:1 motion start\n13:00:00 .",
        "",
    ),
    "out of bed at night and not back": (
        BedRule,
        "",
        "23:00:00 bed:1 bed_exit\n23:50:00 bed:1 bed_entry",
        "23:40:00 bed bed_no_return start alarm @bedroom\n23:50:00 bed bed_no_return end alarm @bedroom",
    ),
    "three exits in one night are a notice, midnight or not": (
        BedRule,
        "",
        """
        23:00:00 bed:1 bed_exit
        23:05:00 bed:1 bed_entry
        --- 2026-11-23
        01:00:00 bed:1 bed_exit
        01:05:00 bed:1 bed_entry
        03:00:00 bed:1 bed_exit
        03:05:00 bed:1 bed_entry
        """,
        "03:00:00 bed bed_exit pulse notice @bedroom (often this night)",
    ),
    "out of bed by day is nobody's business": (BedRule, "", "12:00:00 bed:1 bed_exit\n14:00:00 .", ""),
    "out by night and not back": (
        DoorRule,
        "",
        "01:00:00 door:1 door_open start\n01:00:10 door:1 door_open end\n02:00:00 pir:1 motion start",
        "01:10:00 door night_exit start alarm @entrance\n02:00:00 door night_exit end alarm @entrance",
    ),
    "a look outside is no exit": (
        DoorRule,
        "",
        "01:00:00 door:1 door_open start\n01:00:10 door:1 door_open end\n01:02:00 pir:1 motion start\n02:00:00 .",
        "",
    ),
    "a door left open": (
        DoorRule,
        "",
        "12:00:00 door:1 door_open start\n12:30:00 door:1 door_open end",
        "12:10:00 door door_left_open start warning @entrance (door:1)\n12:30:00 door door_left_open end warning @entrance (door:1)",
    ),
    "an inner door is no way out": (DoorRule, "", "01:00:00 door:2 door_open start\n03:00:00 .", ""),
    "two of three readings are an alarm, two good ones its end": (
        VitalsRule,
        "",
        """
        12:00:00 watch:1 spo2=88
        12:01:00 watch:1 spo2=97
        12:02:00 watch:1 spo2=89
        12:03:00 watch:1 spo2=97
        12:04:00 watch:1 spo2=97
        """,
        "12:02:00 vitals vital_abnormal start alarm (spo2)\n12:04:00 vitals vital_abnormal end alarm (spo2)",
    ),
    "one bad reading proves nothing, nor do two within a second": (
        VitalsRule,
        "",
        "12:00:00 watch:1 heart_rate=180\n12:00:01 watch:1 heart_rate=181\n12:01:01 watch:1 heart_rate=72",
        "",
    ),
    "two points are a warning": (
        VitalsRule,
        "",
        "12:00:00 watch:1 heart_rate=115\n12:01:00 watch:1 heart_rate=118",
        "12:01:00 vitals vital_abnormal start warning (heart_rate)",
    ),
    "off the wrist voids what was read": (
        VitalsRule,
        "",
        "12:00:00 watch:1 spo2=88\n12:00:30 watch:1 removed start\n12:01:00 watch:1 spo2=88",
        "",
    ),
    "a short visit and one without an end": (
        VisitsRule,
        "",
        """
        09:00:00 door:1 service_visit start person=b-7
        09:05:00 door:1 service_visit end person=b-7
        10:00:00 door:1 service_visit start person=b-8
        15:00:00 door:1 service_visit end person=b-8
        """,
        """
        09:05:00 visits service_visit pulse notice (short)
        14:00:00 visits service_visit pulse notice (not ended)
        15:00:00 visits service_visit pulse info (done)
        """,
    ),
    "nobody came for the agreed days": (
        VisitsRule,
        "[site.visits]\nevery_d = 2",
        "09:00:00 door:1 service_visit start person=b-7\n09:30:00 door:1 service_visit end person=b-7\n--- 2026-11-24\n10:00:00 .",
        "09:30:00 visits service_visit pulse info (done)\n09:30:00 visits service_visit pulse notice (overdue)",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_household(name: str) -> None:
    rule, settings, script, expected = SCRIPTS[name]
    assert Scene([rule()], settings).play(script) == lines(expected)


def quiet_days(count: int) -> str:
    """A person who sleeps till nine and naps from 12 to 17."""
    script = ["--- 2026-11-22", "09:00:00 pir:1 motion start"]
    for day in range(22, 22 + count):
        script += [f"--- 2026-11-{day}"]
        script += [f"{hour:02d}:00:00 pir:1 motion start" for hour in (9, 10, 11, 12, 17, 18, 19, 20, 21, 22, 23)]
        script += ["23:30:00 pir:1 motion start"]
    return "\n".join(script)


def test_three_days_of_habit_replace_the_default() -> None:
    scene = Scene([InactivityRule()])
    said = scene.play(quiet_days(3))
    assert sum("inactivity start" in line for line in said) == 3, "the nap is an alarm while the habit is unknown"
    said = scene.play("--- 2026-11-25\n" + "\n".join(f"{hour:02d}:00:00 pir:1 motion start" for hour in (9, 10, 11, 12, 17, 18)))
    assert not [line for line in said if "inactivity start" in line]


def test_a_morning_without_rising_is_missed_after_three_days_of_habit() -> None:
    scene = Scene([InactivityRule()], "[site.inactivity]\nnight_h = 24\nlongest_h = 48")
    scene.play(quiet_days(3))
    said = scene.play("--- 2026-11-25\n11:00:00 pir:1 motion start")
    assert [line for line in said if "morning" in line] == lines(
        "10:30:00 inactivity morning_rise_missed start warning\n11:00:00 inactivity morning_rise_missed end warning"
    )


def test_a_wall_clock_step_of_a_day_changes_no_quiet_time() -> None:
    scene = Scene([InactivityRule()])
    scene.play("10:00:00 pir:1 motion start\n+1h .\nclock +86400")
    assert scene.play("+2h .") == []
    assert len(scene.play("+1h .")) == 1


def test_usual_long_stays_lengthen_the_limit_of_the_bathroom() -> None:
    scene = Scene([BathroomRule()])
    for hour in range(6, 18):
        scene.play(f"{hour:02d}:00:00 pir:2 motion start\n{hour:02d}:25:00 pir:1 motion start")
    assert scene.play("18:00:00 pir:2 motion start\n18:55:00 .") == ["18:50:00 bathroom bathroom_long start alarm @bathroom"]


def test_a_shower_adds_time() -> None:
    devices = {"air:2": Scene([]).directory.device("pir:2")}
    scene = Scene([BathroomRule()], devices=devices)  # type: ignore[arg-type]
    said = scene.play("12:00:00 pir:2 motion start\n12:05:00 air:2 humidity=90\n13:00:00 .")
    assert said == ["12:45:00 bathroom bathroom_long start alarm @bathroom"]


def test_dementia_shortens_the_night_exit_to_three_minutes_and_makes_it_an_emergency() -> None:
    scene = Scene([DoorRule()], persons={ANNA: PersonFacts(("dementia",), "zh", "h-12")})
    said = scene.play("01:00:00 door:1 door_open start\n01:00:10 door:1 door_open end\n01:05:00 .")
    assert said == ["01:03:00 door night_exit start emergency @entrance"]


def test_copd_has_its_own_scale() -> None:
    scene = Scene([VitalsRule()], persons={ANNA: PersonFacts(("copd",), "zh", "h-12")})
    assert scene.play("12:00:00 watch:1 spo2=89\n12:02:00 watch:1 spo2=89") == []


def test_the_sum_of_points_is_an_emergency() -> None:
    scene = Scene([VitalsRule()])
    scene.play("12:00:00 watch:1 heart_rate=135\n12:00:10 watch:1 spo2=90\n12:00:20 watch:1 body_temperature=39")
    assert [event.severity for event in scene.events] == [Severity.ALARM, Severity.EMERGENCY]


def test_a_value_far_from_the_own_usual_is_a_notice() -> None:
    scene = Scene([VitalsRule()])
    for day in range(22, 26):
        scene.play(f"--- 2026-11-{day}\n12:00:00 watch:1 heart_rate=60\n13:00:00 watch:1 heart_rate=60")
    said = scene.play("--- 2026-11-26\n12:00:00 watch:1 heart_rate=82\n12:02:00 watch:1 heart_rate=84")
    assert said == ["12:02:00 vitals vital_abnormal start notice (heart_rate)"]


PLAN = """
[[person.r-0417.medication.plan]]
name = "aspirin"
at = "08:00"
critical = true
[[person.r-0417.medication.plan]]
name = "zero days"
at = "08:00"
days = "mo"
"""


def test_a_medicine_is_reminded_of_missed_and_told_to_the_centre() -> None:
    scene = Scene([MedicationRule()], PLAN)
    said = scene.play("07:00:00 pir:1 motion start\n10:00:00 box:1 door_open start")
    assert [line for line in said if ">" not in line] == lines("""
        08:00:00 medication medication_due start info (aspirin)
        08:30:00 medication medication_missed start warning (aspirin)
        09:00:00 medication medication_missed start alarm (aspirin)
        10:00:00 medication medication_taken pulse info (aspirin)
        10:00:00 medication medication_due end info (aspirin)
        10:00:00 medication medication_missed end warning (aspirin)
    """)
    assert [line[:8] for line in said if "remind tv" in line] == ["08:00:00", "08:10:00", "08:20:00"]


def test_a_confirmation_ends_the_reminders_and_an_early_one_counts() -> None:
    scene = Scene([MedicationRule()], PLAN)
    assert len(scene.play("07:00:00 pir:1 motion start\n08:05:00 tv:1 reminder_confirmed\n12:00:00 .")) == 5
    early = Scene([MedicationRule()], PLAN).play("07:50:00 tv:1 reminder_confirmed\n12:00:00 .")
    assert early == ["08:00:00 medication medication_taken pulse info (aspirin)"]


def test_a_clock_set_past_the_hour_reminds_at_the_next_right_hour() -> None:
    scene = Scene([MedicationRule()], PLAN)
    scene.play("07:00:00 pir:1 motion start\nclock +21600")
    assert scene.play("+2h .") == [], "eight by the old clock is fourteen by the new"
    assert scene.play("--- 2026-11-23\n08:00:30 .")[0] == "08:00:00 medication medication_due start info (aspirin)"


def test_no_medicine_is_planned_by_a_clock_that_was_never_set() -> None:
    scene = Scene([MedicationRule()], PLAN)
    scene.play("07:00:00 .")
    scene.wall_offset_ms -= scene.now.ms
    assert scene.play("+1min pir:1 motion start\n+25h .") == []
