"""Dead letters of a running gateway: listed, sent again once the platform is mended, and gone from the list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from tests.gateway.process import GatewayProcess, free_port
from tests.gateway.test_upstream import DEVICES, Site, until
from tests.gateway.test_webhook import Server


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
