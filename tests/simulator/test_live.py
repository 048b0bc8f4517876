from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator.cli import main
from simulator.scenario import read, shipped
from tests.conftest import need

ON_WIRES = [name for name in shipped() if read(name).needs_wires]
QUICK = ("alarms-on-wires", "spoofed-wristband")
"""The others take half a minute and more each."""


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ON_WIRES])
def test_a_scenario_on_wires_meets_its_expectations(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    need("mosquitto")
    code = main(["run", name, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["broken"]) == (0, []), result["missed_entries"]


GRACE_S = 4.0
"""A broken gateway is not waited for."""

BROKEN = """
import sys
from gateway import pipeline
from drivers.events import Occurrence, Position
from drivers.vocabulary import Lane

def early(self, session, batch, acks, settled, now, *, must_wait):
    self._answer(session, acks, settled)
    if batch.rows:
        self._commit(batch)

def fixless(self, batch, events, now, real=pipeline.Pipeline._take):
    placed = any(isinstance(event.body, Position) and event.body.valid for event in events)
    real(self, batch, [e for e in events if placed or e.lane is not Lane.ALARM], now)

held = []
def late(self, batch, events, now, real=pipeline.Pipeline._take):
    held.extend(events)
    if len(held) > 30:
        real(self, batch, list(reversed(held)), now)
        held.clear()

faults = {"acks before commit": ("_finish", early), "drops alarms without fix": ("_take", fixless), "loses order": ("_take", late)}
setattr(pipeline.Pipeline, *faults[sys.argv.pop(1)])
from gateway.cli.main import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def broken_gateway(folder: Path, how: str) -> list[str]:
    script = folder / "broken.py"
    script.write_text(BROKEN)
    return [sys.executable, str(script), how]


def judged(name: str, program: list[str]) -> list[str]:
    from simulator.live import run_live

    need("mosquitto")
    scenario = read(name)
    community = scenario.community()
    faults, troubles, seconds = scenario.faults(community), scenario.site_troubles, scenario.duration_s
    run = asyncio.run(run_live(community, seconds=seconds, troubles=troubles, faults=faults, program=program, grace_s=GRACE_S))
    return scenario.broken(run.score)


def test_a_gateway_that_drops_alarms_without_a_fix_is_caught(tmp_path: Path) -> None:
    broken = judged("alarms-on-wires", broken_gateway(tmp_path, "drops alarms without fix"))
    assert any(line.startswith(("missed", "found")) for line in broken), broken


def test_a_gateway_that_loses_order_is_caught(tmp_path: Path) -> None:
    broken = judged("alarms-on-wires", broken_gateway(tmp_path, "loses order"))
    assert any(line.startswith("out_of_order") for line in broken), broken


def test_a_gateway_that_acknowledges_before_the_commit_is_caught(tmp_path: Path) -> None:
    broken = judged("acknowledged-means-kept", broken_gateway(tmp_path, "acks before commit"))
    assert any(line.startswith(("missed", "found")) for line in broken), broken


def test_ctrl_c_leaves_no_process_pty_or_file_behind(tmp_path: Path) -> None:
    need("mosquitto")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-m", "simulator.cli", "run", "spoofed-wristband"], env=environment, stderr=subprocess.PIPE)
    deadline = 200
    while not list(tmp_path.glob("anhu-sim-*/data/anhu.db")) and deadline:
        deadline -= 1
        try:
            child.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=20)
    assert child.returncode == 130, told.decode()
    assert b"nothing was left behind" in told
    assert list(tmp_path.iterdir()) == []
    marker = str(tmp_path).encode()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _reads(path, marker)]
    assert left == []


def _reads(path: Path, marker: bytes) -> bool:
    try:
        return marker in path.read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("behaviour", ["refuses", "talks garbage"])
async def test_a_target_that_misbehaves_is_reported_or_survived(behaviour: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while behaviour == "talks garbage" and await reader.read(100):
            writer.write(os.urandom(200))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if behaviour == "refuses":
        server.close()
    command: list[Any] = ["-m", "simulator.cli", "run", "tv-service", "--target", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{port}"]
    child = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    _, told = await asyncio.wait_for(child.communicate(), 40)
    server.close()
    assert child.returncode == 1
    assert b"no broker answers there" in told
    assert b"Traceback" not in told
