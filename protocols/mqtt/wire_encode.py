"""MQTT packets to bytes. All raise LocalProtocolError where the standard has no form for what was asked.

Source: OASIS MQTT 3.1.1 and 5.0, chapter 3; the layout stands in wire_decode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.errors import LocalProtocolError
from protocols.mqtt.wire_decode import ACK_CODES, AUTH_CODES, CONNACK_CODES, DISCONNECT_CODES, SUBACK_CODES, UNSUBACK_CODES
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
    UnsubAck,
    Unsubscribe,
)
from protocols.mqtt.wire_properties import PacketError, binary, check_filter, properties_bytes, text, topic_bytes, varint


def encode(packet: Packet, version: int) -> bytes:
    """The bytes of a packet."""
    return _ENCODERS[type(packet)](packet, version)


def encode_publish(topic: bytes, payload: bytes, first: int, packet_id: int, properties: bytes) -> bytes:
    """PUBLISH of prepared parts: `topic` and `properties` with their lengths (properties empty in 3.1.1), `first` byte of the packet."""
    if first & 6:
        size = len(topic) + 2 + len(properties) + len(payload)
        if size < 0x80:
            return b"".join((bytes((first, size)), topic, packet_id.to_bytes(2, "big"), properties, payload))
        return b"".join((bytes((first,)), varint(size), topic, packet_id.to_bytes(2, "big"), properties, payload))
    return b"".join((bytes((first,)), varint(len(topic) + len(properties) + len(payload)), topic, properties, payload))


def puback_bytes(packet_ids: list[int]) -> bytes:
    """Successful PUBACKs, in this order, one write."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids])


