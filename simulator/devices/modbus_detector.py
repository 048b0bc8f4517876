"""A combustible gas detector behind a Modbus unit number, on a line that it shares with others.

Its alarm latches: however clean the air, the status stays until somebody resets it. Now and then it does not answer, and after a
knock on the cable it answers with a wrong byte.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject
from protocols.serial import modbus_gas as mb
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Poll, WireKind
from simulator.devices.leak import Leak
from simulator.truth import Fact, begun, ended

PROFILE = "combustible-u16"
_REGISTERS = mb.read_profile({
    "fc": 3,
    "base": 0,
    "fields": [
        {"name": "gas_lel", "reg": 0, "type": "u16", "scale": 0.1, "over": [65535]},
        {
            "name": "status",
            "reg": 1,
            "type": "enum",
            "map": {"0": "normal", "1": "low_alarm", "2": "high_alarm", "3": "fault", "4": "warmup"},
        },
    ],
})  # fmt: skip
LOW_LEL, HIGH_LEL = 10.0, 20.0
WATCHED_S = 1.0
SILENT_SHARE, DAMAGED_SHARE = 0.01, 0.01
POLL_S = 2.0
_K = OccurrenceKind


class ModbusDetector:
    """Unit number `unit` (1..247). `warmup_s` from power-on, which is when the line opens."""

    driver = "modbus_gas"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, unit: int, seed: int, warmup_s: float = 30.0) -> None:
        self.id = id
        self.unit = unit
        self.polls = (Poll(mb.encode(_REGISTERS.request(unit)), 0.5, POLL_S),)
        self._dice = random.Random(seed)
        self._connection = mb.Connection()
        self._warmup_s = warmup_s
        self._warm_s = 0.0
        self._is_told_cold = False
        self._leak: Leak | None = None
        self._latched = ""
        self._is_faulty = self._is_dead = False
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """Power comes with the line."""
        self._warm_s = now.s + self._warmup_s
        return NOTHING

    def down(self, now: Moment) -> None:
        """It notices nothing."""

    def step(self, now: Moment) -> Act:
        """While gas is about, the detector looks every second."""
        self.next_s = NEVER_S
        if self._leak is None:
            return NOTHING
        level = self._leak.level(now.s)
        facts: tuple[Fact, ...] = ()
        if now.s >= self._warm_s and not self._is_faulty:
            if level >= LOW_LEL and not self._latched:
                self._latched = "low_alarm"
                facts = (begun(_K.GAS),)
            if level >= HIGH_LEL:
                self._latched = "high_alarm"
        if self._leak.is_over(now.s):
            self._leak = None
        else:
            self.next_s = now.s + WATCHED_S
        return Act((), facts)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answer what is asked of this unit; the others' questions and answers go by."""
        parcels: list[Parcel] = []
        facts: list[Fact] = []
        for found in self._connection.receive(data):
            if isinstance(found, Reject) or not isinstance(found, mb.Request) or found.unit != self.unit or self._is_dead:
                continue
            chance = self._dice.random()
            if chance < SILENT_SHARE:
                continue
            answer = self._answer(found, now)
            if chance < SILENT_SHARE + DAMAGED_SHARE:
                answer = answer[:-1] + bytes((answer[-1] ^ 0x10,))
            else:
                facts += self._told(now)
            parcels.append(Parcel(answer))
        return Act(tuple(parcels), tuple(facts))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`gas` (peak %LEL, rise_s, hold_s), `reset`, `fault` and `fault_gone` of the sensor, `dead` and `alive` on the line."""
        if verb == "gas" and self._leak is None:
            self._leak = Leak(now.s, args, peak=30.0)
            self.next_s = now.s
        elif verb == "reset" and self._latched and (self._leak is None or self._leak.level(now.s) < LOW_LEL):
            self._latched = ""
            return Act((), (ended(_K.GAS),))
        elif verb in ("fault", "fault_gone") and self._is_faulty != (verb == "fault"):
            self._is_faulty = verb == "fault"
            return Act((), ((begun if self._is_faulty else ended)(_K.FAULT),))
        elif verb in ("dead", "alive") and self._is_dead != (verb == "dead"):
            self._is_dead = verb == "dead"
            return Act((), ((begun if self._is_dead else ended)(_K.OFFLINE),))
        return NOTHING

    def _told(self, now: Moment) -> list[Fact]:
        """What the gateway learns by the first answers: that it is cold, and that it is warm."""
        is_cold = now.s < self._warm_s
        if is_cold == self._is_told_cold:
            return []
        self._is_told_cold = is_cold
        return [(begun if is_cold else ended)(_K.WARMING_UP)]

    def _answer(self, request: mb.Request, now: Moment) -> bytes:
        if (request.fc, request.start, request.registers) != (_REGISTERS.fc, _REGISTERS.base, _REGISTERS.count):
            return mb.encode(mb.Failure(self.unit, request.fc, 2, ""))
        status = "warmup" if now.s < self._warm_s else "fault" if self._is_faulty else self._latched or "normal"
        level = self._leak.level(now.s) if self._leak else 0.0
        values = {"gas_lel": round(max(0.0, level + self._dice.gauss(0.2, 0.1)), 1), "status": status}
        return mb.encode(mb.Response(self.unit, request.fc, mb.write_registers(_REGISTERS, values)))
