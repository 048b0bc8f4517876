"""The link on paho-mqtt 2, `manual_ack=True`, driven by the event loop (no thread).

paho keeps the session, flow control, keepalive and redelivery of unacknowledged publishes; this file connects it to asyncio and
makes batches of what one readable socket brings. Measured: docs/decisions/0005-mqtt-link.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from functools import lru_cache
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.links.contract import LARGEST_PACKET, POISON, Inbound, LinkEvents, LinkOptions

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
"""Back-off between connects, with full jitter: after a power cut hundreds of gateways come back at once."""
CONNECT_TIMEOUT_S = 10.0
READS_AT_ONCE = 400
"""Packets taken from a readable socket before other tasks get their turn."""


class PahoLink:
    """One connection to one broker."""

    def __init__(self, options: LinkOptions, events: LinkEvents) -> None:
        self.connected = False
        self.connects = 0
        self._options = options
        self._events = events
        self._topics = list(options.topics)
        self._inbox: list[Inbound] = []
        self._delivered: list[int] = []
        self._activity = 0
        self._down = asyncio.Event()
        self._why = ""
        self._reading = True
        self._sock: Any = None
        self._largest = LARGEST_PACKET
        self._too_large = 0
        self._client = self._make()

    async def run(self) -> None:
        """Connect and stay connected until cancelled."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT_S
        try:
            while True:
                self._down.clear()
                try:
                    await self._connect(loop)
                    wait = FIRST_WAIT_S
                    await self._keep(loop)
                except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:
                    self._lost(str(error) or type(error).__name__)
                await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
                wait = min(wait * 2, LONGEST_WAIT_S)
        finally:
            self._detach()
            with contextlib.suppress(OSError, ValueError):
                self._client.disconnect()
                self._client.loop_write()

    def subscribe(self, topics: list[str]) -> None:
        """Have these topics, now and after every reconnect."""
        fresh = [topic for topic in topics if topic not in self._topics]
        self._topics += fresh
        if fresh and self.connected:
            self._client.subscribe([(topic, 1) for topic in fresh])

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
        """Send; the token comes back in `on_delivered`."""
        props = None
        if self._options.version == "5" and properties is not None:
            props = _event_properties(tuple(properties))
        if self._options.version == "5" and correlation:
            props = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            props.CorrelationData = correlation
        if qos and self._largest < LARGEST_PACKET:
            size = len(topic.encode()) + len(payload) + (len(props.pack()) if props is not None else 1) + 8  # type: ignore[no-untyped-call]  # as above
            if size > self._largest:
                # paho would send it, and the broker hang up on it at every reconnect. Its own tokens are positive.
                self._too_large -= 1
                asyncio.get_running_loop().call_soon(self._give_up, self._too_large, "MQTT 0x95 packet too large")
                return self._too_large
        info = self._client.publish(topic, payload, qos, retain, props)
        return info.mid if qos else 0

    def acknowledge(self, tokens: list[int]) -> None:
        """PUBACK messages whose events are on disk."""
        for token in tokens:
            if token:
                self._client.ack(token, 1)

    def pause(self, reading: bool) -> None:
        """Stop or go on reading."""
        self._reading = reading
        if self._sock is not None:
            loop = asyncio.get_running_loop()
            if reading:
                loop.add_reader(self._sock, self._readable)
            else:
                loop.remove_reader(self._sock)

    def _make(self) -> mqtt.Client:
        o = self._options
        five = o.version == "5"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=o.client_id,
            clean_session=None if five else False,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.max_inflight_messages_set(o.window)
        client.max_queued_messages_set(0)
        client.connect_timeout = CONNECT_TIMEOUT_S
        if o.user:
            client.username_pw_set(o.user, o.password)
        if o.ca_file:
            context = ssl.create_default_context(cafile=None if o.ca_file == "system" else o.ca_file)
            if o.cert_file:
                context.load_cert_chain(o.cert_file, o.key_file or None)
            client.tls_set_context(context)
        if o.will is not None:
            client.will_set(o.will.topic, o.will.payload, 1, o.will.retain)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_close = self._closing
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._no_write
        return client

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        o = self._options
        extra: dict[str, Any] = {}
        if o.version == "5":
            props = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            props.SessionExpiryInterval = o.session_expiry_s
            props.ReceiveMaximum = min(o.window, 65535)
            extra = {"clean_start": False, "properties": props}
        rc = await loop.run_in_executor(None, lambda: self._client.connect(o.host, o.port, o.keepalive_s, **extra))
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OSError(mqtt.error_string(rc))
        self._sock = self._client.socket()
        if self._sock is None:
            raise OSError("connection closed")
        if self._reading:
            loop.add_reader(self._sock, self._readable)
        self._writable()

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until the connection is lost; paho's keepalive runs here."""
        deadline = loop.time() + CONNECT_TIMEOUT_S
        while not self._down.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._down.wait()
            if not self._down.is_set():
                self._client.loop_misc()
                if not self.connected and loop.time() > deadline:
                    raise TimeoutError("no CONNACK")
        raise OSError(self._why or "connection lost")

    def _readable(self) -> None:
        for _ in range(READS_AT_ONCE):
            before = self._activity
            rc = self._client.loop_read()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or self._activity == before:
                break
        self._flush()

    def _flush(self) -> None:
        if self._delivered:
            done, self._delivered = self._delivered, []
            self._events.on_delivered(done)
        if self._inbox:
            batch, self._inbox = self._inbox, []
            self._events.on_messages(batch)

    def _writable(self) -> None:
        if self._client.want_write():
            self._client.loop_write()

    def _closing(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        """Before paho closes it: a descriptor that stays registered would be handed to the next connection of this process."""
        if sock is self._sock:
            self._detach()

    def _want_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        if sock is self._sock and sock is not None:
            asyncio.get_running_loop().add_writer(sock, self._client.loop_write)

    def _no_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                asyncio.get_running_loop().remove_writer(sock)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._activity += 1
        if reason.is_failure:
            self._why = f"refused: {reason}"
            self._down.set()
            return
        self.connected = True
        self.connects += 1
        self._largest = getattr(properties, "MaximumPacketSize", LARGEST_PACKET)
        if self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        asyncio.get_running_loop().call_soon(self._events.on_up)

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._why = self._why or str(reason)
        self._down.set()

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._activity += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"
        correlation, answer, expiry_s = None, None, None
        if message.properties is not None:
            expiry_s = getattr(message.properties, "MessageExpiryInterval", None)
            correlation = getattr(message.properties, "CorrelationData", None)
            answer = getattr(message.properties, "ResponseTopic", None)
        token = message.mid if message.qos else 0
        self._inbox.append(Inbound(topic, bytes(message.payload), message.retain, token, correlation, answer, expiry_s))

    def _on_publish(self, client: mqtt.Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self._activity += 1
        if reason is not None and reason.value in POISON:
            self._events.on_refused(mid, f"MQTT 0x{reason.value:02x} {reason}")
        self._delivered.append(mid)

    def _give_up(self, token: int, why: str) -> None:
        self._events.on_refused(token, why)
        self._events.on_delivered([token])

    def _lost(self, why: str) -> None:
        self._detach()
        self._flush()
        was = self.connected
        self.connected = False
        if was or self.connects == 0:
            structlog.get_logger().warning("mqtt link lost", host=self._options.host, port=self._options.port, why=why)
        self._why = ""
        self._events.on_down(why)

    def _detach(self) -> None:
        if self._sock is not None:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError, ValueError):
                loop.remove_reader(self._sock)
                loop.remove_writer(self._sock)
        self._sock = None


@lru_cache(maxsize=512)
def _event_properties(pairs: tuple[tuple[str, str], ...]) -> Properties:
    """The properties of an event, packed once: kinds and severities are few, and paho takes longer for these than for the event."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    made.ContentType = "application/cloudevents+json; charset=utf-8"
    made.UserProperty = list(pairs)
    packed = made.pack()  # type: ignore[no-untyped-call]  # as above
    # Past its own __setattr__, which knows MQTT properties only.
    made.__dict__["pack"] = lambda: packed
    return made
