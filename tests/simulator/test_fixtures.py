"""Devices on serial lines, the modem, the transmission unit and the alarm hub: in virtual time, and against the real gateway on wires."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from simulator.community import Community, build
from simulator.devices.device import Happening
from simulator.live import run_live
from simulator.members import LIVELY
from simulator.truth import Score
from simulator.virtual import run_virtual
from tests.conftest import need

T0 = 1795336212000
PACK = (
    *("ceiling", "zones", "bed", "gates", "corner", "co", "co2", "gas_line"),
    *("phone", "care_phone", "unknown_phone", "transmission_unit", "hub", "hub_udp"),
)
STORY: tuple[tuple[float, str, str, dict[str, object]], ...] = (
    (2.5, "co2", "co", {"peak": 800, "rise_s": 2, "hold_s": 20}),
    (3.0, "unknown_phone", "message", {"text": "你好"}),
    (3.0, "phone", "message", {}),
    (3.5, "ceiling", "enter", {}),
    (3.5, "zones", "enter", {"zone": 2}),
    (3.5, "bed", "bed_in", {}),
    (3.5, "gates", "enter", {}),
    (3.5, "corner", "enter", {}),
    (4.0, "ceiling", "fall", {}),
    (4.0, "phone", "sos", {}),
    (4.0, "transmission_unit", "smoke", {}),
    (4.0, "hub", "sos", {}),
    (4.0, "hub_udp", "medical", {}),
    (4.0, "co", "co", {"peak": 80, "rise_s": 1.5, "hold_s": 10}),
    (4.0, "gas_line", "gas", {"peak": 30, "rise_s": 1, "hold_s": 2}),
    (4.5, "gates", "still", {}),
    (4.5, "corner", "active", {"x_mm": -500, "y_mm": 1000}),
    (4.5, "transmission_unit", "sos", {}),
    (5.0, "ceiling", "get_up", {}),
    (5.0, "bed", "breath_stop", {}),
    (5.0, "hub", "gas", {}),
    (5.0, "transmission_unit", "power_cut", {}),
    (5.5, "bed", "breath_back", {}),
    (5.5, "hub_udp", "leak", {}),
    (5.5, "transmission_unit", "reset", {}),
    (6.0, "bed", "bed_out", {}),
    (6.0, "zones", "leave", {}),
    (6.0, "hub", "gas_gone", {}),
)
SEEN = {
    "micradar": {"bed_entry": 1, "bed_exit": 1, "breathing_abnormal": 1},
    "ld2410": {"motion": 1, "motion end": 1},
    "tinyframe": {"fall": 1, "fall end": 1},
    "ld2450": {"zone_occupied": 2},
    "winsen": {"co": 2, "co2": 2, "warming_up end": 4},
    "modbus_gas": {"gas": 2, "warming_up": 6},
    "gsm_phone": {"incoming_call": 1, "message_received": 2},
    "gbt26875": {"smoke": 1, "smoke end": 1, "power_cut": 1, "device_reset": 1},
    "dc09": {"medical": 1, "water_leak": 1},
}
"""At least so many of these, all families together where two share a kind."""


def story(community: Community) -> Iterator[Happening]:
    for at_s, item, verb, args in STORY:
        yield Happening(at_s, community.find(community.residents[0].id, item), verb, dict(args))


def neighbours() -> Community:
    """Two flats: their gas detectors hang on one line, their telephones call one modem."""
    return build(2, seed=3, rates=LIVELY, make_plan=story, pack=PACK)


def test_everything_is_told_in_virtual_time() -> None:
    run = run_virtual(neighbours(), seconds=60, start_ms=T0)
    assert run.score.is_clean, run.score.missed_entries + run.score.false_entries
    assert run.score.alarms.found == run.score.alarms.expected >= 14


@pytest.fixture(scope="module")
def on_wires() -> Score:
    need("mosquitto")
    return asyncio.run(run_live(neighbours(), seconds=9.5, grace_s=30.0)).score


@pytest.mark.parametrize("driver", SEEN)
def test_the_gateway_sees_it_on_the_real_wire(driver: str, on_wires: Score) -> None:
    assert not [entry for entry in on_wires.missed_entries if f" {driver}:" in entry]
    found = {kind: tally.found for kind, tally in on_wires.kinds.items()}
    assert all(found.get(kind, 0) >= least for kind, least in SEEN[driver].items()), found


def test_nothing_is_invented_late_or_told_of_somebody_else(on_wires: Score) -> None:
    assert on_wires.is_clean, on_wires.missed_entries + on_wires.false_entries
    assert on_wires.alarms.found >= 14
