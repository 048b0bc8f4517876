"""Is every device alive, charged and worn? One state per device.

Offline: after `missed` expected reports, at most `limit_h`; a mains device after `mains_min` at the earliest. The expected interval
is the setting or the inventory's; else it is learnt as a slowly fading maximum of the gaps seen, so that a sensor that speaks only
when somebody moves is judged by its nights, not by its busy hours. A single outage cannot teach more than twice the known gap.

Battery: notice, alarm by day, alarm at any hour. Off the wrist: after a while by day; at night it waits for the morning.
"""

from __future__ import annotations

from drivers.events import CommandResult, DeviceHealth, Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity, State
from gateway.rules.contract import RULE_DEVICE, UNCHANGED, Context, Decision, Directory, RuleState, Setting, Topic
from gateway.rules.schedule import DAY_MS, day_of, epoch_of, minute_of_day, parse_window

_K = OccurrenceKind
_VOICES = (RULE_DEVICE, "person:", "gateway")
"""What speaks without being a device."""
_KNOWN_ROLES_DAILY = frozenset({"pendant"})
"""Devices that speak only daily or in need: nothing shorter than the longest limit says anything."""
_WRIST = frozenset({_K.REMOVED, _K.WORN})
BURST_MS = 10_000
"""Events closer than this are one report (a frame gives several); so are those within a quarter of a long gap, up to `BURST_MOST_MS`,
which spares the store a write for each."""
BURST_MOST_MS = 600_000
HALF_LIFE_MS = 86_400_000
"""A learnt gap halves in a day: last night's silence still counts tonight, a changed report interval is learnt in a few days."""
KNOWN_MS = 93_600_000
"""A battery device must have been known for 26 hours, a whole night included, before its own gaps judge it."""
SLACK_MS = 600_000


class SupervisionState(RuleState):
    """`first_ms`, `seen_ms` steady time of the first and last report, `gap_ms` the learnt interval, `battery` the level last told
    (0 none .. 3 always)."""

    seen_ms: int = 0
    gap_ms: int = 0
    first_ms: int = 0
    last: str = ""
    is_offline: bool = False
    battery: int = 0
    percent: float = -1.0
    removed: str = ""
    is_removed_told: bool = False


