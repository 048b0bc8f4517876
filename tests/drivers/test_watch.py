"""The watch driver: what messages mean, what is owed for them, what commands become."""

from __future__ import annotations

from collections.abc import Callable
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
    Measurement,
    Occurrence,
    Output,
    Position,
    Reason,
    State,
    Verb,
)
from drivers.events import epoch_ms
from drivers.watch.driver import Watch
from protocols.tracker import watch
from protocols.tracker.watch import WatchMessage
from protocols.tracker.watch_position import WatchPosition, position_body
from tests.shared import vectors

ID = "8800000015"
NOW = Instant(1795336215000, 1000.0)
HERE = WatchPosition(clock_ms=1795336212000, is_valid=True, lat=31.2, lon=121.5, battery=60, signal=80, steps=100)


def take(data: bytes, driver: Watch | None = None) -> Output:
    return (driver or Watch({}, None)).receive(Frame(data=data, received=NOW))


def text(content: str) -> bytes:
    return f"[3G*{ID}*{len(content):04X}*{content}]".encode()


def alarm(status: int, kind: str = "AL", **known: Any) -> bytes:
    return watch.encode(WatchMessage("3G", ID, kind, position_body(HERE._replace(status=status, **known))))


def happened(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)]


def measured(output: Output) -> dict[str, float]:
    return {event.body.quantity.value: event.body.value for event in output.events if isinstance(event.body, Measurement)}


def one(output: Output, kind: type) -> Any:
    found = [event.body for event in output.events if isinstance(event.body, kind)]
    assert len(found) == 1
    return found[0]


NAMES_OF_ALARMS = {"removing": "removed", "lowBattery": "low_battery"}


@pytest.mark.parametrize("row", vectors("vectors/tracker/watch.jsonl"))
def test_every_shared_row_has_its_facts(row: dict[str, Any]) -> None:
    output = take(bytes.fromhex(row.get("wire") or row["frame"]))
    expect = row["expect"]
    assert output.rejects == []
    if row["layer"] != "message":
        return
    assert output.device == f"watch:{watch.short_id(expect['device_id'])}"
    assert bool(output.tolerated) != expect["length_ok"]
    if "reply" in expect:
        assert [send.data.hex() for send in output.replies + output.acks] == [expect["reply"]]
    if "alarms" in expect:
        assert [k for k in happened(output) if k != "moving"] == [NAMES_OF_ALARMS.get(k, k) for k in expect["alarms"]]
    if "fix_time" in expect:
        assert {event.at_ms for event in output.events} == {epoch_ms(expect["fix_time"])}
    if "battery_percent" in expect:
        assert one(output, DeviceHealth).battery_percent == expect["battery_percent"]
    for key, quantity in (("steps", "steps"), ("heart_rate", "heart_rate"), ("temperature", "body_temperature")):
        if key in expect:
            assert measured(output)[quantity] == expect[key]
    if expect.get("no_fix"):
        assert all(event.body.lat is None for event in output.events if isinstance(event.body, Position))
    if "lat" in expect:
        place = one(output, Position)
        assert (place.lat, place.lon) == pytest.approx((expect["lat"], expect["lon"]), abs=1e-5)
        assert place.valid == expect["valid"] and place.stored == expect["message"].startswith("UD2")
        assert place.speed_kmh == expect["speed_kmh"] and place.course_deg == expect["course"]
        assert place.altitude_m == expect["altitude_m"] and place.satellites == expect["satellites"]


def test_low_battery_masks_no_sos() -> None:
    assert happened(take(alarm(0x00010001))) == ["sos"]
    assert one(take(alarm(0x00010001)), DeviceHealth).battery_low is True
    assert happened(take(alarm(0x00110001))) == ["sos", "removed"]
    assert happened(take(alarm(0x00010002))) == ["sos"]
    assert happened(take(alarm(0x007F0000))) == [
        "sos", "fall", "vital_abnormal", "device_fence_exit", "device_fence_entry", "removed", "low_battery",
    ]  # fmt: skip


