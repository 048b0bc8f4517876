"""A large Zigbee network at once: 500 devices discovered, and one megabyte of bridge/devices parsed."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from drivers.api import Frame, Instant, Transport
from drivers.events import seal
from drivers.zigbee2mqtt.driver import DRIVER
from protocols.mqtt.zigbee2mqtt import encode, encode_binary, encode_device, read_devices

DEVICES, MEGABYTE, ROUNDS = 500, 1_000_000, 5
NOW = Instant(1795336215000, 1000.0)


def measure() -> dict[str, Any]:
    """Milliseconds of CPU time: discovery with the first state of each device, and the parser alone; microseconds per state."""
    entries = network(DEVICES)
    payload = encode(entries)
    large = encode(network(DEVICES * MEGABYTE // len(payload) + 1))
    states = [frame(f"zigbee2mqtt/d{i}", encode(state(i))) for i in range(DEVICES)]
    discovery, parsing, per_state = [], [], []
    for _ in range(ROUNDS):
        driver = DRIVER({}, None)
        begun = time.process_time()
        learned = seal(driver.receive(frame("zigbee2mqtt/bridge/devices", payload)).events, received_ms=NOW.ms)
        known = time.process_time()
        events = [event for message in states for event in seal(driver.receive(message).events, received_ms=NOW.ms)]
        done = time.process_time()
        assert len(learned) == DEVICES and len(events) > DEVICES
        discovery.append(done - begun)
        per_state.append((done - known) / DEVICES)
        begun = time.process_time()
        assert read_devices(large)
        parsing.append(time.process_time() - begun)
    return {
        "devices": DEVICES,
        "devices_kb": round(len(payload) / 1000),
        "discovered_ms": round(statistics.median(discovery) * 1000, 1),
        "us_per_state": round(statistics.median(per_state) * 1e6, 1),
        "parsed_kb": round(len(large) / 1000),
        "parsed_ms": round(statistics.median(parsing) * 1000, 1),
    }


def network(count: int) -> list[dict[str, Any]]:
    """Detectors with eight properties each, of the usual kinds."""
    return [encode_device(f"d{i}", exposes(), ieee=f"0x{i:016x}", model=f"M{i % 40}", vendor="bench") for i in range(count)]


def exposes() -> list[dict[str, Any]]:
    """What one of them exposes."""
    binaries = [encode_binary(name) for name in ("smoke", "gas", "tamper", "battery_low")] + [encode_binary("contact", False, True)]
    text = "as long as the descriptions of real definitions are, which make up most of the list"
    numbers = [
        {"type": "numeric", "name": name, "property": name, "access": 1, "unit": unit, "description": text}
        for name, unit in (("battery", "%"), ("temperature", "°C"), ("linkquality", "lqi"))
    ]
    return [{**node, "description": text} for node in binaries] + numbers


def state(number: int) -> dict[str, Any]:
    """A state of all properties."""
    return {"smoke": number % 7 == 0, "gas": False, "tamper": False, "battery_low": False, "contact": number % 2 == 0, "battery": 90,
            "temperature": 20.5, "linkquality": 120}  # fmt: skip


def frame(topic: str, data: bytes) -> Frame:
    """A message of the broker."""
    return Frame(data=data, received=NOW, transport=Transport.MQTT, topic=topic)


if __name__ == "__main__":
    print(json.dumps(measure()))
