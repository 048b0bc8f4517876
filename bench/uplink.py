"""From one mosquitto to another, QoS 1: the gateway (decode, rules, FULL commit, CloudEvents) against mosquitto's own bridge, in one run.

Closed loop: `UNDER_WAY` messages between publisher and platform. The ratio is that of the rates, round by round, A/B/B/A.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._site import Client, connected, cpu_s, message, rss_mb, site, written_bytes
from gateway.links.contract import Inbound
from tests.conftest import need
from tests.gateway.process import Mosquitto, free_port

MESSAGES = int(os.environ.get("ANHU_BENCH_MESSAGES", "20000"))
UNDER_WAY = 2000
ROUNDS = 2


def measure() -> dict[str, Any]:
    """Rates, ratio, CPU."""
    return asyncio.run(rounds())


async def rounds() -> dict[str, Any]:
    bridge: list[float] = []
    ours: list[dict[str, float]] = []
    for turn in range(ROUNDS):
        for which in ("bridge", "gateway") if turn % 2 == 0 else ("gateway", "bridge"):
            if which == "bridge":
                bridge.append(await through_bridge())
            else:
                ours.append(await through_gateway())
    ratios = [mine["events_per_s"] / theirs for mine, theirs in zip(ours, bridge, strict=True)]
    return {
        "messages": MESSAGES,
        "bridge_per_s": [round(rate) for rate in bridge],
        "gateway_per_s": [round(each["events_per_s"]) for each in ours],
        "ratio": round(statistics.median(ratios), 3),
        "cpu_us_per_event": round(statistics.median(each["cpu_us"] for each in ours), 1),
        "bytes_written_per_event": round(statistics.median(each["bytes"] for each in ours)),
        "rss_mb": max(each["rss_mb"] for each in ours),
    }


async def drive(near: int, cloud: int, topic: str, match: bytes) -> float:
    """Seconds until all messages have come through."""
    arrived = 0
    news = asyncio.Event()

    def take(batch: list[Inbound]) -> None:
        nonlocal arrived
        arrived += sum(1 for each in batch if match in each.payload)
        news.set()

    source, sink = Client(near, "bench-source", []), Client(cloud, "bench-sink", [topic], take)
    async with connected(source, sink):
        begun = time.monotonic()
        sent = 0
        while arrived < MESSAGES:
            while sent < MESSAGES and sent - arrived < UNDER_WAY:
                for _ in range(min(100, MESSAGES - sent)):
                    source.link.publish(*message(sent), qos=1)
                    sent += 1
                await asyncio.sleep(0)
            news.clear()
            await asyncio.wait_for(news.wait(), 60)
        return time.monotonic() - begun


async def through_gateway() -> dict[str, float]:
    async with site() as s:
        await asyncio.to_thread(s.gateway.start)
        await asyncio.sleep(0.5)
        cpu, disk = cpu_s(s.pid), written_bytes(s.pid)
        spent = await drive(s.near.port, s.cloud.port, "anhu/v1/+/+/evt/#", b'"quantity":"humidity"')
        await asyncio.sleep(0.7)
        return {
            "events_per_s": MESSAGES / spent,
            "cpu_us": (cpu_s(s.pid) - cpu) / MESSAGES * 1e6,
            "bytes": (written_bytes(s.pid) - disk) / MESSAGES,
            "rss_mb": rss_mb(s.pid),
        }


async def through_bridge() -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = Mosquitto(folder / "cloud").start()
        port = free_port()
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root", "log_type error", "max_inflight_messages 1000"]
        lines += ["persistence true", f"persistence_location {folder}/", "max_queued_messages 1000000"]
        lines += ["connection up", f"address 127.0.0.1:{cloud.port}", "topic # out 1", "cleansession false", "start_type automatic"]
        (folder / "bridge.conf").write_text("\n".join(lines) + "\n")
        child = subprocess.Popen(  # noqa: ASYNC220 - starting takes no time
            [need("mosquitto"), "-c", str(folder / "bridge.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            await asyncio.sleep(1.5)
            return MESSAGES / await drive(port, cloud.port, "anhu/dev/#", b'"humidity"')
        finally:
            child.kill()
            child.wait()
            cloud.stop()
