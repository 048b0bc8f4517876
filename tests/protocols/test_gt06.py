"""GT06 on the wire: framing, crc, clones' lengths, both directions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.checksum import crc16_x25
from protocols.errors import LocalProtocolError, Reason, Reject
from protocols.tracker.fix import CellSeen
from protocols.tracker.gt06 import (
    LENGTH_LIMIT,
    Connection,
    Packet,
    answer,
    encode,
    read_command,
    read_login,
    write_command,
    write_login,
)
from protocols.tracker.gt06_blocks import read_gps, write_alarm_tail, write_cell, write_gps
from protocols.tracker.gt06_reports import read_report
from tests.shared import vectors

TIME = (26, 11, 22, 8, 30, 0)
GPS = write_gps(TIME, 31.230416, 121.473701)
CELL = write_cell(CellSeen(460, 0, 6150, 678658))
GOOD = encode(Packet(0x12, GPS + CELL, 7))


def essence(found: Packet | Reject) -> object:
    return found._replace(raw=b"") if isinstance(found, Packet) else found.reason


def packets(found: list[Packet | Reject]) -> list[Packet]:
    return [p for p in found if isinstance(p, Packet)]


@settings(max_examples=80)
@given(st.integers(0, 255).filter(lambda k: k not in {0x17, 0x69}), st.binary(max_size=200), st.integers(0, 0xFFFF), st.booleans())
def test_a_message_survives_the_wire(kind: int, content: bytes, serial: int, extended: bool) -> None:
    packet = Packet(kind, content, serial, extended)
    assert [essence(p) for p in Connection().receive(encode(packet))] == [packet]


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x78\x78", b"\x79\x79\x00\x30", b"\x78\x78\x02\x69"]))
def test_any_bytes_give_messages_or_refusals(data: bytes, head: bytes) -> None:
    connection = Connection()
    for found in connection.receive(head + data) + connection.flush():
        if isinstance(found, Packet):
            read_report(found)


@settings(max_examples=150)
@given(st.integers(0, 255), st.binary(max_size=120), st.booleans())
def test_any_content_of_any_type_is_read_without_an_exception(kind: int, content: bytes, extended: bool) -> None:
    read_report(Packet(kind, content, 1, extended, None, b"\x78\x78\x00" + content))


def test_every_split_gives_the_same_messages() -> None:
    wifi = bytes.fromhex("78780269261122083000e0db55f001023c0a1b2c3d4e5f500101cc0018060a5b420d0a")
    stream = GOOD + wifi + encode(Packet(0x21, b"\x00\x00\x00\x00\x01a\x0d\x0ab\x78\x78", 3, True)) + GOOD
    whole = [essence(p) for p in Connection().receive(stream)]
    assert len(whole) == 4
    for cut in range(1, len(stream)):
        connection = Connection()
        assert [essence(p) for p in connection.receive(stream[:cut]) + connection.receive(stream[cut:])] == whole


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_a_frame_cut_short_does_not_take_its_neighbour(cut: int) -> None:
    assert [p.serial for p in packets(Connection().receive(GOOD[:cut] + GOOD + GOOD))] == [7, 7]


def test_0d0a_inside_content_does_not_end_a_frame() -> None:
    packet = Packet(0x15, b"\x0d\x0a\x0d\x0a\x0d\x0a", 0x0D0A)
    assert [essence(p) for p in Connection().receive(encode(packet))] == [packet]


def test_a_wrong_crc_is_refused_counted_and_tolerated_only_on_demand() -> None:
    bad = GOOD[:-4] + b"\x00\x00\x0d\x0a"
    assert [essence(f) for f in Connection().receive(bad)] == [Reason.INTEGRITY]
    tolerated = packets(Connection(tolerate_crc=True).receive(bad))
    assert tolerated[0].flaw is not None


def test_a_wrong_length_with_a_right_crc_is_found_by_its_tail() -> None:
    content = bytearray(encode(Packet(0x13, b"\x44\x06\x04\x00\x02", 9)))
    content[2] -= 2
    content[-4:-2] = crc16_x25(bytes(content[2:-4])).to_bytes(2, "big")
    found = packets(Connection().receive(bytes(content) + GOOD))
    assert [p.kind for p in found] == [0x13, 0x12]
    assert found[0].flaw is not None


def test_a_length_that_lies_is_given_up_after_a_pause() -> None:
    connection = Connection(tolerate_crc=True)
    assert connection.receive(bytes.fromhex("78780d01035935907500524434 0d0a".replace(" ", ""))) == []
    assert connection.flush()
    assert connection.buffered == 0


def test_memory_is_bounded() -> None:
    connection = Connection()
    for _ in range(100):
        connection.receive(b"\x79\x79\x07\xff" + b"\x79\x79" * 100)
    assert connection.buffered <= LENGTH_LIMIT + 500


@pytest.mark.parametrize("offset", [480, 0, -210, None])
def test_a_login_survives_the_wire(offset: int | None) -> None:
    login = read_login(write_login("866123456789015", offset_minutes=offset))
    assert (login.imei, login.offset_minutes) == ("866123456789015", offset)


@settings(max_examples=50)
@given(st.floats(-89, 89).filter(lambda x: abs(x) > 1e-3), st.floats(-179, 179), st.integers(0, 255), st.integers(0, 360))
def test_a_gps_block_survives_the_wire(lat: float, lon: float, speed: int, course: int) -> None:
    gps = read_gps(write_gps(TIME, lat, lon, speed_kmh=speed, course_deg=course), 0, 0)
    assert (gps.lat, gps.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))
    assert (gps.speed_kmh, gps.course_deg, gps.valid) == (speed, course, True)


@pytest.mark.parametrize("cell", [b"\x09" + CELL, b"\x08" + CELL, CELL, b"\x0a" + CELL[:5] + b"\x00" + CELL[5:]])
def test_sos_survives_every_way_to_write_the_cell(cell: bytes) -> None:
    report = read_report(Packet(0x16, GPS + cell + write_alarm_tail(1), 1))
    assert report is not None
    assert report.alarms == ["sos"]


def test_an_alarm_cut_in_its_gps_block_still_alarms_by_its_tail() -> None:
    report = read_report(Packet(0x16, GPS[:12] + write_alarm_tail(1), 1))
    assert report is not None
    assert report.alarms == ["sos"]
    assert report.fault is not None


def test_a_list_of_cells_under_19_is_no_alarm() -> None:
    report = read_report(Packet(0x19, CELL + CELL[3:] * 3, 1))
    assert report is not None
    assert (report.alarms, report.cells) == ([], [CellSeen(460, 0, 6150, 678658)])
    assert read_report(Packet(0x19, CELL + write_alarm_tail(1), 1)).alarms == ["sos"]  # type: ignore[union-attr]  # type 19 is decoded


def test_a_device_reads_commands() -> None:
    assert read_command(write_command("WHERE#", flag=7, language=True)) == (7, "WHERE#")
    with pytest.raises(LocalProtocolError):
        write_command("é")


@pytest.mark.parametrize("row", vectors("vectors/tracker/gt06.jsonl"))
def test_shared_captures_frame_and_check(row: dict) -> None:
    expect, data = row["expect"], bytes.fromhex(row["frame"])
    connection = Connection()
    found = connection.receive(data) + connection.flush()
    if "first_frame" in expect and isinstance(found[0], Packet):
        assert found[0].raw.hex() == expect["first_frame"]
    if expect.get("checksum_ok") is False:
        assert essence(found[0]) is Reason.INTEGRITY
    if not expect.get("checksum_ok"):
        return
    packet = found[0]
    assert isinstance(packet, Packet)
    assert packet.flaw is None
    assert encode(packet) == packet.raw
    if "reply" in expect:
        assert answer(packet).hex() == expect["reply"]
    if len(expect["message"]) == 2:
        assert f"{packet.kind:02x}" == expect["message"]
