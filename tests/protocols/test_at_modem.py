"""AT lines: every shared row, any split, noise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Reject
from protocols.serial import at_modem as at
from tests.shared import vectors


def _reports(data: bytes) -> list[Any]:
    return [found if isinstance(found, at.Prompt | Reject) else at.parse(found) for found in at.ModemStream().receive(data)]


def _facts(report: Any) -> dict[str, Any]:
    match report:
        case at.Ring():
            return {"urc": "ring", "kind": report.kind}
        case at.Caller():
            return {"urc": "clip", "number": report.number, "toa": report.toa}
        case at.Dtmf():
            return {"urc": "dtmf", "key": report.key, "ms": report.duration_ms}
        case at.MessageStored():
            return {"urc": "sms_stored", "mem": report.memory, "index": report.slot}
        case at.CallEnded():
            return {"urc": report.reason}
        case at.Registration():
            return {"urc": "registration", "state": report.state, "lac": report.lac, "ci": report.ci}
        case at.Signal():
            return {"reply": "csq", "rssi_dbm": report.rssi_dbm}
        case at.Call():
            call = {"id": report.id, "dir": "in" if report.incoming else "out", "state": report.state, "number": report.number}
            return {"reply": "clcc", "calls": [call]}
        case at.Sim():
            return {"reply": "cpin", "state": report.state}
        case at.Final():
            return {"error": report.error, "code": report.code}
        case at.Prompt():
            return {"prompt": True}
        case at.Sent():
            return {"reply": "cmgs", "ref": report.reference}
        case at.MessageHead():
            return {"urc": "sms"}
    return {}


@pytest.mark.parametrize("row", vectors("vectors/sensor/gsm_at.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    expect, frame = row["expect"], bytes.fromhex(row["frame"])
    if expect.get("encode"):
        return
    reports = _reports(frame)
    assert not any(isinstance(report, Reject) for report in reports)
    facts = [_facts(report) for report in reports if not isinstance(report, at.Echo)]
    for wanted, got in zip(expect.get("urcs", [expect]), facts, strict=False):
        skip = ("dialect", "note") if wanted.get("urc") != "sms" else ("number", "text", "time", "part")
        assert {key: got[key] for key in wanted if key not in skip} == {key: value for key, value in wanted.items() if key not in skip}
    stream = at.ModemStream()
    slow = [found for i in range(len(frame)) for found in stream.receive(frame[i : i + 1])]
    assert slow == at.ModemStream().receive(frame)


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("+CREG: 2,1", at.Registration("home", solicited=True)),
        ('+CREG: 2,5,"12AB","00C3",7', at.Registration("roaming", "CREG", "12AB", "00C3", solicited=True)),
        ('+CREG: 1,"12AB","00C3"', at.Registration("home", "CREG", "12AB", "00C3")),
        ("+CEREG: 0,3", at.Registration("denied", "CEREG", solicited=True)),
        ("+CREG: 99", at.Registration("unknown")),
        ("+CSQ: 0,0", at.Signal(-113, 0)),
        ("+CSQ: 31,99", at.Signal(-51)),
        ("+CSQ: 199,99", at.Signal(None)),
        ("+CSQ: 150,99", at.Signal(-66)),
        ("+CME ERROR: SIM not inserted", at.Final("cme", -1, "SIM not inserted")),
        ('+CMGL: 3,1,"",23', at.MessageHead("CMGL", 23, 3)),
        ("+CMGR: 0,,23", at.MessageHead("CMGR", 23)),
        ('+CMT: "+86138","",23', at.MessageHead("CMT", 23)),
        ("+CDS: 25", at.MessageHead("CDS", 25)),
        ('+CDSI: "SM",4', at.MessageStored("SM", 4, report=True)),
        ("+QTONEDET: 42,100", at.Dtmf("*", 100)),
        ("+QTONEDET: 300", at.Text("+QTONEDET: 300")),
        ("+DTMF: XX", at.Text("+DTMF: XX")),
        ('+CLIP: "abc xyz",129', at.Text('+CLIP: "abc xyz",129')),
        ("+CPIN: SIM PUK", at.Sim("SIM PUK")),
        ("RDY", at.Started("RDY")),
        ("AT+CSQ", at.Echo("AT+CSQ")),
        ("+CMTI: oops", at.Text("+CMTI: oops")),
        ("NO DIALTONE", at.CallEnded("no_dialtone")),
    ],
)
def test_lines(line: str, report: Any) -> None:
    assert at.parse(line) == report


def test_prompt_directly_behind_an_answer() -> None:
    assert _reports(b"OK\r\n> ") == [at.Final(), at.Prompt()]
    assert _reports(b"> \r\n+CMGS: 5\r\n") == [at.Prompt(), at.Sent(5)]


def test_noise_before_a_report_does_not_hide_it() -> None:
    assert [type(r) for r in _reports(b"\x80\x00\xfe+DTMF: 1\r\n")] == [Reject, at.Dtmf]
    assert [type(r) for r in _reports(b"\xff\x00RING\r\n")] == [at.Ring]


def test_an_endless_line_is_given_up() -> None:
    stream = at.ModemStream()
    for _ in range(50):
        assert stream.receive(b"x" * 500) == [] and len(stream._buffer) <= at.MAX_LINE
    assert [type(found) for found in stream.receive(b"\r\nRING\r\n")] == [Reject, str]


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    _reports(data + b"\r\n")


@settings(max_examples=100)
@given(st.sampled_from(list(at._READERS)), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_any_fields(name: str, rest: str) -> None:
    at.parse(f"{name}: {rest}")
    at.fields(rest)
