"""The contract with a platform, over a real broker: acknowledgements, undelivered alarms, TLS, registry, commands of people, dead links."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.certificates import Authority
from tests.gateway.process import GatewayProcess, Mosquitto, Platform, free_port

ROOT = "anhu/v1/anhu/gw-test"
DEVICES = """device,driver,subject,place
watch:8800000015,watch,r-1,301
watch:8800000016,watch,r-2,302
"""
LK = b"[3G*8800000015*0002*LK]"


def sos(number: int) -> bytes:
    body = f"AL,211126,{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d},V,0,N,0,E,0,0,0,0,0,22,0,0,00010000,0,0,0"
    return f"[3G*8800000015*{len(body):04x}*{body}]".encode()


class Site:
    def __init__(self, cloud: Mosquitto, gateway: GatewayProcess, port: int) -> None:
        self.cloud, self.gateway, self.port = cloud, gateway, port

    async def alarms(self, first: int, last: int) -> None:
        """Alarms first..last, each acknowledged to the device."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(LK)
        await asyncio.wait_for(reader.readuntil(b"]"), 5)
        for number in range(first, last + 1):
            writer.write(sos(number))
            while not (await asyncio.wait_for(reader.readuntil(b"]"), 10)).endswith(b"*AL]"):
                pass
        writer.close()

    def uplink(self) -> dict[str, Any]:
        return dict(self.gateway.status()["uplinks"][0])


@asynccontextmanager
async def site(tmp_path: Path, uplink: str = "", *, cloud: Mosquitto | None = None, port: int = 0) -> AsyncIterator[Site]:
    cloud = cloud or Mosquitto(tmp_path / "cloud").start()
    listen = free_port()
    sections = f"""
[[listen]]
port = {listen}
driver = "watch"
host = "127.0.0.1"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {port or cloud.port}
{uplink}
"""
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)
    try:
        yield Site(cloud, gateway, listen)
    finally:
        gateway.close()
        cloud.stop(signal.SIGKILL)


def of_kind(platform: Platform, kind: str) -> list[dict[str, Any]]:
    return [event for event in platform.events if event["data"]["body"].get("kind") == kind]


async def ack(platform: Platform, upto: int, missing: list[Any] | None = None, lane: str = "alarm") -> None:
    await platform.publish(f"{ROOT}/ack", json.dumps({"lane": lane, "upto": upto, "missing": missing or []}))


async def test_the_platform_decides_what_is_delivered(tmp_path: Path) -> None:
    async with site(tmp_path, 'ack = "application"\nalarm_ack_s = 30.0') as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 4)
        await platform.until(lambda: len(of_kind(platform, "sos")) == 5)
        top = max(int(event["sequence"]) for event in platform.events if event["source"].endswith("/alarm"))
        count = len(platform.events)
        await ack(platform, top, [2, [3, 3]])
        await platform.until(
            lambda: sorted(int(e["sequence"]) for e in platform.events[count:] if e["source"].endswith("/alarm")) == [2, 3]
        )
        await ack(platform, top)
        await until(lambda: s.uplink()["waiting"]["alarm"] == 0)
        count = len(platform.events)
        await ack(platform, top, [1])
        await platform.until(lambda: [int(e["sequence"]) for e in platform.events[count:]] == [1])
        assert s.uplink()["acks_refused"] == 0


