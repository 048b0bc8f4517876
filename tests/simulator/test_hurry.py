"""A program in a hurry: its clocks agree with those of the simulator, and its waits are short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from simulator.clock import ScaledClock
from simulator.hurry import VARIABLE, Pace

PROGRAM = """
import asyncio, json, sys, time
begun = time.monotonic()
asyncio.run(asyncio.sleep(30))
time.sleep(30)
print(json.dumps({"args": sys.argv[1:], "passed_s": time.monotonic() - begun, "ms": time.time_ns() // 1_000_000}))
"""


def test_a_minute_passes_in_less_than_a_second_and_both_sides_agree_on_the_time(tmp_path: Path) -> None:
    (tmp_path / "patient.py").write_text(PROGRAM)
    clock = ScaledClock(200, 1795336212000)
    pace = Pace(clock.began_s, clock.start_ms, clock.speed)
    environment = {**os.environ, VARIABLE: str(pace), "PYTHONPATH": str(tmp_path)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "simulator.hurry", "patient", "--for", "tea"], env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said["args"] == ["--for", "tea"]
    assert said["passed_s"] >= 60
    assert time.monotonic() - begun < 20
    assert clock.start_ms + 60_000 <= said["ms"] <= clock.now().ms
