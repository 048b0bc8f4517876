"""Whose reading it is, where several people share a device: by the slot that was chosen on it, by the hour, or both.

    people = [{subject = "r-0417", slot = 1}, {subject = "r-0418", slot = 2}]
    people = [{subject = "r-0417", from = "06:00", to = "07:30"}, {subject = "r-0418", from = "07:30", to = "10:00"}]

The first line that fits counts. Where none fits the reading belongs to whom the device belongs.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from drivers.api import OptionError

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")
DAY_MIN = 1440


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}):
    """One line. `from` and `to` are times of the house; from 22:00 to 06:00 goes over midnight."""

    subject: str
    slot: int | None = None
    begin: str | None = None
    end: str | None = None

    def fits(self, slot: str | None, minute: int) -> bool:
        """Whether a reading with this slot (None: the device has none) at this minute of the day is theirs."""
        if self.slot is not None and str(self.slot) != slot:
            return False
        if self.begin is None or self.end is None:
            return True
        begin, end = _minute(self.begin), _minute(self.end)
        return begin <= minute < end if begin <= end else minute >= begin or minute < end


def read_people(driver: str, tables: list[Any]) -> list[Share]:
    """The lines of the option. Raises OptionError with every fault."""
    found, faults = [], []
    for number, table in enumerate(tables, 1):
        where = f"people[{number}]"
        try:
            row = msgspec.convert(table, Share)
        except msgspec.ValidationError as error:
            faults.append(f"{where}: {error}")
            continue
        times = (row.begin, row.end)
        if not _SUBJECT.fullmatch(row.subject):
            faults.append(f"{where}.subject: letters, digits, _ and - expected, got {row.subject!r}")
        elif any(time is not None and not _TIME.fullmatch(time) for time in times) or (row.begin is None) != (row.end is None):
            faults.append(f"{where}: from and to as HH:MM expected, got {row.begin!r} and {row.end!r}")
        elif row.slot is None and row.begin is None:
            faults.append(f"{where}: slot, or from and to, expected")
        else:
            found.append(row)
    if faults:
        raise OptionError(driver, faults)
    return found


def subject_of(people: list[Share], slot: str | None, local_ms: int) -> str | None:
    """Whose a reading is; None where no line fits. `local_ms`: its time on the clocks of the house."""
    minute = local_ms // 60_000 % DAY_MIN
    return next((row.subject for row in people if row.fits(slot, minute)), None)


def _minute(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return int(hours) * 60 + int(minutes)
