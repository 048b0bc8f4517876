"""The GB/T 26875.3 receiver: meaning, confirmation, ends of alarms, commands, forwarding."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import Command, Event, Frame, Instant, Measurement, Occurrence, OptionError, Output, Quantity, State, Transport, Verb
from drivers.events import seal
from drivers.gbt26875.driver import Gbt26875
from drivers.gbt26875.forward import frame_of, heartbeat, object_of
from protocols.building import gbt26875_objects as o
from protocols.building.gbt26875 import Message, decode, encode
from tests.shared import vectors

NOW = Instant(1795336215000, 1000.0)
LOCAL = NOW.ms + 8 * 3600_000
KINDS = {
    "gb26875_3-001": "gas", "gb26875_3-002": "gas", "gb26875_3-003": "fault", "gb26875_3-004": "smoke", "gb26875_3-005": "smoke",
    "gb26875_3-006": "heat", "gb26875_3-007": "fire", "gb26875_3-008": "supervised", "gb26875_3-011": "siren", "gb26875_3-012": "sos",
    "gb26875_3-013": "gas", "gb26875_3-015": "fire", "gb26875_3-038": "fire", "gb26875_3-040": "power_cut", "gb26875_3-043": "fire",
    "gb26875_3-064": "smoke", "gb26875_3-067": "power_cut", "gb26875_3-072": "power_cut", "gb26875_3-042": "network_lost",
}  # fmt: skip


def _feed(driver: Gbt26875, data: bytes, now: Instant = NOW, **known: Any) -> Output:
    output = driver.receive(Frame(data=data, received=now, **known))
    output.events = seal(output.events, received_ms=now.ms)
    return output


def _frame(thing: Any, *more: Any, serial: int = 5, command: int = 2) -> bytes:
    return encode(Message(serial, command, o.encode_unit([thing, *more]), "00000000abcd", "000000000001", LOCAL))


def _part(part: int, state: int, text: str = "厨房") -> o.PartState:
    return o.PartState(1, 1, part, 0x10002, state, text, LOCAL)


def _said(output: Output) -> list[tuple[str, str]]:
    return [(e.body.kind.value, e.body.state.value) for e in output.events if isinstance(e.body, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/sensor/gb26875_3.jsonl"))
def test_shared_row(row: dict[str, Any]) -> None:
    frame, expect = bytes.fromhex(row["frame"]), row["expect"]
    if row["transport"] != "tcp" or expect.get("stream"):
        return
    output = _feed(Gbt26875({}, None), frame)
    if expect.get("ok") is False:
        assert not output.events and not output.acks
        assert bool(output.rejects) == (expect["error"] != "need_more")
        return
    assert output.device == f"gbt26875:{expect['source']}"
    if row["id"] in KINDS:
        assert KINDS[row["id"]] in [kind for kind, _ in _said(output)]
    item = expect.get("items", [{}])[0]
    if "analog" in item:
        assert isinstance(output.events[0].body, Measurement)
    if expect["cmd"] == 2:
        sends = output.replies if expect.get("empty") else output.acks
        answer = decode(sends[0].data)
        assert (answer.serial, answer.command, answer.source, answer.dest) == (expect["serial"], 3, expect["dest"], expect["source"])
    elif expect["cmd"] in (3, 5, 6):
        assert not output.replies and not output.acks


def test_confirm_byte_for_byte() -> None:
    unit = o.encode_unit([o.PartState(1, 1, 40, 0x2000A, 2, "", 1348653482000)])
    frame = encode(Message(1, 2, unit, "000000000379", "000000015b38", 1348653512000))
    output = _feed(Gbt26875({}, None), frame, Instant(1348624715000, 1.0))
    assert [send.data.hex() for send in output.acks] == ["404001000101233a091a090c385b01000000790300000000000003ab2323"]
    assert output.events[0].at_ms == 1348624682000, "Beijing time"


def test_the_same_alarm_is_told_on_every_frame() -> None:
    driver = Gbt26875({}, None)
    assert _said(_feed(driver, _frame(_part(40, 2)))) + _said(_feed(driver, _frame(_part(40, 2), serial=6))) == [("smoke", "start")] * 2


def test_lasting_conditions_are_told_on_change() -> None:
    driver = Gbt26875({}, None)
    said = [_said(_feed(driver, _frame(_part(40, state)))) for state in (5, 5, 1, 1)]
    assert said == [[("fault", "start")], [], [("fault", "end")], []]


def test_an_end_needs_a_begin() -> None:
    assert _said(_feed(Gbt26875({}, None), _frame(_part(40, 1)))) == []


def test_the_end_survives_a_restart() -> None:
    driver = Gbt26875({}, None)
    _feed(driver, _frame(_part(12, 2)))
    fresh = Gbt26875({}, None)
    fresh.load(driver.dump())
    assert _said(_feed(fresh, _frame(_part(12, 1, "")))) == [("gas", "end")]
    assert Gbt26875({}, None).load(b"[[1]]") is None


def test_a_reset_of_the_system_ends_its_alarms() -> None:
    driver = Gbt26875({}, None)
    _feed(driver, _frame(_part(12, 2), _part(40, 4)))
    ended = _feed(driver, _frame(o.Operation(1, 1, 1, 3, LOCAL)))
    assert _said(ended) == [("device_reset", "pulse"), ("gas", "end")]
    other = _feed(driver, _frame(o.Operation(2, 1, 1, 3, LOCAL)))
    assert _said(other) == [("device_reset", "pulse")]


def test_good_objects_before_and_good_frames_behind_damage() -> None:
    unit = o.encode_unit([_part(12, 2), _part(40, 2)])
    poison = encode(Message(9, 2, unit[:70], "00000000abcd", "000000000001", LOCAL))
    output = _feed(Gbt26875({}, None), poison + b"@@junk" + _frame(_part(23, 2)))
    assert _said(output) == [("gas", "start"), ("fire", "start")]
    assert [decode(send.data).serial for send in output.acks] == [9, 5], "a poison record is confirmed, so that the unit goes on"


def test_an_alarm_with_an_impossible_time_is_kept() -> None:
    unit = bytearray(o.encode_unit([_part(12, 2)]))
    unit[-6:] = b"\xff" * 6
    output = _feed(Gbt26875({}, None), encode(Message(1, 2, bytes(unit), "00000000abcd", local_ms=LOCAL)))
    assert _said(output) == [("gas", "start")] and output.events[0].at_ms == NOW.ms


def test_a_wrong_sum_is_denied_at_once_and_gives_nothing() -> None:
    bad = bytearray(_frame(_part(12, 2)))
    bad[-3] ^= 1
    output = _feed(Gbt26875({}, None), bytes(bad))
    assert not output.events and not output.acks
    answer = decode(output.replies[0].data)
    assert (answer.command, answer.serial, answer.dest) == (6, 5, "00000000abcd")


def test_address_in_big_endian_order() -> None:
    frame = encode(Message(1, 2, b"", "00000000abcd", local_ms=LOCAL), big_endian_address=True)
    output = _feed(Gbt26875({"address_order": "big"}, None), frame)
    assert output.device == "gbt26875:00000000abcd"
    assert decode(output.replies[0].data, big_endian_address=True).dest == "00000000abcd"


def test_zone_in_the_low_word_and_room_names() -> None:
    part = _part(40, 2, "")
    assert _feed(Gbt26875({"zone_word": "low"}, None), _frame(part)).events[0].body.place == "2/1"  # type: ignore[union-attr]
    assert _feed(Gbt26875({"places": {"1/2": "bedroom"}}, None), _frame(part)).events[0].body.place == "bedroom"  # type: ignore[union-attr]


def test_datagram() -> None:
    driver = Gbt26875({}, None)
    frame = _frame(_part(12, 2))
    assert len(_feed(driver, frame[:40], transport=Transport.UDP).rejects) == 1
    assert _said(_feed(driver, frame, transport=Transport.UDP)) == [("gas", "start")]


def test_residual_current_is_leakage() -> None:
    body = _feed(Gbt26875({}, None), _frame(o.Analogue(1, 1, 17, 1, 9, 3, LOCAL))).events[0].body
    assert isinstance(body, Measurement) and (body.quantity, body.value) == (Quantity.LEAKAGE_CURRENT, 300)


def test_an_impossible_reading_is_refused_and_its_neighbour_kept() -> None:
    things = [o.Analogue(1, 1, 11, 1, 6, raw, LOCAL) for raw in (30000, 125)]
    output = _feed(Gbt26875({}, None), _frame(*things))
    assert [e.body.value for e in output.events] == [12.5] and len(output.rejects) == 1  # type: ignore[union-attr]


def _command(verb: Verb, **args: Any) -> Command:
    return Command(id="c9", verb=verb, device="gbt26875:00000000abcd", args=args)


def _results(events: list[Event]) -> list[str]:
    return [e.body.status.value for e in events if hasattr(e.body, "status")]


def test_a_request_is_repeated_and_given_up() -> None:
    driver = Gbt26875({}, None)
    assert _results(driver.command(_command(Verb.QUERY), NOW).events) == ["failed"], "no address yet"
    _feed(driver, _frame(o.UnitState(1, LOCAL)))
    sent = driver.command(_command(Verb.QUERY, name="unit_clock"), NOW)
    message = decode(sent.replies[0].data)
    assert (message.command, message.unit, message.dest) == (4, b"\x58\x01\x00", "00000000abcd") and sent.wake_s == 1010
    assert not driver.wake(Instant(NOW.ms, 1009.0)).replies
    for s in (1010.0, 1020.0):
        assert driver.wake(Instant(NOW.ms, s)).replies[0].data == sent.replies[0].data
    assert _results(driver.wake(Instant(NOW.ms, 1030.0)).events) == ["failed"]
    assert driver.wake(Instant(NOW.ms, 1040.0)).wake_s is None


@pytest.mark.parametrize(("code", "status"), [(3, "done"), (6, "failed"), (5, "done")])
def test_results(code: int, status: str) -> None:
    driver = Gbt26875({}, "gbt26875:00000000abcd")
    driver.command(_command(Verb.CONFIGURE, name="clock", value="now"), NOW)
    unit = o.encode_unit([o.UnitState(1, LOCAL)]) if code == 5 else b""
    answer = encode(Message(1, code, unit, "00000000abcd", local_ms=LOCAL))
    assert _results(_feed(driver, answer).events) == [status]
    assert _results(_feed(driver, answer).events) == [], "an answer counts once"


def test_the_clock_is_set_to_beijing_time() -> None:
    driver = Gbt26875({}, "00000000abcd")
    unit = decode(driver.command(_command(Verb.CONFIGURE, name="clock", value="now"), NOW).replies[0].data).unit
    assert unit == b"\x5a\x01" + bytes((15, 30, 16, 22, 11, 26))


@pytest.mark.parametrize("args", [{"name": "guard_check", "value": "0"}, {"name": "x", "value": "1"}, {"name": "clock", "value": "soon"}])
def test_bad_commands_are_refused_with_a_reason(args: dict[str, str]) -> None:
    assert _results(Gbt26875({}, "00000000abcd").command(_command(Verb.CONFIGURE, **args), NOW).events) == ["failed"]


@pytest.mark.parametrize("name", ["nonsense", "part_state:1/999", "system_state:99999999999"])
def test_bad_queries_are_refused(name: str) -> None:
    assert _results(Gbt26875({}, "00000000abcd").command(_command(Verb.QUERY, name=name), NOW).events) == ["failed"]


def test_bad_private_parts() -> None:
    with pytest.raises(OptionError):
        Gbt26875({"private_parts": {"12": "sos"}}, None)


def test_what_we_forward_our_own_receiver_understands() -> None:
    driver = Gbt26875({"private_parts": {"130": "sos"}}, None)
    for kind, state in (("sos", State.START), ("sos", State.END)):
        event = Event(device="watch:1", at_ms=NOW.ms, body=Occurrence(kind=kind, state=state, place="301室"))  # type: ignore[arg-type]
        thing = object_of(event, part_address=0x30001)
        assert thing is not None
        wire = frame_of([thing], serial=3, source="0000000000aa", dest="000000000001", now_ms=NOW.ms)
        output = _feed(driver, wire)
        assert _said(output) == [(kind, state.value)]
        assert output.events[0].at_ms == NOW.ms and output.events[0].body.place == "301室"  # type: ignore[union-attr]
    reading = Event(device="g", at_ms=NOW.ms, body=Measurement(quantity=Quantity.GAS_LEL, value=12.5))
    thing = object_of(reading, part_address=1)
    assert isinstance(thing, o.Analogue) and thing.value == 12.5
    assert object_of(Event(device="g", at_ms=1, body=Measurement(quantity=Quantity.STEPS, value=1)), part_address=1) is None
    assert decode(heartbeat(source="0000000000aa", dest="000000000001", now_ms=NOW.ms)).is_heartbeat
