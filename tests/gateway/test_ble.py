"""The BLE transport: bleak for real, against the virtual BlueZ."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from dbus_fast import Variant

from drivers.api import Frame, Instant, Occurrence, Transport
from drivers.bthome.driver import Bthome
from gateway.transports import advert_queue, ble
from gateway.transports.ble import BleScanner, Whose
from protocols.ble.bthome import UUID_V2, encode
from simulator.wires.bluez import VirtualBluez

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs the Debian package dbus-daemon")
MAC = "A4:C1:38:8D:18:B2"


def now() -> Instant:
    loop = asyncio.get_running_loop()
    return Instant(1795336215000 + round(loop.time() * 1000), loop.time())


@pytest.fixture
async def radio(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualBluez]:
    # dbus-fast leaves failed futures behind when a socket dies: they are collected here, not in the middle of another test.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    monkeypatch.setattr(ble, "FIRST_WAIT_S", 0.01)
    async with VirtualBluez() as found:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.address)
        yield found
    gc.collect()


@contextlib.asynccontextmanager
async def running(scanner: BleScanner, deliver: Callable[[Frame], Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(scanner.run(deliver))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool], limit_s: float = 8.0) -> None:
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.002)


def scanning(scanner: BleScanner) -> Callable[[], bool]:
    return lambda: scanner.status.state == "scanning"


@needs_bus
@pytest.mark.parametrize("active", [True, False], ids=["active", "passive"])
async def test_an_advertisement_becomes_a_frame(radio: VirtualBluez, active: bool) -> None:
    frames: list[Frame] = []
    scanner = BleScanner(now, active=active, receiver="kitchen")
    async with running(scanner, frames.append):
        await radio.wait_scanned()
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"}, -71, name="Door", service_uuids=["FCD2"])
        await until(lambda: bool(frames))
    frame = frames[0]
    assert (frame.transport, frame.address, frame.data, frame.peer) == (Transport.BLE_ADVERT, MAC, b"\x40\x1a\x01", "kitchen")
    assert frame.advert is not None
    assert frame.advert.service_data == {UUID_V2: b"\x40\x1a\x01"}
    assert (frame.advert.rssi_dbm, frame.advert.name, frame.advert.receiver) == (-71, "Door", "kitchen")
    assert not radio.is_scanned, "a cancelled scanner leaves nothing behind"


@needs_bus
async def test_a_change_that_was_not_on_the_air_is_not_delivered(radio: VirtualBluez) -> None:
    frames: list[Frame] = []
    scanner = BleScanner(now)
    async with running(scanner, frames.append):
        await radio.wait_scanned()
        await radio.advertise(MAC, {"fcd2": b"\x44\x3a\x01"}, -60)
        await radio.touch(MAC, Trusted=Variant("b", True))
        await radio.touch(MAC, RSSI=Variant("n", -127))
        await until(lambda: scanner.counts["callbacks"] == 3)
        assert (len(frames), scanner.counts["cached"]) == (1, 2)
        await radio.advertise(MAC, {"fcd2": b"\x44\x3a\x00"}, -60)
        await until(lambda: len(frames) == 2)


@needs_bus
async def test_repetitions_are_handed_on_once_a_second_with_the_mean_of_their_strengths(radio: VirtualBluez) -> None:
    frames: list[Frame] = []
    time_s = 100.0
    scanner = BleScanner(lambda: Instant(round(time_s * 1000), time_s))
    async with running(scanner, frames.append):
        await radio.wait_scanned()
        for rssi in (-60, -70, -70, -80):
            await radio.advertise(MAC, {"fcd2": b"\x40\x21\x01"}, rssi)
        await until(lambda: scanner.counts["repeated"] == 3)
        time_s += ble.REPEAT_S
        await radio.advertise(MAC, {"fcd2": b"\x40\x21\x01"}, -80)
        await until(lambda: len(frames) == 2)
    assert [frame.advert.rssi_dbm for frame in frames if frame.advert] == [-60, -75]


@needs_bus
async def test_every_change_of_a_payload_is_handed_on(radio: VirtualBluez) -> None:
    frames: list[Frame] = []
    scanner = BleScanner(now)
    calm, alarm = bytes.fromhex("402900"), bytes.fromhex("402901")
    async with running(scanner, frames.append):
        await radio.wait_scanned()
        for payload in (calm, alarm, alarm, calm, alarm):
            await radio.advertise(MAC, {"fcd2": payload})
        await until(lambda: scanner.counts["callbacks"] == 5)
        await until(lambda: len(frames) == 4)
    assert [frame.data for frame in frames] == [calm, alarm, calm, alarm]


@needs_bus
async def test_a_press_reaches_the_driver_once(radio: VirtualBluez) -> None:
    driver = Bthome({"sos_button": True}, None)
    told: list[str] = []

    async def deliver(frame: Frame) -> None:
        told.extend(e.body.kind for e in driver.receive(frame).events if isinstance(e.body, Occurrence))

    scanner = BleScanner(now)
    async with running(scanner, deliver):
        await radio.wait_scanned()
        for number in range(5):
            await radio.advertise(MAC, {"fcd2": encode([(0x00, 1), (0x3A, "press")])}, -60 - number)
        await radio.advertise(MAC, {"fcd2": encode([(0x00, 2), (0x3A, "press")])})
        await until(lambda: scanner.counts["callbacks"] == 6)
        await until(lambda: scanner.counts["delivered"] == 2)
    assert told == ["sos", "sos"]


@needs_bus
async def test_the_scan_comes_back_when_the_bus_dies_and_returns(radio: VirtualBluez) -> None:
    frames: list[Frame] = []
    scanner = BleScanner(now)
    async with running(scanner, frames.append):
        await until(scanning(scanner))
        await radio.stop()
        await until(lambda: scanner.status.state == "lost")
        await until(lambda: "dbus" in scanner.status.hint)
        await radio.start()
        await until(scanning(scanner))
        await radio.wait_scanned()
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
        await until(lambda: bool(frames))
        await asyncio.sleep(0.02)
    assert len(frames) == 1, "the lost scan must not deliver beside the new one"
    assert scanner.counts["scans"] == 2


@needs_bus
async def test_the_scan_comes_back_when_the_adapter_was_pulled_out(radio: VirtualBluez) -> None:
    scanner = BleScanner(now, adapter="hci0")
    frames: list[Frame] = []
    async with running(scanner, frames.append):
        await until(scanning(scanner))
        await radio.remove_adapter("hci0")
        await until(lambda: scanner.status.state == "lost")
        assert "hci0" in scanner.status.why
        await radio.add_adapter("hci0")
        await until(scanning(scanner))
        await radio.wait_scanned()
        await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"})
        await until(lambda: bool(frames))


@needs_bus
async def test_the_scan_comes_back_when_the_adapter_was_switched_off(radio: VirtualBluez) -> None:
    scanner = BleScanner(now)
    async with running(scanner, lambda _: None):
        await until(scanning(scanner))
        await radio.power("hci0", False)
        await until(lambda: scanner.status.state == "lost")
        await until(lambda: "power on" in scanner.status.hint)
        await radio.power("hci0", True)
        await until(scanning(scanner))


@needs_bus
async def test_silence_for_long_starts_the_scan_anew(radio: VirtualBluez) -> None:
    scanner = BleScanner(now, quiet_s=0.05)
    async with running(scanner, lambda _: None):
        await until(lambda: scanner.counts["scans"] >= 3)
    assert scanner.counts["lost"] >= 2


@needs_bus
async def test_two_adapters_are_two_rooms() -> None:
    async with VirtualBluez(adapters=("hci0", "hci1")) as radio:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.address)
            frames: list[Frame] = []
            rooms = [BleScanner(now, adapter=f"hci{n}", receiver=room) for n, room in enumerate(("kitchen", "bedroom"))]
            async with running(rooms[0], frames.append), running(rooms[1], frames.append):
                await until(lambda: all(scanning(s)() for s in rooms))
                await radio.advertise(MAC, {"fcd2": b"\x40\x1a\x01"}, adapter="hci1")
                await until(lambda: bool(frames))
            assert [frame.peer for frame in frames] == ["bedroom"]


async def test_without_a_bus_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    scanner = BleScanner(now)
    async with running(scanner, lambda _: None):
        await until(lambda: scanner.status.state == "lost")
    assert "systemctl start" in scanner.status.hint


async def test_a_fault_of_the_receiver_of_frames_is_raised() -> None:
    scanner = BleScanner(now)

    def deliver(frame: Frame) -> None:
        raise ZeroDivisionError

    scanner._put(frame("00:00:00:00:00:01"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(scanner.run(deliver), 5)


def frame(address: str, number: int = 0) -> Frame:
    return Frame(data=bytes([number]), received=Instant(0, 0.0), transport=Transport.BLE_ADVERT, address=address)


async def test_a_flooding_device_loses_its_own_oldest_and_no_others() -> None:
    scanner = BleScanner(now)
    scanner._put(frame("SOS"))
    for number in range(200):
        scanner._put(frame("FLOOD", number % 256))
    got: list[Frame] = []
    async with running(scanner, got.append):
        await until(lambda: scanner.waiting == 0)
    assert [f.address for f in got[:2]] == ["SOS", "FLOOD"]
    assert [f.data[0] for f in got[1:]] == list(range(200 - advert_queue.PER_DEVICE, 200))
    assert scanner.counts["dropped"] == 200 - advert_queue.PER_DEVICE


async def test_many_devices_are_bounded_in_all() -> None:
    scanner = BleScanner(now)
    for number in range(ble.WAITING + 500):
        scanner._put(frame(f"{number}"))
    assert scanner.waiting == ble.WAITING
    assert scanner.counts["dropped"] == 500


@needs_bus
async def test_a_flood_of_strangers_takes_nothing_from_our_button(radio: VirtualBluez) -> None:
    def whose(frame: Frame) -> Whose:
        return Whose.OURS if frame.address == MAC else Whose.STRANGERS if frame.data[0] == 0x40 else Whose.NOBODYS

    got: list[Frame] = []
    held = asyncio.Event()

    async def deliver(frame: Frame) -> None:
        await held.wait()
        got.append(frame)

    scanner = BleScanner(now)
    task = asyncio.create_task(scanner.run(deliver, whose))
    await radio.wait_scanned()
    await radio.advertise("00:00:00:00:00:01", {"fcd2": b"\x40"})
    await until(lambda: scanner.waiting == 0 and scanner.counts["delivered"] == 1)
    await radio.advertise(MAC, {"fcd2": b"\x44\x3a\x01"})
    for number in range(ble.STRANGERS_WAITING + 200):
        await radio.advertise(f"11:00:00:00:{number >> 8:02X}:{number & 255:02X}", {"fcd2": b"\x40" if number % 4 else b"\x20"})
    await until(lambda: scanner.counts["callbacks"] == ble.STRANGERS_WAITING + 202)
    held.set()
    await until(lambda: scanner.waiting == 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert got[1].address == MAC, "ours comes before strangers that have waited longer"
    assert scanner.counts["nobodys"] == (ble.STRANGERS_WAITING + 200) // 4
    assert scanner.counts["dropped"] + scanner.counts["delivered"] + scanner.counts["nobodys"] == scanner.counts["callbacks"]


async def test_addresses_that_change_do_not_fill_the_memory() -> None:
    scanner = BleScanner(now)
    for number in range(ble.MOST_DEVICES + 10):
        address = f"{number:012X}"
        data = AdvertisementData(None, {}, {UUID_V2: b"\x40"}, [], None, -60, (address, {"ServiceData": {}}))
        scanner._on_advert(BLEDevice(address, None, None), data)
    assert scanner.device(f"{0:012X}") is None
    assert scanner.device(f"{ble.MOST_DEVICES + 9:012X}") is not None
    assert scanner.waiting <= ble.WAITING
