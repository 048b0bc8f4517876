"""Health watches of the TRV / IW protocol (`protocols.tracker.trv`): what their messages mean, and what each verb says.

The watch names itself once, in AP00; what comes before is refused, except alarms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from drivers.api import (
    DATUM_OPTION,
    Body,
    Cell,
    Command,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
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
    RemoteProtocolError,
    Send,
    Source,
    State,
    Transport,
    Verb,
    WifiAp,
    read_options,
)
from drivers.trv import readings
from protocols.tracker import trv
from protocols.tracker.requests import Requests
from protocols.tracker.trv import TrvConnection, TrvMessage, TrvPosition
from protocols.tracker.zone import LearntZone

_K = OccurrenceKind
ALARMS = {1: _K.SOS, 2: _K.LOW_BATTERY, 3: _K.REMOVED, 4: _K.WORN, 5: _K.FALL, 6: _K.FALL}
"""Alarm codes of AP10; 04 as the H10 watch uses it."""
POSITIONS = frozenset({"AP01", "AP10", "YP03", "YP14"})
ALARM_CODES = frozenset({"AP10", "YP14"})
DOUBT_S = 1.0
_UNREPEATED = frozenset({"AP40", "AP18", "AP31", "AP17"})
_NUMBER = re.compile(r"\+?[0-9*#]{1,20}").fullmatch


def _numbers(args: dict[str, Any], most: int = 3) -> list[str]:
    numbers = [str(number) for number in args.get("numbers") or ()]
    if not 1 <= len(numbers) <= most or not all(map(_NUMBER, numbers)):
        raise ValueError(f"numbers: 1..{most} phone numbers expected")
    return numbers + [""] * (most - len(numbers))


def _hex(text: Any, most: int = 200) -> str:
    words = str(text or "")
    if not 1 <= len(words) <= most:
        raise ValueError(f"text: 1..{most} characters expected")
    return words.encode("utf-16-be", "replace").hex().upper()


def _whole(args: dict[str, Any], name: str, low: int, high: int) -> int:
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: {low}..{high} expected, got {value!r}")
    return value


def _book(args: dict[str, Any]) -> tuple[str, list[str]]:
    entries = args.get("entries") or []
    pairs = [tuple(entry) if isinstance(entry, list | tuple) and len(entry) == 2 else (entry, entry) for entry in entries]
    if not 1 <= len(pairs) <= 10 or not all(_NUMBER(str(phone)) for _, phone in pairs):
        raise ValueError("entries: 1..10 pairs of name and number expected")
    return "14", [f"{_hex(name, 20)}|{phone}" for name, phone in pairs]


def _measure(args: dict[str, Any]) -> tuple[str, list[str]]:
    quantity, interval = str(args.get("quantity")), args.get("interval_s")
    if interval is not None and quantity in ("heart_rate", "blood_pressure"):
        minutes = str(_whole(args, "interval_s", 0, 86_400) // 60)
        return "86", [minutes, minutes]
    codes = {"heart_rate": "XL", "blood_pressure": "XY", "systolic": "XY", "body_temperature": "XT", "spo2": "XZ"}
    if quantity not in codes:
        raise ValueError("quantity: heart_rate, blood_pressure, body_temperature or spo2 expected")
    return codes[quantity], []


def _remind(args: dict[str, Any]) -> tuple[str, list[str]]:
    time = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(args.get("time") or ""))
    days = str(args.get("days") or "daily")
    if time is None or not (days in ("daily", "once") or re.fullmatch("[01]{7}", days)):
        raise ValueError("time: HH:MM and days: once, daily or seven digits 0 and 1 from Sunday expected")
    mask = "1111111" if days == "daily" else "0000000" if days == "once" else days
    # The watch numbers the days 1 Monday to 7 Sunday.
    weekdays = "".join(str(day or 7) for day in (1, 2, 3, 4, 5, 6, 0) if mask[day] == "1")
    return "25", [f"{int(time[1]):02d}{time[2]}|{weekdays}|1"]


def _configure(args: dict[str, Any]) -> tuple[str, list[str]]:
    codes = {"center": "11", "mode": "33", "hours": "34", "not_worn_alarm": "84"}
    name, value = str(args.get("name")), str(args.get("value"))
    if name not in codes or not re.fullmatch(r"[0-9A-Za-z+|@:.-]{1,64}(,[0-9A-Za-z+|@:.-]{1,64}){0,8}", value):
        raise ValueError(f"name: one of {', '.join(codes)} and a plain value expected")
    return codes[name], [value]


_VERBS: dict[Verb, Callable[[dict[str, Any]], tuple[str, list[str]]]] = {
    Verb.LOCATE: lambda args: ("16", []),
    Verb.SET_SOS_NUMBERS: lambda args: ("12", _numbers(args)),
    Verb.SET_PHONE_BOOK: _book,
    Verb.SET_INTERVAL: lambda args: ("15", [str(_whole(args, "seconds", 10, 65535))]),
    Verb.RESTART: lambda args: ("18", []),
    Verb.FACTORY_RESET: lambda args: ("17", []),
    Verb.POWER_OFF: lambda args: ("31", []),
    Verb.MESSAGE: lambda args: ("40", [_hex(args.get("text"))]),
    Verb.MEASURE: _measure,
    Verb.REMIND: _remind,
    Verb.CONFIGURE: _configure,
}


class Trv:
    """One watch on one TCP connection."""

    info = DriverInfo(
        name="trv",
        title="Health watch, TRV / IW protocol",
        vendor="ThinkRace and others",
        models=("ThinkRace PT", "H10", "beehome"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "fall", "low_battery", "removed", "worn", "no_motion", "general_alarm",
            "message_received", "heart_rate", "systolic", "diastolic", "spo2", "glucose", "body_temperature", "steps", "tumbles",
        ),
        commands=tuple(_VERBS),
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 480, "zone that the watch is told at login, minutes from UTC", low=-720, high=840),
        ),
        source="GPS Watch Communication Protocol (IW), 2023",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._zone_minutes = int(values["utc_offset_minutes"])
        self._datum = Datum(values["datum"])
        self._zone = LearntZone()
        self._connection = TrvConnection()
        self._device = f"trv:{device.removeprefix('trv:')}" if device else None
        self._maker = "IW"
        self._requests: Requests[Command] = Requests()
        self._serial_s = 0
        self._removed = False
        self._doubt_s: float | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with a maker and a code of a device."""
        data = frame.data.lstrip(b"\r\n")
        if re.match(rb"(?:TRV|[A-Z]{2})[ACY]P[0-9A-Z]{2}", data):
            return Match.YES
        return (
            Match.MORE
            if len(data) < trv.HEADER_BYTES and re.fullmatch(rb"(?:TRV?|[A-Z]{1,2}|(?:TRV|[A-Z]{2})[ACY]P?.?)?", data)
            else Match.NO
        )

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._doubt_s = frame.received.s + DOUBT_S if self._connection.is_doubtful else None
        output.device, output.wake_s = self._device, self._wake_s()
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The frame that carries out the command: `IWBPnn,<imei>,<serial>,..#`, answered by `IWAPnn,<serial>..#`."""
        speak = _VERBS.get(command.verb)
        if speak is None or self._device is None or self._requests.is_full:
            why = "this watch has no such command" if speak is None else "the watch is not connected"
            return Output(
                events=[command.result(CommandStatus.FAILED, now, "too many commands are waiting" if self._requests.is_full else why)]
            )
        try:
            code, fields = speak(command.args)
        except (ValueError, TypeError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._serial_s = max(self._serial_s + 1, now.ms // 1000)
        serial = f"{datetime.fromtimestamp(self._serial_s, UTC):%H%M%S}"
        sent = trv.report(self._maker, f"BP{code}", self._device.removeprefix("trv:"), serial, *fields)
        self._requests.open(f"AP{code}", command, now.s, repeat=b"" if f"AP{code}" in _UNREPEATED else sent)
        return Output(replies=[Send(sent)], wake_s=self._wake_s())

    def wake(self, now: Instant) -> Output:
        """Frames that waited for a doubtful end, repetitions and losses of commands."""
        output = Output()
        if self._doubt_s is not None and now.s >= self._doubt_s:
            self._doubt_s = None
            for found in self._connection.flush():
                self._take(found, Frame(data=b"", received=now), output)
        due = self._requests.due(now.s)
        output.replies += [Send(sent) for sent in due.repeats]
        output.events += [command.result(CommandStatus.FAILED, now, "the watch did not answer") for command in due.lost]
        output.device, output.wake_s = self._device, self._wake_s()
        return output

    def dump(self) -> bytes:
        """The zone of the times that the watch sends, once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _wake_s(self) -> float | None:
        asked_s, doubt_s = self._requests.wake_s, self._doubt_s
        return doubt_s if asked_s is None else asked_s if doubt_s is None else min(asked_s, doubt_s)

    def _take(self, found: TrvMessage | Reject, frame: Frame, output: Output) -> None:
        if isinstance(found, Reject):
            output.rejects.append(found)
            return
        self._maker = found.maker
        part = frame.part(found.raw)
        if found.code == "AP00":
            imei = trv.imei_of(found)
            if imei is None:
                output.rejects.append(Reject(Reason.RANGE, "IMEI expected", found.raw))
                return
            self._device = f"trv:{imei}"
        try:
            self._read(found, part, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(found.raw))
        answer = trv.answer(found, now_ms=frame.received.ms, zone_minutes=self._zone_minutes)
        if answer is not None and (self._device is not None or found.code in ALARM_CODES):
            (output.replies if found.code in trv.HEARTBEATS else output.acks).append(Send(answer))

    def _say(self, bodies: list[Body], frame: Frame, output: Output, at_ms: int | None = None) -> None:
        """Events of the watch; of a watch that has not named itself only its alarms."""
        if self._device is not None:
            output.events += [frame.event(self._device, body, at_ms=at_ms) for body in bodies]
            return
        output.events += [frame.event("trv:unknown", body, at_ms=at_ms) for body in bodies if isinstance(body, Occurrence)]
        output.rejects.append(Reject(Reason.UNSUPPORTED, "not logged in", frame.data))

    def _read(self, message: TrvMessage, frame: Frame, output: Output) -> None:
        code, fields = message.code, message.fields
        if code in POSITIONS:
            self._position(message, frame, output)
        elif code in readings.READERS:
            self._say(readings.READERS[code](fields), frame, output)
        elif code == "AP00":
            self._say([_card(fields)], frame, output)
        elif code in ("AP03", "CP01"):
            self._say(_heartbeat(message), frame, output)
        elif code == "AP02":
            cells, points = trv.parse_cells(fields)
            self._say(_heard(cells, points), frame, output)
        elif code in ("AP07", "AP42"):
            parts = message.body.removeprefix(b",").split(b",", 4)
            if len(parts) < 5 or parts[1] == parts[2]:
                detail = "picture" if code == "AP42" else "voice message"
                self._say([Occurrence(kind=_K.MESSAGE_RECEIVED, detail=detail)], frame, output)
        elif code in trv.COMMAND_ANSWERS:
            command = self._requests.answer(code)
            if command is not None:
                output.events.append(command.result(CommandStatus.DONE, frame.received, ",".join(fields)[:200] or None))
        elif code not in trv.ANSWERED:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"unknown message {code}", message.raw)

    def _position(self, message: TrvMessage, frame: Frame, output: Output) -> None:
        try:
            position = trv.parse_position(message.body)
        except RemoteProtocolError:
            if message.code == "AP10":
                self._say([_general("AP10 that could not be read")], frame, output)
            raise
        bodies = self._alarms(message.code, position)
        if position.lat is None:
            bodies += _heard(position.cells, position.access_points)
        else:
            bodies.append(_place(position, self._datum))
        bodies.append(DeviceHealth(battery_percent=position.battery, signal=position.signal))
        at_ms = self._zone.live(position.clock_ms, frame.received.ms)
        learnt = self._zone.news()
        if learnt is not None:
            bodies.append(DeviceHealth(parameters={"utc_offset_minutes": str(learnt)}))
        self._say(bodies, frame, output, at_ms)
        if position.fault:
            raise RemoteProtocolError(Reason.RANGE, position.fault, message.raw)

    def _alarms(self, code: str, position: TrvPosition) -> list[Body]:
        text = position.rest[0].strip() if code in ALARM_CODES and position.rest else ""
        if not (text.isascii() and text.isdecimal()):
            return [_general("AP10 without an alarm code")] if code == "AP10" else []
        number = int(text[:9])
        alarm = ALARMS.get(number)
        if alarm is None:
            return [_general(f"alarm code {text[:4]}")] if number else []
        if alarm is _K.WORN:
            ended: list[Body] = [Occurrence(kind=_K.REMOVED, state=State.END)] if self._removed else []
            self._removed = False
            return [*ended, Occurrence(kind=_K.WORN)]
        self._removed = self._removed or alarm is _K.REMOVED
        return [Occurrence(kind=alarm, state=State.START)]


