"""Independent peers on serial lines: pymodbus's own server on a pty, asked by the real gateway."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway import control
from gateway.transports.ports import stable_names
from simulator.devices.modem import SimulatedModem
from tests.conftest import need
from tests.gateway.process import GatewayProcess, Mosquitto, Platform

DEVICES = """device,driver,subject,place
modbus_gas:line1,modbus_gas,,
modbus_gas:kitchen,modbus_gas,r-1,kitchen
modbus_gas:boiler,modbus_gas,r-2,boiler room
"""


@pytest.fixture
def null_modem() -> Iterator[tuple[str, str, Any]]:
    """Two ptys whose masters are joined: what one end writes the other reads."""
    masters, names = [], []
    slaves = []
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        masters.append(master)
        slaves.append(slave)
        names.append(os.ttyname(slave))

    def join(*, on: bool) -> None:
        loop = asyncio.get_running_loop()
        for mine, other in (masters, masters[::-1]):
            if on:
                loop.add_reader(mine, lambda mine=mine, other=other: os.write(other, os.read(mine, 4096)))
            else:
                loop.remove_reader(mine)

    yield names[0], names[1], join
    for fd in masters + slaves:
        os.close(fd)


async def test_two_detectors_on_one_line_one_of_them_dead(tmp_path: Path, null_modem: tuple[str, str, Any]) -> None:
    ours, theirs, join = null_modem
    join(on=True)
    cloud = Mosquitto(tmp_path / "cloud").start()
    alarm = {"now": 0}

    async def action(*request: Any) -> None:
        # pymodbus: (function, start, address, count, registers, values)
        request[4][1] = alarm["now"]

    def silent(sending: bool, data: bytes) -> bytes:
        return b"" if sending and data[:1] == b"\x09" else data

    device = SimDevice(1, simdata=[SimData(0, values=[123, 0, 0, 0, 0, 0], datatype=DataType.REGISTERS)], action=action)
    server = ModbusSerialServer(device, port=theirs, baudrate=9600, trace_packet=silent)
    serving = asyncio.create_task(server.serve_forever())
    sections = f"""
[[serial]]
port = "{ours}"
driver = "modbus_gas"
device = "line1"
baud = 9600
[serial.options]
poll_s = 0.2
timeout_s = 0.2
detectors = [{{unit = 1, profile = "combustible-u16", name = "kitchen"}}, {{unit = 9, profile = "combustible-u16", name = "boiler"}}]
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(tmp_path / "gw", DEVICES, sections)

    def seen(device: str, **body: Any) -> bool:
        return any(e["data"]["device"] == device and all(e["data"]["body"].get(k) == v for k, v in body.items()) for e in platform.events)

    try:
        async with Platform(cloud.port) as platform:
            await asyncio.to_thread(gateway.start)
            await platform.until(lambda: seen("modbus_gas:kitchen", quantity="gas_lel", value=12.3))
            await platform.until(lambda: seen("modbus_gas:boiler", kind="offline", state="start"))
            alarm["now"] = 2
            await platform.until(lambda: seen("modbus_gas:kitchen", kind="gas", state="start"))
            alarm["now"] = 0
            await platform.until(lambda: seen("modbus_gas:kitchen", kind="gas", state="end"))
            assert gateway.status()["frames"]["balanced"]
    finally:
        gateway.close()
        cloud.stop()
        await server.shutdown()
        await asyncio.gather(serving, return_exceptions=True)
        join(on=False)


