"""Xexun XT-series over TCP. Frames and records: `protocols.tracker.xexun2`."""

from __future__ import annotations

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
    WifiAp,
    read_options,
)
from protocols.errors import LocalProtocolError
from protocols.tracker import xexun2
from protocols.tracker.requests import Requests
from protocols.tracker.xexun2 import Connection, Message, Record

NAME = "xexun2"

_K = OccurrenceKind
_GNSS = Source.GNSS
_KINDS = {"sos": _K.SOS, "removed": _K.REMOVED, "fall": _K.FALL}
_KNOWN = sum(1 << index for index in xexun2.ALARMS)
_TEXTS = {Verb.RESTART: "reset", Verb.POWER_OFF: "of=1"}


class Xexun2:
    """One connection of one device. Every frame names it, there is no login."""

    info = DriverInfo(
        name=NAME,
        title="Xexun XT cards and pendants",
        vendor="Xexun",
        models=("XT-series cards", "XT-series pendants with TOF ranging"),
        transports=(Transport.TCP,),
        emits=("position", "health", "command_result", "sos", "fall", "removed", "general_alarm"),
        commands=(*_TEXTS, Verb.SET_INTERVAL, Verb.RAW_TEXT),
        options=(DATUM_OPTION, Option("tolerate_check", "bool", False, "use frames whose check does not fit (counted)")),
        source="Xexun XT protocol V2.x",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._connection = Connection(tolerate_check=bool(values["tolerate_check"]))
        self._imei = (device or "").removeprefix(f"{NAME}:")
        self._requests: Requests[Command] = Requests()
        self._serial = 0

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with FA AF, and with the digits of an IMEI behind type and index."""
        data = frame.data[:13]
        if not data.startswith(xexun2.MARK[: len(data)]):
            return Match.NO
        if len(data) < 13:
            return Match.MORE
        return Match.YES if data[6:13].hex().isdecimal() else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._take(frame.part(found.raw), found, output)
        output.device = f"{NAME}:{self._imei}" if self._imei else None
        output.wake_s = self._requests.wake_s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The text command; the device answers with its serial."""
        if self._requests.is_full:
            return Output(events=[command.result(CommandStatus.FAILED, now, "too many commands are waiting")])
        serial = self._serial % 0xFFFF + 1
        try:
            sent = xexun2.encode(Message(xexun2.TEXT, serial, self._imei, _text(command)))
        except (LocalProtocolError, ValueError, TypeError, KeyError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        self._serial = serial
        self._requests.open(str(serial), command, now.s, repeat=b"" if command.verb in _TEXTS else sent)
        return Output(replies=[Send(sent)], wake_s=self._requests.wake_s)

    def wake(self, now: Instant) -> Output:
        """Repetitions and losses of commands. Not every firmware answers: a silent command may have been done."""
        due = self._requests.due(now.s)
        events = [command.result(CommandStatus.UNKNOWN, now, "the device did not answer") for command in due.lost]
        return Output(replies=[Send(sent) for sent in due.repeats], events=events, wake_s=self._requests.wake_s)

    def _take(self, frame: Frame, message: Message, output: Output) -> None:
        self._imei = message.imei
        if not message.check_ok:
            output.tolerated.append(Reject(Reason.INTEGRITY, "check does not fit", message.raw[:1024]))
        if message.kind == xexun2.TEXT:
            # Our own command coming back: an answer to an answer would never end.
            self._answered(frame, message, output)
            return
        if message.kind == xexun2.POSITIONS:
            self._records(frame, message, output)
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"message {message.kind:04x} is not decoded", message.raw[:1024]))
        output.acks.append(Send(xexun2.acknowledgement(message)))

    def _answered(self, frame: Frame, message: Message, output: Output) -> None:
        command = self._requests.answer(str(message.serial))
        if command is not None:
            words = message.body.decode("utf-8", "replace").strip("\0\x01")[:200]
            output.events.append(command.result(CommandStatus.DONE, frame.received, words or None))

    def _records(self, frame: Frame, message: Message, output: Output) -> None:
        """Records in the order sent. The newest is now, the others were kept until the device connected."""
        try:
            records = xexun2.read_records(message)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(message.raw))
            return
        newest = max([record.time_s for record in records], default=0)
        device, event = f"{NAME}:{message.imei}", frame.event
        for record in records:
            at_ms = record.time_s * 1000 or None
            bodies = self._bodies(record, stored=record.time_s < newest)
            output.events += [event(device, body, at_ms=at_ms) for body in bodies]
            if record.fault:
                reason = Reason.RANGE if "degrees" in record.fault else Reason.TRUNCATED
                output.rejects.append(Reject(reason, record.fault, message.raw[:1024]))

    def _bodies(self, record: Record, *, stored: bool) -> list[Body]:
        bodies: list[Body] = []
        if record.alarms:
            bodies += [
                Occurrence(kind=_KINDS[word], state=State.START, stored=stored)
                for index, word in xexun2.ALARMS.items()
                if record.alarms >> index & 1
            ]
        if record.alarms & ~_KNOWN:
            detail = f"alarm bits {record.alarms & ~_KNOWN:08x}"
            bodies.append(Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=detail, stored=stored))
        place = self._place(record, stored)
        if place is not None:
            bodies.append(place)
        if record.time_s and not stored:
            bodies.append(_health(record))
        return bodies

    def _place(self, record: Record, stored: bool) -> Position | None:
        cells = [Cell(*cell) for cell in record.cells] if record.cells else None
        wifi = [WifiAp(*ap) for ap in record.aps] if record.aps else None
        if record.lat is None:
            if cells is None and wifi is None:
                return None
            return Position(source=Source.WIFI if wifi else Source.CELL, valid=False, stored=stored, cells=cells, wifi=wifi)
        return Position(
            lat=record.lat,
            lon=record.lon,
            datum=self._datum,
            source=_GNSS,
            valid=record.is_valid,
            altitude_m=record.altitude_m,
            speed_kmh=record.speed_kmh,
            course_deg=record.course_deg,
            satellites=record.satellites,
            stored=stored,
            cells=cells,
            wifi=wifi,
        )


def _health(record: Record) -> DeviceHealth:
    signal = record.signal
    return DeviceHealth(
        battery_percent=record.battery if record.battery <= 100 else None,
        charging=record.is_charging,
        # 1..31 is the scale of AT+CSQ; 0 is written by firmware that does not know.
        signal=round(signal * 100 / 31) if 1 <= signal <= 31 else None,
        firmware=record.firmware,
        imsi=record.imsi,
        iccid=record.iccid,
    )


def _text(command: Command) -> bytes:
    """The command in words. Raises LocalProtocolError or ValueError."""
    if command.verb is Verb.SET_INTERVAL:
        seconds = int(command.args["seconds"])
        return f"tracking_send={seconds},{int(command.args.get('still_seconds') or seconds)}".encode()
    if command.verb is Verb.RAW_TEXT:
        return str(command.args["text"]).encode()
    if command.verb not in _TEXTS:
        raise LocalProtocolError(f"Xexun has no {command.verb.value}")
    return _TEXTS[command.verb].encode()


DRIVER = Xexun2
