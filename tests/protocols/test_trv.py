"""The TRV / IW protocol: framing, positions, answers, both directions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import trv
from protocols.tracker.trv import TrvConnection, TrvMessage, TrvPosition, parse_position, position_body
from tests.shared import vectors

HR = b"IWAP49,68#"
FIX = b"261122A3113.2120N12130.2160E003.2083012088.0006000908000102"
HASH = b"IWAP01" + FIX + b",460,0,9520,3671,Ho#me|74-DE-2B-44-88-8C|-61&b#|74-DE-2B-44-88-8D|-7#"
CELLS = b"IWAP02,zh_cn,0,1,460,0,9520|3671|13,2,a#b|D8-24-BD-79-FA-1F|59&c#|D8-24-BD-79-FA-1E|59#"
VOICE = b"IWAP07,20261122083012,2,1,8,#a#IWAP0#"


def codes(found: list[TrvMessage | Reject]) -> list[str]:
    return [item.reason.value if isinstance(item, Reject) else item.code for item in found]


def byte_by_byte(stream: bytes) -> list[str]:
    connection = TrvConnection()
    return codes([item for i in range(len(stream)) for item in connection.receive(stream[i : i + 1])])


@pytest.mark.parametrize("row", vectors("vectors/tracker/trv.jsonl"))
def test_every_shared_frame_is_found_whole_and_split(row: dict[str, Any]) -> None:
    wire = bytes.fromhex(row.get("wire") or row["frame"])
    wire = wire if wire.endswith(b"#") else wire + b"#"
    found = TrvConnection().receive(wire)
    assert codes(found) == [row["expect"]["message"]] == byte_by_byte(wire)
    assert isinstance(found[0], TrvMessage) and trv.encode(found[0]) == wire


@pytest.mark.parametrize("frame", [HASH, CELLS, VOICE, HR, b"TRVAP00353456789012345#"])
def test_a_hash_inside_ends_no_frame(frame: bytes) -> None:
    stream = frame + HR + frame
    code = codes(TrvConnection().receive(frame))
    assert len(code) == 1
    assert codes(TrvConnection().receive(stream)) == byte_by_byte(stream) == [*code, "AP49", *code]


@pytest.mark.parametrize("start", [b"IWAP07,20261122083012,2,1,60000,", HASH.partition(b"#")[0], CELLS.partition(b"#")[0], b"IWAP42,"])
@pytest.mark.parametrize("mark", [b"#", b"a#", b"IW"])
def test_a_hostile_flood_costs_no_more_than_its_length(start: bytes, mark: bytes) -> None:
    connection, flood = TrvConnection(), start + mark * 60_000
    before = time.process_time()
    for at in range(0, len(flood), 1000):
        connection.receive(flood[at : at + 1000])
    assert time.process_time() - before < 3


def test_names_with_hashes_are_kept() -> None:
    found = TrvConnection().receive(HASH)[0]
    assert isinstance(found, TrvMessage)
    assert [name for _, _, name in parse_position(found.body).access_points] == ["Ho#me", "b#"]


def test_a_frame_cut_short_costs_no_neighbour() -> None:
    assert codes(TrvConnection().receive(HASH[:40] + HR)) == ["NOT_OURS", "AP49"]


def test_a_voice_part_of_a_wrong_length_costs_no_neighbour() -> None:
    assert codes(TrvConnection().receive(b"IWAP07,20261122083012,2,1,5,abc#" + HR)) == ["AP07", "AP49"]


def test_an_endless_frame_is_bounded() -> None:
    connection = TrvConnection()
    assert codes(connection.receive(b"IWAP01" + b"1" * 200_000) + connection.receive(HR))[-1] == "AP49"
    assert connection.receive(b"IWAP49,1") == []


def test_a_kept_back_frame_comes_out_by_flush() -> None:
    connection = TrvConnection()
    assert connection.receive(HASH.partition(b"#")[0] + b"#") == [] and connection.is_doubtful
    assert codes(connection.flush()) == ["AP01"]


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (b"IWAP00355932600077007,8901#", b"IWBP00,20261122083015,8#"), (b"TRVAP00353456789012345#", b"TRVBP00#"), (b"IWAP01x#", b"IWBP01#"),
        (b"TRVYP03x#", b"TRVZP03#"), (b"TRVCP01,x#", b"TRVDP01#"),
        (b"TRVYP14x#", b"TRVZP14#"), (b"IWAP02,x#", b"IWBP02#"), (b"IWAP03,x#", b"IWBP03#"),
        (b"IWAP10x#", b"IWBP10#"),
        (b"IWAP49,68#", b"IWBP49#"),
        (b"IWAPHT,1#", b"IWBPHT#"), (b"IWAPHP,1#", b"IWBPHP#"), (b"IWAP50,1#", b"IWBP50#"),
        (b"IWAPJK,1#", b"IWBPJK#"), (b"IWAPFD#", b"IWBPFD#"), (b"IWAPWR#", b"IWBPWR#"), (b"IWAPST#", b"IWBPST#"), (b"IWAPHD#", b"IWBPHD#"),
        (VOICE, b"IWBP07,20261122083012,2,1,1#"), (b"TRVAP14,1#", b"TRVBP14,0.000,0.000#"),
        (b"IWAP12,080835#", None), (b"IWAP14,080835#", None),
        (b"IWAP16,080835#", None), (b"IWAP31,080835#", None), (b"IWAP40,080835#", None), (b"IWAP99,1#", None), (b"IWBP16,1,080835#", None),
    ],
)  # fmt: skip
def test_every_answer_is_the_documents_to_the_byte(frame: bytes, answer: bytes | None) -> None:
    assert trv.answer(trv.decode(frame), now_ms=1795336215000, zone_minutes=480) == answer


def test_the_alarm_code_stands_behind_the_cell() -> None:
    position = parse_position(
        b"261122V0000.0000N00000.0000E000.0083012000.0006000008000502,460,0,9520,3671,01,zh-cn,00,a|74-DE-2B-44-88-8C|-7"
    )
    assert position.rest[:3] == ("01", "zh-cn", "00") and position.lat is None and not position.is_valid
    assert position.cells == ((460, 0, 9520, 3671, None),) and position.access_points == (("74:de:2b:44:88:8c", -7, "a"),)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"261122A", b"261122A3113.2120N", b"261122X3113.2120N12130.2160E003.2083012088.0006000908000102"]
)
def test_a_short_body_is_truncated(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_position(body)
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("clock", ["261322", "000000"])
def test_an_impossible_clock_is_none(clock: str) -> None:
    assert parse_position(f"{clock}A3113.2120N12130.2160E003.2083012088.0006000908000102".encode()).clock_ms is None


def test_coordinates_off_the_earth_are_no_place() -> None:
    position = parse_position(b"261122A9113.2120N12130.2160E003.2083012088.0006000908000102")
    assert position.lat is None and position.fault and position.battery == 80


@pytest.mark.parametrize(("maker", "code"), [("T", "AP01"), ("iw", "AP01"), ("IW", "AP1"), ("IW", "XP01")])
def test_a_head_that_cannot_be_written_is_our_fault(maker: str, code: str) -> None:
    with pytest.raises(LocalProtocolError):
        trv.encode(TrvMessage(maker, code))


POSITIONS = st.builds(
    TrvPosition,
    clock_ms=st.integers(946_684_800, 4_102_444_799).map(lambda s: s * 1000),
    is_valid=st.just(True),
    lat=st.integers(-53_999_999, 53_999_999).filter(bool).map(lambda n: n / 600_000),
    lon=st.integers(-107_999_999, 107_999_999).map(lambda n: n / 600_000),
    speed_kmh=st.integers(0, 2999).map(lambda n: n / 10),
    course_deg=st.integers(0, 35_999).map(lambda n: n / 100),
    signal=st.integers(0, 100),
    satellites=st.integers(0, 30),
    battery=st.integers(0, 100),
    cells=st.tuples(st.tuples(st.just(460), st.just(11), st.integers(1, 65535), st.integers(1, 2**28), st.none())),
    access_points=st.lists(
        st.tuples(
            st.just("68:77:24:1b:e7:a7"),
            st.integers(-99, -1),
            st.text("aZ]* é#", min_size=1).filter(lambda s: s == s.strip() != "" and s[0] != "#"),
        ),
        max_size=4,
    ).map(tuple),
    rest=st.just(("01", "zh-cn", "00")),
    fault=st.none(),
)


@given(POSITIONS)
@settings(max_examples=150, deadline=None)
def test_a_position_survives_its_frame(position: TrvPosition) -> None:
    found = TrvConnection().receive(trv.encode(TrvMessage("IW", "AP10", position_body(position))) + HR)
    assert codes(found) == ["AP10", "AP49"]
    assert isinstance(found[0], TrvMessage)
    back = parse_position(found[0].body)
    assert (back.lat, back.lon) == pytest.approx((position.lat, position.lon), abs=2e-6)
    assert back._replace(lat=position.lat, lon=position.lon, rest=back.rest[:3]) == position


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([HR, HR[:5], HASH, CELLS, VOICE, VOICE[:30], b"#", b"IW"])), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_stream_split_anywhere_gives_the_same_messages(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole = [code for code in codes(TrvConnection().receive(stream)) if code != "NOT_OURS"]
    assert [code for code in byte_by_byte(stream) if code != "NOT_OURS"] == whole
