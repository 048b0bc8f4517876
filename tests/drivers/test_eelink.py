"""What an Eelink device means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Frame, Instant, Match, Measurement, Occurrence, Output, Position, Transport
from drivers.eelink.driver import Eelink
from drivers.events import epoch_ms
from drivers.harness import step
from protocols.tracker import eelink
from protocols.tracker.eelink import Block, Packet
from tests.shared import vectors

IMEI = "861234567890124"
LOGIN = eelink.write_login(IMEI)
WORDS = {"removing": "removed", "geofenceEnter": "device_fence_entry"}


def feed(*frames: bytes, **options: object) -> Output:
    driver, total = Eelink(options, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


def of(output: Output, kind: type) -> list:
    return [event.body for event in output.events if isinstance(event.body, kind)]


def kinds(output: Output) -> list[str]:
    return [body.kind.value for body in of(output, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/eelink.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, data = row["expect"], bytes.fromhex(row["frame"])
    output = feed(*([bytes.fromhex(row["login_frame"])] if row.get("needs_login") else []), data)
    assert output.device == f"eelink:{expect['device_id']}"
    assert not output.rejects
    for word in [expect.get("alarm"), *expect.get("alarms", [])]:
        assert word is None or WORDS[word] in kinds(output)
    if "lat" in expect:
        event = next(e for e in output.events if isinstance(e.body, Position))
        assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-6), pytest.approx(expect["lon"], abs=1e-6))
        assert event.at_ms == epoch_ms(expect["fix_time"])
        assert (event.body.speed_kmh, event.body.course_deg) == (expect["speed_kmh"], expect["course"])
        assert event.body.satellites == expect.get("satellites")
        assert event.body.altitude_m == expect.get("altitude_m")
        assert event.body.valid == expect.get("valid", True)
    if expect.get("no_fix"):
        assert all(place.lat is None for place in of(output, Position))
    if "temp2" in expect.get("other", {}):
        assert expect["other"]["temp2"] in [m.value for m in of(output, Measurement)]
    if expect.get("other", {}).get("ignition"):
        assert "ignition" in kinds(output)
    sent = [send.data for send in output.replies + output.acks]
    if expect["message"] == "01":
        assert sent == [data[:3] + b"\x00\x09" + data[5:7] + (1795336215).to_bytes(4, "big") + b"\x00\x01\x00"]
    else:
        assert data[:3] + b"\x00\x02" + data[5:7] in sent


@pytest.mark.parametrize("kind", [0x02, 0x81])
def test_plain_positions_and_data_are_never_answered(kind: int) -> None:
    output = feed(LOGIN, eelink.encode(Packet(kind, 3, b"\x00" * 27)))
    assert len(output.replies) == 1
    assert not output.acks


def test_each_package_of_a_datagram_is_answered_by_a_datagram() -> None:
    heartbeat = eelink.encode(Packet(eelink.HEARTBEAT, 7, b"\x00\x00"))
    sos = eelink.write_report(eelink.WARNING, Block(1795336200, alarm=2), serial=8)
    output = feed(eelink.datagram(IMEI, heartbeat + sos))
    assert kinds(output) == ["sos"]
    assert [send.data[:2] for send in output.replies + output.acks] == [b"EL", b"EL"]
    assert [send.data[14:] for send in output.acks] == [bytes.fromhex("67671400020008")]


def test_access_points_indoors_are_no_repetition_of_the_last_fix() -> None:
    output = feed(LOGIN, eelink.encode(Packet(eelink.NORMAL, 3, bytes.fromhex("6b029fa810112233445566c40000"))))
    [place] = of(output, Position)
    assert (place.lat, place.source.value, place.valid) == (None, "wifi", False)


def test_charging_is_told_only_where_the_device_knows_it() -> None:
    output = feed(LOGIN, eelink.encode(Packet(eelink.HEARTBEAT, 3, b"\x01\x80")), eelink.encode(Packet(eelink.HEARTBEAT, 4, b"\x01\x00")))
    assert [health.charging for health in of(output, DeviceHealth)] == [True]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"g", Match.MORE),
        (b"gg", Match.MORE),
        (b"E", Match.MORE),
        (b"EL\x00", Match.MORE),
        (LOGIN, Match.YES),
        (b"gx", Match.NO),
        (b"", Match.MORE),
    ],
)
def test_first_bytes(data: bytes, verdict: Match) -> None:
    assert Eelink.match(Frame(data=data, received=Instant(0, 0), transport=Transport.TCP)) is verdict
