"""Home Assistant MQTT discovery: configuration messages and the few value templates that need no template engine.

    <prefix>/<component>/[<node>/]<object>/config    one entity
    <prefix>/device/<object>/config                  one device, its entities in `components` (`cmps`)

An empty payload removes. Keys may be abbreviated, `~` stands for a common part of topics. Templates are read when they are a chain
like `{{ value_json.a['b'][0] | float | round(1) }}`; all others need an expert and are refused by name.

Source: Home Assistant documentation, "MQTT / MQTT discovery" and the list of supported abbreviations.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from protocols.errors import Reason, RemoteProtocolError
from protocols.mqtt.json_path import MISSING, Path, clean_text, load_json, load_object, number, word

CONFIG_LIMIT = 256 * 1024
ENTITIES_LIMIT = 300
"""Entities of one device message; a big one has some tens."""

ABBREVIATIONS = {
    "avty": "availability", "avty_t": "availability_topic", "avty_mode": "availability_mode", "avty_tpl": "availability_template",
    "cmd_t": "command_topic", "cmps": "components", "dev": "device", "dev_cla": "device_class", "e": "enabled_by_default",
    "ent_cat": "entity_category", "evt_typ": "event_types", "json_attr_t": "json_attributes_topic", "o": "origin", "obj_id": "object_id",
    "off_dly": "off_delay", "ops": "options", "p": "platform", "pl": "payload", "pl_avail": "payload_available", "pl_cls": "payload_close",
    "pl_not_avail": "payload_not_available", "pl_off": "payload_off", "pl_on": "payload_on", "pl_open": "payload_open",
    "stat_cla": "state_class", "stat_clsd": "state_closed", "stat_off": "state_off", "stat_on": "state_on", "stat_open": "state_open",
    "stat_t": "state_topic", "stype": "subtype", "t": "topic", "atype": "automation_type", "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template", "exp_aft": "expire_after",
}  # fmt: skip
DEVICE_ABBREVIATIONS = {
    "ids": "identifiers", "cns": "connections", "mf": "manufacturer", "mdl": "model", "mdl_id": "model_id", "hw": "hw_version",
    "sw": "sw_version", "sn": "serial_number", "sa": "suggested_area", "cu": "configuration_url",
}  # fmt: skip
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TEMPLATE = re.compile(r"\{\{-?\s*(value_json|value)((?:\.[A-Za-z_]\w*|\[\s*'[^'\]]*'\s*\]|\[\s*\"[^\"\]]*\"\s*\]|\[\s*-?\d+\s*\])*)\s*"
                       r"((?:\|\s*(?:int|float|round|lower)\s*(?:\(\s*[-\d.]*\s*\))?\s*)*)-?\}\}")  # fmt: skip
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[\s*'([^'\]]*)'\s*\]|\[\s*\"([^\"\]]*)\"\s*\]|\[\s*(-?\d+)\s*\]")
_FILTER = re.compile(r"\|\s*(int|float|round|lower)\s*(?:\(\s*([-\d.]*)\s*\))?")


class Template:
    """A compiled value template. Raises RemoteProtocolError (UNSUPPORTED) on one that needs an expert."""

    __slots__ = ("_filters", "_path", "is_json", "path", "text")

    def __init__(self, text: str) -> None:
        found = _TEMPLATE.fullmatch(text.strip()) if len(text) < 500 else None
        if found is None or (found[1] == "value" and found[2]):
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"value_template needs an expert: {clean_text(text, 120)!r}")
        steps = [(a or b or c, d) for a, b, c, d in _STEP.findall(found[2])]
        self.text = text
        self.is_json = found[1] == "value_json"
        self.path: list[str | int] = [int(index) if index else name for name, index in steps]
        self._path = Path("$" + "".join(f"[{part}]" if isinstance(part, int) else f'."{part}"' for part in self.path))
        self._filters = _FILTER.findall(found[3])

    def render(self, data: bytes, loaded: Any = MISSING) -> Any:
        """The value that the template picks out of a payload; MISSING where there is none. Raises RemoteProtocolError."""
        value: Any = data.decode("utf-8", "replace")
        if self.is_json:
            value = self._path.find(load_json(data) if loaded is MISSING else loaded)
        for name, argument in self._filters:
            value = _filtered(name, argument, value)
        return value


def _filtered(name: str, argument: str, value: Any) -> Any:
    if value is MISSING or value is None:
        return value
    if name == "lower":
        return word(value)
    found = number(value)
    if found is None:
        return number(argument) if argument and name != "round" else MISSING
    if name == "round":
        return round(found, int(number(argument) or 0) if argument else 0)
    return int(found) if name == "int" else found


class Availability(NamedTuple):
    """A topic that tells whether something is there."""

    topic: str
    online: str
    offline: str
    template: Template | None


class Entity(NamedTuple):
    """One entity. `key` is the topic of its configuration (with the name of the component in the device form)."""

    key: str
    component: str
    object_id: str
    node: str | None
    unique_id: str | None
    name: str
    device_id: str
    device: dict[str, str]
    device_class: str
    unit: str
    category: str
    state_topic: str
    command_topic: str
    template: Template | None
    on: str
    off: str
    event_types: tuple[str, ...]
    trigger: str
    availability: tuple[Availability, ...]
    origin: str

    @property
    def words(self) -> frozenset[str]:
        """Lower-case words of its names, for what device classes cannot say (fall, SOS)."""
        return frozenset(re.split(r"[^a-z0-9]+", f"{self.object_id} {self.unique_id or ''} {self.name} {self.trigger}".lower()))


class Config(NamedTuple):
    """What one configuration message says: entities to add, or (`removed`) that those of `key` are gone; faults of single ones."""

    key: str
    removed: bool
    entities: list[Entity]
    faults: list[RemoteProtocolError]


def read_config(topic: str, data: bytes, prefix: str = "homeassistant") -> Config:
    """A configuration message. Raises RemoteProtocolError."""
    component, node, object_id = read_config_topic(topic, prefix)
    if not data:
        return Config(topic, True, [], [])
    config = _expanded(load_object(data, CONFIG_LIMIT))
    if component != "device":
        return Config(topic, False, [_entity(topic, component, node, object_id, config)], [])
    shared: dict[str, Any] = {
        key: config[key] for key in ("device", "origin", "state_topic", "command_topic", "qos", "encoding") if key in config
    }
    shared |= {key: config[key] for key in config if key.startswith(("availability", "payload_"))}
    found, faults = [], []
    components = config.get("components")
    for name, raw in list(components.items() if isinstance(components, dict) else ())[:ENTITIES_LIMIT]:
        if not isinstance(raw, dict) or set(raw) <= {"p", "platform"}:
            continue  # an entity without its keys is one that was removed
        entity = _expanded({"~": config["~"], **raw} if "~" in config else raw)
        try:
            kind = clean_text(entity.get("platform", ""), 40)
            found.append(_entity(f"{topic}#{name}", kind, node, clean_text(name, 128), {**shared, **entity}))
        except RemoteProtocolError as error:
            faults.append(error)
    return Config(topic, False, found, faults)


def read_config_topic(topic: str, prefix: str) -> tuple[str, str | None, str]:
    """Component, node and object of a configuration topic. Raises RemoteProtocolError (RANGE) on any other shape."""
    parts = topic[len(prefix) + 1 :].split("/") if topic.startswith(prefix + "/") else []
    if len(parts) not in (3, 4) or parts[-1] != "config" or not all(_NAME.fullmatch(part) for part in parts[:-1]):
        expected = f"{prefix}/<component>/[<node>/]<object>/config"
        raise RemoteProtocolError(Reason.RANGE, f"topic {expected} expected, got {clean_text(topic, 80)!r}")
    return parts[0], parts[1] if len(parts) == 4 else None, parts[-2]


def encode_config(config: dict[str, Any]) -> bytes:
    """A configuration payload, for simulators and tests."""
    return json.dumps(config, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _expanded(config: dict[str, Any]) -> dict[str, Any]:
    """Long keys, `~` filled in, the device's keys too."""
    full = {ABBREVIATIONS.get(key, key): value for key, value in config.items()}
    root = full.get("~")
    if isinstance(root, str):
        full = {key: _rooted(value, root) if key.endswith("topic") else value for key, value in full.items()}
    listed = full.get("availability")
    if isinstance(listed, list):
        entries = [{ABBREVIATIONS.get(key, key): value for key, value in entry.items()} for entry in listed[:10] if isinstance(entry, dict)]
        full["availability"] = [
            {k: _rooted(v, root) if k == "topic" and isinstance(root, str) else v for k, v in e.items()} for e in entries
        ]
    for key, table in (("device", DEVICE_ABBREVIATIONS), ("origin", {**DEVICE_ABBREVIATIONS})):
        if isinstance(full.get(key), dict):
            full[key] = {table.get(name, name): value for name, value in full[key].items()}
    return full


