from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulator.clock import Moment
from simulator.community import Community, build
from simulator.devices.device import Happening
from simulator.devices.dialects import DIALECTS
from simulator.devices.tracker import Tracker
from simulator.members import LIVELY
from simulator.places import Place
from simulator.virtual import run_virtual

T0 = 1795336212000
HOME = Place(31.2195, 121.5030)
ITEMS = tuple(name if name != "wristband" else "wristband_yx" for name in DIALECTS)
NUMBERS = {"jt808": "13900000001", "h02": "4210000001"}
CALLING = [name for name in DIALECTS if name != "wristband"]
"""The band of that protocol has no alarm."""


def tracker(driver: str) -> Tracker:
    return Tracker(f"{driver}:x", driver=driver, number=NUMBERS.get(driver, "353934040000001"), home=HOME, seed=4)


def calls(community: Community) -> Iterator[Happening]:
    for member in community.members:
        yield Happening(10, member.device.id, "walk", {"seconds": 60})
    for n, verb in enumerate(("sos", "fall", "take_off", "battery_low")):
        for member in community.members:
            yield Happening(20 + 10 * n, member.device.id, verb)


def test_every_family_is_understood_from_walk_to_sos() -> None:
    run = run_virtual(build(1, seed=3, pack=ITEMS, make_plan=calls, rates=LIVELY), seconds=120, start_ms=T0)
    assert run.score.is_clean, run.score.missed_entries + run.score.false_entries
    assert run.score.kinds["sos"].found == len(CALLING)
    assert run.score.repeated == 0, "an alarm that was confirmed is not said again"


@pytest.mark.parametrize("driver", CALLING)
def test_an_alarm_in_a_tunnel_is_said_when_the_link_is_back(driver: str) -> None:
    device = tracker(driver)
    act = device.happen("sos", {}, Moment(T0, 5.0))
    assert (len(act.facts), act.parcels) == (1, ())
    assert device.up(Moment(T0 + 60_000, 65.0)).parcels


@pytest.mark.parametrize("driver", DIALECTS)
@pytest.mark.parametrize("junk", [b"", b"\x00" * 40, bytes(range(256)), b"[*#;~~xx\r\n" * 30])
def test_a_tracker_survives_whatever_the_server_sends(driver: str, junk: bytes) -> None:
    device = tracker(driver)
    device.up(Moment(T0, 0.0))
    device.receive(junk, Moment(T0, 1.0))
    device.happen("sos", {}, Moment(T0, 2.0))
    device.receive(junk, Moment(T0, 3.0))
    assert device.answered == []
