"""Topin on the wire: frames without checksum or honest length, under any segmentation and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reject, RemoteProtocolError
from protocols.tracker.gt06_blocks import write_gps
from protocols.tracker.topin import (
    FRAME_LIMIT,
    Connection,
    Packet,
    encode,
    read_login,
    read_own_position,
    read_position,
    read_status,
    read_surroundings,
    write_login,
)
from tests.shared import vectors

GPS = write_gps((26, 11, 22, 8, 30, 0), 31.230416, 121.473701)
WIFI = bytes.fromhex("261122083000e0db55f001023c0a1b2c3d4e5f500101cc0018060a5b42")
LOGIN = encode(write_login("866123456789015"))
POSITION = encode(Packet(0x10, GPS, 18))
SOS = encode(Packet(0x99, b"", 1))
ACCESS_POINTS = encode(Packet(0x69, WIFI, 2))


def packets(found: list[Packet | Reject]) -> list[Packet]:
    return [p for p in found if isinstance(p, Packet)]


def test_every_split_gives_the_same_messages() -> None:
    stream = LOGIN + POSITION + SOS + ACCESS_POINTS + encode(Packet(0x13, bytes.fromhex("0d0a0819"), 5)) + SOS
    whole = packets(Connection().receive(stream))
    assert [p.kind for p in whole] == [0x01, 0x10, 0x99, 0x69, 0x13, 0x99]
    for cut in range(1, len(stream)):
        connection = Connection()
        assert packets(connection.receive(stream[:cut])) + packets(connection.receive(stream[cut:])) == whole


@pytest.mark.parametrize("bad", [POSITION, ACCESS_POINTS, LOGIN])
def test_sos_behind_a_frame_cut_short_is_not_lost(bad: bytes) -> None:
    for cut in range(1, len(bad)):
        found = packets(Connection().receive(bad[:cut] + SOS + SOS + POSITION))
        assert [p.kind for p in found].count(0x99) >= 1, cut


def test_0d0a_inside_coordinates_does_not_end_a_position() -> None:
    content = GPS[:7] + b"\x02\x0d\x0a\x0d" + b"\x0a\x0d\x0a\x00" + GPS[15:]
    assert packets(Connection().receive(encode(Packet(0x10, content, 18)) + SOS))[0].content == content


@settings(max_examples=150)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x78\x78", b"\x78\x78\x12\x10", b"\x78\x78\x20\x69", b"\x78\x78\x01\x08"]))
def test_any_bytes_give_messages_or_refusals(data: bytes, head: bytes) -> None:
    connection = Connection()
    for packet in packets(connection.receive(head + data + b"\x0d\x0a")):
        for read in (read_login, read_position, read_own_position, read_status):
            try:
                read(packet.content)
            except RemoteProtocolError:
                pass
        try:
            read_surroundings(packet)
        except RemoteProtocolError:
            pass
    assert connection.buffered <= FRAME_LIMIT


def test_an_unfinished_frame_is_bounded() -> None:
    connection = Connection()
    for _ in range(50):
        connection.receive(b"\x78\x78\x12\x10" + b"\x01" * 60)
    assert connection.buffered <= FRAME_LIMIT


def test_a_login_survives_the_wire() -> None:
    assert read_login(packets(Connection().receive(LOGIN))[0].content) == "866123456789015"


def test_access_points_and_cells_are_read() -> None:
    found = read_surroundings(packets(Connection().receive(ACCESS_POINTS))[0])
    assert [(ap.mac, ap.rssi_dbm) for ap in found.aps] == [("e0:db:55:f0:01:02", -60), ("0a:1b:2c:3d:4e:5f", -80)]
    assert [(cell.lac, cell.cid, cell.rssi_dbm) for cell in found.cells] == [(6150, 2651, -66)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/topin.jsonl"))
def test_shared_captures_are_one_frame_each(row: dict) -> None:
    found = packets(Connection().receive(bytes.fromhex(row["frame"])))
    assert len(found) == 1
    assert encode(found[0]).hex() == row["frame"]
    if len(row["expect"]["message"]) == 2:
        assert f"{found[0].kind:02x}" == row["expect"]["message"]
