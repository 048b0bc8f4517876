"""A transmission unit of a small building (GB/T 26875.3) with its detectors, on a TCP connection to the centre.

A message is sent again after 10 s, three times; an alarm that is still unconfirmed then waits for the next connection. A detector
keeps its state until it changes; an operator's reset ends every alarm.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.building import gbt26875
from protocols.building import gbt26875_objects as objects
from protocols.errors import Reject, RemoteProtocolError
from protocols.framing import Framer
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import Fact, begun, ended

CENTRE = "000000000001"
OFFSET_MS = 8 * 3_600_000
AGAIN_S, TRIES = 10.0, 3
UNCONFIRMED = 64
NORMAL, FIRE, FAULT = 0x01, 0x02, 0x04
MAINS_FAULT = 0x08
_K = OccurrenceKind

PARTS: dict[str, tuple[int, int, str, OccurrenceKind]] = {
    "smoke": (42, 1, "卧室感烟探测器", _K.SMOKE),
    "gas": (11, 2, "厨房燃气探测器", _K.GAS),
    "heat": (31, 3, "客厅感温探测器", _K.HEAT),
    "fire": (23, 4, "楼道手动报警按钮", _K.FIRE),
    "sos": (130, 5, "床头求助按钮", _K.SOS),
}
"""Verb -> part type, loop number, text on the panel, what its alarm means."""


class _Waiting:
    def __init__(self, frame: bytes, now: Moment, *, is_alarm: bool) -> None:
        self.frame = frame
        self.since_s = now.s
        self.is_alarm = is_alarm
        self.again = Rhythm(AGAIN_S, now.s + AGAIN_S)
        self.tries = 1


class TransmissionUnit:
    """`address`: 12 hex digits. `heartbeat_s`: 20..30 on real units. `answered`: seconds from an alarm to its confirmation."""

    driver = "gbt26875"
    wire = WireKind.TCP

    def __init__(self, id: str, *, address: str, seed: int, heartbeat_s: float = 30.0) -> None:
        self.id = id
        self._address = address
        self._dice = random.Random(seed)
        self._framer = Framer(gbt26875.cut, limit=gbt26875.MAX_FRAME)
        self._heartbeat = Rhythm(heartbeat_s, heartbeat_s, jitter=0.1)
        self._serial = self._dice.randrange(0xF000)
        self._alarms: set[str] = set()
        self._has_mains = True
        self._waiting: dict[int, _Waiting] = {}
        self._is_up = False
        self.answered: list[float] = []
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """A heartbeat, then what nobody has confirmed, alarms first."""
        self._is_up = True
        self._framer = Framer(gbt26875.cut, limit=gbt26875.MAX_FRAME)
        waiting = sorted(self._waiting.values(), key=lambda one: not one.is_alarm)
        for one in waiting:
            one.tries, one.again.due_s = 1, now.s + AGAIN_S
        self._heartbeat.due_s = now.s + self._heartbeat.every_s
        self._plan()
        return _act([self._alive(now), *(one.frame for one in waiting)])

    def down(self, now: Moment) -> None:
        """What was not confirmed waits."""
        self._is_up = False
        self._plan()

    def step(self, now: Moment) -> Act:
        """Heartbeats, repetitions."""
        out: list[bytes] = []
        for serial, one in list(self._waiting.items()):
            if not self._is_up or one.tries > TRIES or not one.again.take(now):
                continue
            one.tries += 1
            if one.tries <= TRIES:
                out.append(one.frame)
            elif not one.is_alarm:
                del self._waiting[serial]
        if self._heartbeat.take(now, self._dice.random()) and self._is_up:
            out.append(self._alive(now))
        self._plan()
        return _act(out)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Confirmations end repetitions, a denial asks for one; queries are answered, the rest is confirmed."""
        out = []
        for raw in self._framer.feed(data):
            if isinstance(raw, Reject):
                continue
            try:
                message = gbt26875.decode(raw)
            except RemoteProtocolError:
                continue
            if message.command == gbt26875.Command.CONFIRM:
                one = self._waiting.pop(message.serial, None)
                if one is not None and one.is_alarm:
                    self.answered.append(now.s - one.since_s)
            elif message.command == gbt26875.Command.DENY and message.serial in self._waiting:
                self._waiting[message.serial].again.due_s = now.s
            elif message.command in (gbt26875.Command.REQUEST, gbt26875.Command.CONTROL):
                out.append(self._answer(message, now))
        self._plan()
        return _act(out)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`smoke`, `gas`, `heat`, `fire`, `sos` and their `_gone`, `power_cut`, `power_back`, `reset`."""
        name = verb.removesuffix("_gone")
        if name in PARTS:
            is_on = verb == name
            # A button is pressed as often as somebody presses it.
            if is_on == (name in self._alarms) and name != "sos":
                return NOTHING
            (self._alarms.add if is_on else self._alarms.discard)(name)
            return self._send([self._part(name, now)], now, (begun if is_on else ended)(PARTS[name][3]), is_alarm=is_on)
        if verb in ("power_cut", "power_back") and self._has_mains != (verb == "power_back"):
            self._has_mains = verb == "power_back"
            state = objects.UnitState(NORMAL | (0 if self._has_mains else MAINS_FAULT), now.ms + OFFSET_MS)
            return self._send([state], now, (ended if self._has_mains else begun)(_K.POWER_CUT), is_alarm=True)
        if verb == "reset":
            facts = [ended(PARTS[name][3]) for name in sorted(self._alarms)]
            self._alarms.clear()
            return self._send([objects.UnitOperation(1, 7, now.ms + OFFSET_MS)], now, begun(_K.DEVICE_RESET), *facts, is_alarm=False)
        return NOTHING

    def _part(self, name: str, now: Moment) -> objects.PartState:
        kind, loop, text, _ = PARTS[name]
        state = NORMAL | (FIRE if name in self._alarms else 0)
        return objects.PartState(1, 1, kind, 1 << 16 | loop, state, text, now.ms + OFFSET_MS)

    def _send(self, things: list[objects.Object], now: Moment, *facts: Fact, is_alarm: bool) -> Act:
        self._serial = self._serial % 0xFFFF + 1
        frame = self._frame(self._serial, gbt26875.Command.SEND, objects.encode_unit(things), now)
        if len(self._waiting) >= UNCONFIRMED:
            del self._waiting[min(self._waiting, key=lambda serial: (self._waiting[serial].is_alarm, self._waiting[serial].since_s))]
        self._waiting[self._serial] = _Waiting(frame, now, is_alarm=is_alarm)
        self._plan()
        return _act([frame] if self._is_up else [], facts)

    def _answer(self, message: gbt26875.Message, now: Moment) -> bytes:
        answers: dict[int, objects.Object] = {
            81: objects.UnitState(NORMAL | (0 if self._has_mains else MAINS_FAULT), now.ms + OFFSET_MS),
            85: objects.UnitVersion(2, 1),
            88: objects.UnitClock(now.ms + OFFSET_MS),
            91: objects.UnitOperation(0x20, 7, now.ms + OFFSET_MS),
        }
        asked = answers.get(message.unit[0] if message.unit else 0)
        command = gbt26875.Command.CONFIRM if asked is None else gbt26875.Command.ANSWER
        unit = b"" if asked is None else objects.encode_unit([asked])
        return gbt26875.encode(gbt26875.reply(message, command, now.ms + OFFSET_MS, unit))

    def _alive(self, now: Moment) -> bytes:
        return self._frame(0, gbt26875.Command.SEND, b"", now)

    def _frame(self, serial: int, command: gbt26875.Command, unit: bytes, now: Moment) -> bytes:
        return gbt26875.encode(gbt26875.Message(serial, command, unit, self._address, CENTRE, now.ms + OFFSET_MS))

    def _plan(self) -> None:
        repeats = [one.again.due_s for one in self._waiting.values() if one.tries <= TRIES] if self._is_up else []
        self.next_s = min([self._heartbeat.due_s, *repeats])


def _act(frames: list[bytes], facts: tuple[Fact, ...] = ()) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames), facts)
