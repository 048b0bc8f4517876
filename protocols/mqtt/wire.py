"""MQTT 3.1.1 and 5 as bytes in, packets out and back: one `MqttWire` per connection, for either end. No sockets, no clock.

    wire = MqttWire("server")           # takes its version from the CONNECT
    for item in wire.receive(data):     # packets; a Reject is the last thing that ever comes out
        ...
    wire.send(ConnAck())

A malformed packet ends an MQTT connection (4.13): `receive` then gives one `Reject`, `fault` holds the reason code to answer with,
and everything behind it is ignored. Memory is bounded by `limit`, and a packet that dribbles in costs linear time.

A client may be `tolerant`: brokers forward what others have published, wildcards in response topics and megabytes included, and a
message that ends the connection comes again with the next one. Such a PUBLISH is then an `Unusable`, to be acknowledged and forgotten.

Source: OASIS MQTT 3.1.1 (mqtt-v3.1.1-os) and MQTT 5.0 (mqtt-v5.0-os).
"""

from __future__ import annotations

from typing import Literal

from protocols.errors import FRAME_SAMPLE_BYTES, Reason, Reject
from protocols.mqtt.wire_decode import DECODERS, publish
from protocols.mqtt.wire_encode import encode, encode_publish, puback_bytes
from protocols.mqtt.wire_packets import (
    V5,
    V311,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
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
    Unusable,
    WillMessage,
)
from protocols.mqtt.wire_properties import (
    MALFORMED,
    NONE,
    PROTOCOL_ERROR,
    PacketError,
    Properties,
    check_filter,
    check_topic,
)

__all__ = [
    "NONE", "V5", "V311", "Auth", "ConnAck", "Connect", "Disconnect", "MqttWire", "Packet", "PacketError", "PingReq", "PingResp",
    "Properties", "PubAck", "PubComp", "PubRec", "PubRel", "Publish", "SubAck", "Subscribe", "Subscription", "UnsubAck",
    "Unsubscribe", "Unusable", "WillMessage", "check_filter", "check_topic", "encode_publish", "puback_bytes",
]  # fmt: skip

LIMIT = 1024 * 1024 + 1024
PACKET_TOO_LARGE, TOPIC_ALIAS_INVALID = 0x95, 0x94
LONGEST_PUBLISH_HEAD = 2 + 65535 + 2
"""Bytes of topic and packet id."""
KNOWN_TOPICS, KNOWN_TOPIC_BYTES = 1024, 256
"""Topics of one connection whose check is remembered, and how long they may be: a device says the same few all its life."""
_TO_SERVER = frozenset((3, 4, 5, 6, 7, 8, 10, 12, 14, 15))
_TO_CLIENT = frozenset((2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15))


