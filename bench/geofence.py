"""False and missed exits of the geofence rule on simulated person-days: `python bench/geofence.py [days] [first seed]` prints JSON.

The days come from the shared tool (`tools/geofence_days.py`, folder by ANHU_SHARED or beside the checkout), the fixes go through the
real rule as position events, and the tool's own scoring judges. `notice` counts every GEOFENCE_EXIT, `alarm` those told as an alarm.
With `real` the trips follow pieces of the recorded walk. A third number repeats that many times, each with days of its own, and prints
how the figures are spread: `python bench/geofence.py 100 40000 20`. The constants were chosen on seeds 1000..1299, 3000..3074 and
20000..20799.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivers.api import Instant
from drivers.events import Event, Occurrence, Position, seal
from drivers.vocabulary import OccurrenceKind, Severity, Source, State
from gateway.rules.contract import DeviceFacts, PersonFacts
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import RuleEngine
from gateway.rules.fences import Fence
from gateway.rules.geofence import GeofenceRule
from gateway.rules.settings import RuleSettings

SHARED = Path(os.environ.get("ANHU_SHARED", Path(__file__).resolve().parents[2] / "shared"))
MIDNIGHT_MS = 1_795_276_800_000
SOURCES = (Source.GNSS, Source.WIFI, Source.CELL)


def tool() -> Any | None:
    """The module of the shared tool, None where it is absent."""
    path = SHARED / "tools" / "geofence_days.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("geofence_days", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def legs(days: Any) -> list[Any]:
    """Half hours of the recorded walk, in metres."""
    import numpy as np

    rows = np.genfromtxt(SHARED / "data" / "gps" / "belval" / "walk_phone.csv", delimiter=",", names=True)
    xy = days.enu(rows["path_lat"], rows["path_lon"], (rows["path_lat"][0], rows["path_lon"][0]))
    at = rows["t_s"] - rows["t_s"][0]
    grid = np.arange(0, at[-1])
    path = np.column_stack([np.interp(grid, at, xy[:, axis]) for axis in (0, 1)])
    return [path[begin : begin + 1800] - path[begin] for begin in range(0, len(path) - 600, 150)]


def fence_of(fence: dict[str, Any]) -> Fence:
    if fence["type"] == "circle":
        return Fence(name="home", shape="circle", centre=tuple(fence["centre"]), radius_m=fence["radius"])
    return Fence(name="home", shape="polygon", points=[tuple(point) for point in fence["points"]])


def event_of(row: Any) -> Event:
    number = float
    body = Position(
        lat=number(row["lat"]),
        lon=number(row["lon"]),
        source=SOURCES[int(row["src"])],
        accuracy_m=None if math.isnan(row["acc"]) else number(row["acc"]),
        speed_kmh=None if math.isnan(row["spd"]) else number(row["spd"]) * 3.6,
    )
    at_ms = MIDNIGHT_MS + round(number(row["fix_t"]) * 1000)
    return Event(device="watch:1", at_ms=at_ms, body=body, subject="p", evidence=f"{number(row['recv_t'])}")


def is_exit(event: Event) -> bool:
    """Whether an exit is told or told again."""
    body = event.body
    return isinstance(body, Occurrence) and body.kind is OccurrenceKind.GEOFENCE_EXIT and body.state is State.START


class Days:
    """The person-days as seen by the rule; each is run once, both levels are read from what it said."""

    def __init__(self) -> None:
        self.fixes = 0
        self.seconds = 0.0
        self.said: dict[int, list[tuple[float, Severity]]] = {}

    def run(self, day: dict[str, Any]) -> None:
        directory = HouseholdDirectory({"watch:1": DeviceFacts("p", role="wristband")}, {"p": PersonFacts()})
        rule = GeofenceRule()
        tables = {("person", "p"): {"geofence": {"fence": [fence_of(day["fence"])]}}}
        engine = RuleEngine([rule], RuleSettings([rule], directory, tables), directory)
        said = self.said[day["seed"]] = []
        for row in day["fixes"]:
            at_s = float(row["recv_t"])
            while (due := engine.due()) is not None and due < 1000.0 + at_s:
                woken = engine.wake(Instant(MIDNIGHT_MS + round((due - 1000.0) * 1000), due))
                said += [(due - 1000.0, event.severity) for event in woken.events if is_exit(event)]
            now = Instant(MIDNIGHT_MS + round(at_s * 1000), 1000.0 + at_s)
            events = seal([event_of(row)], received_ms=now.ms)
            begin = time.perf_counter()
            outcome = engine.apply(events, now)
            self.seconds += time.perf_counter() - begin
            self.fixes += 1
            said += [(at_s, event.severity) for event in outcome.events if is_exit(event)]
        assert not engine.faults, engine.last_fault

    def detector(self, days: Any, least: Severity) -> Any:
        """In the form of the scoring tool. What is told between two fixes belongs to the earlier, as the tool has it."""
        return days.from_alarms({seed: [at_s for at_s, severity in said if severity >= least] for seed, said in self.said.items()})


def many_fences(people: int = 1000, fences: int = 10) -> dict[str, float]:
    """Microseconds per position, for people with `fences` of their own each: of the rule alone, and with the engine (state encoded)."""
    import random

    from gateway.rules.contract import Context

    roll = random.Random(3)
    rule = GeofenceRule()
    directory = HouseholdDirectory({}, {})
    tables: Any = {}
    homes = []
    for number in range(people):
        lat, lon = 31.0 + roll.random(), 121.0 + roll.random()
        homes.append((lat, lon))
        places = [(lat, lon, 200.0), *((lat + roll.uniform(-0.1, 0.1), lon + roll.uniform(-0.1, 0.1), 150.0) for _ in range(fences - 1))]
        own = [
            Fence(name=f"f{place}", shape="circle", centre=at[:2], radius_m=at[2], kind="forbidden" if place else "safe")
            for place, at in enumerate(places)
        ]
        tables["person", f"r-{number}"] = {"geofence": {"fence": own}}
    settings = RuleSettings([rule], directory, tables)
    engine = RuleEngine([rule], settings, directory)
    states = [rule.state_type() for _ in homes]
    contexts = [Context("geofence", f"r-{number}", settings.of("geofence", f"r-{number}"), directory) for number in range(people)]
    alone, whole = [], []
    for turn in range(11):
        for number, (lat, lon) in enumerate(homes):
            body = Position(lat=lat + roll.gauss(0, 1e-4), lon=lon + roll.gauss(0, 1e-4), accuracy_m=8.0, speed_kmh=0.0)
            now_ms = MIDNIGHT_MS + turn * 60_000
            event = Event(device=f"watch:{number}", at_ms=now_ms, body=body, subject=f"r-{number}", received_ms=now_ms, id="x")
            context = contexts[number]
            now = Instant(now_ms, now_ms / 1000)
            context.now, context.steady_ms, context.given = now, now_ms, event
            begin = time.perf_counter_ns()
            rule.apply(states[number], event, context)
            middle = time.perf_counter_ns()
            engine.apply([event], now)
            if turn:
                alone.append(middle - begin)
                whole.append(time.perf_counter_ns() - middle)
    return {
        "people": people,
        "fences": people * fences,
        "us_per_position": round(statistics.median(alone) / 1000, 2),
        "us_per_position_with_engine": round(statistics.median(whole) / 1000, 2),
    }


def measure(count: int = 200, seed: int = 5000, *, is_real: bool = False) -> dict[str, Any]:
    """Both levels as the tool scores them, and the cost."""
    cost = many_fences()
    days = tool()
    if days is None:
        return {"cost": cost, "skipped": f"{SHARED / 'tools' / 'geofence_days.py'} is absent: set ANHU_SHARED to the shared folder"}
    walked = legs(days) if is_real else None
    seen = Days()

    def made() -> Iterator[dict[str, Any]]:
        for number in range(count):
            day = days.make_day(seed + number, walked)
            seen.run(day)
            yield day

    kept = list(made())
    found = {
        name: days.score(seen.detector(days, least), kept) for name, least in (("notice", Severity.WARNING), ("alarm", Severity.ALARM))
    }
    return {
        "days": count,
        "seed": seed,
        "real_walks": is_real,
        **found,
        "us_per_fix": round(seen.seconds / seen.fixes * 1e6, 1),
        "cost": cost,
    }


MEASURES = ("missed_of_detectable", "delay_s_p50", "delay_s_p90", "oracle_s_p90", "false_exits_per_24h")


def spread(count: int, seed: int, runs: int, *, is_real: bool = False) -> dict[str, Any]:
    """Least, median, highest tenth and worst of each figure over several runs, and all days together."""
    import numpy as np

    days = tool()
    if days is None:
        return {"skipped": f"{SHARED / 'tools' / 'geofence_days.py'} is absent: set ANHU_SHARED to the shared folder"}
    walked = legs(days) if is_real else None
    rows: dict[str, list[dict[str, float]]] = {"notice": [], "alarm": []}
    for run in range(runs):
        seen = Days()
        kept = [days.make_day(seed + run * count + number, walked) for number in range(count)]
        for day in kept:
            seen.run(day)
        for name, least in (("notice", Severity.WARNING), ("alarm", Severity.ALARM)):
            rows[name].append(days.score(seen.detector(days, least), kept))
    found: dict[str, Any] = {"days": count * runs, "runs": runs, "seed": seed, "real_walks": is_real}
    for name, scores in rows.items():
        found[name] = {
            what: {
                "mean": round(float(np.mean(values)), 4),
                **{label: round(float(np.percentile(values, rank)), 4) for label, rank in RANKS},
            }
            for what in MEASURES
            if (values := [score[what] for score in scores])
        }
    return found


RANKS = (("least", 0), ("median", 50), ("p90", 90), ("worst", 100))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    numbers = [int(text) for text in arguments if text.isdigit()]
    is_walked = "real" in arguments
    result = spread(*numbers[:3], is_real=is_walked) if len(numbers) > 2 else measure(*numbers[:2], is_real=is_walked)
    print(json.dumps(result, indent=1))
