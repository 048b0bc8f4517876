"""The Eview pendant protocol: framing, CRC, items and records, both directions."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import minifinder2 as wire
from protocols.tracker import minifinder2_records as data
from protocols.tracker.minifinder2 import Connection, Message
from tests.shared import vectors

IMEI = "862311000000017"
SOS = data.data_message(IMEI, data.status_item(1795336212, battery=80), data.alarm_item(1 << 12, 1795336212), sequence=5)


def shown(found: list[Message | Reject]) -> list[Any]:
    return [item.reason.value if isinstance(item, Reject) else (item.command, item.sequence) for item in found]


@pytest.mark.parametrize("row", vectors("vectors/tracker/minifinder2.jsonl"))
def test_every_shared_frame_is_checked_answered_and_written_back(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    found = Connection().receive(frame)
    assert len(found) == 1
    message = found[0]
    assert isinstance(message, Message) and message.crc_ok == expect["checksum_ok"] and message.fault is None
    assert message.wants_ack == expect["ack_wanted"] and f"{message.command:02x}" == expect["message"]
    if "device_id" in expect:
        assert data.imei_of(message) == expect["device_id"]
    if "reply" in expect:
        assert wire.acknowledgement(message).hex() == expect["reply"]
    assert wire.encode(message) == frame


@pytest.mark.parametrize("cut", range(len(SOS) + 1))
def test_a_split_anywhere_loses_nothing(cut: int) -> None:
    connection = Connection()
    assert shown(connection.receive(SOS[:cut]) + connection.receive(SOS[cut:] + SOS)) == [(1, 5), (1, 5)]


@pytest.mark.parametrize("junk", [b"\x00", b"\xab", b"\xab\xab", b"\xab\x10\xff\xff", b"\xab\x10\x09\x00\x00\x00\x00\x00\x05", SOS[:20]])
def test_a_frame_behind_junk_is_found(junk: bytes) -> None:
    assert (1, 5) in shown(Connection().receive(junk + SOS + SOS))


@pytest.mark.parametrize("mark", [b"\xab", b"\xab\x10\x00\x10\x00\x00\x00\x00\x01", b"\xab\x10\x09\x00\x00\x00\x00\x00\x01"])
def test_a_hostile_flood_costs_no_more_than_its_length(mark: bytes) -> None:
    connection, flood = Connection(), mark * (60_000 // len(mark))
    before = time.process_time()
    for at in range(0, len(flood), 1000):
        connection.receive(flood[at : at + 1000])
    assert time.process_time() - before < 3


def test_a_wrong_crc_is_counted_as_integrity_and_costs_no_neighbour() -> None:
    damaged = SOS[:-1] + bytes((SOS[-1] ^ 1,))
    assert shown(Connection().receive(damaged + SOS)) == ["INTEGRITY", (1, 5)]
    tolerated = Connection(tolerate_crc=True).receive(damaged + SOS)
    assert shown(tolerated) == [(1, 5), (1, 5)]
    assert isinstance(tolerated[0], Message) and not tolerated[0].crc_ok


def test_the_frame_inside_a_cut_one_is_found() -> None:
    found = shown(Connection().receive(SOS[:-9] + SOS + SOS))
    assert found == ["INTEGRITY", (1, 5), (1, 5)]


def test_the_ordinary_answer_is_the_documents() -> None:
    assert wire.acknowledgement(Message(wire.DATA, (), 0x0108)).hex() == "ab00030008c708017f0100"
    assert wire.time_answer(Message(wire.SERVICE, (), 1), 0x01020304)[8:].hex() == "03051204030201"


def test_an_item_past_the_end_keeps_what_stands_before_it() -> None:
    whole = wire.encode(Message(wire.DATA, ((0x02, bytes(8)), (0x20, b"x"))))
    message = wire.decode(whole[:-3] + b"\x09" + whole[-2:])
    assert message.items == ((0x02, bytes(8)),) and message.fault is not None


@pytest.mark.parametrize("frame", [b"", b"\xab", SOS[:12], SOS + b"\0", b"\0" * 20])
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        wire.decode(frame)
    assert caught.value.reason in (Reason.TRUNCATED, Reason.NOT_OURS)


def test_a_value_that_does_not_fit_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        wire.encode(Message(wire.DATA, ((1, bytes(255)),)))


def test_an_encrypted_body_is_said_to_be() -> None:
    message = wire.decode(wire.encode(Message(wire.DATA, ((1, b"x"),), flags=0x50)))
    assert message.fault == "encrypted body" and not message.items


def one(*items: tuple[int, bytes]) -> data.Record:
    found = list(data.records(items))
    assert len(found) == 1
    return found[0]


PLACE = struct.pack("<ii", 568773866, 147806586)


@pytest.mark.parametrize(
    ("key", "value", "beacon"),
    [
        (0x23, "c69b531448e0" + PLACE.hex() + b"HQ".hex(), data.Beacon("e04814539bc6", (56.8773866, 14.7806586), "HQ")),
        (0x26, "c69b531448e0", data.Beacon("e04814539bc6")),
        (0x28, "00c69b531448e0d6c3", data.Beacon("e04814539bc6", None, None, -42)),
        (0x28, "c0c69b531448e0d6c3" + PLACE.hex() + b"HQ".hex(), data.Beacon("e04814539bc6", (56.8773866, 14.7806586), "HQ", -42)),
        (0x2C, "00c69b531448e0d60064", data.Beacon("e04814539bc6", None, None, -42)),
        (0x2C, "c0c69b531448e0d6c364" + PLACE.hex() + "024851f100", data.Beacon("e04814539bc6", (56.8773866, 14.7806586), "HQ", -42)),
        (0x2A, "00c69b531448e0d6" + b"home".hex(), data.Beacon("c69b531448e0", None, "home", -42)),
        (0x2A, "80c69b531448e0d6" + PLACE.hex() + b"home".hex(), data.Beacon("c69b531448e0", (56.8773866, 14.7806586), "home", -42)),
    ],
)
def test_a_beacons_place_is_read_only_where_it_is(key: int, value: str, beacon: data.Beacon) -> None:
    record = one((key, bytes.fromhex(value)))
    assert record.beacons == [beacon] and not record.faults


def test_cells_and_access_points_of_every_key() -> None:
    record = one(
        (0x21, bytes.fromhex("ca00050b4a005cc3b54a0056c8")), (0x29, bytes.fromhex("ee00010ee40c6e23c900")),
        (0x2B, bytes.fromhex("ee0001000ee40c6e23c900")), (0x22, bytes.fromhex("ca923bad10f794")),
        (0x19, bytes.fromhex("ba74acb9b465ba036b756c")),
    )  # fmt: skip
    assert record.cells == [
        (202, 5, 74, 0xC35C, None), (202, 5, 74, 0xC856, -75), (238, 1, 3300, 0xC9236E, None), (238, 1, 3300, 0xC9236E, None),
    ]  # fmt: skip
    assert record.wifi == [("92:3b:ad:10:f7:94", -54, None), ("74:ac:b9:b4:65:ba", -70, "kul")]


def test_a_repeated_key_opens_the_next_record_but_not_for_beacons() -> None:
    status, beacon = data.status_item(1, battery=1), (0x2C, bytes(10))
    assert [len(record.beacons) for record in data.records([status, beacon, beacon, status, beacon])] == [2, 1]


@pytest.mark.parametrize("key", sorted(data._READERS))
@pytest.mark.parametrize("size", range(12))
def test_a_short_value_of_any_key_never_raises(key: int, size: int) -> None:
    list(data.records([(key, bytes(size)), data.alarm_item(1 << 12, 1)]))


def test_coordinates_off_the_earth_are_a_fault_and_no_place() -> None:
    record = one((0x20, struct.pack("<iiHHhHIB", 1_900_000_000, 0, 0, 0, 0, 9, 0, 9)), data.alarm_item(1 << 12, 1))
    assert record.gnss is None and record.faults and record.alarms == 1 << 12


ITEMS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=12).map(tuple)


@given(ITEMS, st.integers(0, 65535), st.sampled_from(sorted(wire.COMMANDS)))
@settings(max_examples=150, deadline=None)
def test_a_message_survives_its_frame(items: tuple[tuple[int, bytes], ...], sequence: int, command: int) -> None:
    message = Message(command, items, sequence)
    found = Connection().receive(wire.encode(message))
    assert [item._replace(raw=b"") for item in found if isinstance(item, Message)] == [message]
    list(data.records(items))


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([SOS, SOS[:11], SOS[:-1] + b"\0", b"\xab"])), max_size=7))
@settings(max_examples=150, deadline=None)
def test_any_stream_split_anywhere_gives_the_same(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    connection = Connection()
    single = [item for i in range(len(stream)) for item in connection.receive(stream[i : i + 1])]
    useful = [[item for item in shown(found) if item != "NOT_OURS"] for found in (single, Connection().receive(stream))]
    assert useful[0] == useful[1]
