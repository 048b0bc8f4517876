"""Two devices with one identity: a credential that was cloned, or a client id that is used twice.

The newest connection serves. Once in a while a takeover is normal (a device comes back before its dead connection was noticed);
when two of them throw each other out again and again, that is told as an event.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from drivers.api import Event, Occurrence, OccurrenceKind
from drivers.vocabulary import TimeQuality
from gateway.clock import Clock
from gateway.inventory import Inventory
from gateway.pipeline import Pipeline

TAKEOVERS, WITHIN_S = 3, 60.0
QUIET_S = 600.0
"""A conflict that goes on is told again after so long."""
MOST_NAMES = 1000


class IdentityWatch:
    """Counts takeovers per name (user or client id)."""

    def __init__(self, pipeline: Pipeline, inventory: Inventory, clock: Clock, gateway: str) -> None:
        self.told = 0
        self._pipeline = pipeline
        self._inventory = inventory
        self._clock = clock
        self._gateway = gateway
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._quiet_until: dict[str, float] = {}

    def note(self, name: str, peer: str = "") -> None:
        """A connection of this name was thrown out by another of the same name."""
        now = self._clock.now()
        times = self._seen.setdefault(name, deque(maxlen=TAKEOVERS))
        self._seen.move_to_end(name)
        if len(self._seen) > MOST_NAMES:
            dropped, _ = self._seen.popitem(last=False)
            self._quiet_until.pop(dropped, None)
        times.append(now.s)
        if len(times) < TAKEOVERS or now.s - times[0] > WITHIN_S or now.s < self._quiet_until.get(name, 0.0):
            return
        self._quiet_until[name] = now.s + QUIET_S
        self.told += 1
        detail = f"{TAKEOVERS} connections in turn as {name}" + (f", last from {peer}" if peer else "")
        body = Occurrence(kind=OccurrenceKind.IDENTITY_CONFLICT, detail=detail)
        for device in self._devices(name):
            self._pipeline.publish([Event(device=device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED)])

    def _devices(self, name: str) -> list[str]:
        found = [row.device for row in self._inventory.all() if row.device.split(":", 1)[1] == name]
        return found or [f"gateway:{self._gateway}"]
