"""Independent peers on serial lines: pymodbus's own server on a pty, asked by the real gateway."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.transports.ports import stable_names
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
