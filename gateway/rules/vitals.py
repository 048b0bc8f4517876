"""Vital signs: the bands of NEWS2 (Royal College of Physicians, 2017), and the person's own band.

One reading proves nothing: two of the last three, at least `apart_s` apart, must lie in the band. A 3-point band is an alarm, a
2-point band a warning, a value off the own usual one by `own_pct` a notice (pulse and systolic pressure, once three days are
known). The sum over the latest readings of an hour is told from 5 (alarm) and 7 (emergency). Off the wrist voids what was read.
"""

from __future__ import annotations

import msgspec

from drivers.events import Event, Measurement, Occurrence
from drivers.vocabulary import OccurrenceKind, Quantity, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import HOUR_MS, day_of

_K, _Q = OccurrenceKind, Quantity
_END, _SPO2 = State.END, _Q.SPO2
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_BANDS: dict[Quantity, tuple[tuple[float, int], ...]] = {
    _Q.RESPIRATION_RATE: ((8, 3), (11, 1), (20, 0), (24, 2), (1e9, 3)),
    _Q.SPO2: ((91, 3), (93, 2), (95, 1), (1e9, 0)),
    _Q.SYSTOLIC: ((90, 3), (100, 2), (110, 1), (219, 0), (1e9, 3)),
    _Q.HEART_RATE: ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (1e9, 3)),
    _Q.BODY_TEMPERATURE: ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), (1e9, 2)),
}
"""Quantity -> (up to and with this value, points), from low to high."""
_COPD = ((83.0, 3), (85.0, 2), (87.0, 1), (1e9, 0))
"""SpO2 scale 2 of NEWS2 for people tagged `copd`, breathing air."""
_OWN = frozenset({_Q.HEART_RATE, _Q.SYSTOLIC})
_SAME = {_Q.PULSE_RATE: _Q.HEART_RATE}
HABIT_DAYS = 14
KNOWN_DAYS = 3
MOST_A_DAY = 100
"""Readings of one day that count for the own band; a wristband sends one a minute."""


class Reading(msgspec.Struct, array_like=True):
    """A judged reading; `level` 0 good, 1 notice (own band), 2 warning, 3 alarm."""

    at_ms: int
    value: float
    points: int
    level: int
    id: str


class DayMean(msgspec.Struct, array_like=True):
    """One local day: sum and number of readings."""

    day: int
    total: float
    count: int


class VitalsState(RuleState):
    """By quantity: last three readings, daily means, level that was told; `sum_told` 0, 5 or 7."""

    readings: dict[str, list[Reading]] = {}
    days: dict[str, list[DayMean]] = {}
    told: dict[str, int] = {}
    sum_told: int = 0


