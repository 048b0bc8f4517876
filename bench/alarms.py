"""How long an alarm takes: at a steady load, and behind a backlog that drains; with the drain rate, memory and bytes written.

The backlog has 100,000 events; ANHU_BENCH_BACKLOG=1000000 for the long one. Latencies are from publishing at the device's broker to
arrival at the platform, which takes the alarm lane on a connection of its own, as the contract lets it: otherwise alarms would wait in
the platform's broker behind what the platform itself has not read yet. `stages_ms` are the gateway's own stamps of the same alarms, and
`bench_late_ms` is how late this program itself was: on a crowded machine it waits for the processor like everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from bench._site import Client, connected, message, rss_mb, site, written_bytes
from gateway.links.contract import Inbound

BACKLOG = int(os.environ.get("ANHU_BENCH_BACKLOG", "100000"))
RATE, SECONDS, ALARM_EVERY = 2000, 8, 50
BEHIND = 30


def measure() -> dict[str, Any]:
    """Percentiles in milliseconds."""
    return asyncio.run(run())


class Sink:
    """The platform: when each alarm came."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}

    def take(self, batch: list[Inbound]) -> None:
        now = time.monotonic()
        for each in batch:
            if b'"kind":"sos"' in each.payload:
                self.came.setdefault(json.loads(each.payload)["data"]["ref"], now)


async def run() -> dict[str, Any]:
    sink = Sink()
    async with site() as s:
        await asyncio.to_thread(s.gateway.start)
        source, cloud = Client(s.near.port, "bench-source", []), Client(s.cloud.port, "bench-sink", ["anhu/v1/+/+/evt/alarm"], sink.take)
        async with connected(source, cloud):
            late: list[float] = []
            steady = await at_rate(source, sink, late)
            await asyncio.sleep(1.5)
            stages = stage_times(s.gateway.data / "anhu.db")
        s.cloud.stop(signal.SIGTERM)
        disk = written_bytes(s.pid)
        async with connected(source):
            await fill(source)
            while sum((await asyncio.to_thread(s.gateway.status))["uplinks"][0]["waiting"].values()) < BACKLOG:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.1)
        before = rss_mb(s.pid)
        written = (written_bytes(s.pid) - disk) / BACKLOG
        s.cloud.start()
        cloud = Client(s.cloud.port, "bench-sink-2", ["anhu/v1/+/+/evt/alarm"], sink.take)
        async with connected(source, cloud):
            behind, rate = await drain(source, sink, s.gateway)
        return {
            "steady_rate": RATE,
            "steady_ms": percentiles(steady),
            "stages_ms": stages,
            "bench_late_ms": percentiles(late),
            "backlog": BACKLOG,
            "behind_backlog_ms": percentiles(behind),
            "drain_per_s": round(rate),
            "rss_mb": {"with_backlog": before, "after_drain": rss_mb(s.pid)},
            "bytes_written_per_event": round(written),
        }


def stage_times(database: Path) -> dict[str, dict[str, float]]:
    """From stage to stage, over all alarms of the database that were delivered."""
    found: dict[str, dict[str, int]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        for ident, stage, at_ms in db.execute("SELECT id, stage, at_ms FROM trace"):
            found.setdefault(ident, {})[stage.split(":")[0]] = at_ms
    steps = (("received", "committed"), ("committed", "published"), ("published", "delivered"))
    whole = [each for each in found.values() if len(each) >= 4]
    return {f"{a}_to_{b}": percentiles([(each[b] - each[a]) / 1000 for each in whole]) for a, b in steps} if whole else {}


async def at_rate(source: Client, sink: Sink, late: list[float]) -> list[float]:
    sent: dict[str, float] = {}
    begun = time.monotonic()
    number = 0
    while number < RATE * SECONDS:
        due = int((time.monotonic() - begun) * RATE)
        while number < due:
            publish(source, number, sent if number % ALARM_EVERY == 0 else None)
            number += 1
        asked = time.monotonic()
        await asyncio.sleep(0.002)
        late.append(time.monotonic() - asked - 0.002)
    return await latencies(sent, sink)


async def fill(source: Client) -> None:
    target = source.acknowledged + BACKLOG
    for number in range(BACKLOG):
        publish(source, number, None)
        if number % 500 == 0:
            while BACKLOG - number < target - source.acknowledged - 4000:  # noqa: ASYNC110 - the counter has no event
                await asyncio.sleep(0.001)
    while source.acknowledged < target:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)


async def drain(source: Client, sink: Sink, gateway: Any) -> tuple[list[float], float]:
    sent: dict[str, float] = {}
    while not (await asyncio.to_thread(gateway.status))["uplinks"][0]["connected"]:  # noqa: ASYNC110 - the state of another process
        await asyncio.sleep(0.02)
    begun = time.monotonic()
    count = (await asyncio.to_thread(gateway.status))["uplinks"][0]["delivered"]
    for number in range(BEHIND):
        publish(source, number, sent)
        await asyncio.sleep(0.05)
    while sum((await asyncio.to_thread(gateway.status))["uplinks"][0]["waiting"].values()):  # noqa: ASYNC110 - the state of another process
        await asyncio.sleep(0.1)
    rate = ((await asyncio.to_thread(gateway.status))["uplinks"][0]["delivered"] - count) / (time.monotonic() - begun)
    return await latencies(sent, sink), rate


def publish(source: Client, number: int, alarms: dict[str, float] | None) -> None:
    topic, payload = message(number, "" if alarms is None else "sos")
    if alarms is not None:
        alarms[json.loads(payload)["id"]] = time.monotonic()
    source.link.publish(topic, payload, qos=1)


async def latencies(sent: dict[str, float], sink: Sink) -> list[float]:
    for _ in range(600):
        if all(ident in sink.came for ident in sent):
            break
        await asyncio.sleep(0.05)
    return [sink.came[ident] - at for ident, at in sent.items()]


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    }
