"""Medicines: remind, ask for the confirmation, tell the guardian, for critical ones the centre.

`plan` lists the doses of a person. At the hour and `remind_min` later the TV reminds; a confirmation (remote key, phone, opened box)
within `early_min` before and until it is missed ends it. Unconfirmed: MEDICATION_MISSED (warning) for the guardian, for critical
medicines again as an alarm for the centre. An empty plan does nothing.
"""

from __future__ import annotations

import msgspec

from drivers.api import Command, Verb
from drivers.events import DeviceHealth, Event, Occurrence, Position
from drivers.vocabulary import OccurrenceKind, Quantity, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, Values, of_person
from gateway.rules.schedule import (
    CLOCK_UNSET_MS,
    MINUTE_MS,
    day_of,
    minute_fault,
    minute_of_day,
    next_at,
    parse_days,
    parse_minute,
    weekday_of,
)

_K = OccurrenceKind
_END, _DOOR_OPEN = State.END, _K.DOOR_OPEN
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_CONFIRMS = frozenset({_K.REMINDER_CONFIRMED, _K.MEDICATION_TAKEN, _K.DOOR_OPEN})
_BOXES = frozenset({"pillbox", "medicine"})
DRIFT_MIN = 2
"""A timer that comes to another wall time than planned means that the clock was set: the plan is read again."""


