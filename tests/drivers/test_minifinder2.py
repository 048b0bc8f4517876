"""The Eview pendant driver."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from drivers.api import (
    Command,
    CommandResult,
    CommandStatus,
    DeviceHealth,
    Frame,
    Instant,
    Measurement,
    Occurrence,
    Output,
    Position,
    Reason,
    Verb,
)
from drivers.events import epoch_ms
from drivers.minifinder2.driver import Minifinder2
from protocols.tracker import minifinder2 as wire
from protocols.tracker import minifinder2_records as data
from tests.shared import vectors

IMEI = "862311000000017"
NOW = Instant(1795336215000, 1000.0)
T = 1795336212


def take(raw: bytes, driver: Minifinder2 | None = None) -> Output:
    return (driver or Minifinder2({}, None)).receive(Frame(data=raw, received=NOW))


def message(*items: tuple[int, bytes], **status: Any) -> bytes:
    return data.data_message(IMEI, data.status_item(T, **{"battery": 80, **status}), *items)


def happened(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence) and event.body.kind.value != "moving"]


@pytest.mark.parametrize("row", vectors("vectors/tracker/minifinder2.jsonl"))
def test_every_shared_row_has_its_facts(row: dict[str, Any]) -> None:
    output, expect = take(bytes.fromhex(row["frame"])), row["expect"]
    assert output.rejects == [] and output.tolerated == []
    if "device_id" in expect:
        assert output.device == f"minifinder2:{expect['device_id']}"
    if "reply" in expect:
        assert [send.data.hex() for send in output.acks] == [expect["reply"]]
    if "alarms" in expect:
        assert happened(output) == [{"lowBattery": "low_battery"}.get(alarm, alarm) for alarm in expect["alarms"]]
    if "battery_percent" in expect:
        health = next(event.body for event in output.events if isinstance(event.body, DeviceHealth))
        assert (health.battery_percent, health.charging) == (expect["battery_percent"], expect["charging_flag"])
    if "fix_time" in expect:
        assert output.events[0].at_ms == epoch_ms(expect["fix_time"])
    if "lat" in expect:
        place = next(event.body for event in output.events if isinstance(event.body, Position))
        assert (place.lat, place.lon) == pytest.approx((expect["lat"], expect["lon"]), abs=1e-6)
        assert place.valid == expect["valid"] and place.source.value == expect.get("fix_source", "gnss")
    if "barkCount" in expect.get("other", {}):
        assert [event.body.value for event in output.events if isinstance(event.body, Measurement)] == [expect["other"]["barkCount"]]


def test_low_battery_masks_no_sos() -> None:
    assert happened(take(message(data.alarm_item(1 << 12 | 1 << 2 | 1, T)))) == ["sos", "fall", "low_battery"]


@pytest.mark.parametrize(
    ("bit", "kind"), [(3, "tilt"), (11, "no_motion"), (19, "welfare_missed"), (18, "general_alarm"), (22, "general_alarm")]
)
def test_care_alarms_that_others_ignore(bit: int, kind: str) -> None:
    assert happened(take(message(data.alarm_item(1 << bit, T)))) == [kind]


def test_the_end_of_an_sos_is_no_new_one() -> None:
    ended = [event.body for event in take(message(data.alarm_item(1 << 17, T))).events if isinstance(event.body, Occurrence)]
    assert (ended[0].kind.value, ended[0].state.value) == ("sos", "end")


def test_fences_are_told_apart() -> None:
    output = take(message(data.alarm_item(1 << 4 | 1 << 5 | 1 << 27, T)))
    fences = [
        (event.body.kind.value, event.body.place) for event in output.events if isinstance(event.body, Occurrence) and event.body.place
    ]
    assert fences == [("device_fence_exit", "fence 1"), ("device_fence_entry", "fence 2")]


def test_a_poison_record_is_refused_acknowledged_and_hides_no_alarm() -> None:
    output = take(message((0x20, struct.pack("<iiHHhHIB", 1_900_000_000, 0, 0, 0, 0, 9, 0, 9)), data.alarm_item(1 << 12, T)))
    assert happened(output) == ["sos"] and [r.reason for r in output.rejects] == [Reason.RANGE] and len(output.acks) == 1


def test_a_wrong_crc_is_not_acknowledged_unless_tolerated() -> None:
    raw = bytearray(message(data.alarm_item(1 << 12, T)))
    raw[4] ^= 1
    refused = take(bytes(raw))
    assert not refused.events and not refused.acks and [r.reason for r in refused.rejects] == [Reason.INTEGRITY]
    used = take(bytes(raw), Minifinder2({"tolerate_crc": True}, None))
    assert happened(used) == ["sos"] and len(used.acks) == 1 and [r.reason for r in used.tolerated] == [Reason.INTEGRITY]


def test_an_alarm_of_nobody_is_not_lost() -> None:
    output = take(wire.encode(wire.Message(wire.DATA, (data.alarm_item(1 << 12, T),))))
    assert [(event.device, type(event.body)) for event in output.events] == [("minifinder2:unknown", Occurrence)]
    assert [r.reason for r in output.rejects] == [Reason.UNSUPPORTED]


def test_stored_records_are_marked_and_change_no_state() -> None:
    output = take(message(data.alarm_item(1 << 12, T), stored=True, moving=True))
    assert [event.body.stored for event in output.events if isinstance(event.body, Occurrence)] == [True]


def test_service_questions_are_answered_at_once() -> None:
    asked = wire.Message(wire.SERVICE, (data.imei_item(IMEI), (wire.TIME, b"")), 3)
    assert [send.data for send in take(wire.encode(asked)).replies] == [wire.time_answer(asked, NOW.ms // 1000)]
    driver = Minifinder2({}, None)
    take(message(data.gnss_item(data.Gnss(31.2, 121.5, 0, 0, 0, 1.0, 0, 9))), driver)
    where = take(wire.encode(asked._replace(items=(data.imei_item(IMEI), (wire.ADDRESS, b"")))), driver)
    assert b"31.20000,121.50000" in where.replies[0].data


def test_unknown_commands_are_refused_and_acknowledged() -> None:
    output = take(wire.encode(wire.Message(wire.FIRMWARE, ((1, b"x"),))), Minifinder2({}, IMEI))
    assert [r.reason for r in output.rejects] == [Reason.UNSUPPORTED] and len(output.acks) == 1


@pytest.mark.parametrize(("code", "status"), [(0, CommandStatus.DONE), (3, CommandStatus.FAILED)])
def test_the_answer_settles_the_command_by_sequence(code: int, status: CommandStatus) -> None:
    driver = Minifinder2({}, IMEI)
    sent = driver.command(Command(id="c1", verb=Verb.SET_SOS_NUMBERS, device="", args={"numbers": ["110", "120"]}), NOW)
    asked = wire.Connection().receive(sent.replies[0].data)[0]
    assert isinstance(asked, wire.Message) and [value[1:] for _, value in asked.items] == [b"110", b"120"]
    output = take(wire.encode(wire.Message(wire.RESPONSE, ((code, b""),), asked.sequence, flags=0)), driver)
    assert [event.body.status for event in output.events if isinstance(event.body, CommandResult)] == [status]


def test_a_silent_pendant_is_asked_twice_then_it_failed() -> None:
    driver = Minifinder2({}, IMEI)
    first = driver.command(Command(id="c1", verb=Verb.RING, device=""), NOW)
    assert driver.wake(Instant(NOW.ms, NOW.s + 30)).replies == first.replies
    assert [event.body.status for event in driver.wake(Instant(NOW.ms, NOW.s + 60)).events if isinstance(event.body, CommandResult)] == [
        CommandStatus.FAILED
    ]
