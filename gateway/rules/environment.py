"""Gas, carbon monoxide, smoke, water and room temperature; and what the home does about them by itself.

A detector's own alarm is final and reaches the incident rule as it is. This rule adds analogue sensors (GAS_LEL, CO, TEMPERATURE),
a second smoke detector (FIRE), and the actions: close the valve, sound the siren, run the fan. A valve is asked up to `tries` times
until it says that it is closed; if it never does, that is a FAULT of its own. Nothing here opens a valve: that is done by hand on site.

    gas      GAS start warning from `gas_pre_lel`, start emergency from `gas_alarm_lel`, end below `gas_clear_lel` for `gas_clear_s`
    CO       EN 50291: 30 ppm never within 2 h, 50 ppm 60-90 min, 100 ppm 10-40 min, 300 ppm within 3 min; the early end of each
    water    wet for `wet_s`
    room     below or above for hours, with a hysteresis
"""

from __future__ import annotations

from drivers.api import Command, Verb
from drivers.events import CommandResult, CommandStatus, Event, Explanation, Measurement, Occurrence
from drivers.vocabulary import OccurrenceKind, Quantity, Severity, State
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, of_person

_K, _Q = OccurrenceKind, Quantity
_END, _TEMPERATURE, _GAS_LEL = State.END, _Q.TEMPERATURE, _Q.GAS_LEL
"""Members as names of the module: looking one up in its class costs ten times as much as the comparison."""
_CO_STEPS = ((50.0, 60), (100.0, 10), (300.0, 0))
"""(ppm, minutes) of EN 50291: the earliest minute at which the standard lets a detector of that step sound."""
_CO_CLEAR_PPM = 30.0
_FLAMES = frozenset({_K.SMOKE, _K.FIRE, _K.HEAT})

_SIREN_S = 180
WARMING_UP = "warming_up"
"""Channel of readings that a gas sensor gives before it is warm: they mean nothing yet."""
MAX_DEVICES = 64


class EnvironmentState(RuleState):
    """`gas` device -> told level (1 pre-alarm, 2 alarm, 3 the detector's own), `co` device -> last value above the first step,
    `room` device -> what was told; `smoky` and `wet` device -> id of the alarm that lasts; `valves` valve -> tries made, `faulty`
    those that gave up, `closed` what each valve said last; `values` device -> last temperature."""

    gas: dict[str, int] = {}
    co: dict[str, float] = {}
    co_told: list[str] = []
    room: dict[str, str] = {}
    smoky: dict[str, str] = {}
    wet: dict[str, str] = {}
    valves: dict[str, int] = {}
    faulty: list[str] = []
    closed: dict[str, bool] = {}
    causes: dict[str, str] = {}
    values: dict[str, float] = {}


