"""Badges, health devices, Zigbee and self-announcing sensors: in virtual time, and against the real gateway on the real wire."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from drivers.events import epoch_ms
from protocols.mqtt.kodi import Answer, Notification, Request, encode
from protocols.mqtt.kodi import decode as decode_kodi
from protocols.mqtt.motion_band import decode as decode_block
from protocols.mqtt.zigbee2mqtt import read_devices
from simulator.clock import Moment
from simulator.community import Community, build
from simulator.devices.device import Happening
from simulator.devices.health_device import HealthDevice
from simulator.devices.kodi_box import KodiBox
from simulator.devices.motion_band import MotionBand
from simulator.devices.zigbee import SENSES, ZigbeeBridge, ZigbeeSensor
from simulator.live import run_live
from simulator.members import LIVELY
from simulator.scenario import read
from simulator.truth import Entry, Score
from simulator.virtual import Listener, run_virtual
from tests.conftest import need
from tests.shared import shared_file

T0 = 1795336212000
NOW = Moment(T0, 0.0)
PACK = ("kodi", "band", "badge", "aide", "nurse", "cuff", "oximeter", "strap", *SENSES, "esphome_gas", "tasmota_leak")
STORY: tuple[tuple[float, str, str, dict[str, object]], ...] = (
    (1.0, "badge", "enter", {"room": "bedroom"}),
    (2.5, "aide", "enter", {"room": "hall"}),
    (3.0, "zigbee_button", "sos", {}),
    (3.0, "zigbee_gas", "gas", {}),
    (3.2, "esphome_gas", "gas", {}),
    (3.4, "tasmota_leak", "leak", {}),
    (3.5, "cuff", "measure", {"systolic": 142, "diastolic": 88}),
    (4.0, "zigbee_leak", "leak", {}),
    (4.2, "zigbee_door", "door_open", {}),
    (4.4, "zigbee_smoke", "smoke", {}),
    (4.5, "oximeter", "measure", {"spo2": 96}),
    (5.0, "aide", "enter", {"room": "bedroom"}),
    (5.2, "nurse", "enter", {"room": "bathroom"}),
    (5.5, "strap", "measure", {"heart_rate": 71}),
    (6.0, "badge", "sos", {}),
    (6.2, "band", "sos", {}),
    (6.4, "kodi", "sos", {}),
    (6.6, "kodi", "service", {"item": "meal"}),
    (6.5, "zigbee_door", "door_close", {}),
    (7.0, "zigbee_gas", "gas_gone", {}),
    (7.2, "esphome_gas", "gas_gone", {}),
    (7.4, "tasmota_leak", "leak_gone", {}),
)
SEEN = {
    "ble_badge": {"sos": 2, "service_visit": 2, "presence": 4},
    "gatt_health": {"systolic": 1, "diastolic": 1, "spo2": 1, "heart_rate": 3},
    "zigbee2mqtt": {"gas": 2, "gas end": 2, "smoke": 1, "water_leak": 2, "door_open": 1, "door_open end": 1},
    "motion_band": {"sos": 4},
    "kodi": {"sos": 4, "meal": 1},
    "mqtt_discovery": {"gas": 2, "water_leak": 2, "water_leak end": 1, "temperature": 2},
}
"""At least so many of these, all families together where two share a kind."""


def story(community: Community) -> Iterator[Happening]:
    for at_s, item, verb, args in STORY:
        yield Happening(at_s, community.find(community.residents[0].id, item), verb, dict(args))


def flat() -> Community:
    return build(1, seed=5, rates=LIVELY, make_plan=story, pack=PACK)


def test_everything_is_told_in_virtual_time() -> None:
    run = run_virtual(flat(), seconds=60, start_ms=T0)
    assert run.score.is_clean, run.score.missed_entries + run.score.false_entries
    assert run.score.alarms.found == run.score.alarms.expected >= 7


@pytest.fixture(scope="module")
def on_wires() -> Score:
    need("mosquitto")
    need("dbus-daemon")
    return asyncio.run(run_live(flat(), seconds=12, grace_s=8.0)).score


@pytest.mark.parametrize("driver", SEEN)
def test_the_gateway_sees_it_on_the_real_wire(driver: str, on_wires: Score) -> None:
    assert not [entry for entry in on_wires.missed_entries if f" {driver}:" in entry]
    found = {kind: tally.found for kind, tally in on_wires.kinds.items()}
    assert all(found.get(kind, 0) >= least for kind, least in SEEN[driver].items()), found


def test_nothing_is_invented_late_or_told_of_somebody_else(on_wires: Score) -> None:
    assert on_wires.is_clean, on_wires.missed_entries + on_wires.false_entries


class Visits(Listener):
    """Moments at which visits began and ended: what was told, and the truth."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []
        self.true: list[tuple[str, str, int]] = []

    def expect(self, entry: Entry) -> None:
        if entry.fact.kind == "service_visit":
            self.true.append((entry.fact.who, entry.fact.state, entry.at_ms))

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        body = document["body"]
        if body.get("kind") == "service_visit" and "cause" not in document:
            self.told.append((body["person"], "end" if body["state"] == "end" else "begin", epoch_ms(document["at"])))


def test_who_came_and_from_when_to_when_is_told_to_the_second() -> None:
    scenario, heard = read("badge-visits"), Visits()
    run_virtual(scenario.community(), seconds=scenario.duration_s, start_ms=scenario.start_ms, hear=heard)
    assert [row[:2] for row in heard.told] == [row[:2] for row in heard.true]
    assert len(heard.true) == 6
    assert all(abs(told[2] - true[2]) <= 5000 for told, true in zip(heard.told, heard.true, strict=True)), heard.told


