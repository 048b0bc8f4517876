"""Eelink badges and trackers over TCP and UDP. Packages and blocks: `protocols.tracker.eelink`."""

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
from protocols.errors import LocalProtocolError
from protocols.tracker import eelink
from protocols.tracker.eelink import Block, Connection, Packet
from protocols.tracker.requests import Requests

NAME = "eelink"

_K = OccurrenceKind
_ALARMS: dict[str, tuple[OccurrenceKind, State, str | None]] = {
    "sos": (_K.SOS, State.START, None),
    "fall": (_K.FALL, State.START, None),
    "crash": (_K.CRASH, State.START, None),
    "removed": (_K.REMOVED, State.START, None),
    "low_battery": (_K.LOW_BATTERY, State.START, None),
    "power_off": (_K.POWER_OFF, State.PULSE, "switched off or external power cut"),
    "vibration": (_K.VIBRATION, State.START, None),
    "moved": (_K.MOTION, State.START, "moved from its place"),
    "gnss_lost": (_K.GNSS_LOST, State.START, "aerial"),
    "low_speed": (_K.GENERAL_ALARM, State.START, "below the lowest speed"),
    "overspeed": (_K.OVERSPEED, State.START, None),
    "fence_entry": (_K.DEVICE_FENCE_ENTRY, State.START, None),
    "fence_exit": (_K.DEVICE_FENCE_EXIT, State.START, None),
}
_TEXTS: dict[Verb, str] = {
    Verb.LOCATE: "WHERE#",
    Verb.RING: "FIND#",
    Verb.RESTART: "RESET#",
    Verb.FACTORY_RESET: "FACTORY#",
    Verb.QUERY: "STATUS#",
}


