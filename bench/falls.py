"""Sensitivity and specificity of the fall detector by cross-validation over people: `python bench/falls.py [wrist|waist]` prints JSON.

Each person is judged by trees that never saw it, at a cut that the others give (`bench/train_falls.py`): as recorded, and carried over
to what other devices and radio do to the same acts. The samples go through the stream of the gateway, packet by packet; what it could
not judge counts as no alarm. The stored trees are not used, since they know these people; only their cost is
measured. Recordings: `data/fall/umafall` of the shared folder (ANHU_SHARED, or beside the checkout). Takes minutes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.train_falls import Trial, cross_validate, cuts_by_person, rates, read_trials
from gateway.rules.fall_features import GRID_HZ
from gateway.rules.fall_stream import CANNOT_JUDGE, FALL, Stream, take, verdicts
from gateway.rules.fall_trees import PLACES, FallTrees, trees_for

SHARED = Path(os.environ.get("ANHU_SHARED", Path(__file__).resolve().parents[2] / "shared"))
Array = np.ndarray[Any, np.dtype[Any]]
PACKET = 5
"""Samples of a packet."""
LOSSES = 3
"""Times that the chance of lost packets is drawn; the figures are of all draws together."""


class Heard(NamedTuple):
    """What reaches the gateway of a trial: samples in g at `hz`, and which of them arrive."""

    samples: Array
    hz: float
    arrives: Array


def whole(samples: Array, hz: float) -> Heard:
    return Heard(samples, hz, np.ones(len(samples), bool))


def carried(trial: Trial, roll: np.random.Generator, *, hz: float = GRID_HZ, range_g: float = 16.0, turn: bool = False) -> Heard:
    """The act as another device would have recorded it: rate, range, way of wearing, noise."""
    samples = trial.samples
    if hz != trial.hz:
        at = np.arange(0, (len(samples) - 1) / trial.hz, 1.0 / hz)
        samples = np.stack([np.interp(at, np.arange(len(samples)) / trial.hz, samples[:, axis]) for axis in range(3)], axis=1)
    if turn:
        samples = samples @ np.linalg.qr(roll.normal(size=(3, 3)))[0]
        samples = samples + roll.normal(0.0, 0.015, samples.shape)
    return whole(np.clip(samples, -range_g, range_g), hz)


def with_losses(trial: Trial, roll: np.random.Generator, *, packet: int) -> Heard:
    """A tenth of the packets does not arrive."""
    lost = np.repeat(roll.random(len(trial.samples) // packet + 1) < 0.1, packet)[: len(trial.samples)]
    return Heard(trial.samples, trial.hz, ~lost)


DISTORTIONS: dict[str, Callable[[Trial, np.random.Generator], Heard]] = {
    "as_recorded": lambda trial, roll: whole(trial.samples, trial.hz),
    "axes_swapped": lambda trial, roll: whole(trial.samples[:, [2, 0, 1]] * [1, -1, 1], trial.hz),
    "25_hz": lambda trial, roll: carried(trial, roll, hz=25.0),
    "50_hz_4_g": lambda trial, roll: carried(trial, roll, hz=50.0, range_g=4.0),
    "50_hz_4_g_turned_noisy": lambda trial, roll: carried(trial, roll, hz=50.0, range_g=4.0, turn=True),
    "32_hz_4_g_turned_noisy": lambda trial, roll: carried(trial, roll, hz=32.0, range_g=4.0, turn=True),
    "packets_lost_10_pct": lambda trial, roll: with_losses(trial, roll, packet=PACKET),
    "half_seconds_lost_10_pct": lambda trial, roll: with_losses(trial, roll, packet=round(trial.hz / 2)),
    "weaker_15_pct": lambda trial, roll: whole(trial.samples * 0.85, trial.hz),
    "stronger_15_pct": lambda trial, roll: whole(trial.samples * 1.15, trial.hz),
}


def said(heard: Heard, trees: FallTrees) -> set[str]:
    """The verdicts of the detector on a trial, packet by packet as in the gateway."""
    stream, found = Stream(), set()
    samples = np.round(heard.samples * 1000).astype(int)
    step = max(PACKET, round(heard.hz))
    edges = np.flatnonzero(np.diff(heard.arrives.astype(int))) + 1
    for run in np.split(np.arange(len(samples)), edges):
        if not len(run) or not heard.arrives[run[0]]:
            continue
        for at in range(run[0], run[-1] + 1, step):
            take(stream, samples[at : min(at + step, run[-1] + 1)].ravel().tolist(), at, heard.hz)
            found |= {verdict.verdict for verdict in verdicts(stream, "", trees=trees)}
    return found | {verdict.verdict for verdict in verdicts(stream, "", trees=trees, is_end=True)}


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
    judges = {person: FallTrees({**parts, "cut": np.array(cuts[person])}) for parts, person in zip(ensembles, names, strict=True)}
    for name, distort in DISTORTIONS.items():
        draws = LOSSES if "lost" in name else 1
        words = [
            [said(distort(trial, roll), judges[trial.person]) for trial in trials]
            for roll in (np.random.default_rng(7 + draw) for draw in range(draws))
        ]
        alarm = np.array([[FALL in trial for trial in draw] for draw in words])
        found[name] = rates(alarm.ravel(), np.tile(is_fall, draws))
        if draws > 1:
            blind = np.array([[FALL not in trial and CANNOT_JUDGE in trial for trial in draw] for draw in words])
            found[name]["falls_not_judged"] = round(float(blind[:, is_fall].mean()), 4)
        if name == "as_recorded":
            by = {person.rsplit("/")[-1]: rates(alarm[0][people == person], is_fall[people == person]) for person in names}
            found["by_person"] = by
    return found


def measure(places: tuple[str, ...] = PLACES) -> dict[str, Any]:
    """Both places."""
    return {place: measure_place(place) for place in places}


if __name__ == "__main__":
    print(json.dumps(measure(tuple(sys.argv[1:]) or PLACES), indent=1))
