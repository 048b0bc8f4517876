from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reason, Reject
from protocols.mqtt import wire_properties
from protocols.mqtt.wire import (
    V5,
    V311,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    MqttWire,
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
    Unusable,
    WillMessage,
    encode_publish,
    puback_bytes,
)
from protocols.mqtt.wire_decode import ACK_CODES, AUTH_CODES, CONNACK_CODES, DISCONNECT_CODES, SUBACK_CODES, UNSUBACK_CODES
from protocols.mqtt.wire_properties import TABLE, Kind, PacketError, check_filter, check_topic, read_varint, varint

TO_SERVER = (Publish, PubAck, PubRec, PubRel, PubComp, Subscribe, Unsubscribe, PingReq, Disconnect, Auth)
quick = settings(max_examples=80, deadline=None)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
names = st.text(st.characters(exclude_characters="\0+#", exclude_categories=("Cs",)), min_size=1, max_size=12)
filters = st.one_of(names, st.sampled_from(["#", "+", "a/+/b", "+/+", "a/#", "/", "$share/g/a/#", "$SYS/#"]))
idents = st.integers(1, 65535)
qualities = st.integers(0, 2)


def value_of(row: wire_properties.Property) -> st.SearchStrategy[Any]:
    if row.kind is Kind.TEXT:
        return names if row.name == "response_topic" else texts
    if row.kind is Kind.BINARY:
        return st.binary(max_size=9)
    if row.kind is Kind.PAIR:
        return st.tuples(texts, texts)
    most = wire_properties.LONGEST_VARINT if row.kind is Kind.VARINT else min(row.most, (1 << 8 * row.kind.value) - 1)
    return st.integers(row.least, most)


@st.composite
def properties(draw: Any, packet: str, version: int, without: tuple[str, ...] = ()) -> dict[str, Any]:
    if version != V5:
        return {}
    found = {}
    for row in TABLE:
        if packet in row.packets and row.name not in (*without, "topic_alias", "payload_format") and draw(st.integers(0, 4)) == 0:
            many = row.kind is Kind.PAIR or packet in row.many
            found[row.name] = draw(st.lists(value_of(row), min_size=1, max_size=3)) if many else draw(value_of(row))
    if "authentication_data" in found:
        found["authentication_method"] = "x"
    return found


@st.composite
def packets(draw: Any, version: int) -> Any:
    kind = draw(st.sampled_from(range(14 if version == V5 else 13)))
    five = version == V5
    with_ = lambda name, *without: draw(properties(name, version, without))  # noqa: E731
    if kind == 0:
        qos = draw(qualities)
        dup = draw(st.booleans()) and qos > 0
        extra = with_("publish", "subscription_identifier")
        ident = draw(idents) if qos else 0
        return Publish(draw(names), draw(st.binary(max_size=300)), qos, draw(st.booleans()), dup, ident, extra)
    if kind in (1, 2, 3, 4):
        make, name = [(PubAck, "puback"), (PubRec, "pubrec"), (PubRel, "pubrel"), (PubComp, "pubcomp")][kind - 1]
        return make(draw(idents), draw(st.sampled_from(sorted(ACK_CODES[name]))) if five else 0, with_(name))
    if kind == 5:
        rows = []
        for _ in range(draw(st.integers(1, 4))):
            pattern = draw(filters)
            local = five and draw(st.booleans()) and not pattern.startswith("$share/")
            rows.append(Subscription(pattern, draw(qualities), local, five and draw(st.booleans()), draw(qualities) if five else 0))
        return Subscribe(draw(idents), tuple(rows), with_("subscribe"))
    if kind == 6:
        codes = st.sampled_from(sorted(SUBACK_CODES) if five else [0, 1, 2, 0x80])
        return SubAck(draw(idents), tuple(draw(st.lists(codes, min_size=1, max_size=4))), with_("suback"))
    if kind == 7:
        return Unsubscribe(draw(idents), tuple(draw(st.lists(filters, min_size=1, max_size=4))), with_("unsubscribe"))
    if kind == 8:
        codes = draw(st.lists(st.sampled_from(sorted(UNSUBACK_CODES)), min_size=1, max_size=4)) if five else []
        return UnsubAck(draw(idents), tuple(codes), with_("unsuback"))
    if kind == 9:
        code = draw(st.sampled_from(sorted(CONNACK_CODES))) if five else draw(st.integers(0, 5))
        return ConnAck(draw(st.booleans()) and not code, code, with_("connack"))
    if kind == 10:
        return draw(st.sampled_from([PingReq(), PingResp()]))
    if kind == 11:
        will = draw(st.one_of(st.none(), st.tuples(names, st.binary(max_size=40), qualities, st.booleans())))
        user = draw(st.one_of(st.none(), texts))
        password = draw(st.one_of(st.none(), st.binary(max_size=20))) if user is not None or five else None
        message = WillMessage(*will, with_("will")) if will else None
        return Connect(draw(texts), version, draw(st.booleans()), draw(idents), message, user, password, with_("connect"))
    if kind == 12:
        return Disconnect(draw(st.sampled_from(sorted(DISCONNECT_CODES))) if five else 0, with_("disconnect"))
    return Auth(draw(st.sampled_from(sorted(AUTH_CODES))), with_("auth"))


