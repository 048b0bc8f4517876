"""Gas, carbon monoxide, smoke, water, warmth; valves that must answer."""

from __future__ import annotations

import pytest

from gateway.rules.environment import EnvironmentRule
from tests.gateway.rules.scene import Scene, lines

VALVE = 'environment > valve valve:1 {"open":false}'
SIREN = 'environment > siren siren:1 {"on":true,"seconds":180}'
SCRIPTS = {
    "gas at ten percent closes the valve, asks three times, and says that it failed": (
        "12:00:00 gas:1 gas_lel=12\n12:01:00 .",
        f"""
        12:00:00 environment gas start emergency @kitchen (gas:1)
        12:00:00 {VALVE}
        12:00:00 {SIREN}
        12:00:05 {VALVE}
        12:00:10 {VALVE}
        12:00:15 environment fault start alarm @kitchen (valve:1)
        """,
    ),
    "a valve that answers is not asked again": (
        "12:00:00 gas:1 gas start\n12:00:03 valve:1 valve_closed start\n12:01:00 .",
        f"12:00:00 {VALVE}\n12:00:00 {SIREN}",
    ),
    "a valve that closes late takes its fault back": (
        "12:00:00 gas:1 gas start\n12:01:00 valve:1 valve_closed start",
        f"""
        12:00:00 {VALVE}
        12:00:00 {SIREN}
        12:00:05 {VALVE}
        12:00:10 {VALVE}
        12:00:15 environment fault start alarm @kitchen (valve:1)
        12:01:00 environment fault end warning @kitchen (valve:1)
        """,
    ),
    "a valve that is opened while gas is in the air is closed again": (
        "12:00:00 gas:1 gas_lel=30\n12:00:01 valve:1 valve_closed start\n"
        "12:00:30 valve:1 valve_closed end\n12:00:31 valve:1 valve_closed start",
        f"12:00:00 environment gas start emergency @kitchen (gas:1)\n12:00:00 {VALVE}\n12:00:00 {SIREN}\n12:00:30 {VALVE}",
    ),
    "a valve that stands closed is ordered once and owes no answer": (
        "11:00:00 valve:1 valve_closed start\n12:00:00 gas:1 gas start\n12:01:00 .",
        f"12:00:00 {VALVE}\n12:00:00 {SIREN}",
    ),
    "a hub's done is enough for a valve that never tells its state": (
        "12:00:00 gas:1 gas start\n12:00:02 valve:1 result=valve c done\n12:01:00 .",
        f"12:00:00 {VALVE}\n12:00:00 {SIREN}",
    ),
    "a hub's done is not enough for a valve that does": (
        "11:00:00 valve:1 valve_closed end\n12:00:00 gas:1 gas start\n12:00:02 valve:1 result=valve c done\n"
        "12:00:07 valve:1 valve_closed start",
        f"12:00:00 {VALVE}\n12:00:00 {SIREN}\n12:00:05 {VALVE}",
    ),
    "gas rises through the pre-alarm and is gone after a minute below": (
        "12:00:00 gas:1 gas_lel=6\n12:00:30 gas:1 gas_lel=4\n12:00:50 gas:1 gas_lel=5.5\n12:01:00 gas:1 gas_lel=2\n12:03:00 .",
        """
        12:00:00 environment gas start warning @kitchen (gas:1)
        12:02:00 environment gas end emergency @kitchen (gas:1)
        """,
    ),
    "thirty ppm of carbon monoxide never sounds within two hours": (
        "12:00:00 co:1 co=32\n14:00:00 co:1 co=32",
        "",
    ),
    "fifty ppm sound after an hour": (
        "12:00:00 co:1 co=55\n14:00:00 co:1 co=55\n14:10:00 co:1 co=5",
        f"""
        13:00:00 environment co_alarm start emergency @kitchen (co:1)
        13:00:00 {SIREN}
        14:10:00 environment co_alarm end emergency @kitchen (co:1)
        """,
    ),
    "a hundred ppm sound after ten minutes even when the sensor falls silent": (
        "12:00:00 co:1 co=120\n12:20:00 .",
        f"12:10:00 environment co_alarm start emergency @kitchen (co:1)\n12:10:00 {SIREN}",
    ),
    "three hundred ppm sound at once": (
        "12:00:00 co:1 co=310",
        f"12:00:00 environment co_alarm start emergency @kitchen (co:1)\n12:00:00 {SIREN}",
    ),
    "a second smoke detector means fire": (
        "12:00:00 smoke:1 smoke start\n12:00:30 smoke:2 smoke start",
        f"12:00:00 {SIREN}\n12:00:30 environment fire start emergency (second detector)\n12:00:30 {SIREN}",
    ),
    "ten wet seconds close the valve": (
        "12:00:00 leak:1 water_leak start\n12:00:11 valve:1 valve_closed start",
        f"12:00:10 {VALVE}",
    ),
    "a splash closes nothing": (
        "12:00:00 leak:1 water_leak start\n12:00:05 leak:1 water_leak end\n12:01:00 .",
        "",
    ),
    "a cold room is told after two hours, with a hysteresis": (
        "12:00:00 climate:1 temperature=14\n13:00:00 climate:1 temperature=15\n"
        "14:30:00 climate:1 temperature=16.5\n15:00:00 climate:1 temperature=17.5",
        """
        14:00:00 environment temperature_abnormal start warning @living room (climate:1)
        15:00:00 environment temperature_abnormal end warning @living room (climate:1)
        """,
    ),
    "great heat is told after half an hour": (
        "12:00:00 climate:1 temperature=36\n12:31:00 .",
        "12:30:00 environment temperature_abnormal start alarm @living room (climate:1)",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_environment(name: str) -> None:
    script, expected = SCRIPTS[name]
    assert Scene([EnvironmentRule()]).play(script) == lines(expected)


def test_a_restart_between_the_tries_changes_nothing() -> None:
    whole, killed = Scene([EnvironmentRule()]), Scene([EnvironmentRule()])
    for scene in (whole, killed):
        scene.play("12:00:00 gas:1 gas_lel=12\n12:00:07 .")
        if scene is killed:
            scene.restart()
        scene.play("12:01:00 .")
    assert whole.said == killed.said


def test_a_sensor_that_is_still_cold_cannot_alarm() -> None:
    from drivers.api import Instant
    from drivers.events import Event, Measurement
    from drivers.vocabulary import Quantity
    from gateway.rules.directory import HouseholdDirectory
    from gateway.rules.engine import RuleEngine
    from gateway.rules.settings import RuleSettings

    rules, directory = [EnvironmentRule()], HouseholdDirectory({}, {})
    engine = RuleEngine(rules, RuleSettings(rules, directory), directory)

    def told(channel: str | None) -> int:
        body = Measurement(quantity=Quantity.GAS_LEL, value=40, channel=channel)
        event = Event(id="x", device="winsen:1", subject="r-1", at_ms=1795336215000, received_ms=1795336215000, body=body)
        return len(engine.apply([event], Instant(1795336215000, 1000.0)).events)

    assert told("warming_up") == 0
    assert told(None) == 1