class VitalsRule:
    """Judges what the body reports."""

    name = "vitals"
    title = ("vital signs", "生命体征")
    settings = (
        Setting("apart_s", 60, "s", "readings nearer than this are one", low=1, high=3600),
        Setting("own_pct", 30.0, "%", "distance from the own usual value of 14 days", low=5, high=100),
        Setting("urgent", 5, "", "sum of points that is an alarm", "NEWS2", low=3, high=20),
        Setting("emergency", 7, "", "sum of points that is an emergency", "NEWS2", low=3, high=20),
    )
    state_type = VitalsState
    listens: frozenset[Topic] | None = frozenset({*_BANDS, *_SAME, _K.REMOVED})
    grace_ms = 0
    key = staticmethod(of_person)

    def apply(self, state: VitalsState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        if isinstance(body, Occurrence):
            if body.state is not _END:
                state.readings = {}
            return None
        if not isinstance(body, Measurement) or body.stored:
            return UNCHANGED
        quantity = _SAME.get(body.quantity, body.quantity)
        name, now = quantity._value_, context.steady_ms
        readings = state.readings.get(name, [])
        if readings and now - readings[-1].at_ms < context.settings["apart_s"] * 1000:
            return UNCHANGED
        points = _points(quantity, body.value, context)
        is_own = quantity in _OWN
        level = points if points >= 2 else 1 if is_own and self._is_unusual(state, quantity, body.value, context) else 0
        readings = state.readings[name] = [*readings[-2:], Reading(now, body.value, points, level, event.id)]
        if is_own:
            self._learn(state, name, body.value, context)
        told, total = self._band(state, quantity, readings, context), self._sum(state, context)
        return Decision([event for event in (told, total) if event is not None]) if told or total else None

    def wake(self, state: VitalsState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        state.due(context.steady_ms)
        return None

    def _band(self, state: VitalsState, quantity: Quantity, readings: list[Reading], context: Context) -> Event | None:
        name = quantity._value_
        level = sorted([reading.level for reading in readings])[-2] if len(readings) > 1 else 0
        told = state.told.get(name, 0)
        if level > told:
            state.told[name] = level
            return self._event(context, quantity, readings, State.START, level)
        if told and len(readings) > 1 and readings[-1].level == 0 and readings[-2].level == 0:
            del state.told[name]
            return self._event(context, quantity, readings, State.END, told)
        return None

    def _event(self, context: Context, quantity: Quantity, readings: list[Reading], what: State, level: int) -> Event:
        severity = (Severity.INFO, Severity.NOTICE, Severity.WARNING, Severity.ALARM)[level]
        numbers = {quantity.value: readings[-1].value, "points": float(readings[-1].points)}
        inputs = [reading.id for reading in readings if reading.level or what is _END]
        why = context.why(settings=("own_pct",) if level == 1 else ("apart_s",), inputs=inputs, numbers=numbers)
        body = Occurrence(kind=_K.VITAL_ABNORMAL, state=what, severity=severity, detail=quantity.value, explain=why)
        return context.event(body)

    def _sum(self, state: VitalsState, context: Context) -> Event | None:
        since = context.steady_ms - HOUR_MS
        recent = [readings[-1] for readings in state.readings.values() if readings[-1].at_ms >= since]
        total = sum([reading.points for reading in recent])
        if not total and not state.sum_told:
            return None
        values = context.settings
        level = 7 if total >= values["emergency"] else 5 if total >= values["urgent"] else 0
        if level == state.sum_told or (level and len(recent) < 2):
            return None
        is_higher, state.sum_told = level > state.sum_told, level
        if level and not is_higher:
            return None
        why = context.why(settings=("urgent", "emergency"), inputs=[reading.id for reading in recent], numbers={"news2": float(total)})
        severity = Severity.EMERGENCY if level == 7 else Severity.ALARM if level else None
        body = Occurrence(kind=_K.VITAL_ABNORMAL, state=State.START if level else State.END, severity=severity, detail="news2", explain=why)
        return context.event(body)

    def _learn(self, state: VitalsState, name: str, value: float, context: Context) -> None:
        day = day_of(context.now.ms, context.settings["zone"])
        days = state.days.get(name, [])
        if not days or days[-1].day != day:
            days = state.days[name] = [*days, DayMean(day, 0.0, 0)][-(HABIT_DAYS + 1) :]
        today = days[-1]
        if today.count < MOST_A_DAY:
            today.total += value
            today.count += 1

    def _is_unusual(self, state: VitalsState, quantity: Quantity, value: float, context: Context) -> bool:
        days = state.days.get(quantity._value_, [])
        if len(days) <= KNOWN_DAYS:
            return False
        known = days[:-1]
        usual = sorted(entry.total / entry.count for entry in known if entry.count)[len(known) // 2]
        return abs(value - usual) > usual * float(context.settings["own_pct"]) / 100


def _points(quantity: Quantity, value: float, context: Context) -> int:
    bands = _BANDS[quantity]
    if quantity is _SPO2:
        person = context.directory.person(context.key)
        if person is not None and "copd" in person.tags:
            bands = _COPD
    for limit, points in bands:
        if value <= limit:
            return points
    return 0
