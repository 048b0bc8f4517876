"""Dead letters of a running gateway: listed, sent again once the platform is mended, and gone from the list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.api import Occurrence
from drivers.vocabulary import Lane, OccurrenceKind
from gateway.cli.main import main
from gateway.settings import UplinkSection
from gateway.store.contract import Batch
from gateway.store.sqlite import SqliteStore
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.file import FileUplink
from gateway.uplinks.messages import Ack
from gateway.uplinks.mqtt import MqttUplink
from gateway.uplinks.pump import Pump
from tests.gateway.process import GatewayProcess, free_port
from tests.gateway.store_tools import events, opened
from tests.gateway.test_upstream import DEVICES, Site, until
from tests.gateway.test_webhook import Server, running
from tests.gateway.test_window import Nothing


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def letters(gateway: GatewayProcess, *words: str) -> int:
    return main(["deadletters", "--data-dir", str(gateway.data), *words])


async def test_dead_letters_are_listed_and_sent_again(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    sections = f"""
[[listen]]
port = {port}
driver = "watch"
host = "127.0.0.1"
[[uplink]]
name = "family"
kind = "webhook"
url = "http://127.0.0.1:{server.port}/in"
lanes = ["alarm"]
"""
    server.judge = lambda batch: 422 if any(event["type"] == "cn.anhu.alarm.sos.v1" for event in batch) else 200
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)
    try:
        await asyncio.to_thread(gateway.start)
        s = Site(None, gateway, port)  # type: ignore[arg-type]  # no broker takes part
        await s.alarms(0, 2)
        await until(lambda: s.uplink()["dead"] == 3)
        assert await asyncio.to_thread(letters, gateway, "--uplink", "family") == 0
        listed = said(capsys)
        assert [row["status"] for row in listed] == ["HTTP 422"] * 3
        assert [row["data"]["body"]["kind"] for row in listed] == ["sos"] * 3

        server.judge = lambda batch: 200
        assert await asyncio.to_thread(letters, gateway, "--again", listed[1]["id"]) == 0
        assert said(capsys) == [{"sent_again": 1, "not_there": 0}]
        await until(lambda: [event["id"] for event in server.got if event["type"] == "cn.anhu.alarm.sos.v1"] == [listed[1]["id"]])
        assert await asyncio.to_thread(letters, gateway, "--uplink", "nobody", "--again") == 0
        assert said(capsys) == [{"sent_again": 0, "not_there": 0}]

        await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(letters, gateway, "--again") == 0
        assert said(capsys) == [{"sent_again": 2, "not_there": 0}]
        await until(lambda: {row["id"] for row in listed} <= {event["id"] for event in server.got})
        assert await asyncio.to_thread(letters, gateway) == 0
        assert said(capsys) == []
    finally:
        gateway.close()


async def with_a_large_one(store: SqliteStore, number: int = 3) -> None:
    """Five alarms, one of which fits into no message."""
    made = events(5, OccurrenceKind.SOS)
    body = made[number - 1].body
    assert isinstance(body, Occurrence)
    made[number - 1] = msgspec.structs.replace(made[number - 1], body=msgspec.structs.replace(body, detail="x" * 70_000))
    await store.append(Batch(events=made, urgent=True))


async def moment(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_event_too_large_for_a_file_is_a_dead_letter_and_its_neighbours_are_written(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        await with_a_large_one(store)
        pump = Pump(UplinkSection(name="copy", kind="file", path="x"), store, lambda: 0)
        async with running(FileUplink(pump, Wrapper("t", "g", store.epoch), tmp_path / "out").run):
            await moment(lambda: pump.delivered == 4)
        assert [json.loads(line)["sequence"][-1] for line in (tmp_path / "out").read_text().splitlines()] == ["1", "2", "4", "5"]
        [row] = store.query("SELECT uplink, lane, seq, status FROM dead")
        assert row[:3] == ("copy", "alarm", 3)
        assert "65536" in str(row[3])
        assert (pump.dead, store.cursor("copy", Lane.ALARM).missing) == (1, [])


class Strict:
    """A link to a broker that refuses what is larger than `limit`, and takes everything else at once."""

    connected = True

    def __init__(self, limit: int) -> None:
        self.uplink: MqttUplink | None = None
        self.limit = limit
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._token = 0

    def publish(self, topic: str, payload: bytes, **_: Any) -> int:
        self._token += 1
        asyncio.get_running_loop().call_soon(self._answer, self._token, topic, payload)
        return self._token

    def _answer(self, token: int, topic: str, payload: bytes) -> None:
        assert self.uplink is not None
        if len(payload) > self.limit:
            self.uplink.events.on_refused(token, "MQTT 0x95 packet too large")
        else:
            self.sent.append((topic.rpartition("/")[2], json.loads(payload)))
        self.uplink.events.on_delivered([token])


@pytest.mark.parametrize("limit", [100_000, 60_000], ids=["event", "packet"])
async def test_an_event_too_large_for_the_platform_is_a_dead_letter_told_as_gone(tmp_path: Path, limit: int) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        await with_a_large_one(store)
        pump = Pump(UplinkSection(name="city", host="x", ack="application"), store, lambda: 0)
        link, platform = Strict(limit), Nothing()
        platform.registry, platform.birth = Nothing(), dict
        uplink = link.uplink = MqttUplink(pump, Wrapper("t", "g", store.epoch), root="anhu/v1/t/g", platform=platform)  # type: ignore[arg-type]
        uplink.link = link  # type: ignore[assignment]  # as much of a link as is used
        async with running(uplink.run):
            await asyncio.sleep(0.01)
            uplink.events.on_up()
            gone = {"lane": "alarm", "ranges": [[3, 3]], "storeepoch": store.epoch}
            await moment(lambda: ("gone", gone) in link.sent and len([1 for kind, _ in link.sent if kind == "alarm"]) == 4)
            assert pump.acknowledge(Ack(Lane.ALARM, 5, [3]), store.epoch) == ""
            await moment(lambda: link.sent.count(("gone", gone)) >= 2 and not pump.in_flight([Lane.ALARM]))
            assert store.query("SELECT uplink, lane, seq FROM dead") == [("city", "alarm", 3)]
            assert pump.dead == 1, "asked for again it is the same dead letter"
            assert pump.feeds[Lane.ALARM].cursor().missing == []
