"""Incidents: what belongs together is one matter for people, from the first alarm to the close.

One open incident per person and kind (and place, where the kind belongs to a room; and device, where it belongs to one). Its id is
the id of its first event. INCIDENT events tell its life: START (`opened`), PULSE (`raised`, `joined`, `again`, `escalate`,
`acknowledged`, `cleared`, `refused`), END (`closed`, `cancelled`, `ended`, `returned`, `expired`); their detail is the word and the kind,
`raised: fall`. The events themselves stay as they are; nothing is removed from the stream.

People act through an event that the gateway makes from a platform's or the command line's command: `act(incident, person, what)`,
with the subject of the incident (none for a device that nobody owns). `ack` stops the ladder, `close` and `cancel` end the incident;
all need a person. Suppression is asked for by `suppress(mode, hours, person)`: guest, away, maintenance; it ends by itself within a
day, is told when it begins, acts and ends, and never covers calls for help, falls, fire, smoke and gas.
"""

from __future__ import annotations

import msgspec

from drivers.events import Event, Occurrence
from drivers.vocabulary import OCCURRENCES, Lane, OccurrenceKind, Severity, State
from gateway.rules.contract import UNASSIGNED, Context, Decision, Directory, RuleState, Setting, Topic, is_rule_event, owner

_K = OccurrenceKind
HOUR_MS = 3_600_000
_OWN = frozenset({_K.INCIDENT, _K.LADDER_STEP, _K.SUPPRESSED, _K.UNSTABLE_SENSOR, _K.LOSS, _K.RECOVERED, _K.UNDELIVERED})
"""Not alarms of a person: our own bookkeeping and the gateway's."""
_ROOM = frozenset({_K.GAS, _K.CO_ALARM, _K.SMOKE, _K.HEAT, _K.WATER_LEAK, _K.ELECTRICAL_FIRE, _K.DOOR_LEFT_OPEN, _K.TEMPERATURE_ABNORMAL})
_DEVICE = frozenset(
    {
        _K.OFFLINE,
        _K.LOW_BATTERY,
        _K.REMOVED,
        _K.FAULT,
        _K.TAMPER,
        _K.POWER_CUT,
        _K.POWER_OFF,
        _K.SIM_FAULT,
        _K.NETWORK_LOST,
        _K.IDENTITY_CONFLICT,
    }
)
_FAMILY = {_K.FALL_SUSPECTED: _K.FALL, _K.NOT_BACK: _K.GEOFENCE_EXIT, _K.GEOFENCE_UNKNOWN: _K.GEOFENCE_EXIT}
_CARRIED = frozenset({"pendant", "wristband", "phone"})
_CLOSED_BY_RETURN = frozenset({_K.GEOFENCE_EXIT, _K.GEOFENCE_UNKNOWN, _K.NOT_BACK})
"""Who is back is found: these need no close, whatever their row says."""
_RETURNS = {
    _K.GEOFENCE_ENTRY: _K.GEOFENCE_EXIT,
    _K.DEVICE_FENCE_ENTRY: _K.DEVICE_FENCE_EXIT,
    _K.WORN: _K.REMOVED,
    _K.POWER_ON: _K.POWER_OFF,
}
_WAITS_FOR_RULE = frozenset({_K.REMOVED, _K.LOW_BATTERY})
"""A device's own word is only a fact here: the supervision rule knows the hour and the delay."""
NEVER_SUPPRESSED = frozenset(
    {_K.SOS, _K.FALL, _K.FIRE, _K.SMOKE, _K.HEAT, _K.GAS, _K.CO_ALARM, _K.ELECTRICAL_FIRE, _K.MEDICAL, _K.WELFARE_MISSED, _K.LONG_STILL}
)
"""No mode covers these and no flapping joins them."""
_HABITS = frozenset(
    {_K.INACTIVITY, _K.MORNING_RISE_MISSED, _K.BATHROOM_LONG, _K.BED_NO_RETURN, _K.NIGHT_EXIT, _K.DOOR_LEFT_OPEN, _K.NO_MOTION}
)
MODES = {
    "guest": _HABITS,
    "away": _HABITS | {_K.MEDICATION_MISSED, _K.TEMPERATURE_ABNORMAL},
    "maintenance": _DEVICE | {_K.WATER_LEAK, _K.TEMPERATURE_ABNORMAL, _K.GENERAL_ALARM, _K.BURGLARY, _K.DOOR_LEFT_OPEN},
}
"""What each mode covers."""
ACTS = {"ack": "acknowledge", "close": "close", "cancel": "cancel"}


