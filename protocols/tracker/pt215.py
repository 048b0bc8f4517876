"""PT215, a cousin of Topin with another head, over TCP. Both directions.

Source: as observed. Big endian, no checksum, and like Topin's the length byte is not reliable: the type tells the least size.

    58 58 | length u8 | type u8 | content | 0D 0A

    01 IMEI BCD 8, version    08 heartbeat    10, 11 (stored) yy mm dd hh mm ss, lat u32, lon u32 (1/1 800 000 degree), flags u16
       (0-9 course, 10 NORTH, 11 WEST, 12 fixed)    13 status: battery %    94 vibration    99 SOS
    answers: 58 58 01 type 0D 0A; positions 58 58 07 type and their six time bytes
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer
from protocols.tracker.fix import civil_ms

HEAD, TAIL = b"XX", b"\r\n"
FRAME_LIMIT = 300
LOGIN, HEARTBEAT, POSITION, POSITION_STORED, STATUS, VIBRATION, SOS = 0x01, 0x08, 0x10, 0x11, 0x13, 0x94, 0x99
_LEAST = {LOGIN: 8, POSITION: 16, POSITION_STORED: 16}
"""Bytes of content before which an end sign is part of it."""
_DEGREE = 1_800_000


class Packet(NamedTuple):
    """One message."""

    kind: int
    content: bytes = b""
    raw: bytes = b""


class Fix(NamedTuple):
    """A position in signed degrees; None where it is 0, 0 or off the globe."""

    at_ms: int | None
    lat: float | None
    lon: float | None
    course_deg: float
    is_fixed: bool
    out_of_range: bool


class Connection:
    """One TCP connection."""

    def __init__(self) -> None:
        self._framer = Framer(_cut, limit=FRAME_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished message."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Packet | Reject]:
        """Messages and refusals that `data` completes."""
        return [raw if isinstance(raw, Reject) else Packet(raw[3], raw[4:-2], raw) for raw in self._framer.feed(data)]

    def send(self, message: Packet) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def _cut(buffer: bytes, start: int) -> Cut:
    size = len(buffer)
    at = buffer.find(HEAD, start)
    if at < 0:
        return Cut(size - start - (1 if buffer.endswith(HEAD[:1], start) else 0))
    if size - at < 4:
        return Cut(at - start) if at > start else NEED_MORE
    least = at + 4 + _LEAST.get(buffer[at + 3], 0)
    end = buffer.find(TAIL, least)
    again = buffer.find(HEAD, least, end if end >= 0 else size)
    if again >= 0:
        return Cut(again - start)
    if end < 0 or not _is_right(buffer, at):
        # Unfinished, or its length is wrong: cut short, if a message that is right begins inside.
        inner = buffer.find(HEAD, at + 1)
        while inner >= 0 and (end < 0 or inner < end):
            if _is_right(buffer, inner):
                return Cut(inner - start)
            inner = buffer.find(HEAD, inner + 1)
    return Cut(at - start, end + 2 - at if end >= 0 else 0)


def _is_right(buffer: bytes, at: int) -> bool:
    """Whether a message with its end where its length says begins here."""
    end = at + 3 + buffer[at + 2] if at + 2 < len(buffer) else len(buffer)
    return buffer[end : end + 2] == TAIL


def encode(packet: Packet) -> bytes:
    """The bytes of a message. Raises LocalProtocolError."""
    if len(packet.content) > 250:
        raise LocalProtocolError(f"content of at most 250 bytes expected, got {len(packet.content)}")
    return HEAD + bytes((1 + len(packet.content), packet.kind)) + packet.content + TAIL


def answer(packet: Packet) -> bytes:
    """What the server answers."""
    return encode(Packet(packet.kind, packet.content[:6] if packet.kind in {POSITION, POSITION_STORED} else b""))


def write_login(imei: str) -> bytes:
    """A login. Raises LocalProtocolError."""
    if len(imei) != 15 or not (imei.isascii() and imei.isdigit()):
        raise LocalProtocolError(f"IMEI of 15 digits expected, got {imei!r:.40}")
    return encode(Packet(LOGIN, bytes.fromhex("0" + imei) + b"\x01"))


def read_login(packet: Packet) -> str:
    """IMEI of a login. Raises RemoteProtocolError."""
    digits = packet.content[:8].hex()
    if len(digits) < 16:
        raise RemoteProtocolError(Reason.TRUNCATED, f"IMEI of 8 bytes expected, got {len(packet.content)}", packet.raw)
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"IMEI digits expected, got {digits}", packet.raw)
    return digits[1:]


def read_position(packet: Packet) -> Fix:
    """Place and time of a 10 or 11. Raises RemoteProtocolError (TRUNCATED)."""
    data = packet.content
    if len(data) < 16:
        raise RemoteProtocolError(Reason.TRUNCATED, f"position of 16 bytes expected, got {len(data)}", packet.raw)
    flags = int.from_bytes(data[14:16], "big")
    lat, lon = int.from_bytes(data[6:10], "big") / _DEGREE, int.from_bytes(data[10:14], "big") / _DEGREE
    bad = lat > 90 or lon > 180
    is_place = not bad and bool(lat or lon)
    year, month, day, hour, minute, second = data[:6]
    return Fix(
        civil_ms(year, month, day, hour, minute, second) if year < 100 else None,
        (lat if flags & 0x400 else -lat) if is_place else None, (-lon if flags & 0x800 else lon) if is_place else None,
        (flags & 0x3FF) % 360, bool(flags & 0x1000), bad,
    )  # fmt: skip


def write_position(kind: int, clock: bytes, *, lat: float, lon: float, course_deg: int = 0, is_fixed: bool = True) -> bytes:
    """A 10 or 11 as a device sends it; `clock` six binary bytes yy mm dd hh mm ss."""
    flags = course_deg & 0x3FF | (0x400 if lat >= 0 else 0) | (0x800 if lon < 0 else 0) | (0x1000 if is_fixed else 0)
    parts = ((round(abs(lat) * _DEGREE), 4), (round(abs(lon) * _DEGREE), 4), (flags, 2))
    return encode(Packet(kind, clock + b"".join(value.to_bytes(width, "big") for value, width in parts)))
