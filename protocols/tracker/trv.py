"""The TRV / IW protocol of ThinkRace health watches ("beehome"): framing, positions, answers, both directions.

Source: "GPS Watch Communication Protocol (IW)", 2023, and ThinkRace's TRV GPRS protocol. TCP, ASCII:

    IW AP01 080524A2232.9806N11404.9355E000.1061830323.8706000908000102,460,0,9520,3671,Home|74-DE-2B-44-88-8C|97 #
    |  |    |                                                                                                      +- end
    |  |    +- body, with or without a comma before it
    |  +- AP.. YP.. CP.. from the device, BP.. ZP.. DP.. from the server
    +- TRV or two letters

There is no length and no checksum. Voice (AP07) and pictures (AP42) hold raw `#`: `,time,parts,part,length,` tells their size.
The name of an access point may hold `#`: a list that ends inside a name goes on (see `_is_complete`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import clock_ms, day_ms

HEADER = re.compile(rb"(TRV|[A-Z]{2})([A-Z]P[0-9A-Z]{2})")
_START = re.compile(rb"(?:TRV|[A-Z]{2})[ACYBDZ]P[0-9A-Z]{2}")
_PARTIAL = re.compile(rb"[A-Z]{1,3}(?:[ACYBDZ](?:P[0-9A-Z]?)?)?\Z")
_BINARY = re.compile(rb"(?:TRV|[A-Z]{2})AP(?:07|42),(\d{8,14}),(\d{1,4}),(\d{1,4}),(\d{1,5}),")
_ADDRESS = re.compile(rb"(?:[0-9A-Fa-f]{2}[-:]){5}[0-9A-Fa-f]{2}")
FRAME_LIMIT = 70_000
MAX_HASHES = 64
"""More `#` than this in one list are no names: the search must not cost more than the stream is worth."""
HEADER_BYTES = 7

HEARTBEATS = frozenset({"AP00", "AP03", "CP01"})
ANSWERED = frozenset(
    {"AP00", "AP01", "AP02", "AP03", "AP07", "AP10", "AP42", "AP49", "AP50", "APHT", "APHP", "APJK", "APFD", "APWR", "APST", "APHD"}
)
"""Codes that the server owes an answer for. Others answer a command of ours: BP31 in return for AP31 would switch the watch off."""
COMMAND_ANSWERS = frozenset(
    {"AP11", "AP12", "AP14", "AP15", "AP16", "AP17", "AP18", "AP20", "AP25", "AP28", "AP31", "AP33", "AP34", "AP40", "AP84", "AP85", "AP86",
     "APXL", "APXY", "APXT", "APTE", "APXZ", "APOX"}
)  # fmt: skip

_POSITION = re.compile(
    r",?(\d{6})([AV])(\d{1,3})(\d\d\.\d+)([NS])(\d{1,3})(\d\d\.\d+)([EW])(\d{3}\.\d)(\d{6})([\d.]{6})(\d{3})(\d{3})(\d{3})(.?)(\d{0,2})(\d{0,2})\d*"
)
_STATE = re.compile(r",?(\d{3})(\d{3})(\d{3})")
CODE_DIGITS = 11
"""Longest code of a cell in digits: 28 bits in LTE, 36 in 5G."""

TrvCell = tuple[int | None, int | None, int, int, int | None]
TrvAp = tuple[str, int | None, str | None]


class TrvMessage(NamedTuple):
    """One frame: maker (`TRV`, `IW`), code (`AP01`), body without the closing `#`."""

    maker: str
    code: str
    body: bytes = b""
    raw: bytes = b""

    @property
    def fields(self) -> list[str]:
        """The body split at commas, without the empty field of a leading comma."""
        return self.body.removeprefix(b",").decode("utf-8", "replace").split(",") if self.body else []


class TrvPosition(NamedTuple):
    """A position body. `clock_ms` UTC; `lat`, `lon` None where there is no place; `rest` the fields behind the cell."""

    clock_ms: int | None
    is_valid: bool
    lat: float | None
    lon: float | None
    speed_kmh: float = 0.0
    course_deg: float | None = None
    signal: int | None = None
    satellites: int | None = None
    battery: int | None = None
    cells: tuple[TrvCell, ...] = ()
    access_points: tuple[TrvAp, ...] = ()
    rest: tuple[str, ...] = ()
    fault: str | None = None


class TrvConnection:
    """One TCP stream of either side."""

    def __init__(self) -> None:
        self._framer = Framer(self._cut, limit=FRAME_LIMIT)
        self._impatient = False
        self._ends_in_hash = False

    @property
    def is_doubtful(self) -> bool:
        """Whether a frame that ends in `#`, yet looks unfinished, is kept back (see `flush`)."""
        return self._ends_in_hash and self._framer.buffered > 0

    def receive(self, data: bytes) -> list[TrvMessage | Reject]:
        """Every message and refusal that `data` completes."""
        if data:
            self._ends_in_hash = data.endswith(b"#")
        out: list[TrvMessage | Reject] = []
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                if found.frame.strip(b"\r\n \0#"):
                    out.append(found)
            else:
                out.append(decode(found))
        return out

    def flush(self) -> list[TrvMessage | Reject]:
        """The stream has been silent: take a kept-back `#` as the end of its frame."""
        self._impatient = True
        try:
            return self.receive(b"")
        finally:
            self._impatient = self._ends_in_hash = False

    def send(self, message: TrvMessage) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        return cut(buffer, start, impatient=self._impatient)


def cut(buffer: bytes, start: int, *, impatient: bool = False) -> Cut:
    """Where the next frame is. `impatient`: a `#` at the end of the buffer ends the frame."""
    header = _START.search(buffer, start)
    if header is None:
        partial = _PARTIAL.search(buffer, max(start, len(buffer) - HEADER_BYTES))
        return Cut(junk=(partial.start() if partial else len(buffer)) - start)
    begin = header.start()
    if buffer[header.end() - 4 : header.end()] in (b"AP07", b"AP42"):
        binary = _BINARY.match(buffer, begin)
        if binary is None and len(buffer) - begin < 40 and not impatient:
            return Cut(junk=begin - start)
        if binary is not None:
            end = binary.end() + int(binary[4])
            if end >= len(buffer) and not impatient:
                return Cut(junk=begin - start)
            if buffer[end : end + 1] == b"#":
                return Cut(junk=begin - start, size=end + 1 - begin)
    # Right behind the first letter: a head that was cut short takes letters of the next one for its own.
    following = _START.search(buffer, begin + (2 if buffer.startswith(b"TRV", begin) else 1))
    limit = following.start() if following else len(buffer)
    last, at, refused = -1, buffer.find(b"#", begin, limit), 0
    while at >= 0:
        if refused >= MAX_HASHES or _is_complete(buffer[begin:at]):
            return Cut(junk=begin - start, size=at + 1 - begin)
        last, at, refused = at, buffer.find(b"#", at + 1, limit), refused + 1
    if last >= 0 and (following or impatient):
        return Cut(junk=begin - start, size=last + 1 - begin)
    # The next header without an end before it: this frame was cut short.
    return Cut(junk=(limit if following else begin) - start)


def _is_complete(content: bytes) -> bool:
    """Whether a `#` here ends the frame, or stands in the name of an access point."""
    code = content[3:7] if content.startswith(b"TRV") else content[2:6]
    if code == b"AP02":
        fields = content.split(b",")
        try:
            count_at = 6 + int(fields[3])
            announced = int(fields[count_at])
        except (ValueError, IndexError):
            return True
        return len(_ADDRESS.findall(b",".join(fields[count_at + 1 :]))) >= announced or len(fields) <= count_at + 1
    if code not in (b"AP01", b"YP03", b"AP10", b"YP14"):
        return True
    fields = content.split(b",", 8)[5:]
    if len(fields) > 3:
        fields = fields[3:]
    last = b",".join(fields).rpartition(b"&")[2].strip()
    return not last or b"|" in last or len(fields) > 1 or last.isdigit()


def decode(frame: bytes) -> TrvMessage:
    """The message of one whole frame. Raises RemoteProtocolError."""
    header = HEADER.match(frame)
    if header is None or frame[-1:] != b"#":
        raise RemoteProtocolError(Reason.TRUNCATED if header else Reason.NOT_OURS, "maker, code, body and # expected", frame)
    return TrvMessage(header[1].decode(), header[2].decode(), frame[header.end() : -1], frame)


def encode(message: TrvMessage) -> bytes:
    """The frame of a message, either side. Raises LocalProtocolError where the head cannot be written."""
    head = (message.maker + message.code).encode("ascii", "replace")
    if _START.fullmatch(head) is None:
        raise LocalProtocolError(f"maker TRV or two letters and a code like AP01 expected, got {message.maker!r}, {message.code!r}")
    return head + message.body + b"#"


def answer(message: TrvMessage, *, now_ms: int = 0, zone_minutes: int = 0) -> bytes | None:
    """What the server owes for `message`: the code one letter on. None where it owes nothing."""
    maker, code = message.maker, message.code
    if code[0] == "A" and code not in ANSWERED:
        return b"TRVBP14,0.000,0.000#" if maker == "TRV" and code == "AP14" else None
    if code[0] not in "AYC":
        return None
    body = ""
    if code == "AP00" and maker != "TRV":
        body = f",{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%d%H%M%S},{zone_minutes / 60:g}"
    elif code in ("AP07", "AP42"):
        parts = message.body.removeprefix(b",").split(b",", 3)[:3]
        body = "," + b",".join(parts).decode("ascii", "replace") + ",1"
    return f"{maker}{chr(ord(code[0]) + 1)}{code[1:]}{body}#".encode()


def imei_of(message: TrvMessage) -> str | None:
    """The IMEI of a login (AP00)."""
    digits = message.body.removeprefix(b",").partition(b",")[0].decode("ascii", "replace").strip()
    return digits if 10 <= len(digits) <= 16 and digits.isascii() and digits.isdecimal() else None


def parse_position(body: bytes) -> TrvPosition:
    """The position of AP01, AP10, YP03, YP14. Raises RemoteProtocolError (TRUNCATED)."""
    text = body.decode("utf-8", "replace")
    found = _POSITION.match(text)
    if found is None:
        raise RemoteProtocolError(Reason.TRUNCATED, "date, validity, coordinates, speed, time, course and state expected", body)
    day, validity, lat_deg, lat_min, north, lon_deg, lon_min, east, speed, time, course, signal, satellites, battery, _, _, _ = (
        found.groups()
    )
    lat = (int(lat_deg) + float(lat_min) / 60) * (-1 if north == "S" else 1)
    lon = (int(lon_deg) + float(lon_min) / 60) * (-1 if east == "W" else 1)
    is_place, fault = True, None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        is_place, fault = False, f"latitude within 90 and longitude within 180 degrees expected, got {lat:.5f},{lon:.5f}"
    elif lat == 0 and lon == 0:
        is_place = False
    tail = text[found.end() :].removeprefix(",").split(",")
    cells, rest = _cell(tail)
    return TrvPosition(
        _clock_ms(day, time),
        validity == "A" and is_place,
        lat if is_place else None,
        lon if is_place else None,
        float(speed),
        _course(course),
        _percent(signal),
        int(satellites),
        _percent(battery),
        cells,
        _access_points(",".join(rest)),
        tuple(rest),
        fault,
    )


def parse_cells(fields: list[str]) -> tuple[tuple[TrvCell, ...], tuple[TrvAp, ...]]:
    """Cells and access points of AP02: `lang,reply,count,mcc,mnc,lac|cid|signal,..,count,name|address|signal&..`."""
    try:
        count, mcc, mnc = (int(text[:CODE_DIGITS]) for text in fields[2:5])
    except ValueError:
        return (), _access_points(",".join(fields[2:]))
    cells: list[TrvCell] = []
    for text in fields[5 : 5 + max(0, min(count, 16))]:
        parts = text.split("|")
        if len(parts) >= 2 and _is_code(parts[0]) and _is_code(parts[1]):
            cells.append((mcc, mnc, int(parts[0]), int(parts[1]), _dbm(parts[2]) if len(parts) > 2 else None))
    return tuple(cells), _access_points(",".join(fields[6 + count :]) if count >= 0 else "")


def parse_state(body: bytes) -> tuple[int | None, int | None, int | None]:
    """Signal, satellites, battery percent at the front of a heartbeat (AP03)."""
    found = _STATE.match(body.decode("ascii", "replace"))
    return (_percent(found[1]), int(found[2]), _percent(found[3])) if found else (None, None, None)


def _cell(tail: list[str]) -> tuple[tuple[TrvCell, ...], list[str]]:
    if len(tail) >= 4 and all(_is_code(part.strip()) for part in tail[:4]):
        mcc, mnc, lac, cid = map(int, tail[:4])
        return (((mcc, mnc, lac, cid, None),) if lac or cid else ()), tail[4:]
    return (), tail


def _is_code(text: str) -> bool:
    return text.isdecimal() and len(text) <= CODE_DIGITS


def _access_points(text: str) -> tuple[TrvAp, ...]:
    found: list[TrvAp] = []
    for entry in text.split("&")[:32]:
        name, _, tail = entry.rpartition("|")[0].rpartition("|")
        if len(tail) == 17 and _ADDRESS.fullmatch(tail.encode("ascii", "replace")):
            found.append((tail.lower().replace("-", ":"), _dbm(entry.rpartition("|")[2]), name.rpartition(",")[2].strip() or None))
    return tuple(found)


def _dbm(text: str) -> int | None:
    """Negative numbers are dBm; positive ones are a scale of the maker's."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if -150 <= value < 0 else None


