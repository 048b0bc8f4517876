from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drivers.api import (
    Command,
    CommandStatus,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Occurrence,
    OccurrenceKind,
    Output,
    Reason,
    Reject,
    Send,
    State,
    Transport,
)
from drivers.events import Event
from gateway.clock import VirtualClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session, verdict
from gateway.store.contract import Batch
from gateway.store.sqlite import SqliteStore
from tests.gateway.store_tools import opened


class Toy:
    """A driver in words: `name sos`, `name door`, `name bad` (poison), `junk`, `boom` (a bug)."""

    info = DriverInfo("toy", "Toy", "test", ("t",), (Transport.TCP,), ("sos", "door_open"))

    def __init__(self, options: Any, device: str | None) -> None:
        self.options = options

    def receive(self, frame: Frame) -> Output:
        words = frame.data.decode().split()
        if words[0] == "boom":
            raise ValueError("boom")
        if words[0] == "junk":
            return Output(rejects=[Reject(Reason.NOT_OURS, "junk", frame.data)])
        device = f"toy:{words[0]}"
        output = Output(device=device, acks=[Send(f"ack {words[1]}".encode())], replies=[Send(b"hello")])
        if words[1] == "bad":
            output.rejects.append(Reject(Reason.RANGE, "poison", frame.data))
        else:
            kind = OccurrenceKind.SOS if words[1] == "sos" else OccurrenceKind.DOOR_OPEN
            output.events.append(frame.event(device, Occurrence(kind=kind, state=State.START)))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        return Output(events=[command.result(CommandStatus.DONE, now)])

    def wake(self, now: Instant) -> Output:
        return Output()


class Bench:
    """A pipeline over a real store, with a wire that remembers what was sent and when."""

    def __init__(self, store: SqliteStore) -> None:
        self.clock = VirtualClock()
        self.store = store
        self.inventory = Inventory([Device(device="toy:a", driver="toy", subject="r-1"), Device(device="toy:b", driver="toy")])
        self.pipeline = Pipeline(self.clock, self.inventory, store)
        self.told: list[Event] = []
        self.pipeline.on_event.append(self.told.append)

    def session(self) -> tuple[Session, list[bytes]]:
        wire: list[bytes] = []
        return Session(Toy, {}, None, lambda sends: wire.extend(send.data for send in sends)), wire

    def frame(self, text: str) -> Frame:
        self.clock.advance(0.001)
        return Frame(data=text.encode(), received=self.clock.now())

    async def settle(self) -> None:
        await self.store.append(Batch(urgent=True))
        await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    async with opened(tmp_path, commit_ms=5) as store:
        yield Bench(store)


async def test_nothing_is_acknowledged_before_it_is_on_disk(bench: Bench) -> None:
    session, wire = bench.session()
    settled: list[int] = []
    bench.pipeline.feed(session, [bench.frame("a sos")], lambda: settled.append(bench.store.high(bench.told[0].lane)))
    assert wire == [b"hello"], "the handshake goes out at once, the acknowledgement waits"
    await bench.settle()
    assert wire == [b"hello", b"ack sos"]
    assert settled == [1], "when the broker's turn comes the event is on disk"


async def test_every_frame_ends_in_exactly_one_way(bench: Bench) -> None:
    session, _ = bench.session()
    other, _ = bench.session()
    for text in ("a sos", "a door", "a bad", "junk", "boom"):
        bench.pipeline.feed(session, [bench.frame(text)])
    bench.pipeline.feed(other, [bench.frame("stranger sos")])
    bench.pipeline.drop(3)
    counts = bench.pipeline.counts
    assert (counts.frames, counts.understood, counts.rejected, counts.unknown, counts.dropped) == (9, 2, 3, 1, 3)
    assert counts.balanced


async def test_a_stranger_is_listed_and_gets_no_answer(bench: Bench) -> None:
    session, wire = bench.session()
    bench.pipeline.feed(session, [bench.frame("stranger sos")])
    await bench.settle()
    assert wire == []
    assert bench.told == []
    assert bench.store.query("SELECT device, count FROM discovered") == [("toy:stranger", 1)]


