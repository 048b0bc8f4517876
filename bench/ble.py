"""Bluetooth advertisements from the air to the disk: bleak on the virtual BlueZ (a process of its own), scanner, router, store.

Each advertisement carries its moment of sending as a BTHome counter, so that the event tells its own latency.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drivers.api import Measurement
from drivers.events import Event
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import StoreSection
from gateway.store.sqlite import SqliteStore
from gateway.transports.adverts import AdvertRouter
from gateway.transports.ble import BleScanner

DEVICES, SECONDS, WARM_S = 100, 5.0, 1.0
RATES = (1000, 3000)
TICKS_PER_S = 100_000
MASK = (1 << 32) - 1


def measure() -> dict[str, Any]:
    """Per rate: adverts that arrived a second, CPU of this process as percent of a core, ms from advertisement to committed event."""
    return {"devices": DEVICES, "rates": {str(rate): asyncio.run(run(rate)) for rate in RATES}}


async def run(rate: int) -> dict[str, Any]:
    """One rate, against an air of its own."""
    air = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.ble", "air", str(rate), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert air.stdin is not None and air.stdout is not None
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = (await air.stdout.readline()).decode().strip()
    clock = SystemClock()
    inventory = Inventory([Device(device=f"bthome:{mac(i)}", driver="bthome") for i in range(DEVICES)])
    delays: list[float] = []

    def committed(event: Event) -> None:
        if isinstance(event.body, Measurement):
            delays.append((now() - int(event.body.value) & MASK) * 1000 / TICKS_PER_S)

    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "anhu.db", StoreSection())
        pipeline = Pipeline(clock, inventory, store, None)
        pipeline.on_event.append(committed)
        router = AdvertRouter(
            pipeline, inventory, ["bthome"], make=lambda driver, options, device: Session(driver, options, device, lambda sends: None),
            connect=lambda address, session: None, options={},
        )  # fmt: skip
        scanner = BleScanner(clock.now)
        scanning = asyncio.create_task(scanner.run(router.deliver))
        await asyncio.sleep(WARM_S)
        delays.clear()
        begun, cpu, before = time.monotonic(), time.process_time(), scanner.counts["delivered"]
        await asyncio.sleep(SECONDS)
        wall, spent, heard = time.monotonic() - begun, time.process_time() - cpu, scanner.counts["delivered"] - before
        found = sorted(delays)
        dropped = scanner.counts["dropped"]
        scanning.cancel()
        await asyncio.gather(scanning, return_exceptions=True)
        air.stdin.close()
        await air.wait()
        await store.close()
    return {
        "adverts_per_s": round(heard / wall),
        "cpu_percent": round(spent / wall * 100, 1),
        "us_per_advert": round(spent / max(heard, 1) * 1e6, 1),
        "p50_ms": round(found[len(found) // 2], 2),
        "p99_ms": round(found[len(found) * 99 // 100], 2),
        "events": len(found),
        "dropped": dropped,
    }


def mac(number: int) -> str:
    """Address of a device."""
    return f"A4:C1:38:00:{number >> 8:02X}:{number & 255:02X}"


def now() -> int:
    """The clock that both processes share, in ticks of 10 us, 32 bits."""
    return int(time.monotonic() * TICKS_PER_S) & MASK


async def advertise(rate: int) -> None:
    """The air: `rate` advertisements a second until stdin closes."""
    from simulator.wires.bluez import VirtualBluez

    async with VirtualBluez() as radio:
        print(radio.address, flush=True)
        closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await radio.wait_scanned()
        begun, sent = time.monotonic(), 0
        while not closed.done():
            due = int((time.monotonic() - begun) * rate)
            for _ in range(min(due - sent, 50)):
                payload = b"\x40\x3e" + now().to_bytes(4, "little")
                await radio.advertise(mac(sent % DEVICES), {"fcd2": payload}, -50 - sent // DEVICES % 30)
                sent += 1
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(advertise(int(sys.argv[2])))