async def test_the_same_alarm_again_and_again_is_one_alarm_and_each_is_acknowledged(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        for life in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(LK)
            async with asyncio.timeout(60):
                for _ in range(50):
                    writer.write(sos(7))
                    while not (await reader.readuntil(b"]")).endswith(b"*AL]"):
                        pass
            writer.close()
            if not life:
                await asyncio.to_thread(s.gateway.kill)
                await asyncio.to_thread(s.gateway.start)
        await s.alarms(8, 8)
        await platform.until(lambda: len({event["id"] for event in of_kind(platform, "sos")}) >= 2)
        assert len({event["id"] for event in of_kind(platform, "sos")}) == 2


async def test_acknowledgements_that_cannot_be_are_refused_and_counted(tmp_path: Path) -> None:
    async with site(tmp_path, 'ack = "application"\nalarm_ack_s = 30.0') as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 1)
        await platform.until(lambda: len(of_kind(platform, "sos")) == 2)
        bad: list[bytes | str] = [
            b"\xff\xfe",
            "[]",
            "{}",
            '{"lane":"alarm"}',
            '{"lane":"alarm","upto":"2"}',
            '{"lane":"alarm","upto":99999}',
            '{"lane":"alarm","upto":2,"missing":[[2,1]]}',
            '{"lane":"alarm","upto":2,"storeepoch":"0000"}',
            '{"lane":"other","upto":2}',
            "[" * 50_000,
        ]
        for payload in bad:
            await platform.publish(f"{ROOT}/ack", payload)
        await platform.publish(f"{ROOT}/ack", '{"lane":"alarm","upto":-4,"missing":[-7, 0]}')
        await until(lambda: s.uplink()["acks_refused"] == len(bad))
        assert s.uplink()["waiting"]["alarm"] >= 2


async def test_an_alarm_that_nobody_acknowledges_is_told_as_undelivered_and_sent_again(tmp_path: Path) -> None:
    async with site(tmp_path, 'ack = "application"\nalarm_ack_s = 0.5') as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 0)
        await platform.until(lambda: bool(of_kind(platform, "undelivered")))
        first = of_kind(platform, "sos")[0]
        told = of_kind(platform, "undelivered")[0]
        assert told["causationid"] == first["id"]
        assert told["partitionkey"] == "r-1"
        assert told["data"]["body"]["state"] == "start"
        await platform.until(lambda: len([e for e in platform.events if e["id"] == first["id"]]) >= 2)
        top = max(int(event["sequence"]) for event in platform.events if event["source"].endswith("/alarm"))
        await ack(platform, top)
        await platform.until(lambda: any(e["data"]["body"]["state"] == "end" for e in of_kind(platform, "undelivered")))


async def test_an_alarm_is_undelivered_while_the_link_is_down_even_across_a_restart(tmp_path: Path) -> None:
    async with site(tmp_path, "alarm_ack_s = 2.0") as s:
        s.cloud.stop(signal.SIGKILL)
        s.gateway.start()
        await s.alarms(0, 0)
        await asyncio.to_thread(s.gateway.kill)
        await asyncio.to_thread(s.gateway.start)
        await until(lambda: s.gateway.status()["undelivered_alarms"]["city"] == 1)
        assert stored(s, "undelivered")


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_mutual_tls_against_a_real_broker(tmp_path: Path, version: str) -> None:
    ca = Authority(tmp_path / "ca")
    server, client = ca.issue("server", host="127.0.0.1"), ca.issue("gateway")
    cloud = Mosquitto(tmp_path / "cloud")
    tls_port = free_port()
    with cloud._conf.open("a") as conf:
        conf.write(
            f"listener {tls_port} 127.0.0.1\ncafile {ca.file}\ncertfile {server[0]}\nkeyfile {server[1]}\nrequire_certificate true\n"
        )
    cloud.start()
    keys = f'version = "{version}"\nca_file = "{ca.file}"\ncert_file = "{client[0]}"\nkey_file = "{client[1]}"'
    async with site(tmp_path, keys, cloud=cloud, port=tls_port) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 0)
        await platform.until(lambda: len(of_kind(platform, "sos")) == 1)


@pytest.mark.parametrize("fault", ["other_ca", "wrong_name", "expired", "no_client_certificate"])
async def test_a_broker_that_does_not_prove_itself_gets_nothing(tmp_path: Path, fault: str) -> None:
    ca, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "somebody else")
    host, days = ("127.0.0.9" if fault == "wrong_name" else "127.0.0.1"), (-1 if fault == "expired" else 10)
    server = ca.issue("server", host=host, days=days - 1 if fault == "expired" else days)
    client = ca.issue("gateway")
    cloud = Mosquitto(tmp_path / "cloud")
    tls_port = free_port()
    with cloud._conf.open("a") as conf:
        conf.write(
            f"listener {tls_port} 127.0.0.1\ncafile {ca.file}\ncertfile {server[0]}\nkeyfile {server[1]}\nrequire_certificate true\n"
        )
    cloud.start()
    trusted = other.file if fault == "other_ca" else ca.file
    keys = f'ca_file = "{trusted}"' + ("" if fault == "no_client_certificate" else f'\ncert_file = "{client[0]}"\nkey_file = "{client[1]}"')
    async with site(tmp_path, keys, cloud=cloud, port=tls_port) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 0)
        await asyncio.sleep(1.0)
        assert platform.events == []
        assert s.uplink()["connected"] is False
        assert stored(s, "sos")


