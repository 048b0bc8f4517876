"""A tracker of any family: pendant, band or card with a modem. What it writes is a `Dialect`; when it writes is decided here.

An alarm goes out at once and again with the same bytes until the server confirms it; where a protocol confirms nothing it goes
three times in all. What happens without a link is kept and said when the link is back.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.devices.dialects import DIALECTS, Seen
from simulator.places import Outing, Place
from simulator.truth import Fact, begun

AGAIN_S = 10.0
UNCONFIRMED_TIMES = 3
GIVEN_UP_S = 3600.0
"""An alarm that nobody confirms is repeated for an hour at most: then the battery matters more."""


class TrackerHabits(NamedTuple):
    """Intervals in seconds."""

    heartbeat_s: float = 300.0
    walking_s: float = 20.0
    resting_s: float = 600.0


class _Alarm:
    def __init__(self, frames: list[bytes], now: Moment, *, said: bool) -> None:
        self.frames = frames
        self.since_s = now.s
        self.times = int(said)
        self.again = Rhythm(AGAIN_S, now.s + AGAIN_S)


class Tracker:
    """`driver`: one of `DIALECTS`; `number`: its IMEI or id as the device writes it."""

    wire = WireKind.TCP

    def __init__(self, id: str, *, driver: str, number: str, home: Place, seed: int, habits: TrackerHabits = TrackerHabits()) -> None:  # noqa: B008 - a constant tuple
        self.id = id
        self.driver = driver
        self._dialect = DIALECTS[driver](number)
        self._home = home
        self._habits = habits
        self._dice = random.Random(seed)
        self._battery = self._dice.uniform(50, 100)
        self._outing: Outing | None = None
        self._left_s = 0.0
        self._alarms: list[_Alarm] = []
        self._is_up = False
        self._heartbeat = Rhythm(habits.heartbeat_s, habits.heartbeat_s, jitter=0.05)
        self._report = Rhythm(habits.resting_s, self._dice.uniform(0.5, 4.0), jitter=0.1)
        self.answered: list[float] = []
        """Seconds from an alarm to its confirmation."""
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """Who it is, then the alarms that have not arrived."""
        self._is_up = True
        frames = self._dialect.hello()
        for alarm in self._alarms:
            frames += self._say_again(alarm, now)
        self._tidy(now)
        return _act(frames)

    def down(self, now: Moment) -> None:
        """Alarms wait from now on."""
        self._is_up = False
        self._plan()

    def step(self, now: Moment) -> Act:
        """Whatever is due."""
        frames: list[bytes] = []
        facts: tuple[Fact, ...] = ()
        for alarm in self._alarms:
            if self._is_up and now.s >= alarm.again.due_s:
                frames += self._say_again(alarm, now)
        if self._heartbeat.take(now, self._dice.random()) and self._is_up:
            frames += self._dialect.alive(round(self._battery))
        if self._outing is not None and now.s >= self._left_s + self._outing.seconds:
            self._outing = None
            self._report.every_s = self._habits.resting_s
        if self._report.take(now, self._dice.random()) and self._is_up:
            frames += self._dialect.report(self._seen(now), None)
            facts = (Fact("position", "position"),)
        self._tidy(now)
        return _act(frames, facts)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Confirmations end repetitions."""
        heard = self._dialect.receive(data)
        if heard.is_confirmed and self._alarms:
            self.answered.append(now.s - self._alarms.pop(0).since_s)
        self._plan()
        return _act(heard.frames)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`walk`, and the alarms that the dialect has a code for."""
        if verb == "walk":
            self._outing = Outing(
                self._home, seconds=args.get("seconds", 1800), speed_ms=args.get("speed_ms", 0.9), seed=self._dice.randrange(1 << 30)
            )
            self._left_s = now.s
            self._report.every_s = self._habits.walking_s
            self._report.due_s = min(self._report.due_s, now.s + self._habits.walking_s)
            self._plan()
            return NOTHING
        kind = self._dialect.alarms.get(verb)
        if kind is None:
            return NOTHING
        frames = self._dialect.report(self._seen(now), verb)
        self._alarms.append(_Alarm(frames, now, said=self._is_up))
        self._tidy(now)
        return _act(frames if self._is_up else [], (begun(kind),))

    def _say_again(self, alarm: _Alarm, now: Moment) -> list[bytes]:
        alarm.times += 1
        alarm.again.due_s = now.s + AGAIN_S
        return alarm.frames

    def _tidy(self, now: Moment) -> None:
        most = None if self._dialect.confirms else UNCONFIRMED_TIMES
        self._alarms = [a for a in self._alarms if now.s < a.since_s + GIVEN_UP_S and (most is None or a.times < most)]
        self._plan()

    def _seen(self, now: Moment) -> Seen:
        place, course = self._outing.where(now.s - self._left_s) if self._outing else (self._home, 0.0)
        noise_m = 4.0 if self._outing else 12.0
        self._battery = max(self._battery - 0.02, 1.0)
        speed = round(self._outing.speed_ms * 3.6, 1) if self._outing else 0.0
        return Seen(now, place.moved(self._dice.gauss(0, noise_m), self._dice.gauss(0, noise_m)), speed, course, round(self._battery))

    def _plan(self) -> None:
        repeats = [alarm.again.due_s for alarm in self._alarms] if self._is_up else []
        ends = [self._left_s + self._outing.seconds] if self._outing else []
        self.next_s = min(self._heartbeat.due_s, self._report.due_s, *repeats, *ends)


def _act(frames: list[bytes], facts: tuple[Fact, ...] = ()) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames), facts)
