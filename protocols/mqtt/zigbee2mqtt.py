"""zigbee2mqtt: topics, the list of devices with what each of them exposes, and payloads in both directions.

    <base>/<name>                 state of a device, JSON object; names may hold slashes
    <base>/<name>/availability    {"state": "online"} or plain text
    <base>/<name>/set, /get       commands (of ours or of others)
    <base>/bridge/devices         retained list of devices, each with `definition.exposes`
    <base>/bridge/groups, /state, /event, /response/..., /logging, /info

An expose node has `type` (binary, numeric, enum, text, composite, list; or switch, light, lock, ... with `features`), `name`,
`property` (the key in the state; holds the endpoint), `access` (bits: 1 published, 2 settable, 4 gettable), `category`, `unit`,
`values`, `value_on`, `value_off`. Source: zigbee2mqtt 2 documentation, "exposes" and "MQTT topics and messages".
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from protocols.errors import Reason, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, load_json

DEVICES_LIMIT = 8 * 1024 * 1024
"""Bytes of bridge/devices: 200 devices make about 1 MB."""
NODES_LIMIT = 2000
DEPTH_LIMIT = 12
PUBLISHED, SETTABLE, GETTABLE = 1, 2, 4
_COMPOSITES = ("composite", "list")


class Topic(NamedTuple):
    """`kind` is device, availability, command, attribute, foreign, or `bridge/...` with the rest of the topic."""

    kind: str
    name: str
    attribute: str = ""


class Property(NamedTuple):
    """One leaf of the exposes. `path` is where its value stands in the state; `name` is without endpoint."""

    path: tuple[str, ...]
    name: str
    kind: str
    access: int
    endpoint: str
    unit: str
    values: tuple[str, ...]
    value_on: Any
    value_off: Any
    category: str
    parent: str

    @property
    def is_signal(self) -> bool:
        """Whether the device tells something by it: published, and no setting."""
        return bool(self.access & PUBLISHED) and self.category != "config"


class Definition(NamedTuple):
    """A device as the bridge knows it; `leaves` in the order of the exposes."""

    ieee: str
    name: str
    kind: str
    model: str
    vendor: str
    description: str
    firmware: str
    leaves: tuple[Property, ...]

    @property
    def properties(self) -> list[str]:
        """Keys of the state, sorted."""
        return sorted({leaf.path[0] for leaf in self.leaves})


def read_topic(topic: str, base: str, known: Any = ()) -> Topic:
    """What a topic is about. `known` are the names of devices (a name may look like a command topic)."""
    if not topic.startswith(base + "/"):
        return Topic("foreign", "")
    rest = topic[len(base) + 1 :]
    if rest.startswith("bridge/"):
        return Topic(rest, "")
    if rest in known:
        return Topic("device", rest)
    name, _, last = rest.rpartition("/")
    if name:
        if last == "availability":
            return Topic("availability", name)
        if last in ("set", "get"):
            return Topic("command", name)
        before, _, verb = name.rpartition("/")
        if before and verb in ("set", "get"):
            return Topic("command", before)
        if name in known:
            return Topic("attribute", name, last)
    return Topic("device", rest)


def read_devices(data: bytes) -> list[Definition]:
    """Every device of a bridge/devices payload; what is malformed in one costs that one. Raises RemoteProtocolError."""
    found = load_json(data, DEVICES_LIMIT)
    if not isinstance(found, list):
        raise RemoteProtocolError(Reason.NOT_OURS, f"list of devices expected, got {type(found).__name__}", data)
    return [device for entry in found if isinstance(entry, dict) and (device := _definition(entry))]


def read_groups(data: bytes) -> list[str]:
    """Names of the groups of a bridge/groups payload. Raises RemoteProtocolError."""
    found = load_json(data, DEVICES_LIMIT)
    if not isinstance(found, list):
        raise RemoteProtocolError(Reason.NOT_OURS, f"list of groups expected, got {type(found).__name__}", data)
    return [entry["friendly_name"] for entry in found if isinstance(entry, dict) and isinstance(entry.get("friendly_name"), str)]


def read_online(data: bytes) -> bool | None:
    """`{"state": "online"}` or plain `online`; None where it is neither word."""
    text = data.strip()
    if text.startswith(b"{"):
        found = load_json(data)
        text = str(found.get("state", "")).encode("utf-8", "replace") if isinstance(found, dict) else b""
    return {b"online": True, b"offline": False}.get(text.lower())


def encode(value: Any) -> bytes:
    """A payload in either direction."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_binary(name: str, value_on: Any = True, value_off: Any = False, access: int = PUBLISHED) -> dict[str, Any]:
    """A binary expose, for simulators and tests."""
    return {"type": "binary", "name": name, "property": name, "access": access, "value_on": value_on, "value_off": value_off}


