"""Recorded acceleration of any device, read into milli-g on numbered samples.

npz: `acc` [N, 3] (or [3, N]; also `accel`, `acceleration`, `data`, or `x`, `y`, `z`) and `off` [T+1], trial k is rows off[k]:off[k+1];
`fs` or `hz` in the file, or a csv of the same name with columns `k` and `fs`, tell the rate.

csv: separated by comma, semicolon, tab or blanks; lines that begin with # or % are left out. A header names x, y, z (acc_x, ax, x_mg,
accel x (g), x-axis (g), ...), optionally a time (s, ms, us, ns or ISO 8601), a sample number (`seq`, `n`, `sample`) and a trial `k`.
Without a header the last three of up to four columns are taken. Rows that cannot be read are lost samples.

The unit is told by the header (`mg`, `g`, `m/s2`) unless gravity in the data says otherwise; raw counts are recognised by gravity, too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

DEFAULT_HZ = 20.0
SLOWEST_HZ, FASTEST_HZ = 5.0, 1000.0
_AXIS = re.compile(r"(?:^|[^a-z])(?:a|acc|accel|accelerometer|acceleration)?[ _.]*([xyz])(?:$|[^a-z])")
_OTHER = re.compile(r"gyr|mag|rot|angular|orient|quat|euler|linear|gravity|roll|pitch|yaw|(?:^|[^a-z])w[ _]?[xyz]")
"""Columns of other sensors that have an x, y and z as well."""
_UNITS = (
    (re.compile(r"(?:^|[^a-z])(?:mg|milli[ _-]?g)(?:$|[^a-z])"), 1.0),
    (re.compile(r"m/s|(?:^|[^a-z])(?:m[ _]?s\^?-?2|mps2)(?:$|[^a-z])"), 101.972),
    (re.compile(r"(?:^|[^a-z])g(?:$|[^a-z])"), 1000.0),
)
_GRAVITIES = (1.0, 9.80665, 64.0, 128.0, 256.0, 512.0, 1000.0, 2048.0, 4096.0, 8192.0, 16384.0)
"""Length of a resting vector in the units in use: g, m/s2, counts of usual sensors, milli-g."""
_NUMBERS = ("seq", "n", "sample", "sample_no", "sample no", "number", "index")
_TRIALS = ("k", "trial", "trial_id", "record", "recording")
_TIME = re.compile(r"(?:^|[^a-z])(?:t|ts|time|times|timestamp|timestamps|epoch|elapsed|ms|sec|seconds|datetime)(?:$|[^a-z])")


class Recording(NamedTuple):
    """One trial: number, samples in milli-g [n, 3], number of each sample, rate."""

    k: int
    samples: Array
    numbers: Array
    hz: float


def read_recordings(path: Path, hz: float | None) -> Iterator[Recording]:
    """The trials of a file; `hz` overrides what it tells. Raises OSError, ValueError (what is wrong with it)."""
    return _npz(path, hz) if path.suffix.lower() == ".npz" else _csv(path, hz)


def to_milli_g(samples: Array, told: float | None = None) -> Array:
    """Samples in milli-g. `told` is the factor that a header names; where gravity contradicts it, gravity is believed."""
    import numpy as np

    usual = float(np.median(np.sqrt((np.asarray(samples, dtype=float) ** 2).sum(1)))) if len(samples) else 1.0
    if told is not None and 500.0 < usual * told < 2000.0:
        return samples * told
    # The nearest by ratio: a recording may be all movement, and gravity then only about right.
    gravity = min(_GRAVITIES, key=lambda known: abs(np.log(max(usual, 1e-9) / known)))
    return samples * (1000.0 / gravity)


def _npz(path: Path, hz: float | None) -> Iterator[Recording]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        parts = dict(file)
    samples = _axes(parts)
    off = parts["off"] if "off" in parts else np.array([0, len(samples)])
    own = next((parts[name] for name in ("fs", "hz", "rate") if name in parts), None)
    if len(off) < 2 or off[0] < 0 or off[-1] > len(samples) or (np.diff(off) < 0).any():
        raise ValueError(f"off: rising row numbers up to {len(samples)} expected")
    samples = to_milli_g(samples.astype(float))
    told = _told_rates(path.with_suffix(".csv"))
    for k in range(len(off) - 1):
        trial = samples[off[k] : off[k + 1]]
        rate = hz or told.get(k) or (float(np.ravel(own)[min(k, np.size(own) - 1)]) if own is not None else DEFAULT_HZ)
        is_good = np.isfinite(trial).all(axis=1)
        yield Recording(k, trial[is_good], np.flatnonzero(is_good), rate)


def _axes(parts: dict[str, Array]) -> Array:
    import numpy as np

    if {"x", "y", "z"} <= parts.keys():
        return np.stack([np.ravel(parts[axis]) for axis in "xyz"], axis=1)
    name = next((name for name in ("acc", "accel", "acceleration", "data", "samples", "arr_0") if name in parts), None)
    if name is None:
        raise ValueError(f"acc expected, got {', '.join(sorted(parts)) or 'nothing'}")
    samples = parts[name]
    if samples.ndim == 2 and samples.shape[1] != 3 and samples.shape[0] == 3:
        samples = samples.T
    if samples.ndim != 2 or samples.shape[1] < 3 or not np.issubdtype(samples.dtype, np.number):
        raise ValueError(f"{name}: numbers [n, 3] expected, got {list(parts[name].shape)}")
    return samples[:, :3]


def _told_rates(path: Path) -> dict[int, float]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file)
        if not {"k", "fs"} <= set(rows.fieldnames or ()):
            return {}
        return {int(row["k"]): float(row["fs"]) for row in rows if row["fs"]}


def _csv(path: Path, hz: float | None) -> Iterator[Recording]:
    import numpy as np

    heads, rows = _table(path)
    low = [head.strip().lower() for head in heads]
    axes = {found[1]: at for at, head in reversed(list(enumerate(low))) if not _OTHER.search(head) and (found := _AXIS.search(head))}
    if set(axes) != {"x", "y", "z"}:
        raise ValueError(f"columns x, y, z expected, got {', '.join(heads) or 'nothing'}")
    number, trial = (next((low.index(name) for name in names if name in low), None) for names in (_NUMBERS, _TRIALS))
    time = next((at for at, head in enumerate(low) if at not in (*axes.values(), number, trial) and _TIME.search(head)), None)
    samples = np.array([[_number(row, axes[axis]) for axis in "xyz"] for row in rows]).reshape(-1, 3)
    is_good = np.isfinite(samples).all(axis=1)
    if not is_good.any():
        raise ValueError("no row with numbers for x, y, z")
    told = next((factor for unit, factor in _UNITS if unit.search(_without_axis(low[axes["x"]]))), None)
    samples[is_good] = to_milli_g(samples[is_good], told)
    stamps = np.array([_stamp(row, time) for row in rows]) if time is not None else None
    names = [row[trial] if trial is not None and trial < len(row) else "" for row in rows]
    for at, (name, group) in enumerate(groupby(range(len(rows)), key=names.__getitem__)):
        mine = np.array(list(group))
        numbers = np.array([_number(rows[row], number) for row in mine]) if number is not None else None
        rate, numbered = _timing(stamps[mine] if stamps is not None else None, numbers, len(mine), hz)
        kept = is_good[mine] & np.isfinite(numbered)
        k = int(name) if name.strip().lstrip("-").isdigit() else at
        yield Recording(k, samples[mine][kept], numbered[kept].astype(np.int64), rate)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Heads and rows. Without a header: x, y, z, behind a time where there are four columns or more."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = [line for line in file.read().splitlines() if line.strip() and line.lstrip()[0] not in "#%"]
    if not lines:
        return [], []
    mark = next((mark for mark in (";", "\t", ",") if mark in lines[0]), None)
    rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
    if mark in (";", "\t"):
        rows = [[cell.replace(",", ".") if re.fullmatch(r"\s*-?\d+,\d+\s*", cell) else cell for cell in row] for row in rows]
    cells = [cell for cell in rows[0] if cell.strip()]
    if any(not _is_number(cell) for cell in cells):
        return rows[0], rows[1:]
    if len(cells) not in (3, 4):
        raise ValueError(f"a header is needed to tell {len(cells)} columns apart")
    return (["x", "y", "z"] if len(cells) == 3 else ["t", "x", "y", "z"]), rows


def _timing(stamps: Array | None, numbers: Array | None, count: int, hz: float | None) -> tuple[float, Array]:
    """Rate and sample numbers. Stamps tell gaps only where they are regular: radio delivers in bursts."""
    import numpy as np

    numbered = np.arange(count, dtype=float) if numbers is None else _unwrapped(numbers)
    if stamps is None or count < 3 or not np.isfinite(stamps).all():
        return hz or DEFAULT_HZ, numbered
    steps = np.diff(stamps)
    span, usual = float(stamps[-1] - stamps[0]), float(np.median(steps))
    per_s = _per_second(usual if usual > 0 else span / (count - 1))
    is_near = np.abs(steps - usual) < 0.25 * usual
    is_regular = usual > 0 and float(is_near.mean()) > 0.7
    if is_regular:
        # Stamps are rounded: the mean of the usual steps is nearer the truth than any one of them.
        usual = float(steps[is_near].mean())
    if hz is None:
        covered = numbered[-1] - numbered[0]
        hz = per_s / usual if is_regular and numbers is None else covered * per_s / span if span > 0 and covered > 0 else DEFAULT_HZ
    if is_regular and numbers is None:
        numbered = np.maximum.accumulate(np.round((stamps - stamps[0]) / per_s * hz))
        # Two stamps in one place are two samples all the same.
        numbered += np.concatenate([[0], np.cumsum(np.diff(numbered) == 0)])
    return float(hz), numbered


def _unwrapped(numbers: Array) -> Array:
    """Numbers of a counter of 8 or 16 bits as if it had more."""
    import numpy as np

    top = float(np.nanmax(numbers, initial=0.0))
    size = 256 if top < 256 else 65536 if top < 65536 else 0
    wraps = np.diff(numbers, prepend=numbers[:1]) < -size / 2
    found: Array = numbers + size * np.cumsum(wraps) if size else numbers
    return found


def _per_second(step: float) -> float:
    """Ticks of a second: the unit (s, ms, us, ns) in which this step between samples is one of a device."""
    known = (1.0, 1e3, 1e6, 1e9)
    return next((ticks for ticks in known if SLOWEST_HZ <= ticks / max(step, 1e-12) <= FASTEST_HZ), 1.0)


def _without_axis(head: str) -> str:
    """What a head says besides the axis and the sensor: the unit."""
    return re.sub(r"accelerometer|acceleration|accel|acc", " ", head)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(row: list[str], at: int | None) -> float:
    """A cell as a number; what is none, is lost."""
    if at is None or at >= len(row):
        return float("nan")
    try:
        return float(row[at])
    except ValueError:
        return float("nan")


def _stamp(row: list[str], at: int) -> float:
    if at >= len(row) or _is_number(row[at]):
        return _number(row, at)
    try:
        moment = datetime.fromisoformat(row[at].strip())
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
