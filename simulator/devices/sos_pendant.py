"""A care pendant with an SOS button (Eview EV-07B) on a TCP connection of its own.

Every data message wants an answer and is sent again, byte for byte, until it comes; the SOS record goes first and at once.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject
from protocols.tracker import minifinder2 as wire
from protocols.tracker import minifinder2_records as data
from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.places import Place
from simulator.truth import Fact, begun

LOW_BATTERY, FALL, NO_MOTION, SOS = 0, 2, 11, 12
"""Alarm bits of key 02."""

UNANSWERED = 20
"""Messages kept for repetition; then the oldest that is no alarm goes."""
AGAIN_S = 10.0
REPORT_TRIES = 3
"""An ordinary report that nobody answers is given up; an alarm never is."""

ALARMS = {
    "sos": (SOS, OccurrenceKind.SOS),
    "fall": (FALL, OccurrenceKind.FALL),
    "battery_low": (LOW_BATTERY, OccurrenceKind.LOW_BATTERY),
    "no_motion": (NO_MOTION, OccurrenceKind.NO_MOTION),
}


class PendantHabits(NamedTuple):
    """Intervals in seconds."""

    heartbeat_s: float = 300.0
    report_s: float = 600.0


PENDANT_HABITS = PendantHabits()


class _Waiting:
    def __init__(self, frame: bytes, now: Moment, *, is_alarm: bool) -> None:
        self.frame = frame
        self.since_s = now.s
        self.is_alarm = is_alarm
        self.again = Rhythm(AGAIN_S, now.s + AGAIN_S)
        self.tries = 1

    def take(self, now: Moment) -> bool:
        """Whether it is to be sent again now."""
        is_due = self.again.take(now)
        self.tries += is_due
        return is_due

    @property
    def is_spent(self) -> bool:
        return not self.is_alarm and self.tries >= REPORT_TRIES


class SosPendant:
    """`imei`: 15 digits. `home` is where the wearer lives."""

    driver = "minifinder2"
    wire = WireKind.TCP

    def __init__(self, id: str, *, imei: str, home: Place, seed: int, habits: PendantHabits = PENDANT_HABITS) -> None:
        self.id = id
        self._imei = imei
        self._home = home
        self._dice = random.Random(seed)
        self._battery = self._dice.randint(40, 100)
        self._sequence = self._dice.randrange(1000)
        self._connection = wire.Connection()
        self._waiting: dict[int, _Waiting] = {}
        self._is_up = False
        self._heartbeat = Rhythm(habits.heartbeat_s, habits.heartbeat_s, jitter=0.05)
        self._report = Rhythm(habits.report_s, self._dice.uniform(0.5, 4.0), jitter=0.1)
        self.answered: list[float] = []
        """Seconds from an alarm to its acknowledgement."""
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """A heartbeat, then everything that nobody has answered, alarms first."""
        self._is_up = True
        self._connection = wire.Connection()
        waiting = sorted(self._waiting.values(), key=lambda one: not one.is_alarm)
        for one in waiting:
            one.again.due_s = now.s + AGAIN_S
        self._plan()
        return _act([self._alive(), *(one.frame for one in waiting)])

    def down(self, now: Moment) -> None:
        """What was sent and not answered stays."""
        self._is_up = False
        self._plan()

    def step(self, now: Moment) -> Act:
        """Repetitions, heartbeat, the regular report."""
        out = [one.frame for one in self._waiting.values() if self._is_up and one.take(now)]
        self._waiting = {number: one for number, one in self._waiting.items() if not one.is_spent}
        facts: tuple[Fact, ...] = ()
        if self._heartbeat.take(now, self._dice.random()) and self._is_up:
            out.append(self._alive())
        if self._report.take(now, self._dice.random()):
            frame = self._message(now)
            facts = (Fact("position", "position"),)
            out += [frame] if self._is_up else []
        self._plan()
        return _act(out, facts)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answers end a repetition; commands are answered with success."""
        out = []
        for found in self._connection.receive(data):
            if isinstance(found, Reject):
                continue
            if found.command == wire.RESPONSE:
                one = self._waiting.pop(found.sequence, None)
                if one is not None and one.is_alarm:
                    self.answered.append(now.s - one.since_s)
            elif found.command in (wire.CONFIGURATION, wire.SYSTEM) and found.wants_ack:
                out.append(wire.acknowledgement(found))
        self._plan()
        return _act(out)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`sos`, `fall`, `battery_low`, `no_motion`."""
        if verb not in ALARMS:
            return NOTHING
        bit, kind = ALARMS[verb]
        frame = self._message(now, bit)
        self._plan()
        return _act([frame] if self._is_up else [], (begun(kind),))

    def _message(self, now: Moment, alarm: int | None = None) -> bytes:
        """A data message that waits for its answer from now on."""
        time_s = now.ms // 1000
        place = self._home.moved(self._dice.gauss(0, 10), self._dice.gauss(0, 10))
        fix = data.Gnss(place.lat, place.lon, 0, 0, 12, round(self._dice.uniform(0.8, 2.0), 1), 0, self._dice.randint(5, 11))
        items = [] if alarm is None else [data.alarm_item(1 << alarm, time_s)]
        items += [data.status_item(time_s, battery=self._battery, stored=not self._is_up), data.gnss_item(fix)]
        self._sequence = (self._sequence + 1) & 0xFFFF
        frame = data.data_message(self._imei, *items, sequence=self._sequence)
        if len(self._waiting) >= UNANSWERED:
            del self._waiting[min(self._waiting, key=lambda number: (self._waiting[number].is_alarm, self._waiting[number].since_s))]
        self._waiting[self._sequence] = _Waiting(frame, now, is_alarm=alarm is not None)
        return frame

    def _alive(self) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        items = (data.imei_item(self._imei), (wire.HEARTBEAT, b""))
        return wire.encode(wire.Message(wire.SERVICE, items, self._sequence))

    def _plan(self) -> None:
        repeats = [one.again.due_s for one in self._waiting.values()] if self._is_up else []
        self.next_s = min(self._heartbeat.due_s, self._report.due_s, *repeats)


def _act(frames: list[bytes], facts: tuple[Fact, ...] = ()) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames), facts)
