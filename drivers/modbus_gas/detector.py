"""One gas detector behind a Modbus unit: from a reading to event bodies, with what it said last."""

from __future__ import annotations

from drivers.api import Body, DeviceHealth, Measurement, Occurrence, OccurrenceKind, Quantity, Reason, Reject, Severity, State, in_range
from protocols.serial.modbus_gas import Field, Profile, Reading

_K, _Q = OccurrenceKind, Quantity

ALARMS = {_Q.GAS_LEL: _K.GAS, _Q.CO: _K.CO_ALARM}
"""Alarm of a detector, by what it measures; anything else is a general alarm."""
UNITS = {"%lel": _Q.GAS_LEL, "ug/m3": _Q.TVOC, "cel": _Q.TEMPERATURE, "%rh": _Q.HUMIDITY, "%vol": _Q.OXYGEN}
FIRST_WORDS = {"ch4": _Q.GAS_LEL, "lpg": _Q.GAS_LEL, "gas": _Q.GAS_LEL, "hcho": _Q.CH2O, "o2": _Q.OXYGEN, "temp": _Q.TEMPERATURE}
BAD_WORDS = (
    ("batt", "fault"),
    ("warm", "warming"),
    ("preheat", "warming"),
    ("over", "over"),
    ("fault", "fault"),
    ("fail", "fault"),
    ("error", "fault"),
)
ALARM_WORDS = frozenset({"alarm", "low", "high", "warning", "leak", "alarm1", "alarm2", "al1", "al2", "lowlow", "highhigh"})


def quantity_of(item: Field) -> Quantity | None:
    """What a field measures: its `quantity`, else its name, else its unit."""
    if item.type in ("enum", "bits", "text") or item.role:
        return None
    known = {quantity.value: quantity for quantity in Quantity}
    first = item.name.lower().split("_")[0]
    by_name = known.get(item.quantity) or known.get(item.name.lower())
    return by_name or UNITS.get(item.unit.lower()) or known.get(first) or FIRST_WORDS.get(first)


def sense_of(word: str) -> str:
    """What a status word or bit name says: normal, alarm, over, fault or warming.

    >>> [sense_of(word) for word in ("normal", "low_alarm", "sensor_fault", "warmup", "high", "over_range", "disabled")]
    ['normal', 'alarm', 'fault', 'warming', 'alarm', 'over', 'normal']
    """
    word = word.lower()
    found = next((sense for part, sense in BAD_WORDS if part in word), "")
    if found:
        return found
    return "alarm" if ALARM_WORDS & set(word.replace("-", "_").replace(" ", "_").split("_")) else "normal"


class Detector:
    """State of one unit. `report_s`, `report_change`: when an unchanged value is told again, and which change is told at once."""

    def __init__(self, device: str, profile: Profile, unit: int, *, report_s: float, report_change: float) -> None:
        self.device = device
        self.profile = profile
        self.unit = unit
        self.misses = 0
        self.next_s = 0.0
        self.is_offline = False
        self._report_s = report_s
        self._report_change = report_change
        self._quantities = {item.name: quantity_of(item) for item in profile.fields}
        self._alarm_kind = next((ALARMS[q] for q in self._quantities.values() if q in ALARMS), _K.GENERAL_ALARM)
        self._told: dict[str, tuple[float, float]] = {}
        self._states: dict[OccurrenceKind, str] = {}
        self._parameters: dict[str, str] = {}

    def bodies(self, reading: Reading, now_s: float) -> tuple[list[Body], list[Reject]]:
        """Events of one reading, alarms first, and what of it could not be used.

        The detector's own alarm is final. Beyond the measuring range is an alarm, too: a saturated sensor must not end one.
        """
        senses = self._senses(reading)
        found: list[Body] = []
        alarm = _text(senses, "alarm", "over")
        is_blind = "fault" in senses or "warming" in senses or bool(reading.faults)
        if alarm or not is_blind:
            # A blind detector does not end an alarm: a broken sensor is not "no gas".
            found += self._state(self._alarm_kind, alarm, severity=_severity(senses))
        found += self._state(_K.FAULT, _text(senses, "fault"))
        found += self._state(_K.WARMING_UP, _text(senses, "warming"))
        refused = [Reject(Reason.RANGE, f"{name}: {fault}") for name, fault in reading.faults.items()]
        if "warming" not in senses and "fault" not in senses:
            # What a cold or broken sensor shows is no concentration.
            found += self._measured(reading, now_s, refused)
        return found + self._described(reading), refused

    def failed(self, name: str) -> list[Body]:
        """The unit answered with an exception: a failure of the device is a fault of the sensor, not "no gas"."""
        return self._state(_K.FAULT, name) if name == "device_failure" else []

    def _senses(self, reading: Reading) -> dict[str, list[str]]:
        senses: dict[str, list[str]] = {}
        for item in self.profile.fields:
            value = reading.values.get(item.name)
            words = value if isinstance(value, list) else [value] if item.type == "enum" and value is not None else []
            for word in words:
                senses.setdefault(sense_of(word), []).append(word)
        for name in reading.over:
            senses.setdefault("over", []).append(f"{name} over range")
        for name in reading.under:
            senses.setdefault("fault", []).append(f"{name} under range")
        for name, fault in reading.faults.items():
            if self._quantities.get(name):
                senses.setdefault("fault", []).append(f"{name}: {fault}")
        return senses

    def _state(self, kind: OccurrenceKind, detail: str, *, severity: Severity | None = None) -> list[Body]:
        """START when it begins and when it becomes another alarm (low to high), END of what started."""
        before = self._states.get(kind, "")
        if detail == before:
            return []
        self._states[kind] = detail
        if not detail:
            return [Occurrence(kind=kind, state=State.END)]
        return [Occurrence(kind=kind, state=State.START, severity=severity, detail=detail)]

    def _measured(self, reading: Reading, now_s: float, refused: list[Reject]) -> list[Body]:
        found: list[Body] = []
        for name, quantity in self._quantities.items():
            value = reading.values.get(name)
            if quantity is None or not isinstance(value, int | float):
                continue
            if not in_range(quantity, value):
                refused.append(Reject(Reason.RANGE, f"{name}: {value:g} is outside the range of {quantity.value}"))
                continue
            last, at = self._told.get(name, (value, -1e18))
            if now_s - at >= self._report_s or abs(value - last) >= self._report_change:
                self._told[name] = (value, now_s)
                found.append(Measurement(quantity=quantity, value=value))
        return found

    def _described(self, reading: Reading) -> list[Body]:
        """Texts and limits, once and when they change."""
        shown = {
            item.name: str(reading.values[item.name])
            for item in self.profile.fields
            if (item.type == "text" or item.role == "parameter") and item.name in reading.values
        }
        if shown == self._parameters:
            return []
        self._parameters = shown
        return [DeviceHealth(parameters=shown)]


def _text(senses: dict[str, list[str]], *wanted: str) -> str:
    return ", ".join(word for sense in wanted for word in senses.get(sense, ()))


def _severity(senses: dict[str, list[str]]) -> Severity | None:
    """A pre-alarm alone is one step below the full alarm of its kind."""
    words = senses.get("alarm", [])
    is_low = bool(words) and "over" not in senses and all("low" in word.lower() or "warning" in word.lower() for word in words)
    return Severity.ALARM if is_low else None
