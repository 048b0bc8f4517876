"""SIA DC-09: alarm panels over IP, both directions. Framing, CRC, AES, the SIA data block.

    LF cccc 0LLL "token" ssss Rrrr Llll #aaaa [ data ] [xdata]... _HH:MM:SS,MM-DD-YYYY CR
       |    |     |      |    |    |    |       |      |          +- UTC of the panel; must be there when encrypted
       |    |     |      |    |    |    |       |      +- extended data, first letter tells what: X Y Z M I L H ...
       |    |     |      |    |    |    |       +- `#aaaa|event`; `|event` and `event` occur
       |    |     |      |    |    |    +- account, 3..16 characters
       |    |     |      |    |    +- line (account prefix), L0 where unused
       |    |     |      |    +- receiver, left out where unused
       |    |     |      +- sequence 0001..9999, 0000 for NULL
       |    |     +- SIA-DCS, ADM-CID, NULL; answers ACK, NAK, DUH; a star in front = encrypted
       |    +- length of the text from the first quote to before CR, hex
       +- CRC-16/ARC of that text, hex

Encrypted: what stands behind the first `[` is hex of AES-CBC with a zero vector; its plain text is padded in front, before the
first `|` (or `]`), to whole blocks. Source: ANSI/SIA DC-09-2013 clauses 5.4, 5.5 and annexes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.checksum import crc16_arc
from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer

MAX_TEXT = 0xFFF
"""The length field has three digits."""
LEAST_TEXT = 14
"""`"NULL"0000L0[]`: a smaller length cannot be one."""
MAX_UNCOUNTED = 512
"""Texts without line end, stamp and right length are tried by their CRC up to here: it is computed for every byte that drips in."""
STAMP_BYTES = 22
"""`]_HH:MM:SS,MM-DD-YYYY`."""
KEY_BYTES = (16, 24, 32)
BLOCK = 16

# Start and stop are one pattern, so that a flood of starts costs one step each.
_HEADER = re.compile(rb'([0-9A-Fa-f]{4})0([0-9A-Fa-f]{3})(?="\*?[A-Z]{3})')
_STOP = re.compile(rb'[\r\n]|[0-9A-Fa-f]{4}0[0-9A-Fa-f]{3}(?="\*?[A-Z]{3})')
_STAMP_END = re.compile(rb"\]_\d\d:\d\d:\d\d,\d\d-\d\d-\d{4}")
_PARTIAL = re.compile(rb'[\r\n\x00 ]*(?:[0-9A-Fa-f]{8}"\*?[A-Z]{0,2}|[0-9A-Fa-f]{0,8})\Z')
_HEAD = re.compile(
    # "None": pysiaalarm (Home Assistant) answers so where we sent no receiver.
    r'"(\*?)([A-Z0-9-]{2,8})"(\d{4})(?:R([0-9A-Fa-f]{1,6})|None)?(?:L([0-9A-Fa-f]{1,6}))?(?:R([0-9A-Fa-f]{1,6}))?'
    r"(?:A0|#?([0-9A-Za-z]{1,16}))?\[",
)
_BODY = re.compile(r"([^\]]*)\]((?:\[[^\]]*\])*)(?:_(\S{1,24}))?")
_STAMP = re.compile(r"(\d\d):(\d\d):(\d\d),(\d\d)-(\d\d)-(\d{4})\Z")
_ANSWERS = ("ACK", "NAK", "DUH", "RSP")


@dataclass(frozen=True, slots=True)
class Message:
    """One DC-09 text.

    `receiver` and `line` are hex digits ("" = absent), `data` is the block behind `#account|`, `extended` the blocks behind it,
    `at_ms` the stamp as UTC epoch milliseconds (None: none, or not a time). `cipher` is the hex body of a message that is not
    (yet) decrypted. `claimed_bytes` is the length field, `text_bytes` what really came; they differ with miscounting panels.
    """

    token: str
    sequence: str = "0000"
    receiver: str = ""
    line: str = "0"
    account: str = ""
    data: str = ""
    extended: tuple[str, ...] = ()
    at_ms: int | None = None
    encrypted: bool = False
    cipher: str = ""
    crc_ok: bool = True
    claimed_bytes: int = 0
    text_bytes: int = 0

    @property
    def length_ok(self) -> bool:
        """Whether the length field counts the text."""
        return self.claimed_bytes == self.text_bytes


@dataclass(frozen=True, slots=True)
class SiaEvent:
    """One event of a SIA-DCS block (DC-03): `code` two letters, `point` as sent; modifiers as `ri`, `id`, `ti`, ...; `new` False: old."""

    code: str
    point: str = ""
    text: str = ""
    new: bool = True
    modifiers: tuple[tuple[str, str], ...] = ()

    def modifier(self, name: str) -> str:
        """Value of a modifier, "" where absent: `ri` area, `id` user, `pi` peripheral, `ti` time, `da` date."""
        return next((value for key, value in self.modifiers if key == name), "")


# --- framing


def cut(buffer: bytes, start: int) -> Cut:
    """Where the next text is, header included, CR excluded.

    A text ends at CR or LF, at the next header, at its claimed length when the CRC agrees, or behind its time stamp: panels
    leave out CR, LF or both, and miscount.
    """
    found = _HEADER.search(buffer, start)
    if found is None:
        tail = _PARTIAL.search(buffer[max(start, len(buffer) - 24) :])
        keep = len(tail.group()) if tail else 0
        return Cut(junk=len(buffer) - start - keep)
    begin = found.start()
    if not buffer[start:begin].strip(b"\r\n\x00 "):
        begin = start  # line ends between two texts are no junk
    end = _end(buffer, found.end(), int(found[2], 16), int(found[1], 16))
    return Cut(begin - start, end - begin if end else 0) if end or begin > start else NEED_MORE


def _end(buffer: bytes, text: int, length: int, crc: int) -> int:
    """Index behind the text that begins at `text`; 0 while it is not complete."""
    limit = text + MAX_TEXT + 1
    stop = _STOP.search(buffer, text + 1, limit)
    end = stop.start() if stop else 0
    if end - text == length:
        return end
    counted = text + length
    if length >= LEAST_TEXT and counted <= len(buffer) and (not end or counted < end) and _counted(buffer, text, counted, crc):
        return counted
    stamp = _STAMP_END.search(buffer, text, end or limit)
    if stamp:
        return stamp.end()
    if end or len(buffer) - text > MAX_TEXT:
        return end
    complete = buffer[-1:] == b"]" and len(buffer) - text <= MAX_UNCOUNTED and crc16_arc(buffer[text:]) == crc
    return len(buffer) if complete else 0


def _counted(buffer: bytes, text: int, end: int, crc: int) -> bool:
    """Whether a text really ends where its length says."""
    if crc16_arc(buffer[text:end]) == crc:
        return True
    if _STAMP_END.fullmatch(buffer, max(end - STAMP_BYTES, text), end):
        return True
    # A bracket ends a text without a stamp; one that goes on was counted wrongly.
    return buffer[end - 1 : end] == b"]" and buffer[end : end + 1] not in (b"[", b"_")


class Dc09Stream:
    """A TCP connection of a panel or of a receiver: texts (header included, no LF, no CR) out of segments."""

    def __init__(self) -> None:
        self._framer = Framer(cut, limit=MAX_TEXT + 32)

    def receive(self, data: bytes) -> list[bytes | Reject]:
        """Texts and refusals that `data` completes."""
        return [part if isinstance(part, Reject) else part.strip(b"\r\n\x00 ") for part in self._framer.feed(data)]


def split_datagram(data: bytes) -> list[bytes | Reject]:
    """The texts of one datagram: as a stream that ends here."""
    stream = Framer(cut, limit=MAX_TEXT + 32)
    out = stream.feed(data) + stream.close()
    parts: list[bytes | Reject] = []
    for part in out:
        if isinstance(part, Reject) and part.reason is Reason.TRUNCATED:
            rest = part.frame.strip(b"\r\n\x00 ")
            parts += [rest if _HEADER.match(rest) else part] if rest else []
        else:
            parts.append(part if isinstance(part, Reject) else part.strip(b"\r\n\x00 "))
    return parts


# --- one text


def decode(frame: bytes, fallback: str = "cp1252") -> Message:
    """The message in one text, header included. A wrong CRC or length is told, not refused: `crc_ok`, `length_ok`.

    Text that is not UTF-8 is read as `fallback` (DC-09: Windows-1252; Chinese panels: gb18030).
    Raises RemoteProtocolError: NOT_OURS without a header, INTEGRITY or RANGE where the grammar is broken.
    """
    header = _HEADER.match(frame)
    if header is None:
        raise RemoteProtocolError(Reason.NOT_OURS, "header cccc0LLL expected", frame)
    raw = frame[header.end() :]
    crc_ok = crc16_arc(raw) == int(header[1], 16)
    text = _text(raw, fallback)
    found = _HEAD.match(text)
    if found is None:
        reason = Reason.RANGE if crc_ok else Reason.INTEGRITY
        raise RemoteProtocolError(reason, '"token"sequence, receiver, line, #account[ expected', frame)
    star, token, sequence, receiver, line, late_receiver, account = found.groups()
    if token == "NAK":  # noqa: S105  # a message name, no password
        line, account = "0", ""
    rest = text[found.end() :]
    known = {
        "token": token, "sequence": sequence, "receiver": receiver or late_receiver or "", "line": line or "", "encrypted": bool(star),
        "crc_ok": crc_ok, "claimed_bytes": int(header[2], 16), "text_bytes": len(raw),
    }  # fmt: skip
    if star:
        return Message(account=(account or "").upper(), cipher=rest, **known)  # type: ignore[arg-type]  # a table of mixed fields
    data, inner, extended, at_ms = _body(rest, frame, crc_ok=crc_ok)
    return Message(account=(account or inner).upper(), data=data, extended=extended, at_ms=at_ms, **known)  # type: ignore[arg-type]  # as above


def decrypt(message: Message, key: bytes, fallback: str = "cp1252") -> Message:
    """The message with its body in clear. Raises RemoteProtocolError (INTEGRITY) when the key does not fit."""
    try:
        cipher = bytes.fromhex(message.cipher)
    except ValueError:
        raise RemoteProtocolError(Reason.RANGE, "hex body expected", message.cipher.encode("utf-8", "replace")) from None
    if not cipher or len(cipher) % BLOCK:
        raise RemoteProtocolError(Reason.TRUNCATED, f"whole blocks of {BLOCK} bytes expected, got {len(cipher)}", cipher)
    engine = Cipher(algorithms.AES(key), modes.CBC(bytes(BLOCK))).decryptor()
    plain = engine.update(cipher) + engine.finalize()
    text = _text(plain, fallback)
    bar, bracket = text.find("|"), text.find("]")
    if bracket < 0 or (not plain.isascii() and _STAMP_END.search(plain) is None):
        raise RemoteProtocolError(Reason.INTEGRITY, "the key of the account does not decrypt this", cipher)
    text = text[bar:] if 0 <= bar < bracket else text[bracket:]
    data, inner, extended, at_ms = _body(text, cipher, crc_ok=True)
    return Message(
        token=message.token, sequence=message.sequence, receiver=message.receiver, line=message.line, account=message.account or inner,
        data=data, extended=extended, at_ms=at_ms, encrypted=True, crc_ok=message.crc_ok, claimed_bytes=message.claimed_bytes,
        text_bytes=message.text_bytes,
    )  # fmt: skip


def _body(rest: str, frame: bytes, *, crc_ok: bool) -> tuple[str, str, tuple[str, ...], int | None]:
    """Data, account inside the data, extended blocks, time."""
    found = _BODY.match(rest)
    if found is None:
        raise RemoteProtocolError(Reason.TRUNCATED if crc_ok else Reason.INTEGRITY, "closing bracket expected", frame)
    data, blocks, stamp = found.groups()
    account = ""
    if "|" in data:
        head, _, tail = data.partition("|")
        if not head or head.startswith("#"):
            account, data = head[1:], tail
    if data.startswith("#") and "|" in data:
        account, _, data = data[1:].partition("|")
    extended = tuple(blocks[1:-1].split("][")) if blocks else ()
    return data, account, extended, epoch_ms(stamp) if stamp else None


def epoch_ms(stamp: str) -> int | None:
    """`HH:MM:SS,MM-DD-YYYY` as UTC epoch milliseconds; None where it is no time.

    >>> epoch_ms("08:30:15,11-22-2026")
    1795336215000
    """
    found = _STAMP.match(stamp)
    if found is None:
        return None
    hour, minute, second, month, day, year = map(int, found.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None


def stamp_of(at_ms: int) -> str:
    """`_HH:MM:SS,MM-DD-YYYY` of a UTC epoch time."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):_%H:%M:%S,%m-%d-%Y}"


