"""MicRadar frames: the shared rows, both directions, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial import micradar
from protocols.serial.micradar import Connection, Message
from tests.shared import vectors

ROWS = vectors("vectors/sensor/radar_micradar.jsonl")
ENCODED = {
    "reset": micradar.reset(),
    "query_model": micradar.query("model"),
    "query_firmware": micradar.query("firmware"),
    "query_presence": micradar.query("presence"),
    "query_fall": micradar.query("fall"),
    "fall_on": micradar.report("fall_switch", value=True),
    "fall_sensitivity_3": micradar.report("fall_sensitivity", value=3),
    "install_height_260cm": micradar.report("install_height_cm", value=260),
    "struggle_on": micradar.report("struggle_switch", value=True),
    "nobody_timer_on": micradar.report("nobody_timer_switch", value=True),
    "nobody_timer_30min": micradar.report("nobody_timer_min", value=30),
}


def shown(message: Message) -> dict[str, Any]:
    found = {"ctrl": message.ctrl, "cmd": message.cmd, "data": message.data.hex(), "name": message.name, **message.values}
    return {**found, "reply": True} if message.is_reply else found


def contains(got: dict[str, Any], want: dict[str, Any]) -> bool:
    return all(got.get(key) == value for key, value in want.items() if key not in ("ok", "note"))


@pytest.mark.parametrize("row", ROWS)
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("encode"):
        assert ENCODED[expect["name"]] == frame
        return
    found = Connection().receive(frame)
    messages = [item for item in found if isinstance(item, Message)]
    if expect.get("stream"):
        assert len(messages) == len(expect["frames"])
        assert all(contains(shown(got), want) for got, want in zip(messages, expect["frames"], strict=True))
    elif expect["ok"]:
        assert len(found) == len(messages) == 1 and contains(shown(messages[0]), expect)
        assert micradar.encode(messages[0]) == frame
    else:
        assert not messages and [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY]


@pytest.mark.parametrize("name", sorted(set(micradar.CODES) - {"heartbeat", "reset", "init_done"}))
def test_every_known_message_goes_both_ways(name: str) -> None:
    ctrl, cmd = micradar.CODES[name]
    shape = micradar.TABLE[(ctrl, cmd)][1]
    data = b"R60" if shape.size < 0 else bytes(shape.size - 1) + b"\1"
    message = micradar.decode(micradar.encode(Message(ctrl, cmd, data)))
    assert message.name == name and micradar.report(name, **message.values) == micradar.encode(message)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255).filter(lambda c: c not in micradar.FORBIDDEN), st.integers(0, 255), st.binary(max_size=40))
def test_any_frame_is_found_whole_by_the_radars_side(ctrl: int, cmd: int, data: bytes) -> None:
    message = Message(ctrl, cmd, data)
    assert Connection(requests=True).receive(micradar.encode(message)) == [message]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_data_never_an_exception(data: bytes) -> None:
    Connection().receive(data + micradar.HEADER + data)
    with pytest.raises(RemoteProtocolError):
        micradar.decode(b"\0" + data)


def test_every_single_bit_error_is_refused_or_unknown() -> None:
    frame = micradar.report("fall", fall=True)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not [item for item in Connection().receive(bytes(damaged)) if isinstance(item, Message)]


def test_the_length_rules_over_header_and_tail_in_a_waveform() -> None:
    wave = micradar.report("breath_wave", values=[0x53, 0x59, 0x54, 0x43, 0x53])
    found = Connection().receive(wave + wave)
    assert [item.values["values"] for item in found if isinstance(item, Message)] == [[83, 89, 84, 67, 83]] * 2


@pytest.mark.parametrize("cmd", [0x0C, 0x0D, 0x8D, 0x8F])
def test_ten_minutes_and_night_are_told_apart_by_length(cmd: int) -> None:
    assert micradar.decode(micradar.encode(Message(0x84, cmd, bytes(8)))).name == "sleep_10min"
    assert micradar.decode(micradar.encode(Message(0x84, cmd, bytes(12)))).name == "night"


@pytest.mark.parametrize("ctrl", sorted(micradar.FORBIDDEN))
def test_firmware_and_factory_groups_cannot_be_sent(ctrl: int) -> None:
    with pytest.raises(LocalProtocolError):
        micradar.encode(Message(ctrl, 1, b"\0"))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (micradar.encode(Message(0x80, 0x01, b"\2")), Reason.RANGE),
        (micradar.encode(Message(0x80, 0x03, b"\x65")), Reason.RANGE),
        (micradar.encode(Message(0x83, 0x01, b"")), Reason.RANGE),
        (micradar.encode(Message(0x02, 0xA1, b"\xff\0")), Reason.RANGE),
        (micradar.encode(Message(0x84, 0x02, b"\4")), Reason.RANGE),
        (micradar.encode(Message(0x99, 0x01, b"\0")), Reason.UNSUPPORTED),
        (micradar.report("fall", fall=True)[:-1], Reason.TRUNCATED),
        (b"\x55\xaa", Reason.NOT_OURS),
    ],
)
def test_refusals_have_their_reason(frame: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        micradar.decode(frame)
    assert caught.value.reason is reason
