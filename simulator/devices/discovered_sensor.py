"""A sensor that announces itself over MQTT, as Home Assistant expects it: the way of ESPHome, or the way of Tasmota.

esphome   one configuration per entity, states are bare words on `<node>/binary_sensor/<object>/state`, will on `<node>/status`
tasmota   one configuration for the whole device, abbreviated keys, states inside JSON on `tele/<topic>/SENSOR`
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind, Quantity
from protocols.mqtt.homeassistant import encode_config
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import Fact, begun, ended

CLASSES = {
    OccurrenceKind.GAS: "gas",
    OccurrenceKind.SMOKE: "smoke",
    OccurrenceKind.WATER_LEAK: "moisture",
    OccurrenceKind.DOOR_OPEN: "door",
    OccurrenceKind.MOTION: "motion",
}
"""What Home Assistant calls a binary sensor of that kind."""
VERBS = {
    OccurrenceKind.GAS: ("gas", "gas_gone"),
    OccurrenceKind.SMOKE: ("smoke", "smoke_gone"),
    OccurrenceKind.WATER_LEAK: ("leak", "leak_gone"),
    OccurrenceKind.DOOR_OPEN: ("door_open", "door_close"),
    OccurrenceKind.MOTION: ("motion", "still"),
}


class DiscoveredSensor:
    """`node`: name of the device on the broker; `dialect`: esphome or tasmota; `senses`: a row of `CLASSES`."""

    driver = "mqtt_discovery"
    wire = WireKind.MQTT
    retained = ("homeassistant/*", "*/status", "*/LWT")

    def __init__(self, id: str, *, node: str, dialect: str, senses: OccurrenceKind, seed: int, every_s: float = 60.0) -> None:
        self.id = id
        self._node = node
        self._ident = id.partition(":")[2]
        self._dialect = dialect
        self._senses = senses
        self._dice = random.Random(seed)
        self._report = Rhythm(every_s, self._dice.uniform(1.0, 3.0), jitter=0.1)
        self._is_on = False
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """The announcement, then that it is there, then its state: after every reconnect, as the firmwares do."""
        alive = Parcel(b"online", f"{self._node}/status") if self._dialect == "esphome" else Parcel(b"Online", f"tele/{self._node}/LWT")
        self.next_s = self._report.due_s
        return Act((*self._announce(), alive, self._state()))

    def down(self, now: Moment) -> None:
        """The client's outbox keeps what could not be sent."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """It has nothing to be switched."""
        return NOTHING

    def step(self, now: Moment) -> Act:
        """The regular report: state and temperature."""
        act = NOTHING
        if self._report.take(now, self._dice.random()):
            act = Act((self._state(), *self._warmth()), (Fact("measurement", Quantity.TEMPERATURE.value),))
        self.next_s = self._report.due_s
        return act

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """What it senses, and its end."""
        if verb not in VERBS[self._senses]:
            return NOTHING
        is_on = verb == VERBS[self._senses][0]
        if is_on == self._is_on:
            return NOTHING
        self._is_on = is_on
        return Act((self._state(),), (begun(self._senses) if is_on else ended(self._senses),))

    def _announce(self) -> tuple[Parcel, ...]:
        name = CLASSES[self._senses]
        device = {"ids": [self._ident], "name": self._node, "mf": "Anhu", "mdl": "simulated", "sw": "1.0"}
        if self._dialect == "tasmota":
            base = f"tele/{self._node}/"
            parts = {
                name: {
                    "p": "binary_sensor", "dev_cla": name, "stat_t": "~SENSOR", "val_tpl": "{{ value_json.Switch1 }}", "pl_on": "ON",
                    "pl_off": "OFF", "uniq_id": f"{self._ident}_{name}",
                },
                "warmth": {
                    "p": "sensor", "dev_cla": "temperature", "unit_of_meas": "°C", "stat_t": "~SENSOR",
                    "val_tpl": "{{ value_json.DS18B20.Temperature | float }}", "uniq_id": f"{self._ident}_warmth",
                },
            }  # fmt: skip
            config = {"~": base, "dev": device, "o": {"name": "Tasmota"}, "cmps": parts}
            config |= {"avty_t": "~LWT", "pl_avail": "Online", "pl_not_avail": "Offline"}
            return (Parcel(encode_config(config), f"homeassistant/device/{self._ident}/config"),)
        common = {"dev": device, "avty_t": f"{self._node}/status"}
        alarm = {"name": name, "dev_cla": name, "stat_t": self._topic("binary_sensor", name), "uniq_id": f"{self._ident}{name}"}
        warmth = {
            "name": "warmth", "dev_cla": "temperature", "unit_of_meas": "°C", "stat_t": self._topic("sensor", "warmth"),
            "uniq_id": f"{self._ident}warmth",
        }  # fmt: skip
        return tuple(
            Parcel(encode_config({**config, **common}), f"homeassistant/{component}/{self._node}/{config['name']}/config")
            for component, config in (("binary_sensor", alarm), ("sensor", warmth))
        )

    def _state(self) -> Parcel:
        word = b"ON" if self._is_on else b"OFF"
        if self._dialect == "esphome":
            return Parcel(word, self._topic("binary_sensor", CLASSES[self._senses]))
        return Parcel(b'{"Switch1":"%s"}' % word, f"tele/{self._node}/SENSOR")

    def _warmth(self) -> tuple[Parcel, ...]:
        value = round(self._dice.gauss(21.5, 0.4), 1)
        if self._dialect == "esphome":
            return (Parcel(str(value).encode(), self._topic("sensor", "warmth")),)
        return (Parcel(b'{"DS18B20":{"Temperature":%s}}' % str(value).encode(), f"tele/{self._node}/SENSOR"),)

    def _topic(self, component: str, name: str) -> str:
        return f"{self._node}/{component}/{name}/state"
