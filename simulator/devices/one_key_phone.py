"""A telephone with one large key: it calls the gateway's modem, rings five times, and gives up. Some can write."""

from __future__ import annotations

from typing import Any

from drivers.vocabulary import OccurrenceKind
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, WireKind
from simulator.devices.gsm_modem import HANG_UP, RING, TEXT
from simulator.truth import Fact, begun

RING_S = 5.0
RINGS = 5
_K = OccurrenceKind


class OneKeyPhone:
    """`number` as the network shows it. `key`: what its call means to the gateway: sos, care, or "" for a number that nobody knows."""

    driver = "gsm_phone"
    wire = WireKind.GSM

    def __init__(self, id: str, *, number: str, key: str = "sos") -> None:
        self.id = id
        self.number = number
        self._key = key
        self._rings_left = 0
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """There is coverage."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """There is none."""

    def step(self, now: Moment) -> Act:
        """The next ring, or the end."""
        if now.s < self.next_s:
            return NOTHING
        if self._rings_left:
            self._rings_left -= 1
            self.next_s = now.s + RING_S
            return self._do(RING)
        self.next_s = NEVER_S
        return self._do(HANG_UP, *self._known(begun(_K.CALL_ENDED)))

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Nobody calls it."""
        return NOTHING

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`sos` (the key is pressed: a call, or what `text` says), `message` (text)."""
        if verb == "sos" and not self._rings_left and self.next_s == NEVER_S:
            self._rings_left, self.next_s = RINGS - 1, now.s + RING_S
            meant = begun(_K.SOS) if self._key == "sos" else Fact("service_request", "care_call")
            return self._do(RING, *self._known(meant, begun(_K.INCOMING_CALL)))
        if verb == "message":
            text = str(args.get("text", "救命，我摔倒了"))
            facts = [begun(_K.MESSAGE_RECEIVED)]
            facts += [begun(kind) for words, kind in WORDS if any(word in text for word in words)]
            return self._do(TEXT + text.encode(), *self._known(*facts))
        return NOTHING

    def _known(self, *facts: Fact) -> tuple[Fact, ...]:
        return facts if self._key else ()

    def _do(self, data: bytes, *facts: Fact) -> Act:
        return Act((Parcel(data, self.number),), facts)


WORDS = ((("救命", "求助", "SOS"), _K.SOS), (("摔倒", "跌倒"), _K.FALL))
"""Words that anybody would understand, and what they mean."""
