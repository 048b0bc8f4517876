"""Too long in the bathroom.

The stay begins with a sign in the bathroom and ends with a sign elsewhere, its presence sensor's end, or its door. Where several
people live, a sign elsewhere proves nothing about the one inside. The limit is the default for the hour, or twice the usual stay
within 15..60 minutes once `KNOWN_STAYS` are known; a shower (humid air) adds time.
"""

from __future__ import annotations

from drivers.events import Event, Measurement, Occurrence
from drivers.vocabulary import OccurrenceKind, Quantity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import MINUTE_MS, minute_of_day, parse_window

_K = OccurrenceKind
_END, _DOOR_OPEN = State.END, _K.DOOR_OPEN
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_PLACED = frozenset({_K.MOTION, _K.PRESENCE, _K.ZONE_OCCUPIED, _K.DOOR_OPEN, _K.BED_ENTRY})
KNOWN_STAYS = 10
MAX_STAYS = 40


class BathroomState(RuleState):
    """`entered_ms` steady time, 0 = nobody inside; `stays` minutes of the last stays."""

    entered_ms: int = 0
    entry: str = ""
    place: str = ""
    is_humid: bool = False
    is_told: bool = False
    stays: list[int] = []


class BathroomRule:
    """Notices a stay that is too long."""

    name = "bathroom"
    title = ("long in the bathroom", "卫生间滞留")
    settings = (
        Setting("day_min", 30, "min", "stay by day", "common practice", low=5, high=240),
        Setting("night_min", 20, "min", "stay by night", "GrandCare 15 min", low=5, high=240),
        Setting("habit_times", 2.0, "", "usual stay times this, within 15..60 min; 0 = no habit", low=0, high=10),
        Setting("shower_min", 15, "min", "added while the air is humid", low=0, high=60),
        Setting("shower_pct", 75.0, "%", "humidity that tells a shower", low=40, high=100),
        Setting("places", ["bathroom", "toilet", "卫生间", "浴室", "厕所"], "", "rooms that count as bathroom", kind=list[str]),
    )
    state_type = BathroomState
    listens: frozenset[Topic] | None = frozenset(_PLACED | {Quantity.HUMIDITY})
    without_ends = frozenset({_K.MOTION, _K.BED_ENTRY})
    grace_ms = 300_000
    key = staticmethod(of_person)

    def apply(self, state: BathroomState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        facts = context.facts
        if type(body) is Measurement:
            if not state.entered_ms or state.is_humid or body.value < context.settings["shower_pct"]:
                return UNCHANGED
            state.is_humid = facts is not None and facts.place in context.settings["places"]
            return None
        assert isinstance(body, Occurrence)
        place = body.place or (facts.place if facts else None)
        if place is None or body.stored:
            return UNCHANGED
        if place in context.settings["places"]:
            is_exit = body.kind in (_K.PRESENCE, _K.ZONE_OCCUPIED) and body.state is _END
            is_exit = is_exit or (body.kind is _DOOR_OPEN and body.state is State.START and bool(state.entered_ms))
            if is_exit:
                return self._leave(state, context)
            if body.state is not _END and body.kind is not _DOOR_OPEN and not state.entered_ms:
                state.entered_ms, state.entry, state.place = context.steady_ms, event.id, place
                state.timers["long"] = context.steady_ms + self._limit_min(state, context) * MINUTE_MS
                return None
            return UNCHANGED
        if state.entered_ms and body.state is not _END and len(context.directory.household(context.key)) <= 1:
            return self._leave(state, context)
        return UNCHANGED

    def wake(self, state: BathroomState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        if not state.due(context.steady_ms) or not state.entered_ms:
            return None
        minutes = (context.steady_ms - state.entered_ms) / MINUTE_MS
        limit = self._limit_min(state, context)
        if minutes < limit:
            state.timers["long"] = state.entered_ms + limit * MINUTE_MS
            return None
        state.is_told = True
        names = ("day_min", "night_min", "habit_times", "shower_min")
        why = context.why(settings=names, inputs=[state.entry], numbers={"stay_min": minutes, "limit_min": float(limit)})
        body = Occurrence(kind=_K.BATHROOM_LONG, state=State.START, place=state.place, explain=why)
        return Decision([context.event(body, cause=state.entry)])

    def _limit_min(self, state: BathroomState, context: Context) -> int:
        values = context.settings
        is_night = parse_window(values["night"]).holds(minute_of_day(context.now.ms, values["zone"]))
        limit: int = values["night_min" if is_night else "day_min"]
        if len(state.stays) >= KNOWN_STAYS and values["habit_times"]:
            usual = sorted(state.stays)[len(state.stays) // 2]
            limit = min(max(int(usual * values["habit_times"]), 15), 60)
        shower: int = values["shower_min"]
        return limit + (shower if state.is_humid else 0)

    def _leave(self, state: BathroomState, context: Context) -> Decision | None:
        if not state.entered_ms:
            return UNCHANGED
        minutes = (context.steady_ms - state.entered_ms) / MINUTE_MS
        was_told, place = state.is_told, state.place
        if not was_told and minutes >= 1:
            state.stays = [*state.stays, round(minutes)][-MAX_STAYS:]
        state.entered_ms, state.entry, state.place, state.is_humid, state.is_told = 0, "", "", False, False
        state.timers.clear()
        if not was_told:
            return None
        why = context.why(numbers={"stay_min": minutes})
        return Decision([context.event(Occurrence(kind=_K.BATHROOM_LONG, state=State.END, place=place, explain=why))])