class Eelink:
    """One connection, or one UDP peer, of one device."""

    info = DriverInfo(
        name=NAME,
        title="Eelink badges and trackers",
        vendor="Eelink",
        models=("GOT10", "TPT02", "GPT badges", "TK-series"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(
            "position", "health", "command_result", "sos", "fall", "crash", "removed", "low_battery", "power_off", "vibration",
            "motion", "moving", "ignition", "gnss_lost", "overspeed", "device_fence_entry", "device_fence_exit", "general_alarm",
            "message_received", "steps", "walking_time", "odometer", "temperature", "humidity",
        ),
        commands=(*_TEXTS, Verb.SET_INTERVAL, Verb.SET_SOS_NUMBERS, Verb.RAW_TEXT),
        options=(
            DATUM_OPTION,
            Option("tolerate_check", "bool", False, "use datagrams whose check does not fit (counted) instead of waiting for a repetition"),
        ),
        source="Eelink communication protocol V2.0",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._datum = Datum(values["datum"])
        self._connection = Connection(tolerate_check=bool(values["tolerate_check"]))
        self._imei = (device or "").removeprefix(f"{NAME}:")
        self._requests: Requests[Command] = Requests()
        self._uid = 0
        self._datagrams = False
        self._mark = eelink.MARKS[0]
        self._states: dict[OccurrenceKind, bool] = {}

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with a package, or with a datagram that holds one."""
        data = frame.data
        if data[:2] == eelink.UDP_MARK:
            if len(data) < 16:
                return Match.MORE
            return Match.YES if data[14:16] in eelink.MARKS and data[6:14].hex().isdecimal() else Match.NO
        if len(data) < 5:
            starts = (*eelink.MARKS, eelink.UDP_MARK)
            return Match.MORE if any(data[:2] == start[: len(data)] for start in starts) else Match.NO
        return Match.YES if data[:2] in eelink.MARKS and 2 <= int.from_bytes(data[3:5], "big") <= eelink.LENGTH_LIMIT else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events and answers of every package that this read completes."""
        output = Output()
        bad = self._connection.bad_checks
        for found in self._connection.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._take(frame.part(found.raw), found, output)
        if self._connection.bad_checks != bad:
            output.tolerated.append(Reject(Reason.INTEGRITY, "check of the datagram does not fit", frame.data[:1024]))
        output.device = f"{NAME}:{self._imei}" if self._imei else None
        output.wake_s = self._requests.wake_s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The text command; the device answers with its number."""
        if self._requests.is_full:
            return Output(events=[command.result(CommandStatus.FAILED, now, "too many commands are waiting")])
        uid = self._uid % 0xFFFFFFFF + 1
        imei = self._imei if self._datagrams else ""
        try:
            sent = eelink.write_command(uid, _text(command), serial=uid & 0xFFFF, imei=imei, mark=self._mark)
        except (LocalProtocolError, ValueError, TypeError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._uid = uid
        self._requests.open(str(uid), command, now.s, repeat=sent)
        return Output(replies=[Send(sent)], wake_s=self._requests.wake_s)

    def wake(self, now: Instant) -> Output:
        """Repetitions and losses of commands."""
        due = self._requests.due(now.s)
        events = [command.result(CommandStatus.FAILED, now, "the device did not answer") for command in due.lost]
        return Output(replies=[Send(sent) for sent in due.repeats], events=events, wake_s=self._requests.wake_s)

    def _take(self, frame: Frame, packet: Packet, output: Output) -> None:
        """One package. It is answered whatever its content, or the device would send it for ever."""
        self._mark = packet.mark
        if packet.imei:
            self._imei, self._datagrams = packet.imei, True
        try:
            self._read(frame, packet, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(packet.raw))
            if packet.kind in {eelink.ALARM, eelink.WARNING}:
                code = eelink.alarm_of(packet)
                detail = "an alarm that cannot be read"
                output.events.append(frame.event(self._device, _alarm(code) if code else _unreadable(detail)))
        answer = eelink.acknowledgement(packet, now_s=frame.received.ms // 1000)
        if answer is not None and (packet.kind != eelink.LOGIN or self._imei):
            at_once = packet.kind in {eelink.LOGIN, eelink.HEARTBEAT}
            (output.replies if at_once else output.acks).append(Send(answer))

    @property
    def _device(self) -> str:
        return f"{NAME}:{self._imei or 'unknown'}"

    def _read(self, frame: Frame, packet: Packet, output: Output) -> None:
        kind = packet.kind
        if kind == eelink.LOGIN:
            self._imei, version = eelink.login_of(packet)
            if version:
                output.events.append(frame.event(self._device, DeviceHealth(firmware=f"{version >> 8}.{version & 0xFF}")))
        elif kind in eelink.OLD_BLOCKS or kind in eelink.NEW_BLOCKS:
            self._block(frame, packet, eelink.read_block(packet), output)
        elif not self._imei:
            raise RemoteProtocolError(Reason.UNSUPPORTED, "not logged in", packet.raw)
        elif kind == eelink.HEARTBEAT or (kind == eelink.OBD and len(packet.body) == 4):
            status = eelink.status_of(packet)
            if status is not None:
                output.events += [frame.event(self._device, body) for body in self._status(status, None)]
        elif kind == eelink.OBD:
            time_s, odometer_m = eelink.read_vehicle(packet)
            if odometer_m is not None:
                body = Measurement(quantity=Quantity.ODOMETER, value=odometer_m)
                output.events.append(frame.event(self._device, body, at_ms=time_s * 1000))
        elif kind == eelink.DOWNLINK:
            self._answered(frame, packet, output)
        elif kind != eelink.DATA:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"message {kind:02x} is not decoded", packet.raw)

    def _block(self, frame: Frame, packet: Packet, block: Block, output: Output) -> None:
        """Alarm first, then the place and the rest, which need a login."""
        bodies: list[Body] = []
        if block.alarm is not None:
            bodies.append(_alarm(block.alarm))
        if self._imei:
            place = _place(block, self._datum)
            if place is not None:
                bodies.append(place)
            if block.status is not None or block.battery_mv:
                bodies += self._status(block.status, block.battery_mv)
            bodies += _readings(block)
            if block.text or block.number:
                bodies.append(Occurrence(kind=_K.MESSAGE_RECEIVED, detail=block.text[:200] or None, person=block.number or None))
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, "not logged in", packet.raw))
        at_ms = block.time_s * 1000
        output.events += [frame.event(self._device, body, at_ms=at_ms) for body in bodies]
        if block.fix is not None and block.fix.out_of_range:
            output.rejects.append(Reject(Reason.RANGE, "latitude -90..90 and longitude -180..180 degrees expected", packet.raw))

    def _status(self, status: int | None, battery_mv: int | None) -> list[Body]:
        """Health, and what changed: motion and ignition where the device knows them."""
        if status is None:
            return [DeviceHealth(battery_mv=battery_mv)]
        found: list[Body] = []
        charger = bool(status >> 8 & 1) if status >> 7 & 1 else None
        if charger is not None or battery_mv:
            found.append(DeviceHealth(battery_mv=battery_mv, charging=charger))
        states = {_K.MOVING: bool(status >> 9 & 1)}
        if status >> 1 & 1:
            states[_K.IGNITION] = bool(status >> 2 & 1)
        for kind, is_on in states.items():
            # A device without the sensor never sets the bit: silence until it does.
            if is_on != self._states.get(kind, False):
                found.append(Occurrence(kind=kind, state=State.START if is_on else State.END))
            self._states[kind] = is_on
        return found

    def _answered(self, frame: Frame, packet: Packet, output: Output) -> None:
        answer = eelink.read_answer(packet)
        command = self._requests.answer(str(answer.uid))
        words = answer.text[:200]
        if command is not None:
            failed = "error" in words.lower() or "fail" in words.lower()
            output.events.append(command.result(CommandStatus.FAILED if failed else CommandStatus.DONE, frame.received, words or None))
        found = eelink.place_in(answer.text)
        if found is not None:
            fix, at_ms = found
            place = _place(Block(0, fix), self._datum)
            if place is not None:
                output.events.append(frame.event(self._device, place, at_ms=at_ms))


def _alarm(code: int) -> Occurrence:
    word = eelink.ALARMS.get(code)
    if word is None:
        return _unreadable(f"alarm {code:02x}")
    kind, state, detail = _ALARMS[word]
    return Occurrence(kind=kind, state=state, detail=detail)


def _unreadable(detail: str) -> Occurrence:
    return Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=detail)


def _place(block: Block, datum: Datum) -> Position | None:
    """The fix with what was heard around it; without a fix the surroundings alone."""
    cells = [Cell(*cell) for cell in block.cells] or None
    wifi = [WifiAp(*ap) for ap in block.aps] or None
    fix = block.fix
    if fix is None or fix.lat is None:
        if cells is None and wifi is None:
            return None
        return Position(source=Source.WIFI if wifi else Source.CELL, valid=False, cells=cells, wifi=wifi)
    return Position(
        lat=fix.lat,
        lon=fix.lon,
        datum=datum,
        source=Source.GNSS,
        valid=fix.is_fixed,
        speed_kmh=fix.speed_kmh,
        course_deg=fix.course_deg,
        altitude_m=fix.altitude_m,
        satellites=fix.satellites,
        stored=False,
        cells=cells,
        wifi=wifi,
    )


def _readings(block: Block) -> list[Body]:
    found = [(Quantity.STEPS, block.steps), (Quantity.WALKING_TIME, block.walking or None), (Quantity.ODOMETER, block.odometer_m or None)]
    bodies: list[Body] = [Measurement(quantity=quantity, value=value) for quantity, value in found if value is not None]
    for celsius in block.temperatures:
        if in_range(Quantity.TEMPERATURE, celsius):
            bodies.append(Measurement(quantity=Quantity.TEMPERATURE, value=celsius))
    if block.humidity is not None and in_range(Quantity.HUMIDITY, block.humidity):
        bodies.append(Measurement(quantity=Quantity.HUMIDITY, value=block.humidity))
    return bodies


def _text(command: Command) -> str:
    """The command in words. Raises LocalProtocolError or ValueError."""
    args = command.args
    if command.verb is Verb.SET_INTERVAL:
        return f"TIMER,{int(args['seconds'])}#"
    if command.verb is Verb.SET_SOS_NUMBERS:
        numbers = [str(number) for number in args.get("numbers") or ()]
        if not 1 <= len(numbers) <= 3 or not all(number.removeprefix("+").isdecimal() and len(number) <= 20 for number in numbers):
            raise ValueError("numbers: 1..3 phone numbers expected")
        return f"SOS,{','.join(numbers)}#"
    if command.verb is Verb.RAW_TEXT:
        return str(args["text"])
    text = _TEXTS.get(command.verb)
    if text is None:
        raise LocalProtocolError(f"Eelink has no {command.verb.value}")
    return f"{args['name']}#".replace("##", "#") if command.verb is Verb.QUERY and args.get("name") else text


DRIVER = Eelink
