"""JT/T 808, the Chinese protocol between vehicle and personal terminals and their platform: frames and headers.

Source: JT/T 808-2013 and JT/T 808-2019, chapter 4 (bytes big endian); the E7 form and the binary identity are those of clones.

    7E | header | body | xor | 7E        inside: 7D 02 = 7E, 7D 01 = 7D; the xor covers header and body before escaping
    E7 | header | body | xor | E7        inside: E6 02 = E7, E6 01 = E6, 3E 02 = 3D, 3E 01 = 3E

    header 2013: id u16, attributes u16, phone 6 (BCD; 7 in the E7 form), serial u16 [, total u16, number u16]
    header 2019: id u16, attributes u16, version u8, phone 10 (BCD), serial u16 [, total u16, number u16]
    header 5501, 5502 (Jointech): id u16, attributes u16, phone 6, serial u8

    attributes: bits 0-9 body length, 10-12 encryption (0 none, 1 RSA), 13 sub-package (total and number follow),
                14 header of 2019; Jointech: bit 15 an answer is wanted

Some terminals also speak text in round brackets on the same connection: `(id,1,001,BASE,2,TIME)`.
"""

from __future__ import annotations

import re
import struct
from collections import OrderedDict, deque
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.checksum import xor8
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject
from protocols.framing import NEED_MORE, Cut, Framer

FRAME_LIMIT = 8192
"""An unfinished frame may hold this much: the body field ends at 1023, but clones let batches run past it."""
BODY_LIMIT = 1023
EMBEDDED_LIMIT = 32
"""More delimiters than this inside what claims to be one frame are chance."""
ASSEMBLIES_LIMIT = 4
ASSEMBLY_PARTS_LIMIT = 256
ASSEMBLY_BYTES_LIMIT = 65536

TERMINAL_ANSWER = 0x0001
HEARTBEAT = 0x0002
LOGOUT = 0x0003
TIME_QUERY_2019 = 0x0004
REGISTER = 0x0100
AUTHENTICATE = 0x0102
PARAMETERS_ANSWER = 0x0104
ATTRIBUTES_ANSWER = 0x0107
TIME_QUERY = 0x0109
POSITION = 0x0200
POSITION_ANSWER = 0x0201
BATCH_SHORT = 0x0210
COMMAND_TEXT = 0x0701
BATCH = 0x0704
TRANSPARENT = 0x0900
TIME_ZONE_QUERY = 0x1007
TEXT_ANSWER = 0x1300
JOINTECH = 0x5501
JOINTECH_BLIND = 0x5502
TEXT_REPORT = 0x6006

PLATFORM_ANSWER = 0x8001
RESEND_REQUEST = 0x8003
TIME_ANSWER_2019 = 0x8004
REGISTER_ANSWER = 0x8100
SET_PARAMETERS = 0x8103
QUERY_PARAMETERS = 0x8104
CONTROL = 0x8105
QUERY_SOME_PARAMETERS = 0x8106
TIME_ANSWER = 0x8109
LOCATE = 0x8201
TRACK = 0x8202
CONFIRM_ALARM = 0x8203
TEXT = 0x8300
CALL_BACK = 0x8400
PHONE_BOOK = 0x8401
CIRCLE, CIRCLE_DELETE = 0x8600, 0x8601
RECTANGLE, RECTANGLE_DELETE = 0x8602, 0x8603
POLYGON, POLYGON_DELETE = 0x8604, 0x8605
JOINTECH_ANSWER = 0x4401

_SHORT_SERIAL = (JOINTECH, JOINTECH_BLIND, JOINTECH_ANSWER)
_START = re.compile(rb"\x7e|\xe7(?:[\x00\x01\x02\x07\x09\xe7]|$)")
_HEAD = struct.Struct(">HH")
_U16 = struct.Struct(">H")
_ANSWER_HEAD, _ANSWER = b"\x80\x01\x00\x05", struct.Struct(">HHHB")


class Header(NamedTuple):
    """Whose message it is and in which dialect.

    `phone` holds the identity bytes as sent (6, 7 or 10); `version` is the protocol version byte of a 2019 header, else None.
    """

    phone: bytes
    version: int | None = None
    delimiter: int = 0x7E


class Message(NamedTuple):
    """One message. `package` is (total, number from 1) of a sub-packaged one; `answer_wanted` is Jointech's attribute bit 15.

    `flaw` names a fault that was tolerated; `raw` holds the frame as received.
    """

    id: int
    header: Header
    serial: int
    body: bytes
    package: tuple[int, int] | None = None
    encryption: int = 0
    answer_wanted: bool = True
    flaw: str | None = None
    raw: bytes = b""