class Open(msgspec.Struct, omit_defaults=True):
    """One open incident. `sources` are devices whose alarm still lasts; times are steady milliseconds."""

    id: str
    kind: OccurrenceKind
    severity: int
    place: str | None = None
    count: int = 1
    sources: list[str] = []
    last: str = ""
    last_ms: int = 0
    told_ms: int = 0
    is_sticky: bool = False
    acknowledged: str = ""


class IncidentState(RuleState):
    """`open` by slot (kind, place or device), `openings` of the last hour by slot, `modes` mode -> steady end."""

    open: dict[str, Open] = {}
    openings: dict[str, list[int]] = {}
    modes: dict[str, int] = {}


def act(incident: str, person: str, what: str) -> Occurrence:
    """The body of the event by which a person acts on an incident: `what` is `ack`, `close` or `cancel`. Device: `person:<id>`."""
    state = State.PULSE if what == "ack" else State.END
    return Occurrence(kind=_K.INCIDENT, state=state, incident=incident, person=person, detail=ACTS[what])


def suppress(mode: str, hours: float, person: str, *, is_on: bool = True) -> Occurrence:
    """The body of the event by which a person begins or ends a mode of `MODES`, at most 24 hours."""
    return Occurrence(kind=_K.SUPPRESSED, state=State.START if is_on else State.END, person=person, detail=f"{mode} {hours:g}")


