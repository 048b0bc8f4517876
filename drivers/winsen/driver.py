"""Winsen gas sensors MH-Z19, ZE07-CH2O, ZE07-CO, ZE15-CO and methane modules (ZC05, ZC13), uploading or asked.

Wire format and sources: `protocols.serial.winsen`. The sensor alarms nothing itself: limits are the business of the rules. What it
shows while it warms up is marked, so that no rule takes it for a concentration.
"""

from __future__ import annotations

from typing import Any

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Quantity,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Verb,
    in_range,
    read_options,
)
from protocols.serial import winsen
from protocols.serial.exchange import Exchange, Question, Silence
from protocols.serial.scan import Scanner

WARMING = "warming_up"
"""Channel of readings that a cold sensor gives."""
_K, _Q = OccurrenceKind, Quantity

READ_AS: dict[tuple[str, str], tuple[Quantity, float, float]] = {
    ("CO", "ppm"): (_Q.CO, 1, 5),
    ("CO", "ppb"): (_Q.CO, 0.001, 5),
    ("CO2", "ppm"): (_Q.CO2, 1, 50),
    ("CH2O", "ppm"): (_Q.CH2O, 1, 0.02),
    ("CH2O", "ppb"): (_Q.CH2O, 0.001, 0.02),
    ("CH4", "ppm"): (_Q.GAS_LEL, 1 / 500, 1),
    ("temperature", "Cel"): (_Q.TEMPERATURE, 1, 0.5),
}
"""(gas, unit) -> quantity, factor to its unit, change that is told at once. 100 % LEL of methane are 50 000 ppm."""

LATE_S = 1.0
"""A sensor with power says its first word within this."""
RANGES_PPM = (2000, 5000, 10000)


