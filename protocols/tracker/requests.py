"""Requests that wait for a device's answer: one time-out, one repetition, a bound on how many wait at once.

Trackers answer a downlink command with its own name or serial number, often minutes late or never. This keeps the book:
who waits for which key, when to say it again, when to give up. Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

TIMEOUT_S = 30.0
"""A 2G watch in sleep mode wakes for a downlink within seconds; 30 s covers a slow cell."""
MAX_WAITING = 16
"""More than a person can have asked for; a platform gone wild must not grow memory."""


class Waiting(NamedTuple, Generic[T]):
    """One request: `key` that its answer carries, `token` of the asker, `data` to repeat (empty: never repeat)."""

    key: str
    token: T
    data: bytes
    deadline_s: float


class Due(NamedTuple, Generic[T]):
    """What has come due: bytes to send again, and tokens of requests that nobody answered."""

    repeats: list[bytes]
    lost: list[T]


class Requests(Generic[T]):
    """The open requests of one device, oldest first."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._waiting: list[Waiting[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether another request would pass the bound."""
        return len(self._waiting) >= MAX_WAITING

    @property
    def wake_s(self) -> float | None:
        """The earliest deadline."""
        return min(waiting.deadline_s for waiting in self._waiting) if self._waiting else None

    def open(self, key: str, token: T, now_s: float, *, repeat: bytes = b"") -> None:
        """Wait for the answer `key`; `repeat` is said once more at the first time-out."""
        self._waiting.append(Waiting(key, token, repeat, now_s + self._timeout_s))

    def answer(self, key: str) -> T | None:
        """The token of the oldest request that waits for `key`; None when none does."""
        for index, waiting in enumerate(self._waiting):
            if waiting.key == key:
                del self._waiting[index]
                return waiting.token
        return None

    def due(self, now_s: float) -> Due[T]:
        """Repetitions and losses at this moment."""
        repeats: list[bytes] = []
        lost: list[T] = []
        kept: list[Waiting[T]] = []
        for waiting in self._waiting:
            if waiting.deadline_s > now_s:
                kept.append(waiting)
            elif waiting.data:
                repeats.append(waiting.data)
                kept.append(Waiting(waiting.key, waiting.token, b"", now_s + self._timeout_s))
            else:
                lost.append(waiting.token)
        self._waiting = kept
        return Due(repeats, lost)
