"""The whole gateway in its own process, real brokers, bytes on real sockets and ptys."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.process import GatewayProcess, Mosquitto, Platform, free_port

DEVICES = """device,driver,subject,name,place
watch:8800000015,watch,r-1,王阿姨,301
watch:8800000016,watch,r-2,李大爷,302
settop:tv-1,settop,r-1,电视,客厅
mqtt_json:gas-1,mqtt_json,r-1,燃气,厨房
micradar:bath,micradar,r-1,雷达,卫生间
"""
LK = b"[3G*8800000015*0002*LK]"
BODY = "AL,211126,083012,V,0,N,0,E,0,0,0,0,0,22,0,0,00010001,0,0,0"
SOS = f"[3G*8800000015*{len(BODY):04x}*{BODY}]".encode()


class Site:
    """A gateway, the platform's broker and the ports that devices use."""

    def __init__(self, folder: Path, cloud: Mosquitto, gateway: GatewayProcess, tcp: int, mqtt: int) -> None:
        self.folder, self.cloud, self.gateway, self.tcp, self.mqtt = folder, cloud, gateway, tcp, mqtt

    @property
    def device_password(self) -> str:
        return (self.gateway.data / "secrets" / "mqtt-devices").read_text().strip()


@asynccontextmanager
async def site(tmp_path: Path, *, version: str = "5", extra: str = "", broker: str = "mosquitto") -> AsyncIterator[Site]:
    cloud = Mosquitto(tmp_path / "cloud").start()
    tcp, mqtt = free_port(), free_port()
    sections = f"""
[mqtt]
broker = "{broker}"
port = {mqtt}
[[subscribe]]
driver = "mqtt_json"
[[subscribe]]
driver = "settop"
[[listen]]
port = {tcp}
driver = "auto"
host = "127.0.0.1"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
version = "{version}"
{extra}
"""
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)
    try:
        yield Site(tmp_path, cloud, gateway, tcp, mqtt)
    finally:
        gateway.close()
        cloud.stop()
        os.system(f"pkill -f {tmp_path}/gw/data/broker")


