"""Eelink on the wire: packages in segments and datagrams."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import eelink
from protocols.tracker.eelink import Block, Connection, Fix, Packet
from protocols.tracker.fix import ApSeen, CellSeen
from tests.shared import vectors

IMEI = "861234567890124"
SOS = eelink.write_report(eelink.WARNING, Block(1795336200, Fix(31.2, 121.4, 3, 90, 10, 7), alarm=2), serial=7)
STREAM = eelink.write_login(IMEI) + SOS + eelink.encode(Packet(eelink.HEARTBEAT, 8, b"\x00\x00"))


def packets(found: list[Packet | Reject]) -> list[Packet]:
    return [each for each in found if isinstance(each, Packet)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/eelink.jsonl"))
def test_shared_captures(row: dict) -> None:
    data = bytes.fromhex(row["frame"])
    [packet] = Connection().receive(data)
    assert isinstance(packet, Packet)
    assert f"{packet.kind:02x}" == row["expect"]["message"]
    assert eelink.encode(packet) == data


def test_any_segmentation_gives_the_same_packages() -> None:
    whole = Connection().receive(STREAM)
    assert [packet.kind for packet in packets(whole)] == [1, 0x14, 3]
    for cut in range(1, len(STREAM)):
        connection = Connection()
        assert connection.receive(STREAM[:cut]) + connection.receive(STREAM[cut:]) == whole


def test_several_packages_in_one_datagram_keep_its_imei() -> None:
    found = packets(Connection().receive(eelink.datagram(IMEI, STREAM)))
    assert [(packet.kind, packet.imei) for packet in found] == [(1, IMEI), (0x14, IMEI), (3, IMEI)]


def test_the_check_of_a_datagram_is_verified() -> None:
    data = bytearray(eelink.datagram(IMEI, SOS))
    for index in range(4, len(data)):
        damaged = bytes(data[:index]) + bytes((data[index] ^ 0x10,)) + bytes(data[index + 1 :])
        [found] = Connection().receive(damaged)
        assert isinstance(found, Reject)
        assert found.reason is Reason.INTEGRITY


def test_the_maker_of_datagrams_agrees_with_a_known_one() -> None:
    sent = eelink.encode(Packet(0x80, 0, bytes.fromhex("010000000052454c41592c3123"), "123456789012345"))
    assert sent.hex() == "454c001eb41a0123456789012345676780000f0000010000000052454c41592c3123"


def test_junk_between_packages_is_one_reject() -> None:
    found = Connection().receive(SOS + b"\xff\xfe\xfd" + SOS)
    assert [type(each) for each in found] == [Packet, Reject, Packet]


def test_a_false_start_costs_bytes_not_its_claimed_length() -> None:
    found = Connection().receive(b"\x67\x67\x14\xff\xff" + SOS)
    assert len(packets(found)) == 1


def test_a_giant_length_is_never_waited_for() -> None:
    connection = Connection()
    for _ in range(50):
        connection.receive(b"\x67\x67\x12\x07\xff" + b"\xff" * 4096)
    assert connection.buffered <= eelink.LENGTH_LIMIT + 64


@settings(max_examples=150)
@given(st.binary(max_size=120), st.sampled_from([b"", b"\x67\x67", b"EL", SOS[:20], eelink.datagram(IMEI, SOS)[:30]]))
def test_any_bytes_give_packages_or_refusals(data: bytes, head: bytes) -> None:
    for found in Connection(tolerate_check=True).receive(head + data):
        if isinstance(found, Packet):
            for read in (eelink.read_block, eelink.login_of, eelink.read_answer):
                try:
                    read(found)
                except RemoteProtocolError:
                    pass


@settings(max_examples=100)
@given(
    lat=st.floats(-89, 89),
    lon=st.floats(-179, 179),
    cells=st.integers(0, 3),
    aps=st.integers(0, 3),
    alarm=st.integers(0, 255),
    kind=st.sampled_from([eelink.NORMAL, eelink.WARNING, eelink.REPORT]),
    time_s=st.integers(0, 2**32 - 1),
)
def test_reports_survive_the_wire(  # noqa: PLR0917 - one argument per part of a report
    lat: float, lon: float, cells: int, aps: int, alarm: int, kind: int, time_s: int
) -> None:
    block = Block(
        time_s,
        Fix(lat, lon, 5, 90, -41, 7),
        tuple(CellSeen(460, 1, 6150 + i, 0xA1B2C3 + i, -80) for i in range(cells)),
        tuple(ApSeen(f"d4:6e:0e:00:00:{i:02x}", -60 - i) for i in range(aps)),
        alarm=alarm if kind == eelink.WARNING else None,
    )
    [packet] = packets(Connection().receive(eelink.write_report(kind, block)))
    read = eelink.read_block(packet)
    assert (read.time_s, read.alarm, read.aps) == (time_s, block.alarm, block.aps)
    assert [cell[2:] for cell in read.cells] == [cell[2:] for cell in block.cells]
    if lat or lon:
        assert read.fix is not None
        if round(lat * 1_800_000) or round(lon * 1_800_000):
            assert (read.fix.lat, read.fix.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))


def test_lte_cells_and_counted_access_points_are_read() -> None:
    body = bytes.fromhex("6b029fa880041201cc00002495001100a1b2c3000102030405b00102030405112233445566c4778899aabbccb0020001")
    block = eelink.read_block(Packet(eelink.WARNING, 1, body))
    assert block.alarm == 2
    assert [(cell.mcc, cell.lac, cell.rssi_dbm) for cell in block.cells] == [(460, 0x2495, -80)]
    assert [ap.rssi_dbm for ap in block.aps] == [-60, -80]


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        eelink.write_login("123")
    with pytest.raises(LocalProtocolError):
        eelink.encode(Packet(0x80, 1, b"x" * 5000))
