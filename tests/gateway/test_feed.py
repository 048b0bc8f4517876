from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store.contract import Cursor
from gateway.uplinks.feed import MOST_RANGES, LaneFeed, join


def drain(feed: LaneFeed, high: int, room: int = 10) -> list[int]:
    sent = []
    while True:
        span, backlog = feed.plan(high, room)
        if span is None:
            return sent
        feed.take(*span, backlog=backlog)
        for seq in range(span[0], span[1] + 1):
            feed.send(seq)
            sent.append(seq)


def test_what_came_while_away_is_backlog_and_fresh_rows_go_first() -> None:
    feed = LaneFeed(Cursor(next=1), high=1000)
    span, backlog = feed.plan(high=1002, room=20)
    assert (span, backlog) == ((1001, 1002), False)
    feed.take(1001, 1002, backlog=False)
    span, backlog = feed.plan(high=1002, room=20)
    assert (span, backlog) == ((1, 20), True)


def test_a_backlog_that_goes_out_in_a_moment_keeps_the_order() -> None:
    feed = LaneFeed(Cursor(next=1), high=30)
    sent = []
    for high in (30, 40, 50):
        span, backlog = feed.plan(high, 20, orderly=True)
        assert span is not None
        feed.take(*span, backlog=backlog)
        sent.append((span, backlog))
    assert sent == [((1, 20), True), ((21, 30), True), ((31, 50), False)]


def test_what_waited_for_the_link_is_backlog_afterwards() -> None:
    feed = LaneFeed(Cursor(next=1), high=0)
    feed.set_aside(700)
    assert feed.plan(high=702, room=20) == ((701, 702), False)
    assert feed.cursor() == Cursor(next=701, missing=[(1, 700)])


def test_a_busy_day_does_not_starve_the_replay() -> None:
    feed = LaneFeed(Cursor(next=1), high=100)
    high, kinds = 100, []
    for _ in range(50):
        high += 5
        span, backlog = feed.plan(high, room=5)
        assert span is not None
        feed.take(*span, backlog=backlog)
        kinds.append(backlog)
    assert kinds.count(True) >= 5
    assert kinds.count(False) >= 30


def test_a_restart_sends_again_exactly_what_was_not_delivered() -> None:
    feed = LaneFeed(Cursor(next=1), high=0)
    drain(feed, 10)
    for seq in (1, 2, 3, 5, 9):
        feed.delivered(seq)
    again = LaneFeed(feed.cursor(), high=12)
    assert sorted(drain(again, 12)) == [4, 6, 7, 8, 10, 11, 12]


def test_application_acknowledgement_releases_up_to_and_resends_missing() -> None:
    feed = LaneFeed(Cursor(next=1), high=0, application=True)
    drain(feed, 10)
    for seq in range(1, 11):
        feed.delivered(seq)
    assert feed.cursor().missing == [(1, 10)]
    assert feed.acknowledged(8, [3]) == ""
    assert feed.cursor().missing == [(3, 3), (9, 10)]
    assert drain(feed, 10) == [3]


def test_an_acknowledgement_ahead_of_what_was_sent_is_refused() -> None:
    feed = LaneFeed(Cursor(next=1), high=0, application=True)
    drain(feed, 3)
    assert "ahead" in feed.acknowledged(99, [])
    assert feed.acknowledged(-5, [-7]) == ""
    assert feed.cursor().missing == [(1, 3)]


def test_an_acknowledgement_of_what_went_out_before_a_kill_is_none_of_those() -> None:
    feed = LaneFeed(Cursor(next=1), high=0, application=True)
    drain(feed, 3)
    behind = feed.cursor()
    drain(feed, 9)
    again = LaneFeed(behind, high=9, application=True)
    assert again.acknowledged(9, [4]) == ""
    assert "ahead" in again.acknowledged(10, [])
    assert drain(again, 9) == list(range(1, 10)), "what is not known to be delivered goes out once more"


def test_gaps_are_bounded_and_joining_loses_nothing() -> None:
    ranges = [(i * 3, i * 3) for i in range(MOST_RANGES * 2)]
    joined = join(ranges)
    assert len(joined) == MOST_RANGES
    assert all(any(first <= seq <= last for first, last in joined) for seq, _ in ranges)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["new", "send", "deliver", "lose", "restart"]), st.integers(0, 20)), max_size=60), st.booleans())
def test_whatever_happens_every_row_is_delivered_in_the_end(steps: list[tuple[str, int]], application: bool) -> None:
    feed, high, done = LaneFeed(Cursor(next=1), 0, application=application), 0, set()
    for what, amount in steps:
        if what == "new":
            high += amount
        elif what == "send":
            span, backlog = feed.plan(high, amount + 1)
            if span is not None:
                feed.take(*span, backlog=backlog)
                for seq in range(span[0], span[1] + 1):
                    feed.send(seq)
        elif what == "deliver":
            for seq in sorted(feed.in_flight)[:amount]:
                feed.delivered(seq)
                if not application:
                    done.add(seq)
        elif what == "lose":
            feed.give_back(sorted(feed.in_flight))
            feed.set_aside(high)
        else:
            feed = LaneFeed(feed.cursor(), high, application=application)
    feed = LaneFeed(feed.cursor(), high, application=application)
    rest = set(drain(feed, high))
    assert done | rest == set(range(1, high + 1))
    assert not done & rest, "a delivered row was sent again"
