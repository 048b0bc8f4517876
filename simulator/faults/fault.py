"""A fault stands between a device and its wire and changes what passes: one class, one method, seeded.

Faults are put in a row; each sees what the one before it let through. `between` limits a fault to a part of the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from simulator.clock import Moment
from simulator.devices.device import Parcel


class Timed(NamedTuple):
    """A parcel and the moment at which it goes on the wire (the clock's `s`)."""

    at_s: float
    parcel: Parcel


class Fault(Protocol):
    """What can be put in a row."""

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """What becomes of the parcels of one act."""
        ...


class Between:
    """Another fault, at work only from `from_s` to `to_s` of the clock."""

    def __init__(self, fault: Fault, from_s: float, to_s: float) -> None:
        self._fault = fault
        self._from_s = from_s
        self._to_s = to_s

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """Through the fault within the window, untouched outside of it."""
        return self._fault.carry(timed, now) if self._from_s <= now.s < self._to_s else timed

    def seen(self, now: Moment) -> Moment:
        """What a device with a wrong clock believes, within the window."""
        if isinstance(self._fault, ClockFault) and self._from_s <= now.s < self._to_s:
            return self._fault.seen(now)
        return now

    def cuts(self) -> Iterator[float]:
        """Breaks of the link within the window; none for other faults."""
        if isinstance(self._fault, LinkFault):
            yield from itertools.takewhile(lambda at_s: at_s < self._to_s, (self._from_s + at_s for at_s in self._fault.cuts()))


@runtime_checkable
class ClockFault(Protocol):
    """A fault of the device's clock."""

    def seen(self, now: Moment) -> Moment:
        """What the device believes."""
        ...


@runtime_checkable
class LinkFault(Protocol):
    """A fault that breaks the connection."""

    def cuts(self) -> Iterator[float]:
        """Seconds after the beginning at which the link breaks, in order, possibly without end."""
        ...
