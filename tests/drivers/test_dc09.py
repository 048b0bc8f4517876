"""The DC-09 receiver: meaning of every shared row, and what it must never lose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.api import (
    Command,
    Event,
    Frame,
    Instant,
    Occurrence,
    OptionError,
    Output,
    Position,
    State,
    TimeQuality,
    Transport,
    Trust,
    Verb,
)
from drivers.dc09.codes import sia
from drivers.dc09.driver import Dc09
from drivers.dc09.forward import CODES, link_test, message_of
from drivers.events import epoch_ms, seal
from protocols.building.sia_dc09 import Message, acknowledge, decode, decrypt, encode
from tests.shared import vectors

AT = 1795336210000
NOW = Instant(1795336215000, 1000.0)
KEY = "0123456789ABCDEF"

KINDS = {
    "medical": "medical", "personal_emergency": "sos", "fail_to_report_in": "welfare_missed", "fire": "fire", "smoke": "smoke",
    "gas": "gas", "carbon_monoxide": "co_alarm", "water_leak": "water_leak", "panic": "sos", "silent_panic": "sos",
    "burglary": "burglary", "perimeter": "burglary", "ac_loss": "power_cut", "low_battery": "low_battery", "rf_low_battery": "low_battery",
    "rf_supervision": "offline", "tamper": "tamper", "periodic_test": "test", "emergency": "sos", "water": "water_leak", "heat": "heat",
    "battery_low": "low_battery", "tx_battery": "low_battery", "test": "test", "ac": "power_cut",
}  # fmt: skip


def _feed(driver: Dc09, data: bytes, now: Instant = NOW, **known: Any) -> Output:
    output = driver.receive(Frame(data=data, received=now, **known))
    output.events = seal(output.events, received_ms=now.ms)
    return output


def _sia(sequence: int, data: str, *, at_ms: int | None = AT, key: str | None = None, account: str = "0A12", **known: Any) -> bytes:
    return encode(Message("SIA-DCS", f"{sequence:04d}", account=account, data=data, at_ms=at_ms, **known), key.encode() if key else None)


def _tokens(output: Output) -> list[str]:
    return [decode(send.data.strip()).token for send in output.acks]


@pytest.mark.parametrize("row", vectors("vectors/sensor/sia_dc09.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if expect.get("encode"):
        return
    options: dict[str, Any] = {"tolerate_crc": expect.get("crc_ok") is False}
    if "key" in row:
        options["accounts"] = [{"account": expect["account"], "key": row["key"]}]
    at_ms = epoch_ms(expect["time"]) if "time" in expect else epoch_ms("2026-11-22T08:40:00Z")
    output = _feed(Dc09(options, None), bytes.fromhex(row["frame"]), Instant(at_ms + 1000, 5.0))
    if expect.get("stream"):
        assert len(output.events) == expect["count"]
        return
    if expect.get("ok") is False:
        assert [r.reason for r in output.rejects] == ["INTEGRITY"] and not output.events and not output.acks
        return
    assert not output.rejects
    assert output.device == f"dc09:{expect['account']}"
    body = output.events[0].body
    if expect.get("link_test"):
        assert not isinstance(body, Occurrence)
        return
    assert isinstance(body, Occurrence)
    if "meaning" in expect:
        name = expect["meaning"]
        assert body.kind == KINDS[name.removesuffix("_restore")]
        state = "end" if name.endswith("_restore") else "pulse" if body.kind == "test" else "start"
        assert body.state == state
        assert body.place is not None and body.place.endswith(expect.get("point", expect["zone"]))
    answer = decode(output.acks[0].data.strip())
    if expect.get("lenient"):
        return
    assert answer.token == "ACK" and answer.sequence == expect["seq"]
    assert output.events[0].at_ms == at_ms
    if expect.get("encrypted"):
        assert output.events[0].trust is Trust.AUTHENTICATED
        assert decrypt(answer, row["key"].encode()).at_ms is not None


def test_ack_is_held_until_commit() -> None:
    output = _feed(Dc09({}, None), _sia(1, "Nri1/PA001"))
    assert not output.replies and _tokens(output) == ["ACK"]
    assert output.acks[0].data.endswith(b'"ACK"0001L0#0A12[]\r')


def test_answer_echoes_receiver_and_line() -> None:
    output = _feed(Dc09({}, None), _sia(1, "Nri1/PA001", receiver="1A", line="2B"))
    assert output.acks[0].data.endswith(b'"ACK"0001R1AL2B#0A12[]\r')


def test_nak_tells_our_time() -> None:
    output = _feed(Dc09({}, None), _sia(1, "Nri1/PA001", at_ms=AT - 60_000))
    assert output.acks[0].data.endswith(b'"NAK"0000R0L0A0[]_08:30:15,11-22-2026\r')


@pytest.mark.parametrize(("late_s", "token"), [(40, "ACK"), (41, "NAK"), (-20, "ACK"), (-22, "NAK")])
def test_window(late_s: int, token: str) -> None:
    output = _feed(Dc09({}, None), _sia(1, "Nri1/QA001", at_ms=NOW.ms - late_s * 1000))
    assert _tokens(output) == [token]
    assert len(output.events) == 1, "a clock never stands before an alarm"


def test_window_can_be_switched_off() -> None:
    assert _tokens(_feed(Dc09({"check_time": False}, None), _sia(1, "Nri1/QA001", at_ms=AT - 86_400_000))) == ["ACK"]


def test_a_clock_years_off_does_not_date_the_alarm() -> None:
    event = _feed(Dc09({}, None), _sia(1, "Nri1/QA001", at_ms=epoch_ms("2019-01-01T00:00:00Z"))).events[0]
    assert event.at_ms == NOW.ms and event.time_quality is TimeQuality.SUSPECT


def test_local_time_panel() -> None:
    output = _feed(Dc09({"utc_offset_minutes": 480}, None), _sia(1, "Nri1/QA001", at_ms=AT + 8 * 3600_000))
    assert _tokens(output) == ["ACK"] and output.events[0].at_ms == AT


def test_repetition_has_the_same_identity() -> None:
    driver, frame = Dc09({}, None), _sia(7, "Nri1/PA001")
    first, again = _feed(driver, frame), _feed(driver, frame, Instant(NOW.ms + 20_000, 1020.0))
    assert first.events[0].id == again.events[0].id and _tokens(again) == ["ACK"]
    assert _feed(Dc09({}, None), frame).events[0].id == first.events[0].id, "over a new connection too"


def test_repetition_without_stamp_has_the_same_identity() -> None:
    driver, frame = Dc09({}, None), _sia(7, "Nri1/PA001", at_ms=None)
    first, again = _feed(driver, frame), _feed(driver, frame, Instant(NOW.ms + 20_000, 1020.0))
    assert first.events[0].id == again.events[0].id


def test_repetition_after_nak_with_a_mended_clock_is_one_event() -> None:
    driver = Dc09({}, None)
    first = _feed(driver, _sia(7, "Nri1/PA001", at_ms=AT - 600_000))
    again = _feed(driver, _sia(7, "Nri1/PA001", at_ms=NOW.ms + 1000), Instant(NOW.ms + 1000, 1001.0))
    assert _tokens(first) + _tokens(again) == ["NAK", "ACK"]
    assert first.events[0].ref == again.events[0].ref


def test_the_same_number_on_the_next_round_is_a_new_alarm() -> None:
    driver, frame = Dc09({}, None), _sia(7, "Nri1/PA001", at_ms=None)
    ids = {_feed(driver, frame, Instant(NOW.ms + s * 1000, 1000.0 + s)).events[0].id for s in (0, 3600)}
    assert len(ids) == 2


def test_the_same_number_with_other_content_is_a_new_alarm() -> None:
    driver = Dc09({}, None)
    ids = {_feed(driver, _sia(1, data)).events[0].id for data in ("Nri1/PA001", "Nri1/PA002")}
    assert len(ids) == 2


def test_repeat_guard_survives_a_restart() -> None:
    driver, frame = Dc09({}, None), _sia(7, "Nri1/PA001", at_ms=None)
    first = _feed(driver, frame)
    fresh = Dc09({}, None)
    fresh.load(driver.dump())
    assert _feed(fresh, frame, Instant(NOW.ms + 20_000, 1020.0)).events[0].id == first.events[0].id


@pytest.mark.parametrize("length", [16, 24, 32])
def test_every_key_length(length: int) -> None:
    key = ("0123456789ABCDEF" * 2)[:length]
    driver = Dc09({"accounts": [{"account": "0A12", "key": key}]}, None)
    output = _feed(driver, _sia(1, "Nri1/QA001", key=key))
    assert output.events[0].trust is Trust.AUTHENTICATED
    assert output.acks[0].data == acknowledge(Message("SIA-DCS", "0001", account="0A12", encrypted=True), "ACK", NOW.ms, key.encode())


def test_an_account_with_a_key_that_speaks_in_clear_keeps_its_alarm_only() -> None:
    driver = Dc09({"accounts": [{"account": "0A12", "key": KEY}]}, None)
    alarm, restore = _feed(driver, _sia(1, "Nri1/QA001")), _feed(driver, _sia(2, "Nri1/QH001"))
    assert [len(alarm.events), len(restore.events)] == [1, 0]
    assert _tokens(alarm) + _tokens(restore) == ["NAK", "NAK"]
    assert alarm.events[0].trust is Trust.CLAIMED


def test_one_key_for_all_accounts() -> None:
    output = _feed(Dc09({"key": KEY}, None), _sia(1, "Nri1/QA001", key=KEY))
    assert output.events[0].trust is Trust.AUTHENTICATED and len(output.events) == 1
    with pytest.raises(OptionError):
        Dc09({"key": "short"}, None)


def test_a_wrong_key_gives_nak() -> None:
    driver = Dc09({"accounts": [{"account": "0A12", "key": "F" * 16}]}, None)
    output = _feed(driver, _sia(1, "Nri1/QA001", key=KEY))
    assert _tokens(output) == ["NAK"] and not output.events and len(output.rejects) == 1


def test_good_neighbours_of_a_broken_message() -> None:
    good, other = _sia(1, "Nri1/QA001"), _sia(2, "Nri1/GA001")
    broken = good.replace(b"QA001", b"QA0x1")
    output = _feed(Dc09({}, None), good + broken + b"\x00junk\r\n" + other)
    assert [event.body.kind for event in output.events] == ["sos", "gas"]  # type: ignore[union-attr]
    assert _tokens(output) == ["ACK", "ACK"]


def test_content_that_is_no_event_gets_duh() -> None:
    output = _feed(Dc09({}, None), _sia(1, "??") + _sia(2, "Nri1/QA001"))
    assert _tokens(output) == ["DUH", "ACK"] and len(output.events) == 1


def test_position_of_the_panel() -> None:
    output = _feed(Dc09({}, None), _sia(1, "Nri1/PA001", extended=("X121E30.2160", "Y31N13.2120")))
    body = output.events[1].body
    assert isinstance(body, Position) and (round(body.lat or 0, 4), round(body.lon or 0, 4)) == (31.2202, 121.5036)


def test_room_names() -> None:
    driver = Dc09({"places": {"1/001": "bedroom", "002": "bath"}}, None)
    places = [_feed(driver, _sia(i, f"Nri1/PA00{i}")).events[0].body.place for i in (1, 2, 3)]  # type: ignore[union-attr]
    assert places == ["bedroom", "bath", "1/003"]


def test_datagrams() -> None:
    driver = Dc09({}, None)
    frame = _sia(1, "Nri1/QA001").strip()
    assert len(_feed(driver, frame, transport=Transport.UDP).events) == 1
    assert len(_feed(driver, frame[:30], transport=Transport.UDP).rejects) == 1
    assert len(_feed(driver, frame, transport=Transport.UDP).events) == 1, "nothing of the last datagram is left"


def test_unknown_codes_of_alarm_families_are_alarms() -> None:
    assert sia("1A").kind == "general_alarm"
    assert sia("PK").kind == "general_alarm"
    assert sia("JX").kind is None


def test_bad_accounts_name_the_fault_and_not_the_key() -> None:
    with pytest.raises(OptionError) as caught:
        Dc09({"accounts": [{"account": "1", "key": "topsecret"}, "x"]}, None)
    assert len(caught.value.faults) == 2 and "topsecret" not in str(caught.value)


def test_commands_are_refused_with_a_result() -> None:
    output = Dc09({}, None).command(Command(id="1", verb=Verb.SIREN, device="dc09:1", args={"on": True}), NOW)
    assert output.events and not output.replies


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("contact", [False, True])
@pytest.mark.parametrize("state", [State.START, State.END])
def test_what_we_forward_our_own_receiver_understands(kind: Any, state: State, *, contact: bool) -> None:
    event = Event(device="watch:1", at_ms=NOW.ms, body=Occurrence(kind=kind, state=state))
    message = message_of(event, account="0A12", sequence=5, now_ms=NOW.ms, zone=7, contact=contact, text="3 [x]/room")
    assert message is not None
    output = _feed(Dc09({}, None), encode(message))
    body = output.events[0].body
    near = {"fall": "medical", "smoke": "fire", "co_alarm": "gas", "welfare_missed": "inactivity"} if not contact else {"fall": "medical"}
    assert isinstance(body, Occurrence) and body.kind in (kind, near.get(kind))
    assert body.state is (State.PULSE if kind == "test" else state)
    assert _tokens(output) == ["ACK"] and (body.place or "").endswith("007")


def test_a_late_event_keeps_its_time_on_the_way() -> None:
    event = Event(device="watch:1", at_ms=NOW.ms - 3600_000, body=Occurrence(kind="sos"))  # type: ignore[arg-type]
    message = message_of(event, account="0A12", sequence=5, now_ms=NOW.ms)
    assert message is not None
    got = _feed(Dc09({}, None), encode(message)).events[0]
    assert got.at_ms == event.at_ms and isinstance(got.body, Occurrence) and got.body.stored
    assert message_of(Event(device="w", at_ms=1, body=Position()), account="1", sequence=1, now_ms=1) is None
    assert _feed(Dc09({}, None), encode(link_test(account="0A12", now_ms=NOW.ms))).events[0].body.online  # type: ignore[union-attr]


def test_the_repeat_guard_keeps_a_minute_and_is_written_only_when_it_changes() -> None:
    driver = Dc09({"check_time": False}, None)

    def say(message: Message, second: int) -> None:
        _feed(driver, encode(message), Instant(AT + second * 1000, 1000.0 + second), transport=Transport.TCP)

    for second in range(200):
        say(Message("SIA-DCS", f"{second:04d}", "1", "0", "A001", "Nri1/PA001", at_ms=AT + second * 1000), second)
    state = driver.dump()
    assert len(json.loads(state)) == 61
    say(Message("NULL", "0201", "1", "0", "A001", at_ms=AT + 200_000), 200)
    assert driver.dump() is state
    again = Dc09({"check_time": False}, None)
    again.load(state)
    assert again.dump() == state
