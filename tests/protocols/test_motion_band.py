"""Blocks of raw acceleration: both directions, damage, limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.motion_band import MOST_SAMPLES, Block, decode, device_of, encode

BLOCK = Block((10, -20, 1000) * 3, 40, 20, 16, 88)
milli_g = st.integers(-32768, 32767)
blocks = st.builds(
    Block,
    st.lists(st.tuples(milli_g, milli_g, milli_g), min_size=1, max_size=MOST_SAMPLES).map(
        lambda rows: tuple(v for row in rows for v in row)
    ),
    st.integers(0, 2**32 - 1),
    st.integers(10, 100),
    st.integers(1, 32),
    st.none() | st.integers(0, 100),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=50)
@given(blocks)
def test_what_is_written_is_read(block: Block) -> None:
    assert decode(encode(block)) == block


def test_a_block_cut_anywhere_is_refused() -> None:
    data = encode(BLOCK)
    for size in range(len(data)):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(data[:size])
        assert caught.value.reason in (Reason.TRUNCATED, Reason.NOT_OURS)


@settings(max_examples=80)
@given(st.integers(2, len(encode(BLOCK)) * 8 - 1))
def test_no_flipped_bit_goes_unnoticed(bit: int) -> None:
    data = bytearray(encode(BLOCK))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        decode(bytes(data))


@settings(max_examples=80)
@given(st.binary(max_size=80))
def test_any_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(data)


@pytest.mark.parametrize(
    "topic", ["anhu/band/a b/acc", "anhu/band//acc", "anhu/band/+/acc", "anhu/tv/x/up", "anhu/band/" + "x" * 65 + "/acc"]
)
def test_odd_topics_are_nobodys(topic: str) -> None:
    with pytest.raises(RemoteProtocolError):
        device_of(topic)


def test_our_own_mistakes_are_ours() -> None:
    for block in (
        BLOCK._replace(samples=(1, 2)),
        BLOCK._replace(samples=()),
        BLOCK._replace(samples=(40000, 0, 0)),
        BLOCK._replace(hz=900),
    ):
        with pytest.raises(LocalProtocolError):
            encode(block)
