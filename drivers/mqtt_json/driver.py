"""JSON and byte payloads over MQTT, turned into events by a mapping (data), or by our own profile where there is no mapping.

Source: protocols/mqtt/mapping.py (the mapping language), protocols/mqtt/device_json.py (the profile `anhu/dev/{device}/up`).
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

import msgspec

from drivers.api import (
    OCCURRENCES,
    VERBS,
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
    Position,
    Quantity,
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
from drivers.api import QUANTITIES as QUANTITY_ROWS
from drivers.mqtt_json.vocabulary import HEALTH, KINDS, QUANTITIES, VITAL_HEALTH
from protocols.errors import LocalProtocolError
from protocols.mqtt import device_json
from protocols.mqtt.edges import Edges
from protocols.mqtt.json_path import clean_text
from protocols.mqtt.mapping import DeviceMapping, Happening, MappingError, Reading, Vocabulary, compile_mapping
from protocols.mqtt.toml_lines import lines_of
from protocols.mqtt.topic import plain_id

PENDING_LIMIT = 200
"""Commands whose answers are awaited; the oldest is forgotten first."""


class MqttJson:
    """Every device of one mapping (or of our profile)."""

    info = DriverInfo(
        name="mqtt_json",
        title="JSON or byte payloads over MQTT, by mapping",
        vendor="any",
        models=("any",),
        transports=(Transport.MQTT,),
        emits=(*QUANTITIES, *KINDS, "position", "health", "command_result"),
        commands=tuple(verb for verb in VERBS if not VERBS[verb].dangerous),
        options=(
            Option("mapping", "table", None, "the mapping: TOML text or table; absent: our own profile anhu/dev/{device}/up"),
            Option("mapping_file", "str", None, "path of a mapping; whoever starts the driver reads it and passes the text as `mapping`"),
        ),
        source="protocols/mqtt/mapping.py, protocols/mqtt/device_json.py",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        self._mapping = read_mapping(options)
        self._device = device.removeprefix("mqtt_json:") if device else ""
        self._edges = Edges()
        self._pending: dict[str, str] = {}

    def topics(self) -> list[str]:
        """The topics of the mapping, or that of the profile."""
        return self._mapping.topics if self._mapping else [device_json.UP.filter]

    def receive(self, frame: Frame) -> Output:
        """Events of every report in one message; a bad field costs itself, not its neighbours."""
        output = Output()
        if not self._mapping and frame.topic.endswith("/down") and device_json.DOWN.match(frame.topic):
            return output  # our own command, echoed by the broker
        try:
            if self._mapping:
                self._mapped(self._mapping, frame, output)
            else:
                self._own(frame, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The command as JSON on the device's topic."""
        device = command.device.removeprefix("mqtt_json:") or self._device
        try:
            topic, payload = self._encoded(command, plain_id(device))
        except (LocalProtocolError, RemoteProtocolError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._pending[command.id] = command.verb.value
        if len(self._pending) > PENDING_LIMIT:
            del self._pending[next(iter(self._pending))]
        return Output(replies=[Send(payload, to=topic)])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """What is on."""
        return self._edges.dump()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        self._edges.load(state)

    def _encoded(self, command: Command, device: str) -> tuple[str, bytes]:
        if VERBS[command.verb].dangerous:
            raise LocalProtocolError(f"{command.verb.value} is not offered: it could cut the device off")
        if not self._mapping:
            return device_json.DOWN.fill({"device": device}), device_json.encode_down(command.id, command.verb.value, command.args)
        found = self._mapping.encode(command.verb.value, device, {"command": command.id, **command.args})
        if found is None:
            known = ", ".join(self._mapping.verbs) or "none"
            raise LocalProtocolError(f"mapping {self._mapping.name} has no command {command.verb.value}; it has {known}")
        topic, payload = found
        return topic, payload.encode() if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False).encode()

    def _mapped(self, mapping: DeviceMapping, frame: Frame, output: Output) -> None:
        for report in mapping.decode(frame.topic, frame.data):
            say = _Voice(frame, output, self._edges, device=f"mqtt_json:{report.device}", at_ms=report.at_ms, ref=report.ref)
            for happening in report.happenings:
                say.happening(happening)
            for reading in report.readings:
                say.reading(reading)
            say.health(report.health)
            say.faults(report.faults)

    def _own(self, frame: Frame, output: Output) -> None:
        message = device_json.decode_up(frame.topic, frame.data, quantities=MAPPABLE_QUANTITIES, kinds=MAPPABLE_KINDS)
        device, at_ms, ref = f"mqtt_json:{message.device}", message.at_ms, message.ref
        say = _Voice(frame, output, self._edges, device=device, at_ms=at_ms, ref=ref, stored=message.stored)
        for happening in message.happenings:
            say.happening(happening)
        if message.fix:
            lat, lon, accuracy = message.fix
            say.body(Position(lat=lat, lon=lon, accuracy_m=accuracy, stored=message.stored))
        for reading in message.readings:
            say.reading(reading)
        say.health(message.health)
        if message.answer:
            command, status, detail = message.answer
            verb = self._pending.get(command, "unknown")
            if status in ("done", "failed"):
                self._pending.pop(command, None)
            say.body(CommandResult(command=command, verb=verb, status=CommandStatus(status), detail=detail))
        say.faults(message.faults)