class Dose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the plan: `at` HH:MM, `days` as in schedules, `critical` for the centre."""

    name: str
    at: str
    days: str = "daily"
    critical: bool = False


class Due(msgspec.Struct, omit_defaults=True):
    """A dose that waits for its confirmation; `step` counts what was done."""

    name: str
    since_ms: int
    cause: str
    is_critical: bool = False
    step: int = 0
    is_missed: bool = False


class MedicationState(RuleState):
    """`doses` that are due, by name; `confirmed_ms` steady time of the last confirmation that met no dose; `planned` minute of the
    day for which the timer is set."""

    doses: dict[str, Due] = {}
    confirmed_ms: int = 0
    planned: int = -1
    seed: str = ""


def _plan_fault(plan: list[Dose]) -> str | None:
    for dose in plan:
        try:
            parse_days(dose.days)
        except ValueError as error:
            return str(error).partition(", got")[0]
        if minute_fault(dose.at):
            return "HH:MM in `at`"
    return None


class MedicationRule:
    """Reminds of medicines and asks whether they were taken."""

    name = "medication"
    title = ("medicines", "服药提醒")
    settings = (
        Setting("plan", [], "", "doses: name, at, days, critical", kind=list[Dose], check=_plan_fault),
        Setting("remind_min", [0, 10, 20], "min", "reminders after the hour", kind=list[int]),
        Setting("missed_min", 30, "min", "then the guardian is told", low=5, high=600),
        Setting("critical_min", 60, "min", "then the centre is told, for critical medicines", low=5, high=600),
        Setting("early_min", 30, "min", "a confirmation so long before counts", low=0, high=240),
    )
    state_type = MedicationState
    listens: frozenset[Topic] | None = frozenset(
        {*_CONFIRMS, _K.MOTION, _K.PRESENCE, _K.REMINDER_UNANSWERED, Quantity.HEART_RATE, Quantity.STEPS, Position, DeviceHealth}
    )
    """Anything regular wakes a new plan: a rule learns of a person by the first event of that person."""
    grace_ms = 0
    key = staticmethod(of_person)

    def rests(self, settings: Values) -> bool:
        """Nothing is planned."""
        return not settings["plan"]

    def apply(self, state: MedicationState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        told: Decision | None = UNCHANGED
        if "next" not in state.timers:
            state.seed, told = event.id, None
            self._plan(state, context.settings["plan"], context)
        body = event.body
        if type(body) is not Occurrence or body.kind not in _CONFIRMS or body.stored:
            return told
        if body.kind is _DOOR_OPEN:
            facts = context.facts
            if facts is None or facts.role not in _BOXES or body.state is _END:
                return told
        return self._confirmed(state, context)

    def wake(self, state: MedicationState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, name = timer.partition("|")
            if what == "next":
                decision.add(self._hour(state, context))
            elif name in state.doses:
                decision.add(self._step(state, state.doses[name], context))
        return decision

    def _plan(self, state: MedicationState, plan: list[Dose], context: Context) -> None:
        zone, now = context.settings["zone"], context.now.ms
        if now < CLOCK_UNSET_MS:
            return
        moments = [next_at(now, parse_minute(dose.at), zone, parse_days(dose.days)) for dose in plan]
        known = [at for at in moments if at is not None]
        if known:
            state.planned = minute_of_day(min(known), zone)
            state.timers["next"] = context.steady_ms + min(known) - now

    def _hour(self, state: MedicationState, context: Context) -> Decision | None:
        plan: list[Dose] = context.settings["plan"]
        zone = context.settings["zone"]
        minute, planned = minute_of_day(context.now.ms, zone), state.planned
        self._plan(state, plan, context)
        if min((minute - planned) % 1440, (planned - minute) % 1440) > DRIFT_MIN:
            return None
        decision = Decision()
        today = weekday_of(day_of(context.now.ms, zone))
        for dose in plan:
            if parse_minute(dose.at) % 1440 != planned or today not in parse_days(dose.days) or dose.name in state.doses:
                continue
            if state.confirmed_ms and context.steady_ms - state.confirmed_ms <= context.settings["early_min"] * MINUTE_MS:
                decision.events.append(self._say(context, dose.name, _K.MEDICATION_TAKEN, State.PULSE, cause=state.seed, numbers={}))
                continue
            state.doses[dose.name] = Due(dose.name, context.steady_ms, state.seed, dose.critical)
            decision.events.append(self._say(context, dose.name, _K.MEDICATION_DUE, State.START, cause=state.seed, numbers={}))
            decision.add(self._step(state, state.doses[dose.name], context))
        state.confirmed_ms = 0
        return decision

    def _step(self, state: MedicationState, due: Due, context: Context) -> Decision:
        values = context.settings
        waited = (context.steady_ms - due.since_ms) // MINUTE_MS
        steps = [(minute, "remind") for minute in values["remind_min"]] + [(values["missed_min"], "missed")]
        if due.is_critical:
            steps.append((values["critical_min"], "critical"))
        steps.sort()
        decision = Decision()
        while due.step < len(steps) and steps[due.step][0] <= waited:
            what = steps[due.step][1]
            due.step += 1
            if what == "remind":
                decision.commands += _remind(context, due.name)
                continue
            due.is_missed = True
            severity = Severity.ALARM if what == "critical" else Severity.WARNING
            numbers = {"waited_min": float(waited)}
            decision.events.append(
                self._say(context, due.name, _K.MEDICATION_MISSED, State.START, cause=due.cause, numbers=numbers, severity=severity)
            )
        if due.step < len(steps):
            state.timers[f"dose|{due.name}"] = due.since_ms + steps[due.step][0] * MINUTE_MS
        else:
            state.timers[f"end|{due.name}"] = context.steady_ms + 24 * 60 * MINUTE_MS
            if waited >= 24 * 60:
                decision.events.append(self._say(context, due.name, _K.MEDICATION_DUE, State.END, cause=due.cause, numbers={}))
                del state.doses[due.name]
                state.timers.pop(f"end|{due.name}", None)
        return decision

    def _confirmed(self, state: MedicationState, context: Context) -> Decision | None:
        if not state.doses:
            state.confirmed_ms = context.steady_ms
            return None
        decision = Decision()
        for due in list(state.doses.values()):
            numbers = {"waited_min": (context.steady_ms - due.since_ms) / MINUTE_MS}
            decision.events.append(self._say(context, due.name, _K.MEDICATION_TAKEN, State.PULSE, cause=None, numbers=numbers))
            decision.events.append(self._say(context, due.name, _K.MEDICATION_DUE, State.END, cause=None, numbers={}))
            if due.is_missed:
                decision.events.append(self._say(context, due.name, _K.MEDICATION_MISSED, State.END, cause=None, numbers=numbers))
            state.timers.pop(f"dose|{due.name}", None)
            state.timers.pop(f"end|{due.name}", None)
        state.doses = {}
        return decision

    def _say(
        self,
        context: Context,
        name: str,
        kind: OccurrenceKind,
        what: State,
        *,
        cause: str | None,
        numbers: dict[str, float],
        severity: Severity | None = None,
    ) -> Event:
        why = context.why(settings=("missed_min", "critical_min"), inputs=[cause or context.cause], numbers=numbers)
        body = Occurrence(kind=kind, state=what, severity=severity, detail=name, explain=why)
        return context.event(body, cause=cause)


def _remind(context: Context, name: str) -> list[Command]:
    person = context.directory.person(context.key)
    text = f"Time for {name}" if person is not None and person.language == "en" else f"请服药：{name}"
    screens = context.directory.actuators(context.key, Verb.REMIND)[:2]
    return [context.command(Verb.REMIND, device, {"text": text, "voice": True}, expires_s=600) for device in screens]
