"""PT60 health bands over TCP. Lines: `protocols.tracker.pt60`."""

from __future__ import annotations

from datetime import UTC, datetime

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
    Option,
    Options,
    Output,
    Position,
    Quantity,
    Reason,
    Reject,
    Send,
    Source,
    Transport,
    WifiAp,
    in_range,
    read_options,
)
from protocols.tracker import pt60
from protocols.tracker.pt60 import Connection, Message
from protocols.tracker.zone import LearntZone

NAME = "pt60"
SILENCE_S = 2.0
"""A line without an end sign is whole after this."""
_NO_READING = (0, 1, 255)


class Pt60:
    """One connection of one band. Every line names it."""

    info = DriverInfo(
        name=NAME,
        title="PT60 health band",
        vendor="PT60 makers",
        models=("PT60", "bands with @G#@ or @B#@ lines"),
        transports=(Transport.TCP,),
        emits=("position", "health", "steps", "heart_rate"),
        options=(DATUM_OPTION, Option("utc_offset_minutes", "int", 0, "zone of the band's clock and of our answers", low=-720, high=840)),
        source="PT60 band protocol V01, as observed",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._offset = int(values["utc_offset_minutes"])
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._connection = Connection()
        self._silent_s: float | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with @G#@ or @B#@."""
        head = frame.data[:5]
        if head[:4] in {b"@G#@", b"@B#@"}:
            return Match.YES if head[4:] in {b",", b"|"} else Match.MORE if len(head) == 4 else Match.NO
        return Match.MORE if len(head) < 4 and (b"@G#@".startswith(head) or b"@B#@".startswith(head)) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every line that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._silent_s = output.wake_s = frame.received.s + SILENCE_S if self._connection.buffered else None
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The band takes no command that is known."""
        return Output(events=[command.result(CommandStatus.FAILED, now, f"PT60 has no {command.verb.value}")])

    def wake(self, now: Instant) -> Output:
        """A line that ended in silence."""
        output = Output()
        if self._silent_s is not None and now.s >= self._silent_s:
            self._silent_s = None
            for found in self._connection.flush():
                self._take(found, Frame(data=b"", received=now), output)
        return output

    def dump(self) -> bytes:
        """The zone of the band's clock, once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _take(self, message: Message | Reject, frame: Frame, output: Output) -> None:
        if isinstance(message, Reject):
            output.rejects.append(message)
            return
        output.device = f"{NAME}:{message.imei}"
        frame = frame.part(message.raw)
        bodies = self._bodies(message, output)
        at_ms = self._zone.live(pt60.time_ms(message, offset_minutes=self._offset), frame.received.ms)
        learnt = self._zone.news()
        if learnt is not None:
            bodies.append(DeviceHealth(parameters={"utc_offset_minutes": str(self._offset + learnt)}))
        output.events += [frame.event(output.device, body, at_ms=at_ms) for body in bodies]
        clock = datetime.fromtimestamp(frame.received.ms // 1000 + self._offset * 60, UTC)
        output.acks.append(Send(pt60.answer(message, f"{clock:%Y%m%d%H%M%S}")))

    def _bodies(self, message: Message, output: Output) -> list[Body]:
        bodies: list[Body] = []
        kind = message.kind
        if message.form == "B":
            if kind in {pt60.POSITION, pt60.CELLS}:
                bodies += self._place(message, output)
            if message.battery is not None:
                bodies.append(DeviceHealth(battery_percent=message.battery))
        elif kind in {pt60.TRACK, pt60.SURROUNDINGS}:
            bodies += self._place(message, output)
        elif kind == pt60.STEPS:
            steps = pt60.read_count(message, 0)
            bodies += [Measurement(quantity=Quantity.STEPS, value=steps)] if steps is not None and in_range(Quantity.STEPS, steps) else []
        elif kind == pt60.HEART_RATE:
            rate, battery = pt60.read_count(message, 0), pt60.read_count(message, 1)
            if rate is not None and rate not in _NO_READING and in_range(Quantity.HEART_RATE, rate):
                bodies.append(Measurement(quantity=Quantity.HEART_RATE, value=rate))
            bodies += [DeviceHealth(battery_percent=battery)] if battery is not None and battery <= 100 else []
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"message {kind} is not decoded", message.raw[:1024]))
        return bodies

    def _place(self, message: Message, output: Output) -> list[Body]:
        found = pt60.read_place(message)
        if found is not None:
            lat, lon = found
            if not (-90 <= lat <= 90 and -180 <= lon <= 180):
                output.rejects.append(Reject(Reason.RANGE, "latitude -90..90 and longitude -180..180 degrees expected", message.raw[:1024]))
            elif lat or lon:
                return [Position(lat=lat, lon=lon, datum=self._datum)]
            return []
        cells, aps = pt60.read_surroundings(message)
        if not cells and not aps:
            return []
        heard = [Cell(*cell) for cell in cells] or None
        wifi = [WifiAp(*ap) for ap in aps] or None
        return [Position(source=Source.WIFI if wifi else Source.CELL, valid=False, cells=heard, wifi=wifi)]


DRIVER = Pt60
