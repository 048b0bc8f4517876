"""SMS PDUs: shared rows, alphabets, chains, stamps, addresses, both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.events import epoch_ms
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.serial import at_modem
from protocols.serial.sms_pdu import (
    DATA8,
    GSM7,
    UCS2,
    Deliver,
    Part,
    StatusReport,
    Submit,
    decode,
    encode,
    pack7,
    segments,
    septets,
    unpack7,
)
from tests.shared import vectors

ROWS = [
    row
    for row in vectors("vectors/sensor/gsm_at.jsonl")
    if "PDU" in row.values[0].get("source", "") or "encoder" in row.values[0].get("source", "")
]
AT = 1795336210000


@pytest.mark.parametrize("row", ROWS)
def test_shared_row(row: dict[str, Any]) -> None:
    expect = row["expect"]
    lines = row["text"].split()
    if expect.get("encode"):
        parts = segments(expect["number"], expect["text"], report=True)
        pdu, length = encode(parts[0])
        head, body = at_modem.message_command(pdu, length)
        assert (head + body).hex() == row["frame"]
        return
    message = decode(lines[-1])
    assert isinstance(message, Deliver)
    assert (message.number, message.text, message.at_ms) == (expect["number"], expect["text"], epoch_ms(expect["time"]))
    part = expect.get("part")
    assert message.part == (Part(part["ref"], part["total"], part["seq"]) if part else None)
    pdu, length = encode(message)
    assert length == int(lines[1].strip(","))
    again = decode(pdu)
    assert again == message


BASIC = st.text(
    st.sampled_from("@£$¥èéùìòÇ\nØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCÄÖÑÜ§¿xyzäöñüà^{}\\[~]|€"), max_size=70
)
CHINESE = st.text(st.sampled_from("求助卫生间摔倒了，abc 1😀"), max_size=30)
NUMBER = st.one_of(st.from_regex(r"\+[1-9][0-9]{5,14}", fullmatch=True), st.from_regex(r"[0-9*#]{3,15}", fullmatch=True))
PART = st.one_of(
    st.none(),
    st.builds(Part, st.integers(0, 255), st.just(3), st.integers(1, 3)),
    st.builds(Part, st.integers(0, 65535), st.just(9), st.integers(1, 9), st.just(True)),
)
ZONE = st.integers(-48, 56).map(lambda quarters: 15 * quarters)


@settings(max_examples=120)
@given(NUMBER, BASIC, PART, ZONE, st.integers(946684800 + 86400, 4102444799 - 86400))
def test_deliver_of_the_seven_bit_alphabet(number: str, text: str, part: Part | None, zone: int, at_s: int) -> None:
    message = Deliver(number, text, at_s * 1000, zone, part, GSM7, smsc="+8613800210500")
    assert decode(encode(message)[0]) == message


@settings(max_examples=80)
@given(NUMBER, CHINESE, PART)
def test_deliver_of_chinese(number: str, text: str, part: Part | None) -> None:
    message = Deliver(number, text, AT, 480, part, UCS2)
    assert decode(encode(message)[0]) == message


@settings(max_examples=80)
@given(st.one_of(st.text(st.sampled_from("ab€[ ]"), max_size=900), st.text(st.sampled_from("求助a😀"), max_size=400)))
def test_a_long_text_is_cut_and_put_together(text: str) -> None:
    parts = segments("10086", text, ref=7)
    read = [decode(encode(part)[0]) for part in parts]
    assert "".join(part.text for part in read) == text  # type: ignore[union-attr]
    assert all(len(encode(part)[0]) // 2 <= 176 for part in parts)
    if len(parts) > 1:
        assert [part.part for part in read] == [Part(7, len(parts), i) for i in range(1, len(parts) + 1)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "count"),
    [("a" * 160, 1), ("a" * 161, 2), ("€" * 80, 1), ("€" * 81, 2), ("求" * 70, 1), ("求" * 71, 2), ("😀" * 35, 1), ("", 1)],
)
def test_where_a_second_part_begins(text: str, count: int) -> None:
    assert len(segments("10086", text)) == count


def test_too_long_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        segments("10086", "求" * 671)


def test_names_as_senders() -> None:
    for name in ("ANHU", "Fire-119", "abcdefghijk"):
        message = Deliver(name, "x", AT, 480)
        assert decode(encode(message)[0]) == message


def test_status_reports() -> None:
    report = StatusReport(44, "+8613800138000", 0, AT, AT + 5000)
    assert decode(encode(report)[0]) == report


def test_binary_messages() -> None:
    message = Deliver("10086", "", AT, 480, coding=DATA8, data=bytes(range(100)))
    assert decode(encode(message)[0]) == message


def test_submit_with_validity_is_read() -> None:
    pdu, _ = encode(Submit("+8613800138000", "SOS"))
    raw = bytearray.fromhex(pdu)
    raw[1] |= 0x10
    at = 1 + 2 + 9 + 2
    assert decode(bytes(raw[:at] + b"\xa7" + raw[at:])).text == "SOS"  # type: ignore[union-attr]


def test_an_impossible_stamp_does_not_cost_the_text() -> None:
    pdu = "0891683108200505F0040D91683108108300F00000" + "FFFFFFFFFFFFFF" + "03D3E714"
    message = decode(pdu)
    assert isinstance(message, Deliver) and (message.text, message.at_ms) == ("SOS", None)


def test_other_header_elements_are_passed_over() -> None:
    body = "0605040B8423F0" + "6551"
    message = decode("00440BA13108108300F00008621122803015230" + "9" + body)
    assert isinstance(message, Deliver) and message.part is None and message.text == "救"


@settings(max_examples=200)
@given(st.binary(max_size=180))
def test_any_bytes_give_a_message_or_a_refusal(data: bytes) -> None:
    try:
        decode(data)
    except RemoteProtocolError:
        pass


@settings(max_examples=100)
@given(st.integers(0, 200), st.integers(0, 7))
def test_damage_never_raises(index: int, bit: int) -> None:
    raw = bytearray.fromhex(encode(Deliver("+8613800138000", "求助 卫生间", AT, 480, Part(1, 2, 1), UCS2))[0])
    raw[index % len(raw)] ^= 1 << bit
    for data in (bytes(raw), bytes(raw[: index % len(raw)])):
        try:
            decode(data)
        except RemoteProtocolError:
            pass


def test_packing() -> None:
    assert pack7(septets("hellohello") or b"").hex() == "e8329bfd4697d9ec37"
    assert septets("求") is None
    assert unpack7(pack7(septets("a€b") or b"", 3), 4, 3) == "a€b"
    with pytest.raises(LocalProtocolError):
        encode(Submit("not a number at all", "x"))
