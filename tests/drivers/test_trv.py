"""The TRV / IW driver."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import (
    EARLIEST_MS,
    Command,
    CommandResult,
    CommandStatus,
    DeviceHealth,
    Frame,
    Instant,
    Match,
    Measurement,
    Occurrence,
    Output,
    Position,
    Reason,
    Verb,
)
from drivers.events import epoch_ms
from drivers.trv.driver import Trv
from protocols.tracker import trv
from protocols.tracker.trv import TrvMessage, TrvPosition, position_body
from tests.shared import vectors

IMEI = "866123000000015"
NOW = Instant(1795336215000, 1000.0)
HERE = TrvPosition(1795336212000, True, 31.2, 121.5, battery=80, signal=60, cells=((460, 0, 9520, 3671, None),))


def take(data: bytes, driver: Trv | None = None) -> Output:
    return (driver or Trv({}, IMEI)).receive(Frame(data=data, received=NOW))


def alarm(code: str, **known: Any) -> bytes:
    return trv.encode(TrvMessage("IW", "AP10", position_body(HERE._replace(rest=(code, "zh-cn", "00"), **known))))


def happened(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)]


def measured(output: Output) -> dict[str, float]:
    return {event.body.quantity.value: event.body.value for event in output.events if isinstance(event.body, Measurement)}


@pytest.mark.parametrize("row", vectors("vectors/tracker/trv.jsonl"))
def test_every_shared_row_has_its_facts(row: dict[str, Any]) -> None:
    driver, expect = Trv({}, None), row["expect"]
    if row.get("needs_login"):
        assert take(bytes.fromhex(row["login_frame"]), driver).device == f"trv:{row['login_device']}"
    wire = bytes.fromhex(row.get("wire") or row["frame"])
    output = take(wire if wire.endswith(b"#") else wire + b"#", driver)
    assert output.rejects == [] and output.device == f"trv:{expect['device_id']}"
    names = {"heart_rate": "heart_rate", "systolic": "systolic", "diastolic": "diastolic"}
    assert measured(output) | {q: expect[k] for k, q in names.items() if k in expect} == measured(output)
    health = [event.body for event in output.events if isinstance(event.body, DeviceHealth)]
    for key in ("battery_percent", "battery_raw"):
        if key in expect:
            assert health[0].battery_percent == expect[key]
    if "lat" in expect:
        place = next(event.body for event in output.events if isinstance(event.body, Position))
        assert (place.lat, place.lon) == pytest.approx((expect["lat"], expect["lon"]), abs=1e-6)
        assert (place.valid, place.speed_kmh, place.course_deg) == (expect["valid"], expect["speed_kmh"], expect["course"])
        assert place.satellites == expect["satellites"]
        fix = epoch_ms(expect["fix_time"])
        assert output.events[0].at_ms == (fix if fix >= EARLIEST_MS else NOW.ms)


@pytest.mark.parametrize(
    ("code", "kinds"),
    [("01", ["sos"]), ("02", ["low_battery"]), ("03", ["removed"]), ("04", ["worn"]), ("05", ["fall"]), ("06", ["fall"]), ("00", []),
     ("42", ["general_alarm"])],
)  # fmt: skip
def test_alarm_codes(code: str, kinds: list[str]) -> None:
    output = take(alarm(code))
    assert happened(output) == kinds and [send.data for send in output.acks] == [b"IWBP10#"]


def test_an_alarm_needs_no_fix_and_no_login() -> None:
    output = take(alarm("01", is_valid=False, lat=None, lon=None), Trv({}, None))
    assert [(event.device, type(event.body)) for event in output.events] == [("trv:unknown", Occurrence)]
    assert len(output.acks) == 1 and [r.reason for r in output.rejects] == [Reason.UNSUPPORTED]


@pytest.mark.parametrize("body", [b"", b"x", b"261122"])
def test_a_damaged_alarm_is_still_an_alarm_and_is_acknowledged(body: bytes) -> None:
    output = take(b"IWAP10" + body + b"#")
    assert happened(output) == ["general_alarm"] and len(output.acks) == 1 and len(output.rejects) == 1


def test_removal_ends_when_worn_again() -> None:
    driver = Trv({}, IMEI)
    take(alarm("03"), driver)
    assert happened(take(alarm("04"), driver)) == ["removed", "worn"] and happened(take(alarm("04"), driver)) == ["worn"]


@pytest.mark.parametrize(
    ("frame", "readings"),
    [
        (b"IWAPHP,72,,,97,,36.6,,#", {"heart_rate": 72, "spo2": 97, "body_temperature": 36.6}), (b"IWAPHP,,,,,,#", {}), (b"IWAPHP#", {}),
        (b"IWAPHP,72,999,80#", {"heart_rate": 72, "diastolic": 80}), (b"IWAP49,0#", {}), (b"IWAP49,255#", {}), (b"IWAP50,,90#", {}),
        (b"IWAPJK,20261122083012,2,71#", {"heart_rate": 71}), (b"IWAPJK,20261122083012,1,120|80#", {"systolic": 120, "diastolic": 80}),
        (b"IWAP03,06000908000102,5555,30#", {"steps": 5555, "tumbles": 30}), (b"TRVAP03#", {}), (b"TRVCP01,07800010010000602#", {}),
    ],
)  # fmt: skip
def test_health_fields_may_be_empty_or_mean_nothing(frame: bytes, readings: dict[str, float]) -> None:
    output = take(frame)
    assert measured(output) == readings and output.rejects == []


@pytest.mark.parametrize(
    ("frame", "reason"), [(b"IWAP49,999#", Reason.RANGE), (b"IWAPJK,1,9,5#", Reason.UNSUPPORTED), (b"IWAPJK#", Reason.UNSUPPORTED)]
)
def test_impossible_readings_are_refused_and_acknowledged(frame: bytes, reason: Reason) -> None:
    output = take(frame)
    assert [r.reason for r in output.rejects] == [reason] and len(output.acks) == 1


def test_login_tells_the_time_of_arrival_and_the_zone() -> None:
    output = take(trv.login("IW", IMEI), Trv({"utc_offset_minutes": 330}, None))
    assert [send.data for send in output.replies] == [b"IWBP00,20261122083015,5.5#"] and output.device == f"trv:{IMEI}"


def test_nothing_but_alarms_before_the_login() -> None:
    output = take(b"IWAP49,68#IWAP03,06000908000102#", Trv({}, None))
    assert not output.events and not output.replies and not output.acks and len(output.rejects) == 2


def test_a_poison_frame_costs_no_neighbour() -> None:
    output = take(b"IWAP49,999#" + alarm("01") + b"IWAP99#" + b"IWAP49,68#")
    assert happened(output) == ["sos"] and measured(output) == {"heart_rate": 68} and len(output.acks) == 3


def test_a_doubtful_end_is_taken_after_a_second_of_silence() -> None:
    driver = Trv({}, IMEI)
    assert take(alarm("01").removesuffix(b"#") + b",home#", driver).events == []
    assert happened(driver.wake(Instant(NOW.ms, NOW.s + 1))) == ["sos"]


@pytest.mark.parametrize(
    ("verb", "args", "text"),
    [
        (Verb.LOCATE, {}, "BP16,I,083015"), (Verb.SET_SOS_NUMBERS, {"numbers": ["110"]}, "BP12,I,083015,110,,"),
        (Verb.SET_INTERVAL, {"seconds": 600}, "BP15,I,083015,600"),
        (Verb.RESTART, {}, "BP18,I,083015"), (Verb.FACTORY_RESET, {}, "BP17,I,083015"),
        (Verb.POWER_OFF, {}, "BP31,I,083015"), (Verb.MESSAGE, {"text": "你"}, "BP40,I,083015,4F60"),
        (Verb.MEASURE, {"quantity": "spo2"}, "BPXZ,I,083015"),
        (Verb.MEASURE, {"quantity": "heart_rate", "interval_s": 600}, "BP86,I,083015,10,10"),
        (Verb.REMIND, {"text": "x", "time": "8:05", "days": "0111110"}, "BP25,I,083015,0805|12345|1"),
        (Verb.SET_PHONE_BOOK, {"entries": [["张", "110"]]}, "BP14,I,083015,5F20|110"),
        (Verb.CONFIGURE, {"name": "not_worn_alarm", "value": "1"}, "BP84,I,083015,1"),
    ],
)  # fmt: skip
def test_verbs_are_the_documents_frames(verb: Verb, args: dict[str, Any], text: str) -> None:
    output = Trv({}, IMEI).command(Command(id="c1", verb=verb, device="", args=args), NOW)
    assert [send.data for send in output.replies] == [f"IW{text}#".replace("I,", f"{IMEI},").replace(f"{IMEI}W", "IW").encode()]


def test_the_answer_settles_the_command_and_silence_loses_it() -> None:
    driver = Trv({}, IMEI)
    driver.command(Command(id="c1", verb=Verb.LOCATE, device=""), NOW)
    done = take(b"IWAP16,083015#", driver)
    assert [event.body.status for event in done.events if isinstance(event.body, CommandResult)] == [CommandStatus.DONE] and not done.acks
    driver.command(Command(id="c2", verb=Verb.LOCATE, device=""), NOW)
    assert len(driver.wake(Instant(NOW.ms, NOW.s + 30)).replies) == 1
    lost = driver.wake(Instant(NOW.ms, NOW.s + 60))
    assert [event.body.status for event in lost.events if isinstance(event.body, CommandResult)] == [CommandStatus.FAILED]


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"IWAP00355932600077007#", Match.YES), (b"TRVYP14", Match.YES), (b"TR", Match.MORE), (b"*HQ", Match.NO), (b"\xab\x10", Match.NO)],
)
def test_first_bytes_tell_the_protocol(data: bytes, match: Match) -> None:
    assert Trv.match(Frame(data=data, received=NOW)) is match
