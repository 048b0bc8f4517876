"""A zigbee2mqtt bridge and every device behind it.

Source: zigbee2mqtt 2 documentation ("MQTT topics and messages", "exposes"); protocols/mqtt/zigbee2mqtt.py.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from drivers.api import (
    OCCURRENCES,
    Body,
    Command,
    CommandResult,
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
from drivers.zigbee2mqtt.orders import OrderError, order
from drivers.zigbee2mqtt.signals import Finding, Pulse, Reading, Turn, Vital, guess, understand
from protocols.mqtt.edges import Edges
from protocols.mqtt.json_path import MISSING, clean_text, load_object, time_ms, word
from protocols.mqtt.topic import printable_id
from protocols.mqtt.zigbee2mqtt import Definition, Property, read_devices, read_groups, read_online, read_topic

_K = OccurrenceKind
KEYS_LIMIT = 500
"""Keys of one state that are looked at."""


class _Report(NamedTuple):
    """One message about one device, and where its events go."""

    frame: Frame
    output: Output
    device: str
    at_ms: int | None = None


class Zigbee2Mqtt:
    """One bridge: `base` is its topic."""

    info = DriverInfo(
        name="zigbee2mqtt",
        title="Zigbee devices over zigbee2mqtt",
        vendor="zigbee2mqtt",
        models=("every device that zigbee2mqtt exposes",),
        transports=(Transport.MQTT,),
        emits=(
            "sos", "fall", "fall_suspected", "medical", "long_still", "smoke", "fire", "heat", "cold", "gas", "co_alarm", "water_leak",
            "motion", "presence", "moving", "door_open", "window_open", "vibration", "tilt", "sound", "tamper", "fault", "power_cut",
            "low_battery", "charging", "warming_up", "test", "general_alarm", "siren", "valve_closed", "button", "bed_entry", "offline",
            "temperature", "body_temperature", "humidity", "moisture", "illuminance", "pressure", "co2", "tvoc", "ch2o", "pm25", "pm10",
            "pm1", "co", "gas_lel", "gas_volume", "smoke_density", "oxygen", "voltage", "current", "power", "energy_used", "frequency",
            "leakage_current", "distance", "heart_rate", "respiration_rate", "water_flow", "water_volume", "sound_level", "uv_index",
            "weight", "door_unlocked", "health", "command_result",
        ),
        commands=(Verb.SIREN, Verb.VALVE, Verb.PERMIT_JOIN, Verb.CONFIGURE, Verb.QUERY),
        options=(
            Option("base", "str", "zigbee2mqtt", "base topic of the bridge"),
            Option("output", "str", "json", "`output` setting of the bridge", choices=("json", "attribute")),
        ),
        source="zigbee2mqtt documentation; zigbee-herdsman-converters exposes",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._base = values["base"].strip("/")
        if not self._base or set(self._base) & set("+#"):
            raise OptionError(self.info.name, [f"base: topic without wildcards expected, got {values['base']!r}"])
        self._attributes = values["output"] == "attribute"
        self._device = (device or "").removeprefix("zigbee2mqtt:")
        self._edges = Edges()
        self._devices: dict[str, Definition] = {}
        self._leaves: dict[str, dict[str, list[Property]]] = {}
        self._groups: frozenset[str] = frozenset()
        self._pending: dict[str, str] = {}

    def topics(self) -> list[str]:
        """Everything below the base topic."""
        return [f"{self._base}/#"]

    def receive(self, frame: Frame) -> Output:
        """Events of one message of the bridge or of a device."""
        output = Output()
        topic = read_topic(frame.topic, self._base, self._devices)
        try:
            if topic.kind == "foreign":
                raise RemoteProtocolError(Reason.NOT_OURS, f"topic below {self._base}/ expected, got {frame.topic[:80]!r}")
            if topic.kind.startswith("bridge/"):
                self._bridge(topic.kind[7:], frame, output)
            elif topic.kind == "availability":
                self._available(frame, printable_id(topic.name), read_online(frame.data), output)
            elif topic.kind == "attribute" and self._attributes:
                self._state(frame, topic.name, {topic.attribute: _scalar(frame.data)}, output)
            elif topic.kind == "device" and frame.data and topic.name not in self._groups:
                self._state(frame, topic.name, load_object(frame.data), output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The command as a message for the bridge."""
        name = command.device.removeprefix("zigbee2mqtt:") or self._device
        try:
            if command.verb is not Verb.PERMIT_JOIN:
                name = printable_id(name)
            suffix, payload = order(command, name, self._devices.get(name))
        except (OrderError, RemoteProtocolError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        if suffix.startswith("bridge/"):
            self._pending[command.id] = command.verb.value
            if len(self._pending) > 50:
                del self._pending[next(iter(self._pending))]
        return Output(replies=[Send(json.dumps(payload, ensure_ascii=False).encode(), to=f"{self._base}/{suffix}")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """What is on; definitions come again with the retained list."""
        return self._edges.dump()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        self._edges.load(state)

    def _bridge(self, part: str, frame: Frame, output: Output) -> None:
        if part == "devices":
            self._learn(frame, output)
        elif part == "groups":
            self._groups = frozenset(read_groups(frame.data))
        elif part == "state":
            self._available(frame, "bridge", read_online(frame.data), output)
        elif part == "event":
            self._happened(frame, output)
        elif part.startswith("response/"):
            self._answered(frame, output)

    def _learn(self, frame: Frame, output: Output) -> None:
        known = {device.name: device for device in read_devices(frame.data)}
        # One digest for all of its events: the list is up to megabytes long.
        frame = frame.part(frame.data)
        for device in known.values():
            if self._devices.get(device.name) == device:
                continue
            leaves: dict[str, list[Property]] = {}
            for leaf in device.leaves:
                leaves.setdefault(leaf.path[0], []).append(leaf)
            self._leaves[device.name] = leaves
            model = f"{device.vendor} {device.model}".strip()
            try:
                name = printable_id(device.name)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(frame.data[:200]))
                continue
            if model or device.firmware:
                health = DeviceHealth(model=model or None, firmware=device.firmware or None, serial=device.ieee or None)
                output.events.append(frame.event(f"zigbee2mqtt:{name}", health))
        for name in set(self._leaves) - set(known):
            del self._leaves[name]
        self._devices = known

    def _happened(self, frame: Frame, output: Output) -> None:
        event = load_object(frame.data)
        data, kind = event.get("data"), event.get("type")
        name = data.get("friendly_name") if isinstance(data, dict) else None
        if not isinstance(name, str):
            return
        name = printable_id(name)
        if kind == "device_leave":
            self._available(frame, name, False, output, "left the network")
        elif kind in ("device_joined", "device_announce"):
            self._available(frame, name, True, output)

    def _answered(self, frame: Frame, output: Output) -> None:
        answer = load_object(frame.data)
        command = answer.get("transaction")
        verb = self._pending.pop(command, None) if isinstance(command, str) else None
        if verb is None:
            return
        status = CommandStatus.DONE if answer.get("status") == "ok" else CommandStatus.FAILED
        detail = clean_text(answer["error"]) if isinstance(answer.get("error"), str) else None
        body = CommandResult(command=str(command), verb=verb, status=status, detail=detail)
        output.events.append(frame.event("zigbee2mqtt:bridge", body))

    def _available(self, frame: Frame, name: str, online: bool | None, output: Output, detail: str | None = None) -> None:
        if online is None:
            raise RemoteProtocolError(Reason.RANGE, f"online or offline expected, got {clean_text(repr(frame.data[:40]), 60)}")
        report = _Report(frame, output, f"zigbee2mqtt:{name}")
        output.device = report.device
        self._turn(report, "", Turn(_K.OFFLINE, not online, detail))
        _say(report, DeviceHealth(online=online))

    def _state(self, frame: Frame, name: str, state: dict[str, Any], output: Output) -> None:
        at_ms = time_ms(state["last_seen"]) if state.get("last_seen") is not None else None
        report = _Report(frame, output, f"zigbee2mqtt:{printable_id(name)}", at_ms)
        output.device = report.device
        leaves = self._leaves.get(name)
        definition = self._devices.get(name)
        vitals: dict[str, Any] = {}
        for key, value in list(state.items())[:KEYS_LIMIT]:
            try:
                findings = self._findings(key, value, leaves, definition)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(frame.data))
                continue
            for finding in findings:
                if isinstance(finding, Vital):
                    vitals[finding.name] = finding.value
                else:
                    self._tell(report, key, finding)
        if vitals:
            _say(report, DeviceHealth(**vitals))

    def _findings(self, key: str, value: Any, leaves: dict[str, list[Property]] | None, definition: Definition | None) -> list[Finding]:
        if not leaves or definition is None:
            return guess(key, value)
        found: list[Finding] = []
        for leaf in leaves.get(key, ()):
            inner = value
            for step in leaf.path[1:]:
                inner = inner.get(step, MISSING) if isinstance(inner, dict) else MISSING
            found += understand(leaf, inner, definition) if inner is not MISSING else []
        # The bridge adds these to every state, whatever the device exposes.
        return guess(key, value) if key == "linkquality" and key not in leaves else found

    def _tell(self, report: _Report, key: str, finding: Turn | Pulse | Reading) -> None:
        if isinstance(finding, Turn):
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
        name = f"{report.device}|{turn.kind.value}|{key}"
        began = bool(self._edges.last(name))
        news = self._edges.turn(name, "on" if turn.is_on else "", retained=retained)
        # A lost release must not hide the next press of a help button: it is told whenever it is heard.
        news = news or (turn.kind is _K.SOS and turn.is_on)
        if turn.is_on and retained:
            report.output.tolerated.append(_old(turn, report.frame))
        elif news and (turn.is_on or began or not is_alarm):
            _say(report, Occurrence(kind=turn.kind, state=State.START if turn.is_on else State.END, detail=turn.detail))


def _say(report: _Report, body: Body) -> None:
    event = report.frame.event(report.device, body, at_ms=report.at_ms)
    if report.frame.retained and report.at_ms is None:
        # The broker kept it for hours or weeks: the time of arrival says nothing.
        event = msgspec.structs.replace(event, time_quality=TimeQuality.UNKNOWN)
    report.output.events.append(event)


def _old(finding: Turn | Pulse, frame: Frame) -> Reject:
    return Reject(Reason.UNSUPPORTED, f"retained message: {finding.kind.value} is from before, not news", frame.data[:200])


def _scalar(data: bytes) -> Any:
    """The payload of an attribute topic: JSON where it is some, else text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = data.decode("utf-8", "replace")
        return text if word(text) != "null" else None


DRIVER = Zigbee2Mqtt
