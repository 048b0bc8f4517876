"""The mapping language: paths, fields, faults with lines."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt import device_json
from protocols.mqtt.edges import Edges
from protocols.mqtt.json_path import MISSING, Path, clean_text, load_json, number, time_ms
from protocols.mqtt.mapping import MappingError, Vocabulary, compile_mapping
from protocols.mqtt.toml_lines import lines_of
from protocols.mqtt.topic import TopicPattern, plain_id, printable_id

WORDS = Vocabulary(("temperature", "humidity"), ("sos", "gas", "fall"), ("valve",), {"battery_percent": "number", "online": "bool"})


def faults(text: str) -> list[str]:
    with pytest.raises(MappingError) as caught:
        compile_mapping(tomllib.loads(text), WORDS, lines_of(text))
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b[0].c", 1), ("$.a.b[-1].c", 2), ('"odd key"', 3), ("a.b[9].c", MISSING), ("a.x", MISSING), ("$", ...), ("a.b.c", MISSING)],
)
def test_a_path_finds_or_misses(path: str, value: object) -> None:
    root = {"a": {"b": [{"c": 1}, {"c": 2}]}, "odd key": 3}
    assert Path(path).find(root) == (root if value is ... else value)


@pytest.mark.parametrize("text", ["", "a[", "a..b", "a[x]", ".a", "a b", "a]"])
def test_a_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        Path(text)


def test_a_star_reaches_every_element_with_its_key() -> None:
    assert Path("x.*").each({"x": {"p": 1, "q": 2}}) == [("p", 1), ("q", 2)]
    assert Path("x[*].y").each({"x": [{"y": 1}, {}, {"y": 3}]}) == [(0, 1), (2, 3)]
    assert Path("x").each({"x": [5, 6]}) == [(0, 5), (1, 6)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.TRUNCATED), (b'{"a":', Reason.TRUNCATED), (b'{"a":"x', Reason.TRUNCATED), (b"{not", Reason.NOT_OURS),
        (b"\xff\xfe\xff", Reason.NOT_OURS), (b"[" * 100_000, Reason.RANGE), (b"1" * 10_000, Reason.RANGE), (b" " * 300_000, Reason.RANGE),
    ],
)  # fmt: skip
def test_bytes_that_are_no_json_have_a_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        load_json(data)
    assert caught.value.reason is reason


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_typed_refusal(data: bytes) -> None:
    try:
        load_json(data)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    ("value", "unit", "zone", "expected"),
    [
        (1795336212, "auto", 0, 1795336212000), (1795336212000, "auto", 0, 1795336212000), (1795336212000000, "auto", 0, 1795336212000),
        ("1795336212", "s", 0, 1795336212000), ("2026-11-22T08:30:12Z", "auto", 0, 1795336212000),
        ("2026/11/22 16:30:12", "auto", 480, 1795336212000), ("2026-11-22T16:30:12+08:00", "iso", 0, 1795336212000),
        ("yesterday", "auto", 0, None), (float("nan"), "s", 0, None), (True, "auto", 0, None), (-5, "s", 0, None), (1e300, "s", 0, None),
        ("0001-01-01T00:00:00+23:59", "iso", 0, None),
    ],
)  # fmt: skip
def test_times_as_devices_write_them(value: object, unit: str, zone: int, expected: int | None) -> None:
    found = time_ms(value, unit, zone)
    assert found == expected or (expected is None and found is not None and found < 0)


def test_numbers_are_never_booleans_or_infinities() -> None:
    assert [number(v) for v in (True, "inf", "1e999", 10**400, None, [], "0x10", "1,5")] == [None] * 8


def test_text_loses_what_must_not_be_shown() -> None:
    assert clean_text("a\x00b\u202ec\ud800d" + "x" * 999, 10) == "a b c dxxx"


def test_topics_match_named_levels_and_subscribe_with_plus() -> None:
    pattern = TopicPattern("home/{device}/gw-{site}/+")
    assert pattern.filter == "home/+/+/+"
    assert pattern.match("home/k1/gw-7/x") == {"device": "k1", "site": "7"}
    assert pattern.match("home/k1/7/x") is None
    assert TopicPattern("z/{name+}/availability").filter == "z/#"
    assert TopicPattern("z/{name+}/availability").match("z/a/b/availability") == {"name": "a/b"}
    assert TopicPattern("a/{d}/down").fill({"d": "x"}) == "a/x/down"


@pytest.mark.parametrize("text", ["", "a/#/b", "a/+x", "a/{}", "a/{d}/{d}", "a#"])
def test_topic_patterns_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        TopicPattern(text)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "+", "#", "x" * 65, "a\n", "客厅"])
def test_plain_ids_are_plain(name: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        plain_id(name)
    assert caught.value.reason is Reason.RANGE


def test_names_that_people_give_may_be_chinese_but_hold_no_wildcards() -> None:
    assert printable_id("客厅/人体 1") == "客厅/人体 1"
    for name in ("a+", "#", "a\x07", " ", "x" * 65):
        with pytest.raises(RemoteProtocolError):
            printable_id(name)


def test_every_fault_is_told_with_its_line_and_a_hint() -> None:
    found = faults(
        'name = "x"\n[[message]]\ntopic = "a/{device}"\n[[message.reading]]\npath = "t["\nquantity = "temprature"\n'
        '[[message.state]]\npath = "g"\nkind = "gaz"\nstrat = [1]\n[message.health]\nbatery_percent = "b"\n'
    )
    assert found == [
        "line 4: message[0].reading[0]: JSON path expected (like a.b[0].c), got 't['",
        "line 6: message[0].reading[0].quantity: no quantity is called 'temprature', did you mean temperature?",
        "line 9: message[0].state[0].kind: no kind is called 'gaz', did you mean gas?",
        "line 10: message[0].state[0].strat: unknown key, did you mean start?",
        "line 12: message[0].health.batery_percent: no health field is called 'batery_percent', did you mean battery_percent?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "message = 3", "[[message]]", '[[message]]\ntopic="a/{device}"', '[[message]]\ntopic="a"\nformat="xml"',
        '[[message]]\ntopic="a/{device}"\neach=3\n[[message.reading]]\npath="t"\nquantity="humidity"',
        '[[message]]\ntopic="a"\n[[message.reading]]\npath="t"\nquantity="humidity"',
        '[[message]]\ntopic="a/{device}"\nformat="bytes"\nprefix="zz"\n[[message.reading]]\nat=0\nquantity="humidity"',
        '[[message]]\ntopic="a/{device}"\nformat="bytes"\nlength="x"\n[[message.reading]]\nat="0"\nquantity="humidity"',
        '[[message]]\ntopic="a/{device}"\nformat="bytes"\nchecksum={type="md5"}\n[[message.reading]]\nat=0\ntype="u9"\nquantity="humidity"',
        '[[message]]\ntopic="a/{device}"\n[[message.reading]]\npath="t"\nquantity="humidity"\nscale="1"',
        '[[message]]\ntopic="a/{device}"\n[[message.reading]]\npath="t"\nquantity="humidity"\n[[command]]\nverb="vlave"\ntopic="a/+"',
        '[[message]]\ntopic="a/{device}"\ntime={path="t",unit="h",zone_minutes=9999}\n[[message.reading]]\npath="t"\nquantity="humidity"',
        '[[message]]\ntopic="a/{device}"\n[[message.reading]]\npath="t"\nquantity="humidity"\n[[vector]]\nname="x"',
    ],
)  # fmt: skip
def test_wrong_mappings_are_refused_with_words(text: str) -> None:
    assert all(fault and "object at 0x" not in fault for fault in faults(text))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6) | st.sampled_from(["a/{device}", "bytes", "sos", "u16"]),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(
            st.sampled_from(["message", "topic", "format", "reading", "state", "path", "at", "type", "kind", "each", "device", "time",
                             "when", "health", "values", "vector", "command", "ref", "checksum", "bits", "length", "prefix", "above"]),
            below, max_size=5),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_table_compiles_or_tells_its_faults(table: object) -> None:
    try:
        compile_mapping(table if isinstance(table, dict) else {"message": table}, WORDS)
    except MappingError as error:
        assert error.faults


def test_an_alarm_survives_its_bad_neighbours() -> None:
    text = """[[message]]
