"""GPS103, the protocol of TK102/TK103 clones and Coban one-key trackers over TCP. Both directions.

Source: Coban GPRS data protocol V2.0. Text that ends in `;` (older firmware: line end, `*`, or nothing but silence), no checksum.

    ##,imei:<imei>,A;                                       login, answered LOAD
    <imei>;                                                 heartbeat, answered ON
    imei:<imei>,<word>,<local yymmddhhmm[ss]>,<number>,F,<UTC hhmmss.sss>,A|V,ddmm.mmmm,N|S,dddmm.mmmm,E|W,<knots>,<degrees>,
         <metres>,<ignition>,<door>,<fuel %>,<fuel %>,<temperature>;
    imei:<imei>,<word>,<local>,<number>,L,,,<lac hex>,,<cid hex>,,,;       no fix
    imei:<imei>,OBD,<local>,<odometer m>,...,<volts>,<codes>;
    imei:<imei>,<word>,<event>,<sensor>,<volts>,hhmmss,ddmmyy,<csq>,<fix>,<lat>,<lon>,<km/h>,...*
    **,imei:<imei>,<letter>[,...];                          command
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer
from protocols.tracker.fix import civil_ms, clock_ms, day_ms

LINE_LIMIT = 2048
"""A part of a photo is 1 kB of hex."""
KNOT_KMH = 1.852

_END = re.compile(rb"[;\r\n*\0]")
_OTHER_END = re.compile(rb"[\r\n*\0]")
_HEX = re.compile(r"[0-9A-Fa-f]{1,8}").fullmatch
_NO_DIGIT = re.compile(r"\D")
_NO_FIELDS = [""] * 8
_START = re.compile(rb"##,imei:|imei:|\d{15}(?=[;\r\n*\0i]|$)")
_PARTIAL = re.compile(rb"(?:#|##|##,|##,i|##,im|##,ime|##,imei|i|im|ime|imei|\d{1,15})$")
_LOGIN = re.compile(r"##,imei:(\d{10,17})(?:,A)?")
_FIX = re.compile(
    r"(?P<clock>[\d.]*),(?P<letter>[AV]),(?:(?P<ns1>[NS]),)?(?P<lat>\d{1,5}\.\d+),(?:(?P<ns2>[NS]),)?"
    r"(?:(?P<ew1>[EW]),)?(?P<lon>\d{1,6}\.\d+),?(?:(?P<ew2>[EW])(?=,|$))?,?(?P<tail>.*)"
)


class Line(NamedTuple):
    """One line: `kind` login, heartbeat or report; `fields` of a report after the IMEI."""

    kind: str
    imei: str
    fields: tuple[str, ...] = ()
    raw: bytes = b""

    @property
    def word(self) -> str:
        """What the report is about."""
        return self.fields[0].strip() if self.fields else ""


class Report(NamedTuple):
    """What a report tells. Place in signed degrees; None where there is none. `is_local`: its time is that of the device's zone."""

    at_ms: int | None = None
    lat: float | None = None
    lon: float | None = None
    is_valid: bool = False
    speed_kmh: float | None = None
    course_deg: float | None = None
    altitude_m: float | None = None
    satellites: int | None = None
    lac: int | None = None
    cid: int | None = None
    ignition: bool | None = None
    door: bool | None = None
    temperature: float | None = None
    battery: int | None = None
    odometer_m: int | None = None
    volts: float | None = None
    out_of_range: bool = False
    is_local: bool = False


