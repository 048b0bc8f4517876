"""A fall radar on a serial line (MicRadar R60AFD1): heartbeat, presence, motion, falls; answers queries, echoes settings."""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import LocalProtocolError, Reject
from protocols.serial import micradar
from protocols.serial.micradar import Message, encode, report
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

TEXTS = {"model": "R60AFD1", "product_id": "SIM0001", "hardware": "V1.2", "firmware": "G60FD1SYv010104"}
SAID_AGAIN_S = 3.0
"""The fall state is reported again this often while the person lies, so that one broken frame hides nothing."""


class FallRadar:
    """Hangs on the wall of one room. `quiet_s`: interval of the heartbeat (60 s on the device)."""

    driver = "micradar"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, seed: int, quiet_s: float = 60.0, moves_s: float = 1.0) -> None:
        self.id = id
        self._dice = random.Random(seed)
        self._connection = micradar.Connection(requests=True)
        self._heartbeat = Rhythm(quiet_s, 0.2)
        self._moves = Rhythm(moves_s, self._dice.uniform(0.3, 1.0), jitter=0.1)
        self._again = Rhythm(SAID_AGAIN_S, 0.0)
        self._is_present = False
        self._motion = "none"
        self._is_fallen = False
        self._settings: dict[tuple[int, int], bytes] = {}
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """The radar speaks from power-on, whoever listens: first that it is ready, then its states."""
        return _act(report("init_done"), self._presence(), report("motion", motion=self._motion), report("fall", fall=self._is_fallen))

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """Heartbeat, movement while somebody is there, the fall state while somebody lies."""
        out = []
        if self._heartbeat.take(now):
            out.append(report("heartbeat"))
        if self._is_present and self._moves.take(now, self._dice.random()):
            level = {"none": 0, "still": self._dice.randint(1, 4), "active": self._dice.randint(15, 80)}[self._motion]
            out.append(report("body_param", value=level))
        if self._is_fallen and self._again.take(now):
            out.append(report("fall", fall=True))
        self._plan()
        return _act(*out)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answers to queries, echoes of settings."""
        out = [self._answer(found) for found in self._connection.receive(data) if not isinstance(found, Reject)]
        return _act(*(frame for frame in out if frame))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`enter`, `leave`, `active`, `still`, `fall`, `get_up`."""
        if verb == "fall" and not self._is_fallen:
            self._is_fallen = True
            self._again.due_s = now.s + SAID_AGAIN_S
            self._plan()
            came = NOTHING if self._is_present else self._enter(now)
            return Act((*came.parcels, *_act(report("fall", fall=True)).parcels), (*came.facts, begun(OccurrenceKind.FALL)))
        if verb == "get_up" and self._is_fallen:
            self._is_fallen = False
            return Act(_act(report("fall", fall=False)).parcels, (ended(OccurrenceKind.FALL),))
        if verb == "enter" and not self._is_present:
            return self._enter(now)
        if verb == "leave" and self._is_present:
            self._is_present = False
            still = self._move("none")
            return Act((*_act(self._presence()).parcels, *still.parcels), (ended(OccurrenceKind.PRESENCE), *still.facts))
        if verb in ("active", "still") and self._is_present:
            return self._move(verb)
        return NOTHING

    def _plan(self) -> None:
        moves_s = self._moves.due_s if self._is_present else NEVER_S
        self.next_s = min(self._heartbeat.due_s, moves_s, self._again.due_s if self._is_fallen else NEVER_S)

    def _enter(self, now: Moment) -> Act:
        self._is_present = True
        self._moves.due_s = max(self._moves.due_s, now.s + self._moves.every_s)
        self._plan()
        moved = self._move("active")
        return Act((*_act(self._presence()).parcels, *moved.parcels), (begun(OccurrenceKind.PRESENCE), *moved.facts))

    def _move(self, motion: str) -> Act:
        was, self._motion = self._motion, motion
        if motion == was:
            return NOTHING
        facts = {(True, False): (begun(OccurrenceKind.MOTION),), (False, True): (ended(OccurrenceKind.MOTION),)}
        return Act(_act(report("motion", motion=motion)).parcels, facts.get((motion == "active", was == "active"), ()))

    def _presence(self) -> bytes:
        return report("presence", presence=self._is_present)

    def _answer(self, request: Message) -> bytes:
        key = request.ctrl, request.cmd
        if request.data != micradar.QUERY_DATA or not request.cmd & micradar.ANSWER_BIT:
            if key in micradar.TABLE:
                self._settings[key] = request.data
            return encode(request) if request.ctrl not in micradar.FORBIDDEN else b""
        for name, (ctrl, cmd) in micradar.CODES.items():
            if micradar.query(name)[2:4] == bytes(key):
                return self._value(name, ctrl, cmd)
        return b""

    def _value(self, name: str, ctrl: int, cmd: int) -> bytes:
        values: dict[str, dict[str, Any]] = {
            **{text: {"text": value} for text, value in TEXTS.items()},
            "presence": {"presence": self._is_present},
            "motion": {"motion": self._motion},
            "fall": {"fall": self._is_fallen},
            "heartbeat": {},
        }
        if name in values:
            return report(name, is_reply=True, **values[name])
        stored = self._settings.get((ctrl, cmd))
        if stored is None:
            return b""
        try:
            return encode(Message(ctrl, cmd | micradar.ANSWER_BIT, stored))
        except LocalProtocolError:
            return b""


def _act(*frames: bytes) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames))
