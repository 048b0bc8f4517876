"""TinyFrame radars MR60FDA2, LD6002C (fall), MR60BHA2, LD6002 (breath, heart), LD6002B (zones).

Wire format and sources: `protocols.serial.tinyframe`. The radar debounces a fall itself (its sensitivity is a frame count: 3 to
45 s), so the first report of 1 is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from drivers.tinyframe.asking import Asked, CommandError, query, question_of
from protocols.serial import tinyframe as tf
from protocols.serial.exchange import Exchange, Question, Silence
from protocols.serial.scan import Scanner

SAME_FALL_S = 30.0
"""A radar that repeats a fall does so every few seconds: a report long after the last one is another fall, its 0 was lost."""
HEIGHT_TOLERANCE_M = 0.01
FALL_MODELS = ("auto", "mr60fda2", "ld6002c")
PARAMETERS = {
    "low_power_sleep_ms": "value", "working_mode": "low_power", "hold_s": "value", "zone_sensitivity": "value", "trigger_speed": "value",
    "install_mode": "value", "low_power": "value",
}  # fmt: skip
_K, _Q = OccurrenceKind, Quantity


class TinyFrameRadar:
    """One radar on one serial line."""

    info = DriverInfo(
        name="tinyframe",
        title="TinyFrame 60 GHz radars",
        vendor="Seeed, Hi-Link",
        models=("MR60FDA2", "MR60BHA2", "LD6002", "LD6002B", "LD6002C"),
        transports=(Transport.SERIAL, Transport.TCP),
        emits=(
            *("fall", "presence", "zone_occupied", "fault", "offline", "respiration_rate", "heart_rate", "distance", "count"),
            *("health", "command_result"),
        ),
        commands=(Verb.CONFIGURE, Verb.QUERY, Verb.FALL_DETECTION),
        options=(
            Option("model", "str", "auto", "decides what types 0A13..0A16 mean; auto goes by their length", choices=tf.MODELS),
            Option("install_height_m", "float", None, "height of the radar over the floor, m; written where it differs", low=1, high=5),
            Option("report_s", "float", 10.0, "distance and height of the target are reported at most this often, s", low=0, high=3600),
            Option("offline_s", "float", 180.0, "silence after which the radar counts as offline, s; 0 = never", low=0, high=86400),
        ),
        source="HLK-LD6002B/C TinyFrame V1.2; Seeed MR60FDA2, MR60BHA2 protocol pages",
        bauds=(115_200, 1_382_400),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        chosen = read_options(self.info, options)
        self._device = "tinyframe:" + (device or "unnamed").removeprefix("tinyframe:")
        self._model: str = chosen["model"]
        self._scanner = Scanner(tf.HEADER, tf.judge)
        self._exchange = Exchange(timeout_s=1.0)
        self._silence = Silence(chosen["offline_s"])
        self._height_m: float | None = chosen["install_height_m"]
        self._height_written = False
        self._height_fault = False
        self._report_s: float = chosen["report_s"]
        self._reported_s: dict[str, float] = {}
        self._probed = False
        self._presence: bool | None = None
        self._zones: list[bool] = [False] * 4
        self._targets: int | None = None
        self._is_fallen = False
        self._fallen_s = 0.0
        self._now_s = 0.0
        self._read: dict[str, Callable[[Mapping[str, Any]], list[Body]]] = {
            "fall": lambda v: self._fall(v["fall"]),
            "presence": lambda v: self._present(v["presence"]),
            "zones": lambda v: self._zone_bodies(v["zones"]),
            "targets": lambda v: self._target_count(len(v["targets"])),
            "breath_rate": lambda v: _vital(_Q.RESPIRATION_RATE, v["value"]),
            "heart_rate": lambda v: _vital(_Q.HEART_RATE, v["value"]),
            "distance": lambda v: self._distance("distance", v["value"], None) if v["valid"] else [],
            "target_height": lambda v: self._distance("target_height", v["value"], "target_height"),
            "parameters": self._parameters,
            "firmware": lambda v: [DeviceHealth(firmware=v["version"])],
        }

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output(device=self._device)
        self._take(self._scanner.feed(frame.data, frame.received.s), frame, output)
        output.wake_s = self._next_wake(frame.received.s)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """Bytes for the radar; DONE or FAILED come with its acknowledgement, FAILED when it stays silent for 3 s."""
        output = Output()
        try:
            accepted = self._exchange.ask(question_of(command))
        except CommandError as error:
            output.events.append(command.result(CommandStatus.FAILED, now, str(error)))
            return output
        if not accepted:
            output.events.append(command.result(CommandStatus.FAILED, now, "too many commands are waiting"))
        self._ask(now, output)
        output.wake_s = self._next_wake(now.s)
        return output

    def wake(self, now: Instant) -> Output:
        """First call: firmware and parameters. Later: repetitions, silence."""
        output = Output()
        self._take(self._scanner.expire(now.s), Frame(data=b"", received=now, transport=Transport.SERIAL), output)
        asks, gone = self._silence.wake(now.s)
        if not self._probed:
            self._probed = True
            self._exchange.ask(query(tf.FIRMWARE))
            if self._model in FALL_MODELS:
                self._exchange.ask(query(tf.PARAMETERS))
        elif asks:
            self._exchange.ask(query(tf.PARAMETERS if self._model in FALL_MODELS else tf.FIRMWARE))
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
        self._now_s = frame.received.s
        for item in found:
            if isinstance(item, Reject):
                output.rejects.append(item)
                continue
            # The check byte of an empty frame may or may not be there: evidence must not depend on it.
            raw = item[: tf.HEAD_BYTES] if len(item) == tf.HEAD_BYTES + 1 else item
            if self._silence.heard(frame.received.s):
                output.events.append(frame.part(raw).event(self._device, Occurrence(kind=_K.OFFLINE, state=State.END)))
            try:
                message = tf.meaning(item, self._model)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject())
                continue
            # Closed before the meaning: a height that is written because of this answer is read back by the same question.
            settled = Output()
            self._settle(message, frame.received, settled)
            bodies = self._bodies(message)
            if bodies:
                part = frame.part(raw)
                output.events += [part.event(self._device, body) for body in bodies]
            output.events += settled.events

    def _bodies(self, message: tf.Message) -> list[Body]:
        key = PARAMETERS.get(message.name)
        if key is not None:
            return [DeviceHealth(parameters={message.name: str(int(message.values[key]))})]
        read = self._read.get(message.name)
        return read(message.values) if read else []

    def _fall(self, fallen: bool) -> list[Body]:
        if fallen and self._now_s - self._fallen_s > SAME_FALL_S:
            self._is_fallen = False
        if fallen:
            self._fallen_s = self._now_s
        if fallen == self._is_fallen:
            return []
        self._is_fallen = fallen
        return [Occurrence(kind=_K.FALL, state=State.START if fallen else State.END)]

    def _present(self, present: bool) -> list[Body]:
        if present == self._presence:
            return []
        self._presence = present
        return [Occurrence(kind=_K.PRESENCE, state=State.START if present else State.END)]

    def _zone_bodies(self, zones: list[bool]) -> list[Body]:
        found = self._present(any(zones))
        for number, (before, now) in enumerate(zip(self._zones, zones, strict=True), 1):
            if before != now:
                found.append(Occurrence(kind=_K.ZONE_OCCUPIED, state=State.START if now else State.END, place=f"zone {number}"))
        self._zones = zones
        return found

    def _target_count(self, count: int) -> list[Body]:
        if count == self._targets:
            return []
        self._targets = count
        return [Measurement(quantity=_Q.COUNT, value=count, channel="targets")]

    def _distance(self, name: str, value: float, channel: str | None) -> list[Body]:
        last = self._reported_s.get(name)
        if value <= 0 or (last is not None and self._now_s - last < self._report_s):
            return []
        self._reported_s[name] = self._now_s
        return [Measurement(quantity=_Q.DISTANCE, value=value, channel=channel)]

    def _parameters(self, values: Mapping[str, Any]) -> list[Body]:
        shown = {key: ",".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in values.items()}
        return [DeviceHealth(parameters=shown), *self._height(values["install_height_m"])]

    def _height(self, height_m: float) -> list[Body]:
        low, high = tf.INSTALL_HEIGHT_M
        wanted = self._height_m
        differs = wanted is not None and abs(height_m - wanted) > HEIGHT_TOLERANCE_M
        if wanted is not None and differs and not self._height_written:
            self._height_written = True
            self._exchange.ask(Question(tf.SET_HEIGHT, tf.encode_number(tf.SET_HEIGHT, float(wanted))))
            self._exchange.ask(query(tf.PARAMETERS))
            return []
        if differs or not low <= height_m <= high:
            self._height_fault = True
            should = f"{wanted:g}" if wanted is not None else f"{low:g}..{high:g}"
            detail = f"install height is {height_m:g} m, {should} m expected: falls may be missed"
            return [Occurrence(kind=_K.FAULT, state=State.START, detail=detail)]
        if self._height_fault:
            self._height_fault = False
            return [Occurrence(kind=_K.FAULT, state=State.END, detail="install height is plausible")]
        return []

    def _settle(self, message: tf.Message, now: Instant, output: Output) -> None:
        """Closes the question that this message answers; an empty echo says "received", which is no answer to a query."""
        question = self._exchange.outstanding
        if question is None or question.key != message.type:
            return
        asked: Asked | None = question.tag
        if message.name == "acknowledged" and (asked is None or not asked.is_setting):
            return
        self._exchange.answered(message.type, now.s)
        if asked is None:
            return
        refused = message.values.get("success") is False
        status = CommandStatus.FAILED if refused else CommandStatus.DONE
        output.events.append(asked.command.result(status, now, "the radar refused" if refused else None))
        if asked.is_setting and message.type in (tf.SET_HEIGHT, tf.SET_THRESHOLD, tf.SET_SENSITIVITY, tf.SET_AREA):
            self._exchange.ask(query(tf.PARAMETERS))

    def _ask(self, now: Instant, output: Output) -> None:
        data, lost = self._exchange.wake(now.s)
        if data:
            output.replies.append(Send(data))
        if lost is not None and lost.tag is not None:
            output.events.append(lost.tag.command.result(CommandStatus.FAILED, now, "the radar did not answer"))

    def _next_wake(self, now_s: float) -> float | None:
        wishes = [self._scanner.deadline_s, self._exchange.deadline_s, self._silence.deadline_s]
        if not self._probed:
            wishes.append(now_s)
        return min((wish for wish in wishes if wish is not None), default=None)


def _vital(quantity: Quantity, value: float) -> list[Body]:
    """0 is "nobody measured"; below 1 no heart beats and no chest moves."""
    return [Measurement(quantity=quantity, value=value)] if value >= 1 else []


DRIVER = TinyFrameRadar
