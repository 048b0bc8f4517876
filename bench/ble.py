"""Bluetooth advertisements from the air to the disk: bleak on the virtual BlueZ (a process of its own), scanner, router, store.

Each advertisement carries its moment of sending as a BTHome counter, so that the event tells its own latency. Two kinds of air:

    house   as it sounds in a block of flats: half of it phones that are nobody's, the rest sensors that say each value ten times
    new     every advertisement a new value of a known sensor, which no house has: the dearest that can come

`bleak` is what bleak and dbus-fast alone take of the same air, with a callback that does nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.api import Driver, Frame, Measurement
from drivers.events import Event
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import StoreSection
from gateway.store.sqlite import SqliteStore
from gateway.transports.adverts import AdvertRouter
from gateway.transports.ble import BleScanner

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

DEVICES, SECONDS, WARM_S = 100, 5.0, 1.0
RUNS = (("house", 1000), ("house", 3000), ("new", 1000), ("new", 3000))
SAYS = 10
"""Times that a sensor of the house says one value: 1 s at the usual interval of 100 ms."""
READING = b"\x40\x3e"
"""BTHome, plain, a count of 32 bits."""
TICKS_PER_S = 100_000
MASK = (1 << 32) - 1


def measure() -> dict[str, Any]:
    """Per air and rate: adverts that arrived a second, CPU of this process as percent of a core.

    Milliseconds from the advertisement to the driver (`heard`) and to the committed event: between them are the disk and `commit_ms`.
    """
    found = {f"{kind} {rate}": asyncio.run(run(kind, rate)) for kind, rate in RUNS}
    return {"devices": DEVICES, **found, "bleak 3000": asyncio.run(run("new", 3000, is_deaf=True))}


async def run(kind: str, rate: int, *, is_deaf: bool = False) -> dict[str, Any]:
    """One rate, against an air of its own. `is_deaf`: nothing is done with what bleak hands over."""
    air = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.ble", kind, str(rate), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert air.stdin is not None and air.stdout is not None
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = (await air.stdout.readline()).decode().strip()
    clock = SystemClock()
    inventory = Inventory([Device(device=f"bthome:{mac(i)}", driver="bthome") for i in range(DEVICES)])
    delays: list[float] = []
    heard_ms: list[float] = []
    said: dict[str, bytes] = {}

    def committed(event: Event) -> None:
        if isinstance(event.body, Measurement):
            delays.append((now() - int(event.body.value) & MASK) * 1000 / TICKS_PER_S)

    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "anhu.db", StoreSection())
        pipeline = Pipeline(clock, inventory, store, None)
        pipeline.on_event.append(committed)
        router = AdvertRouter(pipeline, inventory, ["bthome", "ble_badge"], make=session, connect=lambda *_: None, options={})

        def deliver(frame: Frame) -> None:
            if frame.data[:2] == READING and said.get(frame.address) != frame.data:
                said[frame.address] = frame.data
                heard_ms.append((now() - int.from_bytes(frame.data[2:6], "little") & MASK) * 1000 / TICKS_PER_S)
            router.deliver(frame)

        scanner = _Deaf(clock.now) if is_deaf else BleScanner(clock.now)
        scanning = asyncio.create_task(scanner.run(deliver, router.rank))
        await asyncio.sleep(WARM_S)
        delays.clear()
        heard_ms.clear()
        begun, cpu, before = time.monotonic(), time.process_time(), scanner.counts["callbacks"]
        await asyncio.sleep(SECONDS)
        wall, spent, heard = time.monotonic() - begun, time.process_time() - cpu, scanner.counts["callbacks"] - before
        times = {"heard": sorted(heard_ms), "committed": sorted(delays)}
        scanning.cancel()
        await asyncio.gather(scanning, return_exceptions=True)
        air.stdin.close()
        await air.wait()
        await store.close()
    cost = {
        "adverts_per_s": round(heard / wall),
        "cpu_percent": round(spent / wall * 100, 1),
        "us_per_advert": round(spent / max(heard, 1) * 1e6, 1),
    }
    if is_deaf:
        return cost
    shown = {f"{name}_p{part}_ms": round(found[len(found) * part // 100], 1) for name, found in times.items() for part in (50, 99) if found}
    return {**cost, **shown, "events": len(delays), "dropped": scanner.counts["dropped"]}


def session(driver: type[Driver], options: dict[str, Any], device: str | None) -> Session:
    """A session that answers nobody."""
    return Session(driver, options, device, lambda sends: None)


class _Deaf(BleScanner):
    """Counts callbacks and nothing else."""

    def _on_advert(self, device: BLEDevice, data: AdvertisementData) -> None:
        self.counts["callbacks"] += 1


def mac(number: int) -> str:
    """Address of a device."""
    return f"A4:C1:38:00:{number >> 8:02X}:{number & 255:02X}"


def now() -> int:
    """The clock that both processes share, in ticks of 10 us, 32 bits."""
    return int(time.monotonic() * TICKS_PER_S) & MASK


async def advertise(kind: str, rate: int) -> None:
    """The air: `rate` advertisements a second until stdin closes."""
    from simulator.wires.bluez import VirtualBluez

    says = SAYS if kind == "house" else 1
    payloads = [b""] * DEVICES
    async with VirtualBluez() as radio:
        print(radio.address, flush=True)
        closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await radio.wait_scanned()
        begun, sent = time.monotonic(), 0
        while not closed.done():
            due = int((time.monotonic() - begun) * rate)
            for _ in range(min(due - sent, 50)):
                number, turn = sent % DEVICES, sent // DEVICES
                if kind == "house" and number % 2:
                    # A phone: the first bytes of its "nearby" message change now and then, it is no beacon.
                    nearby = bytes.fromhex("1005") + (turn // SAYS).to_bytes(4, "big")
                    await radio.advertise(mac(number + DEVICES), rssi=-70 - turn % 20, manufacturer_data={0x004C: nearby})
                else:
                    # Devices do not say new values all at once.
                    if (turn + number // 2) % says == 0 or not payloads[number]:
                        payloads[number] = READING + now().to_bytes(4, "little")
                    await radio.advertise(mac(number), {"fcd2": payloads[number]}, -50 - turn % 30)
                sent += 1
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(advertise(sys.argv[1], int(sys.argv[2])))
