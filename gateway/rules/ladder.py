"""The ladder: who is told when, until somebody answers.

It listens to the incident rule. An incident of at least ALARM starts a plan: steps at fixed seconds, several at one moment. Every step
is a LADDER_STEP event (detail = the step, numbers `round` and `step`); incident, round and step together name it, so that the centre
and the gateway do not both dial. Steps towards the centre are the event itself; local ones are commands besides.

An acknowledgement stops the climb, not the incident: where nobody closes it within `handled_min`, the climb begins anew. Only a close
or cancel by a person, the return of a lost one, or the end of a passing alarm ends it. An UNDELIVERED event (the centre has not
answered) takes the second path at once. A second call for help, or a higher severity, takes the next step at once.

What a step asked of a device is followed to its end: an order that failed, expired or was lost goes out again `retry_s` later, to
another device where there is one. After `tries` the step is told as failed, and the climb goes on with the next one without waiting.

120, 119 and 110 are never called, unless `authorised_by` names who decided that; else that step asks the centre to decide.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from drivers.api import Command, Verb
from drivers.events import CommandResult, CommandStatus, Event, Occurrence
from drivers.vocabulary import OCCURRENCES, OccurrenceKind, Severity, State
from gateway.rules.contract import UNASSIGNED, Context, Decision, Directory, RuleState, Setting, Topic, owner

_K = OccurrenceKind
INCIDENT_DEVICE = "rule:incident"
GAP_MS = 5000
"""Shortest time between two moments of the climb after a pause (power cut): steps that came due together are not fired at once."""
LONGEST_PAUSE_MIN = 120
"""An unanswered ladder climbs again after `again_min`, then after twice that, up to this: never silent, no torture."""
_HEAT = frozenset({_K.GAS, _K.CO_ALARM, _K.SMOKE, _K.FIRE, _K.HEAT, _K.ELECTRICAL_FIRE})
_LOST = frozenset({_K.GEOFENCE_EXIT, _K.NOT_BACK, _K.WANDERING, _K.NIGHT_EXIT, _K.GEOFENCE_UNKNOWN, _K.DEVICE_FENCE_EXIT})
_LIFE = _HEAT | {_K.SOS, _K.FALL, _K.MEDICAL, _K.WELFARE_MISSED, _K.INACTIVITY, _K.LONG_STILL, _K.BREATHING_ABNORMAL}
_DEVICE = frozenset(
    {_K.OFFLINE, _K.LOW_BATTERY, _K.REMOVED, _K.FAULT, _K.TAMPER, _K.POWER_CUT, _K.POWER_OFF, _K.NETWORK_LOST, _K.SIM_FAULT}
)
_NUMBERS = {"medical": "120", "fire": "119", "lost": "110"}


class Step(NamedTuple):
    """What is done `at_s` seconds after the climb began."""

    at_s: int
    name: str


_PLANS: dict[str, tuple[Step, ...]] = {
    "life": (
        Step(0, "local_sound"),
        Step(0, "local_screen"),
        Step(0, "call_back"),
        Step(0, "guardian_1"),
        Step(0, "centre"),
        Step(60, "guardian_2"),
        Step(60, "neighbours"),
        Step(120, "duty_lead"),
        Step(180, "emergency_service"),
    ),
    "search": (
        Step(0, "locate"),
        Step(0, "guardian_1"),
        Step(0, "centre"),
        Step(60, "call_back"),
        Step(60, "guardian_2"),
        Step(60, "neighbours"),
        Step(120, "duty_lead"),
        Step(180, "emergency_service"),
    ),
    "notice": (Step(0, "centre"), Step(0, "guardian_1"), Step(300, "guardian_2"), Step(900, "duty_lead")),
    "device": (Step(0, "centre"), Step(0, "guardian_1")),
}


_REACHING = frozenset({"guardian_1", "guardian_2", "duty_lead", "neighbours", "emergency_service", "second_path"})
"""Steps that bring somebody: where one cannot be carried out the next may not wait for its time."""
_LOST_ORDER = frozenset({CommandStatus.FAILED, CommandStatus.EXPIRED, CommandStatus.UNKNOWN})
_ONCE = frozenset({"device"})
"""Plans that are not climbed again: a battery that nobody charges must not call a guardian all night."""


WAITING, FAILED, DONE = 0, 1, 2
"""What is known of an order."""


class Order(msgspec.Struct, array_like=True, omit_defaults=True):
    """A command of a step: what is asked of which device, which try it is, and what became of it."""

    step: str
    verb: Verb
    device: str
    tries: int = 1
    state: int = WAITING


class Climb(msgspec.Struct, omit_defaults=True):
    """A ladder in use; `step` is the next one, `base_ms` the steady time that counts as its zero second, `orders` by command."""

    plan: str
    kind: str
    base_ms: int
    severity: int
    place: str | None = None
    round: int = 0
    step: int = 0
    is_acknowledged: bool = False
    has_siren: bool = False
    orders: dict[str, Order] = {}


class LadderState(RuleState):
    """Climbs by incident."""

    climbs: dict[str, Climb] = {}


class LadderRule:
    """Climbs until somebody answers."""

    name = "ladder"
    title = ("escalation", "升级处置")
    settings = (
        Setting("guardian_1", "", "", "number of the first guardian", secret=True),
        Setting("guardian_2", "", "", "number of the second guardian", secret=True),
        Setting("duty_lead", "", "", "number of the duty lead of the centre", secret=True),
        Setting("centre_sms", "", "", "number of the centre for the second path", secret=True),
        Setting("label", "", "", "how the person is called in messages; empty = the pseudonym", secret=True),
        Setting("neighbours", [], "", "neighbours (subjects) whose TV is told", kind=list[str]),
        Setting("authorised_by", "", "", "who decided that the gateway may dial 120, 119, 110 (contract, date); empty = never"),
        Setting("handled_min", 15, "min", "acknowledged but not closed: climb anew", "rules of the centre", low=1, high=240),
        Setting("again_min", 10, "min", "nobody answered the whole ladder: climb anew", low=1, high=240),
        Setting("tries", 3, "", "how often a device is asked before its step counts as failed", low=1, high=10),
        Setting("retry_s", 5, "s", "pause before a failed order goes out again", low=1, high=60),
        Setting("search_tags", ["dementia"], "", "people who are searched for when they are out", kind=list[str]),
    )
    state_type = LadderState
    listens: frozenset[Topic] | None = frozenset({_K.INCIDENT, _K.UNDELIVERED, CommandResult})
    grace_ms = 0

    def key(self, event: Event, directory: Directory) -> str | None:
        """Whose state an event belongs to."""
        body = event.body
        if isinstance(body, CommandResult):
            return _key_of(body.command)
        assert isinstance(body, Occurrence)
        if body.kind is _K.INCIDENT and event.device != INCIDENT_DEVICE:
            return None
        return owner(event, directory) if event.subject else UNASSIGNED

    def apply(self, state: LadderState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        if isinstance(body, CommandResult):
            return self._result(state, event.device, body, context)
        assert isinstance(body, Occurrence)
        incident = body.incident or ""
        climb = state.climbs.get(incident)
        if body.kind is _K.UNDELIVERED:
            return self._second_path(state, incident, body, context)
        if body.state is State.END:
            return self._end(state, incident, climb, body, context) if climb else None
        if climb is None:
            return self._start(state, incident, event, body, context)
        word, _ = _word(body)
        if word == "acknowledged":
            climb.is_acknowledged = True
            climb.orders = {}
            state.timers.pop(f"retry|{incident}", None)
            if climb.plan in _ONCE:
                state.timers.pop(f"climb|{incident}", None)
                return None
            state.timers[f"climb|{incident}"] = context.steady_ms + context.settings["handled_min"] * 60_000
            return None
        if int(event.severity) > climb.severity:
            return self._raise(state, incident, climb, event, context)
        return self._next(state, incident, climb, context) if word == "escalate" else None

    def wake(self, state: LadderState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, incident = timer.partition("|")
            climb = state.climbs.get(incident)
            if climb is None:
                continue
            if what == "retry":
                decision.add(self._retry(incident, climb, context))
                continue
            if climb.is_acknowledged or climb.step >= len(_PLANS[climb.plan]):
                climb.is_acknowledged, climb.step, climb.base_ms = False, 0, context.steady_ms
                climb.round += 1
                climb.orders = {}
            decision.add(self._climb(state, incident, climb, context))
        return decision

    def _start(self, state: LadderState, incident: str, event: Event, body: Occurrence, context: Context) -> Decision | None:
        if event.severity < Severity.ALARM or not incident:
            return None
        _, kind = _word(body)
        climb = Climb(self._plan(kind, event.severity, context), kind.value, context.steady_ms, int(event.severity), body.place)
        state.climbs[incident] = climb
        return self._climb(state, incident, climb, context)

    def _plan(self, kind: OccurrenceKind, severity: Severity, context: Context) -> str:
        if kind in _LOST:
            person = context.directory.person(context.key)
            is_searched = person is not None and any(tag in person.tags for tag in context.settings["search_tags"])
            return "search" if is_searched else "notice"
        if kind in _LIFE or severity >= Severity.EMERGENCY:
            return "life"
        return "device" if kind in _DEVICE else "notice"

    def _raise(self, state: LadderState, incident: str, climb: Climb, event: Event, context: Context) -> Decision:
        """More severe than before: everybody is told anew, from the first step."""
        assert isinstance(event.body, Occurrence)
        _, kind = _word(event.body)
        climb.kind, climb.plan, climb.severity = kind.value, self._plan(kind, event.severity, context), int(event.severity)
        climb.step, climb.base_ms, climb.is_acknowledged = 0, context.steady_ms, False
        climb.round += 1
        climb.orders = {}
        return self._climb(state, incident, climb, context)

    def _next(self, state: LadderState, incident: str, climb: Climb, context: Context) -> Decision | None:
        """The next moment now; one at which nobody is there to be told does not count."""
        steps = _PLANS[climb.plan]
        decision = Decision()
        while climb.step < len(steps) and not decision.events:
            climb.is_acknowledged = False
            climb.base_ms = min(climb.base_ms, context.steady_ms - steps[climb.step].at_s * 1000)
            decision.add(self._climb(state, incident, climb, context))
        return decision if decision.events else None

    def _climb(self, state: LadderState, incident: str, climb: Climb, context: Context) -> Decision:
        """Do the steps of this moment and wait for the next."""
        steps = _PLANS[climb.plan]
        now = context.steady_ms
        decision = Decision()
        moment = steps[climb.step].at_s if climb.step < len(steps) else 0
        while climb.step < len(steps) and steps[climb.step].at_s == moment:
            decision.add(self._do(incident, climb, steps[climb.step].name, context))
            climb.step += 1
        if climb.step < len(steps):
            state.timers[f"climb|{incident}"] = max(climb.base_ms + steps[climb.step].at_s * 1000, now + GAP_MS)
        elif climb.plan in _ONCE:
            state.timers.pop(f"climb|{incident}", None)
        else:
            pause = min(context.settings["again_min"] << min(climb.round, 8), max(LONGEST_PAUSE_MIN, context.settings["again_min"]))
            state.timers[f"climb|{incident}"] = now + pause * 60_000
        return decision

    def _do(self, incident: str, climb: Climb, name: str, context: Context) -> Decision | None:
        commands = _ordered(climb, name, self._commands(incident, climb, name, context), context)
        if not commands and name not in ("centre", "emergency_service"):
            return None
        word = name
        if name == "emergency_service":
            number = _service(climb)
            word = f"{number} called" if commands else f"centre decides on {number}"
        return Decision([self._told(incident, climb, word, context)], commands)

    def _result(self, state: LadderState, device: str, body: CommandResult, context: Context) -> Decision | None:
        """What became of an order. Those that failed wait together for the next try."""
        found = ((incident, climb, climb.orders.get(body.command)) for incident, climb in state.climbs.items())
        incident, climb, order = next((row for row in found if row[2] is not None), ("", None, None))
        if climb is None or order is None or order.device != device or order.state != WAITING:
            return None
        if body.status is CommandStatus.DONE:
            order.state = DONE
        elif body.status in _LOST_ORDER:
            order.state = FAILED
            if order.tries >= context.settings["tries"]:
                return self._given_up(state, incident, climb, order, context)
            state.timers.setdefault(f"retry|{incident}", context.steady_ms + context.settings["retry_s"] * 1000)
        return None

    def _retry(self, incident: str, climb: Climb, context: Context) -> Decision:
        failed = [order for order in climb.orders.values() if order.state == FAILED]
        climb.orders = {name: order for name, order in climb.orders.items() if order.state != FAILED}
        decision = Decision()
        for order in failed:
            again = [found for found in self._commands(incident, climb, order.step, context, order.tries) if found.verb is order.verb]
            again = [found for found in again if found.device == order.device] or again[:1]
            decision.commands += _ordered(climb, order.step, again, context, tries=order.tries + 1)
        return decision

    def _given_up(self, state: LadderState, incident: str, climb: Climb, order: Order, context: Context) -> Decision:
        """Nobody carried it out: that is told, and the climb does not wait for a step that cannot help."""
        climb.orders = {name: other for name, other in climb.orders.items() if other is not order}
        decision = Decision([self._told(incident, climb, f"{order.step} failed: {order.verb.value}", context)])
        hopeful = [other for other in climb.orders.values() if order.step not in _REACHING or other.step == order.step]
        if not hopeful and climb.plan not in _ONCE:
            decision.add(self._next(state, incident, climb, context))
        return decision

    def _told(self, incident: str, climb: Climb, word: str, context: Context) -> Event:
        names = ("authorised_by",) if word.endswith("called") else ("handled_min",)
        numbers = {"round": float(climb.round), "step": float(climb.step)}
        why = context.why(settings=names, inputs=[incident], numbers=numbers)
        body = Occurrence(
            kind=_K.LADDER_STEP, severity=Severity(climb.severity), place=climb.place, detail=word, incident=incident, explain=why
        )
        return context.event(body, cause=context.cause or incident)

    def _commands(self, incident: str, climb: Climb, name: str, context: Context, tried: int = 0) -> list[Command]:
        """What a step asks of devices; where one of several suffices, the next one after each try."""
        values = context.settings
        if name in ("guardian_1", "guardian_2", "duty_lead"):
            number = values[name]
            is_call = climb.plan != "notice" and name != "guardian_1"
            return _sms(context, number, climb, incident, tried) + (_dial(context, number, incident, tried) if is_call else [])
        if name == "second_path":
            return _sms(context, values["centre_sms"], climb, incident, tried)
        if name == "local_sound":
            climb.has_siren = True
            seconds = 180 if _is_fire(climb) else 60
            sirens = context.directory.actuators(context.key, Verb.SIREN)
            return [context.command(Verb.SIREN, device, {"on": True, "seconds": seconds}, cause=incident) for device in sirens]
        if name == "local_screen":
            return _screens(context, context.key, _comfort(context), incident)
        if name == "neighbours":
            text = _text(context, climb, incident)
            return [command for other in values["neighbours"] for command in _screens(context, other, text, incident)]
        if name == "call_back":
            return self._call_back(context, incident, tried)
        if name == "locate":
            wearables = _one(context, Verb.LIVE_MODE, tried)
            live = [context.command(Verb.LIVE_MODE, device, {"seconds": 1800, "interval": 10}, cause=incident) for device in wearables]
            return live + [context.command(Verb.LOCATE, device, {}, cause=incident) for device in wearables]
        if name == "emergency_service" and values["authorised_by"]:
            return _dial(context, _service(climb), incident, tried)
        return []

    def _call_back(self, context: Context, incident: str, tried: int) -> list[Command]:
        number = context.settings["guardian_1"]
        wearables = _one(context, Verb.CALL_BACK, tried) if number else ()
        return [context.command(Verb.CALL_BACK, device, {"number": number}, cause=incident) for device in wearables]

    def _second_path(self, state: LadderState, incident: str, body: Occurrence, context: Context) -> Decision | None:
        climb = state.climbs.get(incident) if incident else next(iter(state.climbs.values()), None)
        if climb is None or body.state is State.END:
            return None
        return self._do(incident or next(iter(state.climbs)), climb, "second_path", context)

    def _end(self, state: LadderState, incident: str, climb: Climb, body: Occurrence, context: Context) -> Decision | None:
        del state.climbs[incident]
        state.timers.pop(f"climb|{incident}", None)
        state.timers.pop(f"retry|{incident}", None)
        if not climb.has_siren or not body.person:
            return None
        if any(other.has_siren for other in state.climbs.values()):
            return None
        sirens = context.directory.actuators(context.key, Verb.SIREN)
        return Decision([], [context.command(Verb.SIREN, device, {"on": False}, cause=incident) for device in sirens])


def _key_of(command: str) -> str | None:
    """Whose ladder gave an order: a result comes from the device (a modem belongs to nobody), its command's id ends with the key."""
    return command.partition(".")[2] or None if command.startswith("ladder-") else None


