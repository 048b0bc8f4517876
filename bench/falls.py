"""Sensitivity and specificity of the fall detector by cross-validation over people: `python bench/falls.py [wrist|waist]` prints JSON.

Each person is judged by trees that never saw it, at a cut that the others give (`bench/train_falls.py`): as recorded, and carried over
to what other devices and radio do to the same acts. The stored trees are not used, since they know these people; only their cost is
measured. Recordings: `data/fall/umafall` of the shared folder (ANHU_SHARED, or beside the checkout). Takes minutes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.train_falls import Trial, cross_validate, cuts_by_person, lossy, rates, read_trials, trial_scores
from gateway.rules.fall_features import GRID_HZ
from gateway.rules.fall_trees import PLACES, trees_for

SHARED = Path(os.environ.get("ANHU_SHARED", Path(__file__).resolve().parents[2] / "shared"))
Array = np.ndarray[Any, np.dtype[Any]]


def at_rate(samples: Array, hz: float, other: float) -> Array:
    at = np.arange(0, (len(samples) - 1) / hz, 1.0 / other)
    return np.stack([np.interp(at, np.arange(len(samples)) / hz, samples[:, axis]) for axis in range(3)], axis=1)


def carried(trial: Trial, roll: np.random.Generator, *, hz: float = GRID_HZ, range_g: float = 16.0, turn: bool = False) -> Trial:
    samples = at_rate(trial.samples, trial.hz, hz) if hz != trial.hz else trial.samples
    if turn:
        samples = samples @ np.linalg.qr(roll.normal(size=(3, 3)))[0]
    return trial._replace(samples=np.clip(samples, -range_g, range_g), hz=hz)


def with_bursts(trial: Trial, roll: np.random.Generator) -> Trial:
    """Half a second lost at a stroke, about every five seconds."""
    samples = trial.samples
    return trial._replace(samples=lossy(samples, roll, share=0.1, packet=round(trial.hz / 2)))


DISTORTIONS: dict[str, Callable[[Trial, np.random.Generator], Trial]] = {
    "as_recorded": lambda trial, roll: trial,
    "axes_swapped": lambda trial, roll: trial._replace(samples=trial.samples[:, [2, 0, 1]] * [1, -1, 1]),
    "25_hz": lambda trial, roll: carried(trial, roll, hz=25.0),
    "50_hz_4_g": lambda trial, roll: carried(trial, roll, hz=50.0, range_g=4.0),
    "32_hz_4_g_turned": lambda trial, roll: carried(trial, roll, hz=32.0, range_g=4.0, turn=True),
    "packets_lost_10_pct": lambda trial, roll: trial._replace(samples=lossy(trial.samples, roll, share=0.1)),
    "bursts_lost_10_pct": with_bursts,
    "weaker_15_pct": lambda trial, roll: trial._replace(samples=trial.samples * 0.85),
}


def cost_us(place: str) -> float:
    """CPU microseconds per candidate with the stored trees."""
    trees = trees_for(place)
    stream = np.random.default_rng(1).normal(0, 0.4, (400, 3)) + [0, 0, 1]
    spans = []
    for _ in range(200):
        begin = time.process_time()
        trees.margins(stream, [200])
        spans.append(time.process_time() - begin)
    return round(sorted(spans)[100] * 1e6, 1)


def measure_place(place: str) -> dict[str, Any]:
    path = SHARED / "data" / "fall" / "umafall" / f"umafall_{place}.npz"
    found: dict[str, Any] = {"us_per_candidate": cost_us(place)}
    if not path.exists():
        return {**found, "skipped": f"{path} is absent: set ANHU_SHARED to the shared folder"}
    trials = read_trials(path)
    scores, ensembles, names = cross_validate(trials)
    is_fall, people = np.array([trial.is_fall for trial in trials]), np.array([trial.person for trial in trials])
    cuts = cuts_by_person(scores, is_fall, people)
    limits = np.array([cuts[person] for person in people])
    for name, distort in DISTORTIONS.items():
        roll = np.random.default_rng(7)
        other = [distort(trial, roll) for trial in trials]
        for parts, person in zip(ensembles, names, strict=True):
            mine = np.flatnonzero(people == person)
            scores[mine] = trial_scores(parts, [other[number] for number in mine])
        found[name] = rates(scores >= limits, is_fall)
        if name == "as_recorded":
            by = {person.rsplit("/")[-1]: rates((scores >= limits)[people == person], is_fall[people == person]) for person in names}
            found["by_person"] = by
    return found


def measure(places: tuple[str, ...] = PLACES) -> dict[str, Any]:
    """Both places."""
    return {place: measure_place(place) for place in places}


if __name__ == "__main__":
    print(json.dumps(measure(tuple(sys.argv[1:]) or PLACES), indent=1))
