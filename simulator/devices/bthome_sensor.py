"""Battery sensors on the air: a door contact or a motion detector that speaks BTHome.

Each advertisement is sent three times a tenth of a second apart, with one packet id, since half of what is on the air is lost.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.ble.bthome import UUID_V2, encode
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

PACKET_ID, BATTERY, DOOR, MOTION = 0x00, 0x01, 0x1A, 0x21
REPEATS = 3
REPEAT_S = 0.1
MOTION_HOLD_S = 5.0
"""A motion detector reports the end this long after the last movement (shop sensors: 5..90 s)."""


class BthomeSensor:
    """`senses`: `door_open` or `motion`. `key`: 16 bytes for encrypted advertisements."""

    driver = "bthome"
    wire = WireKind.BLE

    def __init__(
        self,
        id: str,
        *,
        mac: str,
        senses: OccurrenceKind,
        seed: int,
        key: bytes | None = None,
        alive_s: float = 600.0,
        hold_s: float = MOTION_HOLD_S,
    ) -> None:
        self.id = id
        self.mac = mac
        self._senses = senses
        self._key = key
        self._dice = random.Random(seed)
        self._alive = Rhythm(alive_s, self._dice.uniform(0.5, 3.0), jitter=0.05)
        self._hold_s = hold_s
        self._battery = self._dice.randint(55, 100)
        self._is_on = False
        self._off_at_s = NEVER_S
        self._number = self._dice.randrange(256)
        self._counter = self._dice.randrange(1000)
        self._repeats: list[tuple[float, bytes]] = []
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """Nothing is said for that: a battery sensor does not know who listens."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """Nothing is noticed."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """A broadcaster hears nothing."""
        return NOTHING

    def step(self, now: Moment) -> Act:
        """Repetitions, the sign of life, the end of motion."""
        act = NOTHING
        if now.s >= self._off_at_s:
            act = self._turn(False, now)
        elif self._alive.take(now, self._dice.random()):
            act = Act((self._advertise(now),))
        due = [data for at_s, data in self._repeats if at_s <= now.s]
        self._repeats = [(at_s, data) for at_s, data in self._repeats if at_s > now.s]
        self._plan()
        return Act(act.parcels + tuple(Parcel(data, UUID_V2) for data in due), act.facts)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`door_open`, `door_close`, `motion`; anything else is not sensed."""
        act = NOTHING
        if self._senses is OccurrenceKind.DOOR_OPEN and verb in ("door_open", "door_close"):
            act = self._turn(verb == "door_open", now)
        elif self._senses is OccurrenceKind.MOTION and verb == "motion":
            act = self._turn(True, now)
            self._off_at_s = now.s + self._hold_s
        self._plan()
        return act

    def _turn(self, is_on: bool, now: Moment) -> Act:
        self._off_at_s = NEVER_S
        if is_on == self._is_on:
            return NOTHING
        self._is_on = is_on
        return Act((self._advertise(now),), (begun(self._senses) if is_on else ended(self._senses),))

    def _advertise(self, now: Moment) -> Parcel:
        self._number = (self._number + 1) % 256
        self._counter += 1
        code = DOOR if self._senses is OccurrenceKind.DOOR_OPEN else MOTION
        values = [(PACKET_ID, self._number), (BATTERY, self._battery), (code, self._is_on)]
        data = encode(values, address=self.mac, key=self._key, counter=self._counter)
        self._repeats += [(now.s + REPEAT_S * (n + 1), data) for n in range(REPEATS - 1)]
        return Parcel(data, UUID_V2)

    def _plan(self) -> None:
        self.next_s = min(self._alive.due_s, self._off_at_s, *(at_s for at_s, _ in self._repeats), NEVER_S)
