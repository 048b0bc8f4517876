"""What a store takes and gives. One contract suite (tests/contracts/store.py) runs over every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from drivers.events import Event
from drivers.vocabulary import Lane

LANES = (Lane.ALARM, Lane.STATE, Lane.TELEMETRY)


class Row(NamedTuple):
    """A committed event. `data` is its JSON, `kind` the kind, quantity or body type, `at_ms` when it happened."""

    seq: int
    at_ms: int
    received_ms: int
    kind: str
    data: bytes

    @property
    def id(self) -> str:
        """The event's id: `data` always begins with it."""
        return self.data[7:33].decode("ascii")


class Refused(NamedTuple):
    """A frame for the quarantine."""

    received_ms: int
    driver: str
    device: str | None
    peer: str
    topic: str
    reason: str
    detail: str
    frame: bytes


class Discovered(NamedTuple):
    """A device that spoke and is not known."""

    device: str
    driver: str
    peer: str
    seen_ms: int


class CommandRow(NamedTuple):
    """A command and where it stands."""

    id: str
    uplink: str
    verb: str
    device: str
    args: str
    received_ms: int
    expires_ms: int | None
    status: str
    detail: str | None
    updated_ms: int


class Batch(msgspec.Struct):
    """What is committed together. `urgent`: holds an alarm or a command, commit at once."""

    events: list[Event] = []
    refused: list[Refused] = []
    discovered: list[Discovered] = []
    driver_states: list[tuple[str, bytes]] = []
    rule_states: list[tuple[str, str, bytes | None]] = []
    commands: list[CommandRow] = []
    urgent: bool = False

    @property
    def rows(self) -> int:
        """Rows that this batch writes."""
        return (
            len(self.events)
            + len(self.refused)
            + len(self.discovered)
            + len(self.driver_states)
            + len(self.rule_states)
            + len(self.commands)
        )


class Cursor(msgspec.Struct):
    """How far an uplink has been served in a lane: `missing` ranges below `next` are not delivered yet."""

    next: int
    missing: list[tuple[int, int]] = []


class Store(Protocol):
    """The durability point of the gateway."""

    epoch: str
    boot: int

    def append(self, batch: Batch) -> asyncio.Future[None]:
        """Resolves once the batch is on disk (fsync). Never fails while the process lives: a full disk is waited for."""
        ...

    def high(self, lane: Lane) -> int:
        """The highest committed sequence of a lane; 0 when empty."""
        ...

    async def read(self, lane: Lane, first: int, last: int, limit: int) -> list[Row]:
        """Committed rows `first..last` in order, at most `limit`."""
        ...

    def cursor(self, uplink: str, lane: Lane) -> Cursor:
        """How far an uplink has been served; a new uplink begins at the oldest row."""
        ...

    def settle(self, uplink: str, lane: Lane, cursor: Cursor) -> None:
        """Note how far an uplink has been served; written with the next commit."""
        ...

    def subscribe(self, on_commit: Callable[[], None]) -> Callable[[], None]:
        """Be called after each commit that added events; the result ends it."""
        ...
