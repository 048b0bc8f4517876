"""What a JT/T 808 terminal means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import Command, CommandResult, DeviceHealth, Event, Measurement, Occurrence, Output, Position, Reason, Verb
from drivers.events import epoch_ms
from drivers.harness import DEFAULT_RECEIVED, step
from drivers.jt808.driver import Jt808
from protocols.tracker import jt808
from protocols.tracker.jt808 import Connection, Header, Message, encode, split
from protocols.tracker.jt808_bodies import Answer, read_answer, read_call_back, read_text, write_answer
from protocols.tracker.jt808_items import encode_item
from protocols.tracker.jt808_position import encode_batch, encode_location
from tests.shared import vectors

H = Header(bytes.fromhex("013912345678"))
PLACE = {"time": "261122163000", "lat": 31.230416, "lon": 121.473701}


def feed(driver: Jt808, *frames: bytes) -> Output:
    total = Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


def message(kind: int, body: bytes = b"", serial: int = 1) -> bytes:
    return encode(Message(kind, H, serial, body))


def bodies_of(output: Output, kind: type) -> list:
    return [event.body for event in output.events if isinstance(event.body, kind)]


def kinds(output: Output) -> list[str]:
    return [body.kind.value for body in bodies_of(output, Occurrence)]


def answers(sends: list) -> list[Message]:
    return [m for send in sends for m in Connection().receive(send.data) if isinstance(m, Message)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/jt808.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect = row["expect"]
    if row["layer"] == "wire":
        return
    output = feed(Jt808({}, None), bytes.fromhex(row.get("wire") or row["frame"]))
    if expect.get("checksum_ok") is False:
        assert [r.reason for r in output.rejects][:1] == [Reason.INTEGRITY]
        assert not output.acks
        output = feed(Jt808({"tolerate_checksum": True, "utc_offset_minutes": 480}, None), bytes.fromhex(row.get("wire") or row["frame"]))
        assert output.tolerated
    sent = answers(output.acks + output.replies)
    if "reply_message" in expect:
        assert [f"{m.id:04x}" for m in sent] == [expect["reply_message"]]
    if "reply_body" in expect:
        assert sent[0].body.hex() == expect["reply_body"]
    if "reply_body_prefix" in expect:
        assert sent[0].body.hex().startswith(expect["reply_body_prefix"])
    check_places(expect, output)
    check_state(expect, output)


def check_places(expect: dict, output: Output) -> None:
    points = expect.get("points") or ([expect] if "lat" in expect and (expect["lat"] or expect["lon"]) else [])
    found = [e for e in output.events if isinstance(e.body, Position)]
    if expect.get("no_fix"):
        assert all(e.body.lat is None for e in found)
    if not points:
        return
    assert len(found) == len(points)
    for event, point in zip(found, points, strict=True):
        assert (event.body.lat, event.body.lon) == (pytest.approx(point["lat"], abs=1e-6), pytest.approx(point["lon"], abs=1e-6))
        assert event.body.valid == point["valid"]
        assert event.body.speed_kmh == pytest.approx(point["speed_kmh"])
        assert event.body.stored == expect.get("backlog", False)
        if point.get("satellites"):
            assert event.body.satellites == point["satellites"]
        if "fix_time_if_gmt8" in point:
            assert event.at_ms == epoch_ms(point["fix_time_if_gmt8"])


def check_state(expect: dict, output: Output) -> None:
    health = bodies_of(output, DeviceHealth)
    if "battery_percent" in expect:
        assert expect["battery_percent"] in [h.battery_percent for h in health]
    if "battery_voltage" in expect:
        assert round(expect["battery_voltage"] * 1000) in [h.battery_mv for h in health]
    if "charging" in expect:
        assert expect["charging"] in [h.charging for h in health]
    values = {m.quantity.value: m.value for m in reversed(bodies_of(output, Measurement))}
    for key, quantity in (("steps", "steps"), ("temperature", "temperature"), ("power_voltage", "voltage")):
        if key in expect:
            assert values[quantity] == pytest.approx(expect[key])
    if "sos" in expect:
        assert ("sos" in kinds(output)) == expect["sos"]
    result = expect.get("other", {}).get("result")
    if result:
        assert result in [b.detail for b in bodies_of(output, CommandResult)]


def test_sos_on_a_low_battery_without_a_fix_gives_both_alarms() -> None:
    output = feed(Jt808({}, None), message(0x0200, encode_location(time="261122163000", fixed=False, alarms=0x81)))
    assert kinds(output) == ["sos", "low_battery"]
    assert not bodies_of(output, Position)


def test_vibration_does_not_hide_sos() -> None:
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, alarms=1 << 15 | 1)))
    assert kinds(output) == ["sos", "vibration"]


def test_a_stored_sos_still_alarms_and_is_marked() -> None:
    body = encode_batch([encode_location(**PLACE, alarms=1)], stored=True)
    output = feed(Jt808({}, None), message(0x0704, body))
    assert [(b.kind.value, b.stored) for b in bodies_of(output, Occurrence)] == [("sos", True)]
    assert [b.stored for b in bodies_of(output, Position)] == [True]


def test_the_end_of_the_sos_bit_is_no_all_clear() -> None:
    driver = Jt808({}, None)
    feed(driver, message(0x0200, encode_location(**PLACE, alarms=1)))
    assert kinds(feed(driver, message(0x0200, encode_location(**PLACE), 2))) == []


def test_the_platform_serial_counts_up() -> None:
    output = feed(Jt808({}, None), *(message(2, b"", serial) for serial in (7, 8, 9)))
    assert [m.serial for m in answers(output.replies)] == [0, 1, 2]
    assert [read_answer(m.body).serial for m in answers(output.replies)] == [7, 8, 9]


def test_positions_are_acknowledged_after_commit_and_heartbeats_at_once() -> None:
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE)), message(2))
    assert len(output.acks) == len(output.replies) == 1


@pytest.mark.parametrize(("options", "hour"), [({}, 8), ({"utc_offset_minutes": 0}, 16), ({"utc_offset_minutes": "-180"}, 19)])
def test_the_zone_is_a_setting(options: dict, hour: int) -> None:
    event: Event = feed(Jt808(options, None), message(0x0200, encode_location(**PLACE))).events[0]
    assert event.at_ms == epoch_ms(f"2026-11-22T{hour:02}:30:00Z")


def test_a_sub_packaged_batch_is_acknowledged_last_when_whole() -> None:
    body = encode_batch([encode_location(**PLACE)] * 3, stored=False)
    parts = [encode(m) for m in split(Message(0x0704, H, 20, body), size=40)]
    driver = Jt808({}, None)
    first = feed(driver, *parts[:-1])
    assert (len(first.acks), len(first.events)) == (0, 0)
    last = feed(driver, parts[-1])
    assert len(last.acks) == 1
    assert len(bodies_of(last, Position)) == 3


def test_after_a_restart_the_lost_parts_are_asked_for_and_nothing_is_confirmed() -> None:
    parts = split(Message(0x0704, H, 20, encode_batch([encode_location(**PLACE)] * 3, stored=False)), size=40)
    output = feed(Jt808({}, None), encode(parts[-1]))
    assert [m.id for m in answers(output.replies)] == [jt808.RESEND_REQUEST]
    assert not output.acks


def test_shifted_coordinates_can_be_refused_but_not_their_alarm() -> None:
    output = feed(Jt808({"shifted": "refuse"}, None), message(0x0200, encode_location(**PLACE, status=0x20, alarms=1)))
    assert kinds(output) == ["sos"]
    assert not bodies_of(output, Position)


@pytest.mark.parametrize("version", [None, 1])
def test_commands_reach_the_terminal_in_its_own_header(version: int | None) -> None:
    header = H if version is None else Header(jt808.phone_bytes("13912345678", version=1), 1)
    driver = Jt808({}, None)
    feed(driver, encode(Message(2, header, 1, b"")))
    output = driver.command(
        Command(id="c", verb=Verb.LISTEN_IN, device="", args={"number": "13800000000", "consent": "x"}), DEFAULT_RECEIVED
    )
    sent = answers(output.replies)[0]
    assert (sent.id, sent.header, sent.serial) == (jt808.CALL_BACK, header, 1)
    assert read_call_back(sent.body) == (True, "13800000000")


def test_a_text_is_gbk_and_its_refusal_fails_the_command() -> None:
    driver = Jt808({}, "13912345678")
    output = driver.command(Command(id="c", verb=Verb.MESSAGE, device="", args={"text": "该吃药了"}), DEFAULT_RECEIVED)
    assert read_text(answers(output.replies)[0].body) == (4, "该吃药了")
    results = bodies_of(feed(driver, message(1, write_answer(Answer(0, 0x8300, 3)))), CommandResult)
    assert [(r.command, r.status.value, r.detail) for r in results] == [("c", "failed", "not supported")]


def test_sos_numbers_without_the_vendor_parameter_say_what_is_missing() -> None:
    driver = Jt808({}, "13912345678")
    command = Command(id="c", verb=Verb.SET_SOS_NUMBERS, device="", args={"numbers": ["1"]})
    assert "sos_parameter" in driver.command(command, DEFAULT_RECEIVED).events[0].body.detail


def test_written_forms_of_one_identity_are_one_device() -> None:
    long = Header(jt808.phone_bytes("013912345678", version=1), 1)
    assert {feed(Jt808({}, None), encode(Message(2, h, 1, b""))).device for h in (H, long)} == {"jt808:13912345678"}


def test_a_crash_in_an_item_of_items_is_told_with_the_sos_bit() -> None:
    item = encode_item(0xFE, bytes.fromhex("7c 02 01 00 01 04 00000018"))
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, alarms=1, items=item)))
    assert kinds(output) == ["sos", "crash", "tamper"]


def test_a_mileage_that_begins_like_a_mark_is_a_mileage() -> None:
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, items=encode_item(0xFE, bytes.fromhex("7c000104")))))
    assert not kinds(output)
    assert [body.quantity.value for body in bodies_of(output, Measurement)] == ["odometer"]


def test_bluetooth_sensors_tell_temperature_and_humidity() -> None:
    item = encode_item(0xE6, bytes.fromhex("02 c1c2c3c4c5c6 15 80 2d 00") + bytes.fromhex("03 c1c2c3c4c5c7 ef 18 32 00"))
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, items=item)))
    found = [(body.quantity.value, body.value, body.channel) for body in bodies_of(output, Measurement)]
    assert found == [("temperature", 21.5, "2"), ("temperature", -17.1, "3"), ("humidity", 45.0, None)]


def test_a_card_number_and_a_cell_may_be_text() -> None:
    parts = b"".join(bytes((0, len(part) + 2)) + kind + part for kind, part in (
        (b"\x00\x24", b"460;0;6150;41394"), (b"\x00\x24", b"460;0;x;1"), (b"\x00\xfb", b"89860000000000000011"),
    ))  # fmt: skip
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, items=encode_item(0xEB, parts))))
    [place], [health] = bodies_of(output, Position), bodies_of(output, DeviceHealth)
    assert [(cell.mcc, cell.mnc, cell.lac, cell.cid) for cell in place.cells] == [(460, 0, 6150, 41394)]
    assert health.iccid == "89860000000000000011"
    output = feed(Jt808({}, None), message(0x0200, encode_location(**PLACE, items=encode_item(0xCC, b"89860000000000000012"))))
    assert [body.iccid for body in bodies_of(output, DeviceHealth)] == ["89860000000000000012"]


@pytest.mark.parametrize(("event", "kind"), [(56, "crash"), (51, "general_alarm"), (99, None)])
def test_a_transparent_event_without_a_place_is_told(event: int, kind: str | None) -> None:
    body = bytes.fromhex("f0 261122163000 00 01 15") + event.to_bytes(4, "big")
    output = feed(Jt808({}, None), message(0x0900, body))
    assert kinds(output) == ([kind] if kind else [])
    assert len(output.acks) == 1


def test_a_registration_may_hold_its_number_in_bcd() -> None:
    for number, shown in ((bytes.fromhex("00138013801380"), "138013801380"), (b"A-12345", "A-12345"), (bytes(7), None)):
        output = feed(Jt808({}, None), message(0x0100, bytes(4 + 5 + 8) + number + b"\x01" + b"B12345"))
        assert [body.serial for body in bodies_of(output, DeviceHealth)] == [shown]
