"""A radar over the bed (MicRadar R60ABD1): in or out of bed, breathing, heart, sleep stage; answers queries, echoes settings.

Until somebody has lain down it says that it watches no bed: an empty bed at power-on is no exit.
"""

from __future__ import annotations

import random
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import LocalProtocolError, Reject
from protocols.serial import micradar
from protocols.serial.micradar import Message, encode, report
from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

TEXTS = {"model": "R60ABD1", "product_id": "SIM0002", "hardware": "V1.0", "firmware": "G60BD1SYv010309"}
_K = OccurrenceKind


class BedRadar:
    """Hangs over one bed. `quiet_s`: heartbeat; `vital_s`: breath and heart while somebody lies there (3 s on the device)."""

    driver = "micradar"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, seed: int, quiet_s: float = 60.0, vital_s: float = 3.0) -> None:
        self.id = id
        self._dice = random.Random(seed)
        self._connection = micradar.Connection(requests=True)
        self._heartbeat = Rhythm(quiet_s, 0.2)
        self._vitals = Rhythm(vital_s, 0.5, jitter=0.05)
        self._bed = "none"
        self._is_breathing = True
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """The radar says what it sees from power-on, whoever listens."""
        return _act(report("init_done"), report("bed", bed=self._bed), report("presence", presence=self._bed == "in"))

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """Heartbeat; breath and heart of who lies there, now and then not measurable."""
        out = [report("heartbeat")] if self._heartbeat.take(now) else []
        if self._vitals.take(now, self._dice.random()) and self._bed == "in":
            is_measurable = self._is_breathing and self._dice.random() > 0.1
            out.append(report("breath_state", state="normal" if self._is_breathing else "none"))
            out.append(report("breath_rate", value=self._dice.randint(13, 17) if is_measurable else 0))
            out.append(report("heart_rate", value=self._dice.randint(58, 66) if is_measurable else 0))
            out.append(report("breath_wave", values=[128 + self._dice.randint(-40, 40) for _ in range(5)]))
        self.next_s = min(self._heartbeat.due_s, self._vitals.due_s)
        return _act(*out)

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answers to queries, echoes of settings."""
        out = [self._answer(found) for found in self._connection.receive(data) if not isinstance(found, Reject)]
        return _act(*(frame for frame in out if frame))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`bed_in`, `bed_out`, `breath_stop`, `breath_back`."""
        if verb == "bed_in" and self._bed != "in":
            facts = [begun(_K.PRESENCE), begun(_K.BED_ENTRY)] + ([ended(_K.BED_EXIT)] if self._bed == "out" else [])
            self._bed = "in"
            return Act(_act(report("presence", presence=True), report("bed", bed="in")).parcels, tuple(facts))
        if verb == "bed_out" and self._bed == "in":
            self._bed = "out"
            facts = [ended(_K.BED_ENTRY), begun(_K.BED_EXIT), ended(_K.PRESENCE)]
            return Act(_act(report("bed", bed="out"), report("presence", presence=False)).parcels, tuple(facts))
        if verb in ("breath_stop", "breath_back") and self._bed == "in" and self._is_breathing != (verb == "breath_back"):
            self._is_breathing = verb == "breath_back"
            fact = (ended if self._is_breathing else begun)(_K.BREATHING_ABNORMAL)
            return Act(_act(report("breath_state", state="normal" if self._is_breathing else "none")).parcels, (fact,))
        return NOTHING

    def _answer(self, request: Message) -> bytes:
        if request.data != micradar.QUERY_DATA or not request.cmd & micradar.ANSWER_BIT:
            return encode(request) if request.ctrl not in micradar.FORBIDDEN else b""
        values: dict[str, dict[str, Any]] = {
            **{text: {"text": value} for text, value in TEXTS.items()},
            "presence": {"presence": self._bed == "in"},
            "bed": {"bed": self._bed},
            "heartbeat": {},
        }
        for name, given in values.items():
            if micradar.query(name)[2:4] == bytes((request.ctrl, request.cmd)):
                try:
                    return report(name, is_reply=True, **given)
                except LocalProtocolError:
                    return b""
        return b""


def _act(*frames: bytes) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames))
