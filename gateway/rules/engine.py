"""Runs the rules over events and time: routing, states, timers, causal order, isolation of a faulty rule.

Order. An input event is shown to every rule that listens, in configured order. What a rule adds is shown only to the rules
behind it, so nothing can turn back; besides, an event never reaches a rule of its own causal chain, and chains end at four.
Timers that are due at `now` fire before the events of that moment, whoever was late: the output does not depend on scheduling.

Persistence. Every call returns the states that changed, packed; they are written in the same commit as the events. A state
that equals its defaults is returned as None (delete the row). `restore` takes the rows back.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from drivers.api import Command, Instant
from drivers.events import Event, event_id
from gateway.rules.contract import RULE_DEVICE, Context, Decision, Directory, Rule, RuleState, SettingsSource, Topic, topic_of

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

_pack = msgspec.msgpack.Encoder().encode


class Outcome(msgspec.Struct):
    """What a call gave: only the events that rules added (sealed), commands, and the states to write (None = delete)."""

    events: list[Event] = []
    commands: list[Command] = []
    states: list[tuple[str, str, bytes | None]] = []


class _Cell:
    """The living state of one rule and key. `packed` is its last good form, `deadline` the timer that stands in the heap."""

    __slots__ = ("context", "deadline", "packed", "state")

    def __init__(self, state: RuleState, packed: bytes) -> None:
        self.state = state
        self.packed = packed
        self.deadline: int | None = None
        self.context: Context | None = None


class _Slot:
    """A rule at its place in the order."""

    __slots__ = ("blank", "cells", "decode", "index", "name", "rule")

    def __init__(self, index: int, rule: Rule) -> None:
        self.index = index
        self.rule = rule
        self.name = rule.name
        self.decode = msgspec.msgpack.Decoder(rule.state_type).decode
        self.blank = _pack(rule.state_type())
        self.cells: dict[str, _Cell] = {}


class _Pending:
    """An event on its way: rules from `first` on may see it, those of `chain` never."""

    __slots__ = ("chain", "event", "first")

    def __init__(self, event: Event, chain: tuple[str, ...], first: int) -> None:
        self.event = event
        self.chain = chain
        self.first = first


class _Run:
    """One call in progress."""

    __slots__ = ("changed", "commands", "events", "now", "queue", "steady_ms")

    def __init__(self, now: Instant) -> None:
        self.now = now
        self.steady_ms = round(now.s * 1000)
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.changed: dict[tuple[str, str], bytes | None] = {}
        self.queue: deque[_Pending] = deque()


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
        self._settings = settings
        self._directory = directory
        self._routes: dict[Topic, tuple[_Slot, ...]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._tidy_at = 64
        self.faults: Counter[str] = Counter()
        self.last_fault: dict[str, str] = {}
        self.cut = 0
        self.damaged = 0

    def restore(self, rows: Iterable[tuple[str, str, bytes]], steady_ms: int) -> None:
        """Take back stored states: (rule, key, packed). Rows of rules that are no longer configured are ignored."""
        for name, key, packed in rows:
            slot = self._by_name.get(name)
            if slot is None:
                continue
            try:
                state = slot.decode(packed)
            except msgspec.DecodeError:
                self.damaged += 1
                continue
            cell = _Cell(state, packed)
            for timer, at in state.timers.items():
                if at > steady_ms + LONGEST_TIMER_MS:
                    state.timers[timer] = steady_ms
                elif at < steady_ms and slot.rule.grace_ms:
                    state.timers[timer] = steady_ms + slot.rule.grace_ms
            slot.cells[key] = cell
            self._arm(slot, key, cell)

    def apply(self, events: list[Event], now: Instant) -> Outcome:
        """What the rules add to these (sealed) events. They are not changed and not returned."""
        run = _Run(now)
        self._fire(run)
        for event in events:
            run.queue.append(_Pending(event, (), 0))
            self._drain(run)
        return self._outcome(run)

    def wake(self, now: Instant) -> Outcome:
        """Fire every timer that has come."""
        run = _Run(now)
        self._fire(run)
        return self._outcome(run)

    def due(self) -> float | None:
        """Steady seconds of the earliest timer, None while nothing is waited for."""
        heap = self._heap
        while heap:
            at, index, key = heap[0]
            cell = self._slots[index].cells.get(key)
            if cell is not None and cell.deadline == at:
                return at / 1000
            heapq.heappop(heap)
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
            if slot.cells.pop(key, None) is not None:
                gone.append((slot.name, key, None))
        return gone

    def _outcome(self, run: _Run) -> Outcome:
        states = [(rule, key, packed) for (rule, key), packed in run.changed.items()]
        return Outcome(run.events, run.commands, states)

    def _fire(self, run: _Run) -> None:
        if not self._heap or self._heap[0][0] > run.steady_ms:
            return
        rounds: Counter[tuple[int, str]] = Counter()
        while True:
            due = self.due()
            if due is None or self._heap[0][0] > run.steady_ms:
                return
            _, index, key = heapq.heappop(self._heap)
            slot = self._slots[index]
            cell = slot.cells[key]
            cell.deadline = None
            rounds[index, key] += 1
            if rounds[index, key] > ROUNDS:
                self._pause(slot, key, cell, run.steady_ms)
                continue
            self._step(slot, key, None, (), run)
            self._drain(run)

    def _drain(self, run: _Run) -> None:
        queue = run.queue
        while queue:
            pending = queue.popleft()
            for slot in self._route(pending.event):
                if slot.index >= pending.first and slot.name not in pending.chain:
                    self._show(slot, pending, run)

    def _show(self, slot: _Slot, pending: _Pending, run: _Run) -> None:
        try:
            key = slot.rule.key(pending.event, self._directory)
        except Exception as error:  # noqa: BLE001  # one faulty rule must not stop the others nor the event
            self._fault(slot, error)
            return
        if key is not None:
            self._step(slot, key, pending.event, pending.chain, run)

    def _route(self, event: Event) -> tuple[_Slot, ...]:
        topic = topic_of(event)
        route = self._routes.get(topic)
        if route is None:
            route = tuple(slot for slot in self._slots if slot.rule.listens is None or topic in slot.rule.listens)
            self._routes[topic] = route
        return route

    def _step(self, slot: _Slot, key: str, event: Event | None, chain: tuple[str, ...], run: _Run) -> None:
        """One rule, one key, one event or timer. Whatever fails leaves the state as it was."""
        cell = slot.cells.get(key)
        if cell is None:
            cell = slot.cells[key] = _Cell(slot.rule.state_type(), slot.blank)
        try:
            context = self._context(slot, key, cell, event, run)
            decision = slot.rule.wake(cell.state, context) if event is None else slot.rule.apply(cell.state, event, context)
            packed = _pack(cell.state)
            added = self._seal(slot.name, key, decision) if decision is not None else []
        except Exception as error:  # noqa: BLE001  # as above; the state goes back to its last good form
            self._fault(slot, error)
            self._roll_back(slot, key, cell, run.steady_ms, woken=event is None)
            return
        if packed != cell.packed:
            cell.packed = packed
            run.changed[slot.name, key] = None if packed == slot.blank else packed
        if packed == slot.blank:
            del slot.cells[key]
        else:
            self._arm(slot, key, cell)
        if decision is not None:
            run.commands += decision.commands
            self._pass_on(slot, added, chain, run)

    def _pass_on(self, slot: _Slot, added: list[Event], chain: tuple[str, ...], run: _Run) -> None:
        run.events += added
        longer = (*chain, slot.name)
        if len(longer) >= MAX_DEPTH:
            self.cut += len(added)
            return
        run.queue.extend(_Pending(event, longer, slot.index + 1) for event in added)

    def _context(self, slot: _Slot, key: str, cell: _Cell, event: Event | None, run: _Run) -> Context:
        subject: str | None = key
        if ":" in key:
            facts = self._directory.device(key) if event is None else None
            subject = event.subject if event is not None else facts.subject if facts else None
        settings = self._settings.of(slot.name, key)
        context = cell.context
        if context is None:
            context = cell.context = Context(slot.name, key, settings, self._directory)
        context.settings = settings
        context.now = run.now
        context.steady_ms = run.steady_ms
        context.cause = event.id if event is not None else None
        context.subject = subject
        context.commands_made = 0
        return context

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
        deadline = min(timers.values()) if timers else None
        if deadline != cell.deadline:
            cell.deadline = deadline
            if deadline is not None:
                heapq.heappush(self._heap, (deadline, slot.index, key))
                self._tidy()

    def _tidy(self) -> None:
        """Rebuild a heap that is mostly stale entries (a timer that each report pushes back leaves one behind)."""
        if len(self._heap) <= self._tidy_at:
            return
        self._heap = [
            (cell.deadline, slot.index, key) for slot in self._slots for key, cell in slot.cells.items() if cell.deadline is not None
        ]
        heapq.heapify(self._heap)
        self._tidy_at = 64 + 2 * len(self._heap)

    def _fault(self, slot: _Slot, error: Exception) -> None:
        self.faults[slot.name] += 1
        self.last_fault[slot.name] = f"{type(error).__name__}: {error}"

    def _roll_back(self, slot: _Slot, key: str, cell: _Cell, steady_ms: int, *, woken: bool) -> None:
        cell.state = slot.decode(cell.packed)
        if woken:
            self._pause(slot, key, cell, steady_ms)
        elif cell.packed == slot.blank:
            del slot.cells[key]

    def _pause(self, slot: _Slot, key: str, cell: _Cell, steady_ms: int) -> None:
        cell.deadline = steady_ms + FAULT_PAUSE_MS
        heapq.heappush(self._heap, (cell.deadline, slot.index, key))