def test_an_alarm_without_a_fix_is_an_alarm() -> None:
    output = take(alarm(0x00010000, is_valid=False, lat=None, lon=None))
    assert happened(output) == ["sos"] and [send.data for send in output.acks] == [b"[3G*8800000015*0002*AL]"]


@pytest.mark.parametrize(
    "body", ["", "AL", "x", "221126", ",,,,,,,,,,,,,,,00010000", "221126,083012,Z,48,N,9,E,0,0,0,6,100,60,0,0,00010000"]
)
def test_a_damaged_alarm_is_still_an_alarm_and_is_acknowledged(body: str) -> None:
    output = take(text(f"AL,{body}"))
    assert happened(output) in (["general_alarm"], ["sos"])
    assert len(output.acks) == 1 and len(output.rejects) == 1


def test_bit_four_is_rest_and_only_changes_are_told() -> None:
    driver = Watch({}, None)
    states = [
        [e.body.state for e in take(alarm(status, "UD"), driver).events if isinstance(e.body, Occurrence)]
        for status in (0, 0x10, 0x10, 0, 0, 0x10)
    ]
    assert states == [[], [State.END], [], [State.START], [], [State.END]]


def test_bit_twenty_two_is_heart_rate_not_a_fall() -> None:
    assert happened(take(alarm(0x00400000))) == ["vital_abnormal"]


def test_a_stored_record_alarms_late_and_moves_no_state() -> None:
    output = take(alarm(0x00010010, "UD2"))
    assert [(e.body.kind.value, e.body.stored) for e in output.events if isinstance(e.body, Occurrence)] == [("sos", True)]
    assert one(output, Position).stored and not output.acks


def test_removal_ends_where_the_strap_state_clears() -> None:
    driver = Watch({}, None)
    assert happened(take(alarm(0x00100008), driver)) == ["removed"]
    assert happened(take(alarm(0x00000008, "UD"), driver)) == []
    ended = [e.body for e in take(alarm(0, "UD"), driver).events if isinstance(e.body, Occurrence)]
    assert [(body.kind.value, body.state) for body in ended] == [("removed", State.END)]


@pytest.mark.parametrize(
    ("body", "battery"), [("LK,0,0,53", 53), ("LK,0,97,0", 97), ("LK,0,100", 100), ("LK,0,0,0", None), ("LK", None), ("LK,5,3,200", 3)]
)
def test_link_battery_rule(body: str, battery: int | None) -> None:
    output = take(text(body))
    assert one(output, DeviceHealth).battery_percent == battery
    assert [send.data for send in output.replies] == [b"[3G*8800000015*0002*LK]"] and not output.acks


@pytest.mark.parametrize(
    ("body", "readings"),
    [
        ("heart,0", {}), ("heart,255", {}), ("PULSE,71", {"heart_rate": 71}), ("bphrt,0,0,67,,,,", {"heart_rate": 67}),
        ("bphrt,120,,", {"systolic": 120}), ("BLOOD,120,80", {"systolic": 120, "diastolic": 80}), ("oxygen,0,0", {}),
        ("oxygen,0,97", {"spo2": 97}), ("oxygen,,97", {"spo2": 97}), ("btemp2,0,36.6", {"body_temperature": 36.6}), ("btemp2,1,", {}),
        ("TEMP,36.5", {"body_temperature": 36.5}), ("HEART,", {}),
    ],
)  # fmt: skip
def test_health_fields_may_be_empty_or_mean_nothing(body: str, readings: dict[str, float]) -> None:
    output = take(text(body))
    assert measured(output) == readings and output.rejects == []


@pytest.mark.parametrize("body", ["heart,999", "heart,nan", "oxygen,0,101", "btemp2,1,99", "bphrt,x,80", "PULSE,-5"])
def test_impossible_readings_are_refused_and_acknowledged(body: str) -> None:
    output = take(text(body))
    assert [reject.reason for reject in output.rejects] == [Reason.RANGE]
    assert len(output.acks) == 1


