"""GPS103 trackers over TCP. Lines: `protocols.tracker.gps103`."""

from __future__ import annotations

import re

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
    Send,
    Source,
    State,
    Transport,
    Verb,
    in_range,
    read_options,
)
from protocols.errors import LocalProtocolError
from protocols.tracker import gps103
from protocols.tracker.gps103 import Connection, Line, Report
from protocols.tracker.requests import Requests
from protocols.tracker.zone import LearntZone

NAME = "gps103"
SILENCE_S = 2.0
"""A line without an end sign is whole after this: its bytes follow one another within milliseconds even on 2G."""

_K = OccurrenceKind
_ALARMS: dict[str, tuple[OccurrenceKind, str | None]] = {
    "help me": (_K.SOS, None),
    "help me!": (_K.SOS, None),
    "sos": (_K.SOS, None),
    "low battery": (_K.LOW_BATTERY, None),
    "stockade": (_K.DEVICE_FENCE_EXIT, "crossed, direction not told"),
    "move": (_K.MOTION, "moved from its place"),
    "speed": (_K.OVERSPEED, None),
    "door alarm": (_K.DOOR_OPEN, None),
    "ac alarm": (_K.POWER_CUT, None),
    "accident alarm": (_K.CRASH, None),
    "sensor alarm": (_K.VIBRATION, None),
    "acc alarm": (_K.IGNITION, "while armed"),
    "dtc": (_K.FAULT, "engine"),
}
_ANSWERS = re.compile(r"[a-p]t").fullmatch
"""Answer to a command letter: the letter in lower case and a t."""
_PHOTO = re.compile(r"v[rt]\d*").fullmatch
_SWITCHED = {"acc on": True, "acc off": False}
_GNSS, _IGNITION, _DOOR = Source.GNSS, _K.IGNITION, _K.DOOR_OPEN
_TEMPERATURE, _ODOMETER, _VOLTAGE = Quantity.TEMPERATURE, Quantity.ODOMETER, Quantity.VOLTAGE


