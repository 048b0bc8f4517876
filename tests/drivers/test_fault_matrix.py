from __future__ import annotations

from typing import Any

import pytest

from drivers import registry
from drivers.api import Frame, Output
from drivers.fault_matrix import Graded, Tier, matrix, tier_of
from drivers.watch.driver import DRIVER as WATCH

FOLDER = registry.folder("watch")


def failed(driver: type[Any]) -> dict[str, Tier]:
    out = {}
    for tier, check in matrix(driver, FOLDER):
        if tier is not Tier.BRONZE:
            try:
                check.run()
            except Exception:  # noqa: BLE001 - a bad driver may raise anything
                out[check.name] = tier
    return out


def test_a_good_driver_is_silver_until_somebody_records_its_device() -> None:
    assert failed(WATCH) == {"captured frames are among the vectors": Tier.GOLD}
    assert tier_of({Tier.GOLD}) is Tier.SILVER


def test_a_failure_holds_back_its_tier_and_those_above() -> None:
    assert [tier_of(set(tiers)) for tiers in ([Tier.BRONZE], [Tier.SILVER], [Tier.SILVER, Tier.GOLD], [])] == [
        Tier.NONE,
        Tier.BRONZE,
        Tier.BRONZE,
        Tier.GOLD,
    ]


class Impatient(WATCH):
    """Sees one read as one frame."""

    def receive(self, frame: Frame) -> Output:
        return WATCH({}, "8800000015").receive(frame)


class Crashing(WATCH):
    """Does not survive an unset clock."""

    def receive(self, frame: Frame) -> Output:
        if frame.received.ms == 0:
            raise ValueError("year")
        return super().receive(frame)


class Hoarding(WATCH):
    """Remembers every frame for ever."""

    kept: list[bytes] = []

    def receive(self, frame: Frame) -> Output:
        self.kept.append(frame.data * 4)
        return super().receive(frame)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        (Impatient, "fault: pieces of 1..8 bytes"),
        (Crashing, "fault: a clock in 1970, one in 2100"),
        (Hoarding, "5000 frames in bounded memory and time"),
    ],
)
def test_a_bad_driver_is_found_by_the_fault_that_should_find_it(driver: type[Any], name: str) -> None:
    assert name in failed(driver)


def test_every_check_has_a_tier() -> None:
    graded = list(matrix(WATCH, FOLDER))
    assert all(isinstance(one, Graded) for one in graded)
    assert {one.tier for one in graded} == {Tier.BRONZE, Tier.SILVER, Tier.GOLD}
