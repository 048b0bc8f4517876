"""The normalized event: one envelope, a few body shapes, closed vocabularies.

A driver makes an `Event` with device, time and body (see `Frame.event`). The gateway seals it: identity, receive time,
evidence, person. Nothing is ever merged or edited afterwards.

Identity. `seal` derives the id from device, time, body and evidence (digest of the frame), or from the device's own message
id (`ref`) where it has one; `ordinal` tells apart the events of one frame. A frame that a device repeats after a crash makes
the same id, so every later stage may drop the double; two different happenings in one millisecond have different bodies or
frames and stay two. The id is shaped like a ULID: 10 characters of time, 16 of hash, Crockford base 32.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from drivers.vocabulary import (
    OCCURRENCES,
    QUANTITIES,
    Datum,
    Lane,
    OccurrenceKind,
    Quantity,
    Severity,
    Source,
    State,
    TimeQuality,
    Trust,
)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
_TAIL = (1 << 80) - 1


def _shown(value: Any) -> Any:
    """A default that is written into the JSON all the same (a factory is never omitted)."""
    return msgspec.field(default_factory=lambda: value)


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """A mobile cell that the device heard; `cid` is the cell id, `rssi_dbm` negative."""

    mcc: int | None
    mnc: int | None
    lac: int
    cid: int
    rssi_dbm: int | None = None


class WifiAp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Wi-Fi access point that the device heard; `mac` is lower case with colons."""

    mac: str
    rssi_dbm: int | None = None
    ssid: str | None = None


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="position"):
    """A place, or what is known for finding one.

    `lat`, `lon` in degrees of `datum` (None: only cells, access points or a beacon are known). `valid` False: the device repeats
    its last fix. `stored`: recorded while offline, must never move the live place. `place`: name of a known beacon or fence.
    """

    lat: float | None = None
    lon: float | None = None
    datum: Datum = _shown(Datum.WGS84)
    source: Source = _shown(Source.GNSS)
    valid: bool = _shown(True)
    accuracy_m: float | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    altitude_m: float | None = None
    satellites: int | None = None
    hdop: float | None = None
    stored: bool = _shown(False)
    cells: list[Cell] | None = None
    wifi: list[WifiAp] | None = None
    beacon: str | None = None
    place: str | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="measurement"):
    """A number with the unit of its quantity. `channel` tells apart several of one device (endpoint, zone, user slot)."""

    quantity: Quantity
    value: float
    unit: str = _shown("")
    channel: str | None = None
    stored: bool = False

    def __post_init__(self) -> None:
        if not self.unit:
            msgspec.structs.force_setattr(self, "unit", QUANTITIES[self.quantity].unit)


class LossRange(msgspec.Struct, frozen=True, kw_only=True):
    """What a cap, a full disk or a corruption took: sequence numbers `first`..`last` of `lane`."""

    lane: Lane
    first: int
    last: int
    count: int
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a rule spoke: its name, the settings in force, the ids of the events it used, the numbers it compared."""

    rule: str
    settings: dict[str, str] | None = None
    inputs: list[str] | None = None
    numbers: dict[str, float] | None = None


class Occurrence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="occurrence"):
    """Something that happened (PULSE) or began and ended (START, END).

    `severity` only where it differs from the row of the kind. `stored`: recorded while offline and delivered late.
    `place`: room, zone or fence. `detail`: short text for people. `person`: who (staff badge of a visit, caller).
    `incident`: id of the incident that a rule counts it to.
    """

    kind: OccurrenceKind
    state: State = _shown(State.PULSE)
    severity: Severity | None = None
    place: str | None = None
    detail: str | None = None
    person: str | None = None
    stored: bool = False
    incident: str | None = None
    lost: LossRange | None = None
    explain: Explanation | None = None


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="health"):
    """How the device itself is. `signal` in percent of its own scale, `rssi_dbm` where it reports dBm."""

    battery_percent: float | None = None
    battery_level: int | None = None
    battery_mv: int | None = None
    battery_low: bool | None = None
    charging: bool | None = None
    external_power: bool | None = None
    signal: float | None = None
    rssi_dbm: int | None = None
    online: bool | None = None
    firmware: str | None = None
    hardware: str | None = None
    model: str | None = None
    serial: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    uptime_s: int | None = None
    parameters: dict[str, str] | None = None


class ServiceRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="service_request"):
    """An item of the service catalogue asked for by a remote or phone key."""

    item: str
    detail: str | None = None
    number: str | None = None


class CommandStatus(StrEnum):
    """Where a command stands."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class CommandResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="command_result"):
    """What became of a command; `command` is its id, `detail` the device's own words or the reason."""

    command: str
    verb: str
    status: CommandStatus
    detail: str | None = None