def server(version: int) -> MqttWire:
    wire = MqttWire("server")
    [hello] = wire.receive(MqttWire("client").send(Connect("c", version)))
    assert isinstance(hello, Connect)
    return wire


def receiver(packet: Any, version: int) -> MqttWire:
    if isinstance(packet, Connect):
        return MqttWire("server")
    return server(version) if isinstance(packet, TO_SERVER) else MqttWire("client", version=version)


def written(packet: Any, version: int) -> bytes:
    return MqttWire("server", version=version).send(packet)


both = pytest.mark.parametrize("version", [V311, V5])


@both
@quick
@given(data=st.data())
def test_what_is_written_is_read_back(version: int, data: Any) -> None:
    packet = data.draw(packets(version))
    raw = written(packet, version)
    assert receiver(packet, version).receive(raw) == [packet]


@both
@quick
@given(data=st.data())
def test_a_packet_split_at_every_byte_is_the_same_packet(version: int, data: Any) -> None:
    packet = data.draw(packets(version))
    raw = written(packet, version)
    for cut in range(1, len(raw)):
        wire = receiver(packet, version)
        assert wire.receive(raw[:cut]) == []
        assert wire.receive(raw[cut:]) == [packet]
    wire = receiver(packet, version)
    assert [found for byte in raw for found in wire.receive(bytes((byte,)))] == [packet]


@both
@quick
@given(data=st.data())
def test_flipped_bits_give_packets_or_one_reject_and_never_raise(version: int, data: Any) -> None:
    several = data.draw(st.lists(packets(version), min_size=1, max_size=3))
    wire = receiver(several[0], version)
    raw = bytearray(b"".join(written(packet, version) for packet in several))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = [item for start in range(0, len(raw), 7) for item in wire.receive(bytes(raw[start : start + 7]))]
    rejects = [item for item in found if isinstance(item, Reject)]
    assert len(rejects) <= 1
    assert bool(rejects) == bool(wire.fault)
    if rejects:
        assert found[-1] is rejects[0]
        assert wire.receive(b"\xc0\0") == [], "nothing is believed behind a fault"


@quick
@given(raw=st.binary(max_size=200), role=st.sampled_from(["client", "server"]), version=st.sampled_from([V311, V5]))
def test_any_bytes_are_met_without_an_exception(raw: bytes, role: Any, version: int) -> None:
    wire = MqttWire("client", version=version) if role == "client" else server(version)
    wire.receive(raw)
    wire.close()
    assert wire.buffered == 0


