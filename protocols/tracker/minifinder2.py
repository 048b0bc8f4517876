"""Eview care pendants (EV-07B, EV-04, MiniFinder Nano): framing, messages, answers.

Source: EV-07B communication protocol v1.2. TCP, little endian throughout.

    AB fl llll cccc ssss | cc | n kk value...  n kk value...
    |  |  |    |    |      |    |  |  +- n-1 bytes
    |  |  |    |    |      |    |  +- key
    |  |  |    |    |      |    +- length of key and value
    |  |  |    |    |      +- command: 01 data, 02 configuration, 03 service, 04 system, 7E firmware, 7F response
    |  |  |    |    +- sequence number u16, echoed in the answer
    |  |  |    +- CRC-16/XMODEM over the body (from cc on)
    |  |  +- length of the body u16
    |  +- bits 0-3 version, 4 answer wanted, 5 error, 6-7 encryption
    +- start byte
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocols.checksum import crc16_xmodem
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Tries

START = 0xAB
HEADER = struct.Struct("<BBHHH")
DATA, CONFIGURATION, SERVICE, SYSTEM, FIRMWARE, RESPONSE = 0x01, 0x02, 0x03, 0x04, 0x7E, 0x7F
COMMANDS = frozenset({DATA, CONFIGURATION, SERVICE, SYSTEM, FIRMWARE, RESPONSE})
ACK_WANTED, ENCRYPTED = 0x10, 0xC0
IMEI, HEARTBEAT, ADDRESS, TIME = 0x01, 0x10, 0x11, 0x12
"""Keys of service messages."""

BODY_LIMIT = 4096
"""The document says about 1 kB; firmware sends 1.3 kB after an outage."""

_ACK_BODY = b"\x7f\x01\x00"
_ACK_HEAD = HEADER.pack(START, 0, len(_ACK_BODY), crc16_xmodem(_ACK_BODY), 0)[:6]

Item = tuple[int, bytes]
"""Key and value."""


class Message(NamedTuple):
    """One frame. `items` are key and value in the order of the wire; `fault` names an item that runs past the end."""

    command: int
    items: tuple[Item, ...] = ()
    sequence: int = 0
    flags: int = ACK_WANTED
    fault: str | None = None
    crc_ok: bool = True
    raw: bytes = b""

    @property
    def wants_ack(self) -> bool:
        """Whether the sender waits for an answer."""
        return bool(self.flags & ACK_WANTED)

    def value(self, key: int) -> bytes | None:
        """Value of the first item with this key."""
        return next((value for found, value in self.items if found == key), None)


class Connection:
    """One TCP stream of either side.

    A frame with a wrong CRC is an INTEGRITY reject (or, with `tolerate_crc`, a message with `crc_ok` False). After it the search
    goes on at its second byte: where the damage is a lost piece, the next frame begins inside the claimed length.
    """

    def __init__(self, *, tolerate_crc: bool = False) -> None:
        self._tolerate_crc = tolerate_crc
        self._buffer = b""
        self._excused = 0
        self._tries = Tries()
        self._junk = b""
        self._junk_bytes = 0

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Every message and refusal that `data` completes."""
        self._tries.earn(len(data))
        buffer = self._buffer + data if self._buffer else data
        out: list[Message | Reject] = []
        at, size = 0, len(buffer)
        while at < size:
            if not _can_start(buffer, at):
                start = buffer.find(b"\xab", at + 1)
                self._skip(buffer, at, start if start >= 0 else size)
                at = start if start >= 0 else size
                continue
            end = at + 8 + int.from_bytes(buffer[at + 2 : at + 4], "little") if size - at >= 8 else size + 1
            if end > size:
                inner = _embedded(buffer, at, self._tries)
                if not inner:
                    break
                self._skip(buffer, at, inner)
                at = inner
                continue
            at = self._frame(buffer, at, end, out)
        self._buffer = buffer[at:]
        self._excused = max(0, self._excused - at)
        if not self._buffer:
            self._flush(out)
        return out

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    def _frame(self, buffer: bytes, at: int, end: int, out: list[Message | Reject]) -> int:
        raw = buffer[at:end]
        crc_ok = crc16_xmodem(raw[8:]) == int.from_bytes(raw[4:6], "little")
        if crc_ok or (self._tolerate_crc and _is_whole(raw)):
            self._flush(out)
            try:
                out.append(decode(raw, crc_ok=crc_ok))
            except RemoteProtocolError as error:
                out.append(error.reject(raw))
            return end
        if at >= self._excused:
            self._flush(out)
            out.append(Reject(Reason.INTEGRITY, "CRC does not fit", raw[:FRAME_SAMPLE_BYTES]))
            self._excused = end
        self._skip(buffer, at, at + 1)
        return at + 1

    def _skip(self, buffer: bytes, start: int, end: int) -> None:
        """Junk, unless it is the rest of a frame that was refused already."""
        start = max(start, min(self._excused, end))
        self._junk_bytes += end - start
        room = FRAME_SAMPLE_BYTES - len(self._junk)
        self._junk += buffer[start : min(end, start + max(room, 0))]

    def _flush(self, out: list[Message | Reject]) -> None:
        if self._junk_bytes:
            out.append(Reject(Reason.NOT_OURS, f"{self._junk_bytes} bytes between frames", self._junk))
            self._junk, self._junk_bytes = b"", 0


