"""Service visits (home aid, nurse, meals): how long, how often, whether anybody came.

A visit is SERVICE_VISIT start and end with the badge in `person`; a second start of the same badge ends a visit whose end was lost.
"""

from __future__ import annotations

import msgspec

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity, State, TimeQuality
from gateway.rules.contract import Context, Decision, RuleState, Setting, Topic, of_person
from gateway.rules.schedule import DAY_MS, HOUR_MS, MINUTE_MS

_K = OccurrenceKind
MAX_VISITORS = 16


class Visit(msgspec.Struct, array_like=True):
    """An open visit."""

    since_ms: int
    cause: str


class VisitsState(RuleState):
    """`open` badge -> visit; `ended` steady times of the visits of the last 30 days."""

    open: dict[str, Visit] = {}
    ended: list[int] = []
    last: str = ""


class VisitsRule:
    """Counts visits and notices missing or short ones."""

    name = "visits"
    title = ("service visits", "上门服务")
    settings = (
        Setting("short_min", 15, "min", "a shorter visit is a notice; 0 = off", low=0, high=480),
        Setting("long_h", 4.0, "h", "a visit without an end is a notice", low=0.5, high=24),
        Setting("every_d", 0, "d", "longest time between two visits; 0 = not agreed", low=0, high=60),
    )
    state_type = VisitsState
    listens: frozenset[Topic] | None = frozenset({_K.SERVICE_VISIT})
    grace_ms = 0
    key = staticmethod(of_person)

    def apply(self, state: VisitsState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Occurrence)
        badge = body.person or event.device
        decision = Decision()
        if badge in state.open:
            # A badge is missed minutes after it has gone: the visit ended at the event's time, not now.
            lag_ms = event.received_ms - event.at_ms if event.time_quality is TimeQuality.RECEIVED else 0
            decision.add(self._end(state, badge, context, is_lost=body.state is not State.END, lag_ms=lag_ms))
        if body.state is State.START and len(state.open) < MAX_VISITORS:
            state.open[badge] = Visit(context.steady_ms, event.id)
            state.timers[f"long|{badge}"] = context.steady_ms + int(context.settings["long_h"] * HOUR_MS)
        elif body.state is State.PULSE:
            state.ended = [*state.ended, context.steady_ms][-100:]
        state.last = event.id
        if context.settings["every_d"]:
            state.timers["every"] = context.steady_ms + context.settings["every_d"] * DAY_MS
        return decision if decision.events else None

    def wake(self, state: VisitsState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, badge = timer.partition("|")
            if what == "long" and badge in state.open:
                visit = state.open[badge]
                hours = (context.steady_ms - visit.since_ms) / HOUR_MS
                decision.events.append(_say(context, badge, "not ended", ("long_h",), {"visit_h": hours}, cause=visit.cause))
            elif what == "every":
                days = float(context.settings["every_d"])
                decision.events.append(_say(context, None, "overdue", ("every_d",), {"days": days}, cause=state.last))
                state.timers["every"] = context.steady_ms + max(context.settings["every_d"], 1) * DAY_MS
        return decision

    def _end(self, state: VisitsState, badge: str, context: Context, *, is_lost: bool, lag_ms: int) -> Decision:
        visit = state.open.pop(badge)
        state.timers.pop(f"long|{badge}", None)
        now = context.steady_ms
        state.ended = [at for at in state.ended if at > now - 30 * DAY_MS][-99:] + [now]
        minutes = max(now - lag_ms - visit.since_ms, 0) / MINUTE_MS
        is_short = minutes < context.settings["short_min"] and not is_lost
        word = "end not seen" if is_lost else "short" if is_short else "done"
        numbers = {"visit_min": minutes, "visits_30d": float(len(state.ended))}
        severity = Severity.NOTICE if is_short or is_lost else Severity.INFO
        return Decision([_say(context, badge, word, ("short_min",), numbers, cause=visit.cause, severity=severity)])


def _say(
    context: Context,
    badge: str | None,
    word: str,
    names: tuple[str, ...],
    numbers: dict[str, float],
    *,
    cause: str,
    severity: Severity = Severity.NOTICE,
) -> Event:
    why = context.why(settings=names, inputs=[cause], numbers=numbers)
    body = Occurrence(kind=_K.SERVICE_VISIT, severity=severity, person=badge, detail=word, explain=why)
    return context.event(body, cause=cause)
