"""zigbee2mqtt payloads: lists of devices, topics, oddities."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reason, RemoteProtocolError
from protocols.mqtt.units import convert
from protocols.mqtt.zigbee2mqtt import encode, encode_binary, encode_device, read_devices, read_groups, read_online, read_topic
from tests.shared import vectors

ROWS = "vectors/sensor/zigbee2mqtt.jsonl"


@pytest.mark.parametrize("row", [p for p in vectors(ROWS) if "properties" in str(p.values[0].get("expect", "absent"))])
def test_every_property_of_a_definition_is_found(row: dict[str, Any]) -> None:
    devices = read_devices(row["payload"].encode())
    assert len(devices) == row["expect"]["devices"]
    assert devices[0].properties == row["expect"]["properties"]
    assert any(leaf.name == row["expect"]["must_expose"] and leaf.is_signal for leaf in devices[0].leaves)


@pytest.mark.parametrize(
    ("topic", "kind", "name"),
    [
        ("z/a", "device", "a"), ("z/a/b/c", "device", "a/b/c"), ("z/a/b/availability", "availability", "a/b"), ("z/a/set", "command", "a"),
        ("z/a/set/state", "command", "a"), ("z/a/get", "command", "a"), ("z/bridge/state", "bridge/state", ""), ("y/a", "foreign", ""),
        ("z/known/action", "attribute", "known"), ("z/odd/set", "device", "odd/set"), ("z/availability", "device", "availability"),
    ],
)  # fmt: skip
def test_topics_are_told_apart(topic: str, kind: str, name: str) -> None:
    found = read_topic(topic, "z", {"known", "odd/set"})
    assert (found.kind, found.name) == (kind, name)


def test_what_is_encoded_is_what_was_meant() -> None:
    exposes = [encode_binary("contact", False, True), encode_binary("siren", "ON", "OFF", access=3)]
    device = read_devices(encode([encode_device("door", exposes, ieee="0x1", model="M", vendor="V")]))[0]
    assert (device.name, device.ieee, device.model, device.properties) == ("door", "0x1", "M", ["contact", "siren"])
    assert device.leaves[0].value_on is False


def test_a_broken_device_costs_only_itself() -> None:
    broken: list[Any] = [None, 7, {"friendly_name": 3}, {"friendly_name": "x", "definition": 4},
                         {"friendly_name": "y", "definition": {"exposes": {}}},
                         {"friendly_name": "z", "definition": {"exposes": [None, {"type": []}, {"type": "binary", "property": 1},
                          {"features": "x"}, {"type": "new_kind", "property": "p"}]}}]  # fmt: skip
    found = read_devices(json.dumps([*broken, encode_device("good", [encode_binary("gas")])]).encode())
    assert [(d.name, d.properties) for d in found] == [("x", []), ("y", []), ("z", ["p"]), ("good", ["gas"])]


def test_deep_and_wide_exposes_are_bounded() -> None:
    found = read_devices(json.dumps([encode_device("deep", [nested(300)]), encode_device("wide", [encode_binary("x")] * 5000)]).encode())
    assert [len(device.leaves) <= 2000 for device in found] == [True, True]


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "binary", "property": "deep"}
    for _ in range(depth):
        node = {"type": "composite", "property": "c", "features": [node]}
    return node


def test_a_megabyte_of_devices_is_read_in_a_fifth_of_a_second() -> None:
    exposes = [encode_binary(f"p{n}") | {"description": "x" * 150} for n in range(20)]
    data = encode([encode_device(f"d{n}", exposes, ieee=f"0x{n:016x}") for n in range(200)])
    assert len(data) > 1_000_000
    best = min(_timed(data) for _ in range(3))
    assert best < 0.2, f"{best * 1000:.0f} ms"


def _timed(data: bytes) -> float:
    start = time.perf_counter()
    read_devices(data)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("data", "reason"), [(b"{}", Reason.NOT_OURS), (b"[", Reason.TRUNCATED), (b"", Reason.TRUNCATED), (b"[" * 99999, Reason.RANGE)]
)
def test_no_list_is_refused(data: bytes, reason: Reason) -> None:
    for read in (read_devices, read_groups):
        with pytest.raises(RemoteProtocolError) as caught:
            read(data)
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("data", "online"), [(b"online", True), (b'{"state":"offline"}', False), (b"Online\n", True), (b"maybe", None), (b'{"state":1}', None)]
)
def test_availability_comes_in_both_forms(data: bytes, online: bool | None) -> None:
    assert read_online(data) is online


def test_units_are_converted_or_refused() -> None:
    assert convert(70.0, "°F", "Cel") == pytest.approx(21.111, abs=1e-3)
    assert convert(500, "mA", "A") == 0.5
    assert convert(1, "m³", "%[LEL]") is None


@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(
        st.sampled_from(["friendly_name", "definition", "exposes", "features", "type", "property", "name", "access", "values", "value_on",
                         "unit", "endpoint", "category"]), below, max_size=6), max_leaves=25))  # fmt: skip
def test_any_json_gives_devices_or_a_typed_refusal(value: Any) -> None:
    try:
        read_devices(json.dumps([value]).encode())
    except RemoteProtocolError:
        pass
