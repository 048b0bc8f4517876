"""A raw accelerometer stream as verdicts: even grid, impacts, "cannot judge" where too much is missing.

Blocks carry the number of their first sample, so a gap shows and doubles are known; times of receipt are not used. Samples go onto the
20 Hz grid of `fall_features` as they come; grid points inside a gap are filled by a straight line and counted as lost. An impact is
judged as soon as the 3.5 s behind it are there, or at the end of the stream with what there is. What is missing can hide a fall, not
make one: an impact that looks like a fall is told as such unless most of it was never heard; "no fall" is said only of what was heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.rules.fall_features import AFTER, APART, BEFORE, CANDIDATE_G, GRID_HZ, candidates
from gateway.rules.fall_trees import FallTrees, score_of, trees_for

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

KEEP = BEFORE + AFTER + APART + 40
"""Grid samples that are remembered: a window, the second round its impact, and two more seconds for late packets."""
LONGEST_GAP_S = 10.0
LEAST_AFTER, LEAST_FALL = 20, 8
"""A stream that ends sooner than a second after the impact cannot tell that it was none; what shows within 0.4 s may still be one."""
FALL_LOST = 2.0
"""Times the share of lost samples above which "no fall" is not said: up to there a fall is."""
FALL, NO_FALL, CANNOT_JUDGE = "fall", "no fall", "cannot judge"
_LIMIT_MG = 32_000


class Stream(msgspec.Struct, omit_defaults=True):
    """What is remembered of a stream. `next` number of the next sample, `tail` the last one (milli-g), `grid` points made so far,
    `seen` the last of them (x, y, z as little-endian int16 milli-g), `lost` one byte each, `judged` grid index up to which impacts
    have been judged, `origin` number of the first sample."""

    hz: float = 0.0
    origin: int = 0
    next: int = 0
    tail: list[int] = []
    grid: int = 0
    seen: bytes = b""
    lost: bytes = b""
    judged: int = -1


class Verdict(NamedTuple):
    """One impact: `time_s` since the first sample, `score` 0..1 (fall from `threshold` on), `latency_s` from impact to verdict."""

    time_s: float
    score: float
    verdict: str
    latency_s: float
    peak_g: float
    lost_pct: float


def take(stream: Stream, samples: list[int], first: int, hz: float) -> bool:
    """Add a block (x, y, z, ... milli-g). Doubles are ignored; a restart or a long gap begins anew. Whether anything was new."""
    import numpy as np

    block = np.asarray(samples[: len(samples) // 3 * 3], dtype=np.float64).reshape(-1, 3)
    if not len(block) or not 5.0 <= hz <= 1000.0:
        return False
    behind = stream.next - first
    is_restart = not stream.hz or hz != stream.hz or behind > LONGEST_GAP_S * hz or -behind > LONGEST_GAP_S * hz
    if is_restart:
        stream.hz, stream.origin, stream.next, stream.grid, stream.judged = hz, first, first, 0, -1
        stream.tail, stream.seen, stream.lost = [], b"", b""
        behind = 0
    if behind >= len(block):
        return False
    if behind > 0:
        block, first = block[behind:], stream.next
    _onto_grid(stream, np.clip(block, -_LIMIT_MG, _LIMIT_MG), first)
    return True


def _onto_grid(stream: Stream, block: Array, first: int) -> None:
    import numpy as np

    numbers = np.arange(first, first + len(block)) - stream.origin
    if stream.tail:
        numbers = np.concatenate([[stream.next - 1 - stream.origin], numbers])
        block = np.concatenate([[stream.tail], block])
    step = stream.hz / GRID_HZ
    made = np.arange(stream.grid, int(numbers[-1] / step + 1e-9) + 1)
    at = made * step
    values = np.stack([np.interp(at, numbers, block[:, axis]) for axis in range(3)], axis=1)
    place = np.clip(np.searchsorted(numbers, at, side="left"), 1, max(1, len(numbers) - 1))
    if len(numbers) > 1:
        is_exact = np.abs(numbers[place] - at) < 1e-6
        is_lost = (numbers[place] - numbers[place - 1] > 1) & ~is_exact & (np.abs(numbers[place - 1] - at) > 1e-6)
    else:
        is_lost = np.zeros(len(made), bool)
    stream.seen = (stream.seen + np.round(values).astype("<i2").tobytes())[-6 * KEEP :]
    stream.lost = (stream.lost + is_lost.astype(np.uint8).tobytes())[-KEEP:]
    stream.grid += len(made)
    stream.next, stream.tail = first + len(block) - (1 if stream.tail else 0), [round(value) for value in block[-1]]


def verdicts(
    stream: Stream,
    place: str,
    *,
    threshold: float = 0.5,
    most_lost_pct: float = 20.0,
    is_end: bool = False,
    trees: FallTrees | None = None,
) -> list[Verdict]:
    """The impacts that can be judged now; with `is_end` also those whose time behind is not complete. Each is judged once.

    `trees` instead of those stored for the place.
    """
    import numpy as np

    seen = np.frombuffer(stream.seen, "<i2").reshape(-1, 3) / 1000.0
    start = stream.grid - len(seen)
    last = len(seen) - 1 - (0 if is_end else AFTER)
    if start + last <= stream.judged:
        return []
    norms = np.sqrt((seen * seen).sum(1))
    lost = np.frombuffer(stream.lost, np.uint8)
    if norms.max() <= CANDIDATE_G and not lost.any():
        stream.judged = start + last
        return []
    seen = np.concatenate([seen, lost[:, None]], axis=1)
    places = [index for index in candidates(seen) if stream.judged < start + index <= start + last]
    stream.judged = start + last
    if not places:
        return []
    margins = (trees or trees_for(place)).margins(seen, places)
    found = []
    for index, margin in zip(places, margins.tolist(), strict=True):
        behind = min(AFTER, len(seen) - 1 - index)
        share = float(lost[max(0, index - BEFORE) : index + AFTER + 1].mean()) * 100.0
        score = score_of(margin)
        is_fall = score >= threshold and share <= FALL_LOST * most_lost_pct and behind >= LEAST_FALL
        is_blind = share > most_lost_pct or behind < LEAST_AFTER
        if not is_fall and norms[index] <= CANDIDATE_G:
            continue  # A gap is no impact: only what looks like a fall in spite of it is worth a word.
        verdict = FALL if is_fall else CANNOT_JUDGE if is_blind else NO_FALL
        at_s = (start + index) / GRID_HZ
        found.append(Verdict(round(at_s, 3), round(score, 4), verdict, behind / GRID_HZ, round(float(norms[index]), 2), round(share, 1)))
    return found


def has_impact(stream: Stream) -> bool:
    """Whether an impact waits for the time behind it."""
    import numpy as np

    seen = np.frombuffer(stream.seen, "<i2").reshape(-1, 3)
    waiting = max(0, stream.judged + 1 - (stream.grid - len(seen)))
    tail = seen[waiting:].astype(np.int64)
    return bool(((tail * tail).sum(1) > (CANDIDATE_G * 1000) ** 2).any())
