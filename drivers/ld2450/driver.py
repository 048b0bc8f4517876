"""Hi-Link LD2450: up to three people as points in the plane; the zones are ours, from the settings.

Wire format and sources: `protocols.serial.hilink`. Ten reports a second become events only when somebody comes or goes. A target
is lost for a moment now and then, so an end is held back for `hold_s`. A silent radar ends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    OptionError,
    Options,
    Output,
    Quantity,
    Reject,
    RemoteProtocolError,
    Send,
    Severity,
    State,
    TimeQuality,
    Transport,
    Verb,
    read_options,
)
from protocols.serial import hilink
from protocols.serial.exchange import Exchange, Silence
from protocols.serial.hilink import Ack, Target, Targets
from protocols.serial.scan import Scanner

QUERIES = {
    "firmware": (hilink.FIRMWARE, b""),
    "tracking": (hilink.READ_TRACKING, b""),
    "zones": (hilink.READ_ZONES, b""),
    "mac": (hilink.MAC, b"\x01\x00"),
}
COORDINATE_MM = 20_000
_K = OccurrenceKind


class Occupancy:
    """Whether somebody is in a rectangle (mm; the whole plane where `sides` is None), with its own memory of time."""

    def __init__(self, name: str | None, sides: tuple[float, float, float, float] | None, minutes: float | None) -> None:
        self.name = name
        self.minutes = minutes
        self.occupied: bool | None = None
        self.seen_s = 0.0
        self.since_s = 0.0
        self.warned = False
        self._sides = sides

    def holds(self, target: Target) -> bool:
        """Whether the target is inside."""
        if self._sides is None:
            return True
        x1, y1, x2, y2 = self._sides
        return x1 <= target.x_mm <= x2 and y1 <= target.y_mm <= y2

    @property
    def deadline_s(self) -> float | None:
        """When somebody has been here for too long."""
        return self.since_s + 60 * self.minutes if self.occupied and self.minutes is not None and not self.warned else None


class Ld2450:
    """One LD2450 on one serial line."""

    info = DriverInfo(
        name="ld2450",
        title="Hi-Link LD2450 target radar",
        vendor="Hi-Link",
        models=("LD2450",),
        transports=(Transport.SERIAL, Transport.TCP),
        emits=("presence", "zone_occupied", "distance", "offline", "health", "command_result"),
        commands=(Verb.CONFIGURE, Verb.QUERY, Verb.RESTART),
        options=(
            Option("zones", "list", [], "tables of name, x1, y1, x2, y2 (mm, the radar looks along +y) and minutes (optional)"),
            Option("hold_s", "float", 3.0, "somebody is gone when not seen for this long, s", low=0, high=600),
            Option("report_s", "float", 60.0, "the distance of the nearest target is reported at most this often, s", low=0, high=86400),
            Option("offline_s", "float", 30.0, "silence after which the radar counts as offline, s; 0 = never", low=0, high=86400),
        ),
        source="HLK-LD2450 serial protocol V1.03",
        bauds=(256_000, 115_200),
    )

    def __init__(self, options: Options, device: str | None) -> None:
        chosen = read_options(self.info, options)
        self._device = "ld2450:" + (device or "unnamed").removeprefix("ld2450:")
        self._hold_s: float = chosen["hold_s"]
        self._report_s: float = chosen["report_s"]
        self._room = Occupancy(None, None, None)
        self._places = [self._room, *_zones(chosen["zones"])]
        self._scanner = Scanner(b"", hilink.judge_for(hilink.REPORT_2450))
        self._exchange = Exchange(timeout_s=0.5)
        self._silence = Silence(chosen["offline_s"])
        self._probed = False
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
        """First call: firmware and tracking mode. Later: who stays too long, repetitions, silence."""
        output = Output()
        self._take(self._scanner.expire(now.s), Frame(data=b"", received=now, transport=Transport.SERIAL), output)
        if not self._probed:
            self._probed = True
            for question in hilink.conversation([(*QUERIES[name], None) for name in ("firmware", "tracking")]):
                self._exchange.ask(question)
        for place in self._places:
            output.events += [_now_event(self._device, body, now) for body in self._too_long(place, now.s)]
        _, gone = self._silence.wake(now.s)
        if gone:
            body = Occurrence(kind=_K.OFFLINE, state=State.START, detail="the radar is silent")
            output.events.append(_now_event(self._device, body, now))
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
            if isinstance(message, Targets):
                bodies = self._report(message.targets, frame.received.s)
                if bodies:
                    part = frame.part(item)
                    output.events += [part.event(self._device, body) for body in bodies]
            elif isinstance(message, Ack):
                self._acknowledged(message, frame.part(item), output)

    def _report(self, targets: tuple[Target, ...], now_s: float) -> list[Body]:
        bodies: list[Body] = []
        for place in self._places:
            if any(place.holds(target) for target in targets):
                place.seen_s = now_s
                if not place.occupied:
                    place.since_s, place.warned = now_s, False
                    bodies.append(self._change(place, True))
            elif self._is_over(place, now_s):
                bodies.append(self._change(place, False))
            bodies += self._too_long(place, now_s)
        if targets and (self._distance_s is None or now_s - self._distance_s >= self._report_s):
            self._distance_s = now_s
            nearest = min(math.hypot(target.x_mm, target.y_mm) for target in targets)
            bodies.append(Measurement(quantity=Quantity.DISTANCE, value=round(nearest / 1000, 3)))
        return bodies

    def _is_over(self, place: Occupancy, now_s: float) -> bool:
        """Whether an end is due: of the room also at the first report, so that an empty one is known."""
        if place.occupied is None:
            return place is self._room
        return place.occupied and now_s - place.seen_s >= self._hold_s

    def _change(self, place: Occupancy, occupied: bool) -> Occurrence:
        place.occupied = occupied
        kind = _K.PRESENCE if place is self._room else _K.ZONE_OCCUPIED
        return Occurrence(kind=kind, state=State.START if occupied else State.END, place=place.name)

    @staticmethod
    def _too_long(place: Occupancy, now_s: float) -> list[Body]:
        """Warns once of somebody who stays too long."""
        deadline_s = place.deadline_s
        if deadline_s is None or now_s < deadline_s:
            return []
        place.warned = True
        detail = f"longer than {place.minutes:g} minutes"
        return [Occurrence(kind=_K.ZONE_OCCUPIED, state=State.START, severity=Severity.WARNING, place=place.name, detail=detail)]

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
        wishes += [place.deadline_s for place in self._places]
        if not self._probed:
            wishes.append(now_s)
        return min((wish for wish in wishes if wish is not None), default=None)


def _now_event(device: str, body: Body, now: Instant) -> Event:
    """An event that no frame proves, only the time that went by."""
    return Event(device=device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED)


def _zones(rows: list[Any]) -> list[Occupancy]:
    """Zones of the settings. Raises OptionError naming every fault."""
    zones, faults, names = [], [], set()
    for number, row in enumerate(rows):
        try:
            x1, y1, x2, y2 = (float(row[key]) for key in ("x1", "y1", "x2", "y2"))
            name, minutes = str(row["name"]), row.get("minutes")
            minutes = None if minutes is None else float(minutes)
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.append(f"zones[{number}]: name, x1, y1, x2, y2 in mm expected, got {_shown(row)}")
            continue
        if not all(abs(side) <= COORDINATE_MM for side in (x1, y1, x2, y2)) or name in names or (minutes is not None and not minutes > 0):
            faults.append(
                f"zones[{number}]: sides within {COORDINATE_MM} mm, names that differ, minutes above 0 expected, got {_shown(row)}"
            )
            continue
        names.add(name)
        zones.append(Occupancy(name, (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), minutes))
    if faults:
        raise OptionError(Ld2450.info.name, faults)
    return zones


def _shown(row: Any) -> str:
    return repr(dict(row) if isinstance(row, Mapping) else row)[:120]


def _step(command: Command) -> tuple[int, bytes] | str:
    """Word and arguments of a command, or why there are none."""
    name, value = str(command.args.get("name") or ""), str(command.args.get("value", ""))
    if command.verb is Verb.RESTART:
        return hilink.RESTART, b""
    if command.verb is Verb.QUERY:
        return QUERIES.get(name or "tracking") or f"name: expected one of {', '.join(QUERIES)}, got {name!r}"
    if command.verb is not Verb.CONFIGURE:
        return f"an LD2450 does not take {command.verb.value}"
    if name == "tracking" and value in ("single", "multi"):
        return hilink.SINGLE_TARGET if value == "single" else hilink.MULTI_TARGET, b""
    return f"expected tracking single|multi, got {name} {value}"


DRIVER = Ld2450
