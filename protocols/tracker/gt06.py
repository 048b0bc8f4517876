"""GT06, the protocol of Concox, Jimi and very many clones: frames, login, answers, commands. Both directions.

Source: Concox "GT06 GPS tracker communication protocol" 1.8 and Jimi's successors; bytes big endian.

    78 78 | length u8  | type u8 | content | serial u16 | crc u16 | 0D 0A        length counts type..crc
    79 79 | length u16 | type u8 | content | serial u16 | crc u16 | 0D 0A
    crc: X-25 over length..serial

    Wi-Fi messages 17 and 69 of some clones have neither serial nor crc and put the number of access points into `length`:
    78 78 | n u8 | type u8 | time BCD 6 | n * (mac 6, level u8) | cells u8 | mcc u16 | mnc u8 | cells * (lac u16, cid u16, level u8) | 0D 0A

Resync: 0D 0A and 78 78 may occur inside content, and clones miscount their length. A frame whose length lands on 0D 0A with a right
crc is taken; else a right frame further in ends it; else its layout (Wi-Fi) or the next 0D 0A does.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.checksum import crc16_x25
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer, Tries

LENGTH_LIMIT = 2048
"""A longer extended message is a false start: photo parts, the longest known, hold 1 kB."""
SLACK = 64
"""How far past its claimed end a frame with a wrong length is looked for."""
ACCESS_POINTS_LIMIT = 40
"""A Wi-Fi message that counts more is noise: it would wait for a kilobyte."""

LOGIN = 0x01
STATUS = 0x13
COMMAND_ANSWER = 0x15
WIFI_COUNTED = (0x17, 0x69)
STRING_ANSWER = 0x21
HEARTBEAT = 0x23
ADDRESS = 0x2A
COMMAND = 0x80
TIME = 0x8A
INFORMATION = 0x94
TAIL = b"\x0d\x0a"
_HEADS = (b"\x78\x78", b"\x79\x79")
_DOUBTFUL, _RIGHT, _COUNTED = range(3)
"""How a cut frame was found: to be checked, checked, counted Wi-Fi without crc."""


class Packet(NamedTuple):
    """One message. `serial` None: a form without serial and crc. `flaw` names a fault that was tolerated."""

    kind: int
    content: bytes
    serial: int | None
    extended: bool = False
    flaw: str | None = None
    raw: bytes = b""


class Login(NamedTuple):
    """`offset_minutes` is the zone that the device says its times have, None where it does not say."""

    imei: str
    model: int | None
    offset_minutes: int | None


class Connection:
    """One stream, either direction. `tolerate_crc` lets frames with a wrong or missing crc pass with a `flaw`."""

    def __init__(self, *, tolerate_crc: bool = False) -> None:
        self._tolerate = tolerate_crc
        self._forms: deque[int] = deque()
        self._tries = Tries()
        self._framer = Framer(self._cut, limit=LENGTH_LIMIT + 2 * SLACK)
        self._final = False

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Packet | Reject]:
        """Every message and refusal that `data` completes, in order."""
        self._tries.earn(len(data))
        return [found if isinstance(found, Reject) else self._packet(found) for found in self._framer.feed(data)]

    def flush(self) -> list[Packet | Reject]:
        """Give up waiting: what the buffer holds is all there is of it (the device paused)."""
        self._final = True
        found = self.receive(b"")
        self._final = False
        return found

    def send(self, packet: Packet) -> bytes:
        """The bytes of `packet`. Raises LocalProtocolError when the format cannot express it."""
        return encode(packet)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        at = _next_head(buffer, start)
        if at > start:
            return Cut(junk=at - start)
        have = len(buffer) - at
        if have < 4:
            return Cut(junk=have) if self._final else NEED_MORE
        extended = buffer[at] == 0x79
        length = (buffer[at + 2] << 8 | buffer[at + 3]) if extended else buffer[at + 2]
        if length > LENGTH_LIMIT:
            return Cut(junk=1)
        total = length + (6 if extended else 5)
        if _is_right(buffer, at):
            self._forms.append(_RIGHT)
            return Cut(0, total)
        if not extended and buffer[at + 3] in WIFI_COUNTED:
            size = _counted_size(buffer, at)
            if size:
                inner = _embedded(buffer, at, at + size, self._tries)
                if inner:
                    return self._take(inner, counted=False)
                if size <= have:
                    return self._take(size, counted=True)
                if not self._final:
                    return NEED_MORE
        return self._by_tail(buffer, at, total)

    def _by_tail(self, buffer: bytes, at: int, total: int) -> Cut:
        """A frame whose crc or length is wrong: a right frame inside it ends it, else its claimed end if that is 0D 0A, else the
        next 0D 0A."""
        have = len(buffer) - at
        ends_well = total > 5 and have >= total and buffer[at + total - 2 : at + total] == TAIL
        inner = _embedded(buffer, at, at + total + (0 if ends_well else SLACK), self._tries)
        end = at + total if ends_well else buffer.find(TAIL, at + 4, at + total + SLACK) + 2
        if inner and (ends_well or end < at + 4 or at + inner < end):
            return self._take(inner, counted=False)
        if have < total and not inner and not self._final:
            return NEED_MORE
        if end >= at + 4:
            return self._take(end - at, counted=False)
        if have < total + SLACK and not self._final:
            return NEED_MORE
        return Cut(junk=1)

    def _take(self, size: int, *, counted: bool) -> Cut:
        self._forms.append(_COUNTED if counted else _DOUBTFUL)
        return Cut(size=size)

    def _packet(self, raw: bytes) -> Packet | Reject:
        form = self._forms.popleft()
        if form == _RIGHT and len(raw) >= 10:
            # Length and crc were checked when the frame was cut.
            head = 4 if raw[0] == 0x79 else 3
            return Packet(raw[head], raw[head + 1 : -6], raw[-6] << 8 | raw[-5], head == 4, None, raw)
        if form == _COUNTED:
            return Packet(raw[3], raw[4:-2], None, False, None, raw)
        return read_frame(raw, tolerate_crc=self._tolerate)


def _next_head(buffer: bytes, start: int) -> int:
    """Index of the next 78 78 or 79 79, of a final byte that may begin one, else the end."""
    if buffer[start : start + 2] in _HEADS:
        return start
    found = [at for at in (buffer.find(head, start) for head in _HEADS) if at >= 0]
    if found:
        return min(found)
    return len(buffer) - 1 if buffer[-1] in {0x78, 0x79} else len(buffer)


def _is_right(buffer: bytes, at: int) -> bool:
    """Whether a whole frame with 0D 0A and a right crc begins here."""
    wide = buffer[at : at + 2] == _HEADS[1]
    if at + 4 > len(buffer):
        return False
    length = (buffer[at + 2] << 8 | buffer[at + 3]) if wide else buffer[at + 2]
    end = at + length + (6 if wide else 5)
    if not 5 <= length <= LENGTH_LIMIT or end > len(buffer) or buffer[end - 2 : end] != TAIL:
        return False
    return crc16_x25(buffer[at + 2 : end - 4]) == buffer[end - 4] << 8 | buffer[end - 3]


def _embedded(buffer: bytes, at: int, limit: int, tries: Tries) -> int:
    """Offset of a right frame that begins after `at` and before `limit`, 0 where there is none."""
    inner = at
    while True:
        inner = min((i for i in (buffer.find(head, inner + 1, limit + 1) for head in _HEADS) if i >= 0), default=-1)
        if inner < 0 or inner >= limit or not tries.spend():
            return 0
        if _is_right(buffer, inner):
            return inner - at


def _counted_size(buffer: bytes, at: int) -> int:
    """Size of a Wi-Fi message whose length is the number of access points; more than there is while it is unfinished; 0: is none."""
    if buffer[at + 2] > ACCESS_POINTS_LIMIT or not (buffer[at + 4 : at + 10].hex() or "0").isdecimal():
        return 0
    cells_at = at + 10 + 7 * buffer[at + 2]
    if cells_at >= len(buffer):
        return cells_at + 1 - at
    size = cells_at + 1 + 3 + 5 * buffer[cells_at] + 2 - at
    if buffer[cells_at] > 20:
        return 0
    return size if at + size > len(buffer) or buffer[at + size - 2 : at + size] == TAIL else 0


def read_frame(raw: bytes, *, tolerate_crc: bool = False) -> Packet | Reject:
    """The message of one whole frame. A wrong length with a right crc is a `flaw`."""
    sample = raw[:FRAME_SAMPLE_BYTES]
    extended = raw[:1] == b"\x79"
    head = 4 if extended else 3
    if len(raw) < head + 7 or raw[-2:] != TAIL:
        return Reject(Reason.TRUNCATED, f"type, serial, crc and 0D 0A expected, got {len(raw)} bytes", sample)
    length = int.from_bytes(raw[2:head], "big")
    flaw = None
    if length != len(raw) - head - 2:
        flaw = f"length {len(raw) - head - 2} expected, got {length}"
    crc = crc16_x25(raw[2:-4])
    told = raw[-4] << 8 | raw[-3]
    if crc != told:
        flaw = f"crc {crc:04x} expected, got {told:04x}" + (f", {flaw}" if flaw else "")
        if not tolerate_crc:
            return Reject(Reason.INTEGRITY, flaw, sample)
    return Packet(raw[head], raw[head + 1 : -6], raw[-6] << 8 | raw[-5], extended, flaw, raw)


def encode(packet: Packet) -> bytes:
    """The frame of `packet`. Raises LocalProtocolError when it is too long for its form."""
    if packet.serial is None:
        return _HEADS[0] + bytes((0, packet.kind)) + packet.content + TAIL
    length = len(packet.content) + 5
    if length > (LENGTH_LIMIT if packet.extended else 255) or not 0 <= packet.serial <= 0xFFFF:
        raise LocalProtocolError(f"a content that fits one message expected, got {len(packet.content)} bytes, serial {packet.serial}")
    covered = (
        length.to_bytes(2 if packet.extended else 1, "big") + bytes((packet.kind,)) + packet.content + packet.serial.to_bytes(2, "big")
    )
    return _HEADS[packet.extended] + covered + crc16_x25(covered).to_bytes(2, "big") + TAIL


def answer(packet: Packet, content: bytes = b"") -> bytes:
    """The answer to `packet`: its type and its serial (or, without one, the time that it began with).

    >>> answer(Packet(0x01, b"", 1)).hex()
    '787805010001d9dc0d0a'
    """
    serial = packet.serial
    if serial is None:
        return encode(Packet(packet.kind, packet.content[:6], None))
    if content or packet.extended:
        return encode(Packet(packet.kind, content, serial, packet.extended))
    # Every report costs one of these.
    covered = bytes((5, packet.kind, serial >> 8, serial & 0xFF))
    return b"\x78\x78" + covered + crc16_x25(covered).to_bytes(2, "big") + TAIL


def read_login(content: bytes) -> Login:
    """IMEI (8 bytes BCD, one leading zero), model u16, zone u16 (high 12 bits hhmm as a decimal number, bit 3 west).

    Raises RemoteProtocolError (TRUNCATED, RANGE).
    """
    if len(content) < 8:
        raise RemoteProtocolError(Reason.TRUNCATED, f"an IMEI of 8 bytes expected, got {len(content)}", content)
    digits = content[:8].hex()
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"an IMEI in BCD expected, got {digits}", content)
    model = content[8] << 8 | content[9] if len(content) >= 10 else None
    offset = None
    if len(content) >= 12:
        word = content[10] << 8 | content[11]
        hours, minutes = divmod(word >> 4, 100)
        if hours <= 14 and minutes < 60:
            offset = (hours * 60 + minutes) * (-1 if word & 8 else 1)
    return Login(digits[1:], model, offset)


def write_login(imei: str, *, model: int = 0x1001, offset_minutes: int | None = 480, language: int = 2) -> bytes:
    """The content of a login, as a device makes it. Raises LocalProtocolError unless `imei` has 15 digits."""
    if len(imei) != 15 or not imei.isdecimal():
        raise LocalProtocolError(f"an IMEI of 15 digits expected, got {imei!r}")
    content = bcd_encode("0" + imei)
    if offset_minutes is None:
        return content
    hours, minutes = divmod(abs(offset_minutes), 60)
    word = (hours * 100 + minutes) << 4 | (8 if offset_minutes < 0 else 0) | language
    return content + model.to_bytes(2, "big") + word.to_bytes(2, "big")


def write_command(text: str, *, flag: int = 0, language: bool = False) -> bytes:
    """The content of 80: length of flag and text, server flag u32, ASCII, and (some models) language 0002.

    Raises LocalProtocolError when the text is no ASCII or too long.
    """
    if not text.isascii() or not 1 <= len(text) <= 240:
        raise LocalProtocolError(f"an ASCII command of 1..240 characters expected, got {text!r:.60}")
    return bytes((4 + len(text),)) + flag.to_bytes(4, "big") + text.encode() + (b"\x00\x02" if language else b"")


def read_command(content: bytes) -> tuple[int, str]:
    """Flag and text of 80, or of the answer 15. Raises RemoteProtocolError (TRUNCATED)."""
    if len(content) < 5:
        raise RemoteProtocolError(Reason.TRUNCATED, f"length, flag and text expected, got {len(content)} bytes", content)
    # Some clones leave the length zero and pad the text.
    text = content[5 : 1 + content[0]] if content[0] >= 4 else content[5:]
    return int.from_bytes(content[1:5], "big"), text.decode("ascii", "replace").strip("\x00 ")


def read_string(content: bytes) -> tuple[int, str]:
    """Flag and text of the answer 21: flag u32, coding u8 (1 ASCII, else UTF-16BE), text."""
    if len(content) < 5:
        raise RemoteProtocolError(Reason.TRUNCATED, f"flag, coding and text expected, got {len(content)} bytes", content)
    coding = "ascii" if content[4] == 1 else "utf-16-be"
    return int.from_bytes(content[:4], "big"), content[5:].decode(coding, "replace").strip("\x00 ")