class Winsen:
    """One sensor on one serial line."""

    info = DriverInfo(
        name="winsen",
        title="Winsen gas sensors",
        vendor="Winsen",
        models=("MH-Z19", "ZE07-CH2O", "ZE07-CO", "ZE15-CO", "ZC05", "ZC13"),
        transports=(Transport.SERIAL, Transport.TCP),
        emits=("co", "co2", "ch2o", "gas_lel", "temperature", "warming_up", "fault", "offline", "command_result"),
        commands=(Verb.CONFIGURE, Verb.QUERY),
        options=(
            Option("profile", "str", "generic-active", "model of the sensor", choices=tuple(winsen.PROFILES)),
            Option(
                "mode",
                "str",
                "auto",
                "active: the sensor uploads; answer: it is asked; auto: by model",
                choices=("auto", "active", "answer"),
            ),
            Option("gas_code", "table", {}, "more gas codes of active frames, code -> CO, CO2, CH2O or CH4"),
            Option("warmup_s", "float", None, "warm-up after the line opens, s; default by model", low=0, high=3600),
            Option("poll_s", "float", 5.0, "time between two questions, s", low=1, high=3600),
            Option("report_s", "float", 60.0, "an unchanged value is told this often, s", low=0, high=86400),
            Option("offline_s", "float", 60.0, "silence after which the sensor counts as offline, s; 0 = never", low=0, high=86400),
        ),
        source="Winsen manuals of ZE07-CH2O, ZE07-CO, ZE15-CO, MH-Z19",
        bauds=(9600,),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        chosen = read_options(self.info, options)
        self._device = "winsen:" + (device or "unnamed").removeprefix("winsen:")
        self._profile: str = chosen["profile"]
        profile = winsen.PROFILES[self._profile]
        self._gases = {**winsen.GASES, **_gas_codes(chosen["gas_code"])}
        self._asks = chosen["mode"] == "answer" or (chosen["mode"] == "auto" and not profile.uploads)
        self._warmup_s: float = profile.warmup_s if chosen["warmup_s"] is None else chosen["warmup_s"]
        self._poll_s: float = chosen["poll_s"]
        self._report_s: float = chosen["report_s"]
        self._scanner = Scanner(winsen.HEADER, winsen.judge)
        self._exchange = Exchange(timeout_s=1.0, tries=2)
        self._silence = Silence(chosen["offline_s"])
        self._opened_s: float | None = None
        self._is_warming = False
        self._is_faulty = False
        self._is_heard = False
        self._greeted = False
        self._poll_at_s = 0.0
        self._told: dict[str, tuple[float, float]] = {}

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output(device=self._device)
        self._take(self._scanner.feed(frame.data, frame.received.s), frame, output)
        output.wake_s = self._next_wake(frame.received.s)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """`query` reads the value; `configure` sets mode, self_calibration, zero or range. The sensor answers only a reading."""
        output = Output()
        if command.verb is Verb.QUERY:
            if not self._exchange.ask(Question(winsen.READ, winsen.command(winsen.READ), command)):
                output.events.append(command.result(CommandStatus.FAILED, now, "too many commands are waiting"))
            self._ask(now, output)
        elif command.verb is Verb.CONFIGURE:
            data = self._setting(str(command.args.get("name", "")), str(command.args.get("value", "")))
            if isinstance(data, bytes):
                output.replies.append(Send(data))
                output.events.append(command.result(CommandStatus.DONE, now, "sent; the sensor does not confirm"))
            else:
                output.events.append(command.result(CommandStatus.FAILED, now, data))
        else:
            output.events.append(command.result(CommandStatus.FAILED, now, f"a gas sensor does not take {command.verb.value}"))
        output.wake_s = self._next_wake(now.s)
        return output

    def wake(self, now: Instant) -> Output:
        """Sets the mode when the line opens, then questions, end of the warm-up, silence."""
        output = Output()
        frame = Frame(data=b"", received=now, transport=Transport.SERIAL)
        self._take(self._scanner.expire(now.s), frame, output)
        self._warm(frame, output)
        if not self._greeted:
            self._greeted = True
            if winsen.PROFILES[self._profile].switches_mode:
                output.replies.append(Send(winsen.command(winsen.MODE, 0x41 if self._asks else 0x40)))
                self._poll_at_s = now.s + 1
        if self._asks and now.s >= self._poll_at_s:
            self._poll_at_s = now.s + self._poll_s
            self._exchange.ask(Question(winsen.READ, winsen.command(winsen.READ)))
        _, gone = self._silence.wake(now.s)
        if gone:
            body = Occurrence(kind=_K.OFFLINE, state=State.START, detail="the sensor is silent")
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
            part = frame.part(item)
            if not self._is_heard and self._opened_s is not None and frame.received.s - self._opened_s > LATE_S:
                # The line was open before the sensor had power.
                self._opened_s = frame.received.s
            self._is_heard = True
            if self._silence.heard(frame.received.s):
                # It was without power, most likely: it warms up again.
                self._opened_s = None
                output.events.append(part.event(self._device, Occurrence(kind=_K.OFFLINE, state=State.END)))
            self._warm(part, output)
            try:
                message = winsen.meaning(item, self._profile, gases=self._gases)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject())
                continue
            for value in message.values:
                self._value(value, part, output)
            self._settle(message, frame.received, output)

    def _warm(self, frame: Frame, output: Output) -> None:
        """Warm-up runs from the moment when the line opened: nobody tells when the sensor got its power."""
        now_s = frame.received.s
        if self._opened_s is None:
            self._opened_s = now_s
        warming = now_s < self._opened_s + self._warmup_s
        if warming != self._is_warming:
            self._is_warming = warming
            self._told.clear()
            body = Occurrence(kind=_K.WARMING_UP, state=State.START if warming else State.END)
            output.events.append(frame.event(self._device, body))

    def _value(self, value: winsen.Value, frame: Frame, output: Output) -> None:
        if value.value is None:
            self._fault(True, frame, output)
            return
        read = READ_AS.get((value.gas, value.unit))
        if read is None:
            # ZE07-CH2O says the same value twice, in ppb and in ug/m3.
            return
        if value.gas != "temperature":
            self._fault(False, frame, output)
        elif value.value <= -40:
            return
        quantity, factor, change = read
        number = round(value.value * factor, 6)
        if not in_range(quantity, number):
            output.rejects.append(Reject(Reason.RANGE, f"{value.gas} {value.value:g} {value.unit} is out of range", frame.data))
            return
        last, at = self._told.get(value.gas, (number, -1e18))
        if frame.received.s - at >= self._report_s or abs(number - last) >= change:
            self._told[value.gas] = (number, frame.received.s)
            channel = WARMING if self._is_warming and value.gas != "temperature" else None
            body: Body = Measurement(quantity=quantity, value=number, channel=channel)
            output.events.append(frame.event(self._device, body))

    def _fault(self, faulty: bool, frame: Frame, output: Output) -> None:
        if faulty != self._is_faulty:
            self._is_faulty = faulty
            body = Occurrence(kind=_K.FAULT, state=State.START if faulty else State.END, detail="no valid value" if faulty else None)
            output.events.append(frame.event(self._device, body))

    def _settle(self, message: winsen.Message, now: Instant, output: Output) -> None:
        if message.mode != "answer":
            return
        question = self._exchange.answered(winsen.READ, now.s)
        if question is not None and question.tag is not None:
            detail = ", ".join(f"{value.gas} {value.value} {value.unit}" for value in message.values)
            output.events.append(question.tag.result(CommandStatus.DONE, now, detail))

    def _setting(self, name: str, value: str) -> bytes | str:
        """The command of a setting, or why there is none."""
        profile = winsen.PROFILES[self._profile]
        if name == "mode" and profile.switches_mode and value in ("active", "answer"):
            self._asks = value == "answer"
            return winsen.command(winsen.MODE, 0x41 if self._asks else 0x40)
        if self._profile == "mh-z19":
            if name == "self_calibration" and value in ("on", "off"):
                return winsen.command(winsen.SELF_CALIBRATION, 0xA0 if value == "on" else 0)
            if name == "zero" and value == "confirmed":
                return winsen.command(winsen.ZERO)
            if name == "range" and value in map(str, RANGES_PPM):
                return winsen.command(winsen.FULL_RANGE, 0, 0, 0, *int(value).to_bytes(2, "big"))
            return f"expected self_calibration on|off, range {'|'.join(map(str, RANGES_PPM))} or zero confirmed, got {name} {value}"
        return f"expected mode active|answer, got {name} {value}"

    def _ask(self, now: Instant, output: Output) -> None:
        data, lost = self._exchange.wake(now.s)
        if data:
            output.replies.append(Send(data))
        if lost is not None and lost.tag is not None:
            output.events.append(lost.tag.result(CommandStatus.FAILED, now, "the sensor did not answer"))

    def _next_wake(self, now_s: float) -> float | None:
        wishes = [self._scanner.deadline_s, self._exchange.deadline_s, self._silence.deadline_s]
        if not self._greeted:
            wishes.append(now_s)
        if self._asks:
            wishes.append(self._poll_at_s)
        if self._is_warming and self._opened_s is not None:
            wishes.append(self._opened_s + self._warmup_s)
        return min((wish for wish in wishes if wish is not None), default=None)


def _gas_codes(table: dict[str, Any]) -> dict[int, str]:
    known = {gas for gas, _ in READ_AS if gas != "temperature"}
    try:
        codes = {int(code): str(gas) for code, gas in table.items()}
    except ValueError:
        codes = {-1: ""}
    if not all(0 <= code <= 255 and gas in known for code, gas in codes.items()):
        raise OptionError(Winsen.info.name, [f"gas_code: expected code 0..255 -> {', '.join(sorted(known))}, got {table}"])
    return codes


DRIVER = Winsen
