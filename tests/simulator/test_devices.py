from __future__ import annotations

import itertools
from typing import Any

import pytest

from drivers.vocabulary import OccurrenceKind
from protocols.ble import bthome
from protocols.mqtt import settop
from protocols.mqtt.device_json import decode_up, encode_down
from protocols.serial import micradar
from protocols.tracker import minifinder2, watch
from protocols.tracker.minifinder2_records import records
from protocols.tracker.watch_position import parse_position
from simulator.clock import Moment
from simulator.devices.bthome_sensor import BthomeSensor
from simulator.devices.device import Act, Device
from simulator.devices.fall_radar import FallRadar
from simulator.devices.json_sensor import JsonSensor
from simulator.devices.settop_box import SettopBox
from simulator.devices.sos_pendant import SosPendant
from simulator.devices.wristband import Wristband
from simulator.places import Outing, Place
from simulator.truth import Fact, begun, ended

T0 = 1795336212000
HOME = Place(31.2195, 121.5030)
START = Moment(T0, 0.0)


def wristband() -> Wristband:
    return Wristband("watch:8800000015", number="8800000015", home=HOME, seed=1)


def pendant() -> SosPendant:
    return SosPendant("minifinder2:863160060000001", imei="863160060000001", home=HOME, seed=1)


def live(device: Device, seconds: float, since: Moment = START) -> list[tuple[Moment, Act]]:
    """Every act of the device in that time."""
    acts, end_s = [], since.s + seconds
    while device.next_s <= end_s:
        now = since.after(max(device.next_s - since.s, 0))
        act = device.step(now)
        assert device.next_s > now.s, "a step must lead on"
        acts.append((now, act))
    return acts


def frames(acts: list[tuple[Moment, Act]]) -> list[bytes]:
    return [parcel.data for _, act in acts for parcel in act.parcels]


def test_a_wristband_logs_in_and_its_frames_are_valid() -> None:
    device = wristband()
    login = device.up(START).parcels[0].data
    assert watch.decode(login).kind == "LK"
    kinds = {watch.decode(frame).kind for frame in frames(live(device, 1200))}
    assert {"LK", "UD", "heart", "bphrt", "oxygen"} <= kinds


def test_an_sos_is_repeated_with_the_same_bytes_until_it_is_acknowledged() -> None:
    device = wristband()
    device.up(START)
    act = device.happen("sos", {}, START)
    assert act.facts == (begun(OccurrenceKind.SOS),)
    frame = act.parcels[0].data
    assert parse_position(watch.decode(frame).body).status == 1 << 16
    assert frames(live(device, 35)).count(frame) == 3
    device.receive(b"[3G*8800000015*0002*AL]", START.after(36))
    assert frame not in frames(live(device, 60, START.after(36)))
    assert device.answered == [36.0]


def test_an_sos_in_a_tunnel_is_a_fact_at_once_and_sent_when_the_link_is_back() -> None:
    device = wristband()
    device.up(START)
    device.down(START.after(1))
    act = device.happen("sos", {}, START.after(2))
    assert (act.parcels, len(act.facts)) == ((), 1)
    live(device, 300)
    sent = [watch.decode(parcel.data).kind for parcel in device.up(START.after(301)).parcels]
    assert sent[:2] == ["LK", "AL"]
    assert "UD2" in sent


def test_a_wristband_that_walks_reports_often_and_comes_home() -> None:
    device = wristband()
    device.up(START)
    live(device, 10)
    device.happen("walk", {"seconds": 600, "speed_ms": 1.0}, START.after(10))
    walked = [parse_position(watch.decode(f).body) for f in frames(live(device, 500, START.after(10))) if watch.decode(f).kind == "UD"]
    assert len(walked) > 15
    assert max(abs((p.lat or 0) - HOME.lat) + abs((p.lon or 0) - HOME.lon) for p in walked) > 0.0008
    later = [parse_position(watch.decode(f).body) for f in frames(live(device, 2400, START.after(650))) if watch.decode(f).kind == "UD"]
    assert all(abs((p.lat or 0) - HOME.lat) < 0.001 for p in later)
    assert len(later) < 8


