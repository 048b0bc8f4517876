"""The native MQTT listener: what devices may, and when they are answered."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.accounts import dismiss, enroll
from protocols.mqtt.wire import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    WillMessage,
)
from tests.conftest import need
from tests.gateway.certificates import Authority
from tests.gateway.mqtt_front import PASSWORD, Client, front, gas

versions = pytest.mark.parametrize("version", [4, 5])


def subscribe(pattern: str, qos: int = 1, packet_id: int = 9) -> Subscribe:
    return Subscribe(packet_id, (Subscription(pattern, qos),))


@versions
async def test_an_acknowledgement_follows_the_commit(tmp_path: Path, version: int) -> None:
    async with front(tmp_path, commit_ms=60_000) as f, Client(f.port, version=version) as c:
        await c.login()
        c.send(gas("a", kind="door_open"))
        assert await c.silence(), "the event waits for company, its PUBACK with it"
        c.send(gas("b", packet_id=2))
        assert [await c.next(), await c.next()] == [PubAck(1), PubAck(2)]
        assert f.refs() == ["a", "b"]


@versions
async def test_qos_0_is_heard_too(tmp_path: Path, version: int) -> None:
    async with front(tmp_path) as f, Client(f.port, version=version) as c:
        await c.login()
        c.send(gas("a", qos=0))
        await f.until(lambda: f.refs() == ["a"])


@versions
async def test_qos_2_is_taken_exactly_once(tmp_path: Path, version: int) -> None:
    async with front(tmp_path) as f, Client(f.port, version=version) as c:
        await c.login(clean=False, **({"session_expiry_s": 60} if version == 5 else {}))
        c.send(gas("a", qos=2, packet_id=7))
        assert await c.next() == PubRec(7)
        c.send(gas("a", qos=2, packet_id=7, dup=True))
        assert await c.next() == PubRec(7), "the answer was lost, the message was not"
        async with Client(f.port, version=version) as again:
            found = await again.login(clean=False, **({"session_expiry_s": 60} if version == 5 else {}))
            assert found.session_present
            again.send(gas("a", qos=2, packet_id=7, dup=True), PubRel(7))
            assert [await again.next(), await again.next()] == [PubRec(7), PubComp(7)]
            again.send(gas("b", qos=2, packet_id=7))
            assert await again.next() == PubRec(7), "the id is free again"
            again.send(PubRel(7), PubRel(8))
            assert [await again.next(), await again.next()] == [PubComp(7), PubComp(8, 0x92 if version == 5 else 0)]
        assert f.pipeline.counts.frames == 2
        assert f.refs() == ["a", "b"]


@versions
async def test_a_qos_2_message_that_comes_again_before_its_commit_is_answered_once_it_is_on_disk(tmp_path: Path, version: int) -> None:
    more: dict[str, Any] = {"session_expiry_s": 60} if version == 5 else {}
    async with front(tmp_path, commit_ms=60_000) as f, Client(f.port, version=version) as c:
        await c.login(clean=False, **more)
        c.send(gas("a", qos=2, packet_id=7, kind="door_open"))
        assert await c.silence()
        async with Client(f.port, version=version) as again:
            await again.login(clean=False, **more)
            again.send(gas("a", qos=2, packet_id=7, dup=True, kind="door_open"))
            assert await again.silence()
            again.send(gas("b", packet_id=8))
            found = [await again.next(), await again.next()]
            assert PubRec(7) in found
            assert PubAck(8) in found
        assert f.pipeline.counts.frames == 2


@versions
async def test_a_topic_of_another_device_is_neither_heard_nor_written(tmp_path: Path, version: int) -> None:
    async with front(tmp_path) as f, Client(f.port, "gas-1", version) as c:
        await c.login()
        refused = 0x87 if version == 5 else 0
        c.send(gas("x", name="gas-2"), gas("y", name="gas-2", qos=2, packet_id=2), gas("z", name="gas-2", qos=0))
        assert [await c.next(), await c.next()] == [PubAck(1, refused), PubRec(2, refused)]
        for pattern in ("anhu/dev/gas-2/down", "anhu/dev/+/down", "#", "anhu/#", "+/+/+/down", "$SYS/#", "anhu/dev/gas-1", "zigbee2mqtt/#"):
            c.send(subscribe(pattern))
            allowed = pattern == "anhu/dev/gas-1"
            assert await c.next() == SubAck(9, (1 if allowed else 0x87 if version == 5 else 0x80,)), pattern
        c.send(gas("mine", packet_id=3))
        assert await c.next() == PubAck(3)
        assert f.refs() == ["mine"]
        f.listener.publish("anhu/dev/gas-2/down", b"secret")
        assert await c.silence()


async def test_an_account_with_rights_speaks_below_its_own_filters(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port, "zigbee", 5) as c:
        await c.login()
        c.send(Publish("zigbee2mqtt/kitchen", b"{}", 1, packet_id=1), gas("x", packet_id=2), subscribe("zigbee2mqtt/+/set"))
        # Nobody here listens to Zigbee: permitted, and no subscriber.
        found = [await c.next(), await c.next(), await c.next()]
        assert all(packet in found for packet in (PubAck(1), PubAck(2, 0x87), SubAck(9, (1,))))


@versions
async def test_commands_reach_the_device_and_are_sent_again_until_taken(tmp_path: Path, version: int) -> None:
    more: dict[str, Any] = {"session_expiry_s": 600} if version == 5 else {}
    async with front(tmp_path) as f:
        assert not f.listener.publish("anhu/dev/gas-1/down", b"to nobody")
        async with Client(f.port, version=version) as c:
            assert not (await c.login(clean=False, **more)).session_present
            c.send(subscribe("anhu/dev/gas-1/down", 2))
            assert await c.next() == SubAck(9, (1,))
            assert f.listener.publish("anhu/dev/gas-1/down", b"one")
            first = await c.next()
            assert isinstance(first, Publish)
            assert (first.payload, first.qos, first.dup) == (b"one", 1, False)
        await f.until(lambda: not f.listener.connections)
        assert f.listener.publish("anhu/dev/gas-1/down", b"two")
        async with Client(f.port, version=version) as c:
            assert (await c.login(clean=False, **more)).session_present
            again, second = await c.next(), await c.next()
            assert isinstance(again, Publish)
            assert isinstance(second, Publish)
            assert (again.payload, again.dup, again.packet_id) == (b"one", True, first.packet_id)
            assert (second.payload, second.dup) == (b"two", False)
            c.send(PubAck(again.packet_id), PubAck(second.packet_id), Unsubscribe(3, ("anhu/dev/gas-1/down", "x")))
            assert await c.next() == UnsubAck(3, (0, 0x11) if version == 5 else ())
            assert not f.listener.publish("anhu/dev/gas-1/down", b"three")


async def test_a_session_outlives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port) as c:
        await c.login(clean=False)
        c.send(subscribe("anhu/dev/gas-1/down"))
        await c.next()
        f.listener.publish("anhu/dev/gas-1/down", b"while away")
        await c.next()
    async with front(tmp_path) as f, Client(f.port) as c:
        assert (await c.login(clean=False)).session_present
        found = await c.next()
        assert isinstance(found, Publish)
        assert found.payload == b"while away"
    (tmp_path / "sessions.json").write_text("{ damaged")
    async with front(tmp_path) as f, Client(f.port) as c:
        assert not (await c.login(clean=False)).session_present


async def test_the_devices_window_is_kept(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port, version=5) as c:
        await c.login(receive_maximum=2)
        c.send(subscribe("anhu/dev/gas-1/down"))
        await c.next()
        for n in range(5):
            f.listener.publish("anhu/dev/gas-1/down", b"%d" % n)
        got = [await c.next(), await c.next()]
        assert await c.silence()
        for packet in got:
            assert isinstance(packet, Publish)
            c.send(PubAck(packet.packet_id))
        more = [await c.next(), await c.next()]
        assert [p.payload for p in [*got, *more] if isinstance(p, Publish)] == [b"0", b"1", b"2", b"3"]


@versions
async def test_a_will_is_heard_when_the_connection_dies_and_not_after_a_goodbye(tmp_path: Path, version: int) -> None:
    will = WillMessage("anhu/dev/gas-1/up", b'{"id":"w","kind":"gas","state":"start"}', 1, True)
    async with front(tmp_path) as f:
        async with Client(f.port, version=version) as c:
            await c.login(will=will)
            c.send(Disconnect())
            assert await c.next() is None
        await f.until(lambda: not f.listener.connections)
        assert f.refs() == []
        async with Client(f.port, version=version) as c:
            await c.login(will=will)
        await f.until(lambda: f.refs() == ["w"])


async def test_a_delayed_will_is_void_when_the_device_comes_back(tmp_path: Path) -> None:
    will = WillMessage("anhu/dev/gas-1/up", b'{"id":"w","kind":"gas","state":"start"}', 1, False, {"will_delay_s": 1})
    async with front(tmp_path) as f:
        for _ in range(2):
            async with Client(f.port, version=5) as c:
                await c.login(will=will, session_expiry_s=60)
        await asyncio.sleep(0.3)
        assert f.refs() == []
        await f.until(lambda: f.refs() == ["w"])


@versions
async def test_a_will_on_a_foreign_topic_is_refused_at_the_door(tmp_path: Path, version: int) -> None:
    async with front(tmp_path) as f, Client(f.port, version=version) as c:
        answer = await c.login(will=WillMessage("anhu/dev/gas-2/up", b"{}"))
        assert answer.code == (0x87 if version == 5 else 5)
        assert await c.next() is None


@versions
async def test_the_newest_connection_serves_and_flapping_is_told(tmp_path: Path, version: int) -> None:
    async with front(tmp_path) as f, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(f.port, version=version)) for _ in range(4)]
        for index, client in enumerate(clients):
            await client.login(f"id-{index}")
            if index:
                if version == 5:
                    assert await clients[index - 1].next() == Disconnect(0x8E)
                assert await clients[index - 1].next() is None
        await f.until(lambda: f.kinds() == ["identity_conflict"])
        assert f.events[0].device == "mqtt_json:gas-1"
        clients[-1].send(PingReq())
        assert await clients[-1].next() == PingResp()


async def test_nobody_throws_out_another_by_its_client_id(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port, "gas-1") as one, Client(f.port, "gas-2") as two:
        await one.login("same")
        await two.login("same")
        one.send(PingReq())
        assert await one.next() == PingResp()


@pytest.mark.parametrize("user", ["gas-1", "nobody", "", "+", "gateway", "devices"])
async def test_wrong_credentials_are_refused(tmp_path: Path, user: str) -> None:
    async with front(tmp_path) as f, Client(f.port, user) as c:
        assert (await c.login(password="wrong")).code == 4
        assert await c.next() is None


async def test_credentials_change_under_a_running_gateway(tmp_path: Path) -> None:
    async with front(tmp_path) as f:
        fresh = enroll(f.accounts_file, "new-1")
        async with Client(f.port, "new-1") as c:
            assert (await c.login(password=fresh)).code == 0
        dismiss(f.accounts_file, "gas-1")
        async with Client(f.port, "gas-1") as c:
            assert (await c.login()).code == 4


async def test_retain_is_ignored_and_alarms_count_all_the_same(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port, version=5) as c:
        answer = await c.login()
        assert answer.properties["retain_available"] == 0
        c.send(gas("a", retain=True))
        assert await c.next() == PubAck(1)
        assert f.kinds() == ["gas"]
        c.send(subscribe("anhu/dev/gas-1/#"))
        await c.next()
        assert await c.silence(), "nothing is retained, nothing comes back"


async def test_what_the_server_cannot_do_is_said_in_connack_and_answered_by_the_standard(tmp_path: Path) -> None:
    async with front(tmp_path) as f:
        async with Client(f.port, version=5) as c:
            answer = await c.login("", session_expiry_s=0xFFFFFFFF, keepalive_s=0)
            assert answer.properties["assigned_client_id"] == "gas-1"
            assert answer.properties["session_expiry_s"] == 7 * 24 * 3600
            assert answer.properties["server_keepalive_s"] == 1800
            c.send(subscribe("$share/g/anhu/dev/gas-1/down"))
            assert await c.next() == SubAck(9, (0x9E,))
            c.send(subscribe("anhu/dev/gas-1/down", 0))
            assert await c.next() == SubAck(9, (0,))
        async with Client(f.port, version=5) as c:
            assert (await c.login(authentication_method="SCRAM")).code == 0x8C


async def test_a_device_that_overruns_the_receive_maximum_is_told_so(tmp_path: Path) -> None:
    async with front(tmp_path, commit_ms=60_000, commit_rows=100_000) as f, Client(f.port, version=5) as c:
        await c.login()
        c.send(*(gas(str(n), packet_id=n, kind="door_open") for n in range(1, 1002)))
        assert await c.next() == Disconnect(0x93)


@pytest.mark.parametrize(
    ("raw", "code"), [(b"\x36\2\0\0", 0x81), (b"\0\0", 0x81), (b"\x30\xff\xff\xff\x7f", 0x95), (b"\x32\x08\0\3a/+\0\1\0", 0x90)]
)
async def test_malformed_packets_end_the_connection_with_the_reason(tmp_path: Path, raw: bytes, code: int) -> None:
    async with front(tmp_path) as f, Client(f.port, version=5) as c:
        await c.login()
        c.send(gas("before"))
        c.raw(raw)
        found = [await c.next(), await c.next()]
        assert Disconnect(code) in found
        await f.until(lambda: f.refs() == ["before"])


async def test_packets_that_do_not_belong_here(tmp_path: Path) -> None:
    async with front(tmp_path) as f:
        for packet in (Auth(0x18), Connect("c", 5)):
            async with Client(f.port, version=5) as c:
                await c.login()
                c.send(packet)
                assert await c.next() == Disconnect(0x82)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xc0\0", b"\x10\x0f\0\6MQIsdp\3\2\0\x3c\0\1c"])
async def test_strangers_are_shown_the_door(tmp_path: Path, first: bytes) -> None:
    async with front(tmp_path) as f, Client(f.port) as c:
        c.raw(first)
        answer = await c.next()
        assert answer is None or answer == ConnAck(False, 1)
        assert answer is None or await c.next() is None


async def test_slow_and_silent_peers_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HANDSHAKE_S", "UNFINISHED_S"):
        monkeypatch.setattr(f"gateway.transports.mqtt_device.{name}", 0.2)
    monkeypatch.setattr("gateway.transports.mqtt_listener.SWEEP_S", 0.05)
    async with (
        front(tmp_path) as f,
        Client(f.port) as mute,
        Client(f.port) as loris,
        Client(f.port, "gas-2") as idle,
        Client(f.port) as half,
    ):
        loris.raw(b"\x10")
        await idle.login(keepalive_s=1)
        await half.login()
        half.raw(b"\x32\x20\0")
        assert await mute.next() is None
        assert await loris.next() is None
        assert await half.next() is None
        assert await idle.next() is None
        assert f.listener.counts["silent"] == 1
        assert not f.listener.connections


async def test_connections_and_bytes_before_the_login_are_bounded(tmp_path: Path) -> None:
    async with front(tmp_path, max_connections=2) as f, Client(f.port) as one, Client(f.port) as two, Client(f.port) as three:
        await one.login()
        two.raw(b"\x10\xff\xff\x7f" + bytes(100_000))
        assert await two.next() is None, "nobody has 2 MB before the login"
        assert await three.next() is None
        assert f.listener.counts["connections_refused"] == 1
        async with Client(f.port, "gas-2") as four:
            assert (await four.login()).code == 0, "there is room again"


async def test_a_megabyte_of_garbage_from_a_device_that_logged_in_hurts_nobody(tmp_path: Path) -> None:
    async with front(tmp_path) as f, Client(f.port, "gas-1") as bad, Client(f.port, "gas-2") as good:
        await bad.login()
        await good.login()
        bad.send(Publish("anhu/dev/gas-1/up", b"\xff" * 1_000_000, 1, packet_id=1))
        good.send(gas("ok", name="gas-2"))
        assert await good.next() == PubAck(1)
        assert await bad.next() == PubAck(1), "poison is acknowledged once it lies in the quarantine"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_after_the_login_never_break_the_listener(tmp_path: Path, data: bytes) -> None:
    async def play() -> None:
        async with front(tmp_path) as f, Client(f.port, "gas-1", 5) as c, Client(f.port, "gas-2") as other:
            await c.login()
            c.raw(data)
            await other.login()
            other.send(gas("ok", name="gas-2", packet_id=5))
            assert await other.next() == PubAck(5)

    asyncio.run(play())


# --- real peers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_pub_delivers(tmp_path: Path, version: str, qos: int) -> None:
    program = need("mosquitto_pub")
    async with front(tmp_path) as f:
        args = ["-h", "127.0.0.1", "-p", str(f.port), "-u", "gas-1", "-P", PASSWORD, "-V", version, "-q", str(qos), "-l", "-t"]
        child = await asyncio.create_subprocess_exec(program, *args, "anhu/dev/gas-1/up", stdin=subprocess.PIPE)
        lines = "".join(json.dumps({"id": f"m{n}", "kind": "door_open", "state": "start"}) + "\n" for n in range(50))
        await asyncio.wait_for(child.communicate(lines.encode()), 20)
        assert child.returncode == 0
        await f.until(lambda: f.refs() == ["m0"] or len(f.refs()) >= 1)
        assert f.pipeline.counts.frames == 50


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_sub_hears_its_commands(tmp_path: Path, version: str) -> None:
    program = need("mosquitto_sub")
    async with front(tmp_path) as f:
        args = ["-h", "127.0.0.1", "-p", str(f.port), "-u", "gas-1", "-P", PASSWORD, "-V", version, "-q", "1", "-C", "2", "-t"]
        child = await asyncio.create_subprocess_exec(program, *args, "anhu/dev/gas-1/down", stdout=subprocess.PIPE)
        await f.until(lambda: f.listener.publish("anhu/dev/gas-1/down", b"one"))
        f.listener.publish("anhu/dev/gas-1/down", b"two")
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert out.split() == [b"one", b"two"]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_set_top_box_on_aiomqtt_is_served_over_tls(tmp_path: Path, version: str) -> None:
    import ssl

    import aiomqtt

    authority = Authority(tmp_path / "ca")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("server", host="127.0.0.1"))
    protocol = aiomqtt.ProtocolVersion.V5 if version == "5" else aiomqtt.ProtocolVersion.V311
    async with front(tmp_path, tls=server) as f:
        trust = ssl.create_default_context(cafile=str(authority.file))
        async with aiomqtt.Client("127.0.0.1", f.port, username="tv-1", password=PASSWORD, tls_context=trust, protocol=protocol) as tv:
            await tv.subscribe("anhu/tv/tv-1/down", qos=1)
            for qos in (0, 1, 2):
                await tv.publish("anhu/tv/tv-1/up", json.dumps({"type": "sos", "ref": f"k{qos}", "key": "red"}), qos=qos)
            await f.until(lambda: f.kinds().count("sos") == 3)
            acks = []
            async with asyncio.timeout(10):
                async for message in tv.messages:
                    acks.append(json.loads(bytes(message.payload)))  # type: ignore[arg-type]
                    if len(acks) == 3:
                        break
            assert {ack.get("re") or ack.get("ref") for ack in acks} == {"k0", "k1", "k2"}


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_publishes_a_thousand_with_every_quality(tmp_path: Path, version: int) -> None:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    def play(port: int) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="p", protocol=MQTTProtocolVersion(version))
        client.username_pw_set("gas-1", PASSWORD)
        client.connect("127.0.0.1", port)
        client.loop_start()
        infos = []
        for n in range(1000):
            body = json.dumps({"id": f"p{n}", "kind": "gas", "state": "start", "ts": 1795336212000 + n})
            infos.append(client.publish("anhu/dev/gas-1/up", body, qos=n % 3))
        for info in infos:
            info.wait_for_publish(20)
        client.disconnect()
        client.loop_stop()

    async with front(tmp_path) as f:
        await asyncio.to_thread(play, f.port)
        assert f.pipeline.counts.frames == 1000
        assert f.pipeline.counts.balanced
