"""Health device driver: repetitions, times, the record access dialogue, restart."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from drivers.api import Advert, Event, Frame, Instant, Match, Measurement, OptionError, Output, Reason, TimeQuality, Transport
from drivers.gatt_health.driver import IDLE_S, PAUSE_S, GattHealth
from protocols.ble import gatt_health as codec
from protocols.ble.gatt_health import BloodPressure, Glucose, PulseOximetry, RecordAccess, Weight, encode, long_uuid
from tests.shared import vectors

MAC = "C8:B2:1E:00:10:01"
TIME = datetime(2026, 11, 22, 16, 28)  # noqa: DTZ001  # the profiles have no zone
AT_MS = 1795336215000


def value(characteristic: str, message: Any, at_s: float = 0.0) -> Frame:
    data = message if isinstance(message, bytes) else encode(message)
    now = Instant(AT_MS + round(at_s * 1000), 1000.0 + at_s)
    return Frame(data=data, received=now, transport=Transport.BLE_GATT, address=MAC, characteristic=long_uuid(characteristic))


def advert(service: str, at_s: float = 0.0) -> Frame:
    now = Instant(AT_MS + round(at_s * 1000), 1000.0 + at_s)
    return Frame(data=b"", received=now, transport=Transport.BLE_ADVERT, address=MAC, advert=Advert(service_uuids=[long_uuid(service)]))


def peer(word: str, at_s: float = 0.0) -> Frame:
    return Frame(data=b"", received=Instant(AT_MS, 1000.0 + at_s), transport=Transport.BLE_GATT, address=MAC, peer=word)


def ops(output: Output) -> list[str]:
    return [f"{s.op} {codec.short_uuid(s.to)} {s.data.hex()}".strip() for s in output.replies]


def readings(events: list[Event]) -> dict[str, float]:
    return {e.body.quantity.value: e.body.value for e in events if isinstance(e.body, Measurement)}


KEYS = {"bpm": "heart_rate", "systolic": "systolic", "diastolic": "diastolic", "map": "mean_arterial", "mmol_l": "glucose"}


@pytest.mark.parametrize("row", vectors("vectors/sensor/ble_gatt_health.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if row["transport"] == "sfloat":
        return
    output = GattHealth({}, MAC).receive(value(row["characteristic"], bytes.fromhex(row["frame"])))
    if not expect["ok"]:
        assert [r.reason for r in output.rejects] == [Reason.TRUNCATED]
        return
    got = readings(output.events)
    factor = 7.500617 if expect.get("unit") == "kPa" else 1
    for key, name in KEYS.items():
        if expect.get(key):
            assert got[name] == pytest.approx(expect[key] * factor, abs=0.06)
    if expect["kind"] in ("spo2_spot", "spo2_cont"):
        assert got.get("spo2") == expect["spo2"]
    if expect["kind"] == "temperature" and expect["value"] is not None:
        celsius = expect["value"] if expect["unit"] == "C" else (expect["value"] - 32) / 1.8
        assert got["body_temperature"] == pytest.approx(celsius, abs=0.01)
    if expect["kind"] == "weight":
        assert got.get("weight") == (
            None if expect["value"] is None else pytest.approx(expect["value"] * (0.45359237 if expect["unit"] == "lb" else 1), abs=0.001)
        )
    if "time" in expect and output.events:
        offset = expect.get("offset_min", 0) * 60_000
        assert {e.at_ms for e in output.events} == {1795336215000 - 8 * 3600_000 + offset}
    assert not output.rejects


def test_an_unset_clock_gives_the_time_of_arrival() -> None:
    output = GattHealth({}, MAC).receive(value("2a35", BloodPressure(120, 80, None, has_time=True)))
    assert {(e.at_ms, e.time_quality) for e in output.events} == {(AT_MS, TimeQuality.RECEIVED)}


def test_a_stored_reading_is_told_once_also_after_a_restart() -> None:
    driver = GattHealth({}, MAC)
    frame = value("2a35", BloodPressure(120, 80, None, time=TIME, has_time=True))
    assert len(driver.receive(frame).events) == 2
    assert not driver.receive(frame).events
    again = GattHealth({}, MAC)
    again.load(driver.dump())
    assert not again.receive(frame).events
    other = value("2a35", BloodPressure(121, 80, None, time=TIME, has_time=True))
    assert len(again.receive(other).events) == 2, "two persons may be measured in one minute"


def test_a_reading_without_clock_repeats_only_within_a_minute() -> None:
    driver = GattHealth({}, MAC)
    told = [len(driver.receive(value("2a9d", Weight(62.5), at)).events) for at in (0, 1, 30, 200)]
    assert told == [1, 0, 0, 1]


def test_continuous_values_are_never_repetitions() -> None:
    driver = GattHealth({}, MAC)
    assert [len(driver.receive(value("2a5f", PulseOximetry(96, 80, is_continuous=True), at)).events) for at in range(3)] == [2, 2, 2]


def test_one_visit_one_connection() -> None:
    driver = GattHealth({}, MAC)
    assert ops(driver.receive(advert("1810"))) == ["connect", "subscribe 2a35", "read 2a19"]
    assert not driver.receive(advert("1810", 1)).replies, "while connecting"
    driver.receive(peer("connected", 2))
    driver.receive(peer("disconnected", 8))
    assert not driver.receive(advert("1810", 9)).replies, "the end of the same visit"
    assert driver.receive(advert("1810", 8 + PAUSE_S)).replies


def test_silence_ends_a_connection() -> None:
    driver = GattHealth({}, MAC)
    driver.receive(advert("1810"))
    woken = driver.receive(peer("connected", 1)).wake_s
    assert woken == 1001 + IDLE_S
    later = driver.receive(value("2a35", BloodPressure(120, 80, None), 20)).wake_s
    assert later == 1020 + IDLE_S
    assert driver.wake(Instant(AT_MS, woken)).wake_s == later, "a value came in between"
    assert ops(driver.wake(Instant(AT_MS, later))) == ["disconnect"]
    assert not driver.wake(Instant(AT_MS, later + 100)).replies


def test_a_failed_connection_is_tried_at_a_later_advertisement() -> None:
    driver = GattHealth({}, MAC)
    driver.receive(advert("1810"))
    driver.receive(peer("failed: TimeoutError", 20))
    assert driver.receive(advert("1810", 20 + PAUSE_S)).replies


def test_a_meter_is_asked_for_new_records_only_and_for_all_when_it_has_none() -> None:
    driver = GattHealth({}, MAC)
    driver.receive(advert("1808"))
    driver.receive(value("2a18", Glucose(41, TIME, None, 0.0056, "mol/L", 1, 1)))
    assert ops(driver.receive(value("2a52", RecordAccess(6, 0, b"\x01\x01")))) == ["disconnect"]
    again = GattHealth({}, MAC)
    again.load(driver.dump())
    assert "write 2a52 0103012900" in ops(again.receive(advert("1808", 60)))
    none_found = value("2a52", RecordAccess(6, 0, b"\x01\x06"))
    assert ops(again.receive(none_found)) == ["write 2a52 0101"]
    reset = again.receive(value("2a18", Glucose(1, TIME, None, 0.007, "mol/L", 1, 1)))
    assert readings(reset.events) == {"glucose": 7.0}, "a meter that counts from one again is heard"
    assert ops(again.receive(none_found)) == ["disconnect"]


def test_a_meter_that_refuses_the_request_is_let_go() -> None:
    driver = GattHealth({}, MAC)
    driver.receive(advert("1808"))
    output = driver.receive(value("2a52", RecordAccess(6, 0, b"\x01\x02")))
    assert ops(output) == ["disconnect"]
    assert [r.reason for r in output.rejects] == [Reason.UNSUPPORTED]


def test_what_is_remembered_is_bounded() -> None:
    driver = GattHealth({}, MAC)
    for number in range(1000):
        driver.receive(value("2a18", Glucose(number, TIME, None, 0.0056, "mol/L", 1, 1)))
        driver.receive(value("2a9d", Weight(50 + number / 200), number / 100))
    assert len(driver.dump()) < 16_000


def test_health_services_are_ours() -> None:
    assert GattHealth.match(advert("1808")) is Match.YES
    assert GattHealth.match(advert("180a")) is Match.NO


@pytest.mark.parametrize("options", [{"services": ["9999"]}, {"utc_offset_minutes": 9999}, {"pairs": True}])
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        GattHealth(options, None)


READING = BloodPressure(130, 80, 97, time=TIME, has_time=True, user=1)


def belongs_to(people: list[dict[str, Any]], message: BloodPressure = READING) -> set[str | None]:
    return {event.subject for event in GattHealth({"people": people}, MAC).receive(value("2a35", message)).events}


def test_a_shared_device_knows_its_people_by_their_slots() -> None:
    slots = [{"subject": "r-1", "slot": 0}, {"subject": "r-2", "slot": 1}]
    assert belongs_to(slots) == {"r-2"}
    assert belongs_to(slots, READING._replace(user=5)) == {None}, "then it belongs to whom the device belongs"
    assert belongs_to(slots, READING._replace(user=None)) == {None}


def test_a_shared_device_knows_its_people_by_the_hour_of_the_house() -> None:
    hours = [{"subject": "r-1", "from": "06:00", "to": "16:28"}, {"subject": "r-2", "from": "16:28", "to": "16:29"}]
    assert belongs_to(hours) == {"r-2"}
    assert belongs_to(hours, READING._replace(time=TIME.replace(minute=27))) == {"r-1"}
    night = [{"subject": "r-3", "from": "22:00", "to": "06:00"}]
    assert belongs_to(night, READING._replace(time=TIME.replace(hour=23))) == belongs_to(night, READING._replace(time=TIME.replace(hour=5)))
    assert belongs_to(night) == {None}


def test_a_slot_and_an_hour_must_both_fit() -> None:
    both = [{"subject": "r-1", "slot": 1, "from": "06:00", "to": "09:00"}, {"subject": "r-2", "slot": 1}]
    assert belongs_to(both) == {"r-2"}


@pytest.mark.parametrize(
    "row",
    [{"subject": "r-1"}, {"slot": 1}, {"subject": "a b", "slot": 1}, {"subject": "r-1", "from": "7:00", "to": "08:00"},
     {"subject": "r-1", "from": "07:00"}, {"subject": "r-1", "slot": "x"}, {"subject": "r-1", "slot": 1, "colour": 2}, 7],
)  # fmt: skip
def test_lines_that_mean_nothing_are_refused(row: Any) -> None:
    with pytest.raises(OptionError, match=r"people\[1\]"):
        GattHealth({"people": [row]}, MAC)
