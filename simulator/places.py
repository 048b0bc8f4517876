"""Homes and outings: where people are. Streets are a grid round the home, as in most housing estates."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

METRES_PER_DEGREE = 111_320.0
BLOCK_M = 90.0
"""Distance between two streets of an estate."""


class Place(NamedTuple):
    """WGS-84 degrees."""

    lat: float
    lon: float

    def moved(self, east_m: float, north_m: float) -> Place:
        """The place so many metres away."""
        lat = self.lat + north_m / METRES_PER_DEGREE
        return Place(lat, self.lon + east_m / (METRES_PER_DEGREE * math.cos(math.radians(self.lat))))


class Outing:
    """A walk along the streets, out for half of its time and home again on the same way.

    `speed_ms`: 0.6 (frail) .. 1.2 (brisk). `where(seconds)` gives place and course since the start; standing at home after the end.
    """

    def __init__(self, home: Place, *, seconds: float, speed_ms: float, seed: int) -> None:
        self.seconds = seconds
        self.speed_ms = speed_ms
        self._home = home
        self._corners = _corners(random.Random(seed), reach_m=speed_ms * seconds / 2)

    def where(self, seconds: float) -> tuple[Place, float]:
        """Place and course in degrees."""
        if not 0 <= seconds < self.seconds:
            return self._home, 0.0
        half_m = self.speed_ms * self.seconds / 2
        walked_m = self.speed_ms * seconds
        is_outbound = walked_m <= half_m
        left_m = walked_m if is_outbound else 2 * half_m - walked_m
        for (east, north), (to_east, to_north) in zip(self._corners, self._corners[1:], strict=False):
            length = math.hypot(to_east - east, to_north - north)
            if left_m <= length:
                share = left_m / length
                course = math.degrees(math.atan2(to_east - east, to_north - north)) % 360
                place = self._home.moved(east + share * (to_east - east), north + share * (to_north - north))
                return place, course if is_outbound else (course + 180) % 360
            left_m -= length
        return self._home.moved(*self._corners[-1]), 0.0


def _corners(dice: random.Random, *, reach_m: float) -> list[tuple[float, float]]:
    """Corners of a way along the grid, in metres east and north of the home, at least `reach_m` long."""
    here = (0.0, 0.0)
    corners = [here]
    ahead = dice.choice(((1, 0), (-1, 0), (0, 1), (0, -1)))
    walked = 0.0
    while walked <= reach_m:
        blocks = dice.randint(1, 3)
        here = (here[0] + ahead[0] * blocks * BLOCK_M, here[1] + ahead[1] * blocks * BLOCK_M)
        corners.append(here)
        walked += blocks * BLOCK_M
        ahead = dice.choice(((ahead[1], ahead[0]), (-ahead[1], -ahead[0])))  # left or right, never back
    return corners
