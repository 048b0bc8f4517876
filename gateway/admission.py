"""Who may come in: strangers are noted within limits, devices may be paired in a window, an identity that two devices claim is told.

A stranger gets no answer. It is written down at most once a minute, and strangers together at most `NEW_PER_MINUTE` times a minute:
an attacker who invents identities must not fill the disk.
"""

from __future__ import annotations

import csv
import os
from collections import OrderedDict, deque
from pathlib import Path

from gateway.inventory import COLUMNS, Device

NOTED_EVERY_S = 60.0
NEW_PER_MINUTE = 120
REMEMBERED_STRANGERS = 4096
TAKEOVERS, TAKEOVER_WINDOW_S = 4, 600.0
"""So many changes of the connection that serves one identity within the window are two devices, not one with a bad network."""
LONGEST_PAIRING_S = 3600.0


class Strangers:
    """Which sightings of unknown devices are worth a row."""

    def __init__(self) -> None:
        self.suppressed = 0
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._minute = -1
        self._notes = 0

    def worth_noting(self, device: str, now_s: float) -> bool:
        """Whether this sighting is written down."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._notes = minute, 0
        last = self._seen.get(device)
        if (last is not None and now_s - last < NOTED_EVERY_S) or self._notes >= NEW_PER_MINUTE:
            self.suppressed += 1
            return False
        self._notes += 1
        self._seen[device] = now_s
        self._seen.move_to_end(device)
        if len(self._seen) > REMEMBERED_STRANGERS:
            self._seen.popitem(last=False)
        return True


class Takeovers:
    """Counts how often the connection behind one identity changes."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def note(self, device: str, now_s: float) -> bool:
        """A live connection of `device` was replaced by another; True when that is too often to be one device."""
        times = self._times.setdefault(device, deque(maxlen=TAKEOVERS))
        times.append(now_s)
        if len(times) == TAKEOVERS and now_s - times[0] <= TAKEOVER_WINDOW_S:
            times.clear()
            return True
        return False


def append_row(path: Path, device: Device) -> None:
    """Write a paired device into the devices file, on disk when this returns."""
    fresh = not path.exists() or path.stat().st_size == 0
    columns: list[str] = list(COLUMNS)
    if not fresh:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), columns)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(columns)
        elif not path.read_text("utf-8").endswith("\n"):
            file.write("\r\n")
        writer.writerow([{"device": device.device, "driver": device.driver}.get(column, "") for column in columns])
        file.flush()
        os.fsync(file.fileno())