@quick
@given(value=st.integers(0, wire_properties.LONGEST_VARINT))
def test_variable_byte_integers_go_there_and_back(value: int) -> None:
    raw = varint(value)
    assert read_varint(raw, 0, len(raw)) == (value, len(raw))


REFUSED = [
    # name, bytes, version, reason code
    ("a second CONNECT", Connect("c", V5), V5, 0x82),
    ("a packet type 0", b"\0\0", V5, 0x81),
    ("AUTH on 3.1.1", b"\xf0\0", V311, 0x81),
    ("a CONNACK from a client", b"\x20\2\0\0", V311, 0x82),
    ("QoS 3", b"\x36\7\0\3a/b\0\1", V311, 0x81),
    ("a duplicate of QoS 0", b"\x38\5\0\3a/b", V311, 0x81),
    ("packet id 0", b"\x32\7\0\3a/b\0\0", V311, 0x82),
    ("PUBACK with packet id 0", b"\x40\2\0\0", V311, 0x82),
    ("a wildcard in a topic", b"\x30\5\0\3a/+", V311, 0x90),
    ("an empty topic", b"\x30\3\0\0x", V311, 0x90),
    ("a topic that is no UTF-8", b"\x30\4\0\2\xc3\x28", V311, 0x81),
    ("a topic with a surrogate", b"\x30\5\0\3\xed\xa0\x80", V311, 0x81),
    ("a topic with U+0000", b"\x30\5\0\3a\0b", V311, 0x81),
    ("a topic longer than the packet", b"\x30\4\0\x09ab", V311, 0x81),
    ("PUBREL with wrong flags", b"\x60\2\0\1", V311, 0x81),
    ("SUBSCRIBE with wrong flags", b"\x80\6\0\1\0\1a\0", V311, 0x81),
    ("SUBSCRIBE without a filter", b"\x82\2\0\1", V311, 0x82),
    ("SUBSCRIBE with a half wildcard", b"\x82\7\0\1\0\2a+\0", V311, 0x8F),
    ("SUBSCRIBE with # in the middle", b"\x82\x08\0\1\0\3#/a\0", V311, 0x8F),
    ("SUBSCRIBE with QoS 3", b"\x82\6\0\1\0\1a\3", V311, 0x81),
    ("SUBSCRIBE with reserved bits", b"\x82\6\0\1\0\1a\4", V311, 0x81),
    ("a retain handling of 3", b"\x82\7\0\1\0\0\1a\x30", V5, 0x81),
    ("no local on a share", b"\x82\x10\0\1\0\0\x0a$share/g/a\4", V5, 0x82),
    ("UNSUBSCRIBE without a filter", b"\xa2\2\0\1", V311, 0x82),
    ("a remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01", V5, 0x81),
    ("a remaining length that is too long", b"\xc0\x80\0", V5, 0x81),
    ("PINGREQ with a body", b"\xc0\1x", V5, 0x81),
    ("an unknown property", b"\x32\x0a\0\3a/b\0\1\2\x7f\0", V5, 0x81),
    ("a property twice", b"\x32\x0c\0\3a/b\0\1\4\1\0\1\0", V5, 0x82),
    ("a property of another packet", b"\x32\x0b\0\3a/b\0\1\3\x21\0\1", V5, 0x82),
    ("a topic alias that was not offered", b"\x32\x0b\0\3a/b\0\1\3\x23\0\1", V5, 0x94),
    ("topic alias 0", b"\x32\x0b\0\3a/b\0\1\3\x23\0\0", V5, 0x94),
    ("a subscription identifier from a client", b"\x32\x0a\0\3a/b\0\1\2\x0b\1", V5, 0x82),
    ("properties longer than the packet", b"\x32\x08\0\3a/b\0\1\x09", V5, 0x81),
    ("a payload that is not the UTF-8 it claims", b"\x32\x0b\0\3a/b\0\1\2\1\1\xff", V5, 0x99),
    ("a reason code that PUBACK has not", b"\x40\3\0\1\x42", V5, 0x81),
    ("a DISCONNECT code that does not exist", b"\xe0\1\x42", V5, 0x81),
    ("a response topic with a wildcard", b"\x32\x0d\0\3a/b\0\1\5\x08\0\2a#", V5, 0x90),
    ("authentication data without a method", Auth(0x18, {"authentication_data": b"x"}), V5, 0x82),
    ("a packet of 2 MiB", b"\x30\x80\x80\x80\x01", V5, 0x95),
]


