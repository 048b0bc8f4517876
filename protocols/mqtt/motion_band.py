"""A band that sends its raw acceleration over MQTT, one block a second, topic `anhu/band/{id}/acc` (profile of Anhu, version 1).

41 42 vv ff bb hh rr nn ssssssss  xxxx yyyy zzzz ...  cccc
|     |  |  |  |  |  |  |         |                   +- CRC-16/XMODEM of everything before, big endian
|     |  |  |  |  |  |  |         +- nn samples of three i16, milli-g, little endian; z points away from the skin
|     |  |  |  |  |  |  +- number of the first sample since the band was switched on, u32 little endian
|     |  |  |  |  |  +- samples in this block, 1..120
|     |  |  |  |  +- range of the sensor, g, 1..32
|     |  |  |  +- rate, Hz, 10..100
|     |  |  +- battery percent, FF = not known
|     |  +- flags: bit 0 worn, bit 1 at the waist (else wrist), bit 2 key pressed
|     +- version, 1
+- "AB"
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocols.checksum import crc16_xmodem
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.topic import TopicPattern, plain_id

TOPIC = TopicPattern("anhu/band/{id}/acc")
START, VERSION = b"AB", 1
MOST_SAMPLES = 120
WORN, WAIST, KEY = 1, 2, 4
BATTERY_UNKNOWN = 0xFF
_HEAD = struct.Struct("<2sBBBBBBI")
_SUM = struct.Struct(">H")


class Block(NamedTuple):
    """`samples` is x, y, z, x, y, z, ... in milli-g; `first` numbers the first of them; `battery` None: not known."""

    samples: tuple[int, ...]
    first: int
    hz: int
    range_g: int = 16
    battery: int | None = None
    is_worn: bool = True
    is_waist: bool = False
    is_key_pressed: bool = False


def device_of(topic: str) -> str:
    """The id of the band. Raises RemoteProtocolError (NOT_OURS, RANGE)."""
    found = TOPIC.match(topic)
    if found is None:
        raise RemoteProtocolError(Reason.NOT_OURS, f"topic {TOPIC.text} expected, got {topic[:80]!r}")
    return plain_id(found["id"])


def decode(data: bytes) -> Block:
    """The block of one message. Raises RemoteProtocolError."""
    if data[:2] != START:
        raise RemoteProtocolError(Reason.NOT_OURS, f"41 42 expected, got {data[:2].hex()}", data[:64])
    if len(data) < _HEAD.size + _SUM.size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"at least {_HEAD.size + _SUM.size} bytes expected, got {len(data)}", data)
    _, version, flags, battery, hz, range_g, count, first = _HEAD.unpack_from(data)
    if version != VERSION:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"version {VERSION} expected, got {version}", data[:64])
    size = _HEAD.size + count * 6 + _SUM.size
    if len(data) < size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{size} bytes expected for {count} samples, got {len(data)}", data[:64])
    body = data[: size - _SUM.size]
    (told,) = _SUM.unpack_from(data, len(body))
    if crc16_xmodem(body) != told or len(data) > size:
        raise RemoteProtocolError(Reason.INTEGRITY, f"CRC {crc16_xmodem(body):04x} expected, got {told:04x}", data[:64])
    fits = 1 <= count <= MOST_SAMPLES and 10 <= hz <= 100 and 1 <= range_g <= 32 and (battery <= 100 or battery == BATTERY_UNKNOWN)
    if not fits:
        detail = f"samples 1..{MOST_SAMPLES}, rate 10..100, range 1..32 expected, got {count}, {hz}, {range_g}, battery {battery}"
        raise RemoteProtocolError(Reason.RANGE, detail, data[:64])
    samples = struct.unpack_from(f"<{count * 3}h", data, _HEAD.size)
    percent = None if battery == BATTERY_UNKNOWN else battery
    return Block(samples, first, hz, range_g, percent, bool(flags & WORN), bool(flags & WAIST), bool(flags & KEY))


def encode(block: Block) -> bytes:
    """The message of a band. Raises LocalProtocolError."""
    count, rest = divmod(len(block.samples), 3)
    if rest or not 1 <= count <= MOST_SAMPLES:
        raise LocalProtocolError(f"samples: 3..{MOST_SAMPLES * 3} numbers, three each, expected, got {len(block.samples)}")
    flags = WORN * block.is_worn | WAIST * block.is_waist | KEY * block.is_key_pressed
    battery = BATTERY_UNKNOWN if block.battery is None else block.battery
    try:
        head = _HEAD.pack(START, VERSION, flags, battery, block.hz, block.range_g, count, block.first & 0xFFFFFFFF)
        body = head + struct.pack(f"<{count * 3}h", *block.samples)
    except struct.error as error:
        raise LocalProtocolError(f"block: {error}") from None
    return body + _SUM.pack(crc16_xmodem(body))
