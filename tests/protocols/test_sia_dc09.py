"""DC-09 texts: every shared row, framing of sloppy panels, encryption, and pysiaalarm as an independent reader."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.building import contact_id
from protocols.building.sia_dc09 import (
    Dc09Stream,
    Message,
    SiaEvent,
    acknowledge,
    decode,
    decrypt,
    encode,
    epoch_ms,
    sia_block,
    sia_events,
    split_datagram,
)
from protocols.errors import LocalProtocolError, Reject, RemoteProtocolError
from tests.shared import vectors

AT = 1795336210000
ROWS = vectors("vectors/sensor/sia_dc09.jsonl")


def _clear(row: dict[str, Any]) -> Message:
    message = decode(bytes.fromhex(row["frame"]))
    return decrypt(message, row["key"].encode()) if message.encrypted else message


@pytest.mark.parametrize("row", ROWS)
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("stream"):
        assert len(Dc09Stream().receive(frame)) == expect["count"]
        return
    if expect.get("encode"):
        sent = acknowledge(Message("NULL", sequence="1000", account="1234"), expect["name"].upper(), AT)
        assert sent == b"\n" + frame + b"\r"
        return
    if expect.get("ok") is False:
        message = decode(frame)
        assert not (message.crc_ok and message.length_ok)
        return
    message = _clear(row)
    assert message.account == expect["account"]
    for key in ("token", "crc_ok", "encrypted"):
        assert key not in expect or getattr(message, key) == expect[key]
    assert "seq" not in expect or message.sequence == expect["seq"]
    assert "time" not in expect or message.at_ms == epoch_ms(
        f"{expect['time'][11:19]},{expect['time'][5:7]}-{expect['time'][8:10]}-{expect['time'][:4]}"
    )
    if message.token == "ADM-CID":
        event = contact_id.decode(message.data)
        assert event.zone == expect["zone"]
        assert "cid" not in expect or (event.code, event.qualifier, event.partition) == (
            expect["cid"],
            expect["qualifier"],
            expect["partition"],
        )
    elif message.token == "SIA-DCS":
        found = sia_events(message.data)
        assert found[0].code == expect["code"]
        assert found[0].modifier("ri") == expect["zone"]
        assert "point" not in expect or found[0].point == expect["point"]


@pytest.mark.parametrize("row", ROWS)
def test_shared_row_is_found_in_a_stream(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if expect.get("stream") or expect.get("encode"):
        return
    core = frame.strip(b"\r\n")
    for wire in (b"\n" + frame + b"\r", frame + b"\r\n", b"\n" + frame + b"\n"):
        stream = Dc09Stream()
        whole = [part for part in stream.receive(wire) + stream.receive(wire) if not isinstance(part, Reject)]
        assert whole == [core, core]
    if expect.get("ok") is not False:
        assert Dc09Stream().receive(frame) == [core], "neither LF nor CR"
        stream = Dc09Stream()
        assert [part for i in range(len(frame)) for part in stream.receive(frame[i : i + 1])] == [core]
        assert split_datagram(frame) == [core]


def test_lower_case_header_is_read() -> None:
    sent = encode(Message("SIA-DCS", "0001", account="AAA", data="Nri1/PA001", at_ms=AT)).strip()
    lower = sent[:8].lower() + sent[8:]
    assert Dc09Stream().receive(b"\n" + lower + b"\r") == [lower]
    assert decode(lower).crc_ok


def test_a_truncated_text_does_not_swallow_the_next() -> None:
    sent = encode(Message("SIA-DCS", "0001", account="AAA", data="Nri1/PA001", at_ms=AT))
    for size in range(1, len(sent)):
        parts = Dc09Stream().receive(sent[:size] + sent)
        assert parts[-1] == sent.strip(), size


def test_two_texts_without_line_ends() -> None:
    sent = encode(Message("SIA-DCS", "0001", account="AAA", data="Nri1/PA001", at_ms=AT)).strip()
    assert Dc09Stream().receive(sent + sent) == [sent, sent]


def test_a_text_that_never_ends_is_given_up() -> None:
    stream = Dc09Stream()
    stream.receive(b'00000FFF"SIA-DCS"' + b"x" * 9000)
    sent = encode(Message("NULL", account="AAA"))
    assert sent.strip() in stream.receive(b"\r" + sent)
    assert len(stream._framer._buffer) <= 4200


def test_modifiers_and_texts_of_the_sia_block() -> None:
    found = sia_events("Nti08:30/id012/ri3/pi7/BA004^Front door/hall^/TA005")
    assert [(e.code, e.point, e.text) for e in found] == [("BA", "004", "Front door/hall"), ("TA", "005", "")]
    assert [found[0].modifier(name) for name in ("ti", "id", "ri", "pi", "xx")] == ["08:30", "012", "3", "7", ""]
    assert sia_events("Nri1CL0^VX FRONTE ^")[0] == SiaEvent("CL", "0", "VX FRONTE", True, (("ri", "1"),))
    assert sia_events("PA12")[0].code == "PA"
    assert sia_events("NA001")[0].code == "NA"
    assert sia_events("Ori1/OP2")[0] == SiaEvent("OP", "2", "", False, (("ri", "1"),))
    assert sia_events("Nri1/BA01|AKitchen")[0].text == "Kitchen"


@pytest.mark.parametrize("text", ["", "2101 01 001", "1101", "1XYZ 01 001", "110101"])
def test_what_is_no_contact_id_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        contact_id.decode(text)


def test_contact_id_without_blanks() -> None:
    assert contact_id.decode("110101007") == contact_id.ContactId(1, "101", "01", "007")


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode(Message("SIA-DCS", data="]"))
    with pytest.raises(LocalProtocolError):
        encode(Message("SIA-DCS", data="N"), b"short")
    with pytest.raises(LocalProtocolError):
        encode(Message("SIA-DCS", data="N" * 5000))
    with pytest.raises(LocalProtocolError):
        sia_block([])


CODES = st.builds(
    SiaEvent,
    st.sampled_from(["PA", "QA", "BA", "YT", "OP", "CL"]),
    st.from_regex(r"[0-9]{0,4}", fullmatch=True),
    st.from_regex(r"[a-z]{0,6}", fullmatch=True),
    st.booleans(),
    st.just((("ri", "1"),)),
)


@settings(max_examples=120)
@given(
    CODES,
    st.integers(0, 9999),
    st.from_regex(r"[0-9A-F]{3,16}", fullmatch=True),
    st.sampled_from([None, b"k" * 16, b"k" * 24, b"k" * 32]),
    st.integers(1262304000, 4102444800),
)
def test_what_we_send_we_read(event: SiaEvent, sequence: int, account: str, key: bytes | None, at_s: int) -> None:
    sent = Message(
        "SIA-DCS", f"{sequence:04d}", account=account, data=sia_block([event]), at_ms=at_s * 1000, extended=("I text",), receiver="1"
    )
    parts = Dc09Stream().receive(encode(sent, key))
    assert len(parts) == 1 and isinstance(parts[0], bytes)
    got = decode(parts[0])
    if key:
        got = decrypt(got, key)
    assert got.crc_ok and got.length_ok
    assert (got.token, got.sequence, got.account, got.data, got.at_ms, got.extended) == (
        "SIA-DCS", sent.sequence, account, sent.data, sent.at_ms, ("I text",),
    )  # fmt: skip
    assert sia_events(got.data) == [event]


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(0, 70), st.integers(0, 7))
def test_damage_never_raises(junk: bytes, index: int, bit: int) -> None:
    sent = bytearray(encode(Message("SIA-DCS", "0001", account="AAA", data="Nri1/PA001", at_ms=AT)))
    sent[index % len(sent)] ^= 1 << bit
    for wire in (junk, junk + bytes(sent), bytes(sent)):
        for part in Dc09Stream().receive(wire) + split_datagram(wire):
            try:
                if not isinstance(part, Reject):
                    message = decode(part)
                    sia_events(message.data)
                    decrypt(message, b"k" * 16)
            except RemoteProtocolError:
                pass


# pysiaalarm raises deprecation warnings at import and runs threads: it lives in a process of its own.
PEER = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
from pysiaalarm import SIAAccount
from pysiaalarm.aio import SIAClient
async def main():
    frames = [bytes.fromhex(line) for line in json.loads(sys.stdin.readline())]
    seen = []
    async def take(event):
        seen.append([event.account, event.code, event.ri, event.sequence])
    accounts = [SIAAccount("1234"), SIAAccount("AAA", "AAAAAAAAAAAAAAAA")]
    for account in accounts:
        account.allowed_timeband = None
    client = SIAClient("127.0.0.1", 0, accounts, take)
    await client.async_start(reuse_port=False)
    port = client.server.sockets[0].getsockname()[1]
    answers = []
    for frame in frames:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frame)
        answers.append((await asyncio.wait_for(reader.read(500), 5)).hex())
        writer.close()
        await asyncio.sleep(0.02)
    await client.async_stop()
    print(json.dumps({"answers": answers, "seen": seen}))
asyncio.run(main())
"""


