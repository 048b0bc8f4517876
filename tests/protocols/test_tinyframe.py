"""TinyFrame frames: the shared rows, both directions, damage, resynchronisation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial import tinyframe as tf
from protocols.serial.tinyframe import Connection, Message
from tests.shared import vectors

ENCODED = {
    "user_log": lambda on: tf.encode_number(tf.USER_LOG, int(on)),
    "set_height": lambda m: tf.encode_number(tf.SET_HEIGHT, m),
    "set_threshold": lambda m: tf.encode_number(tf.SET_THRESHOLD, m),
    "set_sensitivity": lambda n: tf.encode_number(tf.SET_SENSITIVITY, n),
    "set_area": lambda xl, xr, zf, zb: tf.encode_number(tf.SET_AREA, xl, xr, zf, zb),
    "control": lambda cmd: tf.encode_number(tf.CONTROL, cmd),
    "set_hold_s": lambda s: tf.encode_number(tf.HOLD, s),
}
NAMED_ELSEWHERE = {"unknown_or_short": "short_parameters"}
FALL = tf.encode_flag(tf.FALL, True)


def shown(message: Message) -> dict[str, Any]:
    found = {"type": message.type, "id": message.id, "data": message.data.hex(), "name": message.name, **message.values}
    return {**found, "value_f32": message.values.get("value")}


def assert_contains(got: dict[str, Any], want: dict[str, Any]) -> None:
    for key, value in want.items():
        if key not in ("ok", "note", "ignore"):
            assert got.get(key) == (NAMED_ELSEWHERE.get(value, value) if key == "name" else value), key


@pytest.mark.parametrize("row", vectors("vectors/sensor/radar_tinyframe.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("encode"):
        assert ENCODED[expect["name"]](**expect["args"]) == frame
        return
    written = row.get("model", "auto").split("/")[0].lower()
    for model in {"auto", written if written in tf.MODELS else "auto"}:
        found = Connection(model).receive(frame)
        messages = [item for item in found if isinstance(item, Message)]
        if expect.get("stream"):
            assert len(messages) == len(expect["frames"])
            for got, want in zip(messages, expect["frames"], strict=True):
                assert_contains(shown(got), want)
        elif expect["ok"]:
            assert len(found) == len(messages) == 1
            assert_contains(shown(messages[0]), expect)
            assert tf.encode(messages[0].type, messages[0].data, id=messages[0].id) == frame
        else:
            assert not messages and [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 0xFFFF).filter(lambda k: k != 0x2110 and k >> 8 != 0x30), st.binary(min_size=1, max_size=60), st.integers(0, 0xFFFF))
def test_any_frame_is_found_between_noise(kind: int, data: bytes, ident: int) -> None:
    frame = tf.encode(kind, data, id=ident)
    scanner = tf.Scanner(tf.HEADER, tf.judge)
    # One false header in 256 has a right check and claims bytes that never come: patience gives it up.
    assert frame in scanner.feed(b"\x00\x01" + frame + FALL, 0.0) + scanner.expire(60.0)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(tf.MODELS))
def test_any_bytes_give_data_never_an_exception(data: bytes, model: str) -> None:
    Connection(model).receive(data + b"\x01" + data)
    with pytest.raises(RemoteProtocolError):
        tf.decode(b"\x02" + data, model)


def test_every_truncation_and_bit_error_gives_no_message() -> None:
    for cut in range(len(FALL)):
        assert not [item for item in Connection().receive(FALL[:cut]) if isinstance(item, Message)]
    for bit in range(8 * len(FALL)):
        damaged = bytearray(FALL)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not [item for item in Connection().receive(bytes(damaged)) if isinstance(item, Message)]


def test_a_false_start_resumes_one_byte_later() -> None:
    stream = b"\x01\x01\x00\x00\x00" + FALL
    assert [item.name for item in Connection().receive(stream) if isinstance(item, Message)] == ["fall"]


@pytest.mark.parametrize("tail", [b"", b"\xff"])
def test_an_empty_frame_may_end_with_or_without_check(tail: bytes) -> None:
    found = Connection().receive(tf.encode(tf.PARAMETERS) + tail + FALL)
    assert [item.name for item in found if isinstance(item, Message)] == ["acknowledged", "fall"]
    assert len(found) == 2


@pytest.mark.parametrize("kind", [0x2110, 0x3000, 0x3001])
def test_reset_and_upload_cannot_be_sent(kind: int) -> None:
    with pytest.raises(LocalProtocolError):
        tf.encode(kind, b"\1")


def test_the_model_decides_what_a_type_means() -> None:
    rate = tf.encode_number(tf.BREATH, 16.0)
    assert tf.decode(rate, "ld6002").name == "breath_rate"
    with pytest.raises(RemoteProtocolError) as caught:
        tf.decode(rate, "ld6002b")
    assert caught.value.reason is Reason.RANGE
    with pytest.raises(RemoteProtocolError) as caught:
        tf.decode(tf.encode_number(tf.HEART, 70.0), "ld6002c")
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (tf.encode_number(tf.BREATH, float("nan")), Reason.RANGE),
        (tf.encode_number(tf.HEART, 1e9), Reason.RANGE),
        (tf.encode(tf.FALL, b"\2"), Reason.RANGE),
        (tf.encode(tf.FALL, b"\1\1"), Reason.RANGE),
        (tf.encode(tf.TARGETS, b"\x09\0\0\0"), Reason.RANGE),
        (tf.encode(tf.TARGETS, b"\xff\xff\xff\xff"), Reason.RANGE),
        (tf.encode(0x1234, b"\0"), Reason.UNSUPPORTED),
        (FALL[:-1], Reason.TRUNCATED),
    ],
)
def test_refusals_have_their_reason(frame: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        tf.decode(frame)
    assert caught.value.reason is reason
