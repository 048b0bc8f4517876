"""What goes wrong on real wires, done to one driver: `anhu driver test FOLDER --faults`. Tiers tell how far a driver may be trusted.

    bronze   vectors and the general checks of drivers.conformance
    silver   the faults below: nothing raises, no alarm is lost with its neighbour, none is invented
    gold     captured frames among the vectors, every declared command answered, a long replay in bounded memory

Every vector goes through every fault, seeded: the same driver gives the same report.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from drivers.api import Driver, Frame, Instant, Output, State, Stateful
from drivers.conformance import STREAMS, Check, check_commands, check_events, checks, make, read_vectors
from drivers.events import Event, Occurrence
from drivers.harness import frame_of
from drivers.vocabulary import OCCURRENCES, Lane

SEED = 20261122
FLOOD_BYTES = 4096
REPEATS = 100
"""A device says an alarm again until it is answered; a false start in noise may claim no more than that costs to fill."""
LONG_FRAMES = 5_000
LONG_KB = 512
"""Memory that a driver may gain in a long replay: buffers and tables fill up to their bounds, then nothing grows."""
FRAME_US = 2_000
"""A frame that costs more on average holds up its neighbours (design: 10..15 us; ten devices' worth of slack for a slow machine)."""
STATE_BYTES = 65_536


class Tier(StrEnum):
    """How far a driver has come."""

    NONE = "none"
    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class Graded(NamedTuple):
    """A check and the tier that needs it."""

    tier: Tier
    check: Check


def matrix(driver: type[Driver], folder: Path) -> Iterator[Graded]:
    """Every check of every tier, cheapest first."""
    for check in checks(driver, folder):
        yield Graded(Tier.BRONZE, check)
    rows = [row for vector in read_vectors(folder / "vectors.jsonl") if (row := _Row(driver, vector)).frames]
    faults: list[tuple[str, Callable[[_Row], None]]] = [
        ("each frame twice", _duplicated),
        ("frames out of order", _reordered),
        ("half of the frames lost", _dropped),
        ("one bit wrong in a neighbour", _corrupted),
        ("a clock in 1970, one in 2100", _skewed),
        ("an old recording behind the new", _replayed),
    ]
    if driver.info.transports[0] in STREAMS:
        faults += [("pieces of 1..8 bytes", _sliced), ("4 kB of noise before a frame", _flooded)]
    for name, run in faults:
        yield Graded(Tier.SILVER, Check(f"fault: {name}", _over(rows, run)))
    yield Graded(Tier.GOLD, Check("captured frames are among the vectors", lambda: _captured(folder)))
    yield Graded(Tier.GOLD, Check("commands are declared and answered", lambda: _commands(driver)))
    yield Graded(Tier.GOLD, Check(f"{LONG_FRAMES} frames in bounded memory and time", lambda: _long(driver, rows)))


def tier_of(failed: set[Tier]) -> Tier:
    """The best tier below which nothing failed."""
    best = Tier.NONE
    for tier in (Tier.BRONZE, Tier.SILVER, Tier.GOLD):
        if tier in failed:
            return best
        best = tier
    return best


class _Row:
    """A vector as frames; commands and wakes stand aside, since faults are done to what the device says."""

    def __init__(self, driver: type[Driver], vector: dict[str, Any]) -> None:
        self.name = vector["name"]
        self.driver = driver
        self._vector = vector
        lines = [{"frame": line} if isinstance(line, str) else line for line in vector["frames"]]
        is_plain = not any({"command", "wake"} & set(line) for line in lines)
        self.frames = [frame_of(line, driver.info) for line in lines] if is_plain else []
        self.is_clean = not vector["expect"].get("rejects") and not vector["expect"].get("tolerated")
        self.dice = random.Random(f"{SEED} {self.name}")  # noqa: S311 - seeded faults

    def feed(self, frames: list[Frame]) -> list[Event]:
        """What a fresh driver makes of them."""
        return self.keep(make(self.driver, self._vector), frames)

    def keep(self, instance: Driver, frames: list[Frame]) -> list[Event]:
        """What this driver makes of them."""
        total = Output()
        for frame in frames:
            total.add(instance.receive(frame))
        check_events(self.driver, total.events)
        return total.events

    def fresh(self) -> Driver:
        """A driver of its own."""
        return make(self.driver, self._vector)


def _over(rows: list[_Row], run: Callable[[_Row], None]) -> Callable[[], None]:
    def check() -> None:
        for row in rows:
            run(row)

    return check


def alarms(events: list[Event]) -> set[str]:
    """Kinds of the alarms that begin in these events."""
    return {
        event.body.kind.value
        for event in events
        if isinstance(event.body, Occurrence) and event.body.state is not State.END and OCCURRENCES[event.body.kind].lane is Lane.ALARM
    }


def _data(frame: Frame, data: bytes) -> Frame:
    return msgspec.structs.replace(frame, data=data, evidence="")


def _duplicated(row: _Row) -> None:
    once = alarms(row.feed(row.frames))
    twice = alarms(row.feed([frame for frame in row.frames for _ in range(2)]))
    assert twice == once or not row.is_clean, f"{row.name}: alarms {sorted(once)} once, {sorted(twice)} twice"


def _reordered(row: _Row) -> None:
    frames = list(row.frames)
    row.dice.shuffle(frames)
    row.feed(frames)


def _dropped(row: _Row) -> None:
    kept = alarms(row.feed([frame for frame in row.frames if row.dice.random() < 0.5]))
    assert len(row.frames) > 1 or kept <= alarms(row.feed(row.frames)), f"{row.name}: invented {sorted(kept)}"


def _corrupted(row: _Row) -> None:
    """A damaged copy between good ones: what the good ones tell must come out."""
    if not row.is_clean:
        return
    wanted = alarms(row.feed(row.frames))
    for _ in range(8):
        damaged = bytearray(row.dice.choice(row.frames).data)
        if not damaged:
            return
        damaged[row.dice.randrange(len(damaged))] ^= 1 << row.dice.randrange(8)
        between = _data(row.frames[-1], bytes(damaged))
        got = alarms(row.feed([*row.frames, between, *row.frames, *row.frames]))
        assert wanted <= got, f"{row.name}: lost {sorted(wanted - got)} beside {bytes(damaged).hex()[:60]}"


def _skewed(row: _Row) -> None:
    wanted = alarms(row.feed(row.frames))
    for ms in (0, 4_102_444_800_000):
        got = alarms(row.feed([msgspec.structs.replace(frame, received=Instant(ms, frame.received.s)) for frame in row.frames]))
        assert wanted <= got or not row.is_clean, f"{row.name}: at {ms} lost {sorted(wanted - got)}"


def _replayed(row: _Row) -> None:
    instance = row.fresh()
    first = alarms(row.keep(instance, row.frames))
    later = [msgspec.structs.replace(f, received=Instant(f.received.ms + 600_000, f.received.s + 600)) for f in row.frames]
    again = alarms(row.keep(instance, later))
    assert again <= first, f"{row.name}: a recording made new alarms {sorted(again - first)}"


def _sliced(row: _Row) -> None:
    if any(set(_plain(frame)) for frame in row.frames):
        return
    stream = b"".join(frame.data for frame in row.frames)
    pieces, at = [], 0
    while at < len(stream):
        size = row.dice.randint(1, 8)
        pieces.append(_data(row.frames[0], stream[at : at + size]))
        at += size
    whole = alarms(row.feed([_data(row.frames[0], stream)]))
    assert alarms(row.feed(pieces)) == whole, f"{row.name}: pieces tell {sorted(alarms(row.feed(pieces)))}, the whole {sorted(whole)}"


def _plain(frame: Frame) -> str:
    """Fields that a stream has none of."""
    return frame.topic + frame.address + frame.characteristic


def _flooded(row: _Row) -> None:
    if not row.is_clean:
        return
    wanted = alarms(row.feed(row.frames))
    noise = _data(row.frames[0], row.dice.randbytes(FLOOD_BYTES))
    got = alarms(row.feed([noise, *(row.frames * REPEATS)]))
    assert wanted <= got, f"{row.name}: lost {sorted(wanted - got)} behind noise"


def _captured(folder: Path) -> None:
    origins = {vector.get("origin") for vector in read_vectors(folder / "vectors.jsonl")}
    assert "captured" in origins, "no vector with origin `captured`: anhu sim capture FILE --vector DRIVER makes one of a recording"


def _commands(driver: type[Driver]) -> None:
    assert driver.info.commands, "no command declared: a device that cannot be asked anything stays silver"
    check_commands(driver)


def _long(driver: type[Driver], rows: list[_Row]) -> None:
    if not rows:
        return
    instance = rows[0].fresh()
    frames = [frame for row in rows for frame in row.frames]
    for number in range(LONG_FRAMES // 2):
        instance.receive(frames[number % len(frames)])
    tracemalloc.start()
    begun_s = time.process_time()
    for number in range(LONG_FRAMES // 2):
        instance.receive(frames[number % len(frames)])
    us = (time.process_time() - begun_s) / (LONG_FRAMES // 2) * 1e6
    grown_kb = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    assert grown_kb < LONG_KB, f"grew by {grown_kb:.0f} kB in {LONG_FRAMES // 2} frames"
    assert us < FRAME_US, f"{us:.0f} us a frame"
    assert not isinstance(instance, Stateful) or len(instance.dump()) < STATE_BYTES, "state of more than 64 kB"


__all__ = ["Graded", "Tier", "alarms", "matrix", "tier_of"]
