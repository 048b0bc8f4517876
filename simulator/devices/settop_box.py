"""A television set-top box: SOS key, service menu, reminders that somebody answers, puts off or leaves unanswered, over MQTT.

A message is sent again until its `ack` comes down. What comes down is shown and answered: at once with `accepted`, and, where a
person is asked, after the time that the person needs.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from drivers.vocabulary import OccurrenceKind
from protocols.errors import RemoteProtocolError
from protocols.mqtt.settop import BOARDS, DownMessage, decode_down, encode_up
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import Fact, begun, ended

AGAIN_S = 10.0
SLOWEST_S = 300.0
"""What is no call for help is repeated at doubling intervals up to this."""
UNANSWERED = 50
SHOWN = 20
"""Reminders on the screen at once; an older one goes unanswered."""


ANSWERS = {
    "confirm": OccurrenceKind.REMINDER_CONFIRMED,
    "snooze": OccurrenceKind.REMINDER_SNOOZED,
    "none": OccurrenceKind.REMINDER_UNANSWERED,
}


class _Asked(NamedTuple):
    at_s: float
    message: DownMessage


class SettopBox:
    """`name`: the level in the topic. `ponders_s`: how long the person takes to answer; `answer`: confirm, snooze or none.

    After a snooze the box reminds again by itself.
    """

    driver = "settop"
    wire = WireKind.MQTT

    def __init__(
        self, id: str, *, name: str, seed: int, heartbeat_s: float = 60.0, ponders_s: float = 2.0, answer: str = "confirm"
    ) -> None:
        self.id = id
        self.down_topic = f"anhu/tv/{name}/down"
        self._name = name
        self._topic = f"anhu/tv/{name}/up"
        self._dice = random.Random(seed)
        self._heartbeat = Rhythm(heartbeat_s, self._dice.uniform(1.0, 5.0), jitter=0.05)
        self._ponders_s = ponders_s
        self._answers = [answer]
        self._minutes = 10
        self._number = 0
        self._volume = 30
        self._calls = False
        self._greeted = False
        self._waiting: dict[str, tuple[bytes, Rhythm]] = {}
        self._asked: list[_Asked] = []
        self.shown: list[DownMessage] = []
        """What the person saw, newest last (bounded)."""
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """The box says hello when it starts."""
        if self._greeted:
            return NOTHING
        self._greeted = True
        return Act((self._say(now, "hello", model="SIM-TV1", firmware="1.0.3", serial=self._name, power="on"),))

    def down(self, now: Moment) -> None:
        """The client's outbox keeps what could not be sent."""

    def step(self, now: Moment) -> Act:
        """Answers of the person, repetitions, heartbeat."""
        parcels = [Parcel(frame, self._topic) for frame, again in self._waiting.values() if _again(again, frame, now)]
        facts: list[Fact] = []
        for asked in [asked for asked in self._asked if asked.at_s <= now.s]:
            self._asked.remove(asked)
            act = self._reply(asked.message, now)
            parcels += act.parcels
            facts += act.facts
        if self._heartbeat.take(now, self._dice.random()):
            parcels.append(self._say(now, "heartbeat", uptime_s=int(now.s), rssi_dbm=-55, volume=self._volume, power="on"))
        self._plan()
        return Act(tuple(parcels), tuple(facts))

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Acknowledgements, reminders, messages, volume."""
        try:
            message = decode_down(data)
        except RemoteProtocolError:
            return NOTHING
        if message.type == "ack":
            self._waiting.pop(message.fields["ref"], None)
            self._plan()
            return NOTHING
        self.shown = [*self.shown[-99:], message]
        if message.type in ("remind", "video_request"):
            self._asked = [*self._asked[-SHOWN + 1 :], _Asked(now.s + self._ponders_s, message)]
            self._plan()
            return Act((self._say(now, "result", re=message.command, status="accepted"),))
        if message.type == "volume":
            self._volume = message.fields["percent"]
        return Act((self._say(now, "result", re=message.command, status="done"),))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`sos`, `sos_cancel`, `service` (item: a board of the menu).

        `answers`: from now on the person does that with reminders (how: list of confirm, snooze, none, the last one for good;
        minutes: of a snooze).
        """
        if verb == "answers":
            self._answers = [how for how in args.get("how", ()) if how in ANSWERS] or ["confirm"]
            self._minutes = int(args.get("minutes", self._minutes))
            return NOTHING
        if verb == "sos":
            self._calls = True
            return Act((self._say(now, "sos", state="start", key="red"),), (begun(OccurrenceKind.SOS),))
        if verb == "sos_cancel" and self._calls:
            self._calls = False
            return Act((self._say(now, "sos", state="cancel"),), (ended(OccurrenceKind.SOS),))
        if verb == "service" and args.get("item") in BOARDS:
            return Act((self._say(now, "service", board=args["item"]),), (Fact("service_request", args["item"]),))
        return NOTHING

    def _reply(self, message: DownMessage, now: Moment) -> Act:
        if message.type == "video_request":
            return Act((self._say(now, "consent", re=message.command, answer="accept"),), (begun(OccurrenceKind.VIDEO_CONSENT),))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        more: dict[str, Any] = {"kind": message.fields["kind"]} if "kind" in message.fields else {}
        if answer == "snooze":
            more["minutes"] = self._minutes
            self._asked = [*self._asked[-SHOWN + 1 :], _Asked(now.s + self._minutes * 60 + self._ponders_s, message)]
        parcel = self._say(now, "reminder", re=message.command, answer=answer, **more)
        return Act((parcel,), (begun(ANSWERS[answer]),))

    def _say(self, now: Moment, kind: str, /, **fields: Any) -> Parcel:
        self._number += 1
        ref = f"{self._name}-{self._number}"
        frame = encode_up(kind, ref=ref, at_ms=now.ms, **fields)
        if kind != "heartbeat":
            if len(self._waiting) >= UNANSWERED:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[ref] = (frame, Rhythm(AGAIN_S, now.s + AGAIN_S))
        self._plan()
        return Parcel(frame, self._topic)

    def _plan(self) -> None:
        repeats = [again.due_s for _, again in self._waiting.values()]
        self.next_s = min(self._heartbeat.due_s, *repeats, *(asked.at_s for asked in self._asked), NEVER_S)


def _again(rhythm: Rhythm, frame: bytes, now: Moment) -> bool:
    if b'"type":"sos"' not in frame and now.s >= rhythm.due_s:
        rhythm.every_s = min(rhythm.every_s * 2, SLOWEST_S)
    return rhythm.take(now)
