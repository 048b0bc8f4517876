"""A thousand alarm hubs and fire units come back at once, each with an alarm that nobody has confirmed yet, while others raise new ones.

Three processes: the gateway, the hubs (half DC-09, half GB/T 26875), and a probe whose hubs stood through it and raise an alarm on a
fixed beat. An alarm counts from its write to its confirmation, which goes out after the commit. A hub that gets none is starved.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from protocols.building import gbt26875, sia_dc09
from protocols.building import gbt26875_objects as objects
from protocols.framing import Framer
from tests.gateway.process import GatewayProcess, free_port

HUBS, WITHIN_S = 1000, 1.0
"""They come back within this; the wire that failed them all was one."""
PROBES, BEAT_S = 20, 0.5
QUIET_S = 2.0
LONGEST_S = 60.0
"""A hub that has no answer by then is starved."""
OFFSET_MS = 8 * 3_600_000


def measure() -> dict[str, Any]:
    """Waits for confirmation (ms) of the hubs that came back, and of the probe before and in the storm."""
    return run(HUBS, quiet_s=QUIET_S)


def run(hubs: int, *, quiet_s: float) -> dict[str, Any]:
    """One storm of so many hubs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * hubs), hard), hard))
    ports = {"dc09": free_port(), "gbt26875": free_port()}
    numbers = range(hubs + PROBES)
    rows = "".join(f"{device_of(number)},{device_of(number).split(':')[0]}\n" for number in numbers)
    listens = "".join(f'[[listen]]\nport = {port}\nhost = "127.0.0.1"\ndriver = "{driver}"\n' for driver, port in ports.items())
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewayProcess(Path(folder), f"device,driver\n{rows}", listens, gateway='log = "error"').start()
        try:
            ours, theirs = spawn.Pipe()
            probe = spawn.Process(target=_probe, args=(ports, hubs, theirs), daemon=True)
            probe.start()
            ours.recv()
            time.sleep(quiet_s)
            begun = time.monotonic()
            waits = asyncio.run(_storm(ports, hubs))
            ended = time.monotonic()
            time.sleep(0.3)
            ours.send("stop")
            taken: list[tuple[float, float | None]] = ours.recv()
            probe.join(5)
            ours.close()
            theirs.close()
            frames = gateway.status()["frames"]
        finally:
            gateway.close()
    return {
        "unit": "ms",
        "hubs": hubs,
        "starved": sum(wait is None for wait in waits),
        "storm_s": round(ended - begun, 2),
        "back_ms": _shown(waits),
        "alarm_quiet_ms": _shown([wait for sent, wait in taken if sent < begun]),
        "alarm_storm_ms": _shown([wait for sent, wait in taken if begun <= sent <= ended]),
        "balanced": frames["balanced"],
        "load": round(os.getloadavg()[0], 1),
    }


def device_of(number: int) -> str:
    """Every second one is a panel, the others are fire units."""
    return f"dc09:{0xA000 + number:04X}" if number % 2 else f"gbt26875:{0x310000000000 + number:012x}"


class Hub:
    """One hub: writes alarms, knows the confirmations of its own."""

    def __init__(self, number: int) -> None:
        self.driver, _, self._name = device_of(number).partition(":")
        self._serial = 0
        self.waiting: dict[int, float] = {}

    def alive(self) -> bytes:
        """What a hub says first."""
        now_ms = time.time_ns() // 1_000_000
        if self.driver == "dc09":
            return sia_dc09.encode(sia_dc09.Message("NULL", "0000", "1", "0", self._name, at_ms=now_ms))
        return gbt26875.encode(gbt26875.Message(0, gbt26875.Command.SEND, b"", self._name, "000000000001", now_ms + OFFSET_MS))

    def alarm(self) -> bytes:
        """A new one, that waits from now on."""
        self._serial += 1
        self.waiting[self._serial] = time.monotonic()
        now_ms = time.time_ns() // 1_000_000
        if self.driver == "dc09":
            data = f"Nri1/PA{self._serial % 100:03d}"
            return sia_dc09.encode(sia_dc09.Message("SIA-DCS", f"{self._serial:04d}", "1", "0", self._name, data, at_ms=now_ms))
        unit = objects.encode_unit([objects.PartState(1, 1, 40, 0x10001, 3, "卧室", now_ms + OFFSET_MS)])
        stamp_ms = now_ms + OFFSET_MS
        return gbt26875.encode(gbt26875.Message(self._serial, gbt26875.Command.SEND, unit, self._name, "000000000001", stamp_ms))

    def reader(self) -> Callable[[bytes], list[float]]:
        """Makes of the bytes of one connection the seconds that each confirmed alarm has waited."""
        stream = sia_dc09.Dc09Stream() if self.driver == "dc09" else None
        framer = Framer(gbt26875.cut, limit=gbt26875.MAX_FRAME)

        def read(data: bytes) -> list[float]:
            if stream is not None:
                texts = [sia_dc09.decode(raw) for raw in stream.receive(data) if isinstance(raw, bytes)]
                serials = [int(text.sequence) for text in texts if text.token == "ACK"]  # a message name
            else:
                serials = [gbt26875.decode(raw).serial for raw in framer.feed(data) if isinstance(raw, bytes)]
            now = time.monotonic()
            return [now - self.waiting.pop(serial) for serial in serials if serial in self.waiting]

        return read