def _rooted(value: Any, root: str) -> Any:
    if not isinstance(value, str):
        return value
    value = root + value[1:] if value.startswith("~") else value
    return value[:-1] + root if value.endswith("~") else value


def _entity(key: str, component: str, node: str | None, object_id: str, config: dict[str, Any]) -> Entity:
    device = config.get("device") if isinstance(config.get("device"), dict) else {}
    assert isinstance(device, dict)
    origin = config.get("origin")
    unique = _text(config, "unique_id") or None
    is_trigger = component == "device_automation"
    template = _text(config, "value_template", 500)
    return Entity(
        key=key,
        component=component,
        object_id=object_id,
        node=node,
        unique_id=unique,
        name=_text(config, "name"),
        device_id=_identifier(device) or unique or (f"{node}/{object_id}" if node else object_id),
        device={
            name: clean_text(device[name], 80) for name in ("name", "manufacturer", "model", "sw_version") if _scalar(device.get(name))
        },
        device_class=_text(config, "device_class").lower(),
        unit=_text(config, "unit_of_measurement"),
        category=_text(config, "entity_category"),
        state_topic=_topic(config, "topic" if is_trigger else "state_topic"),
        command_topic=_topic(config, "command_topic"),
        template=Template(template) if template else None,
        on=word(config.get("payload")) if is_trigger else _state(config, "on", "ON"),
        off=_state(config, "off", "OFF"),
        event_types=tuple(clean_text(found, 60) for found in _listed(config.get("event_types"))[:50]),
        trigger=" ".join(_text(config, name) for name in ("type", "subtype", "payload")) if is_trigger else "",
        availability=tuple(_availability(config)),
        origin=clean_text(origin.get("name", ""), 60) if isinstance(origin, dict) else "",
    )


