"""The link of our own: an `asyncio.Protocol` on the codec of protocols/mqtt/wire.py, 3.1.1 and 5.

One socket read is one batch in, one batch of acknowledgements is one write out; publishes of one turn of the loop leave in one
write. Nothing is forgotten on the way: a publish is kept until its PUBACK came and goes out again (with DUP, under its old packet
id) when the session comes back. Measured against paho: docs/decisions/0008-native-link.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import deque
from functools import lru_cache
from typing import NamedTuple

import structlog

from gateway.links.contract import LARGEST_PACKET, POISON, Inbound, LinkEvents, LinkOptions
from gateway.links.order import InOrder
from protocols.errors import LocalProtocolError, Reject
from protocols.mqtt.wire import (
    NONE,
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    MqttWire,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    Unusable,
    WillMessage,
    encode_publish,
    puback_bytes,
)
from protocols.mqtt.wire_properties import properties_bytes, topic_bytes

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
"""Back-off between connects, with full jitter: after a power cut hundreds of gateways come back at once."""
CONNECT_TIMEOUT_S = 10.0
READ_BYTES = 8 * 1024
"""One batch. More would be a little cheaper and keep an alarm waiting behind hundreds of readings."""
MOST_QUEUED = 100_000
"""Publishes that wait for the window or the link; more are refused and counted (the uplink itself keeps far below)."""
RETRY_S = 5.0
"""A broker that is full or not allowed to take a message is asked again after so long."""
TOO_LARGE = 0x95
WITH_WILL = 0x04
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


class _Waiting(NamedTuple):
    """A publish that has no PUBACK yet."""

    token: int
    topic: bytes
    payload: bytes
    first: int
    properties: bytes


class NativeLink:
    """One connection to one broker."""

    def __init__(self, options: LinkOptions, events: LinkEvents) -> None:
        self.connected = False
        self.connects = 0
        self.refused = 0
        """Publishes that were not taken: too many waited, or the broker would never have them."""
        self.passed_over = 0
        """Messages that came and could not be used: malformed, or far too large."""
        self._options = options
        self._events = events
        self._version = V5 if options.version == "5" else V311
        self._topics = list(options.topics)
        self._tls = tls_context(options)
        self._wire: _Wire | None = None
        self._reading = True
        self._token = 0
        self._next_id = 0
        self._queue: deque[_Waiting] = deque()
        self._flying: dict[int, _Waiting] = {}
        self._window = options.window
        self._keepalive_s = options.keepalive_s
        self._largest = LARGEST_PACKET
        self._out: list[bytes] = []
        self._flush_due = False
        self._epoch = 0
        self._order = InOrder()

    async def run(self) -> None:
        """Connect and stay connected until cancelled."""
        wait = FIRST_WAIT_S / 2
        while True:
            before = self.connects
            try:
                await self._stay()
            except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:
                self._lost(str(error) or type(error).__name__)
            wait = FIRST_WAIT_S if self.connects > before else min(wait * 2, LONGEST_WAIT_S)
            await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret

    def subscribe(self, topics: list[str]) -> None:
        """Have these topics, now and after every reconnect."""
        fresh = [topic for topic in topics if topic not in self._topics]
        self._topics += fresh
        if fresh and self.connected:
            self._subscribe(fresh)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: list[tuple[str, str]] | None = None,
        correlation: bytes = b"",
    ) -> int:
        """Send; the token comes back in `on_delivered` once the broker has it. 0: QoS 0, or refused and counted."""
        extra = b""
        if self._version == V5:
            extra = b"\0" if properties is None else user_properties(tuple(properties))
            if correlation:
                extra = properties_bytes({"correlation_data": correlation}, "publish")
        try:
            name = topic_bytes(topic)
        except LocalProtocolError as error:
            return self._refuse(topic, str(error))
        if not qos:
            if self.connected:
                self._write(encode_publish(name, payload, 0x31 if retain else 0x30, 0, extra))
            return 0
        if len(self._queue) >= MOST_QUEUED:
            return self._refuse(topic, f"{MOST_QUEUED} wait already")
        self._token = token = self._token + 1
        waiting = _Waiting(token, name, payload, 0x33 if retain else 0x32, extra)
        if self.connected and not self._queue and len(self._flying) < self._window:
            self._launch(waiting)
        else:
            self._queue.append(waiting)
        return token

    def acknowledge(self, tokens: list[int]) -> None:
        """PUBACK messages whose events are on disk, in the order of arrival (MQTT-4.6.0-2): one waits for those before it."""
        epoch = self._epoch
        done = self._order.done([token for token in tokens if token and token >> 17 == epoch])
        if done and self._wire is not None:
            self._write(_acks(done))

    def pause(self, reading: bool) -> None:
        """Stop or go on reading: back-pressure by TCP."""
        self._reading = reading
        if self._wire is not None:
            self._wire.pause(reading)

    # --- connection ------------------------------------------------------------------------------------------------------------

    async def _stay(self) -> None:
        """One connection, from its first byte to its last. Always ends by raising OSError or TimeoutError."""
        o = self._options
        loop = asyncio.get_running_loop()
        wire = _Wire(self, self._version)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, _ = await loop.create_connection(
                lambda: wire, o.host, o.port, ssl=self._tls, server_hostname=o.host if self._tls is not None else None
            )
        try:
            self._wire = wire
            self._epoch = (self._epoch + 1) & 0xFFFFFFFF
            self._order.clear()
            wire.send(self._hello())
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await wire.answered
            await self._watch(wire, loop)
        except asyncio.CancelledError:
            self._goodbye()
            raise
        finally:
            self._wire = None
            transport.abort()

    def _hello(self) -> Connect:
        o = self._options
        five = self._version == V5
        properties = {"session_expiry_s": o.session_expiry_s, "receive_maximum": min(o.window, 65535)} if five else NONE
        will = WillMessage(o.will.topic, o.will.payload, 1, o.will.retain) if o.will is not None else None
        user = o.user or None
        password = o.password.encode() if user is not None else None
        return Connect(o.client_id, self._version, False, o.keepalive_s, will, user, password, properties)

    async def _watch(self, wire: _Wire, loop: asyncio.AbstractEventLoop) -> None:
        """Until the connection is lost. A link that swallows everything is noticed after one keepalive: we ask after half of it."""
        half = max(self._keepalive_s / 2, 0.05)
        asked_s: float | None = None
        while not wire.closed.done():
            await asyncio.wait({wire.closed}, timeout=min(half / 4, 1.0))
            now = loop.time()
            if asked_s is not None and wire.heard_s >= asked_s:
                asked_s = None
            if asked_s is not None and self._reading and now - asked_s > half:
                raise TimeoutError(f"no answer for {now - wire.heard_s:.0f} s")
            if now - wire.said_s > half or (asked_s is None and now - wire.heard_s > half):
                asked_s = asked_s or now
                wire.send(PingReq())
        raise OSError(wire.closed.result() or "connection closed")

    def _goodbye(self) -> None:
        """Leave so that the broker speaks our will where there is one: a stopped gateway is as absent as a dead one."""
        wire, self.connected = self._wire, False
        if wire is None:
            return
        with contextlib.suppress(OSError, LocalProtocolError):
            if self._options.will is None:
                wire.send(Disconnect())
            elif self._version == V5:
                wire.send(Disconnect(WITH_WILL))
            wire.close()

    def _lost(self, why: str) -> None:
        was, self.connected = self.connected, False
        if was or self.connects == 0:
            structlog.get_logger().warning("mqtt link lost", host=self._options.host, port=self._options.port, why=why)
        self._out.clear()
        self._events.on_down(why)

    # --- what the wire tells -----------------------------------------------------------------------------------------------------

    def _welcome(self, packet: ConnAck) -> None:
        self.connected = True
        self.connects += 1
        self._window = min(self._options.window, packet.properties.get("receive_maximum", 65535))
        self._keepalive_s = min(self._options.keepalive_s, packet.properties.get("server_keepalive_s") or 65535)
        self._largest = packet.properties.get("maximum_packet_size", LARGEST_PACKET)
        old, self._flying = self._flying, {}
        if packet.session_present:
            # In their old order, under their old ids (MQTT-4.4.0-1).
            for packet_id, waiting in list(old.items())[: self._window]:
                if self._fits(waiting):
                    self._flying[packet_id] = waiting
                    self._write(_bytes(waiting, packet_id, 0x08))
            old = dict(list(old.items())[self._window :])
        self._queue.extendleft(reversed(old.values()))
        if self._topics:
            self._subscribe(self._topics)
        self._refill()
        asyncio.get_running_loop().call_soon(self._events.on_up)

    def _take(self, packets: list[Packet | Reject]) -> str:
        """The packets of one read; why the connection must end, or an empty text."""
        inbox: list[Inbound] = []
        delivered: list[int] = []
        why = ""
        epoch = self._epoch << 17
        for packet in packets:
            kind = type(packet)
            if kind is Publish:
                inbox.append(self._inbound(packet, epoch))  # type: ignore[arg-type]  # the type test above is the fast form of isinstance
            elif kind is PubAck:
                waiting = self._flying.pop(packet.packet_id, None)  # type: ignore[union-attr]  # as above
                if waiting is not None and (packet.code < 0x80 or self._refused(waiting, packet.code)):  # type: ignore[union-attr]  # as above
                    delivered.append(waiting.token)
            else:
                why = self._other(packet) or why
        if delivered:
            self._refill()
            self._events.on_delivered(delivered)
        if inbox:
            self._events.on_messages(inbox)
        return why

    def _inbound(self, packet: Publish, epoch: int) -> Inbound:
        token = 0
        if packet.qos:
            token = epoch | (0x10000 if packet.qos == 2 else 0) | packet.packet_id
            self._order.owe(token)
        properties = packet.properties
        if not properties:
            return Inbound(packet.topic, packet.payload, packet.retain, token)
        correlation, answer = properties.get("correlation_data"), properties.get("response_topic")
        return Inbound(packet.topic, packet.payload, packet.retain, token, correlation, answer, properties.get("message_expiry_s"))

    def _other(self, packet: Packet | Reject) -> str:
        match packet:
            case ConnAck():
                if packet.code:
                    return f"refused with code 0x{packet.code:02x} {packet.properties.get('reason', '')}".strip()
                self._welcome(packet)
            case SubAck():
                if any(code >= 0x80 for code in packet.codes):
                    structlog.get_logger().error("subscription refused", host=self._options.host, codes=packet.codes)
            case Unusable():
                self._pass_over(packet)
            case PubRel():
                self._write(b"\x70\x02" + packet.packet_id.to_bytes(2, "big"))
            case Disconnect():
                return f"broker said goodbye with 0x{packet.code:02x} {packet.properties.get('reason', '')}".strip()
            case Reject():
                return f"broker broke the protocol: {packet.detail}"
            case PingResp() | PubRec() | PubComp():
                pass
        return ""

    def _pass_over(self, packet: Unusable) -> None:
        """Nobody can do anything with it. Without an acknowledgement it would come again at every reconnect."""
        if self.passed_over in (0, 10, 1000):
            structlog.get_logger().error("unusable message passed over", host=self._options.host, why=packet.detail[:200])
        self.passed_over += 1
        if packet.qos:
            token = self._epoch << 17 | (0x10000 if packet.qos == 2 else 0) | packet.packet_id
            self._order.owe(token)
            self.acknowledge([token])

    def _refused(self, waiting: _Waiting, code: int) -> bool:
        """A PUBACK that says no: whether the message counts as delivered all the same (nothing can be done for it)."""
        if self.refused in (0, 10, 1000):
            structlog.get_logger().error("broker refused a message", topic=waiting.topic[2:80], code=f"0x{code:02x}")
        self.refused += 1
        if code in POISON:
            self._events.on_refused(waiting.token, f"MQTT 0x{code:02x}" + (" packet too large" if code == TOO_LARGE else ""))
            return True
        asyncio.get_running_loop().call_later(RETRY_S, self._again, waiting)
        return False

    def _again(self, waiting: _Waiting) -> None:
        self._queue.appendleft(waiting)
        self._refill()

    # --- writing -----------------------------------------------------------------------------------------------------------------

    def _subscribe(self, topics: list[str]) -> None:
        assert self._wire is not None
        self._wire.send(Subscribe(self._free_id(), tuple(Subscription(topic, 1) for topic in topics)))

    def _refill(self) -> None:
        queue = self._queue
        while queue and self.connected and len(self._flying) < self._window:
            self._launch(queue.popleft())

    def _launch(self, waiting: _Waiting) -> None:
        if not self._fits(waiting):
            return
        packet_id = self._free_id()
        self._flying[packet_id] = waiting
        self._write(_bytes(waiting, packet_id, 0))

    def _fits(self, waiting: _Waiting) -> bool:
        """Whether the broker takes packets of this size; if not, its owner is told, in the next turn: `publish` has its token by then."""
        if len(waiting.topic) + len(waiting.payload) + len(waiting.properties) + 8 <= self._largest:
            return True
        asyncio.get_running_loop().call_soon(self._too_large, waiting)
        return False

    def _too_large(self, waiting: _Waiting) -> None:
        self._refused(waiting, TOO_LARGE)
        self._events.on_delivered([waiting.token])

    def _free_id(self) -> int:
        packet_id = self._next_id % 65535 + 1
        while packet_id in self._flying:
            packet_id = packet_id % 65535 + 1
        self._next_id = packet_id
        return packet_id

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        out, self._out = self._out, []
        if out and self._wire is not None:
            self._wire.write(b"".join(out))

    def _refuse(self, topic: str, why: str) -> int:
        if self.refused in (0, 10, 1000):
            structlog.get_logger().error("message not published", topic=topic[:80], why=why)
        self.refused += 1
        return 0


class _Wire(asyncio.BufferedProtocol):
    """The socket of one connection."""

    _room = memoryview(bytearray(READ_BYTES))

    def __init__(self, link: NativeLink, version: int) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self.heard_s = self.said_s = loop.time()
        self._time = loop.time
        self._link = link
        self._codec = MqttWire("client", version=version, tolerant=True)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.pause(self._link._reading)

    def get_buffer(self, sizehint: int) -> memoryview:
        """One buffer for all: what is in it is copied out before anybody else runs."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """One read: one batch."""
        self.heard_s = self._time()
        why = self._link._take(self._codec.receive(bytes(self._room[:nbytes])))
        if why:
            self._end(why)
        elif self._link.connected and not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._end(str(error) if error else "connection closed by the broker")

    def _end(self, why: str) -> None:
        if not self.closed.done():
            self.closed.set_result(why)
        if not self.answered.done():
            self.answered.set_exception(OSError(why))
        if self._transport is not None:
            self._transport.abort()

    def send(self, packet: Packet) -> None:
        """Write one packet at once."""
        self.write(self._codec.send(packet))

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._transport is not None and not self._transport.is_closing():
            self.said_s = self._time()
            self._transport.write(data)

    def pause(self, reading: bool) -> None:
        """Stop or go on reading."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.is_reading() is reading:
            return
        if reading:
            self.heard_s = self._time()
            transport.resume_reading()
        else:
            transport.pause_reading()

    def close(self) -> None:
        """Close once everything is written."""
        if self._transport is not None:
            self._transport.close()


def _bytes(waiting: _Waiting, packet_id: int, dup: int) -> bytes:
    return encode_publish(waiting.topic, waiting.payload, waiting.first | dup, packet_id, waiting.properties)


def _acks(tokens: list[int]) -> bytes:
    if all(not token & 0x10000 for token in tokens):
        return puback_bytes([token & 0xFFFF for token in tokens])
    return b"".join([(b"\x50\2" if token & 0x10000 else b"\x40\2") + (token & 0xFFFF).to_bytes(2, "big") for token in tokens])


@lru_cache(maxsize=512)
def user_properties(pairs: tuple[tuple[str, str], ...]) -> bytes:
    """The property block of an event: kinds and severities are few, so are the blocks."""
    return properties_bytes({"content_type": CONTENT_TYPE, "user_property": pairs}, "publish")


def tls_context(options: LinkOptions) -> ssl.SSLContext | None:
    """TLS of a link; None without a CA."""
    if not options.ca_file:
        return None
    context = ssl.create_default_context(cafile=None if options.ca_file == "system" else options.ca_file)
    if options.cert_file:
        context.load_cert_chain(options.cert_file, options.key_file or None)
    return context