def _can_start(buffer: bytes, at: int) -> bool:
    """Whether a frame may start here, as far as bytes are there: start byte, sane length, known command."""
    size = len(buffer)
    if buffer[at] != START:
        return False
    if size - at < 4:
        return True
    if not 1 <= int.from_bytes(buffer[at + 2 : at + 4], "little") <= BODY_LIMIT:
        return False
    return size - at < 9 or bool(buffer[at + 1] & ENCRYPTED) or buffer[at + 8] in COMMANDS


def _embedded(buffer: bytes, at: int, tries: Tries) -> int:
    """Where a whole frame with a right CRC begins behind `at`, 0 where none does: the unfinished frame at `at` was a false start."""
    size = len(buffer)
    at = buffer.find(b"\xab", at + 1)
    while at >= 0 and tries.spend():
        end = at + 8 + (buffer[at + 2] | buffer[at + 3] << 8) if size - at > 8 else size + 1
        if end <= size and _can_start(buffer, at) and crc16_xmodem(buffer[at + 8 : end]) == buffer[at + 4] | buffer[at + 5] << 8:
            return at
        at = buffer.find(b"\xab", at + 1)
    return 0


def _is_whole(raw: bytes) -> bool:
    """Whether the items fill the body exactly: what tells a frame with a wrong CRC from a false start."""
    at = 9
    while at < len(raw):
        at += raw[at] + 1
    return at == len(raw)


def decode(frame: bytes, *, crc_ok: bool = True) -> Message:
    """The message of one frame whose CRC has been checked. Raises RemoteProtocolError."""
    if len(frame) < 9 or frame[0] != START:
        raise RemoteProtocolError(Reason.TRUNCATED if frame[:1] == b"\xab" else Reason.NOT_OURS, "AB, header and command expected", frame)
    _, flags, length, _, sequence = HEADER.unpack_from(frame)
    if length != len(frame) - 8:
        raise RemoteProtocolError(Reason.TRUNCATED, f"body of {length} bytes expected, got {len(frame) - 8}", frame)
    if flags & ENCRYPTED:
        return Message(frame[8], (), sequence, flags, "encrypted body", crc_ok, frame)
    items, fault = parse_items(frame, 9)
    return Message(frame[8], items, sequence, flags, fault, crc_ok, frame)


def parse_items(data: bytes, at: int) -> tuple[tuple[Item, ...], str | None]:
    """Items from `at` on; with an item that runs past the end named as fault."""
    items: list[Item] = []
    size = len(data)
    while at < size:
        length = data[at]
        end = at + 1 + length
        if length == 0 or end > size:
            return tuple(items), f"item at byte {at} of {length} bytes runs past the end" if length else f"empty item at byte {at}"
        items.append((data[at + 1], data[at + 2 : end]))
        at = end
    return tuple(items), None


def encode(message: Message) -> bytes:
    """The frame of a message, either side. Raises LocalProtocolError where a value or the body is too long."""
    body = bytearray((message.command,))
    for key, value in message.items:
        if len(value) > 254:
            raise LocalProtocolError(f"value of key {key:02x}: 0..254 bytes expected, got {len(value)}")
        body += bytes((len(value) + 1, key)) + value
    if len(body) > BODY_LIMIT:
        raise LocalProtocolError(f"body: 1..{BODY_LIMIT} bytes expected, got {len(body)}")
    return HEADER.pack(START, message.flags & 0xFF, len(body), crc16_xmodem(bytes(body)), message.sequence & 0xFFFF) + bytes(body)


def acknowledgement(message: Message) -> bytes:
    """The ordinary answer: response 00, success, with the sequence of the question."""
    return _ACK_HEAD + message.sequence.to_bytes(2, "little") + _ACK_BODY


def time_answer(message: Message, epoch_s: int) -> bytes:
    """The answer to a service message that asks for the time (key 12)."""
    return encode(Message(SERVICE, ((TIME, struct.pack("<I", epoch_s & 0xFFFFFFFF)),), message.sequence, flags=0))


def address_answer(message: Message, lat: float, lon: float, text: str) -> bytes:
    """The answer to a service message that asks where it is (key 11)."""
    value = struct.pack("<ii", round(lat * 1e7), round(lon * 1e7)) + text.encode()[:200]
    return encode(Message(SERVICE, ((ADDRESS, value),), message.sequence, flags=0))
