"""Steps of the day out of a counter that only grows (or that a device sets back at its own midnight)."""

from __future__ import annotations

from drivers.events import Event, Measurement
from drivers.vocabulary import Quantity
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_device
from gateway.rules.schedule import MINUTE_MS, day_of

TODAY = "today"
"""Channel of the derived measurement."""
MOST_A_DAY = 200_000
"""More is a counter of another device or a wrong bit, not a walk."""


class StepsState(RuleState):
    """`day` local day number, `done` steps of it so far, `last` the counter when it was seen last."""

    day: int = -1
    done: float = 0.0
    last: float | None = None
    told: float = -1.0
    told_ms: int = 0


class StepsRule:
    """Counts the steps of the local day."""

    name = "steps"
    title = ("steps of the day", "当日步数")
    settings = (Setting("every_min", 30, "min", "the day's steps are told at most so often", low=1, high=1440),)
    state_type = StepsState
    listens: frozenset[Topic] | None = frozenset({Quantity.STEPS})
    grace_ms = 0
    key = staticmethod(of_device)

    def apply(self, state: StepsState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Measurement)
        if body.stored:
            return UNCHANGED
        day = day_of(event.at_ms, context.settings["zone"])
        if day < state.day:
            return UNCHANGED
        decision = Decision()
        if day > state.day:
            if state.day >= 0 and state.done != state.told:
                decision.events.append(self._tell(state, context, event))
            state.day, state.done, state.told = day, 0.0, -1.0
        if state.last is not None:
            # A smaller value: the device began anew, what it shows now was walked since.
            more = body.value - state.last if body.value >= state.last else body.value
            if 0 <= more <= MOST_A_DAY:
                state.done += more
        state.last = body.value
        due = context.steady_ms - state.told_ms >= context.settings["every_min"] * MINUTE_MS
        if due and state.done != state.told:
            decision.events.append(self._tell(state, context, event))
        return decision if decision.events else None

    def wake(self, state: StepsState, context: Context) -> Decision | None:
        """No timers."""
        return None

    def _tell(self, state: StepsState, context: Context, event: Event) -> Event:
        state.told, state.told_ms = state.done, context.steady_ms
        return context.event(Measurement(quantity=Quantity.STEPS, value=state.done, channel=TODAY), subject=event.subject)
