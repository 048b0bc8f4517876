"""kill -9 at random moments: nothing that was acknowledged is missing upstream, doubles only with equal ids."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

from tests.gateway.process import GatewayProcess, Mosquitto, Platform, free_port

EVENTS, KILLS = 1000, 20
SEED = 20261122
DEVICE = "8800000015"
DEVICES = f"device,driver,subject\nwatch:{DEVICE},watch,r-1\n"


def alarm(number: int) -> bytes:
    minute, second = divmod(number, 60)
    hour, minute = divmod(minute, 60)
    body = f"AL,211126,{hour:02d}{minute:02d}{second:02d},V,0,N,0,E,0,0,0,0,0,22,0,0,00010000,0,0,0"
    return f"[3G*{DEVICE}*{len(body):04x}*{body}]".encode()


class Watch:
    """A wristband that sends every alarm until it is acknowledged, one at a time, as the firmware does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[int] = set()

    async def run(self) -> None:
        number = 0
        while number < EVENTS:
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"[3G*{DEVICE}*0002*LK]".encode())
                await asyncio.wait_for(reader.readuntil(b"]"), 5)
                while number < EVENTS:
                    writer.write(alarm(number))
                    answer = await asyncio.wait_for(reader.readuntil(b"]"), 5)
                    if answer.endswith(b"*AL]"):
                        self.acknowledged.add(number)
                        number += 1
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                await asyncio.sleep(0.05)
            finally:
                if writer is not None:
                    writer.close()


async def test_a_thousand_alarms_survive_twenty_kills(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    cloud = Mosquitto(tmp_path / "cloud").start()
    port = free_port()
    sections = f"""
[[listen]]
port = {port}
driver = "watch"
host = "127.0.0.1"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)
    try:
        async with Platform(cloud.port) as platform:
            gateway.start()
            watch = Watch(port)
            device = asyncio.create_task(watch.run())
            for _ in range(KILLS):
                await asyncio.sleep(dice.uniform(0.05, 0.4))
                await asyncio.to_thread(gateway.kill)
                await asyncio.to_thread(gateway.start)
            await asyncio.wait_for(device, 120)
            sos = lambda: {e["data"]["at"] for e in platform.events if e["data"]["body"].get("kind") == "sos"}  # noqa: E731
            await platform.until(lambda: len(sos()) >= EVENTS, 60)
            assert len(watch.acknowledged) == EVENTS
            check(platform)
            assert gateway.status()["frames"]["balanced"]
    finally:
        gateway.close()
        cloud.stop()


def check(platform: Platform) -> None:
    """Doubles have equal ids and equal content; sequences have no gap; order per source is kept by sequence."""
    by_source: dict[str, dict[int, str]] = {}
    happened: dict[str, set[str]] = {}
    for event in platform.events:
        sequences = by_source.setdefault(event["source"], {})
        number = int(event["sequence"])
        assert sequences.setdefault(number, event["id"]) == event["id"], "one sequence number, two events"
        if event["data"]["body"].get("kind") == "sos":
            happened.setdefault(event["data"]["at"], set()).add(event["id"])
    for source, sequences in by_source.items():
        assert sorted(sequences) == list(range(1, len(sequences) + 1)), f"gap in {source}"
        assert max(Counter(sequences.values()).values()) == 1, f"one event, two sequence numbers in {source}"
    assert all(len(ids) == 1 for ids in happened.values()), "one alarm was told under two ids"
    alarms = sorted((int(e["sequence"]), e["data"]["at"]) for e in platform.events if e["data"]["body"].get("kind") == "sos")
    first_seen = list(dict.fromkeys(at for _, at in alarms))
    assert first_seen == sorted(first_seen), "order of one device is not kept"
