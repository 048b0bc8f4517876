"""No sign of life for too long, by time of day and habit; and a morning on which nobody got up.

A quiet span counts as night where most of it lies in the night hours. Its limit is the default, or, once three days are known, the
longest quiet span of that sort in the last 14 days plus `habit_h`. An occupied bed halves the weight of the quiet time. Where the
last sign was the entrance door, the person has gone out: then only `away_h` counts. The morning rise is the first sign of the day;
it is missed `rise_min` after the usual (median) time.
"""

from __future__ import annotations

import msgspec

from drivers.events import Event, Measurement, Occurrence, ServiceRequest
from drivers.vocabulary import OccurrenceKind, Quantity, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import DAY_MS, HOUR_MS, MINUTE_MS, Window, day_of, local_ms, minute_of_day, next_at, parse_window

_K, _Q = OccurrenceKind, Quantity
_END, _BED_ENTRY, _DOOR_OPEN, _WATER_FLOW = State.END, _K.BED_ENTRY, _K.DOOR_OPEN, _Q.WATER_FLOW
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_SIGNS = frozenset(
    {_K.MOTION, _K.PRESENCE, _K.ZONE_OCCUPIED, _K.DOOR_OPEN, _K.WINDOW_OPEN, _K.BED_EXIT, _K.BED_ENTRY, _K.BUTTON, _K.SOS}
    | {_K.REMINDER_CONFIRMED, _K.MEDICATION_TAKEN, _K.MOVING, _K.INCOMING_CALL}
)
_BED = frozenset({_K.BED_ENTRY, _K.BED_EXIT})
_FLOWS = frozenset({_Q.WATER_FLOW, _Q.STEPS, _Q.WATER_VOLUME})
STEP_MS = 60_000
"""Signs closer than this are one: states are written when they change."""
SAMPLE_MS = 900_000
KNOWN_DAYS = 3
HABIT_DAYS = 14


class DayHabit(msgspec.Struct, omit_defaults=True):
    """One local day: longest quiet span in minutes that was mostly day, mostly night; minute of the first sign (-1 = none)."""

    day: int
    quiet_day: int = 0
    quiet_night: int = 0
    rise: int = -1


class InactivityState(RuleState):
    """`last_ms` steady time of the last sign, 0 = none yet; `since_ms` start of the learning; `totals` of counters that only grow."""

    last_ms: int = 0
    last: str = ""
    is_out: bool = False
    in_bed: bool = False
    is_told: bool = False
    rise_told: bool = False
    days: list[DayHabit] = []
    totals: dict[str, float] = {}


