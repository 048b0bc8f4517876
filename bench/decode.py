"""Microseconds per frame and driver, events built and sealed: the good vectors of each driver, median of rounds (process CPU time)."""

from __future__ import annotations

import statistics
import time
from typing import Any

from drivers import conformance, registry
from drivers.events import seal
from drivers.harness import frame_of

ROUNDS, REPEAT = 7, 30


def measure() -> dict[str, Any]:
    """us/frame by driver."""
    return {"unit": "us CPU per frame, median of vectors", "drivers": {name: one(name) for name in registry.names()}}


def one(name: str) -> float | None:
    """One driver."""
    driver = registry.load(name)
    costs = []
    for vector in conformance.read_vectors(registry.folder(name) / "vectors.jsonl"):
        lines = vector["frames"]
        if len(lines) != 1 or not vector["expect"].get("events") or (isinstance(lines[0], dict) and {"command", "wake"} & set(lines[0])):
            continue
        frame = frame_of({"frame": lines[0]} if isinstance(lines[0], str) else lines[0], driver.info)
        rounds = []
        for _ in range(ROUNDS):
            instances = [conformance.make(driver, vector) for _ in range(REPEAT)]
            begun = time.process_time()
            for instance in instances:
                seal(instance.receive(frame).events, received_ms=frame.received.ms)
            rounds.append((time.process_time() - begun) / REPEAT * 1e6)
        costs.append(statistics.median(rounds))
    return round(statistics.median(costs), 1) if costs else None
