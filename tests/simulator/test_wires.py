from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from simulator.errors import SimulatorError
from simulator.wires.air import AirWire
from simulator.wires.mqtt import MqttWire
from simulator.wires.pty import PtyWire
from simulator.wires.tcp import TcpWire
from simulator.wires.udp import UdpWire
from simulator.wires.wire import Wire

ALL_BYTES = bytes(range(256)) * 4


class Ear:
    def __init__(self) -> None:
        self.ups = self.downs = 0
        self.heard = b""
        self.topics: list[str] = []
        self._stirred = asyncio.Event()

    def up(self) -> None:
        self.ups += 1
        self._stirred.set()

    def down(self) -> None:
        self.downs += 1
        self._stirred.set()

    def receive(self, data: bytes, to: str) -> None:
        self.heard += data
        self.topics.append(to)
        self._stirred.set()

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_true():
                self._stirred.clear()
                await self._stirred.wait()


@asynccontextmanager
async def running(wire: Wire, ear: Ear) -> AsyncIterator[None]:
    task = asyncio.create_task(wire.run(ear))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)  # lets the handlers see the end of their connections


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def test_tcp_carries_every_byte_both_ways() -> None:
    async with listening(echo) as port:
        wire, ear = TcpWire("127.0.0.1", port), Ear()
        async with running(wire, ear):
            await ear.until(lambda: ear.ups == 1)
            assert wire.send(ALL_BYTES)
            await ear.until(lambda: ear.heard == ALL_BYTES)
        assert (wire.stats.sent_bytes, wire.stats.received_bytes) == (1024, 1024)
    assert not wire.send(b"after the end")


async def test_tcp_comes_back_after_the_server_hung_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(hang_up) as port:
        wire, ear = TcpWire("127.0.0.1", port), Ear()
        async with running(wire, ear):
            await ear.until(lambda: ear.ups == 2)
        assert wire.stats.connects == 2
        assert ear.downs >= 1


async def test_tcp_reports_a_target_that_refuses_and_tries_on() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wire, ear = TcpWire("127.0.0.1", port), Ear()
    async with running(wire, ear):
        async with asyncio.timeout(10):
            while wire.stats.failures < 2:
                await asyncio.sleep(0.02)
    assert "refused" in wire.stats.last_failure.lower() or "111" in wire.stats.last_failure
    assert not wire.send(b"x")


async def test_tcp_refuses_bytes_when_the_peer_does_not_read() -> None:
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()
        writer.transport.abort()

    async with listening(deaf) as port:
        wire, ear = TcpWire("127.0.0.1", port), Ear()
        async with running(wire, ear):
            await ear.until(lambda: ear.ups == 1)
            for _ in range(1000):
                wire.send(bytes(65536))
            assert wire.stats.refused > 0
            assert wire.stats.sent_bytes < 10_000_000
        over.set()
        await asyncio.sleep(0)


async def test_udp_datagrams_go_both_ways() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        wire, ear = UdpWire("127.0.0.1", server.getsockname()[1]), Ear()
        async with running(wire, ear):
            await ear.until(lambda: ear.ups == 1)
            wire.send(b"hello")
            data, peer = await loop.sock_recvfrom(server, 100)
            await loop.sock_sendto(server, data + b"!", peer)
            await ear.until(lambda: ear.heard == b"hello!")


async def test_a_pty_is_raw_on_both_ends_and_leaves_nothing(tmp_path: Path) -> None:
    wire, ear = PtyWire(tmp_path / "lines" / "radar"), Ear()
    wire.open()
    before = len(list(Path("/proc/self/fd").iterdir()))
    far = os.open(wire.link, os.O_RDWR | os.O_NOCTTY)
    async with running(wire, ear):
        await ear.until(lambda: ear.ups == 1)
        assert wire.send(ALL_BYTES)
        got = b""
        while len(got) < len(ALL_BYTES):
            got += os.read(far, 4096)
        assert got == ALL_BYTES
        os.write(far, ALL_BYTES)
        await ear.until(lambda: ear.heard == ALL_BYTES)
    os.close(far)
    assert not wire.link.is_symlink()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before - 2


async def test_a_pty_survives_a_far_end_that_closes_and_opens_again(tmp_path: Path) -> None:
    wire, ear = PtyWire(tmp_path / "radar"), Ear()
    async with running(wire, ear):
        await ear.until(lambda: ear.ups == 1)
        for _ in range(2):
            far = os.open(wire.link, os.O_RDWR | os.O_NOCTTY)
            assert wire.send(b"frame")
            assert os.read(far, 100) == b"frame"
            os.close(far)


async def test_a_line_that_nobody_reads_loses_bytes_and_counts_them(tmp_path: Path) -> None:
    wire, ear = PtyWire(tmp_path / "radar"), Ear()
    async with running(wire, ear):
        await ear.until(lambda: ear.ups == 1)
        for _ in range(1000):
            wire.send(bytes(100))
        assert wire.stats.refused > 0


def test_a_pty_never_replaces_a_file(tmp_path: Path) -> None:
    precious = tmp_path / "radar"
    precious.write_text("data")
    with pytest.raises(SimulatorError, match="got a file"):
        PtyWire(precious).open()
    assert precious.read_text() == "data"


async def test_adverts_reach_the_radio_in_order() -> None:
    class Radio:
        def __init__(self) -> None:
            self.heard: list[tuple[str, dict[str, bytes], int]] = []

        async def advertise(self, mac: str, service_data: dict[str, bytes], rssi: int = -60) -> None:
            self.heard.append((mac, service_data, rssi))

    radio, ear = Radio(), Ear()
    wire = AirWire(radio, "A4:C1:38:00:00:01", rssi_dbm=-70)
    async with running(wire, ear):
        wire.send(b"\x01", "uuid")
        wire.send(b"\x02", "uuid")
        async with asyncio.timeout(5):
            while len(radio.heard) < 2:
                await asyncio.sleep(0)
    assert radio.heard == [("A4:C1:38:00:00:01", {"uuid": data}, -70) for data in (b"\x01", b"\x02")]


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    program = shutil.which("mosquitto")
    if program is None:
        pytest.skip("needs the Debian package mosquitto (apt-get install mosquitto)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(tmp_path / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(5)


async def test_mqtt_sends_with_qos_1_what_was_queued_before_the_connection_and_hears_its_topic(broker: int) -> None:
    wire, ear = MqttWire("127.0.0.1", broker, client_id="sim-1", topics=["anhu/dev/k1/down"]), Ear()
    wire.send(b'{"n":1}', "anhu/dev/k1/up")
    async with running(wire, ear):
        await ear.until(lambda: ear.ups == 1)
        async with aiomqtt.Client("127.0.0.1", broker) as other:
            await other.subscribe("anhu/dev/k1/up", qos=1)
            wire.send(b'{"n":2}', "anhu/dev/k1/up")
            async with asyncio.timeout(10):
                message = await anext(other.messages)
                assert message.payload in (b'{"n":1}', b'{"n":2}')
                assert message.qos == 1
                await other.publish("anhu/dev/k1/down", b"valve", qos=1)
                await ear.until(lambda: ear.heard == b"valve")
        assert ear.topics == ["anhu/dev/k1/down"]
    assert wire.unsent == 0


async def test_mqtt_keeps_messages_while_nobody_listens_and_drops_the_oldest_when_full() -> None:
    wire = MqttWire("127.0.0.1", 1)
    for n in range(1001):
        wire.send(b"%d" % n, "t")
    assert (wire.unsent, wire.stats.refused) == (1000, 1)
