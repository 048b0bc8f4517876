"""PT215 on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject, RemoteProtocolError
from protocols.tracker import pt215
from protocols.tracker.pt215 import Connection, Packet
from tests.shared import vectors

CLOCK = bytes((26, 11, 22, 8, 13, 10))
"""13:10 is 0D 0A in binary: the end sign inside a message."""
LOGIN, SOS = pt215.write_login("861234567890124"), pt215.encode(Packet(pt215.SOS))
PLACE = pt215.write_position(pt215.POSITION, CLOCK, lat=31.2, lon=121.4)


def packets(found: list[Packet | Reject]) -> list[Packet]:
    return [each for each in found if isinstance(each, Packet)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/pt215.jsonl"))
def test_shared_captures(row: dict) -> None:
    [packet] = packets(Connection().receive(bytes.fromhex(row["frame"])))
    assert packet.kind in {pt215.LOGIN, pt215.HEARTBEAT}
    if packet.kind == pt215.LOGIN:
        assert pt215.read_login(packet) == "359339075435451"


def test_any_segmentation_gives_the_same_messages_with_end_signs_inside() -> None:
    stream = LOGIN + PLACE + SOS + PLACE
    whole = Connection().receive(stream)
    assert [packet.kind for packet in packets(whole)] == [1, 0x10, 0x99, 0x10]
    for cut in range(1, len(stream)):
        connection = Connection()
        assert connection.receive(stream[:cut]) + connection.receive(stream[cut:]) == whole


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from([b"", b"XX", PLACE[:12]]))
def test_any_bytes_give_messages_or_refusals(data: bytes, head: bytes) -> None:
    for packet in packets(Connection().receive(head + data + b"\r\n")):
        for read in (pt215.read_login, pt215.read_position):
            try:
                read(packet)
            except RemoteProtocolError:
                pass


@settings(max_examples=80)
@given(st.floats(-89, 89), st.floats(-179, 179), st.integers(0, 359), st.booleans())
def test_places_survive_the_wire(lat: float, lon: float, course: int, fixed: bool) -> None:
    sent = pt215.write_position(pt215.POSITION, CLOCK, lat=lat, lon=lon, course_deg=course, is_fixed=fixed)
    fix = pt215.read_position(Packet(pt215.POSITION, sent[4:-2]))
    assert (fix.course_deg, fix.is_fixed, fix.at_ms) == (course, fixed, 1795335190000)
    if round(lat * 1_800_000) or round(lon * 1_800_000):
        assert (fix.lat, fix.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        pt215.write_login("1")
