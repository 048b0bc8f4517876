"""A mains or battery sensor that speaks our JSON profile over MQTT: gas, smoke, water, door.

The state is repeated with every report, as sensors do; a gas sensor's concentration follows a curve: rise, hold, decay.
"""

from __future__ import annotations

import math
import random
from typing import Any

from drivers.vocabulary import OccurrenceKind, Quantity
from protocols.errors import RemoteProtocolError
from protocols.mqtt.device_json import Answer, decode_down, encode_up
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import Fact, begun, ended

ALARM_LEL = 10.0
"""%LEL at which a household detector sounds (GB 15322.2: 5..25); it falls silent at half of that."""
DECAY_S = 3.0
"""Time constant of the concentration once the window is open (compressed; a kitchen takes minutes)."""
WATCHED_S = 1.0
"""Interval of reports while the concentration is not zero."""

VERBS = {
    "smoke": (OccurrenceKind.SMOKE, True),
    "smoke_gone": (OccurrenceKind.SMOKE, False),
    "power_cut": (OccurrenceKind.POWER_CUT, True),
    "power_back": (OccurrenceKind.POWER_CUT, False),
    "leak": (OccurrenceKind.WATER_LEAK, True),
    "leak_gone": (OccurrenceKind.WATER_LEAK, False),
    "door_open": (OccurrenceKind.DOOR_OPEN, True),
    "door_close": (OccurrenceKind.DOOR_OPEN, False),
}


class JsonSensor:
    """`name` is the level in the topic; `senses` the kind that it reports (gas, smoke, water_leak, door_open)."""

    driver = "mqtt_json"
    wire = WireKind.MQTT

    def __init__(self, id: str, *, name: str, senses: OccurrenceKind, seed: int, every_s: float = 300.0) -> None:
        self.id = id
        self.down_topic = f"anhu/dev/{name}/down"
        self._name = name
        self._topic = f"anhu/dev/{name}/up"
        self._senses = senses
        self._dice = random.Random(seed)
        self._report = Rhythm(every_s, self._dice.uniform(0.3, 3.0), jitter=0.1)
        self._battery = self._dice.randint(60, 100)
        self._number = 0
        self._is_on = False
        self._leak: tuple[float, dict[str, float]] | None = None
        self._watched_s = NEVER_S
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """The client's outbox takes care of what was not sent."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """Nothing is lost: see the outbox."""

    def step(self, now: Moment) -> Act:
        """The regular report, or one of the close watch on a leak."""
        if now.s >= self._watched_s:
            return self._watch(now)
        act = self._say(now) if self._report.take(now, self._dice.random()) else NOTHING
        self._plan()
        return act

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Commands are carried out and answered."""
        try:
            command, verb, _ = decode_down(data)
        except RemoteProtocolError:
            return NOTHING
        self._number += 1
        body = encode_up(ref=f"{self._name}-{self._number}", at_ms=now.ms, answer=Answer(command, "done", verb))
        return Act((Parcel(body, self._topic),))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`gas` (peak_lel, rise_s, hold_s), `smoke`, `leak`, `door_open` and their ends."""
        if verb == "gas" and self._senses is OccurrenceKind.GAS and self._leak is None:
            self._leak = (now.s, {"peak_lel": 30.0, "rise_s": 60.0, "hold_s": 120.0, **args})
            self._watched_s = now.s + WATCHED_S
            self._plan()
            return NOTHING
        kind, is_on = VERBS.get(verb, (None, False))
        if kind is not self._senses or is_on == self._is_on:
            return NOTHING
        self._is_on = is_on
        return self._say(now, (begun(kind) if is_on else ended(kind),))

    def _watch(self, now: Moment) -> Act:
        level = self._level(now)
        was_on = self._is_on
        self._is_on = level >= (ALARM_LEL / 2 if was_on else ALARM_LEL)
        facts: tuple[Fact, ...] = ()
        if self._is_on != was_on:
            facts = (begun(OccurrenceKind.GAS) if self._is_on else ended(OccurrenceKind.GAS),)
        if level < 0.5 and not self._is_on and now.s - (self._leak or (now.s, {}))[0] > WATCHED_S * 2:
            self._leak, self._watched_s = None, NEVER_S
        else:
            self._watched_s = now.s + WATCHED_S
        return self._say(now, facts)

    def _level(self, now: Moment) -> float:
        """Concentration, %LEL."""
        if self._leak is None:
            return 0.0
        since_s, curve = now.s - self._leak[0], self._leak[1]
        peak, rise_s, hold_s = curve["peak_lel"], curve["rise_s"], curve["hold_s"]
        if since_s < rise_s:
            return peak * since_s / rise_s
        if since_s < rise_s + hold_s:
            return peak
        return peak * math.exp(-(since_s - rise_s - hold_s) / DECAY_S)

    def _say(self, now: Moment, facts: tuple[Fact, ...] = ()) -> Act:
        self._number += 1
        readings = {"battery": float(self._battery)}
        if self._senses is OccurrenceKind.GAS:
            readings = {Quantity.GAS_LEL.value: round(max(0.0, self._level(now) + self._dice.gauss(0.2, 0.1)), 1)}
            facts = (*facts, Fact("measurement", Quantity.GAS_LEL.value))
        elif self._senses is OccurrenceKind.SMOKE:
            readings[Quantity.TEMPERATURE.value] = round(self._dice.gauss(22, 0.3), 1)
            facts = (*facts, Fact("measurement", Quantity.TEMPERATURE.value))
        body = encode_up(ref=f"{self._name}-{self._number}", at_ms=now.ms, readings=readings, states={self._senses.value: self._is_on})
        self._plan()
        return Act((Parcel(body, self._topic),), facts)

    def _plan(self) -> None:
        self.next_s = min(self._report.due_s, self._watched_s)
