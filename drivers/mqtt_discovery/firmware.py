"""What payloads of Tasmota, OpenMQTTGateway and bare ESPHome topics mean. Each function gives (device name or empty, findings)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drivers.api import OccurrenceKind, Quantity, RemoteProtocolError
from drivers.mqtt_discovery.findings import (
    FALL_WORDS,
    NAMED_BINARIES,
    SOS_WORDS,
    Finding,
    Pulse,
    Reading,
    Turn,
    Vital,
    measured,
    percent,
    received,
)
from protocols.mqtt.json_path import clean_text, number, word

_K, _Q = OccurrenceKind, Quantity

_TASMOTA_NUMBERS: dict[str, tuple[Quantity, str]] = {
    "Temperature": (_Q.TEMPERATURE, "°c"), "Humidity": (_Q.HUMIDITY, "%"), "DewPoint": (_Q.DEW_POINT, "°c"),
    "Illuminance": (_Q.ILLUMINANCE, "lx"), "Pressure": (_Q.PRESSURE, "hpa"), "CarbonDioxide": (_Q.CO2, "ppm"),
    "Distance": (_Q.DISTANCE, "cm"), "PM1": (_Q.PM1, ""), "PM2.5": (_Q.PM25, ""), "PM10": (_Q.PM10, ""), "Voltage": (_Q.VOLTAGE, "v"),
    "Current": (_Q.CURRENT, "a"), "Power": (_Q.POWER, "w"), "Total": (_Q.ENERGY_USED, "kwh"),
}  # fmt: skip
_ZIGBEE_STATES: dict[str, OccurrenceKind] = {
    "Occupancy": _K.MOTION, "Contact": _K.DOOR_OPEN, "Water": _K.WATER_LEAK, "Fire": _K.SMOKE, "Smoke": _K.SMOKE, "CO": _K.CO_ALARM,
    "Gas": _K.GAS, "Movement": _K.MOTION, "Vibration": _K.VIBRATION, "Panic": _K.SOS, "PanicAlarm": _K.SOS, "Emergency": _K.SOS,
    "Tamper": _K.TAMPER, "BatteryLow": _K.LOW_BATTERY,
}  # fmt: skip
_OMG_NUMBERS: dict[str, tuple[Quantity, str]] = {
    "tempc": (_Q.TEMPERATURE, "°c"), "tem": (_Q.TEMPERATURE, "°c"), "hum": (_Q.HUMIDITY, "%"), "lux": (_Q.ILLUMINANCE, "lx"),
    "moi": (_Q.MOISTURE, "%"), "moist": (_Q.MOISTURE, "%"), "pressure": (_Q.PRESSURE, "hpa"), "pres_hpa": (_Q.PRESSURE, "hpa"),
    "co2": (_Q.CO2, "ppm"), "pm25": (_Q.PM25, ""), "pm10": (_Q.PM10, ""), "hr": (_Q.HEART_RATE, "bpm"), "weight": (_Q.WEIGHT, "kg"),
    "for": (_Q.CH2O, ""), "steps": (_Q.STEPS, ""), "uv": (_Q.UV_INDEX, ""),
}  # fmt: skip
_OMG_STATES: dict[str, OccurrenceKind] = {
    "pres": _K.MOTION, "presence": _K.MOTION, "motion": _K.MOTION, "move": _K.MOVING, "open": _K.DOOR_OPEN, "contact": _K.DOOR_OPEN,
    "leak": _K.WATER_LEAK, "wet": _K.WATER_LEAK, "smoke": _K.SMOKE, "gas": _K.GAS, "tamper": _K.TAMPER, "low_batt": _K.LOW_BATTERY,
    "vibration": _K.VIBRATION, "sos": _K.SOS,
}  # fmt: skip
_SENSORS_LIMIT = 100

Found = Iterator[tuple[str, Finding | RemoteProtocolError]]
"""Name of a device behind this one (empty: itself) with a finding, or with the refusal of one value."""


def tasmota(body: Mapping[str, Any], inputs: Mapping[str, OccurrenceKind]) -> Found:
    """A SENSOR, STATE or RESULT object. `inputs` tells what `Switch1`, `Button2` are wired to."""
    fahrenheit = word(body.get("TempUnit")) == "f"
    for key, value in list(body.items())[:_SENSORS_LIMIT]:
        if key == "ZbReceived" and isinstance(value, dict):
            for address, report in list(value.items())[:_SENSORS_LIMIT]:
                yield from _zigbee(address, report)
        elif key.startswith(("Switch", "Button")) and key[6:].isdecimal():
            yield from (("", finding) for finding in _input(key, value, inputs))
        elif key == "Wifi" and isinstance(value, dict):
            strength = number(value.get("Signal"))
            yield from (("", finding) for finding in received(strength if strength is not None else 0))
        elif isinstance(value, dict):
            yield from _tasmota_numbers(key, value, "°f" if fahrenheit else "°c")


def _tasmota_numbers(sensor: str, values: dict[str, Any], temperature_unit: str) -> Found:
    for key, raw in list(values.items())[:_SENSORS_LIMIT]:
        if key not in _TASMOTA_NUMBERS or raw is None or isinstance(raw, list):
            continue
        quantity, unit = _TASMOTA_NUMBERS[key]
        value = number(raw)
        channel = clean_text(sensor, 40) or None
        yield from _numbers("", quantity, value, temperature_unit if unit == "°c" else unit, channel)


def _input(key: str, value: Any, inputs: Mapping[str, OccurrenceKind]) -> list[Finding]:
    action = value.get("Action") if isinstance(value, dict) else value
    text = word(action)
    kind = inputs.get(key)
    if text in ("on", "off"):
        return [Turn(kind or _K.BUTTON, text == "on", key)]
    if not text:
        return []
    return [Pulse(kind or _K.BUTTON, f"{key} {clean_text(text, 40)}")]


def _zigbee(address: str, report: Any) -> Found:
    if not isinstance(report, dict):
        return
    device = clean_text(report.get("Name") or report.get("Device") or address, 64)
    for key, value in list(report.items())[:_SENSORS_LIMIT]:
        if key in _ZIGBEE_STATES and word(value) in ("0", "1", "true", "false"):
            yield device, Turn(_ZIGBEE_STATES[key], word(value) in ("1", "true"))
        elif key == "BatteryPercentage":
            yield from _checked(device, lambda value=value: percent("battery_percent", _must(value)))
        elif key == "LinkQuality":
            yield from _checked(device, lambda value=value: percent("signal", round(_must(value) * 100 / 255, 1)))
        elif key in _TASMOTA_NUMBERS:
            quantity, unit = _TASMOTA_NUMBERS[key]
            yield from _numbers(device, quantity, number(value), unit, None)


def bluetooth(body: Mapping[str, Any]) -> list[Finding | RemoteProtocolError]:
    """A BTtoMQTT object: what a decoder of the gateway found in an advertisement."""
    found: list[Finding | RemoteProtocolError] = []
    for key, value in list(body.items())[:_SENSORS_LIMIT]:
        name = key.lower()
        if name in _OMG_STATES and word(value) in ("0", "1", "true", "false", "on", "off"):
            found.append(Turn(_OMG_STATES[name], word(value) in ("1", "true", "on")))
        elif name == "rssi":
            found += received(number(value) or 0)
        elif name == "batt":
            found += [finding for _, finding in _checked("", lambda value=value: percent("battery_percent", _must(value)))]
        elif name in _OMG_NUMBERS:
            quantity, unit = _OMG_NUMBERS[name]
            found += [finding for _, finding in _numbers("", quantity, number(value), unit, None)]
        elif name == "button" and word(value):
            text = clean_text(word(value), 40)
            found.append(Pulse(_K.SOS if text in SOS_WORDS else _K.BUTTON, text))
    return found


def bare_entity(component: str, name: str, payload: str) -> list[Finding]:
    """The state of an ESPHome entity of which no configuration is known: only names that mean the same everywhere."""
    text = payload.strip()
    words = frozenset(name.lower().replace("-", "_").split("_"))
    if component == "event":
        return [Pulse(_K.SOS if words & SOS_WORDS else _K.BUTTON, f"{clean_text(name, 40)} {clean_text(text, 40)}")] if text else []
    if component != "binary_sensor" or word(text) not in ("on", "off"):
        return []
    kind = NAMED_BINARIES.get(name.lower())
    kind = kind or (_K.SOS if words & SOS_WORDS else _K.FALL if words & FALL_WORDS else None)
    return [Turn(kind, word(text) == "on")] if kind else []


def radio_code(body: Mapping[str, Any], codes: Mapping[str, OccurrenceKind]) -> tuple[str, Finding] | None:
    """A 433toMQTT object: the code names the device; `codes` tells what it was sold as."""
    code = word(body.get("value"))
    if not code or code == "big" or len(code) > 32:
        return None
    length = number(body.get("length"))
    detail = f"433 MHz code {clean_text(code, 32)}" + (f", {length:g} bits" if length else "")
    return f"rf433-{clean_text(code, 32)}", Pulse(codes.get(code, _K.BUTTON), detail)


def uptime(body: Mapping[str, Any]) -> list[Finding]:
    """A SYStoMQTT object."""
    found: list[Finding] = []
    seconds, strength = number(body.get("uptime")), number(body.get("rssi"))
    if seconds is not None and 0 <= seconds < 2**32:
        found.append(Vital("uptime_s", round(seconds)))
    if isinstance(body.get("version"), str):
        found.append(Vital("firmware", clean_text(body["version"], 40)))
    return found + received(strength if strength is not None else 0)


def _numbers(device: str, quantity: Quantity, value: float | None, unit: str, channel: str | None) -> Found:
    if value is not None:
        yield from _checked(device, lambda: measured(quantity, value, unit, channel))


def _checked(device: str, make: Any) -> Found:
    try:
        found: list[Finding] = make()
    except RemoteProtocolError as error:
        yield device, error
        return
    yield from ((device, finding) for finding in found)


def _must(value: Any) -> float:
    found = number(value)
    return -1.0 if found is None else found


__all__ = ["Found", "Reading", "bare_entity", "bluetooth", "radio_code", "tasmota", "uptime"]
