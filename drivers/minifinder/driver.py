"""Older Eview care pendants (`protocols.tracker.minifinder`): what their messages mean, and what each verb says.

The device names itself once (!1); what comes before is refused, except alarms. Nothing is ever acknowledged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from drivers.api import (
    DATUM_OPTION,
    Body,
    Command,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Occurrence,
    OccurrenceKind,
    Option,
    Options,
    Output,
    Position,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    Source,
    State,
    Transport,
    Verb,
    read_options,
)
from protocols.bits import bit
from protocols.tracker import minifinder as wire
from protocols.tracker.minifinder import MinifinderConnection, MinifinderMessage, MinifinderPosition
from protocols.tracker.requests import Requests
from protocols.tracker.zone import LearntZone

_K = OccurrenceKind
ALARMS: tuple[tuple[int, OccurrenceKind, str | None], ...] = (
    (wire.SOS, _K.SOS, None),
    (wire.FALL, _K.FALL, None),
    (wire.FENCE_1, _K.DEVICE_FENCE_EXIT, "fence 1"),
    (wire.FENCE_1 + 1, _K.DEVICE_FENCE_EXIT, "fence 2"),
    (wire.FENCE_1 + 2, _K.DEVICE_FENCE_EXIT, "fence 3"),
    (wire.LOW_BATTERY, _K.LOW_BATTERY, None),
    (wire.OVERSPEED, _K.OVERSPEED, None),
    (wire.FAULT, _K.FAULT, None),
)
_NUMBER = re.compile(r"\+?[0-9]{1,20}").fullmatch
_SETTINGS = {"movement_alarm": "W1,", "fence_1": "R1", "save_power": "SP", "led": "LED"}


def _sos(args: dict[str, Any]) -> list[str]:
    numbers = [str(number) for number in args.get("numbers") or ()]
    if not 1 <= len(numbers) <= 3 or not all(map(_NUMBER, numbers)):
        raise ValueError("numbers: 1..3 phone numbers expected")
    return [f"{letter}1,{number}" for letter, number in zip("ABC", numbers, strict=False)]


def _listen(args: dict[str, Any]) -> list[str]:
    if not str(args.get("consent") or "").strip():
        raise ValueError("consent: name of the record that allows listening in expected")
    return ["P1"]


def _zone(args: dict[str, Any]) -> list[str]:
    minutes = args.get("offset_minutes")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not -720 <= minutes <= 840 or minutes % 60:
        raise ValueError(f"offset_minutes: whole hours within -720..840 expected, got {minutes!r}")
    return [f"L{minutes // 60:+03d}"]


def _configure(args: dict[str, Any]) -> list[str]:
    name, value = str(args.get("name")), str(args.get("value"))
    if name not in _SETTINGS or not re.fullmatch(r"[0-9A-Za-z]{1,12}", value):
        raise ValueError(f"name: one of {', '.join(_SETTINGS)} and a plain value expected")
    return [_SETTINGS[name] + value]


def _raw(args: dict[str, Any]) -> list[str]:
    text = str(args.get("text") or "")
    if not (1 <= len(text) <= 200 and text.isascii() and text.isprintable()):
        raise ValueError("text: 1..200 printable ASCII characters expected")
    return [text]


_VERBS: dict[Verb, Callable[[dict[str, Any]], list[str]]] = {
    Verb.SET_SOS_NUMBERS: _sos,
    Verb.FALL_DETECTION: lambda args: ["F1" if args.get("on") else "F0"],
    Verb.LISTEN_IN: _listen,
    Verb.SET_TIME_ZONE: _zone,
    Verb.CONFIGURE: _configure,
    Verb.RAW_TEXT: _raw,
}


class Minifinder:
    """One pendant on one TCP connection."""

    info = DriverInfo(
        name="minifinder",
        title="Older Eview care pendant",
        vendor="Eview, MiniFinder",
        models=("EV-07P", "EV-07S", "EV-07W", "MiniFinder Pico", "TK5"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "fall", "device_fence_exit", "low_battery", "overspeed", "fault", "motion",
            "charging",
        ),
        commands=tuple(_VERBS),
        options=(DATUM_OPTION, Option("password", "str", "123456", "password that stands before every command", secret=True),),
        source="EV-07S GPRS protocol",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._password = str(values["password"])
        self._datum = Datum(values["datum"])
        self._zone = LearntZone()
        self._connection = MinifinderConnection()
        self._device = f"minifinder:{device.removeprefix('minifinder:')}" if device else None
        self._requests: Requests[Command] = Requests()
        self._charging: bool | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with a login or a report."""
        if re.match(rb"\0?![1345A-D],", frame.data):
            return Match.YES
        return Match.MORE if re.fullmatch(rb"\0?(?:!(?:[1345A-D])?)?", frame.data) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
                continue
            try:
                self._read(found, frame.part(found.raw), output)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(found.raw))
        output.device, output.wake_s = self._device, self._requests.wake_s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The texts that carry out the command; the device answers `!3,..` to each, without saying to which."""
        speak = _VERBS.get(command.verb)
        if speak is None or self._requests.is_full:
            why = "this pendant has no such command over the network" if speak is None else "too many commands are waiting"
            return Output(events=[command.result(CommandStatus.FAILED, now, why)])
        try:
            texts = speak(command.args)
        except (ValueError, TypeError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        sent = [(self._password + text).encode() for text in texts]
        self._requests.open("3", command, now.s, repeat=b"" if command.verb in (Verb.LISTEN_IN, Verb.RAW_TEXT) else sent[0])
        return Output(replies=[Send(data) for data in sent], wake_s=self._requests.wake_s)

    def wake(self, now: Instant) -> Output:
        """Repetitions and losses of commands."""
        due = self._requests.due(now.s)
        events = [command.result(CommandStatus.FAILED, now, "the pendant did not answer") for command in due.lost]
        return Output(replies=[Send(sent) for sent in due.repeats], events=events, wake_s=self._requests.wake_s)

    def dump(self) -> bytes:
        """The zone of the pendant's clock (`L+08` sets it), once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _read(self, message: MinifinderMessage, frame: Frame, output: Output) -> None:
        kind = message.kind
        if kind in ("A", "B", "C", "D"):
            self._position(message, frame, output)
        elif kind == "1":
            imei = wire.imei_of(message)
            if imei is None:
                raise RemoteProtocolError(Reason.RANGE, "IMEI expected", message.raw)
            self._device = f"minifinder:{imei}"
            self._say([DeviceHealth(online=True)], frame, output)
        elif kind == "3":
            command = self._requests.answer("3")
            if command is not None:
                refused = "err" in message.body.lower() or "fail" in message.body.lower()
                status = CommandStatus.FAILED if refused else CommandStatus.DONE
                output.events.append(command.result(status, frame.received, message.body[:200] or None))
        elif kind == "4":
            # The last digits tell whether the right number is set; the whole one is nobody's business upstream.
            numbers = {f"number_{index}": number[-4:] for index, number in enumerate(message.fields[:8], 1) if _NUMBER(number)}
            self._say([DeviceHealth(parameters=numbers)] if numbers else [], frame, output)
        elif kind == "5":
            self._say([_state(message.fields)], frame, output)
        else:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"unknown message !{kind}", message.raw)

    def _say(self, bodies: list[Body], frame: Frame, output: Output, at_ms: int | None = None) -> None:
        """Events of the device; of one that has not named itself only its alarms."""
        if self._device is not None:
            output.events += [frame.event(self._device, body, at_ms=at_ms) for body in bodies]
            return
        output.events += [frame.event("minifinder:unknown", body, at_ms=at_ms) for body in bodies if isinstance(body, Occurrence)]
        output.rejects.append(Reject(Reason.UNSUPPORTED, "not logged in", frame.data))

    def _position(self, message: MinifinderMessage, frame: Frame, output: Output) -> None:
        stored = message.kind == "B"
        position = wire.parse_position(message)
        flags = position.flags or 0
        bodies = _alarms(flags, stored)
        if position.lat is not None:
            bodies.append(_place(position, stored, self._datum))
        if position.flags is not None:
            charging = bit(flags, wire.CHARGING)
            if not stored and (charging or self._charging is not None) and charging != self._charging:
                self._charging = charging
                bodies.append(Occurrence(kind=_K.CHARGING, state=State.START if charging else State.END))
            low = bit(flags, wire.LOW_BATTERY)
            signal = round((flags >> wire.SIGNAL & 31) * 100 / 31)
            bodies.append(DeviceHealth(battery_percent=position.battery, battery_low=low, charging=charging, signal=signal))
        at_ms = self._zone.stored(position.clock_ms) if stored else self._zone.live(position.clock_ms, frame.received.ms)
        learnt = self._zone.news()
        if learnt is not None:
            bodies.append(DeviceHealth(parameters={"utc_offset_minutes": str(learnt)}))
        self._say(bodies, frame, output, at_ms)
        if position.fault:
            raise RemoteProtocolError(Reason.RANGE, position.fault, message.raw)


