"""The position body of the watch protocol (UD, UD2, WT, AL, ...): reader and writer.

Source: "Beesure GPS SeTracker Server Protocol", appendix I. Comma list:

    0 ddmmyy  1 hhmmss  2 A|V  3 latitude  4 N|S  5 longitude  6 E|W  7 km/h  8 course  9 altitude m  10 satellites
    11 GSM 0-100  12 battery %  13 steps (total)  14 turn-overs  15 status, hex  16 cell count  17 timing advance  18 MCC  19 MNC
    then lac,cid,signal per cell, then the count of access points and name,address,signal each, last the accuracy in metres

Status, 32 bits: high half alarms, low half states (an old 4-digit status holds states only).

    31..23   22         21   20      19       18    17   16  | 15 14        ..  4        3      2       1        0
    unknown  heartrate  fall removed entered  left  low  SOS |    unplugged     at rest  strap  inside  outside  battery low
                                     fence    fence batt     |                                  fence   fence
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from protocols.errors import Reason, RemoteProtocolError

LOW_BATTERY, OUTSIDE, INSIDE, STRAP, AT_REST, UNPLUGGED = 0, 1, 2, 3, 4, 14
"""State bits of the status word."""
SOS, LOW_BATTERY_ALARM, LEFT, ENTERED, REMOVED, FALL, HEART_RATE = range(16, 23)
"""Alarm bits of the status word."""

LEAST_FIELDS = 13
"""Up to the battery: firmware leaves out the tail, never the head."""
MAX_CELLS, MAX_ACCESS_POINTS = 16, 32

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}").fullmatch
_HEX_LETTER = re.compile(r"[A-Fa-f]").search

WatchCell = tuple[int | None, int | None, int, int, int | None]
"""mcc, mnc, lac, cid, dBm (None where the firmware writes a positive number of its own scale)."""
WatchAp = tuple[str, int | None, str | None]
"""address (lower case, colons), dBm, name."""


class WatchPosition(NamedTuple):
    """A position body. `clock_ms`: device clock read as UTC. `lat`, `lon` None where there is no place.

    `fault` names a coordinate outside the earth. `speed_kmh` None where a V fix shows the 22.0 that means nothing.
    """

    clock_ms: int | None
    is_valid: bool
    lat: float | None
    lon: float | None
    speed_kmh: float | None = None
    course_deg: float | None = None
    altitude_m: float | None = None
    satellites: int | None = None
    signal: int | None = None
    battery: int | None = None
    steps: int | None = None
    tumbles: int | None = None
    status: int = 0
    cells: tuple[WatchCell, ...] = ()
    access_points: tuple[WatchAp, ...] = ()
    accuracy_m: float | None = None
    fault: str | None = None


def parse_position(body: bytes) -> WatchPosition:
    """The position in `body`. Raises RemoteProtocolError (TRUNCATED) when the head of the list is missing."""
    fields = body.decode("utf-8", "replace").split(",")
    if len(fields) < LEAST_FIELDS or fields[2].strip() not in ("A", "V"):
        raise RemoteProtocolError(Reason.TRUNCATED, f"position of {LEAST_FIELDS} fields with A or V expected, got {len(fields)}", body)
    is_valid = fields[2].strip() == "A"
    lat, lon, fault = _place(fields)
    speed, course, altitude, satellites, signal, battery = _numbers(fields)
    cells, access_points, accuracy = _surroundings(fields) if len(fields) > 17 else ((), (), None)
    return WatchPosition(
        _clock_ms(fields[0], fields[1]),
        is_valid and lat is not None,
        lat,
        lon,
        None if speed == 22.0 and not is_valid else speed,
        course,
        altitude,
        satellites,
        signal,
        battery,
        _integer(fields[13], 0, 99_999_999) if len(fields) > 13 else None,
        _integer(fields[14], 0, 99_999_999) if len(fields) > 14 else None,
        _status(fields[15]) if len(fields) > 15 else 0,
        cells,
        access_points,
        accuracy,
        fault,
    )


_Numbers = tuple[float | None, float | None, float | None, int | None, int | None, int | None]


def _numbers(fields: list[str]) -> _Numbers:
    """Fields 7..12. All at once where they are good, which is nearly always; else each for itself."""
    _, _, _, _, _, _, _, speed, course, altitude, satellites, signal, battery, *_ = fields
    try:
        numbers = (float(speed), float(course), float(altitude), int(satellites), int(signal), int(battery))
    except ValueError:
        pass
    else:
        a, b, c, d, e, f = numbers
        if 0 <= a <= 2000 and 0 <= b <= 360 and -1000 <= c <= 20_000 and 0 <= d <= 99 and 0 <= e <= 100 and 0 <= f <= 100:
            return numbers
    return (
        _number(speed, 0, 2000),
        _number(course, 0, 360),
        _number(altitude, -1000, 20_000),
        _integer(satellites, 0, 99),
        _integer(signal, 0, 100),
        _integer(battery, 0, 100),
    )


def status_of(body: bytes) -> int:
    """The status word of a body that may be damaged elsewhere; 0 where it has none."""
    fields = body.split(b",", 16)
    return _status(fields[15].decode("ascii", "replace")) if len(fields) > 15 else 0


def _place(fields: list[str]) -> tuple[float | None, float | None, str | None]:
    try:
        lat, lon = float(fields[3] or 0), float(fields[5] or 0)
    except ValueError:
        return None, None, f"coordinates expected, got {fields[3]!r:.24},{fields[5]!r:.24}"
    # The letter and the sign may disagree (-33.48,N is in Chile): S and W force negative, a minus stays.
    if fields[4] == "S":
        lat = -abs(lat)
    if fields[6] == "W":
        lon = -abs(lon)
    if lat == 0 and lon == 0:
        return None, None, None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None, None, f"latitude within 90 and longitude within 180 degrees expected, got {lat},{lon}"
    return lat, lon, None


def _surroundings(fields: list[str]) -> tuple[tuple[WatchCell, ...], tuple[WatchAp, ...], float | None]:
    """Cells, access points and accuracy: what stands behind the status word."""
    size = len(fields)
    count = _integer(fields[16], 0, MAX_CELLS) or 0
    at = 17
    cells: tuple[WatchCell, ...] = ()
    if count and size > 19:
        at = min(20 + 3 * count, size)
        cells = _cells(fields, at)
    access_points: tuple[WatchAp, ...] = ()
    # A name may hold commas: the address, which looks like nothing else, is the anchor.
    addresses = [i for i in range(at, size) if len(fields[i]) >= 17 and _MAC(fields[i].strip())] if size - at > 2 else []
    if addresses:
        is_counted = cells or fields[at].strip() == str(len(addresses))
        begin = at + 1 if is_counted and at < addresses[0] else addresses[0] - 1
        access_points = _access_points(fields, begin, addresses[:MAX_ACCESS_POINTS])
        at = addresses[-1] + 2
    # Trailing 00 and 10 are something else: only a decimal fraction is an accuracy.
    accuracy = _number(fields[-1], 0, 100_000) if at < size and "." in fields[-1] else None
    return cells, access_points, accuracy or None


def _cells(fields: list[str], end: int) -> tuple[WatchCell, ...]:
    mcc, mnc = _integer(fields[18], 1, 999), _integer(fields[19], 0, 999)
    numbers = fields[20:end]
    base = 16 if _HEX_LETTER("".join(numbers)) else 10
    cells = []
    for i in range(0, len(numbers) - 2, 3):
        try:
            lac, cid = int(numbers[i], base), int(numbers[i + 1], base)
        except ValueError:
            break
        if 0 <= lac <= 0xFFFFFF and 0 <= cid <= 0xFFFFFFFF:
            cells.append((mcc, mnc, lac, cid, _integer(numbers[i + 2], -150, -1)))
    return tuple(cells)


def _access_points(fields: list[str], begin: int, addresses: list[int]) -> tuple[WatchAp, ...]:
    found = []
    for at in addresses:
        name = ",".join(fields[begin:at]).strip()
        signal = _integer(fields[at + 1], -150, -1) if at + 1 < len(fields) else None
        found.append((fields[at].strip().lower().replace("-", ":"), signal, name or None))
        begin = at + 2
    return tuple(found)


def _number(text: str, low: float, high: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if low <= value <= high else None


def _integer(text: str, low: int, high: int) -> int | None:
    try:
        value = int(text)
    except ValueError:
        return None
    return value if low <= value <= high else None


def _status(text: str) -> int:
    try:
        value = int(text, 16)
    except ValueError:
        return 0
    return value if 0 <= value <= 0xFFFFFFFF else 0


@lru_cache(maxsize=64)
def _day_ms(ddmmyy: str) -> int | None:
    if len(ddmmyy) != 6 or not (ddmmyy.isascii() and ddmmyy.isdecimal()):
        return None
    try:
        day = date(2000 + int(ddmmyy[4:]), int(ddmmyy[2:4]), int(ddmmyy[:2]))
    except ValueError:
        return None
    return (day.toordinal() - _EPOCH_DAY) * 86_400_000


def _clock_ms(ddmmyy: str, time: str) -> int | None:
    """Device clock as milliseconds; None where it is unset or impossible."""
    day = _day_ms(ddmmyy)
    if day is None or len(time) != 6 or not (time.isascii() and time.isdecimal()):
        return None
    hours, minutes, seconds = int(time[:2]), int(time[2:4]), int(time[4:])
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return day + (hours * 3600 + minutes * 60 + seconds) * 1000


def position_body(position: WatchPosition) -> bytes:
    """Device side: the body of a UD or AL frame. An unset clock is written as zeros."""
    clock = position.clock_ms
    stamp = f"{datetime.fromtimestamp(clock / 1000, UTC):%d%m%y,%H%M%S}" if clock is not None else "000000,000000"
    lat, lon = position.lat or 0.0, position.lon or 0.0
    fields: list[object] = [
        stamp, "A" if position.is_valid else "V", f"{abs(lat):.6f}", "S" if lat < 0 else "N", f"{abs(lon):.6f}", "W" if lon < 0 else "E",
        f"{position.speed_kmh or 0:.2f}", f"{position.course_deg or 0:.1f}", f"{position.altitude_m or 0:.1f}", position.satellites or 0,
        position.signal or 0, position.battery or 0, position.steps or 0, position.tumbles or 0, f"{position.status:08x}",
        len(position.cells),
    ]  # fmt: skip
    if position.cells:
        fields += ["1", *(f"{part or 0}" for part in position.cells[0][:2])]
        for _, _, lac, cid, dbm in position.cells:
            fields += [lac, cid, dbm or 0]
    fields.append(len(position.access_points))
    for address, dbm, name in position.access_points:
        fields += [name or "", address, dbm or 0]
    fields.append(f"{position.accuracy_m or 0:.1f}")
    return ",".join(map(str, fields)).encode()
