"""One port that knows every tracker: real sockets, the real listener, a real store."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers import registry
from drivers.api import Driver, Frame, Instant, Match, Occurrence, OccurrenceKind, Options, Transport
from drivers.conformance import read_vectors
from gateway.clock import VirtualClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import ListenSection
from gateway.store.contract import Batch
from gateway.store.sqlite import SqliteStore
from gateway.transports import tcp
from gateway.transports.tcp import TcpListener, candidates, verdicts_on
from gateway.transports.udp import UdpListener
from protocols.checksum import crc16_x25
from protocols.tracker import eelink, wristband, xexun2
from tests.gateway.store_tools import opened

WAIT_S = 20.0
"""The longest that an answer may take on a busy machine; no test waits for it to pass."""


class Talk(msgspec.Struct, frozen=True):
    """First bytes of a driver's own vectors, and what answers them."""

    driver: str
    data: bytes
    answer: bytes
    device: str


def talks(transport: Transport = Transport.TCP) -> list[Talk]:
    """For each tracker on this wire the first vector whose first frame shows a device."""
    found = []
    for driver in candidates("auto", transport):
        name = driver.info.name
        for vector in read_vectors(registry.folder(name) / "vectors.jsonl"):
            first = vector["frames"][0]
            if not isinstance(first, str) or vector.get("options") or vector.get("device"):
                continue
            data = bytes.fromhex(first)
            if driver.match(frame_of(data, transport)) is not Match.YES:  # type: ignore[attr-defined]  # candidates can match
                continue
            output = driver({}, None).receive(frame_of(data, transport))
            answer = b"".join(send.data for send in output.replies + output.acks)
            if output.device and not output.rejects and (answer or name in SILENT):
                found.append(Talk(name, data, answer, output.device))
                break
    return found


SILENT = frozenset({"minifinder", "megastek"})
"""Protocols in which the server never answers a report."""


def frame_of(data: bytes, transport: Transport = Transport.TCP) -> Frame:
    return Frame(data=data, received=Instant(1795336215000, 1000.0), transport=transport)


class Port:
    """A listener with `driver = "auto"` and what the pipeline behind it tells."""

    def __init__(self, store: SqliteStore, inventory: Inventory, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.store = store
        self.pipeline = Pipeline(self.clock, inventory, store)
        self.events: list[Any] = []
        self.sessions: list[Session] = []
        self.detached: list[Session] = []
        self.pipeline.on_event.append(self.events.append)
        wire = settings.get("transport", "tcp")
        section = ListenSection(port=0, host="127.0.0.1", **settings)
        common: dict[str, Any] = {"make": self._session, "detach": self.detached.append, "room": store.has_room}
        found = candidates("auto", Transport(wire))
        self.listener: Any = (TcpListener if wire == "tcp" else UdpListener)(section, self.pipeline, self.clock, candidates=found, **common)

    def _session(self, driver: type[Driver], options: Options) -> Session:
        session = Session(driver, dict(options), None, lambda sends: None)
        self.sessions.append(session)
        return session

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port)

    async def say(self, data: bytes, answer: bytes, *, piece: int = 0) -> bytes:
        """Connect, send, and give what comes back."""
        reader, writer = await self.connect()
        step = piece or len(data)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(reader.readexactly(len(answer)), WAIT_S) if answer else b""
        finally:
            writer.close()

    async def settle(self) -> None:
        await self.store.append(Batch(urgent=True))
        await asyncio.sleep(0)


@asynccontextmanager
async def port(path: Path, *devices: Device, **settings: Any) -> AsyncIterator[Port]:
    async with opened(path, commit_ms=5) as store:
        opened_port = Port(store, Inventory(list(devices), accept_any=not devices), **settings)
        await opened_port.listener.start()
        try:
            yield opened_port
        finally:
            await opened_port.listener.stop()


TALKS = talks()
DATAGRAMS = talks(Transport.UDP)


def ids(found: list[Talk]) -> list[Any]:
    return [pytest.param(talk, id=talk.driver) for talk in found]


def test_every_tracker_can_tell_its_first_bytes() -> None:
    expected = {"watch", "trv", "minifinder", "minifinder2", "gt06", "topin", "jt808", "h02", "eelink", "wristband", "xexun2"}
    expected |= {"gps103", "megastek", "pt60", "pt215", "gl200"}
    assert expected <= {talk.driver for talk in TALKS}
    assert {"eelink", "h02", "jt808"} <= {talk.driver for talk in DATAGRAMS}


@pytest.mark.parametrize("talk", ids(TALKS))
async def test_the_first_bytes_choose_the_protocol(talk: Talk, tmp_path: Path) -> None:
    async with port(tmp_path) as opened_port:
        assert await opened_port.say(talk.data, talk.answer) == talk.answer
        while not (opened_port.sessions and opened_port.sessions[0].device):
            await asyncio.sleep(0)
        assert [(session.name, session.device) for session in opened_port.sessions] == [(talk.driver, talk.device)]