def _alarms(flags: int, stored: bool) -> list[Body]:
    found: list[Body] = [
        Occurrence(kind=kind, state=State.START, place=place, stored=stored) for index, kind, place in ALARMS if flags >> index & 1
    ]
    if bit(flags, wire.MOVEMENT) or bit(flags, wire.MOVEMENT_2):
        found.append(Occurrence(kind=_K.MOTION, state=State.START, stored=stored))
    return found


def _place(position: MinifinderPosition, stored: bool, datum: Datum) -> Position:
    """A fix of the satellites, of the network (flag 1), or, without both flags, the last one."""
    flags = position.flags if position.flags is not None else 1 << wire.FIX
    has_fix, has_other = bit(flags, wire.FIX), bit(flags, wire.OTHER_FIX)
    return Position(
        lat=position.lat,
        lon=position.lon,
        datum=datum,
        source=Source.CELL if has_other and not has_fix else Source.GNSS,
        valid=has_fix or has_other,
        speed_kmh=position.speed_kmh,
        course_deg=position.course_deg,
        altitude_m=position.altitude_m,
        satellites=position.satellites,
        hdop=position.hdop,
        stored=stored,
    )


def _state(fields: list[str]) -> DeviceHealth:
    csq = int(fields[0]) if fields and fields[0].isascii() and fields[0].isdecimal() and len(fields[0]) <= 2 else 99
    battery = fields[2] if len(fields) > 2 and fields[2].isascii() and fields[2].isdecimal() and len(fields[2]) <= 3 else ""
    return DeviceHealth(
        online=True,
        signal=round(csq * 100 / 31) if csq <= 31 else None,
        battery_percent=int(battery) if battery and int(battery) <= 100 else None,
    )


DRIVER = Minifinder
