"""Wandering: paths that lead nowhere, and walks at hours or places that are none of the person's. Notices only.

The patterns are those of Martino-Saltzman, told by cheap measures over the path of the last half hour. Only fixes that really moved
enter the path (farther than their own error, good satellite fixes, not at rest), so drift indoors is no walk.

- lapping: at least two full turns of the same sense inside `lap_m`;
- pacing: at least three reversals between the same two ends;
- random: the path is more than four times as long as its net way and as its whole extent, and longer than `random_m`. (Measured
  against the extent, too: a walk to the shop and back has no net way and is no wandering.)
- hours, places: outside an hour, or in a place, that was never part of a walk in at least `habit_days` days of walks.

One notice per pattern in `again_min`, one per day for hours and places.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import atan2, hypot, pi

import msgspec

from drivers.events import Event, Occurrence, Position
from drivers.vocabulary import Datum, OccurrenceKind, Severity, Source
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, Values, of_person
from gateway.rules.datum import to_wgs84
from gateway.rules.geofence_state import wrapped
from gateway.rules.geometry import GeometryError, Plane
from gateway.rules.schedule import MINUTE_MS, day_of, minute_of_day

STEP_M, WORST_M, REST_KMH = 15.0, 25.0, 1.5
SPAN_MS = 30 * MINUTE_MS
GAP_MS = 10 * MINUTE_MS
"""A pause in the fixes longer than this begins a new path: what lies between is not known."""
MOST_POINTS = 160
FAST_MPS = 3.0
"""Faster than this is a vehicle, not a walk."""
FULL_TURN = 2.0 * pi
REVERSAL = 0.7 * pi
END_M = 35.0
CELL_DEG = 0.003
"""About 300 m: a place of habit."""
MOST_CELLS = 600
HOURS = 24


class WanderingState(RuleState):
    """`path` of (fix time ms, metres east and north of `lat`, `lon`), newest last; `hours` days with a walk per hour, `cells` place ->
    last day, `days` days with a walk, `day` the last of them; `marks` cells and hours of this day, counted when it ends;
    `told` pattern -> steady ms."""

    lat: float = 0.0
    lon: float = 0.0
    path: list[tuple[int, float, float]] = []
    hours: list[int] = []
    cells: dict[str, int] = {}
    days: int = 0
    day: int = 0
    marks: list[str] = []
    told: dict[str, int] = {}


class Shape(msgspec.Struct):
    """Measures of a path."""

    length_m: float
    net_m: float
    extent_m: float
    turns: float
    reversals: int


class WanderingRule:
    """Notices wandering."""

    name = "wandering"
    title = ("wandering", "徘徊")
    settings = (
        Setting("on", True, "", "watch for wandering"),
        Setting("lap_m", 150.0, "m", "laps within this extent count", "Martino-Saltzman patterns", low=20, high=1000),
        Setting("laps", 2.0, "", "full turns of the same sense", low=1, high=20),
        Setting("reversals", 3, "", "reversals between the same two ends", low=2, high=50),
        Setting("random_m", 300.0, "m", "shortest path that can be random", low=100, high=5000),
        Setting("random_ratio", 4.0, "", "path length over net way and over extent", low=2, high=20),
        Setting("habit_days", 14, "d", "days with walks before hours and places are judged", "4 weeks: 95 % predictable", low=7, high=60),
        Setting("again_min", 120, "min", "one notice of a pattern in this time", low=10, high=1440),
    )
    state_type = WanderingState
    listens: frozenset[Topic] | None = frozenset({Position})
    grace_ms = 0
    key = staticmethod(of_person)

    def rests(self, settings: Values) -> bool:
        """Switched off."""
        return not settings["on"]

    def apply(self, state: WanderingState, event: Event, context: Context) -> Decision | None:
        """Take a fix into the path."""
        body = event.body
        assert isinstance(body, Position)
        if body.lat is None or body.lon is None or not body.valid or body.stored or body.source is not Source.GNSS:
            return UNCHANGED
        accuracy_m = body.accuracy_m or WORST_M
        if accuracy_m > WORST_M or (body.speed_kmh is not None and body.speed_kmh < REST_KMH):
            return UNCHANGED
        lat, lon = (body.lat, body.lon) if body.datum is Datum.WGS84 else to_wgs84(body.lat, body.lon, body.datum)
        if not _extend(state, event.at_ms, lat, lon, accuracy_m):
            return None
        decision, values = Decision(), context.settings
        self._habit(state, lat, lon, decision, context)
        if not may_wander(state.path, values):
            return decision if decision.events else None
        found = measure(state.path)
        if found.extent_m <= values["lap_m"] and abs(found.turns) >= values["laps"]:
            self._tell(state, "lapping", found, decision, context)
        elif found.reversals >= values["reversals"]:
            self._tell(state, "pacing", found, decision, context)
        elif _is_random(found, values):
            self._tell(state, "random", found, decision, context)
        return decision if decision.events else None

    def wake(self, state: WanderingState, context: Context) -> Decision | None:
        """No timers."""
        state.due(context.steady_ms)
        return None

    def _tell(self, state: WanderingState, pattern: str, found: Shape, decision: Decision, context: Context) -> None:
        again_ms = context.settings["again_min"] * MINUTE_MS
        if pattern in state.told and context.steady_ms - state.told[pattern] < again_ms:
            return
        state.told[pattern] = context.steady_ms
        numbers = {"path_m": found.length_m, "net_m": found.net_m, "turns": abs(found.turns), "reversals": float(found.reversals)}
        names = ("lap_m", "laps") if pattern == "lapping" else ("reversals",) if pattern == "pacing" else ("random_m", "random_ratio")
        decision.events.append(_notice(pattern, context, names=names, numbers=numbers))

    def _habit(self, state: WanderingState, lat: float, lon: float, decision: Decision, context: Context) -> None:
        """Learn the hours and places of walks; tell those that are none of the person's."""
        values = context.settings
        zone = values["zone"]
        day, hour = day_of(context.now.ms, zone), minute_of_day(context.now.ms, zone) // 60
        if day != state.day:
            _close_day(state)
            state.day = day
        row, column = round(lat / CELL_DEG), round(lon / CELL_DEG)
        marks = [f"h{hour}", f"{row}/{column}"]
        fresh = [mark for mark in marks if mark not in state.marks]
        state.marks += fresh
        if state.days < values["habit_days"]:
            return
        numbers = {"habit_days": float(state.days)}
        if marks[0] in fresh and "hour" not in state.marks and not any(state.hours[(hour + near) % HOURS] for near in (-1, 0, 1)):
            state.marks.append("hour")
            decision.events.append(_notice("unusual hour", context, names=("habit_days",), numbers=numbers))
        around = (f"{row + north}/{column + east}" for north in (-1, 0, 1) for east in (-1, 0, 1))
        if marks[1] in fresh and "place" not in state.marks and not any(cell in state.cells for cell in around):
            state.marks.append("place")
            decision.events.append(_notice("unusual place", context, names=("habit_days",), numbers=numbers))


