"""Falls of one person: from candidate to confirmation, one incident for all sources, nothing vetoed in silence.

A fall that a pendant or radar reports is an alarm by itself and reaches the incident rule without us. This rule adds what the
single device cannot know: stillness afterwards, a second source, a call for help, getting up. It says

- FALL (start, emergency) when a candidate is confirmed: by stillness, a second device, NO_MOTION or LONG_STILL, or an SOS;
- FALL (pulse, alarm) when a radar reports a fall in a room that has shown nobody for minutes: the doubt is told, the alarm stands;
- FALL_SUSPECTED (end) when the person cancelled a suspicion, (pulse, notice) when it walked on: the reason is told and kept.

Movement in the room of the fall only starts the wait for stillness anew, since somebody who struggles on the floor moves, too;
going to bed, through a door or into another room is walking. Leaving the bed is movement, no more: people fall out of it. Who lies in
bed is still for that reason, so stillness there confirms no mere suspicion, which stays a warning. A call for help shortly before
a candidate confirms it like one after it. Where several people live at a place its room sensors prove nothing
about one of them and are not counted (the key of such an event is the place, not the person).
"""

from __future__ import annotations

from drivers.api import Command, Verb
from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, Directory, RuleState, Setting, Topic, is_rule_event, owner

_K = OccurrenceKind
_END, _SOS = State.END, _K.SOS
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_CANDIDATES = frozenset({_K.FALL, _K.FALL_SUSPECTED})
_STILL = frozenset({_K.NO_MOTION, _K.LONG_STILL})
_PLACED = frozenset({_K.MOTION, _K.PRESENCE, _K.ZONE_OCCUPIED})
_BED = frozenset({_K.BED_ENTRY, _K.BED_EXIT})
_WALKED = frozenset({_K.DOOR_OPEN, *_BED})
_ANSWERED = frozenset({_K.REMINDER_CONFIRMED})
MAX_PLACES = 16
PRESENCE_STEP_MS = 60_000
"""Presence is remembered to the minute: a state is written whenever it changes, and radars report every second."""


class FallState(RuleState):
    """`opened_ms` steady time of the first source, 0 = none; `sources` device -> kind; `places` room -> last presence (steady).

    `bed_ms` since when the person lies in the bed of `bed_place`, `called_ms` and `call` the last call for help (steady, 0 = none).
    """

    first: str = ""
    opened_ms: int = 0
    sources: dict[str, str] = {}
    inputs: list[str] = []
    place: str | None = None
    rooms: list[str] = []
    moved_ms: int = 0
    is_confirmed: bool = False
    places: dict[str, int] = {}
    bed_ms: int = 0
    bed_place: str | None = None
    called_ms: int = 0
    call: str = ""


