"""What each BTHome object means in the vocabulary: one row per object, no branches."""

from __future__ import annotations

from typing import NamedTuple

from drivers.api import OccurrenceKind, Quantity

_K, _Q = OccurrenceKind, Quantity

POUND_KG = 0.45359237


class StateRow(NamedTuple):
    """A binary object that begins and ends. `detail` tells apart objects that share a kind."""

    kind: OccurrenceKind
    detail: str | None = None


class NumberRow(NamedTuple):
    """A number, converted to the unit of its quantity. `zero_is_none`: 0 is what the device sends while it has no reading."""

    quantity: Quantity
    factor: float = 1
    zero_is_none: bool = False


STATES: dict[str, StateRow] = {
    "opening": StateRow(_K.DOOR_OPEN, "opening"),
    "door": StateRow(_K.DOOR_OPEN),
    "garage_door": StateRow(_K.DOOR_OPEN, "garage door"),
    "window": StateRow(_K.WINDOW_OPEN),
    "battery_low": StateRow(_K.LOW_BATTERY),
    "charging": StateRow(_K.CHARGING),
    "carbon_monoxide": StateRow(_K.CO_ALARM),
    "cold": StateRow(_K.COLD),
    "gas": StateRow(_K.GAS),
    "heat": StateRow(_K.HEAT),
    "light": StateRow(_K.LIGHT),
    "moisture_detected": StateRow(_K.WATER_LEAK),
    "motion": StateRow(_K.MOTION),
    "moving": StateRow(_K.MOVING),
    "occupancy": StateRow(_K.PRESENCE, "occupancy"),
    "presence": StateRow(_K.PRESENCE),
    "problem": StateRow(_K.FAULT, "problem"),
    "running": StateRow(_K.RUNNING),
    "safety": StateRow(_K.GENERAL_ALARM, "safety: unsafe"),
    "smoke": StateRow(_K.SMOKE),
    "sound": StateRow(_K.SOUND),
    "tamper": StateRow(_K.TAMPER),
    "vibration": StateRow(_K.VIBRATION),
}

NUMBERS: dict[str, NumberRow] = {
    "temperature": NumberRow(_Q.TEMPERATURE),
    "humidity": NumberRow(_Q.HUMIDITY),
    "pressure": NumberRow(_Q.PRESSURE),
    "illuminance": NumberRow(_Q.ILLUMINANCE),
    "mass_kg": NumberRow(_Q.WEIGHT, 1, True),
    "mass_lb": NumberRow(_Q.WEIGHT, POUND_KG, True),
    "dew_point": NumberRow(_Q.DEW_POINT),
    "count": NumberRow(_Q.COUNT),
    "energy": NumberRow(_Q.ENERGY_USED),
    "power": NumberRow(_Q.POWER),
    "voltage": NumberRow(_Q.VOLTAGE),
    "pm25": NumberRow(_Q.PM25),
    "pm10": NumberRow(_Q.PM10),
    "co2": NumberRow(_Q.CO2, 1, True),
    "tvoc": NumberRow(_Q.TVOC),
    "moisture": NumberRow(_Q.MOISTURE),
    "rotation": NumberRow(_Q.ROTATION),
    "distance_mm": NumberRow(_Q.DISTANCE, 0.001),
    "distance_m": NumberRow(_Q.DISTANCE),
    "duration": NumberRow(_Q.DURATION),
    "current": NumberRow(_Q.CURRENT),
    "speed": NumberRow(_Q.SPEED),
    "uv_index": NumberRow(_Q.UV_INDEX),
    "volume_l": NumberRow(_Q.WATER_VOLUME),
    "volume_ml": NumberRow(_Q.WATER_VOLUME, 0.001),
    "volume_flow": NumberRow(_Q.WATER_FLOW, 1000 / 60),
    "gas_volume": NumberRow(_Q.GAS_VOLUME),
    "water": NumberRow(_Q.WATER_VOLUME),
    "volume_storage": NumberRow(_Q.WATER_VOLUME),
    "acceleration": NumberRow(_Q.ACCELERATION),
    "conductivity": NumberRow(_Q.CONDUCTIVITY),
}

PARAMETERS = frozenset(
    {
        "generic_on", "lock", "plug", "text", "raw", "direction", "precipitation", "rotational_speed", "light_level", "gyroscope",
        "settings_revision", "channel", "device_type",
    }
)  # fmt: skip
"""Objects with no row in the vocabulary: kept as text in `DeviceHealth.parameters`, so that nothing which was sent is lost."""

FLAGS = {"battery_low": "battery_low", "charging": "charging", "power_on": "external_power", "connectivity": "online"}
"""Binary objects that also say how the device is: object to field of `DeviceHealth`."""
