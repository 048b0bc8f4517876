"""Whose reading it is by the badge that is near."""

from __future__ import annotations

from drivers.api import Occurrence, OccurrenceKind, State
from drivers.events import Event
from gateway.inventory import Device, Inventory
from gateway.nearby import MOST_BADGES, Nearby

CUFF = "gatt_health:C8:B2:1E:00:10:01"


def presence(badge: str, place: str | None, subject: str | None, *, state: State = State.START, person: str | None = None) -> Event:
    body = Occurrence(kind=OccurrenceKind.PRESENCE, state=state, place=place, person=person)
    return Event(device=f"ble_badge:{badge}", at_ms=0, body=body, subject=subject)


def reading_of(*events: Event, subject: str = "", place: str = "hall") -> str | None:
    nearby, inventory = (
        Nearby(),
        Inventory([Device(device=CUFF, driver="gatt_health", subject=subject, place=place, options={"nearby": True})]),
    )
    inventory.subject_in = nearby.subject_in
    for event in events:
        nearby.hear(event)
    return inventory.subject_of(CUFF)


def test_the_one_who_is_there_it_is() -> None:
    assert reading_of(presence("wang", "hall", "r-1"), presence("li", "bedroom", "r-2")) == "r-1"


def test_of_two_nobody_is_guessed() -> None:
    both = (presence("wang", "hall", "r-1"), presence("li", "hall", "r-2"))
    assert reading_of(*both) is None
    assert reading_of(*both, subject="flat-3") == "flat-3"


def test_who_went_on_is_not_there_any_more_in_whatever_order_it_is_told() -> None:
    came, went = presence("wang", "bedroom", "r-1"), presence("wang", "hall", "r-1", state=State.END)
    for order in ((went, came), (came, went)):
        assert reading_of(presence("wang", "hall", "r-1"), *order) is None
        assert reading_of(presence("wang", "hall", "r-1"), *order, place="bedroom") == "r-1"


def test_a_reading_is_never_that_of_staff() -> None:
    assert reading_of(presence("aide", "hall", "r-1", person="s-7")) is None


def test_other_devices_keep_whom_they_belong_to() -> None:
    inventory = Inventory([Device(device=CUFF, driver="gatt_health", subject="r-9", place="hall")])
    inventory.subject_in = lambda place: "r-1"
    assert inventory.subject_of(CUFF) == "r-9"


def test_what_is_remembered_is_bounded() -> None:
    nearby = Nearby()
    for number in range(MOST_BADGES + 5):
        nearby.hear(presence(str(number), f"room {number}", f"r-{number}"))
    assert nearby.subject_in("room 0") is None
    assert nearby.subject_in(f"room {MOST_BADGES + 4}") == f"r-{MOST_BADGES + 4}"
