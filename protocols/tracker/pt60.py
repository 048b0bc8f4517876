"""PT60 health bands (`@G#@` and `@B#@` text) over TCP. Both directions.

Source: PT60 band protocol V01, as observed.

    @G#@,V01,<type>,<imei>,<imsi>,<yyyymmddhhmmss>,<data>,[@R#@]        fields end in `,`
    @B#@|01|<type>|<imei>|<imsi>|[<firmware>|]<state>|<battery %>|<yyyymmddhhmmss>|<data>|[@E#@]     fields end in `|`
    answers: @G#@,V01,38,<time>,@R#@      @B#@|01|<type + 1, three digits>|<imei>|0|<time>|@E#@

    G 6 place `lat;lon`    13 steps    14 heart rate, battery %    43 cells and access points
    B 1 place `lat|lon|...|1` or cells `cid,lac,mnc,mcc,level|...|2`    3 the same, cells only
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import ApSeen, CellSeen, clock_ms, day_ms

LINE_LIMIT = 4096
TRACK, STEPS, HEART_RATE, SURROUNDINGS = 6, 13, 14, 43
POSITION, CELLS = 1, 3
_HEAD = re.compile(rb"@([GB])#@[,|]")
_END = re.compile(rb"@[RE]#@")
_PARTIAL = re.compile(rb"@(?:[GB](?:#@?)?)?$")
_DEGREES = re.compile(r"-?\d{1,3}(?:\.\d{1,9})?").fullmatch
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}").fullmatch
_LEVEL = re.compile(r"-?\d{1,3}").fullmatch
_G = re.compile(r"@G#@,V?\d\d,(\d{1,3}),(\d{10,17}),(\d*),(\d{14}),?(.*)", re.DOTALL)
_B = re.compile(r"@B#@\|V?\d\d\|(\d{1,3})\|(\d{10,17})\|(\d*)\|(?:(?:[^|,]*\|)?[01]\|(\d{1,3})\|)?(\d{14})\|?(.*)", re.DOTALL)


class Message(NamedTuple):
    """One line: `form` G or B; `at` as written; `battery` where the head tells it."""

    form: str
    kind: int
    imei: str
    at: str
    data: str = ""
    battery: int | None = None
    raw: bytes = b""


class Connection:
    """One TCP connection."""

    def __init__(self) -> None:
        self._framer = Framer(_cut, limit=LINE_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished line."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Lines and refusals that `data` completes."""
        return self._read(self._framer.feed(data))

    def flush(self) -> list[Message | Reject]:
        """Firmware without an end sign: what stands there after a silence is a line."""
        return self.receive(b"@R#@") if self._framer.buffered else []

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    def _read(self, found: list[bytes | Reject]) -> list[Message | Reject]:
        out: list[Message | Reject] = []
        for raw in found:
            if isinstance(raw, Reject):
                # The end sign of a line that another one has ended already is no junk.
                out += [raw] if _END.sub(b"", raw.frame).strip(b"\r\n\0 ") else []
                continue
            try:
                out.append(decode(raw))
            except RemoteProtocolError as error:
                out.append(error.reject(raw))
        return out


def _cut(buffer: bytes, start: int) -> Cut:
    """From a head to an end sign, or to the next head: not every firmware writes the end."""
    size = len(buffer)
    head = _HEAD.search(buffer, start)
    if head is None:
        partial = _PARTIAL.search(buffer, max(start, size - 4))
        return Cut(size - start - (size - partial.start() if partial else 0))
    at = head.start()
    limit = head.end() + LINE_LIMIT
    end, again = _END.search(buffer, head.end(), limit), _HEAD.search(buffer, head.end(), limit)
    if again and (end is None or again.start() < end.start()):
        return Cut(at - start, again.start() - at)
    return Cut(at - start, end.end() - at if end else 0)


