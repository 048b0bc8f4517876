"""A full house on serial lines: four radars at full rate, 32 Modbus units on two lines and a modem, through the real ports and store.

The devices live in a process of their own behind ptys, so that the CPU time is that of the gateway alone. A radar falls every 100 ms;
its moment of writing comes back over a pipe and is held against the commit of the fall.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
import tty
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Occurrence, OccurrenceKind, State
from drivers.events import Event
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import SerialSection, StoreSection
from gateway.store.sqlite import SqliteStore
from gateway.transports.serial import SerialPort
from protocols.checksum import crc16_modbus
from protocols.serial import micradar, tinyframe

SECONDS, WARM_S = 8.0, 2.0
UNITS = 16


def detectors(letter: str) -> list[dict[str, Any]]:
    """The units of one line."""
    return [{"unit": unit, "profile": "combustible-u16", "name": f"{letter}{unit}"} for unit in range(1, UNITS + 1)]


PORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fall": ("micradar", {}), "bed": ("micradar", {}), "gates": ("ld2410", {}), "ceiling": ("tinyframe", {}),
    "line1": ("modbus_gas", {"detectors": detectors("u")}), "line2": ("modbus_gas", {"detectors": detectors("v")}),
    "modem": ("gsm_phone", {}),
}  # fmt: skip
PERIOD_S = 0.1
"""Ten reports a second are what these radars send at most."""


def measure() -> dict[str, Any]:
    """CPU of this process as percent of a core; ms from the byte to the committed fall."""
    return asyncio.run(run())


async def run() -> dict[str, Any]:
    """One run."""
    peers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.serial", "peers", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert peers.stdin is not None and peers.stdout is not None
    names = json.loads(await peers.stdout.readline())
    clock = SystemClock()
    falls: list[float] = []
    told = [0]

    def committed(event: Event) -> None:
        told[0] += 1
        body = event.body
        if isinstance(body, Occurrence) and body.kind is OccurrenceKind.FALL and body.state is not State.END:
            falls.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "anhu.db", StoreSection())
        rows = [Device(device=f"{driver}:{name}", driver=driver) for name, (driver, _) in PORTS.items()]
        rows += [Device(device=f"modbus_gas:{letter}{unit}", driver="modbus_gas") for letter in "uv" for unit in range(1, UNITS + 1)]
        pipeline = Pipeline(clock, Inventory(rows), store, None)
        pipeline.on_event.append(committed)
        tasks = []
        for name, (driver, options) in PORTS.items():
            session = Session(registry.load(driver), options, name, lambda sends: None, shared=driver == "modbus_gas")
            section = SerialSection(port=names[name], driver=driver, device=name, options=options)
            tasks.append(asyncio.create_task(SerialPort(section, session, pipeline, clock, store.has_room).run()))
        await asyncio.sleep(WARM_S)
        begun, cpu, frames, events = time.monotonic(), time.process_time(), pipeline.counts.frames, told[0]
        await asyncio.sleep(SECONDS)
        wall, spent = time.monotonic() - begun, time.process_time() - cpu
        frames, events = pipeline.counts.frames - frames, told[0] - events
        peers.stdin.close()
        sent = json.loads(await peers.stdout.readline())
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await peers.wait()
        await store.close()
    delays = sorted((fall - wrote) * 1000 for fall, wrote in zip(falls, sent["falls"], strict=False))
    return {
        "cpu_percent": round(spent / wall * 100, 1),
        "reads_per_s": round(frames / wall),
        "events_per_s": round(events / wall, 1),
        "polls_per_s": round(sent["polls"] / sent["seconds"]),
        "falls": len(delays),
        "falls_sent": len(sent["falls"]),
        "fall_p50_ms": round(delays[len(delays) // 2], 2),
        "fall_p99_ms": round(delays[len(delays) * 99 // 100], 2),
    }


class Peers:
    """The devices, in a process of their own."""

    def __init__(self) -> None:
        self.masters: dict[str, int] = {}
        self.falls: list[float] = []
        self.polls = 0
        self._slaves = []
        for name in PORTS:
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self.masters[name] = master
            self._slaves.append(slave)
        self.names = {name: os.ttyname(slave) for name, slave in zip(PORTS, self._slaves, strict=True)}
        from simulator.devices.modem import SimulatedModem

        self._modem = SimulatedModem()
        self._turn = 0

    async def run(self) -> dict[str, Any]:
        """Until stdin closes."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.masters["modem"], self._modem_reads)
        for name in ("line1", "line2"):
            loop.add_reader(self.masters[name], self._polled, self.masters[name])
        for name in ("fall", "bed", "gates", "ceiling"):
            # What the gateway asks of its radars is not part of this measure.
            loop.add_reader(self.masters[name], os.read, self.masters[name], 4096)
        closed = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
        begun = time.monotonic()
        await asyncio.sleep(WARM_S / 2)
        while not closed.is_set():
            self._report()
            await asyncio.sleep(PERIOD_S)
        return {"falls": self.falls, "polls": self.polls, "seconds": time.monotonic() - begun}

    def _report(self) -> None:
        self._turn += 1
        falls = self._turn % 2 == 0
        moving = micradar.report("body_param", value=1 + self._turn % 100)
        self._write("bed", moving + micradar.report("heart_rate", value=60 + self._turn % 20))
        energy = self._turn % 100
        self._write(
            "gates", bytes.fromhex("f4f3f2f10d0002aa03") + bytes((energy, 0, energy, 50, 0, energy, 60, 0, 0x55, 0)) + b"\xf8\xf7\xf6\xf5"
        )
        self._write("ceiling", tinyframe.encode_flag(tinyframe.PRESENCE, True) + tinyframe.encode_flag(tinyframe.FALL, False))
        if falls:
            self.falls.append(time.monotonic())
        self._write("fall", moving + micradar.report("fall", fall=falls))

    def _write(self, name: str, data: bytes) -> None:
        try:
            os.write(self.masters[name], data)
        except BlockingIOError:
            pass

    def _polled(self, master: int) -> None:
        asked = os.read(master, 4096)
        for at in range(0, len(asked) - 7, 8):
            unit, function, count = asked[at], asked[at + 1], int.from_bytes(asked[at + 4 : at + 6], "big")
            self.polls += 1
            body = bytes((unit, function, 2 * count)) + b"".join((120 if i == 0 else 0).to_bytes(2, "big") for i in range(count))
            os.write(master, body + crc16_modbus(body).to_bytes(2, "little"))

    def _modem_reads(self) -> None:
        answer = self._modem.receive(os.read(self.masters["modem"], 4096))
        if answer:
            os.write(self.masters["modem"], answer)


if __name__ == "__main__":
    devices = Peers()
    print(json.dumps(devices.names), flush=True)
    print(json.dumps(asyncio.run(devices.run())), flush=True)
