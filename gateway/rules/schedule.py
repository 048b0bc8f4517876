"""Local time for rules: pure functions of epoch milliseconds and a zone name.

A window is text, `22:00-06:00`; one that wraps midnight belongs to the day on which it starts. `08:00-08:00` has no length and is
never active (the whole day is `00:00-24:00`). A schedule is a list of windows with days: `mo-fr 08:00-18:00`, `sa,su 10:00-12:00`,
`holiday 10:00-12:00`, or `always`, `never`. On a holiday only `holiday`, `daily` and `always` entries count where any `holiday`
entry exists; otherwise a holiday is like any other day.

Summer time: a wall time that the change skips is taken an hour later, one that it repeats is taken the first time.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
CLOCK_UNSET_MS = 1_704_067_200_000
"""2024-01-01: a gateway clock before this was never set, its wall time means nothing."""
_QUARTER_MS = 900_000
_DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
_EPOCH = date(1970, 1, 1)


class Window(NamedTuple):
    """Minutes of the day; `end` below `start` wraps midnight, `end` equal to `start` is empty, 0..1440 is the whole day."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day lies in the window."""
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


class Entry(NamedTuple):
    """A window on some weekdays (0 = Monday), `holidays` for those days only."""

    days: frozenset[int]
    window: Window
    holidays: bool = False
    daily: bool = False


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The zone. Raises ValueError for a name that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error


@lru_cache(maxsize=4096)
def _offset_ms(zone: str, quarter: int) -> int:
    moment = datetime.fromtimestamp(quarter * 900, zone_of(zone))
    offset = moment.utcoffset()
    return int(offset.total_seconds() * 1000) if offset else 0


def local_ms(ms: int, zone: str) -> int:
    """Local wall time as if it were UTC milliseconds. All zones change on a quarter of an hour, so the offset is kept per quarter."""
    return ms + _offset_ms(zone, ms // _QUARTER_MS)


def minute_of_day(ms: int, zone: str) -> int:
    """0..1439, local.

    >>> minute_of_day(1795336212000, "Asia/Shanghai")
    990
    """
    return local_ms(ms, zone) // MINUTE_MS % 1440


def day_of(ms: int, zone: str) -> int:
    """Number of the local day; 0 is 1970-01-01."""
    return local_ms(ms, zone) // DAY_MS


def weekday_of(day: int) -> int:
    """0 = Monday, of a day number."""
    return (day + 3) % 7


def date_text(day: int) -> str:
    """`2026-11-22` of a day number."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def epoch_of(day: int, minute: int, zone: str) -> int:
    """Epoch milliseconds of a wall time; minute 1440 is the next midnight."""
    extra, minute = divmod(minute, 1440)
    on = _EPOCH + timedelta(days=day + extra)
    moment = datetime(on.year, on.month, on.day, minute // 60, minute % 60, tzinfo=zone_of(zone))
    return int(moment.timestamp()) * 1000


def next_at(ms: int, minute: int, zone: str, days: frozenset[int] = frozenset(range(7))) -> int | None:
    """Epoch ms of the first moment after `ms` with this wall time on one of these weekdays; None without days."""
    day = day_of(ms, zone)
    for ahead in range(9):
        if weekday_of(day + ahead) in days:
            at = epoch_of(day + ahead, minute, zone)
            if at > ms:
                return at
    return None


@lru_cache(maxsize=256)
def parse_minute(text: str) -> int:
    """`HH:MM` as minutes, 00:00..24:00. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit() and len(minutes) == 2):
        raise ValueError(f"HH:MM expected, got {text!r}")
    value = int(hours) * 60 + int(minutes)
    if not (0 <= value <= 1440 and int(minutes) < 60):
        raise ValueError(f"00:00..24:00 expected, got {text!r}")
    return value


@lru_cache(maxsize=256)
def parse_window(text: str) -> Window:
    """`HH:MM-HH:MM`. Raises ValueError.

    >>> parse_window("22:00-06:00").holds(5 * 60 + 59)
    True
    """
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"HH:MM-HH:MM expected, got {text!r}")
    return Window(parse_minute(start.strip()), parse_minute(end.strip()))


def parse_days(text: str) -> frozenset[int]:
    """`mo-fr`, `sa,su`, `daily`. Raises ValueError."""
    if text == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(f"days such as mo-fr or sa,su expected, got {text!r}")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if dash else 0
        days.update((begin + step) % 7 for step in range(length + 1))
    return frozenset(days)


@lru_cache(maxsize=256)
def parse_entry(text: str) -> Entry:
    """One line of a schedule. Raises ValueError."""
    text = text.strip().lower()
    if text == "always":
        return Entry(frozenset(range(7)), Window(0, 1440), daily=True)
    if text == "never":
        return Entry(frozenset(), Window(0, 0))
    days, _, window = text.rpartition(" ")
    if days == "holiday":
        return Entry(frozenset(range(7)), parse_window(window), holidays=True)
    return Entry(parse_days(days or "daily"), parse_window(window), daily=days in ("", "daily"))


def is_active(schedule: tuple[str, ...], ms: int, zone: str, holidays: tuple[str, ...] = ()) -> bool:
    """Whether a schedule holds at a moment. An empty schedule never does. `holidays` are dates, `2026-10-01`."""
    entries = [parse_entry(text) for text in schedule]
    day, minute = day_of(ms, zone), minute_of_day(ms, zone)
    return any(_covers(entry, entries, day, minute, holidays) for entry in entries)


def _covers(entry: Entry, entries: list[Entry], day: int, minute: int, holidays: tuple[str, ...]) -> bool:
    window = entry.window
    if not window.holds(minute):
        return False
    started = day - 1 if window.start > window.end and minute < window.end else day
    is_holiday = bool(holidays) and date_text(started) in holidays
    if entry.holidays:
        return is_holiday
    if is_holiday and not entry.daily and any(other.holidays for other in entries):
        return False
    return weekday_of(started) in entry.days


def next_change(schedule: tuple[str, ...], ms: int, zone: str, holidays: tuple[str, ...] = ()) -> int | None:
    """Epoch ms of the next moment at which `is_active` changes, within eight days; None where it does not."""
    active = is_active(schedule, ms, zone, holidays)
    day = day_of(ms, zone)
    minutes = {minute for text in schedule for minute in parse_entry(text).window} | {0}
    edges = sorted({epoch_of(day + ahead, minute, zone) for ahead in range(9) for minute in minutes})
    return next((at for at in edges if at > ms and is_active(schedule, at, zone, holidays) != active), None)


def window_fault(text: str) -> str | None:
    """What was expected where a text is no window (`Setting.check`)."""
    try:
        parse_window(text)
    except ValueError:
        return "HH:MM-HH:MM"
    return None


def minute_fault(text: str) -> str | None:
    """What was expected where a text is no time of day (`Setting.check`)."""
    try:
        parse_minute(text)
    except ValueError:
        return "HH:MM"
    return None


def zone_fault(text: str) -> str | None:
    """What was expected where a text is no time zone (`Setting.check`)."""
    try:
        zone_of(text)
    except ValueError:
        return "a time zone such as Asia/Shanghai"
    return None


def schedule_fault(texts: list[str]) -> str | None:
    """What was expected where a list is no schedule (`Setting.check`)."""
    for text in texts:
        try:
            parse_entry(text)
        except ValueError as error:
            return str(error).partition(", got")[0]
    return None
