"""The vendor contract: everything that a driver may see of Anhu, and all that it must give.

A driver turns frames of one device, or of one connection, into events. It is a pure state machine: bytes, commands and time
come in as arguments, an `Output` goes out. It opens nothing, reads no clock, logs nothing and never raises on bytes from
outside. The gateway owns sockets, time, storage and acknowledgement.

    class BedScale:
        info = DriverInfo(name="bed_scale", ...)
        def __init__(self, options: Options, device: str | None) -> None: ...
        def receive(self, frame: Frame) -> Output: ...
        def command(self, command: Command, now: Instant) -> Output: ...
        def wake(self, now: Instant) -> Output: ...

`drivers/_template` is a complete one. docs/drivers.md tells how to add and prove it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from drivers.abilities import Framing, Match, Matcher, Stateful, Subscriber
from drivers.events import (
    Acceleration,
    Body,
    Cell,
    CommandResult,
    CommandStatus,
    DeviceHealth,
    Event,
    Explanation,
    LossRange,
    Measurement,
    Occurrence,
    Position,
    ServiceRequest,
    WifiAp,
    evidence_of,
)
from drivers.options import DATUM_OPTION, DriverError, Option, OptionError, Options, read_options
from drivers.vocabulary import (
    OCCURRENCES,
    QUANTITIES,
    VERBS,
    Datum,
    Lane,
    OccurrenceKind,
    Quantity,
    Severity,
    Source,
    State,
    TimeQuality,
    Trust,
    Verb,
)
from protocols.errors import Reason, Reject, RemoteProtocolError

__all__ = [
    "DATUM_OPTION", "OCCURRENCES", "QUANTITIES", "VERBS", "Acceleration", "Advert", "Body", "Cell", "Command", "CommandResult",
    "CommandStatus", "Datum", "DeviceHealth", "Driver", "DriverError", "DriverInfo", "Event", "Explanation", "Frame", "Framing",
    "Instant", "Lane", "LossRange", "Match", "Matcher", "Measurement", "Occurrence", "OccurrenceKind", "Option", "OptionError", "Options",
    "Output", "Position", "Quantity", "Reason", "Reject", "RemoteProtocolError", "Send", "ServiceRequest", "Severity", "Source", "State",
    "Stateful", "Subscriber", "TimeQuality", "Transport", "Trust", "Verb", "WifiAp", "in_range", "read_options",
]  # fmt: skip

CLOCK_AHEAD_MS = 24 * 3600 * 1000
"""A device clock this far ahead of ours is wrong: one future time must not silence everything until it comes."""
EARLIEST_MS = 946771200000
"""2000-01-02: an earlier time is a clock that was never set (1970, 1980, 2000-01-01)."""
DOUBTFUL_MS = 1262304000000
"""2010-01-01: no device of ours is older; an earlier time is a GPS week rollover, or at least doubtful."""
GPS_ROLLOVER_MS = 1024 * 7 * 24 * 3600 * 1000
_DEVICE, _RECEIVED = TimeQuality.DEVICE, TimeQuality.RECEIVED  # looked up once


class Transport(StrEnum):
    """The wires that a driver can live on."""

    TCP = "tcp"
    UDP = "udp"
    MQTT = "mqtt"
    SERIAL = "serial"
    MODBUS = "modbus"
    BLE_ADVERT = "ble_advert"
    BLE_GATT = "ble_gatt"


class Instant(NamedTuple):
    """A moment on both clocks: `ms` UTC epoch milliseconds for stamps, `s` monotonic seconds for waiting."""

    ms: int
    s: float


class Advert(msgspec.Struct, frozen=True, kw_only=True):
    """A BLE advertisement. UUIDs are 128-bit lower case with dashes; `rssi_dbm` None when unknown (BlueZ's -127)."""

    service_data: dict[str, bytes] = {}
    manufacturer_data: dict[int, bytes] = {}
    service_uuids: list[str] = []
    name: str | None = None
    tx_power_dbm: int | None = None
    rssi_dbm: int | None = None
    receiver: str = ""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes as a transport received them: one read of a stream, one datagram, one MQTT payload, one advertisement.

    `received` is the moment of arrival. `topic`, `retained`: MQTT. `address`: MAC of a BLE device, upper case with colons.
    `advert`: the whole advertisement (`data` is then the one service or manufacturer block, where there is just one).
    `characteristic`: 16-bit or 128-bit UUID of a GATT value, lower case. `evidence`: digest of `data`, made when first needed.

    One read of a stream may hold several protocol frames. A driver cuts it and works with `part(raw)`: the same envelope round
    the bytes of one protocol frame, so that the identity of an event does not depend on how the network split the stream.
    """

    data: bytes
    received: Instant
    transport: Transport = Transport.TCP
    peer: str = ""
    topic: str = ""
    retained: bool = False
    address: str = ""
    advert: Advert | None = None
    characteristic: str = ""
    evidence: str = ""

    def part(self, data: bytes) -> Frame:
        """One protocol frame out of this read. A stream has only these fields, and each of its frames pays for the copy."""
        if not (self.topic or self.address or self.characteristic or self.advert):
            return Frame(data=data, received=self.received, transport=self.transport, peer=self.peer, evidence=evidence_of(data))
        return Frame(
            data=data, received=self.received, transport=self.transport, peer=self.peer, topic=self.topic, retained=self.retained,
            address=self.address, advert=self.advert, characteristic=self.characteristic, evidence=evidence_of(data),
        )  # fmt: skip

    def event(self, device: str, body: Body, *, at_ms: int | None = None, ref: str | None = None, trust: Trust = Trust.CLAIMED) -> Event:
        """An event that this frame proves.

        `at_ms` is the device's own time, None where it sends none. One before 2010 is mended where it is a GPS week rollover and
        doubted otherwise; one before 2000-01-02 or more than a day ahead is replaced by the receive time. `time_quality` tells.
        """
        now = self.received[0]
        quality = _DEVICE
        if at_ms is None:
            at_ms, quality = now, _RECEIVED
        elif at_ms < DOUBTFUL_MS or (at_ms > now + CLOCK_AHEAD_MS and now >= DOUBTFUL_MS):
            # Where our own clock was never set (no battery, no network yet) the device's is the better one.
            quality = TimeQuality.SUSPECT
            rolled = at_ms + GPS_ROLLOVER_MS
            if at_ms < DOUBTFUL_MS and now - 30 * CLOCK_AHEAD_MS < rolled <= now + CLOCK_AHEAD_MS:
                at_ms, quality = rolled, TimeQuality.CORRECTED
            elif not EARLIEST_MS <= at_ms < DOUBTFUL_MS:
                at_ms = now
        evidence = self.evidence
        if not evidence:
            evidence = evidence_of(self.topic.encode("utf-8", "replace") + self.data)
            msgspec.structs.force_setattr(self, "evidence", evidence)
        return Event(device=device, at_ms=at_ms, body=body, time_quality=quality, trust=trust, ref=ref, evidence=evidence)


class Send(msgspec.Struct, frozen=True):
    """Bytes for the device. `to`: MQTT topic or GATT characteristic. `op`: `write` (default), for GATT also `connect`,
    `subscribe`, `read`, `disconnect`."""

    data: bytes = b""
    to: str = ""
    op: str = "write"


class Output(msgspec.Struct):
    """What a frame, command or moment gave.

    `replies` go out now (handshakes, polls). `acks` go out only after the events are on disk. `rejects` are bytes that gave
    nothing. `tolerated` are faults of frames that were used all the same (a wrong checksum that the profile allows): counted.
    `device` is the identity that the peer showed, once known: until the gateway has accepted it nothing goes out.
    `wake_s` is the monotonic time at which `wake` wants to be called (the earliest one wins; None = no wish).
    """

    events: list[Event] = []
    replies: list[Send] = []
    acks: list[Send] = []
    rejects: list[Reject] = []
    tolerated: list[Reject] = []
    device: str | None = None
    wake_s: float | None = None

    def add(self, other: Output) -> None:
        """Append another output to this one."""
        self.events += other.events
        self.replies += other.replies
        self.acks += other.acks
        self.rejects += other.rejects
        self.tolerated += other.tolerated
        self.device = other.device or self.device
        if other.wake_s is not None:
            self.wake_s = other.wake_s if self.wake_s is None else min(self.wake_s, other.wake_s)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do. `id` is the idempotency key; `args` fit the row of the verb in `VERBS`."""

    id: str
    verb: Verb
    device: str
    args: dict[str, Any] = {}
    issued_ms: int = 0
    expires_ms: int | None = None
    by: str = ""

    def result(self, status: CommandStatus, now: Instant, detail: str | None = None) -> Event:
        """The event that tells what became of this command."""
        body = CommandResult(command=self.id, verb=self.verb.value, status=status, detail=detail)
        return Event(device=self.device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED)


class DriverInfo(NamedTuple):
    """What a driver is, for tables, checks and discovery.

    `emits` names every quantity, occurrence kind and other body type it can give (`position`, `health`, ...); the conformance
    suite refuses anything else. `commands` are the verbs it takes.
    """

    name: str
    title: str
    vendor: str
    models: tuple[str, ...]
    transports: tuple[Transport, ...]
    emits: tuple[str, ...]
    commands: tuple[Verb, ...] = ()
    options: tuple[Option, ...] = ()
    source: str = ""
    bauds: tuple[int, ...] = ()
    """Bits per second at which such a device speaks on a serial line, the most usual first."""


class Driver(Protocol):
    """The three methods. One instance serves one device, or one connection until the device behind it is known."""

    info: ClassVar[DriverInfo]

    def __init__(self, options: Options, device: str | None) -> None:
        """Check `options` (raise OptionError with every fault); `device` is the id if already known."""

    def receive(self, frame: Frame) -> Output:
        """Events and answers of one frame. Never raises, whatever the bytes."""
        ...

    def command(self, command: Command, now: Instant) -> Output:
        """Bytes that carry out the command, or a FAILED result. A device's later answer comes out of `receive`."""
        ...

    def wake(self, now: Instant) -> Output:
        """Called at or after `wake_s`: time-outs, polls, retries."""
        ...


def in_range(quantity: Quantity, value: float) -> bool:
    """Whether a working device can report this value (row of `QUANTITIES`). NaN and infinities cannot."""
    row = QUANTITIES[quantity]
    return row.low <= value <= row.high