class Bracketed(NamedTuple):
    """Text in round brackets, brackets included."""

    text: str
    raw: bytes = b""


class Connection:
    """One stream, either direction. `tolerate_checksum` lets frames with a wrong xor pass with a `flaw`."""

    def __init__(self, *, tolerate_checksum: bool = False) -> None:
        self._tolerate = tolerate_checksum
        self._ready: deque[Message | Reject | None] = deque()
        self._framer = Framer(self._cut, limit=FRAME_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Message | Bracketed | Reject]:
        """Every message and refusal that `data` completes, in order. Sub-packages come one by one, see `Assembler`."""
        out: list[Message | Bracketed | Reject] = []
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                out.append(found)
                continue
            ready = self._ready.popleft()
            out.append(Bracketed(found.decode("ascii", "replace"), found) if ready is None else ready)
        return out

    def send(self, message: Message) -> bytes:
        """The bytes of `message`. Raises LocalProtocolError when the format cannot express it."""
        return encode(message)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        """Junk, then `delimiter ... delimiter`.

        The closing delimiter of a frame whose xor or length is wrong may be the opening one of the next (its own was lost), so it
        is not consumed: a damaged frame never takes its neighbour with it.
        """
        at = _first_start(buffer, start)
        if at < 0:
            return Cut(junk=len(buffer) - start)
        if at > start:
            return Cut(junk=at - start)
        delimiter = buffer[at]
        if delimiter == 0x28:
            text = _cut_text(buffer, at)
            if text.size:
                self._ready.append(None)
            return text
        end = buffer.find(delimiter, at + 1)
        if end < 0:
            inner = _embedded(buffer, at + 1, len(buffer), delimiter)
            return Cut(junk=inner - at) if inner else NEED_MORE
        if end == at + 1:
            return Cut(junk=1)
        raw = buffer[at : end + 1]
        message = self._message(raw, unescape(raw[1:-1], delimiter))
        closed = isinstance(message, Message) and message.flaw is None
        if not closed:
            inner = _embedded(buffer, at + 1, end, delimiter)
            if inner:
                return Cut(junk=inner - at)
        self._ready.append(message)
        return Cut(0, len(raw) if closed else len(raw) - 1)

    def _message(self, raw: bytes, content: bytes | None) -> Message | Reject:
        if content is None:
            return Reject(Reason.INTEGRITY, "escape sequence of JT/T 808 expected", raw[:FRAME_SAMPLE_BYTES])
        flaw = None
        if len(content) >= 12 and xor8(content):
            flaw = f"xor {xor8(content[:-1]):02x} expected, got {content[-1]:02x}"
            if not self._tolerate:
                return Reject(Reason.INTEGRITY, flaw, raw[:FRAME_SAMPLE_BYTES])
        return read_content(content, delimiter=raw[0], raw=raw, flaw=flaw)


def _first_start(buffer: bytes, start: int) -> int:
    """Where a frame may begin, -1 where none does. Text only right at `start`; E7 only in front of what can be an id (both are usual
    bytes), of another E7, or as the last byte."""
    first = buffer[start]
    if first == 0x7E:
        return start
    if first == 0x28 and (start + 1 >= len(buffer) or buffer[start + 1 : start + 2].isalnum()):
        return start
    found = _START.search(buffer, start)
    return found.start() if found else -1


def _embedded(buffer: bytes, begin: int, end: int, delimiter: int) -> int:
    """Where a whole right frame with the other delimiter lies between `begin` and `end`, 0 where none does: what holds it is noise."""
    other = 0xE7 if delimiter == 0x7E else 0x7E
    at = buffer.find(other, begin, end)
    for _ in range(EMBEDDED_LIMIT):
        close = buffer.find(other, at + 1, end) if at >= 0 else -1
        if close < 0:
            return 0
        content = unescape(buffer[at + 1 : close], other)
        if content is not None and len(content) >= 12 and not xor8(content):
            message = read_content(content, delimiter=other)
            if isinstance(message, Message) and message.flaw is None:
                return at
        at = close
    return 0


