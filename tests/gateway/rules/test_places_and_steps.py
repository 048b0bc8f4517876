"""Known places indoors, and steps of the day."""

from __future__ import annotations

import pytest

from drivers.api import Instant
from drivers.events import Body, Event, Measurement, Position, WifiAp, seal
from drivers.vocabulary import Quantity, Source
from gateway.rules.contract import Rule
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import RuleEngine
from gateway.rules.indoors import IndoorsRule
from gateway.rules.settings import RuleSettings, read_tables
from gateway.rules.steps import StepsRule

NOON = 1795320000000  # 2026-11-22T12:00 in Shanghai
POINTS = """
[site.indoors]
points = [
  {mac = "AA:BB:CC:00:00:01", place = "home", lat = 31.22, lon = 121.5},
  {mac = "aa-bb-cc-00-00-02", place = "home"},
  {mac = "AA:BB:CC:00:00:03", place = "day centre"},
  {mac = "0C:F3:EE:00:00:09", place = "day centre"},
]
"""


class Table:
    def __init__(self, rule: Rule, toml: str = "") -> None:
        directory = HouseholdDirectory({}, {})
        self.engine = RuleEngine([rule], RuleSettings([rule], directory, read_tables(toml, [rule])), directory)

    def say(self, body: Body, minutes: float = 0) -> list[Body]:
        ms = NOON + int(minutes * 60_000)
        event = Event(device="watch:1", subject="r-1", at_ms=ms, body=body, evidence=str(ms))
        outcome = self.engine.apply(seal([event], received_ms=ms), Instant(ms, ms / 1000))
        assert all(event.subject == "r-1" for event in outcome.events)
        return [event.body for event in outcome.events]


def wifi(*heard: tuple[str, int]) -> Position:
    return Position(source=Source.WIFI, valid=False, wifi=[WifiAp(mac, rssi) for mac, rssi in heard])


def test_the_place_whose_radios_are_heard_most_is_named() -> None:
    table = Table(IndoorsRule(), POINTS)
    [place] = table.say(
        wifi(("aa:bb:cc:00:00:01", -60), ("aa:bb:cc:00:00:02", -70), ("aa:bb:cc:00:00:03", -50), ("ff:00:00:00:00:00", -30))
    )
    assert (place.place, place.lat, place.lon, place.source) == ("home", 31.22, 121.5, Source.WIFI)  # type: ignore[union-attr]
    assert table.say(wifi(("aa:bb:cc:00:00:01", -60)), 5) == [], "an unchanged place is not told at once again"
    [place] = table.say(wifi(("aa:bb:cc:00:00:03", -50)), 6)
    assert (place.place, place.lat) == ("day centre", None)  # type: ignore[union-attr]


def test_a_beacon_names_its_place() -> None:
    [place] = Table(IndoorsRule(), POINTS).say(Position(source=Source.BEACON, beacon="0cf3ee000009".upper(), valid=False)) or [None]
    assert place is None, "addresses are compared with their colons"
    [place] = Table(IndoorsRule(), POINTS).say(Position(source=Source.BEACON, beacon="0c:f3:ee:00:00:09", valid=False))
    assert (place.place, place.source) == ("day centre", Source.BEACON)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        Position(lat=31.0, lon=121.0, wifi=[WifiAp("aa:bb:cc:00:00:01", -60)]),
        Position(source=Source.WIFI, stored=True, wifi=[WifiAp("aa:bb:cc:00:00:01", -60)]),
        Position(source=Source.WIFI, wifi=[WifiAp("00:00:00:00:00:00", -60)]),
    ],
    ids=["a good fix needs no help", "a stored record moves nobody", "unknown radios name nothing"],
)
def test_nothing_is_named_where_nothing_is_known(body: Position) -> None:
    assert Table(IndoorsRule(), POINTS).say(body) == []


def test_a_counter_becomes_the_steps_of_the_day() -> None:
    table = Table(StepsRule())

    def steps(value: float, minutes: float) -> list[float]:
        return [b.value for b in table.say(Measurement(quantity=Quantity.STEPS, value=value), minutes)]  # type: ignore[union-attr]

    assert steps(10_000, 0) == [0]
    assert steps(10_400, 10) == []
    assert steps(10_900, 40) == [900]
    assert steps(50, 80) == [950], "the device began anew"
    assert steps(150, 90) == []
    assert steps(250, 12 * 60 + 5) == [1050], "midnight closes the day with what was not told yet"
    assert steps(350, 12 * 60 + 40) == [200], "and counts anew"
    assert steps(9_000_000, 12 * 60 + 50) == [], "a wild value is no walk"
