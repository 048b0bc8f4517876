from __future__ import annotations

import itertools

import pytest

from simulator.clock import Moment
from simulator.community import Community, demo_community
from simulator.devices.device import Parcel
from simulator.faults import FAULTS
from simulator.faults.clock_skew import ClockSkew
from simulator.faults.fault import Between, ClockFault, Fault, LinkFault, Timed
from simulator.stage import play
from simulator.truth import Truth

NOW = Moment(1795336212000, 100.0)
BYTES = bytes(range(200))


def carry(fault: Fault, count: int = 50) -> list[Timed]:
    out = []
    for n in range(count):
        now = NOW.after(n)
        out += fault.carry([Timed(now.s, Parcel(bytes([n]) + BYTES, "topic"))], now)
    return sorted(out, key=lambda timed: timed.at_s)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_the_same_for_the_same_seed(name: str) -> None:
    assert carry(FAULTS[name](seed=3)) == carry(FAULTS[name](seed=3))


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_goes_back_in_time_and_every_parcel_keeps_its_topic(name: str) -> None:
    for n in range(20):
        now = NOW.after(n)
        for timed in FAULTS[name](seed=n).carry([Timed(now.s, Parcel(BYTES, "topic"))], now):
            assert timed.at_s >= now.s
            assert timed.parcel.to == "topic"


def test_delay_keeps_the_order_of_a_stream() -> None:
    first = [timed.parcel.data[0] for timed in carry(FAULTS["delay"](seed=1, seconds=5, jitter_s=4))]
    assert first == sorted(first)


def test_drop_of_everything_is_a_black_hole() -> None:
    assert carry(FAULTS["drop"](seed=1, share=1.0)) == []
    assert 20 < len(carry(FAULTS["drop"](seed=1, share=0.3), 50)) < 50


def test_slices_put_together_are_the_same_bytes() -> None:
    whole = b"".join(bytes([n]) + BYTES for n in range(50))
    assert b"".join(timed.parcel.data for timed in carry(FAULTS["slice"](seed=1))) == whole


def test_corrupt_flips_one_bit() -> None:
    (timed,) = FAULTS["corrupt"](seed=1, share=1.0).carry([Timed(1.0, Parcel(BYTES))], NOW)
    assert sum((a ^ b).bit_count() for a, b in zip(timed.parcel.data, BYTES, strict=True)) == 1


def test_reorder_lets_later_ones_overtake() -> None:
    first = [timed.parcel.data[0] for timed in carry(FAULTS["reorder"](seed=1, share=0.5, seconds=5))]
    assert sorted(first) == list(range(50))
    assert first != sorted(first)


def test_duplicates_and_replays_are_old_bytes() -> None:
    assert len(carry(FAULTS["duplicate"](seed=1, share=1.0))) == 100
    replayed = carry(FAULTS["replayed"](seed=1, share=1.0, age_s=10))
    assert len(replayed) == 50 + 40
    assert {timed.parcel for timed in replayed} == {timed.parcel for timed in carry(FAULTS["drop"](seed=1, share=0.0))}


def test_a_window_limits_a_fault() -> None:
    fault = Between(FAULTS["drop"](seed=1, share=1.0), 110, 120)
    assert [timed.at_s for timed in carry(fault, 30)] == [*map(float, range(100, 110)), *map(float, range(120, 130))]


def test_a_wrong_clock_is_seen_by_the_device_only() -> None:
    fault = Between(ClockSkew(seed=1, unset=True), 0, 1000)
    assert isinstance(fault, ClockFault)
    assert fault.seen(NOW).ms == 100_000
    assert ClockSkew(seed=1, seconds=-3600).seen(NOW).ms == NOW.ms - 3_600_000
    assert fault.seen(Moment(NOW.ms, 1000.0)).ms == NOW.ms


def test_a_flapping_link_is_cut_again_and_again() -> None:
    fault = FAULTS["flap"](seed=1, every_s=60)
    assert isinstance(fault, LinkFault)
    cuts = list(itertools.islice(fault.cuts(), 20))
    assert all(30 <= b - a <= 90 for a, b in itertools.pairwise([0.0, *cuts]))
    assert list(Between(fault, 0, 0).cuts()) == []


def sent_with(faults: dict[str, list[Fault]], community: Community) -> list[bytes]:
    devices = [(member.device, member.subject) for member in community.members]
    found = play(devices, community.plan(), seconds=30, start_ms=NOW.ms, truth=Truth(), faults=faults)
    return [sent.parcel.data for sent in found if sent.device.startswith("watch:")]


def test_faults_of_one_device_leave_the_others_alone() -> None:
    community = demo_community()
    victim = community.find(community.residents[0].id, "wristband")
    number = victim.removeprefix("watch:").encode()
    whole = sent_with({}, demo_community())
    holed = sent_with({victim: [FAULTS["drop"](seed=1, share=1.0)]}, demo_community())
    assert [data for data in whole if number not in data] == holed
