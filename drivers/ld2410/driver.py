"""Hi-Link LD2410, LD2410B, LD2410C: presence of somebody moving or still.

Wire format and sources: `protocols.serial.hilink`. Ten reports a second become events only when something changes; somebody who
sits still flickers between still and moving, so the end of a motion is held back for `hold_s`. A silent radar ends nothing.
"""

from __future__ import annotations

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    Options,
    Output,
    Quantity,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Verb,
    read_options,
)
from protocols.serial import hilink
from protocols.serial.exchange import Exchange, Silence
from protocols.serial.hilink import Ack, Presence
from protocols.serial.scan import Scanner

CALIBRATING = 4
ALL_GATES = 0xFFFF
QUERIES = {"firmware": (hilink.FIRMWARE, b""), "parameters": (hilink.READ_PARAMETERS, b""), "mac": (hilink.MAC, b"\x01\x00")}
_K = OccurrenceKind


class Ld2410:
    """One LD2410 on one serial line."""

    info = DriverInfo(
        name="ld2410",
        title="Hi-Link LD2410 presence radar",
        vendor="Hi-Link",
        models=("LD2410", "LD2410B", "LD2410C"),
        transports=(Transport.SERIAL, Transport.TCP),
        emits=("presence", "motion", "distance", "offline", "health", "command_result"),
        commands=(Verb.CONFIGURE, Verb.QUERY, Verb.RESTART),
        options=(
            Option("hold_s", "float", 2.0, "a motion ends when none was seen for this long, s", low=0, high=600),
            Option("report_s", "float", 60.0, "the distance is reported at most this often, s", low=0, high=86400),
            Option("offline_s", "float", 30.0, "silence after which the radar counts as offline, s; 0 = never", low=0, high=86400),
        ),
        source="HLK-LD2410 serial protocol V1.06",
        bauds=(256_000, 115_200),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        chosen = read_options(self.info, options)
        self._device = "ld2410:" + (device or "unnamed").removeprefix("ld2410:")
        self._hold_s: float = chosen["hold_s"]
        self._report_s: float = chosen["report_s"]
        self._scanner = Scanner(b"", hilink.judge_for(hilink.REPORT_2410))
        self._exchange = Exchange(timeout_s=0.5)
        self._silence = Silence(chosen["offline_s"])
        self._probed = False
        self._presence: bool | None = None
        self._motion: bool | None = None
        self._moved_s = 0.0
        self._distance_s: float | None = None

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output(device=self._device)
        self._take(self._scanner.feed(frame.data, frame.received.s), frame, output)
        output.wake_s = self._next_wake(frame.received.s)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """Opens the configuration, sends the command, closes; DONE or FAILED come with the acknowledgement."""
        output = Output()
        step = _step(command)
        if isinstance(step, str):
            output.events.append(command.result(CommandStatus.FAILED, now, step))
            return output
        accepted = [self._exchange.ask(question) for question in hilink.conversation([(*step, command)])]
        if not all(accepted):
            output.events.append(command.result(CommandStatus.FAILED, now, "too many commands are waiting"))
        self._ask(now, output)
        output.wake_s = self._next_wake(now.s)
        return output

    def wake(self, now: Instant) -> Output:
        """First call: firmware and parameters. Later: repetitions, silence."""
        output = Output()
        self._take(self._scanner.expire(now.s), Frame(data=b"", received=now, transport=Transport.SERIAL), output)
        if not self._probed:
            self._probed = True
            steps = [(*QUERIES[name], None) for name in ("firmware", "parameters")]
            for question in hilink.conversation(steps):
                self._exchange.ask(question)
        _, gone = self._silence.wake(now.s)
        if gone:
            body = Occurrence(kind=_K.OFFLINE, state=State.START, detail="the radar is silent")
            output.events.append(Event(device=self._device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED))
        self._ask(now, output)
        output.wake_s = self._next_wake(now.s)
        return output

    def framing(self) -> tuple[int, int]:
        """Bytes of whole frames so far, and bytes that belonged to none."""
        return self._scanner.framed_bytes, self._scanner.thrown_bytes

    def _take(self, found: list[bytes | Reject], frame: Frame, output: Output) -> None:
        for item in found:
            if isinstance(item, Reject):
                output.rejects.append(item)
                continue
            if self._silence.heard(frame.received.s):
                output.events.append(frame.part(item).event(self._device, Occurrence(kind=_K.OFFLINE, state=State.END)))
            try:
                message = hilink.meaning(item)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject())
                continue
            if isinstance(message, Presence):
                bodies = self._report(message, frame.received.s)
                if bodies:
                    part = frame.part(item)
                    output.events += [part.event(self._device, body) for body in bodies]
            elif isinstance(message, Ack):
                self._acknowledged(message, frame.part(item), output)

    def _report(self, report: Presence, now_s: float) -> list[Body]:
        if report.status >= CALIBRATING:
            # A calibrating radar sees nothing; what it said last stays.
            return []
        bodies: list[Body] = []
        present = report.status != 0
        if present != self._presence:
            self._presence = present
            bodies.append(Occurrence(kind=_K.PRESENCE, state=State.START if present else State.END))
        moving = bool(report.status & 1)
        if moving:
            self._moved_s = now_s
        is_held = self._motion and present and now_s - self._moved_s < self._hold_s
        if moving != self._motion and not (is_held and not moving):
            self._motion = moving
            bodies.append(Occurrence(kind=_K.MOTION, state=State.START if moving else State.END))
        is_due = self._distance_s is None or now_s - self._distance_s >= self._report_s
        if present and report.detection_distance_cm and is_due:
            self._distance_s = now_s
            bodies.append(Measurement(quantity=Quantity.DISTANCE, value=report.detection_distance_cm / 100))
        return bodies

    def _acknowledged(self, ack: Ack, frame: Frame, output: Output) -> None:
        values = {key: str(value) for key, value in ack.values.items()}
        if "version" in values:
            output.events.append(frame.event(self._device, DeviceHealth(firmware=values["version"])))
        elif values:
            output.events.append(frame.event(self._device, DeviceHealth(parameters=values)))
        question = self._exchange.answered(ack.word, frame.received.s)
        if question is None or question.tag is None:
            return
        status = CommandStatus.FAILED if ack.status else CommandStatus.DONE
        detail = f"status {ack.status}" if ack.status else None
        output.events.append(question.tag.result(status, frame.received, detail))

    def _ask(self, now: Instant, output: Output) -> None:
        data, lost = self._exchange.wake(now.s)
        if data:
            output.replies.append(Send(data))
        if lost is not None and lost.tag is not None:
            output.events.append(lost.tag.result(CommandStatus.FAILED, now, "the radar did not answer"))

    def _next_wake(self, now_s: float) -> float | None:
        wishes = [self._scanner.deadline_s, self._exchange.deadline_s, self._silence.deadline_s]
        if not self._probed:
            wishes.append(now_s)
        return min((wish for wish in wishes if wish is not None), default=None)


