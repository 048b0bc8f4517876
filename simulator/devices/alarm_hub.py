"""An alarm hub that reports by SIA DC-09 (SIA-DCS or Contact ID) over TCP or UDP.

A message waits for ACK and is sent again, with the same number and text, after 20 s. NAK brings the receiver's time: the hub sets
its clock and says it anew. A link test goes out in quiet times.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.building import contact_id, sia_dc09
from protocols.building.sia_dc09 import Message, SiaEvent
from protocols.errors import Reject, RemoteProtocolError
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import Fact, begun, ended

AGAIN_S = 20.0
UNANSWERED = 64
_K = OccurrenceKind

EVENTS: dict[str, tuple[str, int, str, str, OccurrenceKind]] = {
    "sos": ("PA", contact_id.NEW, "120", "001", _K.SOS),
    "medical": ("MA", contact_id.NEW, "100", "002", _K.MEDICAL),
    "fire": ("FA", contact_id.NEW, "110", "003", _K.FIRE),
    "fire_gone": ("FH", contact_id.RESTORE, "110", "003", _K.FIRE),
    "gas": ("GA", contact_id.NEW, "151", "004", _K.GAS),
    "gas_gone": ("GH", contact_id.RESTORE, "151", "004", _K.GAS),
    "leak": ("WA", contact_id.NEW, "154", "005", _K.WATER_LEAK),
    "leak_gone": ("WH", contact_id.RESTORE, "154", "005", _K.WATER_LEAK),
    "power_cut": ("AT", contact_id.NEW, "301", "000", _K.POWER_CUT),
    "power_back": ("AR", contact_id.RESTORE, "301", "000", _K.POWER_CUT),
}
"""Verb -> SIA code, Contact ID qualifier and code, zone, what it means."""


class _Waiting:
    def __init__(self, message: Message, now: Moment) -> None:
        self.message = message
        self.since_s = now.s
        self.again = Rhythm(AGAIN_S, now.s + AGAIN_S)


class AlarmHub:
    """`account`: 3 to 16 hex digits. `dialect`: SIA-DCS or ADM-CID. `answered`: seconds from an alarm to its ACK."""

    driver = "dc09"

    def __init__(
        self, id: str, *, account: str, seed: int, wire: WireKind = WireKind.TCP, dialect: str = "SIA-DCS", test_s: float = 60.0
    ) -> None:
        self.id = id
        self.wire = wire
        self._account = account
        self._dialect = dialect
        self._dice = random.Random(seed)
        self._stream = sia_dc09.Dc09Stream()
        self._test = Rhythm(test_s, self._dice.uniform(0.3, 2.0), jitter=0.1)
        self._number = self._dice.randrange(9000)
        self._clock_ms = 0
        """What NAK taught: to be added to the hub's own time."""
        self._is_up = False
        self._waiting: dict[str, _Waiting] = {}
        self.answered: list[float] = []
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """What nobody has answered, oldest first."""
        self._is_up = True
        self._stream = sia_dc09.Dc09Stream()
        for one in self._waiting.values():
            one.again.due_s = now.s + AGAIN_S
        self._plan()
        return _act([sia_dc09.encode(one.message) for one in self._waiting.values()])

    def down(self, now: Moment) -> None:
        """Messages wait."""
        self._is_up = False
        self._plan()

    def step(self, now: Moment) -> Act:
        """Repetitions, then the link test."""
        out = [sia_dc09.encode(one.message) for one in self._waiting.values() if self._is_up and one.again.take(now)]
        if self._test.take(now, self._dice.random()) and self._is_up:
            out.append(sia_dc09.encode(self._message("NULL", "", now)))
        self._plan()
        return _act(out)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """ACK and DUH end a message, NAK sets the clock."""
        out: list[bytes] = []
        found = sia_dc09.split_datagram(data) if self.wire is WireKind.UDP else self._stream.receive(data)
        for raw in found:
            try:
                message = None if isinstance(raw, Reject) else sia_dc09.decode(raw)
            except RemoteProtocolError:
                continue
            if message is not None and message.token in ("ACK", "DUH"):
                one = self._waiting.pop(message.sequence, None)
                if one is not None:
                    self.answered.append(now.s - one.since_s)
            elif message is not None and message.token == "NAK" and message.at_ms is not None:  # noqa: S105  # a message name
                self._clock_ms = message.at_ms - now.ms
                out += self._anew(now)
        self._plan()
        return _act(out)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """The verbs of `EVENTS`."""
        if verb not in EVENTS:
            return NOTHING
        code, qualifier, number, zone, kind = EVENTS[verb]
        if self._dialect == "ADM-CID":
            text = contact_id.encode(contact_id.ContactId(qualifier, number, "01", zone))
        else:
            text = sia_dc09.sia_block([SiaEvent(code, zone, modifiers=(("ri", "1"),))])
        message = self._message(self._dialect, text, now)
        if len(self._waiting) >= UNANSWERED:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[message.sequence] = _Waiting(message, now)
        self._plan()
        fact = (ended if verb.endswith(("_gone", "_back")) else begun)(kind)
        return _act([sia_dc09.encode(message)] if self._is_up else [], (fact,))

    def _message(self, token: str, data: str, now: Moment) -> Message:
        self._number = self._number % 9999 + 1
        at_ms = now.ms + self._clock_ms
        return Message(token=token, sequence=f"{self._number:04d}", receiver="1", line="0", account=self._account, data=data, at_ms=at_ms)

    def _anew(self, now: Moment) -> list[bytes]:
        """Everything that waits, with the time as it is known now: once for each answer of the receiver."""
        out = []
        for one in self._waiting.values():
            one.message = replace(one.message, at_ms=now.ms + self._clock_ms)
            one.again.due_s = now.s + AGAIN_S
            out.append(sia_dc09.encode(one.message))
        return out

    def _plan(self) -> None:
        repeats = [one.again.due_s for one in self._waiting.values()] if self._is_up else []
        self.next_s = min([self._test.due_s, *repeats])


def _act(frames: list[bytes], facts: tuple[Fact, ...] = ()) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames), facts)
