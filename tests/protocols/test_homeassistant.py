"""Home Assistant discovery: every shared configuration, abbreviations, templates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reason, RemoteProtocolError
from protocols.mqtt.firmware import encode_tasmota_sensor, read_place, read_tasmota_discovery
from protocols.mqtt.homeassistant import ABBREVIATIONS, Template, encode_config, read_config, read_config_topic
from protocols.mqtt.json_path import MISSING
from tests.shared import vectors

ROWS = [p for p in vectors("vectors/sensor/mqtt_discovery.jsonl") if not p.values[0] or p.values[0]["topic"].startswith("homeassistant/")]


@pytest.mark.parametrize("row", [p for p in ROWS if not p.values[0] or "ignore" not in p.values[0]["expect"]])
def test_shared_configuration(row: dict[str, Any]) -> None:
    expect, data = row["expect"], row["payload"].encode()
    if "error" in expect:
        with pytest.raises(RemoteProtocolError) as caught:
            read_config(row["topic"], data)
        assert caught.value.reason is {"bad_json": Reason.NOT_OURS, "bad_topic": Reason.RANGE}[expect["error"]]
        return
    config = read_config(row["topic"], data)
    assert config.removed is expect.get("removed", False)
    if config.removed:
        _, node, object_id = read_config_topic(row["topic"], "homeassistant")
        assert (node, object_id) == (expect["node"], expect["object"])
        return
    for unique_id, wanted in expect.get("components", {"": expect}).items():
        entity = next(e for e in config.entities if not unique_id or e.unique_id == unique_id)
        for key in ("component", "unique_id", "device_class", "unit", "state_topic", "device_id"):
            if key in wanted:
                assert getattr(entity, key) == wanted[key], key
        if "availability_topic" in wanted:
            assert entity.availability[0].topic == wanted["availability_topic"]
        if "json_path" in wanted:
            assert entity.template and entity.template.path == wanted["json_path"]
        if "event_types" in wanted:
            assert list(entity.event_types) == wanted["event_types"]
        if "trigger" in wanted:
            assert (entity.on, entity.state_topic) == (wanted["trigger"], wanted["topic"])
        if "node" in wanted:
            assert entity.node == wanted["node"]


@pytest.mark.parametrize(
    ("text", "payload", "value"),
    [
        ("{{ value }}", b"on", "on"), ("{{ value | lower }}", b"ON", "on"), ("{{value_json.a.b[0]['c d']}}", b'{"a":{"b":[{"c d":7}]}}', 7),
        ("{{ value_json.t | float | round(1) }}", b'{"t":"21.456"}', 21.5), ("{{ value_json['x']|int }}", b'{"x":"7.9"}', 7),
        ("{{ value_json.x | int(0) }}", b'{"x":"bad"}', 0), ("{{ value_json.x | float }}", b'{"x":"bad"}', MISSING),
        ("{{ value_json.gone }}", b"{}", MISSING), ("{{- value_json.x -}}", b'{"x":null}', None), ("{{ value_json[0] }}", b"[5]", 5),
        ("{{ value | round }}", b"2.6", 3),
    ],
)  # fmt: skip
def test_templates_that_are_chains_are_rendered(text: str, payload: bytes, value: Any) -> None:
    assert Template(text).render(payload) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "{{ states('a') }}", "{% if value %}1{% endif %}", "{{ value_json.x + 1 }}", "{{ value_json.x | default('') }}",
     "{{ value.x }}",
     "{{ value_json.__class__.mro() }}", "{{ value }} W", "{{ value_json.x | float * 2 }}", "{{ " + "value_json" + ".a" * 400 + " }}"],
)  # fmt: skip
def test_templates_that_need_an_expert_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="expert"):
        Template(text)


def test_the_tilde_stands_at_either_end_also_in_lists() -> None:
    config = {
        "~": "a/b",
        "stat_t": "~/s",
        "cmd_t": "set/~",
        "avty": [{"t": "~/lwt", "val_tpl": "{{ value_json.s }}"}],
        "dev": {"cns": [["mac", "aa"]]},
    }
    entity = read_config("homeassistant/siren/x/config", encode_config(config)).entities[0]
    assert (entity.state_topic, entity.command_topic, entity.device_id) == ("a/b/s", "set/a/b", "aa")
    assert entity.availability[0].topic == "a/b/lwt" and entity.availability[0].template


def test_long_and_short_keys_mean_the_same() -> None:
    short = {
        "stat_t": "s",
        "dev_cla": "gas",
        "uniq_id": "u",
        "pl_on": "1",
        "pl_off": "0",
        "dev": {"ids": ["d"], "mf": "m", "mdl": "n", "sw": "1"},
    }
    long = {ABBREVIATIONS[key]: value for key, value in short.items() if key != "dev"}
    long["device"] = {"identifiers": ["d"], "manufacturer": "m", "model": "n", "sw_version": "1"}
    first, second = (read_config("homeassistant/binary_sensor/x/config", encode_config(c)).entities for c in (short, long))
    assert first == second


@pytest.mark.parametrize(
    "topic",
    ["homeassistant/x/config", "homeassistant/a/b/c/d/config", "homeassistant/a/b c/config", "ha/a/b/config", "homeassistant/a/b/set"],
)
def test_other_topics_are_no_configuration(topic: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_config(topic, b"{}")
    assert caught.value.reason is Reason.RANGE


@pytest.mark.parametrize("state_topic", ["a/#", "+", "$SYS/x", 7, "x" * 999])
def test_a_topic_that_cannot_be_one_is_refused(state_topic: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        read_config("homeassistant/sensor/x/config", json.dumps({"stat_t": state_topic}).encode())


def test_firmware_topics_are_told_apart() -> None:
    wanted = {
        "tele/t/SENSOR": ("tasmota SENSOR", "t"),
        "home/OMG/BTtoMQTT/AA": ("omg BTtoMQTT", "OMG"),
        "home/OMG/LWT": ("omg LWT", "OMG"),
        "a/b/binary_sensor/fall/state": ("esphome binary_sensor", "a/b"),
        "n/status": ("esphome status", "n"),
        "other": None,
        "tele/t/INFO1": None,
    }
    assert {topic: place[:2] if (place := read_place(topic)) else None for topic in wanted} == wanted


def test_tasmota_discovery_names_its_topics() -> None:
    device = read_tasmota_discovery(b'{"t":"bath","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"md":"S","sw":"15"}')
    assert device and device.topics == ("tele/bath/SENSOR", "tele/bath/STATE", "tele/bath/LWT", "stat/bath/RESULT")
    assert read_tasmota_discovery(b"") is None
    for bad in (b"{}", b'{"t":"#"}', b'{"t":"x","tp":1}'):
        with pytest.raises(RemoteProtocolError):
            read_tasmota_discovery(bad)
    assert json.loads(encode_tasmota_sensor({"A": {"Temperature": 1}})) == {"A": {"Temperature": 1}, "TempUnit": "C"}


KEYS = [*ABBREVIATIONS, "~", "name", "state_topic", "device", "p"]


@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(["sensor", "a/b", "{{ value }}"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), below, max_size=6),
    max_leaves=20,
), st.sampled_from(["device/x", "sensor/x", "event/n/x"]))  # fmt: skip
def test_any_json_gives_entities_or_a_typed_refusal(value: Any, place: str) -> None:
    try:
        read_config(f"homeassistant/{place}/config", json.dumps(value).encode())
    except RemoteProtocolError:
        pass
