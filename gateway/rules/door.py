"""The entrance door: out at night without coming back, and left open."""

from __future__ import annotations

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import MINUTE_MS, minute_of_day, parse_window

_K = OccurrenceKind
_END, _DOOR_OPEN = State.END, _K.DOOR_OPEN
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_INSIDE = frozenset({_K.MOTION, _K.PRESENCE, _K.ZONE_OCCUPIED, _K.BED_ENTRY})
MAX_DOORS = 16


class DoorState(RuleState):
    """`open` door -> id of its opening; `opening` the night opening that waits for a sign inside; `told_open` doors told."""

    open: dict[str, str] = {}
    told_open: list[str] = []
    opening: str = ""
    opened_ms: int = 0
    place: str | None = None
    is_told: bool = False


class DoorRule:
    """Watches the way out."""

    name = "door"
    title = ("entrance door", "入户门")
    settings = (
        Setting("return_min", 10, "min", "no sign inside after the door was opened at night", low=1, high=120),
        Setting("dementia_min", 3, "min", "the same for a person tagged `dementia`", "Kyndi, GrandCare", low=1, high=120),
        Setting("open_min", 10, "min", "door left open", low=1, high=240),
        Setting("entrances", ["entrance", "hall", "front door", "入户门", "大门", "玄关"], "", "places of entrance doors", kind=list[str]),
    )
    state_type = DoorState
    listens: frozenset[Topic] | None = frozenset(_INSIDE | {_K.DOOR_OPEN})
    without_ends = _INSIDE
    grace_ms = 120_000
    key = staticmethod(of_person)

    def apply(self, state: DoorState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Occurrence)
        if body.stored:
            return UNCHANGED
        if body.kind is not _DOOR_OPEN:
            if not state.opening or body.state is _END or context.steady_ms <= state.opened_ms:
                return UNCHANGED
            return self._inside(state, context)
        facts = context.facts
        place = body.place or (facts.place if facts else None)
        is_entrance = place is None or place in context.settings["entrances"]
        return self._door(state, event, body, place, context) if is_entrance else UNCHANGED

    def wake(self, state: DoorState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, door = timer.partition("|")
            if what == "return" and state.opening:
                state.is_told = True
                names = ("dementia_min" if _has_dementia(context) else "return_min", "night")
                numbers = {"out_min": (context.steady_ms - state.opened_ms) / MINUTE_MS}
                why = context.why(settings=names, inputs=[state.opening], numbers=numbers)
                severity = Severity.EMERGENCY if _has_dementia(context) else None
                body = Occurrence(kind=_K.NIGHT_EXIT, state=State.START, severity=severity, place=state.place, explain=why)
                decision.events.append(context.event(body, cause=state.opening))
            elif what == "open" and door in state.open:
                state.told_open = [*state.told_open, door]
                decision.events.append(_left_open(context, door, State.START, state.open[door]))
        return decision

    def _door(self, state: DoorState, event: Event, body: Occurrence, place: str | None, context: Context) -> Decision | None:
        door = event.device
        if body.state is _END:
            cause = state.open.pop(door, None)
            state.timers.pop(f"open|{door}", None)
            if door not in state.told_open:
                return None
            state.told_open = [name for name in state.told_open if name != door]
            return Decision([_left_open(context, door, State.END, cause)])
        if body.state is State.START and door not in state.open and len(state.open) < MAX_DOORS:
            state.open[door] = event.id
            state.timers[f"open|{door}"] = context.steady_ms + context.settings["open_min"] * MINUTE_MS
        zone = context.settings["zone"]
        is_night = parse_window(context.settings["night"]).holds(minute_of_day(context.now.ms, zone))
        if is_night and not state.opening:
            minutes = context.settings["dementia_min" if _has_dementia(context) else "return_min"]
            state.opening, state.opened_ms, state.place = event.id, context.steady_ms, place
            state.timers["return"] = context.steady_ms + minutes * MINUTE_MS
        return None

    def _inside(self, state: DoorState, context: Context) -> Decision | None:
        was_told, place, minutes = state.is_told, state.place, (context.steady_ms - state.opened_ms) / MINUTE_MS
        state.opening, state.opened_ms, state.place, state.is_told = "", 0, None, False
        state.timers.pop("return", None)
        if not was_told:
            return None
        why = context.why(numbers={"out_min": minutes})
        return Decision([context.event(Occurrence(kind=_K.NIGHT_EXIT, state=State.END, place=place, explain=why))])


def _has_dementia(context: Context) -> bool:
    person = context.directory.person(context.key)
    return person is not None and "dementia" in person.tags


def _left_open(context: Context, door: str, what: State, cause: str | None) -> Event:
    facts = context.directory.device(door)
    why = context.why(settings=("open_min",), inputs=[cause])
    body = Occurrence(kind=_K.DOOR_LEFT_OPEN, state=what, place=facts.place if facts else None, detail=door, explain=why)
    return context.event(body, cause=cause)
