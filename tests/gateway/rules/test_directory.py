"""The in-memory directory: households and the nearest actuator."""

from __future__ import annotations

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, Verb
from gateway.rules.contract import DeviceFacts, PersonFacts, owner
from gateway.rules.directory import HouseholdDirectory

DIRECTORY = HouseholdDirectory(
    {
        "tv:other": DeviceFacts("h-2", "hall", role="tv"),
        "tv:home": DeviceFacts("h-1", "hall", role="tv"),
        "speaker:own": DeviceFacts("p", None, role="speaker"),
        "modem:site": DeviceFacts(None, None, role="modem"),
        "water": DeviceFacts("h-1", "kitchen", role="water_valve"),
    },
    {"p": PersonFacts((), "zh", "h-1"), "q": PersonFacts((), "en", "h-2"), "r": PersonFacts((), "zh", "h-2")},
)


def test_the_persons_own_actuator_comes_before_the_homes_and_the_sites() -> None:
    assert DIRECTORY.actuators("p", Verb.MESSAGE) == ("speaker:own", "tv:home")
    assert DIRECTORY.actuators("h-2", Verb.MESSAGE) == ("tv:other",)
    assert DIRECTORY.actuators("p", Verb.SEND_SMS) == ("modem:site",)
    assert DIRECTORY.actuators("p", Verb.VALVE) == ("water",)
    assert DIRECTORY.actuators("p", Verb.FACTORY_RESET) == ()


def test_a_household_is_found_from_the_home_and_from_the_person() -> None:
    assert DIRECTORY.household("h-2") == DIRECTORY.household("q") == ("q", "r")
    assert DIRECTORY.household("nowhere") == ()


def test_a_room_sensor_speaks_of_who_lives_alone_and_else_of_the_place() -> None:
    def event(subject: str | None) -> Event:
        return Event(device="pir:1", at_ms=0, body=Occurrence(kind=OccurrenceKind.MOTION), subject=subject)

    assert [owner(event(subject), DIRECTORY) for subject in ("h-1", "h-2", "p", "h-9", None)] == ["p", "h-2", "p", "h-9", "pir:1"]
