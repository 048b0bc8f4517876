"""Winsen 9-byte frames: the shared rows, both directions, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial import winsen
from protocols.serial.winsen import Connection, Message
from tests.shared import vectors

ENCODED = {
    "qa_mode": winsen.command(winsen.MODE, 0x41),
    "active_mode": winsen.command(winsen.MODE, 0x40),
    "read": winsen.command(winsen.READ),
    "mhz19_abc_on": winsen.command(winsen.SELF_CALIBRATION, 0xA0),
    "mhz19_abc_off": winsen.command(winsen.SELF_CALIBRATION, 0),
    "zero_calibrate": winsen.command(winsen.ZERO),
}
CO = winsen.encode_active(0x04, 0x03, 1, 2.5, 500)


def shown(message: Message, profile: str) -> dict[str, Any]:
    first = message.values[0]
    found: dict[str, Any] = {"mode": {"answer": "qa"}.get(message.mode, message.mode), "profile": profile, **first._asdict()}
    for value in message.values:
        found |= {"ug/m3": {"ug_m3": value.value}, "ppb": {"ppb": value.value}, "Cel": {"temperature_c": value.value}}.get(value.unit, {})
    return found


@pytest.mark.parametrize("row", vectors("vectors/sensor/winsen_uart.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("encode"):
        assert ENCODED[expect["name"]] == frame
        return
    profile = row.get("profile", "generic-active")
    gases = {int(code): gas for code, gas in row.get("gas_code", {}).items()} or winsen.GASES
    found = Connection(profile, gases=gases).receive(frame)
    messages = [item for item in found if isinstance(item, Message)]
    if expect.get("stream"):
        assert len(messages) == expect["count"]
    elif expect["ok"]:
        assert len(found) == len(messages) == 1
        got = shown(messages[0], profile)
        assert {key: got.get(key) for key in expect if key != "ok"} == {key: value for key, value in expect.items() if key != "ok"}
        assert winsen.frame_of(messages[0].payload) == frame
    else:
        assert not messages and [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 65534), st.integers(0, 4), st.sampled_from([1, 4, 0x17]))
def test_active_frames_go_both_ways(raw: int, decimals: int, gas: int) -> None:
    value = raw / 10**decimals
    (read,) = winsen.decode(winsen.encode_active(gas, 3, decimals, value, 1)).values
    assert (read.gas, read.value) == (winsen.GASES[gas], value)


@pytest.mark.parametrize(("profile", "values"), [("mh-z19", (650, 24)), ("ze07-ch2o", (42, 32)), ("ze15-co", (8.7,)), ("ze07-co", (0,))])
def test_answers_go_both_ways(profile: str, values: tuple[float, ...]) -> None:
    assert tuple(item.value for item in winsen.decode(winsen.encode_answer(profile, *values), profile).values) == values


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(sorted(winsen.PROFILES)))
def test_any_bytes_give_data_never_an_exception(data: bytes, profile: str) -> None:
    Connection(profile).receive(data + b"\xff" + data)
    with pytest.raises(RemoteProtocolError):
        winsen.decode(b"\0" + data, profile)


def test_every_bit_error_is_refused() -> None:
    for bit in range(8 * len(CO)):
        damaged = bytearray(CO)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not [item for item in Connection().receive(bytes(damaged)) if isinstance(item, Message)]


@pytest.mark.parametrize("lead", [b"\xff", b"\xff\xff", b"\xff\x04\x03\x01", CO[4:]])
def test_a_frame_behind_repeated_ff_or_a_torn_frame_is_found(lead: bytes) -> None:
    assert [item.values[0].value for item in Connection().receive(lead + CO + CO) if isinstance(item, Message)][-1] == 2.5


def test_ffff_is_no_value() -> None:
    (read,) = winsen.decode(winsen.frame_of(bytes.fromhex("040301ffff1388"))).values
    assert read.value is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("05030100191388", Reason.UNSUPPORTED),
        ("04090100191388", Reason.UNSUPPORTED),
        ("04030900191388", Reason.RANGE),
        ("86000000000000", Reason.UNSUPPORTED),
    ],
)
def test_refusals_have_their_reason(payload: str, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        winsen.decode(winsen.frame_of(bytes.fromhex(payload)))
    assert caught.value.reason is reason


def test_what_does_not_fit_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        winsen.encode_active(4, 3, 1, 10_000, 500)
    with pytest.raises(LocalProtocolError):
        winsen.encode_answer("mh-z19", 400)