class Acceleration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="acceleration"):
    """A block of raw accelerometer samples for the fall detector.

    `samples` is x, y, z, x, y, z, ... in milli-g; `first` numbers the first sample, so that a gap shows; `hz` nominal rate.
    """

    hz: float
    first: int
    samples: list[int]
    range_g: float = 16.0
    place: str = "wrist"


Body = Position | Measurement | Occurrence | DeviceHealth | ServiceRequest | CommandResult | Acceleration


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing that a device reported or a rule concluded. Times are UTC epoch milliseconds."""

    device: str
    at_ms: int
    body: Body
    id: str = ""
    subject: str | None = None
    received_ms: int = 0
    time_quality: TimeQuality = TimeQuality.DEVICE
    trust: Trust = Trust.CLAIMED
    evidence: str | None = None
    cause: str | None = None
    ref: str | None = None

    @property
    def lane(self) -> Lane:
        """Which lane the body travels in."""
        return lane_of(self.body)

    @property
    def severity(self) -> Severity:
        """Severity of an occurrence, INFO for everything else."""
        body = self.body
        if type(body) is not Occurrence:
            return Severity.INFO
        return body.severity if body.severity is not None else OCCURRENCES[body.kind].severity


class EventDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The event as JSON, for people and platforms: times as RFC 3339 UTC with milliseconds, absent fields left out."""

    id: str
    device: str
    at: str
    received: str
    time_quality: TimeQuality
    lane: Lane
    trust: Trust
    body: Body
    subject: str | None = None
    cause: str | None = None
    evidence: str | None = None
    ref: str | None = None


def lane_of(body: Body) -> Lane:
    """The lane of a body: the row of its kind for occurrences (the end of an alarm travels with its alarm).

    >>> lane_of(Occurrence(kind=OccurrenceKind.SOS)).value
    'alarm'
    """
    kind = type(body)
    if kind is Occurrence:
        return OCCURRENCES[body.kind].lane  # type: ignore[union-attr]  # the type test above is the fast form of isinstance
    if kind is Measurement:
        return QUANTITIES[body.quantity].lane  # type: ignore[union-attr]  # as above
    if kind is Position or kind is Acceleration:
        return Lane.TELEMETRY
    return Lane.STATE


_RECEIVED = TimeQuality.RECEIVED
_encode_body = msgspec.json.Encoder().encode
_pack_body = msgspec.msgpack.Encoder().encode


def seal(events: list[Event], *, received_ms: int, subject_of: Callable[[str], str | None] | None = None) -> list[Event]:
    """The events of one output with their identity, receive time and person. Already sealed ones (with an id) stay as they are."""
    out = []
    ordinals: dict[object, int] = {}
    for event in events:
        if event.id:
            out.append(event)
            continue
        # A frame that says when it happened is the same happening as often as one read holds it, so each instance of it (its evidence is
        # an object of its own) counts anew. One that does not say it may be a second press of the button: those are counted on.
        is_undated = event.time_quality is _RECEIVED and event.ref is None
        key = event.evidence if is_undated else id(event.evidence)
        ordinal = ordinals.get(key, 0)
        ordinals[key] = ordinal + 1
        subject = event.subject or (subject_of(event.device) if subject_of else None)
        out.append(
            Event(
                device=event.device,
                at_ms=event.at_ms,
                body=event.body,
                id=event_id(event, ordinal),
                subject=subject,
                received_ms=event.received_ms or received_ms,
                time_quality=event.time_quality,
                trust=event.trust,
                evidence=event.evidence,
                cause=event.cause,
                ref=event.ref,
            )
        )
    return out


