"""A Bluetooth badge: of a resident, or of staff on a visit; iBeacon or Eddystone, with a key for help.

Receivers hear it by where it is: the room it is in well, the next one through the wall, others not at all. Its key changes the minor
number (iBeacon) or the instance (Eddystone) for some seconds, as such badges do.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.ble import beacon
from protocols.ble.beacon import Proximity, Uid
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended
from simulator.wires.on_air import OnAir

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
NAMESPACE = "edd1ebeac04e5defa017"
NEAR_DBM, THROUGH_WALL_DBM, SPREAD_DB = -58, -76, 4.0
CALLS_S = 6.0
"""So long a badge says that its key was pressed."""


class Badge:
    """`number` names it within its kind; the next number is the same badge with its key pressed. `rooms`: receivers, neighbours adjoining.

    `person`: who wears it. `is_staff`: that person comes to visit; nobody else's coming is one.
    """

    driver = "ble_badge"
    wire = WireKind.BLE

    def __init__(
        self,
        id: str,
        *,
        number: int,
        rooms: tuple[str, ...],
        seed: int,
        person: str,
        is_staff: bool,
        every_s: float = 2.0,
        kind: str = "ibeacon",
    ) -> None:
        self.id = id
        self.number = number
        self.kind = kind
        self.person = person
        self.is_staff = is_staff
        self._rooms = rooms
        self._dice = random.Random(seed)
        self._said = Rhythm(every_s, self._dice.uniform(0.1, every_s), jitter=0.05)
        self._room = ""
        self._calls_until_s = 0.0
        self.next_s = NEVER_S

    def rows(self) -> list[dict[str, Any]]:
        """The lines of this badge in the table of badges of a gateway."""
        role = {"role": "staff"} if self.is_staff else {}
        common = {"device": self.id.partition(":")[2], "person": self.person, **role}
        return [{**self._names(False), **common}, {**self._names(True), **common, "means": "sos"}]

    def up(self, now: Moment) -> Act:
        """A broadcaster does not know who listens."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """Nothing is noticed."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """A broadcaster hears nothing."""
        return NOTHING

    def step(self, now: Moment) -> Act:
        """The next advertisement, while anybody can hear it."""
        act = Act(self._advertise(now)) if self._said.take(now, self._dice.random()) else NOTHING
        self._plan()
        return act

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`enter` (room), `leave`, `sos`."""
        if verb == "enter" and args.get("room") in self._rooms and args["room"] != self._room:
            return self._go(str(args["room"]), now)
        if verb == "leave" and self._room:
            facts = [ended(OccurrenceKind.PRESENCE, who=self.person, where=self._room)]
            if self.is_staff:
                facts.append(ended(OccurrenceKind.SERVICE_VISIT, who=self.person))
            self._room = ""
            self._plan()
            return Act((), tuple(facts))
        if verb == "sos" and self._room:
            self._calls_until_s = now.s + CALLS_S
            return Act(self._advertise(now), (begun(OccurrenceKind.SOS),))
        return NOTHING

    def _go(self, room: str, now: Moment) -> Act:
        before, self._room = self._room, room
        facts = [begun(OccurrenceKind.PRESENCE, who=self.person, where=room)]
        if before:
            facts.insert(0, ended(OccurrenceKind.PRESENCE, who=self.person, where=before))
        elif self.is_staff:
            facts.append(begun(OccurrenceKind.SERVICE_VISIT, who=self.person, where=room))
        if not before:
            self._said.due_s = now.s
        self._plan()
        return Act((), tuple(facts))

    def _advertise(self, now: Moment) -> tuple[Parcel, ...]:
        is_calling = now.s < self._calls_until_s
        names = self._names(is_calling)
        if self.kind == "ibeacon":
            data, kind, number = beacon.encode(Proximity(power_dbm=-59, **names)), "company", f"{beacon.APPLE:04x}"
        else:
            data, kind, number = beacon.encode(Uid(power_dbm=-18, **names)), "service", beacon.EDDYSTONE_UUID
        at = self._rooms.index(self._room)
        heard = [(self._room, NEAR_DBM)]
        heard += [(room, THROUGH_WALL_DBM) for room in (*self._rooms[max(at - 1, 0) : at], *self._rooms[at + 1 : at + 2])]
        return tuple(Parcel(data, str(OnAir(kind, number, room, round(self._dice.gauss(mean, SPREAD_DB))))) for room, mean in heard)

    def _names(self, is_calling: bool) -> dict[str, Any]:
        number = self.number + is_calling
        if self.kind == "ibeacon":
            return {"uuid": UUID, "major": 1, "minor": number}
        return {"namespace": NAMESPACE, "instance": f"{number:012x}"}

    def _plan(self) -> None:
        self.next_s = self._said.due_s if self._room else NEVER_S