class SupervisionRule:
    """Watches the watchers."""

    name = "supervision"
    title = ("device supervision", "设备监管")
    settings = (
        Setting("interval_s", 0, "s", "expected report interval; 0 = from the inventory, else learnt", low=0, high=86_400),
        Setting("missed", 3, "", "missed reports until a device counts as offline", low=1, high=20),
        Setting("limit_h", 25.0, "h", "longest silence of any device", "EN 50136-1 SP2, Climax 24 h", low=1, high=800),
        Setting("mains_min", 5.0, "min", "shortest silence of a mains device", low=1, high=1440),
        Setting("battery_notice_pct", 20.0, "%", "battery notice", low=0, high=100),
        Setting("battery_alarm_pct", 10.0, "%", "battery alarm by day", low=0, high=100),
        Setting("battery_always_pct", 5.0, "%", "battery alarm at any hour", low=0, high=100),
        Setting("off_wrist_min", 15.0, "min", "time off the wrist by day until a warning", low=1, high=1440),
    )
    state_type = SupervisionState
    listens: frozenset[Topic] | None = None
    grace_ms = 1_800_000

    def key(self, event: Event, directory: Directory) -> str | None:
        """Whose state an event belongs to."""
        device = event.device
        if device.startswith(_VOICES):
            return None
        # A result without a frame behind it is the gateway's own word about a command, not a sign of the device.
        return None if event.evidence is None and type(event.body) is CommandResult else device

    def apply(self, state: SupervisionState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        if type(body) is DeviceHealth:
            return self._health(state, event, body, context)
        decision = self._seen(state, event, context)
        if type(body) is Occurrence and body.kind in _WRIST:
            return _joined(None if decision is UNCHANGED else decision, self._wrist(state, event, body, context))
        return decision

    def wake(self, state: SupervisionState, context: Context) -> Decision | None:
        """Act on the timers that came due."""
        decision = Decision()
        for timer in state.due(context.steady_ms):
            if timer == "offline":
                decision.add(self._offline(state, context))
            elif timer == "removed":
                decision.add(self._removed(state, context))
            elif timer == "battery":
                decision.add(self._battery(state, state.percent, context))
        return decision

    def _seen(self, state: SupervisionState, event: Event, context: Context) -> Decision | None:
        now = context.steady_ms
        gap = now - state.seen_ms
        is_known = bool(state.seen_ms)
        if is_known:
            gap_ms = state.gap_ms
            if (gap < BURST_MS or (gap < BURST_MOST_MS and gap < gap_ms // 4)) and not state.is_offline:
                return UNCHANGED
            is_new = now - state.first_ms < KNOWN_MS and not state.is_offline
            learnt = gap if is_new else min(gap, 2 * gap_ms + SLACK_MS)
            faded = int(gap_ms * 0.5 ** (gap / HALF_LIFE_MS))
            state.gap_ms = learnt if learnt > faded else faded
        else:
            state.first_ms = state.first_ms or now
        state.seen_ms, state.last = now, event.id
        state.timers["offline"] = now + self._limit_ms(state, context)
        if not state.is_offline:
            return None
        state.is_offline = False
        why = context.why(numbers={"silent_s": gap / 1000} if is_known else None)
        body = Occurrence(kind=_K.OFFLINE, state=State.END, detail=context.key, explain=why)
        return Decision([context.event(body)])

    def _limit_ms(self, state: SupervisionState, context: Context) -> int:
        values, facts = context.settings, context.facts
        longest = int(values["limit_h"] * 3_600_000)
        known = values["interval_s"]
        if facts is not None and not known:
            if facts.role in _KNOWN_ROLES_DAILY:
                return longest
            known = facts.interval_s
        if known:
            waited: int = values["missed"] * int(known * 1000)
        elif state.seen_ms - state.first_ms < KNOWN_MS and not (facts is not None and facts.power == "mains"):
            return longest
        else:
            waited = values["missed"] * state.gap_ms
        shortest = int(values["mains_min"] * 60_000)
        return min(max(waited, shortest), longest)

    def _offline(self, state: SupervisionState, context: Context) -> Decision | None:
        if state.is_offline:
            return None
        state.is_offline = True
        numbers = {"interval_s": state.gap_ms / 1000}
        if state.seen_ms:
            numbers["silent_s"] = (context.steady_ms - state.seen_ms) / 1000
        why = context.why(settings=("missed", "limit_h", "mains_min"), inputs=[state.last], numbers=numbers)
        body = Occurrence(kind=_K.OFFLINE, state=State.START, detail=context.key, explain=why)
        return Decision([context.event(body, cause=state.last)])

    def _health(self, state: SupervisionState, event: Event, body: DeviceHealth, context: Context) -> Decision | None:
        if body.online is False:
            state.last = state.last or event.id
            state.timers.pop("offline", None)
            decision = self._offline(state, context)
        else:
            decision = self._seen(state, event, context)
        percent = body.battery_percent
        if percent is None and body.battery_low is not None:
            percent = context.settings["battery_notice_pct"] if body.battery_low else 100.0
        if percent is None:
            return decision
        values = context.settings
        notice_pct: float = values["battery_notice_pct"]
        if body.charging and percent > values["battery_always_pct"]:
            percent = max(percent, notice_pct + 0.1)
        is_full = percent > notice_pct and percent > values["battery_alarm_pct"] and percent > values["battery_always_pct"]
        if is_full and not state.battery and "battery" not in state.timers:
            return decision
        state.last = event.id if percent <= notice_pct else state.last
        told = self._battery(state, percent, context)
        return _joined(None if decision is UNCHANGED else decision, told)

    def _battery(self, state: SupervisionState, percent: float, context: Context) -> Decision | None:
        values = context.settings
        state.timers.pop("battery", None)
        level = 3 if percent <= values["battery_always_pct"] else 2 if percent <= values["battery_alarm_pct"] else 0
        level = level or (1 if percent <= values["battery_notice_pct"] else 0)
        night = _morning_ms(context) if level == 2 else None
        if night is not None:
            state.percent = percent
            state.timers["battery"] = context.steady_ms + night
            level = 1
        if level > state.battery:
            state.battery = level
            severity = Severity.NOTICE if level == 1 else Severity.ALARM
            return Decision([self._battery_event(state, context, State.START, severity, percent)])
        if state.battery and percent > values["battery_notice_pct"] + 5:
            state.battery = 0
            return Decision([self._battery_event(state, context, State.END, None, percent)])
        return None

    def _battery_event(self, state: SupervisionState, context: Context, what: State, severity: Severity | None, percent: float) -> Event:
        names = ("battery_notice_pct", "battery_alarm_pct", "battery_always_pct")
        why = context.why(settings=names, inputs=[context.cause or state.last], numbers={"battery_pct": percent})
        body = Occurrence(kind=_K.LOW_BATTERY, state=what, severity=severity, detail=context.key, explain=why)
        return context.event(body, cause=context.cause or state.last)

    def _wrist(self, state: SupervisionState, event: Event, body: Occurrence, context: Context) -> Decision | None:
        if body.kind is _K.REMOVED and body.state is not State.END:
            if not state.removed:
                state.removed = event.id
                state.timers["removed"] = context.steady_ms + int(context.settings["off_wrist_min"] * 60_000)
            return None
        was_told, state.removed, state.is_removed_told = state.is_removed_told, "", False
        state.timers.pop("removed", None)
        if not was_told:
            return None
        return Decision([context.event(Occurrence(kind=_K.REMOVED, state=State.END, detail=context.key, explain=context.why()))])

    def _removed(self, state: SupervisionState, context: Context) -> Decision | None:
        night = _morning_ms(context)
        if night is not None:
            state.timers["removed"] = context.steady_ms + night
            return None
        state.is_removed_told = True
        minutes = context.settings["off_wrist_min"]
        why = context.why(settings=("off_wrist_min", "night"), inputs=[state.removed], numbers={"off_wrist_min": minutes})
        body = Occurrence(kind=_K.REMOVED, state=State.START, detail=context.key, explain=why)
        return Decision([context.event(body, cause=state.removed)])


def _morning_ms(context: Context) -> int | None:
    """Milliseconds until the night ends, None by day."""
    zone, window = context.settings["zone"], parse_window(context.settings["night"])
    minute = minute_of_day(context.now.ms, zone)
    if not window.holds(minute):
        return None
    day = day_of(context.now.ms, zone) + (1 if window.start > window.end and minute >= window.start else 0)
    return min(max(epoch_of(day, window.end, zone) - context.now.ms, 60_000), DAY_MS)


def _joined(first: Decision | None, second: Decision | None) -> Decision | None:
    if first is None or second is None:
        return first or second
    first.add(second)
    return first
