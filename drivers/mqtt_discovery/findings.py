"""What a payload says, before it becomes an event, and the tables of names that several firmwares share."""

from __future__ import annotations

from typing import Any, NamedTuple

from drivers.api import QUANTITIES, OccurrenceKind, Quantity, Reason, RemoteProtocolError
from protocols.mqtt.units import convert

_K, _Q = OccurrenceKind, Quantity


class Turn(NamedTuple):
    """A state that is on or off."""

    kind: OccurrenceKind
    is_on: bool
    detail: str | None = None


class Pulse(NamedTuple):
    """Something that happened just now."""

    kind: OccurrenceKind
    detail: str | None = None


class Reading(NamedTuple):
    """A number in the unit of its quantity."""

    quantity: Quantity
    value: float
    channel: str | None = None


class Vital(NamedTuple):
    """A field of DeviceHealth."""

    name: str
    value: Any


Finding = Turn | Pulse | Reading | Vital

SOS_WORDS = frozenset({"sos", "panic", "emergency", "help"})
FALL_WORDS = frozenset({"fall", "fallen", "falldown"})

NAMED_BINARIES: dict[str, OccurrenceKind] = {
    "sos": _K.SOS, "panic": _K.SOS, "emergency": _K.SOS, "fall": _K.FALL, "gas": _K.GAS, "smoke": _K.SMOKE, "fire": _K.FIRE,
    "co": _K.CO_ALARM, "carbon_monoxide": _K.CO_ALARM, "leak": _K.WATER_LEAK, "water_leak": _K.WATER_LEAK, "water": _K.WATER_LEAK,
    "motion": _K.MOTION, "pir": _K.MOTION, "occupancy": _K.MOTION, "presence": _K.PRESENCE, "radar": _K.PRESENCE,
    "door": _K.DOOR_OPEN, "contact": _K.DOOR_OPEN, "window": _K.WINDOW_OPEN, "vibration": _K.VIBRATION, "tamper": _K.TAMPER,
    "bed": _K.PRESENCE,
}  # fmt: skip
"""Names that mean the same on every device; used where nobody tells a device class."""


def measured(quantity: Quantity, value: float, unit: str, channel: str | None = None) -> list[Finding]:
    """A reading in our unit, nothing where the unit is of another kind. Raises RemoteProtocolError (RANGE)."""
    row = QUANTITIES[quantity]
    found = convert(value, unit, row.unit)
    if found is None or (found == 0 and row.low > 0):
        return []
    if not row.low <= found <= row.high:
        raise RemoteProtocolError(Reason.RANGE, f"{quantity.value}: {row.low:g}..{row.high:g} {row.unit} expected, got {found:g}")
    return [Reading(quantity, found, channel)]


def percent(name: str, value: float) -> list[Finding]:
    """A percentage of health. Raises RemoteProtocolError (RANGE)."""
    if not 0 <= value <= 100:
        raise RemoteProtocolError(Reason.RANGE, f"{name}: 0..100 expected, got {value:g}")
    return [Vital(name, value)]


def received(value: float) -> list[Finding]:
    """A signal strength in dBm; 0 and above is no reading of a radio."""
    return [Vital("rssi_dbm", round(value))] if -150 <= value < 0 else []
