"""Eview care pendants (`protocols.tracker.minifinder2`): what their records mean.

Alarms of a record come out first and each by itself; a place that cannot be read, or an unknown item, takes nothing from them.
A frame with a wrong CRC is refused and not acknowledged: the pendant sends it again. A well-framed record with bad content is
refused and acknowledged, or the pendant would send it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivers.api import (
    DATUM_OPTION,
    QUANTITIES,
    Body,
    Cell,
    Command,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Match,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    Options,
    Output,
    Position,
    Quantity,
    Reason,
    Reject,
    Send,
    Source,
    State,
    Transport,
    Verb,
    WifiAp,
    in_range,
    read_options,
)
from protocols.bits import bit
from protocols.tracker import minifinder2 as wire
from protocols.tracker import minifinder2_records as data
from protocols.tracker.minifinder2_records import Record
from protocols.tracker.requests import Requests

_K, _S = OccurrenceKind, State
ALARMS: dict[int, tuple[OccurrenceKind, State, str | None]] = {
    12: (_K.SOS, _S.START, None),
    2: (_K.FALL, _S.START, None),
    19: (_K.WELFARE_MISSED, _S.START, None),
    11: (_K.NO_MOTION, _S.START, None),
    0: (_K.LOW_BATTERY, _S.START, None),
    1: (_K.OVERSPEED, _S.START, None),
    3: (_K.TILT, _S.START, None),
    8: (_K.POWER_OFF, _S.PULSE, None),
    9: (_K.POWER_ON, _S.PULSE, None),
    10: (_K.MOTION, _S.START, None),
    13: (_K.BUTTON, _S.PULSE, "side button 1"),
    14: (_K.BUTTON, _S.PULSE, "side button 2"),
    15: (_K.CHARGING, _S.START, None),
    16: (_K.CHARGING, _S.END, None),
    17: (_K.SOS, _S.END, "ended on the device"),
    31: (_K.SOUND, _S.PULSE, "barking"),
}
FENCES = {4: 26, 5: 27, 6: 28, 7: 29}
"""Fence alarm bit, and the bit that says entered."""
_KNOWN = sum(1 << index for index in (*ALARMS, *FENCES, *FENCES.values()))
_READINGS: dict[int, tuple[Quantity, str | None]] = {
    data.STEPS: (Quantity.STEPS, None),
    data.ACTIVITY: (Quantity.COUNT, "activity"),
    data.BARKS: (Quantity.COUNT, "bark"),
    data.HEART_RATE: (Quantity.HEART_RATE, None),
    data.SPO2: (Quantity.SPO2, None),
}
_NO_READING = (0, 1, 255)


def _ring(args: dict[str, Any]) -> wire.Message:
    return wire.Message(wire.SERVICE, ((0x20, b""),))


def _numbers(args: dict[str, Any]) -> wire.Message:
    numbers = [str(number) for number in args.get("numbers") or ()]
    if not 1 <= len(numbers) <= 10 or not all(number.removeprefix("+").isdecimal() and len(number) <= 20 for number in numbers):
        raise ValueError("numbers: 1..10 phone numbers expected")
    # Value: u8 flags (bit 7 enabled, 6 accept, 5 SMS, 4 call, 0-3 slot), ASCII digits.
    return wire.Message(wire.CONFIGURATION, tuple((0x30, bytes((0xF0 | slot,)) + number.encode()) for slot, number in enumerate(numbers)))


def _raw(args: dict[str, Any]) -> wire.Message:
    try:
        body = bytes.fromhex(str(args.get("text") or ""))
    except ValueError:
        raise ValueError("text: hex of command and items expected") from None
    items, fault = wire.parse_items(body, 1)
    if not body or fault:
        raise ValueError(f"text: command and items expected, {fault or 'got nothing'}")
    return wire.Message(body[0], items)


_VERBS: dict[Verb, Callable[[dict[str, Any]], wire.Message]] = {
    Verb.RING: _ring,
    Verb.RESTART: lambda args: wire.Message(wire.SYSTEM, ((0x12, b""),)),
    Verb.POWER_OFF: lambda args: wire.Message(wire.SYSTEM, ((0x15, b""),)),
    Verb.SET_SOS_NUMBERS: _numbers,
    Verb.RAW_TEXT: _raw,
}


class Minifinder2:
    """One pendant on one TCP connection."""

    info = DriverInfo(
        name="minifinder2",
        title="Eview care pendant",
        vendor="Eview, MiniFinder, SafeLife",
        models=("EV-07B", "EV-04", "MiniFinder Nano", "MiniFinder Atto"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "fall", "welfare_missed", "no_motion", "low_battery", "overspeed", "tilt",
            "power_off",
            "power_on", "motion", "moving", "button", "charging", "sound", "device_fence_exit", "device_fence_entry", "general_alarm",
            "call_ended", "steps", "count", "heart_rate", "spo2",
        ),
        commands=tuple(_VERBS),
        options=(
            DATUM_OPTION,
            Option("tolerate_crc", "bool", False, "use frames whose CRC does not fit (counted) instead of waiting for a repetition"),
        ),
        source="EV-07B communication protocol v1.2",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._connection = wire.Connection(tolerate_crc=bool(values["tolerate_crc"]))
        self._datum = Datum(values["datum"])
        self._device = f"minifinder2:{device.removeprefix('minifinder2:')}" if device else None
        self._requests: Requests[Command] = Requests()
        self._sequence = 0
        self._moving: bool | None = None
        self._last: tuple[float, float] | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with AB, a sane length and a known command."""
        head = frame.data[:9]
        if head[:1] != b"\xab":
            return Match.NO
        if len(head) < 9:
            return Match.MORE
        return Match.YES if head[8] in wire.COMMANDS and 1 <= int.from_bytes(head[2:4], "little") <= wire.BODY_LIMIT else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._take(found, frame.part(found.raw), output)
        output.device = self._device
        output.wake_s = self._requests.wake_s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The frame that carries out the command; the pendant answers with its sequence number."""
        speak = _VERBS.get(command.verb)
        if speak is None or self._requests.is_full:
            detail = "too many commands are waiting" if speak else "this pendant has no such command"
            return Output(events=[command.result(CommandStatus.FAILED, now, detail)])
        try:
            message = speak(command.args)
        except (ValueError, TypeError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._sequence = self._sequence % 0xFFFF + 1
        sent = wire.encode(message._replace(sequence=self._sequence))
        self._requests.open(str(self._sequence), command, now.s, repeat=sent)
        return Output(replies=[Send(sent)], wake_s=self._requests.wake_s)

    def wake(self, now: Instant) -> Output:
        """Repetitions and losses of commands. A repetition keeps its sequence number, so the pendant can tell it."""
        due = self._requests.due(now.s)
        events = [command.result(CommandStatus.FAILED, now, "the pendant did not answer") for command in due.lost]
        return Output(replies=[Send(sent) for sent in due.repeats], events=events, wake_s=self._requests.wake_s)

    def _take(self, message: wire.Message, frame: Frame, output: Output) -> None:
        imei = data.imei_of(message) if message.command in (wire.DATA, wire.SERVICE) else None
        if imei is not None:
            self._device = f"minifinder2:{imei}"
        if not message.crc_ok:
            output.tolerated.append(Reject(Reason.INTEGRITY, "CRC does not fit", message.raw))
        if message.command == wire.DATA:
            self._data(message, frame, output)
        elif message.command == wire.SERVICE:
            self._service(message, frame, output)
            return
        elif message.command in (wire.RESPONSE, wire.CONFIGURATION, wire.SYSTEM):
            self._response(message, frame, output)
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"command {message.command:02x}", message.raw))
        if message.fault:
            reason = Reason.UNSUPPORTED if message.flags & wire.ENCRYPTED else Reason.TRUNCATED
            output.rejects.append(Reject(reason, message.fault, message.raw))
        if message.wants_ack and message.command != wire.RESPONSE:
            output.acks.append(Send(wire.acknowledgement(message)))

    def _service(self, message: wire.Message, frame: Frame, output: Output) -> None:
        """Heartbeat, address and time: answered at once."""
        value = message.value(wire.HEARTBEAT)
        if self._device:
            battery = value[0] if value and value[0] <= 100 else None
            output.events.append(frame.event(self._device, DeviceHealth(online=True, battery_percent=battery)))
        if message.value(wire.TIME) is not None:
            output.replies.append(Send(wire.time_answer(message, frame.received.ms // 1000)))
        elif message.value(wire.ADDRESS) is not None and self._last is not None:
            lat, lon = self._last
            output.replies.append(Send(wire.address_answer(message, lat, lon, f"{lat:.5f},{lon:.5f}")))
        elif message.wants_ack:
            output.replies.append(Send(wire.acknowledgement(message)))

    def _response(self, message: wire.Message, frame: Frame, output: Output) -> None:
        command = self._requests.answer(str(message.sequence))
        if command is None:
            return
        code = message.items[0][0] if message.command == wire.RESPONSE and message.items else 0
        status = CommandStatus.FAILED if code else CommandStatus.DONE
        output.events.append(command.result(status, frame.received, f"error code {code}" if code else _words(message)))

    def _data(self, message: wire.Message, frame: Frame, output: Output) -> None:
        device = self._device or "minifinder2:unknown"
        is_known = self._device is not None
        if not is_known:
            output.rejects.append(Reject(Reason.UNSUPPORTED, "no IMEI: not logged in", message.raw))
        for record in data.records(message.items):
            events = self._record(record, frame, device)
            output.events += events if is_known else [event for event in events if type(event.body) is Occurrence]
            output.rejects += [Reject(_reason(fault), fault, message.raw) for fault in record.faults]

    def _record(self, record: Record, frame: Frame, device: str) -> list[Event]:
        stored, at_ms = record.is_stored, _ms(record.time_s)
        events: list[Event] = []
        if record.alarms:
            alarm_ms = _ms(record.alarm_s) or at_ms
            events = [frame.event(device, body, at_ms=alarm_ms) for body in _alarms(record.alarms, stored)]
        place = _place(record, stored, self._datum)
        if place is not None:
            events.append(frame.event(device, place, at_ms=at_ms))
            if place.lat is not None and place.lon is not None and not stored:
                self._last = place.lat, place.lon
        health = _health(record)
        if health is not None:
            events.append(frame.event(device, health, at_ms=at_ms))
        for call in record.calls:
            detail = f"{call.duration_s} s, status {call.status}, result {call.result}"
            ended = Occurrence(kind=_K.CALL_ENDED, detail=detail, person=call.number or None, stored=stored)
            events.append(frame.event(device, ended, at_ms=_ms(call.time_s)))
        for reading in record.readings:
            quantity, channel = _READINGS[reading.key]
            if in_range(quantity, reading.value) and not (reading.key in (data.HEART_RATE, data.SPO2) and reading.value in _NO_READING):
                body = Measurement(quantity=quantity, value=reading.value, unit=QUANTITIES[quantity].unit, channel=channel, stored=stored)
                events.append(frame.event(device, body, at_ms=_ms(reading.time_s)))
        if record.status is not None and not stored and bit(record.status, 9) != self._moving:
            self._moving = bit(record.status, 9)
            state = State.START if self._moving else State.END
            events.append(frame.event(device, Occurrence(kind=_K.MOVING, state=state), at_ms=at_ms))
        return events


def _ms(time_s: int | None) -> int | None:
    return time_s * 1000 if time_s else None


def _reason(fault: str) -> Reason:
    return Reason.RANGE if "degrees" in fault else Reason.TRUNCATED


def _words(message: wire.Message) -> str | None:
    """Text of a system answer (key 1F: a number, then words)."""
    value = message.value(0x1F) if message.command == wire.SYSTEM else None
    return value[1:].decode("utf-8", "replace")[:200] if value else None


def _alarms(bits: int, stored: bool) -> list[Body]:
    """Every alarm bit as an occurrence, the urgent ones first."""
    found: list[Body] = [
        Occurrence(kind=kind, state=state, detail=detail, stored=stored)
        for index, (kind, state, detail) in ALARMS.items()
        if bits >> index & 1
    ]
    for fence, entered in FENCES.items():
        if bits >> fence & 1:
            kind = _K.DEVICE_FENCE_ENTRY if bits >> entered & 1 else _K.DEVICE_FENCE_EXIT
            found.append(Occurrence(kind=kind, state=State.START, place=f"fence {fence - 3}", stored=stored))
    if bits & ~_KNOWN:
        found.append(Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=f"alarm bits {bits & ~_KNOWN:08x}", stored=stored))
    return found


def _health(record: Record) -> DeviceHealth | None:
    status = record.status
    if status is None:
        known = record.battery is not None or record.battery_mv is not None
        return DeviceHealth(battery_percent=record.battery, battery_mv=record.battery_mv) if known else None
    battery = record.battery if record.battery is not None else status >> 24
    return DeviceHealth(
        battery_percent=battery if battery <= 100 else None,
        battery_mv=record.battery_mv,
        battery_low=True if record.alarms is not None and record.alarms & 1 else None,
        charging=bool(status & 0x10),
        signal=round((status >> 19 & 31) * 100 / 31),
    )


def _place(record: Record, stored: bool, datum: Datum) -> Position | None:
    """The best place of a record: a fix, else the nearest beacon that knows its place, else the last fix, else what was heard."""
    cells = [Cell(*cell) for cell in record.cells] or None
    wifi = [WifiAp(*ap) for ap in record.wifi] or None
    gnss = record.gnss
    nearest = max(record.beacons, key=lambda beacon: (beacon.place is not None, beacon.dbm or -999), default=None)
    beacon, text = (nearest.id, nearest.text) if nearest else (None, None)
    known: dict[str, Any] = {"datum": datum, "stored": stored, "cells": cells, "wifi": wifi, "beacon": beacon, "place": text}
    if nearest is not None and nearest.place is not None and (gnss is None or gnss.hdop == 0):
        lat, lon = nearest.place
        return Position(lat=lat, lon=lon, source=Source.BEACON, valid=True, **known)
    if gnss is not None:
        return Position(
            lat=gnss.lat,
            lon=gnss.lon,
            source=Source.GNSS,
            valid=gnss.hdop > 0,
            speed_kmh=gnss.speed_kmh,
            course_deg=gnss.course_deg if gnss.course_deg <= 360 else None,
            altitude_m=gnss.altitude_m,
            satellites=gnss.satellites,
            hdop=gnss.hdop or None,
            **known,
        )
    if cells is None and wifi is None and beacon is None:
        return None
    source = Source.BEACON if beacon else Source.WIFI if wifi else Source.CELL
    return Position(source=source, valid=False, **known)


DRIVER = Minifinder2