class IncidentRule:
    """Opens, joins, raises and closes incidents."""

    name = "incident"
    title = ("incidents", "事件管理")
    settings = (
        Setting("flaps_per_h", 3, "/h", "more openings of one kind than this in an hour are an unstable sensor", low=1, high=60),
        Setting("retell_s", 60, "s", "shortest time between two notes that an open incident goes on", low=5, high=3600),
        Setting("escalate_s", 30, "s", "a second call for help within this time climbs at once", "EN 50134-2 practice", low=2, high=300),
        Setting("expire_h", 12.0, "h", "an incident that needs no close ends after so long without news", low=1, high=72),
        Setting("mode_h", 12.0, "h", "length of a suppression that names none", low=0.25, high=24),
    )
    state_type = IncidentState
    listens: frozenset[Topic] | None = frozenset(kind for kind, row in OCCURRENCES.items() if row.lane is Lane.ALARM) | frozenset(
        {_K.INCIDENT, _K.SUPPRESSED, *_RETURNS}
    )
    grace_ms = 0

    def key(self, event: Event, directory: Directory) -> str | None:
        """Whose state an event belongs to."""
        return owner(event, directory) if event.subject else UNASSIGNED

    def apply(self, state: IncidentState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Occurrence)
        if body.kind is _K.INCIDENT:
            return None if is_rule_event(event) else self._person(state, event, body, context)
        if body.kind is _K.SUPPRESSED:
            return None if is_rule_event(event) else self._mode(state, body, context)
        if body.kind in _OWN:
            return None
        if body.kind in _RETURNS and body.state is not State.END:
            return self._returned(state, event, body, context)
        if body.state is State.END:
            return self._ended(state, event, body, context)
        return self._alarm(state, event, body, context)

    def wake(self, state: IncidentState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, name = timer.partition("|")
            if what == "expire" and name in state.open:
                item = state.open.pop(name)
                decision.events.append(_tell(context, item, State.END, "expired", cause=item.last or item.id))
            elif what == "mode" and name in state.modes:
                decision.add(_mode_end(state, name, context))
            elif what == "hour":
                state.openings.pop(name, None)
        return decision

    def _alarm(self, state: IncidentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        slot = _named(state, body) or _slot(event, body, context.directory)
        item = state.open.get(slot)
        severity = event.severity
        if item is not None:
            return self._join(state, slot, item, event, context)
        if severity < Severity.WARNING or (body.kind in _WAITS_FOR_RULE and not is_rule_event(event)):
            return None
        mode = _covering(state, body.kind)
        if mode:
            why = context.why(numbers={"left_min": (state.modes[mode] - context.steady_ms) / 60_000})
            told = Occurrence(kind=_K.SUPPRESSED, place=body.place, detail=f"{body.kind.value}: {mode}", explain=why)
            return Decision([context.event(told)])
        return self._begin(state, slot, event, body, context)

    def _begin(self, state: IncidentState, slot: str, event: Event, body: Occurrence, context: Context) -> Decision:
        now = context.steady_ms
        place = _place(event, body, context.directory)
        item = Open(id=event.id, kind=body.kind, severity=event.severity, place=place, last=event.id, last_ms=now, told_ms=now)
        if body.state is State.START:
            item.sources = [event.device]
        state.open[slot] = item
        decision = Decision([_tell(context, item, State.START, "opened")])
        if body.kind not in NEVER_SUPPRESSED:
            decision.add(self._flapping(state, slot, item, context))
        self._arm(state, slot, item, context)
        return decision

    def _flapping(self, state: IncidentState, slot: str, item: Open, context: Context) -> Decision | None:
        now = context.steady_ms
        recent = [at for at in state.openings.get(slot, []) if at > now - HOUR_MS] + [now]
        limit = context.settings["flaps_per_h"]
        state.openings[slot] = recent[-(limit + 1) :]
        state.timers[f"hour|{slot}"] = now + HOUR_MS
        if len(recent) <= limit:
            return None
        item.is_sticky = True
        why = context.why(settings=("flaps_per_h",), numbers={"openings": float(len(recent))})
        body = Occurrence(kind=_K.UNSTABLE_SENSOR, place=item.place, detail=item.kind.value, incident=item.id, explain=why)
        return Decision([context.event(body)])

    def _join(self, state: IncidentState, slot: str, item: Open, event: Event, context: Context) -> Decision | None:
        body = event.body
        assert isinstance(body, Occurrence)
        now, severity = context.steady_ms, event.severity
        since, item.last_ms, item.last = now - item.last_ms, now, event.id
        item.count += 1
        is_new = event.device not in item.sources and body.state is State.START
        # A tracker repeats its alarm bit in every frame: only a new start or a momentary press is another press.
        is_press = is_new or body.state is State.PULSE
        if is_new and len(item.sources) < 16:
            item.sources = [*item.sources, event.device]
        self._arm(state, slot, item, context)
        word = None
        if severity > item.severity:
            item.severity, item.kind, word = severity, body.kind, "raised"
        elif body.kind is _K.SOS and is_press and 2000 <= since <= context.settings["escalate_s"] * 1000:
            word = "escalate"
        elif is_new:
            word = "joined"
        elif now - item.told_ms >= context.settings["retell_s"] * 1000:
            word = "again"
        if word is None:
            return None
        item.told_ms = now
        return Decision([_tell(context, item, State.PULSE, word)])

    def _arm(self, state: IncidentState, slot: str, item: Open, context: Context) -> None:
        if item.is_sticky:
            state.timers[f"expire|{slot}"] = context.steady_ms + HOUR_MS
        elif not OCCURRENCES[item.kind].needs_close and not item.sources:
            state.timers[f"expire|{slot}"] = context.steady_ms + int(context.settings["expire_h"] * HOUR_MS)
        else:
            state.timers.pop(f"expire|{slot}", None)

    def _ended(self, state: IncidentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        slot = _named(state, body) or _slot(event, body, context.directory)
        item = state.open.get(slot)
        if item is None:
            return None
        had_sources = bool(item.sources)
        is_verdict = body.kind is _K.FALL_SUSPECTED and is_rule_event(event)
        item.sources = [] if is_verdict else [device for device in item.sources if device != event.device]
        item.last, item.last_ms = event.id, context.steady_ms
        if item.sources or item.is_sticky:
            return None
        if OCCURRENCES[item.kind].needs_close and item.kind not in _CLOSED_BY_RETURN:
            return Decision([_tell(context, item, State.PULSE, "cleared")]) if had_sources else None
        return self._close(state, slot, context, "ended")

    def _returned(self, state: IncidentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        decision = Decision()
        kind = _RETURNS[body.kind].value
        for name in dict.fromkeys((event.device, body.place or "", "")):
            if f"{kind}|{name}" in state.open:
                decision.add(self._close(state, f"{kind}|{name}", context, "returned"))
        return decision

    def _close(self, state: IncidentState, slot: str, context: Context, word: str, person: str | None = None) -> Decision:
        item = state.open.pop(slot)
        state.timers.pop(f"expire|{slot}", None)
        return Decision([_tell(context, item, State.END, word, person=person)])

    def _person(self, state: IncidentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        slot = _named(state, body)
        if slot is None:
            return None
        item = state.open[slot]
        if not body.person:
            return Decision([_tell(context, item, State.PULSE, "refused", cause=event.id)])
        if body.state is State.END:
            return self._close(state, slot, context, "cancelled" if body.detail == "cancel" else "closed", body.person)
        item.acknowledged = body.person
        return Decision([_tell(context, item, State.PULSE, "acknowledged", person=body.person)])

    def _mode(self, state: IncidentState, body: Occurrence, context: Context) -> Decision | None:
        mode, _, hours = (body.detail or "").partition(" ")
        if mode not in MODES or not body.person:
            return None
        if body.state is State.END:
            return _mode_end(state, mode, context) if mode in state.modes else None
        span = min(_number(hours, context.settings["mode_h"]), 24.0)
        state.modes[mode] = state.timers[f"mode|{mode}"] = context.steady_ms + int(span * HOUR_MS)
        why = context.why(settings=("mode_h",), numbers={"hours": span})
        told = Occurrence(kind=_K.SUPPRESSED, state=State.START, detail=mode, person=body.person, explain=why)
        return Decision([context.event(told)])


def _place(event: Event, body: Occurrence, directory: Directory) -> str | None:
    """The room: told by the event, or that of the device, unless a person carries it."""
    if body.place is not None:
        return body.place
    facts = directory.device(event.device)
    return facts.place if facts is not None and facts.role not in _CARRIED else None


def _slot(event: Event, body: Occurrence, directory: Directory) -> str:
    kind = _FAMILY.get(body.kind, body.kind)
    if kind is _K.GEOFENCE_EXIT:
        return f"{kind.value}|{body.place or ''}"
    if kind in _ROOM:
        return f"{kind.value}|{_place(event, body, directory) or ''}"
    if kind in _DEVICE:
        return f"{kind.value}|{(body.detail or '') if is_rule_event(event) else event.device}"
    return f"{kind.value}|" if event.subject else f"{kind.value}|{event.device}"


def _named(state: IncidentState, body: Occurrence) -> str | None:
    """The open incident that the event itself names."""
    if body.incident is None:
        return None
    return next((slot for slot, item in state.open.items() if item.id == body.incident), None)


def _covering(state: IncidentState, kind: OccurrenceKind) -> str | None:
    if kind in NEVER_SUPPRESSED:
        return None
    return next((mode for mode in state.modes if kind in MODES[mode]), None)


def _mode_end(state: IncidentState, mode: str, context: Context) -> Decision:
    del state.modes[mode]
    state.timers.pop(f"mode|{mode}", None)
    return Decision([context.event(Occurrence(kind=_K.SUPPRESSED, state=State.END, detail=mode, explain=context.why()))])


def _number(text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return default
    return value if 0 < value < float("inf") else default


def _tell(context: Context, item: Open, state: State, word: str, *, person: str | None = None, cause: str | None = None) -> Event:
    body = Occurrence(
        kind=_K.INCIDENT,
        state=state,
        severity=Severity(item.severity),
        place=item.place,
        detail=f"{word}: {item.kind.value}",
        person=person,
        incident=item.id,
        explain=context.why(inputs=[item.id, item.last if item.last != item.id else None], numbers={"events": float(item.count)}),
    )
    return context.event(body, cause=cause)
