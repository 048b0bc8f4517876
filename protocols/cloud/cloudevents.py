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
    # Unpacked at once: fifteen look-ups by name cost more than the text itself.
    (
        ident, source, kind, subject, time, recorded, sequence, epoch, quality, severity, schema, key, cause, replayed, boot,
    ) = envelope  # fmt: skip
    content, rest = _setting(schema, epoch, key, boot)
    quoted = f'"{ident}"' if ident.isascii() and ident.isalnum() else json.dumps(ident)
    about = _about(source, kind, subject)
    caused = f'"causationid":{json.dumps(cause)},' if cause else ""
    whole = (
        f'{{"specversion":"{SPEC_VERSION}","id":{quoted},{about}"time":"{time}","recordedtime":"{recorded}",{content}'
        f'"sequence":"{sequence:020d}","timequality":"{quality}","severitynumber":{severity},{rest}'
        f'{caused}"replayed":{"true" if replayed else "false"},"data":'
    ).encode()
    size = len(whole) + len(data) + 1
    if size > LARGEST_MESSAGE:
        raise LocalProtocolError(f"event {ident} has {size} bytes, at most {LARGEST_MESSAGE} fit into a message")
    return b"%b%b}" % (whole, data)


# Sources, types, devices and persons are few and come again and again.
@lru_cache(maxsize=4096)
def _about(source: str, kind: str, subject: str) -> str:
    return f'"source":{json.dumps(source)},"type":{json.dumps(kind)},"subject":{json.dumps(subject)},'


@lru_cache(maxsize=4096)
def _setting(schema: str, epoch: str, key: str, boot: int) -> tuple[str, str]:
    rest = f'"storeepoch":"{epoch}","boot":{boot},' + (f'"partitionkey":{json.dumps(key)},' if key else "")
    return f'"datacontenttype":"application/json","dataschema":{json.dumps(schema)},', rest


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