def encode(message: Message, key: bytes | None = None) -> bytes:
    """The bytes on the wire, LF and CR included; encrypted when `key` is given. Raises LocalProtocolError on what does not fit."""
    if key is not None and len(key) not in KEY_BYTES:
        raise LocalProtocolError(f"key of 16, 24 or 32 bytes expected, got {len(key)}")
    receiver = f"R{message.receiver}" if message.receiver else ""
    head = f'"{"*" if key else ""}{message.token}"{message.sequence}{receiver}L{message.line or "0"}'
    nak = message.token == "NAK"  # noqa: S105  # as above
    head += ("A0" if nak else f"#{message.account}") + "["
    stamp = stamp_of(message.at_ms) if message.at_ms is not None else ""
    inner = f"#{message.account}|{message.data}" if message.data and not key else f"|{message.data}" if message.data else ""
    tail = inner + "]" + "".join(f"[{block}]" for block in message.extended) + stamp
    if "\r" in tail or "]" in message.data:
        raise LocalProtocolError("data with CR or ] cannot be sent")
    raw = head.encode("ascii") + (_encrypt(tail.encode(), key) if key else tail.encode())
    if len(raw) > MAX_TEXT:
        raise LocalProtocolError(f"at most {MAX_TEXT} bytes expected, got {len(raw)}")
    return b"\n%04X%04X%b\r" % (crc16_arc(raw), len(raw), raw)


