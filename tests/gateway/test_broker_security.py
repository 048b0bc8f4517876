"""Southbound security on the embedded mosquitto: each device its own password, its own topics, its own client id."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from gateway.accounts import Accounts, TopicRights, covers, dismiss, enroll, fault_of, matches
from gateway.broker.embedded import acl
from gateway.errors import AnhuError
from tests.conftest import need
from tests.gateway.process import GatewayProcess, Mosquitto, Platform, free_port

DEVICES = """device,driver,subject
settop:tv-1,settop,r-1
settop:tv-2,settop,r-2
mqtt_json:gas-1,mqtt_json,r-1
"""
WORD = "a password for tests"


@asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[tuple[GatewayProcess, Platform, int]]:
    need("mosquitto")
    cloud, port, folder = Mosquitto(tmp_path / "cloud").start(), free_port(), tmp_path / "gw"
    folder.mkdir()
    for name in ("tv-1", "tv-2", "gas-1", "bridge"):
        enroll(folder / "accounts", name, WORD)
    sections = f"""
[mqtt]
broker = "mosquitto"
port = {port}
accounts_file = "accounts"
rights = {{ bridge = ["zigbee2mqtt/#"] }}
[[subscribe]]
driver = "settop"
[[subscribe]]
driver = "mqtt_json"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(folder, DEVICES, sections)
    try:
        async with Platform(cloud.port) as platform:
            gateway.start()
            yield gateway, platform, port
    finally:
        gateway.stop()
        cloud.stop()


def device(port: int, user: str, password: str = WORD, **more: Any) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, username=user, password=password, **{"identifier": user, **more})


def sos(ref: str) -> str:
    return json.dumps({"type": "sos", "ref": ref, "key": "red"})


def refs(platform: Platform) -> list[str]:
    return [event["data"]["ref"] for event in platform.events if event["data"].get("ref")]


async def test_a_device_can_neither_speak_for_another_nor_hear_it(tmp_path: Path) -> None:
    async with site(tmp_path) as (gateway, platform, port), device(port, "tv-1") as tv, device(port, "tv-2") as other:
        await tv.subscribe([("anhu/tv/tv-2/down", 1), ("anhu/#", 1), ("#", 1), ("anhu/tv/+/down", 1), ("anhu/tv/tv-1/down", 1)])
        await other.subscribe("anhu/tv/tv-2/down", qos=1)
        await tv.publish("anhu/tv/tv-2/up", sos("forged"), qos=1)
        await tv.publish("anhu/tv/tv-2/down", json.dumps({"type": "message", "text": "forged"}), qos=1)
        await tv.publish("anhu/tv/tv-1/up", sos("mine"), qos=1)
        await other.publish("anhu/tv/tv-2/up", sos("theirs"), qos=1)
        await platform.until(lambda: {"mine", "theirs"} <= set(refs(platform)))
        assert "forged" not in refs(platform)
        heard = set()
        try:
            async with asyncio.timeout(1):
                async for message in tv.messages:
                    heard.add(str(message.topic))
        except TimeoutError:
            pass
        assert heard == {"anhu/tv/tv-1/up", "anhu/tv/tv-1/down"}, "its own words and the answers to them, nothing of the neighbour"
        assert gateway.status()["frames"]["unknown"] == 0


async def test_only_enrolled_devices_come_in_and_a_dismissed_one_stays_out(tmp_path: Path) -> None:
    async with site(tmp_path) as (gateway, platform, port):
        for user, password in (("devices", "x"), ("tv-9", WORD), ("tv-1", "wrong"), ("gateway", WORD), ("", "")):
            with pytest.raises(aiomqtt.MqttError):
                async with device(port, user, password, identifier="intruder"):
                    pass
        enroll(gateway.folder / "accounts", "tv-9", WORD)
        for _ in range(60):
            try:
                async with device(port, "tv-9") as tv:
                    await tv.publish("anhu/tv/tv-9/up", sos("fresh"), qos=1)
                    break
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)
        else:
            raise AssertionError("an enrolled device must come in without a restart")
        dismiss(gateway.folder / "accounts", "tv-9")
        for _ in range(60):
            await asyncio.sleep(0.1)
            try:
                async with device(port, "tv-9"):
                    continue
            except aiomqtt.MqttError:
                break
        else:
            raise AssertionError("a dismissed device must stay out")
        assert not platform.kinds() or "sos" not in platform.kinds(), "tv-9 is not in the devices file"


async def test_a_client_id_of_another_throws_nobody_out_and_a_cloned_credential_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as (_, platform, port), device(port, "tv-1") as tv:
        async with device(port, "tv-2", identifier="tv-1") as thief:
            await thief.publish("anhu/tv/tv-2/up", sos("thief"), qos=1)
            await tv.publish("anhu/tv/tv-1/up", sos("still here"), qos=1)
        for _ in range(4):
            clone = device(port, "gas-1", identifier="a")
            await clone.__aenter__()
            twin = device(port, "gas-1", identifier="b")
            await twin.__aenter__()
            for client in (clone, twin):
                try:
                    await client.__aexit__(None, None, None)
                except aiomqtt.MqttError:
                    pass
        await platform.until(lambda: "identity_conflict" in platform.kinds())
        [conflict] = [e for e in platform.events if e["data"]["body"].get("kind") == "identity_conflict"]
        assert conflict["subject"] == "mqtt_json:gas-1"
        await platform.until(lambda: {"thief", "still here"} <= set(refs(platform)))


