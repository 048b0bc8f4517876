"""What the state of a Home Assistant entity means: by device class and unit; names only where no class can say it (fall, SOS)."""

from __future__ import annotations

from typing import Any

from drivers.api import OccurrenceKind, Quantity, Reason, RemoteProtocolError
from drivers.mqtt_discovery.findings import FALL_WORDS, NAMED_BINARIES, SOS_WORDS, Finding, Pulse, Turn, Vital, measured, percent, received
from protocols.mqtt.homeassistant import Entity
from protocols.mqtt.json_path import MISSING, clean_text, number, word

_K, _Q = OccurrenceKind, Quantity

BINARY_CLASSES: dict[str, OccurrenceKind] = {
    "occupancy": _K.PRESENCE, "presence": _K.PRESENCE, "motion": _K.MOTION, "moving": _K.MOVING, "gas": _K.GAS, "smoke": _K.SMOKE,
    "carbon_monoxide": _K.CO_ALARM, "moisture": _K.WATER_LEAK, "door": _K.DOOR_OPEN, "garage_door": _K.DOOR_OPEN,
    "opening": _K.DOOR_OPEN, "window": _K.WINDOW_OPEN, "vibration": _K.VIBRATION, "tamper": _K.TAMPER, "battery": _K.LOW_BATTERY,
    "problem": _K.FAULT, "heat": _K.HEAT, "cold": _K.COLD, "sound": _K.SOUND, "light": _K.LIGHT, "running": _K.RUNNING,
    "battery_charging": _K.CHARGING,
}  # fmt: skip
INVERTED_CLASSES: dict[str, OccurrenceKind] = {"connectivity": _K.OFFLINE, "power": _K.POWER_CUT}
"""On means that all is well."""

SENSOR_CLASSES: dict[str, tuple[Quantity, ...]] = {
    "temperature": (_Q.TEMPERATURE,), "humidity": (_Q.HUMIDITY,), "moisture": (_Q.MOISTURE,), "illuminance": (_Q.ILLUMINANCE,),
    "carbon_dioxide": (_Q.CO2,), "carbon_monoxide": (_Q.CO,), "distance": (_Q.DISTANCE,), "voltage": (_Q.VOLTAGE,),
    "current": (_Q.CURRENT,), "power": (_Q.POWER,), "energy": (_Q.ENERGY_USED,), "pressure": (_Q.PRESSURE,),
    "atmospheric_pressure": (_Q.PRESSURE,), "pm25": (_Q.PM25,), "pm10": (_Q.PM10,), "pm1": (_Q.PM1,), "frequency": (_Q.FREQUENCY,),
    "volatile_organic_compounds": (_Q.TVOC,), "speed": (_Q.SPEED,), "weight": (_Q.WEIGHT,), "water": (_Q.WATER_VOLUME,),
    "gas": (_Q.GAS_VOLUME,), "volume_flow_rate": (_Q.WATER_FLOW,), "sound_pressure": (_Q.SOUND_LEVEL,),
    "blood_glucose_concentration": (_Q.GLUCOSE,),
}  # fmt: skip
_NAMED_SENSORS: tuple[tuple[frozenset[str], Quantity, str], ...] = (
    (frozenset({"breath", "breathing", "respiration", "respiratory", "rr", "br"}), _Q.RESPIRATION_RATE, "bpm"),
    (frozenset({"heart", "hr", "heartbeat", "pulse", "heartrate"}), _Q.HEART_RATE, "bpm"),
    (frozenset({"spo2", "oxygen"}), _Q.SPO2, "%"),
    (frozenset({"gas", "lel", "methane"}), _Q.GAS_LEL, "%lel"),
    (frozenset({"ch2o", "hcho", "formaldehyde"}), _Q.CH2O, "ppm"),
    (frozenset({"co"}), _Q.CO, "ppm"),
    (frozenset({"co2", "eco2"}), _Q.CO2, "ppm"),
    (frozenset({"steps"}), _Q.STEPS, "steps"),
)
_UNIT_TELLS = {"bpm": _Q.HEART_RATE, "lx": _Q.ILLUMINANCE, "°c": _Q.TEMPERATURE, "°f": _Q.TEMPERATURE, "%lel": _Q.GAS_LEL}
_NOTHING = frozenset({"", "nan", "none", "null", "unknown", "unavailable", "inf", "-inf"})
_FALLEN = frozenset({"fall", "fallen", "falling", "fall_detected", "fall_alarm", "true", "on", "1"})
_SUSPECTED = frozenset({"maybe_fall", "suspected_fall", "fall_warning", "possible_fall"})
USED = frozenset({"binary_sensor", "sensor", "event", "device_automation", "siren", "valve", "switch", "button"})
"""Components that are listened to or commanded; lights, climates, updates and the like are none of ours."""


