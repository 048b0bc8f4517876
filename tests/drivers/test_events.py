from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import api
from drivers.api import Frame, Instant
from drivers.events import (
    Acceleration,
    DeviceHealth,
    Event,
    Measurement,
    Occurrence,
    Position,
    ServiceRequest,
    document,
    epoch_ms,
    event_from_json,
    event_id,
    event_json,
    lane_of,
    rfc3339,
    seal,
)
from drivers.vocabulary import OCCURRENCES, QUANTITIES, VERBS, Lane, OccurrenceKind, Quantity, Severity, State, TimeQuality, Trust, Verb

NOW = Instant(1795336215000, 1000.0)
text = st.text(max_size=20)
bodies = st.one_of(
    st.builds(
        Occurrence, kind=st.sampled_from(OccurrenceKind), state=st.sampled_from(State), detail=st.none() | text, stored=st.booleans()
    ),
    st.builds(Measurement, quantity=st.sampled_from(Quantity), value=st.floats(-1e6, 1e6), channel=st.none() | text),
    st.builds(Position, lat=st.floats(-90, 90), lon=st.floats(-180, 180), valid=st.booleans()),
    st.builds(DeviceHealth, battery_percent=st.none() | st.integers(0, 100), firmware=st.none() | text),
    st.builds(ServiceRequest, item=text),
    st.builds(Acceleration, hz=st.just(20.0), first=st.integers(0, 9), samples=st.lists(st.integers(-16000, 16000), max_size=9)),
)
events = st.builds(
    Event,
    device=text,
    at_ms=st.integers(0, 4_000_000_000_000),
    body=bodies,
    subject=st.none() | text,
    cause=st.none() | st.just("01M81613H0VX3GAFADNA1K9FRD"),
    ref=st.none() | text,
    evidence=st.none() | st.just("4adf4367f96e584f"),
    trust=st.sampled_from(Trust),
    time_quality=st.sampled_from(TimeQuality),
    received_ms=st.integers(0, 4_000_000_000_000),
)


@settings(max_examples=300, deadline=None)
@given(events)
def test_the_quick_json_is_the_document_and_comes_back_equal(event: Event) -> None:
    [sealed] = seal([event], received_ms=NOW.ms)
    assert json.loads(event_json(sealed)) == json.loads(msgspec.json.encode(document(sealed)))
    assert event_from_json(event_json(sealed)) == sealed
    assert event_json(sealed)[:7] == b'{"id":"'
    assert event_json(sealed)[7:33].decode() == sealed.id


def test_vocabularies_are_complete_in_both_languages() -> None:
    for table, enum in ((QUANTITIES, Quantity), (OCCURRENCES, OccurrenceKind), (VERBS, Verb)):
        assert set(table) == set(enum)
        for row in table.values():
            assert row.en, row
            assert row.zh, row
    for row in QUANTITIES.values():
        assert row.low < row.high


def test_nothing_that_saves_a_life_travels_outside_the_alarm_lane() -> None:
    for kind, row in OCCURRENCES.items():
        if row.severity >= Severity.ALARM:
            assert row.lane is Lane.ALARM, kind


def test_the_end_of_an_alarm_travels_with_its_alarm() -> None:
    assert lane_of(Occurrence(kind=OccurrenceKind.GAS, state=State.END)) is Lane.ALARM


def test_a_repeated_frame_makes_the_same_id_and_two_things_in_one_millisecond_two() -> None:
    frame = Frame(data=b"x", received=NOW)
    later = Frame(data=b"x", received=Instant(NOW.ms + 5000, 1005.0))
    sos = Occurrence(kind=OccurrenceKind.SOS)
    device_time = NOW.ms - 1000
    first, again = (seal([f.event("d:1", sos, at_ms=device_time)], received_ms=f.received.ms)[0] for f in (frame, later))
    assert first.id == again.id
    two = seal([frame.event("d:1", sos), frame.event("d:1", sos)], received_ms=NOW.ms)
    assert two[0].id != two[1].id
    other = Frame(data=b"y", received=NOW).event("d:1", sos)
    assert seal([other], received_ms=NOW.ms)[0].id != two[0].id


def test_one_read_may_hold_a_frame_several_times() -> None:
    read = Frame(data=b"sos!sos!", received=NOW)

    def ids(**said: Any) -> list[str]:
        parts = [read.part(b"sos!") for _ in range(2)]
        events = [part.event("x:1", Occurrence(kind=OccurrenceKind.SOS), **said) for part in parts for _ in range(2)]
        return [event.id for event in seal(events, received_ms=NOW.ms)]

    for said in ({"at_ms": NOW.ms - 5000}, {"ref": "m1"}):
        first, second, again, too = ids(**said)
        # Two events of one frame are two; the frame sent again is the same happening.
        assert (first, second) == (again, too)
        assert first != second
    # Without a time of its own it may be a second press of the button.
    assert len(set(ids())) == 4


def test_the_devices_own_message_id_makes_the_identity() -> None:
    sos = Occurrence(kind=OccurrenceKind.SOS)
    one = Frame(data=b"x", received=NOW).event("d:1", sos, ref="17")
    two = Frame(data=b"different bytes", received=Instant(NOW.ms + 60_000, 0.0)).event("d:1", sos, ref="17")
    assert event_id(one) == event_id(two)
    assert event_id(one) != event_id(Frame(data=b"x", received=NOW).event("d:2", sos, ref="17"))


def test_ids_sort_by_time() -> None:
    body = Occurrence(kind=OccurrenceKind.SOS)
    ids = [event_id(Event(device="d", at_ms=at, body=body)) for at in (1, 1000, 1795336215000, 1795336215001)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("at_ms", "quality", "result"),
    [
        (None, TimeQuality.RECEIVED, NOW.ms),
        (NOW.ms - 3_600_000, TimeQuality.DEVICE, NOW.ms - 3_600_000),
        (0, TimeQuality.SUSPECT, NOW.ms),
        (1211609910000, TimeQuality.SUSPECT, 1211609910000),
        (NOW.ms + 10 * 86_400_000, TimeQuality.SUSPECT, NOW.ms),
        (NOW.ms - 1024 * 7 * 86_400_000, TimeQuality.CORRECTED, NOW.ms),
    ],
)
def test_impossible_device_times_are_mended_or_replaced(at_ms: int | None, quality: TimeQuality, result: int) -> None:
    event = Frame(data=b"x", received=NOW).event("d:1", Occurrence(kind=OccurrenceKind.SOS), at_ms=at_ms)
    assert (event.time_quality, event.at_ms) == (quality, result)


def test_times_out_of_the_calendar_are_clipped_not_raised() -> None:
    assert rfc3339(-5) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1 << 62).startswith("9999-12-31")
    with pytest.raises(ValueError, match="zone"):
        epoch_ms("2026-11-22T08:00:00")


def test_the_vendor_contract_exports_what_it_says() -> None:
    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert all(hasattr(api, name) for name in api.__all__)
