"""JT/T 808 terminals over TCP or UDP. Frames: `protocols.tracker.jt808`."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from datetime import UTC, datetime

from drivers.api import (
    DATUM_OPTION,
    QUANTITIES,
    Body,
    Cell,
    Command,
    CommandResult,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
    Event,
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
    Reject,
    RemoteProtocolError,
    Send,
    Source,
    State,
    Transport,
    WifiAp,
    in_range,
    read_options,
)
from drivers.jt808.commands import VERBS_TAKEN, downlink, parameter_name
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason
from protocols.tracker import jt808
from protocols.tracker import jt808_bodies as bodies
from protocols.tracker.jt808 import Bracketed, Connection, Header, Message, Missing
from protocols.tracker.jt808_position import (
    BODY_BYTES,
    Location,
    read_batch,
    read_jointech,
    read_location,
    read_short_batch,
    read_transparent,
)
from protocols.tracker.zone import LearntZone

NAME = "jt808"
PENDING_LIMIT = 32

_K = OccurrenceKind
_START, _GNSS = State.START, Source.GNSS
_HUMIDITY, _ILLUMINANCE, _PRESSURE = Quantity.HUMIDITY, Quantity.ILLUMINANCE, Quantity.PRESSURE
_VOLTAGE, _ODOMETER = Quantity.VOLTAGE, Quantity.ODOMETER
_KINDS: dict[str, tuple[OccurrenceKind, str | None]] = {
    "sos": (_K.SOS, None), "overspeed": (_K.OVERSPEED, None), "overspeed_warning": (_K.OVERSPEED, "warning"),
    "low_battery": (_K.LOW_BATTERY, None), "external_low": (_K.LOW_BATTERY, "external supply"), "power_off": (_K.POWER_OFF, None),
    "power_cut": (_K.POWER_CUT, None), "vibration": (_K.VIBRATION, None), "tamper": (_K.TAMPER, None), "removed": (_K.REMOVED, None),
    "fence_exit": (_K.DEVICE_FENCE_EXIT, None), "fence_entry": (_K.DEVICE_FENCE_ENTRY, None), "moved": (_K.MOVING, "moved while parked"),
    "crash": (_K.CRASH, None), "door": (_K.DOOR_OPEN, None), "fault": (_K.FAULT, None), "fault_gnss": (_K.FAULT, "satellite receiver"),
    "fault_antenna": (_K.FAULT, "satellite antenna"), "fault_display": (_K.FAULT, "display"), "fault_tts": (_K.FAULT, "speech module"),
    "fault_camera": (_K.FAULT, "camera"), "fault_card": (_K.FAULT, "card reader"), "fault_speed": (_K.FAULT, "speed sensor"),
}  # fmt: skip
"""Occurrence of each alarm word; any other word is a general alarm with the word as its text."""

_ANSWERS = frozenset((jt808.TERMINAL_ANSWER, jt808.PARAMETERS_ANSWER, jt808.POSITION_ANSWER))
"""Answers to messages of ours: never answered themselves."""
_JOINTECH = frozenset((jt808.JOINTECH, jt808.JOINTECH_BLIND))
_QUIET = frozenset((0x0506, jt808.TIME_ZONE_QUERY, 0x8888, jt808.HEARTBEAT, jt808.LOGOUT))
"""Answered, and nothing more to them than being alive."""


class Jt808:
    """One connection of one terminal."""

    info = DriverInfo(
        name=NAME,
        title="JT/T 808 terminals (ID-card trackers, 4G badges, elder cards)",
        vendor="JT/T 808-2013, -2019",
        models=("C5", "C5L", "AOVX GL100", "Jimi JC371", "4G badges and student cards"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(
            "position", "health", "command_result", "sos", "overspeed", "low_battery", "power_off", "power_cut", "vibration", "tamper",
            "removed", "device_fence_exit", "device_fence_entry", "moving", "crash", "door_open", "fault", "general_alarm",
            "steps", "temperature", "humidity", "illuminance", "pressure", "voltage", "odometer",
        ),
        commands=VERBS_TAKEN,
        options=(
            DATUM_OPTION,
            Option("utc_offset_minutes", "int", 480, "zone of the terminal's clock; the standard says GMT+8, export firmware often UTC",
                   low=-840, high=840),
            Option("tolerate_checksum", "bool", False, "use frames whose xor is wrong (counted) instead of refusing them"),
            Option("shifted", "str", "gcj02", "coordinates with status bit 5 set: report them as GCJ-02, or refuse them",
                   choices=("gcj02", "refuse")),
            Option("f8", "str", "steps", "two-byte item F8: steps (C5 cards) or temperature", choices=("steps", "temperature")),
            Option("auth_secret", "str", "", "key of the authentication code; empty: the code is the terminal's number", secret=True),
            Option("sos_parameter", "int", None, "vendor's parameter id that holds the SOS numbers", low=0, high=0xFFFFFFFF),
        ),
        source="JT/T 808-2013; JT/T 808-2019",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._offset = int(values["utc_offset_minutes"])
        self._follow_zone = "utc_offset_minutes" not in options
        self._zone = LearntZone(is_set="utc_offset_minutes" in options)
        self._refuse_shifted = values["shifted"] == "refuse"
        self._f8_is_steps = values["f8"] == "steps"
        self._secret = str(values["auth_secret"])
        self._sos_parameter = values["sos_parameter"]
        self._connection = Connection(tolerate_checksum=bool(values["tolerate_checksum"]))
        self._assembler = jt808.Assembler()
        self._number = (device or "").removeprefix(f"{NAME}:")
        self._header: Header | None = None
        self._serial = 0
        self._moving: bool | None = None
        self._pending: OrderedDict[int, tuple[Command, int]] = OrderedDict()

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the first bytes are a JT/T 808 frame."""
        data = frame.data[:3]
        if data[:1] not in {b"\x7e", b"\xe7"}:
            return Match.NO
        if len(data) < 3:
            return Match.MORE
        return Match.YES if data[1] in {0x00, 0x01, 0x02, 0x07, 0x08, 0x09, 0x13, 0x55, 0x60} else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every message that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            elif isinstance(found, Bracketed):
                self._bracketed(frame.part(found.raw), found.text, output)
            else:
                self._take(frame.part(found.raw), found, output)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The messages that carry out `command`; the terminal's general answer gives the result."""
        if command.verb not in self.info.commands:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"JT/T 808 has no {command.verb.value}")])
        try:
            header = self._header or Header(jt808.phone_bytes(self._number))
            messages = downlink(command, version=header.version, sos_parameter=self._sos_parameter)
            sends = []
            for kind, body in messages:
                self._pending[self._serial] = (command, kind)
                sends.append(self._send(header, kind, body))
        except (LocalProtocolError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error) or type(error).__name__)])
        while len(self._pending) > PENDING_LIMIT:
            self._pending.popitem(last=False)
        return Output(replies=sends)

    def wake(self, now: Instant) -> Output:
        """Nothing waits."""
        return Output()

    def dump(self) -> bytes:
        """The zone of the terminal's clock, once learnt."""
        return self._zone.dump()

    def load(self, state: bytes) -> None:
        """Take the zone back."""
        self._zone.load(state)

    def _send(self, header: Header, kind: int, body: bytes) -> Send:
        serial = self._serial
        self._serial = (serial + 1) & 0xFFFF
        if kind == jt808.JOINTECH_ANSWER:
            serial &= 0xFF
        return Send(jt808.encode(Message(kind, header, serial, body, answer_wanted=False)))

    def _answer(self, message: Message, result: int = bodies.OK) -> Send:
        if message.id in _JOINTECH:
            body = message.id.to_bytes(2, "big") + bytes((result,))
            return self._send(message.header, jt808.JOINTECH_ANSWER, body)
        serial = self._serial
        self._serial = (serial + 1) & 0xFFFF
        return Send(jt808.general_answer(message, serial, result))

    def _take(self, frame: Frame, message: Message, output: Output) -> None:
        """One message: who it is from, sub-packages, then its meaning; a bad content is refused and answered all the same."""
        self._header = message.header
        self._number = jt808.device_id(message.header.phone)
        output.device = f"{NAME}:{self._number}"
        if message.flaw:
            output.tolerated.append(Reject(Reason.INTEGRITY, message.flaw, message.raw[:FRAME_SAMPLE_BYTES]))
        if message.encryption:
            output.rejects.append(_refuse(Reason.UNSUPPORTED, f"encryption {message.encryption} is not decoded", message))
            output.acks.append(self._answer(message))
            return
        if message.package is not None:
            whole = self._assembler.add(message)
            if not isinstance(whole, Message):
                self._part(message, whole, output)
                return
            message = whole
        answered = len(output.replies)
        try:
            self._meaning(frame, message, output)
        except RemoteProtocolError as error:
            output.rejects.append(Reject(error.reason, error.detail, message.raw[:FRAME_SAMPLE_BYTES]))
            if message.id not in _ANSWERS and message.answer_wanted and len(output.replies) == answered:
                output.acks.append(self._answer(message))

    def _part(self, message: Message, found: Missing | Reject | None, output: Output) -> None:
        """An unfinished sub-packaged message. Parts before the last are answered at once, otherwise the terminal would wait for
        ever; the last is answered only when all are here and stored, so that nothing can be lost."""
        if isinstance(found, Missing):
            output.replies.append(
                self._send(message.header, jt808.RESEND_REQUEST, bodies.write_resend_request(found.first_serial, found.numbers))
            )
            return
        if isinstance(found, Reject):
            output.rejects.append(found)
        output.replies.append(self._answer(message))

    def _meaning(self, frame: Frame, message: Message, output: Output) -> None:
        kind, body = message.id, message.body
        if kind == jt808.POSITION:
            if 4 <= len(body) < BODY_BYTES and body[3] & 1:
                output.events.append(self._event(frame, Occurrence(kind=_K.SOS, state=State.START)))
            self._location(frame, self._read(body), output)
        elif kind == jt808.BATCH:
            self._records(frame, read_batch(body, offset_minutes=self._offset, follow_zone=self._follow_zone), output)
        elif kind == jt808.BATCH_SHORT:
            self._short_batch(frame, body, output)
        elif kind in _JOINTECH:
            self._location(frame, read_jointech(body, stored=kind == jt808.JOINTECH_BLIND).location, output)
            if not message.answer_wanted:
                return
        elif kind == jt808.TRANSPARENT:
            self._transparent(frame, body, output)
        elif kind in _ANSWERS:
            self._answered(frame, message, output)
            return
        elif kind in {jt808.TEXT_REPORT, jt808.TEXT_ANSWER, jt808.COMMAND_TEXT}:
            self._text(frame, message, output)
        elif kind == jt808.ATTRIBUTES_ANSWER:
            self._attributes(frame, message, output)
        else:
            self._session(frame, message, output)
            return
        output.acks.append(self._answer(message))

    def _session(self, frame: Frame, message: Message, output: Output) -> None:
        """Messages about the connection itself: answered at once."""
        kind = message.id
        if kind == jt808.REGISTER:
            output.replies.append(
                self._send(message.header, jt808.REGISTER_ANSWER, bodies.write_register_answer(message.serial, self._code()))
            )
            found = bodies.read_registration(message.body, version=message.header.version)
            parameters = {"maker": found.maker, "plate": found.plate}
            health = DeviceHealth(
                model=found.model or None, serial=found.terminal or None, parameters={k: v for k, v in parameters.items() if v} or None
            )
            output.events.append(self._event(frame, health))
        elif kind == jt808.AUTHENTICATE:
            code = bodies.read_authentication(message.body, version=message.header.version)
            right = not self._secret or hmac.compare_digest(code.encode(), self._code().encode())
            if not right:
                output.rejects.append(_refuse(Reason.INTEGRITY, "authentication code is not the one given at registration", message))
            output.replies.append(self._answer(message, bodies.OK if right else bodies.FAILURE))
        elif kind in {jt808.TIME_QUERY, jt808.TIME_QUERY_2019}:
            now = datetime.fromtimestamp(frame.received.ms // 1000, UTC)
            if kind == jt808.TIME_QUERY:
                body = bodies.write_time(now.year, now.month, now.day, now.hour, now.minute, now.second)
                output.replies.append(self._send(message.header, jt808.TIME_ANSWER, body))
            else:
                output.replies.append(self._send(message.header, jt808.TIME_ANSWER_2019, bodies.write_time_bcd(f"{now:%y%m%d%H%M%S}")))
        elif kind in _QUIET:
            self._heartbeat(frame, message, output)
            output.replies.append(self._answer(message))
        elif kind >= 0x8000:
            output.rejects.append(_refuse(Reason.NOT_OURS, f"message {kind:04x} goes the other way", message))
        else:
            output.rejects.append(_refuse(Reason.UNSUPPORTED, f"message {kind:04x} is not decoded", message))
            output.acks.append(self._answer(message))

    def _heartbeat(self, frame: Frame, message: Message, output: Output) -> None:
        """Some terminals put battery, signal and status into the heartbeat."""
        body = message.body
        if message.id == jt808.HEARTBEAT and len(body) >= 3 and body[0] <= 100:
            output.events.append(self._event(frame, DeviceHealth(battery_percent=body[0], signal=_signal(body[1]))))

    def _code(self) -> str:
        if not self._secret:
            return self._number
        return hmac.new(self._secret.encode(), self._number.encode(), hashlib.sha256).hexdigest()[:16]

    def _event(
        self, frame: Frame, body: Occurrence | Position | DeviceHealth | Measurement | CommandResult, at: int | None = None
    ) -> Event:
        return frame.event(f"{NAME}:{self._number or 'unknown'}", body, at_ms=at)

    def _read(self, body: bytes) -> Location:
        return read_location(body, offset_minutes=self._offset, follow_zone=self._follow_zone)

    def _records(self, frame: Frame, found: tuple[list[Location], list[RemoteProtocolError]], output: Output) -> None:
        locations, faults = found
        for location in locations:
            self._location(frame, location, output)
        output.rejects += [fault.reject() for fault in faults]

    def _short_batch(self, frame: Frame, body: bytes, output: Output) -> None:
        if len(body) != 7:
            self._records(frame, read_short_batch(body, offset_minutes=self._offset, follow_zone=self._follow_zone), output)
            return
        battery, at_ms = bodies.read_battery_report(body, offset_minutes=self._offset)
        if battery > 100:
            raise RemoteProtocolError(Reason.RANGE, f"battery 0..100 expected, got {battery}", body)
        output.events.append(self._event(frame, DeviceHealth(battery_percent=battery), at_ms))

    def _location(self, frame: Frame, location: Location, output: Output) -> None:
        """Alarms first, then the place, then the state of the device: no fault of one part keeps another back."""
        items, stored = location.items, location.stored
        said: list[Body] = []
        for word in location.alarms:
            kind, detail = _KINDS.get(word) or (_K.GENERAL_ALARM, word.replace("_", " "))
            said.append(Occurrence(kind=kind, state=_START, detail=detail, stored=stored))
        if location.out_of_range:
            output.rejects.append(
                Reject(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", frame.data[:FRAME_SAMPLE_BYTES])
            )
        position = self._position(location)
        if position is not None:
            said.append(position)
        moving = items.moving
        if moving is not None and moving is not self._moving and not stored:
            if moving or self._moving is not None:
                said.append(Occurrence(kind=_K.MOVING, state=_START if moving else State.END))
            self._moving = moving
        health = _health(location)
        if health is not None:
            said.append(health)
        said += _measurements(location, self._f8_is_steps)
        device, event, at = f"{NAME}:{self._number or 'unknown'}", frame.event, location.at_ms
        if items.zone_minutes is None:
            at = self._zone.stored(at) if stored else self._zone.live(at, frame.received.ms)
            learnt = self._zone.news()
            if learnt is not None:
                said.append(DeviceHealth(parameters={"utc_offset_minutes": str(self._offset + learnt)}))
        output.events += [event(device, body, at_ms=at) for body in said]

    def _position(self, location: Location) -> Position | None:
        items = location.items
        cells = [Cell(*cell) for cell in items.cells] if items.cells else None
        aps = [WifiAp(*ap) for ap in items.aps] if items.aps else None
        if location.lat is None or (location.shifted and self._refuse_shifted):
            if not cells and not aps:
                return None
            return Position(
                source=Source.WIFI if aps else Source.CELL, valid=False, cells=cells, wifi=aps, satellites=items.satellites,
                stored=location.stored,
            )  # fmt: skip
        return Position(
            lat=location.lat,
            lon=location.lon,
            datum=Datum.GCJ02 if location.shifted else self._datum,
            source=_GNSS,
            valid=location.valid,
            speed_kmh=location.speed_kmh,
            course_deg=location.course_deg,
            altitude_m=location.altitude_m,
            satellites=items.satellites,
            hdop=items.hdop,
            stored=location.stored,
            cells=cells,
            wifi=aps,
        )

    def _transparent(self, frame: Frame, body: bytes, output: Output) -> None:
        found = read_transparent(body, offset_minutes=self._offset)
        if found.location is not None:
            self._location(frame, found.location, output)
        elif found.text:
            output.events.append(self._event(frame, DeviceHealth(parameters={f"transparent_{found.kind:02x}": found.text})))

    def _attributes(self, frame: Frame, message: Message, output: Output) -> None:
        found = bodies.read_attributes(message.body, version=message.header.version)
        iccid = found.iccid.rstrip("f")
        health = DeviceHealth(
            model=found.model or None, serial=found.terminal or None, firmware=found.firmware or None, hardware=found.hardware or None,
            iccid=iccid if iccid.strip("0") else None,
        )  # fmt: skip
        output.events.append(self._event(frame, health))

    def _answered(self, frame: Frame, message: Message, output: Output) -> None:
        """0001, 0104, 0201: the answer to a message of ours, found again by its serial."""
        body = message.body
        if message.id == jt808.TERMINAL_ANSWER:
            answer = bodies.read_answer(body)
            pending = self._pending.get(answer.serial)
            # Queries are answered twice, by 0001 and by the data: the data ends them.
            if pending is None or (pending[1] in {jt808.LOCATE, jt808.QUERY_PARAMETERS} and answer.result == bodies.OK):
                return
            status = CommandStatus.DONE if answer.result in {bodies.OK, 4} else CommandStatus.FAILED
            words = {1: "failed", 2: "message is wrong", 3: "not supported"}
            self._finish(frame, answer.serial, status, words.get(answer.result), output)
            return
        if len(body) < 2:
            raise RemoteProtocolError(Reason.TRUNCATED, "serial of the query expected", body)
        serial = body[0] << 8 | body[1]
        if message.id == jt808.POSITION_ANSWER:
            self._location(frame, self._read(body[2:]), output)
            self._finish(frame, serial, CommandStatus.DONE, None, output)
            return
        _, values = bodies.read_parameters(body)
        shown = {parameter_name(number): str(value) for number, value in values.items()}
        if shown:
            output.events.append(self._event(frame, DeviceHealth(parameters=shown)))
        self._finish(frame, serial, CommandStatus.DONE, None, output)

    def _finish(self, frame: Frame, serial: int, status: CommandStatus, detail: str | None, output: Output) -> None:
        pending = self._pending.pop(serial, None)
        if pending is not None:
            command = pending[0]
            result = CommandResult(command=command.id, verb=command.verb.value, status=status, detail=detail)
            output.events.append(self._event(frame, result))

    def _text(self, frame: Frame, message: Message, output: Output) -> None:
        """Words of the terminal: the result of the text command that waits, or of none that we know."""
        serial: int | None = None
        if message.id == jt808.TEXT_REPORT:
            text = bodies.read_text(message.body)[1]
        elif message.id == jt808.TEXT_ANSWER:
            serial, text = bodies.read_utf16_answer(message.body)
        else:
            text = bodies.read_command_text(message.body)
        self._say_text(frame, text, serial, output)

    def _say_text(self, frame: Frame, text: str, serial: int | None, output: Output) -> None:
        if serial not in self._pending:
            serial = next((s for s, (_, kind) in reversed(self._pending.items()) if kind == jt808.TEXT), None)
        if serial is not None:
            self._finish(frame, serial, CommandStatus.DONE, text, output)
            return
        result = CommandResult(command="", verb="raw_text", status=CommandStatus.UNKNOWN, detail=text)
        output.events.append(self._event(frame, result))

    def _bracketed(self, frame: Frame, text: str, output: Output) -> None:
        """Text in round brackets: a question for the time, or words of the terminal."""
        number = text[1:].split(",", 1)[0]
        if not self._number and number.isdecimal():
            self._number = number.lstrip("0") or "0"
        if self._number:
            output.device = f"{NAME}:{self._number}"
        if "BASE,2" in text:
            now = datetime.fromtimestamp(frame.received.ms // 1000, UTC)
            output.replies.append(Send(text.replace("TIME", f"{now:%Y%m%d%H%M%S}").encode("ascii", "replace")))
            return
        self._say_text(frame, text, None, output)


def _refuse(reason: Reason, detail: str, message: Message) -> Reject:
    return Reject(reason, detail, message.raw[:FRAME_SAMPLE_BYTES])


def _signal(value: int | None) -> float | None:
    """Percent of the 0..31 scale; larger values (99) mean unknown."""
    return round(value * 100 / 31, 1) if value is not None and value <= 31 else None


def _health(location: Location) -> DeviceHealth | None:
    items = location.items
    told = items.__dict__
    low = True if "low_battery" in location.alarms else None
    if low is None and _HEALTH.isdisjoint(told):
        return None
    signal = _signal(items.signal)
    health = DeviceHealth(
        battery_percent=items.battery_percent, battery_mv=items.battery_mv or None, battery_low=low, charging=items.charging,
        signal=signal, firmware=items.firmware, iccid=items.iccid, serial=items.imei,
    )  # fmt: skip
    return None if health == _NO_HEALTH else health


_HEALTH = frozenset(("battery_percent", "battery_mv", "charging", "signal", "firmware", "iccid", "imei"))
_NO_HEALTH = DeviceHealth()


def _measurements(location: Location, f8_is_steps: bool) -> list[Body]:
    items, stored = location.items, location.stored
    if _READINGS.isdisjoint(items.__dict__) and not items.temperatures:
        return []
    found: list[tuple[Quantity, float | None, str | None]] = []
    if items.steps is not None:
        if f8_is_steps:
            found.append((Quantity.STEPS, items.steps, None))
        else:
            found.append((Quantity.TEMPERATURE, round(items.steps / 10 - 50, 1), "2"))
    if items.temperatures:
        found += [(Quantity.TEMPERATURE, value, channel) for channel, value in items.temperatures.items()]
    external = items.external_mv / 1000 if items.external_mv else None
    for quantity, value, channel in (
        (_HUMIDITY, items.humidity, None), (_ILLUMINANCE, items.illuminance, None), (_PRESSURE, items.pressure_hpa or None, None),
        (_VOLTAGE, external, "external"), (_ODOMETER, items.odometer_m or None, None),
    ):  # fmt: skip
        if value is not None:
            found.append((quantity, value, channel))
    return [
        Measurement(quantity=quantity, value=value, unit=QUANTITIES[quantity].unit, channel=channel, stored=stored)
        for quantity, value, channel in found
        if value is not None and in_range(quantity, value)
    ]


_READINGS = frozenset(("steps", "humidity", "illuminance", "pressure_hpa", "external_mv", "odometer_m"))
"""Attributes that an item has set: one look instead of six."""


DRIVER = Jt808
