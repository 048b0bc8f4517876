"""Receiver for transmission units: data become events and are confirmed after the commit; heartbeats are confirmed at once."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Quantity,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    Severity,
    State,
    Transport,
    Verb,
    in_range,
    read_options,
)
from drivers.events import rfc3339
from drivers.gbt26875.meaning import (
    ANALOGUES,
    ELECTRICAL,
    HELP_WORDS,
    NOTED,
    OWN_PLACE,
    PART_KINDS,
    RESIDUAL_CURRENT,
    SOUNDER,
    SYSTEM_KINDS,
)
from drivers.gbt26875.requests import request_for
from protocols.building import gbt26875_objects as objects
from protocols.building.gbt26875 import (
    HEADER_BYTES,
    MAX_FRAME,
    NOWHERE,
    Message,
    cut,
    decode,
    encode,
    reply,
)
from protocols.building.gbt26875 import (
    Command as Code,
)
from protocols.framing import Framer

RETRY_S = 10.0
TRIES = 3
"""Clause 6.5: at most 10 s, three times."""
MAX_ACTIVE = 4096
"""Conditions that are remembered for their end."""
STORED = 512
"""Of them, the latest outlive a restart."""
_K = OccurrenceKind
_LOUD = frozenset(
    (_K.FIRE, _K.SMOKE, _K.HEAT, _K.GAS, _K.ELECTRICAL_FIRE, _K.SOS, _K.GENERAL_ALARM, _K.CO_ALARM, _K.WATER_LEAK, _K.MEDICAL)
)
"""Told on every frame that carries them: many detectors never report the end, and the next alarm must not look like the last."""


_ROWS: dict[tuple[str, ...], tuple[tuple[int, str, OccurrenceKind, str], ...]] = {
    names: tuple((1 << i, flag, *SYSTEM_KINDS[flag]) for i, flag in enumerate(names) if flag in SYSTEM_KINDS)
    for names in (objects.PART_FLAGS, objects.SYSTEM_FLAGS, objects.UNIT_FLAGS)
}
_NOTED_BITS = sum(1 << i for i, flag in enumerate(objects.SYSTEM_FLAGS) if flag in NOTED)


@dataclass
class _Pending:
    command: Command
    wire: bytes
    due_s: float
    tries: int = 1


class Gbt26875:
    """One transmission unit, or one connection until it shows its address."""

    info = DriverInfo(
        name="gbt26875",
        title="Fire alarm transmission unit (GB/T 26875.3)",
        vendor="any",
        models=("user information transmission unit", "smoke, gas and electrical fire gateways"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(
            *(k.value for k in (
                _K.FIRE, _K.SMOKE, _K.HEAT, _K.GAS, _K.ELECTRICAL_FIRE, _K.SOS, _K.GENERAL_ALARM, _K.FAULT, _K.POWER_CUT, _K.NETWORK_LOST,
                _K.SHIELDED, _K.SUPERVISED, _K.RUNNING, _K.SIREN, _K.TEST, _K.DEVICE_RESET,
            )),
            *(q.value for q, _ in ANALOGUES.values()),
            Quantity.LEAKAGE_CURRENT.value,
            "health",
            "command_result",
        ),
        commands=(Verb.QUERY, Verb.CONFIGURE, Verb.RESTART),
        options=(
            Option("utc_offset_minutes", "int", 480, "offset of the unit's clock (Beijing time: 480)", low=-840, high=840),
            Option("time_format", "str", "auto", "of the times in objects; auto tells BCD by the receive time", choices=("auto", "binary")),
            Option("address_order", "str", "little", "byte order of source and destination", choices=("little", "big")),
            Option("zone_word", "str", "high", "which half of a part address is the zone", choices=("high", "low")),
            Option("confirm", "bool", True, "confirm data and heartbeats (off for boxes that choke on it)"),
            Option("private_parts", "table", {}, 'kinds of part types 128..255: "130" = "sos"'),
            Option("places", "table", {}, 'rooms by "zone/loop" or unit text: "1/2" = "kitchen"'),
        ),
        source="GB/T 26875.3-2011",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._options = values
        self._private = _private_kinds(self.info.name, values["private_parts"])
        self._big = values["address_order"] == "big"
        self._offset_ms = int(values["utc_offset_minutes"]) * 60_000
        self._address = (device or "").removeprefix("gbt26875:")
        self._own = NOWHERE
        self._framer = Framer(cut, limit=MAX_FRAME)
        self._active: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._dumped: bytes | None = None
        self._pending: dict[int, _Pending] = {}
        self._serial = 0

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output()
        framer = Framer(cut, limit=MAX_FRAME) if frame.transport is Transport.UDP else self._framer
        found = framer.feed(frame.data)
        if frame.transport is Transport.UDP:
            found += framer.close()
        for raw in found:
            if isinstance(raw, Reject):
                output.rejects.append(raw)
                continue
            try:
                self._message(decode(raw, big_endian_address=self._big), frame.part(raw), output)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(raw))
                self._deny(raw, frame, output)
        output.wake_s = min((p.due_s for p in self._pending.values()), default=None)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A request or control frame; the result comes with confirm, answer or deny, or after three tries."""
        if command.verb not in self.info.commands:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"a transmission unit cannot {command.verb.value}")])
        if len(self._address) != len(NOWHERE):
            return Output(events=[command.result(CommandStatus.FAILED, now, "the unit has not reported yet")])
        try:
            code, unit = request_for(command, now.ms + self._offset_ms)
        except ValueError as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._serial = self._serial % 0xFFFF + 1
        message = Message(self._serial, code, unit, self._own, self._address, now.ms + self._offset_ms)
        wire = encode(message, big_endian_address=self._big)
        self._pending[self._serial] = _Pending(command, wire, now.s + RETRY_S)
        return Output(replies=[Send(wire)], wake_s=now.s + RETRY_S)

    def wake(self, now: Instant) -> Output:
        """Repeats what was not answered; gives up after three tries."""
        output = Output()
        for serial, pending in list(self._pending.items()):
            if now.s < pending.due_s:
                continue
            if pending.tries >= TRIES:
                del self._pending[serial]
                output.events.append(pending.command.result(CommandStatus.FAILED, now, f"no answer to {TRIES} requests"))
                continue
            pending.tries += 1
            pending.due_s = now.s + RETRY_S
            output.replies.append(Send(pending.wire))
        output.wake_s = min((p.due_s for p in self._pending.values()), default=None)
        return output

    def dump(self) -> bytes:
        """The conditions that have begun. Asked for after every read, heartbeats included, so it is written when they change."""
        if self._dumped is None:
            self._dumped = json.dumps(list(self._active.items())[-STORED:]).encode()
        return self._dumped

    def load(self, state: bytes) -> None:
        """Take them back; a damaged state is ignored."""
        try:
            rows = [(str(key), (OccurrenceKind(kind).value, str(place))) for key, (kind, place) in json.loads(state)]
        except (ValueError, TypeError):
            return
        self._active = OrderedDict(rows)
        self._dumped = None

    # --- frames

    def _message(self, message: Message, frame: Frame, output: Output) -> None:
        self._address, self._own = message.source, message.dest
        output.device = f"gbt26875:{message.source}"
        if message.command in (Code.CONFIRM, Code.DENY):
            self._settle(message, frame.received, output)
            return
        if message.is_heartbeat:
            output.events.append(frame.event(output.device, DeviceHealth(online=True)))
            self._confirm(message, frame, output.replies)
            return
        try:
            if message.command in (Code.SEND, Code.ANSWER):
                self._unit(message, frame, output)
            else:
                raise RemoteProtocolError(Reason.UNSUPPORTED, f"command {message.command}", frame.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject())
        if message.command == Code.ANSWER:
            self._settle(message, frame.received, output)
        elif message.command not in (Code.REQUEST, Code.CONTROL):
            self._confirm(message, frame, output.acks)

    def _confirm(self, message: Message, frame: Frame, out: list[Send]) -> None:
        if self._options["confirm"]:
            out.append(Send(encode(reply(message, Code.CONFIRM, frame.received.ms + self._offset_ms), big_endian_address=self._big)))

    def _deny(self, raw: bytes, frame: Frame, output: Output) -> None:
        """Clause 6.3: a frame with a wrong sum is denied, so that the unit repeats it without waiting."""
        if len(raw) < HEADER_BYTES or raw[26] not in (Code.SEND, Code.ANSWER) or not self._options["confirm"]:
            return
        step = 1 if self._big else -1
        serial = int.from_bytes(raw[2:4], "little")
        source, dest = raw[12:18][::step].hex(), raw[18:24][::step].hex()
        denial = Message(serial, Code.DENY, b"", dest, source, frame.received.ms + self._offset_ms, (raw[4], raw[5]))
        output.replies.append(Send(encode(denial, big_endian_address=self._big)))

    def _settle(self, message: Message, now: Instant, output: Output) -> None:
        pending = self._pending.pop(message.serial, None)
        if pending is None:
            return
        denied = message.command == Code.DENY
        status = CommandStatus.FAILED if denied else CommandStatus.DONE
        output.events.append(pending.command.result(status, now, "denied by the unit" if denied else None))

    # --- meaning

    def _unit(self, message: Message, frame: Frame, output: Output) -> None:
        wall_ms = frame.received.ms + self._offset_ms
        unit = objects.decode_unit(message.unit, wall_ms if self._options["time_format"] == "auto" else None)
        output.rejects += unit.rejects
        told = len(output.events)
        for thing in unit.objects:
            local_ms = getattr(thing, "local_ms", None)
            at_ms = None if local_ms is None or isinstance(thing, objects.Clock | objects.UnitClock) else local_ms - self._offset_ms
            for body in self._bodies(thing, output):
                output.events.append(frame.event(output.device or "", body, at_ms=at_ms))
        if len(output.events) == told and unit.objects:
            output.events.append(frame.event(output.device or "", DeviceHealth(online=True)))

    def _bodies(self, thing: objects.Object, output: Output) -> list[Body]:
        match thing:
            case objects.PartState():
                return self._part(thing)
            case objects.SystemState():
                return self._system(thing)
            case objects.UnitState():
                return self._states("unit", "unit", thing.state, objects.UNIT_FLAGS)
            case objects.Analogue():
                return self._analogue(thing, output)
            case objects.Operation():
                scope, names = f"{thing.system}/{thing.address}/", objects.OPERATIONS
                return self._operation(scope, f"system {thing.system}/{thing.address}", objects.flags(thing.bits, names), thing.operator)
            case objects.UnitOperation():
                return self._operation("", "unit", objects.flags(thing.bits, objects.UNIT_OPERATIONS), thing.operator)
            case objects.UnitVersion():
                return [DeviceHealth(firmware=f"{thing.major}.{thing.minor}")]
            case objects.Version():
                return [DeviceHealth(parameters={f"version {thing.system}/{thing.address}": f"{thing.major}.{thing.minor}"})]
            case objects.UnitSettings():
                return [DeviceHealth(parameters={"settings": thing.text})]
            case objects.Settings():
                return [DeviceHealth(parameters={f"settings {thing.system}/{thing.address}": thing.text})]
            case objects.PartSettings():
                return [DeviceHealth(parameters={f"part {self._zone(thing.part_address)}": thing.text})]
            case objects.Clock() | objects.UnitClock():
                text = "unset" if thing.local_ms is None else _clock(thing.local_ms)
                return [DeviceHealth(parameters={"clock": text})]
            case _:
                output.rejects.append(Reject(Reason.UNSUPPORTED, f"a query (type {thing.type}) sent to a centre"))
                return []

    def _part(self, part: objects.PartState) -> list[Body]:
        zone = self._zone(part.part_address)
        places: dict[str, Any] = self._options["places"]
        place = str(places.get(zone) or places.get(part.text) or part.text or zone)
        key = f"{part.system}/{part.address}/{part.part}/{part.part_address}"
        kind = self._fire_kind(part)
        name = objects.PART_NAMES.get(part.part, f"private part {part.part}")
        bodies = self._states(key, place, part.state, objects.PART_FLAGS, fire=kind, name=f"{name}, {zone}")
        if part.part in ELECTRICAL:
            # Monitors of residual current and cable heat report their alarm as a supervisory signal.
            bodies += self._change(
                f"{key}|risk", bool(part.state & 0x10), _K.ELECTRICAL_FIRE, place=place, detail=name, severity=Severity.WARNING
            )
        return bodies

    def _fire_kind(self, part: objects.PartState) -> OccurrenceKind:
        if part.part < 128:
            return PART_KINDS.get(part.part, _K.FIRE)
        configured = self._private.get(part.part)
        if configured is not None:
            return configured
        return _K.SOS if any(word in part.text for word in HELP_WORDS) else _K.GENERAL_ALARM

    def _system(self, system: objects.SystemState) -> list[Body]:
        key = f"{system.system}/{system.address}"
        place = f"system {key}"
        name = objects.SYSTEM_NAMES.get(system.system, f"private system {system.system}")
        bodies = self._states(key, place, system.state, objects.SYSTEM_FLAGS, name=name)
        if system.state & 0x2000:
            bodies += [Occurrence(kind=_K.DEVICE_RESET, place=place, detail=name), *self._end_alarms(f"{key}/", "reset")]
        return bodies

    def _states(
        self, key: str, place: str, state: int, names: tuple[str, ...], *, fire: OccurrenceKind | None = None, name: str = ""
    ) -> list[Body]:
        """Begin and end of every flag, and what is only noted."""
        bodies: list[Body] = []
        for mask, flag, kind, word in _ROWS[names]:
            on, path = bool(state & mask), f"{key}|{flag}"
            if not on and path not in self._active:
                continue
            if flag == "fire_alarm" and fire is not None:
                kind, word = fire, "alarm"  # noqa: PLW2901  # the part tells what its fire bit means
            elif flag == "started" and key.split("/")[2:3] == [str(SOUNDER)]:
                kind = _K.SIREN  # noqa: PLW2901  # as above
            where = f"{place} {word}" if flag in OWN_PLACE else place
            bodies += self._change(path, on, kind, place=where, detail=f"{word}, {name}" if name else word)
        # Bit 0 clear alone means test; with other bits set, units in the field leave it clear although they run.
        if state == 0 or f"{key}|test" in self._active:
            bodies += self._change(f"{key}|test", state == 0, _K.TEST, place=place, detail=name or None)
        if state & _NOTED_BITS and names is not objects.UNIT_FLAGS:
            noted = [text for flag, text in NOTED.items() if flag in objects.flags(state, names)]
            bodies += [DeviceHealth(parameters={place: ", ".join(noted)})] if noted else []
        return bodies

    def _change(
        self, key: str, on: bool, kind: OccurrenceKind, *, place: str, detail: str | None, severity: Severity | None = None
    ) -> list[Body]:  # fmt: skip
        was = self._active.get(key)
        if on != (was is not None) or len(self._active) > STORED:
            self._dumped = None
        if on:
            self._active[key] = (kind.value, place)
            self._active.move_to_end(key)
            if len(self._active) > MAX_ACTIVE:
                self._active.popitem(last=False)
            told = was is not None and kind not in _LOUD
            return [] if told else [Occurrence(kind=kind, state=State.START, place=place, detail=detail, severity=severity)]
        if was is None:
            return []
        del self._active[key]
        return [Occurrence(kind=OccurrenceKind(was[0]), state=State.END, place=was[1], detail=detail, severity=severity)]

    def _end_alarms(self, scope: str, why: str) -> list[Body]:
        """Ends of the fire alarms under a system (or of all): the operator reset or cleared them."""
        ended = [key for key in self._active if key.startswith(scope) and key.endswith("|fire_alarm")]
        bodies: list[Body] = []
        for key in ended:
            kind, place = self._active.pop(key)
            self._dumped = None
            bodies.append(Occurrence(kind=OccurrenceKind(kind), state=State.END, place=place, detail=why))
        return bodies

    def _operation(self, scope: str, place: str, names: list[str], operator: int) -> list[Body]:
        who = f"operator {operator}"
        bodies: list[Body] = []
        for name in names:
            match name:
                case "reset":
                    bodies += [Occurrence(kind=_K.DEVICE_RESET, place=place, person=who), *self._end_alarms(scope, "reset")]
                case "alarm_cleared":
                    bodies += self._end_alarms(scope, "cleared by operator")
                case "manual_alarm":
                    bodies.append(Occurrence(kind=_K.FIRE, state=State.START, place=place, detail="manual alarm", person=who))
                    self._active[f"{scope or 'unit/'}manual|fire_alarm"] = (_K.FIRE.value, place)
                    self._dumped = None
                case "mute":
                    bodies.append(Occurrence(kind=_K.SIREN, state=State.END, place=place, detail="muted", person=who))
                case "self_test" | "test":
                    bodies.append(Occurrence(kind=_K.TEST, place=place, detail=name.replace("_", " "), person=who))
        done = ", ".join(name.replace("_", " ") for name in names)
        return [*bodies, DeviceHealth(parameters={"operation": f"{done} by {who} at {place}"})]

    def _analogue(self, thing: objects.Analogue, output: Output) -> list[Body]:
        row = ANALOGUES.get(thing.kind)
        if row is None:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"analogue kind {thing.kind}"))
            return []
        quantity, factor = row
        if thing.part == RESIDUAL_CURRENT and quantity is Quantity.CURRENT:
            quantity, factor = Quantity.LEAKAGE_CURRENT, 1000
        value = round(thing.value * factor, 4)
        if not in_range(quantity, value):
            output.rejects.append(Reject(Reason.RANGE, f"{quantity.value} {value} is no reading"))
            return []
        return [Measurement(quantity=quantity, value=value, channel=self._zone(thing.part_address))]

    def _zone(self, address: int) -> str:
        high, low = address >> 16, address & 0xFFFF
        return f"{high}/{low}" if self._options["zone_word"] == "high" else f"{low}/{high}"


def _clock(local_ms: int) -> str:
    return rfc3339(local_ms)[:19].replace("T", " ")


def _private_kinds(driver: str, table: dict[str, Any]) -> dict[int, OccurrenceKind]:
    kinds, faults = {}, []
    for key, value in table.items():
        if not str(key).isdecimal() or not 128 <= int(key) <= 255 or value not in list(_K):
            faults.append(f"private_parts.{key}: part type 128..255 and an occurrence kind expected, got {value!r}")
        else:
            kinds[int(key)] = OccurrenceKind(value)
    if faults:
        raise OptionError(driver, faults)
    return kinds


DRIVER = Gbt26875
