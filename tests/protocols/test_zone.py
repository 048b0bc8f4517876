from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.tracker.zone import NEEDED, LearntZone

NOW = 1795336215000
MINUTE, HOUR = 60_000, 3_600_000


def taught(ahead_ms: int, *, frames: int = NEEDED, every_ms: int = MINUTE, zone: LearntZone | None = None) -> LearntZone:
    zone = zone or LearntZone()
    for number in range(frames):
        zone.live(NOW + number * every_ms + ahead_ms, NOW + number * every_ms)
    return zone


@pytest.mark.parametrize("minutes", [480, 60, -300, 345, -210, 15, -15, 840])
def test_a_clock_that_runs_in_another_zone_is_learnt(minutes: int) -> None:
    zone = taught(minutes * MINUTE - 3000)
    assert (zone.minutes, zone.news(), zone.news()) == (minutes, minutes, None)
    assert zone.live(NOW + HOUR + minutes * MINUTE, NOW + HOUR) == zone.stored(NOW + HOUR + minutes * MINUTE) == NOW + HOUR


def test_one_frame_teaches_nothing() -> None:
    for frames in range(1, NEEDED):
        zone = taught(8 * HOUR, frames=frames)
        assert (zone.minutes, zone.news(), zone.dump()) == (0, None, b"")


def test_a_burst_teaches_nothing() -> None:
    assert taught(8 * HOUR, frames=50, every_ms=100).minutes == 0


def test_stored_records_teach_nothing() -> None:
    zone = LearntZone()
    assert [zone.stored(NOW + 8 * HOUR + n * MINUTE) for n in range(9)] == [NOW + 8 * HOUR + n * MINUTE for n in range(9)]
    assert zone.minutes == 0


def test_a_fix_that_stands_still_teaches_nothing() -> None:
    zone = LearntZone()
    for number in range(20):
        zone.live(NOW, NOW + number * 15 * MINUTE)
    assert zone.minutes == 0


def test_a_backlog_that_is_sent_as_live_teaches_nothing() -> None:
    zone = LearntZone()
    for number in range(40):
        zone.live(NOW - (40 - number) * 15 * MINUTE, NOW + number * 12_000)
    assert zone.minutes == 0


def test_what_an_installer_has_set_is_never_overruled() -> None:
    zone = taught(8 * HOUR, frames=20, zone=LearntZone(is_set=True))
    zone.load(b"zone 480")
    assert (zone.minutes, zone.news(), zone.dump()) == (0, None, b"")


def test_a_clock_of_ours_that_was_never_set_teaches_nothing() -> None:
    zone = LearntZone()
    for number in range(20):
        zone.live(number * MINUTE + 8 * HOUR, number * MINUTE)
    assert zone.minutes == 0


def test_a_device_that_is_set_right_later_is_learnt_again() -> None:
    zone = taught(8 * HOUR)
    assert zone.news() == 480
    for number in range(10, 10 + NEEDED):
        zone.live(NOW + number * MINUTE, NOW + number * MINUTE)
    assert (zone.minutes, zone.news(), zone.live(NOW + HOUR, NOW + HOUR)) == (0, 0, NOW + HOUR)


def test_the_offset_survives_a_restart() -> None:
    state = taught(-5 * HOUR).dump()
    again = LearntZone()
    again.load(state)
    assert (again.minutes, again.dump(), again.news()) == (-300, state, None)


@given(st.binary(max_size=12))
def test_a_damaged_state_is_ignored(state: bytes) -> None:
    zone = LearntZone()
    zone.load(state)
    assert abs(zone.minutes) <= 840


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(-86_400_000, 86_400_000), st.integers(0, 600_000)), max_size=60))
def test_chance_teaches_only_quarters(seen: list[tuple[int, int]]) -> None:
    zone, now = LearntZone(), NOW
    for ahead_ms, later_ms in seen:
        now += later_ms
        zone.live(now + ahead_ms, now)
        assert zone.minutes % 15 == 0
        assert abs(zone.minutes) <= 840
