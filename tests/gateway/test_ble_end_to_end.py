"""Bluetooth through the whole gateway: door sensor, blood-pressure cuff and badges on a virtual BlueZ, events at the platform."""

from __future__ import annotations

import asyncio
from pathlib import Path

from protocols.ble import gatt_health as codec
from protocols.ble.gatt_health import BloodPressure
from simulator.wires.bluez import VirtualBluez
from simulator.wires.bluez_device import Characteristic
from tests.conftest import need
from tests.gateway.process import GatewayProcess, Mosquitto, Platform

DOOR, CUFF, BADGE = "A4:C1:38:8D:18:B2", "C8:B2:1E:00:10:01", "DD:00:00:00:00:01"
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
DEVICES = f"""device,driver,subject,place
bthome:{DOOR},bthome,r-1,entrance
gatt_health:{CUFF},gatt_health,r-1,living room
ble_badge:liu,ble_badge,r-1,
"""


def beacon(minor: int) -> bytes:
    return bytes.fromhex("0215" + UUID.replace("-", "") + "0001" + f"{minor:04x}" + "c5")


async def test_door_cuff_and_badge_reach_the_platform(tmp_path: Path) -> None:
    need("dbus-daemon")
    cloud = Mosquitto(tmp_path / "cloud").start()
    badges = f'[{{uuid = "{UUID}", major = 1, minor = 7, device = "liu", means = "presence"}}, '
    badges += f'{{uuid = "{UUID}", major = 1, minor = 8, device = "liu", means = "sos"}}]'
    sections = f"""
[[ble]]
drivers = ["bthome", "gatt_health", "ble_badge"]
room = "hall"
options = {{ble_badge = {{badges = {badges}}}}}
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)
    tasks: list[asyncio.Task[None]] = []
    try:
        async with VirtualBluez() as radio, Platform(cloud.port) as platform:
            reading = codec.encode(BloodPressure(138, 92, 107, "mmHg", None, False, 76))

            def subscribed() -> None:
                tasks.append(asyncio.create_task(radio.notify(CUFF, "2a35", reading)))

            await asyncio.to_thread(gateway.start, **radio.environment)
            await radio.wait_scanned()
            await radio.advertise(DOOR, service_data={"fcd2": bytes.fromhex("4000011a01")}, rssi=-50)
            await platform.until(lambda: "door_open" in platform.kinds())
            radio.add_gatt_device(CUFF, {"1810": [Characteristic("2a35", ("indicate",), on_subscribe=subscribed)]})

            async def call() -> None:
                # A cuff advertises until somebody has emptied it.
                for number in range(20):
                    await radio.advertise(CUFF, service_uuids=["1810"], rssi=-50 - number)
                    await asyncio.sleep(1)

            tasks.append(asyncio.create_task(call()))
            await platform.until(lambda: {"systolic", "diastolic"} <= {e["data"]["body"].get("quantity") for e in platform.events})
            await radio.advertise(BADGE, manufacturer_data={0x004C: beacon(8)}, rssi=-55)
            await platform.until(lambda: "sos" in platform.kinds())
            sos = next(e["data"] for e in platform.events if e["data"]["body"].get("kind") == "sos")
            assert (sos["device"], sos["subject"]) == ("ble_badge:liu", "r-1")
            await radio.advertise("DD:00:00:00:00:99", service_data={"fcd2": bytes.fromhex("4000012101")}, rssi=-50)
            for _ in range(100):
                await asyncio.sleep(0.05)
                if gateway.status()["frames"]["unknown"]:
                    break
            assert gateway.status()["frames"]["balanced"]
            assert gateway.status()["frames"]["unknown"] >= 1
            assert await asyncio.to_thread(gateway.stop) == 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gateway.close()
        cloud.stop()
