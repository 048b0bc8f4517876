"""Modbus RTU for gas detectors: the shared rows, profiles, both directions, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial import modbus_gas as mb
from protocols.serial.modbus_gas import Connection, Failure, Request, Response
from tests.shared import vectors

LEL = {"unit": 1, "fc": 3, "base": 0, "fields": [{"name": "gas", "reg": 0, "type": "u16", "scale": 0.1, "over": [65535], "under": 65534}]}
ALL_TYPES = {
    "unit": 9, "fc": 4, "base": 10,
    "fields": [
        {"name": "a", "reg": 10, "type": "u16"}, {"name": "b", "reg": 11, "type": "i16", "scale": 0.5},
        {"name": "c", "reg": 12, "type": "u32", "word_order": "little"}, {"name": "d", "reg": 14, "type": "i32"},
        {"name": "e", "reg": 16, "type": "f32", "word_order": "little"},
        {"name": "f", "reg": 18, "type": "enum", "map": {"0": "ok", "5": "bad"}},
        {"name": "g", "reg": 19, "type": "bits", "bits": {"0": "low", "15": "fault"}},
        {"name": "h", "reg": 20, "type": "text", "count": 3},
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", vectors("vectors/sensor/modbus_gas.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("encode"):
        asked = Request(expect["unit"], expect["fc"], expect["start"], expect["count"])
        assert mb.encode(asked) == frame and mb.decode(frame) == asked
        assert "profile" not in row or mb.read_profile(row["profile"]).request() == asked
        return
    profile = mb.read_profile(row["profile"])
    found = Connection().receive(frame)
    if expect.get("stream"):
        readings = [mb.read_registers(profile, item.data).values for item in found if isinstance(item, Response)]
        assert [{key: got[key] for key in want} for got, want in zip(readings, expect["frames"], strict=True)] == expect["frames"]
    elif expect["ok"]:
        (answer,) = found
        assert isinstance(answer, Response) and answer.unit == profile.unit and mb.encode(answer) == frame
        reading = mb.read_registers(profile, answer.data)
        assert reading.values == {key: value for key, value in expect.items() if key != "ok"} and not reading.faults
        assert mb.write_registers(profile, reading.values) == answer.data
    elif expect["error"] == "exception":
        assert found == [Failure(1, 3, expect["code"], expect["name"])] and mb.encode(found[0]) == frame
    elif expect["error"] == "bad_crc":
        assert [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY] and len(found) == 1
    elif expect["error"] == "short":
        assert found == []
    elif expect["error"] == "wrong_length":
        assert isinstance(found[0], Response)
        with pytest.raises(RemoteProtocolError):
            mb.read_registers(profile, found[0].data)
    else:
        assert expect["error"] == "wrong_unit" and isinstance(found[0], Response) and found[0].unit != profile.unit


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 65535),
    st.integers(-100, 100),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from(["ok", "bad"]),
)
def test_every_type_goes_both_ways(a: int, b: int, c: int, d: int, f: str) -> None:
    profile = mb.read_profile(ALL_TYPES)
    values = {"a": a, "b": b / 2, "c": c, "d": d, "e": 12.5, "f": f, "g": ["low", "fault"], "h": "CH4"}
    assert mb.read_registers(profile, mb.write_registers(profile, values)).values == values


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_give_data_never_an_exception(data: bytes) -> None:
    Connection().receive(data + b"\x01\x03" + data)
    try:
        mb.decode(data or b"\0")
    except RemoteProtocolError:
        pass


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=12).filter(lambda noise: 3 not in noise and 4 not in noise), st.integers(1, 6))
def test_an_answer_is_found_behind_noise_and_in_pieces(noise: bytes, step: int) -> None:
    answer = Response(1, 3, b"\0\x19\0\0")
    stream, line = noise + mb.encode(answer), Connection()
    found = [item for at in range(0, len(stream), step) for item in line.receive(stream[at : at + step])]
    assert answer in found


def test_every_bit_error_is_refused() -> None:
    frame = mb.encode(Response(1, 3, b"\0\x19\0\0"))
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not [item for item in Connection().receive(bytes(damaged)) if not isinstance(item, Reject)]


def test_codes_beyond_the_range_are_no_values() -> None:
    profile = mb.read_profile(LEL)
    assert mb.read_registers(profile, b"\xff\xff").over == ["gas"] and mb.read_registers(profile, b"\xff\xfe").under == ["gas"]


def test_an_unknown_state_leaves_the_other_fields() -> None:
    profile = mb.read_profile(ALL_TYPES)
    block = bytearray(mb.write_registers(profile, {"a": 7}))
    block[17] = 9
    reading = mb.read_registers(profile, bytes(block))
    assert reading.values["a"] == 7 and list(reading.faults) == ["f"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit": 0}, "unit"), ({"fc": 6}, "fc"), ({"fields": []}, "fields"), ({"base": 1}, "registers"),
        ({"fields": [{"name": "x"}]}, "fields[0]"), ({"fields": [{"name": "x", "reg": 0, "type": "enum"}]}, "map"),
        ({"fields": [{"name": "x", "reg": 0, "type": "u16", "scale": 0}]}, "scale"),
    ],
)  # fmt: skip
def test_a_faulty_profile_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said.replace("[", r"\[")):
        mb.read_profile({**LEL, **change})
