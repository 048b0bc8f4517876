"""A 4G wristband that speaks the "3G" / SeTracker protocol over TCP.

Habits of the firmware: LK as login and heartbeat; UD often while walking, seldom at rest; UD2 for what was recorded without a
link; AL at once for an alarm, again every `alarm_again_s` with the same bytes until the server answers `AL`; commands echoed.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

from drivers.vocabulary import OccurrenceKind, Quantity
from protocols.errors import Reject
from protocols.tracker import watch
from protocols.tracker.watch import WatchConnection, WatchMessage, heartbeat, report
from protocols.tracker.watch_position import FALL, LOW_BATTERY, LOW_BATTERY_ALARM, REMOVED, SOS, WatchPosition, position_body
from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.places import Outing, Place
from simulator.truth import Fact, begun

STORED_FIXES = 200
"""Fixes that the memory of the device holds while it is offline; then the oldest goes."""
UNHEARD_S = 3600.0
"""An alarm that nobody answers is repeated for an hour at most: then the battery matters more."""

ALARMS = {
    "sos": (1 << SOS, OccurrenceKind.SOS),
    "fall": (1 << FALL, OccurrenceKind.FALL),
    "take_off": (1 << REMOVED, OccurrenceKind.REMOVED),
    "battery_low": (1 << LOW_BATTERY_ALARM | 1 << LOW_BATTERY, OccurrenceKind.LOW_BATTERY),
}


class WatchHabits(NamedTuple):
    """Intervals in seconds."""

    heartbeat_s: float = 300.0
    walking_s: float = 20.0
    resting_s: float = 600.0
    health_s: float = 1800.0
    alarm_again_s: float = 10.0


WATCH_HABITS = WatchHabits()


class _Alarm(NamedTuple):
    frame: bytes
    since_s: float
    again: Rhythm


class Wristband:
    """`number`: the id that the device writes (10 digits). `home` is where the wearer lives."""

    driver = "watch"
    wire = WireKind.TCP

    def __init__(
        self,
        id: str,
        *,
        number: str,
        home: Place,
        seed: int,
        habits: WatchHabits = WATCH_HABITS,
        heart_bpm: int = 72,
        clock_error_ms: int = 0,
    ) -> None:
        self.id = id
        self._number = number
        self._home = home
        self._habits = habits
        self._heart_bpm = heart_bpm
        self._clock_error_ms = clock_error_ms
        self._dice = random.Random(seed)
        self._battery = self._dice.uniform(60, 100)
        self._steps = self._dice.randrange(20_000)
        self._connection = WatchConnection()
        self._outing: Outing | None = None
        self._left_s = 0.0
        self._stored: deque[bytes] = deque(maxlen=STORED_FIXES)
        self._alarms: list[_Alarm] = []
        self._is_up = False
        self._heartbeat = Rhythm(habits.heartbeat_s, habits.heartbeat_s, jitter=0.05)
        self._fix = Rhythm(habits.resting_s, self._dice.uniform(0.5, 4.0), jitter=0.1)
        self._health = Rhythm(habits.health_s, self._dice.uniform(2.0, 8.0), jitter=0.1)
        self.answered: list[float] = []
        """Seconds from an alarm to its acknowledgement, one per alarm that was acknowledged."""
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """Login, alarms that nobody has answered, then what was stored."""
        self._is_up = True
        self._connection = WatchConnection()
        out = [self._alive()]
        for alarm in self._alarms:
            out.append(alarm.frame)
            alarm.again.due_s = now.s + alarm.again.every_s
        while self._stored:
            out.append(self._frame("UD2", self._stored.popleft()))
        self._plan()
        return _act(out)

    def down(self, now: Moment) -> None:
        """From now on fixes go to the memory."""
        self._is_up = False
        self._plan()

    def step(self, now: Moment) -> Act:
        """Whatever is due."""
        out: list[bytes] = []
        facts: list[Fact] = []
        self._alarms = [alarm for alarm in self._alarms if now.s < alarm.since_s + UNHEARD_S]
        out += [alarm.frame for alarm in self._alarms if self._is_up and alarm.again.take(now)]
        if self._heartbeat.take(now, self._dice.random()) and self._is_up:
            out.append(self._alive())
        self._walk(now)
        if self._fix.take(now, self._dice.random()):
            body = self._position(now, 0)
            facts.append(Fact("position", "position"))
            if self._is_up:
                out.append(self._frame("UD", body))
            else:
                self._stored.append(body)
        if self._health.take(now, self._dice.random()) and self._is_up:
            measured, told = self._measure()
            out += measured
            facts += told
        self._plan()
        return _act(out, facts)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Acknowledgements end the repetition of an alarm; commands are echoed and, where it is `CR`, answered with a fix."""
        out: list[bytes] = []
        facts: list[Fact] = []
        for found in self._connection.receive(data):
            if isinstance(found, Reject):
                continue
            kind = found.kind.upper()
            if kind.startswith("AL"):
                self._acknowledged(now)
            elif kind not in watch.ANSWERS:
                out.append(report(self._number, found.kind))
                if kind == "CR":
                    out.append(self._frame("UD", self._position(now, 0)))
                    facts.append(Fact("position", "position"))
        self._plan()
        return _act(out, facts)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`sos`, `fall`, `take_off`, `battery_low`, `walk` (seconds, speed_ms), `come_home`."""
        if verb == "walk":
            self._outing = Outing(
                self._home, seconds=args.get("seconds", 1800), speed_ms=args.get("speed_ms", 0.9), seed=self._dice.randrange(1 << 30)
            )
            self._left_s = now.s
            self._pace(self._habits.walking_s, now)
            self._plan()
            return NOTHING
        if verb not in ALARMS:
            return NOTHING
        bits, kind = ALARMS[verb]
        if verb == "battery_low":
            self._battery = min(self._battery, 9.0)
        frame = self._frame("AL", self._position(now, bits))
        again_s = self._habits.alarm_again_s
        self._alarms.append(_Alarm(frame, now.s, Rhythm(again_s, now.s + again_s, jitter=0.1)))
        self._plan()
        return _act([frame] if self._is_up else [], [begun(kind)])

    def _acknowledged(self, now: Moment) -> None:
        # `AL` carries no number: it answers the oldest.
        if self._alarms:
            self.answered.append(now.s - self._alarms.pop(0).since_s)

    def _walk(self, now: Moment) -> None:
        if self._outing is not None and now.s >= self._left_s + self._outing.seconds:
            self._outing = None
            self._pace(self._habits.resting_s, now)

    def _pace(self, every_s: float, now: Moment) -> None:
        self._fix.every_s = every_s
        self._fix.due_s = min(self._fix.due_s, now.s + every_s)

    def _position(self, now: Moment, status: int) -> bytes:
        walked_s = now.s - self._left_s
        place, course = self._outing.where(walked_s) if self._outing else (self._home, 0.0)
        if self._outing is not None:
            self._steps += round(self._outing.speed_ms / 0.6 * self._fix.every_s)
        noise_m = 4.0 if self._outing else 12.0
        place = place.moved(self._dice.gauss(0, noise_m), self._dice.gauss(0, noise_m))
        self._battery = max(self._battery - 0.02, 1.0)
        position = WatchPosition(
            clock_ms=now.ms + self._clock_error_ms,
            is_valid=True,
            lat=round(place.lat, 6),
            lon=round(place.lon, 6),
            speed_kmh=round(self._outing.speed_ms * 3.6, 2) if self._outing else 0.0,
            course_deg=round(course, 1),
            altitude_m=12.0,
            satellites=self._dice.randint(6, 12),
            signal=self._dice.randint(50, 100),
            battery=round(self._battery),
            steps=self._steps,
            tumbles=0,
            status=status,
            cells=((460, 0, 9360, 4082 + self._dice.randrange(3), -self._dice.randint(60, 95)),),
            accuracy_m=float(round(noise_m * 2)),
        )
        return position_body(position)

    def _measure(self) -> tuple[list[bytes], list[Fact]]:
        heart = round(self._dice.gauss(self._heart_bpm, 4))
        systolic, diastolic = round(self._dice.gauss(128, 7)), round(self._dice.gauss(78, 5))
        spo2 = min(99, round(self._dice.gauss(97, 1)))
        frames = [
            report(self._number, "heart", heart),
            report(self._number, "bphrt", systolic, diastolic, heart),
            report(self._number, "oxygen", 0, spo2),
        ]
        quantities = (Quantity.HEART_RATE, Quantity.SYSTOLIC, Quantity.DIASTOLIC, Quantity.SPO2)
        return frames, [Fact("measurement", quantity.value) for quantity in quantities]

    def _alive(self) -> bytes:
        return heartbeat(self._number, steps=self._steps, tumbles=0, battery=round(self._battery))

    def _frame(self, kind: str, body: bytes) -> bytes:
        return watch.encode(WatchMessage(maker="3G", id=self._number, kind=kind, body=body))

    def _plan(self) -> None:
        repeats = [alarm.again.due_s for alarm in self._alarms] if self._is_up else []
        ends = [self._left_s + self._outing.seconds] if self._outing else []
        self.next_s = min(self._heartbeat.due_s, self._fix.due_s, self._health.due_s, *repeats, *ends)


def _act(frames: list[bytes], facts: list[Fact] | tuple[Fact, ...] = ()) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames), tuple(facts))
