"""settop: restart, rights, robustness."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import Command, Frame, Instant, Output, Subscriber, Transport, Verb
from drivers.conformance import check_events
from drivers.events import event_json, seal
from drivers.settop.driver import SetTop
from protocols.mqtt.settop import UP, decode_down
from tests.shared import ROOT

NOW = Instant(1795336215000, 1.0)


def frame(body: Any, device: str = "x1", retained: bool = False) -> Frame:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Frame(data=data, received=NOW, transport=Transport.MQTT, topic=f"anhu/tv/{device}/up", retained=retained)


def names(output: Output) -> list[str]:
    return [getattr(event.body, "kind", type(event.body).__name__) for event in output.events]


def test_one_driver_asks_for_its_box_or_for_all() -> None:
    assert isinstance(SetTop({}, None), Subscriber)
    assert SetTop({}, None).topics() == SetTop({}, "settop:*").topics() == ["anhu/tv/+/up"]
    assert SetTop({}, "settop:x1").topics() == ["anhu/tv/x1/up"]


def test_a_repeated_message_is_the_same_event_and_acknowledged_again() -> None:
    driver, body = SetTop({}, None), {"type": "sos", "ref": "b1-1"}
    outputs = [driver.receive(frame(body)) for _ in range(2)]
    ids = [seal(output.events, received_ms=n)[0].id for n, output in enumerate(outputs)]
    assert ids[0] == ids[1]
    assert all(decode_down(output.acks[0].data).fields == {"ref": "b1-1"} for output in outputs)
    assert outputs[0].replies == []


def test_an_answer_after_a_restart_still_finds_its_reminder() -> None:
    first, second = SetTop({}, None), SetTop({}, None)
    first.command(Command(id="c-1", verb=Verb.REMIND, device="settop:x1", args={"text": "吃药", "kind": "medicine"}), NOW)
    second.load(first.dump())
    assert names(second.receive(frame({"type": "reminder", "re": "c-1", "answer": "confirm"}))) == [
        "reminder_confirmed", "medication_taken", "CommandResult",
    ]  # fmt: skip


def test_states_of_two_boxes_are_apart() -> None:
    driver = SetTop({}, None)
    for device in ("x1", "x2"):
        assert names(driver.receive(frame({"type": "presence", "present": True}, device))) == ["presence"]


def test_a_command_for_a_box_that_is_none_fails() -> None:
    output = SetTop({}, None).command(Command(id="c", verb=Verb.VOLUME, device="settop:#", args={"percent": 3}), NOW)
    assert not output.replies and output.events[0].body.status.value == "failed"  # type: ignore[union-attr]


def test_every_message_of_the_profile_is_documented() -> None:
    text = (ROOT / "docs/settop.md").read_text("utf-8")
    assert [kind for kind in UP if f"`{kind}`" not in text] == []


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(
    st.sampled_from(["type", "ref", "ts", *(name for shape in UP.values() for name in shape.fields)]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from([*UP, "confirm", "snooze", "on", "accept", "start", "done", "meal"]), max_size=9,
), st.booleans())  # fmt: skip
def test_any_message_gives_events_or_rejects(body: dict[str, Any], retained: bool) -> None:
    driver = SetTop({}, None)
    output = driver.receive(frame(body, retained=retained))
    check_events(SetTop, output.events)
    for event in seal(output.events, received_ms=1):
        event_json(event)
    driver.load(driver.dump())
    if body.get("type") == "sos" and not retained and body.get("state") != "cancel" and body.get("test") is not True:
        assert "sos" in names(output)
