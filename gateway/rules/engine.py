"""Runs the rules over events and time: routing, states, timers, causal order, isolation of a faulty rule.

Order. An input event is shown to every rule that listens, in configured order. What a rule adds is shown only to the rules
behind it, so nothing can turn back; besides, an event never reaches a rule of its own causal chain, and chains end at four.
Timers that are due at `now` fire before the events of that moment, whoever was late: the output does not depend on scheduling.

Persistence. Every call returns the states that changed, packed; they are written in the same commit as the events. A state
that equals its defaults is returned as None (delete the row). `restore` takes the rows back.

Cost. Most events mean nothing to most rules. So: which rules listen is looked up by topic, ends apart; whose state it is, is asked
once for all rules of one kind of key; rules that rest under the settings of a person are passed over; a person without a state
shares one blank state until something is written into it; a rule that answers UNCHANGED is neither encoded nor compared; a timer
that moves later leaves its place in the heap, and is moved when that place comes up.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from drivers.api import Command, Instant
from drivers.events import Event, Measurement, Occurrence, event_id
from drivers.vocabulary import State
from gateway.rules.contract import (
    RULE_DEVICE,
    UNCHANGED,
    Context,
    Decision,
    Directory,
    Rule,
    RuleState,
    SettingsSource,
    Topic,
    Values,
)

__all__ = ["LONGEST_TIMER_MS", "MAX_DEPTH", "Outcome", "RuleEngine"]

MAX_DEPTH = 4
"""Longest causal chain: sensor -> rule -> incident -> ladder has three."""
LONGEST_TIMER_MS = 40 * 24 * 3600 * 1000
"""No rule waits longer (the longest habit is 14 days). A timer beyond means that the steady clock was lost: it fires at once,
since one that fires early costs a question and one that never fires may cost a life."""
FAULT_PAUSE_MS = 60_000
"""How long a timer whose rule failed waits for the next try; without it the gateway would spin."""
ROUNDS = 8
"""How often one state may be woken within a single call: a rule that re-arms for the same moment must not spin."""

_END = State.END
_pack = msgspec.msgpack.Encoder().encode
_RESTS = Values({}, {}, {})
"""Stands for the settings of a key for which the rule rests."""
_UNASKED = ":"
"""A key that has not been asked for yet: no key looks like this."""


class Outcome(msgspec.Struct):
    """What a call gave: only the events that rules added (sealed), commands, and the states to write (None = delete)."""

    events: list[Event] = []
    commands: list[Command] = []
    states: list[tuple[str, str, bytes | None]] = []


class _Cell:
    """The living state of one rule and key. `packed` is its last good form, `deadline` its earliest timer, `queued` the time at which
    it stands in the heap: that moment or, where the timer has moved since, an earlier one."""

    __slots__ = ("deadline", "packed", "queued", "state")

    def __init__(self, state: RuleState, packed: bytes) -> None:
        self.state = state
        self.packed = packed
        self.deadline: int | None = None
        self.queued: int | None = None


class _Slot:
    """A rule at its place in the order. `kind` numbers its way to find the key; `values` holds the settings by key, `_RESTS` where
    they make it rest; `spare` is the cell of everyone who has no state."""

    __slots__ = ("apply", "blank", "cells", "decode", "index", "key", "kind", "name", "rests", "rule", "spare", "values")

    def __init__(self, index: int, rule: Rule) -> None:
        self.index = index
        self.rule = rule
        self.name = rule.name
        self.key = rule.key
        self.apply = rule.apply
        self.kind = 0
        self.rests: Callable[[Values], bool] | None = getattr(rule, "rests", None)
        self.decode = msgspec.msgpack.Decoder(rule.state_type).decode
        self.blank = _pack(rule.state_type())
        self.cells: dict[str, _Cell] = {}
        self.spare: _Cell | None = None
        self.values: dict[str, Values] = {}


class _Pending:
    """An event on its way: rules from `first` on may see it, those of `chain` never."""

    __slots__ = ("chain", "event", "first")

    def __init__(self, event: Event, chain: tuple[str, ...], first: int) -> None:
        self.event = event
        self.chain = chain
        self.first = first


class _Run(msgspec.Struct):
    """One call in progress."""

    now: Instant
    steady_ms: int
    changed: dict[tuple[str, str], bytes | None]
    events: list[Event] = []
    commands: list[Command] = []
    queue: list[_Pending] = []


class RuleEngine:
    """The rules of one gateway. Not thread-safe: one caller.

    `faults` counts exceptions by rule, `last_fault` keeps the text of the latest, `cut` counts events that were not shown on
    because their chain was too long, `damaged` counts stored states that could not be read.
    """

    def __init__(self, rules: Iterable[Rule], settings: SettingsSource, directory: Directory) -> None:
        self._slots = [_Slot(index, rule) for index, rule in enumerate(rules)]
        names = [slot.name for slot in self._slots]
        if len(set(names)) != len(names):
            raise ValueError(f"rule names must differ, got {', '.join(names)}")
        self._by_name = {slot.name: slot for slot in self._slots}
        ways: list[Any] = []
        for slot in self._slots:
            if slot.key not in ways:
                ways.append(slot.key)
            slot.kind = ways.index(slot.key)
        self._unasked: list[str | None] = [_UNASKED] * len(ways)
        self._settings = settings
        self._settings_version = settings.version
        self._directory = directory
        self._context = Context("", "", _RESTS, directory)
        self._routes: dict[Topic | tuple[Topic, State], tuple[_Slot, ...]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._moved: dict[tuple[str, str], bytes | None] = {}
        self._tidy_at = 64
        self.faults: Counter[str] = Counter()
        self.last_fault: dict[str, str] = {}
        self.cut = 0
        self.damaged = 0

    def restore(self, rows: Iterable[tuple[str, str, bytes]], steady_ms: int) -> None:
        """Take back stored states: (rule, key, packed). Rows of rules that are no longer configured are ignored.

        A deadline that this moves is written with the next call, or a box whose power flaps would move it for ever.
        """
        for name, key, packed in rows:
            slot = self._by_name.get(name)
            if slot is None:
                continue
            try:
                state = slot.decode(packed)
            except msgspec.DecodeError:
                self.damaged += 1
                continue
            cell = slot.cells[key] = _Cell(state, packed)
            for timer, at in state.timers.items():
                if at > steady_ms + LONGEST_TIMER_MS:
                    state.timers[timer] = steady_ms
                elif at < steady_ms and slot.rule.grace_ms:
                    state.timers[timer] = steady_ms + slot.rule.grace_ms
                else:
                    continue
                cell.packed = self._moved[name, key] = _pack(state)
            self._arm(slot, key, cell)

    def apply(self, events: list[Event], now: Instant) -> Outcome:
        """What the rules add to these (sealed) events. They are not changed and not returned."""
        run = self._begin(now)
        for event in events:
            self._show(event, (), 0, run)
            if run.queue:
                self._drain(run)
        return self._outcome(run)

    def wake(self, now: Instant) -> Outcome:
        """Fire every timer that has come."""
        return self._outcome(self._begin(now))

    def due(self) -> float | None:
        """Steady seconds of the earliest timer, None while nothing is waited for."""
        heap = self._heap
        while heap:
            at, index, key = heap[0]
            cell = self._slots[index].cells.get(key)
            if cell is None or cell.queued != at:
                heapq.heappop(heap)
            elif cell.deadline == at:
                return at / 1000
            elif cell.deadline is None:
                heapq.heappop(heap)
                cell.queued = None
            else:
                cell.queued = cell.deadline
                heapq.heapreplace(heap, (cell.deadline, index, key))
        return None

    def state(self, rule: str, key: str) -> Any:
        """The living state of a rule and key, None where there is none; for views and tests, not to be changed."""
        cell = self._by_name[rule].cells.get(key)
        return None if cell is None else cell.state

    def rows(self) -> list[tuple[str, str, bytes]]:
        """Every state as it would be stored: for a snapshot or a hand-over."""
        return [(slot.name, key, cell.packed) for slot in self._slots for key, cell in slot.cells.items()]

    def forget(self, key: str) -> list[tuple[str, str, bytes | None]]:
        """Drop everything that the rules remember of a person, place or device; the rows to delete."""
        gone: list[tuple[str, str, bytes | None]] = []
        for slot in self._slots:
            slot.values.pop(key, None)
            if slot.cells.pop(key, None) is not None:
                gone.append((slot.name, key, None))
        return gone

    def _outcome(self, run: _Run) -> Outcome:
        changed = run.changed
        return Outcome(run.events, run.commands, [(rule, key, packed) for (rule, key), packed in changed.items()] if changed else [])

    def _begin(self, now: Instant) -> _Run:
        """A call: settings that are out of date are dropped, timers that have come are served first."""
        if self._settings.version != self._settings_version:
            self._settings_version = self._settings.version
            self._routes.clear()
            for slot in self._slots:
                slot.values.clear()
        run = _Run(now, round(now.s * 1000), self._moved or {})
        if self._moved:
            self._moved = {}
        context = self._context
        context.now, context.steady_ms = now, run.steady_ms
        if self._heap and self._heap[0][0] <= run.steady_ms:
            self._fire(run)
        return run

    def _fire(self, run: _Run) -> None:
        rounds: Counter[tuple[int, str]] = Counter()
        while True:
            due = self.due()
            if due is None or self._heap[0][0] > run.steady_ms:
                return
            _, index, key = heapq.heappop(self._heap)
            slot = self._slots[index]
            cell = slot.cells[key]
            cell.deadline = cell.queued = None
            rounds[index, key] += 1
            if rounds[index, key] > ROUNDS:
                self._pause(slot, key, cell, run.steady_ms)
                continue
            self._wake(slot, key, cell, run)
            self._drain(run)

    def _drain(self, run: _Run) -> None:
        queue = run.queue
        while queue:
            pending = queue.pop(0)
            self._show(pending.event, pending.chain, pending.first, run)

    def _show(self, event: Event, chain: tuple[str, ...], first: int, run: _Run) -> None:
        """One event to every rule that listens."""
        body = event.body
        # What it is about, as in `Rule.listens`; ends apart.
        topic: Topic | tuple[Topic, State] = type(body)
        if type(body) is Occurrence:
            topic = body.kind if body.state is not _END else (body.kind, _END)
        elif type(body) is Measurement:
            topic = body.quantity
        route = self._routes.get(topic)
        if route is None:
            route = self._routes[topic] = self._listeners(topic)
        keys = self._unasked.copy()
        context = self._context
        context.given, context.facts = event, self._directory.device(event.device)
        for slot in route:
            if chain and (slot.index < first or slot.name in chain):
                continue
            try:
                key = keys[slot.kind]
                if key is _UNASKED:
                    key = keys[slot.kind] = slot.key(event, self._directory)
                if key is None:
                    continue
                values = slot.values.get(key)
                if values is None:
                    values = self._look_up(slot, key)
                if values is _RESTS:
                    continue
            except Exception as error:  # noqa: BLE001  # one faulty rule must not stop the others nor the event
                self._fault(slot, error)
                continue
            cell = slot.cells.get(key) or slot.spare
            if cell is None:
                cell = slot.spare = _Cell(slot.rule.state_type(), slot.blank)
            context.rule, context.key, context.settings = slot.name, key, values
            try:
                decision = slot.apply(cell.state, event, context)
                # A blank state is everyone's: a rule's word alone is not enough there.
                if decision is UNCHANGED and (cell is not slot.spare or _pack(cell.state) == slot.blank):
                    continue
                packed = _pack(cell.state)
                added = self._seal(slot.name, key, decision) if decision is not None else []
            except Exception as error:  # noqa: BLE001  # as above; the state goes back to its last good form
                self._fault(slot, error)
                if cell is slot.spare:
                    slot.spare = None
                else:
                    cell.state = slot.decode(cell.packed)
                continue
            if packed != cell.packed:
                self._keep(slot, key, cell, packed, run)
            if decision is not None:
                self._pass_on(slot, decision, added, chain, run)

    def _listeners(self, wanted: Topic | tuple[Topic, State]) -> tuple[_Slot, ...]:
        """The rules that listen to a topic (or its end), without those that rest under everybody's settings."""
        topic, is_end = (wanted[0], True) if isinstance(wanted, tuple) else (wanted, False)
        found = [slot for slot in self._slots if slot.rule.listens is None or topic in slot.rule.listens]
        if is_end:
            found = [slot for slot in found if topic not in getattr(slot.rule, "without_ends", ())]
        common = {slot: self._settings.common(slot.name) for slot in found if slot.rests is not None}
        return tuple(slot for slot in found if slot.rests is None or (values := common[slot]) is None or not slot.rests(values))

    def _wake(self, slot: _Slot, key: str, cell: _Cell, run: _Run) -> None:
        """One rule and key whose timer has come. Whatever fails leaves the state as it was, and is tried again later."""
        context = self._context
        context.given = context.facts = None
        try:
            values = slot.values.get(key, _RESTS)
            if values is _RESTS:
                values = self._settings.of(slot.name, key)
            context.rule, context.key, context.settings = slot.name, key, values
            decision = slot.rule.wake(cell.state, context)
            packed = _pack(cell.state)
            added = self._seal(slot.name, key, decision) if decision is not None else []
        except Exception as error:  # noqa: BLE001  # one faulty rule must not stop the others
            self._fault(slot, error)
            cell.state = slot.decode(cell.packed)
            self._pause(slot, key, cell, run.steady_ms)
            return
        if packed != cell.packed:
            self._keep(slot, key, cell, packed, run)
        else:
            self._arm(slot, key, cell)
        if decision is not None:
            self._pass_on(slot, decision, added, (), run)

    def _look_up(self, slot: _Slot, key: str) -> Values:
        values = self._settings.of(slot.name, key)
        if slot.rests is not None and slot.rests(values):
            values = _RESTS
        slot.values[key] = values
        return values

    def _keep(self, slot: _Slot, key: str, cell: _Cell, packed: bytes, run: _Run) -> None:
        """A state that has changed."""
        cell.packed = packed
        if packed == slot.blank:
            run.changed[slot.name, key] = None
            del slot.cells[key]
            return
        run.changed[slot.name, key] = packed
        if cell is slot.spare:
            slot.spare = None
            slot.cells[key] = cell
        if cell.state.timers:
            self._arm(slot, key, cell)
        else:
            cell.deadline = None

    def _pass_on(self, slot: _Slot, decision: Decision, added: list[Event], chain: tuple[str, ...], run: _Run) -> None:
        run.commands += decision.commands
        self._context.commands_made = 0
        if not added:
            return
        run.events += added
        longer = (*chain, slot.name)
        if len(longer) >= MAX_DEPTH:
            self.cut += len(added)
            return
        run.queue.extend(_Pending(event, longer, slot.index + 1) for event in added)

    def _seal(self, name: str, key: str, decision: Decision) -> list[Event]:
        """The events with their ids. The key goes into the identity: two persons' equal news of one millisecond are two."""
        sealed = []
        for ordinal, event in enumerate(decision.events):
            if event.device != RULE_DEVICE + name:
                raise ValueError(f"rule {name}: event of device {event.device!r}")
            ident = event_id(msgspec.structs.replace(event, device=f"{event.device}/{key}"), ordinal)
            sealed.append(msgspec.structs.replace(event, id=ident))
        return sealed

    def _arm(self, slot: _Slot, key: str, cell: _Cell) -> None:
        timers = cell.state.timers
        deadline = cell.deadline = min(timers.values()) if timers else None
        if deadline is not None and (cell.queued is None or deadline < cell.queued):
            cell.queued = deadline
            heapq.heappush(self._heap, (deadline, slot.index, key))
            if len(self._heap) > self._tidy_at:
                self._tidy()

    def _tidy(self) -> None:
        """Rebuild a heap that is mostly stale entries (a timer that moves to and fro leaves some behind)."""
        self._heap = []
        for slot in self._slots:
            for key, cell in slot.cells.items():
                cell.queued = cell.deadline
                if cell.deadline is not None:
                    self._heap.append((cell.deadline, slot.index, key))
        heapq.heapify(self._heap)
        self._tidy_at = 64 + 2 * len(self._heap)

    def _fault(self, slot: _Slot, error: Exception) -> None:
        self._context.commands_made = 0
        self.faults[slot.name] += 1
        self.last_fault[slot.name] = f"{type(error).__name__}: {error}"

    def _pause(self, slot: _Slot, key: str, cell: _Cell, steady_ms: int) -> None:
        cell.deadline = cell.queued = steady_ms + FAULT_PAUSE_MS
        heapq.heappush(self._heap, (cell.deadline, slot.index, key))
