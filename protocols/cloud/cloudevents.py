"""CloudEvents 1.0.2, structured JSON: the envelope round an event that is JSON already.

Attributes follow the contract `anhu/v1` (docs/upstream.md). `source` names the lane because `sequence` is contiguous per source.
Extension attributes are lower case and at most 20 characters long, as the specification asks (CloudEvents 1.0.2, "Naming conventions").
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"
SPEC_VERSION = "1.0"
LARGEST_MESSAGE = 64 * 1024
"""Intermediaries must carry this much (CloudEvents 1.0.2, "Size limits"); larger ones may be dropped on the way."""


class Envelope(NamedTuple):
    """The attributes of one event. Times are RFC 3339; `sequence` counts from 1 without gaps per source.

    `boot` counts the starts of the gateway: events of one boot were stamped by one run of its clock.
    """

    id: str
    source: str
    type: str
    subject: str
    time: str
    recordedtime: str
    sequence: int
    storeepoch: str
    timequality: str
    severitynumber: int
    dataschema: str
    partitionkey: str = ""
    causationid: str = ""
    replayed: bool = False
    boot: int = 0


def encode(envelope: Envelope, data: bytes) -> bytes:
    """The whole event as JSON. `data` must be a JSON value. Raises LocalProtocolError above 64 KiB."""
    e = envelope
    quote = _quoted
    parts = [
        f'{{"specversion":"{SPEC_VERSION}","id":{json.dumps(e.id)},"source":{quote(e.source)},"type":{quote(e.type)},"subject":{quote(e.subject)},'
        f'"time":"{e.time}","recordedtime":"{e.recordedtime}","datacontenttype":"application/json","dataschema":{quote(e.dataschema)},'
        f'"sequence":"{e.sequence:020d}","storeepoch":"{e.storeepoch}","timequality":"{e.timequality}","severitynumber":{e.severitynumber},"boot":{e.boot},'
    ]
    if e.partitionkey:
        parts.append(f'"partitionkey":{quote(e.partitionkey)},')
    if e.causationid:
        parts.append(f'"causationid":{json.dumps(e.causationid)},')
    parts.append(f'"replayed":{"true" if e.replayed else "false"},"data":')
    whole = "".join(parts).encode() + data + b"}"
    if len(whole) > LARGEST_MESSAGE:
        raise LocalProtocolError(f"event {e.id} has {len(whole)} bytes, at most {LARGEST_MESSAGE} fit into a message")
    return whole


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Sources, types, devices and persons are few and come with every event."""
    return json.dumps(text)


def decode(message: bytes) -> tuple[dict[str, object], object]:
    """Attributes and data of a structured event. Raises RemoteProtocolError."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(Reason.NOT_OURS, f"JSON expected: {error}", message) from None
    if not isinstance(found, dict):
        raise RemoteProtocolError(Reason.NOT_OURS, f"JSON object expected, got {type(found).__name__}", message)
    if found.get("specversion") != SPEC_VERSION:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"specversion 1.0 expected, got {found.get('specversion')!r:.40}", message)
    for name in ("id", "source", "type"):
        if not isinstance(found.get(name), str) or not found[name]:
            raise RemoteProtocolError(Reason.RANGE, f"{name}: text expected, got {found.get(name)!r:.40}", message)
    data = found.pop("data", None)
    return found, data
