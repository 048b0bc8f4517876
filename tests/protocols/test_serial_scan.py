"""The scanner of serial frames: noise, false starts, patience."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reason, Reject
from protocols.serial import micradar
from protocols.serial.exchange import Exchange, Question, Silence
from protocols.serial.scan import Scanner

FALL = micradar.report("fall", fall=True)
GONE = micradar.report("presence", presence=False)


def scanner() -> Scanner:
    return Scanner(micradar.HEADER, micradar.judge)


def frames(found: list[bytes | Reject]) -> list[bytes]:
    return [item for item in found if isinstance(item, bytes)]


def test_a_false_start_costs_one_byte_not_the_length_it_claims() -> None:
    claims_much = bytes.fromhex("53 59 83 01 00 08")
    assert frames(scanner().feed(claims_much + FALL + GONE)) == [FALL, GONE]


def test_a_false_start_that_waits_is_given_up_and_the_fall_behind_it_found() -> None:
    line = scanner()
    assert frames(line.feed(bytes.fromhex("53 59 83 01 00 4f") + FALL, 10.0)) == []
    assert line.deadline_s == 12.0
    found = line.expire(12.0)
    assert [type(item) for item in found] == [Reject, bytes] and frames(found) == [FALL]
    assert line.buffered == 0 and line.deadline_s is None


def test_new_bytes_long_after_an_unfinished_frame_start_afresh() -> None:
    line = scanner()
    line.feed(FALL[:6], 1.0)
    assert frames(line.feed(FALL, 9.0)) == [FALL]


def test_a_slow_frame_within_patience_is_whole() -> None:
    line = scanner()
    assert frames(line.feed(FALL[:6], 1.0) + line.feed(FALL[6:], 2.5)) == [FALL]


def test_one_damaged_frame_is_one_reject() -> None:
    damaged = FALL[:-3] + b"\0" + FALL[-2:]
    found = scanner().feed(damaged + FALL)
    assert [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY]
    assert frames(found) == [FALL]


def test_junk_is_one_reject_with_a_sample() -> None:
    found = scanner().feed(b"\0" * 5000 + FALL)
    junk = found[0]
    assert isinstance(junk, Reject) and junk.reason is Reason.NOT_OURS and "5000 bytes" in junk.detail and len(junk.frame) == 1024


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.just(FALL), st.just(GONE), st.binary(max_size=20)), max_size=8), st.integers(1, 9))
def test_segmentation_never_changes_the_frames(pieces: list[bytes], step: int) -> None:
    stream = b"".join(pieces)
    whole = frames(scanner().feed(stream))
    line = scanner()
    assert [f for at in range(0, len(stream), step) for f in frames(line.feed(stream[at : at + step]))] == whole


def test_a_flood_of_headers_stays_bounded() -> None:
    line = scanner()
    line.feed(micradar.HEADER * 50_000)
    assert line.buffered <= micradar.LENGTH_CAP + micradar.OVERHEAD_BYTES


def test_a_question_is_repeated_then_reported() -> None:
    asks = Exchange(timeout_s=1.0, tries=2)
    asks.ask(Question("height", b"?", tag="mine"))
    assert asks.wake(5.0) == (b"?", None)
    assert asks.wake(5.5) == (b"", None)
    assert asks.wake(6.0) == (b"?", None)
    data, lost = asks.wake(7.0)
    assert data == b"" and lost is not None and lost.tag == "mine"
    assert asks.deadline_s is None


def test_an_answer_lets_the_next_question_out_after_the_gap() -> None:
    asks = Exchange(gap_s=0.1)
    asks.ask(Question("a", b"A"))
    asks.ask(Question("b", b"B"))
    asks.ask(Question("b", b"B"))
    assert asks.wake(0.0)[0] == b"A"
    assert asks.answered("b", 0.2) is None
    assert asks.answered("a", 0.2) is not None
    assert asks.wake(0.25)[0] == b"" and asks.wake(0.31)[0] == b"B"
    assert asks.answered("b", 0.4) is not None and asks.deadline_s is None


@given(since_ms=st.integers(1_700_000_000_000, 1_900_000_000_000), patience_ms=st.integers(50, 5000))
@settings(max_examples=200)
def test_at_its_own_deadline_an_unfinished_frame_is_given_up(since_ms: int, patience_ms: int) -> None:
    waiting = Scanner(b"\x02", lambda buffer, start: 0, patience_s=patience_ms / 1000)
    waiting.feed(b"\x02", since_ms / 1000)
    due_s = waiting.deadline_s
    assert due_s is not None and waiting.expire(due_s) and waiting.deadline_s is None


@given(since_ms=st.integers(1_700_000_000_000, 1_900_000_000_000), offline_ms=st.integers(100, 500_000))
@settings(max_examples=200)
def test_silence_is_told_after_as_many_wakes_as_it_asks(since_ms: int, offline_ms: int) -> None:
    silence = Silence(offline_ms / 1000, asks=3)
    silence.heard(since_ms / 1000)
    told = []
    for _ in range(3):
        due_s = silence.deadline_s
        assert due_s is not None
        told.append(silence.wake(due_s))
    assert told == [(True, False), (True, False), (True, True)]
