"""Numbers that tell a fall from a clap: features of a window of acceleration round an impact.

A window is 131 samples of x, y, z in g at 20 Hz (`GRID_HZ`), the impact at index 60: 3 s before, 3.5 s after. Streams of any rate are
brought to this grid by sample number, never by time stamp: radio delivers in bursts. Only norms and angles to the wearer's own
gravity are used, so neither the order of the axes nor how the device is worn matters. Peaks beyond `CLIP_G` per axis are cut and
counted: a device that measures to 4 g then sees what one that measures to 16 g sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

GRID_HZ = 20.0
BEFORE, AFTER = 60, 70
"""Samples of the window before and after the impact."""
LENGTH = BEFORE + 1 + AFTER
CANDIDATE_G = 1.6
APART = 20
"""Samples between two candidates: one a second, the highest."""
CLIP_G = 4.0
PARTS = ((0, 40), (40, 56), (56, 67), (67, 81), (81, 101), (101, 131))
"""(-3, -1) (-1, -.2) (-.2, .3) (.3, 1) (1, 2) (2, 3.5) s."""
PAIRS = ((0, 2), (0, 4), (0, 5), (1, 4), (4, 5), (1, 5), (0, 1))


def candidates(norms: Array) -> list[int]:
    """Indices of impacts in the norms (g) of a stream on the grid: the highest sample of a second before and after."""
    import numpy as np

    found: list[int] = []
    for index in np.flatnonzero(norms > CANDIDATE_G).tolist():
        begin = max(0, index - APART)
        if index == begin + int(np.argmax(norms[begin : index + APART + 1])):
            found.append(index)
    return found


def window(stream: Array, index: int) -> Array:
    """The window round an impact; beyond the ends of the stream its last half second of rest goes on."""
    import numpy as np

    begin, end = index - BEFORE, index + AFTER + 1
    inner = stream[max(0, begin) : min(len(stream), end)]
    if len(inner) == LENGTH:
        return inner
    head = np.repeat(np.median(stream[:10], axis=0)[None], max(0, -begin), axis=0)
    tail = np.repeat(np.median(stream[-10:], axis=0)[None], max(0, end - len(stream)), axis=0)
    return np.concatenate([head, inner, tail])


def regrid(samples: Array, hz: float, *, phase_s: float = 0.0) -> Array:
    """Even samples at `hz` on the grid, by straight lines between them."""
    import numpy as np

    if abs(hz - GRID_HZ) < 0.2 and not phase_s:
        return samples
    at = np.arange(phase_s, (len(samples) - 1) / hz + 1e-9, 1.0 / GRID_HZ)
    own = np.arange(len(samples)) / hz
    return np.stack([np.interp(at, own, samples[:, axis]) for axis in range(3)], axis=1)


def clipped(windows: Array) -> Array:
    """The rotation-free form of 4 g clipping: vectors longer than that keep their direction and lose the rest."""
    import numpy as np

    norms = np.sqrt(_dot(windows, windows))
    shortened: Array = windows * np.minimum(1.0, CLIP_G / np.maximum(norms, 1e-6))[..., None]
    return shortened


def names() -> list[str]:
    """One name per feature, in order."""
    found = [f"{what}_{part}" for what in ("mean", "sd", "min", "max", "jerk", "axes", "shake") for part in range(len(PARTS))]
    found += [f"angle_{first}{second}" for first, second in PAIRS]
    found += ["below_06", "below_08", "above_18", "above_25", "above_38", "top3", "peaks", "busy", "before_ratio", "after_ratio"]
    found += ["dip", "dip_gap", "speed", "still_after", "still_sd", "gravity_after", "busy_before", "late_top", "early_top", "swing"]
    found += ["turn_span", "turn_begin", "turn_rate", "turn_total", "turn_before", "fall_speed", "jolt_share"]
    return found


def features(windows: Array) -> Array:
    """Windows [n, 131, 3] in g as features [n, len(names())]."""
    import numpy as np

    cut = clipped(windows)
    norm = np.sqrt(_dot(cut, cut))
    steps = np.diff(cut, axis=1)
    jerk = np.sqrt(_dot(steps, steps))
    starts = np.array([begin for begin, _ in PARTS])
    counts = np.array([end - begin for begin, end in PARTS], dtype=float)
    # One call over all parts each: on windows this small the calls cost more than the numbers.
    mean = np.add.reduceat(norm, starts, axis=1) / counts
    spread = np.add.reduceat(norm * norm, starts, axis=1) / counts - mean * mean
    centre = np.add.reduceat(cut, starts, axis=1) / counts[:, None]
    axes = np.add.reduceat(cut * cut, starts, axis=1) / counts[:, None] - centre * centre
    blocks = [
        mean,
        np.sqrt(np.maximum(spread, 0.0)),
        np.minimum.reduceat(norm, starts, axis=1),
        np.maximum.reduceat(norm, starts, axis=1),
        np.maximum.reduceat(jerk, starts, axis=1),
        np.sqrt(np.maximum(axes, 0.0)).sum(-1),
        np.add.reduceat(jerk, starts, axis=1) / counts,
    ]
    unit = centre / np.maximum(np.sqrt(_dot(centre, centre)), 1e-3)[..., None]
    first, second = np.array(PAIRS).T
    blocks.append(np.degrees(np.arccos(np.clip(_dot(unit[:, first], unit[:, second]), -1.0, 1.0))))
    columns: list[Array] = []
    columns += _impact(norm)
    columns += _course(cut, norm, unit[:, 0])
    columns += _turning(cut, norm, unit[:, 0])
    return np.concatenate([*blocks, np.stack(columns, axis=1)], axis=1)


def _dot(first: Array, second: Array) -> Array:
    """Products of vectors along the last axis; a sum over three numbers costs twice as much."""
    import numpy as np

    found: Array = np.einsum("...k,...k->...", first, second)
    return found


def _impact(norm: Array) -> list[Array]:
    """Free fall before, strength and bounces of the impact."""
    import numpy as np

    step = 1.0 / GRID_HZ
    before, near = norm[:, BEFORE - 24 : BEFORE], norm[:, BEFORE - 20 : BEFORE + 30]
    inner = near[:, 1:-1]
    peaks = (inner > 1.5) & (inner >= near[:, :-2]) & (inner > near[:, 2:])
    top = np.maximum(norm[:, BEFORE], 1e-3)
    return [
        (before < 0.6).sum(1) * step,
        (before < 0.8).sum(1) * step,
        (near > 1.8).sum(1) * step,
        (near > 2.5).sum(1) * step,
        (near > 3.8).sum(1) * step,
        np.sort(near, axis=1)[:, -3:].mean(1),
        peaks.sum(1).astype(float),
        np.abs(norm - 1.0).mean(1),
        norm[:, BEFORE - 30 : BEFORE - 4].max(1) / top,
        norm[:, BEFORE + 5 : BEFORE + 40].max(1) / top,
    ]


def _course(cut: Array, norm: Array, upright: Array) -> list[Array]:
    """What came before and after: dip, speed gained downwards, rest."""
    import numpy as np

    step = 1.0 / GRID_HZ
    before = norm[:, BEFORE - 24 : BEFORE]
    lowest = before.argmin(1)
    down = 1.0 - _dot(cut[:, BEFORE - 24 : BEFORE], upright[:, None])
    after = np.abs(norm[:, BEFORE + 30 :] - 1.0)
    swing = np.abs(np.diff(cut[:, BEFORE + 20 :], axis=1)).sum(-1)
    return [
        before.min(1),
        (24 - lowest) * step,
        np.maximum(np.cumsum(down, axis=1).max(1), 0.0) * step,
        (after < 0.1).mean(1),
        norm[:, BEFORE + 40 :].std(1),
        np.sqrt((cut[:, BEFORE + 40 :].mean(1) ** 2).sum(1)),
        np.abs(norm[:, : BEFORE - 20] - 1.0).mean(1),
        norm[:, BEFORE + 40 :].max(1),
        norm[:, : BEFORE - 20].max(1),
        np.sort(swing, axis=1)[:, swing.shape[1] // 2],
    ]


def _turning(cut: Array, norm: Array, upright: Array) -> list[Array]:
    """How the wearer turned over: a fall does it in half a second round the impact, lying down takes its time."""
    import numpy as np

    span = 8
    sums = np.cumsum(np.concatenate([np.zeros_like(cut[:, :1]), cut], axis=1), axis=1)
    smooth = sums[:, span:] - sums[:, :-span]
    unit = smooth / np.maximum(np.sqrt(_dot(smooth, smooth)), 1e-3)[..., None]
    angle = np.degrees(np.arccos(np.clip(_dot(unit, upright[:, None]), -1.0, 1.0)))
    end = angle[:, -30:].mean(1)
    low, high = angle[:, 10:] > 0.25 * end[:, None], angle[:, 10:] > 0.75 * end[:, None]
    first, last = low.argmax(1), high.argmax(1)
    step = np.degrees(np.arccos(np.clip(_dot(unit[:, 6:], unit[:, :-6]), -1.0, 1.0)))
    # Signal of the half second round the impact against that of the whole window: a jolt, or ongoing activity.
    bumps = np.abs(norm - 1.0)
    return [
        (last - first) / GRID_HZ,
        (first + 10 + span // 2 - BEFORE) / GRID_HZ,
        step[:, 20:].max(1),
        end,
        angle[:, BEFORE - 24 - span // 2],
        np.minimum(norm[:, BEFORE - 30 : BEFORE] - 1.0, 0.0).sum(1) / GRID_HZ,
        bumps[:, BEFORE - 5 : BEFORE + 6].sum(1) / np.maximum(bumps.sum(1), 1e-3),
    ]