def event_id(event: Event, ordinal: int = 0) -> str:
    """26 characters, the same for the same happening however often it is received (see the module text)."""
    body = _pack_body(event.body)
    if event.ref is not None:
        # The device numbers its messages itself: neither time nor bytes of a repetition need be equal.
        seed = f"{event.device}|ref|{event.ref}|{ordinal}|".encode()
        whole = int.from_bytes(blake2b(seed + body, digest_size=16).digest(), "big")
        tail = whole & _TAIL
        head = whole >> 80
        p = _PAIRS
        return (
            f"{p[head >> 40]}{p[head >> 30 & 1023]}{p[head >> 20 & 1023]}{p[head >> 10 & 1023]}{p[head & 1023]}"
            f"{p[tail >> 70]}{p[tail >> 60 & 1023]}{p[tail >> 50 & 1023]}{p[tail >> 40 & 1023]}"
            f"{p[tail >> 30 & 1023]}{p[tail >> 20 & 1023]}{p[tail >> 10 & 1023]}{p[tail & 1023]}"
        )
    seed = f"{event.device}|{event.at_ms}|{event.evidence or ''}|{event.cause or ''}|{ordinal}|".encode()
    tail = int.from_bytes(blake2b(seed + body, digest_size=10).digest(), "big")
    # Base 32 as in `_base32`, written out: each event pays it.
    p = _PAIRS
    return (
        f"{_stamp(event.at_ms)}{p[tail >> 70]}{p[tail >> 60 & 1023]}{p[tail >> 50 & 1023]}{p[tail >> 40 & 1023]}"
        f"{p[tail >> 30 & 1023]}{p[tail >> 20 & 1023]}{p[tail >> 10 & 1023]}{p[tail & 1023]}"
    )


@lru_cache(maxsize=1024)
def _stamp(at_ms: int) -> str:
    return _base32(max(at_ms, 0) & (1 << 48) - 1, 10)


def evidence_of(data: bytes) -> str:
    """16 hex digits that stand for a frame: equal frames, equal evidence."""
    return blake2b(data, digest_size=8).hexdigest()


def document(event: Event) -> EventDocument:
    """The event as it is shown and sent."""
    return EventDocument(
        id=event.id,
        device=event.device,
        subject=event.subject,
        at=rfc3339(event.at_ms),
        received=rfc3339(event.received_ms),
        time_quality=event.time_quality,
        lane=event.lane,
        trust=event.trust,
        cause=event.cause,
        evidence=event.evidence,
        ref=event.ref,
        body=event.body,
    )


_document_decoder = msgspec.json.Decoder(EventDocument)


def event_json(event: Event) -> bytes:
    """One line of JSON, equal to the encoded `document` (a test holds them together); written by hand because each event pays it."""
    body = event.body
    rest = "" if event.subject is None else f',"subject":{_quoted(event.subject)}'
    if event.cause is not None:
        rest += f',"cause":{_quoted(event.cause)}'
    if event.evidence is not None:
        rest += f',"evidence":"{event.evidence}"'
    if event.ref is not None:
        rest += f',"ref":{_encode_body(event.ref).decode()}'
    return (
        f'{{"id":"{event.id}","device":{_quoted(event.device)},"at":"{rfc3339(event.at_ms)}","received":"{_received(event.received_ms)}",'
        f'"time_quality":"{event.time_quality._value_}","lane":"{lane_of(body)._value_}","trust":"{event.trust._value_}",'
        f'"body":{_encode_body(body).decode()}{rest}}}'
    ).encode()


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return _encode_body(text).decode()


def event_from_json(data: bytes | str) -> Event:
    """The event of a JSON document. Raises msgspec.ValidationError with the path of what is wrong."""
    doc = _document_decoder.decode(data)
    return Event(
        device=doc.device,
        at_ms=epoch_ms(doc.at),
        body=doc.body,
        id=doc.id,
        subject=doc.subject,
        received_ms=epoch_ms(doc.received),
        time_quality=doc.time_quality,
        trust=doc.trust,
        evidence=doc.evidence,
        cause=doc.cause,
        ref=doc.ref,
    )


_LAST_DATETIME_MS = 253402300799999


@lru_cache(maxsize=1024)
def _calendar(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds; out of the calendar's range is clipped to its ends.

    >>> rfc3339(1795336212000)
    '2026-11-22T08:30:12.000Z'
    """
    if not 0 <= at_ms <= _LAST_DATETIME_MS:
        at_ms = min(max(at_ms, 0), _LAST_DATETIME_MS)
    return f"{_calendar(at_ms // 1000)}.{at_ms % 1000:03d}Z"


_received = lru_cache(maxsize=256)(rfc3339)
"""A batch is received at one moment: its text is made once."""


def epoch_ms(text: str) -> int:
    """Milliseconds of an RFC 3339 time. Raises ValueError; a time without a zone is refused.

    >>> epoch_ms("2026-11-22T16:30:12+08:00")
    1795336212000
    """
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(f"time zone expected, got {text!r}")
    return round(stamp.timestamp() * 1000)


def _base32(value: int, length: int) -> str:
    """`length` (even) characters, most significant first."""
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(5 * length - 10, -1, -10)])