def _state(config: dict[str, Any], side: str, default: str) -> str:
    """The word for on or off: as reported (`state_on`), else as commanded (`payload_on`; a trigger's own payload)."""
    for key in (f"state_{side}", f"payload_{side}"):
        if _scalar(config.get(key)):
            return word(config[key])
    return word(default)


def _identifier(device: dict[str, Any]) -> str:
    for found in _listed(device.get("identifiers")):
        if _scalar(found):
            return clean_text(found, 128)
    for pair in _listed(device.get("connections")):
        if isinstance(pair, list) and len(pair) == 2 and _scalar(pair[1]):
            return clean_text(pair[1], 128)
    return ""


def _availability(config: dict[str, Any]) -> list[Availability]:
    entries = config.get("availability")
    listed = entries if isinstance(entries, list) else [entries] if isinstance(entries, dict) else []
    if "availability_topic" in config:
        listed = [{"topic": config["availability_topic"], "value_template": config.get("availability_template")}, *listed]
    found = []
    for entry in listed[:10]:
        topic, text = _topic(entry, "topic"), entry.get("value_template")
        online, offline = (
            word(entry.get(key, config.get(key, default)))
            for key, default in (("payload_available", "online"), ("payload_not_available", "offline"))
        )
        if topic:
            found.append(Availability(topic, online, offline, Template(text) if isinstance(text, str) and text else None))
    return found


def _topic(config: dict[str, Any], key: str) -> str:
    """A topic without wildcards; empty where there is none. Raises RemoteProtocolError (RANGE)."""
    value = config.get(key)
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) > 512 or set(value) & set("+#\x00") or value.startswith("$"):
        raise RemoteProtocolError(Reason.RANGE, f"{key}: topic without wildcards expected, got {clean_text(repr(value), 80)}")
    return value


def _text(config: dict[str, Any], key: str, limit: int = 128) -> str:
    value = config.get(key)
    return clean_text(value, limit) if _scalar(value) else ""


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
