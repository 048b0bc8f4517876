"""Badge driver: rooms, visits, calls for help."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Advert, Frame, Instant, Match, Measurement, Occurrence, OptionError, Output, Position, Transport
from drivers.ble_badge.driver import BleBadge
from drivers.ble_badge.rooms import Rooms
from protocols.ble.beacon import APPLE, EDDYSTONE_UUID, Proximity, Telemetry, Uid, encode
from tests.shared import vectors

U = "6513270e-269e-0d37-f2a7-4de452e6b438"
MAC = "AC:23:3F:00:00:07"
BADGE = {"uuid": U, "major": 1, "minor": 7, "device": "badge-7", "person": "r-0417"}
SOS = {"uuid": U, "major": 1, "minor": 911, "device": "badge-7", "means": "sos"}
STAFF = {"uuid": U, "major": 2, "device": "staff-2", "role": "staff", "person": "s-0002"}


def heard(minor: int, room: str, at_s: float, rssi: int | None = -60, *, major: int = 1, mac: str = MAC) -> Frame:
    advert = Advert(manufacturer_data={APPLE: encode(Proximity(U, major, minor, -59))}, rssi_dbm=rssi, receiver=room)
    now = Instant(1795336215000 + round(at_s * 1000), 1000.0 + at_s)
    return Frame(data=b"", received=now, transport=Transport.BLE_ADVERT, address=mac, advert=advert)


def told(output: Output) -> list[str]:
    found = [e.body for e in output.events if isinstance(e.body, Occurrence)]
    return [" ".join(filter(None, (body.kind, body.state, body.place, body.person))) for body in found]


def at(seconds: float) -> Instant:
    return Instant(1795336215000 + round(seconds * 1000), 1000.0 + seconds)


@pytest.mark.parametrize("row", vectors("vectors/sensor/ble_beacons.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    data, expect = bytes.fromhex(row["frame"]), row["expect"]
    advert = Advert(
        service_data={row["service_uuid"]: data} if "service_uuid" in row else {},
        manufacturer_data={row["manufacturer_id"]: data} if "manufacturer_id" in row else {},
    )
    output = BleBadge({}, None).receive(Frame(data=data, received=at(0), transport=Transport.BLE_ADVERT, address=MAC, advert=advert))
    assert bool(output.rejects) is not expect["ok"]
    if not expect["ok"] or expect.get("ignore"):
        assert not output.events
        return
    position = next(e.body for e in output.events if isinstance(e.body, Position))
    names = {"uuid": "/{major}/{minor}", "namespace": "/{instance}", "url": "", "eid": ""}
    for name, rest in names.items():
        if name in expect:
            assert position.beacon == str(expect[name]) + rest.format(**expect)
    if expect.get("temperature_c") is not None:
        assert [e.body.value for e in output.events if isinstance(e.body, Measurement)] == [expect["temperature_c"]]


def test_a_change_of_room_needs_strength_twice() -> None:
    driver = BleBadge({"badges": [BADGE]}, None)
    assert told(driver.receive(heard(7, "kitchen", 0))) == ["presence start kitchen r-0417"]
    assert not told(driver.receive(heard(7, "hall", 1, -58))), "2 dB are not enough"
    assert not told(driver.receive(heard(7, "hall", 20, -40))), "the average follows slowly, and once is not enough"
    driver.receive(heard(7, "kitchen", 20.5, -60))
    moves = [told(driver.receive(heard(7, "hall", 21 + n, -40))) for n in range(4)]
    assert ["presence end kitchen r-0417", "presence start hall r-0417"] in moves


def test_somebody_in_the_doorway_does_not_flicker() -> None:
    driver = BleBadge({"badges": [BADGE]}, None)
    driver.receive(heard(7, "kitchen", 0))
    for second in range(1, 120):
        swing = 6 if second % 2 else -6
        assert not told(driver.receive(heard(7, "kitchen", second, -60 - swing)))
        assert not told(driver.receive(heard(7, "hall", second + 0.3, -60 + swing)))


def test_a_receiver_that_is_silent_counts_no_more() -> None:
    driver = BleBadge({"badges": [BADGE]}, None)
    driver.receive(heard(7, "kitchen", 0, -40))
    driver.receive(heard(7, "hall", 20, -90))
    assert told(driver.receive(heard(7, "hall", 31, -90))) == ["presence end kitchen r-0417", "presence start hall r-0417"]


def test_an_sos_is_told_at_once_and_again_each_minute_with_the_person_of_the_badge() -> None:
    driver = BleBadge({"badges": [SOS, BADGE]}, None)
    driver.receive(heard(7, "bathroom", 0))
    calls = [told(driver.receive(heard(911, "bathroom", 1 + n))) for n in range(90)]
    assert calls[0] == ["sos pulse bathroom r-0417"]
    assert [n for n, call in enumerate(calls) if call] == [0, 60]
    for later in (95, 120):
        driver.receive(heard(7, "bathroom", later))
    assert told(driver.receive(heard(911, "bathroom", 130))) == ["sos pulse bathroom r-0417"], "a new press after a pause"


def test_an_sos_of_a_badge_never_seen_before_comes_first() -> None:
    output = BleBadge({"badges": [SOS]}, None).receive(heard(911, "hall", 0, None))
    assert told(output)[0] == "sos pulse hall"


def test_a_visit_has_a_beginning_an_end_and_no_gaps() -> None:
    driver = BleBadge({"badges": [STAFF]}, None)
    first = driver.receive(heard(3, "hall", 0, major=2))
    assert told(first) == ["presence start hall s-0002", "service_visit start hall s-0002"]
    assert first.wake_s == 1030
    left = driver.wake(at(30))
    assert told(left) == ["presence end hall s-0002"]
    assert left.wake_s == 1300
    assert told(driver.receive(heard(3, "kitchen", 200, major=2))) == ["presence start kitchen s-0002"], "the same visit"
    assert told(driver.wake(at(500))) == ["presence end kitchen s-0002", "service_visit end s-0002"]
    assert driver.wake(at(900)).wake_s is None


def test_an_end_is_told_with_the_time_at_which_the_badge_was_heard_last() -> None:
    driver = BleBadge({"badges": [STAFF], "expiry_s": 30, "visit_end_s": 120}, None)
    driver.receive(heard(3, "hall", 0, major=2))
    last = driver.receive(heard(3, "hall", 60, major=2))
    assert last.wake_s is not None
    ends = [event for s in (95, 185) for event in driver.wake(at(s)).events]
    assert [event.at_ms for event in ends] == [at(60).ms, at(60).ms]


def test_a_visit_that_ended_while_the_gateway_was_off_is_ended() -> None:
    before = BleBadge({"badges": [STAFF]}, None)
    before.receive(heard(3, "hall", 0, major=2))
    after = BleBadge({"badges": [STAFF]}, None)
    after.load(before.dump())
    back = told(after.receive(heard(3, "hall", 1000, major=2)))
    assert back[:2] == ["presence end hall s-0002", "service_visit end s-0002"]
    assert "service_visit start hall s-0002" in back


def test_telemetry_belongs_to_the_badge_at_its_address() -> None:
    driver = BleBadge({"badges": [BADGE]}, None)
    driver.receive(heard(7, "hall", 0))
    block = encode(Telemetry(3017, 20.5, 1, 1.0))
    frame = Frame(
        data=b"",
        received=at(1),
        transport=Transport.BLE_ADVERT,
        address=MAC,
        advert=Advert(service_data={EDDYSTONE_UUID: block}, receiver="hall"),
    )
    assert {e.device for e in driver.receive(frame).events} == {"ble_badge:badge-7"}
    assert not driver.receive(frame).events, "told every five minutes only"


def test_badges_of_one_session_are_kept_apart_and_bounded() -> None:
    driver = BleBadge({}, None)
    for number in range(600):
        output = driver.receive(heard(number, "hall", number / 100, mac=f"AC:23:3F:00:{number >> 8:02X}:{number & 255:02X}"))
        assert told(output)[0] == "presence start hall"
    assert len(driver.dump()) < 64_000


def test_a_session_of_many_receivers_is_bounded() -> None:
    rooms = Rooms(average_s=8, hysteresis_db=5, expiry_s=30)
    for number in range(500):
        rooms.hear(f"room {number}", -60, number / 100)
    assert rooms.room is not None


def test_beacons_are_ours_and_phones_are_not() -> None:
    assert BleBadge.match(heard(7, "hall", 0)) is Match.YES
    phone = Frame(data=b"", received=at(0), transport=Transport.BLE_ADVERT, advert=Advert(manufacturer_data={APPLE: b"\x10\x05\x03"}))
    assert BleBadge.match(phone) is Match.NO
    uid = Frame(data=b"", received=at(0), advert=Advert(service_data={EDDYSTONE_UUID: encode(Uid("00" * 10, "00" * 6, 0))}))
    assert BleBadge.match(uid) is Match.YES


@pytest.mark.parametrize(
    "options",
    [
        {"badges": [{"uuid": U, "means": "party"}]},
        {"badges": [{"means": "sos"}]},
        {"badges": [{"uid": U}]},
        {"badges": ["x"]},
        {"expiry_s": 1},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        BleBadge(options, None)
