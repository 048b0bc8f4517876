"""Queclink @Track over TCP and UDP. Lines: `protocols.tracker.gl200`."""

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
    Send,
    Source,
    State,
    Transport,
    Verb,
    WifiAp,
    read_options,
)
from protocols.errors import LocalProtocolError
from protocols.tracker import gl200
from protocols.tracker.fix import ApSeen
from protocols.tracker.gl200 import Connection, Message, Place
from protocols.tracker.requests import Requests

NAME = "gl200"
SILENCE_S = 2.0
"""A line without an end sign is whole after this."""

_K, _S, _GNSS = OccurrenceKind, State, Source.GNSS
_HAPPENINGS: dict[str, tuple[OccurrenceKind, State, str | None]] = {
    "SOS": (_K.SOS, _S.START, None),
    "CRA": (_K.CRASH, _S.START, None),
    "BPL": (_K.LOW_BATTERY, _S.START, None),
    "PNA": (_K.POWER_ON, _S.PULSE, None),
    "PFA": (_K.POWER_OFF, _S.PULSE, None),
    "MPF": (_K.POWER_CUT, _S.START, None),
    "MPN": (_K.POWER_CUT, _S.END, None),
    "BTC": (_K.CHARGING, _S.START, None),
    "STC": (_K.CHARGING, _S.END, None),
    "SPD": (_K.OVERSPEED, _S.START, None),
    "TOW": (_K.MOTION, _S.START, "towed"),
    "JDR": (_K.NETWORK_LOST, _S.START, "jamming"),
    "ANT": (_K.GNSS_LOST, _S.START, "aerial"),
    "TEM": (_K.TEMPERATURE_ABNORMAL, _S.START, None),
    "TMP": (_K.TEMPERATURE_ABNORMAL, _S.START, None),
    "IGN": (_K.IGNITION, _S.START, None),
    "VGN": (_K.IGNITION, _S.START, None),
    "IGF": (_K.IGNITION, _S.END, None),
    "VGF": (_K.IGNITION, _S.END, None),
}
_PLACED_BATTERY = frozenset({"FRI", "ERI", "NMR", "RTL", "SOS", "GEO", "SPD", "DOG", "LBC", "TMP", "WIF", "STR", "CTN", "LBS"})
_HARSH = {"0": "braking", "3": "braking", "1": "acceleration", "4": "acceleration", "2": "cornering"}
"""Second digit of the type of a GTHBM."""
_QUIET = frozenset(
    {"VER", "CID", "CSQ", "TMZ", "ALL", "CFG", "QSS", "RTO", "GPS", "GSV", "IOB", "UPC", "UPD", "BAT", "CAN", "OBD", "FLA", "HBD"}
)
"""Reports that are understood although nothing comes out of them."""


