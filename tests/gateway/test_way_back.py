"""Commands over MQTT 5: how long their message lives, and answers that find their way after the gateway has begun anew."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from drivers.api import Instant
from gateway.commands import read_command
from gateway.store import recovery
from gateway.store.contract import Batch, CommandRow
from gateway.store.opening import SCHEMA_VERSION
from tests.gateway.store_tools import opened
from tests.gateway.test_upstream import LK, ROOT, site, until

DATA = b"\x00request 7\xff"
TOPIC = "platform/answers/7"
NOW = Instant(1_795_336_215_000, 0.0)


@pytest.mark.parametrize(
    ("given", "left_ms"),
    [
        ({"message_ttl_ms": 5_000}, 5_000),
        ({"message_ttl_ms": 5_000, "ttl_ms": 9_000}, 5_000),
        ({"message_ttl_ms": 9_000, "ttl_ms": 5_000}, 5_000),
        ({"message_ttl_ms": 9_000, "expires_ms": NOW.ms + 4_000}, 4_000),
        ({"message_ttl_ms": 0}, 0),
    ],
)
def test_the_sooner_of_the_expiries_holds(given: dict[str, Any], left_ms: int) -> None:
    command, fault = read_command({"id": "c", "verb": "locate", "device": "watch:1", **given}, NOW)
    assert command is not None, fault
    assert command.expires_ms is not None
    assert command.expires_ms - NOW.ms == left_ms


@asynccontextmanager
async def platform(port: int) -> AsyncIterator[tuple[aiomqtt.Client, list[tuple[dict[str, Any], bytes | None]]]]:
    """A platform on MQTT 5 and what it hears on its response topic."""
    heard: list[tuple[dict[str, Any], bytes | None]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            data = getattr(message.properties, "CorrelationData", None)
            heard.append((json.loads(bytes(message.payload)), data))  # type: ignore[arg-type]  # aiomqtt gives bytes

    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(TOPIC, qos=1)
        listening = asyncio.create_task(listen(client))
        try:
            yield client, heard
        finally:
            listening.cancel()


async def ask(client: aiomqtt.Client, ident: str, *, expiry_s: int | None = None) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.ResponseTopic = TOPIC
    properties.CorrelationData = DATA
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    request = {
        "specversion": "1.0",
        "id": ident,
        "source": "/p",
        "type": "cn.anhu.cmd.locate.v1",
        "subject": "watch:8800000015",
        "data": {},
    }
    await client.publish(f"{ROOT}/cmd/req", json.dumps(request), qos=1, properties=properties)


@pytest.mark.parametrize("link", ["native", pytest.param("paho", marks=pytest.mark.slow)])
async def test_answers_find_their_way_after_a_kill_and_a_message_lives_as_long_as_it_says(tmp_path: Path, link: str) -> None:
    async with site(tmp_path, f'commands = ["locate"]\n[mqtt]\nlink = "{link}"') as s:
        s.gateway.start()
        await until(lambda: s.uplink()["connected"])
        async with platform(s.cloud.port) as (client, heard):

            def told(ident: str) -> list[tuple[str, bytes | None]]:
                return [(answer["status"], data) for answer, data in heard if answer["id"] == ident]

            await ask(client, "short", expiry_s=1)
            await ask(client, "long")
            await until(lambda: told("short")[:1] == told("long") == [("accepted", DATA)])
            await asyncio.to_thread(s.gateway.kill)
            await asyncio.to_thread(s.gateway.start)
            await until(lambda: told("short")[-1] == ("expired", DATA))
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(LK)
            await asyncio.wait_for(reader.readuntil(b"*CR]"), 5)
            writer.write(b"[3G*8800000015*0002*CR]")
            await until(lambda: len(told("long")) > 1)
            assert told("long")[-1][0] in ("running", "done")
            assert {data for _, data in told("long")} == {DATA}
            writer.close()


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_commands_of_an_older_schema_are_kept_and_have_no_way_back(tmp_path: Path, is_damaged: bool) -> None:
    db = sqlite3.connect(tmp_path / "anhu.db")
    scripts = [Path(f"gateway/store/schema/{name}.sql").read_text() for name in ("0001_start", "0002_delivery")]
    meta = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    db.executescript(meta + "".join(scripts) + "PRAGMA user_version=2;")
    db.execute("INSERT INTO command VALUES ('c1','city','locate','watch:1','{}',1,NULL,'accepted',NULL,1)")
    db.commit()
    db.close()
    if is_damaged:
        recovery.mark(tmp_path / "anhu.db")
    old = CommandRow("c1", "city", "locate", "watch:1", "{}", 1, None, "accepted", None, 1)
    new = old._replace(id="c2", response_topic=TOPIC, correlation=DATA)
    async with opened(tmp_path) as store:
        assert store.query("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        assert store.unfinished_commands() == [old]
        await store.append(Batch(commands=[new]))
    async with opened(tmp_path) as store:
        assert store.unfinished_commands() == [old, new]
