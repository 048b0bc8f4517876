"""Numbers that tell a fall from a clap: features of a window of acceleration round an impact.

A window is 131 samples of x, y, z in g at 20 Hz (`GRID_HZ`), the impact at index 60: 3 s before, 3.5 s after. Streams of any rate are
brought to this grid by sample number, never by time stamp: radio delivers in bursts. Only norms and angles to the wearer's own
gravity are used, so neither the order of the axes nor how the device is worn matters. Vectors beyond `CLIP_G` are cut: a device that
measures to 4 g then sees what one that measures to 16 g sees. A fourth column marks samples that were lost and filled by a straight
line: in a gap a fall has no impact, and what is known of falls with gaps shall be used there, and only there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

GRID_HZ = 20.0
BEFORE, AFTER = 60, 70
"""Samples of the window before and after the impact."""
LENGTH = BEFORE + 1 + AFTER
CANDIDATE_G = 1.4
APART = 20
"""Samples between two candidates: one a second, the highest."""
HIDING = 3
"""Lost samples running that can hide an impact."""
CLIP_G = 4.0
PARTS = ((0, 40), (40, 56), (56, 67), (67, 81), (81, 101), (101, 131))
"""(-3, -1) (-1, -.2) (-.2, .3) (.3, 1) (1, 2) (2, 3.5) s."""
SPAN, STRIDE = 8, 2
"""Samples over which a direction is taken (0.4 s), and from one direction to the next."""
PAIRS = ((0, 2), (0, 4), (0, 5), (1, 4), (4, 5), (1, 5), (0, 1))


def candidates(stream: Array) -> list[int]:
    """Indices of impacts in a stream [n, 3 or 4] on the grid: the highest sample of a second before and after, and the middle of a gap
    that may hide one.
    """
    import numpy as np

    norms = np.sqrt(_dot(stream[:, :3], stream[:, :3]))
    found: list[int] = []
    for index in np.flatnonzero(norms > CANDIDATE_G).tolist():
        begin = max(0, index - APART)
        if index == begin + int(np.argmax(norms[begin : index + APART + 1])):
            found.append(index)
    if stream.shape[1] > 3 and stream[:, 3].any():
        edges = np.flatnonzero(np.diff(stream[:, 3] > 0, prepend=False, append=False)).tolist()
        gaps = [(begin + end) // 2 for begin, end in zip(edges[::2], edges[1::2], strict=True) if end - begin >= HIDING]
        found = sorted({*found, *(gap for gap in gaps if all(abs(gap - other) > APART for other in found))})
    return found


def window(stream: Array, index: int) -> Array:
    """The window round an impact; beyond the ends of the stream its last half second of rest goes on."""
    import numpy as np

    begin, end = index - BEFORE, index + AFTER + 1
    inner = stream[max(0, begin) : min(len(stream), end)]
    if len(inner) == LENGTH:
        return inner
    parts = [inner]
    if begin < 0:
        parts.insert(0, np.repeat(_rest(stream[:10]), -begin, axis=0))
    if end > len(stream):
        parts.append(np.repeat(_rest(stream[-10:]), end - len(stream), axis=0))
    return np.concatenate(parts)


def _rest(samples: Array) -> Array:
    """The median of each column, [1, columns]; `np.median` costs three times as much."""
    import numpy as np

    low, high = (len(samples) - 1) // 2, len(samples) // 2
    found: Array = np.sort(samples, axis=0)[low : high + 1].mean(0)[None]
    return found


def regrid(samples: Array, hz: float, *, phase_s: float = 0.0) -> Array:
    """Even samples at `hz` on the grid, by straight lines between them."""
    import numpy as np

    if abs(hz - GRID_HZ) < 0.2 and not phase_s:
        return samples
    at = np.arange(phase_s, (len(samples) - 1) / hz + 1e-9, 1.0 / GRID_HZ)
    own = np.arange(len(samples)) / hz
    return np.stack([np.interp(at, own, column) for column in samples.T], axis=1)


def names() -> list[str]:
    """One name per feature, in order."""
    found = [f"{what}_{part}" for what in ("mean", "sd", "min", "max", "jerk", "axes", "shake", "pull") for part in range(len(PARTS))]
    found += [f"angle_{first}{second}" for first, second in PAIRS]
    found += ["below_08", "above_18", "above_25", "top3", "busy", "busy_before", "jolt_share", "fall_speed", "bounce"]
    found += ["dip", "speed", "still_after", "calm_after", "turn_span", "turn_begin", "turn_rate", "turn_total", "turn_before"]
    return [*found, "lost", "lost_near"]


@lru_cache(maxsize=1)
def _weights() -> tuple[Array, Array, Array]:
    """Means over `PARTS` [131, 6]; sums of the unrest |a| - 1 that features are made of [131, 4]; the running mean over `SPAN`."""
    import numpy as np

    parts = np.zeros((LENGTH, len(PARTS)))
    for part, (begin, end) in enumerate(PARTS):
        parts[begin:end, part] = 1.0 / (end - begin)
    unrest = np.zeros((LENGTH, 4))
    unrest[:, 0] = 1.0 / LENGTH
    unrest[: BEFORE - 20, 1] = 1.0 / (BEFORE - 20)
    unrest[BEFORE - 5 : BEFORE + 6, 2] = 1.0 / LENGTH
    unrest[BEFORE + 4 : BEFORE + 24, 3] = 1.0 / 20
    running = np.zeros(((LENGTH - SPAN) // STRIDE + 1, LENGTH))
    for row in range(len(running)):
        running[row, row * STRIDE : row * STRIDE + SPAN] = 1.0 / SPAN
    return parts, unrest, running


def features(windows: Array) -> Array:
    """Windows [n, 131, 3 or 4] in g (the fourth: lost or not) as features [n, len(names())].

    Written for few calls: on windows this small they cost most.
    """
    import numpy as np

    parts, unrest, running = _weights()
    lost = windows[..., 3] if windows.shape[-1] > 3 else np.zeros(windows.shape[:2])
    windows = windows[..., :3]
    norm = np.sqrt(_dot(windows, windows))
    # The rotation-free form of 4 g clipping: longer vectors keep their direction and lose the rest.
    shorter = CLIP_G / np.maximum(norm, CLIP_G)
    cut, norm = windows * shorter[..., None], norm * shorter
    steps = cut[:, 1:] - cut[:, :-1]
    jerk = np.sqrt(_dot(steps, steps))
    starts = [begin for begin, _ in PARTS]
    mean = norm @ parts
    centre = parts.T @ cut
    pull = np.sqrt(_dot(centre, centre))
    unit = centre / np.maximum(pull, 1e-3)[..., None]
    first, second = np.array(PAIRS).T
    bumps = np.abs(norm - 1.0)
    busy = bumps @ unrest
    whole, early, jolt, bounce = busy.T
    before, near, after = norm[:, BEFORE - 24 : BEFORE], norm[:, BEFORE - 20 : BEFORE + 30], bumps[:, BEFORE + 30 :]
    down = 1.0 - cut[:, BEFORE - 24 : BEFORE] @ unit[:, 0, :, None]
    step = 1.0 / GRID_HZ
    columns = [
        (before < 0.8).sum(1) * step,
        (near > 1.8).sum(1) * step,
        (near > 2.5).sum(1) * step,
        np.sort(near, axis=1)[:, -3:].mean(1),
        whole,
        early,
        jolt / np.maximum(whole, 1e-3),
        np.minimum(before - 1.0, 0.0).sum(1) * step,
        bounce,
        before.min(1),
        np.maximum(np.cumsum(down[..., 0], axis=1).max(1), 0.0) * step,
        (after < 0.1).mean(1),
        np.sort(jerk[:, BEFORE + 20 :], axis=1)[:, (LENGTH - 1 - BEFORE - 20) // 2],
        *_turning(running @ cut, unit[:, 0]),
        lost.mean(1),
        lost[:, BEFORE - 10 : BEFORE + 11].mean(1),
    ]
    blocks = [
        mean,
        np.sqrt(np.maximum((norm * norm) @ parts - mean * mean, 0.0)),
        np.minimum.reduceat(norm, starts, axis=1),
        np.maximum.reduceat(norm, starts, axis=1),
        np.maximum.reduceat(jerk, starts, axis=1),
        np.sqrt(np.maximum(parts.T @ (cut * cut) - centre * centre, 0.0)).sum(-1),
        jerk @ parts[1:],
        pull,
        np.arccos(np.clip((unit @ unit.transpose(0, 2, 1))[:, first, second], -1.0, 1.0)),
        np.array(columns).T,
    ]
    return np.concatenate(blocks, axis=1)


def _dot(first: Array, second: Array) -> Array:
    """Products of vectors along the last axis; a sum over three numbers costs twice as much."""
    import numpy as np

    found: Array = np.einsum("...k,...k->...", first, second)
    return found


def _turning(smooth: Array, upright: Array) -> list[Array]:
    """How the wearer turned over: a fall does it in half a second round the impact, lying down takes its time."""
    import numpy as np

    unit = smooth / np.maximum(np.sqrt(_dot(smooth, smooth)), 1e-3)[..., None]
    angle = np.arccos(np.clip((unit @ upright[..., None])[..., 0], -1.0, 1.0))
    end = angle[:, -15:].mean(1)
    late = angle[:, 5:] / np.maximum(end, 1e-3)[:, None]
    first, last = (late > 0.25).argmax(1), (late > 0.75).argmax(1)
    sharpest = _dot(unit[:, 13:], unit[:, 10:-3]).min(1)
    return [
        (last - first) * STRIDE / GRID_HZ,
        ((first + 5) * STRIDE + SPAN // 2 - BEFORE) / GRID_HZ,
        np.arccos(np.clip(sharpest, -1.0, 1.0)),
        end,
        angle[:, (BEFORE - 24 - SPAN // 2) // STRIDE],
    ]
