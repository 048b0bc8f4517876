"""A health device of the Bluetooth profiles: cuff, finger oximeter, chest strap. It measures, advertises, and is emptied by who connects.

The sequence is that of real ones: after a measurement it advertises its service for a minute; as soon as somebody subscribes it hands
over everything that it has stored, and hangs up. What nobody fetched it keeps and offers again with the next measurement.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.vocabulary import Quantity
from protocols.ble import gatt_health
from protocols.ble.gatt_health import BloodPressure, HeartRate, PulseOximetry
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Attribute, Parcel, Rhythm, WireKind
from simulator.truth import Fact
from simulator.wires.on_air import OnAir, read

ADVERTISES_S, ADVERT_S = 60.0, 1.0
STORED = 30
"""Readings that the device keeps; older ones are overwritten."""
ZONE = timedelta(hours=8)
"""The clock of the device shows the time of the house."""
STRAP_VALUES = 3
KINDS = {"cuff": ("1810", "2a35"), "oximeter": ("1822", "2a5e"), "strap": ("180d", "2a37")}
"""Service and characteristic."""


class HealthDevice:
    """`kind`: cuff, oximeter or strap."""

    driver = "gatt_health"
    wire = WireKind.BLE

    def __init__(self, id: str, *, kind: str, seed: int) -> None:
        self.id = id
        self._kind = kind
        self._service, self._value = KINDS[kind]
        self._dice = random.Random(seed)
        self._battery = self._dice.randint(40, 100)
        self._stored: list[bytes] = []
        self._advert = Rhythm(ADVERT_S, NEVER_S)
        self._until_s = 0.0
        self._is_linked = False
        self._hangs_up_s = NEVER_S
        self.services = {
            self._service: (Attribute(self._value, ("notify",) if kind == "strap" else ("indicate",)),),
            "180f": (Attribute("2a19", ("read",), bytes([self._battery])),),
        }
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """It sleeps until it has measured."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """Nothing is noticed."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Somebody has subscribed: everything, then good-bye."""
        if read(to) != OnAir("subscribed", self._value) or not self._stored:
            return NOTHING
        parcels = tuple(Parcel(reading, str(OnAir("value", self._value))) for reading in self._stored)
        self._stored.clear()
        self._is_linked, self._advert.due_s = True, NEVER_S
        self._hangs_up_s = now.s + 1.0
        self._plan()
        return Act(parcels)

    def step(self, now: Moment) -> Act:
        """An advertisement, or the end of the connection."""
        act = NOTHING
        if now.s >= self._hangs_up_s:
            self._hangs_up_s, self._is_linked = NEVER_S, False
            act = Act((Parcel(b"", str(OnAir("hangup"))),))
        elif now.s >= self._until_s:
            self._advert.due_s = NEVER_S
        elif self._advert.take(now):
            act = Act((self._offer(),))
        self._plan()
        return act

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`measure`: cuff systolic, diastolic, pulse; oximeter spo2, pulse; strap heart_rate."""
        if verb != "measure":
            return NOTHING
        facts = [self._measure(args, now, number) for number in range(STRAP_VALUES if self._kind == "strap" else 1)]
        self._stored = self._stored[-STORED:]
        self._until_s = now.s + ADVERTISES_S
        self._advert.due_s = now.s + ADVERT_S
        self._plan()
        return Act((self._offer(),), tuple(fact for row in facts for fact in row))

    def _measure(self, args: dict[str, Any], now: Moment, number: int) -> list[Fact]:
        """Store a reading; what it should be known by."""
        shown = (datetime.fromtimestamp(now.ms / 1000, UTC) + ZONE).replace(microsecond=0, tzinfo=None)
        pulse = int(args.get("pulse", self._dice.randint(64, 82)))
        if self._kind == "cuff":
            high, low = int(args.get("systolic", self._dice.randint(122, 138))), int(args.get("diastolic", self._dice.randint(72, 84)))
            message: Any = BloodPressure(high, low, round(low + (high - low) / 3), time=shown, has_time=True, pulse=pulse)
            told: tuple[Quantity, ...] = (Quantity.SYSTOLIC, Quantity.DIASTOLIC, Quantity.MEAN_ARTERIAL, Quantity.PULSE_RATE)
        elif self._kind == "oximeter":
            message = PulseOximetry(int(args.get("spo2", self._dice.randint(95, 98))), pulse, time=shown, has_time=True)
            told = (Quantity.SPO2, Quantity.PULSE_RATE)
        else:
            # A heart does not beat three times the same.
            message = HeartRate(int(args.get("heart_rate", pulse)) + number, contact=True)
            told = (Quantity.HEART_RATE,)
        self._stored.append(gatt_health.encode(message))
        return [Fact("measurement", quantity.value) for quantity in told]

    def _offer(self) -> Parcel:
        return Parcel(b"", str(OnAir("uuids", self._service)))

    def _plan(self) -> None:
        due = NEVER_S if self._is_linked else min(self._advert.due_s, self._until_s if self._advert.due_s < NEVER_S else NEVER_S)
        self.next_s = min(due, self._hangs_up_s)
