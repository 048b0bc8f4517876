"""A boosted ensemble of oblivious trees beside a regression, run by numpy from a data file.

In an oblivious tree every level asks one question, so a tree of depth 4 is four (feature, threshold) pairs and 16 leaf values: the
whole ensemble is evaluated with three array operations. The file (`data/fall_<place>.npz`) holds

    feature   int16   [trees, depth]     index into `fall_features.names()`
    threshold float64 [trees, depth]     the bit is set where the feature is greater
    leaf      float64 [trees, 2**depth]  added to the log-odds; the first level is the lowest bit
    low, high float64 [features]         bounds to which the features are cut for the regression
    weight    float64 [features]         added to the log-odds: features times weight
    bias      float64                    log-odds of the regression without any feature
    cut       float64                    log-odds at and above which a candidate is a fall (calibrated on people left out)
    names     str     [features]         guards against a file made for other features

`score` is a probability after the calibration: 0.5 at the cut.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.rules.fall_features import AFTER, features, names, window

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FOLDER = Path(__file__).parent / "data"
PLACES = ("wrist", "waist")
SHIFTS = (-2, 0, 2)


class TreeFileError(ValueError):
    """A data file that does not fit this program."""


class FallTrees:
    """The ensemble of one place."""

    def __init__(self, parts: dict[str, Array]) -> None:
        import numpy as np

        if list(parts["names"]) != names():
            raise TreeFileError("trees of other features; train again with bench/train_falls.py")
        self.feature = parts["feature"].astype(np.intp)
        self.threshold = parts["threshold"]
        self.leaf = parts["leaf"]
        self.low, self.high, self.weight = parts["low"], parts["high"], parts["weight"]
        self.bias = float(parts["bias"])
        self.cut = float(parts["cut"])
        trees, depth = self.feature.shape
        self._bits = 1 << np.arange(depth)
        self._rows = np.arange(trees)

    def log_odds(self, rows: Array) -> Array:
        """Feature rows [n, f] as log-odds [n]."""
        import numpy as np

        bits = rows.take(self.feature, axis=1) > self.threshold
        linear = np.minimum(np.maximum(rows, self.low), self.high) @ self.weight
        found: Array = self.bias + linear + self.leaf[self._rows, bits @ self._bits].sum(1)
        return found

    def margins(self, stream: Array, places: list[int]) -> Array:
        """Log-odds above the cut of impacts at `places` of a stream [n, 3 or 4] in g on the grid: 0 and more is a fall.

        Averaged over windows moved by `SHIFTS`: which sample is the highest is an accident of the rate.
        """
        import numpy as np

        windows = []
        for index in places:
            # What lies behind the window is cut off: the verdict must not depend on how late it is asked for.
            known = stream[: index + AFTER + 1]
            windows += [window(known, min(max(index + shift, 0), len(known) - 1)) for shift in SHIFTS]
        found: Array = self.log_odds(features(np.stack(windows))).reshape(len(places), len(SHIFTS)).mean(1) - self.cut
        return found


def score_of(margin: float) -> float:
    """0..1, 0.5 at the cut."""
    return 1.0 / (1.0 + exp(-max(-50.0, min(50.0, margin))))


@lru_cache(maxsize=4)
def trees_for(place: str) -> FallTrees:
    """The trees of a place of wear; an unknown place counts as the wrist. Raises TreeFileError."""
    import numpy as np

    path = FOLDER / f"fall_{place if place in PLACES else 'wrist'}.npz"
    try:
        with np.load(path, allow_pickle=False) as parts:
            return FallTrees(dict(parts))
    except (OSError, KeyError, ValueError) as error:
        raise TreeFileError(f"{path}: {error}") from error
