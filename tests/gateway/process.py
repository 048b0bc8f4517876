"""A real gateway in a process of its own, real brokers, a device and a platform: what end-to-end tests are made of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gateway import control
from gateway.errors import AnhuError
from tests.conftest import need

READY_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker on loopback that survives the gateway. `kill` and `start` flap it."""

    def __init__(self, folder: Path, *more: str, anonymous: bool = True) -> None:
        self.port = free_port()
        self._program = need("mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        self._conf = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {str(anonymous).lower()}",
            "persistence true",
            f"persistence_location {folder}/",
        ]
        lines += ["autosave_interval 1", "max_queued_messages 1000000", "max_inflight_messages 1000", "user root", "log_type error"]
        self._conf.write_text("\n".join([*lines, *more]) + "\n")
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Mosquitto:
        self._child = subprocess.Popen([self._program, "-c", str(self._conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto did not start")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait()
            self._child = None


class GatewayProcess:
    """`anhu run` on a folder of its own. `sections` is TOML that is added to the settings."""

    def __init__(self, folder: Path, devices: str, sections: str, *, gateway: str = "") -> None:
        self.folder = folder
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "devices.csv").write_text(devices, "utf-8")
        head = f'[gateway]\nid = "gw-test"\ndata_dir = "data"\n{gateway}\n[devices]\nfile = "devices.csv"\n'
        (folder / "anhu.toml").write_text(head + sections, "utf-8")
        self._child: subprocess.Popen[bytes] | None = None
        self.log = folder / "log.txt"

    def start(self, **environment: str) -> GatewayProcess:
        with self.log.open("ab") as log:
            args = [sys.executable, "-m", "gateway.cli", "run", "--settings", str(self.folder / "anhu.toml")]
            self._child = subprocess.Popen(args, stdout=log, stderr=log, env={**os.environ, **environment})
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise AssertionError(f"gateway ended: {self.log.read_text()[-2000:]}")
            try:
                self.status()
                return self
            except AnhuError:
                time.sleep(0.02)
        raise AssertionError(f"gateway not ready: {self.log.read_text()[-2000:]}")

    def status(self) -> dict[str, Any]:
        return control.ask(self.data, {"do": "status"}, timeout_s=5)

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()
        self._child.wait()
        self._child = None

    def stop(self) -> int:
        assert self._child is not None
        self._child.terminate()
        code = self._child.wait(20)
        self._child = None
        return code

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


class Platform:
    """The cloud side: everything that came up, in order."""

    def __init__(self, port: int) -> None:
        import aiomqtt

        self.events: list[dict[str, Any]] = []
        self.other: list[tuple[str, bytes]] = []
        self._client = aiomqtt.Client("127.0.0.1", port, identifier="platform", clean_session=False, timeout=10)
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Platform:
        await self._client.__aenter__()
        await self._client.subscribe("anhu/v1/#", qos=1)
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    async def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        await self._client.publish(topic, payload, qos=1, retain=retain)

    async def until(self, condition: Any, timeout_s: float = 20) -> None:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            self._news.clear()
            left = deadline - asyncio.get_running_loop().time()
            assert left > 0, f"timed out; {len(self.events)} events, last {self.events[-3:]}"
            try:
                await asyncio.wait_for(self._news.wait(), min(left, 0.5))
            except TimeoutError:
                continue

    def kinds(self) -> list[str]:
        return [event["data"]["body"].get("kind", event["data"]["body"]["type"]) for event in self.events]

    async def _listen(self) -> None:
        async for message in self._client.messages:
            payload = bytes(message.payload)  # type: ignore[arg-type]
            if "/evt/" in str(message.topic):
                self.events.append(json.loads(payload))
            else:
                self.other.append((str(message.topic), payload))
            self._news.set()
