"""PT60 bands on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject
from protocols.tracker import pt60
from protocols.tracker.pt60 import Connection, Message
from tests.shared import vectors

STEPS = pt60.encode(Message("G", 13, "861234567890124", "20261122083000", "1180"))
PLACE = pt60.encode(Message("B", 1, "861234567890124", "20261122083000", "31.2|121.4|1", 66))


def messages(found: list[Message | Reject]) -> list[Message]:
    return [each for each in found if isinstance(each, Message)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/pt60.jsonl"))
def test_shared_captures(row: dict) -> None:
    connection = Connection()
    [message] = connection.receive(bytes.fromhex(row["frame"])) + connection.flush()
    assert isinstance(message, Message)
    assert message.imei in row["text"]


def test_any_segmentation_gives_the_same_lines() -> None:
    stream = STEPS + PLACE + STEPS
    whole = Connection().receive(stream)
    assert [message.kind for message in messages(whole)] == [13, 1, 13]
    for cut in range(1, len(stream)):
        connection = Connection()
        assert connection.receive(stream[:cut]) + connection.receive(stream[cut:]) == whole


def test_a_line_without_end_is_ended_by_the_next_head() -> None:
    assert [message.kind for message in messages(Connection().receive(STEPS[:-4] + PLACE))] == [13, 1]


def test_a_line_that_never_ends_is_bounded() -> None:
    connection = Connection()
    for _ in range(20):
        connection.receive(b"@G#@,V01," + b"1" * 5000)
    assert connection.buffered <= pt60.LINE_LIMIT


@settings(max_examples=100)
@given(st.text("0123456789;,|.:-abcdef", max_size=60), st.sampled_from("GB"), st.sampled_from([1, 3, 6, 13, 14, 43]))
def test_any_data_are_read_or_left_out(data: str, form: str, kind: int) -> None:
    for message in messages(Connection().receive(pt60.encode(Message(form, kind, "861234567890124", "20261122083000", data)))):
        pt60.read_place(message)
        pt60.read_surroundings(message)
        pt60.read_count(message, 0)


@settings(max_examples=100)
@given(st.binary(max_size=80), st.sampled_from([b"", b"@G#@,", b"@B#@|01|", STEPS[:30]]))
def test_any_bytes_give_lines_or_refusals(data: bytes, head: bytes) -> None:
    for message in messages(Connection().receive(head + data + b"@R#@")):
        pt60.time_ms(message, offset_minutes=0)


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        pt60.encode(Message("G", 13, "861234567890124", "now", "1"))
