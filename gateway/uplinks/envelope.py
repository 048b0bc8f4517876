"""From a stored row to the CloudEvent that goes up (contract `anhu/v1`, docs/upstream.md)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from drivers.vocabulary import OCCURRENCES, Lane
from gateway.store.contract import Row
from protocols.cloud.cloudevents import Envelope, encode

CONTRACT = "anhu/v1"
DATA_SCHEMA = "urn:anhu:schema:v1:event"


class _BodyHead(msgspec.Struct):
    kind: str | None = None
    severity: int | None = None


class _Head(msgspec.Struct):
    """The few fields of a stored event that its envelope repeats."""

    id: str
    device: str
    at: str
    received: str
    time_quality: str
    body: _BodyHead
    subject: str = ""
    cause: str = ""


_decode = msgspec.json.Decoder(_Head).decode
_SEVERITY = {kind.value: int(row.severity) for kind, row in OCCURRENCES.items()}


class Wrapper:
    """Wraps rows for one gateway."""

    def __init__(self, tenant: str, gateway: str, epoch: str, boot_of: Callable[[Lane, int], int] = lambda lane, seq: 0) -> None:
        self.topics = {lane: f"{CONTRACT}/{tenant}/{gateway}/evt/{lane.value}" for lane in Lane}
        self._sources = {lane: f"/anhu/{tenant}/gw/{gateway}/{lane.value}" for lane in Lane}
        self.epoch = epoch
        self._boot_of = boot_of

    def wrap(self, lane: Lane, row: Row, *, replayed: bool) -> tuple[bytes, str, int]:
        """The message, its type and its severity. Raises LocalProtocolError where it is too large."""
        head = _decode(row.data)
        severity = head.body.severity
        if severity is None:
            severity = _SEVERITY.get(head.body.kind or "", 0)
        kind = _type(lane, row.kind)
        envelope = Envelope(
            head.id,
            self._sources[lane],
            kind,
            head.device,
            head.at,
            head.received,
            row.seq,
            self.epoch,
            head.time_quality,
            severity,
            DATA_SCHEMA,
            head.subject,
            head.cause,
            replayed,
            self._boot_of(lane, row.seq),
        )
        return encode(envelope, row.data), kind, severity


@lru_cache(maxsize=1024)
def _type(lane: Lane, kind: str) -> str:
    return f"cn.anhu.{lane.value}.{kind}.v1"