def _framed(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + varint(len(body)) + body


def _connect(packet: Connect, version: int) -> bytes:
    if packet.version not in (V311, V5):
        raise LocalProtocolError(f"version 4 (3.1.1) or 5 expected, got {packet.version}")
    five = packet.version == V5
    bits = 2 if packet.clean else 0
    parts = [properties_bytes(packet.properties, "connect") if five else b"", text(packet.client_id)]
    will = packet.will
    if will is not None:
        _check_qos(will.qos)
        bits |= 4 | will.qos << 3 | (0x20 if will.retain else 0)
        parts += [properties_bytes(will.properties, "will") if five else b"", topic_bytes(will.topic), binary(will.payload)]
    if packet.user is not None:
        bits |= 0x80
        parts.append(text(packet.user))
    if packet.password is not None:
        if packet.user is None and not five:
            raise LocalProtocolError("3.1.1 has no password without a user")
        bits |= 0x40
        parts.append(binary(packet.password))
    _check_number("keepalive", packet.keepalive_s, 0xFFFF)
    return _framed(0x10, b"\0\4MQTT", bytes((packet.version, bits)), packet.keepalive_s.to_bytes(2, "big"), *parts)


def _connack(packet: ConnAck, version: int) -> bytes:
    if (packet.code not in CONNACK_CODES if version == V5 else packet.code > 5) or (packet.session_present and packet.code):
        raise LocalProtocolError(f"CONNACK code 0x{packet.code:02x} does not exist")
    head = bytes((packet.session_present, packet.code))
    return _framed(0x20, head, properties_bytes(packet.properties, "connack") if version == V5 else b"")


def _publish(packet: Publish, version: int) -> bytes:
    _check_qos(packet.qos)
    if packet.dup and not packet.qos:
        raise LocalProtocolError("QoS 0 is never a duplicate")
    if packet.qos:
        _check_id(packet.packet_id)
    first = 0x30 | (8 if packet.dup else 0) | packet.qos << 1 | (1 if packet.retain else 0)
    properties = properties_bytes(packet.properties, "publish") if version == V5 else b""
    alias = packet.properties.get("topic_alias") if packet.properties else None
    topic = b"\0\0" if not packet.topic and alias else topic_bytes(packet.topic)
    return encode_publish(topic, packet.payload, first, packet.packet_id, properties)


def _ack(first: int, name: str) -> Callable[[Any, int], bytes]:
    def write(packet: PubAck, version: int) -> bytes:
        _check_id(packet.packet_id)
        ident = packet.packet_id.to_bytes(2, "big")
        if version != V5 or (not packet.code and not packet.properties):
            return _framed(first, ident)
        if packet.code not in ACK_CODES[name]:
            raise LocalProtocolError(f"reason code 0x{packet.code:02x} is not one of {name}")
        return _framed(first, ident, bytes((packet.code,)), properties_bytes(packet.properties, name) if packet.properties else b"")

    return write


def _subscribe(packet: Subscribe, version: int) -> bytes:
    _check_id(packet.packet_id)
    parts = [packet.packet_id.to_bytes(2, "big"), properties_bytes(packet.properties, "subscribe") if version == V5 else b""]
    if not packet.filters:
        raise LocalProtocolError("SUBSCRIBE needs a filter")
    for wish in packet.filters:
        _check_qos(wish.qos)
        bits = wish.qos
        if version == V5:
            _check_number("retain handling", wish.retain_handling, 2)
            bits |= (4 if wish.no_local else 0) | (8 if wish.retain_as_published else 0) | wish.retain_handling << 4
        parts += [_filter(wish.filter), bytes((bits,))]
    return _framed(0x82, *parts)


def _suback(packet: SubAck, version: int) -> bytes:
    _check_id(packet.packet_id)
    if not packet.codes or not (SUBACK_CODES if version == V5 else frozenset((0, 1, 2, 0x80))).issuperset(packet.codes):
        raise LocalProtocolError(f"codes of SUBACK expected, got {packet.codes}")
    properties = properties_bytes(packet.properties, "suback") if version == V5 else b""
    return _framed(0x90, packet.packet_id.to_bytes(2, "big"), properties, bytes(packet.codes))


def _unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    _check_id(packet.packet_id)
    if not packet.filters:
        raise LocalProtocolError("UNSUBSCRIBE needs a filter")
    properties = properties_bytes(packet.properties, "unsubscribe") if version == V5 else b""
    return _framed(0xA2, packet.packet_id.to_bytes(2, "big"), properties, *map(_filter, packet.filters))


def _unsuback(packet: UnsubAck, version: int) -> bytes:
    _check_id(packet.packet_id)
    ident = packet.packet_id.to_bytes(2, "big")
    if version != V5:
        return _framed(0xB0, ident)
    if not packet.codes or not UNSUBACK_CODES.issuperset(packet.codes):
        raise LocalProtocolError(f"codes of UNSUBACK expected, got {packet.codes}")
    return _framed(0xB0, ident, properties_bytes(packet.properties, "unsuback"), bytes(packet.codes))


def _disconnect(packet: Disconnect, version: int) -> bytes:
    return _coded(0xE0, packet, version, DISCONNECT_CODES, "disconnect")


def _auth(packet: Auth, version: int) -> bytes:
    if version != V5:
        raise LocalProtocolError("AUTH is no packet of 3.1.1")
    return _coded(0xF0, packet, version, AUTH_CODES, "auth")


def _coded(first: int, packet: Disconnect | Auth, version: int, known: frozenset[int], name: str) -> bytes:
    if version != V5 or (not packet.code and not packet.properties):
        return bytes((first, 0))
    if packet.code not in known:
        raise LocalProtocolError(f"reason code 0x{packet.code:02x} is not one of {name}")
    return _framed(first, bytes((packet.code,)), properties_bytes(packet.properties, name) if packet.properties else b"")


def _filter(pattern: str) -> bytes:
    try:
        check_filter(pattern)
    except PacketError as error:
        raise LocalProtocolError(error.detail) from None
    return text(pattern)


def _check_id(packet_id: int) -> None:
    if not 1 <= packet_id <= 0xFFFF:
        raise LocalProtocolError(f"packet id 1..65535 expected, got {packet_id}")


def _check_qos(qos: int) -> None:
    if qos not in (0, 1, 2):
        raise LocalProtocolError(f"QoS 0..2 expected, got {qos}")


def _check_number(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise LocalProtocolError(f"{name}: 0..{most} expected, got {value}")


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    Connect: _connect, ConnAck: _connack, Publish: _publish, PubAck: _ack(0x40, "puback"), PubRec: _ack(0x50, "pubrec"),
    PubRel: _ack(0x62, "pubrel"), PubComp: _ack(0x70, "pubcomp"), Subscribe: _subscribe, SubAck: _suback,
    Unsubscribe: _unsubscribe, UnsubAck: _unsuback, PingReq: lambda packet, version: b"\xc0\0",
    PingResp: lambda packet, version: b"\xd0\0", Disconnect: _disconnect, Auth: _auth,
}  # fmt: skip