def _encrypt(plain: bytes, key: bytes) -> bytes:
    padded = b"0" * (BLOCK - len(plain) % BLOCK) + plain  # whole blocks get one more, clause 5.4.4
    engine = Cipher(algorithms.AES(key), modes.CBC(bytes(BLOCK))).encryptor()
    return (engine.update(padded) + engine.finalize()).hex().upper().encode()


def acknowledge(message: Message, token: str, at_ms: int, key: bytes | None = None) -> bytes:
    """The receiver's answer: ACK (encrypted where the message was and `key` is given), DUH (cannot process), NAK (wrong time).

    NAK carries no account, only our time, so that the panel can set its clock.
    """
    if token == "NAK":  # noqa: S105  # a message name, no password
        return encode(Message(token=token, sequence="0000", receiver="0", line="0", at_ms=at_ms))
    answer = Message(token=token, sequence=message.sequence, receiver=message.receiver, line=message.line, account=message.account)
    if key is not None and message.encrypted:
        return encode(Message(**{**_fields(answer), "at_ms": at_ms}), key)  # type: ignore[arg-type]  # the same fields, one replaced
    return encode(answer)


def is_answer(message: Message) -> bool:
    """Whether a receiver sent it."""
    return message.token in _ANSWERS


def _fields(message: Message) -> dict[str, object]:
    return {name: getattr(message, name) for name in Message.__slots__}


