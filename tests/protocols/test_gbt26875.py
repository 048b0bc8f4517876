"""GB/T 26875.3: every shared row, framing, every object both ways, and the dialects that no capture shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.building import gbt26875_objects as o
from protocols.building.gbt26875 import MAX_FRAME, Command, Message, cut, decode, encode, encode_time, local_time, reply
from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Framer
from tests.shared import vectors

AT = 1795365012000
NAMES = {
    o.SystemState: o.SYSTEM_FLAGS, o.PartState: o.PART_FLAGS, o.UnitState: o.UNIT_FLAGS,
    o.Operation: o.OPERATIONS, o.UnitOperation: o.UNIT_OPERATIONS,
}  # fmt: skip


def _time(text: str) -> int:
    from drivers.events import epoch_ms

    return epoch_ms(text + "Z")


def _facts(thing: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"time": thing.local_ms} if hasattr(thing, "local_ms") else {}
    for ours, theirs in (
        ("system", "system"), ("address", "system_addr"), ("part", "part"), ("part_address", "part_addr"), ("text", "text"),
        ("kind", "analog"), ("value", "value"), ("operator", "operator"), ("major", "major"), ("minor", "minor"),
    ):  # fmt: skip
        if hasattr(thing, ours):
            facts[theirs] = getattr(thing, ours)
    if hasattr(thing, "state"):
        facts["flags"] = o.flags(thing.state, NAMES[type(thing)])
    if hasattr(thing, "bits"):
        facts["ops"] = o.flags(thing.bits, NAMES[type(thing)])
    if hasattr(thing, "part_address"):
        facts |= {"zone": thing.part_address >> 16, "loop": thing.part_address & 0xFFFF}
    if hasattr(thing, "kind"):
        facts["unit"] = o.ANALOGUES[thing.kind][0]
    return facts


def _check_unit(data: bytes, expect: dict[str, Any]) -> None:
    unit = o.decode_unit(data)
    assert not unit.rejects
    assert unit.type == expect["type"]
    assert unit.claimed == expect.get("count", unit.claimed) == len(unit.objects)
    for thing, item in zip(unit.objects, expect.get("items", []), strict=False):
        facts = _facts(thing)
        for key, value in item.items():
            assert facts[key] == (_time(value) if key == "time" else value), key
    if "time_value" in expect:
        assert unit.objects == [o.UnitClock(_time(expect["time_value"]))]
    if "timeout_min" in expect:
        assert unit.objects == [o.Query(91, value=expect["timeout_min"])]
    again = o.encode_unit(unit.objects, set_clock=unit.type == 90)
    if "0020202020" not in data.hex():
        assert again == data, "the same bytes come back"


@pytest.mark.parametrize("row", vectors("vectors/sensor/gb26875_3.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if row["transport"] == "adu":
        _check_unit(frame, expect)
        return
    if expect.get("stream"):
        framer = Framer(cut, limit=MAX_FRAME)
        assert len([f for f in framer.feed(frame) if isinstance(f, bytes)]) == expect["count"]
        assert framer.buffered == expect["remainder"]
        return
    if expect.get("ok") is False:
        with pytest.raises(RemoteProtocolError) as caught:
            decode(frame)
        wanted = {"bad_checksum": Reason.INTEGRITY, "bad_tail": Reason.TRUNCATED, "need_more": Reason.TRUNCATED}
        assert caught.value.reason is wanted[expect["error"]]
        return
    message = decode(frame)
    assert Framer(cut, limit=MAX_FRAME).feed(frame) == [frame]
    assert encode(message) == frame
    for key, value in (
        ("serial", message.serial), ("version", list(message.version)), ("source", message.source), ("dest", message.dest),
        ("cmd", message.command),
    ):  # fmt: skip
        assert expect.get(key, value) == value
    if "time" in expect:
        assert message.local_ms == _time(expect["time"])
    if expect.get("empty"):
        assert message.unit == b""
        assert message.is_heartbeat == (expect["name"] == "heartbeat")
        return
    _check_unit(message.unit, expect)


def test_confirm_of_the_public_example() -> None:
    sent = Message(1, Command.SEND, b"\x15", "000000000379", "000000015b38", AT)
    got = encode(reply(sent, Command.CONFIRM, _time("2012-09-26T09:58:35")))
    assert got.hex() == "404001000101233a091a090c385b01000000790300000000000003ab2323"


BYTE, WORD, LONG = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
TIME = st.integers(946684800, 4102444799).map(lambda s: s * 1000)
TEXT = st.text(st.sampled_from("燃气烟感一二三室ABC12 -"), max_size=14).map(str.strip)
OBJECTS = st.one_of(
    st.builds(o.SystemState, BYTE, BYTE, WORD, TIME),
    st.builds(o.PartState, BYTE, BYTE, BYTE, LONG, WORD, TEXT, TIME),
    st.builds(o.Analogue, BYTE, BYTE, BYTE, LONG, BYTE, st.integers(-32768, 32767), TIME),
    st.builds(o.Operation, BYTE, BYTE, BYTE, BYTE, TIME),
    st.builds(o.Version, BYTE, BYTE, BYTE, BYTE),
    st.builds(o.Settings, BYTE, BYTE, TEXT),
    st.builds(o.PartSettings, BYTE, BYTE, BYTE, LONG, TEXT),
    st.builds(o.Clock, BYTE, BYTE, TIME),
    st.builds(o.UnitState, BYTE, TIME),
    st.builds(o.UnitOperation, BYTE, BYTE, TIME),
    st.builds(o.UnitVersion, BYTE, BYTE),
    st.builds(o.UnitSettings, TEXT),
    st.builds(o.UnitClock, TIME),
    st.builds(o.Query, st.sampled_from([61, 65, 66, 68]), BYTE, BYTE),
    st.builds(o.Query, st.sampled_from([62, 63, 67]), BYTE, BYTE, BYTE, LONG),
    st.builds(o.Query, st.just(64), BYTE, BYTE, records=BYTE, local_ms=TIME),
    st.builds(o.Query, st.just(84), records=BYTE, local_ms=TIME),
    st.builds(o.Query, st.sampled_from([81, 85, 86, 88, 89, 91]), value=BYTE),
)


@settings(max_examples=200)
@given(OBJECTS, st.integers(1, 4))
def test_every_object_comes_back(thing: Any, count: int) -> None:
    sent = o.encode_unit([thing] * count)
    unit = o.decode_unit(sent)
    assert not unit.rejects and len(unit.objects) == count
    assert o.encode_unit(unit.objects) == sent
    assert isinstance(thing, o.Query) or unit.objects == [thing] * count


@settings(max_examples=100)
@given(
    st.builds(
        Message,
        st.integers(0, 65535),
        st.sampled_from([1, 2, 3, 4, 5, 6, 128]),
        st.binary(max_size=60),
        source=st.binary(min_size=6, max_size=6).map(bytes.hex),
        dest=st.just("0000404023ff"),
        local_ms=TIME,
        version=st.tuples(st.integers(1, 255), BYTE),
    ),
    st.booleans(),
)
def test_every_frame_comes_back(message: Message, big: bool) -> None:
    frame = encode(message, big_endian_address=big)
    assert decode(frame, big_endian_address=big) == message
    framer = Framer(cut, limit=MAX_FRAME)
    assert [f for i in range(len(frame)) for f in framer.feed(frame[i : i + 1])] == [frame]


@settings(max_examples=150)
@given(st.binary(max_size=120))
def test_any_data_unit_is_read_without_raising(data: bytes) -> None:
    unit = o.decode_unit(data)
    assert unit.objects or unit.rejects


@settings(max_examples=100)
@given(st.binary(max_size=80), st.integers(0, 77), st.integers(0, 7))
def test_a_frame_behind_junk_and_a_damaged_one_is_found(junk: bytes, index: int, bit: int) -> None:
    good = encode(Message(7, 2, o.encode_unit([o.UnitState(2, AT)]), "00000a0b0c0d", local_ms=AT))
    damaged = bytearray(good)
    damaged[index % len(good)] ^= 1 << bit
    # A false start claims at most one frame: what is behind it is found.
    found = Framer(cut, limit=MAX_FRAME).feed(junk + bytes(damaged) + good + bytes(MAX_FRAME) + good)
    assert good in found


PART = o.PartState(1, 1, 12, 0x10002, 2, "厨房", AT)


@pytest.mark.parametrize(
    ("name", "data", "times"),
    [
        ("without time", o.encode_unit([PART] * 2)[:42] + o.encode_unit([PART])[2:42], [None, None]),
        ("one time for all", o.encode_unit([PART] * 2)[:42] + o.encode_unit([PART])[2:], [AT, AT]),
        ("count too small", b"\x02\x01" + o.encode_unit([PART] * 2)[2:], [AT, AT]),
        ("bad time", o.encode_unit([PART])[:42].replace(b"\x02\x01", b"\x02\x02", 1) + b"\xff" * 6 + o.encode_unit([PART])[2:], [None, AT]),
    ],
)  # fmt: skip
def test_dialects_keep_every_object(name: str, data: bytes, times: list[int | None]) -> None:
    unit = o.decode_unit(data)
    assert [thing.local_ms for thing in unit.objects] == times, name  # type: ignore[union-attr]
    assert all(thing.part_address == 0x10002 for thing in unit.objects)  # type: ignore[union-attr]


@pytest.mark.parametrize("cut_at", range(2, 48 + 46))
def test_a_cut_unit_keeps_the_objects_before_the_cut(cut_at: int) -> None:
    unit = o.decode_unit(o.encode_unit([PART, PART])[:cut_at])
    assert len(unit.objects) == (cut_at - 2) // 46 or cut_at in (42, 88)
    assert unit.rejects


def test_count_too_large_is_told() -> None:
    unit = o.decode_unit(b"\x02\x09" + o.encode_unit([PART])[2:])
    assert unit.objects == [PART] and [r.reason for r in unit.rejects] == [Reason.TRUNCATED]


def test_bcd_time_is_told_by_the_receive_time() -> None:
    assert local_time(encode_time(AT, bcd=True), AT + 5000) == AT
    assert local_time(encode_time(AT), AT + 5000) == AT
    assert local_time(bytes.fromhex("301213010814")) == _time("2020-08-01T19:18:48")
    assert local_time(bytes.fromhex("ff1213010814"), AT) is None
    assert local_time(bytes.fromhex("000000310226"), AT) is None


@pytest.mark.parametrize("at_ms", [946684800000, 951782400000, 1709164800000, 4102444799000])
def test_calendar(at_ms: int) -> None:
    assert local_time(encode_time(at_ms)) == at_ms


def test_what_cannot_be_sent_is_refused() -> None:
    for thing in ([], [PART, o.UnitState(1)], [o.UnitState(999, AT)], [o.Query(70)]):
        with pytest.raises(LocalProtocolError):
            o.encode_unit(thing)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        encode(Message(1, 2, bytes(1025)))
    with pytest.raises(LocalProtocolError):
        encode(Message(1, 2, b"", "12"))


def test_long_texts_end_with_a_whole_character() -> None:
    got = o.decode_unit(o.encode_unit([PART._replace(text="燃气" * 20)])).objects[0]
    assert isinstance(got, o.PartState) and got.text == "燃气" * 7 + "燃"


def test_a_flood_of_starts_is_bounded() -> None:
    framer = Framer(cut, limit=MAX_FRAME)
    for _ in range(20):
        framer.feed(b"@" * 1000)
    assert framer.buffered <= MAX_FRAME
    good = encode(Message(1, 2, b"", local_ms=AT))
    assert good in framer.feed(good + bytes(MAX_FRAME))
    assert not any(isinstance(part, bytes) for part in framer.feed(b"\x00")), "nothing twice"
    assert isinstance(Framer(cut, limit=MAX_FRAME).feed(b"junk" + good)[0], Reject)


@settings(max_examples=200)
@given(st.integers(946684800, 4102444799))
def test_times_agree_with_the_calendar(at_s: int) -> None:
    moment = datetime.fromtimestamp(at_s, UTC)
    raw = bytes((moment.second, moment.minute, moment.hour, moment.day, moment.month, moment.year - 2000))
    assert encode_time(at_s * 1000) == raw and local_time(raw) == at_s * 1000


@pytest.mark.parametrize(
    "raw", ["3c0000010101", "003c00010101", "00003f010101", "000000000101", "0000003f0101", "0000001d0201", "000000010d01"]
)
def test_what_is_no_time(raw: str) -> None:
    assert local_time(bytes.fromhex(raw)) is None