def decode(frame: bytes) -> Message:
    """The line of one frame. Raises RemoteProtocolError."""
    text = _END.sub(b"", frame).decode("latin-1").rstrip("\r\n\0 ")
    found = _G.fullmatch(text)
    if found:
        kind, imei, _, at, data = found.groups()
        return Message("G", int(kind), imei, at, data.rstrip(","), None, frame)
    found = _B.fullmatch(text)
    if found is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "@G#@,V01,... or @B#@|01|... expected", frame)
    kind, imei, _, battery, at, data = found.groups()
    percent = int(battery) if battery and int(battery) <= 100 else None
    return Message("B", int(kind), imei, at, data.rstrip("|"), percent, frame)


def encode(message: Message) -> bytes:
    """The bytes of a line as a band sends it. Raises LocalProtocolError."""
    if "@" in message.data or not re.fullmatch(r"\d{10,17}", message.imei) or not re.fullmatch(r"\d{14}", message.at):
        raise LocalProtocolError("digits, a time of 14 digits and data without @ expected")
    if message.form == "G":
        return f"@G#@,V01,{message.kind},{message.imei},460001234567890,{message.at},{message.data},@R#@".encode()
    battery = f"0|{message.battery}|" if message.battery is not None else ""
    return f"@B#@|01|{message.kind:03d}|{message.imei}|460001234567890|{battery}{message.at}|{message.data}|@E#@".encode()


def answer(message: Message, time: str) -> bytes:
    """What the server answers; `time` yyyymmddhhmmss."""
    if message.form == "G":
        return f"@G#@,V01,38,{time},@R#@".encode()
    return f"@B#@|01|{message.kind + 1:03d}|{message.imei}|0|{time}|@E#@".encode()


def time_ms(message: Message, *, offset_minutes: int) -> int | None:
    """UTC milliseconds of the line; None for an impossible time."""
    midnight, since = day_ms(message.at[:8], "ymd"), clock_ms(message.at[8:])
    return None if midnight is None or since is None else midnight + since - offset_minutes * 60_000


def read_place(message: Message) -> tuple[float, float] | None:
    """Signed degrees of a place message, in or out of range; None where it holds cells or nothing."""
    if message.form == "G":
        parts = message.data.split(",")[0].split(";")
    else:
        parts = message.data.split("|")
        if parts[-1] == "2":
            return None
    if len(parts) < 2 or not (_DEGREES(parts[0]) and _DEGREES(parts[1])):
        return None
    return float(parts[0]), float(parts[1])


def read_count(message: Message, index: int) -> int | None:
    """A number of a G message, 0 first; None where there is none."""
    parts = message.data.split(",")
    return int(parts[index]) if index < len(parts) and len(parts[index]) <= 9 and parts[index].isdecimal() else None


def read_surroundings(message: Message) -> tuple[list[CellSeen], list[ApSeen]]:
    """Cells and access points of G 43 (`mcc;mnc;lac;cid;level`, `mac;name;level`) and cells of B (`cid,lac,mnc,mcc,level`)."""
    cells: list[CellSeen] = []
    aps: list[ApSeen] = []
    for item in re.split(r"[,|]", message.data) if message.form == "G" else message.data.split("|"):
        fields = item.split(";" if message.form == "G" else ",")
        if _MAC(fields[0]) and len(fields) >= 2:
            aps.append(ApSeen(fields[0].lower(), _level(fields[-1])))
        elif len(fields) == 5 and all(field.isdecimal() and len(field) <= 10 for field in fields[:4]):
            numbers = [int(field) for field in fields[:4]]
            mcc, mnc, lac, cid = numbers if message.form == "G" else numbers[::-1]
            cells.append(CellSeen(mcc, mnc, lac, cid, _level(fields[4])))
    return cells, aps


def _level(text: str) -> int | None:
    """dBm where it has its sign, else the scale of AT+CSQ."""
    if not _LEVEL(text):
        return None
    value = int(text)
    return value if value < 0 else 2 * value - 113 if value <= 31 else None