class EnvironmentRule:
    """Watches over the air, the water and the warmth of a home."""

    name = "environment"
    title = ("gas, smoke, water, warmth", "燃气、烟雾、漏水与室温")
    settings = (
        Setting("gas_alarm_lel", 10.0, "%[LEL]", "gas alarm of an analogue sensor", "GB 15322.2 5-25 %, EN 50194 3-20 %", low=3, high=25),
        Setting("gas_pre_lel", 5.0, "%[LEL]", "pre-alarm (stove)", "", low=1, high=25),
        Setting("gas_clear_lel", 5.0, "%[LEL]", "gas counts as gone below this", "", low=0.5, high=25),
        Setting("gas_clear_s", 60, "s", "for so long", "", low=10, high=3600),
        Setting("fan_safe", False, "", "the fan is explosion-safe and may run in gas", "GB 50028 10.8.2"),
        Setting("tries", 3, "", "how often a valve is asked to close", "", low=1, high=10),
        Setting("retry_s", 5, "s", "pause between the tries", "", low=1, high=60),
        Setting("wet_s", 10, "s", "wetness that closes the valve", "", low=0, high=600),
        Setting("cold_c", 16.0, "Cel", "room too cold", "", low=-20, high=30),
        Setting("warm_c", 30.0, "Cel", "room too warm", "", low=20, high=60),
        Setting("hot_c", 35.0, "Cel", "room dangerously hot", "", low=20, high=60),
        Setting("room_min", 120, "min", "too cold or warm for so long", "", low=1, high=1440),
        Setting("hot_min", 30, "min", "dangerously hot for so long", "", low=1, high=1440),
    )
    state_type = EnvironmentState
    listens: frozenset[Topic] | None = frozenset(
        {_K.GAS, _K.CO_ALARM, _K.WATER_LEAK, _K.VALVE_CLOSED, _Q.GAS_LEL, _Q.CO, _Q.TEMPERATURE, CommandResult, *_FLAMES}
    )
    grace_ms = 0
    key = staticmethod(of_person)

    def apply(self, state: EnvironmentState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        if type(body) is Measurement:
            return UNCHANGED if body.stored else self._value(state, event, body, context)
        if isinstance(body, CommandResult):
            # A hub's "done" means that the order went through. A valve that has ever told its state must tell it now.
            if body.verb == Verb.VALVE.value and body.status is CommandStatus.DONE and event.device not in state.closed:
                return _valve_done(state, event.device, context)
            return None
        assert isinstance(body, Occurrence)
        if body.kind is _K.VALVE_CLOSED:
            return self._valve(state, event, body, context)
        if body.kind is _K.WATER_LEAK:
            return self._water(state, event, body, context)
        if body.kind in _FLAMES:
            return self._smoke(state, event, body, context)
        return self._detector(state, event, body, context)

    def wake(self, state: EnvironmentState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            what, _, device = timer.partition("|")
            if what == "valve":
                decision.add(self._retry(state, device, context))
            elif what == "clear":
                decision.add(self._gas_clear(state, device, context))
            elif what == "wet" and device in state.wet:
                decision.commands += self._close(state, context, "gas_valve", state.wet[device])
            elif what.startswith("ppm"):
                decision.add(self._co_alarm(state, device, context))
            elif what in ("cold", "warm", "hot"):
                decision.add(self._room_alarm(state, device, what, context))
        return decision

    def _detector(self, state: EnvironmentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        """GAS or CO_ALARM of a detector itself: act at once, the alarm is out already."""
        if body.state is _END:
            if state.gas.get(event.device) == 3:
                del state.gas[event.device]
            return None
        decision = Decision()
        if body.kind is _K.GAS:
            if state.gas.get(event.device) == 3:
                return None
            if len(state.gas) < MAX_DEVICES and body.state is State.START:
                state.gas[event.device] = 3
            decision.commands += self._close(state, context, "water_valve", event.id)
            decision.commands += _fan(context, is_gas=True)
        else:
            decision.commands += _fan(context, is_gas=False)
        decision.commands += _siren(context)
        return decision

    def _value(self, state: EnvironmentState, event: Event, body: Measurement, context: Context) -> Decision | None:
        if body.channel == WARMING_UP:
            return UNCHANGED
        device = event.device if body.channel is None else f"{event.device}#{body.channel}"
        if body.quantity is _TEMPERATURE:
            facts = context.facts
            return self._room(state, device, event, body.value, context) if facts and facts.place else UNCHANGED
        if body.quantity is _GAS_LEL:
            return self._gas(state, device, event, body.value, context)
        return self._co(state, device, event, body.value, context)

    def _gas(self, state: EnvironmentState, device: str, event: Event, value: float, context: Context) -> Decision | None:
        values = context.settings
        told = state.gas.get(device, 0)
        if value >= values["gas_clear_lel"]:
            state.timers.pop(f"clear|{device}", None)
        elif told and f"clear|{device}" not in state.timers:
            state.timers[f"clear|{device}"] = context.steady_ms + values["gas_clear_s"] * 1000
        level = 2 if value >= values["gas_alarm_lel"] else 1 if value >= values["gas_pre_lel"] else 0
        if level <= told or (device not in state.gas and len(state.gas) >= MAX_DEVICES):
            return None
        state.gas[device], state.causes[device] = level, event.id
        severity = Severity.EMERGENCY if level == 2 else Severity.WARNING
        names = ("gas_alarm_lel",) if level == 2 else ("gas_pre_lel",)
        decision = Decision([_say(context, device, _K.GAS, State.START, severity=severity, names=names, numbers={"gas_lel": value})])
        if level == 2:
            decision.commands += self._close(state, context, "water_valve", event.id) + _fan(context, is_gas=True) + _siren(context)
        return decision

    def _gas_clear(self, state: EnvironmentState, device: str, context: Context) -> Decision | None:
        if state.gas.get(device, 0) not in (1, 2):
            return None
        del state.gas[device]
        cause = state.causes.pop(device, None)
        return Decision(
            [_say(context, device, _K.GAS, State.END, severity=None, names=("gas_clear_lel", "gas_clear_s"), numbers={}, cause=cause)]
        )

    def _co(self, state: EnvironmentState, device: str, event: Event, value: float, context: Context) -> Decision | None:
        now = context.steady_ms
        if value >= _CO_STEPS[0][0] and (device in state.co or len(state.co) < MAX_DEVICES):
            state.co[device] = value
            state.causes[device] = event.id
        decision = Decision()
        for ppm, minutes in _CO_STEPS:
            timer = f"ppm{ppm:g}|{device}"
            if value < ppm:
                state.timers.pop(timer, None)
            elif device not in state.co_told and timer not in state.timers:
                if minutes == 0:
                    return self._co_alarm(state, device, context)
                state.timers[timer] = now + minutes * 60_000
        if value < _CO_CLEAR_PPM:
            state.co.pop(device, None)
            cause = state.causes.pop(device, None)
            if device in state.co_told:
                state.co_told = [name for name in state.co_told if name != device]
                decision.events.append(
                    _say(context, device, _K.CO_ALARM, State.END, severity=None, names=(), numbers={"co_ppm": value}, cause=cause)
                )
        return decision if decision.events else None

    def _co_alarm(self, state: EnvironmentState, device: str, context: Context) -> Decision | None:
        if device in state.co_told:
            return None
        state.co_told = [*state.co_told, device]
        for ppm, _ in _CO_STEPS:
            state.timers.pop(f"ppm{ppm:g}|{device}", None)
        numbers = {"co_ppm": state.co.get(device, 0.0)}
        told = _say(
            context,
            device,
            _K.CO_ALARM,
            State.START,
            severity=Severity.EMERGENCY,
            names=(),
            numbers=numbers,
            cause=state.causes.get(device),
        )
        return Decision([told], _siren(context) + _fan(context, is_gas=False))

    def _smoke(self, state: EnvironmentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        if body.state is _END:
            state.smoky.pop(event.device, None)
            if not state.smoky:
                state.causes.pop("fire", None)
            return None
        is_known = event.device in state.smoky
        if not is_known and len(state.smoky) < MAX_DEVICES:
            state.smoky[event.device] = event.id
        decision = Decision([], [] if is_known else _siren(context))
        if len(state.smoky) > 1 and "fire" not in state.causes:
            state.causes["fire"] = event.id
            why = context.why(inputs=list(state.smoky.values()), numbers={"detectors": float(len(state.smoky))})
            told = Occurrence(kind=_K.FIRE, state=State.START, detail="second detector", explain=why)
            decision.events.append(context.event(told))
        return decision if decision.events or decision.commands else None

    def _water(self, state: EnvironmentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        if body.state is _END:
            state.wet.pop(event.device, None)
            state.timers.pop(f"wet|{event.device}", None)
            return None
        if body.state is State.PULSE or context.settings["wet_s"] == 0:
            return Decision([], self._close(state, context, "gas_valve", event.id))
        if event.device not in state.wet and len(state.wet) < MAX_DEVICES:
            state.wet[event.device] = event.id
            state.timers[f"wet|{event.device}"] = context.steady_ms + context.settings["wet_s"] * 1000
        return None

    def _close(self, state: EnvironmentState, context: Context, other_role: str, cause: str) -> list[Command]:
        """Ask every valve but those of the other medium. A valve that is being asked already is not asked twice."""
        commands = []
        for valve in context.directory.actuators(context.subject or context.key, Verb.VALVE):
            facts = context.directory.device(valve)
            if valve in state.valves or (facts and facts.role == other_role):
                continue
            commands.append(context.command(Verb.VALVE, valve, {"open": False}, cause=cause))
            if state.closed.get(valve):
                continue  # it stands closed and will not say so again; the order costs nothing
            state.valves[valve] = 1
            state.causes[f"valve {valve}"] = cause
            state.timers[f"valve|{valve}"] = context.steady_ms + context.settings["retry_s"] * 1000
        return commands

    def _retry(self, state: EnvironmentState, valve: str, context: Context) -> Decision | None:
        tries = state.valves.get(valve)
        if tries is None:
            return None
        cause = state.causes.get(f"valve {valve}")
        if tries < context.settings["tries"]:
            state.valves[valve] = tries + 1
            state.timers[f"valve|{valve}"] = context.steady_ms + context.settings["retry_s"] * 1000
            return Decision([], [context.command(Verb.VALVE, valve, {"open": False}, cause=cause)])
        _valve_done(state, valve, context)
        state.faulty = [*state.faulty, valve]
        why = context.why(settings=("tries", "retry_s"), inputs=[cause], numbers={"tries": float(tries)})
        return Decision([context.event(_valve_fault(valve, State.START, why, context), cause=cause)])

    def _valve(self, state: EnvironmentState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        if event.device in state.closed or len(state.closed) < MAX_DEVICES:
            state.closed[event.device] = body.state is not _END
        if body.state is not _END:
            return _valve_done(state, event.device, context)
        is_gas = any(level >= 2 for level in state.gas.values())
        if not is_gas:
            return None
        return Decision([], self._close(state, context, "water_valve", event.id))

    def _room(self, state: EnvironmentState, device: str, event: Event, value: float, context: Context) -> Decision | None:
        values, now = context.settings, context.steady_ms
        is_well = values["cold_c"] <= value <= values["warm_c"] and value <= values["hot_c"]
        if is_well and not (state.room or state.values or state.timers):
            return UNCHANGED
        limits = {"cold": value < values["cold_c"], "warm": value > values["warm_c"], "hot": value > values["hot_c"]}
        for name, is_over in limits.items():
            timer = f"{name}|{device}"
            if not is_over:
                state.timers.pop(timer, None)
            elif timer not in state.timers and state.room.get(device) not in (name, "hot") and len(state.timers) < 3 * MAX_DEVICES:
                state.timers[timer] = now + values["hot_min" if name == "hot" else "room_min"] * 60_000
                state.causes[device] = event.id
        if device in state.values or any(limits.values()):
            state.values[device] = value
        told = state.room.get(device)
        is_good = values["cold_c"] + 1 <= value <= values["warm_c"] - 1
        if told is None or not is_good:
            if is_good:
                state.values.pop(device, None)
            return None
        del state.room[device]
        state.values.pop(device, None)
        cause = state.causes.pop(device, None)
        return Decision(
            [
                _say(
                    context,
                    device,
                    _K.TEMPERATURE_ABNORMAL,
                    State.END,
                    severity=None,
                    names=(),
                    numbers={"temperature_c": value},
                    cause=cause,
                )
            ]
        )

    def _room_alarm(self, state: EnvironmentState, device: str, name: str, context: Context) -> Decision | None:
        state.room[device] = name
        names = {"cold": ("cold_c", "room_min"), "warm": ("warm_c", "room_min"), "hot": ("hot_c", "hot_min")}[name]
        severity = Severity.ALARM if name == "hot" else Severity.WARNING
        numbers = {"temperature_c": state.values.get(device, 0.0)}
        cause = state.causes.get(device)
        return Decision(
            [_say(context, device, _K.TEMPERATURE_ABNORMAL, State.START, severity=severity, names=names, numbers=numbers, cause=cause)]
        )


def _valve_done(state: EnvironmentState, valve: str, context: Context) -> Decision | None:
    state.valves.pop(valve, None)
    state.timers.pop(f"valve|{valve}", None)
    state.causes.pop(f"valve {valve}", None)
    if valve not in state.faulty:
        return None
    state.faulty = [name for name in state.faulty if name != valve]
    return Decision([context.event(_valve_fault(valve, State.END, context.why(), context))])


def _valve_fault(valve: str, what: State, why: Explanation, context: Context) -> Occurrence:
    facts = context.directory.device(valve)
    severity = Severity.ALARM if what is State.START else None
    return Occurrence(kind=_K.FAULT, state=what, severity=severity, place=facts.place if facts else None, detail=valve, explain=why)


def _say(
    context: Context,
    device: str,
    kind: OccurrenceKind,
    what: State,
    *,
    severity: Severity | None,
    names: tuple[str, ...],
    numbers: dict[str, float],
    cause: str | None = None,
) -> Event:
    facts = context.directory.device(device.partition("#")[0])
    why = context.why(settings=names, inputs=[cause or context.cause], numbers=numbers)
    body = Occurrence(kind=kind, state=what, severity=severity, place=facts.place if facts else None, detail=device, explain=why)
    return context.event(body, cause=cause or context.cause)


def _siren(context: Context) -> list[Command]:
    sirens = context.directory.actuators(context.subject or context.key, Verb.SIREN)
    return [context.command(Verb.SIREN, siren, {"on": True, "seconds": _SIREN_S}) for siren in sirens]


def _fan(context: Context, *, is_gas: bool) -> list[Command]:
    if is_gas and not context.settings["fan_safe"]:
        return []
    return [context.command(Verb.FAN, fan, {"on": True}) for fan in context.directory.actuators(context.subject or context.key, Verb.FAN)]
