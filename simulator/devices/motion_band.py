"""A band that sends raw acceleration, a block a second: rest, walking, and falls, shaped or as somebody recorded them.

A fall is no fact of its own: the band does not know it. The rules of the gateway have to find it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.mqtt.motion_band import Block, encode
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun

Sample = tuple[int, int, int]
UPRIGHT: Sample = (100, 50, 1000)
LYING: Sample = (150, 980, 100)
FREE_FALL: Sample = (100, 100, 250)
BOUNCES: tuple[Sample, ...] = ((1200, 600, 2900), (-900, 1900, 1500), (300, 1400, -600), (600, 1700, 300))
"""The impact and what follows it, milli-g, one for each twentieth of a second."""
FALLS_S, STRIDE_HZ, STRIDE_MG = 0.35, 1.8, 220
NOISE_MG = 15


class MotionBand:
    """`name`: the level in the topic."""

    driver = "motion_band"
    wire = WireKind.MQTT

    def __init__(self, id: str, *, name: str, seed: int, hz: int = 20) -> None:
        self.id = id
        self._topic = f"anhu/band/{name}/acc"
        self._hz = hz
        self._dice = random.Random(seed)
        self._battery = self._dice.randint(40, 100)
        self._block = Rhythm(1.0, self._dice.uniform(0.1, 1.0))
        self._first = 0
        self._posture = UPRIGHT
        self._walks_until_s = 0.0
        self._script: deque[Sample] = deque()
        self._is_pressed = False
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """It speaks as long as it can be heard."""
        self.next_s = self._block.due_s = max(self._block.due_s, now.s)
        return NOTHING

    def down(self, now: Moment) -> None:
        """The client's outbox keeps what could not be sent."""

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """It only speaks."""
        return NOTHING

    def step(self, now: Moment) -> Act:
        """The block of the last second."""
        act = Act((self._say(now),)) if self._block.take(now) else NOTHING
        self.next_s = self._block.due_s
        return act

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`fall` (samples: a recording, [[x, y, z], ...] in milli-g at the rate of the band), `get_up`, `walk` (seconds), `sos`."""
        if verb == "fall":
            self._script.extend(_recorded(args["samples"]) if args.get("samples") else self._shaped())
            self._posture, self._walks_until_s = LYING, 0.0
        elif verb == "get_up":
            self._posture = UPRIGHT
        elif verb == "walk":
            self._walks_until_s = now.s + float(args.get("seconds", 60))
        elif verb == "sos":
            self._is_pressed = True
            return Act((), (begun(OccurrenceKind.SOS),))
        return NOTHING

    def _say(self, now: Moment) -> Parcel:
        samples = [value for number in range(self._hz) for value in self._sample(now.s + number / self._hz)]
        block = Block(tuple(samples), self._first, self._hz, battery=self._battery, is_key_pressed=self._is_pressed)
        self._first += self._hz
        self._is_pressed = False
        return Parcel(encode(block), self._topic)

    def _sample(self, at_s: float) -> Sample:
        if self._script:
            return self._script.popleft()
        x, y, z = self._posture
        if at_s < self._walks_until_s:
            z += round(STRIDE_MG * math.sin(2 * math.pi * STRIDE_HZ * at_s))
        return self._shaken(x), self._shaken(y), self._shaken(z)

    def _shaped(self) -> Iterable[Sample]:
        """Weightless for a third of a second, an impact with bounces; lying still afterwards is the posture."""
        drop = [FREE_FALL] * round(FALLS_S * self._hz)
        bounces = [sample for sample in BOUNCES for _ in range(max(1, round(self._hz / 20)))]
        return [(self._shaken(x), self._shaken(y), self._shaken(z)) for x, y, z in (*drop, *bounces)]

    def _shaken(self, value: int) -> int:
        return value + round(self._dice.gauss(0, NOISE_MG))


def _recorded(rows: Iterable[Any]) -> list[Sample]:
    limit = 32767
    return [(_within(x, limit), _within(y, limit), _within(z, limit)) for x, y, z in rows]


def _within(value: Any, limit: int) -> int:
    return max(-limit, min(limit, round(float(value))))