@pytest.mark.parametrize(("raw", "version", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_standard_does_not_allow(raw: Any, version: int, code: int) -> None:
    wire = server(version)
    data = raw if isinstance(raw, bytes) else written(raw, version)
    [found] = wire.receive(data)
    assert isinstance(found, Reject), found
    assert wire.fault == code, found.detail


HELLO = b"\0\4MQTT"
REFUSED_HELLOS = [
    ("something else first", b"\xc0\0", 0x82),
    ("HTTP", b"GET / HTTP/1.1\r\n", 0x82),
    ("MQTT 3.1", b"\x10\x0f\0\6MQIsdp\3\2\0\x3c\0\1c", 0x84),
    ("MQTT 6", b"\x10\x0d" + HELLO + b"\6\2\0\x3c\0\1c", 0x84),
    ("the reserved flag", b"\x10\x0d" + HELLO + b"\4\3\0\x3c\0\1c", 0x81),
    ("a will of QoS 3", b"\x10\x0d" + HELLO + b"\4\x1e\0\x3c\0\1c", 0x81),
    ("will flags without a will", b"\x10\x0d" + HELLO + b"\4\x22\0\x3c\0\1c", 0x81),
    ("a password without a user in 3.1.1", b"\x10\x10" + HELLO + b"\4\x42\0\x3c\0\1c\0\1p", 0x81),
    ("bytes behind the end", b"\x10\x0e" + HELLO + b"\4\2\0\x3c\0\1cx", 0x81),
    ("a user that is missing", b"\x10\x0d" + HELLO + b"\4\x82\0\x3c\0\1c", 0x81),
    ("receive maximum 0", b"\x10\x11" + HELLO + b"\5\2\0\x3c\3\x21\0\0\0\1c", 0x82),
]


@pytest.mark.parametrize(("raw", "code"), [row[1:] for row in REFUSED_HELLOS], ids=[row[0] for row in REFUSED_HELLOS])
def test_a_connection_does_not_begin_with(raw: bytes, code: int) -> None:
    wire = MqttWire("server")
    [found] = wire.receive(raw)
    assert isinstance(found, Reject)
    assert wire.fault == code, found.detail


def test_a_padded_length_is_tolerated_where_the_standard_does_not_forbid_it() -> None:
    assert server(V311).receive(b"\xc0\x80\0") == [PingReq()]


def test_a_packet_that_dribbles_in_is_joined_once() -> None:
    payload = bytes(900_000)
    raw = written(Publish("a", payload, 1, packet_id=7), V311)
    wire = server(V311)
    found = [item for start in range(0, len(raw), 100) for item in wire.receive(raw[start : start + 100])]
    assert [item.payload == payload for item in found if isinstance(item, Publish)] == [True]


def test_an_unfinished_packet_at_the_end_is_truncated() -> None:
    wire = server(V311)
    assert wire.receive(b"\x32\x20\0\3a/b") == []
    [found] = wire.close()
    assert isinstance(found, Reject)
    assert found.reason is Reason.TRUNCATED


CANNOT_BE_SAID = [
    Publish("a/+", b""), Publish("", b""), Publish("a\0", b""), Publish("\ud800", b""), Publish("x" * 65536, b""), Publish("a", b"", 3),
    Publish("a", b"", 1), Publish("a", b"", dup=True), PubAck(0), PubAck(1, 0x42), Subscribe(1, ()), Subscribe(1, (Subscription("a#"),)),
    SubAck(1, ()), SubAck(1, (3,)), Unsubscribe(1, ()), UnsubAck(1, ()), Connect("c", 3), Connect("c", keepalive_s=70000),
    Connect("c", V311, password=b"x"), ConnAck(True, 0x87), Disconnect(0x42), Auth(1), PubAck(1, 0x10, {"no_such": 1}),
    Publish("a", b"", 1, packet_id=1, properties={"message_expiry_s": 1 << 33}),
]  # fmt: skip


@pytest.mark.parametrize("packet", CANNOT_BE_SAID, ids=str)
def test_what_the_standard_has_no_form_for_is_our_own_error(packet: Any) -> None:
    with pytest.raises(LocalProtocolError):
        written(packet, V5)


@pytest.mark.parametrize("pattern", ["a#", "#/a", "a+/b", "", "$share//a", "$share/g", "$share/+/a", "a/#/b", "++"])
def test_filters_that_mean_nothing(pattern: str) -> None:
    with pytest.raises(PacketError):
        check_filter(pattern)


@pytest.mark.parametrize("topic", ["", "a/#", "+"])
def test_topics_that_nobody_can_publish_to(topic: str) -> None:
    with pytest.raises(PacketError):
        check_topic(topic)


def test_acknowledgements_of_a_batch_are_one_write() -> None:
    raw = puback_bytes([1, 65535])
    assert raw == b"\x40\2\0\1\x40\2\xff\xff"
    assert MqttWire("client", version=V311).receive(raw) == [PubAck(1), PubAck(65535)]


# --- what a broker forwards and nobody can use --------------------------------------------------------------------------------


def tolerant(version: int, limit: int = 300) -> MqttWire:
    return MqttWire("client", version=version, limit=limit, tolerant=True)


POISON = encode_publish(b"\0\1t", b"x", 0x32, 7, b"\x07\x08\0\x04a/+/")
NEXT = encode_publish(b"\0\1t", b"y", 0x32, 8, b"\0")


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_tolerant_client_passes_over_a_malformed_publish_and_reads_on(step: int) -> None:
    wire, data = tolerant(V5), POISON + NEXT
    got = [item for at in range(0, len(data), step) for item in wire.receive(data[at : at + step])]
    first, second = got
    assert isinstance(first, Unusable)
    assert (first.packet_id, first.qos) == (7, 1)
    assert isinstance(second, Publish)
    assert second.payload == b"y"
    assert MqttWire("client", version=V5).receive(POISON)[0].__class__ is Reject


@pytest.mark.parametrize(("version", "qos"), [(V311, 0), (V311, 1), (V311, 2), (V5, 1)])
@pytest.mark.parametrize("step", [1, 64, 10**6])
def test_a_tolerant_client_swallows_what_is_too_large_without_keeping_it(version: int, qos: int, step: int) -> None:
    five = version == V5
    large = encode_publish(b"\0\1t", bytes(5000), 0x30 | qos << 1, 9 if qos else 0, b"\0" if five else b"")
    wire, data, got = tolerant(version), large + encode_publish(b"\0\1t", b"y", 0x32, 8, b"\0" if five else b""), []
    for at in range(0, len(data), step):
        got += wire.receive(data[at : at + step])
        assert wire.buffered <= 300
    first, second = got
    assert isinstance(first, Unusable)
    assert (first.packet_id, first.qos) == (9 if qos else 0, qos)
    assert isinstance(second, Publish)
    assert second.payload == b"y"


def test_a_tolerant_client_still_ends_on_what_it_cannot_find_its_way_through() -> None:
    for raw in (b"\x36\x05\0\1t\0\1", b"\x32\x03\0\1t", b"\x32\x05\0\1t\0\0", b"\x32\x05\xff\xfft\0\1", b"\x10\x00"):
        [fault] = tolerant(V5).receive(raw)
        assert isinstance(fault, Reject)
