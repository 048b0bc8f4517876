"""MQTT towards devices: one link to the broker, one session per driver that lives on topics.

Messages come in batches and are routed by topic filter. PUBACK goes out after the commit of everything that the batch held, in the
order of arrival. A message on a topic that no driver asked for is acknowledged and counted as unknown: it must not block the queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from drivers.api import Frame, Send, Transport
from gateway.clock import Clock
from gateway.links.contract import Inbound, Link
from gateway.pipeline import Pipeline
from gateway.session import Session

LONGEST_TOPIC = 1024
LARGEST_PAYLOAD = 1024 * 1024
"""A Zigbee coordinator's device list may have 1 MB; nothing legitimate is larger."""


class MqttDevices:
    """The device side of the broker."""

    def __init__(self, pipeline: Pipeline, clock: Clock, room: asyncio.Event) -> None:
        self.counts: Counter[str] = Counter()
        self.sessions: list[Session] = []
        self._pipeline = pipeline
        self._clock = clock
        self._room = room
        self._filters: dict[Session, list[str]] = {}
        self._link: Link | None = None
        self._resuming: asyncio.Task[None] | None = None

    def add(self, session: Session) -> None:
        """A driver that wants topics."""
        session.send = self._send
        self.sessions.append(session)
        self._filters[session] = session.topics()

    def use(self, link: Link) -> None:
        """The link to the broker."""
        self._link = link
        link.subscribe([topic for session in self.sessions for topic in self._filters[session]])

    def on_messages(self, batch: list[Inbound]) -> None:
        """One batch from the link."""
        now = self._clock.now()
        groups: dict[Session, tuple[list[Frame], list[int]]] = {}
        strays: list[int] = []
        for message in batch:
            session = self._route(message)
            if session is None:
                strays.append(message.token)
                continue
            frame = Frame(data=message.payload, received=now, transport=Transport.MQTT, topic=message.topic, retained=message.retained)
            frames, tokens = groups.setdefault(session, ([], []))
            frames.append(frame)
            tokens.append(message.token)
        if strays:
            self._pipeline.counts.frames += len(strays)
            self._pipeline.counts.unknown += len(strays)
            self._acknowledge(strays)
        for session, (frames, tokens) in groups.items():
            self._pipeline.feed(session, frames, lambda tokens=tokens: self._acknowledge(tokens))  # type: ignore[misc]  # default binds the loop variable
            self._learn(session)
        if not self._room.is_set() and self._link is not None:
            self._link.pause(False)
            self._resuming = asyncio.get_running_loop().create_task(self._resume(), name="mqtt back-pressure")

    async def _resume(self) -> None:
        await self._room.wait()
        if self._link is not None:
            self._link.pause(True)

    def _acknowledge(self, tokens: list[int]) -> None:
        if self._link is not None:
            self._link.acknowledge(tokens)

    def _route(self, message: Inbound) -> Session | None:
        if len(message.topic) > LONGEST_TOPIC or len(message.payload) > LARGEST_PAYLOAD or "\0" in message.topic:
            self.counts["oversized"] += 1
            return None
        for session in self.sessions:
            if any(matches(pattern, message.topic) for pattern in self._filters[session]):
                return session
        self.counts["unrouted"] += 1
        return None

    def _learn(self, session: Session) -> None:
        """Drivers that discover devices ask for more topics as they go."""
        topics = session.topics()
        if topics != self._filters[session]:
            self._filters[session] = topics
            if self._link is not None:
                self._link.subscribe(topics)

    def _send(self, sends: list[Send]) -> None:
        if self._link is None:
            return
        for send in sends:
            if not send.to or any(c in send.to for c in "+#\0"):
                structlog.get_logger().error("driver wants to publish to no topic", topic=send.to[:80])
                continue
            self._link.publish(send.to, send.data, qos=1)


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a filter (MQTT 4.7). A leading `$` fits no wildcard.

    >>> matches("anhu/+/up", "anhu/7/up"), matches("anhu/#", "anhu/7/up"), matches("#", "$SYS/x")
    (True, True, False)
    """
    if pattern == topic:
        return True
    if topic.startswith("$") and pattern[:1] in "+#":
        return False
    want, have = pattern.split("/"), topic.split("/")
    for index, level in enumerate(want):
        if level == "#":
            return True
        if index >= len(have) or (level not in ("+", have[index])):
            return False
    return len(want) == len(have)