async def _storm(ports: dict[str, int], hubs: int) -> list[float | None]:
    """Everybody at once; seconds from connecting to the confirmation of the alarm that each one brings."""
    lines: list[asyncio.StreamWriter] = []
    waits = await asyncio.gather(*(_back(Hub(number), ports, WITHIN_S * number / hubs, lines) for number in range(hubs)))
    await _closed(lines)
    return list(waits)


async def _closed(lines: list[asyncio.StreamWriter]) -> None:
    for line in lines:
        line.close()
    await asyncio.gather(*(line.wait_closed() for line in lines), return_exceptions=True)


async def _back(hub: Hub, ports: dict[str, int], after_s: float, lines: list[asyncio.StreamWriter]) -> float | None:
    """Connects and stays; the connection is added to `lines`."""
    await asyncio.sleep(after_s)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(LONGEST_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[hub.driver])
            lines.append(writer)
            read = hub.reader()
            writer.write(hub.alive() + hub.alarm())
            while not read(await reader.readexactly(1) + await reader.read(4096)):
                continue
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None
    return time.monotonic() - begun


def _probe(ports: dict[str, int], first: int, pipe: Connection) -> None:
    pipe.send(asyncio.run(_probed(ports, first, pipe)))


async def _probed(ports: dict[str, int], first: int, pipe: Connection) -> list[tuple[float, float | None]]:
    """Alarms on the beat until told to stop; (moment, seconds to the confirmation or None) of each."""
    hubs = [Hub(first + number) for number in range(PROBES)]
    lines = [await asyncio.open_connection("127.0.0.1", ports[hub.driver]) for hub in hubs]
    taken: list[tuple[float, float | None]] = []

    async def listen(hub: Hub, reader: asyncio.StreamReader) -> None:
        read = hub.reader()
        while data := await reader.read(65536):
            taken.extend((time.monotonic() - wait, wait) for wait in read(data))

    listening = [asyncio.create_task(listen(hub, reader)) for hub, (reader, _) in zip(hubs, lines, strict=True)]
    for hub, (_, writer) in zip(hubs, lines, strict=True):
        writer.write(hub.alive())
    pipe.send("ready")
    begun, number = time.monotonic(), 0
    while not pipe.poll():
        hub, (_, writer) = hubs[number % PROBES], lines[number % PROBES]
        writer.write(hub.alarm())
        number += 1
        await asyncio.sleep(max(0.0, begun + number * BEAT_S / PROBES - time.monotonic()))
    await asyncio.sleep(1.0)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    await _closed([writer for _, writer in lines])
    return taken + [(since, None) for hub in hubs for since in hub.waiting.values()]


def _shown(waits: list[float | None]) -> dict[str, float]:
    """Percentiles in milliseconds; what was never answered is counted."""
    answered = sorted(wait * 1000 for wait in waits if wait is not None)
    if len(answered) < 2:
        return {"count": len(waits), "unanswered": len(waits) - len(answered)}
    cuts = statistics.quantiles(answered, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p99": cuts[98], "max": answered[-1]}
    return {"count": len(waits), "unanswered": len(waits) - len(answered), **{key: round(value, 1) for key, value in figures.items()}}
