"""GATT sessions: a health driver, bleak and the virtual BlueZ together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import pytest

from drivers.api import Command, Event, Frame, Instant, Measurement, Send, Transport, Verb
from drivers.gatt_health.driver import GattHealth
from gateway.transports.ble import BleScanner
from gateway.transports.ble_gatt import WAITING_OPERATIONS, GattSession
from protocols.ble import gatt_health as codec
from protocols.ble.gatt_health import BloodPressure, Glucose, RecordAccess, long_uuid
from simulator.wires.bluez import VirtualBluez
from simulator.wires.bluez_device import Characteristic

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs the Debian package dbus-daemon")
MAC = "C8:B2:1E:00:10:01"
TIME = datetime(2026, 11, 22, 16, 28)  # noqa: DTZ001  # the profiles have no zone


def now() -> Instant:
    return Instant(1795336215000, asyncio.get_running_loop().time())


class Home:
    """A driver on a session, as the gateway puts them together."""

    def __init__(self, radio: VirtualBluez) -> None:
        self.radio = radio
        self.driver = GattHealth({}, None)
        self.scanner = BleScanner(now)
        self.session = GattSession(MAC, now, self.take, find=self.scanner.device, operation_s=2)
        self.events: list[Event] = []
        self.peers: list[str] = []

    def take(self, frame: Frame) -> None:
        if frame.transport is Transport.BLE_GATT and not frame.characteristic:
            self.peers.append(frame.peer)
        output = self.driver.receive(frame)
        self.events += output.events
        self.session.send(output.replies)

    @property
    def readings(self) -> list[tuple[str, float]]:
        return [(e.body.quantity.value, e.body.value) for e in self.events if isinstance(e.body, Measurement)]


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with VirtualBluez() as radio:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.address)
        found = Home(radio)
        tasks = [asyncio.create_task(found.scanner.run(found.take)), asyncio.create_task(found.session.run())]
        await radio.wait_scanned()
        yield found
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    gc.collect()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(8):
        while not holds():
            await asyncio.sleep(0.002)


@needs_bus
async def test_a_cuff_is_emptied_when_it_advertises(home: Home) -> None:
    radio = home.radio

    async def flush() -> None:
        await radio.notify(MAC, "2a35", codec.encode(BloodPressure(138, 92, 107, "mmHg", TIME, True, 76)))
        await radio.drop(MAC)

    tasks: list[asyncio.Task[None]] = []
    cuff = Characteristic("2a35", ("indicate",), on_subscribe=lambda: tasks.append(asyncio.create_task(flush())))
    radio.add_gatt_device(MAC, {"1810": [cuff]})
    await radio.advertise(MAC, service_uuids=["1810"])
    await until(lambda: "disconnected" in home.peers)
    assert home.peers == ["connected", "disconnected"]
    assert home.readings == [("systolic", 138), ("diastolic", 92), ("mean_arterial", 107), ("pulse_rate", 76)]


@needs_bus
async def test_a_glucose_meter_is_asked_answers_and_is_let_go(home: Home) -> None:
    radio = home.radio

    def answer(data: bytes) -> None:
        async def report() -> None:
            for number in range(5):
                await radio.notify(MAC, "2a18", codec.encode(Glucose(number, TIME, None, 0.005 + number / 1000, "mol/L", 1, 1)))
            await radio.notify(MAC, "2a52", codec.encode(RecordAccess(6, 0, b"\x01\x01")))

        tasks.append(asyncio.create_task(report()))

    tasks: list[asyncio.Task[None]] = []
    access = Characteristic("2a52", ("write", "indicate"), on_write=answer)
    radio.add_gatt_device(
        MAC, {"1808": [Characteristic("2a18", ("notify",)), access], "180f": [Characteristic("2a19", ("read",), b"\x37")]}
    )
    await radio.advertise(MAC, service_uuids=["1808"])
    await until(lambda: "disconnected" in home.peers)
    assert access.written == [b"\x01\x01"]
    assert [value for _, value in home.readings] == [5, 6, 7, 8, 9]
    assert home.session.counts["absent"] == 1, "this meter has no 2A34"
    assert not radio.devices[MAC].is_connected


@needs_bus
async def test_a_device_that_cannot_be_connected_is_told_and_tried_again(home: Home) -> None:
    await home.radio.advertise(MAC, service_uuids=["1809"])
    await until(lambda: home.peers)
    assert home.peers[0].startswith("failed: ")
    assert home.session.counts["dropped"] == 2, "the rest of the list is of no use"


@needs_bus
async def test_the_bus_dies_during_a_connection(home: Home) -> None:
    home.radio.add_gatt_device(MAC, {"1809": [Characteristic("2a1c", ("indicate",))]})
    await home.radio.advertise(MAC, service_uuids=["1809"])
    await until(lambda: home.session.is_connected and home.radio.characteristic(MAC, "2a1c").is_notifying)
    await home.radio.stop()
    await until(lambda: "disconnected" in home.peers)
    assert not home.session.is_connected


@needs_bus
async def test_a_cancelled_session_hangs_up(home: Home) -> None:
    home.radio.add_gatt_device(MAC, {"1809": [Characteristic("2a1c", ("indicate",))]})
    await home.radio.advertise(MAC, service_uuids=["1809"])
    await until(lambda: home.session.is_connected and home.radio.characteristic(MAC, "2a1c").is_notifying)
    second = GattSession(MAC, now, lambda _: None, find=home.scanner.device)
    task = asyncio.create_task(second.run())
    second.send([Send(op="connect")])
    await until(lambda: second.is_connected)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: not home.radio.devices[MAC].is_connected)


async def test_a_device_that_was_never_heard_fails_at_once() -> None:
    told: list[str] = []
    session = GattSession(MAC, now, lambda frame: told.append(frame.peer), find=lambda _: None)
    task = asyncio.create_task(session.run())
    session.send(GattHealth({}, MAC).command(Command(id="c1", verb=Verb.QUERY, device="x"), now()).replies)
    await until(lambda: told)
    task.cancel()
    assert told == ["failed: not heard yet, it must advertise first"]


async def test_a_driver_that_asks_without_end_is_bounded() -> None:
    session = GattSession(MAC, now, lambda _: None, find=lambda _: None)
    session.send([Send(op="read", to=long_uuid("2a19"))] * (WAITING_OPERATIONS + 5))
    assert session.counts["dropped"] == 5
