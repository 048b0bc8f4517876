"""All rules together: any kill point gives the same output as no kill; wall clock steps fire nothing by themselves."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.rules import all_rules
from tests.gateway.rules.scene import Scene

WHAT = [
    "pendant:1 sos",
    "pendant:1 fall start",
    "watch:1 fall_suspected",
    "watch:1 heart_rate=120",
    "watch:1 spo2=85",
    "watch:1 battery=4",
    "watch:1 removed start",
    "watch:1 worn",
    "watch:1 steps=100",
    "watch:1 geofence_exit start place=home",
    "watch:1 geofence_entry pulse place=home",
    "radar:1 presence start",
    "radar:1 fall start",
    "radar:2 presence end",
    "pir:1 motion start",
    "pir:2 motion start",
    "bed:1 bed_exit",
    "bed:1 bed_entry",
    "door:1 door_open start",
    "door:1 door_open end",
    "gas:1 gas_lel=12",
    "gas:1 gas_lel=1",
    "co:1 co=120",
    "co:1 co=1",
    "smoke:1 smoke start",
    "smoke:2 smoke start",
    "leak:1 water_leak start",
    "leak:1 water_leak end",
    "valve:1 valve_closed start",
    "climate:1 temperature=12",
    "climate:1 temperature=21",
    "tv:1 reminder_confirmed",
    "door:1 service_visit start person=b-7",
    "p ack",
    "p close",
]
WAITS = ["100ms", "3s", "20s", "2min", "31min", "5h"]
SETTINGS = """
[person.r-0417.ladder]
guardian_1 = "+861"
[[person.r-0417.medication.plan]]
name = "aspirin"
at = "08:00"
critical = true
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(WAITS), st.sampled_from(WHAT), st.booleans(), st.sampled_from([0, 0, 0, 86400, -86400])), max_size=20
    )
)
def test_any_kill_point_gives_the_same_output(steps: list[tuple[str, str, bool, int]]) -> None:
    whole, killed = Scene(all_rules(), SETTINGS), Scene(all_rules(), SETTINGS)
    for wait, what, kill, clock in steps:
        for scene in (whole, killed):
            scene.play(f"clock {clock}\n+{wait} {what}")
        if kill:
            killed.restart()
    assert not whole.engine.faults and not killed.engine.faults
    assert whole.said == killed.said and whole.rows == killed.rows
    assert [event.id for event in whole.events] == [event.id for event in killed.events]
    assert [command.id for command in whole.commands] == [command.id for command in killed.commands]


def test_a_quiet_home_with_a_jumping_clock_says_nothing() -> None:
    scene = Scene(all_rules())
    scene.play("10:00:00 pir:1 motion start")
    for step in (86400, -172800, 3600, 86400):
        assert scene.play(f"clock {step}\n+5min pir:1 motion start") == []


def ordinary_day(day: int) -> str:
    """Up at half past six, three meals, bathroom visits of ten minutes, a walk, to bed at half past ten, up once at night."""
    script = [f"--- 2026-11-{day}", "02:40:00 bed:1 bed_exit", "02:41:00 pir:2 motion start", "02:49:00 pir:3 motion start"]
    script += ["02:50:00 bed:1 bed_entry", "06:30:00 bed:1 bed_exit", "06:31:00 pir:3 motion start"]
    for hour in range(7, 22):
        script += [f"{hour:02d}:05:00 pir:1 motion start", f"{hour:02d}:05:30 pir:1 motion end", f"{hour:02d}:20:00 watch:1 heart_rate=74"]
        if hour % 4 == 0:
            script += [f"{hour:02d}:30:00 pir:2 motion start", f"{hour:02d}:40:00 pir:1 motion start"]
        script += [f"{hour:02d}:50:00 watch:1 steps={day * 10000 + hour * 100}"]
    script += [
        "21:40:00 door:1 door_open start",
        "21:40:20 door:1 door_open end",
        "22:25:00 pir:3 motion start",
        "22:30:00 bed:1 bed_entry",
    ]
    return "\n".join(script)


def test_a_week_of_ordinary_days_says_nothing() -> None:
    from gateway.rules.contract import DeviceFacts

    scene = Scene(all_rules(), devices={"bed:1": DeviceFacts("h-12", "bedroom", "battery", role="bed")})
    for day in range(22, 29):
        said = [line for line in scene.play(ordinary_day(day)) if " steps steps=" not in line]
        assert said == [], f"day {day}"
    assert not scene.engine.faults
