"""Asking a device on a line that carries one question at a time: queue, time-out, repetition.

Sans-IO: time is an argument, bytes come out. A question has a key; whoever decodes the stream says `answered(key)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

ROUNDING_S = 1e-3
"""Seconds since 1970 as a float have a quarter of a microsecond; sums of them a little more."""


@dataclass(frozen=True, slots=True)
class Question:
    """`key` recognises the answer, `data` goes out, `tag` is whatever the asker wants back (None for a poll)."""

    key: Hashable
    data: bytes
    tag: Any = None


class Exchange:
    """One outstanding question; it is sent `tries` times, `timeout_s` apart, then reported as unanswered."""

    def __init__(self, *, timeout_s: float = 1.0, tries: int = 3, gap_s: float = 0.0, limit: int = 64) -> None:
        self._timeout_s = timeout_s
        self._tries = tries
        self._gap_s = gap_s
        self._limit = limit
        self._queue: deque[Question] = deque()
        self._open: Question | None = None
        self._sent = 0
        self._next_s = 0.0

    @property
    def outstanding(self) -> Question | None:
        """The question that waits for its answer."""
        return self._open

    @property
    def deadline_s(self) -> float | None:
        """When `wake` has something to do; None where nothing is asked."""
        return self._next_s if self._open is not None or self._queue else None

    def ask(self, question: Question, *, first: bool = False) -> bool:
        """Queues a question; a poll that already waits is not queued twice. False where the queue is full."""
        if question.tag is None and any(waiting.key == question.key for waiting in (*self._queue, self._open) if waiting):
            return True
        if len(self._queue) >= self._limit:
            return False
        if first:
            self._queue.appendleft(question)
        else:
            self._queue.append(question)
        return True

    def answered(self, key: Hashable, now_s: float) -> Question | None:
        """The outstanding question, if this is its answer: it is closed."""
        found = self._open
        if found is None or found.key != key:
            return None
        self._open = None
        self._next_s = now_s + self._gap_s
        return found

    def wake(self, now_s: float) -> tuple[bytes, Question | None]:
        """Bytes to send now (may be none), and the question that stayed unanswered."""
        lost = None
        if now_s < self._next_s:
            return b"", None
        if self._open is not None:
            if self._sent < self._tries:
                return self._send(now_s), None
            lost, self._open = self._open, None
        if not self._queue:
            return b"", lost
        self._open = self._queue.popleft()
        self._sent = 0
        return self._send(now_s), lost

    def _send(self, now_s: float) -> bytes:
        assert self._open is not None
        self._sent += 1
        self._next_s = now_s + self._timeout_s
        return self._open.data


class Silence:
    """Watches a device that should talk: asks after a part of `offline_s`, then says once that it is gone. 0 = never."""

    def __init__(self, offline_s: float, *, asks: int = 3) -> None:
        self._offline_s = offline_s
        self._step_s = offline_s / asks
        self._heard_s: float | None = None
        self._asked_s = 0.0
        self._is_offline = False

    @property
    def deadline_s(self) -> float | None:
        """When `wake` has something to do."""
        return self._asked_s + self._step_s if self._offline_s and self._heard_s is not None else None

    def heard(self, now_s: float) -> bool:
        """The device spoke; True where it was gone before."""
        self._heard_s = self._asked_s = now_s
        came_back, self._is_offline = self._is_offline, False
        return came_back

    def wake(self, now_s: float) -> tuple[bool, bool]:
        """Whether to ask the device now, and whether it has just gone. The first call starts the watch."""
        if self._heard_s is None:
            self._heard_s = self._asked_s = now_s
        if not self._offline_s:
            return False, False
        # The very sum that `deadline_s` names; the steps add up to the whole but for a rounding.
        asks = now_s >= self._asked_s + self._step_s
        if asks:
            self._asked_s = now_s
        gone = not self._is_offline and now_s >= self._heard_s + self._offline_s - ROUNDING_S
        self._is_offline = self._is_offline or gone
        return asks, gone
