"""From the words of xiaomi-ble to the vocabulary.

The library knows what each object means on each of some hundred products; it is given plain advertisements only, decrypted and
checked by our codec, one fresh parser each, so that nothing of it is state.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, NamedTuple

from drivers.api import OccurrenceKind, Quantity

_K, _Q = OccurrenceKind, Quantity

CH2O_PPM_PER_MG_M3 = 24.45 / 30.026
"""At 25 degrees Celsius: molar volume over molar mass."""


class StateRow(NamedTuple):
    """A binary word that begins and ends. `detail` tells apart words that share a kind."""

    kind: OccurrenceKind
    detail: str | None = None


class NumberRow(NamedTuple):
    """A number in the unit of its quantity."""

    quantity: Quantity
    factor: float = 1


STATES: dict[str, StateRow] = {
    "motion": StateRow(_K.MOTION),
    "occupancy": StateRow(_K.PRESENCE),
    "occupancy_close_range": StateRow(_K.PRESENCE, "close range"),
    "smoke": StateRow(_K.SMOKE),
    "opening": StateRow(_K.DOOR_OPEN),
    "door": StateRow(_K.DOOR_OPEN),
    "door_left_open": StateRow(_K.DOOR_LEFT_OPEN),
    "light": StateRow(_K.LIGHT),
    "moisture": StateRow(_K.WATER_LEAK),
    "bottom_submersion": StateRow(_K.WATER_LEAK, "bottom submersion"),
    "top_splash": StateRow(_K.WATER_LEAK, "top splash"),
    "battery": StateRow(_K.LOW_BATTERY),
    "device_forcibly_removed": StateRow(_K.TAMPER, "forcibly removed"),
    "pry_the_door": StateRow(_K.TAMPER, "door pried"),
    "door_stuck": StateRow(_K.FAULT, "door stuck"),
    "knock_on_the_door": StateRow(_K.VIBRATION, "knock on the door"),
    "armed": StateRow(_K.ARMED),
    "wearing": StateRow(_K.WORN),
    "toothbrush": StateRow(_K.RUNNING, "toothbrush"),
}

NUMBERS: dict[str, NumberRow] = {
    "temperature": NumberRow(_Q.TEMPERATURE),
    "humidity": NumberRow(_Q.HUMIDITY),
    "illuminance": NumberRow(_Q.ILLUMINANCE),
    "moisture": NumberRow(_Q.MOISTURE),
    "conductivity": NumberRow(_Q.CONDUCTIVITY),
    "voltage": NumberRow(_Q.VOLTAGE),
    "formaldehyde": NumberRow(_Q.CH2O, CH2O_PPM_PER_MG_M3),
    "mass": NumberRow(_Q.WEIGHT),
    "heart_rate": NumberRow(_Q.HEART_RATE),
    "pressure_present_duration": NumberRow(_Q.DURATION),
    "pressure_not_present_duration": NumberRow(_Q.DURATION),
    "duration_detected": NumberRow(_Q.DURATION, 60),
    "duration_cleared": NumberRow(_Q.DURATION, 60),
}
THERMOMETERS = ("MMC-",)
"""Products whose temperature is that of a body (Miaomiaoce patches)."""

PER_PERSON = ("mass", "heart_rate")
"""Numbers that belong to the profile of a scale."""

PARAMETERS = frozenset(
    {
        "consumable", "counter", "score", "key_id", "lock_method", "charging_state", "lock", "antilock", "childlock", "fingerprint",
        "asleep", "impedance", "impedance_low", "impedance_high",
    }
)  # fmt: skip
IGNORED = frozenset({"signal_strength", "packet_id", "stabilized", "mass_non_stabilized", "profile_id"})

LOCK_ALARMS = {
    "hijacking_alarm": _K.BURGLARY,
    "lock_picking": _K.BURGLARY,
    "unlock_inside_the_door_after_arming": _K.BURGLARY,
    "the_safe_was_moved": _K.TAMPER,
    "the_battery_level_is_less_than_10_percent": _K.LOW_BATTERY,
    "the_battery_level_is_less_than_5_percent": _K.LOW_BATTERY,
    "the_accessory_battery_is_low": _K.LOW_BATTERY,
    "the_fingerprint_sensor_is_abnormal": _K.FAULT,
    "mechanical_failure": _K.FAULT,
    "the_lock_sensor_is_faulty": _K.FAULT,
}
"""Errors of locks; every other one (wrong codes again and again, a foreign body in the keyhole) is `tamper`."""

DURESS = "coercion_method"
"""Lock method: opened with the finger or code that says "I am forced"."""

LOCK_OBJECT, LOCK_BYTES = 0x000B, 9
INVALID_OPERATOR = (0xDEADBEEF).to_bytes(4, "little")
"""Put in the place of a lock's error number: xiaomi-ble 1.21 fails on these (a variable is never set), and the alarm would be lost."""

SMOKE_OBJECT, SMOKE_FAULT = 0x1015, b"\x02"
"""Smoke 2 is "equipment failure", which the library takes for smoke."""


class Press(NamedTuple):
    """Something that happened: `name` such as `button_left`, `event` such as `press`."""

    name: str
    event: str
    properties: dict[str, Any]


class Reading(NamedTuple):
    """What the library made of an advertisement."""

    model: str
    numbers: dict[str, Any]
    states: dict[str, bool]
    presses: list[Press]


def lock_error(data: bytes) -> str | None:
    """The alarm that a lock object carries in the place of its key number, if it does."""
    from xiaomi_ble.locks import BLE_LOCK_ERROR

    return BLE_LOCK_ERROR.get(int.from_bytes(data[1:5], "little")) if len(data) == LOCK_BYTES else None


@cache
def known_objects() -> frozenset[int]:
    """Objects that the library knows."""
    from xiaomi_ble.parser import xiaomi_dataobject_dict

    return frozenset(xiaomi_dataobject_dict)


@cache
def known_products() -> frozenset[int]:
    """Ids of the products that the library knows."""
    from xiaomi_ble.devices import DEVICE_TYPES

    return frozenset(DEVICE_TYPES)


def read(uuid: str, block: bytes, address: str) -> Reading | None:
    """What a plain service data block says; None where the library fails on it."""
    from habluetooth import BluetoothServiceInfo
    from xiaomi_ble.parser import XiaomiBluetoothDeviceData

    info = BluetoothServiceInfo(
        name=address, address=address, rssi=0, manufacturer_data={}, service_data={uuid: block}, service_uuids=[uuid], source=""
    )
    try:
        found = XiaomiBluetoothDeviceData().update(info)
    except (LookupError, ValueError, ArithmeticError, TypeError, AttributeError, NameError, struct.error):
        # Its object decoders index and unpack what the device sent.
        return None
    model = next((device.model or "" for device in found.devices.values()), "")
    numbers = {key.key: value.native_value for key, value in found.entity_values.items()}
    states = {key.key: bool(value.native_value) for key, value in found.binary_entity_values.items()}
    presses = [Press(key.key, str(event.event_type), dict(event.event_properties or {})) for key, event in found.events.items()]
    return Reading(model, numbers, states, presses)
