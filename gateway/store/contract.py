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


class WayBack(NamedTuple):
    """Where a platform wants the answers to a command besides its own topic: response topic and correlation data of MQTT 5."""

    response_topic: str = ""
    correlation: bytes = b""


class CommandRow(NamedTuple):
    """A command, where it stands, and its way back (see `WayBack`)."""

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
    response_topic: str = ""
    correlation: bytes = b""


class Trim(NamedTuple):
    """Rows that leave the database: sequences `first`..`last` of a lane. Never the newest of a lane."""

    lane: Lane
    first: int
    last: int


class Shed(NamedTuple):
    """What a cap took before every uplink had it; told later as one `loss` event. `number` of `first`..`last` were undelivered."""

    lane: Lane
    first: int
    last: int
    number: int
    reason: str
    since_ms: int


class Dead(NamedTuple):
    """An event that a platform refused for good."""

    uplink: str
    lane: Lane
    seq: int
    at_ms: int
    status: str
    data: bytes


class Stage(NamedTuple):
    """An alarm has passed a stage of its way."""

    id: str
    stage: str
    at_ms: int


class Batch(msgspec.Struct):
    """What is committed together. `urgent`: holds an alarm or a command, commit at once.

    `trims` and `sheds` belong to retention: rows that go, and the open loss ranges that this leaves; `told` are lanes whose range has
    become a `loss` event of this very batch; `quarantine_trim` oldest refused frames go. `revived` are dead letters (uplink, lane, seq)
    that are sent again and no longer dead.
    """

    events: list[Event] = []
    refused: list[Refused] = []
    discovered: list[Discovered] = []
    driver_states: list[tuple[str, bytes]] = []
    rule_states: list[tuple[str, str, bytes | None]] = []
    commands: list[CommandRow] = []
    trims: list[Trim] = []
    sheds: list[Shed] = []
    told: list[Lane] = []
    quarantine_trim: int = 0
    dead: list[Dead] = []
    revived: list[tuple[str, Lane, int]] = []
    desired: list[tuple[int, str, str, int]] = []
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
            + len(self.trims)
            + len(self.sheds)
            + len(self.told)
            + (self.quarantine_trim > 0)
            + len(self.dead)
            + len(self.revived)
            + len(self.desired)
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

    def low(self, lane: Lane) -> int:
        """The lowest sequence of a lane that is still there."""
        ...

    def boot_of(self, lane: Lane, seq: int) -> int:
        """The number of the boot in which a row was written."""
        ...

    def note(self, stages: list[Stage]) -> None:
        """Note when alarms passed a stage; written with the next commit, or within a second."""
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
