"""Commands of a platform over MQTT: where their answers go (response topics), and such as nobody can use."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.gateway.process import Platform
from tests.gateway.test_slow_disk import resident_mb
from tests.gateway.test_upstream import ROOT, of_kind, site, until

DATA = b"\x00request 7\xff"


def properties(topic: str) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    made.ResponseTopic = topic
    made.CorrelationData = DATA
    return made


def command(ident: str) -> str:
    kind = "cn.anhu.cmd.locate.v1"
    return json.dumps({"specversion": "1.0", "id": ident, "source": "/p", "type": kind, "subject": "watch:8800000015", "data": {}})


@pytest.mark.parametrize("link", ["native", "paho"])
async def test_answers_go_to_the_response_topic_but_never_where_events_of_gateways_stand(tmp_path: Path, link: str) -> None:
    async with site(tmp_path, f'commands = ["locate"]\n[mqtt]\nlink = "{link}"') as s:
        s.gateway.start()
        await until(lambda: s.uplink()["connected"])
        async with aiomqtt.Client("127.0.0.1", s.cloud.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("#", qos=1)
            topics = ["platform/answers/7", "anhu/v1/anhu/gw-other/evt/alarm", f"{ROOT}/birth", "platform/+/x", "$SYS/x", "platform/last"]
            for number, topic in enumerate(topics):
                await client.publish(f"{ROOT}/cmd/req", command(f"c-{number}"), qos=1, properties=properties(topic))
            heard: dict[str, list[tuple[dict[str, Any], bytes | None]]] = {}
            async with asyncio.timeout(20):
                async for message in client.messages:
                    data = getattr(message.properties, "CorrelationData", None)
                    if str(message.topic) not in (f"{ROOT}/cmd/req", f"{ROOT}/birth"):
                        payload = json.loads(bytes(message.payload))  # type: ignore[arg-type]  # aiomqtt gives bytes
                        heard.setdefault(str(message.topic), []).append((payload, data))
                    if "platform/last" in heard:
                        break
    (answer, data), *_ = heard["platform/answers/7"]
    assert (answer["id"], answer["status"], data) == ("c-0", "accepted", DATA)
    assert base64.b64decode(answer["correlation"]) == DATA
    # A wildcard in a response topic is malformed. mosquitto forwards it; the link passes over it and must not lose its connection.
    usable = {f"c-{number}" for number in range(len(topics)) if link == "paho" or "+" not in topics[number]}
    assert {each["id"] for each, _ in heard[f"{ROOT}/cmd/res"]} == usable
    assert len([each for each, _ in heard[f"{ROOT}/cmd/res"] if each["status"] == "duplicate"]) == 0
    assert "anhu/v1/anhu/gw-other/evt/alarm" not in heard
    assert {topic for topic in heard if topic.startswith(("platform", "$"))} == {"platform/answers/7", "platform/last"}


@pytest.mark.parametrize("version", ["3.1.1", pytest.param("5", marks=pytest.mark.slow)])
async def test_an_enormous_command_costs_no_memory_and_no_connection(tmp_path: Path, version: str) -> None:
    async with site(tmp_path, f'commands = ["locate"]\nversion = "{version}"') as s:
        s.gateway.start()
        await until(lambda: s.uplink()["connected"])
        before = resident_mb(s.gateway)
        async with Platform(s.cloud.port) as platform:
            await platform.publish(f"{ROOT}/cmd/req", bytes(30_000_000))
            await platform.publish(f"{ROOT}/cmd/req", command("c-after"))
            await platform.until(lambda: any(b'"c-after"' in payload for topic, payload in platform.other if topic.endswith("/cmd/res")))
            await s.alarms(0, 0)
            await platform.until(lambda: bool(of_kind(platform, "sos")))
        assert resident_mb(s.gateway) - before < 20
        assert s.uplink()["connected"]
