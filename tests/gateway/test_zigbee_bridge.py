"""A simulated zigbee2mqtt behind the real gateway and a real broker: the list, states, orders, permission to join."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.clock import RealClock
from simulator.community import Community, build
from simulator.devices.device import Happening
from simulator.devices.zigbee import ZigbeeBridge
from simulator.members import LIVELY
from simulator.run import MqttTarget, Targets, run_community
from simulator.truth import Truth
from tests.gateway.process import GatewayProcess, Mosquitto, Platform, free_port

BRIDGE, SIREN, GAS = "zigbee2mqtt:bridge", "zigbee2mqtt:siren-0", "zigbee2mqtt:gas-1"


def plan(community: Community) -> Iterator[Happening]:
    yield Happening(1.0, GAS, "gas")


async def ask(platform: Platform, name: str, verb: str, device: str, **args: Any) -> None:
    head = {"specversion": "1.0", "id": name, "source": "/city", "type": f"cn.anhu.cmd.{verb}.v1", "subject": device}
    await platform.publish("anhu/v1/anhu/gw-test/cmd/req", json.dumps({**head, "data": {"args": args}}))


def statuses(platform: Platform, name: str) -> list[str]:
    answers = [json.loads(payload) for topic, payload in platform.other if topic.endswith("/cmd/res")]
    return [answer["status"] for answer in answers if answer["id"] == name]


def bodies(platform: Platform, device: str) -> list[dict[str, Any]]:
    return [event["data"]["body"] for event in platform.events if event["data"]["device"] == device]


async def test_devices_appear_alarm_are_switched_and_let_in(tmp_path: Path) -> None:
    cloud, port = Mosquitto(tmp_path / "cloud").start(), free_port()
    community = build(1, seed=1, rates=LIVELY, make_plan=plan, pack=("zigbee_siren", "zigbee_gas"))
    bridge = next(member.device for member in community.members if isinstance(member.device, ZigbeeBridge))
    rows = "\n".join(f"{row['device']},zigbee2mqtt,{row['subject'] or ''},{row['place']}" for row in community.registry())
    sections = f'[mqtt]\nbroker = "mosquitto"\nport = {port}\n[[subscribe]]\ndriver = "zigbee2mqtt"\n'
    sections += f'[[uplink]]\nname = "city"\nhost = "127.0.0.1"\nport = {cloud.port}\n'
    gateway = GatewayProcess(tmp_path / "gw", f"device,driver,subject,place\n{rows}\n", sections)
    life: asyncio.Task[Any] | None = None
    try:
        async with Platform(cloud.port) as platform:
            await asyncio.to_thread(gateway.start)
            password = (gateway.data / "secrets" / "mqtt-devices").read_text().strip()
            targets = Targets(mqtt=MqttTarget("127.0.0.1", port, "devices", password))
            life = asyncio.create_task(run_community(community, targets, clock=RealClock(), duration_s=None, truth=Truth()))
            await platform.until(lambda: any(body.get("model") == "Anhu SIM-ALARM" for body in bodies(platform, SIREN)))
            await platform.until(lambda: any(body.get("kind") == "gas" for body in bodies(platform, GAS)))
            await ask(platform, "join", "permit_join", BRIDGE, seconds=60)
            await platform.until(lambda: "done" in statuses(platform, "join"))
            assert bridge.joins_until_s > 0
            await ask(platform, "loud", "siren", SIREN, on=True)
            await platform.until(lambda: any(body.get("kind") == "siren" and body["state"] == "start" for body in bodies(platform, SIREN)))
            await ask(platform, "quiet", "siren", SIREN, on=False, person="s-1")
            await platform.until(lambda: any(body.get("kind") == "siren" and body["state"] == "end" for body in bodies(platform, SIREN)))
            assert await asyncio.to_thread(gateway.stop) == 0
    finally:
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        gateway.close()
        cloud.stop()
