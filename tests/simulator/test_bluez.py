"""The virtual BlueZ, met by bleak itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError
from dbus_fast import Variant

from simulator.wires.air import AirWire, Radio
from simulator.wires.bluez import BlueZError, VirtualBluez
from simulator.wires.bluez_device import Characteristic, full_uuid

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs the Debian package dbus-daemon")

MAC = "A4:C1:38:8D:18:B2"
BTHOME = full_uuid("fcd2")
Heard = list[tuple[BLEDevice, AdvertisementData]]


@pytest.fixture
async def radio(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualBluez]:
    async with VirtualBluez() as found:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.address)
        yield found


async def until(heard: list[Any], count: int) -> None:
    async with asyncio.timeout(5):
        while len(heard) < count:
            await asyncio.sleep(0.002)


def listener(heard: Heard, **more: Any) -> BleakScanner:
    return BleakScanner(lambda device, advert: heard.append((device, advert)), **more)


async def test_an_active_scan_hears_service_and_manufacturer_data(radio: VirtualBluez) -> None:
    heard: Heard = []
    async with listener(heard):
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"}, -71, manufacturer_data={0x4C: b"\x02\x15"}, name="Door", tx_power=4)
        await until(heard, 1)
    device, advert = heard[0]
    assert (device.address, device.name, advert.rssi, advert.tx_power) == (MAC, "Door", -71, 4)
    assert advert.service_data == {BTHOME: b"\x40\x1a\x01"}
    assert advert.manufacturer_data == {0x4C: b"\x02\x15"}


async def test_nobody_listens_nothing_is_heard(radio: VirtualBluez) -> None:
    await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
    assert (radio.heard, radio.unheard) == (0, 1)
    with pytest.raises(BlueZError, match="no client"):
        await radio.wait_scanned(0.01)


async def test_an_unchanged_payload_is_silent_unless_duplicates_are_asked_for(radio: VirtualBluez) -> None:
    for filters, expected in (({}, 1), ({"DuplicateData": True}, 4)):
        heard: Heard = []
        async with listener(heard, bluez={"filters": filters}):
            for _ in range(4):
                await radio.advertise(MAC, {"fcd2": b"\x44\x3a\x01"})
            await radio.advertise("00:00:00:00:00:01", {"fcd2": b"\x40"})
            await until(heard, expected)
            await asyncio.sleep(0.02)
        assert len([1 for device, _ in heard if device.address == MAC]) == expected
        await radio.vanish(MAC)


async def test_a_passive_scan_hears(radio: VirtualBluez) -> None:
    heard: Heard = []
    patterns = [(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xd2\xfc")]
    async with listener(heard, scanning_mode="passive", bluez={"or_patterns": patterns}):
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
        await until(heard, 1)
    assert not radio.is_scanned
    assert heard[0][1].service_data == {BTHOME: b"\x40\x1a\x01"}


async def test_any_property_change_repeats_the_cached_advertisement(radio: VirtualBluez) -> None:
    heard: Heard = []
    async with listener(heard):
        await radio.advertise(MAC, {"fcd2": b"\x44\x3a\x01"})
        await radio.touch(MAC, Trusted=Variant("b", True))
        await until(heard, 2)
    assert heard[0][1].service_data == heard[1][1].service_data


async def test_a_burst_of_1000_advertisements_arrives_whole(radio: VirtualBluez) -> None:
    heard: Heard = []
    async with listener(heard, bluez={"filters": {"DuplicateData": True}}):
        for number in range(1000):
            await radio.advertise(MAC, {"fcd2": bytes([0x44, 0x00, number % 256, 0x3A, 0x01])})
        await until(heard, 1000)
    assert [advert.service_data[BTHOME][2] for _, advert in heard] == [n % 256 for n in range(1000)]


@contextlib.asynccontextmanager
async def scanner_stopped(scanner: BleakScanner) -> AsyncIterator[None]:
    yield
    await scanner.stop()


async def connected(radio: VirtualBluez, *items: Characteristic, **more: Any) -> BleakClient:
    radio.add_gatt_device(MAC, {"1810": items})
    heard: Heard = []
    async with listener(heard):
        await radio.advertise(MAC, service_uuids=["1810"], name="Cuff")
        await until(heard, 1)
    client = BleakClient(heard[0][0], **more)
    await client.connect()
    return client


async def test_a_client_reads_and_writes(radio: VirtualBluez) -> None:
    written: list[bytes] = []
    client = await connected(radio, Characteristic("2a19", ("read",), b"\x55"), Characteristic("2a52", ("write",), on_write=written.append))
    assert await client.read_gatt_char(full_uuid("2a19")) == b"\x55"
    await client.write_gatt_char(full_uuid("2a52"), b"\x01\x01", response=True)
    assert written == [b"\x01\x01"] == radio.characteristic(MAC, "2a52").written
    with pytest.raises((BleakDBusError, BleakGATTProtocolError)):
        await client.read_gatt_char(full_uuid("2a52"))
    await client.disconnect()
    assert not radio.devices[MAC].is_connected


@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "descriptor"])
async def test_notifications_arrive_in_order(radio: VirtualBluez, by_signal: bool) -> None:
    got: list[bytes] = []
    subscribed: list[bool] = []
    client = await connected(radio, Characteristic("2a35", ("indicate",), on_subscribe=lambda: subscribed.append(True)))
    assert not await radio.notify(MAC, "2a35", b"early")
    await client.start_notify(full_uuid("2a35"), lambda _, data: got.append(bytes(data)), bluez={"use_start_notify": by_signal})
    for number in range(200):
        assert await radio.notify(MAC, "2a35", bytes([number]))
    await until(got, 200)
    assert got == [bytes([n]) for n in range(200)]
    assert subscribed == [True]
    await client.disconnect()


async def test_a_device_that_hangs_up_is_noticed(radio: VirtualBluez) -> None:
    gone = asyncio.Event()
    client = await connected(radio, Characteristic("2a19"), disconnected_callback=lambda _: gone.set())
    await radio.drop(MAC)
    await asyncio.wait_for(gone.wait(), 5)
    assert not client.is_connected


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """dbus-fast leaves a failed future behind when its socket dies; collect it here, not in the middle of another test."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    yield
    gc.collect()


