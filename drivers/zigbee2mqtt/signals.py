"""What one exposed property means: schema and value in, findings out. No device list: names, types, units and access decide.

A signal is published (access bit 1) and no setting (category `config`). A binary is on when it equals its `value_on`, whatever
that is (an open door is `contact: false`). Meters are told from alarms by type and unit: `gas` as binary is an alarm, `gas` in m³ a
meter, in %LEL a concentration.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from drivers.api import QUANTITIES, OccurrenceKind, Quantity, Reason, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, number, word
from protocols.mqtt.units import convert, is_known
from protocols.mqtt.zigbee2mqtt import PUBLISHED, SETTABLE, Definition, Property

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

BINARIES: dict[str, OccurrenceKind] = {
    "contact": _K.DOOR_OPEN, "door": _K.DOOR_OPEN, "door_open": _K.DOOR_OPEN, "garage_door_contact": _K.DOOR_OPEN,
    "window": _K.WINDOW_OPEN, "window_open": _K.WINDOW_OPEN, "open_window": _K.WINDOW_OPEN,
    "occupancy": _K.MOTION, "motion": _K.MOTION, "pir": _K.MOTION, "presence": _K.PRESENCE, "moving": _K.MOVING,
    "smoke": _K.SMOKE, "fire": _K.FIRE, "gas": _K.GAS, "gas_leak": _K.GAS, "carbon_monoxide": _K.CO_ALARM, "co": _K.CO_ALARM,
    "water_leak": _K.WATER_LEAK, "leak": _K.WATER_LEAK, "water": _K.WATER_LEAK, "heat": _K.HEAT, "overheat": _K.HEAT,
    "vibration": _K.VIBRATION, "tilt": _K.TILT, "tamper": _K.TAMPER, "noise": _K.SOUND, "sound": _K.SOUND,
    "sos": _K.SOS, "panic": _K.SOS, "emergency": _K.SOS, "fall": _K.FALL, "fall_down": _K.FALL,
    "static_dwell": _K.LONG_STILL, "battery_low": _K.LOW_BATTERY, "low_battery": _K.LOW_BATTERY,
    "fault": _K.FAULT, "problem": _K.FAULT, "malfunction": _K.FAULT, "trouble": _K.FAULT, "sensor_fault": _K.FAULT,
    "end_of_life": _K.FAULT, "charging": _K.CHARGING, "power_outage": _K.POWER_CUT, "power_failure": _K.POWER_CUT,
    "warming_up": _K.WARMING_UP, "preheat": _K.WARMING_UP, "preheating": _K.WARMING_UP, "testing": _K.TEST, "self_testing": _K.TEST,
    "alarm": _K.GENERAL_ALARM, "alarm_1": _K.GENERAL_ALARM, "alarm_2": _K.GENERAL_ALARM, "siren": _K.SIREN,
    "bed": _K.PRESENCE, "bed_occupancy": _K.PRESENCE, "in_bed": _K.PRESENCE,
}  # fmt: skip

_SUFFIX = re.compile(r"_(?:alarm|detected|alarm_state|status|state)$")
"""`gas_alarm`, `smoke_detected`, `fall_down_status`; never `_detection`, `_sensitivity` and the like, which are settings."""
_ENDPOINT = re.compile(r"_(?:l?\d{1,2}|left|right|center|top|bottom|top_left|top_right|bottom_left|bottom_right)$")

ON_WORDS = frozenset({
    "true", "on", "1", "yes", "alarm", "alarming", "detected", "triggered", "active", "open", "opened", "leak", "leaking", "warning",
    "present", "occupied", "motion", "smoke", "fire",
})  # fmt: skip
OFF_WORDS = frozenset({
    "false", "off", "0", "no", "none", "normal", "clear", "idle", "ok", "inactive", "closed", "close", "absent", "unoccupied",
    "not_detected", "no_alarm", "standby", "no_motion", "dry",
})  # fmt: skip
_BARE_WORDS = frozenset({"true", "false", "on", "off", "1", "0", "yes", "no"})
"""Words that say nothing by themselves: which side they are on depends on the schema."""

FALL_WORDS: dict[str, tuple[bool, bool]] = {
    # word -> (fall, suspected fall)
    "fall": (True, False), "falling": (True, False), "fallen": (True, False), "fall_alarm": (True, False), "fall_down": (True, False),
    "maybe_fall": (False, True), "fall_warning": (False, True), "suspected_fall": (False, True), "possible_fall": (False, True),
    "none": (False, False), "normal": (False, False), "no_fall": (False, False), "standing": (False, False), "ok": (False, False),
}  # fmt: skip
_FALL_NAMES = frozenset({"fall_down_status", "fall_status", "fall_state", "fall", "fall_down", "fall_alarm"})
_PRESENCE_NAMES = frozenset({"status", "presence_state", "human_presence_state", "human_presence", "presence_status", "state"})
_PRESENCE_WORDS: dict[str, list[Finding]] = {
    "unoccupied": [Turn(_K.PRESENCE, False)], "nobody": [Turn(_K.PRESENCE, False)], "absent": [Turn(_K.PRESENCE, False)],
    "leave": [Turn(_K.PRESENCE, False)], "occupied": [Turn(_K.PRESENCE, True)], "presence": [Turn(_K.PRESENCE, True)],
    "present": [Turn(_K.PRESENCE, True)], "sitting": [Turn(_K.PRESENCE, True)], "standing": [Turn(_K.PRESENCE, True)],
    "moving": [Turn(_K.PRESENCE, True)], "stationary": [Turn(_K.PRESENCE, True)], "on_the_bed": [Turn(_K.PRESENCE, True)],
    "on_the_floor": [Turn(_K.PRESENCE, True)], "falling": [Turn(_K.PRESENCE, True)],
}  # fmt: skip
_OBJECT_ACTIONS = re.compile(r"flip|shake|slide|rotate|throw|knock|tap|vibration|tilt|drop|fall_object")
"""Actions of cubes and vibration sensors: their `fall` is that of the object, not of a person."""

NUMBERS: dict[str, tuple[Quantity, ...]] = {
    "temperature": (_Q.TEMPERATURE,), "local_temperature": (_Q.TEMPERATURE,), "soil_temperature": (_Q.TEMPERATURE,),
    "body_temperature": (_Q.BODY_TEMPERATURE,), "humidity": (_Q.HUMIDITY,), "soil_moisture": (_Q.MOISTURE,), "moisture": (_Q.MOISTURE,),
    "illuminance": (_Q.ILLUMINANCE,), "illuminance_lux": (_Q.ILLUMINANCE,), "pressure": (_Q.PRESSURE,),
    "co2": (_Q.CO2,), "carbon_dioxide": (_Q.CO2,), "voc": (_Q.TVOC,), "tvoc": (_Q.TVOC,),
    "formaldehyde": (_Q.CH2O,), "formaldehyd": (_Q.CH2O,), "hcho": (_Q.CH2O,), "pm25": (_Q.PM25,), "pm10": (_Q.PM10,), "pm1": (_Q.PM1,),
    "co": (_Q.CO,), "co_value": (_Q.CO,), "carbon_monoxide": (_Q.CO,), "carbon_monoxide_value": (_Q.CO,), "co_concentration": (_Q.CO,),
    "gas": (_Q.GAS_LEL, _Q.GAS_VOLUME), "gas_value": (_Q.GAS_LEL,), "gas_concentration": (_Q.GAS_LEL,), "gas_density": (_Q.GAS_LEL,),
    "smoke_concentration": (_Q.SMOKE_DENSITY,), "smoke_density": (_Q.SMOKE_DENSITY,), "oxygen": (_Q.OXYGEN,),
    "voltage": (_Q.VOLTAGE,), "current": (_Q.CURRENT,), "power": (_Q.POWER,), "energy": (_Q.ENERGY_USED,), "ac_frequency": (_Q.FREQUENCY,),
    "leakage_current": (_Q.LEAKAGE_CURRENT,), "distance": (_Q.DISTANCE,), "target_distance": (_Q.DISTANCE,),
    "heart_rate": (_Q.HEART_RATE,), "heartbeat": (_Q.HEART_RATE,), "breathing_rate": (_Q.RESPIRATION_RATE,),
    "respiration_rate": (_Q.RESPIRATION_RATE,), "breath_rate": (_Q.RESPIRATION_RATE,),
    "water_flow": (_Q.WATER_FLOW,), "flow": (_Q.WATER_FLOW,), "flow_rate": (_Q.WATER_FLOW,), "water_consumed": (_Q.WATER_VOLUME,),
    "noise": (_Q.SOUND_LEVEL,), "sound_level": (_Q.SOUND_LEVEL,), "uv_index": (_Q.UV_INDEX,), "weight": (_Q.WEIGHT,),
}  # fmt: skip
_UNIT_NEEDED = frozenset({
    "gas", "gas_value", "gas_concentration", "gas_density", "smoke_concentration", "smoke_density", "flow", "distance", "voc", "tvoc",
    "co", "carbon_monoxide", "formaldehyde", "formaldehyd", "hcho", "pressure", "weight",
})  # fmt: skip
"""Names whose unit differs from maker to maker: without a written unit the number means nothing."""
_ZERO_IS_NOTHING = frozenset({_Q.HEART_RATE, _Q.RESPIRATION_RATE, _Q.BODY_TEMPERATURE, _Q.WEIGHT})
_GUESSED_UNITS = {"pressure": "hPa", "formaldehyde": "", "carbon_monoxide": "ppm", "co": "ppm"}

SOS_TOKENS = frozenset({"sos", "panic", "emergency", "help"})
_END_TOKENS = frozenset({"cancel", "clear", "cleared", "stop", "restore", "off", "release", "end"})


def understand(leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    """What `value` of an exposed property says. Raises RemoteProtocolError (RANGE) where it does not fit its own schema."""
    if value is None or not leaf.is_signal:
        return []
    name = leaf.name.lower().replace(" ", "_").replace("-", "_")
    if name == "action":
        return _action(value, leaf.values)
    if leaf.kind == "binary":
        return _binary(name, leaf, value, device)
    if leaf.kind == "numeric":
        return _numeric(name, leaf, value, device)
    if leaf.kind in ("enum", "text"):
        return _enum(name, leaf, value)
    return []


def guess(key: str, value: Any) -> list[Finding]:
    """What a value of a device says whose exposes are not known (yet): only names that mean the same on every device."""
    name = key.lower()
    if name not in BINARIES and name not in NUMBERS and name not in _FALL_NAMES and not _SUFFIX.search(name):
        name = _ENDPOINT.sub("", name)
    if value is None or isinstance(value, dict | list):
        return []
    if name == "action":
        return _action(value, ())
    endpoint = key[len(name) + 1 :]
    kind = "binary" if isinstance(value, bool) or word(value) in ("on", "off", "true", "false") else ""
    kind = kind or ("numeric" if number(value) is not None and not isinstance(value, str) else "enum")
    on: Any = (name != "contact") if isinstance(value, bool) else ("off" if name == "contact" else "on")
    access = PUBLISHED | (SETTABLE if name in ("alarm", "siren") else 0)
    if kind == "enum" and name in ("status", "state") and word(value) not in ("falling", "on_the_bed"):
        return []
    unit = _GUESSED_UNITS.get(name, "")
    return understand(Property((key,), name, kind, access, endpoint, unit, (), on, None, "", ""), value, None)


def kind_of(name: str, *, settable: bool) -> OccurrenceKind | None:
    """The kind that a property name stands for; a settable `alarm` is a sounder, a settable `..._alarm` an option."""
    if name in ("alarm", "siren"):
        return _K.SIREN if settable else BINARIES[name]
    found = BINARIES.get(name)
    if found is None and not settable:
        found = BINARIES.get(_SUFFIX.sub("", name))
    return found


def _binary(name: str, leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    kind = kind_of(name, settable=bool(leaf.access & SETTABLE))
    if kind is None:
        return _valve(name, leaf, value, device)
    is_on = _is_on(leaf, value)
    detail = name.replace("_", " ") if name in ("end_of_life", "alarm_1", "alarm_2") else None
    if leaf.endpoint and detail is None:
        detail = f"endpoint {leaf.endpoint}"
    found: list[Finding] = [Turn(kind, is_on, detail)]
    if kind is _K.LOW_BATTERY:
        found.append(Vital("battery_low", is_on))
    elif kind is _K.CHARGING:
        found.append(Vital("charging", is_on))
    return found


def _is_on(leaf: Property, value: Any) -> bool:
    found = word(value)
    if found == word(leaf.value_on):
        return True
    if leaf.value_off is not None and found == word(leaf.value_off):
        return False
    # Neither of its own words: the common ones. For a door `true` means closed wherever its `on` is false.
    turned = word(leaf.value_on) in OFF_WORDS and found in _BARE_WORDS
    if found in ON_WORDS or found in OFF_WORDS:
        return (found in ON_WORDS) != turned
    expected = f"{word(leaf.value_on)} or {word(leaf.value_off)}"
    raise RemoteProtocolError(Reason.RANGE, f"{leaf.path[-1]}: {expected} expected, got {clean_text(repr(value), 60)}")


def _valve(name: str, leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    """The switch of a valve: off is closed. A radiator's valve opens and closes all day and is none of ours."""
    if device is None or not is_valve(device) or name not in ("state", "valve", "valve_state"):
        return []
    return [Turn(_K.VALVE_CLOSED, not _is_on(leaf, value))]


