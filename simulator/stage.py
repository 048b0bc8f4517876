"""Devices, wires, faults and truth brought together: who calls whom.

A `Stage` is synchronous: an `Agenda` calls it, a wire calls it, it calls devices and hands their bytes to wires. So the same
code runs on real sockets and, with `Recorder` wires, in virtual time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from simulator.agenda import Agenda
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, Act, Device, Happening, Parcel
from simulator.faults.fault import Fault, Timed
from simulator.truth import Truth
from simulator.wires.wire import Peer, Wire, WireStats


class Sent(NamedTuple):
    """A line of a recording: bytes that a device put on its wire."""

    at_ms: int
    device: str
    parcel: Parcel


class Recorder:
    """A wire that keeps what is sent. Always up."""

    def __init__(self, keep: Callable[[bytes, str], None]) -> None:
        self.stats = WireStats()
        self._keep = keep

    async def run(self, peer: Peer) -> None:
        """Nothing to open."""
        peer.up()

    def send(self, data: bytes, to: str = "") -> bool:
        """Keep it."""
        self._keep(data, to)
        self.stats.took(data)
        return True


class Actor:
    """One device on its wire; the wire's `Peer`."""

    def __init__(self, stage: Stage, device: Device, wire: Wire, faults: Iterable[Fault]) -> None:
        self.device = device
        self.wire = wire
        self.faults = list(faults)
        self.is_up = False
        self._stage = stage
        self._due_s = NEVER_S

    def up(self) -> None:
        """Called by the wire."""
        self.is_up = True
        now = self._stage.now()
        self.did(self.device.up(now), now)

    def down(self) -> None:
        """Called by the wire."""
        self.is_up = False
        now = self._stage.now()
        self.device.down(now)
        self.plan()

    def receive(self, data: bytes, to: str) -> None:
        """Called by the wire."""
        now = self._stage.now()
        self.did(self.device.receive(data, now, to), now)

    def happen(self, verb: str, args: dict[str, object], now: Moment) -> None:
        """Something befalls the device."""
        self.did(self.device.happen(verb, args, now), now)

    def did(self, act: Act, now: Moment) -> None:
        """Write down the facts, send the bytes, plan the next step."""
        if act.facts:
            self._stage.truth.record(self.device.id, act.facts, now.ms)
        if act.parcels:
            self._send([Timed(now.s, parcel) for parcel in act.parcels], now)
        self.plan()

    def plan(self) -> None:
        """Put the device's next step on the agenda, unless it stands there already."""
        due_s = self.device.next_s
        if due_s < self._due_s:
            self._due_s = due_s
            self._stage.agenda.at(due_s, self._step)

    def _step(self, now: Moment) -> None:
        if now.s < self._due_s:
            return
        self._due_s = NEVER_S
        if self.device.next_s <= now.s:
            self.did(self.device.step(now), now)
        else:
            self.plan()

    def _send(self, timed: list[Timed], now: Moment) -> None:
        for fault in self.faults:
            timed = fault.carry(timed, now)
        for at_s, parcel in timed:
            if at_s <= now.s:
                self.wire.send(parcel.data, parcel.to)
            else:
                self._stage.agenda.at(at_s, self._later(parcel))

    def _later(self, parcel: Parcel) -> Callable[[Moment], None]:
        def send(_: Moment) -> None:
            self.wire.send(parcel.data, parcel.to)

        return send


class Stage:
    """Every actor of a run. `now` gives the time; in virtual time it is moved by `play`."""

    def __init__(self, truth: Truth, now: Callable[[], Moment]) -> None:
        self.truth = truth
        self.agenda = Agenda()
        self.actors: dict[str, Actor] = {}
        self.now = now

    def enter(self, device: Device, wire: Wire, *, person: str | None, faults: Iterable[Fault] = ()) -> Actor:
        """Bring a device on; its first step is due at once."""
        actor = self.actors[device.id] = Actor(self, device, wire, faults)
        self.truth.introduce(device.id, person, device.wire)
        actor.plan()
        return actor

    def follow(self, plan: Iterable[Happening], start_s: float) -> None:
        """Let the plan (in order of time, may be endless) befall the devices; one happening ahead is on the agenda."""
        self._next(iter(plan), start_s)

    def _next(self, plan: Iterator[Happening], start_s: float) -> None:
        happening = next(plan, None)
        if happening is None:
            return

        def befall(now: Moment) -> None:
            actor = self.actors.get(happening.device)
            if actor is not None:
                actor.happen(happening.verb, happening.args, now)
            self._next(plan, start_s)

        self.agenda.at(start_s + happening.at_s, befall)


def play(
    devices: Iterable[tuple[Device, str | None]],
    plan: Iterable[Happening],
    *,
    seconds: float,
    start_ms: int,
    truth: Truth,
) -> Iterator[Sent]:
    """Every byte that the devices send within `seconds` of virtual time, in order; nobody answers them."""
    current = Moment(start_ms, 0.0)
    stage = Stage(truth, lambda: current)
    sent: list[Sent] = []
    for device, person in devices:
        keep = _keeper(sent, device, lambda: current.ms)
        actor = stage.enter(device, Recorder(keep), person=person)
        actor.up()
    stage.follow(plan, 0.0)
    for second in itertools.count():
        if second >= seconds:
            return
        current = Moment(start_ms + second * 1000, float(second))
        for moment, deed in stage.agenda.due(current, min(1.0, seconds - second)):
            current = moment
            deed(moment)
        yield from sent
        sent.clear()


def _keeper(sent: list[Sent], device: Device, now_ms: Callable[[], int]) -> Callable[[bytes, str], None]:
    return lambda data, to: sent.append(Sent(now_ms(), device.id, Parcel(data, to)))
