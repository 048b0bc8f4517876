"""Microseconds per event through all household rules: `python bench/rules.py [events]` prints JSON.

The mix is a home's: mostly motion, positions' companions (steps, heart rate, battery), climate; an alarm now and then. `state_bytes`
is what the store writes for it, `states_per_event` how many rows.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time

from drivers.api import Instant
from drivers.events import DeviceHealth, Event, Measurement, Occurrence, Position, seal
from drivers.vocabulary import OccurrenceKind, Quantity, State
from gateway.rules import all_rules
from gateway.rules.contract import DeviceFacts, PersonFacts
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import RuleEngine
from gateway.rules.settings import RuleSettings

HOMES = 50
PIECE = 500
START_MS = 1_795_336_212_000
ROOMS = ("bedroom", "bathroom", "kitchen", "living room", "entrance")


def body_of(roll: random.Random) -> tuple[str, object]:
    kind = roll.random()
    if kind < 0.40:
        return f"pir{roll.randrange(4)}", Occurrence(kind=OccurrenceKind.MOTION, state=roll.choice((State.START, State.END)))
    if kind < 0.55:
        return "watch", Measurement(quantity=Quantity.HEART_RATE, value=float(roll.randint(55, 95)))
    if kind < 0.70:
        return "watch", Position(lat=31.2, lon=121.5)
    if kind < 0.80:
        return "watch", DeviceHealth(battery_percent=float(roll.randint(30, 90)))
    if kind < 0.90:
        return "climate", Measurement(quantity=Quantity.TEMPERATURE, value=float(roll.randint(18, 27)))
    if kind < 0.97:
        return "radar", Occurrence(kind=OccurrenceKind.PRESENCE, state=roll.choice((State.START, State.END)))
    if kind < 0.999:
        return "door", Occurrence(kind=OccurrenceKind.DOOR_OPEN, state=roll.choice((State.START, State.END)))
    return "pendant", Occurrence(kind=OccurrenceKind.SOS)


def build() -> tuple[RuleEngine, HouseholdDirectory]:
    devices: dict[str, DeviceFacts] = {}
    for home in range(HOMES):
        for name in ("pir0", "pir1", "pir2", "pir3", "watch", "climate", "radar", "door", "pendant", "tv"):
            place = (
                ROOMS[int(name[3])] if name.startswith("pir") else {"radar": "bedroom", "door": "entrance", "climate": "kitchen"}.get(name)
            )
            subject = f"r-{home}" if name in ("watch", "pendant") else f"h-{home}"
            devices[f"{name}:{home}"] = DeviceFacts(subject, place, "battery", 3600, "wristband" if name == "watch" else name)
    directory = HouseholdDirectory(devices, {f"r-{home}": PersonFacts(("alone",), "zh", f"h-{home}") for home in range(HOMES)})
    rules = all_rules()
    return RuleEngine(rules, RuleSettings(rules, directory), directory), directory


def story(count: int, directory: HouseholdDirectory) -> list[Event]:
    """Sealed events in order of time."""
    roll = random.Random(7)
    events = []
    now_ms = START_MS
    for number in range(count):
        now_ms += roll.randint(50, 1500)
        name, body = body_of(roll)
        device = f"{name}:{roll.randrange(HOMES)}"
        facts = directory.device(device)
        event = Event(device=device, at_ms=now_ms, body=body, evidence=f"{number}", subject=facts.subject if facts else None)  # type: ignore[arg-type]
        events += seal([event], received_ms=now_ms)
    return events


def measure(count: int = 20_000) -> dict[str, object]:
    """`us_median`: of single events. `us_mean` and `us_best_piece`: CPU time of all events, and of the best of pieces of `PIECE` events
    (on a busy machine the nearest to what the code costs)."""
    engine, directory = build()
    events = story(count, directory)
    singles, spans, rows, size, said = [], [], 0, 0, 0
    for begin in range(0, count, PIECE):
        piece = [(event, Instant(event.at_ms, (event.at_ms - START_MS) / 1000 + 1000)) for event in events[begin : begin + PIECE]]
        since = time.process_time()
        outcomes = []
        for event, now in piece:
            begun = time.perf_counter_ns()
            outcomes.append(engine.apply([event], now))
            singles.append(time.perf_counter_ns() - begun)
        spans.append((time.process_time() - since) / len(piece))
        for outcome in outcomes:
            rows += len(outcome.states)
            size += sum(len(packed or b"") for _, _, packed in outcome.states)
            said += len(outcome.events)
    return {
        "events": count,
        "us_median": round(statistics.median(singles) / 1000, 1),
        "us_mean": round(statistics.fmean(spans) * 1e6, 1),
        "us_best_piece": round(min(spans) * 1e6, 1),
        "events_said": said,
        "states_per_event": round(rows / count, 3),
        "state_bytes_per_event": round(size / count, 1),
        "states_held": len(engine.rows()),
        "faults": dict(engine.faults),
    }


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:2]))))
