"""The native MQTT listener in the test's own process: real sockets, real store, real drivers; and a client that says any bytes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Event
from gateway.accounts import Accounts, TopicRights, enroll
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import MqttSection
from gateway.store.contract import Batch
from gateway.transports.identity import IdentityWatch
from gateway.transports.mqtt import MqttDevices
from gateway.transports.mqtt_listener import MqttListener
from protocols.errors import Reject
from protocols.mqtt.wire import ConnAck, Connect, MqttWire, Packet, Publish
from tests.gateway.store_tools import opened

PASSWORD = "correct horse battery"
NAMES = ("gas-1", "gas-2", "tv-1", "zigbee")


class Front:
    """A listener and what became of what it heard."""

    def __init__(self, folder: Path, store: Any, **settings: Any) -> None:
        self.events: list[Event] = []
        self.store = store
        self.accounts_file = folder / "accounts"
        if not self.accounts_file.exists():
            for name in NAMES:
                enroll(self.accounts_file, name, PASSWORD)
        rows = [Device(device=f"mqtt_json:{name}", driver="mqtt_json", subject="r-1") for name in NAMES]
        self.inventory = Inventory([*rows, Device(device="settop:tv-1", driver="settop", subject="r-1")])
        clock = SystemClock()
        self.pipeline = Pipeline(clock, self.inventory, store)
        self.pipeline.on_event.append(self.events.append)
        self.devices = MqttDevices(self.pipeline, clock, store.has_room)
        for name in ("mqtt_json", "settop"):
            self.devices.add(Session(registry.load(name), {}, None, lambda sends: None, shared=True))
        tls: ssl.SSLContext | None = settings.pop("tls", None)
        options = MqttSection(listen="native", listen_host="127.0.0.1", listen_port=0, **settings)
        self.accounts = Accounts(self.accounts_file, rights={"zigbee": ["zigbee2mqtt/#"]})
        self.watch = IdentityWatch(self.pipeline, self.inventory, clock, "gw-1")
        self.listener = MqttListener(
            options,
            self.devices,
            self.accounts,
            TopicRights(self.devices.filters),
            clock,
            room=store.has_room,
            watch=self.watch,
            file=folder / "sessions.json",
            tls=tls,
        )
        self.devices.front(self.listener)

    @property
    def port(self) -> int:
        return self.listener.port

    def kinds(self) -> list[str]:
        return [str(getattr(event.body, "kind", "")) for event in self.events]

    def refs(self) -> list[str | None]:
        return [event.ref for event in self.events]

    async def until(self, condition: Any, timeout_s: float = 10) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.store.append(Batch(urgent=True))
                await asyncio.sleep(0.005)


@asynccontextmanager
async def front(folder: Path, *, commit_ms: float = 5, commit_rows: int = 1000, **settings: Any) -> AsyncIterator[Front]:
    async with opened(folder, commit_ms=commit_ms, commit_rows=commit_rows) as store:
        made = Front(folder, store, **settings)
        await made.listener.start()
        runner = asyncio.create_task(made.listener.run())
        try:
            yield made
        finally:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)
            await made.listener.stop()


class Client:
    """A client that sends packets, or any bytes, and keeps what comes."""

    def __init__(self, port: int, user: str = "gas-1", version: int = 4) -> None:
        self.port, self.user, self.version = port, user, version
        self.seen: list[Packet | Reject] = []
        self.closed = False
        self._wire = MqttWire("client", version=version)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.transport.abort()

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, *packets: Packet) -> None:
        self._writer.write(b"".join(map(self._wire.send, packets)))

    async def next(self, timeout_s: float = 5) -> Packet | Reject | None:
        """The next packet; None once the connection is closed."""
        async with asyncio.timeout(timeout_s):
            while not self.seen:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    self.closed = True
                    return None
                self.seen += self._wire.receive(data)
        return self.seen.pop(0)

    async def silence(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes."""
        try:
            found = await self.next(seconds)
        except TimeoutError:
            return True
        self.seen.insert(0, found) if found is not None else None
        return False

    async def login(self, client_id: str = "c", *, clean: bool = True, password: str = PASSWORD, **more: Any) -> ConnAck:
        will = more.pop("will", None)
        keepalive = more.pop("keepalive_s", 60)
        hello = Connect(client_id, self.version, clean, keepalive, will, self.user, password.encode(), more)
        self.send(hello)
        answer = await self.next()
        assert isinstance(answer, ConnAck), answer
        return answer


def gas(ref: str, *, name: str = "gas-1", qos: int = 1, packet_id: int = 1, dup: bool = False, **more: Any) -> Publish:
    """An alarm of a gas sensor, each a new one."""
    kind = more.pop("kind", "gas")
    body = json.dumps({"id": ref, "kind": kind, "state": "start"}).encode()
    return Publish(f"anhu/dev/{name}/up", body, qos, more.pop("retain", False), dup, packet_id if qos else 0, more)