@pytest.mark.usefixtures("quiet")
async def test_the_bus_dies_and_comes_back_on_the_same_address(radio: VirtualBluez) -> None:
    scanner = listener([])
    await scanner.start()
    await radio.stop()
    await asyncio.sleep(0.05)
    with pytest.raises((OSError, BleakError, EOFError, AssertionError)):
        await scanner.stop()
    await radio.start()
    heard: Heard = []
    async with listener(heard):
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
        await until(heard, 1)


async def test_an_adapter_can_be_pulled_out_and_plugged_in(radio: VirtualBluez) -> None:
    await radio.remove_adapter("hci0")
    with pytest.raises(BleakError):
        await listener([]).start()
    await radio.add_adapter("hci0")
    heard: Heard = []
    scanner = listener(heard)
    async with asyncio.timeout(5):
        while not radio.is_scanned:
            with contextlib.suppress(BleakError):
                await scanner.start()
            await asyncio.sleep(0.005)
    async with scanner_stopped(scanner):
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
        await until(heard, 1)


async def test_it_is_the_radio_of_an_air_wire(radio: VirtualBluez) -> None:
    class Nobody:
        def up(self) -> None: ...
        def down(self) -> None: ...
        def receive(self, data: bytes, to: str) -> None: ...

    air: Radio = radio
    wire = AirWire(air, MAC)
    heard: Heard = []
    async with listener(heard):
        task = asyncio.create_task(wire.run(Nobody()))
        assert wire.send(b"\x40\x1a\x01", "fcd2")
        await until(heard, 1)
        task.cancel()


def test_the_command_line_says_what_it_does() -> None:
    shown = subprocess.run([sys.executable, "-m", "simulator.wires.bluez", "--help"], capture_output=True, text=True, check=True)
    assert "virtual BlueZ" in shown.stdout
    failed = subprocess.run([sys.executable, "-m", "simulator.wires.bluez", "absent.jsonl"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "Try: " in failed.stderr
