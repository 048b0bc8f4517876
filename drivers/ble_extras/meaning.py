"""What the device classes of the parser family mean in the vocabulary: one row per class and unit, no branches.

Classes and units: sensor-state-data 2.20.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.api import OccurrenceKind, Quantity

_K, _Q = OccurrenceKind, Quantity


class Scale(NamedTuple):
    """Our value = (theirs + `shift`) * `factor`."""

    quantity: Quantity
    factor: float = 1.0
    shift: float = 0.0


NUMBERS: dict[tuple[str, str], Scale] = {
    ("temperature", "°C"): Scale(_Q.TEMPERATURE),
    ("temperature", "°F"): Scale(_Q.TEMPERATURE, 5 / 9, -32),
    ("dew_point", "°C"): Scale(_Q.DEW_POINT),
    ("humidity", "%"): Scale(_Q.HUMIDITY),
    ("moisture", "%"): Scale(_Q.MOISTURE),
    ("pressure", "mbar"): Scale(_Q.PRESSURE),
    ("pressure", "hPa"): Scale(_Q.PRESSURE),
    ("pressure", "Pa"): Scale(_Q.PRESSURE, 0.01),
    ("illuminance", "lx"): Scale(_Q.ILLUMINANCE),
    ("mass", "kg"): Scale(_Q.WEIGHT),
    ("mass", "lb"): Scale(_Q.WEIGHT, 0.45359237),
    ("voltage", "V"): Scale(_Q.VOLTAGE),
    ("voltage", "mV"): Scale(_Q.VOLTAGE, 0.001),
    ("current", "A"): Scale(_Q.CURRENT),
    ("power", "W"): Scale(_Q.POWER),
    ("energy", "kWh"): Scale(_Q.ENERGY_USED),
    ("carbon_dioxide", "ppm"): Scale(_Q.CO2),
    ("volatile_organic_compounds", "µg/m³"): Scale(_Q.TVOC),
    ("pm25", "µg/m³"): Scale(_Q.PM25),
    ("pm10", "µg/m³"): Scale(_Q.PM10),
    ("distance", "m"): Scale(_Q.DISTANCE),
    ("distance", "mm"): Scale(_Q.DISTANCE, 0.001),
    ("speed", "m/s"): Scale(_Q.SPEED),
    ("uv_index", ""): Scale(_Q.UV_INDEX),
}
"""By device class and native unit."""

STATES: dict[str, OccurrenceKind] = {
    "smoke": _K.SMOKE,
    "gas": _K.GAS,
    "carbon_monoxide": _K.CO_ALARM,
    "moisture": _K.WATER_LEAK,
    "heat": _K.HEAT,
    "cold": _K.COLD,
    "door": _K.DOOR_OPEN,
    "garage_door": _K.DOOR_OPEN,
    "opening": _K.DOOR_OPEN,
    "window": _K.WINDOW_OPEN,
    "motion": _K.MOTION,
    "moving": _K.MOVING,
    "occupancy": _K.PRESENCE,
    "presence": _K.PRESENCE,
    "problem": _K.FAULT,
    "safety": _K.GENERAL_ALARM,
    "sound": _K.SOUND,
    "tamper": _K.TAMPER,
    "vibration": _K.VIBRATION,
    "battery": _K.LOW_BATTERY,
}
"""Binary device classes; on is the unsafe side for all of them."""

IGNORED = frozenset({"signal_strength", "packet_id", "timestamp", "count"})
"""Numbers that say nothing about a home; the signal goes with every event of health already."""