def test_both_written_ids_are_one_device() -> None:
    assert take(b"[3G*358839237678820*0002*LK]").device == take(b"[3G*3923767882*0002*LK]").device == "watch:3923767882"


def test_a_poison_frame_costs_no_neighbour() -> None:
    output = take(text("heart,999") + alarm(0x00010000, lat=None) + text("WHAT,1") + text("LK"))
    assert happened(output) == ["sos"] and len(output.replies) == 1 and len(output.acks) == 2


def test_information_and_echoes_are_no_error() -> None:
    for body in ("CCID,89860000000000000000", "GS1,1", "ICCID,x", "VERNO,G29_V1", "TS,ver:G4C;batlevel:87", "UPLOAD", "FIND", "CR", "TK,1"):
        assert take(text(body)).rejects == []


def test_a_doubtful_end_is_taken_after_a_second_of_silence() -> None:
    driver = Watch({}, None)
    output = take(b"[3G*8800000015*0200*AL,221126,083012,V,0,N,0,E,0,0,0,0,80,55,0,0,00010000,0,2,home]", driver)
    assert output.events == [] and output.wake_s == NOW.s + 1
    assert happened(driver.wake(Instant(NOW.ms + 1000, NOW.s + 1))) == ["sos"]


def ask(driver: Watch, verb: Verb, **args: Any) -> Output:
    return driver.command(Command(id="c1", verb=verb, device=f"watch:{ID}", args=args), NOW)


def connected() -> Watch:
    driver = Watch({}, None)
    take(text("LK"), driver)
    return driver


@pytest.mark.parametrize(
    ("verb", "args", "frames"),
    [
        (Verb.LOCATE, {}, ["CR"]),
        (Verb.SET_INTERVAL, {"seconds": 600}, ["UPLOAD,600"]),
        (Verb.SET_SOS_NUMBERS, {"numbers": ["110", "+8613800000000"]}, ["SOS,110,+8613800000000,"]),
        (Verb.CALL_BACK, {"number": "110"}, ["CALL,110"]),
        (Verb.LISTEN_IN, {"number": "110", "consent": "r-1"}, ["MONITOR,110"]),
        (Verb.RING, {}, ["FIND"]), (Verb.POWER_OFF, {}, ["POWEROFF"]),
        (Verb.RESTART, {}, ["RESET"]), (Verb.FACTORY_RESET, {}, ["FACTORY"]), (Verb.MESSAGE, {"text": "你好"}, ["MESSAGE,4F60597D"]),
        (Verb.FALL_DETECTION, {"on": True, "call": True, "sensitivity": 3}, ["FALLDOWN,1,1", "LSSET,3+6"]),
        (Verb.MEASURE, {"quantity": "heart_rate"}, ["hrtstart,1"]),
        (Verb.MEASURE, {"quantity": "heart_rate", "interval_s": 300}, ["hrtstart,300"]),
        (Verb.MEASURE, {"quantity": "blood_pressure", "interval_s": 300}, ["HEALTHAUTOSET,1,1,300"]),
        (Verb.MEASURE, {"quantity": "body_temperature"}, ["bodytemp2"]), (Verb.SET_TIME_ZONE, {"offset_minutes": 330}, ["LZ,1,5.5"]),
        (Verb.REMIND, {"text": "x", "time": "8:10", "days": "0111110"}, ["REMIND,08:10-1-3-0111110"]),
        (Verb.REMIND, {"kind": "medicine", "text": "药", "time": "08:10", "days": "daily", "audio": "IyFBTVJd"},
         ["TAKEPILLS,08:10-1-2,1,836F,#!AMR}\x03"]),
        (Verb.SET_PHONE_BOOK, {"entries": [["张三", "110"]]}, ["PHB,110,5F204E09"]),
        (Verb.SET_WHITELIST, {"numbers": ["1", "2", "3", "4", "5", "6"]}, ["WHITELIST1,1,2,3,4,5", "WHITELIST2,6"]),
        (Verb.SET_SERVER, {"host": "113.81.229.9", "port": 5900}, ["IP,113.81.229.9,5900"]), (Verb.QUERY, {"name": "version"}, ["VERNO"]),
        (Verb.CONFIGURE, {"name": "remove_alarm", "value": "1"}, ["REMOVE,1"]),
    ],
)  # fmt: skip
def test_verbs_are_the_documents_frames(verb: Verb, args: dict[str, Any], frames: list[str]) -> None:
    output = ask(connected(), verb, **args)
    assert [send.data.partition(b"*")[2].split(b"*", 2)[2] for send in output.replies] == [f.encode() + b"]" for f in frames]


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        (Verb.LISTEN_IN, {"number": "110", "consent": " "}), (Verb.SET_INTERVAL, {"seconds": 5}), (Verb.CALL_BACK, {"number": "1]x"}),
        (Verb.SET_SERVER, {"host": "a b", "port": 1}), (Verb.CONFIGURE, {"name": "nonsense", "value": "1"}), (Verb.REMIND, {"text": "x"}),
        (Verb.RAW_TEXT, {"text": "a]b"}), (Verb.MEASURE, {"quantity": "mood"}), (Verb.VALVE, {"open": True}),
    ],
)  # fmt: skip
def test_what_the_watch_cannot_be_told_has_failed(verb: Verb, args: dict[str, Any]) -> None:
    output = ask(connected(), verb, **args)
    assert one(output, CommandResult).status is CommandStatus.FAILED and not output.replies