def bridge() -> ZigbeeBridge:
    return ZigbeeBridge("zigbee2mqtt:bridge", (ZigbeeSensor("zigbee2mqtt:siren-1", name="siren-1", item="zigbee_siren", seed=1),))


def test_the_bridge_lists_its_devices_as_zigbee2mqtt_does() -> None:
    said = {parcel.to: parcel.data for parcel in bridge().up(NOW).parcels}
    (device,) = read_devices(said["zigbee2mqtt/bridge/devices"])
    assert (device.name, device.properties) == ("siren-1", ["alarm", "battery"])
    assert json.loads(said["zigbee2mqtt/bridge/state"]) == {"state": "online"}


def test_the_bridge_lets_devices_join_for_as_long_as_it_is_asked_and_no_longer_than_it_may() -> None:
    device = bridge()
    (answer,) = device.receive(b'{"time": 60, "transaction": "c-1"}', NOW, "zigbee2mqtt/bridge/request/permit_join").parcels
    assert (json.loads(answer.data)["status"], json.loads(answer.data)["transaction"], device.joins_until_s) == ("ok", "c-1", 60)
    (refusal,) = device.receive(b'{"time": 9999}', NOW, "zigbee2mqtt/bridge/request/permit_join").parcels
    assert json.loads(refusal.data)["status"] == "error"


def test_what_is_switched_is_told_as_state() -> None:
    device = bridge()
    (state,) = device.receive(b'{"alarm": true}', NOW, "zigbee2mqtt/siren-1/set").parcels
    assert (state.to, json.loads(state.data)) == ("zigbee2mqtt/siren-1", {"alarm": True})
    for junk in (b"", b"[]", b"\xff", b"{"):
        assert not device.receive(junk, NOW, "zigbee2mqtt/siren-1/set").parcels


def test_a_cuff_that_nobody_empties_keeps_its_readings() -> None:
    cuff = HealthDevice("gatt_health:C8:00:00:00:00:01", kind="cuff", seed=1)
    cuff.happen("measure", {}, NOW)
    while cuff.next_s < 100:
        cuff.step(Moment(T0 + round(cuff.next_s * 1000), cuff.next_s))
    later = NOW.after(3600)
    cuff.happen("measure", {}, later)
    values = [parcel for parcel in cuff.receive(b"", later, "subscribed:2a35").parcels if parcel.to == "value:2a35"]
    assert len(values) == 2
    assert not cuff.receive(b"", later, "subscribed:2a35").parcels


def recorded(is_fall: int, count: int) -> list[list[list[int]]]:
    """Trials of somebody else's falls and days at the wrist, 20 Hz, milli-g."""
    with shared_file("data/fall/umafall/umafall_wrist.csv").open(encoding="utf-8") as file:
        trials = [int(row["k"]) for row in csv.DictReader(file) if int(row["is_fall"]) == is_fall]
    data = np.load(shared_file("data/fall/umafall/umafall_wrist.npz"))
    chosen = trials[:: max(len(trials) // count, 1)][:count]
    return [data["acc"][data["off"][k] : data["off"][k + 1]].tolist() for k in chosen]


class Conclusions(Listener):
    """Who was said to have fallen."""

    def __init__(self) -> None:
        self.said: set[tuple[str, str]] = set()

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        if document["body"].get("kind") in ("fall_suspected", "fall"):
            self.said.add((document["subject"], document["body"]["kind"]))


def test_recorded_falls_played_by_a_band_are_found_and_recorded_days_left_in_peace() -> None:
    trials = recorded(1, 6) + recorded(0, 6)

    def plan(community: Community) -> Iterator[Happening]:
        bands = [community.find(resident.id, "band") for resident in community.residents]
        for band, samples in zip(bands, trials, strict=True):
            yield Happening(20.0, band, "fall", {"samples": samples})
        for band in bands[6:]:
            yield Happening(36.0, band, "get_up")

    community, heard = build(12, seed=3, make_plan=plan, pack=("band",)), Conclusions()
    run_virtual(community, seconds=100, start_ms=T0, hear=heard)
    people = [resident.id for resident in community.residents]
    assert sum((person, "fall_suspected") in heard.said for person in people[:6]) >= 4
    assert sum((person, "fall") in heard.said for person in people[6:]) <= 1


def test_a_band_counts_its_samples_over_a_lost_link() -> None:
    band = MotionBand("motion_band:b-1", name="b-1", seed=1)
    band.up(NOW)
    firsts = [decode_block(band.step(NOW.after(second)).parcels[0].data).first for second in range(2, 6)]
    assert firsts == [0, 20, 40, 60]


def test_a_kodi_does_what_it_is_told_and_refuses_what_it_does_not_know() -> None:
    box = KodiBox("kodi:tv-1")
    box.up(NOW)
    calls = [("GUI.ShowNotification", {"message": "吃药"}), ("Application.SetVolume", {"volume": 33}), ("Addons.Execute", {})]
    data = b"".join(encode(Request(str(n), method, params)) for n, (method, params) in enumerate(calls))
    said = [decode_kodi(parcel.data) for part in (data[:50], data[50:]) for parcel in box.receive(part, NOW).parcels]
    assert said == [
        Answer("0", "OK", ""),
        Answer("1", 33, ""),
        Notification("Application.OnVolumeChanged", "xbmc", {"muted": False, "volume": 33}),
        Answer("2", None, "Method not found."),
    ]
    assert box.shown == [{"message": "吃药"}]
    assert not box.receive(b"\xff{]", NOW).parcels
