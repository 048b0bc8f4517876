"""Watches and pendants of the "3G" / SeTracker protocol (`protocols.tracker.watch`): what their messages mean.

An alarm frame is read before anything can refuse it: a damaged position, a clock that is off or an empty battery take nothing
from the alarm. Every bit of the status word is its own occurrence.
"""

from __future__ import annotations

import msgspec

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
    Severity,
    Source,
    State,
    Transport,
    Verb,
    WifiAp,
    read_options,
)
from drivers.watch import commands, readings
from protocols.bits import bit
from protocols.tracker import watch, watch_position
from protocols.tracker.requests import Requests
from protocols.tracker.watch import WatchConnection, WatchMessage
from protocols.tracker.watch_position import WatchPosition
from protocols.tracker.zone import LearntZone

_K = OccurrenceKind
ALARMS = (
    (watch_position.SOS, _K.SOS),
    (watch_position.FALL, _K.FALL),
    (watch_position.HEART_RATE, _K.VITAL_ABNORMAL),
    (watch_position.LEFT, _K.DEVICE_FENCE_EXIT),
    (watch_position.ENTERED, _K.DEVICE_FENCE_ENTRY),
    (watch_position.REMOVED, _K.REMOVED),
    (watch_position.LOW_BATTERY_ALARM, _K.LOW_BATTERY),
)
ALARM_MASK = 0xFFFF0000
KNOWN_ALARMS = sum(1 << index for index, _ in ALARMS)
STATE_ALARMS = (
    (watch_position.LOW_BATTERY, _K.LOW_BATTERY),
    (watch_position.OUTSIDE, _K.DEVICE_FENCE_EXIT),
    (watch_position.INSIDE, _K.DEVICE_FENCE_ENTRY),
)
"""What an alarm frame without alarm bits is about: firmware with the old 16-bit status writes only the state."""
DOUBT_S = 1.0
"""Silence after which a frame that looks unfinished is taken as it is."""


