"""Train the trees of the fall detector: `python bench/train_falls.py wrist FILE.npz ...` writes gateway/rules/data/fall_wrist.npz.

Each recording is an npz in the layout of UMAFall in the shared data (`acc` int16 [N, 3] milli-g, `off` [T+1]) with a csv of the same
name beside it (k, subject, is_fall, fs, range_g). Several recordings are trained together; people are kept apart by file and name.

Boosted oblivious trees on log-loss and half of a logistic regression beside them, in numpy alone: trees know what they were shown,
the regression goes on smoothly beyond. Each person weighs as the square root of its trials, so that one who gave half of
them does not decide. Every stream is trained as it is and in `VARIANTS` distorted forms: other rates and phases, rotation with 4 g
clipping, lost packets, weaker and stronger movements. Prints the cross-validation by person as JSON; the cut stored with the trees is
calibrated on the people left out, never on those trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gateway.rules.fall_features import GRID_HZ, candidates, features, names, regrid, window
from gateway.rules.fall_trees import FOLDER, FallTrees

TREES, DEPTH, RATE, BINS = 200, 6, 0.06, 24
ROWS_SHARE, COLUMNS_SHARE, RIDGE = 0.7, 0.35, 10.0
BAGS = 2
"""Ensembles of other random choices that are averaged."""
VARIANTS = 9
JITTER = 2
"""Samples by which the window of a variant is off the peak: which sample is the highest is an accident of the rate."""
LINEAR_SHARE, LINEAR_RIDGE, LINEAR_STEPS = 0.5, 30.0, 12
"""Weight of the regression, its ridge, and Newton's steps."""
FALSE_WEIGHT, SOFT = 3.5, 1.0
"""A false alarm in a hundred acts weighs as much as this many missed falls in a hundred; log-odds over which the cut is blurred."""
PACKET = 5
Array = np.ndarray[Any, np.dtype[Any]]


class Trial(NamedTuple):
    """One recording of one act: samples in g at `hz`."""

    person: str
    is_fall: bool
    hz: float
    samples: Array


class Rows(NamedTuple):
    """Candidates as features, with the trial, its person, whether it is a fall and its weight."""

    x: Array
    trial: Array
    is_fall: Array
    weight: Array


def read_trials(path: Path) -> list[Trial]:
    """The trials of an npz with its csv."""
    with np.load(path, allow_pickle=False) as parts:
        acc, off = parts["acc"].astype(float) / 1000.0, parts["off"]
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Trial(f"{path.stem}/{row['subject']}", row["is_fall"] in ("1", "True", "true"), float(row["fs"]), acc[off[k] : off[k + 1]])
        for k, row in ((int(row["k"]), row) for row in rows)
    ]


def distorted(trial: Trial, roll: np.random.Generator) -> tuple[Array, float]:
    """Another form of a stream, on the grid, and where its highest sample was before any were lost."""
    stream = trial.samples * roll.uniform(0.85, 1.18)
    turn, _ = np.linalg.qr(roll.normal(size=(3, 3)))
    stream = stream @ turn
    if roll.random() < 0.6:
        stream = np.clip(stream, -4.0, 4.0)
    hz = trial.hz
    if roll.random() < 0.5:
        # The same act quicker or slower.
        hz *= roll.uniform(0.88, 1.14)
    if roll.random() < 0.6:
        other = float(roll.choice([25.0, 32.0, 50.0]))
        at = np.arange(0, (len(stream) - 1) / hz, 1.0 / other)
        stream = np.stack([np.interp(at, np.arange(len(stream)) / hz, stream[:, axis]) for axis in range(3)], axis=1)
        hz = other
    peak_s = float((stream * stream).sum(1).argmax()) / hz
    stream = np.concatenate([stream, np.zeros((len(stream), 1))], axis=1)
    if roll.random() < 0.5:
        stream = lossy(stream, roll, share=roll.uniform(0.03, 0.16), packet=int(roll.choice([PACKET, round(hz / 4), round(hz / 2)])))
    stream[:, :3] += roll.normal(0.0, 0.01, (len(stream), 3))
    return regrid(stream, hz, phase_s=roll.uniform(0.0, 1.0 / GRID_HZ)), peak_s


