"""What the gateway's tests build again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from drivers.api import Event, Occurrence, OccurrenceKind
from drivers.events import seal
from drivers.vocabulary import State
from gateway.settings import StoreSection
from gateway.store.sqlite import SqliteStore


@asynccontextmanager
async def opened(path: Path, **settings: float) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path / "anhu.db", StoreSection(**settings))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


def events(count: int, kind: OccurrenceKind = OccurrenceKind.DOOR_OPEN, device: str = "watch:1", start: int = 0) -> list[Event]:
    made = [
        Event(device=device, at_ms=1795336215000 + start + i, body=Occurrence(kind=kind, state=State.START), evidence=f"{start + i:016x}")
        for i in range(count)
    ]
    return seal(made, received_ms=1795336215000)
