"""MQTT towards devices: a link to the broker, a listener of our own, or both; one session per driver that lives on topics.

Messages come in batches and are routed by topic filter. PUBACK goes out after the commit of everything that the batch held, in the
order of arrival. A message on a topic that no driver asked for is acknowledged and counted as unknown: it must not block the queue.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog

from drivers.api import Frame, Send, Transport
from gateway.accounts import matches
from gateway.clock import Clock
from gateway.links.contract import Inbound, Link
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.transports.identity import IdentityWatch

LONGEST_TOPIC = 1024
LARGEST_PAYLOAD = 1024 * 1024
"""A Zigbee coordinator's device list may have 1 MB; nothing legitimate is larger."""
KNOWN_TOPICS = 10_000
"""Topics whose driver is remembered."""
NOTICES = "$SYS/broker/log/E"
_TAKEN_OVER = re.compile(rb"Client (\S{1,256}) already connected, closing old connection")


class Front(Protocol):
    """The listener of our own, as far as sending goes."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """A message for the device that hears this topic; whether there is one."""
        ...


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
        self._front: Front | None = None
        self._watch: IdentityWatch | None = None
        self._routes: dict[str, Session | None] = {}
        self._resuming: asyncio.Task[None] | None = None
        self.on_learned: Callable[[], None] = lambda: None
        """Called when a driver wants other topics than before."""

    def add(self, session: Session) -> None:
        """A driver that wants topics."""
        session.send = self._send
        self.sessions.append(session)
        self._filters[session] = session.topics()

    def filters(self) -> list[str]:
        """The topic filters of every driver."""
        return [topic for session in self.sessions for topic in self._filters[session]]

    def use(self, link: Link, *, watch: IdentityWatch | None = None) -> None:
        """The link to the broker. `watch`: the broker is ours and tells when a client id is taken over."""
        self._link = link
        self._watch = watch
        link.subscribe([*self.filters(), *([NOTICES] if watch is not None else [])])

    def front(self, front: Front) -> None:
        """The listener of our own."""
        self._front = front

    def on_messages(self, batch: list[Inbound]) -> None:
        """One batch from the link."""
        self.take(batch, self._acknowledge)
        if not self._room.is_set() and self._link is not None:
            self._link.pause(False)
            self._resuming = asyncio.get_running_loop().create_task(self._resume(), name="mqtt back-pressure")

    def take(self, batch: list[Inbound], acknowledge: Callable[[list[int]], None]) -> None:
        """One batch, wherever it comes from; `acknowledge` gets the tokens once what their messages held is on disk."""
        now = self._clock.now()
        routes = self._routes
        groups: dict[Session, tuple[list[Frame], list[int]]] = {}
        strays: list[int] = []
        for message in batch:
            topic = message.topic
            session = routes[topic] if topic in routes else self._route(topic)
            if session is None or len(message.payload) > LARGEST_PAYLOAD:
                self._stray(message, strays)
                continue
            group = groups.get(session)
            if group is None:
                group = groups[session] = ([], [])
            group[0].append(Frame(data=message.payload, received=now, transport=Transport.MQTT, topic=topic, retained=message.retained))
            group[1].append(message.token)
        if strays:
            acknowledge(strays)
        for session, (frames, tokens) in groups.items():
            self._pipeline.feed(session, frames, lambda tokens=tokens: acknowledge(tokens))  # type: ignore[misc]  # default binds the loop variable
            self._learn(session)

    async def _resume(self) -> None:
        await self._room.wait()
        if self._link is not None:
            self._link.pause(True)

    def _acknowledge(self, tokens: list[int]) -> None:
        if self._link is not None:
            self._link.acknowledge(tokens)

    def _route(self, topic: str) -> Session | None:
        """The driver that wants a topic, looked up once."""
        if len(self._routes) >= KNOWN_TOPICS:
            self._routes.clear()
        found = None
        if len(topic) <= LONGEST_TOPIC and "\0" not in topic:
            wanting = (session for session in self.sessions if any(matches(pattern, topic) for pattern in self._filters[session]))
            found = next(wanting, None)
            self._routes[topic] = found
        return found

    def _stray(self, message: Inbound, strays: list[int]) -> None:
        strays.append(message.token)
        if message.topic == NOTICES:
            taken = _TAKEN_OVER.search(message.payload)
            if taken is not None and self._watch is not None:
                self._watch.note(taken[1].decode("utf-8", "replace"))
            return
        self._pipeline.counts.frames += 1
        self._pipeline.counts.unknown += 1
        too_much = len(message.topic) > LONGEST_TOPIC or len(message.payload) > LARGEST_PAYLOAD
        self.counts["oversized" if too_much else "unrouted"] += 1

    def _learn(self, session: Session) -> None:
        """Drivers that discover devices ask for more topics as they go."""
        topics = session.topics()
        if topics != self._filters[session]:
            self._filters[session] = topics
            self._routes.clear()
            self.on_learned()
            if self._link is not None:
                self._link.subscribe(topics)

    def _send(self, sends: list[Send]) -> None:
        for send in sends:
            if not send.to or any(c in send.to for c in "+#\0"):
                structlog.get_logger().error("driver wants to publish to no topic", topic=send.to[:80])
                continue
            heard = self._front is not None and self._front.publish(send.to, send.data)
            if not heard and self._link is not None:
                self._link.publish(send.to, send.data, qos=1)
            elif not heard:
                self.counts["nobody_hears"] += 1
