"""Safe and forbidden areas: who is on the wrong side of a fence, how sure that is, and who should be back.

Each fix moves the belief of every fence that it can say something about (geofence_state.py). GEOFENCE_EXIT (start) tells

- a warning when the belief passes `notice_p`, also by what becomes of it when somebody walks out across the border and then is not
  heard of for a while; an alarm when it passes `alarm_p`; again when the person, once told near the border,
  goes on much farther or turns back at the border and leaves anew;
- of a forbidden area the same, with the detail `in a forbidden area`; leaving it is GEOFENCE_EXIT (end).

GEOFENCE_ENTRY tells the return. NOT_BACK: still out at `not_back_by`. GEOFENCE_UNKNOWN (start, end): no usable fix for
`missed_reports` usual intervals. GEOFENCE_DWELL: stayed inside for `dwell_min`. WAS_OUTSIDE: a fix that was recorded earlier and came
late lies outside; it is never a live alarm. A fence that is not active (schedule) is followed in silence and told when it begins.
All of them carry the name of the fence in `place`.

Fixes are ordered by the time of the fix; older, doubled and repeated ones move nothing. A device whose clock is wrong by a constant is
recognised: three fixes in a row that arrive apart and late by the same span. While the belief rises the wristband is asked to report
more often. Someone accompanied (event SUPPRESSED, detail `accompanied 3`, hours, by a person with a name) is told as a notice.
"""

from __future__ import annotations

from math import inf

from drivers.api import Command, Verb
from drivers.events import DeviceHealth, Event, Occurrence, Position
from drivers.vocabulary import Datum, OccurrenceKind, Severity, Source, State, TimeQuality
from gateway.rules import geofence_state as belief
from gateway.rules.contract import UNCHANGED, Context, Decision, Setting, Topic, Values, of_person
from gateway.rules.datum import to_wgs84
from gateway.rules.fences import Area, Fence, FenceBook, FenceSet, Kept, fence_faults
from gateway.rules.geofence_state import Evidence, GeofenceState, Watch
from gateway.rules.schedule import HOUR_MS, MINUTE_MS, local_ms, minute_of_day, next_at, parse_minute

_K = OccurrenceKind
_WGS84 = Datum.WGS84
_UNTIMED = (TimeQuality.RECEIVED, TimeQuality.SUSPECT)
FUTURE_MS = 300_000
"""A fix from further in the future than this is dated by its receipt."""
GROW_TIMES, GROW_M, ANEW_M, BORDER_M = 2.0, 50.0, 25.0, 10.0
"""Told again: more than twice as far as when last told and 50 m more, or 25 m farther after having been within 10 m of the border."""
LIVE_EVERY_MS = 600_000
GAP_FADE = 0.95
"""Per look at the clock (half an hour): one long silence is forgotten within a day."""
IDLE_MS = 900_000
LATE_MIN = 10
"""A timer for a wall time that comes later than this means that the clock was set: the time is looked up anew."""


