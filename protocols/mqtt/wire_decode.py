"""Bodies of MQTT packets to packets. Each decoder gets the body `data[at:end]`, the flags of the fixed header and the version.

    fixed header   |7 6 5 4|3   2 1   0|   then the remaining length (variable byte integer), then the body
                   | type  |   flags   |   flags of PUBLISH: dup, QoS (2 bits), retain

All of them raise PacketError and nothing else. Source: OASIS MQTT 3.1.1 and 5.0, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.errors import Reason
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
    read_binary,
    read_number,
    read_properties,
    read_text,
)

UNSUPPORTED_VERSION = 0x84


def _codes(text: str) -> frozenset[int]:
    return frozenset(int(code, 16) for code in text.split())


_PUB = _codes("00 10 80 83 87 90 91 97 99")
CONNACK_CODES = _codes("00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F")
SUBACK_CODES = _codes("00 01 02 80 83 87 8F 91 97 9E A1 A2")
UNSUBACK_CODES = _codes("00 11 80 83 87 8F 91")
DISCONNECT_CODES = _codes("00 04 80 81 82 83 87 89 8B 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2")
AUTH_CODES = _codes("00 18 19")
ACK_CODES: dict[str, frozenset[int]] = {"puback": _PUB, "pubrec": _PUB, "pubrel": _codes("00 92"), "pubcomp": _codes("00 92")}

Decoder = Callable[[bytes, int, int, int, int], Packet]


def connect(data: bytes, at: int, end: int, flags: int, version: int) -> Connect:
    """3.1: name, level, flags, keepalive, [properties], client id, [will], [user], [password]."""
    name, at = read_text(data, at, end)
    level, at = read_number(data, at, end, 1)
    if name != "MQTT" or level not in (V311, V5):
        raise PacketError(UNSUPPORTED_VERSION, f"MQTT 3.1.1 or 5 expected, got {name[:20]!r} level {level}", Reason.UNSUPPORTED)
    bits, at = read_number(data, at, end, 1)
    if bits & 1 or (bits >> 3 & 3) == 3 or (not bits & 4 and bits & 0x38) or (level == V311 and bits & 0xC0 == 0x40):
        raise PacketError(MALFORMED, f"flags 0x{bits:02x} of CONNECT are not allowed")
    keepalive, at = read_number(data, at, end, 2)
    properties: Properties = NONE
    if level == V5:
        properties, at = read_properties(data, at, end, "connect")
    client_id, at = read_text(data, at, end)
    will = None
    if bits & 4:
        will, at = _will(data, at, end, bits, level)
    user: str | None = None
    password: bytes | None = None
    if bits & 0x80:
        user, at = read_text(data, at, end)
    if bits & 0x40:
        password, at = read_binary(data, at, end)
    _at_end(at, end)
    return Connect(client_id, level, bool(bits & 2), keepalive, will, user, password, properties)


def _will(data: bytes, at: int, end: int, bits: int, level: int) -> tuple[WillMessage, int]:
    properties: Properties = NONE
    if level == V5:
        properties, at = read_properties(data, at, end, "will")
    topic, at = read_text(data, at, end)
    check_topic(topic)
    payload, at = read_binary(data, at, end)
    _check_payload(payload, properties)
    return WillMessage(topic, payload, bits >> 3 & 3, bool(bits & 0x20), properties), at


def _connack(data: bytes, at: int, end: int, flags: int, version: int) -> ConnAck:
    bits, at = read_number(data, at, end, 1)
    code, at = read_number(data, at, end, 1)
    properties: Properties = NONE
    if version == V5:
        properties, at = read_properties(data, at, end, "connack")
    known = code in CONNACK_CODES if version == V5 else code <= 5
    if bits > 1 or not known or (bits and code):
        raise PacketError(MALFORMED, f"flags 0x{bits:02x}, code 0x{code:02x} of CONNACK are not allowed")
    _at_end(at, end)
    return ConnAck(bool(bits), code, properties)


def publish(data: bytes, at: int, end: int, flags: int, version: int) -> Publish:
    """3.3: topic, [packet id], [properties], payload. The connection has a faster way for the common form."""
    qos = flags >> 1 & 3
    if qos == 3 or (flags & 8 and not qos):
        raise PacketError(MALFORMED, f"flags 0x{flags:x} of PUBLISH are not allowed")
    topic, at = read_text(data, at, end)
    packet_id = 0
    if qos:
        packet_id, at = _packet_id(data, at, end)
    properties: Properties = NONE
    if version == V5:
        properties, at = read_properties(data, at, end, "publish")
    if topic or "topic_alias" not in properties:
        check_topic(topic)
    payload = data[at:end]
    _check_payload(payload, properties)
    return Publish(topic, payload, qos, bool(flags & 1), bool(flags & 8), packet_id, properties)


def _check_payload(payload: bytes, properties: Properties) -> None:
    if properties and properties.get("payload_format") == 1:
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise PacketError(0x99, "payload is said to be UTF-8 and is not") from None


def _ack(make: Any, name: str) -> Decoder:
    """PUBACK, PUBREC, PUBREL, PUBCOMP: packet id, and in MQTT 5 perhaps a code and properties."""
    known = ACK_CODES[name]

    def decode(data: bytes, at: int, end: int, flags: int, version: int) -> Packet:
        packet_id, at = _packet_id(data, at, end)
        code, properties = 0, NONE
        if version == V5 and at < end:
            code, at = read_number(data, at, end, 1)
            if code not in known:
                raise PacketError(MALFORMED, f"reason code 0x{code:02x} is not one of {name}")
            if at < end:
                properties, at = read_properties(data, at, end, name)
        _at_end(at, end)
        packet: Packet = make(packet_id, code, properties)
        return packet

    return decode


def _subscribe(data: bytes, at: int, end: int, flags: int, version: int) -> Subscribe:
    packet_id, at = _packet_id(data, at, end)
    properties: Properties = NONE
    if version == V5:
        properties, at = read_properties(data, at, end, "subscribe")
    filters = []
    while at < end:
        pattern, at = read_text(data, at, end)
        check_filter(pattern)
        bits, at = read_number(data, at, end, 1)
        qos = bits & 3
        if qos == 3 or bits & (0xC0 if version == V5 else 0xFC) or bits >> 4 & 3 == 3:
            raise PacketError(MALFORMED, f"subscription options 0x{bits:02x} are not allowed")
        if bits & 4 and pattern.startswith("$share/"):
            raise PacketError(PROTOCOL_ERROR, "no local with a shared subscription")
        filters.append(Subscription(pattern, qos, bool(bits & 4), bool(bits & 8), bits >> 4 & 3))
    if not filters:
        raise PacketError(PROTOCOL_ERROR, "SUBSCRIBE without a filter")
    return Subscribe(packet_id, tuple(filters), properties)


def _suback(data: bytes, at: int, end: int, flags: int, version: int) -> SubAck:
    packet_id, at = _packet_id(data, at, end)
    properties: Properties = NONE
    if version == V5:
        properties, at = read_properties(data, at, end, "suback")
    codes = tuple(data[at:end])
    known = SUBACK_CODES if version == V5 else frozenset((0, 1, 2, 0x80))
    if not codes or not known.issuperset(codes):
        raise PacketError(MALFORMED, f"codes of SUBACK expected, got {data[at : at + 8].hex()}")
    return SubAck(packet_id, codes, properties)


def _unsubscribe(data: bytes, at: int, end: int, flags: int, version: int) -> Unsubscribe:
    packet_id, at = _packet_id(data, at, end)
    properties: Properties = NONE
    if version == V5:
        properties, at = read_properties(data, at, end, "unsubscribe")
    filters = []
    while at < end:
        pattern, at = read_text(data, at, end)
        check_filter(pattern)
        filters.append(pattern)
    if not filters:
        raise PacketError(PROTOCOL_ERROR, "UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(data: bytes, at: int, end: int, flags: int, version: int) -> UnsubAck:
    packet_id, at = _packet_id(data, at, end)
    if version != V5:
        _at_end(at, end)
        return UnsubAck(packet_id)
    properties, at = read_properties(data, at, end, "unsuback")
    codes = tuple(data[at:end])
    if not codes or not UNSUBACK_CODES.issuperset(codes):
        raise PacketError(MALFORMED, f"codes of UNSUBACK expected, got {data[at : at + 8].hex()}")
    return UnsubAck(packet_id, codes, properties)


def _pingreq(data: bytes, at: int, end: int, flags: int, version: int) -> PingReq:
    _at_end(at, end)
    return PingReq()


def _pingresp(data: bytes, at: int, end: int, flags: int, version: int) -> PingResp:
    _at_end(at, end)
    return PingResp()


def _disconnect(data: bytes, at: int, end: int, flags: int, version: int) -> Disconnect:
    return Disconnect(*_coded(data, at, end, "disconnect") if version == V5 else _nothing(at, end))


def _auth(data: bytes, at: int, end: int, flags: int, version: int) -> Auth:
    if version != V5:
        raise PacketError(MALFORMED, "AUTH is no packet of 3.1.1")
    return Auth(*_coded(data, at, end, "auth"))


def _coded(data: bytes, at: int, end: int, name: str) -> tuple[int, Properties]:
    """Nothing (code 0), a code, or a code and properties."""
    code, properties = 0, NONE
    if at < end:
        code, at = read_number(data, at, end, 1)
        if code not in (AUTH_CODES if name == "auth" else DISCONNECT_CODES):
            raise PacketError(MALFORMED, f"reason code 0x{code:02x} is not one of {name}")
        if at < end:
            properties, at = read_properties(data, at, end, name)
    _at_end(at, end)
    return code, properties


def _nothing(at: int, end: int) -> tuple[int, Properties]:
    _at_end(at, end)
    return 0, NONE


def _packet_id(data: bytes, at: int, end: int) -> tuple[int, int]:
    packet_id, at = read_number(data, at, end, 2)
    if not packet_id:
        raise PacketError(PROTOCOL_ERROR, "packet id 0")
    return packet_id, at


def _at_end(at: int, end: int) -> None:
    if at != end:
        raise PacketError(MALFORMED, f"{end - at} bytes too many")


DECODERS: dict[int, tuple[Decoder, int]] = {
    1: (connect, 0), 2: (_connack, 0), 4: (_ack(PubAck, "puback"), 0), 5: (_ack(PubRec, "pubrec"), 0),
    6: (_ack(PubRel, "pubrel"), 2), 7: (_ack(PubComp, "pubcomp"), 0), 8: (_subscribe, 2), 9: (_suback, 0),
    10: (_unsubscribe, 2), 11: (_unsuback, 0), 12: (_pingreq, 0), 13: (_pingresp, 0), 14: (_disconnect, 0), 15: (_auth, 0),
}  # fmt: skip
"""Packet type to its decoder and the flags that it must carry; PUBLISH (3) has flags of its own."""
