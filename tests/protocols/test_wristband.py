"""YX wristbands on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject
from protocols.tracker import wristband
from protocols.tracker.wristband import Connection, Message
from tests.shared import vectors

FRAME = wristband.encode(Message("861234567890124", 1, "94,1,100"))


def messages(found: list[Message | Reject]) -> list[Message]:
    return [each for each in found if isinstance(each, Message)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/wristband.jsonl"))
def test_shared_captures(row: dict) -> None:
    data = bytes.fromhex(row["frame"])
    [message] = messages(Connection().receive(data))
    assert (message.imei, f"F{message.function:02d}") == (row["expect"]["device_id"], row["expect"]["message"])
    assert message.length_ok
    assert wristband.encode(message) == data


def test_any_segmentation_gives_the_same_messages() -> None:
    stream = FRAME + FRAME
    whole = Connection().receive(stream)
    for cut in range(1, len(stream)):
        connection = Connection()
        assert connection.receive(stream[:cut]) + connection.receive(stream[cut:]) == whole


def test_a_frame_cut_short_does_not_take_its_neighbour() -> None:
    for cut in range(1, len(FRAME)):
        assert len(messages(Connection().receive(FRAME[:cut] + FRAME + FRAME))) == 2, cut


def test_a_flood_without_a_tail_is_bounded() -> None:
    connection = Connection()
    for _ in range(20):
        connection.receive(wristband.HEAD + b"\xff\xff" + b"A" * 5000)
    assert connection.buffered <= wristband.TEXT_LIMIT + 8


@settings(max_examples=100)
@given(st.binary(max_size=100), st.sampled_from([b"", FRAME[:20], wristband.HEAD]))
def test_any_bytes_give_messages_or_refusals(data: bytes, head: bytes) -> None:
    for found in Connection().receive(head + data + wristband.TAIL):
        if isinstance(found, Message):
            wristband.read_points(found, offset_minutes=0)
            wristband.read_surroundings(found)
            wristband.read_battery(found)


@settings(max_examples=100)
@given(st.text("0123456789,.|-_:abcdefNaN ", max_size=80), st.sampled_from([2, 3, 4]))
def test_any_data_of_any_function_is_read_or_left_out(data: str, function: int) -> None:
    [message] = messages(Connection().receive(wristband.encode(Message("1", function, data))))
    assert message.data == data
    for point in wristband.read_points(message, offset_minutes=480):
        assert point.lat is None or -90 <= point.lat <= 90
    wristband.read_surroundings(message)


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        wristband.encode(Message("1", 64, "中"))
