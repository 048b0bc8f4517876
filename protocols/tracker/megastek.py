"""Megastek MT and GVT trackers (lone workers, elder bracelets) over TCP. Both directions.

Source: Megastek GPRS protocol V2 ($MGV002) and V1 (STX). Text, all times UTC.

    [nnnn]$MGV002,<imei>,<name>,R|S,ddmmyy,hhmmss,A|V,ddmm.mmmmm,N|S,dddmm.mmmmm,E|W,<seen 1>,<used>,<seen 2>,<hdop>,<knots>,
        <degrees>,<metres>,<km>,<mcc>,<mnc>,<lac hex>,<cid hex>,<csq>,[<heart rate, three digits>,]<five fields>,<temperature>,
        <temperature>,<rfid>,<charger><belt>,<battery %>,<alert>[,<mac:level|...>...];!
        behind a heart rate in front of the five fields some firmware leaves one of the empty ones out: the alert stays where it was
        five fields: inputs, outputs (0000), three analogue; bracelets: heart rate, steps, active, light and deep sleep (minutes)
        R live, S kept while offline; nnnn is the length, without the head of four digits
    [LOG]STX,<id>,$GPRMC,...*cc,<F|L>,<alert>,imei:<imei>,<satellites>,<metres>,Battery=<n>%,,<charger>,<mcc>,<mnc>,<lac>,<cid>;cc CR LF
    [LOG]STX<id, 16 characters>[02 <length>]$GPRMC,...*cc,<mcc>,<mnc>,<lac>,<cid>,<csq>,<battery %>,<flags>,<in>,<out>,<alert>;cc CR LF
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import ApSeen, CellSeen, clock_ms, day_ms

LINE_LIMIT = 2048
KNOT_KMH = 1.852
_HEAD = re.compile(rb"\$MGV|(?:LOG)?STX")
_PARTIAL = re.compile(rb"(?:\$(?:M(?:G)?)?|L(?:O(?:G(?:ST?)?)?)?|ST?)$")
_RMC = re.compile(
    r"\$GPRMC,(\d{6})(?:\.\d+)?,([AV]),(\d{2,5}\.\d+)?,([NS])?,(\d{3,6}\.\d+)?,([EW])?,(\d+(?:\.\d+)?)?,(\d+(?:\.\d+)?)?,(\d{6})"
)
_NEW_STATUS = re.compile(
    r"[FL],([^,]*),imei:(\d+),(\d+)?(?:/\d+)?,(-?\d+(?:\.\d+)?)?,Battery=(\d{1,3})%,,?(\d)?,(\d+)?,(\d+)?,([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4});"
)
_OLD_STATUS = re.compile(r"(\d+),(\d+),([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4}),(\d+),(\d{1,3}),(?:[^;]*,)?([^;,]*);")
_AP = re.compile(r"([0-9A-Fa-f]{12}):(\d{1,3})")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?").fullmatch
_BITS = ("0", "1")
_NO_FIELDS = [""] * 30
"""Stands behind the fields of a line: what it lacks is empty."""


class Line(NamedTuple):
    """One line of text."""

    text: str
    raw: bytes = b""


class Report(NamedTuple):
    """What a line tells; place in signed degrees, None where there is none. `alert`: lower case. `id` is empty where the line has none."""

    id: str
    alert: str = ""
    is_stored: bool = False
    at_ms: int | None = None
    lat: float | None = None
    lon: float | None = None
    is_valid: bool = False
    satellites: int | None = None
    hdop: float | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    altitude_m: float | None = None
    odometer_m: float | None = None
    cell: CellSeen | None = None
    csq: int | None = None
    aps: tuple[ApSeen, ...] = ()
    heart_rate: int | None = None
    steps: int | None = None
    light_min: int | None = None
    deep_min: int | None = None
    temperatures: tuple[float, ...] = ()
    is_charging: bool | None = None
    battery: int | None = None
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
        out: list[Line | Reject] = []
        for raw in self._framer.feed(data):
            if isinstance(raw, Reject):
                # The length in front of a line and the line ends behind it are no junk.
                out += [] if re.fullmatch(rb"[\d\r\n\0! ]*", raw.frame) else [raw]
            else:
                out.append(Line(raw.decode("latin-1").rstrip("!\r\n\0"), raw))
        return out

    def flush(self) -> list[Line | Reject]:
        """A line without its end: what stands there after a silence."""
        return self.receive(b"\n!") if self._framer.buffered else []

    def send(self, message: Line) -> bytes:
        """The bytes of `message`."""
        return message.text.encode("latin-1", "replace") + (b"!" if message.text.startswith("$") else b"\r\n")


def _cut(buffer: bytes, start: int) -> Cut:
    """$MGV ends in !, STX in a line end; another head in between means that the first line was cut off."""
    if buffer.startswith(b"$MGV", start):
        # The usual line: plain searches cost a tenth of the patterns.
        end = buffer.find(b"!", start + 4)
        if end >= 0 and buffer.find(b"$MGV", start + 4, end) < 0 and buffer.find(b"STX", start + 4, end) < 0:
            return Cut(0, end + 1 - start)
    size = len(buffer)
    head = _HEAD.search(buffer, start)
    if head is None:
        partial = _PARTIAL.search(buffer, max(start, size - 5))
        return Cut(size - start - (size - partial.start() if partial else 0))
    at = head.start()
    end = buffer.find(b"!" if buffer[at : at + 1] == b"$" else b"\n", head.end())
    again = _HEAD.search(buffer, head.end(), end if end >= 0 else size)
    if again:
        return Cut(again.start() - start)
    return Cut(at - start, end + 1 - at if end >= 0 else 0)


def read_line(line: Line) -> Report:
    """What a line tells. Raises RemoteProtocolError."""
    if line.text.startswith("$MGV"):
        return _new(line)
    return _old(line)


def _new(line: Line) -> Report:
    fields = line.text.split(",")
    if len(fields) < 11 or (fields[1] and not (fields[1].isdecimal() and 10 <= len(fields[1]) <= 17)):
        raise RemoteProtocolError(Reason.TRUNCATED, "$MGVnnn, IMEI and a place expected", line.raw)
    spare = next((field for field in fields[34:37] if field[:1].isalpha()), "")
    fields += _NO_FIELDS
    first = fields[24]
    # A heart rate in front of inputs and outputs moves everything behind it by one.
    shift = 1 if len(first) == 3 and first.isdecimal() and _is_bits(fields[25]) and _is_bits(fields[26]) else 0
    at = 24 + shift
    heart = _count(first) if shift else None
    steps = light = deep = None
    if not shift and first and not _is_bits(first):
        heart, steps, light, deep = _count(first), _count(fields[25]), _count(fields[27]), _count(fields[28])
    if shift and fields[34][:1].isalpha() and ":" not in fields[34]:
        at = 24
    kilometres, hdop = _number(fields[18]), _number(fields[14])
    lat, lon, bad = _placed(fields[7], fields[8], fields[9], fields[10])
    tail, charger = ",".join(fields[at + 11 :]), fields[at + 8]
    celsius = (_number(fields[at + 5]), _number(fields[at + 6]))
    return Report(
        fields[1], (fields[at + 10].partition(";")[0] or spare.partition(";")[0]).strip().lower(), fields[3] == "S",
        _clock(fields[5], fields[4]), lat, lon, fields[6] == "A", _count(fields[12]), hdop if hdop and hdop < 99 else None,
        _speed(fields[15]), _course(fields[16]), _number(fields[17]), kilometres * 1000 if kilometres else None,
        _cell(fields[19], fields[20], fields[21], fields[22]), _count(fields[23]), _aps(tail) if ":" in tail else (), heart, steps, light,
        deep, tuple(value for value in celsius if value is not None), _charging(charger), _percent(fields[at + 9]), bad,
    )  # fmt: skip


def _old(line: Line) -> Report:
    found = _RMC.search(line.text)
    if found is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "$MGV or STX with $GPRMC expected", line.raw)
    time, letter, lat, north, lon, east, speed, course, day = found.groups()
    head = re.sub(r"\x02.*", "", line.text[: found.start()]).partition("STX")[2]
    # Without a comma in front the id is 16 characters wide; what follows is a length.
    ident = (head.strip(", ").split(",")[0] if head.startswith(",") else head[:16]).strip()
    rest = line.text[found.end() :]
    new, old = _NEW_STATUS.search(rest), _OLD_STATUS.search(rest.partition("*")[2][2:])
    place = _placed(lat or "", north or "", lon or "", east or "")
    report = Report(
        ident, "", line.text.startswith("LOG"), _clock(time, day), place[0], place[1], letter == "A",
        speed_kmh=_speed(speed or ""), course_deg=_course(course or ""), out_of_range=place[2],
    )  # fmt: skip
    if new:
        alert, imei, used, altitude, battery, charger, *cell = new.groups()
        report = report._replace(
            id=imei, alert=alert.strip().lower(), satellites=_count(used or ""),
            altitude_m=_number(altitude or ""), battery=_percent(battery),
            is_charging=charger == "1" if charger else None, cell=_cell(*(part or "" for part in cell)),
        )  # fmt: skip
    elif old:
        *cell, csq, battery, alert = old.groups()
        report = report._replace(alert=alert.strip().lower(), cell=_cell(*cell), csq=_count(csq), battery=_percent(battery))
    if not re.fullmatch(r"[A-Za-z0-9_-]{3,20}", report.id):
        raise RemoteProtocolError(Reason.RANGE, f"id expected, got {report.id!r:.40}", line.raw)
    return report


def _placed(lat_text: str, north: str, lon_text: str, east: str) -> tuple[float | None, float | None, bool]:
    """Signed degrees, None where there is no place; and whether they were out of range."""
    lat, lon = _degrees(lat_text, north == "S"), _degrees(lon_text, east == "W")
    if lat is None or lon is None or not (lat or lon):
        return None, None, False
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None, None, True
    return lat, lon, False


def _speed(text: str) -> float | None:
    knots = _number(text)
    return round(knots * KNOT_KMH, 3) if knots is not None and 0 <= knots < 1000 else None


def _course(text: str) -> float | None:
    degrees = _number(text)
    return degrees if degrees is not None and 0 <= degrees <= 360 else None


def _degrees(text: str, negative: bool) -> float | None:
    value = _number(text)
    if value is None or value < 0 or value >= 100_000:
        return None
    degrees = value // 100 + value % 100 / 60
    return -degrees if negative else degrees


def _clock(time: str, day: str) -> int | None:
    midnight, since = day_ms(day), clock_ms(time)
    return None if midnight is None or since is None else midnight + since


def _charging(text: str) -> bool | None:
    return text[0] == "1" if text[:1] in _BITS and len(text) <= 5 else None


def _is_bits(text: str) -> bool:
    return len(text) == 4 and not text.strip("01")


def _cell(mcc: str, mnc: str, lac: str, cid: str) -> CellSeen | None:
    if not (len(mcc) == 3 and mcc.isdecimal() and mnc.isdecimal() and lac.isalnum() and cid.isalnum()):
        return None
    try:
        cell = CellSeen(int(mcc), int(mnc), int(lac, 16), int(cid, 16))
    except ValueError:
        return None
    return cell if cell.mnc is not None and cell.mnc < 1000 and cell.lac <= 0xFFFF and cell.cid <= 0xFFFFFFFF else None


def _aps(text: str) -> tuple[ApSeen, ...]:
    found = ((":".join(mac[i : i + 2] for i in range(0, 12, 2)).lower(), -int(level)) for mac, level in _AP.findall(text))
    return tuple(ApSeen(mac, level if level else None) for mac, level in found if mac != "00:00:00:00:00:00")


def _number(text: str) -> float | None:
    return float(text) if text and _NUMBER(text) else None


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 9 else None


def _percent(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 3 and int(text) <= 100 else None


def write_report(
    imei: str, alert: str, *, date: str, time: str, lat: float, lon: float, vitals: tuple[int, int] = (0, 0), **known: str
) -> bytes:
    """A $MGV002 of a bracelet: `date` ddmmyy, `time` hhmmss, `vitals` heart rate and steps; `known`: letter, live (R, S), battery, aps.

    Raises LocalProtocolError.
    """
    if not (imei.isascii() and imei.isdigit()) or any(sign in alert for sign in ",;!$"):
        raise LocalProtocolError("digits and an alert without commas expected")
    places = [f"{int(abs(value)):0{width}d}{abs(value) % 1 * 60:08.5f}" for value, width in ((lat, 2), (lon, 3))]
    fields = (
        "$MGV002", imei, "", known.get("live", "R"), date, time, known.get("letter", "A"), places[0], "S" if lat < 0 else "N", places[1],
        "W" if lon < 0 else "E", "00", "07", "00", "1.2", "0.5", "90.0", "12.0", "", "460", "00", "1806", "A1B2", "25", str(vitals[0]),
        str(vitals[1]), "0", "0", "0", "", "", "", "01", known.get("battery", "85"), alert, known.get("aps", ""),
    )  # fmt: skip
    return (",".join(fields) + ";!").encode()