def _is_random(found: Shape, values: Values) -> bool:
    """Long, leading nowhere, and not on the way to a lap."""
    is_long = found.length_m >= values["random_m"] and found.length_m > values["random_ratio"] * max(found.net_m, found.extent_m)
    return is_long and abs(found.turns) < 1.2


def may_wander(path: list[tuple[int, float, float]], values: Values) -> bool:
    """Whether a path can be any pattern at all: a quick look, since nearly all walks lead somewhere."""
    xs, ys = [x for _, x, _ in path], [y for _, _, y in path]
    extent_m = hypot(max(xs) - min(xs), max(ys) - min(ys))
    if extent_m <= values["lap_m"]:
        return True
    steps = [(bx - ax, by - ay) for (_, ax, ay), (_, bx, by) in pairwise(path)]
    if sum([ax * bx + ay * by < 0.0 for (ax, ay), (bx, by) in pairwise(steps)]) >= values["reversals"]:
        return True
    length_m = sum([hypot(dx, dy) for dx, dy in steps])
    return bool(length_m >= values["random_m"] and length_m > values["random_ratio"] * extent_m)


def measure(path: list[tuple[int, float, float]]) -> Shape:
    """Length, net way, extent (diagonal of the bounding box), signed full turns, reversals between the same two ends."""
    xs, ys = [x for _, x, _ in path], [y for _, _, y in path]
    steps = [(bx - ax, by - ay) for (_, ax, ay), (_, bx, by) in pairwise(path)]
    turns = 0.0
    ends: list[tuple[float, float]] = []
    for at, ((ax, ay), (bx, by)) in enumerate(pairwise(steps), 1):
        angle = atan2(ax * by - ay * bx, ax * bx + ay * by)
        if -REVERSAL < angle < REVERSAL:
            turns += angle
        else:
            ends.append((xs[at], ys[at]))
    return Shape(
        length_m=sum([hypot(dx, dy) for dx, dy in steps]),
        net_m=hypot(xs[-1] - xs[0], ys[-1] - ys[0]),
        extent_m=hypot(max(xs) - min(xs), max(ys) - min(ys)),
        turns=turns / FULL_TURN,
        reversals=_same_ends(ends) if ends else 0,
    )


