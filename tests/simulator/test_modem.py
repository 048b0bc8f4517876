"""The simulated modem answers like one: echo, errors, one message at a time, any split of the bytes."""

from __future__ import annotations

import pytest

from protocols.serial import sms_pdu
from protocols.serial.at_modem import command, message_command
from simulator.devices.modem import SimulatedModem

AT = 1795336210000


def _set_up(*commands: str) -> SimulatedModem:
    modem = SimulatedModem()
    for text in ("ATE0", "AT+CMEE=1", "AT+CLIP=1", "AT+CREG=2", "AT+CSMS=1", "AT+CMGF=0", *commands):
        assert modem.receive(command(text)).endswith(b"\r\nOK\r\n")
    return modem


def test_echo_until_it_is_switched_off() -> None:
    modem = SimulatedModem()
    assert modem.receive(b"AT\r") == b"AT\r\r\nOK\r\n"
    modem.receive(b"ATE0\r")
    assert modem.receive(b"AT\r") == b"\r\nOK\r\n"


def test_any_split_gives_the_same() -> None:
    pdu, length = sms_pdu.encode(sms_pdu.Submit("10086", "SOS"))
    wire = b"ATE0\rAT+CMGF=0\rAT+CSQ\r" + b"".join(message_command(pdu, length)) + b"AT+CREG?\r"
    slow = SimulatedModem()
    assert b"".join(slow.receive(wire[i : i + 1]) for i in range(len(wire))) == SimulatedModem().receive(wire)
    assert [m.text for m in slow.sent] == ["SOS"]


@pytest.mark.parametrize("text", ["AT+NOPE", "AT+CMGS=x", "AT+CMGR=9", "AT+CMGD=x", "AT+CNMA"])
def test_wrong_commands_are_errors(text: str) -> None:
    assert b"ERROR" in _set_up().receive(command(text))


def test_a_wrong_length_is_refused() -> None:
    modem = _set_up()
    pdu, length = sms_pdu.encode(sms_pdu.Submit("10086", "SOS"))
    assert modem.receive(message_command(pdu, length + 1)[0]) == b"\r\n> "
    assert modem.receive(message_command(pdu, length + 1)[1]) == b"\r\n+CMS ERROR: 304\r\n"
    assert modem.receive(message_command(pdu, length)[0] + b"\x1b") == b"\r\n> \r\nOK\r\n"
    assert not modem.sent


def test_the_next_message_follows_the_confirmation() -> None:
    modem = _set_up("AT+CNMI=2,2,0,1,0")
    assert b"+CMT" in modem.deliver("10086", "one", AT)
    assert modem.deliver("10086", "two", AT) == b""
    assert b"+CMT" in modem.receive(b"AT+CNMA\r")
    modem.restart()
    assert modem.receive(b"AT+CMGF=0\rAT+CSMS=1\rAT+CNMI=2,2,0,1,0\r").count(b"+CMT") == 1, "the second was not confirmed"


def test_a_full_card_keeps_messages_in_the_network() -> None:
    modem = _set_up("AT+CNMI=2,1,0,1,0")
    for _ in range(22):
        modem.deliver("10086", "x", AT)
    assert len(modem.card) == 20
    modem.receive(b"AT+CMGD=3\rAT+CNMI=2,1,0,1,0\r")
    assert len(modem.card) == 20
    assert modem.receive(b"AT+CMGR=3\r").startswith(b"\r\n+CMGR: 0,,")


def test_reports_need_their_settings() -> None:
    modem = SimulatedModem()
    assert modem.ring("10086") == b"\r\nRING\r\n" and modem.press("1") == b"" and modem.network(2) == b""
    modem = _set_up("AT+DDET=1")
    assert b'+CLIP: "",128' in modem.ring(None) and modem.press("1") == b"\r\n+DTMF: 1\r\n"
    assert modem.network(1) == b'\r\n+CREG: 1,"12AB","00C3"\r\n'
    assert b"+CLCC: 1,1,4" in modem.receive(b"AT+CLCC\r")


def test_without_card_or_network_nothing_goes_out() -> None:
    modem = _set_up()
    modem.remove_sim()
    assert modem.receive(b"AT+CPIN?\r") == b"\r\n+CME ERROR: 10\r\n"
    assert modem.receive(b"ATD120;\r") == b"\r\nNO CARRIER\r\n"
    modem.insert_sim()
    modem.receive(b"ATD120;\r")
    assert modem.dialled == ["120"]


def test_silence() -> None:
    modem = SimulatedModem()
    modem.silent = True
    assert modem.receive(b"AT\r") == b"" and modem.ring("1") == b""
