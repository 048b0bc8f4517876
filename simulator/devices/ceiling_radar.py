"""A TinyFrame radar under the ceiling: MR60FDA2 (falls) or LD6002B (four zones). Answers queries, takes settings, stands in noise.

The radar itself waits before it calls something a fall (its sensitivity is a number of frames), so the fact is written down when it
notices. The flag stays while the body is low and is repeated with every report.
"""

from __future__ import annotations

import random
import struct
from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject
from protocols.serial import tinyframe as tf
from simulator.clock import Moment
from simulator.devices.device import NOTHING, Act, Parcel, Rhythm, WireKind
from simulator.truth import begun, ended

_K = OccurrenceKind
NOISE_SHARE = 0.02
"""Reports behind which the line carries a few wrong bytes, start bytes among them."""
_SETTINGS = {tf.SET_HEIGHT: 4, tf.SET_THRESHOLD: 4, tf.SET_SENSITIVITY: 4, tf.SET_AREA: 16, tf.HOLD: 4, tf.USER_LOG: 4, tf.CONTROL: 4}


class CeilingRadar:
    """`model`: mr60fda2 or ld6002b. `every_s` between two reports."""

    driver = "tinyframe"
    wire = WireKind.SERIAL

    def __init__(self, id: str, *, model: str = "mr60fda2", seed: int, every_s: float = 1.0) -> None:
        self.id = id
        self._model = model
        self._dice = random.Random(seed)
        self._connection = tf.Connection(model)
        self._report = Rhythm(every_s, 0.2, jitter=0.05)
        self._number = 0
        self._height_m, self._threshold_m, self._sensitivity = 3.0, 0.6, 3
        self._is_present = self._is_low = False
        self._zones = [0, 0, 0, 0]
        self.next_s = 0.0

    def up(self, now: Moment) -> Act:
        """It speaks from power-on."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """A UART knows nothing of the other end."""

    def step(self, now: Moment) -> Act:
        """The states, again and again."""
        due = self._report.take(now, self._dice.random())
        self.next_s = self._report.due_s
        return self._say() if due else NOTHING

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Parameters and firmware are told, settings are taken and acknowledged."""
        found = [message for message in self._connection.receive(data) if not isinstance(message, Reject)]
        return _act(*(answer for message in found if (answer := self._answer(message))))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`enter` (zone 1..4), `leave`, `fall`, `get_up`."""
        if verb == "enter" and not self._is_present:
            self._is_present = True
            zones = [begun(_K.ZONE_OCCUPIED)] if self._has_zones else []
            self._zones[int(args.get("zone", 1)) - 1] = 1
            return Act(self._say().parcels, (begun(_K.PRESENCE), *zones))
        if verb == "leave" and self._is_present:
            self._is_present = False
            zones = [ended(_K.ZONE_OCCUPIED) for zone in self._zones if zone and self._has_zones]
            self._zones = [0, 0, 0, 0]
            return Act(self._say().parcels, (ended(_K.PRESENCE), *zones))
        if verb in ("fall", "get_up") and self._is_low != (verb == "fall") and not self._has_zones:
            self._is_low = verb == "fall"
            came = () if self._is_present else (begun(_K.PRESENCE),)
            self._is_present = True
            return Act(self._say().parcels, (*came, (begun if self._is_low else ended)(_K.FALL)))
        return NOTHING

    @property
    def _has_zones(self) -> bool:
        return self._model in tf.ZONE_MODELS

    def _say(self) -> Act:
        self._number = (self._number + 1) & 0x7FFF
        if self._has_zones:
            frames = [tf.encode_number(tf.ZONES, *self._zones, id=self._number)]
        else:
            states = ((tf.PRESENCE, self._is_present), (tf.FALL, self._is_low))
            frames = [tf.encode_flag(kind, is_on, id=self._number) for kind, is_on in states]
        if self._dice.random() < NOISE_SHARE:
            frames.append(bytes(self._dice.choice((0x01, 0x00, self._dice.randrange(256))) for _ in range(self._dice.randint(1, 6))))
        return _act(*frames)

    def _answer(self, message: tf.Message) -> bytes:
        kind, ident = message.type, message.id | 0x8000
        if kind == tf.FIRMWARE:
            return tf.encode(kind, bytes((1, 1, 6, 12)), id=ident)
        if kind == tf.PARAMETERS and not message.data and not self._has_zones:
            return tf.encode_number(kind, self._height_m, self._threshold_m, self._sensitivity, id=ident)
        if _SETTINGS.get(kind) != len(message.data) or not message.data:
            return b""
        if kind == tf.SET_HEIGHT:
            (self._height_m,) = struct.unpack("<f", message.data)
        elif kind == tf.SET_THRESHOLD:
            (self._threshold_m,) = struct.unpack("<f", message.data)
        elif kind == tf.SET_SENSITIVITY:
            (self._sensitivity,) = struct.unpack("<I", message.data)
        return tf.encode_flag(kind, True, id=ident)


def _act(*frames: bytes) -> Act:
    return Act(tuple(Parcel(frame) for frame in frames))