def _text(raw: bytes, fallback: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode(fallback, "replace")


# --- the SIA data block (DC-03), as DC-09 carries it

_TOKEN = re.compile(
    r"(?P<name>ti|da|id|ri|pi|ai|ph|lv|vt|rt|pt|ix|sc|cs|su|ii)(?P<value>[^/A-Z^|*]*)"
    r"|(?P<code>[A-Z]{2})(?P<point>[0-9A-F]{1,8}(?=[/^*|'\s]|\Z)|\d{0,8})(?P<text>\s*\^[^^]*\^?|[^/]*)"
    r"|(?P<skip>[/|])"
)


def sia_events(data: str) -> list[SiaEvent]:
    """The events of a block such as `Nri1/id5/PA000/BA012`. Raises RemoteProtocolError (RANGE) where there is none.

    Modifiers hold for the codes that follow them. Text stands as `^text^`, `*text` or `|Atext` behind a code.
    """
    prefixed = data[:1] in ("N", "O") and _TOKEN.match(data, 1) is not None
    new = not (prefixed and data[0] == "O")
    body = data[1:] if prefixed else data
    modifiers: list[tuple[str, str]] = []
    events: list[SiaEvent] = []
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            at = _after_unknown(body, at)
            continue
        at = found.end()
        if found["name"]:
            modifiers.append((found["name"], found["value"].strip()))
        elif found["code"]:
            text = found["text"].lstrip("|A*").strip("^'\" ") if found["text"][:2] == "|A" else found["text"].strip("^*'\"| ")
            events.append(SiaEvent(found["code"], found["point"], text, new, tuple(modifiers)))
    if not events:
        raise RemoteProtocolError(Reason.RANGE, f"SIA event code expected, got {data[:40]!r}")
    return events


def _after_unknown(body: str, at: int) -> int:
    slash = body.find("/", at)
    return slash + 1 if slash >= 0 else len(body)


def sia_block(events: Sequence[SiaEvent]) -> str:
    """The data block of events that share their modifiers. Raises LocalProtocolError on an empty list or a bad code."""
    if not events:
        raise LocalProtocolError("at least one event expected")
    first = events[0]
    parts = [name + value for name, value in first.modifiers]
    for event in events:
        if not re.fullmatch(r"[A-Z]{2}", event.code):
            raise LocalProtocolError(f"two capital letters expected, got {event.code!r}")
        parts.append(event.code + event.point + (f"^{event.text}^" if event.text else ""))
    return ("N" if first.new else "O") + "/".join(parts)