async def test_retained_messages_and_our_own_words_are_no_alarm(tmp_path: Path) -> None:
    async with site(tmp_path) as (gateway, platform, port), device(port, "tv-1") as tv:
        await tv.publish("anhu/tv/tv-1/up", sos("live"), qos=1, retain=True)
        await platform.until(lambda: refs(platform) == ["live"])
        await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(gateway.start)
        async with device(port, "tv-2") as other:
            await other.publish("anhu/tv/tv-2/up", sos("after"), qos=1)
            await platform.until(lambda: "after" in refs(platform))
        alarms = {event["id"] for event in platform.events if event["data"]["body"].get("kind") == "sos"}
        assert len(alarms) == 2, "what the broker kept is no second alarm"


async def test_an_account_with_rights_uses_those_and_no_others(tmp_path: Path) -> None:
    async with site(tmp_path) as (_, platform, port), device(port, "bridge") as bridge, device(port, "tv-1") as tv:
        await bridge.subscribe("zigbee2mqtt/#", qos=1)
        await tv.publish("zigbee2mqtt/kitchen/set", b"forged", qos=1)
        await bridge.publish("anhu/tv/tv-1/up", sos("forged"), qos=1)
        await bridge.publish("zigbee2mqtt/kitchen/get", b"own", qos=1)
        async with asyncio.timeout(5):
            async for message in bridge.messages:
                assert bytes(message.payload) == b"own"  # type: ignore[arg-type]
                break
        await tv.publish("anhu/tv/tv-1/up", sos("end"), qos=1)
        await platform.until(lambda: "end" in refs(platform))
        assert "forged" not in refs(platform)


@pytest.mark.parametrize("user", ["+", "#", "a/b", "a b", "tv\n1", "tv\x00", "", "x" * 65, "gateway", "devices", "a:b c", "电视"])
def test_ids_that_would_be_more_than_an_id_are_refused(tmp_path: Path, user: str) -> None:
    assert fault_of(user)
    with pytest.raises(AnhuError):
        enroll(tmp_path / "accounts", user)


def test_the_command_line_makes_changes_and_takes_credentials(tmp_path: Path) -> None:
    import sys

    def anhu(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "gateway.cli", "enroll", *args], capture_output=True, text=True)

    file = tmp_path / "accounts"
    made = json.loads(anhu("settop:tv-1", "--file", str(file)).stdout)
    accounts = Accounts(file)
    assert made["user"] == "tv-1"
    assert file.stat().st_mode & 0o777 == 0o600
    assert made["password"] not in file.read_text()
    assert accounts.check("tv-1", made["password"].encode()) == ("tv-1", None, False)
    again = json.loads(anhu("tv-1", "--file", str(file)).stdout)
    assert accounts.check("tv-1", made["password"].encode()) is None, "a new credential ends the old one"
    assert accounts.check("tv-1", again["password"].encode()) is not None
    refused = anhu("tv+1", "--file", str(file))
    assert (refused.returncode, "Try:" in refused.stderr) == (1, True)
    assert anhu("tv-1", "--file", str(file), "--remove").returncode == 0
    assert accounts.check("tv-1", again["password"].encode()) is None
    assert anhu("tv-1", "--file", str(file), "--remove").returncode == 1


def test_rights_of_mosquitto_are_those_of_the_drivers() -> None:
    topics = TopicRights(lambda: ["anhu/tv/+/up", "anhu/dev/+/up", "homeassistant/#", "hall/gas-1/state"])
    assert acl(["tv-1", "z"], {"z": ["zigbee2mqtt/#"]}, topics) == [
        "user tv-1", "topic write anhu/tv/tv-1/up", "topic write anhu/dev/tv-1/up", "topic write homeassistant/tv-1/#",
        "topic read anhu/tv/tv-1/#", "topic read anhu/dev/tv-1/#", "topic read homeassistant/tv-1/#", "",
        "user z", "topic readwrite zigbee2mqtt/#", "",
    ]  # fmt: skip
    assert "topic write hall/gas-1/state" in acl(["gas-1"], {}, topics)


@pytest.mark.parametrize(
    ("right", "pattern", "covered"),
    [("a/#", "a/+/b", True), ("a/+/b", "a/x/b", True), ("a/+", "a/#", False), ("a/b/#", "a/+/#", False), ("#", "$SYS/#", False),
     ("a/b/#", "a/b", True), ("a/b", "a/b/c", False), ("a/+/c", "a/+/+", False)],
)  # fmt: skip
def test_a_filter_is_covered_only_when_all_of_it_is(right: str, pattern: str, covered: bool) -> None:
    assert covers(right, pattern) is covered
    if covered:
        assert matches(right, pattern.replace("+", "x").replace("#", "y/z"))
