"""Devices, wires, faults and truth brought together: who calls whom.

A `Stage` is synchronous: an `Agenda` calls it, a wire calls it, it calls devices and hands their bytes to wires. So the same
code runs on real sockets and, with `Recorder` wires, in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from simulator.agenda import Agenda
from simulator.centre import Centre
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, Act, Device, Happening, Parcel, Poll
from simulator.faults.fault import ClockFault, Fault, LinkFault, Timed
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
        self._clocks = [fault for fault in self.faults if isinstance(fault, ClockFault)]

    def up(self) -> None:
        """Called by the wire."""
        self.is_up = True
        now = self._stage.now()
        self.did(self.device.up(self._seen(now)), now)

    def down(self) -> None:
        """Called by the wire."""
        self.is_up = False
        now = self._stage.now()
        self.device.down(self._seen(now))
        self.plan()

    def receive(self, data: bytes, to: str) -> None:
        """Called by the wire."""
        now = self._stage.now()
        self.did(self.device.receive(data, self._seen(now), to), now)

    def happen(self, verb: str, args: dict[str, object], now: Moment) -> None:
        """Something befalls the device."""
        self.did(self.device.happen(verb, args, self._seen(now)), now)

    def relay(self, data: bytes, to: str) -> None:
        """Called by the wire of a device that speaks through this one."""
        now = self._stage.now()
        carry = getattr(self.device, "carry", None)
        if carry is not None:
            self.did(carry(data, to, self._seen(now)), now)

    def did(self, act: Act, now: Moment) -> None:
        """Write down the facts, send the bytes, plan the next step."""
        if act.facts:
            self._stage.truth.record(self.device.id, act.facts, now.ms)
        if self.faults:
            if act.parcels:
                self._send([Timed(now.s, parcel) for parcel in act.parcels], now)
        else:
            for data, to in act.parcels:
                self.wire.send(data, to)
        self.plan()

    def plan(self) -> None:
        """Put the device's next step on the agenda, unless it stands there already."""
        due_s = self.device.next_s
        if due_s < self._due_s:
            self._due_s = due_s
            self._stage.agenda.at(due_s, self._step)

    def break_links(self, start_s: float) -> None:
        """Let the faults of the link cut the wire, where it can be cut."""
        cut = getattr(self.wire, "cut", None)
        for fault in self.faults:
            if cut is not None and isinstance(fault, LinkFault):
                self._next_cut(fault.cuts(), cut, start_s)

    def _next_cut(self, cuts: Iterator[float], cut: Callable[[], None], start_s: float) -> None:
        at_s = next(cuts, None)
        if at_s is None:
            return

        def do(now: Moment) -> None:
            cut()
            self._next_cut(cuts, cut, start_s)

        self._stage.agenda.at(start_s + at_s, do)

    def _seen(self, now: Moment) -> Moment:
        """The time as the device believes it to be."""
        for fault in self._clocks:
            now = fault.seen(now)
        return now

    def _step(self, now: Moment) -> None:
        if now.s < self._due_s:
            return
        self._due_s = NEVER_S
        if self.device.next_s <= now.s:
            self.did(self.device.step(self._seen(now) if self._clocks else now), now)
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
        actor.break_links(self.now().s)
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


ROUND_TRIP_S = 0.05
"""Time from a parcel to the answer of the other end, in virtual time."""


def play(
    devices: Iterable[tuple[Device, str | None]],
    plan: Iterable[Happening],
    *,
    seconds: float,
    start_ms: int,
    truth: Truth,
    centre: Centre | None = None,
    faults: Mapping[str, Iterable[Fault]] | None = None,
    through: Mapping[str, str] | None = None,
) -> Iterator[Sent]:
    """Every byte that the devices send within `seconds` of virtual time, in order; answered by `centre`, or by nobody.

    `faults`: rows of faults by device id, "" for every device without a row. `through`: carriers by the id of the device that speaks
    through them; a carrier comes before whom it carries.
    """
    play = _Play(Moment(start_ms, 0.0), truth, centre)
    for device, person in devices:
        row = (faults or {}).get(device.id, (faults or {}).get("", ()))
        play.enter(device, person, row, carrier=(through or {}).get(device.id, ""))
    play.stage.follow(plan, 0.0)
    yield from play.run(seconds)


class _Play:
    def __init__(self, start: Moment, truth: Truth, centre: Centre | None) -> None:
        self.stage = Stage(truth, lambda: self._now)
        self._start = start
        self._now = start
        self._centre = centre
        self._sent: list[Sent] = []

    def enter(self, device: Device, person: str | None, faults: Iterable[Fault], *, carrier: str) -> None:
        keep = self.stage.actors[carrier].relay if carrier else partial(self._keep, device.id)
        self.stage.enter(device, Recorder(keep), person=person, faults=faults).up()
        for poll in getattr(device, "polls", ()):
            self._ask(device.id, poll, poll.first_s)

    def _ask(self, device: str, poll: Poll, at_s: float) -> None:
        def ask(_: Moment) -> None:
            self.stage.actors[device].receive(poll.data, "")
            self._ask(device, poll, at_s + poll.every_s)

        if at_s < NEVER_S:
            self.stage.agenda.at(at_s, ask)

    def run(self, seconds: float) -> Iterator[Sent]:
        """In slices of a minute, so that a week is not held in memory."""
        begin_s, sent = 0.0, self._sent
        while begin_s < seconds:
            start = Moment(self._start.ms + round(begin_s * 1000), self._start.s + begin_s)
            length_s = min(60.0, seconds - begin_s)
            for moment, deed in self.stage.agenda.due(start, length_s):
                self._now = moment
                deed(moment)
                if sent:
                    yield from sent
                    sent.clear()
            begin_s += length_s

    def _keep(self, device: str, data: bytes, to: str) -> None:
        parcel = Parcel(data, to)
        self._sent.append(Sent(self._now.ms, device, parcel))
        for answer in self._centre.answers(device, parcel) if self._centre else ():
            self.stage.agenda.at(self._now.s + ROUND_TRIP_S, self._hand(device, answer))

    def _hand(self, device: str, answer: Parcel) -> Callable[[Moment], None]:
        return lambda _: self.stage.actors[device].receive(answer.data, answer.to)