@pytest.mark.parametrize("talk", ids([talk for talk in TALKS if talk.answer]))
async def test_one_byte_at_a_time_chooses_the_same(talk: Talk, tmp_path: Path) -> None:
    async with port(tmp_path) as opened_port:
        assert await opened_port.say(talk.data, talk.answer, piece=1) == talk.answer
        assert [session.name for session in opened_port.sessions] == [talk.driver]


@pytest.mark.parametrize("talk", ids(TALKS))
def test_no_prefix_is_ever_claimed_by_two(talk: Talk) -> None:
    drivers = candidates("auto", Transport.TCP)
    for size in range(1, len(talk.data) + 1):
        verdicts = verdicts_on(frame_of(talk.data[:size]), drivers)
        certain = {driver.info.name for driver, match in verdicts if match is Match.YES}
        possible = {driver.info.name for driver, match in verdicts if match is not Match.NO}
        assert certain <= {talk.driver}, (size, certain)
        assert talk.driver in possible, size
        if certain and possible == certain:
            return
    raise AssertionError("the whole frame does not decide")


@pytest.mark.parametrize("talk", ids(DATAGRAMS))
async def test_a_datagram_chooses_its_protocol(talk: Talk, tmp_path: Path) -> None:
    async with port(tmp_path, transport="udp") as opened_port:
        got: asyncio.Queue[bytes] = asyncio.Queue()

        class Peer(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                got.put_nowait(data)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Peer, remote_addr=("127.0.0.1", opened_port.listener.port))
        transport.sendto(b"\xff\xff junk")
        transport.sendto(talk.data)
        back = b""
        while len(back) < len(talk.answer):
            back += await asyncio.wait_for(got.get(), WAIT_S)
        transport.close()
        assert back == talk.answer
        assert [session.name for session in opened_port.sessions] == [talk.driver]
        assert opened_port.listener.counts["unrecognised"] == 1


def gt06_login(serial: int) -> bytes:
    body = bytes.fromhex("0d010861234567890124") + serial.to_bytes(2, "big")
    return b"\x78\x78" + body + crc16_x25(body).to_bytes(2, "big") + b"\r\n"


TOPIN_LOGIN = bytes.fromhex("78780d01086123456789012401 0d0a".replace(" ", ""))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (gt06_login(1), "gt06"),
        (gt06_login(0x0D0A), "gt06"),
        (TOPIN_LOGIN, "topin"),
        (TOPIN_LOGIN + bytes.fromhex("787801080d0a"), "topin"),
        (b"\x79\x79\x00\x06\x94\x00\x00\x01\x00\x00\r\n", "gt06"),
        (b"*HQ,4210051415,V1,083000,", "h02"),
        (bytes.fromhex("24421005141508300022112631138250"), "h02"),
        (b"[3G*8800000015*0002*LK]", "watch"),
        (b"IWAP00353456789012345#", "trv"),
        (b"TRVAP00353456789012345#", "trv"),
        (b"!1,860719020212696;", "minifinder"),
        (eelink.write_login("861234567890124"), "eelink"),
        (eelink.datagram("861234567890124", eelink.write_login("861234567890124")), "eelink"),
        (wristband.encode(wristband.Message("861234567890124", 1, "94,1")), "wristband"),
        (xexun2.write_records("861234567890124", [xexun2.Record(1795336200, 9, 50, False)]), "xexun2"),
        (b"$MGV002,861234567890124,,R,", "megastek"),
        (b"0132$MGV002,8612345678", "megastek"),
        (b"STX,dev1,$GPRMC,", "megastek"),
        (b"##,imei:861234567890124,A;", "gps103"),
        (b"imei:861234567890124,help me,", "gps103"),
        (b"861234567890124;", "gps103"),
        (b"@G#@,V01,13,", "pt60"),
        (b"@B#@|01|003|", "pt60"),
        (b"XX\x0d\x01\x08\x61\x23\x45", "pt215"),
        (b"+RESP:GTFRI,1A0800,", "gl200"),
        (b"+BUFF:GTSOS,1A0800,", "gl200"),
        (b"+ACK:GTHBD,1A0800,", "gl200"),
    ],
)
def test_ambiguous_starts_are_decided_by_more_bytes(data: bytes, name: str) -> None:
    drivers = candidates("auto", Transport.TCP)
    for order in (drivers, drivers[::-1]):
        verdicts = verdicts_on(frame_of(data), order)
        assert [driver.info.name for driver, match in verdicts if match is Match.YES] == [name]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xff" * 64, b"SSH-2.0-x\r\n", b"$\xff$", b"\x00" * 64]
)
async def test_strangers_and_floods_are_cut_off_without_an_answer(data: bytes, tmp_path: Path) -> None:
    async with port(tmp_path) as opened_port:
        reader, writer = await opened_port.connect()
        writer.write(data)
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()
        assert opened_port.sessions == []
        assert opened_port.listener.counts["unrecognised"] == 1


