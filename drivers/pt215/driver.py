"""PT215 trackers over TCP. Messages: `protocols.tracker.pt215`."""

from __future__ import annotations

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
    Options,
    Output,
    Position,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    Transport,
    read_options,
)
from protocols.tracker import pt215
from protocols.tracker.pt215 import Connection, Packet

NAME = "pt215"
_ALARMS = {pt215.SOS: OccurrenceKind.SOS, pt215.VIBRATION: OccurrenceKind.VIBRATION}


class Pt215:
    """One connection of one tracker."""

    info = DriverInfo(
        name=NAME,
        title="PT215 trackers",
        vendor="PT215 makers",
        models=("PT215",),
        transports=(Transport.TCP,),
        emits=("position", "health", "sos", "vibration"),
        options=(DATUM_OPTION,),
        source="as observed; alarm types after Topin, whose cousin it is",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        self._datum = Datum(read_options(self.info, options)["datum"])
        self._connection = Connection()
        self._imei = (device or "").removeprefix(f"{NAME}:")

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with XX, a length and a known type."""
        head = frame.data[:4]
        if not head.startswith(pt215.HEAD[: len(head)]):
            return Match.NO
        if len(head) < 4:
            return Match.MORE
        return Match.YES if head[3] in {pt215.LOGIN, pt215.HEARTBEAT} and 1 <= head[2] <= 0x20 else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every message that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._take(frame.part(found.raw), found, output)
        output.device = f"{NAME}:{self._imei}" if self._imei else None
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The tracker takes no command that is known."""
        return Output(events=[command.result(CommandStatus.FAILED, now, f"PT215 has no {command.verb.value}")])

    def wake(self, now: Instant) -> Output:
        """Nothing waits."""
        return Output()

    def _take(self, frame: Frame, packet: Packet, output: Output) -> None:
        device = f"{NAME}:{self._imei or 'unknown'}"
        try:
            if packet.kind == pt215.LOGIN:
                self._imei = pt215.read_login(packet)
            elif packet.kind in _ALARMS:
                output.events.append(frame.event(device, Occurrence(kind=_ALARMS[packet.kind], state=State.START)))
            elif packet.kind != pt215.HEARTBEAT:
                self._report(frame, packet, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(packet.raw))
            if packet.kind == pt215.LOGIN:
                return
        at_once = packet.kind in {pt215.LOGIN, pt215.HEARTBEAT}
        (output.replies if at_once else output.acks).append(Send(pt215.answer(packet)))

    def _report(self, frame: Frame, packet: Packet, output: Output) -> None:
        if not self._imei:
            raise RemoteProtocolError(Reason.UNSUPPORTED, "not logged in", packet.raw)
        body: Body | None = None
        at_ms = None
        if packet.kind in {pt215.POSITION, pt215.POSITION_STORED}:
            fix = pt215.read_position(packet)
            at_ms = fix.at_ms
            if fix.out_of_range:
                raise RemoteProtocolError(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", packet.raw)
            if fix.lat is not None:
                stored = packet.kind == pt215.POSITION_STORED
                body = Position(lat=fix.lat, lon=fix.lon, datum=self._datum, valid=fix.is_fixed, course_deg=fix.course_deg, stored=stored)
        elif packet.kind == pt215.STATUS:
            if packet.content and packet.content[0] <= 100:
                body = DeviceHealth(battery_percent=packet.content[0])
        else:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"message {packet.kind:02x} is not decoded", packet.raw)
        if body is not None:
            output.events.append(frame.event(f"{NAME}:{self._imei}", body, at_ms=at_ms))


DRIVER = Pt215
