"""The simulated alarm hub and fire unit keep what nobody has confirmed, say it again, and listen to what they are told."""

from __future__ import annotations

from typing import Any

from protocols.building import gbt26875, sia_dc09
from protocols.building import gbt26875_objects as objects
from simulator.clock import Moment
from simulator.community import build
from simulator.devices.alarm_hub import AlarmHub
from simulator.devices.device import Act, Happening
from simulator.devices.transmission_unit import TransmissionUnit
from simulator.faults import FAULTS
from simulator.virtual import run_virtual

MS = 1795336212000


def at(seconds: float) -> Moment:
    return Moment(MS + round(seconds * 1000), seconds)


def until(device: Any, begin_s: float, end_s: float) -> list[bytes]:
    """Everything that the device sends by itself."""
    said: list[bytes] = []
    while device.next_s <= end_s:
        said += [parcel.data for parcel in device.step(at(max(device.next_s, begin_s))).parcels]
    return said


def texts(said: list[bytes]) -> list[sia_dc09.Message]:
    return [sia_dc09.decode(data.strip()) for data in said]


def one(act: Act) -> bytes:
    (parcel,) = act.parcels
    return parcel.data


def hub() -> AlarmHub:
    made = AlarmHub("dc09:A001", account="A001", seed=1, test_s=10_000)
    made.up(at(0))
    until(made, 0, 5)
    return made


def test_a_hub_repeats_the_same_message_until_it_is_acknowledged() -> None:
    device = hub()
    first = one(device.happen("sos", {}, at(10)))
    assert until(device, 10, 71) == [first] * 3, "every 20 s"
    ack = sia_dc09.acknowledge(texts([first])[0], "ACK", MS)
    device.receive(ack, at(72))
    assert until(device, 72, 500) == [] and device.answered == [62.0]


def test_a_hub_whose_clock_is_wrong_takes_the_receivers_time_and_says_it_anew() -> None:
    device = hub()
    first = texts([one(device.happen("gas", {}, at(10)))])[0]
    nak = sia_dc09.acknowledge(first, "NAK", MS + 3_600_000)
    again = texts([parcel.data for parcel in device.receive(nak, at(10)).parcels])[0]
    assert (again.sequence, again.data) == (first.sequence, first.data)
    assert again.at_ms is not None and first.at_ms is not None and again.at_ms - first.at_ms > 3_500_000


def test_what_a_hub_could_not_say_comes_first_when_the_link_is_back() -> None:
    device = hub()
    device.down(at(10))
    assert device.happen("leak", {}, at(11)).parcels == () and until(device, 11, 100) == []
    assert [message.token for message in texts([one(device.up(at(100)))])] == ["SIA-DCS"]


def unit() -> TransmissionUnit:
    made = TransmissionUnit("gbt26875:310000000001", address="310000000001", seed=1, heartbeat_s=10_000)
    made.up(at(0))
    return made


def test_a_fire_unit_says_an_alarm_three_times_and_again_on_the_next_connection() -> None:
    device = unit()
    first = one(device.happen("smoke", {}, at(10)))
    assert until(device, 10, 200) == [first] * 2
    device.down(at(200))
    alive, again = [parcel.data for parcel in device.up(at(300)).parcels]
    assert gbt26875.decode(alive).is_heartbeat and again == first
    confirm = gbt26875.encode(gbt26875.reply(gbt26875.decode(first), gbt26875.Command.CONFIRM, MS))
    device.receive(confirm, at(301))
    assert until(device, 301, 1000) == []


def test_a_denied_message_is_repeated_at_once() -> None:
    device = unit()
    first = one(device.happen("gas", {}, at(10)))
    device.receive(gbt26875.encode(gbt26875.reply(gbt26875.decode(first), gbt26875.Command.DENY, MS)), at(11))
    assert until(device, 11, 11.5) == [first]


def test_a_fire_unit_answers_what_the_centre_asks() -> None:
    device = unit()
    unit_state = objects.encode_unit([objects.Query(81)])
    asked = gbt26875.Message(7, gbt26875.Command.REQUEST, unit_state, "000000000001", "310000000001", MS)
    answer = gbt26875.decode(one(device.receive(gbt26875.encode(asked), at(1))))
    assert (answer.command, answer.serial) == (gbt26875.Command.ANSWER, 7)
    assert objects.decode_unit(answer.unit).objects == [objects.UnitState(1, MS + 1000 + 8 * 3_600_000)]


def test_no_alarm_of_theirs_is_lost_on_a_bad_link() -> None:
    def plan(community: Any) -> Any:
        items = [
            (10.0, "hub", "sos"),
            (12.0, "transmission_unit", "smoke"),
            (14.0, "hub_udp", "medical"),
            (20.0, "transmission_unit", "sos"),
        ]
        return iter(Happening(s, community.find(community.residents[0].id, item), verb) for s, item, verb in items)

    community = build(1, seed=5, pack=("hub", "hub_udp", "transmission_unit"), make_plan=plan)
    rows = {m.device.id: [FAULTS["corrupt"](seed=n), FAULTS["slice"](seed=n)] for n, m in enumerate(community.members)}
    run = run_virtual(community, seconds=120, start_ms=MS, faults=rows, limits={"alarm": 60_000})
    assert run.score.alarms.missed == 0, run.score.missed_entries