class Watch:
    """One watch on one TCP connection."""

    info = DriverInfo(
        name="watch",
        title="Elder watch or pendant, 3G / SeTracker protocol",
        vendor="4P-Touch, Wonlex and others",
        models=("4P-Touch Y6", "Wonlex GW", "TK915", "C5", "V46", "V48", "V52"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "fall", "vital_abnormal", "device_fence_exit", "device_fence_entry", "removed",
            "low_battery", "general_alarm", "moving", "message_received", "heart_rate", "systolic", "diastolic", "spo2",
            "body_temperature", "steps", "tumbles",
        ),
        commands=commands.TAKEN,
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 0, "zone of the watch's clock, minutes east of UTC (the protocol says UTC)",
                   low=-720, high=840),
        ),
        source="Beesure GPS SeTracker Server Protocol (4P-Touch)",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._offset_ms = int(values["utc_offset_minutes"]) * 60_000
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._datum = Datum(values["datum"])
        self._connection = WatchConnection()
        self._address = WatchMessage(maker="3G", id=device.removeprefix("watch:") if device else "", kind="")
        self._device = f"watch:{watch.short_id(self._address.id)}"
        self._requests: Requests[Command] = Requests()
        self._at_rest: bool | None = None
        self._strap_open = False
        self._reminders: dict[int, str] = {}
        self._doubt_s: float | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with `[MM*ID*LLLL*`."""
        data = frame.data.lstrip(b"\r\n")
        if watch.HEADER.match(data):
            return Match.YES
        return Match.MORE if data[:1] == b"[" and len(data) < watch.HEADER_BYTES and b"]" not in data else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._doubt_s = frame.received.s + DOUBT_S if self._connection.is_doubtful else None
        output.wake_s = self._wake_s()
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The frames that carry out the command."""
        try:
            if command.verb not in commands.TAKEN:
                raise commands.BadArgumentError("this watch has no such command")
            if not self._address.id or self._requests.is_full:
                raise commands.BadArgumentError("the watch is not connected" if not self._address.id else "too many commands are waiting")
            spoken = self._spoken(command)
        except (commands.BadArgumentError, TypeError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        frames = [self._write(kind, body) for kind, body in ((spoken.kind, spoken.body), *spoken.more)]
        output = Output(replies=[Send(data) for data in frames])
        kind = spoken.kind.upper()
        if spoken.is_answered:
            self._requests.open(kind, command, now.s, repeat=b"" if kind in commands.UNREPEATED else frames[0])
        else:
            output.events.append(
                command.result(CommandStatus.ACCEPTED, now, "the watch does not answer this, it connects to the new server")
            )
        output.wake_s = self._wake_s()
        return output

    def wake(self, now: Instant) -> Output:
        """Frames that waited for a doubtful end, repetitions and losses of commands."""
        output = Output()
        if self._doubt_s is not None and now.s >= self._doubt_s:
            self._doubt_s = None
            for found in self._connection.flush():
                self._take(found, Frame(data=b"", received=now), output)
        due = self._requests.due(now.s)
        output.replies += [Send(data) for data in due.repeats]
        output.events += [command.result(CommandStatus.FAILED, now, "the watch did not answer") for command in due.lost]
        output.wake_s = self._wake_s()
        return output

    def dump(self) -> bytes:
        """The reminders that the watch holds (REMIND always replaces all of them), and the zone of its clock once learnt."""
        reminders, zone = sorted(self._reminders.items()), self._zone.dump().decode()
        return msgspec.json.encode({"reminders": reminders, "zone": zone} if zone else reminders)

    def load(self, state: bytes) -> None:
        """Take reminders and zone back."""
        try:
            found = msgspec.json.decode(state, type=_State | list[tuple[int, str]])
        except (msgspec.DecodeError, ValueError):
            return  # a damaged state is no reason not to serve the watch
        kept = found if isinstance(found, _State) else _State(found)
        self._reminders = dict(kept.reminders)
        self._zone.load(kept.zone.encode())

    def _wake_s(self) -> float | None:
        asked_s, doubt_s = self._requests.wake_s, self._doubt_s
        return doubt_s if asked_s is None else asked_s if doubt_s is None else min(asked_s, doubt_s)

    def _spoken(self, command: Command) -> commands.Spoken:
        if command.verb is not Verb.REMIND or command.args.get("kind") == "medicine":
            return commands.spoken(command)
        number = command.args.get("number", 1)
        if number not in (1, 2, 3):
            raise commands.BadArgumentError(f"number: 1..3 expected, got {number!r}")
        self._reminders[number] = commands.reminder_text(command.args)
        return commands.Spoken("REMIND", ",".join(self._reminders[n] for n in sorted(self._reminders)).encode())

    def _write(self, kind: str, body: bytes) -> bytes:
        return watch.encode(self._address._replace(kind=kind, body=body, raw=b""))

    def _take(self, found: WatchMessage | Reject, frame: Frame, output: Output) -> None:
        if isinstance(found, Reject):
            output.rejects.append(found)
            return
        if found.id != self._address.id or found.maker != self._address.maker or found.packet != self._address.packet:
            self._address = found._replace(kind="", body=b"", raw=b"")
            self._device = f"watch:{watch.short_id(found.id)}"
        output.device = self._device
        part = frame.part(found.raw)
        answer = watch.answer(found)
        try:
            self._read(found, part, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(found.raw))
        if not found.length_ok:
            output.tolerated.append(Reject(Reason.INTEGRITY, "length field is wrong", found.raw))
        if answer is not None:
            (output.replies if found.kind.upper() in _AT_ONCE else output.acks).append(Send(answer))

    def _read(self, message: WatchMessage, frame: Frame, output: Output) -> None:
        kind = message.kind.upper()
        if kind.startswith(watch.POSITION_PREFIXES):
            self._position(kind, message, frame, output)
        elif kind in ("TK", "TK2", "JXTK", "IMG") and not watch.is_status(message):
            self._media(kind, message, frame, output)
        elif kind in commands.ANSWER_KINDS:
            self._answered(kind, message, frame, output)
        if kind in readings.READERS:
            output.events += [frame.event(self._device, body) for body in readings.readings(kind, message.fields)]
        elif kind not in _QUIET and not kind.startswith(watch.POSITION_PREFIXES):
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"unknown message {message.kind!r:.40}", message.raw)

    def _media(self, kind: str, message: WatchMessage, frame: Frame, output: Output) -> None:
        """Voice and pictures are not kept; that somebody spoke is said once, with the last part."""
        if kind == "JXTK":
            parts = message.body.split(b",", 4)
            if len(parts) == 5 and parts[2] != parts[3]:
                return
        detail = "picture" if kind == "IMG" else f"voice message, {len(message.body)} bytes"
        output.events.append(frame.event(self._device, Occurrence(kind=_K.MESSAGE_RECEIVED, detail=detail)))

    def _answered(self, kind: str, message: WatchMessage, frame: Frame, output: Output) -> None:
        key = "SOS" if kind.startswith("SOS") and kind != "SOSSMS" else kind
        command = self._requests.answer(key) or self._requests.answer(kind)
        if command is None:
            return
        text = message.body.decode("utf-8", "replace")[:200]
        refused = text == "0" and kind in ("TAKEPILLS", "PHBX", "PHBX2", "TK")
        status = CommandStatus.FAILED if refused else CommandStatus.DONE
        output.events.append(command.result(status, frame.received, text or None))

    def _position(self, kind: str, message: WatchMessage, frame: Frame, output: Output) -> None:
        stored = kind == "UD2"
        body = message.body.partition(b",")[2] if kind == "PP" else message.body
        try:
            position = watch_position.parse_position(body)
        except RemoteProtocolError:
            if kind.startswith("AL"):
                for alarm in _alarms(kind, watch_position.status_of(body), stored):
                    output.events.append(frame.event(self._device, alarm))
            raise
        at_ms = None if position.clock_ms is None else position.clock_ms - self._offset_ms
        at_ms = self._zone.stored(at_ms) if stored else self._zone.live(at_ms, frame.received.ms)
        learnt = self._zone.news()
        bodies: list[Body] = []
        if kind.startswith("AL") or position.status & ALARM_MASK:
            bodies += _alarms(kind, position.status, stored)
        bodies += _place(position, stored, self._datum)
        bodies.append(_health(position))
        if position.steps is not None:
            bodies.append(Measurement(quantity=Quantity.STEPS, value=position.steps, unit=_STEPS, stored=stored))
        if position.tumbles:
            bodies.append(Measurement(quantity=Quantity.TUMBLES, value=position.tumbles, stored=stored))
        if not stored:
            bodies += self._changes(position.status)
        if learnt is not None:
            bodies.append(DeviceHealth(parameters={"utc_offset_minutes": str(learnt + self._offset_ms // 60_000)}))
        device, event = self._device, frame.event
        output.events += [event(device, body, at_ms=at_ms) for body in bodies]
        if position.fault:
            raise RemoteProtocolError(Reason.RANGE, position.fault, message.raw)

    def _changes(self, status: int) -> list[Body]:
        """Rest and strap, where they change. A watch that never sets the rest bit says nothing about motion."""
        found: list[Body] = []
        at_rest = bit(status, watch_position.AT_REST)
        if at_rest != self._at_rest and (at_rest or self._at_rest is not None):
            found.append(Occurrence(kind=_K.MOVING, state=State.END if at_rest else State.START))
            self._at_rest = at_rest
        strap_open = bit(status, watch_position.STRAP)
        if bit(status, watch_position.REMOVED):
            self._strap_open = strap_open
        elif self._strap_open and not strap_open:
            self._strap_open = False
            found.append(Occurrence(kind=_K.REMOVED, state=State.END))
        return found


class _State(msgspec.Struct):
    """What outlives a restart."""

    reminders: list[tuple[int, str]] = []
    zone: str = ""


_STEPS = QUANTITIES[Quantity.STEPS].unit
_AT_ONCE = frozenset({"LK", "INIT", "TKQ", "TKQ2"})
"""Handshakes: the watch sends nothing else until it is answered, and they carry nothing that could be lost."""
_QUIET = readings.SILENT | commands.ANSWER_KINDS | {"TK", "TK2", "JXTK", "IMG"}
"""Kinds that are understood although no reading comes out of them."""


def _alarms(kind: str, status: int, stored: bool) -> list[Body]:
    """Every alarm of a status word; an alarm frame is never without one."""
    alarms: list[Body] = [_alarm(alarm, status, stored) for index, alarm in ALARMS if status >> index & 1]
    unknown = status & ALARM_MASK & ~KNOWN_ALARMS
    if unknown:
        alarms.append(Occurrence(kind=_K.GENERAL_ALARM, state=State.START, stored=stored, detail=f"alarm bits {unknown:08x}"))
    if not alarms:
        alarms = [_alarm(alarm, status, stored) for index, alarm in STATE_ALARMS if status >> index & 1]
    if not alarms:
        detail = f"{kind} without an alarm bit"
        alarms.append(Occurrence(kind=_K.GENERAL_ALARM, state=State.START, severity=Severity.WARNING, stored=stored, detail=detail))
    return alarms


def _alarm(alarm: OccurrenceKind, status: int, stored: bool) -> Occurrence:
    detail = None
    if alarm is _K.SOS and bit(status, watch_position.UNPLUGGED):
        detail = "at the moment of unplugging the charger: some firmware raises this by itself"
    elif alarm is _K.VITAL_ABNORMAL:
        detail = "heart rate"
    return Occurrence(kind=alarm, state=State.START, stored=stored, detail=detail)


def _health(position: WatchPosition) -> DeviceHealth:
    status = position.status
    return DeviceHealth(
        battery_percent=position.battery,
        signal=position.signal,
        battery_low=bool(status & (1 << watch_position.LOW_BATTERY | 1 << watch_position.LOW_BATTERY_ALARM)),
        external_power=False if status >> watch_position.UNPLUGGED & 1 else None,
    )


def _place(position: WatchPosition, stored: bool, datum: Datum) -> list[Body]:
    """The place; without a fix what the watch heard around it, without that nothing."""
    cells = [Cell(*cell) for cell in position.cells] or None
    wifi = [WifiAp(*ap) for ap in position.access_points] or None
    if position.lat is None:
        if cells is None and wifi is None:
            return []
        source = Source.WIFI if wifi else Source.CELL
        return [Position(source=source, valid=False, stored=stored, cells=cells, wifi=wifi)]
    # Every field that has a default of its own making is given: it is the costly part of a struct.
    return [
        Position(
            lat=position.lat,
            lon=position.lon,
            datum=datum,
            source=Source.GNSS,
            valid=position.is_valid,
            accuracy_m=position.accuracy_m if position.is_valid else None,
            speed_kmh=position.speed_kmh,
            course_deg=position.course_deg,
            altitude_m=position.altitude_m,
            satellites=position.satellites,
            stored=stored,
            cells=cells,
            wifi=wifi,
        )
    ]


DRIVER = Watch