def _ordered(climb: Climb, step: str, commands: list[Command], context: Context, *, tries: int = 1) -> list[Command]:
    """The commands, remembered by the climb under ids that lead back to it."""
    named = [msgspec.structs.replace(command, id=f"{command.id}.{context.key}") for command in commands]
    climb.orders = {**climb.orders, **{command.id: Order(step, command.verb, command.device, tries) for command in named}}
    return named


def _word(body: Occurrence) -> tuple[str, OccurrenceKind]:
    """What the incident rule said, and of which kind: `raised: fall`."""
    word, _, kind = (body.detail or "").partition(": ")
    return word, OccurrenceKind(kind)


def _is_fire(climb: Climb) -> bool:
    return OccurrenceKind(climb.kind) in _HEAT


def _service(climb: Climb) -> str:
    return _NUMBERS["fire" if _is_fire(climb) else "lost" if climb.plan == "search" else "medical"]


def _text(context: Context, climb: Climb, incident: str) -> str:
    """The message: what, who, where, and the end of the incident's id for the answer."""
    person = context.directory.person(context.key)
    row = OCCURRENCES[OccurrenceKind(climb.kind)]
    who, where = context.settings["label"] or context.key, climb.place
    if person is not None and person.language == "en":
        return f"Anhu: {row.en}, {who}" + (f", {where}" if where else "") + f" [{incident[-6:]}]"
    return f"安护：{row.zh}，{who}" + (f"，{where}" if where else "") + f" [{incident[-6:]}]"


