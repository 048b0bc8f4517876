"""Out of bed at night: no return in time, and too many exits in one night."""

from __future__ import annotations

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import MINUTE_MS, day_of, minute_of_day, parse_window

_K = OccurrenceKind


class BedState(RuleState):
    """`left_ms` steady time of the open exit, 0 = in bed or day; `night` is the number of the day on which the night began."""

    left_ms: int = 0
    exit: str = ""
    place: str | None = None
    night: int = -1
    exits: int = 0
    is_told: bool = False


class BedRule:
    """Waits for the return to bed."""

    name = "bed"
    title = ("left bed", "离床")
    settings = (
        Setting("return_min", 40, "min", "out of bed at night", "GrandCare 45 min, Chinese practice 30 min", low=5, high=240),
        Setting("exits", 3, "", "exits in one night that are a notice", low=1, high=20),
    )
    state_type = BedState
    listens: frozenset[Topic] | None = frozenset({_K.BED_EXIT, _K.BED_ENTRY})
    grace_ms = 300_000
    key = staticmethod(of_person)

    def apply(self, state: BedState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Occurrence)
        if body.stored:
            return UNCHANGED
        is_exit = (body.kind is _K.BED_EXIT) == (body.state is not State.END)
        return self._exit(state, event, context) if is_exit else self._entry(state, context)

    def wake(self, state: BedState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        if not state.due(context.steady_ms) or not state.left_ms:
            return None
        state.is_told = True
        why = context.why(settings=("return_min", "night"), inputs=[state.exit], numbers={"out_min": _minutes(state, context)})
        body = Occurrence(kind=_K.BED_NO_RETURN, state=State.START, place=state.place, explain=why)
        return Decision([context.event(body, cause=state.exit)])

    def _exit(self, state: BedState, event: Event, context: Context) -> Decision | None:
        zone, window = context.settings["zone"], parse_window(context.settings["night"])
        minute = minute_of_day(context.now.ms, zone)
        if not window.holds(minute) or state.left_ms:
            return None
        night = day_of(context.now.ms, zone) - (1 if window.start > window.end and minute < window.end else 0)
        state.exits = state.exits + 1 if night == state.night else 1
        state.night = night
        facts = context.directory.device(event.device)
        state.left_ms, state.exit, state.place = context.steady_ms, event.id, facts.place if facts else None
        state.timers["return"] = context.steady_ms + context.settings["return_min"] * MINUTE_MS
        if state.exits != context.settings["exits"]:
            return None
        why = context.why(settings=("exits", "night"), numbers={"exits": float(state.exits)})
        body = Occurrence(kind=_K.BED_EXIT, severity=Severity.NOTICE, place=state.place, detail="often this night", explain=why)
        return Decision([context.event(body)])

    def _entry(self, state: BedState, context: Context) -> Decision | None:
        if not state.left_ms:
            return None
        was_told, minutes, place = state.is_told, _minutes(state, context), state.place
        state.left_ms, state.exit, state.place, state.is_told = 0, "", None, False
        state.timers.clear()
        if not was_told:
            return None
        why = context.why(numbers={"out_min": minutes})
        return Decision([context.event(Occurrence(kind=_K.BED_NO_RETURN, state=State.END, place=place, explain=why))])


def _minutes(state: BedState, context: Context) -> float:
    return (context.steady_ms - state.left_ms) / MINUTE_MS
