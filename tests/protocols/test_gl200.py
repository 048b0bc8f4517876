"""Queclink @Track on the wire: places are found by their form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject
from protocols.tracker import gl200
from protocols.tracker.gl200 import Connection, Message
from tests.shared import vectors

IMEI = "861234567890124"
PLACE = ("1", "4.3", "92", "70.0", "121.473701", "31.230416", "20261122083000", "0460", "0000", "1806", "A1B2C3")
SOS = gl200.write_report("SOS", IMEI, "0", "0", "1", *PLACE, "", "92", sent="20261122083010", count=0x11F0)


def messages(found: list[Message | Reject]) -> list[Message]:
    return [each for each in found if isinstance(each, Message)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/gl200.jsonl"))
def test_shared_captures(row: dict) -> None:
    connection = Connection()
    [message] = connection.receive(bytes.fromhex(row["frame"])) + connection.flush()
    assert isinstance(message, Message)
    verb = row["asserts"][0]["verb"]
    if verb in {"verifyPositions", "verifyPosition"}:
        (places, _), (cells, aps) = gl200.read_places(message), gl200.read_surroundings(message)
        assert any(place.lat is not None for place in places) or cells or aps
    if "battery_percent" in row["expect"]:
        assert gl200.read_battery(message, message.text, gl200.read_places(message)[1]) == row["expect"]["battery_percent"]


@pytest.mark.parametrize("end", [b"$", b"\0", b"\r\n"])
def test_any_segmentation_and_any_end_give_the_same_lines(end: bytes) -> None:
    stream = (SOS[:-1] + end) * 3
    whole = [message._replace(raw=b"") for message in messages(Connection().receive(stream))]
    assert len(whole) == 3
    for cut in range(1, len(stream)):
        connection = Connection()
        found = messages(connection.receive(stream[:cut]) + connection.receive(stream[cut:]))
        assert [message._replace(raw=b"") for message in found] == whole


def test_a_line_cut_off_does_not_take_its_neighbour() -> None:
    for cut in range(1, len(SOS) - 1):
        assert [message.kind for message in messages(Connection().receive(SOS[:cut] + SOS))] == ["SOS"]


def test_a_line_without_end_is_bounded() -> None:
    connection = Connection()
    for _ in range(20):
        connection.receive(b"+RESP:GTFRI," + b"1," * 5000)
    assert connection.buffered <= gl200.LINE_LIMIT


@settings(max_examples=150)
@given(st.binary(max_size=80), st.sampled_from([b"", b"+RESP:GT", b"+BUFF:GTFRI,1,861234567890124,", SOS[:60]]))
def test_any_bytes_give_lines_or_refusals(data: bytes, head: bytes) -> None:
    for found in Connection().receive(head + data + b"$"):
        if isinstance(found, Message):
            read_all(found)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(["", "0", "1", "99", "3.82", *PLACE, "89860012345678901234", "d46e0e112233", "-55", "x"]), max_size=30))
def test_any_fields_are_read_or_left_out(fields: list[str]) -> None:
    for kind in ("FRI", "INF", "GSM", "WIF"):
        read_all(Message("RESP", kind, ("1A0800", IMEI, "", *fields)))


def read_all(message: Message) -> None:
    places, end = gl200.read_places(message)
    for place in places:
        assert place.lat is None or -90 <= place.lat <= 90
    gl200.read_surroundings(message)
    gl200.read_battery(message, message.text, end)
    gl200.read_info(message)
    assert message.sent_ms is None or message.sent_ms > -(10**15)


@settings(max_examples=80)
@given(st.floats(-89, 89), st.floats(-179, 179), st.integers(1, 99))
def test_places_survive_the_wire(lat: float, lon: float, accuracy: int) -> None:
    place = (str(accuracy), "4.3", "92", "70.0", f"{lon:.6f}", f"{lat:.6f}", *PLACE[6:])
    [message] = messages(Connection().receive(gl200.write_report("FRI", IMEI, "0", "0", "1", *place, "", "92", sent="20261122083010")))
    [read], end = gl200.read_places(message)
    assert (read.accuracy, gl200.read_battery(message, message.text, end)) == (accuracy, 92)
    if f"{lat:.6f}".strip("-0.") or f"{lon:.6f}".strip("-0."):
        assert (read.lat, read.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        gl200.write_command("RTO", "gl200", "1$", serial=1)
    with pytest.raises(LocalProtocolError):
        gl200.write_report("FRI", IMEI, "a,b", sent="")
