"""The set-top box profile: table, schemas, both directions."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.settop import BOARDS, DOWN, UP, SettopError, decode_down, decode_up, encode_down, encode_up, plain_text, schema

TOPIC = "anhu/tv/x1/up"
SAMPLES: dict[str, Any] = {
    "re": "c-1", "ref": "r-1", "key": "red", "item": "lunch", "text": "吃药", "title": "提醒", "kind": "medicine", "time": "08:30",
    "days": "1111100", "url": "http://a/b.mp3", "audio": "https://a/b", "from": "女儿", "session": "s1", "detail": "x",
    "number": "2", "model": "m", "firmware": "f", "serial": "s", "person": "p", "name": "n",
}  # fmt: skip


def sample(shape_fields: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in shape_fields.items():
        if field["type"] == "boolean":
            values[name] = True
        elif field["type"] == "integer":
            values[name] = field["minimum"]
        else:
            values[name] = field["enum"][0] if "enum" in field else SAMPLES[name]
    return values


@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_schema_is_a_schema_and_takes_every_message(direction: str) -> None:
    checker = jsonschema.Draft202012Validator(schema(direction))
    checker.check_schema(schema(direction))
    for kind, shape in (UP if direction == "up" else DOWN).items():
        fields = sample(shape.fields)
        data = encode_up(kind, ref="r", at_ms=1795336212000, **fields) if direction == "up" else encode_down(kind, "c-1", **fields)
        checker.validate(json.loads(data))
        for name in shape.required:
            lacking = {key: value for key, value in json.loads(data).items() if key != name}
            assert not checker.is_valid(lacking), f"{kind} without {name}"


@pytest.mark.parametrize("kind", UP)
def test_what_a_box_encodes_is_what_was_meant(kind: str) -> None:
    fields = sample(UP[kind].fields)
    message = decode_up(TOPIC, encode_up(kind, ref="b1-1", at_ms=1795336212000, **fields))
    assert (message.device, message.type, message.ref, message.at_ms, message.fields, message.faults) == (
        "x1", kind, "b1-1", 1795336212000, fields, [],
    )  # fmt: skip


@pytest.mark.parametrize("kind", DOWN)
def test_what_we_encode_is_what_a_box_reads(kind: str) -> None:
    fields = sample(DOWN[kind].fields)
    message = decode_down(encode_down(kind, "c-1", **fields))
    assert (message.type, message.command, message.fields) == (kind, "c-1", fields)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sms", {}), ("message", {}), ("message", {"text": ""}), ("message", {"text": "x", "volume": 101}), ("volume", {"percent": True}),
        ("play", {"url": "file:///etc/passwd"}), ("play", {"url": "http://a b"}), ("play", {"url": "http://a\n"}),
        ("remind", {"text": "x", "time": "25:00"}),
        ("message", {"text": "x", "colour": "red"}), ("message", {"text": "<b></b>"}),
    ],
)  # fmt: skip
def test_what_the_table_does_not_allow_is_not_sent(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_down(kind, "c", **fields)


def test_a_refused_message_keeps_its_ref_for_the_acknowledgement() -> None:
    with pytest.raises(SettopError) as caught:
        decode_up(TOPIC, b'{"type":"service","ref":17}')
    assert (caught.value.ref, caught.value.device, caught.value.reason) == ("17", "x1", Reason.RANGE)


@pytest.mark.parametrize("text", ["<script>x</script>", "<IMG src=x onerror=y>", "a\u202eb", "<!-- x -->y", "</b>z", "&lt;b>", "<" * 50])
def test_markup_never_gets_through(text: str) -> None:
    found = plain_text(text)
    assert not set("<>\u202e") & set(found)


def test_there_are_eight_boards() -> None:
    assert len(BOARDS) == 8


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(
    st.sampled_from(["type", "ref", "ts", "device", *(name for shape in UP.values() for name in shape.fields)]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
    | st.sampled_from([*UP, "confirm", "on"]),
))  # fmt: skip
def test_any_object_gives_a_message_or_a_typed_refusal(body: dict[str, Any]) -> None:
    try:
        message = decode_up(TOPIC, json.dumps(body).encode())
    except RemoteProtocolError as error:
        assert body.get("type") != "sos", error
    else:
        assert message.type in UP
