"""Devices that announce themselves over MQTT, learned as they come.

Source: Home Assistant documentation (MQTT discovery), Tasmota, OpenMQTTGateway and ESPHome documentation; protocols/mqtt/homeassistant.py,
protocols/mqtt/firmware.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from drivers.api import (
    OCCURRENCES,
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Lane,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Verb,
    read_options,
)
from drivers.mqtt_discovery import firmware
from drivers.mqtt_discovery.findings import Finding, Pulse, Reading, Turn, Vital
from drivers.mqtt_discovery.meaning import USED, understand
from protocols.mqtt.edges import Edges
from protocols.mqtt.firmware import (
    ESPHOME_TOPICS,
    Place,
    TasmotaDevice,
    gateway_topics,
    read_place,
    read_tasmota_discovery,
    tasmota_topics,
)
from protocols.mqtt.homeassistant import Availability, Entity, read_config
from protocols.mqtt.json_path import MISSING, clean_text, load_json, load_object, word
from protocols.mqtt.topic import printable_id

_K = OccurrenceKind
ENTITIES_LIMIT = 5000
"""Entities of one broker; a large home has some hundreds. More is a flood."""


class _Report(NamedTuple):
    frame: Frame
    output: Output
    device: str


class MqttDiscovery:
    """Every device of one broker that announces itself."""

    info = DriverInfo(
        name="mqtt_discovery",
        title="Self-announcing MQTT devices (Home Assistant discovery, Tasmota, OpenMQTTGateway)",
        vendor="ESPHome, Tasmota, OpenMQTTGateway and others",
        models=("any",),
        transports=(Transport.MQTT,),
        emits=(
            "sos", "fall", "fall_suspected", "smoke", "gas", "co_alarm", "water_leak", "heat", "cold", "motion", "presence", "moving",
            "door_open", "window_open", "vibration", "sound", "light", "running", "tamper", "fault", "power_cut", "low_battery",
            "charging", "general_alarm", "siren", "valve_closed", "button", "offline", "temperature", "dew_point", "humidity",
            "moisture", "illuminance", "pressure", "co2", "co", "tvoc", "ch2o", "pm25", "pm10", "pm1", "gas_lel", "gas_volume",
            "distance", "speed", "voltage", "current", "power", "energy_used", "frequency", "weight", "glucose", "steps", "heart_rate",
            "respiration_rate", "spo2", "water_volume", "water_flow", "sound_level", "uv_index", "health",
        ),
        commands=(Verb.SIREN, Verb.VALVE),
        options=(
            Option("prefix", "str", "homeassistant", "prefix of Home Assistant discovery"),
            Option("gateway_base", "str", "home", "base topic of OpenMQTTGateway"),
            Option("ignore_zigbee2mqtt", "bool", True, "leave entities of zigbee2mqtt to the driver zigbee2mqtt"),
            Option("inputs", "table", {}, "what a Tasmota input is wired to: {\"tasmota_1.Switch1\" = \"door_open\"}"),
            Option("codes", "table", {}, "what a 433 MHz code means: {\"13985234\" = \"sos\"}"),
        ),
        source="Home Assistant MQTT discovery; Tasmota, OpenMQTTGateway, ESPHome documentation",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._prefix = values["prefix"].strip("/")
        self._base = values["gateway_base"].strip("/")
        faults = [f"{key}: topic without wildcards expected" for key in ("prefix", "gateway_base") if _is_wild(values[key])]
        self._inputs = _kinds(values["inputs"], "inputs", faults)
        self._codes = _kinds(values["codes"], "codes", faults)
        if faults:
            raise OptionError(self.info.name, faults)
        self._skips_z2m = values["ignore_zigbee2mqtt"]
        self._device = (device or "").removeprefix("mqtt_discovery:")
        self._edges = Edges()
        self._configs: dict[str, dict[str, Entity]] = {}
        self._count = 0
        self._told: dict[str, DeviceHealth] = {}
        self._listeners: dict[str, dict[str, Entity]] = {}
        self._watchers: dict[str, dict[str, tuple[str, Availability]]] = {}
        self._tasmota: dict[str, tuple[TasmotaDevice, str]] = {}
        self._fixed = [
            f"{self._prefix}/+/+/config", f"{self._prefix}/+/+/+/config", *tasmota_topics(), *gateway_topics(self._base), *ESPHOME_TOPICS,
        ]  # fmt: skip

    def topics(self) -> list[str]:
        """Discovery, the default topics of the firmwares, and every topic that a configuration named."""
        return [*self._fixed, *self._listeners, *self._watchers, *self._tasmota]

    def receive(self, frame: Frame) -> Output:
        """Learns from configurations; events of everything else."""
        output = Output()
        try:
            if frame.topic.startswith(self._prefix + "/"):
                if frame.topic != f"{self._prefix}/status":
                    self._configure(frame, output)
            elif frame.topic in self._listeners or frame.topic in self._watchers:
                self._heard(frame, output)
            else:
                self._firmware(frame, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A siren or valve by its command topic."""
        name = command.device.removeprefix("mqtt_discovery:") or self._device
        component = {Verb.SIREN: "siren", Verb.VALVE: "valve"}.get(command.verb)
        entities = (entity for config in self._configs.values() for entity in config.values())
        entity = next((e for e in entities if e.device_id == name and e.component == component and e.command_topic), None)
        if entity is None:
            reason = f"{name} has announced no {component} with a command topic" if component else f"no {command.verb.value} here"
            return Output(events=[command.result(CommandStatus.FAILED, now, reason)])
        wanted = bool(command.args.get("on") if component == "siren" else command.args.get("open"))
        words = ("ON", "OFF") if component == "siren" else ("OPEN", "CLOSE")
        return Output(replies=[Send(words[0 if wanted else 1].encode(), to=entity.command_topic)])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """What is on; configurations come again, they are retained."""
        return self._edges.dump()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        self._edges.load(state)

    def _configure(self, frame: Frame, output: Output) -> None:
        config = read_config(frame.topic, frame.data, self._prefix)
        before = self._configs.get(config.key, {})
        fresh = {e.key: e for e in config.entities if e.component in USED and not self._is_double(e)}
        output.rejects += [fault.reject(frame.data) for fault in config.faults]
        if before == fresh:
            return
        for entity in fresh.values():
            printable_id(entity.device_id)
        if self._count + len(fresh) - len(before) > ENTITIES_LIMIT:
            raise RemoteProtocolError(Reason.RANGE, f"at most {ENTITIES_LIMIT} entities expected")
        self._count += len(fresh) - len(before)
        for entity in before.values():
            self._unlisten(entity)
        self._configs.pop(config.key, None)
        if fresh:
            self._configs[config.key] = fresh
        for entity in fresh.values():
            self._listen(entity)
            model = " ".join(filter(None, (entity.device.get("manufacturer"), entity.device.get("model"))))
            health = DeviceHealth(model=model or None, firmware=entity.device.get("sw_version"))
            if health not in (DeviceHealth(), self._told.get(entity.device_id)):
                self._told[entity.device_id] = health
                _say(_Report(frame, output, f"mqtt_discovery:{entity.device_id}"), health)

    def _is_double(self, entity: Entity) -> bool:
        """Whether the driver zigbee2mqtt tells the same."""
        by_name = "zigbee2mqtt" in entity.origin.lower() or entity.device_id.startswith("zigbee2mqtt_")
        return self._skips_z2m and (by_name or entity.state_topic.startswith("zigbee2mqtt/"))

    def _listen(self, entity: Entity) -> None:
        # Our own topics are never somebody's state: an announcement must not make us read what we write.
        if entity.state_topic and not entity.state_topic.startswith("anhu/"):
            self._listeners.setdefault(entity.state_topic, {})[entity.key] = entity
        for availability in entity.availability:
            if not availability.topic.startswith("anhu/"):
                self._watchers.setdefault(availability.topic, {})[entity.key] = (entity.device_id, availability)

    def _unlisten(self, entity: Entity) -> None:
        tables: tuple[dict[str, dict[str, Any]], ...] = (self._listeners, self._watchers)
        for table in tables:
            for topic in (entity.state_topic, *(availability.topic for availability in entity.availability)):
                table.get(topic, {}).pop(entity.key, None)
                if topic in table and not table[topic]:
                    del table[topic]

    def _heard(self, frame: Frame, output: Output) -> None:
        loaded: Any = MISSING
        vitals: dict[str, dict[str, Any]] = {}
        for entity in self._listeners.get(frame.topic, {}).values():
            report = _Report(frame, output, f"mqtt_discovery:{entity.device_id}")
            output.device = report.device
            payload = frame.data.decode("utf-8", "replace")
            try:
                wants_json = (entity.template and entity.template.is_json) or (entity.component == "event" and not entity.template)
                if wants_json and loaded is MISSING:
                    loaded = load_json(frame.data)
                value = entity.template.render(frame.data, loaded) if entity.template else loaded if wants_json else payload
                findings = understand(entity, value, payload)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(frame.data))
                continue
            self._tell(report, entity.key, findings, vitals.setdefault(report.device, {}))
        for device, fields in vitals.items():
            _say_vitals(_Report(frame, output, device), fields)
        for device_id, availability in dict(self._watchers.get(frame.topic, {}).values()).items():
            value = availability.template.render(frame.data) if availability.template else frame.data.decode("utf-8", "replace")
            found = word(value)
            if found in (availability.online, availability.offline):
                self._available(_Report(frame, output, f"mqtt_discovery:{device_id}"), found == availability.online)

    def _firmware(self, frame: Frame, output: Output) -> None:
        learned = self._tasmota.get(frame.topic)
        last = frame.topic.rpartition("/")[2]
        place = Place(f"tasmota {last}", learned[0].topic) if learned else read_place(frame.topic, self._base)
        if place is None:
            raise RemoteProtocolError(Reason.NOT_OURS, f"no configuration names topic {clean_text(frame.topic, 80)!r}")
        if place.kind == "ignored":
            return
        if place.kind == "tasmota discovery":
            self._learn_tasmota(frame, output)
            return
        report = _Report(frame, output, f"mqtt_discovery:{printable_id(place.device)}")
        output.device = report.device
        if place.kind in ("tasmota LWT", "omg LWT", "esphome status"):
            found = word(frame.data.decode("utf-8", "replace"))
            if found not in ("online", "offline"):
                raise RemoteProtocolError(Reason.RANGE, f"online or offline expected, got {clean_text(found, 40)!r}")
            self._available(report, found == "online")
        elif place.kind.startswith("tasmota"):
            self._tasmota_state(report, place.device, load_object(frame.data))
        elif place.kind.startswith("omg"):
            self._gateway(report, place, load_object(frame.data))
        else:
            component, payload = place.kind.split()[1], frame.data.decode("utf-8", "replace")
            self._tell_all(report, frame.topic, firmware.bare_entity(component, place.detail, payload))

    def _learn_tasmota(self, frame: Frame, output: Output) -> None:
        self._tasmota = {topic: known for topic, known in self._tasmota.items() if known[1] != frame.topic}
        device = read_tasmota_discovery(frame.data)
        if device is None or len(self._tasmota) > ENTITIES_LIMIT:
            return
        name = printable_id(device.topic)
        self._tasmota |= {topic: (device, frame.topic) for topic in device.topics if topic not in self._fixed}
        health = DeviceHealth(model=device.model or None, firmware=device.firmware or None)
        _say(_Report(frame, output, f"mqtt_discovery:{name}"), health)

    def _tasmota_state(self, report: _Report, name: str, body: dict[str, Any]) -> None:
        inputs = {key.rpartition(".")[2]: kind for key, kind in self._inputs.items() if key.rpartition(".")[0] in ("", name)}
        grouped: dict[str, list[Finding]] = {}
        for device, finding in firmware.tasmota(body, inputs):
            if isinstance(finding, RemoteProtocolError):
                report.output.rejects.append(finding.reject(report.frame.data))
            else:
                grouped.setdefault(device, []).append(finding)
        for device, findings in grouped.items():
            try:
                behind = report._replace(device=f"mqtt_discovery:{printable_id(device)}") if device else report
            except RemoteProtocolError as error:
                report.output.rejects.append(error.reject(report.frame.data))
                continue
            report.output.device = behind.device
            self._tell_all(behind, "tasmota", findings)

    def _gateway(self, report: _Report, place: Place, body: dict[str, Any]) -> None:
        if place.kind == "omg SYStoMQTT":
            self._tell_all(report, "system", firmware.uptime(body))
            return
        if place.kind == "omg 433toMQTT":
            found = firmware.radio_code(body, self._codes)
            if found is None:
                raise RemoteProtocolError(Reason.RANGE, "value: a radio code expected")
            self._tell_all(report._replace(device=f"mqtt_discovery:{printable_id(found[0])}"), "code", [found[1]])
            return
        address = body.get("id") if isinstance(body.get("id"), str) else place.detail
        behind = report._replace(device=f"mqtt_discovery:{printable_id(clean_text(address, 64).upper())}")
        report.output.device = behind.device
        findings = firmware.bluetooth(body)
        report.output.rejects += [found.reject(report.frame.data) for found in findings if isinstance(found, RemoteProtocolError)]
        self._tell_all(behind, "ble", [found for found in findings if not isinstance(found, RemoteProtocolError)])

    def _tell_all(self, report: _Report, key: str, findings: Iterable[Finding]) -> None:
        vitals: dict[str, Any] = {}
        self._tell(report, key, findings, vitals)
        _say_vitals(report, vitals)

    def _available(self, report: _Report, online: bool) -> None:
        self._turn(report, "", Turn(_K.OFFLINE, not online))
        _say(report, DeviceHealth(online=online))

    def _tell(self, report: _Report, key: str, findings: Iterable[Finding], vitals: dict[str, Any]) -> None:
        for finding in findings:
            if isinstance(finding, Vital):
                vitals[finding.name] = finding.value
            elif isinstance(finding, Turn):
                self._turn(report, key, finding)
            elif isinstance(finding, Reading):
                _say(report, Measurement(quantity=finding.quantity, value=finding.value, channel=finding.channel))
            elif report.frame.retained:
                report.output.tolerated.append(_old(finding, report.frame))
            else:
                _say(report, Occurrence(kind=finding.kind, detail=finding.detail))

    def _turn(self, report: _Report, key: str, turn: Turn) -> None:
        is_alarm = OCCURRENCES[turn.kind].lane is Lane.ALARM
        retained = report.frame.retained and is_alarm
        name = f"{report.device}|{turn.kind.value}|{key}|{turn.detail or ''}"
        began = bool(self._edges.last(name))
        news = self._edges.turn(name, "on" if turn.is_on else "", retained=retained)
        # A lost release must not hide the next press of a help button: it is told whenever it is heard.
        news = news or (turn.kind is _K.SOS and turn.is_on)
        if turn.is_on and retained:
            report.output.tolerated.append(_old(turn, report.frame))
        elif news and (turn.is_on or began or not is_alarm):
            _say(report, Occurrence(kind=turn.kind, state=State.START if turn.is_on else State.END, detail=turn.detail))