class GeofenceRule:
    """Watches the fences of each person."""

    name = "geofence"
    title = ("safe areas", "电子围栏")
    settings = (
        Setting("fence", [], "", "fences of a person, see fences.py", kind=list[Fence], check=fence_faults),
        Setting("area", [], "", "fences for everyone in a site or group, besides their own", kind=list[Fence], check=fence_faults),
        Setting("notice_p", 0.88, "", "certainty for a notice", "measured: bench/geofence.py", low=0.5, high=0.999),
        Setting("alarm_p", 0.98, "", "certainty for an alarm", "measured: bench/geofence.py", low=0.5, high=0.999),
        Setting("return_p", 0.30, "", "certainty of being out below which the person is back", low=0.05, high=0.5),
        Setting("late_min", 10, "min", "a fix that arrives later than this is history, not a live alarm", low=1, high=120),
        Setting("missed_reports", 3, "", "missed reports after which whereabouts are unknown; 0 = never told", low=0, high=100),
        Setting("unknown_min", 30, "min", "whereabouts are not unknown before so long", low=5, high=1440),
        Setting("live_s", 600, "s", "ask the wristband to report often for so long when doubt rises; 0 = never", low=0, high=3600),
        Setting("live_interval_s", 10, "s", "interval of these reports", low=5, high=300),
        Setting("battery_pct", 10, "%", "battery outside at or below this is told", low=0, high=50),
    )
    state_type = GeofenceState
    listens: frozenset[Topic] | None = frozenset({Position, DeviceHealth, _K.REMOVED, _K.LOW_BATTERY, _K.SUPPRESSED})
    grace_ms = 300_000
    key = staticmethod(of_person)

    def __init__(self) -> None:
        self._book = FenceBook()

    def rests(self, settings: Values) -> bool:
        """Nobody has drawn a fence."""
        return not settings["fence"] and not settings["area"]

    def apply(self, state: GeofenceState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        values = context.settings
        kept = self._book.of(context.key, values)
        body = event.body
        if type(body) is Position:
            return self._position(state, event, body, context, kept=kept)
        if isinstance(body, DeviceHealth):
            is_low = body.battery_low or (body.battery_percent is not None and body.battery_percent <= values["battery_pct"])
            return _peril(state, event, "low battery outside", context) if is_low else None
        assert isinstance(body, Occurrence)
        if body.kind is _K.SUPPRESSED:
            return self._escort(state, body, context)
        if body.state is State.END:
            return None
        return _peril(state, event, "off the wrist outside" if body.kind is _K.REMOVED else "low battery outside", context)

    def wake(self, state: GeofenceState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        fences = self._fences(context)
        for timer in state.due(context.steady_ms):
            what, _, name = timer.partition("|")
            area = fences.by_name.get(name)
            # Somebody who stays inside leaves no belief worth keeping, only the timer.
            watch = state.watches.setdefault(name, Watch()) if what == "dwell" else state.watches.get(name)
            if what == "unknown":
                decision.add(self._unknown(state, fences, context))
            elif what == "escort":
                decision.add(self._escort_over(state, context))
            elif area is None or watch is None:
                state.watches.pop(name, None)
            elif what == "active":
                decision.add(self._schedule(state, area, watch, context))
            elif what == "trip":
                decision.add(self._tell(state, area, watch, context, cause=state.last))
            elif what == "silent":
                decision.add(self._silent(state, area, watch, context))
            elif what == "back":
                decision.add(self._not_back(state, area, watch, context))
            elif what == "dwell":
                watch.is_dwelling = True
                why = context.why(inputs=[state.last], numbers={"stay_min": area.fence.dwell_min})
                decision.events.append(context.event(Occurrence(kind=_K.GEOFENCE_DWELL, place=name, explain=why), cause=state.last))
        return decision

    def _fences(self, context: Context) -> FenceSet:
        return self._book.of(context.key, context.settings).fences

    def _position(self, state: GeofenceState, event: Event, body: Position, context: Context, *, kept: Kept) -> Decision | None:
        if body.lat is None or body.lon is None or not body.valid:
            return UNCHANGED
        lat, lon = body.lat, body.lon
        if body.datum is not _WGS84:
            lat, lon = to_wgs84(lat, lon, body.datum)
        fences = kept.fences
        at_ms, late_ms = event.at_ms, context.now.ms - event.at_ms
        if not 0 <= late_ms < FUTURE_MS or state.offset_ms or state.lag_count or event.time_quality in _UNTIMED:
            at_ms, late_ms = _fix_time(state, event, body, context)
        is_history = late_ms > kept.late_ms
        decision = self._history(state, event, body, context, place=(lat, lon)) if is_history else None
        if at_ms <= state.fix_ms:
            return decision
        if not is_history:
            decision = _heard(state, context, kept=kept)
        plan, scale = fences.watched(lat, lon)
        found = belief.weigh(state, body, lat, lon, at_ms=at_ms, scale=scale)
        is_first = not state.fix_ms
        state.fix_ms, state.last, state.device = at_ms, event.id, event.device
        watches = state.watches
        if watches:
            known = {area.name for area, _ in plan}
            plan = (*plan, *((fences.by_name[name], inf) for name in watches if name not in known and name in fences.by_name))
        worst, nothing_m = belief.FLOOR, -4.0 * found.sigma_m
        for area, most_m in plan:
            watch = watches.get(area.name) if watches else None
            if watch is None and most_m < nothing_m:
                continue
            beyond_m = area.beyond_m(lat, lon)
            if watch is None and beyond_m < nothing_m and not area.fence.dwell_min:
                continue
            watch = watch or Watch(belief.FIRST if is_first else belief.FLOOR)
            decision = decision or Decision()
            if fences.allowed and area.sign > 0:
                allowed = [other.beyond_m(lat, lon) for other in fences.allowed if other.is_active(at_ms, _holidays(context))]
                beyond_m = min([beyond_m, *allowed])
            watch.p = belief.believe(watch.p, beyond_m, found, watch.beyond_m)
            watch.soon_p = belief.soon(watch.p, beyond_m, watch.beyond_m, found) if found.speed_mps else 0.0
            watch.beyond_m = beyond_m
            worst = max(worst, watch.p)
            self._follow(state, area, watch, found, context, decision=decision, beyond_m=beyond_m, is_history=is_history)
            _keep(state, area.name, watch)
        belief.rest(state, found, lat, lon, worst)
        if worst > kept.return_p and not is_history:
            decision = decision or Decision()
            decision.commands += _live(state, event, context)
        return decision

    def _follow(
        self,
        state: GeofenceState,
        area: Area,
        watch: Watch,
        found: Evidence,
        context: Context,
        *,
        decision: Decision,
        beyond_m: float,
        is_history: bool,
    ) -> None:
        """What the new belief of one fence means."""
        values = context.settings
        if area.fence.dwell_min:
            _dwell(state, area, watch, context)
        if state.timers:
            state.timers.pop(f"silent|{area.name}", None)
        if watch.p < values["return_p"]:
            decision.add(self._returned(state, area, watch, context))
            return
        if is_history:
            return
        if area.fence.not_back_by and watch.p >= 0.5 and not watch.is_late:
            _arm_back(state, area, context)
        if watch.p <= values["notice_p"] or not area.is_active(context.now.ms, _holidays(context)):
            if watch.soon_p > values["notice_p"] and not watch.level and not area.fence.min_trip_min:
                state.timers[f"silent|{area.name}"] = context.steady_ms + int(belief.SILENT_S * 1000)
            if not area.is_always:
                _arm_active(state, area, context)
            return
        numbers = {"certainty_pct": 100 * watch.p, "beyond_m": beyond_m, "accuracy_m": found.sigma_m}
        if area.fence.min_trip_min and not watch.level:
            state.timers.setdefault(f"trip|{area.name}", context.steady_ms + int(area.fence.min_trip_min * MINUTE_MS))
            return
        before = watch.level
        decision.add(self._tell(state, area, watch, context, numbers=numbers))
        if watch.level > before:
            watch.told_m = watch.low_m = max(beyond_m, 0.0)
        elif before:
            decision.add(self._again(state, area, watch, found, context, numbers=numbers))
        if not area.is_always:
            _arm_active(state, area, context)

    def _again(
        self, state: GeofenceState, area: Area, watch: Watch, found: Evidence, context: Context, *, numbers: dict[str, float]
    ) -> Decision | None:
        beyond_m = numbers["beyond_m"]
        watch.low_m = min(watch.low_m, beyond_m)
        if found.source is Source.CELL:
            return None
        is_anew = watch.low_m <= BORDER_M and beyond_m > watch.low_m + max(ANEW_M, 2.5 * found.sigma_m)
        is_farther = beyond_m - found.sigma_m > GROW_TIMES * watch.told_m + GROW_M
        if not (is_anew or is_farther):
            return None
        watch.told_m = watch.low_m = beyond_m
        return self._exit(state, area, watch, context, "left again" if is_anew else "farther away", numbers=numbers)

    def _tell(
        self,
        state: GeofenceState,
        area: Area,
        watch: Watch,
        context: Context,
        *,
        numbers: dict[str, float] | None = None,
        cause: str | None = None,
    ) -> Decision | None:
        values = context.settings
        level = 2 if watch.p > values["alarm_p"] and area.fence.level == "alarm" else 1 if watch.p > values["notice_p"] else 0
        if level <= watch.level:
            return None
        if context.steady_ms < state.escort_ms:
            if watch.is_noted:
                return None
            watch.is_noted = True
            return self._exit(state, area, watch, context, "accompanied", numbers=numbers, severity=Severity.NOTICE, cause=cause)
        watch.level = level
        detail = None if area.sign > 0 else "in a forbidden area"
        return self._exit(state, area, watch, context, detail, numbers=numbers, cause=cause)

    def _exit(
        self,
        state: GeofenceState,
        area: Area,
        watch: Watch,
        context: Context,
        detail: str | None,
        *,
        numbers: dict[str, float] | None = None,
        severity: Severity | None = None,
        cause: str | None = None,
    ) -> Decision:
        why = context.why(
            settings=("notice_p", "alarm_p"),
            inputs=[watch.cause or None, context.cause or cause],
            numbers=numbers or {"certainty_pct": 100 * watch.p},
        )
        watch.cause = watch.cause or context.cause or cause or ""
        if severity is None:
            severity = Severity.ALARM if watch.level == 2 else Severity.WARNING
        body = Occurrence(kind=_K.GEOFENCE_EXIT, state=State.START, severity=severity, place=area.name, detail=detail, explain=why)
        return Decision([context.event(body, cause=cause)])

    def _returned(self, state: GeofenceState, area: Area, watch: Watch, context: Context) -> Decision | None:
        for timer in (f"trip|{area.name}", f"back|{area.name}", f"active|{area.name}"):
            state.timers.pop(timer, None)
        was_told = watch.level > 0 or watch.is_late or watch.is_noted
        cause = watch.cause
        watch.level, watch.cause, watch.told_m, watch.low_m, watch.is_late, watch.is_noted, watch.is_weak = (
            0,
            "",
            0.0,
            0.0,
            False,
            False,
            False,
        )
        if not was_told:
            return None
        why = context.why(settings=("return_p",), inputs=[cause, context.cause], numbers={"certainty_pct": 100 * (1 - watch.p)})
        if area.sign > 0:
            body = Occurrence(kind=_K.GEOFENCE_ENTRY, place=area.name, explain=why)
        else:
            body = Occurrence(kind=_K.GEOFENCE_EXIT, state=State.END, place=area.name, detail="left a forbidden area", explain=why)
        return Decision([context.event(body)])

    def _silent(self, state: GeofenceState, area: Area, watch: Watch, context: Context) -> Decision | None:
        """Walked out across the border, was asked to report, and has not been heard of since."""
        is_escorted = context.steady_ms < state.escort_ms
        if watch.level or (is_escorted and watch.is_noted) or not area.is_active(context.now.ms, _holidays(context)):
            return None
        watch.level, watch.is_noted = (0, True) if is_escorted else (1, watch.is_noted)
        watch.told_m = watch.low_m = max(watch.beyond_m, 0.0)
        numbers = {"certainty_pct": 100 * watch.soon_p, "beyond_m": watch.beyond_m, "silent_s": belief.SILENT_S}
        severity = Severity.NOTICE if is_escorted else None
        return self._exit(
            state, area, watch, context, "walking out, not heard of since", numbers=numbers, severity=severity, cause=state.last
        )

    def _schedule(self, state: GeofenceState, area: Area, watch: Watch, context: Context) -> Decision | None:
        """The fence begins or ends to watch."""
        if watch.p < context.settings["return_p"]:
            return None
        _arm_active(state, area, context)
        if area.is_active(context.now.ms, _holidays(context)):
            return self._tell(state, area, watch, context, cause=state.last)
        if not watch.level:
            return None
        watch.level, watch.told_m, watch.low_m = 0, 0.0, 0.0
        why = context.why(inputs=[watch.cause])
        body = Occurrence(kind=_K.GEOFENCE_EXIT, state=State.END, place=area.name, detail="no longer watched", explain=why)
        return Decision([context.event(body, cause=watch.cause)])

    def _not_back(self, state: GeofenceState, area: Area, watch: Watch, context: Context) -> Decision | None:
        local = minute_of_day(context.now.ms, area.zone)
        if (local - parse_minute(area.fence.not_back_by)) % 1440 > LATE_MIN:
            _arm_back(state, area, context)
            return None
        if watch.p < 0.5 or watch.is_late:
            return None
        watch.is_late = True
        watch.cause = watch.cause or state.last
        is_escorted = context.steady_ms < state.escort_ms
        why = context.why(inputs=[watch.cause, state.last], numbers={"certainty_pct": 100 * watch.p})
        severity = Severity.NOTICE if is_escorted else None
        detail = f"by {area.fence.not_back_by}"
        body = Occurrence(kind=_K.NOT_BACK, state=State.START, severity=severity, place=area.name, detail=detail, explain=why)
        return Decision([context.event(body, cause=state.last)])

    def _unknown(self, state: GeofenceState, fences: FenceSet, context: Context) -> Decision | None:
        """The timer is not moved with every fix; here it is seen whether the silence is long enough."""
        values = context.settings
        if not values["missed_reports"] or state.unknown:
            return None
        facts = context.directory.device(state.device)
        usual_ms = int(facts.interval_s * 1000) if facts is not None and facts.interval_s else state.gap_ms
        due_ms = state.seen_ms + max(values["missed_reports"] * usual_ms, values["unknown_min"] * MINUTE_MS)
        state.gap_ms = int(state.gap_ms * GAP_FADE)
        if context.steady_ms < due_ms:
            state.timers["unknown"] = due_ms
            return None
        holidays = _holidays(context)
        watching = [area for area in fences.by_name.values() if area.sign > 0 and area.is_active(context.now.ms, holidays)]
        if not watching:
            # Nobody asks now; a fence may begin to watch while the silence goes on.
            if any(area.sign > 0 for area in fences.by_name.values()):
                state.timers["unknown"] = context.steady_ms + IDLE_MS
            return None
        is_out = [area for area in watching if area.name in state.watches and state.watches[area.name].level]
        state.unknown = (is_out or watching)[0].name
        numbers = {"silent_s": (context.steady_ms - state.seen_ms) / 1000}
        why = context.why(settings=("missed_reports", "unknown_min"), inputs=[state.last], numbers=numbers)
        body = Occurrence(kind=_K.GEOFENCE_UNKNOWN, state=State.START, place=state.unknown, explain=why)
        return Decision([context.event(body, cause=state.last)])

    def _history(
        self, state: GeofenceState, event: Event, body: Position, context: Context, *, place: tuple[float, float]
    ) -> Decision | None:
        """A fix that was recorded earlier: told where it lies clearly outside, an hour of it once."""
        if body.source is Source.CELL or body.source is Source.NONE:
            return None
        decision = Decision()
        at_ms = event.at_ms + state.offset_ms
        for area, _ in self._fences(context).watched(*place).areas:
            beyond_m = area.beyond_m(*place)
            watch = state.watches.get(area.name) or Watch()
            is_clear = beyond_m > max(30.0, 2.0 * (body.accuracy_m or belief.NO_ACCURACY_M))
            is_told = watch.level or abs(at_ms - watch.was_ms) < HOUR_MS
            if not is_clear or is_told or not area.is_active(at_ms, _holidays(context)):
                continue
            watch.was_ms = at_ms
            state.watches[area.name] = watch
            minute = local_ms(at_ms, area.zone) // MINUTE_MS % 1440
            numbers = {"beyond_m": beyond_m, "age_min": (context.now.ms - at_ms) / MINUTE_MS}
            why = context.why(settings=("late_min",), numbers=numbers)
            detail = f"at {minute // 60:02d}:{minute % 60:02d}"
            told = Occurrence(kind=_K.WAS_OUTSIDE, place=area.name, detail=detail, stored=True, explain=why)
            decision.events.append(context.event(told))
        return decision

    def _escort(self, state: GeofenceState, body: Occurrence, context: Context) -> Decision | None:
        mode, _, text = (body.detail or "").partition(" ")
        if mode != "accompanied" or not body.person:
            return None
        if body.state is State.END:
            return self._escort_over(state, context) if state.escort_ms else None
        try:
            hours = float(text)
        except ValueError:
            hours = 4.0
        hours = min(hours, 24.0) if hours > 0 else 4.0
        state.escort_ms = state.timers["escort"] = context.steady_ms + int(hours * HOUR_MS)
        why = context.why(numbers={"hours": hours})
        told = Occurrence(kind=_K.SUPPRESSED, state=State.START, detail="accompanied", person=body.person, explain=why)
        return Decision([context.event(told)])

    def _escort_over(self, state: GeofenceState, context: Context) -> Decision:
        """Alone again: what was a notice is told as what it is."""
        state.escort_ms = 0
        state.timers.pop("escort", None)
        decision = Decision([context.event(Occurrence(kind=_K.SUPPRESSED, state=State.END, detail="accompanied", explain=context.why()))])
        fences = self._fences(context)
        for name, watch in state.watches.items():
            area = fences.by_name.get(name)
            if area is not None and area.is_active(context.now.ms, _holidays(context)):
                decision.add(self._tell(state, area, watch, context, cause=context.cause or state.last))
        return decision


def _heard(state: GeofenceState, context: Context, *, kept: Kept) -> Decision | None:
    """A usable fix has come: learn the usual silence, take back what was told of an earlier one."""
    now = context.steady_ms
    if state.seen_ms and now - state.seen_ms > state.gap_ms:
        state.gap_ms = min(now - state.seen_ms, HOUR_MS)
    state.seen_ms = now
    if kept.missed and "unknown" not in state.timers:
        state.timers["unknown"] = now + kept.unknown_ms
    if not state.unknown:
        return None
    why = context.why(settings=("missed_reports",))
    told = Occurrence(kind=_K.GEOFENCE_UNKNOWN, state=State.END, place=state.unknown, explain=why)
    state.unknown = ""
    return Decision([context.event(told)])


def _fix_time(state: GeofenceState, event: Event, body: Position, context: Context) -> tuple[int, int]:
    """When the fix was taken, and how late it came. Learns a constant error of the device's clock."""
    now_ms = context.now.ms
    lag_ms = now_ms - event.at_ms
    if event.time_quality in _UNTIMED or lag_ms < -FUTURE_MS:
        return now_ms, 0
    is_apart = context.steady_ms - state.seen_ms >= 30_000
    if not body.stored and is_apart:
        is_same = abs(lag_ms - state.lag_ms) < 30_000 and lag_ms > FUTURE_MS
        state.lag_count = min(state.lag_count + 1, 3) if is_same else 0
        state.lag_ms = lag_ms
        if state.lag_count >= 3:
            state.offset_ms = lag_ms
        elif lag_ms < FUTURE_MS:
            state.offset_ms = 0
    return event.at_ms + state.offset_ms, max(0, lag_ms - state.offset_ms)


def _keep(state: GeofenceState, name: str, watch: Watch) -> None:
    """A belief that says nothing is not kept: most people are inside most of the time."""
    if watch.p <= belief.FLOOR * 1.01 and not (watch.level or watch.is_dwelling or watch.was_ms or watch.is_late or watch.is_noted):
        state.watches.pop(name, None)
        return
    state.watches[name] = watch


def _forget(watch: Watch) -> None:
    """Back: nothing that was told counts any more."""
    watch.level, watch.cause, watch.told_m, watch.low_m = 0, "", 0.0, 0.0
    watch.is_late = watch.is_noted = watch.is_weak = False


def _holidays(context: Context) -> tuple[str, ...]:
    return tuple(context.settings["holidays"])


def _arm_active(state: GeofenceState, area: Area, context: Context) -> None:
    change = area.next_change(context.now.ms, _holidays(context))
    if change is not None:
        state.timers[f"active|{area.name}"] = context.steady_ms + change - context.now.ms


def _arm_back(state: GeofenceState, area: Area, context: Context) -> None:
    at = next_at(context.now.ms, parse_minute(area.fence.not_back_by), area.zone)
    if at is not None:
        state.timers[f"back|{area.name}"] = context.steady_ms + at - context.now.ms


def _dwell(state: GeofenceState, area: Area, watch: Watch, context: Context) -> None:
    timer = f"dwell|{area.name}"
    is_inside = watch.p < 0.1 if area.sign > 0 else watch.p > 0.9
    if not is_inside:
        state.timers.pop(timer, None)
        watch.is_dwelling = False
    elif not watch.is_dwelling:
        state.timers.setdefault(timer, context.steady_ms + int(area.fence.dwell_min * MINUTE_MS))


def _live(state: GeofenceState, event: Event, context: Context) -> list[Command]:
    seconds = context.settings["live_s"]
    if not seconds or (state.live_ms and context.steady_ms - state.live_ms < LIVE_EVERY_MS):
        return []
    known = context.directory.actuators(context.key, Verb.LIVE_MODE)
    device = event.device if event.device in known else known[0] if known else None
    if device is None:
        return []
    state.live_ms = context.steady_ms
    return [context.command(Verb.LIVE_MODE, device, {"seconds": seconds, "interval": context.settings["live_interval_s"]})]


def _peril(state: GeofenceState, event: Event, detail: str, context: Context) -> Decision | None:
    """Out, and soon out of reach."""
    facts = context.directory.device(event.device)
    is_carried = facts is None or facts.role in ("wristband", "pendant", "phone", "")
    name = next((name for name, watch in state.watches.items() if watch.level and not watch.is_weak), None)
    if name is None or not is_carried:
        return None
    state.watches[name].is_weak = True
    why = context.why(settings=("battery_pct",), inputs=[state.watches[name].cause, event.id])
    body = Occurrence(kind=_K.GEOFENCE_EXIT, severity=Severity.ALARM, place=name, detail=detail, explain=why)
    return Decision([context.event(body)])
