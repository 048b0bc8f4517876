"""H02 on the wire: text and binary mixed, under any segmentation and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reject, RemoteProtocolError
from protocols.tracker.h02 import (
    TEXT_LIMIT,
    Binary,
    Connection,
    Text,
    alarms_of,
    read_binary,
    read_degrees,
    write_binary,
    write_text,
    write_v1,
)
from protocols.tracker.h02_text import read_text
from tests.shared import vectors

PLACE = {"lat": 31.230416, "lon": 121.473701}
SHORT = write_binary("4210051415", time="083000221126", **PLACE)
LONG = SHORT[:29] + bytes.fromhex("00bdf0900000000001d60161cc4b9a35")
WIDE = bytes.fromhex("2435248308419329301047591808172627335900074412294e024138feffffffff01120064ba73005ecc")
V1 = write_v1("4210051415", time="083000", date="221126", **PLACE)


COMMANDS = ["V1", "V4", "V19", "NBR", "LINK", "V3", "VP1", "HTBT", "SMS"]


def frames(data: list) -> list[Text | Binary]:
    return [found for found in data if isinstance(found, Text | Binary)]


@pytest.mark.parametrize(
    "order", [(SHORT, SHORT), (LONG, SHORT, LONG), (V1, LONG, V1, SHORT), (WIDE, SHORT, WIDE, V1, b"\r\n", V1), (LONG, WIDE)]
)
def test_any_mix_under_any_segmentation_gives_the_same_frames(order: tuple[bytes, ...]) -> None:
    stream = b"".join(order)
    whole = frames(Connection().receive(stream))
    assert len(whole) == len([part for part in order if part != b"\r\n"])
    for cut in range(1, len(stream)):
        connection = Connection()
        assert frames(connection.receive(stream[:cut])) + frames(connection.receive(stream[cut:])) == whole
    single = Connection()
    assert [f for byte in stream for f in frames(single.receive(bytes((byte,))))] == whole


@pytest.mark.parametrize("good", [SHORT, LONG, V1])
@pytest.mark.parametrize("bad", [SHORT, V1])
def test_a_frame_cut_short_does_not_take_its_neighbours(good: bytes, bad: bytes) -> None:
    for cut in range(1, 29):
        found = frames(Connection().receive(bad[:cut] + good + good))
        assert len(found) >= 2, cut


@settings(max_examples=150)
@given(st.binary(max_size=200), st.sampled_from([b"", b"*HQ,", b"$", b"X", SHORT[:20], V1[:30]]))
def test_any_bytes_give_frames_or_refusals(data: bytes, head: bytes) -> None:
    connection = Connection()
    for found in connection.receive(head + data):
        try:
            if isinstance(found, Text):
                read_text(found)
            elif isinstance(found, Binary):
                read_binary(found.raw)
            else:
                assert isinstance(found, Reject) or len(found.raw) == 32
        except RemoteProtocolError:
            pass
    assert connection.buffered <= TEXT_LIMIT + 300


@settings(max_examples=100)
@given(st.sampled_from(COMMANDS), st.lists(st.text("0123456789ABNSEWVFX.- ", max_size=9), max_size=20))
def test_any_fields_of_any_command_are_read_or_refused(command: str, fields: list[str]) -> None:
    try:
        read_text(Text(("HQ", "1", command, *fields)))
    except RemoteProtocolError:
        pass


@settings(max_examples=60)
@given(st.floats(-89, 89).filter(lambda x: abs(x) > 1e-2), st.floats(-179, 179), st.integers(0, 99), st.integers(0, 360))
def test_positions_survive_both_forms(lat: float, lon: float, knots: int, course: int) -> None:
    binary = read_binary(write_binary("4210051415", time="083000221126", lat=lat, lon=lon, knots=knots, course_deg=course))
    text = frames(
        Connection().receive(write_v1("4210051415", time="083000", date="221126", lat=lat, lon=lon, knots=knots, course_deg=course))
    )[0]
    assert isinstance(text, Text)
    report = read_text(text)
    assert report is not None
    assert report.fix is not None
    for fix in (binary.fix, report.fix):
        assert (fix.lat, fix.lon) == (pytest.approx(lat, abs=2e-6), pytest.approx(lon, abs=2e-6))
        assert (fix.speed_kmh, fix.course_deg) == (pytest.approx(knots * 1.852), course)


def test_status_bits_are_a_set() -> None:
    assert alarms_of(0xFFFFFFFF & ~(1 << 0 | 1 << 18 | 1 << 19)) == ["sos", "vibration", "power_cut"]
    assert alarms_of(0xFFFFFFFF & ~(1 << 1 | 1 << 18)) == ["sos"]


@pytest.mark.parametrize("text", ["", "abc", "12", "--", "1.2.3", "-", "99999999999999999999"])
def test_degrees_that_are_none(text: str) -> None:
    assert read_degrees(text) is None or isinstance(read_degrees(text), float)


@pytest.mark.parametrize("row", vectors("vectors/tracker/h02.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, data = row["expect"], bytes.fromhex(row["frame"])
    found = frames(Connection().receive(data))
    assert len(found) == 1
    if isinstance(found[0], Text):
        assert found[0].command == expect.get("message", found[0].command)
        assert found[0].raw == data.rstrip(b"\r\n")
        return
    report = read_binary(found[0].raw)
    if "lat" in expect:
        assert (report.fix.lat, report.fix.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
        assert (report.id, f"{report.status:08x}") == (expect["device_id"], expect["status"])


def test_text_frames_refuse_what_they_cannot_say() -> None:
    assert write_text("HQ", "1", "V0") == b"*HQ,1,V0#"
