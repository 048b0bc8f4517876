r"""The "3G" / SeTracker / Beesure protocol of elder watches and pendants: framing, messages, answers.

Source: "Beesure GPS SeTracker Server Protocol" (4P-Touch), parts I, II and appendix I. TCP, ASCII with binary tails.

    [MM*ID*LLLL*CONTENT]          [MM*ID*IIII*LLLL*CONTENT]
     |  |  |    |                        +- packet index, 4 characters, echoed in the answer
     |  |  |    +- KIND or KIND,field,field,...
     |  |  +- length of CONTENT, 4 hex digits: a hint only, firmware counts it in several ways
     |  +- 10 digits (digits 5..14 of the IMEI) or the IMEI itself
     +- maker: 3G, SG, CS, ZJ, TQ ...

Inside audio and pictures 7D is an escape: 7D 01 = 7D, 7D 02 = `[`, 7D 03 = `]`, 7D 04 = `,`, 7D 05 = `*`.

Where a frame ends. Names of access points may hold brackets and the length may be wrong, so neither decides alone. A `]` ends
the frame when the length says so, when the content up to it is complete (every announced access point has its address), or
when the header of the next frame follows. Only bytes decide, never the borders of TCP segments.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer

HEADER = re.compile(rb"\[([0-9A-Za-z]{2})\*([0-9A-Za-z]{1,20})\*(?:([0-9A-Za-z]{4})\*(?=[0-9A-Fa-f]{4}\*))?([0-9A-Fa-f]{4})\*")
HEADER_BYTES = 36
_PARTIAL = re.compile(rb"\[[^\[\],]{0,%d}\Z" % HEADER_BYTES)
_MAC = re.compile(rb"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}").fullmatch

MAX_BRACKETS = 64
"""More `]` than this in one text are no names: the search must not cost more than the stream is worth."""
FRAME_LIMIT = 70_000
"""LLLL can say 65535; header and escapes of a short voice part come on top."""

POSITION_PREFIXES = ("UD", "AL", "WT", "PP")
"""Kinds that carry a position: UD_LTE, UD2, AL_WCDMA, ALCUSTOMER1, ... (PP has one field before it)."""

TEXT_FIELDS = {"TK": 0, "TK2": 0, "IMG": 2, "JXTK": 4, "TAKEPILLS": 3}
"""Kinds with a binary tail, and how many text fields stand before it."""

ANSWERS: dict[str, bytes | None] = {
    "INIT": b"INIT,1",
    "LK": b"LK",
    "AL": b"AL",
    "HEART": None,
    "PULSE": None,
    "BPHRT": None,
    "BLOOD": b"bphrt",
    "OXYGEN": b"oxygen,1",
    "BTEMP2": None,
    "CONFIG": b"CONFIG,1",
    "TKQ": None,
    "TKQ2": None,
    "TK": b"TK,1",
    "TK2": b"TK,1",
    "JXTK": b"JXTKR,1",
    "WIFIINFOUP": b"WIFIINFOUP,1",
}
"""What the server owes for a kind (upper case); None = the kind as the device wrote it."""

_ESCAPE = {0x7D: b"\x7d\x01", 0x5B: b"\x7d\x02", 0x5D: b"\x7d\x03", 0x2C: b"\x7d\x04", 0x2A: b"\x7d\x05"}
_UNESCAPE = {1: b"\x7d", 2: b"\x5b", 3: b"\x5d", 4: b"\x2c", 5: b"\x2a"}
_ESCAPED = re.compile(rb"\x7d([\x01-\x05])")
_RESERVED = re.compile(rb"[\x7d\x5b\x5d\x2c\x2a]")


class WatchMessage(NamedTuple):
    """One frame. `body` is what follows the first comma, escapes removed; `length_ok` tells whether LLLL was right."""

    maker: str
    id: str
    kind: str
    body: bytes = b""
    packet: str = ""
    length_ok: bool = True
    raw: bytes = b""

    @property
    def fields(self) -> list[str]:
        """The body split at commas; no field for an empty body."""
        return self.body.decode("utf-8", "replace").split(",") if self.body else []


class WatchConnection:
    """One TCP stream of either side: bytes in, messages and refusals out."""

    def __init__(self) -> None:
        self._framer = Framer(self._cut, limit=FRAME_LIMIT)
        self._impatient = False
        self._ends_in_bracket = False

    @property
    def is_doubtful(self) -> bool:
        """Whether a frame that looks unfinished, yet ends in `]`, is kept back for the next bytes (see `flush`)."""
        return self._ends_in_bracket and self._framer.buffered > 0

    def receive(self, data: bytes) -> list[WatchMessage | Reject]:
        """Every message and refusal that `data` completes."""
        out: list[WatchMessage | Reject] = []
        if not self._framer.buffered:
            data = _whole_frames(data, out)
            if not data:
                return out
        if data:
            self._ends_in_bracket = data.endswith(b"]")
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                if found.frame.strip(b"\r\n \0"):
                    out.append(found)
                continue
            try:
                out.append(decode(found))
            except RemoteProtocolError as error:
                out.append(error.reject(found))
        return out

    def flush(self) -> list[WatchMessage | Reject]:
        """The stream has been silent: take a kept-back `]` as the end of its frame."""
        self._impatient = True
        try:
            return self.receive(b"")
        finally:
            self._impatient = False
            self._ends_in_bracket = False

    def send(self, message: WatchMessage) -> bytes:
        """The bytes of `message` (see `encode`)."""
        return encode(message)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        return cut(buffer, start, impatient=self._impatient)


def cut(buffer: bytes, start: int, *, impatient: bool = False) -> Cut:
    """Where the next frame is (see the module text). `impatient`: a `]` at the end of the buffer ends the frame."""
    header = HEADER.search(buffer, start)
    if header is None:
        partial = _PARTIAL.search(buffer, max(start, len(buffer) - HEADER_BYTES - 1))
        return Cut(junk=(partial.start() if partial else len(buffer)) - start)
    begin, body, length = header.start(), header.end(), int(header[4], 16)
    first = buffer.find(b"]", body)
    if first == body + length and buffer.find(b"[", body, first) < 0:
        return Cut(junk=begin - start, size=first + 1 - begin)
    end = _end(buffer, body, length)
    if end < 0 and impatient and first >= 0 and buffer.endswith(b"]"):
        end = len(buffer) - 1
    if end < 0:
        return Cut(junk=begin - start)
    if buffer[end] == 0x5B:
        return Cut(junk=end - start)
    return Cut(junk=begin - start, size=end + 1 - begin)


def _whole_frames(data: bytes, out: list[WatchMessage | Reject]) -> bytes:
    """Take the frames with a right length from the front of `data` (nearly every segment is just one); what is left."""
    at, size = 0, len(data)
    while at < size:
        header = HEADER.match(data, at)
        if header is None:
            break
        body = header.end()
        end = body + int(header[4], 16)
        if data.find(b"]", body) != end or data.find(b"[", body, end) >= 0:
            break
        out.append(_message(header, data[body:end], data[at : end + 1] if at or end + 1 < size else data))
        at = end + 1
    return data[at:] if at else data


def _end(buffer: bytes, body: int, length: int) -> int:
    """Index of the `]` that ends the frame, or of the `[` of the next one when this was cut short; -1 = more bytes needed."""
    following = HEADER.search(buffer, body)
    limit = following.start() if following else len(buffer)
    first = at = buffer.find(b"]", body, limit)
    kind = buffer[body : body + 12].split(b",", 1)[0].decode("ascii", "replace").upper()
    if kind in TEXT_FIELDS and first >= 0:
        # Audio holds no bracket when it is escaped (and its escapes were counted or not); unescaped, the length must be right.
        if len(unescape(buffer[body:first])) == length:
            return first
        at = buffer.find(b"]", body + length, limit)
        if at >= 0:
            return at
    refused = 0
    while at >= 0:
        refused += 1
        if at - body == length or refused > MAX_BRACKETS or _is_complete(buffer[body:at], length):
            return at
        at = buffer.find(b"]", at + 1, limit)
    if following is None:
        return -1
    last = buffer.rfind(b"]", body, limit)
    return last if last >= 0 else limit


def _is_complete(content: bytes, length: int) -> bool:
    """Whether a frame of text may end here although its length says something else."""
    kind = content.split(b",", 1)[0].decode("ascii", "replace").upper()
    if not kind.startswith(POSITION_PREFIXES):
        return True
    fields = content.split(b",")[2 if kind == "PP" else 1 :]
    try:
        cells = int(fields[16])
        points_at = 20 + 3 * cells if cells else 17
        announced = int(fields[points_at])
    except (ValueError, IndexError):
        return True
    rest = fields[points_at + 1 :]
    if not rest or sum(1 for field in rest if _MAC(field.strip())) >= announced:
        return True
    # Inside the list: an address or a signal may end an edited capture, a name that is cut at its bracket may not.
    if any(_MAC(field.strip()) for field in rest[-2:]):
        return True
    return len(content) > length and rest[-1].replace(b".", b"", 1).lstrip(b"-").isdigit()


def decode(frame: bytes) -> WatchMessage:
    """The message of one whole frame, brackets included. Raises RemoteProtocolError."""
    header = HEADER.match(frame)
    if header is None or frame[-1:] != b"]":
        reason = Reason.TRUNCATED if frame[:1] == b"[" else Reason.NOT_OURS
        raise RemoteProtocolError(reason, "[MM*ID*LLLL*CONTENT] expected", frame)
    return _message(header, frame[header.end() : -1], frame)


def _message(header: re.Match[bytes], content: bytes, raw: bytes) -> WatchMessage:
    maker, ident, packet, length = header.groups()
    wanted, size = int(length, 16), len(content)
    if b"\x7d" in content:
        content = unescape(content)
    kind, _, body = content.partition(b",")
    return WatchMessage(
        maker.decode(),
        ident.decode(),
        kind.decode("ascii", "replace"),
        body,
        packet.decode() if packet else "",
        size == wanted or len(content) == wanted,
        raw,
    )


def encode(message: WatchMessage) -> bytes:
    """The frame of a message, for either direction. Raises LocalProtocolError when the header cannot hold it."""
    body = message.body
    text_fields = TEXT_FIELDS.get(message.kind.upper())
    if text_fields is not None and body not in (b"0", b"1"):
        parts = body.split(b",", text_fields)
        parts[-1] = escape(parts[-1])
        body = b",".join(parts)
    content = message.kind.encode() + (b"," + body if body else b"")
    size = len(unescape(content)) if text_fields is not None else len(content)
    return frame_content(content, maker=message.maker, id=message.id, packet=message.packet, size=size)


def frame_content(content: bytes, *, maker: str, id: str, packet: str = "", size: int | None = None) -> bytes:
    """`content` as a frame; `size` is the LLLL to write where it is not the length of the content (escaped audio)."""
    length = len(content) if size is None else size
    head = f"[{maker}*{id}*{packet + '*' if packet else ''}{length:04X}*".encode()
    if length > 0xFFFF or HEADER.fullmatch(head) is None:
        raise LocalProtocolError(f"header of maker {maker!r}, id {id!r}, packet {packet!r}, length {length} cannot be written")
    return head + content + b"]"


def answer(message: WatchMessage) -> bytes | None:
    """The frame that the server owes for `message`, with its maker, id and packet index; None where it owes nothing."""
    kind = message.kind.upper()
    if kind.startswith("AL"):
        kind = "AL"
    if kind not in ANSWERS or is_status(message):
        return None
    content = ANSWERS[kind] or message.kind.encode()
    return frame_content(content, maker=message.maker, id=message.id, packet=message.packet)


def is_status(message: WatchMessage) -> bool:
    """Whether this TK is the device's receipt for our own voice message, not a new one."""
    return message.body in (b"0", b"1") and message.kind.upper() in ("TK", "TK2")