async def test_poison_is_kept_and_acknowledged_so_that_the_device_goes_on(bench: Bench) -> None:
    session, wire = bench.session()
    bench.pipeline.feed(session, [bench.frame("a door"), bench.frame("a bad"), bench.frame("a sos")])
    await bench.settle()
    assert wire.count(b"ack bad") == 1
    assert [event.body.kind for event in bench.told] == ["door_open", "sos"]  # type: ignore[union-attr]
    assert bench.store.query("SELECT reason, detail, frame FROM quarantine") == [("RANGE", "poison", b"a bad")]


async def test_a_drivers_bug_stays_with_its_frame(bench: Bench) -> None:
    session, wire = bench.session()
    bench.pipeline.feed(session, [bench.frame("a door"), bench.frame("boom"), bench.frame("a sos")])
    await bench.settle()
    assert wire[-2:] == [b"ack door", b"ack sos"]
    assert len(bench.told) == 2
    assert session.failures == 1


class Frail(Toy):
    """A driver whose lesser abilities fail."""

    is_broken = False

    def dump(self) -> bytes:
        raise ValueError("no state")

    def load(self, state: bytes) -> None:
        raise ValueError("no state")

    def topics(self) -> list[str]:
        if self.is_broken:
            raise ValueError("no topics")
        return ["toy/+"]

    @classmethod
    def match(cls, frame: Frame) -> Match:
        raise ValueError("no idea")


async def test_a_driver_that_cannot_tell_its_state_or_topics_loses_no_alarm(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wire: list[bytes] = []
    session = Session(Frail, {}, None, lambda sends: wire.extend(send.data for send in sends))
    assert session.topics() == ["toy/+"]
    monkeypatch.setattr(Frail, "is_broken", True)
    assert session.topics() == ["toy/+"], "what it wanted before still comes to it"
    bench.pipeline.feed(session, [bench.frame("a sos")])
    await bench.settle()
    assert wire == [b"hello", b"ack sos"]
    assert len(bench.told) == 1


def test_a_driver_that_fails_to_look_at_a_frame_does_not_know_it() -> None:
    assert verdict(Frail, Frame(data=b"x", received=Instant(1, 1.0))) is Match.NO


async def test_a_repeated_frame_is_acknowledged_again_and_stored_once(bench: Bench) -> None:
    session, wire = bench.session()
    frame = bench.frame("a sos")
    bench.pipeline.feed(session, [frame])
    bench.pipeline.feed(session, [frame])
    assert b"ack sos" not in wire, "the repetition must not overtake the commit of the first"
    await bench.settle()
    assert wire.count(b"ack sos") == 2
    assert len(bench.told) == 1
    assert bench.pipeline.counts.repeated == 1


async def test_after_a_restart_a_repetition_is_known(bench: Bench) -> None:
    session, _ = bench.session()
    frame = bench.frame("a sos")
    bench.pipeline.feed(session, [frame])
    await bench.settle()
    again = Pipeline(bench.clock, bench.inventory, bench.store)
    again.remember(bench.store.recent_ids(100))
    again.feed(session, [frame])
    assert again.counts.repeated == 1


async def test_events_carry_the_person_of_the_inventory(bench: Bench) -> None:
    session, _ = bench.session()
    bench.pipeline.feed(session, [bench.frame("a sos")])
    await bench.settle()
    assert bench.told[0].subject == "r-1"


async def test_a_flood_of_junk_fills_counters_not_the_disk(bench: Bench) -> None:
    session, _ = bench.session()
    for _ in range(500):
        bench.pipeline.feed(session, [bench.frame("junk")])
    await bench.settle()
    assert bench.pipeline.counts.refused["NOT_OURS"] == 500
    [(kept,)] = bench.store.query("SELECT count(*) FROM quarantine")
    assert kept == 60


async def test_a_session_of_many_devices_never_becomes_that_of_one(bench: Bench) -> None:
    wire: list[bytes] = []
    session = Session(Toy, {}, None, lambda sends: wire.extend(send.data for send in sends), shared=True)
    accepted: list[Session] = []
    bench.pipeline.on_accepted = accepted.append
    bench.pipeline.feed(session, [bench.frame("a door"), bench.frame("b bad"), bench.frame("stranger bad"), bench.frame("a sos")])
    await bench.settle()
    assert [data for data in wire if data.startswith(b"ack")] == [b"ack door", b"ack bad", b"ack sos"]
    assert (session.device, accepted) == (None, [])
