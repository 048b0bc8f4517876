"""A gateway that starts on a database full of undelivered telemetry: how long until it answers, memory, drain rate, and how long an
alarm takes past all of it. ANHU_BENCH_BACKLOG rows (1,000,000; 10,000,000 need 4 GB of disk), drained for `DRAIN_S` only.

The rows are written straight into the database: a gateway that took them one by one would need minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

from bench._site import DEVICES, Client, Site, connected, cpu_s, rss_mb, site
from bench.alarms import BEHIND, Sink, latencies, percentiles, publish
from gateway.store.opening import connect, migrate

ROWS = int(os.environ.get("ANHU_BENCH_BACKLOG", "1000000"))
DRAIN_S = 15.0
START_MS = 1795336215000
EVENT = (
    '{"id":"01%024d","device":"mqtt_json:d-%d","at":"2026-11-21T08:30:12.000Z","received":"2026-11-21T08:30:13.120Z","time_quality":'
    '"received","lane":"telemetry","trust":"claimed","body":{"type":"measurement","quantity":"humidity","value":47.0,"unit":"%"},'
    '"subject":"r-7","evidence":"0123456789abcdef","ref":"17f2b3c4d5e6-%d"}'
)


def measure() -> dict[str, Any]:
    """Seconds, megabytes, rows a second, milliseconds."""
    return asyncio.run(run())


async def run() -> dict[str, Any]:
    async with site("[store]\nmax_mb = 100000.0\nkeep_days = 9000.0\ntelemetry_max_days = 9000.0") as s:
        begun = time.monotonic()
        await asyncio.to_thread(fill, s.gateway.data / "anhu.db")
        filled = time.monotonic() - begun
        s.cloud.stop()
        begun = time.monotonic()
        await asyncio.to_thread(s.gateway.start)
        started = time.monotonic() - begun
        await asyncio.sleep(3)
        before = rss_mb(s.pid)
        s.cloud.start()
        sink = Sink()
        source, cloud = Client(s.near.port, "bench-source", []), Client(s.cloud.port, "bench-sink", ["anhu/v1/+/+/evt/alarm"], sink.take)
        async with connected(source, cloud):
            behind, drained = await drain(s, source, sink)
        return {
            "backlog": ROWS,
            "file_mb": round((s.gateway.data / "anhu.db").stat().st_size / 1e6),
            "fill_s": round(filled, 1),
            "start_s": round(started, 2),
            "rss_mb": {"before": before, "after_drain": rss_mb(s.pid)},
            "behind_backlog_ms": percentiles(behind),
            **drained,
        }


def fill(database: Path) -> None:
    """Rows 1..ROWS of the telemetry lane, as no gateway would write them: in one transaction without a journal."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(connect(database)) as db:
        migrate(db, database)
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("BEGIN")
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
            "INSERT INTO telemetry SELECT i, ?2, ?2, 'humidity', CAST(printf(?3, i, i % ?4, i) AS BLOB) FROM n",
            (ROWS, START_MS, EVENT.replace('"%"', '"%%"'), DEVICES),
        )
        db.execute("COMMIT")


async def drain(s: Site, source: Client, sink: Sink) -> tuple[list[float], dict[str, Any]]:
    """Alarms past the backlog, while it goes out."""
    status = s.gateway.status
    while not (await asyncio.to_thread(status))["uplinks"][0]["connected"]:  # noqa: ASYNC110 - the state of another process
        await asyncio.sleep(0.02)
    await asyncio.sleep(2.0)
    begun, cpu = time.monotonic(), cpu_s(s.pid)
    count = (await asyncio.to_thread(status))["uplinks"][0]["delivered"]
    sent: dict[str, float] = {}
    for number in range(BEHIND):
        publish(source, number, sent)
        await asyncio.sleep(DRAIN_S / BEHIND)
    behind = await latencies(sent, sink)
    found = (await asyncio.to_thread(status))["uplinks"][0]
    rows = found["delivered"] - count
    spent = time.monotonic() - begun
    return behind, {
        "drain_per_s": round(rows / spent),
        "drain_cpu_us_per_event": round(1e6 * (cpu_s(s.pid) - cpu) / rows, 1) if rows else None,
        "left": sum(found["waiting"].values()),
    }
