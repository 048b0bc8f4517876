"""Topin pendants over TCP. Frames and contents: `protocols.tracker.topin`."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

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
from protocols.checksum import crc16_x25
from protocols.tracker import topin
from protocols.tracker.gt06_blocks import Gps
from protocols.tracker.topin import Connection, Packet

NAME = "topin"

_K = OccurrenceKind
_KINDS = {"sos": _K.SOS, "vibration": _K.VIBRATION, "overspeed": _K.OVERSPEED, "low_battery": _K.LOW_BATTERY}
_COMMAND_ANSWERS = frozenset((topin.SLEEP, topin.FACTORY, topin.SOS_NUMBER, topin.RESTART, topin.LOCATE, 0x92, 0x93))


class Topin:
    """One connection of one pendant."""

    info = DriverInfo(
        name=NAME,
        title="Topin pendants (ZX303, ZX612, D-series)",
        vendor="Topin / Zhongxun",
        models=("ZX303", "ZX612", "D3", "mini pendants and insoles"),
        transports=(Transport.TCP,),
        emits=("position", "health", "command_result", "sos", "vibration", "overspeed", "low_battery", "heart_rate"),
        commands=(Verb.LOCATE, Verb.RESTART, Verb.FACTORY_RESET, Verb.SET_SOS_NUMBERS),
        options=(
            DATUM_OPTION,
            Option("refuse_login", "bool", False, "answer logins with 44 (refused), for a device that is to go elsewhere"),
        ),
        source="Topin/Zhongxun protocol 1.x as observed",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._refuse = bool(values["refuse_login"])
        self._datum = Datum(values["datum"])
        self._connection = Connection()
        self._device = f"{NAME}:{device.removeprefix(NAME + ':')}" if device else None
        self._pending: OrderedDict[int, Command] = OrderedDict()

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the first bytes are a Topin login: 15 bytes with 0D 0A right behind IMEI and version."""
        data = frame.data
        if data[:2] != topin.HEAD[: len(data)]:
            return Match.NO
        if len(data) < 4:
            return Match.MORE
        if data[3] != topin.LOGIN:
            return Match.NO
        if len(data) >= 18 and data[16:18] == topin.TAIL and crc16_x25(data[2:14]) == int.from_bytes(data[14:16], "big"):
            # A GT06 login whose serial or checksum happens to hold 0D 0A.
            return Match.NO
        if len(data) < 14 or (len(data) == 14 and data[12:14] != topin.TAIL):
            return Match.MORE
        return Match.YES if topin.TAIL in {data[12:14], data[13:15], data[14:16]} else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every message that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._take(frame.part(found.raw), found, output)
        return output

    def wake(self, now: Instant) -> Output:
        """Nothing waits."""
        return Output()

    def command(self, command: Command, now: Instant) -> Output:
        """The message that carries out `command`; the pendant repeats its type as the answer."""
        kinds = {
            Verb.LOCATE: topin.LOCATE,
            Verb.RESTART: topin.RESTART,
            Verb.FACTORY_RESET: topin.FACTORY,
            Verb.SET_SOS_NUMBERS: topin.SOS_NUMBER,
        }
        kind = kinds.get(command.verb)
        content = b""
        if command.verb is Verb.SET_SOS_NUMBERS:
            number = str((command.args.get("numbers") or [""])[0])
            if not number.isascii() or not 1 <= len(number) <= 20:
                return Output(events=[command.result(CommandStatus.FAILED, now, "one number of 1..20 digits expected")])
            content = number.encode()
        if kind is None:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"Topin has no {command.verb.value}")])
        self._pending[kind] = command
        return Output(replies=[Send(topin.encode(Packet(kind, content, 1 + len(content))))])

    def _take(self, frame: Frame, packet: Packet, output: Output) -> None:
        """One message: a login, or a report of a device that has logged in. An alarm needs no login."""
        if packet.kind == topin.LOGIN:
            self._login(frame, packet, output)
            return
        if self._device:
            output.device = self._device
        if packet.kind == topin.TIME:
            output.replies.append(self._time(frame))
            return
        known = True
        try:
            known = self._report(frame, packet, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(packet.raw))
        if not known:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"message {packet.kind:02x} is not decoded", packet.raw))
        self._answer(packet, output)

    def _login(self, frame: Frame, packet: Packet, output: Output) -> None:
        try:
            imei = topin.read_login(packet.content)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(packet.raw))
            return
        answer = topin.REFUSED if self._refuse else topin.ACCEPTED
        output.replies.append(Send(topin.encode(Packet(topin.LOGIN, bytes((answer,)), packet.length))))
        if self._refuse:
            output.rejects.append(Reject(Reason.UNSUPPORTED, "login refused by option", packet.raw))
            return
        self._device = output.device = f"{NAME}:{imei}"
        output.replies.append(self._time(frame))

    def _time(self, frame: Frame) -> Send:
        now = datetime.fromtimestamp(frame.received.ms // 1000, UTC)
        return Send(topin.time_answer(now.year, now.month, now.day, now.hour, now.minute, now.second))

    def _answer(self, packet: Packet, output: Output) -> None:
        """Positions and Wi-Fi with their six time bytes, status with its body, SOS and the rest with their type."""
        kind, content = packet.kind, packet.content
        if kind in _COMMAND_ANSWERS:
            return
        if kind == topin.STATUS:
            output.replies.append(Send(topin.encode(Packet(kind, content, packet.length))))
        elif kind in topin.WIFI or kind in {topin.POSITION, topin.POSITION_STORED} or (kind in {0x08, 0x09} and content):
            output.acks.append(Send(topin.encode(Packet(kind, content[:6], packet.length))))
        else:
            send = Send(topin.encode(Packet(kind, b"", 1)))
            (output.replies if kind in {0x08, 0x09} else output.acks).append(send)

    def _report(self, frame: Frame, packet: Packet, output: Output) -> bool:
        """Events of one message; False for a type that is not decoded."""
        kind, content = packet.kind, packet.content
        stored = kind in topin.WIFI_STORED or kind in {topin.POSITION_STORED, topin.OWN_POSITION_STORED}
        if kind in {topin.SOS, topin.VIBRATION}:
            self._alarms(frame, ["sos" if kind == topin.SOS else "vibration"], None, stored, output)
        elif kind in {topin.POSITION, topin.POSITION_STORED}:
            gps, alarms = topin.read_position(content)
            self._alarms(frame, alarms, gps.at_ms, stored, output)
            self._place(frame, packet, gps, stored, output)
        elif kind in {topin.OWN_POSITION, topin.OWN_POSITION_STORED}:
            if content:
                self._place(frame, packet, topin.read_own_position(content), stored, output)
        elif kind in topin.WIFI:
            found = topin.read_surroundings(packet)
            self._alarms(frame, found.alarms, found.at_ms, stored, output)
            aps = [WifiAp(*ap) for ap in found.aps] or None
            cells = [Cell(*cell) for cell in found.cells] or None
            if aps or cells:
                source = Source.WIFI if aps else Source.CELL
                self._say(frame, packet, Position(source=source, valid=False, stored=stored, cells=cells, wifi=aps), found.at_ms, output)
        elif kind == topin.STATUS:
            self._status(frame, packet, output)
        elif kind in _COMMAND_ANSWERS:
            command = self._pending.pop(kind, None)
            if command is not None:
                result = CommandResult(command=command.id, verb=command.verb.value, status=CommandStatus.DONE)
                self._say(frame, packet, result, None, output)
        else:
            return False
        return True

    def _alarms(self, frame: Frame, words: list[str], at_ms: int | None, stored: bool, output: Output) -> None:
        device = self._device or f"{NAME}:unknown"
        for word in words:
            output.events.append(frame.event(device, Occurrence(kind=_KINDS[word], state=State.START, stored=stored), at_ms=at_ms))

    def _say(self, frame: Frame, packet: Packet, body: Body, at_ms: int | None, output: Output) -> None:
        if self._device is None:
            output.rejects.append(Reject(Reason.UNSUPPORTED, "not logged in", packet.raw))
            return
        output.events.append(frame.event(self._device, body, at_ms=at_ms))

    def _place(self, frame: Frame, packet: Packet, gps: Gps, stored: bool, output: Output) -> None:
        if gps.out_of_range:
            output.rejects.append(Reject(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", packet.raw))
        if gps.lat is None:
            return
        position = Position(
            lat=gps.lat, lon=gps.lon, datum=self._datum, valid=gps.valid, speed_kmh=gps.speed_kmh, course_deg=gps.course_deg,
            altitude_m=gps.altitude_m,
            satellites=gps.satellites, stored=stored,
        )  # fmt: skip
        self._say(frame, packet, position, gps.at_ms, output)

    def _status(self, frame: Frame, packet: Packet, output: Output) -> None:
        status = topin.read_status(packet.content)
        signal = status.signal if status.signal is not None and status.signal <= 100 else None
        health = DeviceHealth(battery_percent=status.battery, firmware=str(status.firmware), charging=status.charging, signal=signal)
        self._say(frame, packet, health, None, output)
        rate = status.heart_rate
        if rate is not None and 1 < rate < 255 and in_range(Quantity.HEART_RATE, rate):
            self._say(frame, packet, Measurement(quantity=Quantity.HEART_RATE, value=rate), None, output)


DRIVER = Topin
