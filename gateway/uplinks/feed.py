"""What goes up next: one `LaneFeed` per uplink and lane, pure bookkeeping over sequence numbers.

Three kinds of numbers: *missing* ranges (backlog), *in flight* (sent, not yet taken by the broker) and, with application
acknowledgement, *awaiting* (taken by the broker, not yet by the platform). Everything below `next` that is in none of them is done.

Backlog that can be sent in a moment goes first, so that a short outage changes no order (the pump says when: `orderly`). A longer one
is served beside the fresh rows: `FRESH_SHARE` turns of fresh rows for each of old ones, so that a replay of days never delays a fresh
event, and a busy day never starves the replay. Backlog goes out with `replayed` true; the sequence tells the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.store.contract import Cursor

FRESH_SHARE = 4
"""Fresh rows sent for each row of backlog while there are both."""
MOST_RANGES = 256
"""Gaps that are remembered; beyond that neighbours are joined (some rows are sent twice, none is lost)."""


class LaneFeed:
    """One lane of one uplink."""

    def __init__(self, cursor: Cursor, high: int, *, application: bool = False) -> None:
        self.next = max(cursor.next, 1)
        self.missing: list[tuple[int, int]] = [r for r in cursor.missing if r[0] <= r[1]]
        self.in_flight: set[int] = set()
        self.awaiting: set[int] = set()
        # Before a restart anything up to `high` may have gone out: a cursor is written a moment behind.
        self.sent_high = max(self.next - 1, high)
        self._application = application
        self._turn = 0
        self.set_aside(high)

    @property
    def backlog(self) -> int:
        """Rows that wait in the missing ranges."""
        return sum(last - first + 1 for first, last in self.missing)

    def waiting(self, high: int) -> int:
        """Rows that are not sent yet."""
        return self.backlog + max(0, high - self.next + 1)

    def set_aside(self, high: int) -> None:
        """The link was away: what waits by now is backlog."""
        self.give_back(range(self.next, high + 1))
        self.next = max(self.next, high + 1)

    def plan(self, high: int, room: int, *, orderly: bool = False) -> tuple[tuple[int, int] | None, bool]:
        """The next range to send, at most `room` rows, and whether it is backlog. `take` it once it was read. `orderly`: oldest first."""
        fresh = high >= self.next
        if fresh and (not self.missing or (self._turn < FRESH_SHARE and not orderly)):
            return (self.next, min(high, self.next + room - 1)), False
        if self.missing:
            first, last = self.missing[0]
            size = room if orderly or not fresh else max(1, room // FRESH_SHARE)
            return (first, min(last, first + size - 1)), True
        return None, False

    def take(self, first: int, last: int, *, backlog: bool) -> None:
        """These rows leave the waiting ones and count as in flight; each then ends in `delivered`, `skip` or `give_back`."""
        if backlog:
            start, end = self.missing[0]
            assert start == first
            self.missing[0:1] = [(last + 1, end)] if last < end else []
            self._turn = 0
        else:
            self.next = last + 1
            self._turn += 1
        # From this moment a restart must find them open: they are neither sent nor done while they are read from the disk.
        self.in_flight.update(range(first, last + 1))

    def skip(self, seqs: Iterable[int]) -> None:
        """Rows that this uplink does not want, or that are no longer there."""
        self.in_flight.difference_update(seqs)

    def shed(self, low: int) -> None:
        """Rows below `low` have left the database."""
        while self.missing and self.missing[0][0] < low:
            _, last = self.missing.pop(0)
            if last >= low:
                self.missing.insert(0, (low, last))
        self.next = max(self.next, low)

    def send(self, seq: int) -> None:
        """The row is on the wire."""
        self.in_flight.add(seq)
        self.sent_high = max(self.sent_high, seq)

    def delivered(self, seq: int) -> None:
        """The broker has the row."""
        if seq in self.in_flight:
            self.in_flight.discard(seq)
            if self._application:
                self.awaiting.add(seq)

    def acknowledged(self, upto: int, missing: Sequence[int | tuple[int, int]]) -> str:
        """The platform has everything up to `upto` but the `missing` ones (numbers, or pairs first, last); what is wrong with that,
        or an empty text. Missing rows are sent again even if they were acknowledged before: a platform may have lost them."""
        if upto > self.sent_high:
            return f"upto {upto} is ahead of what was sent ({self.sent_high})"
        spans = [(span, span) if isinstance(span, int) else (span[0], span[1]) for span in missing]
        if any(first > last for first, last in spans):
            return "missing: first > last"
        spans = [(max(first, 1), min(last, upto)) for first, last in spans]
        spans = [(first, last) for first, last in join(spans) if first <= last]
        done = {seq for seq in self.awaiting | self.in_flight if seq <= upto}
        self.awaiting -= done
        self.in_flight -= done
        self.missing = join(self.missing + spans)
        return ""

    def overdue(self, seqs: list[int]) -> None:
        """Rows that the platform did not acknowledge in time are sent again."""
        late = [seq for seq in seqs if seq in self.awaiting]
        self.awaiting.difference_update(late)
        self.give_back(late)

    def give_back(self, seqs: list[int] | range) -> None:
        """Put rows back into the missing ranges."""
        if not seqs:
            return
        self.in_flight.difference_update(seqs)
        ranges = [(seqs[0], seqs[-1])] if isinstance(seqs, range) else [(seq, seq) for seq in seqs]
        self.missing = join(self.missing + ranges)

    def cursor(self) -> Cursor:
        """What to remember: everything that is not done counts as missing."""
        open_ = sorted(self.in_flight | self.awaiting)
        return Cursor(next=self.next, missing=join(self.missing + [(seq, seq) for seq in open_]))


def join(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, without overlaps, at most `MOST_RANGES`.

    >>> join([(5, 6), (1, 2), (3, 3), (9, 9)])
    [(1, 3), (5, 6), (9, 9)]
    """
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    while len(out) > MOST_RANGES:
        gaps = [out[i + 1][0] - out[i][1] for i in range(len(out) - 1)]
        nearest = gaps.index(min(gaps))
        out[nearest : nearest + 2] = [(out[nearest][0], out[nearest + 1][1])]
    return out


def common(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is in both; each sorted and without overlaps.

    >>> common([(1, 5), (8, 9)], [(4, 8), (20, 30)])
    [(4, 5), (8, 8)]
    """
    found = [(max(a, first), min(b, last)) for a, b in ranges for first, last in others]
    return [(first, last) for first, last in found if first <= last]


def without(ranges: list[tuple[int, int]], span: tuple[int, int]) -> list[tuple[int, int]]:
    """`ranges` less one span.

    >>> without([(1, 5), (8, 9)], (4, 8))
    [(1, 3), (9, 9)]
    """
    pieces = [piece for a, b in ranges for piece in ((a, min(b, span[0] - 1)), (max(a, span[1] + 1), b))]
    return [(first, last) for first, last in pieces if first <= last]
