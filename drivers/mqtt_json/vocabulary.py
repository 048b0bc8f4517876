"""What a mapped device may report: the names of `drivers.vocabulary` that a device can know (rules make the others)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from protocols.mqtt.json_path import clean_text, number, word

QUANTITIES = (
    "heart_rate", "systolic", "diastolic", "mean_arterial", "pulse_rate", "spo2", "perfusion_index", "body_temperature",
    "respiration_rate", "rr_interval", "glucose", "weight", "bmi", "height", "energy", "steps", "tumbles", "walking_time", "movement",
    "sleep_stage", "sleep_score", "sleep_awake", "sleep_light", "sleep_deep", "sleep_total", "turns", "apnoea", "temperature", "humidity",
    "dew_point", "illuminance", "pressure", "water_pressure", "gas_lel", "co", "co2", "ch2o", "tvoc", "pm25", "pm10", "pm1", "oxygen",
    "h2s", "smoke_density", "uv_index", "sound_level", "distance", "level", "speed", "rotation", "acceleration", "voltage", "current",
    "power", "energy_used", "frequency", "leakage_current", "conductivity", "moisture", "water_flow", "water_volume", "gas_volume",
    "odometer", "count", "duration",
)  # fmt: skip

KINDS = (
    "sos", "fall", "fall_suspected", "fire", "smoke", "heat", "gas", "co_alarm", "water_leak", "electrical_fire", "medical", "burglary",
    "welfare_missed", "vital_abnormal", "breathing_abnormal", "struggle", "long_still", "general_alarm", "removed", "worn", "no_motion",
    "motion", "presence", "zone_occupied", "bed_exit", "bed_entry", "door_open", "window_open", "vibration", "tilt", "crash", "tamper",
    "sound", "light", "cold", "button", "moving", "ignition", "fault", "warming_up", "power_cut", "low_battery", "charging", "power_on",
    "power_off", "running", "shielded", "supervised", "device_reset", "offline", "network_lost", "sim_fault", "gnss_lost", "overspeed",
    "device_fence_exit", "device_fence_entry", "medication_taken", "reminder_confirmed", "reminder_snoozed", "reminder_unanswered",
    "incoming_call", "call_ended", "message_received", "video_consent", "service_visit", "location_requested", "armed", "test",
    "valve_closed", "siren",
)  # fmt: skip

VITAL_HEALTH = {"battery": "battery_percent", "signal": "signal", "rssi": "rssi_dbm"}
"""Quantities that say how the device is, not how the person or room is."""


class HealthField(NamedTuple):
    """A field of DeviceHealth. `mend` gives its value in the right type, None where it does not fit."""

    kind: str
    expected: str
    mend: Callable[[Any], Any]


def _ranged(low: float, high: float, whole: bool) -> HealthField:
    def mend(value: Any) -> Any:
        found = number(value)
        if found is None or not low <= found <= high:
            return None
        return round(found) if whole else found

    return HealthField("number", f"{low:g}..{high:g}", mend)


def _claim(value: Any) -> bool | None:
    return {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}.get(word(value))


_CLAIM = HealthField("bool", "true or false", _claim)
_TEXT = HealthField("text", "a text", lambda value: clean_text(value) or None if isinstance(value, str | int | float) else None)

HEALTH: dict[str, HealthField] = {
    "battery_percent": _ranged(0, 100, whole=False),
    "battery_level": _ranged(0, 100, whole=True),
    "battery_mv": _ranged(0, 100_000, whole=True),
    "battery_low": _CLAIM,
    "charging": _CLAIM,
    "external_power": _CLAIM,
    "signal": _ranged(0, 100, whole=False),
    "rssi_dbm": _ranged(-200, 50, whole=True),
    "online": _CLAIM,
    "firmware": _TEXT,
    "hardware": _TEXT,
    "model": _TEXT,
    "serial": _TEXT,
    "iccid": _TEXT,
    "imsi": _TEXT,
    "uptime_s": _ranged(0, 2**32, whole=True),
}
