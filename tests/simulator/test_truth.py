from __future__ import annotations

from typing import Any

from drivers.events import rfc3339
from drivers.vocabulary import OccurrenceKind
from simulator.report import as_json, as_junit, as_text
from simulator.truth import Fact, Score, Truth, begun, ended, score

T0 = 1795336212000
WATCH = "watch:8800000015"


def told(id: str, at_ms: int, kind: str = "sos", state: str = "start", **more: Any) -> dict[str, Any]:
    document = {"id": id, "device": WATCH, "subject": "r-1", "at": rfc3339(at_ms), "lane": "alarm", "trust": "claimed"}
    return {**document, "body": {"type": "occurrence", "kind": kind, "state": state}, **more}


def truth_of(*moments: tuple[int, Fact]) -> Truth:
    truth = Truth()
    truth.introduce(WATCH, "r-1", "tcp")
    for at_ms, fact in moments:
        truth.record(WATCH, [fact], at_ms)
    return truth


def test_an_alarm_that_was_delivered_is_found_with_its_latency() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.SOS))), [(told("a", T0), T0 + 250)])
    assert (result.total.found, result.total.missed, result.false) == (1, 0, 0)
    assert result.kinds["sos"].p50_ms == result.kinds["sos"].p99_ms == 250
    assert result.wires["tcp"].found == 1
    assert result.is_clean


def test_an_alarm_that_never_came_is_missed_and_named() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.FALL))), [])
    assert result.total.missed == result.alarms.missed == 1
    assert WATCH in result.missed_entries[0]
    assert "fall" in result.missed_entries[0]
    assert not result.is_clean


def test_what_happened_just_before_the_end_is_pending() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.SOS))), [], until_ms=T0 + 500, grace_ms=1000)
    assert (result.total.pending, result.total.missed) == (1, 0)


def test_a_second_delivery_of_one_event_is_a_duplicate() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.SOS))), [(told("a", T0), T0 + 1), (told("a", T0), T0 + 2)])
    assert (result.duplicates, result.false, result.repeated) == (1, 0, 0)


def test_a_repeated_alarm_is_no_false_alarm() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.SOS))), [(told("a", T0), T0 + 1), (told("b", T0 + 9000), T0 + 9001)])
    assert (result.repeated, result.false) == (1, 0)


def test_an_alarm_that_nobody_caused_is_false() -> None:
    result = score(truth_of(), [(told("a", T0, "fall"), T0)])
    assert result.false == 1
    assert not result.is_clean


def test_an_alarm_delivered_after_the_limit_is_late() -> None:
    truth = truth_of((T0, begun(OccurrenceKind.SOS)))
    assert score(truth, [(told("a", T0), T0 + 9000)]).alarms.late == 1
    assert score(truth, [(told("a", T0), T0 + 9000)], limits={"sos": 10_000}).alarms.late == 0


def test_begin_and_end_are_different_facts() -> None:
    truth = truth_of((T0, begun(OccurrenceKind.GAS)), (T0 + 5000, ended(OccurrenceKind.GAS)))
    result = score(truth, [(told("a", T0, "gas", "start"), T0 + 10)])
    assert (result.kinds["gas"].found, result.kinds["gas end"].missed) == (1, 1)


def test_the_second_of_two_alarms_is_matched_by_its_time_when_the_first_was_lost() -> None:
    truth = truth_of((T0, begun(OccurrenceKind.SOS)), (T0 + 60_000, begun(OccurrenceKind.SOS)))
    result = score(truth, [(told("b", T0 + 60_000), T0 + 60_100)])
    assert (result.total.found, result.total.missed) == (1, 1)
    assert result.kinds["sos"].max_ms == 100


def test_a_later_happening_delivered_first_is_out_of_order() -> None:
    truth = truth_of((T0, begun(OccurrenceKind.SOS)), (T0 + 60_000, begun(OccurrenceKind.SOS)))
    result = score(truth, [(told("b", T0 + 60_000), T0 + 61_000), (told("a", T0), T0 + 62_000)])
    assert (result.total.found, result.out_of_order) == (2, 1)


def test_an_event_that_is_taken_for_a_later_happening_breaks_no_order() -> None:
    """After an outage two readings wait, and three are told: the third is taken for a happening that is still to come."""
    heart, steps = Fact("measurement", "heart_rate"), Fact("measurement", "steps")
    truth = truth_of((T0, heart), (T0 + 500, steps), (T0 + 9_000, heart))
    delivered = [
        (told(name, at_ms, lane="telemetry", body={"type": "measurement", "quantity": quantity}), T0 + 30_000)
        for name, at_ms, quantity in (("a", T0, "heart_rate"), ("b", T0 + 100, "heart_rate"), ("c", T0 + 500, "steps"))
    ]
    result = score(truth, delivered)
    assert (result.total.found, result.out_of_order) == (3, 0)


def test_an_event_before_its_cause_does_not_count_for_it() -> None:
    result = score(truth_of((T0 + 60_000, begun(OccurrenceKind.SOS))), [(told("a", T0), T0 + 10)])
    assert (result.total.found, result.false) == (0, 1)


def test_another_persons_name_on_an_alarm_is_counted() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.SOS))), [(told("a", T0, subject="r-2"), T0 + 10)])
    assert result.wrong_person == 1
    assert not result.is_clean


def test_events_of_rules_are_counted_apart() -> None:
    result = score(truth_of(), [(told("a", T0, "incident", cause="x"), T0), (told("b", T0, "offline", trust="derived"), T0)])
    assert (result.derived, result.false) == (2, 0)


def test_documents_that_are_no_events_are_counted() -> None:
    assert score(truth_of(), [({"id": "x"}, T0), ({"body": 3, "id": "a", "device": "b", "at": 7}, T0)]).unreadable == 2


def test_a_bounded_truth_tells_its_followers_everything() -> None:
    truth, seen = Truth(keep=3), []
    truth.follow(seen.append)
    for n in range(10):
        truth.record(WATCH, [begun(OccurrenceKind.SOS)], T0 + n)
    assert (len(truth.entries), len(seen)) == (3, 10)


def test_reports_name_what_was_missed_in_every_form() -> None:
    result = score(truth_of((T0, begun(OccurrenceKind.FALL))), [])
    assert "NOT CLEAN" in as_text(result)
    assert "跌倒" in as_text(result, language="zh")
    assert '"missed":1' in as_json(result)
    assert "<failure" in as_junit(result, name="bathroom-fall", seconds=1.0)
    assert 'failures="0"' in as_junit(Score(), name="quiet", seconds=1.0)