class Connection:
    """One TCP connection."""

    def __init__(self) -> None:
        self._framer = Framer(_cut, limit=LINE_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished line."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Line | Reject]:
        """Lines and refusals that `data` completes."""
        return [found for raw in self._framer.feed(data) if (found := _line(raw)) is not None]

    def flush(self) -> list[Line | Reject]:
        """Firmware without an end sign: what stands there after a silence is a line."""
        return self.receive(b";") if self._framer.buffered else []

    def send(self, message: Line) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def _cut(buffer: bytes, start: int) -> Cut:
    """From a start to an end sign; another start in between means that the first line was cut off."""
    if buffer.startswith(b"imei:", start):
        # The usual line: plain searches cost a tenth of the patterns.
        end = buffer.find(b";", start + 5)
        if end >= 0 and buffer.find(b"imei:", start + 5, end) < 0 and not _OTHER_END.search(buffer, start + 5, end):
            return Cut(0, end + 1 - start)
    size = len(buffer)
    found = _START.search(buffer, start)
    partial = _PARTIAL.search(buffer, max(start, size - 15))
    if found is None or (partial is not None and partial.start() < found.start()):
        kept = size - partial.start() if partial else 0
        return Cut(size - start - kept) if size - start > kept else NEED_MORE
    at = found.start()
    if buffer[at : at + 1].isdigit():
        end = at + 15
        if end == size:
            return Cut(at - start)
        return Cut(at - start, 15 if buffer[end : end + 1] == b"i" else 16)
    tail = _END.search(buffer, found.end())
    again = buffer.find(b"imei:", found.end(), tail.start() if tail else size)
    if again >= 0:
        return Cut((again - 3 if buffer[again - 3 : again] == b"##," else again) - start)
    return Cut(at - start, tail.end() - at if tail else 0)


def _line(raw: bytes | Reject) -> Line | Reject | None:
    if isinstance(raw, Reject):
        # Line ends between lines are no junk.
        return raw if raw.frame.strip(b"\r\n;\0 ") else None
    try:
        return decode(raw)
    except RemoteProtocolError as error:
        return error.reject(raw)


def decode(frame: bytes) -> Line:
    """The line of one frame. Raises RemoteProtocolError."""
    text = frame.decode("latin-1").rstrip(";\r\n*\0").strip()
    if text.isdigit():
        return Line("heartbeat", text, (), frame)
    login = _LOGIN.fullmatch(text) if text.startswith("#") else None
    if login:
        return Line("login", login[1], (), frame)
    fields = text.split(",")
    imei = fields[0].removeprefix("imei:")
    if not text.startswith("imei:") or not (imei.isascii() and imei.isdigit() and 10 <= len(imei) <= 17) or len(fields) < 2:
        raise RemoteProtocolError(Reason.RANGE, "imei:<digits>,<word>,... expected", frame)
    return Line("report", imei, tuple(fields[1:]), frame)


def encode(line: Line) -> bytes:
    """The bytes of a line as a device sends it. Raises LocalProtocolError."""
    if not (line.imei.isascii() and line.imei.isdigit()) or any(";" in field for field in line.fields):
        raise LocalProtocolError("digits and fields without semicolons expected")
    if line.kind == "login":
        return f"##,imei:{line.imei},A;".encode()
    if line.kind == "heartbeat":
        return f"{line.imei};".encode()
    return f"imei:{line.imei},{','.join(line.fields)};".encode("latin-1", "replace")


def write_command(imei: str, letter: str, *arguments: str) -> bytes:
    """A command. Raises LocalProtocolError where an argument could end it early."""
    parts = (letter, *arguments)
    if not imei or any(not part.isascii() or ";" in part for part in parts):
        raise LocalProtocolError("a device that has spoken and text without semicolons expected")
    return f"**,imei:{imei},{','.join(parts)};".encode()


def interval_text(seconds: int) -> str:
    """An interval in the unit that fits: 30s, 05m, 02h. Raises LocalProtocolError."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0 and seconds // size <= 99:
            return f"{seconds // size:02d}{unit}"
    raise LocalProtocolError(f"1..99 seconds, minutes or hours expected, got {seconds} s")


def read_report(line: Line, *, offset_minutes: int = 0) -> Report:
    """What a report tells. `offset_minutes`: zone of the device, used where the line holds no UTC time."""
    fields = line.fields
    if line.word == "OBD":
        return _vehicle(fields, offset_minutes)
    if len(fields) > 16 and len(fields[4]) == len(fields[5]) == 6 and fields[4].isdecimal() and fields[5].isdecimal():
        return _alternative(fields)
    word = line.word
    battery = _number(fields[2][:-1]) if len(fields) > 2 and fields[2].endswith("%") else None
    percent = int(battery) if battery is not None and 0 <= battery <= 100 else None
    temperature = _number(word[2:]) if word.startswith("T:") else None
    local = _digits(fields[1]) if len(fields) > 1 else ""
    if len(fields) > 4 and fields[3] == "F":
        found = _FIX.fullmatch(",".join(fields[4:]))
        if found is not None:
            return _placed(found, local, offset_minutes, temperature=temperature, battery=percent)
    lac = cid = None
    if len(fields) > 8 and fields[3] == "L":
        lac, cid = _hex(fields[6]), _hex(fields[8])
    heard = bool(lac and cid)
    return Report(
        _local_ms(local, offset_minutes), lac=lac if heard else None, cid=cid if heard else None, temperature=temperature,
        battery=percent, is_local=True,
    )  # fmt: skip


def _digits(text: str) -> str:
    return text if text.isdecimal() else _NO_DIGIT.sub("", text)


def _placed(found: re.Match[str], local: str, offset_minutes: int, *, temperature: float | None, battery: int | None) -> Report:
    clock, letter, ns1, lat_text, ns2, ew1, lon_text, ew2, rest = found.groups()
    lat, lon = _degrees(lat_text), _degrees(lon_text)
    lat = -lat if "S" in {ns1, ns2} else lat
    lon = -lon if "W" in {ew1, ew2} else lon
    tail = [*rest.split(","), *_NO_FIELDS]
    speed, course = _number(tail[0]), _number(tail[1])
    bad = not (-90 <= lat <= 90 and -180 <= lon <= 180)
    is_place = not bad and bool(lat or lon)
    return Report(
        _fix_ms(local, clock, offset_minutes), lat if is_place else None, lon if is_place else None, letter == "A",
        round(speed * KNOT_KMH, 3) if speed is not None and 0 <= speed < 1000 else None,
        course if course is not None and 0 <= course <= 360 else None, _number(tail[2]),
        ignition=_YES_NO.get(tail[3]), door=_YES_NO.get(tail[4]),
        temperature=temperature if temperature is not None else _number(tail[7]), battery=battery, out_of_range=bad,
        is_local=not clock[:6].isdecimal(),
    )  # fmt: skip


_YES_NO = {"0": False, "1": True}


def _vehicle(fields: tuple[str, ...], offset_minutes: int) -> Report:
    odometer = _number(fields[2]) if len(fields) > 2 else None
    volts = _number(fields[12]) if len(fields) > 12 else None
    local = _digits(fields[1]) if len(fields) > 1 else ""
    return Report(
        _local_ms(local, offset_minutes),
        odometer_m=int(odometer) if odometer and odometer > 0 else None,
        volts=volts or None,
        is_local=True,
    )


def _alternative(fields: tuple[str, ...]) -> Report:
    time, day = fields[4], fields[5]
    at_ms = civil_ms(int(day[4:]), int(day[2:4]), int(day[:2]), int(time[:2]), int(time[2:4]), int(time[4:]))
    fix, lat, lon, speed, course, altitude, _, satellites = (_number(field) for field in fields[7:15])
    if lat is None or lon is None:
        return Report(at_ms)
    bad = not (-90 <= lat <= 90 and -180 <= lon <= 180)
    is_place = not bad and bool(lat or lon)
    return Report(
        at_ms, lat if is_place else None, lon if is_place else None, bool(fix), speed,
        course if course is not None and 0 <= course <= 360 else None, altitude, int(satellites) if satellites is not None else None,
        ignition=fields[15] == "1", out_of_range=bad,
    )  # fmt: skip


def _local_ms(local: str, offset_minutes: int) -> int | None:
    if len(local) not in {10, 12}:
        return None
    midnight, since = day_ms(local[:6], "ymd"), clock_ms(local[6:].ljust(6, "0"))
    return None if midnight is None or since is None else midnight + since - offset_minutes * 60_000


def _fix_ms(local: str, clock: str, offset_minutes: int) -> int | None:
    """The date is local, the time of the fix UTC: the day of that time which lies nearest to the local one."""
    at_ms = _local_ms(local, 0)
    if at_ms is None or not (clock[:6].isdecimal() and len(clock) >= 6 and clock[6:7] in {"", "."}):
        return None if at_ms is None else at_ms - offset_minutes * 60_000
    since = clock_ms(clock[:6])
    if since is None:
        return None
    minutes = at_ms // 60_000
    ahead = (minutes % 1440 - since // 60_000 + 720) % 1440 - 720
    ahead = 720 if ahead == -720 else ahead
    return (minutes - ahead) * 60_000 + since % 60_000


def _degrees(text: str) -> float:
    value = float(text)
    return int(value / 100) + value % 100 / 60


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


def _hex(text: str) -> int | None:
    return int(text, 16) if _HEX(text) else None


def write_fix(imei: str, word: str, *, local: str, utc: str, lat: float, lon: float, letter: str = "A", knots: float = 0) -> bytes:
    """A report with a fix as a device sends it: `local` yymmddhhmm, `utc` hhmmss."""
    places = [f"{int(abs(value)):0{width}d}{abs(value) % 1 * 60:07.4f}" for value, width in ((lat, 2), (lon, 3))]
    fields = (
        word,
        local,
        "",
        "F",
        f"{utc}.000",
        letter,
        places[0],
        "S" if lat < 0 else "N",
        places[1],
        "W" if lon < 0 else "E",
        f"{knots:.2f}",
        "",
    )
    return encode(Line("report", imei, fields))
