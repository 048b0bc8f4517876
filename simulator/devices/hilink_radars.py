"""Presence radars on a serial line that speak Hi-Link's protocol: LD2410 (gates) and LD2450 (three points in the plane).

Ten reports a second. An open configuration stops the reports; acknowledgements come between the last one and the silence. Somebody
who sits still flickers between still and moving; a target behind furniture is lost for a moment.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject, RemoteProtocolError
from protocols.serial import hilink
from protocols.serial.hilink import Ack, Presence, Target, Targets, encode
from protocols.serial.scan import Scanner
from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

Zone = tuple[float, float, float, float, float]
"""x1, y1, x2, y2 in mm, minutes."""
_FIRMWARE = bytes.fromhex("000102041615032400")[1:]


class _Firmware:
    """What both models do with commands."""

    def __init__(self, report: bytes, reads: dict[int, Callable[[], bytes]]) -> None:
        self.is_open = False
        self.settings: dict[int, bytes] = {}
        self._scanner = Scanner(b"", hilink.judge_for(report))
        self._reads = {hilink.FIRMWARE: lambda: _FIRMWARE, hilink.MAC: lambda: bytes.fromhex("8f272eb80f65"), **reads}

    def answers(self, data: bytes, now_s: float) -> list[bytes]:
        """Acknowledgements of the commands that `data` completes."""
        return [self._obeyed(found) for found in self._scanner.feed(data, now_s) if not isinstance(found, Reject) and found[0] == 0xFD]

    def _obeyed(self, frame: bytes) -> bytes:
        try:
            word, arguments = hilink.read_order(frame)
        except RemoteProtocolError:
            return b""
        if word == hilink.OPEN:
            self.is_open = True
            return encode(Ack(word, 0, b"\x01\x00\x40\x00"))
        if not self.is_open:
            return encode(Ack(word, 1))
        if word in (hilink.CLOSE, hilink.RESTART):
            self.is_open = False
        if word in self._reads:
            return encode(Ack(word, 0, self._reads[word]()))
        self.settings[word] = arguments
        return encode(Ack(word, 0))


class PresenceRadar:
    """An LD2410 in a room. `every_s` between two reports."""

    driver = "ld2410"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, seed: int, every_s: float = 0.1) -> None:
        self.id = id
        self._dice = random.Random(seed)
        self._firmware = _Firmware(hilink.REPORT_2410, {hilink.READ_PARAMETERS: self._parameters})
        self._report = Rhythm(every_s, 0.2)
        self._is_present = self._is_moving = False
        self._distance_cm = 220
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """It speaks from power-on."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """One report."""
        due = self._report.take(now)
        self.next_s = self._report.due_s
        return _act(self._say()) if due and not self._firmware.is_open else NOTHING

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Commands are acknowledged."""
        return _act(*self._firmware.answers(data, now.s))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`enter`, `leave`, `active`, `still`."""
        if verb == "enter" and not self._is_present:
            self._is_present = self._is_moving = True
            return Act((), (begun(OccurrenceKind.PRESENCE), begun(OccurrenceKind.MOTION)))
        if verb == "leave" and self._is_present:
            moved, self._is_present, self._is_moving = self._is_moving, False, False
            return Act((), (ended(OccurrenceKind.PRESENCE), *((ended(OccurrenceKind.MOTION),) if moved else ())))
        if verb in ("active", "still") and self._is_present and self._is_moving != (verb == "active"):
            self._is_moving = verb == "active"
            return Act((), ((begun if self._is_moving else ended)(OccurrenceKind.MOTION),))
        return NOTHING

    def _say(self) -> bytes:
        if not self._is_present:
            return encode(Presence(0, 0, 0, 0, 0, 0))
        self._distance_cm = min(max(self._distance_cm + self._dice.randint(-8, 8), 60), 480)
        energy = self._dice.randint(45, 95)
        # Both at once and still alone alternate while somebody moves; who sits shows no movement.
        status = self._dice.choice((1, 3, 3, 2)) if self._is_moving else 2
        return encode(Presence(status, self._distance_cm, energy, self._distance_cm, self._dice.randint(40, 80), self._distance_cm))

    def _parameters(self) -> bytes:
        return bytes((0xAA, 8, 8, 8, *[50, 50, 40, 30, 20, 15, 15, 15, 15], *[0, 0, 40, 40, 30, 30, 20, 20, 20], 5, 0))


class TargetRadar:
    """An LD2450 that looks along +y into a room. `zones`: those of the gateway's settings, name -> x1, y1, x2, y2 (mm) and minutes."""

    driver = "ld2450"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, seed: int, zones: Mapping[str, Zone], every_s: float = 0.1) -> None:
        self.id = id
        self._dice = random.Random(seed)
        self._firmware = _Firmware(hilink.REPORT_2450, {hilink.READ_TRACKING: lambda: b"\x02\x00"})
        self._report = Rhythm(every_s, 0.2)
        self._zones = zones
        self._where: tuple[float, float] | None = None
        self._inside: dict[str, float] = {}
        self._stays: dict[str, float] = {}
        self._hidden_s = 0.0
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """It speaks from power-on."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """One report; who stays in a zone for longer than its minutes is a fact."""
        due = self._report.take(now)
        late = [name for name, at_s in self._stays.items() if now.s >= at_s]
        for name in late:
            del self._stays[name]
        self.next_s = min([self._report.due_s, *self._stays.values()])
        parcels = (Parcel(self._say(now)),) if due and not self._firmware.is_open else ()
        return Act(parcels, tuple(begun(OccurrenceKind.ZONE_OCCUPIED) for _ in late))

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Commands are acknowledged."""
        return _act(*self._firmware.answers(data, now.s))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`enter` and `active` at x_mm, y_mm (default: in the middle of the room), `leave`."""
        was_here = self._where is not None
        if verb in ("enter", "active") and (was_here or verb == "enter"):
            self._where = (float(args.get("x_mm", 300)), float(args.get("y_mm", 3000)))
        elif verb == "leave":
            self._where = None
        else:
            return NOTHING
        facts = [] if was_here == (self._where is not None) else [(ended if was_here else begun)(OccurrenceKind.PRESENCE)]
        for name, (x1, y1, x2, y2, minutes) in self._zones.items():
            holds = self._where is not None and x1 <= self._where[0] <= x2 and y1 <= self._where[1] <= y2
            if holds != (name in self._inside):
                facts.append((begun if holds else ended)(OccurrenceKind.ZONE_OCCUPIED))
                if holds:
                    self._inside[name] = now.s
                    self._stays[name] = now.s + 60 * minutes
                else:
                    del self._inside[name]
                    self._stays.pop(name, None)
        self.next_s = now.s
        return Act((), tuple(facts))

    def _say(self, now: Moment) -> bytes:
        if self._where is None or now.s < self._hidden_s:
            return encode(Targets(()))
        if self._dice.random() < 0.01:
            self._hidden_s = now.s + self._dice.uniform(0.2, 1.5)
        x, y = (round(side + self._dice.gauss(0, 25)) for side in self._where)
        wobble = round(10 * math.sin(now.s))
        return encode(Targets((Target(1, x, max(y, 1), wobble, 360),)))


def _act(*frames: bytes) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames if frame))
