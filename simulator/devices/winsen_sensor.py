"""A Winsen gas sensor on a serial line: ZE07-CO uploads every second, MH-Z19 answers when asked.

Cold, it shows numbers that mean nothing: a CO cell hundreds of ppm, an MH-Z19 exactly 400. It never alarms itself.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind, Quantity
from protocols.errors import Reject
from protocols.serial import winsen
from protocols.serial.scan import Scanner
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Poll, Rhythm, WireKind
from simulator.devices.leak import Leak
from simulator.truth import Fact, begun, ended

CO, PPM, FULL_SCALE_PPM = 0x04, 0x03, 500.0
UPLOAD = 0x40
COLD_PPM = 300.0
_NOTED_PPM = {"ze07-co": 20.0, "mh-z19": 150.0}
"""A change of the reading that has to be seen upstream; the gateway tells smaller ones too."""
_QUANTITIES = {"ze07-co": Quantity.CO, "mh-z19": Quantity.CO2}


class WinsenSensor:
    """`profile`: ze07-co or mh-z19. `warmup_s`: default that of the model."""

    driver = "winsen"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, profile: str = "ze07-co", seed: int, warmup_s: float | None = None, every_s: float = 1.0) -> None:
        self.id = id
        self._profile = profile
        self._dice = random.Random(seed)
        self.warmup_s = winsen.PROFILES[profile].warmup_s if warmup_s is None else warmup_s
        self._uploads = winsen.PROFILES[profile].uploads
        self._scanner = Scanner(winsen.HEADER, winsen.judge)
        self._upload = Rhythm(every_s, 0.3)
        self._warm_s = NEVER_S
        self._is_warm = False
        self._noted: float | None = None
        self._leak: Leak | None = None
        self.next_s = 0.0

    @property
    def polls(self) -> tuple[Poll, ...]:
        """The question of a sensor that only answers."""
        return () if self._uploads else (Poll(winsen.command(winsen.READ), 1.0, 5.0),)

    def up(self, now: Moment) -> Act:
        """Power comes with the line."""
        self._warm_s = now.s + self.warmup_s
        return Act((), (begun(OccurrenceKind.WARMING_UP),))

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """An upload; the end of the warm-up."""
        due = self._upload.take(now)
        self.next_s = min(self._upload.due_s, NEVER_S if now.s >= self._warm_s else self._warm_s)
        said = self._say(now, lambda value: winsen.encode_active(CO, PPM, 1, value, FULL_SCALE_PPM)) if due and self._uploads else NOTHING
        if self._is_warm or now.s < self._warm_s:
            return said
        self._is_warm = True
        return Act(said.parcels, (*said.facts, ended(OccurrenceKind.WARMING_UP)))

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """A question is answered; the mode command switches, nothing else is understood."""
        parcels: list[Parcel] = []
        facts: list[Fact] = []
        for found in self._scanner.feed(data, now.s):
            if isinstance(found, Reject) or found[1] != 1:
                continue
            code = found[2]
            if code == winsen.MODE and winsen.PROFILES[self._profile].switches_mode:
                self._uploads = found[3] == UPLOAD
            elif code == winsen.READ:
                act = self._say(now, self._answered)
                parcels += act.parcels
                facts += act.facts
        return Act(tuple(parcels), tuple(facts))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`co` (peak ppm, rise_s, hold_s)."""
        if verb == "co" and self._leak is None:
            self._leak = Leak(now.s, args, peak=120.0)
        return NOTHING

    def _answered(self, value: float) -> bytes:
        return winsen.encode_answer(self._profile, *([round(value), 22] if self._profile == "mh-z19" else [value]))

    def _say(self, now: Moment, write: Any) -> Act:
        is_cold = now.s < self._warm_s
        facts: list[Fact] = []
        value = self._cold() if is_cold else self._level(now)
        if not is_cold and (self._noted is None or abs(value - self._noted) >= _NOTED_PPM[self._profile]):
            self._noted = value
            facts.append(Fact("measurement", _QUANTITIES[self._profile].value))
        return Act((Parcel(write(value)),), tuple(facts))

    def _cold(self) -> float:
        return 400.0 if self._profile == "mh-z19" else COLD_PPM + self._dice.randint(0, 9) / 10

    def _level(self, now: Moment) -> float:
        clean = self._dice.randint(480, 495) if self._profile == "mh-z19" else self._dice.randint(0, 9) / 10
        if self._leak is not None and self._leak.is_over(now.s):
            self._leak = None
        return round(clean + (self._leak.level(now.s) if self._leak else 0.0), 1)
