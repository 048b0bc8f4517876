"""Local time: zones, midnight, summer time, holidays, schedules without length."""

from __future__ import annotations

import pytest

from drivers.events import epoch_ms, rfc3339
from gateway.rules.schedule import (
    epoch_of,
    is_active,
    minute_of_day,
    next_at,
    next_change,
    parse_days,
    parse_entry,
    parse_minute,
    parse_window,
    schedule_fault,
    zone_fault,
)

CN, DE = "Asia/Shanghai", "Europe/Berlin"


def at(text: str) -> int:
    return epoch_ms(text)


@pytest.mark.parametrize(
    ("schedule", "moment", "expected"),
    [
        ("22:00-06:00", "2026-11-22T23:00:00+08:00", True),
        ("22:00-06:00", "2026-11-22T05:59:59+08:00", True),
        ("22:00-06:00", "2026-11-22T06:00:00+08:00", False),
        ("08:00-08:00", "2026-11-22T08:00:00+08:00", False),
        ("00:00-00:00", "2026-11-22T00:00:00+08:00", False),
        ("00:00-24:00", "2026-11-22T12:00:00+08:00", True),
        ("su 22:00-06:00", "2026-11-23T05:00:00+08:00", True),
        ("mo 22:00-06:00", "2026-11-23T05:00:00+08:00", False),
        ("mo-fr 08:00-18:00", "2026-11-22T12:00:00+08:00", False),
        ("sa,su 08:00-18:00", "2026-11-22T12:00:00+08:00", True),
        ("always", "2026-11-22T12:00:00+08:00", True),
        ("never", "2026-11-22T12:00:00+08:00", False),
        ("fr-mo 08:00-18:00", "2026-11-22T12:00:00+08:00", True),
    ],
)
def test_a_schedule_at_a_moment(schedule: str, moment: str, expected: bool) -> None:
    assert is_active((schedule,), at(moment), CN) is expected


def test_an_empty_schedule_never_holds() -> None:
    assert not is_active((), at("2026-11-22T12:00:00+08:00"), CN)


def test_holiday_entries_replace_the_others_on_a_holiday() -> None:
    schedule = ("mo-fr 08:00-18:00", "holiday 10:00-12:00")
    thursday = ("2026-10-01",)
    assert not is_active(schedule, at("2026-10-01T09:00:00+08:00"), CN, thursday)
    assert is_active(schedule, at("2026-10-01T11:00:00+08:00"), CN, thursday)
    assert is_active(schedule, at("2026-10-02T09:00:00+08:00"), CN, thursday)
    assert not is_active(schedule, at("2026-10-02T07:00:00+08:00"), CN, thursday)


def test_summer_time_moves_the_minute_of_the_day() -> None:
    assert minute_of_day(at("2026-03-29T00:59:00Z"), DE) == 119
    assert minute_of_day(at("2026-03-29T01:00:00Z"), DE) == 180


def test_a_skipped_wall_time_comes_an_hour_later_and_a_repeated_one_once() -> None:
    assert rfc3339(next_at(at("2026-03-28T23:00:00Z"), 150, DE) or 0) == "2026-03-29T01:30:00.000Z"
    first = next_at(at("2026-10-24T22:00:00Z"), 150, DE) or 0
    assert rfc3339(first) == "2026-10-25T00:30:00.000Z"
    assert rfc3339(next_at(first, 150, DE) or 0) == "2026-10-26T01:30:00.000Z"


def test_a_night_of_twenty_five_hours_changes_once() -> None:
    moments = [at("2026-10-24T19:00:00Z")]
    while len(moments) < 3:
        moments.append(next_change(("22:00-06:00",), moments[-1], DE) or 0)
    assert [rfc3339(ms) for ms in moments[1:]] == ["2026-10-24T20:00:00.000Z", "2026-10-25T05:00:00.000Z"]


def test_a_schedule_without_length_never_changes() -> None:
    assert next_change(("08:00-08:00",), at("2026-11-22T00:00:00Z"), CN) is None


def test_midnight_is_the_start_of_the_next_day() -> None:
    assert epoch_of(20000, 1440, CN) == epoch_of(20001, 0, CN)


def test_no_days_no_moment() -> None:
    assert next_at(0, 0, CN, frozenset()) is None


@pytest.mark.parametrize("text", ["25:00", "8", "08:60", "-1:00", "ab:cd", "24:01", "８:00"])
def test_a_wrong_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_minute(text)


@pytest.mark.parametrize("text", ["08:00", "mo-xx 08:00-09:00", "08:00-25:00", "someday 08:00-09:00"])
def test_a_wrong_schedule_is_refused(text: str) -> None:
    assert schedule_fault([text])
    with pytest.raises(ValueError, match="expected"):
        parse_entry(text)


def test_days_wrap_the_week() -> None:
    assert parse_days("sa-mo") == {5, 6, 0} and parse_days("daily") == set(range(7))
    assert parse_window("22:00 - 06:00") == (1320, 360)


def test_an_unknown_zone_is_refused() -> None:
    assert zone_fault("Asia/Shangai") and zone_fault("../etc/passwd") and zone_fault(CN) is None