async def exchange(port: int, data: bytes, *, until: bytes = b"]", timeout_s: float = 5) -> bytes:
    """Send, and what comes back up to `until`; empty when nothing comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readuntil(until), timeout_s)
    except TimeoutError:
        return b""
    finally:
        writer.close()


def has(platform: Platform, kind: str) -> bool:
    return kind in platform.kinds()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_an_sos_without_a_fix_on_a_low_battery_reaches_the_platform_as_a_cloudevent(tmp_path: Path, version: str) -> None:
    async with site(tmp_path, version=version) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        assert await exchange(s.tcp, LK + SOS, until=b"*AL]") == LK + b"[3G*8800000015*0002*AL]"
        await platform.until(lambda: has(platform, "sos"))
        event = next(e for e in platform.events if e["type"] == "cn.anhu.alarm.sos.v1")
        assert event["specversion"] == "1.0"
        assert event["source"] == "/anhu/anhu/gw/gw-test/alarm"
        assert event["subject"] == "watch:8800000015"
        assert event["partitionkey"] == "r-1"
        assert event["severitynumber"] == 4
        assert event["sequence"] == f"{1:020d}"
        assert event["time"] == "2026-11-21T08:30:12.000Z"
        assert event["id"] == event["data"]["id"]
        assert event["data"]["body"] == {"type": "occurrence", "kind": "sos", "state": "start"}
        [birth] = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/birth")][-1:]
        assert birth["online"] is True
        assert s.gateway.stop() == 0


async def test_alarms_of_an_outage_come_after_it_and_fresh_ones_first(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.gateway.start()
        s.cloud.stop(signal.SIGKILL)
        assert await exchange(s.tcp, LK + SOS, until=b"*AL]")
        assert s.gateway.status()["events"]["alarm"] >= 1, "stored while the platform is away"
        s.gateway.kill()
        s.cloud.start()
        async with Platform(s.cloud.port) as platform:
            # Only now: a broker to which nobody listens yet takes what it is sent and forgets it.
            s.gateway.start()
            await platform.until(lambda: has(platform, "sos"), 40)
            assert next(e for e in platform.events if "sos" in e["type"])["replayed"] is True


async def test_a_stranger_gets_no_answer_and_is_listed(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.gateway.start()
        assert await exchange(s.tcp, b"[3G*9900000015*0002*LK]", timeout_s=0.5) == b""
        frames = s.gateway.status()["frames"]
        assert (frames["unknown"], frames["balanced"]) == (1, True)


async def test_garbage_on_the_port_hurts_nobody(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.gateway.start()
        good = await asyncio.open_connection("127.0.0.1", s.tcp)
        abusers = [await asyncio.open_connection("127.0.0.1", s.tcp) for _ in range(20)]
        for index, (_, writer) in enumerate(abusers):
            writer.write([b"\xff" * 300_000, b"[3G*", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 500, b"[" * 100_000][index % 5])
        good[1].write(LK)
        assert await asyncio.wait_for(good[0].readexactly(len(LK)), 5) == LK
        for _, writer in [*abusers, good]:
            writer.close()
        assert await exchange(s.tcp, LK) == LK
        frames = s.gateway.status()["frames"]
        assert frames["balanced"], frames


async def test_a_reminder_reaches_the_tv_and_its_confirmation_the_platform(tmp_path: Path) -> None:
    import aiomqtt

    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        # Ready means that our own broker has our subscriptions: what a device says from now on is heard.
        assert s.gateway.status()["broker"]["connected"]
        tv = aiomqtt.Client("127.0.0.1", s.mqtt, username="devices", password=s.device_password, identifier="tv-1")
        async with tv:
            await tv.subscribe("anhu/tv/tv-1/down", qos=1)
            await tv.publish("anhu/tv/tv-1/up", json.dumps({"type": "sos", "ref": "k1", "key": "red"}), qos=1)
            await platform.until(lambda: has(platform, "sos"))
            await ask(platform, "m1", "remind", "settop:tv-1", {"text": "吃药", "kind": "medicine"})
            async for message in tv.messages:
                shown = json.loads(bytes(message.payload))
                if shown.get("type") == "remind":
                    break
            answer = {"type": "reminder", "ref": "k2", "re": shown["id"], "answer": "confirm", "kind": "medicine"}
            await tv.publish("anhu/tv/tv-1/up", json.dumps(answer), qos=1)
            await platform.until(lambda: "done" in statuses(platform, "m1"))
        assert statuses(platform, "m1")[0] == "accepted"
        await platform.until(lambda: has(platform, "reminder_confirmed"))
        await ask(platform, "m1", "remind", "settop:tv-1", {"text": "吃药"})
        await platform.until(lambda: statuses(platform, "m1")[-1] == "duplicate")


async def test_commands_that_must_not_be_are_refused_with_the_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await platform.until(lambda: any(topic.endswith("/birth") for topic, _ in platform.other))
        await ask(platform, "d1", "power_off", "watch:8800000015", {})
        await ask(platform, "d2", "locate", "watch:8800000015", {"speed": 3})
        await ask(platform, "d3", "dance", "watch:8800000015", {})
        await ask(platform, "d4", "locate", "watch:8800000015", {}, ttlms=1)
        await platform.publish("anhu/v1/anhu/gw-test/cmd/req", b"\xff\x00 no json")
        await ask(platform, "d5", "locate", "watch:8800000015", {}, retain=True)
        await platform.until(lambda: len([1 for topic, _ in platform.other if topic.endswith("/cmd/res")]) >= 6)
        assert "dangerous" in detail(platform, "d1")
        assert "takes none" in detail(platform, "d2")
        assert "one of" in detail(platform, "d3")
        await platform.until(lambda: statuses(platform, "d4")[-1] == "expired")
        answers = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/cmd/res")]
        assert any("JSON expected" in (answer.get("detail") or "") for answer in answers)
        assert statuses(platform, "d5")[:1] in ([], ["accepted"]), "delivered live it is a command like any other"


async def test_a_broker_that_dies_is_started_again_and_devices_go_on(tmp_path: Path) -> None:
    import aiomqtt

    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        pid = int((s.gateway.data / "broker" / "broker.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        for _ in range(200):
            await asyncio.sleep(0.05)
            broker = s.gateway.status()["broker"]
            if broker["restarts"] == 1 and broker["connected"]:
                break
        client = aiomqtt.Client("127.0.0.1", s.mqtt, username="devices", password=s.device_password, identifier="gas-1")
        async with client:
            await client.publish("anhu/dev/gas-1/up", json.dumps({"id": "g1", "kind": "gas", "state": "start"}), qos=1)
            await platform.until(lambda: has(platform, "gas"))
        [gas] = [event["data"] for event in platform.events if event["data"]["body"].get("kind") == "gas"]
        assert gas["ref"] == "g1"


async def test_without_mosquitto_the_wheel_serves_the_devices(tmp_path: Path) -> None:
    import aiomqtt

    async with site(tmp_path, broker="nats") as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        assert s.gateway.status()["broker"]["kind"] == "nats"
        client = aiomqtt.Client("127.0.0.1", s.mqtt, username="devices", password=s.device_password, identifier="gas-1")
        async with client:
            await client.publish("anhu/dev/gas-1/up", json.dumps({"id": "n1", "kind": "gas", "state": "start"}), qos=1)
            await platform.until(lambda: has(platform, "gas"))
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", s.mqtt, username="devices", password="guess"):
                pass


async def test_who_says_nothing_or_half_a_frame_for_ever_is_closed(tmp_path: Path) -> None:
    port = free_port()
    extra = f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\nlogin_s = 1\n'
    async with site(tmp_path, extra=extra) as s:
        s.gateway.start()
        silent = await asyncio.open_connection("127.0.0.1", port)
        half = await asyncio.open_connection("127.0.0.1", port)
        half[1].write(LK[:-5])
        for reader, writer in (silent, half):
            assert await asyncio.wait_for(reader.read(), 15) == b""
            writer.close()
        ports = {row["port"]: row for row in s.gateway.status()["ports"]}
        assert ports[port]["closed: no login"] == 2


async def test_wrong_topics_and_huge_payloads_are_counted_not_served(tmp_path: Path) -> None:
    import aiomqtt

    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        client = aiomqtt.Client("127.0.0.1", s.mqtt, username="devices", password=s.device_password, identifier="x")
        async with client:
            await client.publish("anhu/dev/" + "x" * 60_000 + "/up", b"{}", qos=1)
            await client.publish("anhu/dev/bad id/up", b"{}", qos=1)
            await client.publish("anhu/dev/gas-1/up", b"\xff" * 900_000, qos=1)
            await client.publish("anhu/dev/gas-1/up", json.dumps({"id": "g2", "kind": "smoke", "state": "start"}), qos=1)
            await platform.until(lambda: has(platform, "smoke"))
        frames = s.gateway.status()["frames"]
        assert frames["balanced"]
        assert frames["rejected"] + frames["unknown"] == 3


async def test_a_serial_port_that_vanishes_is_told_and_found_again(tmp_path: Path) -> None:
    line = tmp_path / "radar"
    near, far = os.openpty()
    tty.setraw(near)
    tty.setraw(far)
    line.symlink_to(os.ttyname(far))
    extra = f'[[serial]]\nport = "{line}"\ndriver = "micradar"\ndevice = "bath"\n'
    fall = bytes.fromhex("53598301000101325443")

    def said(online: bool) -> bool:
        return any(e["data"]["body"].get("online") is online and e["data"]["device"] == "micradar:bath" for e in platform.events)

    async with site(tmp_path, extra=extra) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await platform.until(lambda: said(True))
        os.write(near, fall)
        await platform.until(lambda: has(platform, "fall"))
        line.unlink()
        os.close(near)
        os.close(far)
        await platform.until(lambda: said(False))
        near, far = os.openpty()
        tty.setraw(near)
        tty.setraw(far)
        line.symlink_to(os.ttyname(far))
        count = len(platform.events)
        await platform.until(lambda: any(e["data"]["body"].get("online") is True for e in platform.events[count:]), 30)
        os.close(near)
        os.close(far)


async def ask(platform: Platform, ident: str, verb: str, device: str, args: dict[str, Any], *, retain: bool = False, **more: Any) -> None:
    request = {"specversion": "1.0", "id": ident, "source": "/city", "type": f"cn.anhu.cmd.{verb}.v1", "subject": device, **more}
    await platform.publish("anhu/v1/anhu/gw-test/cmd/req", json.dumps({**request, "data": {"args": args}}), retain=retain)


def statuses(platform: Platform, ident: str) -> list[str]:
    answers = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/cmd/res")]
    return [answer["status"] for answer in answers if answer["id"] == ident]


def detail(platform: Platform, ident: str) -> str:
    answers = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/cmd/res")]
    return next(str(answer.get("detail")) for answer in answers if answer["id"] == ident)
