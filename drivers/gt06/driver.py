"""GT06 trackers over TCP. Frames: `protocols.tracker.gt06`, contents: `protocols.tracker.gt06_reports`."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from drivers.api import (
    DATUM_OPTION,
    Body,
    Cell,
    Command,
    CommandResult,
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
    in_range,
    read_options,
)
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError
from protocols.tracker import gt06
from protocols.tracker.gt06 import Connection, Packet
from protocols.tracker.gt06_blocks import Report
from protocols.tracker.gt06_reports import read_report
from protocols.tracker.zone import LearntZone

NAME = "gt06"
PENDING_LIMIT = 16
FLUSH_S = 3.0
"""A frame whose length lies is given up after this pause: a device that waits for its login answer sends nothing more."""

_K = OccurrenceKind
_START, _GNSS = State.START, Source.GNSS
_KINDS: dict[str, tuple[OccurrenceKind, str | None]] = {
    "sos": (_K.SOS, None), "power_cut": (_K.POWER_CUT, None), "vibration": (_K.VIBRATION, None),
    "fence_entry": (_K.DEVICE_FENCE_ENTRY, None), "fence_exit": (_K.DEVICE_FENCE_EXIT, None), "overspeed": (_K.OVERSPEED, None),
    "power_on": (_K.POWER_ON, None), "low_battery": (_K.LOW_BATTERY, None), "power_off": (_K.POWER_OFF, None),
    "tamper": (_K.TAMPER, None), "door": (_K.DOOR_OPEN, "alarm"), "removed": (_K.REMOVED, None), "fall": (_K.FALL, None),
    "crash": (_K.CRASH, None), "sound": (_K.SOUND, None), "sim_change": (_K.SIM_FAULT, "SIM card changed"),
}  # fmt: skip
"""Occurrence of each alarm word; any other word is a general alarm with the word as its text."""

_SESSION = frozenset((gt06.STATUS, gt06.HEARTBEAT, 0x36))
"""Heartbeats: answered at once, or the device reconnects."""
_SILENT = frozenset((gt06.COMMAND_ANSWER, gt06.STRING_ANSWER, gt06.INFORMATION, gt06.ADDRESS, 0x80, 0x81, 0x82, 0x97))
"""Types that the document wants no answer to."""


class Gt06:
    """One connection of one tracker."""

    info = DriverInfo(
        name=NAME,
        title="GT06 trackers (Concox, Jimi and clones)",
        vendor="Concox, Jimi, Wanway, LK, SEEWORLD and clones",
        models=("GT06", "TR02", "GK310", "LK card pendants", "AZ735", "VL103"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "power_cut", "vibration", "device_fence_entry", "device_fence_exit",
            "overspeed", "power_on", "low_battery", "power_off", "tamper", "door_open", "removed", "fall", "crash", "sound", "sim_fault",
            "general_alarm", "steps", "voltage", "odometer",
        ),
        commands=(
            Verb.LOCATE, Verb.RESTART, Verb.FACTORY_RESET, Verb.SET_SOS_NUMBERS, Verb.SET_INTERVAL, Verb.LISTEN_IN, Verb.RING,
            Verb.FENCE, Verb.SET_TIME_ZONE, Verb.SET_SERVER, Verb.CONFIGURE, Verb.QUERY, Verb.RAW_TEXT,
        ),
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 0, "zone of the device's clock, used where the login does not tell it", low=-840, high=840),
            Option("tolerate_crc", "bool", False, "use frames whose crc is wrong (counted) instead of refusing them"),
            Option("command_language", "bool", False, "end commands with the language word 0002, which some models want"),
        ),
        source="Concox GT06 GPS tracker communication protocol 1.8",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._offset = int(values["utc_offset_minutes"])
        self._follow_login = "utc_offset_minutes" not in options
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._language = bool(values["command_language"])
        self._connection = Connection(tolerate_crc=bool(values["tolerate_crc"]))
        self._device = f"{NAME}:{device.removeprefix(NAME + ':')}" if device else None
        self._serial = 0
        self._door: bool | None = None
        self._pending: deque[Command] = deque(maxlen=PENDING_LIMIT)

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the first bytes are a GT06 frame; a login of 13 bytes without crc is a Topin's."""
        data = frame.data
        if data[:1] not in {b"\x78", b"\x79"}:
            return Match.NO
        if len(data) < 2:
            return Match.MORE
        if data[:2] not in {b"\x78\x78", b"\x79\x79"}:
            return Match.NO
        if data[:1] == b"\x78" and len(data) < 4:
            return Match.MORE
        if data[:1] == b"\x78" and data[3:4] == b"\x01" and data[2] < 0x0D:
            return Match.NO
        if data[:1] == b"\x78" and data[3:4] == b"\x01" and data[2] == 0x0D:
            if len(data) < 18:
                return Match.NO if data[13:15] == gt06.TAIL else Match.MORE
            return Match.YES if data[16:18] == gt06.TAIL else Match.NO
        return Match.YES

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every message that this read completes."""
        output = self._packets(frame, self._connection.receive(frame.data))
        if self._connection.buffered:
            output.wake_s = frame.received.s + FLUSH_S
        return output

    def wake(self, now: Instant) -> Output:
        """The device paused inside a frame: its length is wrong, the rest is looked at as it is."""
        if not self._connection.buffered:
            return Output()
        return self._packets(Frame(data=b"", received=now, transport=Transport.TCP), self._connection.flush())

    def command(self, command: Command, now: Instant) -> Output:
        """The text command as message 80; the device's words in 15 or 21 give the result."""
        try:
            text = _command_text(command)
            content = gt06.write_command(text, language=self._language)
        except (LocalProtocolError, ValueError, TypeError, KeyError, IndexError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        self._serial = (self._serial + 1) & 0xFFFF
        self._pending.append(command)
        return Output(replies=[Send(gt06.encode(Packet(gt06.COMMAND, content, self._serial)))])

    def dump(self) -> bytes:
        """What the device's clock differs from the zone that its login tells, once learnt, and that zone."""
        state = self._zone.dump()
        return state and state + b" login %d" % self._offset

    def load(self, state: bytes) -> None:
        """Take the zone back, unless the login tells another by now."""
        zone, _, told = state.partition(b" login ")
        if told == b"%d" % self._offset:
            self._zone.load(zone)

    def _packets(self, frame: Frame, found: list[Packet | Reject]) -> Output:
        output = Output()
        for packet in found:
            if isinstance(packet, Reject):
                output.rejects.append(packet)
                continue
            if packet.flaw:
                output.tolerated.append(Reject(Reason.INTEGRITY, packet.flaw, packet.raw[:FRAME_SAMPLE_BYTES]))
            self._take(frame.part(packet.raw), packet, output)
        return output

    def _take(self, frame: Frame, packet: Packet, output: Output) -> None:
        """One message: login, time, or a report of a device that has logged in. An alarm needs no login."""
        if packet.kind == gt06.LOGIN and not packet.extended:
            self._login(packet, output)
            return
        if self._device:
            output.device = self._device
        if packet.kind == gt06.TIME:
            now = datetime.fromtimestamp(frame.received.ms // 1000, UTC)
            if not 2000 <= now.year <= 2099:
                # Our own clock was never set: no answer is better than a wrong time in the device.
                return
            content = bytes((now.year - 2000, now.month, now.day, now.hour, now.minute, now.second))
            output.replies.append(Send(gt06.answer(packet, content)))
            return
        report = read_report(packet, offset_minutes=self._offset)
        if report is None:
            output.rejects.append(_refuse(Reason.UNSUPPORTED, f"message {packet.kind:02x} is not decoded", packet))
        else:
            if report.fault is not None:
                output.rejects.append(_refuse(report.fault.reason, report.fault.detail, packet))
            self._report(frame, packet, report, output)
        self._acknowledge(packet, output)

    def _acknowledge(self, packet: Packet, output: Output) -> None:
        """Heartbeats at once, data after commit, answers to commands and information never."""
        if packet.kind in _SILENT or (packet.extended and packet.kind not in {0x32, 0x33, 0x41, 0x70}):
            return
        send = Send(gt06.answer(packet._replace(extended=False) if packet.kind == 0x70 else packet))
        (output.replies if packet.kind in _SESSION else output.acks).append(send)

    def _login(self, packet: Packet, output: Output) -> None:
        try:
            login = gt06.read_login(packet.content)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(packet.raw))
            return
        self._device = output.device = f"{NAME}:{login.imei}"
        if self._follow_login and login.offset_minutes is not None and login.offset_minutes != self._offset:
            self._offset = login.offset_minutes
            self._zone.forget()
        output.replies.append(Send(gt06.answer(packet)))

    def _report(self, frame: Frame, packet: Packet, report: Report, output: Output) -> None:
        """Alarms first, whatever the rest is worth; the rest only of a device that we know."""
        device, event, at, stored = self._device or f"{NAME}:unknown", frame.event, report.at_ms, report.stored
        at = self._zone.stored(at) if stored else self._zone.live(at, frame.received.ms)
        learnt = self._zone.news()
        said: list[Body] = []
        for word in report.alarms:
            kind, detail = _KINDS.get(word) or (_K.GENERAL_ALARM, word.replace("_", " "))
            said.append(Occurrence(kind=kind, state=_START, detail=detail, stored=stored))
        if self._device is not None:
            if report.gps is not None and report.gps.out_of_range:
                output.rejects.append(_refuse(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", packet))
            said += self._rest(report)
            if learnt is not None:
                said.append(DeviceHealth(parameters={"utc_offset_minutes": str(self._offset + learnt)}))
        else:
            output.rejects.append(_refuse(Reason.UNSUPPORTED, "not logged in", packet))
        output.events += [event(device, body, at_ms=at) for body in said]

    def _rest(self, report: Report) -> list[Body]:
        """Place, door, health, readings and words."""
        said: list[Body] = []
        position = _position(report, self._datum)
        if position is not None:
            said.append(position)
        if report.door_open is not None and report.door_open is not self._door:
            if report.door_open or self._door is not None:
                said.append(Occurrence(kind=_K.DOOR_OPEN, state=_START if report.door_open else State.END))
            self._door = report.door_open
        health = _health(report)
        if health is not None:
            said.append(health)
        said += _measurements(report)
        if report.text:
            said.append(self._words(report.text))
        return said

    def _words(self, text: str) -> CommandResult:
        """The device's answer: to the oldest command that waits, or to none that we know."""
        if self._pending:
            command = self._pending.popleft()
            return CommandResult(command=command.id, verb=command.verb.value, status=CommandStatus.DONE, detail=text)
        return CommandResult(command="", verb="raw_text", status=CommandStatus.UNKNOWN, detail=text)


def _refuse(reason: Reason, detail: str, packet: Packet) -> Reject:
    return Reject(reason, detail, packet.raw[:FRAME_SAMPLE_BYTES])


def _position(report: Report, datum: Datum) -> Position | None:
    gps = report.gps
    cells = [Cell(*cell) for cell in report.cells] if report.cells else None
    aps = [WifiAp(*ap) for ap in report.aps] if report.aps else None
    if gps is None or gps.lat is None:
        if not cells and not aps:
            return None
        return Position(source=Source.WIFI if aps else Source.CELL, valid=False, stored=report.stored, cells=cells, wifi=aps)
    return Position(
        lat=gps.lat,
        lon=gps.lon,
        datum=datum,
        source=_GNSS,
        valid=gps.valid,
        speed_kmh=gps.speed_kmh,
        course_deg=gps.course_deg,
        altitude_m=gps.altitude_m,
        satellites=gps.satellites,
        stored=report.stored,
        cells=cells,
        wifi=aps,
    )


def _health(report: Report) -> DeviceHealth | None:
    low = True if "low_battery" in report.alarms else None
    if low is None and _HEALTH.isdisjoint(report.__dict__):
        return None
    health = DeviceHealth(
        battery_percent=report.percent, battery_level=report.level, battery_mv=report.battery_mv or None, battery_low=low,
        charging=report.charging, signal=report.signal, iccid=report.iccid, imsi=report.imsi,
    )  # fmt: skip
    return None if health == _NO_HEALTH else health


def _measurements(report: Report) -> list[Body]:
    if _READINGS.isdisjoint(report.__dict__):
        return []
    found: list[tuple[Quantity, float | None, str | None]] = [
        (Quantity.STEPS, report.steps, None),
        (Quantity.VOLTAGE, report.external_mv / 1000 if report.external_mv else None, "external"),
        (Quantity.ODOMETER, report.odometer_m, None),
    ]
    return [
        Measurement(quantity=quantity, value=value, channel=channel, stored=report.stored)
        for quantity, value, channel in found
        if value is not None and in_range(quantity, value)
    ]


_HEALTH = frozenset(("level", "percent", "battery_mv", "charging", "signal", "iccid", "imsi"))
_READINGS = frozenset(("steps", "external_mv", "odometer_m"))
"""Attributes that a message has set: one look instead of many."""
_NO_HEALTH = DeviceHealth()
_PLAIN = {Verb.LOCATE: "WHERE#", Verb.RESTART: "RESET#", Verb.FACTORY_RESET: "FACTORY#", Verb.RING: "FIND#"}


def _command_text(command: Command) -> str:
    """The text command of a verb. Raises LocalProtocolError or ValueError saying what is wrong."""
    args: dict[str, Any] = command.args
    match command.verb:
        case Verb.SET_SOS_NUMBERS:
            numbers = [str(number) for number in args["numbers"]]
            if not 1 <= len(numbers) <= 3:
                raise LocalProtocolError(f"numbers: 1..3 expected, got {len(numbers)}")
            return "SOS,A," + ",".join(numbers) + "#"
        case Verb.SET_INTERVAL:
            seconds = int(args["seconds"])
            return f"TIMER,{seconds},{int(args.get('still_seconds') or seconds)}#"
        case Verb.LISTEN_IN:
            return f"MONITOR,{args['number']}#"
        case Verb.FENCE:
            return _fence_text(args)
        case Verb.SET_TIME_ZONE:
            hours, minutes = divmod(abs(int(args["offset_minutes"])), 60)
            side = "W" if int(args["offset_minutes"]) < 0 else "E"
            return f"GMT,{side},{hours},{minutes}#" if minutes else f"GMT,{side},{hours}#"
        case Verb.SET_SERVER:
            host = str(args["host"])
            return f"SERVER,{0 if host.replace('.', '').isdecimal() else 1},{host},{int(args['port'])},0#"
        case Verb.CONFIGURE:
            return f"{args['name']},{args['value']}#"
        case Verb.QUERY:
            return f"{args.get('name') or 'STATUS'}#"
        case Verb.RAW_TEXT:
            return str(args["text"])
    if command.verb not in _PLAIN:
        raise LocalProtocolError(f"GT06 has no {command.verb.value}")
    return _PLAIN[command.verb]


def _fence_text(args: dict[str, Any]) -> str:
    if args.get("on") is False:
        return "FENCE,B,OFF#"
    points = [p for p in args["points"] if isinstance(p, list | tuple) and len(p) == 2]
    if args["shape"] != "circle" or len(points) != 1:
        raise LocalProtocolError("a circle with one point (lat, lon) expected")
    lat, lon = float(points[0][0]), float(points[0][1])
    return f"FENCE,B,ON,0,{lat:.6f},{lon:.6f},{int(args.get('radius_m') or 200)},OUT,1#"


DRIVER = Gt06
