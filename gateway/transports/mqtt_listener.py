"""MQTT 3.1.1 and 5 for devices without a broker: PUBACK (QoS 1) and PUBREC (QoS 2) follow the commit of what the message held.

What it is: publish with QoS 0, 1 and 2, own command topics (QoS 1, sent again until taken), wills, keepalive, sessions that outlive
connections and restarts, TLS, credentials per device. What it is not: a broker. Nothing is retained, nobody hears another's topics.

    bytes -> MqttWire -> rights of the account -> MqttDevices.take -> pipeline -> commit -> PUBACK / PUBREC

One credential, one connection: the newest serves, a flapping one is told (gateway/transports/identity.py). Everything is bounded:
connections, bytes before the login, seconds for the login and for an unfinished packet, messages under way, packets, sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from gateway.accounts import Account, Accounts, TopicRights
from gateway.clock import Clock
from gateway.errors import TransportError
from gateway.links.contract import Inbound
from gateway.settings import MqttSection
from gateway.transports.identity import IdentityWatch
from gateway.transports.mqtt_device import Device
from gateway.transports.mqtt_sessions import DeviceSession, SessionFile

SWEEP_S = 1.0
LONGEST_SESSION_S = 7 * 24 * 3600
FAILURE_WAIT_S, LONGEST_FAILURE_WAIT_S, MOST_ADDRESSES = 0.25, 8.0, 10_000


class Devices(Protocol):
    """Where messages go (gateway/transports/mqtt.py)."""

    def take(self, batch: list[Inbound], acknowledge: Callable[[list[int]], None]) -> None:
        """One batch; `acknowledge` is called with tokens once what they held is on disk."""
        ...


class MqttListener:
    """One port. `await start()`, `run()` until cancelled, `await stop()`."""

    def __init__(
        self,
        settings: MqttSection,
        devices: Devices,
        accounts: Accounts,
        rights: TopicRights,
        clock: Clock,
        *,
        room: asyncio.Event,
        watch: IdentityWatch,
        file: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self.port = settings.listen_port
        self.counts: Counter[str] = Counter()
        self.connections: set[Device] = set()
        self.sessions: dict[str, DeviceSession] = {}
        self.devices = devices
        self.accounts = accounts
        self.rights = rights
        self.clock = clock
        self.watch = watch
        self._room = room
        self._tls = tls
        self._file = SessionFile(file)
        self._server: asyncio.Server | None = None
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._wills: dict[str, asyncio.TimerHandle] = {}
        self._resuming: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Load the sessions, open the port. Raises TransportError."""
        self.sessions = self._file.load()
        s = self.settings
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Device(self), s.listen_host, s.listen_port, ssl=self._tls, backlog=4096)
        except OSError as error:
            hint = "another program has it: ss -ltnp; or choose another mqtt.listen_port"
            raise TransportError(f"mqtt port {s.listen_host}:{s.listen_port}: {error.strerror or error}", hint=hint) from error
        self.port = self._server.sockets[0].getsockname()[1]
        structlog.get_logger().info("mqtt listener open", port=self.port, tls=self._tls is not None)

    async def run(self) -> None:
        """Deadlines, expiries and the session file, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = self.clock.now()
            for connection in list(self.connections):
                connection.sweep(now.s)
            for key, session in list(self.sessions.items()):
                if session.expired(now.ms):
                    self.drop(key)
            await self._file.save(self.sessions)

    async def stop(self) -> None:
        """Close the port and every connection; wills are not spoken, it is us who go."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.leave(0x8B)
        for handle in self._wills.values():
            handle.cancel()
        if self._resuming is not None:
            self._resuming.cancel()
        await self._file.save(self.sessions)
        if self._server is not None:
            await self._server.wait_closed()

    def publish(self, topic: str, payload: bytes) -> bool:
        """A message for the device that hears this topic; whether there is one (connected, or with a session that waits for it)."""
        found = False
        for session in list(self.sessions.values()):
            if session.wants(topic) is not None:
                found = True
                if not session.deliver(topic, payload):
                    self.counts["commands_dropped"] += 1
                self._file.touch()
        return found

    # --- sessions, for the connections -----------------------------------------------------------------------------------------

    def open_session(
        self, connection: Device, account: Account, client_id: str, *, clean: bool, expiry_s: int
    ) -> tuple[DeviceSession, bool]:
        """The session of a device that logged in, and whether it was there before. An older connection of the same one ends."""
        # A credential is one device: whatever client id it gives. The shared user is many devices, told apart by their client id.
        key = f"{account.user}/{client_id}" if account.shared else account.user
        old = self.sessions.get(key)
        if old is not None and old.connection is not None:
            self.counts["takeovers"] += 1
            self.watch.note(client_id if account.shared else account.user, connection.peer)
            old.connection.leave(0x8E)
        will = self._wills.pop(key, None)
        if will is not None:
            will.cancel()
        present = old is not None and not clean and old.client_id == client_id and not old.expired(self.clock.now().ms)
        session = old if present and old is not None else DeviceSession(key, client_id)
        session.expiry_s = min(expiry_s, LONGEST_SESSION_S)
        session.gone_ms = None
        session.connection = connection
        self.sessions[key] = session
        self._file.touch()
        self._bound_sessions()
        return session, present

    def close_session(self, connection: Device, session: DeviceSession, will: Inbound | None, will_delay_s: int) -> None:
        """The connection has ended; `will` None when it said goodbye."""
        current = session.connection is connection
        if current:
            session.gone(self.clock.now().ms)
            self._file.touch()
            if not session.expiry_s:
                self.drop(session.key)
        if will is None or self._stopping:
            return
        delay = min(will_delay_s, session.expiry_s) if current else 0
        if delay:
            loop = asyncio.get_running_loop()
            self._wills[session.key] = loop.call_later(delay, self._speak, session.key, will)
        else:
            self._speak(session.key, will)

    def drop(self, key: str) -> None:
        """End a session."""
        session = self.sessions.get(key)
        if session is not None and session.connection is None:
            del self.sessions[key]
            self._file.touch()

    def touch(self) -> None:
        """Something of a session changed."""
        self._file.touch()

    def _speak(self, key: str, will: Inbound) -> None:
        self._wills.pop(key, None)
        self.counts["wills"] += 1
        self.devices.take([will], lambda tokens: None)

    def _bound_sessions(self) -> None:
        most = 2 * self.settings.max_connections
        if len(self.sessions) <= most:
            return
        gone = sorted((s for s in self.sessions.values() if s.connection is None), key=lambda s: s.gone_ms or 0)
        for session in gone[: len(self.sessions) - most]:
            self.drop(session.key)

    # --- login -------------------------------------------------------------------------------------------------------------------

    async def login(self, peer: str, user: str | None, password: bytes | None) -> Account | None:
        """The account; a wrong password costs the address time, each one more (no lock-out: others are not harmed)."""
        address = peer.rsplit(":", 1)[0]
        account = await asyncio.to_thread(self.accounts.check, user, password)
        if account is not None:
            self._failures.pop(address, None)
            return account
        count, _ = self._failures.get(address, (0, 0.0))
        self._failures[address] = (count + 1, self.clock.now().s)
        self._failures.move_to_end(address)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        self.counts["logins_refused"] += 1
        if count in (0, 10, 100, 1000):
            structlog.get_logger().warning("mqtt login refused", peer=address, user=(user or "")[:64], times=count + 1)
        await asyncio.sleep(min(FAILURE_WAIT_S * 2 ** min(count, 6), LONGEST_FAILURE_WAIT_S))
        return None

    # --- back-pressure -----------------------------------------------------------------------------------------------------------

    def check_room(self) -> None:
        """While the disk is behind nobody is read: the devices feel it through TCP."""
        if self._room.is_set() or self._resuming is not None:
            return
        for connection in self.connections:
            connection.pause("disk")
        self._resuming = asyncio.get_running_loop().create_task(self._resume(), name="mqtt listener back-pressure")

    async def _resume(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._room.wait()
        self._resuming = None
        for connection in self.connections:
            connection.resume("disk")