def test_the_echo_settles_the_command() -> None:
    driver = connected()
    assert ask(driver, Verb.SET_INTERVAL, seconds=600).wake_s == NOW.s + 30
    result = one(take(text("UPLOAD"), driver), CommandResult)
    assert (result.status, result.command, result.verb) == (CommandStatus.DONE, "c1", "set_interval")


def test_a_silent_watch_is_asked_twice_then_it_failed() -> None:
    driver = connected()
    ask(driver, Verb.LOCATE)
    again = driver.wake(Instant(NOW.ms, NOW.s + 30))
    assert [send.data for send in again.replies] == [b"[3G*8800000015*0002*CR]"] and not again.events
    lost = driver.wake(Instant(NOW.ms, NOW.s + 60))
    assert one(lost, CommandResult).status is CommandStatus.FAILED and lost.wake_s is None


def test_a_call_is_never_dialled_twice() -> None:
    driver = connected()
    ask(driver, Verb.CALL_BACK, number="110")
    lost = driver.wake(Instant(NOW.ms, NOW.s + 30))
    assert not lost.replies and one(lost, CommandResult).status is CommandStatus.FAILED


def test_waiting_commands_are_bounded() -> None:
    driver = connected()
    failed = [output for output in (ask(driver, Verb.LOCATE) for _ in range(40)) if output.events]
    assert len(failed) == 24


def test_reminders_of_other_slots_are_kept_over_a_restart() -> None:
    driver, fresh = connected(), connected()
    ask(driver, Verb.REMIND, text="x", time="08:00", number=1)
    fresh.load(driver.dump())
    assert b"REMIND,08:00-1-2,12:00-1-1]" in ask(fresh, Verb.REMIND, text="y", time="12:00", days="once", number=2).replies[0].data


@pytest.mark.parametrize(
    ("data", "match"), [(b"[3G*8800000015*0002*LK]", Match.YES), (b"[3G*88", Match.MORE), (b"*HQ,1", Match.NO), (b"[x]", Match.NO)]
)
def test_first_bytes_tell_the_protocol(data: bytes, match: Match) -> None:
    assert Watch.match(Frame(data=data, received=NOW)) is match


def test_evidence_does_not_depend_on_segments() -> None:
    stream = alarm(0x00010000) + text("LK")
    whole: Callable[[Output], list[str | None]] = lambda output: [event.evidence for event in output.events]  # noqa: E731  # one line beside its use
    driver = Watch({}, None)
    split = [item for i in range(len(stream)) for item in whole(take(stream[i : i + 1], driver))]
    assert split == whole(take(stream))
