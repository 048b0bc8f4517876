"""mqtt_json: mappings from files, options, robustness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import Frame, Instant, OptionError, Output, Subscriber, Transport
from drivers.mqtt_json.driver import MqttJson
from drivers.mqtt_json.proof import prove
from tests.shared import ROOT

MAPPINGS = sorted((ROOT / "config/mappings").glob("*.toml"))


def frame(payload: object, topic: str = "anhu/dev/k1/up", retained: bool = False) -> Frame:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Frame(data=data, received=Instant(1795336215000, 1.0), transport=Transport.MQTT, topic=topic, retained=retained)


def kinds(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if hasattr(event.body, "kind")]


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)
def test_every_example_mapping_proves_itself(path: Path) -> None:
    proofs = prove(path.read_text("utf-8"))
    assert proofs and [proof for proof in proofs if proof.fault] == []


def test_a_vector_that_does_not_hold_says_why() -> None:
    text = MAPPINGS[1].read_text("utf-8").replace("lel = 18.5", "lel = 19.5")
    assert prove(text)[0].fault == "event 1: value 18.5 expected, got 19.5"


def test_the_topics_are_those_of_the_mapping() -> None:
    driver = MqttJson({"mapping": MAPPINGS[1].read_text("utf-8")}, None)
    assert isinstance(driver, Subscriber)
    assert driver.topics() == ["gas/+/report"]
    assert MqttJson({}, None).topics() == ["anhu/dev/+/up"]


def test_a_faulty_mapping_names_line_and_neighbour() -> None:
    text = MAPPINGS[1].read_text("utf-8").replace('quantity = "gas_lel"', 'quantity = "gas_lal"')
    line = text.splitlines().index('quantity = "gas_lal"') + 1
    with pytest.raises(OptionError, match=f"line {line}: .*did you mean gas_lel"):
        MqttJson({"mapping": text}, None)
    with pytest.raises(OptionError, match="not TOML"):
        MqttJson({"mapping": "[["}, None)
    with pytest.raises(OptionError, match="must be passed as"):
        MqttJson({"mapping_file": "x.toml"}, None)


def test_a_message_in_both_orders_gives_every_alarm() -> None:
    output = MqttJson({}, None).receive(frame({"events": [{"kind": "sos"}, {"kind": "fall", "state": "start"}], "temperature": "nan"}))
    assert kinds(output) == ["sos", "fall"]


def test_an_alarm_with_an_unknown_state_is_still_an_alarm() -> None:
    output = MqttJson({}, None).receive(frame({"kind": "smoke", "state": "burning"}))
    assert kinds(output) == ["smoke"] and len(output.rejects) == 1


def test_an_alarm_that_started_before_a_restart_ends_after_it() -> None:
    first, second = MqttJson({}, None), MqttJson({}, None)
    first.receive(frame({"gas": True}))
    second.load(first.dump())
    assert kinds(second.receive(frame({"gas": False}))) == ["gas"]


def test_the_same_message_id_makes_the_same_event_twice() -> None:
    from drivers.events import seal

    ids = []
    for temperature in ("a", "b"):
        output = MqttJson({}, None).receive(frame({"id": "m1", "kind": "sos", "note": temperature}))
        ids.append(seal(output.events, received_ms=1)[0].id)
    assert ids[0] == ids[1]


@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(
        st.sampled_from(["kind", "state", "events", "readings", "health", "id", "ts", "lat", "lon", "re", "status", "gas", "temperature",
                         "battery", "quantity", "value", "channel", "battery_percent", "detail", "place"]), below, max_size=6),
    max_leaves=15,
), st.booleans())  # fmt: skip
def test_any_json_gives_events_or_rejects(payload: object, retained: bool) -> None:
    from drivers.conformance import check_events
    from drivers.events import event_json, seal

    output = MqttJson({}, None).receive(frame(payload, retained=retained))
    check_events(MqttJson, output.events)
    for event in seal(output.events, received_ms=1):
        event_json(event)
