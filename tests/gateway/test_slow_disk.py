"""A gateway on a disk that needs seconds for a sync: no alarm is lost or acknowledged early, memory stays, status says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.errors import AnhuError
from tests.conftest import need
from tests.gateway import faulty_disk
from tests.gateway.process import GatewayProcess, free_port
from tests.gateway.test_upstream import LK, sos

WRISTBANDS, AT_ONCE, EVERY_S = 5, 20, 0.1
"""1,000 readings a second: with a sync of 10 s more than the gateway lets wait."""


def reading(device: int, number: int) -> bytes:
    body = f"UD,211126,{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d},V,0,N,0,E,0,0,0,0,0,22,{number},0,00000000,0,0,0"
    return f"[3G*{device}*{len(body):04x}*{body}]".encode()


async def pour(port: int, device: int, stop: asyncio.Event) -> None:
    """Readings at a steady rate, as far as the gateway takes them."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    try:
        while not stop.is_set():
            for _ in range(AT_ONCE):
                writer.write(reading(device, number))
                number += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.drain()
            await asyncio.sleep(EVERY_S)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("slow_s", [0.6, pytest.param(10.0, marks=pytest.mark.slow)])
async def test_a_disk_that_crawls_under_a_whole_gateway(tmp_path: Path, slow_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    need("gcc")
    library, knob = faulty_disk.build(tmp_path), tmp_path / "slow"
    port = free_port()
    devices = "".join(f"watch:{8800000100 + i},watch,r-{i}\n" for i in range(WRISTBANDS))
    sections = f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\n'
    gateway = GatewayProcess(tmp_path / "gw", f"device,driver,subject\nwatch:8800000015,watch,r-0\n{devices}", sections)
    stop = asyncio.Event()
    try:
        await asyncio.to_thread(gateway.start, LD_PRELOAD=str(library), SLOW_BELOW=str(gateway.data), SLOW_FILE=str(knob))
        before = resident_mb(gateway)
        knob.write_text(str(int(1000 * slow_s)))
        flood = [asyncio.create_task(pour(port, 8800000100 + i, stop)) for i in range(WRISTBANDS)]
        waits = [await alarm(port, number) for number in range(3)]
        told = [await status(gateway) for _ in range(10) if not await asyncio.sleep(slow_s / 10)]
        assert await asyncio.to_thread(main, ["status", "--data-dir", str(gateway.data)]) == 0
        grown = resident_mb(gateway) - before
        stop.set()
        await asyncio.gather(*flood)
        knob.write_text("0")
        found = await settled(gateway)
    finally:
        stop.set()
        gateway.close()
    # Each waited for the commit that ran and for its own (a commit syncs up to four times where it moves the log), never for the queue.
    assert all(slow_s * 0.9 < wait < slow_s * 10 + 10 for wait in waits), waits
    assert max(each["store"]["waiting_rows"] for each in told) > 0
    assert max(each["store"]["commit_under_way_s"] for each in told) > slow_s / 2
    assert grown < 150, f"{grown} MB more"
    assert found["frames"]["balanced"]
    assert found["events"]["alarm"] >= 3
    assert found["store"]["waiting_rows"] == 0
    assert "commits" in capsys.readouterr().out


async def alarm(port: int, number: int) -> float:
    """Seconds until an alarm is acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = asyncio.get_running_loop().time()
    writer.write(LK + sos(number))
    async with asyncio.timeout(120):
        while not (await reader.readuntil(b"]")).endswith(b"*AL]"):
            pass
    writer.close()
    return asyncio.get_running_loop().time() - begun


async def settled(gateway: GatewayProcess) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while (found := await status(gateway))["store"]["waiting_rows"]:
            await asyncio.sleep(0.1)
    return found


async def status(gateway: GatewayProcess) -> dict[str, Any]:
    """On a crowded machine what the devices have sent meanwhile may take longer than an answer should."""
    for _ in range(5):
        with contextlib.suppress(AnhuError):
            return await asyncio.to_thread(gateway.status)
    return gateway.status()


def resident_mb(gateway: GatewayProcess) -> float:
    assert gateway._child is not None
    pages = int(Path(f"/proc/{gateway._child.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