def test_pysiaalarm_reads_what_we_send_and_we_read_its_answers() -> None:
    key = b"A" * 16
    cid = contact_id.encode(contact_id.ContactId(1, "101", "01", "007"))
    frames = [
        encode(Message("ADM-CID", "0001", account="1234", data=cid, at_ms=AT)),
        encode(Message("SIA-DCS", "0002", account="1234", data="Nri1/PA007", at_ms=AT, extended=("I bed",))),
        encode(Message("SIA-DCS", "0003", account="AAA", data="Nri2/QA001", at_ms=AT, receiver="1"), key),
        encode(Message("NULL", "0000", account="1234", at_ms=AT)),
        encode(Message("SIA-DCS", "0004", account="9999", data="Nri1/PA007", at_ms=AT)),
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEER],
        input=json.dumps([f.hex() for f in frames]),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [row[:3] for row in told["seen"]] == [["1234", "QA", "007"], ["1234", "PA", "1"], ["AAA", "QA", "2"], ["1234", "RP", "0"]]
    answers = [decode(bytes.fromhex(answer).strip()) for answer in told["answers"] if answer.startswith("0a")]
    assert [a.token for a in answers[:4]] == ["ACK"] * 4
    assert all(a.crc_ok and a.length_ok for a in answers)
    opened = decrypt(answers[2], key)
    assert opened.encrypted and opened.at_ms is not None
    assert bytes.fromhex(told["answers"][2]) == acknowledge(decode(frames[2].strip()), "ACK", opened.at_ms, key)


@pytest.mark.parametrize("flood", [b'00000FFF"SIA-DCS"' + b"]" * 20000, b'00000FFF"SIA' * 2000, b'00000FFF"' * 2000, b"0" * 20000])
def test_a_flood_costs_linear_time(flood: bytes) -> None:
    stream = Dc09Stream()
    for byte in flood[:3000]:
        stream.receive(bytes([byte]))
    good = encode(Message("NULL", account="AAA"))
    assert Dc09Stream().receive(flood + good)[-1] == good.strip()
