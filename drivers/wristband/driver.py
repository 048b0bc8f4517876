"""YX wristbands over TCP. Frames and functions: `protocols.tracker.wristband`."""

from __future__ import annotations

from datetime import UTC, datetime

from drivers.api import (
    DATUM_OPTION,
    Cell,
    Command,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Option,
    Options,
    Output,
    Position,
    Reason,
    Reject,
    Send,
    Source,
    Transport,
    Verb,
    WifiAp,
    read_options,
)
from protocols.errors import LocalProtocolError
from protocols.tracker import wristband
from protocols.tracker.wristband import Connection, Message

NAME = "wristband"


class Wristband:
    """One connection of one band. Every message names it, there is no login."""

    info = DriverInfo(
        name=NAME,
        title="YX wristband against wandering",
        vendor="YX",
        models=("low-power 2G/3G wristbands", "pet trackers of the same firmware"),
        transports=(Transport.TCP,),
        emits=("position", "health", "command_result"),
        commands=(Verb.RAW_TEXT,),
        options=(
            DATUM_OPTION,
            Option(
                "utc_offset_minutes", "int", 0, "how far the band's clock runs ahead of UTC; it is set by our answer", low=-720, high=840
            ),
            Option("server", "str", "", "host,port that a band which asks for its server is given"),
        ),
        source="YX wristband protocol V1.0",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._zone = int(values["utc_offset_minutes"])
        self._server = str(values["server"])
        self._connection = Connection()
        self._last = Message((device or "").removeprefix(f"{NAME}:"), 0)
        self._place: tuple[float | None, float | None, int | None] | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with 00 01 02, a length and a text with an IMEI."""
        data = frame.data[:8]
        if not data.startswith(wristband.HEAD[: len(data)]):
            return Match.NO
        if len(data) < 8:
            return Match.MORE
        return Match.YES if data[5:7].isalpha() and data[7:8].isdigit() else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
                continue
            self._last = found
            output.device = f"{NAME}:{found.imei}"
            if not found.length_ok:
                output.tolerated.append(Reject(Reason.INTEGRITY, "length field is wrong", found.raw[:1024]))
            self._take(frame.part(found.raw), found, output)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A function as text (`F64#x`); the band's answer cannot be told from its own messages."""
        text = str(command.args.get("text") or "")
        number, _, data = text.removeprefix("F").partition("#")
        if command.verb is not Verb.RAW_TEXT or not self._last.imei or not (number.isascii() and number.isdigit() and len(number) <= 3):
            detail = "raw_text Fnn#data to a band that has spoken expected"
            return Output(events=[command.result(CommandStatus.FAILED, now, detail)])
        try:
            sent = wristband.reply(self._last._replace(function=int(number)), data)
        except LocalProtocolError as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        return Output(replies=[Send(sent)], events=[command.result(CommandStatus.ACCEPTED, now, "the band does not answer this")])

    def wake(self, now: Instant) -> Output:
        """Nothing waits."""
        return Output()

    def _take(self, frame: Frame, message: Message, output: Output) -> None:
        function = message.function
        if function == wristband.STATUS:
            battery = wristband.read_battery(message)
            if battery is not None:
                output.events.append(frame.event(f"{NAME}:{message.imei}", DeviceHealth(battery_percent=battery)))
            fields = message.data.split(",")
            output.acks.append(Send(wristband.reply(message, fields[1] if len(fields) > 1 else "")))
        elif function == wristband.POINTS:
            self._points(frame, message, output)
        elif function in {wristband.ACCESS_POINTS, wristband.CELLS}:
            self._surroundings(frame, message, output)
        elif function == wristband.ECHO:
            output.replies.append(Send(wristband.reply(message, message.data)))
        elif function == wristband.TIME:
            clock = datetime.fromtimestamp(frame.received.ms // 1000 + self._zone * 60, UTC)
            output.replies.append(Send(wristband.reply(message, f"{clock:%Y-%m-%d-%H-%M-%S}|{self._server}")))
        elif function == wristband.SERVER and self._server:
            output.replies.append(Send(wristband.reply(message, self._server)))
        else:
            detail = (
                "the band asks for its server: set the option server" if function == wristband.SERVER else f"F{function:02d} is not decoded"
            )
            output.rejects.append(Reject(Reason.UNSUPPORTED, detail, message.raw[:1024]))

    def _points(self, frame: Frame, message: Message, output: Output) -> None:
        """Points in the order sent. The newest is the live place, the others were recorded on the way."""
        points = wristband.read_points(message, offset_minutes=self._zone)
        newest = max((point.at_ms or 0 for point in points), default=0)
        for point in points:
            if point.out_of_range:
                output.rejects.append(Reject(Reason.RANGE, "longitude -180..180, latitude -90..90 degrees expected", message.raw[:1024]))
            if point.lat is None:
                continue
            # The band has no validity flag: the very point that it has told before is its last fix again.
            here = (point.lat, point.lon, point.at_ms)
            body = Position(
                lat=point.lat, lon=point.lon, datum=self._datum, valid=point.is_valid and here != self._place, speed_kmh=point.speed_kmh,
                stored=(point.at_ms or 0) < newest,
            )  # fmt: skip
            self._place = here
            output.events.append(frame.event(f"{NAME}:{message.imei}", body, at_ms=point.at_ms))

    def _surroundings(self, frame: Frame, message: Message, output: Output) -> None:
        aps, cells = wristband.read_surroundings(message)
        if not aps and not cells:
            output.rejects.append(Reject(Reason.RANGE, "neither an access point nor a cell can be read", message.raw[:1024]))
            return
        body = Position(
            source=Source.WIFI if aps else Source.CELL, valid=False, cells=[Cell(*cell) for cell in cells] or None,
            wifi=[WifiAp(*ap) for ap in aps] or None,
        )  # fmt: skip
        output.events.append(frame.event(f"{NAME}:{message.imei}", body))


DRIVER = Wristband
