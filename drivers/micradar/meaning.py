"""From MicRadar messages to event bodies; keeps what the radar said last, to tell changes from repetitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drivers.api import Body, DeviceHealth, Measurement, Occurrence, OccurrenceKind, Quantity, Severity, State
from protocols.serial.micradar import STAGE

_K, _Q = OccurrenceKind, Quantity
Values = Mapping[str, Any]

PARAMETERS = frozenset({
    "presence_switch", "still_range_cm", "moving_range_cm", "presence_threshold", "nobody_time_s", "breath_switch", "breath_low_limit",
    "breath_wave_switch", "fall_switch", "residence_time_s", "residence_switch", "fall_duration_s", "fall_sensitivity", "height_time_s",
    "fall_break_height_cm", "sleep_switch", "struggle_switch", "nobody_timer_switch", "nobody_timer_min", "struggle_sensitivity",
    "heart_switch", "heart_wave_switch", "install_height_cm", "sleep_rating",
})  # fmt: skip
"""Messages whose value is a setting of the radar: shown in `DeviceHealth.parameters`."""

MINUTES = {"awake_min": _Q.SLEEP_AWAKE, "light_min": _Q.SLEEP_LIGHT, "deep_min": _Q.SLEEP_DEEP}
SLEEP_FAULTS = {"short": "slept less than 4 h", "long": "slept more than 12 h"}


SAME_FALL_S = 30.0


class Meaning:
    """The state of one radar. `report_s` thins movement and distance, which the radar repeats every second."""

    def __init__(self, *, report_s: float) -> None:
        self._report_s = report_s
        self._reported_s: dict[str, float] = {}
        self._on: dict[OccurrenceKind, bool | None] = {}
        self._now_s = 0.0
        self._fallen_s = 0.0
        self._presence: bool | None = None
        self._bed: str | None = None
        self._breath = ""
        self._breath_told = ""
        self._stage = ""
        self._read: dict[str, Callable[[Values], list[Body]]] = {
            "presence": self._presence_bodies,
            "motion": lambda v: self._change(_K.MOTION, v["motion"] == "active"),
            "in_range": lambda v: self._change(_K.ZONE_OCCUPIED, v["value"], place="detection range"),
            "fall": self._fall_bodies,
            "static_residence": lambda v: self._alarm(_K.LONG_STILL, v["residence"]),
            "struggle": lambda v: self._alarm(_K.STRUGGLE, v["state"] == "abnormal"),
            "nobody_timer": lambda v: self._alarm(_K.BED_NO_RETURN, v["state"] == "abnormal"),
            "fall_switch": lambda v: self._alarm(_K.SHIELDED, not v["value"], detail="fall detection is switched off"),
            "bed": self._bed_bodies,
            "breath_state": self._breath_bodies,
            "breath_rate": lambda v: _measured(_Q.RESPIRATION_RATE, v["value"]),
            "heart_rate": lambda v: _measured(_Q.HEART_RATE, v["value"]),
            "sleep_stage": self._stage_bodies,
            "sleep_score": lambda v: _measured(_Q.SLEEP_SCORE, v["value"], zero=True),
            "sleep_10min": _ten_minutes,
            "night": _night,
            "sleep_fault": _sleep_fault,
            "model": lambda v: [DeviceHealth(model=v["text"])],
            "hardware": lambda v: [DeviceHealth(hardware=v["text"])],
            "firmware": lambda v: [DeviceHealth(firmware=v["text"])],
            "product_id": lambda v: [DeviceHealth(parameters={"product_id": v["text"]})],
            "install_angles": lambda v: [DeviceHealth(parameters={f"install_angle_{axis}": str(v[axis]) for axis in "xyz"})],
        }

    def forget(self) -> None:
        """The radar restarted: its first report of each state counts as a change, a standing alarm may start anew or end."""
        self._presence = self._bed = None
        self._stage = ""
        self._on = {kind: None for kind, on in self._on.items() if on}

    def bodies(self, name: str, values: Values, now_s: float) -> list[Body]:
        """What one message means; none for waveforms, heartbeats and states that did not change."""
        self._now_s = now_s
        found: list[Body] = []
        if name in PARAMETERS:
            (value,) = values.values()
            found.append(DeviceHealth(parameters={name: str(int(value) if isinstance(value, bool) else value)}))
        if name in MINUTES:
            return _measured(MINUTES[name], values["value"], zero=True)
        if name == "body_param" and self._due(name, now_s):
            return _measured(_Q.MOVEMENT, values["value"], zero=True)
        if name == "distance_cm" and values["value"] and self._due(name, now_s):
            return _measured(_Q.DISTANCE, values["value"] / 100)
        read = self._read.get(name)
        return found + read(values) if read else found

    def _due(self, name: str, now_s: float) -> bool:
        last = self._reported_s.get(name)
        if last is not None and now_s - last < self._report_s:
            return False
        self._reported_s[name] = now_s
        return True

    def _change(self, kind: OccurrenceKind, on: bool, *, place: str | None = None) -> list[Body]:
        """A state: the first report counts, on or off."""
        if self._on.get(kind) == on:
            return []
        self._on[kind] = on
        return [Occurrence(kind=kind, state=State.START if on else State.END, place=place)]

    def _alarm(self, kind: OccurrenceKind, on: bool, *, detail: str | None = None) -> list[Body]:
        """An alarm: START on the edge, END only of what started."""
        if self._on.get(kind, False) == on:
            return []
        self._on[kind] = on
        return [Occurrence(kind=kind, state=State.START if on else State.END, detail=detail)]

    def _fall_bodies(self, values: Values) -> list[Body]:
        """A radar that repeats a fall does so every few seconds: a report long after the last one is another fall, its 0 was lost."""
        fallen = values["fall"]
        if fallen:
            if self._now_s - self._fallen_s > SAME_FALL_S:
                self._on.pop(_K.FALL, None)
            self._fallen_s = self._now_s
        return self._alarm(_K.FALL, fallen)

    def _presence_bodies(self, values: Values) -> list[Body]:
        self._presence = values["presence"]
        return self._change(_K.PRESENCE, values["presence"]) + self._breathing()

    def _bed_bodies(self, values: Values) -> list[Body]:
        """In: entry starts, exit ends. Out: the reverse. "None" (no bed watched) ends an entry, it is no exit."""
        bed, before = values["bed"], self._bed
        if bed == before:
            return []
        self._bed = bed
        found: list[Body] = []
        if bed == "in":
            found += self._alarm(_K.BED_EXIT, False) + self._alarm(_K.BED_ENTRY, True)
        else:
            found += self._alarm(_K.BED_ENTRY, False)
        if bed == "out":
            found += self._alarm(_K.BED_EXIT, True)
        return found + self._breathing()

    def _breath_bodies(self, values: Values) -> list[Body]:
        self._breath = values["state"]
        return self._breathing()

    def _breathing(self) -> list[Body]:
        """No breath in an empty bed is no alarm; while the bed is unknown it is a warning, and an alarm once somebody lies there."""
        said = self._breath if self._breath in ("high", "low", "none") else ""
        if said == "none":
            empty = self._bed in ("out", "none") or (self._bed is None and self._presence is False)
            said = "" if empty else "none" if self._bed == "in" else "none, bed unknown"
        before, self._breath_told = self._breath_told, said
        if said == before:
            return []
        if not said:
            return [Occurrence(kind=_K.BREATHING_ABNORMAL, state=State.END)]
        severity = Severity.WARNING if said == "none, bed unknown" else None
        return [Occurrence(kind=_K.BREATHING_ABNORMAL, state=State.START, severity=severity, detail=f"breathing {said}")]

    def _stage_bodies(self, values: Values) -> list[Body]:
        if values["stage"] == self._stage:
            return []
        self._stage = values["stage"]
        return _measured(_Q.SLEEP_STAGE, STAGE.index(self._stage), zero=True)


def _measured(quantity: Quantity, value: float, *, zero: bool = False, channel: str | None = None) -> list[Body]:
    """Zero means "not measurable" for vital signs and distance, a value for counts."""
    return [Measurement(quantity=quantity, value=value, channel=channel)] if value or zero else []


def _ten_minutes(values: Values) -> list[Body]:
    channel = "average_10min"
    return [
        *_measured(_Q.RESPIRATION_RATE, values["avg_breath"] if values["avg_breath"] <= 100 else 0, channel=channel),
        *_measured(_Q.HEART_RATE, values["avg_heart"] if values["avg_heart"] <= 250 else 0, channel=channel),
        *_measured(_Q.TURNS, values["turns"], zero=True, channel=channel),
        *_measured(_Q.APNOEA, values["apnea"], zero=True, channel=channel),
    ]


def _night(values: Values) -> list[Body]:
    channel, total = "night", min(values["total_min"], 1440)
    found = _measured(_Q.SLEEP_SCORE, values["score"], zero=True, channel=channel)
    found += _measured(_Q.SLEEP_TOTAL, total, zero=True, channel=channel)
    for key, quantity in (("awake_pct", _Q.SLEEP_AWAKE), ("light_pct", _Q.SLEEP_LIGHT), ("deep_pct", _Q.SLEEP_DEEP)):
        found += _measured(quantity, round(total * min(values[key], 100) / 100), zero=True, channel=channel)
    found += _measured(_Q.TURNS, values["turns"], zero=True, channel=channel)
    found += _measured(_Q.RESPIRATION_RATE, values["avg_breath"] if values["avg_breath"] <= 100 else 0, channel=channel)
    found += _measured(_Q.HEART_RATE, values["avg_heart"] if values["avg_heart"] <= 250 else 0, channel=channel)
    return found + _measured(_Q.APNOEA, values["apnea"], zero=True, channel=channel)


def _sleep_fault(values: Values) -> list[Body]:
    if values["fault"] in SLEEP_FAULTS:
        return [Occurrence(kind=_K.VITAL_ABNORMAL, severity=Severity.NOTICE, detail=SLEEP_FAULTS[values["fault"]])]
    if values["fault"] == "nobody":
        return [Occurrence(kind=_K.BED_NO_RETURN, detail="out of bed for unusually long")]
    return []