def _general(detail: str) -> Occurrence:
    return Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=detail)


def _card(fields: list[str]) -> DeviceHealth:
    """What AP00 tells behind the IMEI: card number and subscriber number, in this order."""
    iccid = fields[1].strip().rstrip("fF") if len(fields) > 1 else ""
    imsi = fields[2].strip() if len(fields) > 2 else ""
    return DeviceHealth(
        online=True,
        iccid=iccid if iccid.isascii() and iccid.isalnum() and 18 <= len(iccid) <= 20 else None,
        imsi=imsi if imsi.isascii() and imsi.isdecimal() and len(imsi) == 15 else None,
    )


def _heartbeat(message: TrvMessage) -> list[Body]:
    signal, _, battery = trv.parse_state(message.body)
    bodies: list[Body] = [DeviceHealth(online=True, signal=signal, battery_percent=battery)]
    for quantity, text in zip((Quantity.STEPS, Quantity.TUMBLES), message.fields[1:3], strict=False):
        if text.isascii() and text.isdecimal() and len(text) <= 8 and (int(text) or quantity is Quantity.STEPS):
            bodies.append(Measurement(quantity=quantity, value=int(text)))
    return bodies


def _heard(cells: tuple[trv.TrvCell, ...], points: tuple[trv.TrvAp, ...]) -> list[Body]:
    if not cells and not points:
        return []
    source = Source.WIFI if points else Source.CELL
    return [Position(source=source, valid=False, cells=[Cell(*c) for c in cells] or None, wifi=[WifiAp(*p) for p in points] or None)]


def _place(position: TrvPosition, datum: Datum) -> Position:
    return Position(
        lat=position.lat,
        lon=position.lon,
        datum=datum,
        source=Source.GNSS,
        valid=position.is_valid,
        speed_kmh=position.speed_kmh,
        course_deg=position.course_deg,
        satellites=position.satellites,
        stored=False,
        cells=[Cell(*cell) for cell in position.cells] or None,
        wifi=[WifiAp(*point) for point in position.access_points] or None,
    )


DRIVER = Trv
