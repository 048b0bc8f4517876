"""Counters and histograms, and their Prometheus text form (exposition format 0.0.4).

A histogram is a list of integers; observing costs a bisect. Nothing here knows of the gateway: gateway/status.py names what is shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0)
"""Bounds from a fast commit to an outage."""


class Histogram:
    """Seconds in buckets."""

    __slots__ = ("bounds", "buckets", "count", "total")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_S) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a duration; negative ones (a clock was set) count as zero."""
        seconds = max(seconds, 0.0)
        self.buckets[bisect_left(self.bounds, seconds)] += times
        self.count += times
        self.total += seconds * times

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket in which this share lies; None while empty."""
        if not self.count:
            return None
        rank, seen = share * self.count, 0
        for bound, number in zip((*self.bounds, float("inf")), self.buckets, strict=True):
            seen += number
            if seen >= rank:
                return bound
        return float("inf")


class Family(NamedTuple):
    """One metric: values by labels. `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Mapping[str, str], float | Histogram]]


def render(families: Iterable[Family]) -> str:
    """The page that Prometheus reads.

    >>> print(render([Family("up", "gauge", "whether it runs", [({"box": "a"}, 1)])]), end="")
    # HELP up whether it runs
    # TYPE up gauge
    up{box="a"} 1
    """
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(f"{family.name}{_labels(labels)} {_number(value)}")
    return "\n".join(lines) + "\n"


def _histogram(name: str, labels: Mapping[str, str], value: Histogram) -> list[str]:
    lines, seen = [], 0
    for bound, number in zip((*value.bounds, float("inf")), value.buckets, strict=True):
        seen += number
        lines.append(f"{name}_bucket{_labels({**labels, 'le': '+Inf' if bound == float('inf') else _number(bound)})} {seen}")
    return [*lines, f"{name}_sum{_labels(labels)} {_number(value.total)}", f"{name}_count{_labels(labels)} {value.count}"]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 and value != int(value) else f"{value:.0f}" if value == int(value) else f"{value:f}"
