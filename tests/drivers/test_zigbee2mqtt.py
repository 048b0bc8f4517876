"""zigbee2mqtt driver: every shared row, and the pitfalls of the protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import DeviceHealth, Frame, Instant, Measurement, Occurrence, OptionError, Output, Subscriber, Transport
from drivers.conformance import check_events
from drivers.events import event_json, seal
from drivers.zigbee2mqtt.driver import Zigbee2Mqtt
from drivers.zigbee2mqtt.signals import BINARIES, NUMBERS
from tests.shared import vectors

NOW = Instant(1795336215000, 1.0)
ALARM = {"open": "door_open", "motion": "motion", "presence": "presence", "smoke": "smoke", "gas": "gas", "co": "co_alarm",
         "leak": "water_leak", "vibration": "vibration",
         "tamper": "tamper", "sos": "sos", "fall": "fall", "battery_low": "low_battery"}  # fmt: skip
STATES = {"open", "motion", "presence", "vibration"}


def frame(topic: str, payload: Any, retained: bool = False) -> Frame:
    data = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    return Frame(data=data, received=NOW, transport=Transport.MQTT, topic=topic, retained=retained)


def occurrences(output: Output) -> dict[str, str]:
    return {e.body.kind.value: e.body.state.value for e in output.events if isinstance(e.body, Occurrence)}


@pytest.mark.parametrize("row", vectors("vectors/sensor/zigbee2mqtt.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    output = Zigbee2Mqtt({}, None).receive(frame(row["topic"], row["payload"]))
    expect, found = row["expect"], occurrences(output)
    assert output.rejects == []
    for key, kind in ALARM.items():
        if key not in expect:
            continue
        if expect[key] == "suspected":
            assert found.pop("fall_suspected") == "start"
        elif expect[key]:
            assert found.pop(kind) in ("start", "pulse")
        elif key in STATES:
            assert found.pop(kind) == "end"
    if "button" in expect:
        assert found.pop("button") == "pulse"
    if expect.get("availability") is False or expect.get("bridge") == "offline" or "device_left" in expect:
        assert found.pop("offline") == "start"
    assert found == {}, "nothing that was not expected"
    health = [e.body for e in output.events if isinstance(e.body, DeviceHealth)]
    if "availability" in expect or "bridge" in expect:
        assert health[0].online is (expect.get("availability", expect.get("bridge") == "online"))
    assert next((h.battery_percent for h in health if h.battery_percent is not None), None) == expect.get("battery")
    numbers = {e.body.quantity.value: e.body.value for e in output.events if isinstance(e.body, Measurement)}
    wanted = {{"temperature_c": "temperature"}.get(k, k): v for k, v in expect.items() if k in ("temperature_c", "humidity", "illuminance")}
    assert numbers == wanted
    if expect.get("ignore") is True:
        assert output.events == []
    if "device" in expect:
        assert {e.device for e in output.events} == {f"zigbee2mqtt:{expect['device']}"}


def definition(*exposes: dict[str, Any], **more: str) -> list[dict[str, Any]]:
    return [{"ieee_address": "0x1", "friendly_name": "x", "definition": {"model": "m", "vendor": "v", "exposes": list(exposes), **more}}]


def taught(*exposes: dict[str, Any], **more: str) -> Zigbee2Mqtt:
    driver = Zigbee2Mqtt({}, None)
    driver.receive(frame("zigbee2mqtt/bridge/devices", definition(*exposes, **more)))
    return driver


@pytest.mark.parametrize(
    "name", ["emergency_overvoltage", "quick_sos_enabled", "fall_sensitivity", "occupancy_timeout", "beeper_on_leak", "smoke_detection"]
)
@pytest.mark.parametrize("taught_first", [True, False])
def test_names_that_only_look_like_alarms_are_none(name: str, taught_first: bool) -> None:
    exposes = {"type": "binary", "name": name, "property": name, "access": 3, "value_on": True, "value_off": False}
    driver = taught(exposes) if taught_first else Zigbee2Mqtt({}, None)
    assert occurrences(driver.receive(frame("zigbee2mqtt/x", {name: True}))) == {}


@pytest.mark.parametrize(("on", "off"), [(True, False), (False, True), ("ON", "OFF"), ("Leak", "Normal"), (1, 0), ("alarm", "clear")])
def test_a_binary_is_on_when_it_says_its_own_word(on: Any, off: Any) -> None:
    driver = taught({"type": "binary", "name": "water_leak", "property": "water_leak", "access": 1, "value_on": on, "value_off": off})
    assert occurrences(driver.receive(frame("zigbee2mqtt/x", {"water_leak": off}))) == {}
    assert occurrences(driver.receive(frame("zigbee2mqtt/x", {"water_leak": on}))) == {"water_leak": "start"}
    assert occurrences(driver.receive(frame("zigbee2mqtt/x", {"water_leak": off}))) == {"water_leak": "end"}


def test_two_endpoints_are_two_states() -> None:
    contact = {"type": "binary", "name": "contact", "access": 1, "value_on": False, "value_off": True}
    exposes = [contact | {"endpoint": e, "property": f"contact_{e}"}
               for e in ("l1", "l2")]  # fmt: skip
    output = taught(*exposes).receive(frame("zigbee2mqtt/x", {"contact_l1": False, "contact_l2": False}))
    assert [e.body.detail for e in output.events if isinstance(e.body, Occurrence)] == ["endpoint l1", "endpoint l2"]


def test_a_value_that_is_none_of_its_own_words_is_refused_alone() -> None:
    driver = taught(
        *({"type": "binary", "name": n, "property": n, "access": 1, "value_on": True, "value_off": False} for n in ("gas", "smoke"))
    )
    output = driver.receive(frame("zigbee2mqtt/x", {"gas": "purple", "smoke": True}))
    assert occurrences(output) == {"smoke": "start"} and len(output.rejects) == 1


def test_an_alarm_that_began_before_a_restart_ends_after_it() -> None:
    first, second = Zigbee2Mqtt({}, None), Zigbee2Mqtt({}, None)
    first.receive(frame("zigbee2mqtt/x", {"gas": True}))
    second.load(first.dump())
    assert occurrences(second.receive(frame("zigbee2mqtt/x", {"gas": False}))) == {"gas": "end"}


def test_the_list_of_devices_tells_each_model_once() -> None:
    driver = Zigbee2Mqtt({}, None)
    frames = [frame("zigbee2mqtt/bridge/devices", definition()) for _ in range(2)]
    assert [len(driver.receive(f).events) for f in frames] == [1, 0]


def test_the_base_topic_is_checked_and_subscribed() -> None:
    driver = Zigbee2Mqtt({"base": "home/z2m"}, None)
    assert isinstance(driver, Subscriber) and driver.topics() == ["home/z2m/#"]
    assert occurrences(driver.receive(frame("home/z2m/x", {"smoke": True}))) == {"smoke": "start"}
    for base in ("", "a/#", "/"):
        with pytest.raises(OptionError):
            Zigbee2Mqtt({"base": base}, None)


def test_no_name_is_an_alarm_and_a_number_by_chance() -> None:
    assert not {name for name in NUMBERS if name in BINARIES} - {"gas", "co", "carbon_monoxide", "noise"}


KEYS = [*BINARIES, *NUMBERS, "action", "status", "fall_down_status", "battery", "linkquality", "battery_state", "last_seen", "state"]
VALUES = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
          | st.sampled_from(["ON", "sos", "fall", "falling", "low", "on_the_bed"]) | st.lists(st.integers(), max_size=1))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8),
    st.booleans(),
    st.sampled_from(["binary", "numeric", "enum", "text", "list"]),
    st.booleans(),
)
def test_any_state_gives_events_or_rejects(state: dict[str, Any], known: bool, kind: str, retained: bool) -> None:
    driver = (
        taught(*({"type": kind, "name": n, "property": n, "access": 7, "unit": "%"} for n in state)) if known else Zigbee2Mqtt({}, None)
    )
    output = driver.receive(frame("zigbee2mqtt/x", state, retained))
    check_events(Zigbee2Mqtt, output.events)
    for event in seal(output.events, received_ms=1):
        event_json(event)
