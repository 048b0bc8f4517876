"""The older Eview protocol: framing and positions, both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import minifinder as wire
from protocols.tracker.minifinder import MinifinderConnection, MinifinderMessage, MinifinderPosition, parse_position
from tests.shared import vectors

STATE = b"!5,17,V,50;"


def kinds(found: list[MinifinderMessage | Reject]) -> list[str]:
    return [item.reason.value if isinstance(item, Reject) else item.kind for item in found]


def byte_by_byte(stream: bytes) -> list[str]:
    connection = MinifinderConnection()
    return kinds([item for i in range(len(stream)) for item in connection.receive(stream[i : i + 1])])


@pytest.mark.parametrize("row", vectors("vectors/tracker/minifinder.jsonl"))
def test_every_shared_frame_is_found_whole_and_split(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["wire"])
    found = MinifinderConnection().receive(frame + b"\0" + frame)
    assert kinds(found) == [row["expect"]["message"]] * 2 == byte_by_byte(frame + b"\0" + frame)
    assert isinstance(found[0], MinifinderMessage) and wire.encode(found[0]) == frame


def test_a_frame_cut_short_costs_no_neighbour() -> None:
    assert kinds(MinifinderConnection().receive(b"!D,22/11/26,08:" + STATE)) == ["NOT_OURS", "5"]


def test_an_endless_frame_is_bounded() -> None:
    connection = MinifinderConnection()
    assert kinds(connection.receive(b"!D," + b"1" * 9000) + connection.receive(STATE)) == ["NOT_OURS", "5"]


@pytest.mark.parametrize("body", ["", "22/11/26", "22/11/26,08:30:12,31,121,0,0"])
def test_a_short_body_is_truncated(body: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_position(MinifinderMessage("D", body))
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("clock", ["31/02/26,08:30:12", "0/0/0,0:0:0", "22/11/26,25:00:00", "x,y", "22/11/26,8:30", "22/11/-4,8:30:12"])
def test_an_impossible_clock_is_none(clock: str) -> None:
    assert parse_position(MinifinderMessage("D", f"{clock},31.2,121.5,0,0,1,0,80,9,9,0")).clock_ms is None


def test_numbers_that_mean_nothing_are_none() -> None:
    position = parse_position(MinifinderMessage("C", "30/1/16,1:1:6,31.25,30.02,x,25101,zz,nan,300,0.03,0.01,0"))
    assert (position.speed_kmh, position.course_deg, position.flags, position.altitude_m, position.battery, position.satellites) == (
        0.0, 0.0, 0, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("message", [MinifinderMessage("DD"), MinifinderMessage("3", "a;b")])
def test_what_cannot_be_written_is_our_fault(message: MinifinderMessage) -> None:
    with pytest.raises(LocalProtocolError):
        wire.encode(message)


POSITIONS = st.builds(
    MinifinderPosition,
    clock_ms=st.integers(946_684_800, 4_102_444_799).map(lambda s: s * 1000),
    lat=st.integers(-89_999_999, 89_999_999).filter(bool).map(lambda n: n / 1e6),
    lon=st.integers(-179_999_999, 179_999_999).map(lambda n: n / 1e6),
    speed_kmh=st.integers(0, 2999).map(lambda n: n / 10),
    course_deg=st.integers(0, 3599).map(lambda n: n / 10),
    flags=st.integers(0, 0xFFFFFFFF),
    altitude_m=st.integers(-9000, 90_000).map(lambda n: n / 10),
    battery=st.integers(0, 100),
    satellites=st.integers(0, 30),
    seen=st.integers(0, 40),
    hdop=st.integers(1, 99).map(lambda n: n / 10),
    fault=st.none(),
)


@given(POSITIONS, st.sampled_from("BD"))
@settings(max_examples=100, deadline=None)
def test_a_position_survives_its_frame(position: MinifinderPosition, kind: str) -> None:
    found = MinifinderConnection().receive(wire.encode(wire.position_message(kind, position)))
    assert isinstance(found[0], MinifinderMessage) and parse_position(found[0]) == position


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([STATE, STATE[:4], b"!", b";", b"!D,"])), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_stream_split_anywhere_gives_the_same_messages(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole = [kind for kind in kinds(MinifinderConnection().receive(stream)) if kind != "NOT_OURS"]
    assert [kind for kind in byte_by_byte(stream) if kind != "NOT_OURS"] == whole
