"""The parts that MQTT packets are made of: lengths, texts, topics and the properties of MQTT 5.

    variable byte integer   7 bits a byte, least significant first, top bit = more follow, at most 4 bytes   (5: 1.5.5)
    text                    2 bytes length, big endian, then UTF-8 without U+0000 and surrogates             (5: 1.5.4)
    properties              variable byte integer: bytes that follow; then (identifier, value) ...           (5: 2.2.2)

Source: OASIS MQTT 3.1.1 (mqtt-v3.1.1-os) and MQTT 5.0 (mqtt-v5.0-os), sections in brackets.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, TOPIC_FILTER_INVALID = 0x81, 0x82, 0x90, 0x8F
LONGEST_VARINT = 268_435_455
MOST_USER_PROPERTIES = 100
"""The standard sets no limit; nobody who means well sends more."""

Properties = Mapping[str, Any]
"""Name to value. `user_property`: list of (name, value); `subscription_identifier`: list of numbers."""
NONE: Properties = MappingProxyType({})


class PacketError(RemoteProtocolError):
    """A packet that the standard does not allow; `code` is the MQTT 5 reason code of the answer."""

    def __init__(self, code: int, detail: str, reason: Reason = Reason.RANGE) -> None:
        super().__init__(reason, detail)
        self.code = code


class Kind(Enum):
    """How the value of a property is written."""

    BYTE = 1
    TWO = 2
    FOUR = 4
    VARINT = 5
    TEXT = 6
    BINARY = 7
    PAIR = 8


class Property(NamedTuple):
    """A row of table 2-4. `least`, `most`: range of a number; `many`: may stand several times in these packets."""

    id: int
    name: str
    kind: Kind
    packets: frozenset[str]
    least: int = 0
    most: int = 0xFFFFFFFF
    many: frozenset[str] = frozenset()


def _in(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALL = _in("connect connack publish will puback pubrec pubrel pubcomp subscribe suback unsubscribe unsuback disconnect auth")
_ACKS = _in("connack puback pubrec pubrel pubcomp suback unsuback disconnect auth")
TABLE = (
    Property(1, "payload_format", Kind.BYTE, _in("publish will"), most=1),
    Property(2, "message_expiry_s", Kind.FOUR, _in("publish will")),
    Property(3, "content_type", Kind.TEXT, _in("publish will")),
    Property(8, "response_topic", Kind.TEXT, _in("publish will")),
    Property(9, "correlation_data", Kind.BINARY, _in("publish will")),
    Property(11, "subscription_identifier", Kind.VARINT, _in("publish subscribe"), least=1, many=_in("publish")),
    Property(17, "session_expiry_s", Kind.FOUR, _in("connect connack disconnect")),
    Property(18, "assigned_client_id", Kind.TEXT, _in("connack")),
    Property(19, "server_keepalive_s", Kind.TWO, _in("connack")),
    Property(21, "authentication_method", Kind.TEXT, _in("connect connack auth")),
    Property(22, "authentication_data", Kind.BINARY, _in("connect connack auth")),
    Property(23, "request_problem", Kind.BYTE, _in("connect"), most=1),
    Property(24, "will_delay_s", Kind.FOUR, _in("will")),
    Property(25, "request_response", Kind.BYTE, _in("connect"), most=1),
    Property(26, "response_information", Kind.TEXT, _in("connack")),
    Property(28, "server_reference", Kind.TEXT, _in("connack disconnect")),
    Property(31, "reason", Kind.TEXT, _ACKS),
    Property(33, "receive_maximum", Kind.TWO, _in("connect connack"), least=1),
    Property(34, "topic_alias_maximum", Kind.TWO, _in("connect connack")),
    Property(35, "topic_alias", Kind.TWO, _in("publish"), least=1),
    Property(36, "maximum_qos", Kind.BYTE, _in("connack"), most=1),
    Property(37, "retain_available", Kind.BYTE, _in("connack"), most=1),
    Property(38, "user_property", Kind.PAIR, _ALL, many=_ALL),
    Property(39, "maximum_packet_size", Kind.FOUR, _in("connect connack"), least=1),
    Property(40, "wildcard_subscription_available", Kind.BYTE, _in("connack"), most=1),
    Property(41, "subscription_identifiers_available", Kind.BYTE, _in("connack"), most=1),
    Property(42, "shared_subscription_available", Kind.BYTE, _in("connack"), most=1),
)
_BY_ID = {row.id: row for row in TABLE}
_BY_NAME = {row.name: row for row in TABLE}


# --- reading -------------------------------------------------------------------------------------------------------------------


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer and where it ends. Raises PacketError, also for one that is longer than it must be."""
    value = 0
    for index in range(4):
        if at + index >= end:
            raise PacketError(MALFORMED, "packet ends inside a length", Reason.TRUNCATED)
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if index and not byte:
                raise PacketError(MALFORMED, "variable byte integer is longer than needed")
            return value, at + index + 1
    raise PacketError(MALFORMED, "variable byte integer of more than 4 bytes")


