"""AT commands of GSM and LTE modems, both directions (3GPP TS 27.005, 27.007, manuals of SIMCom, Quectel, Huawei).

    <CR><LF>text<CR><LF>      answer line, final result (OK, ERROR, +CME ERROR: n, ...) or unsolicited report, at any time
    <CR><LF>"> "              prompt for a PDU, no line end
    AT...<CR>                 echo of our command (until ATE0)
    +CMT: ,23 <CR><LF> PDU    reports of messages have a second line

`ModemStream` gives lines and prompts; `parse` tells what a line is. The second line of a message is recognised by the reader
of the reports (`drivers.gsm_phone`), since another report may stand between.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from protocols.errors import FRAME_SAMPLE_BYTES, Reason, Reject

MAX_LINE = 1024
"""A PDU line has at most 2 x 176 digits; longer is noise."""
CTRL_Z, ESCAPE = b"\x1a", b"\x1b"


class Prompt(NamedTuple):
    """The modem waits for a PDU and Ctrl-Z."""


class Final(NamedTuple):
    """End of an answer. `error` is "" for OK, else `error`, `cme`, `cms`; `code` its number (-1: none, or words in `text`)."""

    error: str = ""
    code: int = -1
    text: str = ""


class Ring(NamedTuple):
    """Somebody calls. `kind` from +CRING (VOICE, ...)."""

    kind: str = ""


class Caller(NamedTuple):
    """+CLIP. `number` None when withheld; `toa` 129 unknown, 145 international, 161 national, 128 withheld."""

    number: str | None
    toa: int


class CallEnded(NamedTuple):
    """`reason`: no_carrier, busy, no_answer, no_dialtone."""

    reason: str


class Dtmf(NamedTuple):
    """A key of the far phone, 0-9 * # A-D; `duration_ms` where told."""

    key: str
    duration_ms: int | None = None


class MessageStored(NamedTuple):
    """+CMTI (or +CDSI): a message lies in `memory` at `slot`."""

    memory: str
    slot: int
    report: bool = False


class MessageHead(NamedTuple):
    """First line of +CMT, +CDS, +CMGR or +CMGL: the PDU is the next line. `length` octets without service centre."""

    source: str
    length: int
    slot: int | None = None


class Registration(NamedTuple):
    """+CREG, +CGREG, +CEREG. `solicited`: answer to a query."""

    state: str
    domain: str = "CREG"
    lac: str | None = None
    ci: str | None = None
    solicited: bool = False

    @property
    def is_registered(self) -> bool:
        """Calls and messages can come."""
        return self.state in ("home", "roaming")


class Signal(NamedTuple):
    """+CSQ. `rssi_dbm` None: not known."""

    rssi_dbm: int | None
    error_rate: int | None = None


class Call(NamedTuple):
    """+CLCC."""

    id: int
    incoming: bool
    state: str
    number: str | None


class Sim(NamedTuple):
    """+CPIN: READY, SIM PIN, SIM PUK, NOT INSERTED, ..."""

    state: str

    @property
    def is_ready(self) -> bool:
        """The card can be used."""
        return self.state == "READY"


class Sent(NamedTuple):
    """+CMGS: the reference of a sent message."""

    reference: int


class Started(NamedTuple):
    """The modem says that it has just started; every setting is lost."""

    text: str


class Echo(NamedTuple):
    """Our own command."""

    text: str


class Text(NamedTuple):
    """Anything else: data of an answer, or a report that nobody asked for."""

    text: str


Report = (
    Prompt | Final | Ring | Caller | CallEnded | Dtmf | MessageStored | MessageHead | Registration | Signal | Call | Sim | Sent
    | Started | Echo | Text
)  # fmt: skip

