"""Incidents: one per matter, raised, suppressed in sight, closed by people."""

from __future__ import annotations

import pytest

from drivers.events import Event
from drivers.vocabulary import State
from gateway.rules.incident import IncidentRule, act, suppress
from tests.gateway.rules.scene import ANNA, Scene, lines

SCRIPTS = {
    "a call for help opens an incident that only a person closes": (
        "12:00:00 pendant:1 sos start\n12:00:10 pendant:1 sos end\n12:05:00 p ack\n12:06:00 p close",
        """
        12:00:00 incident incident start emergency (opened: sos)
        12:00:10 incident incident pulse emergency (cleared: sos)
        12:05:00 incident incident pulse emergency (acknowledged: sos)
        12:06:00 incident incident end emergency (closed: sos)
        """,
    ),
    "a second press within half a minute escalates, a re-sent frame does not": (
        "12:00:00 pendant:1 sos\n12:00:01 pendant:1 sos\n12:00:15 pendant:1 sos",
        """
        12:00:00 incident incident start emergency (opened: sos)
        12:00:15 incident incident pulse emergency (escalate: sos)
        """,
    ),
    "a tracker that repeats its alarm bit has not been pressed again": (
        "12:00:00 watch:1 sos start\n12:00:10 watch:1 sos start\n12:00:20 watch:1 sos start\n12:00:25 pendant:1 sos start",
        """
        12:00:00 incident incident start emergency (opened: sos)
        12:00:25 incident incident pulse emergency (escalate: sos)
        """,
    ),
    "a call for help and a fall are two matters": (
        "12:00:00 pendant:1 sos\n12:00:01 pendant:1 fall",
        """
        12:00:00 incident incident start emergency (opened: sos)
        12:00:01 incident incident start emergency (opened: fall)
        """,
    ),
    "a suspicion that becomes a fall is raised": (
        "12:00:00 watch:1 fall_suspected\n12:00:01 pendant:1 fall",
        """
        12:00:00 incident incident start warning (opened: fall_suspected)
        12:00:01 incident incident pulse emergency (raised: fall)
        """,
    ),
    "a leak ends by itself when it is dry": (
        "12:00:00 leak:1 water_leak start\n12:10:00 leak:1 water_leak end",
        """
        12:00:00 incident incident start alarm @kitchen (opened: water_leak)
        12:10:00 incident incident end alarm @kitchen (ended: water_leak)
        """,
    ),
    "who is back is found": (
        "12:00:00 watch:1 geofence_exit start place=home\n12:10:00 watch:1 geofence_entry pulse place=home",
        """
        12:00:00 incident incident start alarm @home (opened: geofence_exit)
        12:10:00 incident incident end alarm @home (returned: geofence_exit)
        """,
    ),
    "two rooms are two matters": (
        "12:00:00 smoke:1 smoke start place=kitchen\n12:00:05 smoke:2 smoke start place=bedroom",
        """
        12:00:00 incident incident start emergency @kitchen (opened: smoke)
        12:00:05 incident incident start emergency @bedroom (opened: smoke)
        """,
    ),
    "the detector's word and the rule's word about one kitchen are one matter": (
        "12:00:00 gas:1 gas start\n12:00:05 gas:1 gas start place=kitchen",
        "12:00:00 incident incident start emergency @kitchen (opened: gas)",
    ),
    "a warning without an end is forgotten after half a day": (
        "06:00:00 pir:1 tamper\n20:00:00 .",
        """
        06:00:00 incident incident start warning @living room (opened: tamper)
        18:00:00 incident incident end warning @living room (expired: tamper)
        """,
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_incident(name: str) -> None:
    script, expected = SCRIPTS[name]
    assert Scene([IncidentRule()]).play(script) == lines(expected)


def person_event(scene: Scene, body: object) -> list[str]:
    begin = len(scene.said)
    scene.send([Event(device="person:nurse-1", at_ms=scene.now.ms, body=body, subject=ANNA)])  # type: ignore[arg-type]
    return scene.said[begin:]


def test_a_flapping_sensor_is_one_notice_and_one_lasting_incident() -> None:
    scene = Scene([IncidentRule()])
    script = "\n".join(f"12:{2 * n:02d}:00 leak:1 water_leak start\n12:{2 * n + 1:02d}:00 leak:1 water_leak end" for n in range(8))
    said = scene.play(script)
    assert sum("unstable_sensor" in line for line in said) == 1
    assert sum("incident start" in line for line in said) == 4
    assert scene.play("+2h .") == ["13:14:00 incident incident end alarm @kitchen (expired: water_leak)"]


def test_flapping_never_covers_gas() -> None:
    scene = Scene([IncidentRule()])
    for minute in range(6):
        scene.play(f"12:{minute:02d}:00 gas:1 gas start\n12:{minute:02d}:30 x close")
    assert sum("incident start" in line for line in scene.said) == 6


def test_guest_mode_covers_habits_in_sight_and_ends_by_itself() -> None:
    scene = Scene([IncidentRule()])
    scene.play("12:00:00 .")
    assert person_event(scene, suppress("guest", 2, "nurse-1")) == ["12:00:00 incident suppressed start info (guest)"]
    assert scene.play("13:00:00 radar:1 inactivity start") == ["13:00:00 incident suppressed pulse info (inactivity: guest)"]
    assert scene.play("13:00:01 pendant:1 sos") == ["13:00:01 incident incident start emergency (opened: sos)"]
    assert scene.play("14:00:00 .") == ["14:00:00 incident suppressed end info (guest)"]
    assert scene.play("14:00:01 radar:1 inactivity start") == ["14:00:01 incident incident start alarm @bedroom (opened: inactivity)"]


def test_no_mode_lasts_longer_than_a_day() -> None:
    scene = Scene([IncidentRule()])
    person_event(scene, suppress("away", 1000, "nurse-1"))
    assert scene.play("+23h .") == []
    assert len(scene.play("+1h .")) == 1


def test_nobody_is_no_person() -> None:
    scene = Scene([IncidentRule()])
    scene.play("12:00:00 pendant:1 sos")
    said = person_event(scene, act(scene.incident or "", "", "close"))
    assert said == ["12:00:00 incident incident pulse emergency (refused: sos)"]


def test_a_hundred_alarms_of_one_person_in_a_second_are_one_incident_and_none_is_lost() -> None:
    scene = Scene([IncidentRule()])
    scene.play("\n".join("+10ms pendant:1 sos" for _ in range(100)))
    assert sum("incident start" in line for line in scene.said) == 1 and len(scene.said) < 5
    state = scene.engine.state("incident", ANNA)
    assert state.open["sos|"].count == 100


def test_the_incident_of_an_unregistered_device_opens_too() -> None:
    scene = Scene([IncidentRule()])
    scene.play("12:00:00 stranger:9 sos")
    assert [(event.subject, event.body.state) for event in scene.events] == [(None, State.START)]  # type: ignore[union-attr]
