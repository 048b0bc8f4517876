"""Wandering: laps, pacing, random paths, hours and places that are none of the person's; an errand is none of them."""

from __future__ import annotations

from math import cos, pi, sin

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.events import Event, Position
from gateway.rules.contract import Values
from gateway.rules.geometry import Plane
from gateway.rules.wandering import WanderingRule, may_wander, measure
from tests.gateway.rules.scene import Scene, wall_ms

PLANE = Plane(31.2304, 121.4737)


def walk(scene: Scene, points: list[tuple[float, float]], *, step_s: int = 30, day: str = "2026-11-22", at: str = "10:00:00") -> list[str]:
    begin = len(scene.said)
    scene.run_to(max(scene.steady_ms, wall_ms(at, day) - scene.wall_offset_ms))
    for x, y in points:
        scene.run_to(scene.steady_ms + step_s * 1000)
        lat, lon = PLANE.geo(x, y)
        body = Position(lat=lat, lon=lon, accuracy_m=4.0, speed_kmh=3.5)
        scene.send([Event(device="watch:1", at_ms=scene.now.ms, body=body, evidence=f"{scene.steady_ms}")])
    return [line.split(" ", 1)[1] for line in scene.said[begin:]]


def test_laps_in_a_yard() -> None:
    points = [(40 * cos(turn * pi / 4), 40 * sin(turn * pi / 4)) for turn in range(24)]
    assert walk(Scene([WanderingRule()]), points) == ["wandering wandering pulse notice (lapping)"]


def test_pacing_between_two_ends() -> None:
    line = [0, 25, 50, 75, 50, 25]
    assert walk(Scene([WanderingRule()]), [(float(x), 0.0) for x in line * 4]) == ["wandering wandering pulse notice (pacing)"]


def test_a_path_that_leads_nowhere() -> None:
    points = [(0, 0), (60, 10), (30, 60), (80, 50), (20, 20), (70, -10), (50, 55), (0, 40), (45, 5), (85, 45), (10, 60), (60, 25), (5, 0)]
    said = walk(Scene([WanderingRule()]), [(float(x), float(y)) for x, y in points * 2], step_s=40)
    assert len(said) >= 1 and all("wandering pulse notice" in line for line in said)


def test_an_errand_there_and_back_is_none() -> None:
    out = [(30.0 * step, 10.0 * (step % 3)) for step in range(20)]
    assert walk(Scene([WanderingRule()]), [*out, *out[::-1]]) == []


def test_drift_at_home_and_a_bus_are_no_walk() -> None:
    scene = Scene([WanderingRule()])
    for step in range(60):
        lat, lon = PLANE.geo(60 * cos(step), 60 * sin(step))
        body = Position(lat=lat, lon=lon, accuracy_m=60.0, speed_kmh=0.3)
        scene.run_to(scene.steady_ms + 60_000)
        scene.send([Event(device="watch:1", at_ms=scene.now.ms, body=body)])
    assert scene.said == []
    assert walk(scene, [(400.0 * step, 0.0) for step in range(30)]) == []


def test_hours_and_places_are_judged_after_enough_days_only() -> None:
    errand = [(30.0 * step, 0.0) for step in range(10)]
    scene = Scene([WanderingRule()])
    for day in range(1, 4):
        assert walk(scene, errand, day=f"2026-12-{day:02d}") == []
    assert walk(scene, errand, day="2026-12-04", at="02:00:00") == [], "three days are no habit"
    for day in range(5, 20):
        assert walk(scene, errand, day=f"2026-12-{day:02d}") == []
    far = [(5000.0 + 30 * step, 0.0) for step in range(4)]
    assert walk(scene, far, day="2026-12-20", at="10:10:00") == ["wandering wandering pulse notice (unusual place)"]
    assert walk(scene, errand, day="2026-12-21", at="20:00:00") == ["wandering wandering pulse notice (unusual hour)"]


def test_a_pattern_is_told_once_in_two_hours_and_can_be_switched_off() -> None:
    laps = [(40 * cos(turn * pi / 4), 40 * sin(turn * pi / 4)) for turn in range(80)]
    assert len(walk(Scene([WanderingRule()]), laps)) == 1
    assert walk(Scene([WanderingRule()], "[site.wandering]\non = false\n"), laps) == []


STEPS = st.lists(st.tuples(st.integers(-90, 90), st.integers(-90, 90)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_quick_look_overlooks_no_pattern(steps: list[tuple[int, int]]) -> None:
    path = [(0, 0.0, 0.0)]
    for east, north in steps:
        at, x, y = path[-1]
        path.append((at + 60_000, x + east, y + north))
    values = Values({row.name: row.default for row in WanderingRule.settings}, {}, {})
    found = measure(path)
    is_lap = found.extent_m <= values["lap_m"] and abs(found.turns) >= values["laps"]
    is_random = found.length_m >= values["random_m"] and found.length_m > values["random_ratio"] * max(found.net_m, found.extent_m)
    if is_lap or is_random or found.reversals >= values["reversals"]:
        assert may_wander(path, values)
