"""Trackers through TCP with a real gateway process: frames per second to the committed event, and memory of an idle connection.

One port with `driver = "auto"`. A frame counts when its acknowledgement has come back, which is after the commit. An idle connection
is one that has logged in and been answered; its cost is the growth of the resident set.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocols.tracker import eelink, watch, wristband, xexun2
from protocols.tracker.fix import CellSeen

CONNECTIONS, WINDOW, SECONDS = 40, 20, 4.0
IDLE = 2000
START_S = 20.0
Frames = Callable[[str, int], bytes]


def eelink_report(imei: str, number: int) -> bytes:
    """A position with a cell, battery and steps; each has a second of its own."""
    fix = eelink.Fix(31.23 + number % 1000 / 1e5, 121.47, 4, 88, 12, 9)
    block = eelink.Block(
        1795300000 + number, fix, (CellSeen(460, 0, 6150, 41667, -70),), battery_mv=4012, steps=number, walking=60, status=0x0601
    )
    return eelink.write_report(eelink.NORMAL, block, serial=number & 0xFFFF)


def watch_alarm(imei: str, number: int) -> bytes:
    """A low-battery alarm: it commits at once."""
    clock = time.strftime("%d%m%y,%H%M%S", time.gmtime(1795300000 + number))
    body = f"AL,{clock},A,31.230416,N,121.473701,E,3.2,88,12,9,80,15,{number},0,00020001,0,0,0"
    return watch.frame_content(body.encode(), maker="3G", id=imei)


def xexun2_records(imei: str, number: int) -> bytes:
    """One record with a place."""
    record = xexun2.Record(1795300000 + number, 25, 84, False, lat=31.23, lon=121.47, satellites=9, speed_kmh=3.0, course_deg=88.0)
    return xexun2.write_records(imei, [record], serial=number & 0xFFFF)


def wristband_status(imei: str, number: int) -> bytes:
    """Battery."""
    return wristband.encode(wristband.Message(imei, wristband.STATUS, f"{number % 100},{number}"))


PROTOCOLS: dict[str, tuple[Frames, bytes]] = {
    "eelink": (eelink_report, b"\x67\x67\x12\x00\x02"),
    "watch": (watch_alarm, b"*AL]"),
    "xexun2": (xexun2_records, b"\xff\xfe\x01\xfa\xaf"),
    "wristband": (wristband_status, b"\xff\xfe\xfc"),
}
"""How a frame is made, and what stands once in each acknowledgement."""


def measure() -> dict[str, Any]:
    """Acknowledged frames per second by protocol, KiB per idle connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 3 * IDLE), hard), hard))
    speeds = {}
    for name, (frames, mark) in PROTOCOLS.items():
        with gateway([f"{name}:{imei_of(name, i)}" for i in range(CONNECTIONS)]) as (port, _):
            speeds[name] = asyncio.run(load(name, port, frames, mark))
    return {"unit": "frames/s; KiB", "connections": CONNECTIONS, "acknowledged_frames_per_s": speeds, "idle": idle()}


def imei_of(name: str, index: int) -> str:
    """The id of one device, as its frames write it."""
    return f"88{index:08d}" if name == "watch" else f"8612345{index:08d}"


async def load(name: str, port: int, frames: Frames, mark: bytes) -> int:
    """Frames that all connections have had acknowledged, per second. Each keeps a window of frames in flight."""
    counts = await asyncio.gather(*(device(name, port, index, frames, mark) for index in range(CONNECTIONS)))
    return round(sum(counts) / SECONDS)


async def device(name: str, port: int, index: int, frames: Frames, mark: bytes) -> int:
    """One device for SECONDS."""
    imei, number, done, tail = imei_of(name, index), 0, 0, b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if name == "eelink":
        writer.write(eelink.write_login(imei))
        await reader.readexactly(14)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        while number - done < WINDOW:
            number += 1
            writer.write(frames(imei, number))
        data = tail + await reader.read(65536)
        done += data.count(mark)
        # A mark that is cut in two is counted with the next read.
        tail = data[data.rfind(mark) + len(mark) :][-len(mark) + 1 :] if mark in data else data[-len(mark) + 1 :]
    writer.close()
    return done


def idle() -> dict[str, float]:
    """Growth of the resident set by connections that have logged in and say no more."""
    names = [imei_of("eelink", index) for index in range(IDLE)]
    with gateway([f"eelink:{name}" for name in names]) as (port, pid):
        sockets = [_logged_in(port, name) for name in names[:100]]
        before = rss_kib(pid)
        sockets += [_logged_in(port, name) for name in names[100:]]
        after = rss_kib(pid)
        for each in sockets:
            each.close()
    return {"connections": IDLE, "kib_per_connection": round((after - before) / (IDLE - 100), 2)}


def _logged_in(port: int, imei: str) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), 10)
    found.sendall(eelink.write_login(imei))
    got = b""
    while len(got) < 14:
        got += found.recv(64)
    return found


def rss_kib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


@contextmanager
def gateway(devices: list[str]) -> Iterator[tuple[int, int]]:
    """A gateway with these devices and one port for all protocols; gives the port and the process id."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        (folder / "devices.csv").write_text("device,driver\n" + "".join(f"{device},{device.split(':')[0]}\n" for device in devices))
        (folder / "anhu.toml").write_text(
            f'[gateway]\ndata_dir = "data"\n[devices]\nfile = "devices.csv"\n'
            f'[[listen]]\nport = {port}\nhost = "127.0.0.1"\ndriver = "auto"\n'
        )
        arguments = [sys.executable, "-m", "gateway.cli", "run", "--settings", str(folder / "anhu.toml")]
        child = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield port, child.pid
        finally:
            child.terminate()
            child.wait(20)


def _wait_for(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the gateway did not start")
