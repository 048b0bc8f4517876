"""The pipeline alone: sessions, rules, store (FULL) in one process, no broker. CPU microseconds per event and events per second.

`us_scaled`: see bench/_yardstick.py.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._yardstick import scaled, yardstick_us
from drivers.api import Frame, Transport
from drivers.events import Event
from gateway import people
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.rules import all_rules
from gateway.rules.engine import RuleEngine
from gateway.rules.settings import RuleSettings
from gateway.session import Session
from gateway.settings import StoreSection
from gateway.store.sqlite import SqliteStore

DEVICES, BATCH, SECONDS = 50, 20, 4.0


def measure() -> dict[str, Any]:
    """With and without rules."""
    return {
        "unit": "us CPU per event; events per second",
        "plain": asyncio.run(run(rules=False)),
        "with_rules": asyncio.run(run(rules=True)),
    }


async def run(*, rules: bool) -> dict[str, float]:
    """One variant."""
    from drivers.watch.driver import DRIVER

    clock = SystemClock()
    devices = [Device(device=f"watch:88{i:08d}", driver="watch", subject=f"r-{i}") for i in range(DEVICES)]
    inventory = Inventory(devices)
    engine = None
    if rules:
        directory = people.directory_of(inventory, {})
        engine = RuleEngine(all_rules(), RuleSettings(all_rules(), directory), directory)
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "anhu.db", StoreSection())
        pipeline = Pipeline(clock, inventory, store, engine)
        events = 0

        def count(event: Event) -> None:
            nonlocal events
            events += 1

        pipeline.on_event.append(count)
        sessions = [Session(DRIVER, {}, None, lambda sends: None) for _ in devices]
        number = 0
        speeds = [yardstick_us()]
        begun, cpu = time.monotonic(), time.process_time()
        while time.monotonic() - begun < SECONDS:
            for index, session in enumerate(sessions):
                frames = []
                for _ in range(BATCH):
                    number += 1
                    frames.append(Frame(data=frame(index, number), received=clock.now(), transport=Transport.TCP))
                pipeline.feed(session, frames)
            await store.has_room.wait()
            await asyncio.sleep(0)
            if number % (50 * BATCH * DEVICES) == 0:
                before = time.process_time()
                speeds.append(yardstick_us())
                cpu += time.process_time() - before
        await store.close()
        spent, wall = time.process_time() - cpu, time.monotonic() - begun
        assert pipeline.counts.balanced
    us, speed = spent / events * 1e6, statistics.median(speeds)
    return {
        "us_per_event": round(us, 1),
        "us_scaled": round(scaled(us, speed), 1),
        "yardstick_us": round(speed, 2),
        "events_per_s": round(events / wall),
        "events_per_frame": round(events / number, 2),
    }


def frame(device: int, number: int) -> bytes:
    """A position with health; each has a second of its own."""
    day, rest = divmod(number, 86400)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    body = (
        f"UD,{1 + day % 28:02d}0926,{hour:02d}{minute:02d}{second:02d},A,31.2{number % 100000:05d},N,121.503600,E,"
        "3.2,88,12,9,80,76,1234,0,00000000,0,0,0"
    )
    return f"[3G*88{device:08d}*{len(body):04x}*{body}]".encode()
