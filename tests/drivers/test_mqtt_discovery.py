"""mqtt_discovery driver: every shared row, learning, floods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import DeviceHealth, Frame, Instant, Measurement, Occurrence, OptionError, Output, Subscriber, Transport
from drivers.conformance import check_events
from drivers.events import event_json, seal
from drivers.mqtt_discovery.driver import MqttDiscovery
from tests.shared import vectors

NOW = Instant(1795336215000, 1.0)
CAPABILITIES = {"presence": "presence", "motion": "motion", "gas": "gas", "co": "co_alarm", "smoke": "smoke", "leak": "water_leak",
                "open": "door_open", "vibration": "vibration", "safety": "fall", "tamper": "tamper", "battery_low": "low_battery",
                "problem": "fault"}  # fmt: skip
CLASSES = {"temperature": "temperature", "humidity": "humidity", "carbon_dioxide": "co2", "carbon_monoxide": "co", "distance": "distance",
           "illuminance": "illuminance"}  # fmt: skip


def frame(topic: str, payload: Any, retained: bool = False) -> Frame:
    data = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    return Frame(data=data, received=NOW, transport=Transport.MQTT, topic=topic, retained=retained)


def occurrences(output: Output) -> dict[str, str]:
    return {e.body.kind.value: e.body.state.value for e in output.events if isinstance(e.body, Occurrence)}


def numbers(output: Output) -> dict[str, float]:
    return {e.body.quantity.value: e.body.value for e in output.events if isinstance(e.body, Measurement)}


def health(output: Output) -> DeviceHealth:
    return next((e.body for e in output.events if isinstance(e.body, DeviceHealth)), DeviceHealth())


@pytest.mark.parametrize("row", vectors("vectors/sensor/mqtt_discovery.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    driver, expect = MqttDiscovery({}, None), row["expect"]
    output = driver.receive(frame(row["topic"], row["payload"]))
    assert bool(output.rejects) is (expect.get("ok") is False)
    if "capability" in expect:
        assert {expect["state_topic"], expect["availability_topic"]} <= set(driver.topics())
        told = driver.receive(frame(expect["state_topic"], "ON"))
        assert occurrences(told) == {CAPABILITIES[expect["capability"]]: "start"}
        assert told.device == f"mqtt_discovery:{expect['device_id']}"
    elif "json_path" in expect:
        told = driver.receive(frame(json.loads(row["payload"])["state_topic"], {expect["json_path"][0]: 12}))
        if expect["device_class"] == "battery":
            assert health(told).battery_percent == 12
        else:
            assert numbers(told) == {CLASSES[expect["device_class"]]: 12}
    elif "components" in expect:
        assert occurrences(driver.receive(frame("r102/fall", "ON"))) == {"fall": "start"}
        assert numbers(driver.receive(frame("r102/hr", {"hr": 61}))) == {"heart_rate": 61}
    if "availability" in expect:
        assert health(output).online is expect["availability"]
        assert occurrences(output) == ({} if expect["availability"] else {"offline": "start"})
    fields = {"humidity": "humidity", "temperature_c": "temperature"}
    assert all(numbers(output)[name] == expect[key] for key, name in fields.items() if key in expect)
    if "temperature_f" in expect:
        assert numbers(output)["temperature"] == pytest.approx(21.111, abs=1e-3)
    if "switch1" in expect or "button1" in expect or "rf433" in expect:
        assert set(occurrences(output)) == {"button"}
    if "occupancy" in expect or "motion" in expect:
        assert occurrences(output) == {"motion": "start"}
    if "device" in expect or "address" in expect:
        assert output.device == f"mqtt_discovery:{expect.get('device', expect.get('address'))}"
    if "rssi" in expect:
        assert health(output).rssi_dbm == expect["rssi"]
    if expect.get("entity") == "fall":
        assert occurrences(output) == {"fall": "start"}
    if expect.get("state", 0) is None or expect.get("ignore") or expect.get("removed"):
        assert output.events == []


def gas(name: str = "g", **more: Any) -> Frame:
    return frame(
        f"homeassistant/binary_sensor/{name}/config", {"stat_t": f"s/{name}", "dev_cla": "gas", "dev": {"ids": name}, **more}, True
    )


def test_topics_are_learned_and_forgotten() -> None:
    driver = MqttDiscovery({}, None)
    assert isinstance(driver, Subscriber)
    before = driver.topics()
    driver.receive(gas())
    assert set(driver.topics()) - set(before) == {"s/g"}
    driver.receive(frame("homeassistant/binary_sensor/g/config", "", True))
    assert driver.topics() == before


def test_an_announcement_cannot_make_us_read_our_own_topics() -> None:
    driver = MqttDiscovery({}, None)
    driver.receive(gas(stat_t="anhu/up/alarm", avty_t="anhu/x"))
    assert not any(topic.startswith("anhu/") for topic in driver.topics())


def test_a_flood_of_announcements_is_bounded() -> None:
    driver = MqttDiscovery({}, None)
    outputs = [driver.receive(gas(f"g{n}")) for n in range(5005)]
    assert [bool(output.rejects) for output in outputs[-6:]] == [False, True, True, True, True, True]


def test_two_entities_on_one_topic_do_not_cost_each_other() -> None:
    driver = MqttDiscovery({}, None)
    driver.receive(gas("a", stat_t="one", val_tpl="{{ value_json.gas }}"))
    driver.receive(
        frame(
            "homeassistant/sensor/t/config",
            {"stat_t": "one", "dev_cla": "temperature", "val_tpl": "{{ value_json.t }}", "dev": {"ids": "a"}},
        )
    )
    output = driver.receive(frame("one", {"t": "hot", "gas": True}))
    assert occurrences(output) == {"gas": "start"} and len(output.rejects) == 1


def test_doubles_of_zigbee2mqtt_are_taken_where_wanted() -> None:
    driver = MqttDiscovery({"ignore_zigbee2mqtt": False}, None)
    driver.receive(gas(o={"name": "Zigbee2MQTT"}))
    assert occurrences(driver.receive(frame("s/g", "ON"))) == {"gas": "start"}


def test_an_alarm_that_began_before_a_restart_ends_after_it() -> None:
    first, second = MqttDiscovery({}, None), MqttDiscovery({}, None)
    for driver in (first, second):
        driver.receive(gas())
    first.receive(frame("s/g", "ON"))
    second.load(first.dump())
    assert occurrences(second.receive(frame("s/g", "OFF"))) == {"gas": "end"}


@pytest.mark.parametrize(
    "options", [{"prefix": "a/#"}, {"gateway_base": ""}, {"codes": {"1": "sso"}}, {"inputs": {"t.Switch1": "incident"}}]
)
def test_wrong_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        MqttDiscovery(options, None)


TOPICS = [
    "tele/t/SENSOR", "stat/t/RESULT", "home/o/BTtoMQTT/AA", "home/o/433toMQTT", "home/o/SYStoMQTT", "n/binary_sensor/fall/state",
    "s/g", "tasmota/discovery/x/config", "n/status", "home/o/LWT",
]  # fmt: skip
KEYS = [
    "Switch1", "Button1", "Action", "AM2301", "Temperature", "Humidity", "ZbReceived", "0x1", "Name", "Occupancy", "BatteryPercentage",
    "Wifi", "Signal", "id", "rssi", "pres", "tempc", "batt", "value", "length", "uptime", "version", "t", "ft", "tp", "event_type",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TOPICS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=6), max_leaves=12,
), st.booleans())  # fmt: skip
def test_any_payload_gives_events_or_rejects(topic: str, payload: Any, retained: bool) -> None:
    driver = MqttDiscovery({}, None)
    driver.receive(gas())
    output = driver.receive(frame(topic, payload, retained))
    check_events(MqttDiscovery, output.events)
    for event in seal(output.events, received_ms=1):
        event_json(event)