async def test_silence_is_closed_after_the_login_time(tmp_path: Path) -> None:
    async with port(tmp_path, login_s=30.0) as opened_port:
        reader, writer = await opened_port.connect()
        writer.write(b"\x78")
        while not any(connection._first for connection in opened_port.listener.connections):
            await asyncio.sleep(0)
        opened_port.clock.advance(31)
        for connection in list(opened_port.listener.connections):
            connection.sweep(opened_port.clock.now().s)
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()


async def test_a_malicious_device_does_not_touch_its_neighbours(tmp_path: Path) -> None:
    sos = eelink.write_report(eelink.WARNING, eelink.Block(1795336200, alarm=2), serial=9)
    login = eelink.write_login("861234567890124")
    dice = random.Random(20261122)
    async with port(tmp_path) as opened_port:
        _, bad = await opened_port.connect()
        bad.write(eelink.write_login("999999999999999"))
        honest_in, honest = await opened_port.connect()
        honest.write(login)
        for _ in range(50):
            bad.write(dice.choice((b"\x67\x67\x12\x07\xff", b"\xff" * 4000, b"EL\x07\xff", dice.randbytes(900))))
            await asyncio.sleep(0)
        honest.write(sos)
        back = await asyncio.wait_for(honest_in.readexactly(14 + 7), WAIT_S)
        assert back[14:] == bytes.fromhex("67671400020009")
        assert [e.device for e in opened_port.events if isinstance(e.body, Occurrence) and e.body.kind is OccurrenceKind.SOS] == [
            "eelink:861234567890124"
        ]
        bad.close()
        honest.close()


async def test_a_login_storm_is_answered(tmp_path: Path) -> None:
    answered = [talk for talk in TALKS if talk.answer]
    async with port(tmp_path) as opened_port:
        crowd = [answered[number % len(answered)] for number in range(300)]
        backs = await asyncio.gather(*(opened_port.say(talk.data, talk.answer) for talk in crowd))
        assert [len(back) for back in backs] == [len(talk.answer) for talk in crowd]
        assert len(opened_port.sessions) == 300
        assert opened_port.pipeline.counts.balanced


async def test_a_stranger_gets_no_answer_and_is_listed(tmp_path: Path) -> None:
    async with port(tmp_path, Device(device="watch:1", driver="watch")) as opened_port:
        reader, writer = await opened_port.connect()
        writer.write(eelink.write_login("861234567890124"))
        while not opened_port.sessions:
            await asyncio.sleep(0)
        await opened_port.settle()
        assert opened_port.store.query("SELECT device FROM discovered") == [("eelink:861234567890124",)]
        writer.write_eof()
        for connection in list(opened_port.listener.connections):
            connection.shut("test ends")
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()


async def test_options_of_a_device_do_not_cost_the_first_bytes_of_its_first_frame(tmp_path: Path) -> None:
    """The driver starts over with the device's own options once it is known: nothing that came before may be lost."""
    device = Device(device="xexun2:861234567890124", driver="xexun2", options={"datum": "gcj02"})
    record = xexun2.Record(1795336200, 9, 50, False, alarms=1, lat=31.2, lon=121.4)
    frame = xexun2.write_records("861234567890124", [record], serial=3)
    answer = xexun2.encode(xexun2.Message(0x14, 3, "861234567890124", b"\x01"))
    async with port(tmp_path, device) as opened_port:
        assert await opened_port.say(frame, answer, piece=7) == answer
        bodies = [event.body for event in opened_port.events]
        assert [body.kind.value for body in bodies if isinstance(body, Occurrence)] == ["sos"]
        assert [str(body.datum) for body in bodies if hasattr(body, "datum")] == ["gcj02"]


async def test_a_matcher_that_fails_costs_nobody_else(tmp_path: Path) -> None:
    class Broken:
        info = registry.load("watch").info

        @classmethod
        def match(cls, frame: Frame) -> Match:
            raise ValueError("boom")

    verdicts = tcp.verdicts_on(frame_of(b"[3G*8800000015*0002*LK]"), [Broken, registry.load("watch")])  # type: ignore[list-item]  # half a driver on purpose
    assert [match for _, match in verdicts][-1] is Match.YES
    assert Match.MORE not in [match for _, match in verdicts]


async def test_a_crowd_at_the_door_is_let_in_a_few_at_a_time(tmp_path: Path) -> None:
    async with port(tmp_path) as opened_port:
        connections = opened_port.listener.connections
        crowd = [socket.create_connection(("127.0.0.1", opened_port.listener.port)) for _ in range(200)]
        try:
            before = 0
            while len(connections) < len(crowd):
                await asyncio.sleep(0)
                assert len(connections) - before <= tcp.ACCEPTS_PER_TURN
                before = len(connections)
        finally:
            for each in crowd:
                each.close()


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 524288, (20_256, 20_000)),
        (1024, 4096, (4096, 3840)),
        (1024, -1, (20_256, 20_000)),
        (-1, -1, (-1, 20_000)),
        (65536, 65536, (65536, 20_000)),
        (64, 64, (64, 1)),
    ],
)
def test_room_for_connections_leaves_files_to_the_store(soft: int, hard: int, expected: tuple[int, int]) -> None:
    assert tcp.files_for(20_000, soft, hard) == expected