def lossy(stream: Array, roll: np.random.Generator, *, share: float, packet: int = PACKET) -> Array:
    """Packets lost and filled by straight lines, as the detector does."""
    lost = np.repeat(roll.random(len(stream) // packet + 1) < share, packet)[: len(stream)]
    if lost.all() or not lost.any():
        return stream
    at = np.arange(len(stream))
    filled = [np.interp(at, at[~lost], column[~lost]) for column in stream[:, :3].T]
    return np.stack([*filled, lost.astype(float)], axis=1)


def rows_of(trials: list[Trial], *, variants: int, seed: int) -> Rows:
    """Candidates of all trials and their variants. Of a fall only the highest is taught: what else it holds nobody labelled."""
    roll = np.random.default_rng(seed)
    count = {person: sum(trial.person == person for trial in trials) for person in {trial.person for trial in trials}}
    windows, places, falls, weights = [], [], [], []
    for number, trial in enumerate(trials):
        for variant in range(variants + 1):
            if variant:
                stream, peak_s = distorted(trial, roll)
            else:
                stream = regrid(np.concatenate([trial.samples, np.zeros((len(trial.samples), 1))], axis=1), trial.hz)
                peak_s = float((trial.samples**2).sum(1).argmax()) / trial.hz
            found = candidates(stream)
            if trial.is_fall and variants and found:
                found = [min(found, key=lambda index: abs(index / GRID_HZ - peak_s))]
            for index in found:
                moved = index + int(roll.integers(-JITTER, JITTER + 1)) if variant else index
                windows.append(window(stream, min(max(moved, 0), len(stream) - 1)))
                places.append(number)
                falls.append(trial.is_fall)
                weights.append(1.0 / np.sqrt(count[trial.person]) / len(found) ** 0.5)
    return Rows(features(np.stack(windows)), np.array(places), np.array(falls), np.array(weights))


def bags_of(trials: list[Trial], seed: int) -> list[Rows]:
    """Rows for each ensemble, with other variants."""
    return [rows_of(trials, variants=VARIANTS, seed=seed + 1000 * bag) for bag in range(BAGS)]


def train(bags: list[Rows], is_taught: Array, seed: int) -> dict[str, Array]:
    """The averaged ensembles and the regression: parts of the data file but for the cut. `is_taught` by trial."""
    taught = [Rows(*(part[is_taught[bag.trial]] for part in bag)) for bag in bags]
    grown = [boost(rows, seed + 1000 * number) for number, rows in enumerate(taught)]
    joined = {name: np.concatenate([bag[name] for bag in grown]) for name in ("feature", "threshold", "leaf")}
    joined["leaf"] = joined["leaf"] / len(bags)
    whole = Rows(*(np.concatenate(part) for part in zip(*taught, strict=True)))
    return {**joined, **regression(whole), "names": np.array(names())}


def balanced(rows: Rows) -> Array:
    """Weights by which falls count as much as everything else."""
    weight = rows.weight.copy()
    weight[rows.is_fall] *= weight[~rows.is_fall].sum() / max(weight[rows.is_fall].sum(), 1e-9)
    found: Array = weight / weight.mean()
    return found


def regression(rows: Rows) -> dict[str, Array]:
    """Logistic regression on features within the bounds seen, ready for `clip(x, low, high) @ weight + bias`."""
    low, high = np.quantile(rows.x, [0.005, 0.995], axis=0)
    inner = np.clip(rows.x, low, high)
    mean, scale = inner.mean(0), inner.std(0) + 1e-6
    z = np.concatenate([(inner - mean) / scale, np.ones((len(inner), 1))], axis=1)
    y, weight, found = rows.is_fall.astype(float), balanced(rows), np.zeros(z.shape[1])
    ridge = np.append(np.full(len(mean), LINEAR_RIDGE), 1e-3)
    for _ in range(LINEAR_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(z @ found, -30, 30)))
        curve = weight * p * (1.0 - p)
        found += np.linalg.solve((z * curve[:, None]).T @ z + np.diag(ridge), z.T @ (weight * (y - p)) - ridge * found)
    slope = LINEAR_SHARE * found[:-1] / scale
    return {"low": low, "high": high, "weight": slope, "bias": np.array(LINEAR_SHARE * found[-1] - mean @ slope)}


def boost(rows: Rows, seed: int) -> dict[str, Array]:
    """One ensemble."""
    roll = np.random.default_rng(seed)
    y, weight = rows.is_fall.astype(float), balanced(rows)
    edges = np.quantile(rows.x, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T
    codes = np.stack([np.searchsorted(edges[f], rows.x[:, f], side="left") for f in range(rows.x.shape[1])], axis=1)
    margin = np.zeros(len(y))
    feature, threshold, leaf = np.zeros((TREES, DEPTH), np.int16), np.zeros((TREES, DEPTH)), np.zeros((TREES, 1 << DEPTH))
    for tree in range(TREES):
        p = 1.0 / (1.0 + np.exp(-margin))
        used = np.flatnonzero(roll.random(len(y)) < ROWS_SHARE)
        columns = np.flatnonzero(roll.random(codes.shape[1]) < COLUMNS_SHARE)
        gradient, curve = (weight * (y - p))[used], (weight * p * (1 - p))[used]
        place = np.zeros(len(used), int)
        for level in range(DEPTH):
            f, bin_ = _split(codes[used][:, columns], gradient, curve, place, leaves=1 << level)
            feature[tree, level], threshold[tree, level] = columns[f], edges[columns[f], bin_]
            place += (codes[used, columns[f]] > bin_).astype(int) << level
        sums = np.bincount(place, gradient, 1 << DEPTH), np.bincount(place, curve, 1 << DEPTH)
        leaf[tree] = RATE * sums[0] / (sums[1] + RIDGE)
        bits = rows.x[:, feature[tree]] > threshold[tree]
        margin += leaf[tree][bits @ (1 << np.arange(DEPTH))]
    return {"feature": feature, "threshold": threshold, "leaf": leaf}


def _split(codes: Array, gradient: Array, curve: Array, place: Array, *, leaves: int) -> tuple[int, int]:
    """The question that gains most over all leaves of a level: column and bin."""
    columns = codes.shape[1]
    cells = ((place[:, None] * columns + np.arange(columns)) * BINS + codes).ravel()
    size = leaves * columns * BINS
    left = [np.bincount(cells, np.repeat(values, columns), size).reshape(leaves, columns, BINS).cumsum(2) for values in (gradient, curve)]
    total = [part[:, :, -1:] for part in left]
    gain = left[0] ** 2 / (left[1] + RIDGE) + (total[0] - left[0]) ** 2 / (total[1] - left[1] + RIDGE)
    best = int(gain[:, :, :-1].sum(0).argmax())
    return best // (BINS - 1), best % (BINS - 1)


def best_cut(scores: Array, is_fall: Array) -> float:
    """The cut that costs least over missed falls and false alarms, both blurred: a few trials more or less must not move it."""
    cuts = np.arange(-8.0, 9.0, 0.02)
    missed = 1.0 / (1.0 + np.exp(np.clip((scores[is_fall][:, None] - cuts) / SOFT, -50, 50)))
    false = 1.0 / (1.0 + np.exp(np.clip((cuts - scores[~is_fall][:, None]) / SOFT, -50, 50)))
    return float(cuts[(missed.mean(0) + FALSE_WEIGHT * false.mean(0)).argmin()])


def cross_validate(trials: list[Trial], seed: int = 1) -> tuple[Array, list[dict[str, Array]], list[str]]:
    """Out-of-person log-odds of each trial, the ensembles and the people that each left out."""
    people = sorted({trial.person for trial in trials})
    scores = np.full(len(trials), -20.0)
    ensembles, bags = [], bags_of(trials, seed)
    for fold, person in enumerate(people):
        parts = train(bags, np.array([trial.person != person for trial in trials]), seed + fold)
        ensembles.append(parts)
        mine = [number for number, trial in enumerate(trials) if trial.person == person]
        scores[mine] = trial_scores(parts, [trials[number] for number in mine])
    return scores, ensembles, people


def trial_scores(parts: dict[str, Array], trials: list[Trial]) -> Array:
    """The highest log-odds of each trial."""
    trees = FallTrees({"cut": np.array(0.0), **parts})
    found = np.full(len(trials), -20.0)
    for number, trial in enumerate(trials):
        stream = regrid(trial.samples, trial.hz)
        places = candidates(stream)
        if places:
            found[number] = trees.margins(stream, places).max()
    return found


def rates(alarm: Array, is_fall: Array) -> dict[str, float | int]:
    """Sensitivity and specificity."""
    return {
        "falls": int(is_fall.sum()),
        "others": int((~is_fall).sum()),
        "sensitivity": round(float(alarm[is_fall].mean()), 4) if is_fall.any() else 0.0,
        "specificity": round(float((~alarm[~is_fall]).mean()), 4) if (~is_fall).any() else 0.0,
    }


def cuts_by_person(scores: Array, is_fall: Array, people: Array) -> dict[str, float]:
    """For each person the cut that the others' left-out scores give."""
    return {person: best_cut(scores[people != person], is_fall[people != person]) for person in np.unique(people).tolist()}


def measure() -> dict[str, Any]:
    """What the stored trees are; training itself is asked for by name."""
    paths = sorted(FOLDER.glob("fall_*.npz"))
    return {path.stem: {"bytes": path.stat().st_size, **_shape(path)} for path in paths}


def _shape(path: Path) -> dict[str, float | int]:
    with np.load(path, allow_pickle=False) as parts:
        trees, depth = parts["feature"].shape
        return {"trees": trees, "depth": depth, "features": len(parts["names"]), "cut": round(float(parts["cut"]), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", choices=("wrist", "waist"))
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="default: the data folder of the rules")
    args = parser.parse_args()
    trials = [trial for path in args.recordings for trial in read_trials(path)]
    scores, _, _ = cross_validate(trials)
    is_fall = np.array([trial.is_fall for trial in trials])
    people = np.array([trial.person for trial in trials])
    cuts = cuts_by_person(scores, is_fall, people)
    alarm = scores >= np.array([cuts[person] for person in people])
    print(json.dumps({"place": args.place, "cross_validated": rates(alarm, is_fall), "cuts": cuts}))
    parts = train(bags_of(trials, 100), np.ones(len(trials), bool), 100)
    parts["cut"] = np.array(best_cut(scores, is_fall))
    out = args.out or FOLDER / f"fall_{args.place}.npz"
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **parts)
    print(json.dumps({"file": str(out), "bytes": out.stat().st_size, "cut": float(parts["cut"])}))


if __name__ == "__main__":
    main()
