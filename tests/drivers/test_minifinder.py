"""The driver of the older Eview pendants."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import (
    Command,
    CommandResult,
    CommandStatus,
    DeviceHealth,
    Frame,
    Instant,
    Match,
    Occurrence,
    Output,
    Position,
    Reason,
    Verb,
)
from drivers.events import epoch_ms
from drivers.minifinder.driver import Minifinder
from protocols.tracker import minifinder as wire
from protocols.tracker.minifinder import MinifinderPosition
from tests.shared import vectors

IMEI = "866123000000015"
NOW = Instant(1795336215000, 1000.0)
HERE = MinifinderPosition(1795336212000, 31.2, 121.5, flags=0x180001, battery=80)


def take(data: bytes, driver: Minifinder | None = None) -> Output:
    return (driver or Minifinder({}, IMEI)).receive(Frame(data=data, received=NOW))


def report(flags: int, kind: str = "D", **known: Any) -> bytes:
    return wire.encode(wire.position_message(kind, HERE._replace(flags=flags, **known)))


def happened(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/minifinder.jsonl"))
def test_every_shared_row_has_its_facts(row: dict[str, Any]) -> None:
    driver, expect = Minifinder({}, None), row["expect"]
    if row.get("needs_login"):
        take(bytes.fromhex(row["login_frame"]), driver)
    output = take(bytes.fromhex(row["wire"]), driver)
    assert output.rejects == [] and output.acks == [] and output.replies == []
    assert output.device == f"minifinder:{expect['device_id']}" and happened(output) == expect.get("alarms", [])
    if "battery_percent" in expect:
        assert [event.body.battery_percent for event in output.events if isinstance(event.body, DeviceHealth)] == [
            expect["battery_percent"]
        ]
    if "lat" in expect:
        place = next(event.body for event in output.events if isinstance(event.body, Position))
        assert output.events[0].at_ms == epoch_ms(expect["fix_time"])
        assert (place.lat, place.lon, place.valid) == (expect["lat"], expect["lon"], expect.get("valid", True))
        for key, found in (("speed_kmh", place.speed_kmh), ("course", place.course_deg), ("altitude_m", place.altitude_m)):
            assert found == expect.get(key, found)


def test_low_battery_masks_no_sos() -> None:
    output = take(report(1 << 6 | 1 << 8 | 1 << 12 | 1))
    assert happened(output) == ["sos", "fall", "low_battery"]


def test_an_alarm_needs_no_place_and_no_login() -> None:
    output = take(report(1 << 6, lat=None, lon=None), Minifinder({}, None))
    assert [(event.device, type(event.body)) for event in output.events] == [("minifinder:unknown", Occurrence)]
    assert [r.reason for r in output.rejects] == [Reason.UNSUPPORTED]


def test_a_damaged_place_hides_no_alarm() -> None:
    for raw in (report(1 << 6, lat=99.0), report(1 << 6).replace(b"31.200000", b"3x")):
        output = take(raw)
        assert happened(output) == ["sos"] and [r.reason for r in output.rejects] == [Reason.RANGE]


def test_a_stored_alarm_is_late_but_told() -> None:
    output = take(report(1 << 6 | 1 << 22, "B"))
    assert [(e.body.kind.value, e.body.stored) for e in output.events if isinstance(e.body, Occurrence)] == [("sos", True)]


@pytest.mark.parametrize(("flags", "source", "valid"), [(1, "gnss", True), (2, "cell", True), (3, "gnss", True), (0, "gnss", False)])
def test_what_the_fix_flags_say(flags: int, source: str, valid: bool) -> None:
    place = next(event.body for event in take(report(flags)).events if isinstance(event.body, Position))
    assert (place.source.value, place.valid) == (source, valid)


def test_charging_is_told_where_it_changes() -> None:
    driver = Minifinder({}, IMEI)
    assert [happened(take(report(flags), driver)) for flags in (1, 1 | 1 << 22, 1 | 1 << 22, 1, 1)] == [
        [],
        ["charging"],
        [],
        ["charging"],
        [],
    ]


def test_nothing_but_alarms_before_the_login() -> None:
    output = take(report(1) + b"!5,17,V,50;", Minifinder({}, None))
    assert not output.events and len(output.rejects) == 2


def test_a_login_without_an_imei_is_refused() -> None:
    assert [r.reason for r in take(b"!1,abc;", Minifinder({}, None)).rejects] == [Reason.RANGE]


@pytest.mark.parametrize(
    ("verb", "args", "texts"),
    [
        (Verb.SET_SOS_NUMBERS, {"numbers": ["110", "120"]}, ["9999A1,110", "9999B1,120"]), (Verb.FALL_DETECTION, {"on": True}, ["9999F1"]),
        (Verb.LISTEN_IN, {"number": "1", "consent": "r-1"}, ["9999P1"]), (Verb.SET_TIME_ZONE, {"offset_minutes": 480}, ["9999L+08"]),
        (Verb.SET_TIME_ZONE, {"offset_minutes": -300}, ["9999L-05"]), (Verb.CONFIGURE, {"name": "led", "value": "1"}, ["9999LED1"]),
    ],
)  # fmt: skip
def test_verbs_are_the_documents_texts(verb: Verb, args: dict[str, Any], texts: list[str]) -> None:
    output = Minifinder({"password": "9999"}, IMEI).command(Command(id="c1", verb=verb, device="", args=args), NOW)
    assert [send.data.decode() for send in output.replies] == texts


@pytest.mark.parametrize(("answer", "status"), [(b"!3,ok;", CommandStatus.DONE), (b"!3,error;", CommandStatus.FAILED)])
def test_the_answer_settles_the_oldest_command(answer: bytes, status: CommandStatus) -> None:
    driver = Minifinder({}, IMEI)
    driver.command(Command(id="c1", verb=Verb.FALL_DETECTION, device="", args={"on": True}), NOW)
    driver.command(Command(id="c2", verb=Verb.FALL_DETECTION, device="", args={"on": False}), NOW)
    results = [event.body for event in take(answer, driver).events if isinstance(event.body, CommandResult)]
    assert [(result.command, result.status) for result in results] == [("c1", status)]


def test_a_silent_pendant_is_asked_twice_then_it_failed() -> None:
    driver = Minifinder({}, IMEI)
    driver.command(Command(id="c1", verb=Verb.FALL_DETECTION, device="", args={"on": True}), NOW)
    assert [send.data for send in driver.wake(Instant(NOW.ms, NOW.s + 30)).replies] == [b"123456F1"]
    lost = driver.wake(Instant(NOW.ms, NOW.s + 60))
    assert [event.body.status for event in lost.events if isinstance(event.body, CommandResult)] == [CommandStatus.FAILED]


@pytest.mark.parametrize(
    ("data", "match"), [(b"!1,8661", Match.YES), (b"!D,22", Match.YES), (b"!", Match.MORE), (b"!x,", Match.NO), (b"[3G*", Match.NO)]
)
def test_first_bytes_tell_the_protocol(data: bytes, match: Match) -> None:
    assert Minifinder.match(Frame(data=data, received=NOW)) is match
