"""A place without the internet: access points and beacons that the installer has taught name the room or house.

A wristband indoors hears Wi-Fi and beacons and no satellites. Where what it hears is in the local table (home, day centre, street
committee), the rule adds a position with the name of the place, and its coordinates where they were taught. The raw lists stay in the
device's own event, for a platform that knows more. `anhu places` prints the rows for what a device hears now.
"""

from __future__ import annotations

import msgspec

from drivers.events import Event, Position
from drivers.vocabulary import Source
from gateway.rules.contract import UNCHANGED, Context, Decision, RuleState, Setting, Topic, Values, of_device
from gateway.rules.schedule import MINUTE_MS

WEAKEST_DBM = -95
"""Signal that counts for an access point whose strength is not told."""
BEACON_WEIGHT = 60
"""A beacon is short of range: hearing it says more than a strong access point (35 at -65 dBm)."""


class KnownPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An access point (`mac`) or beacon that stands at `place`; `lat`, `lon` WGS-84 where they were taught."""

    mac: str
    place: str
    lat: float | None = None
    lon: float | None = None


class IndoorsState(RuleState):
    """The place that was told last."""

    place: str | None = None
    told_ms: int = 0


class IndoorsRule:
    """Names the place of a device that hears known radios."""

    name = "indoors"
    title = ("known places indoors", "室内已知地点")
    settings = (
        Setting("points", [], "", "access points and beacons with their place: mac, place, lat, lon", kind=list[KnownPoint]),
        Setting("least", 1, "", "so many of a place must be heard", low=1, high=5),
        Setting("accuracy_m", 40, "m", "accuracy of such a position", "Wi-Fi 30-100 m", low=5, high=500),
        Setting("again_min", 30, "min", "an unchanged place is told again after this", low=1, high=1440),
    )
    state_type = IndoorsState
    listens: frozenset[Topic] | None = frozenset({Position})
    grace_ms = 0
    key = staticmethod(of_device)

    def rests(self, settings: Values) -> bool:
        """Nothing is known that could be heard."""
        return not settings["points"]

    def apply(self, state: IndoorsState, event: Event, context: Context) -> Decision | None:
        """Take an event into the state."""
        body = event.body
        assert isinstance(body, Position)
        if body.stored or (body.source is Source.GNSS and body.valid and body.lat is not None):
            return UNCHANGED
        found = strongest(heard(body), context.settings["points"], context.settings["least"])
        if found is None:
            return UNCHANGED
        again_ms = context.settings["again_min"] * MINUTE_MS
        if found.place == state.place and context.steady_ms - state.told_ms < again_ms:
            return UNCHANGED
        state.place, state.told_ms = found.place, context.steady_ms
        source = Source.BEACON if body.beacon and _plain(body.beacon) == _plain(found.mac) else Source.WIFI
        accuracy = float(context.settings["accuracy_m"])
        place = Position(lat=found.lat, lon=found.lon, source=source, accuracy_m=accuracy, place=found.place)
        return Decision([context.event(place, subject=event.subject)])

    def wake(self, state: IndoorsState, context: Context) -> Decision | None:
        """No timers."""
        return None


def heard(body: Position) -> dict[str, float]:
    """What a position lists, normalised address -> weight."""
    found = {_plain(point.mac): float((point.rssi_dbm if point.rssi_dbm is not None else WEAKEST_DBM) + 100) for point in body.wifi or []}
    if body.beacon:
        found[_plain(body.beacon)] = BEACON_WEIGHT
    return found


def strongest(heard_: dict[str, float], points: list[KnownPoint], least: int) -> KnownPoint | None:
    """The best point of the place whose radios are heard most, None below `least` of them."""
    weights: dict[str, float] = {}
    counts: dict[str, int] = {}
    best: dict[str, tuple[float, KnownPoint]] = {}
    for point in points:
        weight = heard_.get(_plain(point.mac))
        if weight is None:
            continue
        weights[point.place] = weights.get(point.place, 0.0) + weight
        counts[point.place] = counts.get(point.place, 0) + 1
        if point.place not in best or weight > best[point.place][0]:
            best[point.place] = (weight, point)
    places = [place for place, count in counts.items() if count >= least]
    return best[max(places, key=lambda place: (weights[place], place))][1] if places else None


def _plain(address: str) -> str:
    return address.lower().replace("-", ":").replace(" ", "")
