"""Zigbee sensors and the zigbee2mqtt bridge that speaks for them.

A sensor tells the bridge its whole state as JSON; the bridge publishes it under the sensor's name, keeps the list of devices and their
exposes, answers requests (permit to join) and switches what can be switched.
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from drivers.vocabulary import OccurrenceKind
from protocols.mqtt.zigbee2mqtt import PUBLISHED, SETTABLE, encode, encode_binary, encode_device
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

BASE = "zigbee2mqtt"
RETAINED = (f"{BASE}/bridge/devices", f"{BASE}/bridge/state", f"{BASE}/*/availability")
LONGEST_JOIN_S = 254


class Sense(NamedTuple):
    """What a sensor exposes: `key` of its state, the values for on and off, the kind, and the verbs that turn it on and off."""

    key: str
    on: Any
    off: Any
    kind: OccurrenceKind
    verbs: tuple[str, str]


SENSES = {
    "zigbee_gas": Sense("gas", True, False, OccurrenceKind.GAS, ("gas", "gas_gone")),
    "zigbee_smoke": Sense("smoke", True, False, OccurrenceKind.SMOKE, ("smoke", "smoke_gone")),
    "zigbee_leak": Sense("water_leak", True, False, OccurrenceKind.WATER_LEAK, ("leak", "leak_gone")),
    "zigbee_door": Sense("contact", False, True, OccurrenceKind.DOOR_OPEN, ("door_open", "door_close")),
    "zigbee_button": Sense("action", "emergency", "", OccurrenceKind.SOS, ("sos", "")),
    "zigbee_siren": Sense("alarm", True, False, OccurrenceKind.SIREN, ("", "")),
}


class ZigbeeSensor:
    """`name`: friendly name. `item`: a row of `SENSES`. It speaks through the bridge."""

    driver = "zigbee2mqtt"
    wire = WireKind.MQTT

    def __init__(self, id: str, *, name: str, item: str, seed: int, every_s: float = 600.0) -> None:
        self.id = id
        self.name = name
        self._sense = SENSES[item]
        self._dice = random.Random(seed)
        self._report = Rhythm(every_s, self._dice.uniform(0.5, 3.0), jitter=0.1)
        self._battery = self._dice.randint(50, 100)
        self._ieee = f"0x00158d{seed & 0xFFFFFFFFFF:010x}"
        self._is_on = False
        self.next_s = 0.0

    def definition(self) -> dict[str, Any]:
        """Its entry in the list of the bridge."""
        sense = self._sense
        if sense.key == "action":
            exposes: list[dict[str, Any]] = [
                {"type": "enum", "name": "action", "property": "action", "access": PUBLISHED, "values": [sense.on, "single"]}
            ]
        else:
            exposes = [encode_binary(sense.key, sense.on, sense.off, PUBLISHED | SETTABLE if sense.key == "alarm" else PUBLISHED)]
        percent = {"type": "numeric", "name": "battery", "property": "battery", "access": PUBLISHED, "unit": "%"}
        return encode_device(self.name, [*exposes, percent], ieee=self._ieee, model="SIM-" + sense.key.upper(), vendor="Anhu")

    def up(self, now: Moment) -> Act:
        """It reports when it wakes."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """The bridge takes care."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """It sleeps; the bridge speaks for it."""
        return NOTHING

    def step(self, now: Moment) -> Act:
        """The regular report."""
        act = Act((self._say(),)) if self._report.take(now, self._dice.random()) else NOTHING
        self.next_s = self._report.due_s
        return act

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """Its own two verbs (see `SENSES`); a button has one."""
        sense = self._sense
        if not verb or verb not in sense.verbs:
            return NOTHING
        if sense.key == "action":
            return Act((self._say(action=sense.on),), (begun(sense.kind),))
        is_on = verb == sense.verbs[0]
        if is_on == self._is_on:
            return NOTHING
        self._is_on = is_on
        return Act((self._say(),), (begun(sense.kind) if is_on else ended(sense.kind),))

    def _say(self, **more: Any) -> Parcel:
        sense = self._sense
        state = {} if sense.key == "action" else {sense.key: sense.on if self._is_on else sense.off}
        return Parcel(encode({**state, **more, "battery": self._battery, "linkquality": self._dice.randint(60, 200)}), self.name)


class ZigbeeBridge:
    """`sensors`: those that it speaks for."""

    driver = "zigbee2mqtt"
    wire = WireKind.MQTT
    topics = (f"{BASE}/bridge/request/#", f"{BASE}/+/set", f"{BASE}/+/+/set")
    retained = RETAINED

    def __init__(self, id: str, sensors: tuple[ZigbeeSensor, ...]) -> None:
        self.id = id
        self.joins_until_s = 0.0
        self._sensors = sensors
        self._states: dict[str, dict[str, Any]] = {}
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """The bridge introduces itself and all that it knows."""
        lines = [("bridge/state", {"state": "online"}), ("bridge/devices", [sensor.definition() for sensor in self._sensors])]
        lines += [(f"{sensor.name}/availability", {"state": "online"}) for sensor in self._sensors]
        return Act(tuple(_publish(topic, payload) for topic, payload in lines))

    def down(self, now: Moment) -> None:
        """The client's outbox keeps what could not be sent."""

    def step(self, now: Moment) -> Act:
        """It does nothing by itself."""
        return NOTHING

    def carry(self, data: bytes, to: str, now: Moment) -> Act:
        """A sensor has reported."""
        state = json.loads(data)
        self._states[to] = {key: value for key, value in {**self._states.get(to, {}), **state}.items() if key != "action"}
        return Act((_publish(to, {**self._states[to], **state}),))

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Requests to the bridge, orders to devices."""
        try:
            body = json.loads(data)
        except ValueError:
            return NOTHING
        topic = to.removeprefix(f"{BASE}/")
        if not isinstance(body, dict):
            return NOTHING
        if topic == "bridge/request/permit_join":
            return self._permit(body, now)
        name = topic.removesuffix("/set")
        if name != topic and any(sensor.name == name for sensor in self._sensors):
            state = self._states.setdefault(name, {})
            state.update(body)
            return Act((_publish(name, state),))
        return NOTHING

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """Nothing befalls a bridge that stands in a cupboard."""
        return NOTHING

    def _permit(self, body: dict[str, Any], now: Moment) -> Act:
        seconds = body.get("time")
        more = {"transaction": body["transaction"]} if "transaction" in body else {}
        if not isinstance(seconds, int) or not 0 <= seconds <= LONGEST_JOIN_S:
            answer = {"data": {}, "status": "error", "error": f"time: 0..{LONGEST_JOIN_S} expected", **more}
        else:
            self.joins_until_s = now.s + seconds
            answer = {"data": {"time": seconds}, "status": "ok", **more}
        return Act((_publish("bridge/response/permit_join", answer),))


def _publish(topic: str, payload: Any) -> Parcel:
    return Parcel(encode(payload), f"{BASE}/{topic}")
