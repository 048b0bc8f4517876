"""The messages of the contract `anhu/v1` besides the event: `anhu schema` prints their JSON Schemas, docs/upstream.md tells their use.

What comes from a platform is decoded with these types (unknown fields are ignored: a newer platform may say more); what goes up is
encoded from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from drivers.vocabulary import Lane

Sequence = Annotated[int, Meta(ge=0, description="sequence number of a lane, counted from 1")]


class Ack(msgspec.Struct):
    """Platform to gateway, topic `ack`: everything of `lane` up to `upto` has arrived, except `missing` (numbers or [first, last])."""

    lane: Lane
    upto: int
    missing: list[int | tuple[int, int]] = []
    storeepoch: str = ""
    """Where given and not the gateway's, the acknowledgement speaks of another database and is refused."""


class Gone(msgspec.Struct):
    """Gateway to platform, topic `gone`: numbers that will not come: asked for and not to be had (any more), or dead letters."""

    lane: Lane
    ranges: list[tuple[int, int]]
    storeepoch: str


class Birth(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Gateway to platform, retained on topic `birth`; the will on the same topic is `{"online": false}`."""

    online: bool
    gateway: str = ""
    tenant: str = ""
    version: str = ""
    contract: str = ""
    storeepoch: str = ""
    boot: int = 0
    at_ms: int = 0
    devices: int = 0
    registry: RegistryHead | None = None
    sequence: dict[str, int] = {}
    """The highest sequence of each lane at this moment."""


class RegistryHead(msgspec.Struct):
    """Version of the desired settings in force, and hash of the registry as it is."""

    version: int
    hash: str


class DeviceRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One device in a registry snapshot."""

    device: str
    driver: str
    subject: str = ""
    place: str = ""
    role: str = ""
    online: bool | None = None
    last_ms: int | None = None
    battery_percent: float | None = None
    active: list[str] = []
    """Alarm kinds that have begun and not ended."""


class RegistryChunk(msgspec.Struct):
    """Gateway to platform, topic `registry`: part `part` of `parts` of a full snapshot; parts of one snapshot share `hash` and `at_ms`."""

    version: int
    hash: str
    at_ms: int
    part: int
    parts: int
    devices: list[DeviceRow]


class Assignment(msgspec.Struct, omit_defaults=True):
    """What a platform may set of a device; absent fields stay as they are."""

    subject: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")] | None = None
    place: Annotated[str, Meta(max_length=64)] | None = None
    role: Annotated[str, Meta(pattern=r"^[a-z_]{0,32}$")] | None = None
    interval_s: Annotated[float, Meta(gt=0)] | None = None


class Desired(msgspec.Struct):
    """Platform to gateway, topic `registry/desired`: assignments by device, `null` withdraws one. A lower version is ignored."""

    version: Annotated[int, Meta(ge=1, lt=2**53)]
    patch: dict[str, Assignment | None] = {}
    hash: str = ""
    """The registry as the platform knows it; where it differs from the gateway's, a snapshot follows."""


class Reported(msgspec.Struct, omit_defaults=True):
    """Gateway to platform, retained on topic `registry/reported`: the version in force, and what was wrong with a refused one."""

    version: int
    hash: str
    refused: int = 0
    detail: str = ""


class Answer(msgspec.Struct, omit_defaults=True):
    """Gateway to platform, topic `cmd/res`: where a command stands. `correlation` repeats the request's correlation data, base 64."""

    id: str
    verb: str
    status: Literal["accepted", "running", "done", "failed", "expired", "duplicate", "unknown"]
    detail: str | None = None
    correlation: str | None = None


class CommandData(msgspec.Struct):
    """`data` of a command's CloudEvent; the device may also stand in the CloudEvent's `subject`."""

    args: dict[str, Any] = {}
    device: str | None = None


class Health(msgspec.Struct, kw_only=True):
    """Gateway to platform, topic `health`, once a minute: how the gateway itself is."""

    at_ms: int
    uptime_s: float
    rss_mb: float
    store_mb: float
    commit_ms: float | None
    failing: str | None
    waiting: dict[str, int]
    devices: int
    commit_under_way_s: float = 0.0
    """Age of the commit that runs: seconds mean that the disk crawls and devices wait for their acknowledgements."""


__all__ = [
    "Ack", "Answer", "Assignment", "Birth", "CommandData", "Desired", "DeviceRow", "Gone", "Health", "RegistryChunk", "RegistryHead",
    "Reported",
]  # fmt: skip
