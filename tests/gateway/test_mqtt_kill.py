"""kill -9 of the gateway while a device publishes: what its listener acknowledged is on disk."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from pathlib import Path

import aiomqtt

from gateway.accounts import enroll
from tests.gateway.process import GatewayProcess, free_port

MESSAGES, KILLS, WINDOW = 1000, 10, 20
SEED = 20261122
DEVICES = "device,driver,subject\nmqtt_json:gas-1,mqtt_json,r-1\n"


class Sensor:
    """A device on aiomqtt that publishes every message until it has a PUBACK for it."""

    def __init__(self, port: int, password: str) -> None:
        self.acknowledged: set[int] = set()
        self._port, self._password = port, password

    async def run(self) -> None:
        while len(self.acknowledged) < MESSAGES:
            client = aiomqtt.Client("127.0.0.1", self._port, username="gas-1", password=self._password, identifier="gas-1", timeout=5)
            try:
                async with client:
                    while left := [n for n in range(MESSAGES) if n not in self.acknowledged][:WINDOW]:
                        await asyncio.gather(*(self._say(client, number) for number in left))
            except (aiomqtt.MqttError, OSError):
                await asyncio.sleep(0.05)

    async def _say(self, client: aiomqtt.Client, number: int) -> None:
        body = {"id": f"m{number}", "kind": "gas" if number % 7 == 0 else "door_open", "state": "pulse", "ts": 1795300000000 + number}
        await client.publish("anhu/dev/gas-1/up", json.dumps(body), qos=1)
        self.acknowledged.add(number)


async def test_no_acknowledged_message_is_lost_in_ten_kills(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    port = free_port()
    folder = tmp_path / "gw"
    folder.mkdir()
    password = enroll(folder / "accounts", "gas-1")
    sections = f"""
[mqtt]
listen = "native"
listen_host = "127.0.0.1"
listen_port = {port}
accounts_file = "accounts"
[[subscribe]]
driver = "mqtt_json"
"""
    gateway = GatewayProcess(folder, DEVICES, sections)
    try:
        gateway.start()
        sensor = Sensor(port, password)
        device = asyncio.create_task(sensor.run())
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.02, 0.3))
            await asyncio.to_thread(gateway.kill)
            stored = Counter(refs(folder))
            assert {f"m{n}" for n in sensor.acknowledged} <= set(stored), "acknowledged and not on disk"
            assert max(stored.values(), default=1) == 1, "one message, two events"
            await asyncio.to_thread(gateway.start)
        await asyncio.wait_for(device, 60)
        assert gateway.stop() == 0
        assert Counter(refs(folder)) == Counter(f"m{n}" for n in range(MESSAGES))
    finally:
        gateway.close()


def refs(folder: Path) -> list[str]:
    """The device's message numbers of every event on disk."""
    with sqlite3.connect(folder / "data" / "anhu.db") as db:
        rows = [row for lane in ("alarm", "state", "telemetry") for row in db.execute(f"SELECT data FROM {lane}")]
    db.close()
    return [found["ref"] for found in (json.loads(row[0]) for row in rows) if found.get("ref")]
