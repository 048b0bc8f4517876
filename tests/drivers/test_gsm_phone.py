"""The modem driver: meaning, acknowledgement after commit, supervision, and a whole life against the simulated modem."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, DeviceHealth, Event, Frame, Instant, Occurrence, OptionError, Output, ServiceRequest, Transport, Verb
from drivers.events import epoch_ms, seal
from drivers.gsm_phone.driver import GsmPhone
from protocols.serial import sms_pdu
from protocols.serial.at_modem import line
from simulator.devices.modem import SimulatedModem
from tests.shared import vectors

NOW = Instant(1795336215000, 1000.0)
NUMBERS = [{"number": "13800138000", "device": "zhang", "key": "sos"}, {"number": "057187654321", "key": "care"}]


def _feed(driver: GsmPhone, data: bytes, now: Instant = NOW) -> Output:
    output = driver.receive(Frame(data=data, received=now, transport=Transport.SERIAL))
    output.events = seal(output.events, received_ms=now.ms)
    return output


def _said(events: list[Event]) -> list[str]:
    names = []
    for event in events:
        body = event.body
        if isinstance(body, Occurrence):
            names.append(f"{body.kind.value} {body.state.value}")
        elif isinstance(body, ServiceRequest):
            names.append(f"item {body.item}")
        elif not isinstance(body, DeviceHealth):
            names.append(getattr(body, "status", "?"))
    return names


class Bench:
    """Driver and modem on one virtual clock; acknowledgements go out unless `committing` is off."""

    def __init__(self, modem: SimulatedModem, **options: Any) -> None:
        self.modem, self.driver, self.s = modem, GsmPhone(options, "desk"), 0.0
        self.events: list[Event] = []
        self.written: list[bytes] = []
        self.wake_s: float | None = 0.0
        self.committing = True

    def now(self) -> Instant:
        return Instant(NOW.ms + round(self.s * 1000), 1000 + self.s)

    def take(self, output: Output) -> None:
        self.events += output.events
        self.wake_s = output.wake_s
        for send in output.replies + (output.acks if self.committing else []):
            self.written.append(send.data)
            self.hear(self.modem.receive(send.data))

    def hear(self, data: bytes) -> None:
        if data:
            self.take(_feed(self.driver, data, self.now()))

    def run(self, seconds: float) -> None:
        end = self.s + seconds
        while self.wake_s is not None and self.wake_s - 1000 <= end:
            self.s = max(self.s, self.wake_s - 1000)
            self.take(self.driver.wake(self.now()))
        self.s = end

    def ask(self, verb: Verb, **args: Any) -> None:
        self.take(self.driver.command(Command(id="c1", verb=verb, device="gsm_phone:desk", args=args), self.now()))

    def said(self) -> list[str]:
        names = _said(self.events)
        self.events.clear()
        return names


def _ready(**options: Any) -> Bench:
    bench = Bench(SimulatedModem(), **options)
    bench.wake_s = 1000.0
    bench.run(1)
    assert bench.written[0] == b"AT\r" and b"AT+CNMI=2,2,0,1,0\r" in bench.written
    bench.said()
    return bench


@pytest.mark.parametrize("row", vectors("vectors/sensor/gsm_at.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if expect.get("encode"):
        return
    output = _feed(GsmPhone({"menu": {"1": "meal"}}, None), bytes.fromhex(row["frame"]))
    assert not output.rejects
    urc = expect.get("urc") or ("clip" if "urcs" in expect else "")
    said = _said(output.events)
    if urc == "clip":
        assert said == ["incoming_call pulse"]
        body = output.events[0].body
        assert isinstance(body, Occurrence)
        assert body.person in ("13800138000", "057187654321", "withheld")
    elif urc == "dtmf":
        assert said == (["item meal"] if expect["key"] == "1" else ["button pulse"])
    elif urc == "sms":
        assert said[-1:] == ([] if "part" in expect else ["message_received pulse"])
        assert [send.data for send in output.acks] == [b"AT+CNMA\r"]
        if "part" not in expect:
            body, event = output.events[-1].body, output.events[-1]
            assert isinstance(body, Occurrence) and body.detail == expect["text"] and event.at_ms == epoch_ms(expect["time"])
    elif urc in ("no_carrier", "busy", "no_answer"):
        assert said == ["call_ended pulse"]
    elif urc == "sms_stored":
        assert output.replies[0].data == f"AT+CMGR={expect['index']}\r".encode()
    elif urc == "registration":
        assert said == ([] if expect["state"] == "roaming" else ["network_lost start"])
    elif expect.get("reply") == "csq" and expect["rssi_dbm"] is not None:
        assert output.events[0].body == DeviceHealth(rssi_dbm=expect["rssi_dbm"], signal=round((expect["rssi_dbm"] + 113) / 0.62))
    elif expect.get("reply") == "clcc":
        assert said == ["incoming_call pulse"], "a call whose +CLIP was lost"
    elif expect.get("state") == "SIM PIN" or expect.get("code") == 10:
        assert said == ["sim_fault start"]


def test_one_call_is_one_sos_and_the_next_call_another() -> None:
    bench = _ready(numbers=NUMBERS)
    for _ in range(4):
        bench.hear(bench.modem.ring("+8613800138000"))
        bench.run(5)
    assert [e.device for e in bench.events] == ["gsm_phone:zhang"] * 2
    assert bench.said() == ["sos start", "incoming_call pulse"]
    bench.hear(bench.modem.caller_hangs_up())
    bench.hear(bench.modem.ring("13800138000"))
    assert bench.said() == ["call_ended pulse", "sos start", "incoming_call pulse"]
    bench.run(11)
    bench.hear(bench.modem.ring("013800138000"))
    assert bench.said() == ["sos start", "incoming_call pulse"], "after a silence it is a new call"


def test_care_call_of_a_land_line() -> None:
    bench = _ready(numbers=NUMBERS)
    bench.hear(bench.modem.ring("+8657187654321"))
    assert bench.said() == ["item care_call", "incoming_call pulse"]


def test_a_ring_without_number_is_told_after_a_moment() -> None:
    bench = _ready()
    bench.hear(line("RING"))
    assert bench.said() == []
    bench.run(4)
    assert bench.said() == ["incoming_call pulse"]


@pytest.mark.parametrize("dialect", ["simcom", "sim7600", "quectel", "huawei"])
def test_menu_in_every_dialect(dialect: str) -> None:
    bench = Bench(
        SimulatedModem(dialect=dialect), menu={"1": "meal", "#": "sos"}, answer=True, dtmf="huawei" if dialect == "huawei" else "auto"
    )
    bench.wake_s = 1000.0
    bench.run(1)
    bench.hear(bench.modem.ring("13700137000"))
    assert bench.modem.in_call
    for key in "1#5":
        bench.hear(bench.modem.press(key))
    assert bench.said() == ["incoming_call pulse", "item meal", "sos start", "button pulse"]


def test_messages_are_confirmed_after_commit_one_by_one() -> None:
    bench = _ready()
    bench.committing = False
    bench.hear(bench.modem.deliver("13800138000", "SOS", NOW.ms))
    bench.hear(bench.modem.deliver("13800138000", "second", NOW.ms))
    assert bench.said() == ["sos start", "message_received pulse"], "not confirmed: the modem keeps the second"
    bench.committing = True
    bench.hear(bench.modem.receive(b"AT+CNMA\r"))
    assert bench.said() == ["message_received pulse"]


def test_an_unconfirmed_message_comes_again_and_is_the_same_event() -> None:
    bench = _ready()
    bench.committing = False
    bench.hear(bench.modem.deliver("13800138000", "SOS", NOW.ms))
    first = [event.id for event in bench.events]
    bench.events.clear()
    bench.committing = True
    fresh = Bench(bench.modem)
    fresh.modem.restart()
    fresh.wake_s = 1000.0
    fresh.run(1)
    assert [event.id for event in fresh.events if isinstance(event.body, Occurrence)] == first


def test_a_modem_without_phase_2_gets_no_confirmation() -> None:
    bench = Bench(SimulatedModem(phase2=False))
    bench.wake_s = 1000.0
    bench.run(1)
    bench.hear(bench.modem.deliver("10086", "one", NOW.ms) + bench.modem.deliver("10086", "two", NOW.ms))
    assert bench.said() == ["message_received pulse"] * 2 and b"AT+CNMA\r" not in bench.written


def test_stored_messages_are_read_told_and_deleted() -> None:
    bench = Bench(SimulatedModem(), messages="stored")
    bench.modem.store("10086", "from before", NOW.ms)
    bench.wake_s = 1000.0
    bench.run(1)
    assert bench.said() == ["message_received pulse"] and not bench.modem.card
    bench.hear(bench.modem.deliver("13800138000", "救命", NOW.ms))
    assert bench.said() == ["sos start", "message_received pulse"] and not bench.modem.card


def test_a_chain_survives_a_restart_of_the_gateway() -> None:
    parts = [sms_pdu.Part(9, 2, i, wide=True) for i in (1, 2)]
    messages = [sms_pdu.Deliver("10086", text, NOW.ms, 480, part, sms_pdu.UCS2) for text, part in zip(("我要", "帮助"), parts, strict=True)]
    first, second = (sms_pdu.encode(message) for message in messages)
    old, new = GsmPhone({}, None), GsmPhone({}, None)
    assert _feed(old, line(f"+CMT: ,{first[1]}") + line(first[0])).events == []
    new.load(old.dump())
    output = _feed(new, line(f"+CMT: ,{second[1]}") + line(second[0]))
    assert [e.body.detail for e in output.events] == ["我要帮助"]  # type: ignore[union-attr]


def test_a_broken_chain_is_told_in_time() -> None:
    bench = _ready()
    pdu, length = sms_pdu.encode(sms_pdu.Deliver("10086", "救命", NOW.ms, 480, sms_pdu.Part(9, 3, 2), sms_pdu.UCS2))
    bench.hear(line(f"+CMT: ,{length}") + line(pdu))
    assert bench.said() == ["sos start"], "an alarm does not wait for the other parts"
    bench.run(179)
    assert bench.said() == []
    bench.run(2)
    assert [e.body.detail for e in bench.events if isinstance(e.body, Occurrence)] == ["[…] 救命 […] (parts 1, 3 missing)"]


def test_chains_are_bounded() -> None:
    driver = GsmPhone({}, None)
    told = 0
    for ref in range(100):
        pdu, length = sms_pdu.encode(sms_pdu.Deliver("10086", "x", NOW.ms, 480, sms_pdu.Part(ref, 2, 1)))
        told += len(_feed(driver, line(f"+CMT: ,{length}") + line(pdu)).events)
    assert told == 100 - 16


def test_reports_inside_a_message() -> None:
    pdu, length = sms_pdu.encode(sms_pdu.Deliver("10086", "hi", NOW.ms, 480))
    output = _feed(GsmPhone({}, None), line(f"+CMT: ,{length}") + line("+DTMF: 5") + line(pdu))
    assert _said(output.events) == ["button pulse", "message_received pulse"]


@pytest.mark.parametrize("second", ["0891683108200505F0040D9168", "RDY", "XX"])
def test_a_message_cut_in_the_middle(second: str) -> None:
    output = _feed(GsmPhone({}, None), line("+CMT: ,23") + line(second) + line("+DTMF: 5"))
    assert "button pulse" in _said(output.events) and output.rejects[0].reason == "TRUNCATED"
    assert not output.acks, "the network sends it again"


def test_an_unreadable_message_is_told_and_confirmed() -> None:
    output = _feed(GsmPhone({}, None), line("+CMT: ,3") + line("00030000"))
    assert _said(output.events) == ["message_received pulse"] and len(output.rejects) == 1
    assert [send.data for send in output.acks] == [b"AT+CNMA\r"]


def test_delivery_reports() -> None:
    pdu, length = sms_pdu.encode(sms_pdu.StatusReport(7, "10086", 0, NOW.ms, NOW.ms))
    output = _feed(GsmPhone({}, None), line(f"+CDS: {length}") + line(pdu))
    body = output.events[0].body
    assert isinstance(body, DeviceHealth) and body.parameters == {"message 7 to 10086": "delivered"}


def test_sending_a_long_text() -> None:
    bench = _ready()
    bench.ask(Verb.SEND_SMS, number="+86 138-0013-8000", text="卫生间求助" * 30)
    assert "".join(part.text for part in bench.modem.sent) == "卫生间求助" * 30 and len(bench.modem.sent) == 3
    assert bench.said() == ["done"]
    assert bench.modem.sent[0].number == "+8613800138000"


def test_sending_is_repeated_and_given_up() -> None:
    bench = _ready()
    bench.modem.fail_sends.extend([500, 331])
    bench.ask(Verb.SEND_SMS, number="10086", text="SOS")
    bench.run(11)
    assert bench.said() == ["done"] and [m.text for m in bench.modem.sent] == ["SOS"]
    bench.modem.fail_sends.extend([500] * 3)
    bench.ask(Verb.SEND_SMS, number="10086", text="SOS")
    bench.run(30)
    assert bench.said() == ["failed"]


def test_a_restart_while_sending_keeps_the_message() -> None:
    bench = _ready()
    bench.modem.silent = True
    bench.ask(Verb.SEND_SMS, number="10086", text="SOS")
    bench.modem.silent = False
    bench.hear(bench.modem.restart())
    bench.run(5)
    assert bench.said() == ["device_reset pulse", "done"] and [m.text for m in bench.modem.sent] == ["SOS"]


def test_many_messages_wait_and_too_many_are_refused() -> None:
    bench = _ready()
    bench.modem.silent = True
    for _ in range(70):
        bench.ask(Verb.SEND_SMS, number="10086", text="SOS")
    assert set(bench.said()) == {"accepted", "failed"}


@pytest.mark.parametrize("number", ["", "10086;+CFUN=0", "abc", "1" * 30, "١٢٣"])
def test_nothing_but_numbers_reaches_the_modem(number: str) -> None:
    bench = _ready()
    written = len(bench.written)
    bench.ask(Verb.SEND_SMS, number=number, text="x")
    bench.ask(Verb.DIAL, number=number)
    assert bench.said() == ["failed", "failed"] and len(bench.written) == written


def test_dial_hang_up_and_query() -> None:
    bench = _ready()
    bench.ask(Verb.DIAL, number="120")
    assert bench.modem.dialled == ["120"] and bench.said() == ["done"]
    bench.ask(Verb.CONFIGURE, name="call", value="hang_up")
    assert not bench.modem.in_call and bench.said() == ["done"]
    bench.ask(Verb.QUERY, name="imei")
    assert [getattr(e.body, "detail", "") for e in bench.events] == ["866123456789012"]
    bench.modem.network(0)
    bench.ask(Verb.CALL_BACK, number="120")
    bench.ask(Verb.QUERY, name="nonsense")
    assert bench.said()[-2:] == ["failed", "failed"]


def test_network_and_card_supervision() -> None:
    bench = _ready()
    bench.hear(bench.modem.network(2))
    bench.hear(bench.modem.network(1))
    assert bench.said() == ["network_lost start", "network_lost end"]
    bench.hear(bench.modem.remove_sim())
    bench.run(200)
    assert bench.said() == ["sim_fault start", "network_lost start"], "told once, however often it is polled"
    bench.hear(bench.modem.insert_sim())
    assert bench.said() == ["sim_fault end", "network_lost end"]


def test_the_poll_finds_what_no_report_told() -> None:
    bench = _ready(poll_s=30)
    bench.modem.registration = 3
    bench.modem.rssi = 5
    bench.run(31)
    bodies = [e.body for e in bench.events]
    assert DeviceHealth(rssi_dbm=-103, signal=16) in bodies and bench.said() == ["network_lost start", "sim_fault start"]


def test_pin_is_tried_once() -> None:
    bench = Bench(SimulatedModem(pin="1234"), pin="1234")
    bench.wake_s = 1000.0
    bench.run(1)
    assert bench.said() == []
    wrong = Bench(SimulatedModem(pin="1234"), pin="0000")
    wrong.wake_s = 1000.0
    wrong.run(300)
    assert wrong.said() == ["sim_fault start"]
    assert [data for data in wrong.written if data.startswith(b"AT+CPIN=")] == [b'AT+CPIN="0000"\r']


def test_a_dead_modem_is_told_and_its_return_too() -> None:
    bench = _ready()
    bench.modem.silent = True
    bench.run(300)
    assert bench.said() == ["fault start"]
    bench.modem.silent = False
    bench.run(30)
    assert bench.said() == ["fault end"]
    bench.hear(bench.modem.ring("10086"))
    assert bench.said() == ["incoming_call pulse"], "every setting was made again"


def test_the_first_wake_starts_the_modem_and_reports_before_it_are_heard() -> None:
    driver = GsmPhone({}, None)
    output = _feed(driver, line("RING") + line('+CLIP: "10086",129'))
    assert _said(output.events) == ["incoming_call pulse"] and not output.replies
    assert output.wake_s is not None and output.wake_s <= NOW.s
    assert driver.wake(NOW).replies[0].data == b"AT\r"


def test_faults_in_the_tables_are_named_together() -> None:
    with pytest.raises(OptionError) as caught:
        GsmPhone({"numbers": [{"key": "sos"}], "patterns": [{"match": "x"}, {"match": "y", "kind": "nonsense"}]}, None)
    assert len(caught.value.faults) == 3
    with pytest.raises(OptionError):
        GsmPhone({"dtmf": "nokia"}, None)


def test_damaged_state_is_ignored() -> None:
    driver = GsmPhone({}, None)
    for state in (
        b"",
        b"{}",
        b"[1]",
        b'{"inbox": [["k", {}]], "active": {}, "reference": 1}',
        b'{"inbox": [], "active": {"x": ""}, "reference": 1}',
    ):
        driver.load(state)
    assert driver.dump() == GsmPhone({}, None).dump()


def _said_with_path(bench: Bench) -> list[str]:
    """What happened, and what became of the path for messages."""
    names: list[str] = []
    for event in bench.events:
        path = (event.body.parameters or {}).get("sms_path") if isinstance(event.body, DeviceHealth) else None
        names += [path] if path else _said([event])
    bench.events.clear()
    return names


STOPPED, RECHARGED = "您的号码已停机，请及时充值", "您已充值成功50元"


def test_a_card_without_money_is_a_dead_path_until_it_is_paid_for() -> None:
    bench = _ready()
    bench.hear(bench.modem.deliver("10086", "您的余额不足10元，请及时充值", NOW.ms))
    assert _said_with_path(bench) == ["sim_fault start", "message_received pulse"]
    bench.hear(bench.modem.deliver("10086", STOPPED, NOW.ms))
    assert _said_with_path(bench) == ["sim_fault start", f"dead: no money on the card: {STOPPED}", "message_received pulse"]
    bench.hear(bench.modem.network(3))
    assert _said_with_path(bench) == ["network_lost start"], "the path is dead already"
    bench.hear(bench.modem.network(1) + bench.modem.deliver("10086", RECHARGED, NOW.ms))
    assert _said_with_path(bench) == ["network_lost end", "sim_fault end", "alive", "message_received pulse"]


def test_a_card_that_the_network_denies_is_dead_until_it_is_let_in_again() -> None:
    bench = _ready()
    bench.hear(bench.modem.network(3))
    assert _said_with_path(bench) == ["network_lost start", "dead: registration: denied", "sim_fault start"]
    bench.hear(bench.modem.network(5))
    assert _said_with_path(bench) == ["network_lost end", "sim_fault end", "alive"]


def test_only_an_operator_can_say_that_there_is_no_money() -> None:
    bench = _ready()
    bench.hear(bench.modem.deliver("13900000001", STOPPED, NOW.ms))
    assert _said_with_path(bench) == ["message_received pulse"]


def test_what_is_wrong_with_the_card_outlives_a_restart() -> None:
    bench = _ready()
    bench.hear(bench.modem.network(3))
    again, damaged = GsmPhone({}, None), GsmPhone({}, None)
    again.load(bench.driver.dump())
    assert again.dump() == bench.driver.dump()
    damaged.load(bench.driver.dump().replace(b"sim_fault", b"no such kind"))
    assert damaged.dump() == GsmPhone({}, None).dump()