def read_number(data: bytes, at: int, end: int, size: int) -> tuple[int, int]:
    """`size` bytes, big endian, and where they end."""
    if at + size > end:
        raise PacketError(MALFORMED, f"{size} bytes expected, packet ends", Reason.TRUNCATED)
    return int.from_bytes(data[at : at + size], "big"), at + size


def read_binary(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Bytes behind a 2-byte length, and where they end."""
    size, at = read_number(data, at, end, 2)
    if at + size > end:
        raise PacketError(MALFORMED, f"{size} bytes expected, packet ends", Reason.TRUNCATED)
    return data[at : at + size], at + size


def read_text(data: bytes, at: int, end: int) -> tuple[str, int]:
    """A text and where it ends."""
    raw, at = read_binary(data, at, end)
    return text_of(raw), at


def text_of(raw: bytes) -> str:
    """UTF-8 as MQTT allows it. Raises PacketError."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise PacketError(MALFORMED, "text is no UTF-8") from None
    if "\0" in text:
        raise PacketError(MALFORMED, "text holds U+0000")
    return text


def read_properties(data: bytes, at: int, end: int, packet: str) -> tuple[Properties, int]:
    """The properties of a packet (its lower-case name, or `will`) and where they end. Raises PacketError."""
    size, at = read_varint(data, at, end)
    stop = at + size
    if stop > end:
        raise PacketError(MALFORMED, f"{size} bytes of properties expected, packet ends", Reason.TRUNCATED)
    if not size:
        return NONE, stop
    found: dict[str, Any] = {}
    while at < stop:
        number, at = read_varint(data, at, stop)
        row = _BY_ID.get(number)
        if row is None:
            raise PacketError(MALFORMED, f"property {number} is unknown")
        if packet not in row.packets:
            raise PacketError(PROTOCOL_ERROR, f"property {row.name} does not belong into {packet}")
        value, at = _value(row, data, at, stop)
        if row.kind is not Kind.PAIR and packet not in row.many:
            if row.name in found:
                raise PacketError(PROTOCOL_ERROR, f"property {row.name} stands twice")
            found[row.name] = value
        else:
            values = found.setdefault(row.name, [])
            if len(values) >= MOST_USER_PROPERTIES:
                raise PacketError(0x97, f"more than {MOST_USER_PROPERTIES} of property {row.name}")
            values.append(value)
    if "authentication_data" in found and "authentication_method" not in found:
        raise PacketError(PROTOCOL_ERROR, "authentication data without a method")
    return found, stop


def _value(row: Property, data: bytes, at: int, stop: int) -> tuple[Any, int]:
    kind = row.kind
    if kind is Kind.TEXT:
        text, at = read_text(data, at, stop)
        if row.name == "response_topic":
            check_topic(text)
        return text, at
    if kind is Kind.BINARY:
        return read_binary(data, at, stop)
    if kind is Kind.PAIR:
        name, at = read_text(data, at, stop)
        value, at = read_text(data, at, stop)
        return (name, value), at
    number, at = read_varint(data, at, stop) if kind is Kind.VARINT else read_number(data, at, stop, kind.value)
    if not row.least <= number <= row.most:
        code = 0x94 if row.name == "topic_alias" else PROTOCOL_ERROR
        raise PacketError(code, f"property {row.name}: {row.least}..{row.most} expected, got {number}")
    return number, at


def check_topic(topic: str) -> None:
    """A topic that may be published to (4.7). Raises PacketError."""
    if not topic or "+" in topic or "#" in topic:
        raise PacketError(TOPIC_NAME_INVALID, f"topic without wildcards expected, got {topic[:80]!r}")


def check_filter(pattern: str) -> None:
    """A topic filter (4.7.1, 4.8.2). Raises PacketError."""
    levels = pattern.split("/")
    if levels[0] == "$share":
        if len(levels) < 3 or not levels[1] or "+" in levels[1] or "#" in levels[1]:
            raise PacketError(TOPIC_FILTER_INVALID, f"$share/name/filter expected, got {pattern[:80]!r}")
        levels = levels[2:]
    if not pattern or levels == [""]:
        raise PacketError(TOPIC_FILTER_INVALID, "topic filter is empty")
    for index, level in enumerate(levels):
        if ("#" in level and (level != "#" or index != len(levels) - 1)) or ("+" in level and level != "+"):
            raise PacketError(TOPIC_FILTER_INVALID, f"wildcards take a whole level, # the last one; got {pattern[:80]!r}")


# --- writing -------------------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A variable byte integer.

    >>> varint(127), varint(321).hex()
    (b'\\x7f', 'c102')
    """
    if value < 0x80:
        return bytes((value,))
    if value > LONGEST_VARINT:
        raise LocalProtocolError(f"at most {LONGEST_VARINT} bytes fit into a packet, got {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def binary(data: bytes) -> bytes:
    """Bytes behind a 2-byte length. Raises LocalProtocolError."""
    if len(data) > 0xFFFF:
        raise LocalProtocolError(f"at most 65535 bytes fit into a field, got {len(data)}")
    return len(data).to_bytes(2, "big") + data


@lru_cache(maxsize=2048)
def text(value: str) -> bytes:
    """A text. Raises LocalProtocolError for U+0000, surrogates and more than 65535 bytes."""
    if "\0" in value:
        raise LocalProtocolError("text holds U+0000")
    try:
        return binary(value.encode())
    except UnicodeEncodeError:
        raise LocalProtocolError("text holds surrogates") from None


@lru_cache(maxsize=2048)
def topic_bytes(topic: str) -> bytes:
    """A topic to publish to. Raises LocalProtocolError."""
    try:
        check_topic(topic)
    except PacketError as error:
        raise LocalProtocolError(error.detail) from None
    return text(topic)


def properties_bytes(properties: Properties, packet: str) -> bytes:
    """The properties of a packet with their length in front. Raises LocalProtocolError."""
    if not properties:
        return b"\0"
    out = []
    for name, value in properties.items():
        row = _BY_NAME.get(name)
        if row is None or packet not in row.packets:
            raise LocalProtocolError(f"property {name} does not belong into {packet}")
        many = row.kind is Kind.PAIR or packet in row.many
        out += [_property_bytes(row, each) for each in (value if many else (value,))]
    body = b"".join(out)
    return varint(len(body)) + body


def _property_bytes(row: Property, value: Any) -> bytes:
    head = bytes((row.id,))
    if row.kind is Kind.TEXT:
        return head + (topic_bytes(value) if row.name == "response_topic" else text(value))
    if row.kind is Kind.BINARY:
        return head + binary(value)
    if row.kind is Kind.PAIR:
        return head + text(value[0]) + text(value[1])
    most = LONGEST_VARINT if row.kind is Kind.VARINT else min(row.most, (1 << 8 * row.kind.value) - 1)
    if not row.least <= value <= most:
        raise LocalProtocolError(f"property {row.name}: {row.least}..{most} expected, got {value}")
    return head + (varint(value) if row.kind is Kind.VARINT else value.to_bytes(row.kind.value, "big"))
