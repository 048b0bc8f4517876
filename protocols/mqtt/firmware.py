"""Topics of firmwares that need no discovery: Tasmota, OpenMQTTGateway, ESPHome.

    tele/<device>/SENSOR, STATE, LWT; stat/<device>/RESULT           Tasmota (default full topic %prefix%/%topic%/)
    tasmota/discovery/<mac>/config                                    Tasmota's own discovery, tells prefixes and topic
    home/<gateway>/BTtoMQTT/<address>, 433toMQTT, SYStoMQTT, LWT      OpenMQTTGateway
    <node>/<component>/<object>/state, <node>/status                  ESPHome

Sources: Tasmota documentation "MQTT", OpenMQTTGateway documentation "Use", ESPHome documentation "MQTT client component".
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from protocols.errors import Reason, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, load_object

ESPHOME_COMPONENTS = ("binary_sensor", "sensor", "text_sensor", "event")
ESPHOME_TOPICS = ("+/binary_sensor/+/state", "+/sensor/+/state", "+/text_sensor/+/state", "+/event/+/state", "+/status")


class Place(NamedTuple):
    """What a topic is: `kind` is `tasmota`, `omg`, `esphome` with a part, `device` the name in the topic, `detail` the rest."""

    kind: str
    device: str
    detail: str = ""


class TasmotaDevice(NamedTuple):
    """A device as Tasmota's own discovery tells it."""

    topic: str
    name: str
    model: str
    firmware: str
    topics: tuple[str, ...]
    online: str
    offline: str


def tasmota_topics() -> list[str]:
    """What to subscribe to for Tasmota."""
    return ["tele/+/SENSOR", "tele/+/STATE", "tele/+/LWT", "stat/+/RESULT", "tasmota/discovery/+/config"]


def gateway_topics(base: str) -> list[str]:
    """What to subscribe to for OpenMQTTGateway below `base`."""
    return [f"{base}/+/BTtoMQTT/+", f"{base}/+/433toMQTT", f"{base}/+/SYStoMQTT", f"{base}/+/LWT"]


def read_place(topic: str, base: str = "home") -> Place | None:
    """The firmware and device of a topic; None where it is none of these."""
    parts = topic.split("/")
    if len(parts) == 3 and parts[0] in ("tele", "stat") and parts[2] in ("SENSOR", "STATE", "LWT", "RESULT"):
        return Place(f"tasmota {parts[2]}", parts[1])
    if topic.startswith("tasmota/discovery/"):
        return Place("tasmota discovery" if parts[-1] == "config" else "ignored", parts[2] if len(parts) > 3 else "")
    before = base.split("/")
    rest = parts[len(before) :]
    if parts[: len(before)] == before and len(rest) >= 2:
        if rest[1] == "BTtoMQTT" and len(rest) == 3:
            return Place("omg BTtoMQTT", rest[0], rest[2])
        if rest[1] in ("433toMQTT", "SYStoMQTT", "LWT") and len(rest) == 2:
            return Place(f"omg {rest[1]}", rest[0])
    if len(parts) >= 4 and parts[-1] == "state" and parts[-3] in ESPHOME_COMPONENTS:
        return Place(f"esphome {parts[-3]}", "/".join(parts[:-3]), parts[-2])
    if len(parts) >= 2 and parts[-1] == "status":
        return Place("esphome status", "/".join(parts[:-1]))
    return None


def read_tasmota_discovery(data: bytes) -> TasmotaDevice | None:
    """The device of a `tasmota/discovery/<mac>/config` payload, None for an empty one (removed). Raises RemoteProtocolError."""
    if not data:
        return None
    config = load_object(data)
    topic, full = config.get("t"), config.get("ft", "%prefix%/%topic%/")
    prefixes = config.get("tp", ["cmnd", "stat", "tele"])
    good = isinstance(topic, str) and isinstance(full, str) and isinstance(prefixes, list) and len(prefixes) >= 3
    if not good or not topic or set(f"{topic}{full}{prefixes}") & set("+#"):
        raise RemoteProtocolError(Reason.RANGE, "t, ft and tp of a Tasmota discovery expected", data)
    filled = [str(full).replace("%topic%", str(topic)).replace("%prefix%", str(prefix)) for prefix in prefixes]
    topics = (*(filled[2] + part for part in ("SENSOR", "STATE", "LWT")), filled[1] + "RESULT")
    return TasmotaDevice(
        topic=str(topic),
        name=clean_text(config.get("dn", ""), 80),
        model=clean_text(config.get("md", ""), 80),
        firmware=clean_text(config.get("sw", ""), 40),
        topics=topics,
        online=clean_text(config.get("onln", "Online"), 40).lower(),
        offline=clean_text(config.get("ofln", "Offline"), 40).lower(),
    )


def encode_tasmota_sensor(values: dict[str, Any], *, celsius: bool = True) -> bytes:
    """A tele SENSOR payload, for simulators and tests."""
    return json.dumps({**values, "TempUnit": "C" if celsius else "F"}).encode()
