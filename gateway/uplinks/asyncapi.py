"""The contract as documents, generated from the types: JSON Schemas of every message, and an AsyncAPI 3 description of the topics."""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.events import EventDocument
from drivers.vocabulary import OCCURRENCES, QUANTITIES, VERBS, Lane
from gateway import __version__
from gateway.uplinks.envelope import CONTRACT, DATA_SCHEMA
from gateway.uplinks.messages import Ack, Answer, Birth, CommandData, Desired, Gone, Health, RegistryChunk, Reported
from protocols.cloud.cloudevents import CONTENT_TYPE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"
_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "format": "date-time"}
_MESSAGES: dict[str, Any] = {
    "event": EventDocument,
    "ack": Ack,
    "gone": Gone,
    "answer": Answer,
    "birth": Birth,
    "health": Health,
    "registry": RegistryChunk,
    "desired": Desired,
    "reported": Reported,
}
NAMES = ("cloudevent", "command", *_MESSAGES)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one message, complete in itself. Raises KeyError for an unknown name."""
    if name == "cloudevent":
        found = _cloudevent()
    elif name == "command":
        found = _command()
    else:
        found = msgspec.json.schema(_MESSAGES[name])
    return {"$schema": DIALECT, "$id": f"urn:anhu:schema:v1:{name}", **found}


def _cloudevent() -> dict[str, Any]:
    """A structured event as it travels: CloudEvents 1.0.2 with our extension attributes."""
    (data,), definitions = msgspec.json.schema_components([EventDocument], ref_template=_REF)
    properties = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": "^[0-9A-HJKMNP-TV-Z]{26}$"},
        "source": {"type": "string", "pattern": r"^/anhu/[A-Za-z0-9_-]{1,64}/gw/[A-Za-z0-9_-]{1,64}/(alarm|state|telemetry)$"},
        "type": {"type": "string", "pattern": r"^cn\.anhu\.(alarm|state|telemetry)\.[a-z0-9_]+\.v1$"},
        "subject": {**_TEXT, "description": "device"},
        "time": {**_TIME, "description": "when it happened"},
        "recordedtime": {**_TIME, "description": "when the gateway received it"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": DATA_SCHEMA},
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$", "description": "contiguous per source and storeepoch"},
        "storeepoch": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "timequality": {"enum": ["device", "received", "corrected", "suspect", "unknown"]},
        "severitynumber": {"type": "integer", "minimum": 0, "maximum": 4},
        "boot": {"type": "integer", "minimum": 0},
        "partitionkey": {**_TEXT, "description": "resident or place (pseudonym)"},
        "causationid": {"type": "string", "description": "id of the event that a rule built on"},
        "replayed": {"type": "boolean"},
        "data": data,
    }
    required = [name for name in properties if name not in ("partitionkey", "causationid")]
    return {"title": "CloudEvent", "type": "object", "properties": properties, "required": required, "$defs": definitions}


def _command() -> dict[str, Any]:
    (data,), definitions = msgspec.json.schema_components([CommandData], ref_template=_REF)
    kinds = "|".join(verb.value for verb in VERBS)
    properties = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$", "description": "idempotency key"},
        "source": _TEXT,
        "type": {"type": "string", "pattern": rf"^cn\.anhu\.cmd\.({kinds})\.v1$"},
        "subject": {"type": "string", "minLength": 1, "maxLength": 128, "description": "device"},
        "expirytime": _TIME,
        "ttlms": {"type": "integer", "minimum": 0, "description": "time to live, counted from arrival"},
        "data": data,
    }
    required = ["specversion", "id", "source", "type"]
    return {"title": "Command", "type": "object", "properties": properties, "required": required, "$defs": definitions}


_CHANNELS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "events",
        "evt/{lane}",
        "send",
        "cloudevent",
        "Events, QoS 1. One lane per topic; order is promised by sequence within source and lane.",
    ),
    ("birth", "birth", "send", "birth", 'Retained, QoS 1. The will on this topic is {"online": false}.'),
    ("registry", "registry", "send", "registry", "A full snapshot in parts after every connect and every assignment."),
    ("health", "health", "send", "health", "Once a minute, QoS 0."),
    ("gone", "gone", "send", "gone", "Numbers that will never come: asked for in vain, or dead letters."),
    ("results", "cmd/res", "send", "answer", "Where commands stand."),
    ("reported", "registry/reported", "send", "reported", "Retained. The version of the assignments in force."),
    ("acknowledgements", "ack", "receive", "ack", "For uplinks with ack = application."),
    ("commands", "cmd/req", "receive", "command", "Requests, QoS 1, never retained."),
    ("desired", "registry/desired", "receive", "desired", "Assignments of devices, for uplinks with assigns = true."),
)


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document. Operations are told from the gateway's side: it sends events and receives commands."""
    parameters = {
        "tenant": {"description": "tenant of the platform"},
        "gateway": {"description": "id of the gateway, [A-Za-z0-9_-]{1,64}"},
    }
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, topic, action, message, text in _CHANNELS:
        own = dict(parameters)
        if "{lane}" in topic:
            own["lane"] = {"enum": [lane.value for lane in Lane], "description": "how urgent"}  # type: ignore[dict-item]  # JSON
        channels[name] = {
            "address": f"{CONTRACT}/{{tenant}}/{{gateway}}/{topic}",
            "description": text,
            "parameters": own,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }
        operations[f"{action}_{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
            "bindings": {"mqtt": {"qos": 0 if name == "health" else 1, "retain": name in ("birth", "reported")}},
        }
    messages = {name: {"name": name, "contentType": _content(name), "payload": schema(name)} for name in NAMES if name != "event"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Anhu upstream contract",
            "version": __version__,
            "description": "What an Anhu gateway sends to a platform and takes from it over MQTT. See docs/upstream.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def vocabulary() -> dict[str, Any]:
    """The closed vocabularies as data: kinds, quantities and verbs with unit, lane, severity and names."""
    return {
        "occurrences": {kind.value: row._asdict() for kind, row in OCCURRENCES.items()},
        "quantities": {quantity.value: row._asdict() for quantity, row in QUANTITIES.items()},
        "verbs": {verb.value: row._asdict() for verb, row in VERBS.items()},
    }


def _content(name: str) -> str:
    return CONTENT_TYPE if name in ("cloudevent", "command") else "application/json"