def escape(data: bytes) -> bytes:
    """Audio or picture bytes as they travel.

    >>> escape(b"}[],*").hex()
    '7d017d027d037d047d05'
    """
    return _RESERVED.sub(lambda found: _ESCAPE[found[0][0]], data)


def unescape(data: bytes) -> bytes:
    """Audio or picture bytes as they are; a 7D that starts no escape stays."""
    return _ESCAPED.sub(lambda found: _UNESCAPE[found[1][0]], data)


def short_id(ident: str) -> str:
    """The 10-digit form of an id, so that both written forms are one device: digits 5..14 of a 15-digit IMEI.

    >>> short_id("358839237678820"), short_id("8800000015")
    ('3923767882', '8800000015')
    """
    return ident[4:14] if len(ident) == 15 and ident.isdecimal() else ident


def heartbeat(
    id: str, *, steps: int | None = None, tumbles: int = 0, battery: int | None = None, maker: str = "3G", packet: str = ""
) -> bytes:
    """Device side: an LK frame, bare or with steps, turn-overs and battery percent."""
    body = b"" if steps is None else b"%d,%d,%d" % (steps, tumbles, battery or 0)
    return encode(WatchMessage(maker=maker, id=id, kind="LK", body=body, packet=packet))


def report(id: str, kind: str, *fields: object, maker: str = "3G", packet: str = "") -> bytes:
    """Device side: any other text message, e.g. `report("8800000015", "heart", 72)`."""
    body = ",".join(map(str, fields)).encode()
    return encode(WatchMessage(maker=maker, id=id, kind=kind, body=body, packet=packet))
