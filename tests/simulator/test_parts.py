"""Runs in parts: the same result as in one piece, and no parting of what belongs together."""

from __future__ import annotations

import sys

import pytest

from simulator.community import build, everyday
from simulator.errors import TargetError
from simulator.members import SPARSE
from simulator.parts import run_in_parts, split
from simulator.virtual import run_virtual

T0 = 1_795_276_800_000


def test_a_run_in_parts_gives_the_score_of_one_run() -> None:
    given = {"seconds": 4 * 3600.0, "start_ms": T0}
    whole = run_virtual(build(5, seed=3, rates=SPARSE), **given)
    parted = run_in_parts(build(5, seed=3, rates=SPARSE), parts=2, **given)
    assert whole == parted
    assert whole.score.total.expected > 50 and whole.score.is_clean


def test_a_part_that_fails_is_told_with_its_own_words() -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with pytest.raises(TargetError, match="no such thing"):
        run_in_parts(build(4, seed=3), seconds=1, start_ms=T0, parts=2, replay=broken)


def test_every_resident_is_in_one_part_with_all_devices_and_all_that_happens() -> None:
    community = build(11, seed=5, make_plan=everyday)
    parts = split(community, 4)
    assert len(parts) == 4
    assert sorted(resident.id for part in parts for resident in part.residents) == [resident.id for resident in community.residents]
    assert sorted(m.device.id for part in parts for m in part.members) == sorted(m.device.id for m in community.members)
    for part in parts:
        mine = {resident.id for resident in part.residents}
        devices = {member.device.id for member in part.members}
        assert {member.subject for member in part.members} <= mine
        plan, whole = part.plan(), community.plan()
        expected = (happening for happening in whole if happening.device in devices)
        assert all(next(plan) == next(expected) for _ in range(50))


def test_a_community_with_something_in_common_stays_whole() -> None:
    community = build(4, seed=1, pack=("phone",))
    assert any(member.subject is None for member in community.members)
    assert split(community, 2) == [community]