def _cut_text(buffer: bytes, at: int) -> Cut:
    end = buffer.find(b")", at + 1)
    limit = end if end >= 0 else len(buffer)
    if not buffer[at:limit].isascii() or b"\x7e" in buffer[at:limit]:
        return Cut(junk=1)
    if end < 0:
        return NEED_MORE if len(buffer) - at <= 512 else Cut(junk=1)
    return Cut(size=end - at + 1)


def unescape(data: bytes, delimiter: int = 0x7E) -> bytes | None:
    """The bytes between two delimiters as they were before escaping; None when an escape is followed by a wrong byte."""
    if delimiter == 0x7E:
        if 0x7D not in data:
            return data
        parts = data.split(b"\x7d")
        if any(part[:1] not in {b"\x01", b"\x02"} for part in parts[1:]):
            return None
        return parts[0] + b"".join((b"\x7d" if part[0] == 1 else b"\x7e") + part[1:] for part in parts[1:])
    return _unescape_e7(data)


_E7 = {b"\xe6\x01": 0xE6, b"\xe6\x02": 0xE7, b"\x3e\x01": 0x3E, b"\x3e\x02": 0x3D}


def _unescape_e7(data: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(data):
        if data[at] in {0xE6, 0x3E}:
            plain = _E7.get(data[at : at + 2])
            if plain is None:
                return None
            out.append(plain)
            at += 2
        else:
            out.append(data[at])
            at += 1
    return bytes(out)


def escape(data: bytes, delimiter: int = 0x7E) -> bytes:
    """The inverse of `unescape`."""
    if delimiter == 0x7E:
        return data.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")
    table = {0xE6: b"\xe6\x01", 0xE7: b"\xe6\x02", 0x3E: b"\x3e\x01", 0x3D: b"\x3e\x02"}
    return b"".join(table.get(byte, bytes((byte,))) for byte in data)


def read_content(content: bytes, *, delimiter: int = 0x7E, raw: bytes = b"", flaw: str | None = None) -> Message | Reject:
    """The message of unescaped bytes, xor included but not checked. A body shorter or longer than the header says is a `flaw`."""
    if len(content) < 12:
        return Reject(Reason.TRUNCATED, f"a header and an xor expected, got {len(content)} bytes", raw[:FRAME_SAMPLE_BYTES])
    kind, attributes = _HEAD.unpack_from(content)
    if kind in _SHORT_SERIAL:
        header = Header(content[4:10], None, delimiter)
        return Message(kind, header, content[10], content[11:-1], None, 0, bool(attributes & 0x8000), flaw, raw)
    packaged = 4 if attributes & 0x2000 else 0
    version: int | None = None
    id_at, body_at = 4, (13 if delimiter == 0xE7 else 12) + packaged
    if attributes & 0x4000 and not (len(content) - 1 - body_at == attributes & BODY_LIMIT and len(content) < 18 + packaged):
        version, id_at, body_at = content[4], 5, 17 + packaged
    if len(content) < body_at + 1:
        return Reject(Reason.TRUNCATED, f"a header of {body_at} bytes expected, got {len(content) - 1}", raw[:FRAME_SAMPLE_BYTES])
    serial_at = body_at - packaged - 2
    serial = content[serial_at] << 8 | content[serial_at + 1]
    package = (_U16.unpack_from(content, body_at - 4)[0], _U16.unpack_from(content, body_at - 2)[0]) if packaged else None
    body = content[body_at:-1]
    if len(body) & BODY_LIMIT != attributes & BODY_LIMIT and flaw is None:
        flaw = f"a body of {attributes & BODY_LIMIT} bytes expected, got {len(body)}"
    header = Header(content[id_at:serial_at], version, delimiter)
    return Message(kind, header, serial, body, package, attributes >> 10 & 7, True, flaw, raw)


def encode(message: Message) -> bytes:
    """The frame of `message`. Raises LocalProtocolError when body, serial or identity do not fit; long bodies need `split`."""
    header = message.header
    length = len(message.body)
    if length > BODY_LIMIT:
        raise LocalProtocolError(f"a body of at most {BODY_LIMIT} bytes expected, got {length}; split it")
    short = message.id in _SHORT_SERIAL
    wanted = 10 if header.version is not None else 7 if header.delimiter == 0xE7 else 6
    if len(header.phone) != wanted or not 0 <= message.serial <= (0xFF if short else 0xFFFF):
        detail = f"an identity of {wanted} bytes and a serial that fits expected, got {header.phone.hex()}, {message.serial}"
        raise LocalProtocolError(detail)
    attributes = length | message.encryption << 10
    head = b""
    if header.version is not None:
        attributes |= 0x4000
        head = bytes((header.version,))
    if short and message.answer_wanted:
        attributes |= 0x8000
    tail = bytes((message.serial,)) if short else _U16.pack(message.serial)
    if message.package is not None:
        attributes |= 0x2000
        tail += struct.pack(">HH", *message.package)
    content = _HEAD.pack(message.id, attributes) + head + header.phone + tail + message.body
    content += bytes((xor8(content),))
    mark = bytes((header.delimiter,))
    return mark + escape(content, header.delimiter) + mark


def general_answer(message: Message, serial: int, result: int) -> bytes:
    """The frame of 8001, the platform's answer to `message`: its serial, its id, `result`. Every message with data costs one."""
    phone, version, delimiter = message.header
    head = _ANSWER_HEAD if version is None else b"\x80\x01\x40\x05" + bytes((version,))
    content = head + phone + _ANSWER.pack(serial, message.serial, message.id, result)
    content += bytes((xor8(content),))
    mark = bytes((delimiter,))
    return mark + escape(content, delimiter) + mark


def split(message: Message, *, size: int = BODY_LIMIT) -> list[Message]:
    """Sub-packages of a long message, numbered from 1, serials counting up from that of `message`."""
    pieces = [message.body[i : i + size] for i in range(0, len(message.body), size)] or [b""]
    if len(pieces) == 1:
        return [message]
    return [
        message._replace(body=piece, serial=(message.serial + i) & 0xFFFF, package=(len(pieces), i + 1)) for i, piece in enumerate(pieces)
    ]


class Missing(NamedTuple):
    """A sub-packaged message that came to its last part without the parts `numbers`; `first_serial` is that of part 1."""

    message: Message
    first_serial: int
    numbers: list[int]


class Assembler:
    """Puts sub-packages together. Holds at most `ASSEMBLIES_LIMIT` unfinished messages; the oldest goes first."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[int, int, int], dict[int, bytes]] = OrderedDict()

    def add(self, message: Message) -> Message | Missing | Reject | None:
        """The whole message, what is missing at the last part, a refusal, or None while parts are to come."""
        if message.package is None:
            return message
        total, number = message.package
        if not 1 <= number <= total <= ASSEMBLY_PARTS_LIMIT:
            detail = f"a part of at most {ASSEMBLY_PARTS_LIMIT} expected, got part {number} of {total}"
            return Reject(Reason.RANGE, detail, message.raw[:FRAME_SAMPLE_BYTES])
        if total == 1:
            return message._replace(package=None)
        first = (message.serial - number + 1) & 0xFFFF
        key = (message.id, total, first)
        parts = self._open.setdefault(key, {})
        parts[number] = message.body
        self._open.move_to_end(key)
        while len(self._open) > ASSEMBLIES_LIMIT:
            self._open.popitem(last=False)
        if sum(map(len, parts.values())) > ASSEMBLY_BYTES_LIMIT:
            del self._open[key]
            return Reject(Reason.RANGE, f"a message of at most {ASSEMBLY_BYTES_LIMIT} bytes expected", message.raw[:FRAME_SAMPLE_BYTES])
        if len(parts) == total:
            del self._open[key]
            return message._replace(body=b"".join(parts[i] for i in range(1, total + 1)), package=None)
        if number == total:
            return Missing(message, first, [i for i in range(1, total + 1) if i not in parts])
        return None


def device_id(phone: bytes) -> str:
    """The identity as text: BCD digits without leading zeros, or the IMEI that a clone packs into six binary bytes.

    >>> device_id(bytes.fromhex("014450376202"))
    '14450376202'
    >>> device_id(bytes.fromhex("4eb6fb4af2c1"))
    '865478070074259'
    """
    text = phone.hex()
    if text.isdecimal():
        return text.lstrip("0") or "0"
    number = int.from_bytes(phone[:6], "big")
    return f"{number}{_luhn(number)}"


def phone_bytes(device: str, *, version: int | None = None) -> bytes:
    """The identity bytes of a 2013 (6) or 2019 (10) header for digits. Raises LocalProtocolError when they do not fit."""
    size = 6 if version is None else 10
    if not device.isdecimal() or len(device) > 2 * size:
        raise LocalProtocolError(f"at most {2 * size} digits expected, got {device!r}")
    return bcd_encode(device.zfill(2 * size))


def _luhn(number: int) -> int:
    total = 0
    for place, digit in enumerate(reversed(str(number))):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10
