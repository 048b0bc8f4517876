"""`anhu fall FILE`: what the fall detector says of recorded acceleration, one JSON object per impact.

Two forms are read. npz in the layout of UMAFall: `acc` int16 [N, 3] in milli-g and `off` [T+1], trial k is rows off[k]:off[k+1]; a csv
of the same name beside it may tell the rate (`fs`). csv with a header: three columns x, y, z (also ax, acc_x, x_mg, accel x (g), ...),
optionally a time `t` (s or ms), a sample number (`seq`, `n`, `sample`) and a trial `k`. The unit is told by the header (`mg`, `g`, `ms2`)
or by the size of gravity in the data. For each trial the last line is its summary: `k`, `alarm` and, for a fall, `latency_s`.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.text import example, print_json
from gateway.errors import AnhuError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

DEFAULT_HZ = 20.0
BLOCK_S = 1.0
"""Streams are fed in blocks of this length, as from a device."""
_AXIS = re.compile(r"(?:^|[^a-z])(?:a|acc|accel|acceleration)?[ _.]*([xyz])(?:$|[^a-z])")
_UNITS = (("mg", 1.0), ("milli", 1.0), ("m/s", 101.972), ("ms2", 101.972), ("ms-2", 101.972), ("mps2", 101.972), ("g", 1000.0))
_NUMBERS = ("seq", "n", "sample", "number", "index")
_TIMES = ("t", "time", "t_s", "time_s", "timestamp", "t_ms", "time_ms", "ms")


class Recording(NamedTuple):
    """One trial: number, samples in milli-g [n, 3], number of each sample, rate."""

    k: int
    samples: Array
    numbers: Array
    hz: float


def add(verbs: Any) -> None:
    """Register the verb."""
    parser = verbs.add_parser(
        "fall",
        help="verdicts of the fall detector on recorded acceleration",
        description="Prints time_s, score, verdict (fall, no fall, cannot judge) and latency_s of each impact, then k and alarm of the "
        "trial. FILE: npz (acc in milli-g, off) or csv with a header (x, y, z; optionally t, seq, k).",
        epilog=example("anhu fall walk_wrist.csv --hz 25"),
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--hz", type=float, help="samples per second (default: told by the file, else 20)")
    parser.add_argument("--place", choices=("wrist", "waist"), help="place of wear (default: told by the name of the file, else wrist)")
    parser.add_argument("--range-g", type=float, default=16.0, help="range of the sensor; values beyond are cut")
    parser.add_argument("--threshold", type=float, default=0.5, help="score from which an impact counts as a fall")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if args.hz is not None and not 5.0 <= args.hz <= 1000.0:
        raise AnhuError(f"--hz: expected 5..1000, got {args.hz:g}", hint="anhu fall --help")
    if args.range_g <= 0:
        raise AnhuError(f"--range-g: expected more than 0, got {args.range_g:g}", hint="anhu fall --help")
    place = args.place or ("waist" if "waist" in args.file.name.lower() else "wrist")
    try:
        recordings = _npz(args.file, args.hz) if args.file.suffix == ".npz" else _csv(args.file, args.hz)
        for recording in recordings:
            for line in judged(recording, place, threshold=args.threshold, range_g=args.range_g):
                print_json(line)
    except OSError as error:
        raise AnhuError(f"{args.file}: {error.strerror or error}", hint="anhu fall --help") from None
    except (ValueError, KeyError) as error:
        raise AnhuError(f"{args.file}: {error}", hint="anhu fall --help shows what a file holds") from None
    return 0


def judged(recording: Recording, place: str, *, threshold: float, range_g: float) -> Iterator[dict[str, Any]]:
    """The lines of one trial: its impacts, then `k` and `alarm`."""
    import numpy as np

    from gateway.rules.fall_stream import FALL, Stream, take, verdicts

    stream = Stream()
    samples = np.clip(np.round(recording.samples), -1000 * range_g, 1000 * range_g).astype(int)
    breaks = np.flatnonzero(np.diff(recording.numbers) != 1) + 1
    step = max(1, round(recording.hz * BLOCK_S))
    latency: float | None = None
    for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(samples)], strict=True):
        for at in range(begin, end, step):
            take(stream, samples[at : min(at + step, end)].ravel().tolist(), int(recording.numbers[at]), recording.hz)
            found = verdicts(stream, place, threshold=threshold)
            if at + step >= len(samples):
                found += verdicts(stream, place, threshold=threshold, is_end=True)
            for verdict in found:
                is_fall = verdict.verdict == FALL
                if is_fall and latency is None:
                    latency = verdict.latency_s
                yield {"k": recording.k, "alarm": is_fall, **verdict._asdict()}
    summary: dict[str, Any] = {"k": recording.k, "alarm": latency is not None}
    yield summary if latency is None else {**summary, "latency_s": latency}


def _npz(path: Path, hz: float | None) -> Iterator[Recording]:
    import numpy as np

    with np.load(path, allow_pickle=False) as parts:
        samples = parts["acc"]
        off = parts["off"] if "off" in parts else np.array([0, len(samples)])
        own = next((parts[name] for name in ("fs", "hz") if name in parts), None)
    if samples.ndim != 2 or samples.shape[1] != 3:
        raise ValueError(f"acc: [n, 3] expected, got {list(samples.shape)}")
    if not np.issubdtype(samples.dtype, np.integer):
        samples = samples * _unit_of(samples)
    told = _told_rates(path.with_suffix(".csv"))
    for k in range(len(off) - 1):
        trial = samples[off[k] : off[k + 1]].astype(float)
        rate = hz or told.get(k) or (float(np.ravel(own)[min(k, np.size(own) - 1)]) if own is not None else DEFAULT_HZ)
        yield Recording(k, trial, np.arange(len(trial)), rate)


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

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
        heads = list(rows[0]) if rows else []
    axes = {found[1]: head for head in heads if head and (found := _AXIS.search(head.lower())) and "gyr" not in head.lower()}
    if set(axes) != {"x", "y", "z"}:
        raise ValueError(f"columns x, y, z expected, got {', '.join(map(str, heads)) or 'nothing'}")
    names = {str(head).strip().lower(): head for head in heads}
    trial, number = names.get("k"), next((names[name] for name in _NUMBERS if name in names), None)
    time = next((names[name] for name in _TIMES if name in names), None)
    factor = _told_unit(axes["x"])
    for k, group in groupby(rows, key=lambda row: int(row[trial]) if trial else 0):
        lines = list(group)
        samples = np.array([[float(row[axes[axis]]) for axis in "xyz"] for row in lines])
        samples = samples * (factor or _unit_of(samples))
        rate, numbers = _timing(lines, time, number, hz)
        yield Recording(k, samples, numbers, rate)


def _timing(lines: list[dict[str, str]], time: str | None, number: str | None, hz: float | None) -> tuple[float, Array]:
    """Rate and sample numbers. Stamps tell gaps only where they are regular: radio delivers in bursts."""
    import numpy as np

    numbers = np.array([int(float(row[number])) for row in lines]) if number else np.arange(len(lines))
    if time is None or len(lines) < 3:
        return hz or DEFAULT_HZ, numbers
    at = np.array([float(row[time]) for row in lines])
    steps = np.diff(at)
    if np.median(np.abs(steps)) >= 1.0 or "ms" in time.lower():
        at, steps = at / 1000.0, steps / 1000.0
    usual = float(np.median(steps))
    is_regular = usual > 0 and float((np.abs(steps - usual) < 0.25 * usual).mean()) > 0.7
    if hz is None:
        span = float(at[-1] - at[0])
        hz = 1.0 / usual if is_regular else (numbers[-1] - numbers[0]) / span if span > 0 else DEFAULT_HZ
    if is_regular and number is None:
        numbers = np.maximum.accumulate(np.round((at - at[0]) * hz).astype(int))
        numbers += np.concatenate([[0], np.cumsum(np.diff(numbers) == 0)])
    return float(hz), numbers


def _told_unit(head: str) -> float | None:
    rest = re.sub(r"[^a-z0-9/^-]", " ", head.lower().replace("acceleration", "").replace("accel", "").replace("acc", ""))
    return next((factor for unit, factor in _UNITS if unit in rest), None)


def _unit_of(samples: Array) -> float:
    """To milli-g, by the usual length of the vector: 1 (g), 9.8 (m/s2) or 1000 (milli-g)."""
    import numpy as np

    usual = float(np.median(np.sqrt((np.asarray(samples, dtype=float) ** 2).sum(1)))) if len(samples) else 1.0
    return 1000.0 if usual < 4.0 else 101.972 if usual < 40.0 else 1.0