def _percent(text: str) -> int | None:
    value = int(text)
    return value if value <= 100 else None


def _course(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value <= 360 else None


def _clock_ms(day: str, time: str) -> int | None:
    midnight, since = day_ms(day, "ymd"), clock_ms(time)
    return None if midnight is None or since is None else midnight + since


def position_body(position: TrvPosition) -> bytes:
    """Device side: the body of AP01 or, with `rest` (alarm code, language, reply flag), of AP10."""
    moment = datetime.fromtimestamp((position.clock_ms or 0) / 1000, UTC)
    lat, lon = position.lat or 0.0, position.lon or 0.0
    text = f"{moment:%y%m%d}{'A' if position.is_valid else 'V'}"
    text += f"{_degrees(lat, 2)}{'S' if lat < 0 else 'N'}{_degrees(lon, 3)}{'W' if lon < 0 else 'E'}"
    text += f"{position.speed_kmh:05.1f}{moment:%H%M%S}{position.course_deg or 0:06.2f}"
    text += f"{position.signal or 0:03d}{position.satellites or 0:03d}{position.battery or 0:03d}00102"
    mcc, mnc, lac, cid, _ = position.cells[0] if position.cells else (0, 0, 0, 0, None)
    points = "&".join(f"{name or ''}|{address.replace(':', '-').upper()}|{dbm or 0}" for address, dbm, name in position.access_points)
    fields = [text, f"{mcc or 0},{mnc or 0},{lac},{cid}", *position.rest[:3]]
    return ",".join(fields + ([points] if points else [])).encode()


def _degrees(value: float, width: int) -> str:
    ten_thousandths = round(abs(value) * 60 * 10_000)
    return f"{ten_thousandths // 600_000:0{width}d}{ten_thousandths % 600_000 / 10_000:07.4f}"


def report(maker: str, code: str, *fields: object) -> bytes:
    """Device side: `report("IW", "AP49", 68)`; AP00 takes its IMEI without a comma: `encode(TrvMessage("IW", "AP00", imei))`."""
    return encode(TrvMessage(maker, code, "".join(f",{field}" for field in fields).encode()))


def login(maker: str, imei: str) -> bytes:
    """Device side: AP00."""
    return encode(TrvMessage(maker, "AP00", imei.encode()))