REGISTRATION = ("not_registered", "home", "searching", "denied", "unknown", "roaming", "home", "roaming", "emergency_only")
"""States 6 and 7 are registered for messages only (LTE)."""
CALL_STATES = ("active", "held", "dialing", "alerting", "incoming", "waiting")
_ENDS = {"NO CARRIER": "no_carrier", "BUSY": "busy", "NO ANSWER": "no_answer", "NO DIALTONE": "no_dialtone", "NO DIAL TONE": "no_dialtone"}
_STARTS = frozenset(("RDY", "START", "^SYSSTART", "SYSSTART", "*ATREADY: 1", "MODEM:STARTUP", "NORMAL POWER DOWN", "POWERED DOWN"))
_FIELD = re.compile(r'\s*(?:"([^"]*)"|([^,"]*))\s*(?:,|\Z)')


class ModemStream:
    """Lines and prompts out of a byte stream; bounded."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skipped = 0

    def receive(self, data: bytes) -> list[str | Prompt | Reject]:
        """Every line (without its ends, never empty), prompt and refusal that `data` completes."""
        out: list[str | Prompt | Reject] = []
        pieces = re.split(rb"[\r\n]+", self._buffer + data)
        for piece in pieces[:-1]:
            self._line(piece, out)
        rest = pieces[-1]
        while rest.startswith(b"> "):
            out.append(Prompt())
            rest = rest[2:]
        if len(rest) > MAX_LINE:
            self._skipped += len(rest)
            rest = rest[:0]
        self._buffer = rest
        return out

    def _line(self, piece: bytes, out: list[str | Prompt | Reject]) -> None:
        while piece.startswith(b"> "):
            out.append(Prompt())
            piece = piece[2:]
        if self._skipped or len(piece) > MAX_LINE:
            out.append(Reject(Reason.NOT_OURS, f"line of {self._skipped + len(piece)} bytes", piece[:FRAME_SAMPLE_BYTES]))
            self._skipped = 0
            return
        text = piece.strip(b" \x00\x1a\xff")
        if not text:
            return
        if any(byte < 0x20 or byte > 0x7E for byte in text):
            # Noise before a report (power-up, wrong baud rate) must not hide it.
            out.append(Reject(Reason.NOT_OURS, "text expected", piece[:FRAME_SAMPLE_BYTES]))
            tail = re.search(rb"(RING|[+^*][A-Z]+:.*|OK|ERROR|NO CARRIER|RDY)\Z", text)
            if tail is None or any(byte < 0x20 or byte > 0x7E for byte in tail.group()):
                return
            text = tail.group()
        out.append(text.decode("ascii"))


def fields(text: str) -> list[str]:
    """Comma-separated values, quotes removed.

    >>> fields('"SM",3')
    ['SM', '3']
    """
    out, at = [], 0
    while at <= len(text):
        found = _FIELD.match(text, at)
        if found is None:
            out.append(text[at:])
            break
        out.append(found[1] if found[1] is not None else found[2].strip())
        if found.end() == len(text) and not text.endswith(","):
            break
        at = found.end()
        if at == len(text):
            out.append("")
            break
    return out


def parse(line: str) -> Report:
    """What a line is. Never raises; what does not fit its form is `Text`."""
    plain = _PLAIN.get(line)
    if plain is not None:
        return plain
    if line[:2] in ("AT", "at") and line not in ("ATTENTION",):
        return Echo(line)
    name, colon, rest = line.partition(":")
    reader = _READERS.get(name)
    if reader is not None and colon:
        try:
            return reader(rest.strip(), name)
        except (ValueError, IndexError):
            return Text(line)
    return Started(line) if line in _STARTS else Text(line)


def _number(text: str, default: int = -1) -> int:
    return int(text) if text else default


def _caller(rest: str, name: str) -> Report:
    found = fields(rest)
    toa = _number(found[1] if len(found) > 1 else "", 129)
    number = found[0] or None
    if number and not re.fullmatch(r"\+?[0-9*#a-cA-C]{1,40}", number):
        raise ValueError(number)
    return Caller(number, toa)


def _error(rest: str, name: str) -> Report:
    kind = name[1:4].lower()
    return Final(kind, int(rest), rest) if rest.isdecimal() else Final(kind, -1, rest)


def _key(key: str, duration: str = "") -> Report:
    key = key.strip().upper()
    if key not in tuple("0123456789*#ABCD"):
        raise ValueError(key)
    return Dtmf(key, int(duration) if duration.strip().isdecimal() else None)


def _dtmf(rest: str, name: str) -> Report:
    found = fields(rest)
    return _key(found[0], found[1] if len(found) > 1 else "")


def _tone(rest: str, name: str) -> Report:
    """Quectel: the ASCII code of the key."""
    found = fields(rest)
    return _key(chr(int(found[0][:4])), found[1] if len(found) > 1 else "")


def _huawei(rest: str, name: str) -> Report:
    """Call id, key."""
    return _key(fields(rest)[1])


def _stored(rest: str, name: str) -> Report:
    memory, index = fields(rest)[:2]
    return MessageStored(memory, int(index), name == "+CDSI")


def _head(rest: str, name: str) -> Report:
    found = fields(rest)
    if name == "+CMGL":
        return MessageHead(name[1:], int(found[-1]), int(found[0]))
    return MessageHead(name[1:], int(found[-1]))


def _registration(rest: str, name: str) -> Report:
    quoted = [bool(re.match(r'\s*"', piece)) for piece in rest.split(",")]
    found = fields(rest)
    solicited = len(found) > 1 and not quoted[1] and found[1].isdecimal() and len(found[1]) == 1
    at = 1 if solicited else 0
    state = int(found[at])
    text = REGISTRATION[state] if state < len(REGISTRATION) else "unknown"
    lac = found[at + 1] if len(found) > at + 1 else ""
    ci = found[at + 2] if len(found) > at + 2 else ""
    return Registration(text, name[1:], lac or None, ci or None, solicited)


def _signal(rest: str, name: str) -> Report:
    found = [int(value) for value in fields(rest)]
    level = found[0]
    if 0 <= level <= 31:
        dbm: int | None = -113 + 2 * level
    else:
        dbm = level - 216 if 100 <= level < 199 else None
    rate = found[1] if len(found) > 1 and 0 <= found[1] <= 7 else None
    return Signal(dbm, rate)


def _call(rest: str, name: str) -> Report:
    found = fields(rest)
    return Call(int(found[0]), found[1] == "1", CALL_STATES[int(found[2])], (found[5] if len(found) > 5 else "") or None)


def _ring(rest: str, name: str) -> Report:
    return Ring(rest)


def _sim(rest: str, name: str) -> Report:
    return Sim(rest)


def _sent(rest: str, name: str) -> Report:
    return Sent(int(fields(rest)[0]))


_PLAIN: dict[str, Report] = {
    "OK": Final(), "ERROR": Final("error"), "COMMAND NOT SUPPORT": Final("error"), "RING": Ring(),
    **{text: CallEnded(reason) for text, reason in _ENDS.items()},
}  # fmt: skip
_READERS: dict[str, Callable[[str, str], Report]] = {
    "+CRING": _ring, "+CLIP": _caller, "+CME ERROR": _error, "+CMS ERROR": _error,
    "+DTMF": _dtmf, "+RXDTMF": _dtmf, "+QTONEDET": _tone, "^DTMF": _huawei, "+CMTI": _stored, "+CDSI": _stored,
    "+CMT": _head, "+CDS": _head, "+CMGR": _head, "+CMGL": _head, "+CREG": _registration, "+CGREG": _registration,
    "+CEREG": _registration, "+CSQ": _signal, "+CLCC": _call, "+CPIN": _sim, "+SIMCARD": _sim,
    "+CMGS": _sent,
}  # fmt: skip


def line(text: str) -> bytes:
    """A line as a modem sends it."""
    return b"\r\n" + text.encode("ascii") + b"\r\n"


def command(text: str) -> bytes:
    """A command as we send it: `AT` is part of `text`."""
    return text.encode("ascii") + b"\r"


def message_command(pdu: str, length: int) -> tuple[bytes, bytes]:
    """AT+CMGS and, after the prompt, the PDU with its Ctrl-Z."""
    return command(f"AT+CMGS={length}"), pdu.encode("ascii") + CTRL_Z