def _say(report: _Report, body: Body) -> None:
    event = report.frame.event(report.device, body)
    if report.frame.retained:
        # The broker kept it for hours or weeks: the time of arrival says nothing.
        event = msgspec.structs.replace(event, time_quality=TimeQuality.UNKNOWN)
    report.output.events.append(event)


def _say_vitals(report: _Report, fields: dict[str, Any]) -> None:
    if fields:
        _say(report, DeviceHealth(**fields))


def _old(finding: Turn | Pulse, frame: Frame) -> Reject:
    return Reject(Reason.UNSUPPORTED, f"retained message: {finding.kind.value} is from before, not news", frame.data[:200])


def _is_wild(topic: str) -> bool:
    return not topic.strip("/") or bool(set(topic) & set("+#"))


def _kinds(table: dict[str, Any], option: str, faults: list[str]) -> dict[str, OccurrenceKind]:
    found = {}
    for key, value in table.items():
        try:
            found[str(key)] = OccurrenceKind(value)
        except ValueError:
            faults.append(f"{option}.{key}: kind of an occurrence expected, got {value!r}")
            continue
        if found[str(key)].value not in MqttDiscovery.info.emits:
            faults.append(f"{option}.{key}: {value} is nothing that an input can be")
    return found


DRIVER = MqttDiscovery