def test_a_port_is_named_by_its_adapter_before_its_socket(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    for folder, name in (("by-path", "pci-0:1"), ("by-id", "usb-FTDI_1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).symlink_to(port)
    assert stable_names((tmp_path / "by-id", tmp_path / "by-path")) == {str(port): str(tmp_path / "by-id" / "usb-FTDI_1")}


class ModemLine:
    """A simulated modem on a pty, served by a thread, so that blocking programs may talk to it."""

    def __init__(self) -> None:
        self.modem = SimulatedModem()
        self._near, self._far = os.openpty()
        tty.setraw(self._near)
        tty.setraw(self._far)
        self.port = os.ttyname(self._far)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, what: Callable[[SimulatedModem], bytes]) -> None:
        with self._lock:
            os.write(self._near, what(self.modem))

    def close(self) -> None:
        os.close(self._far)
        self._thread.join(5)
        os.close(self._near)

    def _serve(self) -> None:
        while True:
            try:
                data = os.read(self._near, 4096)
            except OSError:
                return
            with self._lock:
                answer = self.modem.receive(data)
                if answer:
                    os.write(self._near, answer)


@pytest.fixture
def line() -> Iterator[ModemLine]:
    found = ModemLine()
    yield found
    found.close()


def test_a_foreign_client_accepts_our_modem_and_sends_chinese(tmp_path: Path, line: ModemLine) -> None:
    gammu = need("gammu")
    (tmp_path / "gammurc").write_text(f"[gammu]\nport={line.port}\nconnection=at115200\nsynchronizetime=no\n")

    def run(*args: str) -> str:
        done = subprocess.run([gammu, "-c", str(tmp_path / "gammurc"), *args], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "866123456789012" in run("identify")
    run("sendsms", "TEXT", "+8613800138000", "-unicode", "-text", "王阿姨 紧急求助")
    assert [(sent.number, sent.text) for sent in line.modem.sent] == [("+8613800138000", "王阿姨 紧急求助")]


async def test_a_one_key_phone_calls_and_a_text_goes_out_through_the_gateway(tmp_path: Path, line: ModemLine) -> None:
    cloud = Mosquitto(tmp_path / "cloud").start()
    devices = "device,driver,subject\ngsm_phone:modem,gsm_phone,\ngsm_phone:phone-7,gsm_phone,r-7\n"
    sections = f"""
[[serial]]
port = "{line.port}"
driver = "gsm_phone"
device = "modem"
[serial.options]
numbers = [{{number = "13900000007", device = "phone-7", key = "sos"}}]
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(tmp_path / "gw", devices, sections)
    try:
        async with Platform(cloud.port) as platform:
            await asyncio.to_thread(gateway.start)
            await platform.until(lambda: any(e["data"]["body"].get("signal") is not None for e in platform.events))
            line.say(lambda modem: modem.ring("13900000007"))
            await platform.until(lambda: "sos" in platform.kinds())
            sos = next(e["data"] for e in platform.events if e["data"]["body"].get("kind") == "sos")
            assert (sos["device"], sos["subject"]) == ("gsm_phone:phone-7", "r-7")
            command = {"id": "s1", "verb": "send_sms", "device": "gsm_phone:modem", "args": {"number": "13800138000", "text": "请回电"}}
            answer = await asyncio.to_thread(control.ask, gateway.data, {"do": "command", "command": command, "wait_s": 10}, timeout_s=20)
            assert answer["answers"][-1]["status"] == "done", answer
            assert line.modem.sent[-1].text == "请回电"
    finally:
        gateway.close()
        cloud.stop()


async def test_kodi_is_reached_over_tcp_and_its_red_key_calls_for_help(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def kodi(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"jsonrpc":"2.0","method":"Other.sos","params":{"data":{"key":"red"},"sender":"anhu"}}')
        try:
            while data := await reader.read(4096):
                asked.append(data)
        finally:
            writer.close()

    server = await asyncio.start_server(kodi, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cloud = Mosquitto(tmp_path / "cloud").start()
    sections = f"""
[[serial]]
port = "socket://127.0.0.1:{port}"
driver = "kodi"
device = "tv"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {cloud.port}
"""
    gateway = GatewayProcess(tmp_path / "gw", "device,driver,subject\nkodi:tv,kodi,r-1\n", sections)
    try:
        async with Platform(cloud.port) as platform:
            await asyncio.to_thread(gateway.start)
            await platform.until(lambda: "sos" in platform.kinds())
            command = {"id": "k1", "verb": "message", "device": "kodi:tv", "args": {"text": "吃药"}}
            await asyncio.to_thread(control.ask, gateway.data, {"do": "command", "command": command, "wait_s": 0.5})
            assert any(b"GUI.ShowNotification" in data for data in asked)
    finally:
        gateway.close()
        cloud.stop()
        server.close()