@pytest.mark.parametrize("junk", [b"", b"[", b"[3G*8800000015*", bytes(range(256)), b"[3G*8800000015*0002*XX]" * 20])
@pytest.mark.parametrize("make", [wristband, pendant, lambda: FallRadar("micradar:r", seed=1)])
def test_a_device_survives_whatever_the_server_sends(make: Any, junk: bytes) -> None:
    device = make()
    device.up(START)
    device.receive(junk, START)
    device.receive(junk, START)


def test_a_pendant_repeats_its_sos_until_the_answer_with_its_number() -> None:
    device = pendant()
    device.up(START)
    act = device.happen("sos", {}, START)
    message = minifinder2.decode(act.parcels[0].data)
    (record,) = records(message.items)
    assert record.alarms == 1 << 12
    assert message.wants_ack
    assert frames(live(device, 35)).count(act.parcels[0].data) == 3
    wrong = minifinder2.acknowledgement(message._replace(sequence=message.sequence + 1000))
    device.receive(wrong, START.after(36))
    assert device.answered == []
    device.receive(minifinder2.acknowledgement(message), START.after(37))
    assert device.answered == [37.0]
    assert act.parcels[0].data not in frames(live(device, 60, START.after(37)))


def test_a_pendant_gives_up_reports_but_never_an_alarm() -> None:
    device = pendant()
    device.up(START)
    sos = device.happen("sos", {}, START).parcels[0].data
    sent = frames(live(device, 3000))
    assert sent.count(sos) > 250
    assert all(sent.count(frame) <= 3 for frame in set(sent) - {sos})


def test_a_radar_tells_a_fall_repeats_it_and_answers_queries() -> None:
    device = FallRadar("micradar:r", seed=1)
    device.up(START)
    live(device, 5)
    act = device.happen("fall", {}, START.after(5))
    assert begun(OccurrenceKind.FALL) in act.facts
    fall = micradar.report("fall", fall=True)
    assert [p.data for p in act.parcels][-1] == fall
    assert frames(live(device, 10, START.after(5))).count(fall) == 3
    assert device.happen("get_up", {}, START.after(20)).facts == (ended(OccurrenceKind.FALL),)
    answer = device.receive(micradar.query("model"), START).parcels[0].data
    assert micradar.decode(answer).values == {"text": "R60AFD1"}


def test_a_door_is_told_three_times_with_one_packet_id() -> None:
    device = BthomeSensor("bthome:A4:C1:38:00:00:01", mac="A4:C1:38:00:00:01", senses=OccurrenceKind.DOOR_OPEN, seed=3)
    live(device, 10)
    act = device.happen("door_open", {}, START.after(10))
    sent = [act.parcels[0].data, *frames(live(device, 1, START.after(10)))]
    assert len(sent) == 3
    assert len(set(sent)) == 1
    packet = bthome.decode(sent[0])
    assert {o.name: o.value for o in packet.objects}["door"] is True
    assert act.facts == (begun(OccurrenceKind.DOOR_OPEN),)
    assert device.happen("door_open", {}, START.after(12)).facts == ()


def test_encrypted_adverts_can_be_read_with_the_key_only() -> None:
    mac, key = "A4:C1:38:00:00:01", bytes(range(16))
    device = BthomeSensor(f"bthome:{mac}", mac=mac, senses=OccurrenceKind.MOTION, seed=3, key=key)
    block = device.happen("motion", {}, START).parcels[0].data
    assert bthome.is_encrypted(block)
    assert bthome.decode(block, address=mac, key=key).counter is not None


def test_motion_ends_by_itself() -> None:
    device = BthomeSensor("bthome:x", mac="A4:C1:38:00:00:01", senses=OccurrenceKind.MOTION, seed=3)
    assert device.happen("motion", {}, START).facts == (begun(OccurrenceKind.MOTION),)
    assert [act.facts for _, act in live(device, 30) if act.facts] == [(ended(OccurrenceKind.MOTION),)]


