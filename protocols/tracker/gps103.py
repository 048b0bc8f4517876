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
from protocols.tracker.fix import civil_ms

LINE_LIMIT = 2048
"""A part of a photo is 1 kB of hex."""
KNOT_KMH = 1.852

_END = re.compile(rb"[;\r\n*\0]")
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
    """What a report tells. Place in signed degrees; None where there is none."""

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
    login = _LOGIN.fullmatch(text)
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
    if len(fields) > 16 and re.fullmatch(r"\d{6}", fields[4]) and re.fullmatch(r"\d{6}", fields[5]):
        return _alternative(fields)
    battery = _number(fields[2][:-1]) if len(fields) > 2 and fields[2].endswith("%") else None
    local = re.sub(r"\D", "", fields[1]) if len(fields) > 1 else ""
    report = Report(
        _local_ms(local, offset_minutes), temperature=_number(line.word[2:]) if line.word.startswith("T:") else None,
        battery=int(battery) if battery is not None and 0 <= battery <= 100 else None,
    )  # fmt: skip
    if len(fields) > 8 and fields[3] == "L":
        lac, cid = _hex(fields[6]), _hex(fields[8])
        return report._replace(lac=lac, cid=cid) if lac and cid else report
    found = _FIX.fullmatch(",".join(fields[4:])) if len(fields) > 4 and fields[3] == "F" else None
    return report if found is None else _placed(report, found, local, offset_minutes)


def _placed(report: Report, found: re.Match[str], local: str, offset_minutes: int) -> Report:
    lat, lon = _degrees(found["lat"]), _degrees(found["lon"])
    lat = -lat if "S" in {found["ns1"], found["ns2"]} else lat
    lon = -lon if "W" in {found["ew1"], found["ew2"]} else lon
    tail = [*found["tail"].split(","), *[""] * 8]
    speed, course = _number(tail[0]), _number(tail[1])
    bad = not (-90 <= lat <= 90 and -180 <= lon <= 180)
    is_place = not bad and bool(lat or lon)
    return report._replace(
        at_ms=_fix_ms(local, found["clock"], offset_minutes),
        lat=lat if is_place else None,
        lon=lon if is_place else None,
        out_of_range=bad,
        is_valid=found["letter"] == "A",
        speed_kmh=round(speed * KNOT_KMH, 3) if speed is not None and 0 <= speed < 1000 else None,
        course_deg=course if course is not None and 0 <= course <= 360 else None,
        altitude_m=_number(tail[2]),
        ignition=tail[3] == "1" if tail[3] in {"0", "1"} else None,
        door=tail[4] == "1" if tail[4] in {"0", "1"} else None,
        temperature=report.temperature if report.temperature is not None else _number(tail[7]),
    )


def _vehicle(fields: tuple[str, ...], offset_minutes: int) -> Report:
    odometer = _number(fields[2]) if len(fields) > 2 else None
    volts = _number(fields[12]) if len(fields) > 12 else None
    local = re.sub(r"\D", "", fields[1]) if len(fields) > 1 else ""
    return Report(_local_ms(local, offset_minutes), odometer_m=int(odometer) if odometer and odometer > 0 else None, volts=volts or None)


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
    parts = [int(local[i : i + 2]) for i in range(0, len(local), 2)] + [0]
    return civil_ms(*parts[:6], offset_minutes=offset_minutes) if parts[1] else None


def _fix_ms(local: str, clock: str, offset_minutes: int) -> int | None:
    """The date is local, the time of the fix UTC: the day of that time which lies nearest to the local one."""
    at_ms = _local_ms(local, 0)
    found = re.match(r"(\d\d)(\d\d)(\d\d)(?:\.|$)", clock)
    if at_ms is None or found is None:
        return None if at_ms is None else at_ms - offset_minutes * 60_000
    hour, minute, second = map(int, found.groups())
    if hour > 23 or minute > 59 or second > 59:
        return None
    minutes = at_ms // 60_000
    ahead = (minutes % 1440 - hour * 60 - minute + 720) % 1440 - 720
    ahead = 720 if ahead == -720 else ahead
    return (minutes - ahead) * 60_000 + second * 1000


def _degrees(text: str) -> float:
    value = float(text)
    return int(value / 100) + value % 100 / 60


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


def _hex(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", text) else None


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
