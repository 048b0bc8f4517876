"""Power cuts of a disk under the real gateway: every alarm that a device saw acknowledged is there after the next boot.

Two controls must lose: the same gateway with synchronous=NORMAL, and a file system without barriers. If they lose nothing, the rig is
broken and the other results mean nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import control
from gateway.errors import AnhuError
from tests.gateway.power import Disk, need_rig
from tests.gateway.process import free_port
from tests.gateway.test_upstream import LK, sos

SEED = 20261122
MOST_CUTS = 8
NORMAL = """
import sys
from gateway.store import opening, sqlite
full = opening.connect
def connect(path):
    db = full(path)
    db.execute("PRAGMA synchronous=NORMAL")
    return db
sqlite.connect = opening.connect = connect
from gateway.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Life:
    """One boot of the gateway on the disk, with a wristband that counts what was acknowledged."""

    def __init__(self, disk: Path, *, normal: bool = False) -> None:
        self.port = free_port()
        folder = disk / "gw"
        folder.mkdir(exist_ok=True)
        (folder / "devices.csv").write_text("device,driver,subject\nwatch:8800000015,watch,r-1\n")
        (folder / "anhu.toml").write_text(
            '[gateway]\nid = "gw"\ndata_dir = "data"\n[devices]\nfile = "devices.csv"\n'
            f'[[listen]]\nport = {self.port}\ndriver = "watch"\nhost = "127.0.0.1"\n'
        )
        # Only this disk: a sync of all of them would save what the control of another test has to lose.
        subprocess.run(["sync", "-f", str(folder)], check=True)
        words = ["-c", NORMAL] if normal else ["-m", "gateway.cli"]
        self.log = Path("/tmp") / f"anhu-power-{os.getpid()}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen([sys.executable, *words, "run", "--settings", str(folder / "anhu.toml")], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                control.ask(folder / "data", {"do": "status"}, timeout_s=2)
                return
            except AnhuError:
                assert self.child.poll() is None, self.log.read_text()[-2000:]
                time.sleep(0.02)
        raise AssertionError("gateway not ready")

    async def work(self, first: int, seconds: float) -> int:
        """Alarms from `first` on, one at a time, for so long; the first that was not acknowledged."""
        deadline = asyncio.get_running_loop().time() + seconds
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        number = first
        try:
            writer.write(LK)
            await asyncio.wait_for(reader.readuntil(b"]"), 5)
            while asyncio.get_running_loop().time() < deadline:
                writer.write(sos(number))
                while not (await asyncio.wait_for(reader.readuntil(b"]"), 5)).endswith(b"*AL]"):
                    pass
                number += 1
        finally:
            writer.close()
        return number


def survived(disk: Path) -> set[str]:
    """Times of the alarms in the database, empty where there is none that can be read."""
    try:
        db = sqlite3.connect(disk / "gw" / "data" / "anhu.db")
        try:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {row[0] for row in db.execute("SELECT json_extract(data,'$.at') FROM alarm WHERE kind='sos'")}
        finally:
            db.close()
    except sqlite3.Error:
        return set()


def at(number: int) -> str:
    return f"2026-11-21T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z"


def end(life: Life, disk: Disk) -> None:
    disk.cut(life.child.pid)
    life.child.wait()
    life.log.unlink(missing_ok=True)


@pytest.mark.parametrize("cuts", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
async def test_nothing_acknowledged_is_lost_when_the_power_fails(tmp_path: Path, cuts: int) -> None:
    need_rig()
    dice = random.Random(SEED + cuts)
    disk = Disk(tmp_path)
    number = 0
    try:
        for _ in range(cuts):
            life = Life(disk.power_on())
            number = await life.work(number, dice.uniform(0.2, 0.8))
            end(life, disk)
            found = survived(disk.read_back())
            missing = [each for each in range(number) if at(each) not in found]
            disk._unmount()
            assert not missing, f"{len(missing)} of {number} acknowledged alarms are gone"
        assert number > 20
    finally:
        disk.close()


@pytest.mark.parametrize("control", ["normal", "no_barrier"])
async def test_the_rig_sees_a_loss_where_there_must_be_one(tmp_path: Path, control: str) -> None:
    """One cut is enough nearly always. A busy machine may write everything back in time once, never `MOST_CUTS` times in a row."""
    need_rig()
    lost: list[int] = []
    for cut in range(MOST_CUTS):
        disk = Disk(tmp_path / str(cut), "barrier=0" if control == "no_barrier" else "")
        try:
            life = Life(disk.power_on(), normal=control == "normal")
            number = await life.work(0, 0.6)
            end(life, disk)
            found = survived(disk.read_back())
        finally:
            disk.close()
        lost.append(sum(1 for each in range(number) if at(each) not in found))
        if number > 5 and lost[-1]:
            return
    raise AssertionError(f"the control lost {lost}: this rig proves nothing")
