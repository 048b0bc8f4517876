"""The way of one frame, top to bottom: driver -> inventory -> identity -> rules -> store -> acknowledgement.

    transport     reads bytes, stamps the moment, calls `feed`
    driver        bytes to events, replies, acknowledgements, rejects              session.receive
    inventory     is this device ours? a stranger is listed, never served          _admit
    identity      id, person; what is known already is not stored twice            seal, _fresh
    rules         may add events and commands, never edits or swallows one         rules.apply
    store         one commit for all of it; an alarm commits at once               store.append
    answer        only now: protocol acknowledgements, PUBACK (`settled`)          _answer

Counters: every frame that comes in ends as exactly one of understood, rejected, unknown, dropped. `Counts.balanced` says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from drivers.api import Command, Frame, Instant, Output, Reject, Send
from drivers.events import CommandResult, Event, lane_of, seal
from drivers.vocabulary import Lane, TimeQuality
from gateway.admission import Strangers
from gateway.clock import Clock
from gateway.inventory import Inventory
from gateway.session import Session
from gateway.store.contract import Batch, Discovered, Refused, Store

REMEMBERED_IDS = 100_000
"""Ids of recent events: what a device or broker may send again after a lost acknowledgement (26 bytes each, about 10 MB)."""
CLOCK_UNSET_MS = 1704067200000
"""2024-01-01: a gateway clock before this was never set; stamps are marked `unknown` until it is."""


class RuleRunner(Protocol):
    """The rule engine, as the pipeline sees it."""

    def apply(self, events: list[Event], now: Instant) -> RuleOutcome:
        """What the rules add."""
        ...

    def wake(self, now: Instant) -> RuleOutcome:
        """What the rules add because time has passed."""
        ...

    def due(self) -> float | None:
        """Steady seconds of the earliest deadline."""
        ...


class RuleOutcome(Protocol):
    """What rules gave; see gateway/rules/engine.py."""

    @property
    def events(self) -> list[Event]:
        """New events, sealed."""
        ...

    @property
    def commands(self) -> list[Command]:
        """Local actions."""
        ...

    @property
    def states(self) -> list[tuple[str, str, bytes | None]]:
        """Rule states to be written in the same commit."""
        ...


class Counts(msgspec.Struct):
    """What became of every frame. `refused` and `tolerated` count by reason, `events` by lane."""

    frames: int = 0
    understood: int = 0
    rejected: int = 0
    unknown: int = 0
    dropped: int = 0
    repeated: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    tolerated: Counter[str] = msgspec.field(default_factory=Counter)
    events: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def balanced(self) -> bool:
        """The conservation sum: nothing vanished."""
        return self.frames == self.understood + self.rejected + self.unknown + self.dropped


class Pipeline:
    """Joins sessions, rules and store. Runs in the event loop; nothing here blocks."""

    def __init__(self, clock: Clock, inventory: Inventory, store: Store, rules: RuleRunner | None = None) -> None:
        self.counts = Counts()
        self.clock = clock
        self.on_event: list[Callable[[Event], None]] = []
        """Heard for each event once it is on disk (live view, metrics)."""
        self.on_command: Callable[[Command], None] = lambda command: None
        self.on_result: Callable[[Event, Batch], None] = lambda event, batch: None
        self.on_accepted: Callable[[Session], None] = lambda session: None
        self.on_frames: Callable[[Session, list[Frame]], None] | None = None
        """Shown every read before its driver is (recording); None costs nothing."""
        self.on_answered: Callable[[Sequence[Event]], None] = lambda events: None
        """Heard for the events of a frame once their acknowledgement has gone out."""
        self.unset_before_ms = CLOCK_UNSET_MS
        """A wall clock before this was not set yet; raised while it is behind what the last boot has seen."""
        self._inventory = inventory
        self._store = store
        self._rules = rules
        self._known: OrderedDict[str, None] = OrderedDict()
        self._strangers = Strangers()
        self._wakes: dict[Session, asyncio.TimerHandle] = {}
        self._rule_wake: asyncio.TimerHandle | None = None
        self._rules_stale = False

    def remember(self, ids: Iterable[str]) -> None:
        """Events that are on disk already (after a restart)."""
        for ident in ids:
            self._known[ident] = None

    def feed(self, session: Session, frames: list[Frame], settled: Callable[[], None] | None = None) -> None:
        """Frames of one read. `settled` is called once everything that they hold is on disk."""
        batch = Batch()
        acks: list[Send] = []
        events: list[Event] = []
        now = self.clock.now()
        counts = self.counts
        before = counts.repeated
        if self.on_frames is not None:
            self.on_frames(session, frames)
        for frame in frames:
            counts.frames += 1
            output = session.receive(frame)
            if output.device is not None and output.device != session.device and not session.shared:
                output = self._identify(session, frame, output)
            mine = self._admit(session, frame, output, batch, acks, now=now)
            if mine:
                events += seal(mine, received_ms=frame.received.ms, subject_of=self._inventory.subject_of)
        if events:
            self._take(batch, events, now)
        self._finish(session, batch, acks, settled, now, must_wait=counts.repeated != before)

    def drop(self, frames: int) -> None:
        """Frames that a transport had to let go because a queue was full."""
        self.counts.frames += frames
        self.counts.dropped += frames

    def command(self, session: Session, command: Command) -> None:
        """A command for a session's device."""
        self._spontaneous(session, session.command(command, self.clock.now()))

    def wake(self, session: Session) -> None:
        """The session's own wake time has come."""
        self._wakes.pop(session, None)
        self._spontaneous(session, session.wake(self.clock.now()))

    def publish(self, events: list[Event], *, batch: Batch | None = None) -> asyncio.Future[None]:
        """Events of the gateway itself (started, loss, command results). Resolves once on disk."""
        batch = batch or Batch()
        now = self.clock.now()
        self._take(batch, seal(events, received_ms=now.ms, subject_of=self._inventory.subject_of), now)
        return self._commit(batch)

    def forget(self, session: Session) -> None:
        """The session has ended."""
        handle = self._wakes.pop(session, None)
        if handle is not None:
            handle.cancel()

    def start_rules(self) -> None:
        """Arm the earliest rule deadline (after a restore)."""
        self._arm_rules()

    # --- steps ---------------------------------------------------------------------------------------------------------------

    def _identify(self, session: Session, frame: Frame, output: Output) -> Output:
        """The peer has shown who it is: take its own options, its stored state, and read what it has sent once more with them."""
        device = output.device
        row = self._inventory.find(device) if device else None
        if device is None or row is None:
            return output
        session.device, session.accepted = device, True
        if row.options:
            output = session.again(row.options, device, frame)
        self.on_accepted(session)
        return output

    def _admit(self, session: Session, frame: Frame, output: Output, batch: Batch, acks: list[Send], *, now: Instant) -> list[Event]:
        """The events of one output that are of devices of ours; counts what became of its frame and notes strangers."""
        counts = self.counts
        mine, strangers = self._sorted(output)
        for device in strangers:
            if self._strangers.worth_noting(device, now.s):
                batch.discovered.append(Discovered(device, session.name, frame.peer or frame.topic or frame.address, now.ms))
        if output.rejects:
            self._refuse(session, frame, output.rejects, batch, now)
        for note in output.tolerated:
            counts.tolerated[note.reason.value] += 1
        if strangers and not mine:
            counts.unknown += 1
            return mine
        if mine or session.accepted or (session.shared and output.device is not None):
            if output.replies:
                session.send(output.replies)
            acks += output.acks
        if output.rejects and not output.events:
            counts.rejected += 1
        else:
            counts.understood += 1
        return mine

    def _sorted(self, output: Output) -> tuple[list[Event], set[str]]:
        """The events of devices of ours, and the identities that are not."""
        find = self._inventory.find
        last = None
        for event in output.events:
            if event.device == last:
                continue
            last = event.device
            if find(last) is None:
                break
        else:
            # Nearly always: every event is ours.
            if output.events or output.device is None or find(output.device) is not None:
                return output.events, set()
            return [], {output.device}
        mine = [event for event in output.events if find(event.device) is not None]
        strangers = {event.device for event in output.events} - {event.device for event in mine}
        if output.device is not None and not mine and find(output.device) is None:
            strangers.add(output.device)
        return mine, strangers

    def _refuse(self, session: Session, frame: Frame, rejects: list[Reject], batch: Batch, now: Instant) -> None:
        for reject in rejects:
            self.counts.refused[reject.reason.value] += 1
            if session.may_keep(now):
                where = frame.peer or session.peer
                batch.refused.append(
                    Refused(now.ms, session.name, session.device, where, frame.topic, reject.reason.value, reject.detail, reject.frame)
                )

    def _take(self, batch: Batch, events: list[Event], now: Instant) -> None:
        """Sealed events into the batch, with what the rules make of them."""
        fresh = self._fresh(events)
        if now.ms < self.unset_before_ms:
            fresh = [_undated(event) for event in fresh]
        for event in fresh:
            if type(event.body) is CommandResult:
                self.on_result(event, batch)
        batch.events += fresh
        if self._rules is not None and fresh:
            self._add_outcome(batch, self._rules.apply(fresh, now))

    def _fresh(self, events: list[Event]) -> list[Event]:
        """Without those that were taken before: the same id is the same happening (design.md section 4)."""
        fresh = []
        known = self._known
        for event in events:
            if event.id in known:
                self.counts.repeated += 1
                continue
            known[event.id] = None
            fresh.append(event)
        while len(known) > REMEMBERED_IDS:
            known.popitem(last=False)
        return fresh

    def _add_outcome(self, batch: Batch, outcome: RuleOutcome) -> None:
        batch.events += outcome.events
        batch.rule_states += outcome.states
        for command in outcome.commands:
            self.on_command(command)
        if not self._rules_stale:
            # Once per turn of the loop: a batch of hundreds of events moves the deadline hundreds of times.
            self._rules_stale = True
            asyncio.get_running_loop().call_soon(self._arm_rules)

    def _finish(
        self, session: Session, batch: Batch, acks: list[Send], settled: Callable[[], None] | None, now: Instant, *, must_wait: bool
    ) -> None:
        """Commit, then answer."""
        state = session.changed_state()
        if state is not None:
            batch.driver_states.append((session.device or session.name, state))
        self._arm(session)
        if not batch.rows and not must_wait:
            self._answer(session, acks, settled)
            return
        # A repetition of something whose commit may still be running waits for that commit: groups are written in order.
        self._commit(batch, lambda: self._answer(session, acks, settled, batch.events))

    def _commit(self, batch: Batch, then: Callable[[], None] = lambda: None) -> asyncio.Future[None]:
        """Resolves once the batch is on disk; `then` is called at that moment, and never where the commit was given up."""
        batch.urgent = batch.urgent or bool(batch.commands) or any(lane_of(event.body) is Lane.ALARM for event in batch.events)
        future = self._store.append(batch)
        future.add_done_callback(lambda done: None if done.cancelled() else self._committed(batch, then))
        return future

    def _committed(self, batch: Batch, then: Callable[[], None]) -> None:
        self._tell(batch.events)
        then()

    def _answer(self, session: Session, acks: list[Send], settled: Callable[[], None] | None, events: Sequence[Event] = ()) -> None:
        if acks:
            session.send(acks)
        if settled is not None:
            settled()
        if events and (acks or settled is not None):
            self.on_answered(events)

    def _tell(self, events: list[Event]) -> None:
        count = self.counts.events
        for event in events:
            count[lane_of(event.body)._value_] += 1
        for listener in self.on_event:
            for event in events:
                listener(event)

    # --- time ----------------------------------------------------------------------------------------------------------------

    def _spontaneous(self, session: Session, output: Output) -> None:
        """Output that no frame caused (command, wake)."""
        now = self.clock.now()
        batch = Batch()
        if output.replies:
            session.send(output.replies)
        self._take(batch, seal(output.events, received_ms=now.ms, subject_of=self._inventory.subject_of), now)
        for reject in output.rejects:
            self.counts.refused[reject.reason.value] += 1
        self._finish(session, batch, output.acks, None, now, must_wait=False)

    def _arm(self, session: Session) -> None:
        if session.wake_s is None:
            return
        handle = self._wakes.pop(session, None)
        if handle is not None:
            handle.cancel()
        delay = max(0.0, session.wake_s - self.clock.now().s)
        self._wakes[session] = asyncio.get_running_loop().call_later(delay, self.wake, session)

    def _arm_rules(self) -> None:
        self._rules_stale = False
        due = self._rules.due() if self._rules is not None else None
        if self._rule_wake is not None:
            self._rule_wake.cancel()
            self._rule_wake = None
        if due is not None:
            delay = max(0.0, due - self.clock.now().s)
            self._rule_wake = asyncio.get_running_loop().call_later(delay, self._wake_rules)

    def _wake_rules(self) -> None:
        assert self._rules is not None
        self._rule_wake = None
        batch = Batch()
        self._add_outcome(batch, self._rules.wake(self.clock.now()))
        if batch.rows:
            self._commit(batch)


def _undated(event: Event) -> Event:
    if event.time_quality is TimeQuality.RECEIVED:
        return msgspec.structs.replace(event, time_quality=TimeQuality.UNKNOWN)
    return event


__all__ = ["Counts", "Pipeline", "RuleOutcome", "RuleRunner"]