def understand(entity: Entity, value: Any, payload: str) -> list[Finding]:
    """What a state says; `value` is what the template gave. Raises RemoteProtocolError (RANGE)."""
    if entity.component == "event":
        return _event(entity, value, payload)
    if entity.component == "device_automation":
        return _trigger(entity, value)
    if value is MISSING or value is None or entity.category == "config":
        return []
    if word(value) == "none" and entity.component == "sensor" and entity.words & FALL_WORDS:
        return _fall_text(entity, "none")
    if isinstance(value, str) and word(value) in _NOTHING:
        return []
    if entity.component == "binary_sensor":
        return _binary(entity, value)
    if entity.component == "sensor":
        return _sensor(entity, value)
    if entity.component == "siren":
        return [Turn(_K.SIREN, _is_on(entity, value))]
    if entity.component == "valve":
        return [Turn(_K.VALVE_CLOSED, True)] if word(value) in ("closed", "close", "0") else _opened(value)
    return []


def _opened(value: Any) -> list[Finding]:
    is_open = word(value) in ("open", "opening") or (number(value) or 0) > 0
    return [Turn(_K.VALVE_CLOSED, False)] if is_open else []


def binary_kind(entity: Entity) -> OccurrenceKind | None:
    """The kind of a binary sensor."""
    found = BINARY_CLASSES.get(entity.device_class)
    if found is not None:
        return found
    if entity.words & SOS_WORDS:
        return _K.SOS
    if entity.words & FALL_WORDS:
        return _K.FALL
    if entity.device_class == "safety":
        return _K.GENERAL_ALARM
    return NAMED_BINARIES.get(entity.object_id.lower()) if not entity.device_class else None


def _binary(entity: Entity, value: Any) -> list[Finding]:
    is_on = _is_on(entity, value)
    inverted = INVERTED_CLASSES.get(entity.device_class)
    if inverted is not None:
        return [Turn(inverted, not is_on), *([Vital("online", is_on)] if inverted is _K.OFFLINE else [])]
    kind = binary_kind(entity)
    if kind is None:
        return []
    detail = entity.name or entity.object_id if kind in (_K.FAULT, _K.GENERAL_ALARM) else None
    health: list[Finding] = [Vital("battery_low", is_on)] if kind is _K.LOW_BATTERY else []
    health += [Vital("charging", is_on)] if kind is _K.CHARGING else []
    return [Turn(kind, is_on, detail), *health]


def _is_on(entity: Entity, value: Any) -> bool:
    found = word(value)
    if found in (entity.on, entity.off):
        return found == entity.on
    if found in ("on", "true", "1", "off", "false", "0"):
        return found in ("on", "true", "1")
    text = f"{entity.object_id}: {entity.on} or {entity.off} expected, got {clean_text(repr(value), 60)}"
    raise RemoteProtocolError(Reason.RANGE, text)


def _sensor(entity: Entity, value: Any) -> list[Finding]:
    found = number(value)
    if found is None:
        return _fall_text(entity, word(value))
    if entity.device_class == "battery":
        return percent("battery_percent", found)
    if entity.device_class == "signal_strength":
        return received(found)
    if entity.device_class == "voltage" and entity.category == "diagnostic" and (found <= 5 or entity.unit.lower() == "mv"):
        return [Vital("battery_mv", round(found if entity.unit.lower() == "mv" else found * 1000))] if found >= 0 else []
    for quantity in SENSOR_CLASSES.get(entity.device_class, ()):
        return measured(quantity, found, entity.unit)
    if entity.device_class or entity.category == "diagnostic":
        return []
    for words, quantity, default in _NAMED_SENSORS:
        if entity.words & words and (entity.unit or default == "bpm"):
            return measured(quantity, found, entity.unit or default)
    told = _UNIT_TELLS.get(entity.unit.lower())
    return measured(told, found, entity.unit) if told else []


def _fall_text(entity: Entity, found: str) -> list[Finding]:
    """An enumeration that tells of falls."""
    if not entity.words & FALL_WORDS:
        if entity.device_class in SENSOR_CLASSES or entity.unit:
            raise RemoteProtocolError(Reason.RANGE, f"{entity.object_id}: number expected, got {clean_text(found, 60)!r}")
        return []
    return [Turn(_K.FALL, found in _FALLEN), Turn(_K.FALL_SUSPECTED, found in _SUSPECTED)]


def _event(entity: Entity, value: Any, payload: str) -> list[Finding]:
    kind = value.get("event_type") if isinstance(value, dict) else value
    text = clean_text(kind, 60) if isinstance(kind, str) else clean_text(payload, 60)
    if not text or word(text) in _NOTHING:
        return []
    if (entity.words | {text.lower()}) & SOS_WORDS:
        return [Pulse(_K.SOS, text)]
    if entity.device_class == "motion":
        return [Pulse(_K.MOTION, text)]
    if entity.device_class == "doorbell":
        return [Pulse(_K.BUTTON, f"doorbell {text}")]
    return [Pulse(_K.BUTTON, f"{entity.name or entity.object_id} {text}")]


def _trigger(entity: Entity, value: Any) -> list[Finding]:
    """A device trigger fires when the topic brings its own payload; without one, at any payload."""
    if entity.on and word(value) != entity.on:
        return []
    if entity.words & SOS_WORDS:
        return [Pulse(_K.SOS, entity.trigger)]
    return [Pulse(_K.BUTTON, entity.trigger or None)]