class Hole:
    """A relay that can stop passing bytes in either direction without closing anything."""

    def __init__(self, port: int) -> None:
        self.target, self.port = port, free_port()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.connects = 0

    async def __aenter__(self) -> Hole:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._tasks |= {asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.is_open.wait()
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@pytest.mark.parametrize("keepalive", [5, pytest.param(12, marks=pytest.mark.slow)])
async def test_a_black_hole_is_noticed_and_nothing_is_lost_in_it(tmp_path: Path, keepalive: int) -> None:
    cloud = Mosquitto(tmp_path / "cloud").start()
    settings = f"keepalive_s = {keepalive}"
    async with Hole(cloud.port) as hole, site(tmp_path, settings, cloud=cloud, port=hole.port) as s, Platform(cloud.port) as platform:
        await asyncio.to_thread(s.gateway.start)
        await s.alarms(0, 0)
        await platform.until(lambda: len(of_kind(platform, "sos")) == 1)
        hole.is_open.clear()
        begun = time.monotonic()
        await s.alarms(1, 3)
        while (await asyncio.to_thread(s.uplink))["connected"]:
            await asyncio.sleep(0.1)
            assert time.monotonic() - begun < 30, "a dead link must be noticed within 30 s"
        hole.is_open.set()
        await platform.until(lambda: len({e["id"] for e in of_kind(platform, "sos")}) == 4, 40)


async def test_the_registry_is_told_in_full_after_every_connect_and_assignments_rule(tmp_path: Path) -> None:
    async with site(tmp_path, "assigns = true") as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await platform.until(lambda: bool(messages(platform, "registry")) and bool(messages(platform, "birth")))
        chunk, birth = messages(platform, "registry")[-1], messages(platform, "birth")[-1]
        assert [row["device"] for row in chunk["devices"]] == ["watch:8800000015", "watch:8800000016"]
        assert birth["registry"] == {"version": 0, "hash": chunk["hash"]}
        wish = {"version": 7, "patch": {"watch:8800000015": {"subject": "r-9", "place": "517"}}}
        await platform.publish(f"{ROOT}/registry/desired", json.dumps(wish))
        await platform.until(lambda: any(m["version"] == 7 for m in messages(platform, "registry/reported")))
        for bad in ({"version": 8, "patch": {"watch:1": {}}}, {"version": 9, "patch": {"watch:8800000015": {"subject": "a b"}}}, {"v": 1}):
            await platform.publish(f"{ROOT}/registry/desired", json.dumps(bad))
        await platform.publish(f"{ROOT}/registry/desired", json.dumps({"version": 3, "patch": {"watch:8800000015": None}}))
        await platform.until(lambda: len(messages(platform, "registry/reported")) >= 5)
        assert {m["version"] for m in messages(platform, "registry/reported")} == {7}
        await asyncio.to_thread(s.gateway.kill)
        await asyncio.to_thread(s.gateway.start)
        await s.alarms(0, 0)
        await platform.until(lambda: len(of_kind(platform, "sos")) == 1)
        assert of_kind(platform, "sos")[0]["partitionkey"] == "r-9", "what was assigned survives a kill"
        await until(lambda: messages(platform, "registry")[-1]["version"] == 7)


async def test_the_will_speaks_for_a_killed_gateway(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await platform.until(lambda: any(m["online"] for m in messages(platform, "birth")))
        await asyncio.to_thread(s.gateway.kill)
        await platform.until(lambda: messages(platform, "birth")[-1] == {"online": False})


async def test_people_act_on_incidents_through_commands_and_never_nameless(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 0)
        await platform.until(lambda: bool(of_kind(platform, "sos")) and bool(of_kind(platform, "incident")))
        incident = of_kind(platform, "sos")[0]["id"]
        gateway = "gateway:gw-test"
        await ask(platform, "n1", "acknowledge", gateway, {"incident": incident, "person": ""})
        await ask(platform, "n2", "acknowledge", gateway, {"incident": incident})
        await ask(platform, "n3", "close", gateway, {"incident": "01XXXXXXXXXXXXXXXXXXXXXXXX", "person": "p-7"})
        await ask(platform, "n4", "siren", "watch:8800000015", {"on": False})
        await ask(platform, "n5", "close", "watch:8800000015", {"incident": incident, "person": "p-7"})
        await ask(platform, "n6", "locate", gateway, {})
        await ask(platform, "n7", "locate", "watch:999", {})
        await platform.until(lambda: all(status(platform, f"n{i}") == "failed" for i in range(1, 8)))
        await ask(platform, "a1", "acknowledge", gateway, {"incident": incident, "person": "p-7"})
        await platform.until(lambda: status(platform, "a1") == "done")
        await ask(platform, "a2", "close", gateway, {"incident": incident, "person": "p-7"})
        await platform.until(lambda: status(platform, "a2") == "done")
        await platform.until(lambda: any(e["data"]["body"].get("detail", "").startswith("closed") for e in of_kind(platform, "incident")))
        await ask(platform, "a3", "suppress", gateway, {"subject": "r-1", "mode": "guest", "person": "p-7", "hours": 2.0})
        await platform.until(lambda: status(platform, "a3") == "done" and bool(of_kind(platform, "suppressed")))


async def test_a_command_waits_for_its_device_across_a_kill_and_is_remembered(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await platform.until(lambda: bool(messages(platform, "birth")))
        await ask(platform, "q1", "locate", "watch:8800000015", {})
        await platform.until(lambda: status(platform, "q1") == "accepted")
        await asyncio.to_thread(s.gateway.kill)
        await asyncio.to_thread(s.gateway.start)
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(LK)
        assert b"*CR]" in await asyncio.wait_for(reader.readuntil(b"*CR]"), 5)
        writer.write(b"[3G*8800000015*0002*CR]")
        await platform.until(lambda: status(platform, "q1") in ("running", "done"))
        await asyncio.to_thread(s.gateway.kill)
        await asyncio.to_thread(s.gateway.start)
        await ask(platform, "q1", "locate", "watch:8800000015", {})
        await platform.until(lambda: status(platform, "q1") == "duplicate")
        writer.close()


async def test_every_stage_of_an_alarm_is_known(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        await s.alarms(0, 0)
        await platform.until(lambda: bool(of_kind(platform, "sos")))
        ident = of_kind(platform, "sos")[0]["id"]
        await asyncio.sleep(1.3)
        db = sqlite3.connect(s.gateway.data / "anhu.db")
        stages = dict(db.execute("SELECT stage, at_ms FROM trace WHERE id=?", (ident,)).fetchall())
        db.close()
        assert set(stages) == {"received", "committed", "acked", "published:city", "delivered:city"}
        assert stages["received"] <= stages["committed"] <= stages["acked"] <= stages["delivered:city"]


async def ask(platform: Platform, ident: str, verb: str, device: str, args: dict[str, Any], **more: Any) -> None:
    request = {"specversion": "1.0", "id": ident, "source": "/city", "type": f"cn.anhu.cmd.{verb}.v1", "subject": device, **more}
    await platform.publish(f"{ROOT}/cmd/req", json.dumps({**request, "data": {"args": args}}))


def status(platform: Platform, ident: str) -> str:
    return next((m["status"] for m in reversed(messages(platform, "cmd/res")) if m["id"] == ident), "")


def messages(platform: Platform, name: str) -> list[Any]:
    return [json.loads(payload) for topic, payload in platform.other if topic == f"{ROOT}/{name}"]


def stored(s: Site, kind: str) -> list[Any]:
    db = sqlite3.connect(s.gateway.data / "anhu.db")
    try:
        return db.execute("SELECT seq FROM alarm WHERE kind=?", (kind,)).fetchall()
    finally:
        db.close()


async def until(condition: Any, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "timed out"
        await asyncio.sleep(0.05)
