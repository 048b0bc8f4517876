"""What every tracker reports: a civil time, radio cells, access points and degrees, checked."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import NamedTuple

_BCD = tuple((byte >> 4) * 10 + (byte & 15) if byte >> 4 < 10 and byte & 15 < 10 else 255 for byte in range(256))
"""Value of each BCD byte; 255 where a nibble is no digit."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class CellSeen(NamedTuple):
    """A mobile cell: `rssi_dbm` negative where the device tells it; `mcc`, `mnc` None where the frame does not name them."""

    mcc: int | None
    mnc: int | None
    lac: int
    cid: int
    rssi_dbm: int | None = None


class ApSeen(NamedTuple):
    """A Wi-Fi access point: `mac` lower case with colons."""

    mac: str
    rssi_dbm: int | None = None
    ssid: str | None = None


def civil_ms(  # noqa: PLR0917 - a time has six parts
    year: int, month: int, day: int, hour: int, minute: int, second: int, *, offset_minutes: int = 0
) -> int | None:
    """UTC epoch milliseconds of a wall-clock time that runs `offset_minutes` ahead of UTC; None when it is no date or time.

    Years below 100 count from 2000.

    >>> civil_ms(26, 11, 22, 16, 30, 12, offset_minutes=480)
    1795336212000
    >>> civil_ms(26, 13, 1, 0, 0, 0) is None
    True
    """
    if hour > 23 or minute > 59 or second > 59:
        return None
    days = epoch_day(year, month, day)
    return None if days is None else (days * 86400 + hour * 3600 + (minute - offset_minutes) * 60 + second) * 1000


@lru_cache(maxsize=512)
def epoch_day(year: int, month: int, day: int) -> int | None:
    """Days since 1970-01-01, None when there is no such day; years below 100 count from 2000. Devices live in few days: remembered.

    >>> epoch_day(26, 11, 22)
    20779
    """
    try:
        return date(year if year >= 100 else 2000 + year, month, day).toordinal() - _EPOCH_DAY
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=512)
def day_ms(text: str, order: str = "dmy") -> int | None:
    """Epoch milliseconds of the midnight that `text` names by two digits each (a year may have four), None when it is no day.

    >>> day_ms("221126") == day_ms("261122", "ymd") == day_ms("20261122", "ymd") == 1795305600000
    True
    """
    if len(text) not in {6, 8} or not (text.isascii() and text.isdecimal()):
        return None
    year, month, day = (text[4:], text[2:4], text[:2]) if order == "dmy" else (text[:-4], text[-4:-2], text[-2:])
    days = epoch_day(int(year), int(month), int(day))
    return None if days is None else days * 86_400_000


def clock_ms(text: str) -> int | None:
    """Milliseconds since midnight of `hhmmss`, None when it is no time.

    >>> clock_ms("083012"), clock_ms("240000")
    (30612000, None)
    """
    if len(text) != 6 or not (text.isascii() and text.isdecimal()):
        return None
    number = int(text)
    minutes, second = number // 100, number % 100
    minute = minutes % 100
    if number >= 240_000 or minute > 59 or second > 59:
        return None
    return (number // 10_000 * 3600 + minute * 60 + second) * 1000


def bcd_ms(data: bytes, *, offset_minutes: int = 0) -> int | None:
    """`civil_ms` of six BCD bytes yy mm dd hh mm ss; None when a nibble is no digit or the time is impossible.

    >>> bcd_ms(bytes.fromhex("261122163012"), offset_minutes=480)
    1795336212000
    """
    if len(data) != 6:
        return None
    date_ms = _bcd_day_ms(data[:3])
    hour, minute, second = _BCD[data[3]], _BCD[data[4]], _BCD[data[5]]
    if date_ms is None or hour > 23 or minute > 59 or second > 59:
        return None
    return date_ms + (hour * 3600 + (minute - offset_minutes) * 60 + second) * 1000


@lru_cache(maxsize=512)
def _bcd_day_ms(data: bytes) -> int | None:
    year, month, day = map(_BCD.__getitem__, data)
    days = epoch_day(year, month, day) if year <= 99 else None
    return None if days is None else days * 86_400_000


def mac_text(data: bytes) -> str:
    """Six bytes as a MAC, lower case with colons.

    >>> mac_text(bytes.fromhex("E0DB55F00102"))
    'e0:db:55:f0:01:02'
    """
    return data.hex(":")


def is_real_mac(data: bytes) -> bool:
    """Whether these bytes can name an access point: neither all zero nor all ones."""
    return data not in (b"\x00" * 6, b"\xff" * 6)


def dbm(byte: int) -> int | None:
    """The level of a byte that trackers write as a magnitude or as two's complement; None for "no reading" (0, 255 is -1).

    >>> dbm(0x5C), dbm(0xA4), dbm(0)
    (-92, -92, None)
    """
    if byte in {0, 0xFF}:
        return None
    return -byte if byte < 128 else byte - 256