def test_gas_follows_its_curve_and_the_alarm_begins_and_ends_once() -> None:
    device = JsonSensor("mqtt_json:gas-1", name="gas-1", senses=OccurrenceKind.GAS, seed=3)
    device.happen("gas", {"peak_lel": 32, "rise_s": 4, "hold_s": 4}, START)
    acts = live(device, 60)
    gas = [fact for _, act in acts for fact in act.facts if fact.kind == "gas"]
    assert gas == [begun(OccurrenceKind.GAS), ended(OccurrenceKind.GAS)]
    decoded = [decode_up("anhu/dev/gas-1/up", frame, quantities={"gas_lel", "battery"}, kinds={"gas"}) for frame in frames(acts)]
    assert all(not message.faults for message in decoded)
    assert max(reading.value for message in decoded for reading in message.readings) > 25
    assert len({message.ref for message in decoded}) == len(decoded)


def test_a_sensor_answers_commands() -> None:
    device = JsonSensor("mqtt_json:gas-1", name="gas-1", senses=OccurrenceKind.GAS, seed=3)
    answer = device.receive(encode_down("c-1", "valve", {"open": False}), START).parcels[0]
    message = decode_up(answer.to, answer.data, quantities=set(), kinds=set())
    assert message.answer is not None
    assert message.answer.command == "c-1"


def test_a_reminder_on_the_television_is_accepted_and_then_confirmed() -> None:
    device = SettopBox("settop:tv-1", name="tv-1", seed=1)
    device.up(START)
    accepted = device.receive(settop.encode_down("remind", "c-9", text="吃药", kind="medicine"), START).parcels[0]
    assert settop.decode_up(accepted.to, accepted.data).fields == {"re": "c-9", "status": "accepted"}
    acts = live(device, 3)
    answers = [settop.decode_up("anhu/tv/tv-1/up", frame) for frame in frames(acts)]
    assert [a.fields["answer"] for a in answers if a.type == "reminder"] == ["confirm"]
    assert begun(OccurrenceKind.REMINDER_CONFIRMED) in [fact for _, act in acts for fact in act.facts]


def test_a_box_repeats_what_nobody_acknowledged() -> None:
    device = SettopBox("settop:tv-1", name="tv-1", seed=1)
    sos = device.happen("sos", {}, START).parcels[0].data
    assert frames(live(device, 35)).count(sos) == 3
    ref = settop.decode_up("anhu/tv/tv-1/up", sos).ref
    device.receive(settop.encode_down("ack", ref=ref), START.after(36))
    assert sos not in frames(live(device, 60, START.after(36)))
    assert device.happen("service", {"item": "meal"}, START).facts == (Fact("service_request", "meal"),)


def test_an_outing_leaves_and_returns_along_streets() -> None:
    outing = Outing(HOME, seconds=1800, speed_ms=1.0, seed=5)
    places = [outing.where(second)[0] for second in range(0, 1800, 10)]
    assert outing.where(1800)[0] == outing.where(-1)[0] == HOME
    steps = [abs(a.lat - b.lat) * 111_320 + abs(a.lon - b.lon) * 95_000 for a, b in itertools.pairwise(places)]
    assert max(steps) < 16
    assert max(abs(p.lat - HOME.lat) + abs(p.lon - HOME.lon) for p in places) > 0.002


def test_a_reminder_is_put_off_and_comes_back_by_itself_until_it_is_confirmed() -> None:
    device = SettopBox("settop:tv-1", name="tv-1", seed=1)
    device.happen("answers", {"how": ["snooze", "confirm"], "minutes": 5}, START)
    device.receive(settop.encode_down("remind", "c-1", text="tablets"), START.after(1))
    acts = live(device, 400, START.after(1))
    told = [(round(now.s), fact.kind) for now, act in acts for fact in act.facts]
    assert told == [(3, "reminder_snoozed"), (305, "reminder_confirmed")]
