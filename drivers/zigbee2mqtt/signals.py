"""What one exposed property means: schema and value in, findings out. No device list: names, types, units and access decide.

A signal is published (access bit 1) and no setting (category `config`). A binary is on when it equals its `value_on`, whatever
that is (an open door is `contact: false`). Meters are told from alarms by type and unit: `gas` as binary is an alarm, `gas` in m³ a
meter, in %LEL a concentration.
"""

from __future__ import annotations

import re
from functools import lru_cache
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
    "bed": _K.PRESENCE, "bed_occupancy": _K.PRESENCE, "in_bed": _K.PRESENCE, "occupancy_or": _K.MOTION,
    "active_water_leak": _K.WATER_LEAK, "water_sensor": _K.WATER_LEAK, "high_temperature": _K.HEAT, "endoflife": _K.FAULT,
    "opening": _K.WINDOW_OPEN,
}  # fmt: skip

_SUFFIX = re.compile(r"_(?:alarm_[12]|alarm|detected|detect|alarm_state|status|state)$")
"""`gas_alarm`, `gas_alarm_1`, `smoke_detected`, `fall_down_status`; never `_detection`, `_sensitivity` and the like: settings."""
_CHANNEL = re.compile(r"^(input|channel|area|zone)_?(\d{1,2})_(?=[a-z])")
"""`input_3_leak_detect`: one device with several wired sensors."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TROUBLE = re.compile(r"_(?:alarm|fault|defect)(?:_active)?$")
"""Whatever else a device calls an alarm or fault of itself (over-current, motor, water volume): told with its name."""
_ENDPOINT = re.compile(r"_(?:l?\d{1,2}|left|right|center|top|bottom|top_left|top_right|bottom_left|bottom_right)$")

ON_WORDS = frozenset({
    "true", "on", "1", "yes", "alarm", "alarming", "detected", "triggered", "active", "open", "opened", "leak", "leaking", "warning",
    "present", "occupied", "motion", "smoke", "fire", "alarmed", "critical_alarm", "warning_alarm", "prealarm", "preheating", "charging",
    "expired", "expires_soon", "overheated", "tilted",
})  # fmt: skip
OFF_WORDS = frozenset({
    "false", "off", "0", "no", "none", "normal", "clear", "idle", "ok", "inactive", "closed", "close", "absent", "unoccupied",
    "not_detected", "no_alarm", "standby", "no_motion", "dry", "safe", "canceled", "cancel", "no alert", "uncharged", "notcharged",
    "charged", "fullycharged",
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
    "on_the_floor": [Turn(_K.PRESENCE, True)], "falling": [Turn(_K.PRESENCE, True)], "low_posture": [Turn(_K.PRESENCE, True)],
}  # fmt: skip
_OCCUPANCY_WORDS = frozenset({"unoccupied", "occupied", "presence", "present", "nobody", "absent"})
"""A `status` speaks of people only where one of these is among its values: that of a valve knows `moving`, too."""
_MOTION_NAMES = frozenset({"presence_state", "motion_state", "human_motion_state"})
_MOTION_WORDS = dict.fromkeys(
    ("peaceful", "static", "stationary", "active", "motion", "small", "medium", "large", "near", "far", "small_movement", "large_movement"),
    True,
) | {"none": False}
_LOCK_WORDS = {"locked": False, "unlocked": True, "not_fully_locked": True}
_VALVE_NAMES = frozenset({"state", "valve", "valve_state", "valve_status", "gas_valve_state"})
_VALVE_CLOSED_WORDS = {"closed": True, "close": True, "open": False, "opened": False}
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
    name = _plain(leaf.name)
    if name == "action":
        return _action(value, leaf.values)
    if leaf.kind == "binary":
        return _binary(name, leaf, value, device)
    if leaf.kind == "numeric":
        return _numeric(name, leaf, value, device)
    if leaf.kind in ("enum", "text"):
        return _enum(name, leaf, value, device)
    return []


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    """In snake case."""
    return _CAMEL.sub("_", name).lower().replace(" ", "_").replace("-", "_")


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
    if settable and found in (_K.VIBRATION, _K.SOUND):
        # Of a handset or keypad: whether it hums and beeps.
        return None
    if found is None and not settable:
        name = _CHANNEL.sub("", name)
        found = BINARIES.get(name) or BINARIES.get(_SUFFIX.sub("", name))
        if found is None and _TROUBLE.search(name):
            found = _K.FAULT
    return found


@lru_cache(maxsize=4096)
def _detail(name: str, kind: OccurrenceKind, endpoint: str) -> str | None:
    """What the kind alone does not say: which input, which fault."""
    is_other = kind is _K.FAULT and name not in BINARIES and _SUFFIX.sub("", name) not in BINARIES
    if is_other or name in ("end_of_life", "alarm_1", "alarm_2"):
        return name.replace("_", " ")
    channel = _CHANNEL.match(name)
    if channel:
        return f"{channel[1]} {channel[2]}"
    return f"endpoint {endpoint}" if endpoint else None


def _binary(name: str, leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    kind = kind_of(name, settable=bool(leaf.access & SETTABLE))
    if kind is None:
        return _valve(name, leaf, value, device)
    is_on = _is_on(leaf, value)
    found: list[Finding] = [Turn(kind, is_on, _detail(name, kind, leaf.endpoint))]
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
    if device is None or name not in _VALVE_NAMES or not is_valve(device):
        return []
    closed = _VALVE_CLOSED_WORDS.get(word(value)) if leaf.kind == "enum" else not _is_on(leaf, value)
    return [] if closed is None else [Turn(_K.VALVE_CLOSED, closed)]


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


def _enum(name: str, leaf: Property, value: Any, device: Definition | None) -> list[Finding]:
    found = word(value)
    if name in _FALL_NAMES or (name in _PRESENCE_NAMES and "falling" in (found, *leaf.values)):
        return _fall(name, found)
    if name in _MOTION_NAMES and found in _MOTION_WORDS:
        # Where the device says presence by a binary too, this is how much somebody moves.
        told = device is not None and any(other.kind == "binary" and other.name in ("presence", "occupancy") for other in device.leaves)
        return [] if told else [Turn(_K.PRESENCE, _MOTION_WORDS[found])]
    if name in _PRESENCE_NAMES and name != "state":
        speaks = name != "status" or not leaf.values or _OCCUPANCY_WORDS.intersection(map(word, leaf.values))
        return _PRESENCE_WORDS.get(found, []) if speaks else []
    if name == "battery_state":
        power: list[Finding] = [Vital("external_power", True)] if found in ("usb", "mains", "charging") else []
        return [Turn(_K.LOW_BATTERY, found in ("low", "critical")), Vital("battery_low", found in ("low", "critical")), *power]
    if name == "temperature_alarm":
        return [Turn(_K.HEAT, found == "upper_alarm"), Turn(_K.COLD, found == "lower_alarm")]
    if name == "lock_state":
        return [Turn(_K.DOOR_UNLOCKED, _LOCK_WORDS[found])] if found in _LOCK_WORDS else []
    kind = kind_of(name, settable=bool(leaf.access & SETTABLE))
    if kind in (_K.GENERAL_ALARM, _K.FAULT) and leaf.kind == "enum" and leaf.values:
        return _trouble(kind, found, leaf)
    if kind is None:
        return _valve(name, leaf, value, device)
    return [Turn(kind, found in ON_WORDS, _detail(name, kind, leaf.endpoint))] if found in ON_WORDS | OFF_WORDS else []


def _trouble(kind: OccurrenceKind, found: str, leaf: Property) -> list[Finding]:
    """A list of alarms or faults of which one holds: each word by its own meaning, else as the kind with the word."""
    if found in ("unknown", "undefined") or found not in map(word, leaf.values):
        return []
    turns: dict[OccurrenceKind, Turn] = {}
    for value in (*map(word, leaf.values), found):
        if value in OFF_WORDS:
            continue
        meant = _meant(value) or kind
        turns[meant] = Turn(meant, value == found, found.replace("_", " ") if value == found else None)
    return list(turns.values()) or [Turn(kind, False)]


def _meant(value: str) -> OccurrenceKind | None:
    """The kind that one word of such a list stands for; a sounder that tells how it sounds is a siren."""
    if "sound" in value or "light" in value:
        return _K.SIREN
    return kind_of(value, settable=False) if value not in ("alarm", "fault") else None


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
