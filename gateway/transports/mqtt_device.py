"""One connection of a device to the native MQTT listener: the server side of MQTT 3.1.1 and 5, chapter 4."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.accounts import Account
from gateway.links.contract import Inbound
from gateway.links.order import InOrder
from gateway.transports.mqtt_sessions import MOST_UNFINISHED, DeviceSession
from protocols.errors import LocalProtocolError, Reject
from protocols.mqtt.wire import (
    V5,
    V311,
    Auth,
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
    UnsubAck,
    Unsubscribe,
)

if TYPE_CHECKING:
    from gateway.transports.mqtt_listener import MqttListener

HANDSHAKE_S, UNFINISHED_S, IDLE_S = 10.0, 30.0, 1800.0
LONGEST_KEEPALIVE_S = 1800
READ_BYTES = 8 * 1024
RECEIVE_MAXIMUM = 1000
MOST_OWED = 2000
"""3.1.1 has no receive maximum: a device with so many messages under way is not read until we have caught up."""
HELLO_LIMIT = 80 * 1024
"""A CONNECT with a large will fits; nobody who has not logged in can make us keep more."""
PACKET_LIMIT = 1024 * 1024 + 1024
WINDOW = 20
MOST_SUBSCRIPTIONS = 50
WRITE_HIGH_BYTES = 2 * 1024 * 1024
QOS2 = 0x10000
_CONNACK_311 = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5, 0x97: 3, 0x8C: 5, 0x89: 3}


class Device(asyncio.BufferedProtocol):
    """One socket. Until the CONNECT was believed there is no session."""

    _room = memoryview(bytearray(READ_BYTES))

    def __init__(self, listener: MqttListener) -> None:
        self.peer = ""
        self.window = WINDOW
        self._listener = listener
        self._wire = MqttWire("server", limit=HELLO_LIMIT)
        self._out: asyncio.Transport | None = None
        self._account: Account | None = None
        self._session: DeviceSession | None = None
        self._hello: Connect | None = None
        self._login: asyncio.Task[None] | None = None
        self._early: list[Packet | Reject] = []
        self._will: Inbound | None = None
        self._order = InOrder()
        self._paused: set[str] = set()
        self._since_s = self._heard_s = 0.0
        self._begun_s: float | None = None
        self._silence_s = HANDSHAKE_S
        self._over = False
        self._largest = 0

    # --- socket ------------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device has connected."""
        assert isinstance(transport, asyncio.Transport)
        listener = self._listener
        self._out = transport
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = f"{name[0]}:{name[1]}"
        self._since_s = self._heard_s = listener.clock.now().s
        if len(listener.connections) >= listener.settings.max_connections:
            listener.counts["connections_refused"] += 1
            self._over = True
            transport.abort()
            return
        listener.connections.add(self)
        listener.counts["connections"] += 1

    def get_buffer(self, sizehint: int) -> memoryview:
        """One buffer for all: what is in it is copied out before anybody else runs."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """One read: one batch."""
        if self._over:
            return
        data = bytes(self._room[:nbytes])
        self._heard_s = self._listener.clock.now().s
        items = self._wire.receive(data)
        if not self._wire.buffered:
            self._begun_s = None
        elif self._begun_s is None or items:
            self._begun_s = self._heard_s
        if self._session is not None:
            self._serve(items)
        elif self._hello is not None:
            self._early += items
        elif items:
            self._greet(items)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone: an end without DISCONNECT speaks the will."""
        self._end()

    def eof_received(self) -> None:
        """The device has closed its side."""

    def sweep(self, now_s: float) -> None:
        """Deadlines: login, silence, a packet that never ends, a device that does not read."""
        if self._session is None and now_s - self._since_s > HANDSHAKE_S and self._login is None:
            self._listener.counts["slow_logins"] += 1
            self._abort()
        elif self._begun_s is not None and now_s - self._begun_s > UNFINISHED_S:
            self._listener.counts["unfinished_packets"] += 1
            self.leave(0x81)
        elif self._session is not None and not self._paused and now_s - self._heard_s > self._silence_s:
            self._listener.counts["silent"] += 1
            self.leave(0x8D)
        elif self._out is not None and self._out.get_write_buffer_size() > WRITE_HIGH_BYTES:
            self._listener.counts["not_reading"] += 1
            self._abort()

    def leave(self, code: int, *, spoken: bool = False) -> None:
        """End the connection and say why (MQTT 5). `spoken`: the device said goodbye, its will is void."""
        if spoken:
            self._will = None
        if self._out is not None and not self._over and self._session is not None and self._wire.version == V5 and code:
            self._out.write(self._wire.send(Disconnect(code)))
        self._end()

    def _abort(self) -> None:
        self._end()
        if self._out is not None:
            self._out.abort()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._listener.connections.discard(self)
        if self._login is not None and self._session is None:
            self._login.cancel()
        session, self._order = self._session, InOrder()
        if self._out is not None:
            self._out.close()
        if session is not None:
            delay = 0
            if self._hello is not None and self._hello.will is not None:
                delay = self._hello.will.properties.get("will_delay_s", 0)
            self._listener.close_session(self, session, self._will, delay)

    def pause(self, why: str) -> None:
        """Stop reading for this reason."""
        self._paused.add(why)
        if self._out is not None and not self._out.is_closing() and self._out.is_reading():
            self._out.pause_reading()

    def resume(self, why: str) -> None:
        """This reason is over."""
        self._paused.discard(why)
        if not self._paused and self._out is not None and not self._out.is_closing() and not self._out.is_reading():
            self._heard_s = self._listener.clock.now().s
            self._out.resume_reading()

    # --- login -------------------------------------------------------------------------------------------------------------------

    def _greet(self, items: list[Packet | Reject]) -> None:
        hello = items[0]
        if not isinstance(hello, Connect):
            self._listener.counts["not_mqtt"] += 1
            if self._wire.fault == 0x84 and self._out is not None:
                # An unknown version is answered in the form that every version understands (3.1.2.2).
                self._out.write(b"\x20\2\0\1")
            self._end()
            return
        self._hello, self._early = hello, items[1:]
        self.pause("login")
        self._login = asyncio.get_running_loop().create_task(self._check(hello), name=f"mqtt login {self.peer}")

    async def _check(self, hello: Connect) -> None:
        code = self._refusal(hello)
        if not code:
            account = await self._listener.login(self.peer, hello.user, hello.password)
            code = 0x86 if account is None else self._will_refusal(hello, account)
            self._account = account
        if self._over:
            return
        if code or self._account is None:
            self._refuse(code or 0x86)
            return
        self._open(hello, self._account)
        early, self._early = self._early, []
        if early:
            self._serve(early)
        self.resume("login")

    def _refusal(self, hello: Connect) -> int:
        if "authentication_method" in hello.properties:
            return 0x8C
        if not hello.client_id and not hello.clean and hello.version == V311:
            return 0x85
        return 0x85 if len(hello.client_id) > 256 else 0

    def _will_refusal(self, hello: Connect, account: Account) -> int:
        will = hello.will
        if will is not None and not self._listener.rights.may_publish(account, will.topic):
            self._listener.counts["foreign_topics"] += 1
            return 0x87
        return 0

    def _refuse(self, code: int) -> None:
        assert self._out is not None
        version = self._wire.version
        self._out.write(self._wire.send(ConnAck(False, code if version == V5 else _CONNACK_311.get(code, 5))))
        self._end()

    def _open(self, hello: Connect, account: Account) -> None:
        """Session, CONNACK, and what the device has missed."""
        listener, five = self._listener, hello.version == V5
        client_id = hello.client_id or (f"auto-{id(self):x}" if account.shared else account.user)
        wish = hello.properties.get("session_expiry_s", 0) if five else (0 if hello.clean else 1 << 31)
        session, present = listener.open_session(self, account, client_id, clean=hello.clean, expiry_s=wish)
        keepalive = hello.keepalive_s
        if five and not 0 < keepalive <= LONGEST_KEEPALIVE_S:
            keepalive = LONGEST_KEEPALIVE_S
        self._silence_s = keepalive * 1.5 if keepalive else IDLE_S
        self.window = min(WINDOW, hello.properties.get("receive_maximum", WINDOW))
        self._largest = hello.properties.get("maximum_packet_size", 0)
        if hello.will is not None:
            self._will = Inbound(hello.will.topic, hello.will.payload, False, 0)
        self._wire.limit = PACKET_LIMIT
        self._session = session
        properties: dict[str, int | str] = {}
        if five:
            properties = {"receive_maximum": RECEIVE_MAXIMUM, "maximum_packet_size": PACKET_LIMIT, "retain_available": 0}
            properties |= {"subscription_identifiers_available": 0, "shared_subscription_available": 0}
            if session.expiry_s != wish:
                properties["session_expiry_s"] = session.expiry_s
            if keepalive != hello.keepalive_s:
                properties["server_keepalive_s"] = keepalive
            if not hello.client_id:
                properties["assigned_client_id"] = client_id
        assert self._out is not None
        self._out.write(self._wire.send(ConnAck(present, 0, properties)))
        listener.counts["logins"] += 1
        session.again()

    # --- serving -----------------------------------------------------------------------------------------------------------------

    def _serve(self, items: list[Packet | Reject]) -> None:
        """The packets of one read: messages as one batch, then whatever ends the connection."""
        batch: list[Inbound] = []
        for item in items:
            if type(item) is Publish:
                self._publish(item, batch)
            elif self._over:
                return
            elif isinstance(item, Reject):
                self._take(batch)
                self._listener.counts["malformed"] += 1
                structlog.get_logger().warning("mqtt device broke the protocol", peer=self.peer, why=item.detail)
                self.leave(self._wire.fault)
                return
            elif isinstance(item, Disconnect):
                self._take(batch)
                self._farewell(item)
                return
            else:
                self._other(item)
        self._take(batch)

    def _take(self, batch: list[Inbound]) -> None:
        if not batch:
            return
        whole = batch.copy()
        batch.clear()
        session = self._session
        assert session is not None
        if len(self._order) > MOST_OWED:
            self.pause("owed")
        self._listener.counts["messages"] += len(whole)
        self._listener.devices.take(whole, lambda tokens: self._settled(session, tokens))
        self._listener.check_room()

    def _publish(self, packet: Publish, batch: list[Inbound]) -> None:
        listener, session, qos = self._listener, self._session, packet.qos
        assert session is not None
        assert self._account is not None
        if self._over:
            return
        if qos and self._wire.version == V5 and len(self._order) + 1 > RECEIVE_MAXIMUM:
            self._take(batch)
            self.leave(0x93)
            return
        token = 0
        if qos == 2:
            stored = session.unfinished.get(packet.packet_id)
            if stored is not None:
                # Sent again before its PUBREC came: exactly once means not a second time.
                if stored:
                    self._reply(PubRec(packet.packet_id))
                return
            token = QOS2 | packet.packet_id
        elif qos:
            token = packet.packet_id
        if not listener.rights.may_publish(self._account, packet.topic):
            self._forbidden(packet)
            return
        if packet.retain:
            listener.counts["retain_ignored"] += 1
        if qos == 2:
            if len(session.unfinished) >= MOST_UNFINISHED:
                self.leave(0x97)
                return
            session.unfinished[packet.packet_id] = False
        if token:
            self._order.owe(token)
        properties = packet.properties
        batch.append(
            Inbound(packet.topic, packet.payload, False, token, properties.get("correlation_data"), properties.get("response_topic"))
            if properties
            else Inbound(packet.topic, packet.payload, False, token)
        )

    def _forbidden(self, packet: Publish) -> None:
        """A topic of somebody else: never delivered. 3.1.1 has no way to say so, it is acknowledged so that the device goes on."""
        listener = self._listener
        listener.counts["foreign_topics"] += 1
        if listener.counts["foreign_topics"] in (1, 100, 10_000):
            user = self._account.user if self._account is not None else ""
            structlog.get_logger().warning("mqtt topic of another device refused", user=user, topic=packet.topic[:80])
        code = 0x87 if self._wire.version == V5 else 0
        if packet.qos:
            self._reply(PubAck(packet.packet_id, code) if packet.qos == 1 else PubRec(packet.packet_id, code))

    def _settled(self, session: DeviceSession, tokens: list[int]) -> None:
        """What these messages held is on disk."""
        for token in tokens:
            if token & QOS2 and token & 0xFFFF in session.unfinished:
                session.unfinished[token & 0xFFFF] = True
                self._listener.touch()
                if self._over and session.connection is not None:
                    # The device has come back meanwhile and perhaps sent it again: its answer was still owed.
                    session.connection.write(PubRec(token & 0xFFFF))
        if self._over or self._out is None:
            return
        ready = self._order.done([token for token in tokens if token])
        if ready:
            self._out.write(b"".join([(b"\x50\2" if t & QOS2 else b"\x40\2") + (t & 0xFFFF).to_bytes(2, "big") for t in ready]))
        if "owed" in self._paused and len(self._order) < MOST_OWED // 2:
            self.resume("owed")

    def _other(self, packet: Packet) -> None:
        session = self._session
        assert session is not None
        match packet:
            case PingReq():
                self._reply(PingResp())
            case PubAck():
                session.taken(packet.packet_id)
                self._listener.touch()
            case PubRel():
                known = session.unfinished.pop(packet.packet_id, None) is not None
                self._reply(PubComp(packet.packet_id, 0 if known or self._wire.version != V5 else 0x92))
            case Subscribe():
                self._subscribe(packet, session)
            case Unsubscribe():
                codes = tuple(0 if session.subscriptions.pop(name, None) is not None else 0x11 for name in packet.filters)
                self._listener.touch()
                self._reply(UnsubAck(packet.packet_id, codes))
            case Connect() | Auth():
                self.leave(0x82)
            case _:
                pass  # PUBREC and PUBCOMP: we send nothing with QoS 2

    def _subscribe(self, packet: Subscribe, session: DeviceSession) -> None:
        if "subscription_identifier" in packet.properties:
            self.leave(0xA1)
            return
        codes = tuple(self._grant(wish, session) for wish in packet.filters)
        self._listener.touch()
        self._reply(SubAck(packet.packet_id, codes if self._wire.version == V5 else tuple(min(code, 0x80) for code in codes)))

    def _grant(self, wish: Subscription, session: DeviceSession) -> int:
        assert self._account is not None
        if wish.filter.startswith("$share/"):
            return 0x9E
        if not self._listener.rights.may_subscribe(self._account, wish.filter):
            self._listener.counts["foreign_topics"] += 1
            return 0x87
        if len(session.subscriptions) >= MOST_SUBSCRIPTIONS and wish.filter not in session.subscriptions:
            return 0x97
        session.subscriptions[wish.filter] = min(wish.qos, 1)
        return min(wish.qos, 1)

    def _farewell(self, packet: Disconnect) -> None:
        session = self._session
        assert session is not None
        expiry = packet.properties.get("session_expiry_s")
        if expiry is not None:
            if expiry and not session.expiry_s:
                self.leave(0x82)
                return
            session.expiry_s = min(expiry, 7 * 24 * 3600)
        self.leave(0, spoken=packet.code != 0x04)

    # --- writing -----------------------------------------------------------------------------------------------------------------

    def write(self, packet: Publish | PubRec) -> None:
        """A message of the gateway, or an answer that an older connection left behind."""
        try:
            data = self._wire.send(packet)
        except LocalProtocolError as error:
            structlog.get_logger().error("message cannot be sent to the device", peer=self.peer, why=str(error))
            return
        if self._largest and len(data) > self._largest:
            self._listener.counts["too_large_for_device"] += 1
            if isinstance(packet, Publish) and packet.qos and self._session is not None:
                self._session.flying.pop(packet.packet_id, None)
            return
        if self._out is not None and not self._over:
            self._out.write(data)

    def _reply(self, packet: Packet) -> None:
        if self._out is not None and not self._over:
            self._out.write(self._wire.send(packet))
