"""Two brokers, a gateway between them, and a fast client on either side: what the measures of the uplink share."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.links.contract import Inbound, LinkEvents, LinkOptions
from gateway.links.native import NativeLink
from tests.gateway.process import GatewayProcess, Mosquitto

DEVICES = 50
TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid: int) -> float:
    """Resident memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def written_bytes(pid: int) -> int:
    """Bytes that a process has sent to the disk."""
    line = next(line for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("write_bytes"))
    return int(line.split()[1])


class Client:
    """One end: publishes QoS 1 and counts what arrives; acknowledges at once."""

    def __init__(self, port: int, name: str, topics: list[str], on_messages: Callable[[list[Inbound]], None] = lambda batch: None) -> None:
        self.up = asyncio.Event()
        self.acknowledged = 0
        self._on_messages = on_messages
        options = LinkOptions(host="127.0.0.1", port=port, client_id=name, topics=topics, window=2000)
        self.link = NativeLink(options, LinkEvents(self._take, self._delivered, self.up.set, lambda why: self.up.clear()))

    def _take(self, batch: list[Inbound]) -> None:
        self._on_messages(batch)
        self.link.acknowledge([message.token for message in batch])

    def _delivered(self, tokens: list[int]) -> None:
        self.acknowledged += len(tokens)


class Site:
    """The whole arrangement; `arrived` hears every batch at the platform."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.near, self.cloud = Mosquitto(folder / "near").start(), Mosquitto(folder / "cloud").start()
        rows = "\n".join(f"mqtt_json:d-{i},mqtt_json,r-{i}" for i in range(DEVICES))
        sections = f"""
[mqtt]
broker = "external"
port = {self.near.port}
[[subscribe]]
driver = "mqtt_json"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {self.cloud.port}
version = "3.1.1"
{more}
"""
        self.gateway = GatewayProcess(folder / "gw", f"device,driver,subject\n{rows}\n", sections, gateway='log = "warning"')

    @property
    def pid(self) -> int:
        assert self.gateway._child is not None
        return self.gateway._child.pid

    def close(self) -> None:
        self.gateway.close()
        self.near.stop()
        self.cloud.stop()


@asynccontextmanager
async def site(more: str = "") -> AsyncIterator[Site]:
    """`more` is TOML for the gateway's settings."""
    with tempfile.TemporaryDirectory() as folder:
        made = Site(Path(folder), more)
        try:
            yield made
        finally:
            made.close()


@asynccontextmanager
async def connected(*clients: Client) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(client.link.run()) for client in clients]
    try:
        for client in clients:
            await asyncio.wait_for(client.up.wait(), 20)
        await asyncio.sleep(0.5)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def message(number: int, kind: str = "") -> tuple[str, bytes]:
    """Topic and payload of one report: a reading, or something that happened."""
    body: dict[str, object] = {"id": f"{time.time_ns():x}-{number}"}
    body |= {"kind": kind, "state": "pulse"} if kind else {"humidity": 40 + number % 20}
    return f"anhu/dev/d-{number % DEVICES}/up", json.dumps(body).encode()
