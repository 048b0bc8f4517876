"""Gas detectors on one RS-485 line: polls every unit in turn, one question at a time.

Wire format and profiles: `protocols.serial.modbus_gas`. The detector decides what an alarm is; a unit that stops talking is
offline, and what it alarmed stays.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec

from drivers.api import (
    Command,
    CommandStatus,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Verb,
    read_options,
)
from drivers.modbus_gas.detector import Detector
from protocols.errors import LocalProtocolError
from protocols.serial import modbus_gas as mb
from protocols.serial.scan import Scanner

MISSES_BEFORE_OFFLINE = 3
SLOWEST_POLL_S = 60.0
"""A dead unit is still asked once a minute, so that a repaired one comes back by itself."""
BUS_GAP_S = 0.02
"""Silence before the next question; 3.5 characters are 4 ms at 9600 baud."""
_K = OccurrenceKind


def profiles() -> list[str]:
    """Names of the shipped profiles."""
    folder = resources.files("drivers.modbus_gas") / "profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


class ModbusGas:
    """One RS-485 line with one or more gas detectors."""

    info = DriverInfo(
        name="modbus_gas",
        title="Modbus RTU gas detectors",
        vendor="any (by profile)",
        models=("combustible-u16", "co-bits", "float-big", "float-little", "channel-block"),
        transports=(Transport.SERIAL, Transport.MODBUS, Transport.TCP),
        emits=(
            *("gas", "co_alarm", "general_alarm", "fault", "warming_up", "offline", "health", "command_result"),
            *("gas_lel", "co", "co2", "ch2o", "h2s", "oxygen", "temperature", "humidity"),
        ),
        commands=(Verb.QUERY,),
        options=(
            Option("profile", "table", {}, "name of a shipped profile, or the profile itself; default combustible-u16"),
            Option("detectors", "list", [], "tables of unit, profile (default: the one above) and name, for several detectors on one line"),
            Option("poll_s", "float", 2.0, "each detector is asked this often, s", low=0.2, high=3600),
            Option("timeout_s", "float", 0.5, "time for an answer, s", low=0.05, high=10),
            Option("report_s", "float", 60.0, "an unchanged value is told this often, s", low=0, high=86400),
            Option("report_change", "float", 1.0, "a change of this much is told at once, in the unit of the quantity", low=0, high=1e6),
        ),
        source="Modbus over Serial Line V1.02; Application Protocol V1.1b3; public detector manuals",
        bauds=(9600, 4800, 19_200),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        faults: list[str] = []
        default = _profile(options.get("profile") or "combustible-u16", faults)
        chosen = read_options(self.info, {key: value for key, value in options.items() if key != "profile"})
        self._detectors: dict[int, Detector] = {}
        bare = (device or "").removeprefix("modbus_gas:")
        rows = chosen["detectors"] or ([{"name": bare or f"unit-{default.unit}"}] if default else [])
        for row in rows:
            if not isinstance(row, Mapping):
                faults.append(f"detectors: tables expected, got {row!r}")
                continue
            profile = _profile(row["profile"], faults) if row.get("profile") else default
            unit = row.get("unit", profile.unit if profile else 1)
            if profile is None or not isinstance(unit, int) or not 1 <= unit <= 247 or unit in self._detectors:
                faults.append(f"detectors: unit 1..247, each once, expected, got {unit!r}")
                continue
            name = row.get("name") or f"{bare + '-' if bare else ''}unit-{unit}"
            self._detectors[unit] = Detector(
                f"modbus_gas:{name}", profile, unit, report_s=chosen["report_s"], report_change=chosen["report_change"]
            )
        if faults:
            raise OptionError(self.info.name, faults)
        self._device = next(iter(self._detectors.values())).device if len(self._detectors) == 1 else None
        self._poll_s: float = chosen["poll_s"]
        self._timeout_s: float = chosen["timeout_s"]
        self._scanner = Scanner(b"", mb.judge, patience_s=min(0.3, self._timeout_s))
        self._asked: Detector | None = None
        self._deadline_s = 0.0
        self._free_s = 0.0

    def receive(self, frame: Frame) -> Output:
        """Events of every answer that this read completes; echoes of questions are passed over."""
        output = Output(device=self._device)
        self._take(self._scanner.feed(frame.data, frame.received.s), frame, output)
        output.wake_s = self._next_wake()
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """`query` asks every detector at once; a gas detector takes nothing else."""
        output = Output()
        if command.verb is not Verb.QUERY:
            output.events.append(command.result(CommandStatus.FAILED, now, f"a gas detector does not take {command.verb.value}"))
            return output
        for detector in self._detectors.values():
            detector.next_s = now.s
        output.events.append(command.result(CommandStatus.ACCEPTED, now, "every detector is asked now"))
        output.wake_s = self._next_wake()
        return output

    def wake(self, now: Instant) -> Output:
        """Time-outs, then the next question."""
        output = Output()
        self._take(self._scanner.expire(now.s), Frame(data=b"", received=now, transport=Transport.MODBUS), output)
        if self._asked is not None and now.s >= self._deadline_s:
            self._missed(self._asked, now, output)
        if self._asked is None and now.s >= self._free_s:
            due = min(self._detectors.values(), key=lambda detector: detector.next_s)
            if due.next_s <= now.s:
                self._asked = due
                self._deadline_s = now.s + self._timeout_s
                due.next_s = now.s + self._poll_s
                output.replies.append(Send(mb.encode(due.profile.request(due.unit))))
        output.wake_s = self._next_wake()
        return output

    def _next_wake(self) -> float:
        if self._asked is not None:
            wish = self._deadline_s
        else:
            wish = max(self._free_s, min(detector.next_s for detector in self._detectors.values()))
        partial = self._scanner.deadline_s
        return wish if partial is None else min(wish, partial)

    def framing(self) -> tuple[int, int]:
        """Bytes of whole frames so far, and bytes that belonged to none."""
        return self._scanner.framed_bytes, self._scanner.thrown_bytes

    def _take(self, found: list[bytes | Reject], frame: Frame, output: Output) -> None:
        for item in found:
            if isinstance(item, Reject):
                output.rejects.append(item)
                continue
            message = mb.meaning(item)
            if isinstance(message, mb.Request):
                continue
            detector = self._whose(message, item, output)
            if detector is None:
                continue
            part = frame.part(item)
            if detector is self._asked:
                self._asked = None
                self._free_s = frame.received.s + BUS_GAP_S
            detector.misses = 0
            if detector.is_offline:
                detector.is_offline = False
                output.events.append(part.event(detector.device, Occurrence(kind=_K.OFFLINE, state=State.END)))
            self._tell(detector, message, part, output)

    def _whose(self, message: mb.Response | mb.Failure, raw: bytes, output: Output) -> Detector | None:
        """The detector that answered; an answer in place of the unit that was asked is refused."""
        detector = self._detectors.get(message.unit)
        asked = self._asked
        if detector is None or (asked is not None and detector is not asked):
            units = asked.unit if asked else ", ".join(map(str, self._detectors))
            output.rejects.append(Reject(Reason.NOT_OURS, f"answer of unit {units} expected, got unit {message.unit}", raw))
            return None
        if message.fc != detector.profile.fc:
            detail = f"answer to function {detector.profile.fc} expected, got {message.fc}"
            output.rejects.append(Reject(Reason.NOT_OURS, detail, raw))
            return None
        return detector

    def _tell(self, detector: Detector, message: mb.Response | mb.Failure, part: Frame, output: Output) -> None:
        if isinstance(message, mb.Failure):
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"unit {message.unit}: exception {message.code} {message.name}", part.data))
            output.events += [part.event(detector.device, body) for body in detector.failed(message.name)]
            return
        try:
            reading = mb.read_registers(detector.profile, message.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(part.data))
            return
        bodies, refused = detector.bodies(reading, part.received.s)
        output.events += [part.event(detector.device, body) for body in bodies]
        faults = [Reject(item.reason, item.detail, part.data) for item in refused]
        if bodies:
            output.tolerated += faults
        else:
            output.rejects += faults

    def _missed(self, detector: Detector, now: Instant, output: Output) -> None:
        self._asked = None
        self._free_s = now.s
        detector.misses += 1
        if detector.misses < MISSES_BEFORE_OFFLINE:
            return
        slower = self._poll_s * 2 ** min(detector.misses - MISSES_BEFORE_OFFLINE + 1, 10)
        detector.next_s = now.s + min(SLOWEST_POLL_S, slower)
        if not detector.is_offline:
            detector.is_offline = True
            body = Occurrence(kind=_K.OFFLINE, state=State.START, detail=f"unit {detector.unit} does not answer")
            output.events.append(Event(device=detector.device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED))


def _profile(given: Any, faults: list[str]) -> mb.Profile | None:
    """A profile by name, as JSON text (`--option profile='{...}'`) or as a table."""
    table: Any = given
    if isinstance(given, str) and given.lstrip().startswith("{"):
        try:
            table = msgspec.json.decode(given.encode())
        except msgspec.DecodeError as error:
            faults.append(f"profile: JSON expected: {error}")
            return None
    elif isinstance(given, str):
        if given not in profiles():
            faults.append(f"profile: expected one of {', '.join(profiles())}, or a table, got {given!r}")
            return None
        table = tomllib.loads((resources.files("drivers.modbus_gas") / "profiles" / f"{given}.toml").read_text("utf-8"))
    if not isinstance(table, Mapping):
        faults.append(f"profile: name or table expected, got {given!r}")
        return None
    try:
        return mb.read_profile(table)
    except LocalProtocolError as error:
        faults.append(str(error))
        return None


DRIVER = ModbusGas