def is_valve(device: Definition) -> bool:
    """Whether a device shuts off water or gas."""
    text = f"{device.model} {device.description}".lower()
    return "valve" in text and not any(other in text for other in ("radiator", "thermostat", "trv", "heating"))


def _numeric(name: str, leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    found = number(value)
    if found is None:
        raise RemoteProtocolError(Reason.RANGE, f"{leaf.path[-1]}: number expected, got {clean_text(repr(value), 60)}")
    if name == "battery":
        return _vital("battery_percent", found, 100)
    if name == "linkquality":
        return _vital("signal", round(found * 100 / 255, 1), 100)
    if name in ("battery_voltage", "voltage") and (leaf.category == "diagnostic" or leaf.unit.lower() == "mv" or name != "voltage"):
        millivolts = found * 1000 if leaf.unit.lower() == "v" else found
        return _vital("battery_mv", round(millivolts), 100_000)
    if name == "voltage" and device is None and found > 1000:
        # Without a definition: mains is 100..400 V, a battery is told in mV.
        return _vital("battery_mv", round(found), 100_000)
    for quantity in NUMBERS.get(name, ()):
        wanted = QUANTITIES[quantity].unit
        if leaf.unit and not is_known(leaf.unit, wanted):
            continue
        if not leaf.unit and name in _UNIT_NEEDED:
            continue
        converted = convert(found, leaf.unit, wanted)
        if converted is None or (converted == 0 and quantity in _ZERO_IS_NOTHING):
            return []
        row = QUANTITIES[quantity]
        if not row.low <= converted <= row.high:
            raise RemoteProtocolError(Reason.RANGE, f"{leaf.path[-1]}: {row.low:g}..{row.high:g} {wanted} expected, got {converted:g}")
        return [Reading(quantity, converted, leaf.endpoint or None)]
    return []


def _vital(name: str, value: float, high: float) -> list[Finding]:
    if not 0 <= value <= high:
        raise RemoteProtocolError(Reason.RANGE, f"{name}: 0..{high:g} expected, got {value:g}")
    return [Vital(name, value)]


def _enum(name: str, leaf: Property, value: Any) -> list[Finding]:
    found = word(value)
    if name in _FALL_NAMES or (name in _PRESENCE_NAMES and "falling" in (found, *leaf.values)):
        return _fall(name, found)
    if name in _PRESENCE_NAMES and name != "state":
        return _PRESENCE_WORDS.get(found, [])
    if name == "battery_state":
        power: list[Finding] = [Vital("external_power", True)] if found in ("usb", "mains", "charging") else []
        return [Turn(_K.LOW_BATTERY, found in ("low", "critical")), Vital("battery_low", found in ("low", "critical")), *power]
    if name == "temperature_alarm":
        return [Turn(_K.HEAT, found == "upper_alarm"), Turn(_K.COLD, found == "lower_alarm")]
    kind = kind_of(name, settable=bool(leaf.access & SETTABLE))
    if kind is None or found not in ON_WORDS | OFF_WORDS:
        return []
    return [Turn(kind, found in ON_WORDS)]


def _fall(name: str, found: str) -> list[Finding]:
    words = FALL_WORDS.get(found)
    if words is None and name not in _FALL_NAMES:
        words = (False, False) if found in _PRESENCE_WORDS else None
    if words is None:
        return []
    presence = _PRESENCE_WORDS.get(found, []) if name in _PRESENCE_NAMES else []
    bed: list[Finding] = [Pulse(_K.BED_ENTRY)] if found == "on_the_bed" else []
    return [Turn(_K.FALL, words[0]), Turn(_K.FALL_SUSPECTED, words[1]), *presence, *bed]


def _action(value: Any, values: tuple[str, ...]) -> list[Finding]:
    """An action is momentary. Its empty string and null are only the end of the one before."""
    text = clean_text(value, 60) if isinstance(value, str) else ""
    if not text:
        return []
    tokens = set(re.split(r"[^a-z0-9]+", text.lower()))
    if tokens & SOS_TOKENS:
        return [Turn(_K.SOS, False)] if tokens & _END_TOKENS else [Pulse(_K.SOS, text)]
    if "fall" in tokens:
        of_object = any(_OBJECT_ACTIONS.search(other) for other in values)
        return [Pulse(_K.VIBRATION, "the object fell") if of_object else Pulse(_K.FALL, text)]
    if "medical" in tokens:
        return [Pulse(_K.MEDICAL, text)]
    if text.lower() == "fire":
        return [Pulse(_K.FIRE, text)]
    if text.lower() in ("vibration", "drop"):
        return [Pulse(_K.VIBRATION, text)]
    if text.lower() == "tilt":
        return [Pulse(_K.TILT)]
    return [Pulse(_K.BUTTON, text)]
