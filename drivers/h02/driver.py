"""H02 trackers over TCP or UDP. Frames: `protocols.tracker.h02`, text reports: `protocols.tracker.h02_text`."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from functools import lru_cache
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
    in_range,
    read_options,
)
from protocols.errors import LocalProtocolError
from protocols.tracker import h02
from protocols.tracker.h02 import Binary, Connection, Fix, Text
from protocols.tracker.h02_text import TextReport, read_text, status_of
from protocols.tracker.zone import LearntZone

NAME = "h02"
PENDING_LIMIT = 16

_K, _START, _GNSS = OccurrenceKind, State.START, Source.GNSS
_KINDS = {
    "sos": _K.SOS, "vibration": _K.VIBRATION, "overspeed": _K.OVERSPEED, "power_cut": _K.POWER_CUT,
    "fence_entry": _K.DEVICE_FENCE_ENTRY, "fence_exit": _K.DEVICE_FENCE_EXIT,
}  # fmt: skip


class H02:
    """One connection of one tracker."""

    info = DriverInfo(
        name=NAME,
        title="H02 trackers (Sinotrack, LK, Reachfar, HQ watches)",
        vendor="Sinotrack, LK, Reachfar and clones",
        models=("ST-90x", "LK-series", "HQ watches", "kids watches with NBR and LINK"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(
            "position", "health", "command_result", "sos", "vibration", "overspeed", "power_cut", "device_fence_entry",
            "device_fence_exit", "steps", "tumbles",
        ),
        commands=(Verb.SET_INTERVAL, Verb.LIVE_MODE, Verb.RESTART, Verb.QUERY, Verb.RAW_TEXT),
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 0, "zone of the tracker's clock; where it is not set it is learnt", low=-720, high=840),
            Option("ack_all", "bool", False, "answer every report with R12, as some makers ask"),
            Option("fence_bits", "bool", False, "read status bits 4 and 7 as fence entry and exit (Sinotrack)"),
        ),
        source="HQ platform protocol 1.0.5; Sinotrack ST-90x",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._ack_all = bool(values["ack_all"])
        self._fences = bool(values["fence_bits"])
        self._offset = int(values["utc_offset_minutes"])
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._connection = Connection()
        self._id = (device or "").removeprefix(f"{NAME}:")
        self._maker = "HQ"
        self._pending: OrderedDict[str, Command] = OrderedDict()

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the first bytes are an H02 frame."""
        data = frame.data
        if data[:1] == b"$":
            if not (data[1:12].hex() or "0").isdecimal():
                return Match.NO
            return Match.YES if len(data) >= 12 else Match.MORE
        if data[:1] != b"*":
            return Match.NO
        if len(data) < 4:
            return Match.MORE
        return Match.YES if data[1:3].isalnum() and data[3:4] == b"," else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every frame that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            elif isinstance(found, Text):
                self._text(frame.part(found.raw), found, output)
            elif isinstance(found, Binary):
                self._binary(frame.part(found.raw), output)
            else:
                output.rejects.append(Reject(Reason.UNSUPPORTED, "X frames are not documented", found.raw))
        return output

    def wake(self, now: Instant) -> Output:
        """Nothing waits."""
        return Output()

    def command(self, command: Command, now: Instant) -> Output:
        """The text frame that carries out `command`; V4 with the same code gives the result."""
        clock = datetime.fromtimestamp(now.ms // 1000, UTC)
        try:
            if not self._id:
                raise LocalProtocolError("the device has not spoken yet: its id is unknown")
            code, fields = _command_fields(command)
            data = h02.write_text(self._maker, self._id, code, f"{clock:%H%M%S}", *fields)
        except (LocalProtocolError, ValueError, TypeError, KeyError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        self._pending[code] = command
        while len(self._pending) > PENDING_LIMIT:
            self._pending.popitem(last=False)
        return Output(replies=[Send(data)])

    def dump(self) -> bytes:
        """The zone of the tracker's clock, once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _known(self, identity: str, output: Output) -> str:
        """The device of a frame; one without an id belongs to whoever spoke before."""
        if identity.isalnum() and identity.isascii():
            self._id = identity
        if self._id:
            output.device = f"{NAME}:{self._id}"
        return f"{NAME}:{self._id or 'unknown'}"

    def _text(self, frame: Frame, text: Text, output: Output) -> None:
        device = self._known(text.id, output)
        if len(text.fields[0]) == 2 and text.id:
            self._maker = text.fields[0]
        try:
            report = read_text(text)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(text.raw))
            report = TextReport(status=status_of(text))
        if report is None:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"command {text.command!r:.20} is not decoded", h02.sample(text.raw)))
        else:
            self._report(frame, device, report, output)
        if text.id or self._id:
            self._answer(frame, text, output)

    def _answer(self, frame: Frame, text: Text, output: Output) -> None:
        """V1 and NBR with V4 after commit, heartbeats by their own head at once."""
        identity, command, now_s = text.id or self._id, text.command, frame.received.ms // 1000
        if command in {"HTBT", "V0"}:
            output.replies.append(Send(f"*{text.fields[0]},{identity},{text.fields[2]}#".encode("ascii", "replace")))
        elif command in {"V1", "NBR"}:
            output.acks.append(Send(f"*HQ,{identity},V4,{command},{_stamp(now_s)}#".encode("ascii", "replace")))
        elif self._ack_all and command != "V4":
            output.acks.append(Send(f"*HQ,{identity},R12,{_stamp(now_s)[8:]}#".encode("ascii", "replace")))

    def _binary(self, frame: Frame, output: Output) -> None:
        try:
            found = h02.read_binary(frame.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
            return
        device = self._known(found.id, output)
        report = TextReport(fix=found.fix, at_ms=found.fix.at_ms, status=found.status, battery=h02.battery_of(found.battery))
        self._report(frame, device, report, output)

    def _report(self, frame: Frame, device: str, report: TextReport, output: Output) -> None:
        """Alarms first, whatever the fix; the rest only of a device that we know."""
        event, at = frame.event, None if report.at_ms is None else report.at_ms - self._offset * 60_000
        at = self._zone.live(at, frame.received.ms)
        learnt = self._zone.news()
        said: list[Body] = []
        if report.status is not None:
            said += [Occurrence(kind=_KINDS[word], state=_START) for word in h02.alarms_of(report.status, fences=self._fences)]
        if self._id:
            said += self._rest(frame, report, output)
            if learnt is not None:
                said.append(DeviceHealth(parameters={"utc_offset_minutes": str(self._offset + learnt)}))
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, "not logged in: the frame names no device", h02.sample(frame.data)))
        output.events += [event(device, body, at_ms=at) for body in said]

    def _rest(self, frame: Frame, report: TextReport, output: Output) -> list[Body]:
        """Place, health, readings, words."""
        said: list[Body] = []
        if report.fix is not None and report.fix.out_of_range:
            output.rejects.append(Reject(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", h02.sample(frame.data)))
        position = _position(report.fix, report, self._datum)
        if position is not None:
            said.append(position)
        signal = report.signal if report.signal is not None and 0 <= report.signal <= 100 else None
        if report.battery is not None or signal is not None:
            said.append(DeviceHealth(battery_percent=report.battery, signal=signal))
        if report.steps is not None or report.tumbles is not None:
            for quantity, value in ((Quantity.STEPS, report.steps), (Quantity.TUMBLES, report.tumbles)):
                if value is not None and in_range(quantity, value):
                    said.append(Measurement(quantity=quantity, value=value))
        if report.result is not None:
            said.append(self._words(report.result))
        return said

    def _words(self, text: str) -> CommandResult:
        """The device's answer, matched by the code that it begins with."""
        command = self._pending.pop(text.split(",", 1)[0].strip(), None)
        if command is None:
            return CommandResult(command="", verb="raw_text", status=CommandStatus.UNKNOWN, detail=text)
        status = CommandStatus.FAILED if "ERROR" in text.upper() else CommandStatus.DONE
        return CommandResult(command=command.id, verb=command.verb.value, status=status, detail=text)


@lru_cache(maxsize=4)
def _stamp(now_s: int) -> str:
    """yyyymmddhhmmss; many reports are answered within one second."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y%m%d%H%M%S}"


def _position(fix: Fix | None, report: TextReport, datum: Datum) -> Position | None:
    cells = [Cell(*cell) for cell in report.cells] if report.cells else None
    if fix is None or fix.lat is None:
        return Position(source=Source.CELL, valid=False, cells=cells, satellites=report.satellites) if cells else None
    return Position(
        lat=fix.lat,
        lon=fix.lon,
        datum=datum,
        source=Source.CELL if fix.letter == "B" else _GNSS,
        valid=fix.letter != "V",
        speed_kmh=fix.speed_kmh,
        course_deg=fix.course_deg,
        satellites=report.satellites,
        cells=cells,
    )


def _command_fields(command: Command) -> tuple[str, list[str]]:
    """Code and fields of a verb. Raises LocalProtocolError or ValueError saying what is wrong."""
    args: dict[str, Any] = command.args
    match command.verb:
        case Verb.SET_INTERVAL:
            return "S71", ["22", str(int(args["seconds"]))]
        case Verb.LIVE_MODE:
            return "D1", [str(int(args.get("interval") or 10)), "1"]
        case Verb.RESTART:
            return "R1", []
        case Verb.QUERY:
            return str(args.get("name") or "S26"), []
        case Verb.RAW_TEXT:
            code, *fields = str(args["text"]).split(",")
            return code, fields
    raise LocalProtocolError(f"H02 has no {command.verb.value} over the network; SOS numbers are set by SMS")


DRIVER = H02
