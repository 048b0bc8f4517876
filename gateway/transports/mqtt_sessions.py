"""What the native MQTT listener remembers of a device between two connections, also over a restart of the gateway.

A session holds subscriptions, commands that the device has not taken yet, and the packet ids of QoS 2 messages that are not
finished. It is kept in one small JSON file: after a restart `session present` is true and a device goes on where it was, instead of
throwing away what it had not got rid of (5: 3.2.2.1.1).
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from gateway.accounts import matches
from protocols.mqtt.wire import Publish, PubRec

MOST_WAITING = 100
"""Commands that wait for one device; the oldest gives way (it has been asked for again, or expired, long since)."""
MOST_UNFINISHED = 1000
"""QoS 2 messages of one device that are not finished (PUBREL missing)."""


class Waiting(NamedTuple):
    """A message for a device that it has not taken yet."""

    topic: str
    payload: bytes


class Wire(Protocol):
    """The connection of a session."""

    window: int

    def write(self, packet: Publish | PubRec) -> None:
        """Send a message to the device."""
        ...

    def leave(self, code: int) -> None:
        """End the connection."""
        ...


class DeviceSession:
    """One device."""

    def __init__(self, key: str, client_id: str) -> None:
        self.key = key
        self.client_id = client_id
        self.expiry_s = 0
        self.gone_ms: int | None = None
        self.connection: Wire | None = None
        self.subscriptions: dict[str, int] = {}
        self.queue: deque[Waiting] = deque()
        self.flying: dict[int, Waiting] = {}
        self.unfinished: dict[int, bool] = {}
        """Packet ids of received QoS 2 messages that have no PUBREL yet; True once on disk."""
        self._next_id = 0

    def expired(self, now_ms: int) -> bool:
        """Whether the session has outlived its device."""
        return self.connection is None and self.gone_ms is not None and now_ms - self.gone_ms > self.expiry_s * 1000

    def gone(self, now_ms: int) -> None:
        """The connection has ended."""
        self.connection, self.gone_ms = None, now_ms

    def wants(self, topic: str) -> int | None:
        """The QoS at which the device hears a topic; None when it does not."""
        found = [qos for pattern, qos in self.subscriptions.items() if matches(pattern, topic)]
        return max(found) if found else None

    def deliver(self, topic: str, payload: bytes) -> bool:
        """Send, or keep until the device comes; whether nothing had to give way."""
        qos = self.wants(topic)
        if not qos:
            if self.connection is not None:
                self.connection.write(Publish(topic, payload))
            return self.connection is not None
        kept = len(self.queue) < MOST_WAITING
        if not kept:
            self.queue.popleft()
        self.queue.append(Waiting(topic, payload))
        self.refill()
        return kept

    def refill(self) -> None:
        """Send what waits, as far as the device's window goes."""
        wire = self.connection
        while wire is not None and self.queue and len(self.flying) < wire.window:
            waiting = self.queue.popleft()
            packet_id = self._free_id()
            self.flying[packet_id] = waiting
            wire.write(Publish(waiting.topic, waiting.payload, 1, packet_id=packet_id))

    def again(self) -> None:
        """The device is back: what it had not acknowledged goes out once more, then the rest."""
        assert self.connection is not None
        for packet_id, waiting in self.flying.items():
            self.connection.write(Publish(waiting.topic, waiting.payload, 1, dup=True, packet_id=packet_id))
        self.refill()

    def taken(self, packet_id: int) -> None:
        """PUBACK of the device."""
        if self.flying.pop(packet_id, None) is not None:
            self.refill()

    def _free_id(self) -> int:
        packet_id = self._next_id % 65535 + 1
        while packet_id in self.flying:
            packet_id = packet_id % 65535 + 1
        self._next_id = packet_id
        return packet_id


class _Kept(msgspec.Struct):
    """A session in the file."""

    key: str
    client_id: str
    expiry_s: int
    gone_ms: int | None
    subscriptions: dict[str, int]
    waiting: list[tuple[str, bytes]]
    unfinished: dict[int, bool]


class SessionFile:
    """Sessions on disk; written a second after a change, all or nothing. None: not kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed = False

    def touch(self) -> None:
        """Something changed."""
        self._changed = True

    def load(self) -> dict[str, DeviceSession]:
        """The sessions of the last run; a damaged file costs the sessions, not the start."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=list[_Kept])
        except (OSError, msgspec.DecodeError) as error:
            structlog.get_logger().warning("mqtt sessions lost", path=str(self._path), why=str(error))
            return {}
        return {row.key: _restored(row) for row in kept}

    async def save(self, sessions: dict[str, DeviceSession]) -> None:
        """Write, where something changed."""
        if not self._changed or self._path is None:
            return
        self._changed = False
        rows = [_kept(session) for session in sessions.values() if session.expiry_s]
        try:
            await asyncio.to_thread(_write, self._path, msgspec.json.encode(rows))
        except OSError as error:
            self._changed = True
            structlog.get_logger().warning("mqtt sessions not written", why=str(error))


def _kept(session: DeviceSession) -> _Kept:
    waiting: list[Any] = [*session.flying.values(), *session.queue]
    return _Kept(
        session.key, session.client_id, session.expiry_s, session.gone_ms, dict(session.subscriptions), waiting, dict(session.unfinished)
    )


def _restored(row: _Kept) -> DeviceSession:
    session = DeviceSession(row.key, row.client_id)
    session.expiry_s, session.gone_ms = row.expiry_s, row.gone_ms
    session.subscriptions = row.subscriptions
    session.queue.extend(Waiting(*each) for each in row.waiting)
    # What was on its way into the store when we ended will come again; what was on disk is not taken twice.
    session.unfinished = {packet_id: True for packet_id, stored in row.unfinished.items() if stored}
    return session


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
