"""Kodi's stream: cutting, resync, both directions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reason, Reject, RemoteProtocolError
from protocols.mqtt.kodi import Answer, Message, Notification, Request, Splitter, decode, encode

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.sampled_from(['}{"', '\\"', "{", '"']),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3), max_leaves=8)  # fmt: skip
NAMES = st.text("abcXYZ019.-", min_size=1, max_size=12)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Notification, NAMES, NAMES, VALUES), st.builds(Answer, NAMES, VALUES, st.just("")),
    st.builds(Answer, NAMES, st.none(), NAMES), st.builds(Request, NAMES, NAMES, st.dictionaries(NAMES, VALUES, max_size=2)))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=5), st.integers(1, 40), st.sampled_from([b"", b"\n", b" \r\n"]))
def test_messages_come_out_of_any_segmentation(messages: list[Message], size: int, gap: bytes) -> None:
    stream = gap.join(map(encode, messages))
    splitter = Splitter()
    found = [piece for at in range(0, len(stream), size) for piece in splitter.feed(stream[at : at + size])]
    assert [decode(piece) for piece in found if isinstance(piece, bytes)] == messages
    assert not [piece for piece in found if isinstance(piece, Reject)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"{", b"}", b'{"', b'"', b"\\", b'{"jsonrpc"']), max_size=8))
def test_any_bytes_leave_the_way_to_the_next_message(junk: list[bytes]) -> None:
    splitter, good = Splitter(limit=500), encode(Notification("Other.sos", "anhu", {"key": "red"}))
    for piece in junk:
        splitter.feed(piece)
    found = [piece for _ in range(40) for piece in splitter.feed(good)]
    assert good in found


def test_a_message_that_never_ends_is_bounded_and_given_up() -> None:
    splitter = Splitter(limit=1000)
    out = [piece for _ in range(100) for piece in splitter.feed(b'{"a":[' * 10)]
    reasons = {piece.reason for piece in out if isinstance(piece, Reject)}
    assert len(out) < 30 and Reason.RANGE in reasons
    assert len(splitter._buffer) <= 1060


def test_a_flood_of_starts_costs_linear_time() -> None:
    start = time.perf_counter()
    splitter = Splitter()
    for _ in range(50):
        splitter.feed(b'{"' * 2000)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", Reason.NOT_OURS),
        (b'{"jsonrpc":"2.0"}', Reason.UNSUPPORTED),
        (b'{"jsonrpc":"2.0","id":1}', Reason.UNSUPPORTED),
        (b"{", Reason.TRUNCATED),
    ],
)
def test_objects_that_are_no_messages_have_a_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert caught.value.reason is reason


def test_a_number_as_id_is_text() -> None:
    assert decode(json.dumps({"jsonrpc": "2.0", "id": 7, "result": {}}).encode()) == Answer("7", {}, "")
