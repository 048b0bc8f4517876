"""Whether a serial line makes sense at the rate that it is read at, and which rate would.

A line read at a wrong rate gives bytes that never frame. Nothing in the bytes says so; the share of them that belongs to whole frames
does. The right rate is found by listening at the usual ones in turn: nothing is sent, and what was understood is not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from drivers.api import Driver, Frame, Framing, Transport
from gateway.clock import Clock

LEAST_BYTES = 128
"""So much that belongs to no frame is no noise at the beginning."""
LEAST_S = 2.0
PROVEN_BYTES, PROVEN_S = 4096, 60.0
"""A line that made sense at this rate before is left for others only after so much: who listens elsewhere misses what is said here."""
LEAST_SHARE = 0.1
"""Of a line at its right rate nearly everything frames; at a wrong one a short check holds for one start in a few hundred by chance."""
LISTEN_S, LONGEST_LISTEN_S = 1.5, 5.0
LISTEN_BYTES = 64
USUAL = (9600, 115_200, 256_000, 57_600, 38_400, 19_200, 4800, 230_400, 460_800)
DEFAULT_BAUD = 115_200


class Ear:
    """Watches the framing of one opening of a line; each stretch that made sense begins anew.

    `is_trusted`: the line made sense at this rate before; `makes_sense`: it did so in this opening.
    """

    def __init__(self, *, is_trusted: bool = False) -> None:
        self.makes_sense = False
        self._is_trusted = is_trusted
        self._base = (0, 0)
        self._since_s: float | None = None
        self.bytes_per_s = 0.0

    def is_hopeless(self, framing: tuple[int, int], now_s: float) -> bool:
        """Whether what came lately are bytes without frames."""
        if self._since_s is None:
            self._since_s = now_s
        framed, thrown = (new - old for new, old in zip(framing, self._base, strict=True))
        if framed and framed >= LEAST_SHARE * (framed + thrown):
            self.makes_sense = self._is_trusted = True
            self._base, self._since_s = framing, now_s
            return False
        passed_s = now_s - self._since_s
        self.bytes_per_s = thrown / passed_s if passed_s else 0.0
        least_bytes, least_s = (PROVEN_BYTES, PROVEN_S) if self._is_trusted else (LEAST_BYTES, LEAST_S)
        return thrown >= least_bytes and passed_s >= least_s

    @property
    def listen_s(self) -> float:
        """How long to listen at another rate to hear about `LISTEN_BYTES`."""
        wanted_s = LISTEN_BYTES / self.bytes_per_s if self.bytes_per_s else LONGEST_LISTEN_S
        return min(max(LISTEN_S, wanted_s), LONGEST_LISTEN_S)


class Heard(NamedTuple):
    """A rate at which the line makes sense, and what was heard there: it counts like everything else."""

    baud: int
    frames: list[Frame]


class Reader(NamedTuple):
    """An open line to listen to."""

    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], Awaitable[None]]


async def find_rate(
    open_at: Callable[[int], Awaitable[Reader]],
    make: Callable[[], Driver],
    rates: tuple[int, ...],
    *,
    clock: Clock,
    listen_s: float,
    peer: str,
) -> Heard | None:
    """The first of `rates` at which a driver made by `make` understands the line. Raises OSError when the line is gone."""
    for baud in rates:
        line = await open_at(baud)
        try:
            frames = await _listen(line, make(), clock=clock, seconds=listen_s, peer=peer)
        finally:
            await line.close()
        if frames is not None:
            return Heard(baud, frames)
    return None


async def _listen(line: Reader, driver: Driver, *, clock: Clock, seconds: float, peer: str) -> list[Frame] | None:
    """What was read while the driver understood it; None when it did not."""
    frames: list[Frame] = []
    if not isinstance(driver, Framing):
        return None
    end_s = clock.now().s + seconds
    while (left_s := end_s - clock.now().s) > 0:
        try:
            async with asyncio.timeout(left_s):
                data = await line.read(4096)
        except TimeoutError:
            break
        if not data:
            raise OSError("the line was closed")
        frame = Frame(data=data, received=clock.now(), transport=Transport.SERIAL, peer=peer)
        frames.append(frame)
        try:
            driver.receive(frame)
        except Exception:  # noqa: BLE001 - a driver that fails on what a wrong rate makes of its bytes does not understand them
            return None
        framed, thrown = driver.framing()
        if framed > thrown and framed >= LISTEN_BYTES // 2:
            return frames
        if thrown >= LEAST_BYTES and framed < LEAST_SHARE * thrown:
            return None
    framed, thrown = driver.framing()
    return frames if framed > thrown else None


def others(usual: tuple[int, ...], baud: int) -> tuple[int, ...]:
    """Rates to try beside `baud`: those of the driver first."""
    return tuple(rate for rate in dict.fromkeys((*usual, *USUAL)) if rate != baud)
