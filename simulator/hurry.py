"""Runs a Python program on a clock that goes faster, so that half an hour of reminders passes on real wires in half a minute.

    ANHU_HURRY="<monotonic seconds at which it begins> <UTC ms that it then shows> <speed>" python -m simulator.hurry MODULE [ARG ...]

The module sees `time.time`, `time.monotonic` and what asyncio makes of them run `speed` times as fast, from the given moment on: a
`ScaledClock` of the same three numbers agrees with it. What other programs and the kernel do takes its real time, and so seems slow:
time limits inside the program must leave room for that.
"""

from __future__ import annotations

import os
import runpy
import selectors
import sys
import time
from typing import NamedTuple

VARIABLE = "ANHU_HURRY"


class Pace(NamedTuple):
    """A clock: at `began_s` of the machine's monotonic clock it showed `start_ms`, and it goes `speed` times as fast."""

    began_s: float
    start_ms: int
    speed: float

    def __str__(self) -> str:
        return f"{self.began_s} {self.start_ms} {self.speed}"


def hurry(pace: Pace) -> None:
    """Make the clocks of this process go like that. Cannot be taken back."""
    steady, sleep, select = time.monotonic, time.sleep, selectors.DefaultSelector.select

    def passed_s() -> float:
        return (steady() - pace.began_s) * pace.speed

    def wait(self: selectors.DefaultSelector, timeout: float | None = None) -> object:
        return select(self, timeout / pace.speed if timeout is not None and timeout > 0 else timeout)

    time.monotonic = lambda: pace.began_s + passed_s()
    time.monotonic_ns = lambda: round((pace.began_s + passed_s()) * 1e9)
    time.time = lambda: pace.start_ms / 1000 + passed_s()
    time.time_ns = lambda: pace.start_ms * 1_000_000 + round(passed_s() * 1e9)
    time.sleep = lambda seconds: sleep(float(seconds) / pace.speed)
    selectors.DefaultSelector.select = wait  # type: ignore[method-assign, assignment]  # what asyncio waits with must wait less


def main() -> None:
    """Run the module that the command line names."""
    began, start, speed = os.environ[VARIABLE].split()
    hurry(Pace(float(began), int(start), float(speed)))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
