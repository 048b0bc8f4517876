"""A simulated device at the end of a pty, and the gateway's serial port at the other: what tests of serial lines are made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Event, Occurrence, OccurrenceKind, State
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.settings import SerialSection, StoreSection
from gateway.store.sqlite import SqliteStore
from gateway.transports.serial import LineSession, SerialPort
from simulator.wires.pty import PtyWire


@dataclass
class Line:
    """A device at the end of a pty, and what the gateway said of it."""

    wire: PtyWire
    port: SerialPort
    running: asyncio.Task[None]
    events: list[Event] = field(default_factory=list)
    say: Callable[[], bytes] = lambda: b""
    answer: Callable[[bytes], bytes] = lambda data: b""

    def up(self) -> None: ...

    def down(self) -> None: ...

    def receive(self, data: bytes, to: str) -> None:
        self.wire.send(self.answer(data))

    def unplug(self) -> None:
        """Pull the adapter out."""
        self.running.cancel()

    def plug(self) -> None:
        """Put it in again."""
        self.running = asyncio.create_task(self.wire.run(self))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.wire.send(self.say())
                await asyncio.sleep(0.02)

    def told(self, kind: OccurrenceKind, state: State) -> list[str]:
        bodies = [event.body for event in self.events]
        return [body.detail or "" for body in bodies if isinstance(body, Occurrence) and (body.kind, body.state) == (kind, state)]


@asynccontextmanager
async def line(folder: Path, *, speaks: int, settings: int | str, driver: str = "micradar", options: Any = None) -> AsyncIterator[Line]:
    wire = PtyWire(folder / "radar", baud=speaks)
    wire.open()
    section = SerialSection(port=str(folder / "radar"), driver=driver, device="x", baud=settings)  # type: ignore[arg-type]  # one of the two
    store = await SqliteStore.open(folder / "anhu.db", StoreSection())
    clock = SystemClock()
    pipeline = Pipeline(clock, Inventory([Device(device=f"{driver}:x", driver=driver)]), store, None)
    session = LineSession(registry.load(driver), options or {}, "x", lambda sends: None)
    port = SerialPort(section, session, pipeline, clock, store.has_room)
    serving = asyncio.create_task(port.run())
    made = Line(wire, port, serving)
    made.plug()
    pipeline.on_event.append(made.events.append)
    try:
        yield made
    finally:
        tasks = (serving, made.running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(store.close(), 5)