class Gps103:
    """One connection of one tracker."""

    info = DriverInfo(
        name=NAME,
        title="GPS103 trackers (Coban, TK102, TK103)",
        vendor="Coban and clones",
        models=("GPS103", "TK102", "TK103", "one-key trackers"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "command_result", "sos", "low_battery", "device_fence_exit", "motion", "overspeed", "door_open",
            "power_cut", "crash", "vibration", "ignition", "fault", "temperature_abnormal", "general_alarm", "temperature",
            "odometer", "voltage",
        ),
        commands=(Verb.LOCATE, Verb.SET_INTERVAL, Verb.RAW_TEXT),
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 0, "zone of the device's clock, used where a line holds no UTC time", low=-720, high=840),
        ),
        source="Coban GPRS data protocol V2.0",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._offset = int(values["utc_offset_minutes"])
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._connection = Connection()
        self._imei = (device or "").removeprefix(f"{NAME}:")
        self._requests: Requests[Command] = Requests()
        self._silent_s: float | None = None
        self._states: dict[OccurrenceKind, bool] = {}

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with a login, a report, or an IMEI and nothing else."""
        data = frame.data.lstrip(b"\r\n;")
        if data.startswith((b"##,imei:", b"imei:")) or re.match(rb"\d{15}(?:[;\r\n]|imei:)", data):
            return Match.YES
        is_start = b"##,imei:".startswith(data) or b"imei:".startswith(data) or re.fullmatch(rb"\d{1,15}|\d{15}i(?:m(?:ei?)?)?", data)
        return Match.MORE if is_start else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every line that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._silent_s = frame.received.s + SILENCE_S if self._connection.buffered else None
        output.wake_s = self._wake_s()
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The line that carries out the command; the tracker answers with a report."""
        args, verb = command.args, command.verb
        try:
            if verb is Verb.LOCATE:
                key, sent = "tracker", gps103.write_command(self._imei, "B")
            elif verb is Verb.SET_INTERVAL:
                key, sent = "tracker", gps103.write_command(self._imei, "C", gps103.interval_text(int(args["seconds"])))
            elif verb is Verb.RAW_TEXT:
                letter, *rest = str(args["text"]).split(",")
                key, sent = f"{letter.lower()}t", gps103.write_command(self._imei, letter, *rest)
            else:
                raise LocalProtocolError(f"GPS103 has no {verb.value}")
            if self._requests.is_full:
                raise LocalProtocolError("too many commands are waiting")
        except (LocalProtocolError, ValueError, TypeError, KeyError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        self._requests.open(key, command, now.s, repeat=b"" if verb is Verb.RAW_TEXT else sent)
        return Output(replies=[Send(sent)], wake_s=self._wake_s())

    def wake(self, now: Instant) -> Output:
        """A line that ended in silence; repetitions and losses of commands."""
        output = Output()
        if self._silent_s is not None and now.s >= self._silent_s:
            self._silent_s = None
            for found in self._connection.flush():
                self._take(found, Frame(data=b"", received=now), output)
        due = self._requests.due(now.s)
        output.replies += [Send(sent) for sent in due.repeats]
        output.events += [command.result(CommandStatus.FAILED, now, "the tracker did not answer") for command in due.lost]
        output.wake_s = self._wake_s()
        return output

    def dump(self) -> bytes:
        """The zone of the tracker's clock, once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _wake_s(self) -> float | None:
        asked_s, silent_s = self._requests.wake_s, self._silent_s
        return silent_s if asked_s is None else asked_s if silent_s is None else min(asked_s, silent_s)

    def _take(self, line: Line | Reject, frame: Frame, output: Output) -> None:
        if isinstance(line, Reject):
            output.rejects.append(line)
            return
        self._imei = line.imei
        output.device = f"{NAME}:{line.imei}"
        if line.kind == "report":
            self._report(line, frame.part(line.raw), output)
        else:
            output.replies.append(Send(b"LOAD" if line.kind == "login" else b"ON"))

    def _report(self, line: Line, frame: Frame, output: Output) -> None:
        word = line.word.lower()
        report = gps103.read_report(line, offset_minutes=self._offset)
        if _PHOTO(word) and report.lat is None:
            # Parts of a photo: not kept. The line that names how many there are has a place.
            return
        device = f"{NAME}:{line.imei}"
        bodies = [*_alarms(word), *self._details(word, report)]
        at_ms = report.at_ms
        if report.is_local:
            at_ms = self._zone.live(at_ms, frame.received.ms)
            learnt = self._zone.news()
            if learnt is not None:
                bodies.append(DeviceHealth(parameters={"utc_offset_minutes": str(self._offset + learnt)}))
        event = frame.event
        output.events += [event(device, body, at_ms=at_ms) for body in bodies]
        if _ALARMS.get(word) == _ALARMS["help me"]:
            # Ends the alarm on the tracker, which repeats it until then.
            output.acks.append(Send(gps103.write_command(line.imei, "E")))
        if _ANSWERS(word) or word == "tracker":
            command = self._requests.answer(word)
            if command is not None:
                output.events.append(command.result(CommandStatus.DONE, frame.received))
        if report.out_of_range:
            output.rejects.append(Reject(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", line.raw[:1024]))
        elif not bodies and report == Report(report.at_ms, is_local=report.is_local):
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"report {word!r:.40} without anything that is known", line.raw[:1024]))

    def _details(self, word: str, report: Report) -> list[Body]:
        """Place, readings, and what changed of ignition and door."""
        bodies: list[Body] = []
        place = _place(report, self._datum)
        if place is not None:
            bodies.append(place)
        if report.battery is not None:
            bodies.append(DeviceHealth(battery_percent=report.battery))
        for quantity, value in ((_TEMPERATURE, report.temperature), (_ODOMETER, report.odometer_m), (_VOLTAGE, report.volts)):
            if value is not None and in_range(quantity, value):
                bodies.append(Measurement(quantity=quantity, value=value))
        ignition = _SWITCHED.get(word, report.ignition)
        for kind, is_on in ((_IGNITION, ignition), (_DOOR, report.door)):
            # Trackers without the wire always write 0: silence until it is 1 for the first time.
            if is_on is not None and is_on != self._states.get(kind, False):
                bodies.append(Occurrence(kind=kind, state=State.START if is_on else State.END))
                self._states[kind] = is_on
        return bodies


def _alarms(word: str) -> list[Body]:
    known = _ALARMS.get(word)
    if known is not None:
        kind, detail = known
        return [Occurrence(kind=kind, state=State.START, detail=detail)]
    if word.startswith("t:"):
        return [Occurrence(kind=_K.TEMPERATURE_ABNORMAL, state=State.START)]
    if "alarm" in word or word.startswith("oil"):
        return [Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=word[:60])]
    return []


def _place(report: Report, datum: Datum) -> Position | None:
    cells = [Cell(None, None, report.lac, report.cid)] if report.lac is not None and report.cid is not None else None
    if report.lat is None:
        return Position(source=Source.CELL, valid=False, cells=cells) if cells else None
    return Position(
        lat=report.lat, lon=report.lon, datum=datum, source=_GNSS, valid=report.is_valid, speed_kmh=report.speed_kmh,
        course_deg=report.course_deg, altitude_m=report.altitude_m, satellites=report.satellites,
    )  # fmt: skip


DRIVER = Gps103