def encode_device(name: str, exposes: list[dict[str, Any]], *, ieee: str = "0x0", model: str = "", vendor: str = "") -> dict[str, Any]:
    """An entry of bridge/devices, for simulators and tests."""
    definition = {"model": model, "vendor": vendor, "description": "", "exposes": exposes, "options": []}
    return {"ieee_address": ieee, "friendly_name": name, "type": "EndDevice", "supported": True, "definition": definition}


def _definition(entry: dict[str, Any]) -> Definition | None:
    name = entry.get("friendly_name")
    if not isinstance(name, str) or entry.get("type") == "Coordinator":
        return None
    known = entry.get("definition")
    known = known if isinstance(known, dict) else {}
    return Definition(
        ieee=clean_text(entry.get("ieee_address", ""), 40),
        name=name,
        kind=clean_text(entry.get("type", ""), 40),
        model=clean_text(known.get("model") or entry.get("model_id", ""), 80),
        vendor=clean_text(known.get("vendor") or entry.get("manufacturer", ""), 80),
        description=clean_text(known.get("description", ""), 200),
        firmware=clean_text(entry.get("software_build_id", ""), 80),
        leaves=tuple(_leaves(known.get("exposes"))),
    )


def _leaves(exposes: Any) -> list[Property]:
    """The leaves of a tree of exposes, walked with a stack: depth and number are bounded, odd nodes are left out."""
    found: list[Property] = []
    if not isinstance(exposes, list):
        return found
    stack: list[tuple[Any, tuple[str, ...], str, int]] = [(node, (), "", 0) for node in reversed(exposes[:NODES_LIMIT])]
    visited = 0
    while stack and visited < NODES_LIMIT:
        node, path, parent, depth = stack.pop()
        visited += 1
        if not isinstance(node, dict) or depth > DEPTH_LIMIT:
            continue
        kind, prop, features = node.get("type"), node.get("property"), node.get("features")
        if isinstance(features, list):
            # A composite nests its features in the state; a switch or lock does not.
            below = (*path, prop) if kind in _COMPOSITES and isinstance(prop, str) else path
            stack += [(feature, below, str(kind), depth + 1) for feature in reversed(features[:NODES_LIMIT])]
        if isinstance(prop, str) and isinstance(kind, str):
            found.append(_property(node, (*path, prop), kind, parent))
    return found


def _property(node: dict[str, Any], path: tuple[str, ...], kind: str, parent: str) -> Property:
    access, values = node.get("access"), node.get("values")
    endpoint = node.get("endpoint")
    name = node.get("name") if isinstance(node.get("name"), str) else path[-1]
    return Property(
        path=path,
        name=str(name),
        kind=kind,
        # Without access bits a node is taken as published: a signal must not be lost by an omission.
        access=access if isinstance(access, int) else PUBLISHED,
        endpoint=str(endpoint) if isinstance(endpoint, str | int) else "",
        unit=str(node.get("unit", "")),
        values=tuple(str(value) for value in values[:200]) if isinstance(values, list) else (),
        value_on=node.get("value_on", True),
        value_off=node.get("value_off", False),
        category=str(node.get("category", "")),
        parent=parent,
    )