class FallRule:
    """Confirms and joins falls."""

    name = "fall"
    title = ("fall confirmation", "跌倒确认")
    settings = (
        Setting("still_s", 30, "s", "stillness after a candidate that confirms it", "Climax 10 s, Apple 60 s", low=10, high=60),
        Setting("window_s", 120, "s", "sources within this time are one fall", low=30, high=600),
        Setting("decide_s", 60, "s", "movement up to here after a candidate starts the wait for stillness anew", low=10, high=300),
        Setting("presence_min", 5, "min", "a radar fall in a room without presence for so long is told as doubtful", low=1, high=60),
        Setting("late_min", 10, "min", "a fall older than this is no base for stillness now", low=1, high=1440),
        Setting("ask", True, "", "ask by the TV whether all is well"),
    )
    state_type = FallState
    listens: frozenset[Topic] | None = frozenset(_CANDIDATES | _STILL | _PLACED | _WALKED | _ANSWERED | {_K.SOS, _K.BUTTON})
    without_ends = _PLACED
    grace_ms = 0

    def key(self, event: Event, directory: Directory) -> str | None:
        """Whose state an event belongs to."""
        return None if is_rule_event(event) and not event.device.endswith("fall_detector") else owner(event, directory)

    def apply(self, state: FallState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Occurrence)
        kind = body.kind
        if kind in _CANDIDATES:
            return self._cancel(state, event, context) if body.state is _END else self._candidate(state, event, body, context)
        if kind in _PLACED or kind in _WALKED:
            return self._movement(state, body, context)
        if kind is _SOS and body.state is not _END and not body.stored:
            state.called_ms, state.call = context.steady_ms, event.id
            return self._confirm(state, context, "call for help", event.id) if state.opened_ms and not state.is_confirmed else None
        if not state.opened_ms or state.is_confirmed or body.state is _END:
            return UNCHANGED
        if kind in _STILL:
            return self._confirm(state, context, "no movement reported", event.id)
        if (kind in _ANSWERED and context.settings["ask"]) or (kind is _K.BUTTON and body.detail in ("ok", "cancel")):
            return self._cancel(state, event, context)
        return None

    def wake(self, state: FallState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = None
        for timer in state.due(context.steady_ms):
            if timer == "still" and not state.is_confirmed and state.opened_ms:
                decision = self._judge(state, context)
            elif timer == "forget" and "still" in state.timers:
                # No candidate is dropped before it has been judged.
                state.timers["forget"] = state.timers["still"] + 1
            elif timer == "forget":
                _forget(state)
        return decision

    def _candidate(self, state: FallState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        now = context.steady_ms
        decision = Decision()
        is_late = body.stored or context.now.ms - event.at_ms > context.settings["late_min"] * 60_000
        if is_late:
            return None
        is_second = bool(state.opened_ms) and event.device not in state.sources
        if not state.opened_ms:
            state.first, state.opened_ms = event.id, now
            state.timers["still"] = now + context.settings["still_s"] * 1000
            state.timers["forget"] = now + context.settings["window_s"] * 1000
            if body.kind is _K.FALL_SUSPECTED and context.settings["ask"]:
                decision.commands += _question(context)
        state.sources[event.device] = body.kind.value
        if event.id not in state.inputs and len(state.inputs) < 16:
            state.inputs.append(event.id)
        facts = context.directory.device(event.device)
        place = body.place or (facts.place if facts and facts.role not in ("pendant", "wristband") else None)
        state.place = state.place or place
        if facts and facts.role == "radar" and body.kind is _K.FALL:
            decision.add(self._doubt(state, place, context))
        if is_second and not state.is_confirmed:
            decision.add(self._confirm(state, context, "second source", event.id))
        if state.called_ms and not state.is_confirmed and now - state.called_ms <= context.settings["window_s"] * 1000:
            decision.add(self._confirm(state, context, "call for help", state.call))
        return decision if decision.events or decision.commands else None

    def _doubt(self, state: FallState, place: str | None, context: Context) -> Decision | None:
        seen = state.places.get(place or "")
        limit_ms = context.settings["presence_min"] * 60_000
        if seen is not None and context.steady_ms - seen <= limit_ms + PRESENCE_STEP_MS:
            return None
        numbers = {} if seen is None else {"presence_age_s": (context.steady_ms - seen) / 1000}
        body = Occurrence(
            kind=_K.FALL,
            severity=Severity.ALARM,
            place=place,
            detail="radar saw a fall where nobody was present",
            incident=state.first,
            explain=context.why(settings=("presence_min",), numbers=numbers),
        )
        return Decision([context.event(body)])

    def _movement(self, state: FallState, body: Occurrence, context: Context) -> Decision | None:
        now = context.steady_ms
        if body.state is _END and body.kind not in _WALKED:
            return UNCHANGED
        told: Decision | None = UNCHANGED
        facts = context.facts
        place = body.place or (facts.place if facts else None)
        if place is not None and body.kind in _PLACED and now - state.places.get(place, -PRESENCE_STEP_MS) >= PRESENCE_STEP_MS:
            if len(state.places) >= MAX_PLACES and place not in state.places:
                del state.places[min(state.places, key=lambda name: state.places[name])]
            state.places[place], told = now, None
        is_entry = (body.kind is _K.BED_ENTRY) == (body.state is not _END)
        if body.kind in _BED and is_entry != bool(state.bed_ms):
            state.bed_ms, state.bed_place, told = (now, place, None) if is_entry else (0, None, None)
        if not state.opened_ms or state.is_confirmed or now <= state.opened_ms:
            return told
        state.moved_ms = now
        if body.kind is _K.DOOR_OPEN or (body.kind in _BED and is_entry):
            state.rooms = [*state.rooms, body.kind.value][:4]
        elif body.kind in _BED:
            state.rooms = [room for room in state.rooms if room != _K.BED_ENTRY.value]
        elif place is not None and place not in state.rooms:
            state.rooms = [*state.rooms, place][:4]
        if "still" in state.timers and now <= state.opened_ms + context.settings["decide_s"] * 1000:
            state.timers["still"] = now + context.settings["still_s"] * 1000
        return None

    def _judge(self, state: FallState, context: Context) -> Decision:
        """The wait is over: still, walking, or moving on the spot."""
        still_s = (context.steady_ms - max(state.moved_ms, state.opened_ms)) / 1000
        elsewhere = [room for room in state.rooms if room != state.place]
        is_walking = bool(elsewhere) if state.place is not None else len(elsewhere) > 1 or _K.BED_ENTRY.value in elsewhere
        is_resting = _is_in_bed(state) and _K.FALL.value not in state.sources.values()
        if still_s >= context.settings["still_s"] and not is_walking and not is_resting:
            return self._confirm(state, context, "still afterwards", None)
        seen = "walking afterwards" if is_walking else "in bed" if is_resting else "moving afterwards"
        numbers = {"still_s": still_s, "rooms": float(len(state.rooms))}
        body = Occurrence(
            kind=_K.FALL_SUSPECTED,
            severity=Severity.NOTICE if is_walking else Severity.WARNING,
            place=state.place,
            detail=f"{seen}, not confirmed",
            incident=state.first,
            explain=context.why(settings=("still_s", "decide_s"), inputs=state.inputs, numbers=numbers),
        )
        return Decision([context.event(body, cause=state.first)])

    def _confirm(self, state: FallState, context: Context, reason: str, by: str | None) -> Decision:
        now = context.steady_ms
        state.is_confirmed = True
        state.timers.pop("still", None)
        state.timers["forget"] = max(state.timers.get("forget", 0), now + context.settings["window_s"] * 1000)
        inputs = state.inputs if by is None or by in state.inputs else [*state.inputs, by]
        numbers = {"sources": float(len(state.sources)), "after_s": (now - state.opened_ms) / 1000}
        body = Occurrence(
            kind=_K.FALL,
            state=State.START,
            severity=Severity.EMERGENCY,
            place=state.place,
            detail=reason,
            incident=state.first,
            explain=context.why(settings=("still_s", "window_s"), inputs=inputs, numbers=numbers),
        )
        return Decision([context.event(body, cause=by or state.first)])

    def _cancel(self, state: FallState, event: Event, context: Context) -> Decision | None:
        """The wearer says that all is well. A fall that a device reported as such, or a confirmed one, stays an alarm."""
        if not state.opened_ms or state.is_confirmed or _K.FALL.value in state.sources.values():
            return None
        body = Occurrence(
            kind=_K.FALL_SUSPECTED,
            state=State.END,
            place=state.place,
            detail="cancelled by the wearer",
            incident=state.first,
            explain=context.why(inputs=[*state.inputs, event.id], numbers={"after_s": (context.steady_ms - state.opened_ms) / 1000}),
        )
        _forget(state)
        return Decision([context.event(body)])


def _is_in_bed(state: FallState) -> bool:
    """In bed since before the candidate, as far as anyone has seen: nobody was in another room since."""
    if not 0 < state.bed_ms < state.opened_ms:
        return False
    return all(at <= state.bed_ms for place, at in state.places.items() if place != state.bed_place)


def _forget(state: FallState) -> None:
    state.first, state.opened_ms, state.moved_ms, state.is_confirmed, state.place = "", 0, 0, False, None
    state.sources, state.inputs, state.rooms = {}, [], []
    state.timers.clear()


def _question(context: Context) -> list[Command]:
    person = context.directory.person(context.key)
    is_english = person is not None and person.language == "en"
    text = "Have you fallen? Press OK if you are well." if is_english else "您跌倒了吗？如果没事请按确认键。"
    screens = context.directory.actuators(context.key, Verb.MESSAGE)[:1]
    return [context.command(Verb.MESSAGE, device, {"text": text, "voice": True, "seconds": 30}) for device in screens]