topic = "a/{device}"
time = "ts"
[[message.reading]]
path = "t"
quantity = "temperature"
[[message.state]]
path = "e"
values = { help = "sos" }
[[message.state]]
path = "lpg"
kind = "gas"
above = 20
"""
    mapping = compile_mapping(tomllib.loads(text), WORDS)
    report = mapping.decode("a/k1", b'{"t":"hot","ts":"then","e":"HELP","lpg":"21"}')[0]
    assert [(h.kind, h.state) for h in report.happenings] == [("sos", "pulse"), ("gas", "start")]
    assert [reason for reason, _ in report.faults] == [Reason.RANGE, Reason.RANGE]


def test_a_state_is_one_change_however_often_it_is_repeated() -> None:
    edges = Edges()
    assert [edges.turn("k", value) for value in ("on", "on", "", "")] == [True, False, True, False]


def test_a_retained_state_is_remembered_without_being_news() -> None:
    edges = Edges()
    assert not edges.turn("k", "on", retained=True)
    assert edges.last("k") == "on"
    assert edges.turn("k", "on")


def test_what_is_on_survives_and_damage_is_ignored() -> None:
    edges = Edges()
    edges.turn("a", "on")
    edges.turn("b", "")
    fresh = Edges()
    for damaged in (b"", b"[1]", b'{"a"', b"[" * 99999, b'[["a"]]'):
        fresh.load(damaged)
    fresh.load(edges.dump())
    assert not fresh.turn("a", "on")
    assert len(Edges().dump()) == 2
    for n in range(9000):
        edges.turn(f"key {n}", "on")
    assert len(edges.dump()) <= 4000


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["sos", "gas", "fall"]), st.sampled_from(device_json.STATES), max_size=3),
    st.dictionaries(st.sampled_from(["temperature", "humidity"]), st.floats(-50, 100), max_size=2),
    st.none() | st.text("abc-019", min_size=1, max_size=20),
)
def test_what_the_simulator_encodes_is_what_was_meant(happenings: dict[str, str], readings: dict[str, float], ref: str | None) -> None:
    data = device_json.encode_up(ref=ref, at_ms=1795336212000, happenings=happenings, readings=readings, health={"battery_percent": 5})
    found = device_json.decode_up("anhu/dev/k1/up", data, quantities=WORDS.quantities, kinds=WORDS.kinds)
    assert {h.kind: h.state for h in found.happenings} == happenings
    assert {r.quantity: r.value for r in found.readings} == readings
    assert (found.ref, found.at_ms, found.device, found.faults) == (ref, 1795336212000, "k1", [])


def test_a_command_is_read_as_it_was_written() -> None:
    assert device_json.decode_down(device_json.encode_down("c1", "valve", {"open": False})) == ("c1", "valve", {"open": False})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "on", "high"]), st.booleans()), max_size=12))
def test_a_dump_holds_just_what_is_on_and_was_heard_live(turns: list[tuple[str, str, bool]]) -> None:
    edges, on = Edges(), {}
    for key, value, retained in turns:
        live = on.get(key) == value if retained else True
        edges.turn(key, value, retained=retained)
        on.pop(key, None)
        if value and live:
            on[key] = value
        assert dict(json.loads(edges.dump())) == on
    fresh = Edges()
    fresh.load(edges.dump())
    assert fresh.dump() == edges.dump()
    edges.forget("a")
    assert "a" not in dict(json.loads(edges.dump()))
