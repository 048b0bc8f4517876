"""MiBeacon codec: the shared vectors, round trips, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ble.mibeacon import Object, decode, encode
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from tests.shared import vectors

ADDRESS = "A4:C1:38:66:E5:67"
KEY = bytes(range(16))
LEGACY = bytes(range(12))


@pytest.mark.parametrize("row", vectors("vectors/sensor/mibeacon.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    block, expect = bytes.fromhex(row["frame"]), row["expect"]
    key = bytes.fromhex(row["bindkey"]) if "bindkey" in row else None
    if expect["encryption"] != "NONE" and not expect["decrypted"]:
        with pytest.raises(RemoteProtocolError) as refused:
            decode(block, address=row["address"], key=key)
        assert refused.value.reason is (Reason.INTEGRITY if key else Reason.UNSUPPORTED)
        return
    packet = decode(block, address=row["address"], key=key)
    assert (packet.counter is None) is (expect["encryption"] == "NONE")
    assert packet.is_authenticated is (expect["encryption"] == "MIBEACON_4_5")
    understood = {"sensors", "binary", "events"} & set(expect)
    assert bool(packet.objects) is bool(understood)


objects = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)).map(lambda t: Object(*t)), min_size=1, max_size=3)


counters = st.tuples(st.integers(0, 255), st.integers(0, 0xFFFFFF))


@settings(max_examples=150, deadline=None)
@given(objects, st.sampled_from([2, 3, 4, 5]), st.tuples(st.booleans(), st.booleans()), st.sampled_from([None, 0x01]), counters)
def test_what_is_encoded_is_decoded(
    items: list[Object], version: int, flags: tuple[bool, bool], capability: int | None, counter: tuple[int, int]
) -> None:
    secret, include = flags
    frame_counter, extended = counter
    key = (KEY if version >= 4 else LEGACY) if secret else None
    block = encode(
        items, product=0x0997, address=ADDRESS, frame_counter=frame_counter, version=version, key=key,
        extended_counter=extended, include_address=include, capability=capability,
    )  # fmt: skip
    packet = decode(block, address=ADDRESS, key=key)
    assert list(packet.objects) == items
    assert (packet.version, packet.product, packet.frame_counter) == (version, 0x0997, frame_counter)
    assert packet.address == (ADDRESS if include else None)
    assert packet.counter == (extended << 8 | frame_counter if secret else None)
    assert not packet.faults


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([None, KEY, LEGACY]))
def test_any_bytes_give_a_packet_or_a_refusal(block: bytes, key: bytes | None) -> None:
    try:
        decode(block, address=ADDRESS, key=key)
    except RemoteProtocolError:
        pass


def test_every_flipped_bit_of_an_encrypted_packet_is_noticed() -> None:
    block = encode([(0x1015, b"\x01")], product=0x0997, address=ADDRESS, key=KEY, frame_counter=7)
    for bit in range(16, 8 * len(block)):
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError) as refused:
            decode(bytes(damaged), address=ADDRESS, key=KEY)
        assert refused.value.reason is Reason.INTEGRITY


def test_every_truncation_keeps_the_objects_before_it() -> None:
    block = encode([(0x1015, b"\x01"), (0x100A, b"\x3b")], product=0x0997, address=ADDRESS)
    whole = decode(block[:-4])
    assert [o.id for o in whole.objects] == [0x1015]
    for cut in range(1, 4):
        packet = decode(block[:-cut])
        assert [o.id for o in packet.objects] == [0x1015]
        assert [f.reason for f in packet.faults] == [Reason.TRUNCATED]
    for length in range(11):
        with pytest.raises(RemoteProtocolError):
            decode(block[:length])


@pytest.mark.parametrize(("version", "key"), [(3, KEY), (5, LEGACY)])
def test_a_key_of_the_wrong_length_is_said(version: int, key: bytes) -> None:
    block = encode([(1, b"")], product=1, address=ADDRESS, version=version, key=LEGACY if version < 4 else KEY)
    with pytest.raises(RemoteProtocolError, match="bytes") as refused:
        decode(block, address=ADDRESS, key=key)
    assert refused.value.reason is Reason.UNSUPPORTED


def test_encrypted_without_an_address_says_so() -> None:
    block = encode([(1, b"")], product=1, address=ADDRESS, key=KEY, include_address=False)
    with pytest.raises(RemoteProtocolError, match="address"):
        decode(block, key=KEY)


@pytest.mark.parametrize("wrong", [{"product": 70000}, {"frame_counter": 256}, {"extended_counter": 1 << 24}, {"address": "x"}])
def test_what_the_format_cannot_say_is_our_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode([(1, b"")], **{"product": 1, "address": ADDRESS, **wrong})
