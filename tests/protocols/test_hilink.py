"""Hi-Link LD2410 and LD2450: the shared rows, both directions, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial import hilink
from protocols.serial.hilink import Ack, Connection, Presence, Target, Targets
from tests.shared import vectors

ENCODED = {
    "engineering_on": hilink.command(hilink.ENGINEERING_ON),
    "engineering_off": hilink.command(hilink.ENGINEERING_OFF),
    "mac": hilink.command(hilink.MAC, b"\x01\x00"),
    "config_on": hilink.open_command(),
    "config_off": hilink.command(hilink.CLOSE),
    "single_target": hilink.command(hilink.SINGLE_TARGET),
    "multi_target": hilink.command(hilink.MULTI_TARGET),
    "query_tracking": hilink.command(hilink.READ_TRACKING),
    "firmware": hilink.command(hilink.FIRMWARE),
    "restart": hilink.command(hilink.RESTART),
    "query_zones": hilink.command(hilink.READ_ZONES),
}
SEEN = Presence(1, 100, 50, 0, 0, 100)
CORNER = Targets((Target(2, -5, 900, 12, 360),))


def shown(message: Any) -> dict[str, Any]:
    if isinstance(message, Targets):
        return {"targets": [target._asdict() for target in message.targets]}
    if isinstance(message, Ack):
        return {"ack": True, **message.values}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in message._asdict().items()}


def assert_contains(got: dict[str, Any], want: dict[str, Any]) -> None:
    for key, value in want.items():
        if key not in ("ok", "note", "name"):
            assert got.get(key) == value, key


def check_row(row: dict[str, Any], report: bytes) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("encode"):
        assert ENCODED[expect["name"]] == frame
        return
    found = Connection(report).receive(frame)
    messages = [item for item in found if not isinstance(item, Reject)]
    if expect.get("stream"):
        assert len(messages) == expect.get("count", len(expect.get("frames", messages)))
        for got, want in zip(messages, expect.get("frames", ()), strict=False):
            assert_contains(shown(got), want)
    elif expect["ok"]:
        assert len(found) == len(messages) == 1
        assert_contains(shown(messages[0]), expect)
        assert hilink.encode(messages[0]) == frame or frame[-5] == 1
    else:
        assert not messages and [item.reason for item in found if isinstance(item, Reject)] == [Reason.INTEGRITY]


@pytest.mark.parametrize("row", vectors("vectors/sensor/ld2410.jsonl"))
def test_shared_row_of_the_ld2410(row: dict[str, Any]) -> None:
    check_row(row, hilink.REPORT_2410)


@pytest.mark.parametrize("row", vectors("vectors/sensor/ld2450.jsonl"))
def test_shared_row_of_the_ld2450(row: dict[str, Any]) -> None:
    check_row(row, hilink.REPORT_2450)


COORDINATE = st.integers(-0x7FFF, 0x7FFF)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, st.integers(1, 0xFFFF)), max_size=3))
def test_targets_go_both_ways(rows: list[tuple[int, int, int, int]]) -> None:
    message = Targets(tuple(Target(slot, *row) for slot, row in enumerate(rows, 1)))
    assert hilink.decode(hilink.encode(message)) == message


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(0, 65535), st.lists(st.integers(0, 100), min_size=1, max_size=9))
def test_presence_goes_both_ways(status: int, distance: int, gates: list[int]) -> None:
    plain = Presence(status, distance, 1, 2, 3, 4)
    full = plain._replace(engineering=True, moving_gates=tuple(gates), static_gates=tuple(gates), light=9, out_pin=1)
    assert hilink.decode(hilink.encode(plain)) == plain and hilink.decode(hilink.encode(full)) == full


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([hilink.REPORT_2410, hilink.REPORT_2450]))
def test_any_bytes_give_data_never_an_exception(data: bytes, report: bytes) -> None:
    Connection(report).receive(data + report + data)
    Connection(report).receive(hilink.COMMAND + bytes((len(data), 0)) + data + hilink.TAIL_COMMAND)
    Connection(report).receive(hilink.REPORT_2410 + bytes((len(data), 0)) + data + hilink.TAIL_2410)
    with pytest.raises(RemoteProtocolError):
        hilink.decode(b"\0" + data)


@pytest.mark.parametrize(("report", "message"), [(hilink.REPORT_2410, SEEN), (hilink.REPORT_2450, CORNER)])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_reports_and_acknowledgements_in_pieces_between_noise(report: bytes, message: Presence | Targets, step: int) -> None:
    stream = report[:2] + b"\0\xfd" + hilink.encode(message) + report + hilink.encode(Ack(hilink.CLOSE, 0)) + hilink.encode(message)
    line = Connection(report)
    found = [item for at in range(0, len(stream), step) for item in line.receive(stream[at : at + step])]
    messages = [item for item in found if not isinstance(item, Reject)]
    assert messages[0] == messages[-1] == message and len(messages) >= 2


def test_bit_15_set_is_positive() -> None:
    assert hilink.decode(bytes.fromhex("aaff03000e03b186100040010000000000000000000000000000000055cc")) == Targets(
        (Target(1, -782, 1713, -16, 320),)
    )


@pytest.mark.parametrize("word", [0xA1, 0xA2, 0xA4, 0x1234])
def test_baud_rate_and_factory_reset_are_never_sent(word: int) -> None:
    with pytest.raises(LocalProtocolError):
        hilink.command(word)


def test_zones_and_tracking_are_read() -> None:
    zones = Ack(hilink.READ_ZONES, 0, bytes.fromhex("0100") + bytes.fromhex("18fc0000e803d007") + bytes(16))
    got = hilink.decode(hilink.encode(zones))
    assert isinstance(got, Ack) and got.values["zones"][0] == (-1000, 0, 1000, 2000)
    tracking = hilink.decode(hilink.encode(Ack(hilink.READ_TRACKING, 0, b"\2\0")))
    assert isinstance(tracking, Ack) and tracking.values == {"tracking": "multi"}