def _step(command: Command) -> tuple[int, bytes] | str:
    """Word and arguments of a command, or why there are none."""
    name, value = str(command.args.get("name") or ""), str(command.args.get("value", ""))
    if command.verb is Verb.RESTART:
        return hilink.RESTART, b""
    if command.verb is Verb.QUERY:
        return QUERIES.get(name or "parameters") or f"name: expected one of {', '.join(QUERIES)}, got {name!r}"
    if command.verb is not Verb.CONFIGURE:
        return f"an LD2410 does not take {command.verb.value}"
    if name == "engineering" and value in ("on", "off"):
        return hilink.ENGINEERING_ON if value == "on" else hilink.ENGINEERING_OFF, b""
    numbers = [int(part) for part in value.split(",") if part.strip().isdecimal()]
    if name == "gates" and len(numbers) == 3 and all(2 <= gate <= 8 for gate in numbers[:2]) and numbers[2] <= 65535:
        return hilink.SET_GATES, hilink.words(list(enumerate(numbers)))
    if name == "sensitivity" and len(numbers) == 3 and (numbers[0] <= 8 or numbers[0] == ALL_GATES) and max(numbers[1:]) <= 100:
        return hilink.SET_SENSITIVITY, hilink.words(list(enumerate(numbers)))
    return "expected engineering on|off, gates MOVING,STILL,SECONDS (2..8) or sensitivity GATE,MOVING,STILL (gate 0..8 or 65535, 0..100)"


DRIVER = Ld2410