class InactivityRule:
    """Asks when a home goes quiet."""

    name = "inactivity"
    title = ("no sign of activity", "长时间无活动")
    settings = (
        Setting("day_h", 4.0, "h", "quiet by day", "Sansihuayuan Beijing", low=0.5, high=24),
        Setting("night_h", 10.0, "h", "quiet by night", "Sansihuayuan Beijing", low=1, high=24),
        Setting("habit_h", 2.0, "h", "added to the longest quiet span of 14 days", "", low=0, high=12),
        Setting("longest_h", 14.0, "h", "no habit makes the limit longer", "", low=2, high=48),
        Setting("away_h", 24.0, "h", "silence after the entrance door", "", low=1, high=168),
        Setting("rise_min", 90, "min", "after the usual time of rising", "QuietCare", low=15, high=600),
        Setting("entrances", ["entrance", "hall", "front door", "入户门", "大门", "玄关"], "", "places of entrance doors", kind=list[str]),
    )
    state_type = InactivityState
    listens: frozenset[Topic] | None = frozenset(_SIGNS | _FLOWS | {ServiceRequest})
    without_ends = _SIGNS - _BED - {_K.DOOR_OPEN}
    grace_ms = 900_000
    key = staticmethod(of_person)

    def apply(self, state: InactivityState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        is_door = False
        told: Decision | None = UNCHANGED
        if type(body) is Occurrence:
            kind = body.kind
            if body.stored:
                return UNCHANGED
            if kind in _BED:
                state.in_bed, told = (kind is _BED_ENTRY) == (body.state is not _END), None
            elif kind is _DOOR_OPEN:
                facts = context.facts
                place = body.place or (facts.place if facts else None)
                is_door = place is None or place in context.settings["entrances"]
            elif body.state is _END:
                # The end of something proves nothing.
                return UNCHANGED
        elif type(body) is Measurement:
            told = None
            if body.stored or not _has_flown(state, event.device, body):
                return None
        if context.steady_ms - state.last_ms < STEP_MS and state.last_ms and not state.is_told and is_door == state.is_out:
            return told
        return self._sign(state, event, context, is_door=is_door)

    def wake(self, state: InactivityState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            if timer == "quiet":
                decision.add(self._quiet(state, context))
            elif timer == "rise":
                decision.add(self._rise(state, context))
        return decision

    def _sign(self, state: InactivityState, event: Event, context: Context, *, is_door: bool) -> Decision | None:
        now, values = context.steady_ms, context.settings
        window = parse_window(values["night"])
        here_ms = local_ms(context.now.ms, values["zone"])
        day, minute = here_ms // DAY_MS, here_ms // MINUTE_MS % 1440
        if not state.days or state.days[-1].day != day:
            state.days = [*state.days, DayHabit(day)][-(HABIT_DAYS + 1) :]
        limits = self._limits(state, context)
        today = state.days[-1]
        if state.last_ms and not state.is_out:
            # A span that was told counts too (a nap is a habit), but an emergency must not teach its whole length.
            most = int((max(limits) + values["habit_h"]) * 60)
            minutes = min((now - state.last_ms) // MINUTE_MS, most)
            if self._is_night(state, context, window):
                today.quiet_night = max(today.quiet_night, minutes)
            else:
                today.quiet_day = max(today.quiet_day, minutes)
        events: list[Event] = []
        if today.rise < 0 and minute >= window.end - 60:
            today.rise = minute
            if state.rise_told:
                events.append(context.event(Occurrence(kind=_K.MORNING_RISE_MISSED, state=State.END, explain=context.why())))
            state.rise_told = False
            self._arm_rise(state, context)
        if state.is_told:
            state.is_told = False
            why = context.why(numbers={"quiet_h": (now - state.last_ms) / HOUR_MS})
            events.append(context.event(Occurrence(kind=_K.INACTIVITY, state=State.END, explain=why)))
        state.last_ms, state.last, state.is_out = now, event.id, is_door
        state.timers["quiet"] = now + int((values["away_h"] if is_door else min(limits)) * HOUR_MS)
        return Decision(events) if events else None

    def _limits(self, state: InactivityState, context: Context) -> tuple[float, float]:
        """Hours by day and by night."""
        values = context.settings
        known = state.days[:-1]
        day_h: float = values["day_h"]
        night_h: float = values["night_h"]
        if len(known) >= KNOWN_DAYS:
            day_h = max([entry.quiet_day for entry in known]) / 60 + values["habit_h"]
            night_h = max([entry.quiet_night for entry in known]) / 60 + values["habit_h"]
        longest: float = values["longest_h"]
        return min(day_h, longest), min(max(night_h, day_h), longest)

    def _is_night(self, state: InactivityState, context: Context, window: Window) -> bool:
        zone, end = context.settings["zone"], context.now.ms
        begin = end - (context.steady_ms - state.last_ms)
        if 0 < end - begin <= SAMPLE_MS:
            return window.holds(minute_of_day(begin, zone))
        step = max(SAMPLE_MS, (end - begin) // 100)
        moments = range(begin, end, step)
        night = sum(window.holds(minute_of_day(at, zone)) for at in moments)
        return 2 * night > len(moments)

    def _quiet(self, state: InactivityState, context: Context) -> Decision | None:
        now = context.steady_ms
        quiet_h = (now - state.last_ms) / HOUR_MS
        day_h, night_h = self._limits(state, context)
        is_night = self._is_night(state, context, parse_window(context.settings["night"]))
        limit = context.settings["away_h"] if state.is_out else night_h if is_night else day_h
        weight = 0.5 if state.in_bed and not state.is_out else 1.0
        if quiet_h * weight < limit - 1e-9:
            left = int((limit - quiet_h * weight) / weight * HOUR_MS) + 1
            state.timers["quiet"] = now + min(left, SAMPLE_MS if not state.is_out else DAY_MS)
            return None
        state.is_told = True
        known = len(state.days) - 1
        names = ("away_h",) if state.is_out else ("night_h" if is_night else "day_h", "habit_h")
        why = context.why(settings=names, inputs=[state.last], numbers={"quiet_h": quiet_h, "limit_h": limit, "habit_days": float(known)})
        detail = "left by the door and not back" if state.is_out else None
        severity = Severity.WARNING if state.is_out else None
        body = Occurrence(kind=_K.INACTIVITY, state=State.START, severity=severity, detail=detail, explain=why)
        return Decision([context.event(body, cause=state.last)])

    def _usual_rise(self, state: InactivityState) -> int | None:
        rises = sorted(entry.rise for entry in state.days if entry.rise >= 0)
        return rises[len(rises) // 2] if len(rises) >= KNOWN_DAYS else None

    def _arm_rise(self, state: InactivityState, context: Context) -> None:
        """Wait for tomorrow's rise."""
        usual = self._usual_rise(state)
        if usual is None:
            return
        zone = context.settings["zone"]
        at = next_at(context.now.ms, min(usual + context.settings["rise_min"], 1439), zone)
        if at is not None and day_of(at, zone) == day_of(context.now.ms, zone):
            at = next_at(at, min(usual + context.settings["rise_min"], 1439), zone)
        if at is not None:
            state.timers["rise"] = context.steady_ms + at - context.now.ms

    def _rise(self, state: InactivityState, context: Context) -> Decision | None:
        zone = context.settings["zone"]
        usual = self._usual_rise(state)
        is_up = bool(state.days) and state.days[-1].day == day_of(context.now.ms, zone) and state.days[-1].rise >= 0
        if usual is None:
            return None
        if is_up or state.is_out or minute_of_day(context.now.ms, zone) < usual:
            self._arm_rise(state, context)
            return None
        state.rise_told = True
        why = context.why(settings=("rise_min",), inputs=[state.last], numbers={"usual_minute": float(usual)})
        return Decision([context.event(Occurrence(kind=_K.MORNING_RISE_MISSED, state=State.START, explain=why), cause=state.last)])


def _has_flown(state: InactivityState, device: str, body: Measurement) -> bool:
    """Whether somebody used water or walked: a counter that stands still proves nothing."""
    if body.quantity is _WATER_FLOW:
        return body.value > 0
    before = state.totals.get(device)
    if before != body.value and (device in state.totals or len(state.totals) < 16):
        state.totals[device] = body.value
    return before is not None and body.value > before
