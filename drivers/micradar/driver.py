"""MicRadar radars R60AFD1, MR60FDA1 (fall), R60ABD1 (bed and vital signs), MR24HPC1 (presence).

Wire format and sources: `protocols.serial.micradar`. The radar reports on change and some values every 1 to 3 s. It forgets a
fall as soon as the person is up or out of sight, so START goes out on the edge; the incident is held by the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Occurrence,
    OccurrenceKind,
    Option,
    Options,
    Output,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Verb,
    read_options,
)
from drivers.micradar.asking import PROBES, Asked, CommandError, questions_of, value_of
from drivers.micradar.meaning import Meaning
from protocols.serial import micradar
from protocols.serial.exchange import Exchange, Question, Silence
from protocols.serial.scan import Scanner

PROBE_GAP_S = 0.1
"""Between two questions: the radar's receive buffer is short."""
_K = OccurrenceKind

EMITS = (
    "fall", "presence", "motion", "zone_occupied", "long_still", "bed_entry", "bed_exit", "breathing_abnormal", "struggle",
    "bed_no_return", "vital_abnormal", "shielded", "fault", "offline", "power_on", "movement", "distance", "respiration_rate",
    "heart_rate", "sleep_stage", "sleep_score", "sleep_awake", "sleep_light", "sleep_deep", "sleep_total", "turns", "apnoea", "health",
    "command_result",
)  # fmt: skip


class MicRadar:
    """One radar on one serial line."""

    info = DriverInfo(
        name="micradar",
        title="MicRadar 60 GHz / 24 GHz radars",
        vendor="MicRadar (also sold by Seeed)",
        models=("R60AFD1", "MR60FDA1", "R60ABD1", "MR24HPC1"),
        transports=(Transport.SERIAL, Transport.TCP),
        emits=EMITS,
        commands=(Verb.CONFIGURE, Verb.QUERY, Verb.FALL_DETECTION, Verb.RESTART),
        options=(
            Option("install_height_cm", "int", None, "height of the radar over the floor, cm; written where it differs", low=220, high=300),
            Option("report_s", "float", 10.0, "movement and distance are reported at most this often, s", low=0, high=3600),
            Option("offline_s", "float", 180.0, "silence after which the radar counts as offline, s; 0 = never", low=0, high=86400),
        ),
        source="MicRadar R60AFD1, R60ABD1 user manuals; Seeed MR60FDA1 protocol pages",
        bauds=(115_200,),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        chosen = read_options(self.info, options)
        name = (device or "unnamed").removeprefix("micradar:")
        self._device = f"micradar:{name}"
        self._scanner = Scanner(micradar.HEADER, micradar.judge)
        self._exchange = Exchange(gap_s=PROBE_GAP_S)
        self._meaning = Meaning(report_s=chosen["report_s"])
        self._height_cm: int | None = chosen["install_height_cm"]
        self._height_written = False
        self._height_fault = False
        self._silence = Silence(chosen["offline_s"])
        self._probed = False

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output(device=self._device)
        self._take(self._scanner.feed(frame.data, frame.received.s), frame, output)
        output.wake_s = self._next_wake(frame.received.s)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """Bytes for the radar; DONE comes with its echo, FAILED when it stays silent for 3 s."""
        output = Output()
        try:
            questions = questions_of(command)
        except CommandError as error:
            output.events.append(command.result(CommandStatus.FAILED, now, str(error)))
            return output
        for question in questions:
            if not self._exchange.ask(question):
                output.events.append(command.result(CommandStatus.FAILED, now, "too many commands are waiting"))
                break
        self._ask(now, output)
        output.wake_s = self._next_wake(now.s)
        return output

    def wake(self, now: Instant) -> Output:
        """First call: who are you, what is set. Later: repetitions, heartbeat questions, silence."""
        output = Output()
        frame = Frame(data=b"", received=now, transport=Transport.SERIAL)
        self._take(self._scanner.expire(now.s), frame, output)
        if not self._probed:
            self._probe()
        self._watch_silence(now, output)
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
                message = micradar.meaning(item)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject())
                continue
            bodies = self._meaning.bodies(message.name, message.values, frame.received.s) + self._own(message.name, message.values)
            if bodies:
                part = frame.part(item)
                output.events += [part.event(self._device, body) for body in bodies]
            self._settle(message, frame.received, output)

    def _own(self, name: str, values: Mapping[str, Any]) -> list[Body]:
        """What is about the radar itself."""
        if name == "install_height_cm":
            return self._height(values["value"])
        if name == "init_done":
            # A restarted radar has forgotten what it told us and may have lost its settings.
            self._meaning.forget()
            self._height_written = False
            self._probed = False
            return [Occurrence(kind=_K.POWER_ON)]
        return []

    def _height(self, height_cm: int) -> list[Body]:
        low, high = micradar.INSTALL_HEIGHT_CM
        wanted = self._height_cm
        if wanted is not None and height_cm != wanted and not self._height_written:
            self._height_written = True
            question = Question((0x06, 0x02), micradar.report("install_height_cm", value=wanted))
            self._exchange.ask(question, first=True)
            return []
        fault = ""
        if wanted is not None and height_cm != wanted:
            fault = f"install height is {height_cm} cm, {wanted} cm expected: falls may be missed"
        elif not low <= height_cm <= high:
            fault = f"install height is {height_cm} cm, {low}..{high} cm expected: falls may be missed"
        if fault:
            self._height_fault = True
            return [Occurrence(kind=_K.FAULT, state=State.START, detail=fault)]
        if self._height_fault:
            self._height_fault = False
            return [Occurrence(kind=_K.FAULT, state=State.END, detail="install height is plausible")]
        return []

    def _settle(self, message: micradar.Message, now: Instant, output: Output) -> None:
        """Closes the question that this message answers."""
        question = self._exchange.answered((message.ctrl, message.cmd), now.s)
        if question is None or question.tag is None:
            return
        asked: Asked = question.tag
        if asked.value is not None and value_of(message.values) != asked.value:
            detail = f"radar answered {value_of(message.values)} to {asked.value}"
            output.events.append(asked.command.result(CommandStatus.FAILED, now, detail))
        elif asked.is_last:
            shown = value_of(message.values)
            output.events.append(asked.command.result(CommandStatus.DONE, now, None if shown is None else f"{message.name}={shown}"))

    def _probe(self) -> None:
        self._probed = True
        for name in PROBES:
            data = micradar.query(name)
            self._exchange.ask(Question((data[2], data[3]), data))

    def _ask(self, now: Instant, output: Output) -> None:
        data, lost = self._exchange.wake(now.s)
        if data:
            output.replies.append(Send(data))
        if lost is not None and lost.tag is not None:
            output.events.append(lost.tag.command.result(CommandStatus.FAILED, now, "the radar did not answer"))

    def _watch_silence(self, now: Instant, output: Output) -> None:
        asks, gone = self._silence.wake(now.s)
        if asks:
            data = micradar.query("heartbeat")
            self._exchange.ask(Question((data[2], data[3]), data))
        if gone:
            body = Occurrence(kind=_K.OFFLINE, state=State.START, detail="the radar is silent")
            output.events.append(Event(device=self._device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED))

    def _next_wake(self, now_s: float) -> float | None:
        wishes = [self._scanner.deadline_s, self._exchange.deadline_s, self._silence.deadline_s]
        if not self._probed:
            wishes.append(now_s)
        return min((wish for wish in wishes if wish is not None), default=None)


DRIVER = MicRadar