def _comfort(context: Context) -> str:
    person = context.directory.person(context.key)
    return "Help has been called." if person is not None and person.language == "en" else "已为您呼叫帮助，请不要着急。"


def _one(context: Context, verb: Verb, tried: int) -> tuple[str, ...]:
    """The best device for a verb, after each failed try the next best."""
    devices = context.directory.actuators(context.key, verb)
    return (devices[tried % len(devices)],) if devices else ()


def _sms(context: Context, number: str, climb: Climb, incident: str, tried: int) -> list[Command]:
    modems = _one(context, Verb.SEND_SMS, tried) if number else ()
    args = {"number": number, "text": _text(context, climb, incident)}
    return [context.command(Verb.SEND_SMS, modem, args, cause=incident, expires_s=600) for modem in modems]


def _dial(context: Context, number: str, incident: str, tried: int) -> list[Command]:
    modems = _one(context, Verb.DIAL, tried) if number else ()
    return [context.command(Verb.DIAL, modem, {"number": number}, cause=incident, expires_s=120) for modem in modems]


def _screens(context: Context, subject: str, text: str, incident: str) -> list[Command]:
    args = {"text": text, "voice": True, "seconds": 60}
    return [
        context.command(Verb.MESSAGE, device, args, cause=incident) for device in context.directory.actuators(subject, Verb.MESSAGE)[:2]
    ]
