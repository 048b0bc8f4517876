"""The cloud side of a run on wires: a broker of its own where one is installed, and a client that takes every event as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt

from simulator.errors import TargetError
from simulator.own_gateway import free_port

AGAIN_S = 0.3
READY_S = 10.0


class CloudBroker:
    """mosquitto that keeps what it has acknowledged while it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._child: asyncio.subprocess.Process | None = None

    @staticmethod
    def program() -> str | None:
        """Where the broker is, None where it is not installed."""
        return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

    async def __aenter__(self) -> CloudBroker:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true", f"persistence_location {self._folder}/"]
        lines += ["autosave_interval 1", "autosave_on_changes true", "max_queued_messages 1000000", "max_inflight_messages 1000"]
        (self._folder / "broker.conf").write_text("\n".join([*lines, "log_type error", "user root", ""]), "utf-8")
        try:
            await self.start()
        except BaseException:
            await asyncio.shield(self.stop(signal.SIGTERM))
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop(signal.SIGTERM)

    async def start(self) -> None:
        """Start it and wait until it listens."""
        program = self.program()
        if program is None:
            raise TargetError(
                "mosquitto is absent", hint="apt-get install mosquitto; faults of the platform need a broker beside the gateway"
            )
        null = asyncio.subprocess.DEVNULL
        command = (program, "-c", str(self._folder / "broker.conf"))
        self._child = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=null, stderr=null, start_new_session=True)
        for _ in range(int(READY_S / 0.02)):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise TargetError("the broker of the platform did not start")

    async def stop(self, number: int) -> None:
        """End it: SIGTERM politely, SIGKILL as when the power goes."""
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.send_signal(number)
            await child.wait()


class Platform:
    """Reads `topics` for ever, connecting again after every loss; `take` gets each event, `results` the answers to commands."""

    def __init__(
        self,
        host: str,
        port: int,
        topics: str,
        take: Callable[[dict[str, Any]], None],
        *,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self.results: list[dict[str, Any]] = []
        self.subscribed = asyncio.Event()
        self._host, self._port, self._topics, self._take = host, port, topics, take
        self._user, self._password = user, password

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # A session that the broker keeps: what comes up while this side is away is delivered afterwards.
            client = aiomqtt.Client(
                self._host, self._port, username=self._user, password=self._password, identifier="sim-platform", clean_session=False
            )
            with contextlib.suppress(aiomqtt.MqttError):
                async with client:
                    await client.subscribe(self._topics, qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        self._sort(str(message.topic), message.payload)
            await asyncio.sleep(AGAIN_S)

    def _sort(self, topic: str, payload: Any) -> None:
        try:
            document = json.loads(payload)
        except (ValueError, TypeError):
            document = None
        if not isinstance(document, dict):
            # A target that answers garbage is judged for it: an event that cannot be read counts as such.
            document = {"data": {}}
        if "/evt/" in topic:
            self._take(document.get("data") or {})
        elif topic.endswith("/cmd/res"):
            self.results.append(document)
