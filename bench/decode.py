"""Microseconds per frame and driver: the good vectors of each driver, again and again through one instance, as on a connection.

Medians of the vectors (process CPU time, median of rounds): `decode` is the driver with its events built, `sealed` adds identity and
receive time as the pipeline does, `events` is how many a frame gives. A busy machine makes all of them larger at once, so a yardstick
(bench/_yardstick.py) is timed between the rounds; `decode_scaled` is `decode` on the machine on which the goals were set.

A driver that drops repetitions (replay counters, adverts) gets a fresh instance for each frame instead.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench._yardstick import scaled, yardstick_us
from drivers import conformance, registry
from drivers.api import Driver, Frame
from drivers.events import seal
from drivers.harness import frame_of

ROUNDS, REPEAT = 15, 20


def measure() -> dict[str, Any]:
    """us/frame by driver."""
    return {"unit": "us CPU per frame, median of vectors", "drivers": {name: one(name) for name in registry.names()}}


def one(name: str) -> dict[str, float] | None:
    """One driver; None where no single frame gives an event."""
    driver = registry.load(name)
    rows = []
    for vector in conformance.read_vectors(registry.folder(name) / "vectors.jsonl"):
        lines = vector["frames"]
        if len(lines) != 1 or not vector["expect"].get("events") or (isinstance(lines[0], dict) and {"command", "wake"} & set(lines[0])):
            continue
        frame = frame_of({"frame": lines[0]} if isinstance(lines[0], str) else lines[0], driver.info)
        rows.append(_vector(lambda vector=vector: conformance.make(driver, vector), frame))  # type: ignore[misc]  # binds the loop variable
    if not rows:
        return None
    decode, sealed, events, yardstick = (statistics.median(column) for column in zip(*rows, strict=True))
    as_referred = statistics.median(scaled(row[0], row[3]) for row in rows)
    shown = {"decode": decode, "decode_scaled": as_referred, "sealed": sealed, "events": events, "yardstick_us": yardstick}
    return {key: round(value, 1) for key, value in shown.items()}


def _vector(make: Callable[[], Driver], frame: Frame) -> tuple[float, float, float, float]:
    """Decode, decode and seal, events, yardstick."""
    instance = make()
    events = len(instance.receive(frame).events)
    lives = len(instance.receive(frame).events) == events
    decode, sealed, yardstick = [], [], []
    for _ in range(ROUNDS):
        before = yardstick_us()
        decode.append(_cost_us([instance] * REPEAT if lives else [make() for _ in range(REPEAT)], frame, is_sealed=False))
        sealed.append(_cost_us([instance] * REPEAT if lives else [make() for _ in range(REPEAT)], frame, is_sealed=True))
        yardstick.append((before + yardstick_us()) / 2)
    return statistics.median(decode), statistics.median(sealed), events, statistics.median(yardstick)


def _cost_us(instances: list[Driver], frame: Frame, *, is_sealed: bool) -> float:
    received_ms = frame.received.ms
    begun = time.process_time()
    if is_sealed:
        for instance in instances:
            seal(instance.receive(frame).events, received_ms=received_ms)
    else:
        for instance in instances:
            instance.receive(frame)
    return (time.process_time() - begun) / len(instances) * 1e6
