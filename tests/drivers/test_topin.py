"""What a Topin pendant means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Measurement, Occurrence, Output, Position
from drivers.events import epoch_ms
from drivers.harness import step
from drivers.topin.driver import Topin
from protocols.tracker.gt06_blocks import write_gps
from protocols.tracker.topin import Packet, encode, write_login
from tests.shared import vectors

IMEI = "866123456789015"
GPS = write_gps((26, 11, 22, 8, 30, 0), 31.230416, 121.473701)


def feed(driver: Topin, *frames: bytes) -> Output:
    total = Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


def of(output: Output, kind: type) -> list:
    return [event.body for event in output.events if isinstance(event.body, kind)]


def kinds(output: Output) -> list[str]:
    return [body.kind.value for body in of(output, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/topin.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, driver = row["expect"], Topin({}, None)
    if row.get("needs_login"):
        feed(driver, bytes.fromhex(row["login_frame"]))
    output = feed(driver, bytes.fromhex(row["frame"]))
    assert output.device == f"topin:{expect['device_id']}"
    assert output.replies or output.acks
    if "lat" in expect:
        event = next(e for e in output.events if isinstance(e.body, Position))
        assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
        assert (event.body.valid, event.body.satellites, event.body.course_deg) == (expect["valid"], expect["satellites"], expect["course"])
        if epoch_ms(expect["fix_time"]) > epoch_ms("2010-06-01T00:00:00Z"):
            assert event.at_ms == epoch_ms(expect["fix_time"])
    if "alarm" in expect:
        assert expect["alarm"] in kinds(output)
    if "battery_percent" in expect:
        assert [h.battery_percent for h in of(output, DeviceHealth)] == [expect["battery_percent"]]


def test_sos_99_is_told_and_answered() -> None:
    output = feed(Topin({}, IMEI), encode(Packet(0x99, b"", 1)))
    assert kinds(output) == ["sos"]
    assert [send.data.hex() for send in output.acks] == ["787801990d0a"]


def test_sos_behind_another_message_in_one_segment_is_seen() -> None:
    assert kinds(feed(Topin({}, IMEI), encode(Packet(0x10, GPS, 18)) + encode(Packet(0x99, b"", 1)))) == ["sos"]


def test_login_is_answered_and_the_time_follows() -> None:
    output = feed(Topin({}, None), encode(write_login(IMEI)))
    assert [send.data.hex() for send in output.replies] == ["78780d01010d0a", "7878073007ea0b16081e0f0d0a"]
    assert output.device == f"topin:{IMEI}"


@pytest.mark.parametrize(("kind", "content", "length", "answer"), [
    (0x10, GPS, 18, "787812101a0b16081e000d0a"),
    (0x11, GPS, 18, "787812111a0b16081e000d0a"),
    (0x69, bytes.fromhex("2611220830000001cc00"), 0, "787800692611220830000d0a"),
    (0x94, b"", 1, "787801940d0a"),
])  # fmt: skip
def test_data_is_answered_after_commit(kind: int, content: bytes, length: int, answer: str) -> None:
    output = feed(Topin({}, IMEI), encode(Packet(kind, content, length)))
    assert [send.data.hex() for send in output.acks] == [answer]
    assert not output.replies


def test_status_is_echoed_at_once() -> None:
    output = feed(Topin({}, IMEI), bytes.fromhex("78780713514d0819640d0a"))
    assert [send.data.hex() for send in output.replies] == ["78780713514d0819640d0a"]


@pytest.mark.parametrize("rate", [0, 1, 255])
def test_no_reading_of_the_heart_rate_gives_no_event(rate: int) -> None:
    content = bytes.fromhex("510800196424000001") + bytes((rate,))
    assert not of(feed(Topin({}, IMEI), encode(Packet(0x13, content, 11))), Measurement)


@pytest.mark.parametrize(("kind", "stored"), [(0x10, False), (0x11, True)])
def test_recorded_positions_are_marked(kind: int, stored: bool) -> None:
    assert [p.stored for p in of(feed(Topin({}, IMEI), encode(Packet(kind, GPS, 18))), Position)] == [stored]