class _Voice:
    """Builds the events of one report and adds them to the output."""

    def __init__(
        self, frame: Frame, output: Output, edges: Edges, *, device: str, at_ms: int | None, ref: str | None, stored: bool = False
    ) -> None:
        self._frame, self._output, self._device = frame, output, device
        self._at_ms, self._ref, self._edges, self._stored = at_ms, ref, edges, stored
        output.device = device

    def body(self, body: Any) -> None:
        event = self._frame.event(self._device, body, at_ms=self._at_ms, ref=self._ref)
        if self._frame.retained and self._at_ms is None:
            # The broker kept it for hours or weeks: the time of arrival says nothing.
            event = msgspec.structs.replace(event, time_quality=TimeQuality.UNKNOWN)
        self._output.events.append(event)

    def happening(self, happening: Happening) -> None:
        kind, state = OccurrenceKind(happening.kind), State(happening.state)
        is_alarm = OCCURRENCES[kind].lane is Lane.ALARM
        key = f"{self._device}|{kind.value}|{happening.key}"
        retained = self._frame.retained and (is_alarm or state is State.PULSE)
        began = bool(self._edges.last(key))
        news = True
        if state is not State.PULSE and (happening.key or retained):
            news = self._edges.turn(key, "on" if state is State.START else "", retained=retained)
        if retained and state is not State.END:
            detail = f"retained message: {kind.value} is a state from before, not news"
            self._output.tolerated.append(Reject(Reason.UNSUPPORTED, detail, self._frame.data[:200]))
            return
        if not news or (happening.key and is_alarm and state is State.END and not began):
            return
        self.body(Occurrence(kind=kind, state=state, place=happening.place, detail=happening.detail, stored=self._stored))

    def reading(self, reading: Reading) -> None:
        name, value, channel = reading
        quantity, low, high, unit, health = _READINGS[name]
        if not low <= value <= high:
            self.faults([(Reason.RANGE, f"{name}: {value:g} is outside what a working device can report")])
        elif health:
            self.health({health: value})
        else:
            self.body(Measurement(quantity=quantity, value=value, unit=unit, channel=channel, stored=self._stored))

    def health(self, fields: dict[str, Any]) -> None:
        found = {}
        for name, value in fields.items():
            if name not in HEALTH:
                self.faults([(Reason.UNSUPPORTED, f"health: no field is called {clean_text(name, 40)!r}")])
            elif (mended := HEALTH[name].mend(value)) is not None:
                found[name] = mended
            elif value is not None:
                self.faults([(Reason.RANGE, f"{name}: {HEALTH[name].expected} expected, got {clean_text(repr(value), 60)}")])
        if found:
            self.body(DeviceHealth(**found))

    def faults(self, faults: list[tuple[Reason, str]]) -> None:
        self._output.rejects += [Reject(reason, text, self._frame.data[:1024]) for reason, text in faults]


# Dictionaries: every key of every message is looked up here, and hints keep their order.
MAPPABLE_QUANTITIES = dict.fromkeys((*QUANTITIES, *VITAL_HEALTH))
MAPPABLE_KINDS = dict.fromkeys(KINDS)
_READINGS = {
    row.value: (row, QUANTITY_ROWS[row].low, QUANTITY_ROWS[row].high, QUANTITY_ROWS[row].unit, VITAL_HEALTH.get(row.value, ""))
    for row in map(Quantity, MAPPABLE_QUANTITIES)
}
"""What a reading of a name needs: quantity, the range of a working device, unit, and the field of the device's health it belongs to."""
VOCABULARY = Vocabulary(MAPPABLE_QUANTITIES, MAPPABLE_KINDS, tuple(Verb), {name: field.kind for name, field in HEALTH.items()})


def read_mapping(options: Options) -> DeviceMapping | None:
    """The mapping of the options. Raises OptionError with every fault and its line."""
    options = dict(options)
    text = options.get("mapping")
    lines = None
    if isinstance(text, str):
        try:
            options["mapping"] = tomllib.loads(text)
            lines = lines_of(text)
        except tomllib.TOMLDecodeError as error:
            raise OptionError("mqtt_json", [f"mapping: not TOML: {error}"]) from None
    values = read_options(MqttJson.info, options)
    if values["mapping"] is None:
        if values["mapping_file"] is not None:
            raise OptionError("mqtt_json", ["mapping_file: the text of the file must be passed as `mapping`; a driver opens no files"])
        return None
    try:
        return compile_mapping(values["mapping"], VOCABULARY, lines)
    except MappingError as error:
        raise OptionError("mqtt_json", [f"mapping: {fault}" for fault in error.faults]) from None


DRIVER = MqttJson
