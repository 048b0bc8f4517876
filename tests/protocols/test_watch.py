"""The watch protocol: framing, messages, position bodies, both directions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.tracker import watch
from protocols.tracker.requests import MAX_WAITING, Requests
from protocols.tracker.watch import WatchConnection, WatchMessage
from protocols.tracker.watch_position import WatchPosition, parse_position, position_body
from tests.shared import vectors

LK = b"[3G*8800000015*0009*LK,0,0,53]"
NAMES = b"AL,221126,083012,V,0,N,0,E,0,0,0,0,80,55,0,0,00010000,0,2,a]b,68:77:24:1b:e7:a7,-59,[5G],68:77:24:1b:e7:a8,-60,0.0"


def framed(content: bytes, length: int | None = None) -> bytes:
    return b"[3G*8800000015*%04X*" % (len(content) if length is None else length) + content + b"]"


def kinds(found: list[WatchMessage | Reject]) -> list[str]:
    return [item.reason.value if isinstance(item, Reject) else item.kind for item in found]


def every_split(stream: bytes) -> list[list[str]]:
    results = []
    for cut in range(len(stream) + 1):
        connection = WatchConnection()
        results.append(kinds(connection.receive(stream[:cut]) + connection.receive(stream[cut:])))
    connection = WatchConnection()
    results.append(kinds([item for i in range(len(stream)) for item in connection.receive(stream[i : i + 1])]))
    return results


@pytest.mark.parametrize("row", vectors("vectors/tracker/watch.jsonl"))
def test_every_shared_frame_is_found_whole_and_split(row: dict[str, Any]) -> None:
    wire = bytes.fromhex(row.get("wire") or row["frame"])
    whole = WatchConnection().receive(wire)
    messages = [item for item in whole if isinstance(item, WatchMessage)]
    assert len(messages) == len(whole)
    for found in every_split(wire)[:: max(1, len(wire) // 20)]:
        assert found == kinds(whole)
    expect = row["expect"]
    if row["layer"] == "message":
        assert messages[0].kind == expect["message"]
        assert messages[0].id == expect["device_id"]
        assert messages[0].length_ok == expect["length_ok"]
        if "reply" in expect:
            answer = watch.answer(messages[0])
            assert answer is not None and answer.hex() == expect["reply"]
    elif "wire" not in row and b"\x7d" not in wire:
        assert messages[0].raw.hex() == expect["first_frame"]


def test_two_frames_of_one_segment_are_two_messages() -> None:
    assert kinds(WatchConnection().receive(LK + framed(b"TKQ") + LK)) == ["LK", "TKQ", "LK"]


@pytest.mark.parametrize("length", [None, 0, 2, 30, 0xFFFF])
def test_brackets_in_names_end_no_frame_whatever_the_length_says(length: int | None) -> None:
    stream = framed(NAMES, length) + LK
    found = WatchConnection().receive(stream)
    assert kinds(found) == ["AL", "LK"]
    assert isinstance(found[0], WatchMessage)
    assert [name for _, _, name in parse_position(found[0].body).access_points] == ["a]b", "[5G]"]
    assert all(split == ["AL", "LK"] for split in every_split(stream))


def test_a_name_with_commas_is_kept() -> None:
    body = NAMES.partition(b",")[2].replace(b"a]b", b"x,y")
    assert [name for _, _, name in parse_position(body).access_points] == ["x,y", "[5G]"]


def test_a_frame_cut_short_does_not_take_the_next_one_with_it() -> None:
    assert kinds(WatchConnection().receive(LK[:-6] + LK)) == ["NOT_OURS", "LK"]


@pytest.mark.parametrize("start", [b"[3G*8800000015*FFFF*TK,", b"[3G*8800000015*FFFF*" + NAMES.partition(b"a]b")[0], b"[3G*1*0000*JXTK,"])
@pytest.mark.parametrize("mark", [b"]", b"[", b"a]", b"}\x03"])
def test_a_hostile_flood_costs_no_more_than_its_length(start: bytes, mark: bytes) -> None:
    connection, flood = WatchConnection(), start + mark * 60_000
    before = time.process_time()
    for at in range(0, len(flood), 1000):
        connection.receive(flood[at : at + 1000])
    assert time.process_time() - before < 3


def test_line_ends_between_frames_are_not_refused() -> None:
    assert kinds(WatchConnection().receive(LK + b"\r\n" + LK)) == ["LK", "LK"]


def test_junk_is_one_reject_and_costs_no_frame() -> None:
    assert kinds(WatchConnection().receive(b"\x00[[3G*x" + LK)) == ["NOT_OURS", "LK"]


def test_an_endless_frame_is_bounded() -> None:
    connection = WatchConnection()
    flood = connection.receive(b"[3G*8800000015*FFFF*TK," + b"a" * 200_000)
    assert kinds(flood + connection.receive(LK)) == ["NOT_OURS", "LK"]


def test_a_kept_back_frame_comes_out_by_flush() -> None:
    connection = WatchConnection()
    cut_list = NAMES.partition(b"]")[0]
    assert connection.receive(framed(cut_list, 300)) == []
    assert connection.is_doubtful
    assert kinds(connection.flush()) == ["AL"]
    assert not connection.is_doubtful


def test_binary_tail_survives_all_reserved_bytes() -> None:
    audio = bytes(range(256))
    sent = watch.encode(WatchMessage("3G", "8800000015", "TK", audio))
    found = WatchConnection().receive(sent)[0]
    assert isinstance(found, WatchMessage) and found.body == audio and found.length_ok


def test_unescaped_audio_of_the_right_length_is_whole() -> None:
    stream = framed(b"TK,#!AMR]x]y") + LK
    assert all(split == ["TK", "LK"] for split in every_split(stream))


def test_index_form_is_echoed() -> None:
    found = WatchConnection().receive(b"[ZJ*014111001350304*0034*0009*LK,0,0,19]")[0]
    assert isinstance(found, WatchMessage) and found.packet == "0034"
    assert watch.answer(found) == b"[ZJ*014111001350304*0034*0002*LK]"


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"INIT,13800000000,abc,V1", b"[3G*8800000015*0006*INIT,1]"), (b"LK", b"[3G*8800000015*0002*LK]"),
        (b"AL_LTE,x", b"[3G*8800000015*0002*AL]"), (b"AL_WCDMA,x", b"[3G*8800000015*0002*AL]"),
        (b"ALCUSTOMER1,x", b"[3G*8800000015*0002*AL]"), (b"heart,70", b"[3G*8800000015*0005*heart]"),
        (b"PULSE,70", b"[3G*8800000015*0005*PULSE]"), (b"bphrt,120,80,70", b"[3G*8800000015*0005*bphrt]"),
        (b"BLOOD,120,80", b"[3G*8800000015*0005*bphrt]"), (b"oxygen,0,97", b"[3G*8800000015*0008*oxygen,1]"),
        (b"btemp2,1,36.5", b"[3G*8800000015*0006*btemp2]"), (b"CONFIG,TY:1", b"[3G*8800000015*0008*CONFIG,1]"),
        (b"TKQ", b"[3G*8800000015*0003*TKQ]"), (b"TKQ2", b"[3G*8800000015*0004*TKQ2]"), (b"TK,#!AMR", b"[3G*8800000015*0004*TK,1]"),
        (b"JXTK,0,a,1,1,#!AMR", b"[3G*8800000015*0007*JXTKR,1]"), (b"TK,1", None), (b"TEMP,36.5", None), (b"UD,x", None),
        (b"UD2,x", None), (b"WT,x", None), (b"CR", None), (b"img,5,160429110950,x", None), (b"CCID,1", None), (b"POWEROFF", None),
    ],
)  # fmt: skip
def test_every_answer_is_the_documents_to_the_byte(content: bytes, answer: bytes | None) -> None:
    assert watch.answer(watch.decode(framed(content))) == answer


def test_what_the_device_sends_can_be_built() -> None:
    assert watch.heartbeat("8800000015", steps=50, tumbles=100, battery=100) == b"[3G*8800000015*000D*LK,50,100,100]"
    assert watch.report("8800000015", "heart", 72, packet="0001", maker="ZJ") == b"[ZJ*8800000015*0001*0008*heart,72]"


def test_a_header_that_cannot_be_written_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        watch.encode(WatchMessage("3G", "88*15", "LK"))
    with pytest.raises(LocalProtocolError):
        watch.encode(WatchMessage("3G", "8800000015", "MESSAGE", b"0" * 70_000))


BODY = "221126,083012,A,{},0.00,249.5,0.0,6,100,60,0,0,00000010,0,0,40.7"


@pytest.mark.parametrize(
    ("place", "lat", "lon"),
    [
        ("-33.48,N,-70.76,E", -33.48, -70.76), ("33.48,S,70.76,W", -33.48, -70.76), ("-33.48,S,-9.0,W", -33.48, -9.0),
        ("48.77,N, 9.15,E", 48.77, 9.15), ("48.77,,9.15,", 48.77, 9.15), ("0,N,9.0,E", 0.0, 9.0),
    ],
)  # fmt: skip
def test_hemisphere_letter_and_sign_may_disagree(place: str, lat: float, lon: float) -> None:
    position = parse_position(BODY.format(place).encode())
    assert (position.lat, position.lon) == (lat, lon)


@pytest.mark.parametrize("place", ["91.0,N,9.0,E", "48.0,N,-270.0,E", "nan,N,9.0,E", "inf,N,9,E", "x,N,9,E"])
def test_coordinates_off_the_earth_are_no_place(place: str) -> None:
    position = parse_position(BODY.format(place).encode())
    assert position.lat is None and position.lon is None and position.fault and position.battery == 60


def test_hexadecimal_cells_are_recognised() -> None:
    position = parse_position(b"221126,083012,A,48,N,9,E,0,0,0,6,100,60,0,0,00000010,1,1,262,1,55C0,3B882A2,132,,00")
    assert position.cells == ((262, 1, 0x55C0, 0x3B882A2, None),)
    assert position.accuracy_m is None


@pytest.mark.parametrize("tail", ["0", "0,0", "0,1,,,,00", "1", "1,255,460,0,9340", "99", "x,y", ",,,,"])
def test_a_tail_of_any_shape_takes_nothing_from_the_head(tail: str) -> None:
    position = parse_position(f"221126,083012,A,48,N,9,E,0,0,0,6,100,60,7,0,00010000,{tail}".encode())
    assert (position.battery, position.steps, position.status, position.lat) == (60, 7, 0x10000, 48.0)


@pytest.mark.parametrize("clock", ["000000,000000", "310226,083012", "221126,253012", "2211,083012", "²²1126,083012"])
def test_an_impossible_clock_is_none(clock: str) -> None:
    assert parse_position(f"{clock},A,48,N,9,E,0,0,0,6,100,60".encode()).clock_ms is None


def test_a_short_body_is_truncated() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_position(b"221126,083012,A,48,N")
    assert caught.value.reason is Reason.TRUNCATED


POSITIONS = st.builds(
    WatchPosition,
    clock_ms=st.integers(946_684_800, 4_102_444_799).map(lambda s: s * 1000),
    is_valid=st.just(True),
    lat=st.integers(-89_999_999, 89_999_999).filter(bool).map(lambda n: n / 1e6),
    lon=st.integers(-179_999_999, 179_999_999).map(lambda n: n / 1e6),
    speed_kmh=st.integers(0, 2199).map(lambda n: n / 100),
    course_deg=st.integers(0, 3600).map(lambda n: n / 10),
    altitude_m=st.integers(-900, 9000).map(float),
    satellites=st.integers(0, 30),
    signal=st.integers(0, 100),
    battery=st.integers(0, 100),
    steps=st.integers(0, 10**7),
    tumbles=st.integers(0, 999),
    status=st.integers(0, 0xFFFFFFFF),
    cells=st.lists(
        st.tuples(st.just(460), st.just(11), st.integers(0, 65535), st.integers(0, 2**28), st.integers(-120, -1)), max_size=7
    ).map(tuple),
    access_points=st.lists(
        st.tuples(
            st.just("68:77:24:1b:e7:a7"), st.integers(-99, -1), st.text("aZ5]*[ é", min_size=1).filter(lambda s: s == s.strip() != "")
        ),
        max_size=5,
    ).map(tuple),
    accuracy_m=st.integers(1, 9999).map(lambda n: n / 10),
    fault=st.none(),
)


@given(POSITIONS)
@settings(max_examples=150, deadline=None)
def test_a_position_survives_its_frame(position: WatchPosition) -> None:
    frame = watch.encode(WatchMessage("3G", "8800000015", "UD", position_body(position)))
    found = WatchConnection().receive(frame + LK)
    assert kinds(found) == ["UD", "LK"]
    assert isinstance(found[0], WatchMessage)
    assert parse_position(found[0].body) == position


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([LK, LK[:9], framed(NAMES), framed(NAMES)[:120], b"]", b"["])), max_size=8)
)
@settings(max_examples=200, deadline=None)
def test_any_stream_split_anywhere_gives_the_same_messages(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole = [k for k in kinds(WatchConnection().receive(stream)) if k != "NOT_OURS"]
    connection = WatchConnection()
    single = [k for i in range(len(stream)) for k in kinds(connection.receive(stream[i : i + 1])) if k != "NOT_OURS"]
    assert single == whole


def test_requests_are_bounded_repeated_once_and_lost() -> None:
    requests: Requests[str] = Requests(30)
    requests.open("CR", "locate", 0, repeat=b"again")
    requests.open("CALL", "call", 5)
    assert requests.due(29.9) == ([], [])
    assert requests.due(31) == ([b"again"], [])
    assert requests.due(36) == ([], ["call"])
    assert requests.answer("CR") == "locate" and requests.answer("CR") is None
    for _ in range(MAX_WAITING):
        requests.open("CR", "x", 0)
    assert requests.is_full
