"""Kodi behind the gateway: a peer as it was recorded in every run, the real one where it is installed (`-m slow`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.process import GatewayProcess, Mosquitto, Platform
from tests.gateway.television import RealKodi, RecordedKodi, Recorder

DEVICES = "device,driver,subject,place\nkodi:tv-1,kodi,r-1,living room\n"
TEXT = "该吃药了，李奶奶"


def settings(cloud: int, port: int) -> str:
    return f"""
[[serial]]
port = "socket://127.0.0.1:{port}"
driver = "kodi"
device = "tv-1"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud}
"""


@contextlib.asynccontextmanager
async def at_home(folder: Path, port: int) -> AsyncIterator[Platform]:
    """A gateway that is connected to the Kodi on `port`, and its platform."""
    cloud = Mosquitto(folder / "cloud").start()
    gateway = GatewayProcess(folder / "gw", DEVICES, settings(cloud.port, port))
    try:
        async with Platform(cloud.port) as platform:
            await asyncio.to_thread(gateway.start)
            yield platform
            assert await asyncio.to_thread(gateway.stop) == 0
    finally:
        gateway.close()
        cloud.stop()


async def ask(platform: Platform, name: str, verb: str, **args: Any) -> None:
    """A command of the platform, carried out."""
    head = {"specversion": "1.0", "id": name, "source": "/city", "type": f"cn.anhu.cmd.{verb}.v1", "subject": "kodi:tv-1"}
    await platform.publish("anhu/v1/anhu/gw-test/cmd/req", json.dumps({**head, "data": {"args": args}}))
    await platform.until(lambda: "done" in statuses(platform, name))


def statuses(platform: Platform, name: str) -> list[str]:
    answers = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/cmd/res")]
    return [answer["status"] for answer in answers if answer["id"] == name]


def has(platform: Platform, fits: Callable[[dict[str, Any]], bool]) -> Callable[[], bool]:
    return lambda: any(fits(event["data"]) for event in platform.events)


def volume_is(percent: str) -> Callable[[dict[str, Any]], bool]:
    return lambda data: (data["body"].get("parameters") or {}).get("volume") == percent


def is_sos(data: dict[str, Any]) -> bool:
    return data["body"].get("kind") == "sos" and data["subject"] == "r-1"


async def test_a_kodi_as_recorded_shows_texts_sets_its_volume_and_calls_for_help(tmp_path: Path) -> None:
    async with RecordedKodi() as kodi, at_home(tmp_path, kodi.port) as platform:
        await asyncio.wait_for(kodi.connected.wait(), 20)
        await ask(platform, "c1", "message", text=TEXT, title="安护", seconds=5)
        shown = next(call for call in kodi.asked if call["method"] == "GUI.ShowNotification")
        assert shown["params"] == {"title": "安护", "message": TEXT, "displaytime": 5000}
        await ask(platform, "c2", "volume", percent=33)
        kodi.say("Application.OnVolumeChanged")
        await platform.until(has(platform, volume_is("33")))
        kodi.say("Other.sos")
        await platform.until(has(platform, is_sos))


@pytest.mark.slow  # starts the real Kodi, which takes ten seconds and 250 MB
async def test_the_real_kodi_shows_texts_sets_its_volume_and_calls_for_help(tmp_path: Path) -> None:
    kodi = RealKodi(tmp_path / "home")
    try:
        await asyncio.to_thread(kodi.start)
        async with Recorder(kodi.port) as between, at_home(tmp_path, between.port) as platform:
            await platform.until(has(platform, lambda data: data["body"].get("online") is True))
            await ask(platform, "c1", "message", text=TEXT, title="安护", seconds=5)
            await ask(platform, "c2", "volume", percent=33)
            await platform.until(has(platform, volume_is("33")))
            for _ in range(20):
                # The key is heard once the skin has the focus.
                kodi.press("F10")
                await asyncio.sleep(1)
                if has(platform, is_sos)():
                    break
            await platform.until(has(platform, is_sos))
            if target := os.environ.get("ANHU_RECORD_KODI"):
                lines = [json.dumps(line, ensure_ascii=False) for line in between.lines]
                await asyncio.to_thread(Path(target).write_text, "\n".join(lines) + "\n", "utf-8")
    finally:
        kodi.stop()