class Gl200:
    """One connection, or one UDP peer, of one device. Every line names it."""

    info = DriverInfo(
        name=NAME,
        title="Queclink GL lone-worker trackers",
        vendor="Queclink",
        models=("GL200", "GL300", "GL320", "GL500", "GV series"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(
            "position", "health", "command_result", "sos", "crash", "low_battery", "power_on", "power_off", "power_cut", "charging",
            "overspeed", "motion", "moving", "network_lost", "gnss_lost", "temperature_abnormal", "ignition", "device_fence_entry",
            "device_fence_exit", "general_alarm",
        ),
        commands=(Verb.LOCATE, Verb.RESTART, Verb.QUERY, Verb.RAW_TEXT),
        options=(
            DATUM_OPTION,
            Option("password", "str", "gl200", "password that stands in every command", secret=True),
            Option("sack", "bool", False, "acknowledge every report (+SACK), as the device can be set to ask"),
        ),
        source="Queclink GL300 @Track air interface protocol",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._password = str(values["password"])
        self._sack = bool(values["sack"])
        self._connection = Connection()
        self._requests: Requests[Command] = Requests()
        self._serial = 0
        self._silent_s: float | None = None
        self._moving: bool | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with +RESP:GT, +BUFF:GT or +ACK:GT."""
        heads = (b"+RESP:GT", b"+BUFF:GT", b"+ACK:GT")
        if frame.data.startswith(heads):
            return Match.YES
        return Match.MORE if any(head.startswith(frame.data) for head in heads) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every line that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._silent_s = frame.received.s + SILENCE_S if self._connection.buffered else None
        output.wake_s = self._wake_s()
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The AT line; the device repeats its kind and serial."""
        serial = self._serial % 0xFFFF + 1
        try:
            kind, arguments = _words(command)
            sent = gl200.write_command(kind, self._password, *arguments, serial=serial)
            if self._requests.is_full:
                raise LocalProtocolError("too many commands are waiting")
        except (LocalProtocolError, ValueError, KeyError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        self._serial = serial
        repeat = b"" if command.verb is Verb.RESTART else sent
        self._requests.open(f"{kind}{serial:04X}", command, now.s, repeat=repeat)
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
        output.events += [command.result(CommandStatus.FAILED, now, "the device did not answer") for command in due.lost]
        output.wake_s = self._wake_s()
        return output

    def _wake_s(self) -> float | None:
        asked_s, silent_s = self._requests.wake_s, self._silent_s
        return silent_s if asked_s is None else asked_s if silent_s is None else min(asked_s, silent_s)

    def _take(self, message: Message | Reject, frame: Frame, output: Output) -> None:
        if isinstance(message, Reject):
            output.rejects.append(message)
            return
        output.device = f"{NAME}:{message.id}"
        frame = frame.part(message.raw)
        if message.frame == "ACK":
            self._acknowledged(message, frame, output)
            return
        self._report(message, frame, output)
        if self._sack and message.counter:
            output.acks.append(Send(gl200.acknowledgement(message)))

    def _acknowledged(self, message: Message, frame: Frame, output: Output) -> None:
        if message.kind == "HBD":
            output.replies.append(Send(gl200.heartbeat_answer(message)))
            return
        serial = message.fields[-3].upper() if len(message.fields) >= 4 else ""
        command = self._requests.answer(f"{message.kind}{serial}")
        if command is not None:
            output.events.append(command.result(CommandStatus.DONE, frame.received))

    def _report(self, message: Message, frame: Frame, output: Output) -> None:
        """Alarm first, then places in the order sent, then health and motion."""
        device, stored, text, sent_ms = f"{NAME}:{message.id}", message.frame == "BUFF", message.text, message.sent_ms
        places, end = gl200.read_places(message, text)
        newest = max([place.at_ms or 0 for place in places], default=0)
        said = self._happened(message, stored)
        output.events += [frame.event(device, body, at_ms=sent_ms) for body in said]
        cells, aps = gl200.read_surroundings(message, text)
        for place in places:
            if place.out_of_range:
                output.rejects.append(Reject(Reason.RANGE, "longitude -180..180, latitude -90..90 degrees expected", message.raw[:1024]))
            elif place.lat is not None:
                body = _position(place, self._datum, aps, stored=stored or (place.at_ms or 0) < newest)
                output.events.append(frame.event(device, body, at_ms=place.at_ms))
        if (cells or aps) and all(place.lat is None for place in places):
            heard = Position(
                source=Source.WIFI if aps else Source.CELL, valid=False, stored=stored, cells=[Cell(*cell) for cell in cells] or None,
                wifi=[WifiAp(*ap) for ap in aps] or None,
            )  # fmt: skip
            output.events.append(frame.event(device, heard, at_ms=sent_ms))
        health = _health(message, text, end)
        if health is not None and not stored:
            output.events.append(frame.event(device, health, at_ms=sent_ms))
        if not (said or places or cells or aps or health) and message.kind not in _QUIET:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"report GT{message.kind} is not decoded", message.raw[:1024]))

    def _happened(self, message: Message, stored: bool) -> list[Body]:
        kind = message.kind
        if kind in _HAPPENINGS:
            what, state, detail = _HAPPENINGS[kind]
            return [Occurrence(kind=what, state=state, detail=detail, stored=stored)]
        if kind in {"GEO", "GIN", "GOT"}:
            # GL units write number and type (1 entered) in two fields, GV units in one.
            types = [field for field in message.fields[3:5] if field]
            entered = kind == "GIN" or (kind == "GEO" and bool(types) and types[-1][-1:] == "1")
            what = _K.DEVICE_FENCE_ENTRY if entered else _K.DEVICE_FENCE_EXIT
            return [Occurrence(kind=what, state=State.START, stored=stored)]
        if kind == "JDS":
            # 1: the jamming is over, 2: it begins.
            state = _S.END if message.fields[3] == "1" else _S.START
            return [Occurrence(kind=_K.NETWORK_LOST, state=state, detail="jamming", stored=stored)]
        if kind == "HBM":
            word = _HARSH.get(message.fields[4][-1:]) if len(message.fields) > 4 else None
            return [Occurrence(kind=_K.GENERAL_ALARM, state=_S.START, detail=word or "harsh driving", stored=stored)]
        moving = _moving(message)
        if moving is None or stored or moving == self._moving:
            return []
        self._moving = moving
        return [Occurrence(kind=_K.MOVING, state=State.START if moving else State.END)]


def _moving(message: Message) -> bool | None:
    """Motion of a GTSTT (x1 at rest, x2 moving) or GTNMR (type 0 came to rest, 1 began to move)."""
    if message.kind == "STT":
        state = next((field for field in message.fields[3:6] if field in {"11", "12", "21", "22", "41", "42"}), "")
        return state.endswith("2") if state else None
    if message.kind == "NMR" and len(message.fields) > 4 and message.fields[4] in {"0", "1"}:
        return message.fields[4] == "1"
    return None


def _health(message: Message, text: str, end: int) -> DeviceHealth | None:
    if message.kind == "INF":
        info = gl200.read_info(message)
        return DeviceHealth(
            battery_percent=info.battery, battery_mv=info.battery_mv, charging=info.is_charging, external_power=info.external_power,
            signal=round(info.csq * 100 / 31) if info.csq else None, iccid=info.iccid,
        )  # fmt: skip
    if message.kind in {"EPN", "EPF"}:
        return DeviceHealth(external_power=message.kind == "EPN")
    battery = gl200.read_battery(message, text, end) if message.kind in _PLACED_BATTERY else None
    return DeviceHealth(battery_percent=battery) if battery is not None else None


def _position(place: Place, datum: Datum, aps: list[ApSeen], *, stored: bool) -> Position:
    return Position(
        lat=place.lat, lon=place.lon, datum=datum, source=_GNSS, valid=place.accuracy != 0, speed_kmh=place.speed_kmh,
        course_deg=place.course_deg,
        altitude_m=place.altitude_m, hdop=place.accuracy or None, stored=stored, cells=[Cell(*place.cell)] if place.cell else None,
        wifi=[WifiAp(*ap) for ap in aps] if aps else None,
    )  # fmt: skip


def _words(command: Command) -> tuple[str, list[str]]:
    """Kind and arguments of a verb. Raises LocalProtocolError."""
    number = {Verb.LOCATE: "1", Verb.RESTART: "3", Verb.QUERY: "8"}.get(command.verb)
    if number is not None:
        return "RTO", [number, "", "", "", "", ""]
    if command.verb is Verb.RAW_TEXT:
        kind, *arguments = str(command.args["text"]).split(",")
        return kind, arguments
    raise LocalProtocolError(f"@Track has no {command.verb.value}")


DRIVER = Gl200