def _same_ends(ends: list[tuple[float, float]]) -> int:
    """The longest run of reversals that swings between two ends."""
    best = run = min(len(ends), 1)
    for at in range(1, len(ends)):
        here = ends[at]
        is_apart = hypot(here[0] - ends[at - 1][0], here[1] - ends[at - 1][1]) > STEP_M
        is_back = at < 2 or hypot(here[0] - ends[at - 2][0], here[1] - ends[at - 2][1]) <= END_M
        run = run + 1 if is_apart and is_back else 1
        best = max(best, run)
    return best


@lru_cache(maxsize=4096)
def _plane(lat: float, lon: float) -> Plane:
    """The plane of a path: the same for all of its fixes."""
    return Plane(lat, lon)


def _extend(state: WanderingState, at_ms: int, lat: float, lon: float, accuracy_m: float) -> bool:
    """Add a fix that moved; whether it did."""
    path = state.path
    if path and at_ms <= path[-1][0]:
        return False
    is_new = not path or at_ms - path[-1][0] > GAP_MS or abs(lat - state.lat) > 0.5 or abs(wrapped(lon - state.lon)) > 0.5
    if is_new:
        state.lat, state.lon, state.path = lat, lon, [(at_ms, 0.0, 0.0)]
        return False
    try:
        x, y = _plane(state.lat, state.lon).xy(lat, lon)
    except GeometryError:
        return False
    step_m = hypot(x - path[-1][1], y - path[-1][2])
    if step_m < max(STEP_M, 1.5 * accuracy_m):
        return False
    if step_m > FAST_MPS * max(1.0, (at_ms - path[-1][0]) / 1000.0):
        state.lat, state.lon, state.path = lat, lon, [(at_ms, 0.0, 0.0)]
        return False
    old = 0
    while at_ms - path[old][0] > SPAN_MS:
        old += 1
    state.path = [*path[max(old, len(path) - MOST_POINTS + 1) :], (at_ms, round(x, 1), round(y, 1))]
    return len(state.path) > 1


def _close_day(state: WanderingState) -> None:
    """What yesterday's walks add to the habit."""
    if not state.marks:
        return
    state.days += 1
    state.hours = state.hours or [0] * HOURS
    for mark in state.marks:
        if mark[0] == "h" and mark[1:].isdigit():
            state.hours[int(mark[1:])] += 1
        elif "/" in mark:
            state.cells.pop(mark, None)
            state.cells[mark] = state.day
    while len(state.cells) > MOST_CELLS:
        del state.cells[next(iter(state.cells))]
    state.marks = []


def _notice(detail: str, context: Context, *, names: tuple[str, ...], numbers: dict[str, float]) -> Event:
    why = context.why(settings=names, numbers=numbers)
    return context.event(Occurrence(kind=OccurrenceKind.WANDERING, severity=Severity.NOTICE, detail=detail, explain=why))