class MqttWire:
    """One end of one connection. `version` is known to a client from the start and to a server after the CONNECT."""

    __slots__ = ("_allowed", "_chunks", "_have", "_need", "_skip", "_topics", "fault", "limit", "role", "tolerant", "version")

    def __init__(self, role: Literal["client", "server"], *, version: int = 0, limit: int = LIMIT, tolerant: bool = False) -> None:
        self.role = role
        self.tolerant = tolerant
        self.version = version
        self.limit = limit
        self.fault = 0
        """MQTT 5 reason code of the fault that ended the connection; 0 while there is none."""
        self._allowed = _TO_CLIENT if role == "client" else frozenset((1,))
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 2
        self._skip = 0
        self._topics: dict[bytes, str] = {}

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished packet."""
        return self._have

    def send(self, packet: Packet) -> bytes:
        """The bytes of a packet. Raises LocalProtocolError."""
        if type(packet) is Connect:
            self.version = packet.version
        return encode(packet, self.version or V311)

    def receive(self, data: bytes) -> list[Packet | Reject]:
        """Every packet that `data` completes, in order. Never raises on bytes from outside."""
        if self.fault:
            return []
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._have:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        out: list[Packet | Reject] = []
        at = 0
        try:
            at = self._packets(data, out)
        except PacketError as error:
            self.fault = error.code
            out.append(error.reject(data[:FRAME_SAMPLE_BYTES]))
            at = len(data)
        rest = len(data) - at
        self._have = rest
        if rest:
            self._chunks.append(data[at:] if at else data)
        return out

    def close(self) -> list[Packet | Reject]:
        """What is left when the peer goes: an unfinished packet is a TRUNCATED reject."""
        if not self._have:
            return []
        data, self._have = b"".join(self._chunks), 0
        self._chunks.clear()
        return [Reject(Reason.TRUNCATED, f"connection ended inside a packet, {len(data)} bytes", data[:FRAME_SAMPLE_BYTES])]

    def _packets(self, data: bytes, out: list[Packet | Reject]) -> int:
        """Packets of `data` into `out`; where the unfinished one begins."""
        at, end = 0, len(data)
        self._need = 2
        while end - at >= 2:
            first, size, body = data[at], data[at + 1], at + 2
            if first >> 4 not in self._allowed:
                raise self._forbidden(first >> 4)
            if size >= 0x80:
                size, body = self._size(data, at + 1, end)
                if not body:
                    self._need = end - at + 1
                    return at
            stop = body + size
            if stop - at > self.limit:
                error = PacketError(PACKET_TOO_LARGE, f"packet of at most {self.limit} bytes expected, got {stop - at}")
                if not self.tolerant or first & 0xF0 != 0x30:
                    raise error
                found = _unusable(data, first, body, min(stop, end), error)
                if found is None:
                    if end >= min(stop, body + LONGEST_PUBLISH_HEAD):
                        raise error
                    self._need = end - at + 1
                    return at
                out.append(found)
                self._skip = max(0, stop - end)
                at = min(stop, end)
                continue
            if stop > end:
                if first >> 4 != 3 and first & 15 != DECODERS[first >> 4][1]:
                    # Some other protocol: told at once, not when the length that it seems to claim has come.
                    raise self._flags(first)
                self._need = stop - at
                return at
            if first & 0xF0 == 0x30:
                out.append(self._publish(data, first & 15, body, stop) if not self.tolerant else self._tolerated(data, first, body, stop))
            elif first == 0x40 and size == 2 and (data[body] or data[body + 1]):
                out.append(PubAck(data[body] << 8 | data[body + 1]))
            else:
                out.append(self._other(data, first, body, stop))
            at = stop
        return at

    def _size(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Remaining length and where the body begins; (0, 0) while it is not all there."""
        value = 0
        for index in range(4):
            if at + index >= end:
                return 0, 0
            byte = data[at + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if index and not byte and self.version != V311:
                    # 3.1.1 does not forbid it; before the CONNECT the version is unknown and nobody needs it.
                    raise PacketError(MALFORMED, "remaining length is longer than needed")
                return value, at + index + 1
        raise PacketError(MALFORMED, "remaining length of more than 4 bytes")

    def _publish(self, data: bytes, flags: int, at: int, end: int) -> Publish:
        """The common form here, everything else in `wire_decode.publish`."""
        five = self.version == V5
        if end - at >= 2:
            start = at + 2
            stop = start + (data[at] << 8 | data[at + 1])
            topic = self._topics.get(data[start:stop])
            if topic is not None and stop + 3 <= end:
                qos = flags >> 1 & 3
                rest, packet_id = stop, 0
                if qos:
                    packet_id, rest = data[stop] << 8 | data[stop + 1], stop + 2
                plain = (qos == 1 or (not flags & 8 and not qos) or qos == 2) and (packet_id or not qos)
                if plain and not five:
                    return Publish(topic, data[rest:end], qos, flags & 1 == 1, flags & 8 == 8, packet_id)
                if plain and not data[rest]:
                    return Publish(topic, data[rest + 1 : end], qos, flags & 1 == 1, flags & 8 == 8, packet_id)
        packet = publish(data, at, end, flags, self.version)
        if "topic_alias" in packet.properties:
            # We announce no Topic Alias Maximum, so none is allowed (3.3.2.3.4).
            raise PacketError(TOPIC_ALIAS_INVALID, "topic alias without a maximum")
        if self.role == "server" and "subscription_identifier" in packet.properties:
            raise PacketError(PROTOCOL_ERROR, "subscription identifier from a client")
        if len(self._topics) < KNOWN_TOPICS and len(packet.topic) <= KNOWN_TOPIC_BYTES:
            self._topics[packet.topic.encode()] = packet.topic
        return packet

    def _tolerated(self, data: bytes, first: int, at: int, end: int) -> Packet:
        try:
            return self._publish(data, first & 15, at, end)
        except PacketError as error:
            found = _unusable(data, first, at, end, error)
            if found is None:
                raise
            return found

    def _other(self, data: bytes, first: int, at: int, end: int) -> Packet:
        decoder, flags = DECODERS[first >> 4]
        if first & 15 != flags:
            raise self._flags(first)
        packet = decoder(data, at, end, flags, self.version)
        if type(packet) is Connect:
            self.version = packet.version
            self._allowed = _TO_SERVER
        return packet

    def _flags(self, first: int) -> PacketError:
        return PacketError(MALFORMED, f"flags 0x{first & 15:x} of packet type {first >> 4} are not allowed")

    def _forbidden(self, kind: int) -> PacketError:
        if self.role == "server" and not self.version:
            return PacketError(PROTOCOL_ERROR, f"CONNECT expected, got packet type {kind}", Reason.NOT_OURS)
        return PacketError(MALFORMED if kind in (0, 15) else PROTOCOL_ERROR, f"packet type {kind} is not for a {self.role}")


def _unusable(data: bytes, first: int, at: int, end: int, error: PacketError) -> Unusable | None:
    """What is needed to acknowledge a PUBLISH that cannot be used; None while (or because) that much of it is not there."""
    qos = first >> 1 & 3
    if qos == 3 or end - at < 2:
        return None
    start = at + 2 + (data[at] << 8 | data[at + 1])
    if not qos:
        return Unusable(0, 0, error.code, error.detail)
    if start + 2 > end or not (packet_id := data[start] << 8 | data[start + 1]):
        return None
    return Unusable(packet_id, qos, error.code, error.detail)
