"""What an H02 tracker means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import CommandResult, DeviceHealth, Measurement, Occurrence, Output, Position
from drivers.events import epoch_ms
from drivers.h02.driver import H02
from drivers.harness import step
from protocols.tracker.h02 import alarms_of, write_text, write_v1
from tests.shared import vectors

PLACE = {"time": "083000", "date": "221126", "lat": 31.230416, "lon": 121.473701}


def feed(*frames: bytes, **options: object) -> Output:
    driver, total = H02(options, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    return total


def of(output: Output, kind: type) -> list:
    return [event.body for event in output.events if isinstance(event.body, kind)]


def kinds(output: Output) -> list[str]:
    return [body.kind.value for body in of(output, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/h02.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect = row["expect"]
    output = feed(bytes.fromhex(row["frame"]))
    if "device_id" in expect:
        assert output.device == f"h02:{expect['device_id']}"
    if "status" in expect:
        assert kinds(output) == alarms_of(int(expect["status"], 16))
    if "lat" in expect and "device_id" in expect:
        event = next(e for e in output.events if isinstance(e.body, Position))
        assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
        assert event.body.valid == expect["valid"]
        assert event.body.speed_kmh == pytest.approx(expect["speed_kmh"], abs=1e-3)
        assert event.body.course_deg == expect["course"]
        if "fix_time" in expect and epoch_ms(expect["fix_time"]) > epoch_ms("2010-01-01T00:00:00Z"):
            assert event.at_ms == epoch_ms(expect["fix_time"])
    if "result" in expect.get("other", {}):
        assert expect["other"]["result"] in [r.detail for r in of(output, CommandResult)]
    if expect.get("message") in {"V1", "NBR"} and "device_id" in expect:
        answer = f"*HQ,{expect['device_id']},V4,{expect['message']},20261122083015#"
        assert [send.data.decode() for send in output.acks] == [answer]
    if expect.get("message") == "HTBT":
        assert [send.data.decode() for send in output.replies] == [f"*HQ,{expect['device_id']},HTBT#"]
    if row["asserts"][0]["verb"] in {"verifyAttributes", "verifyNotNull"}:
        assert output.events


def test_vibration_does_not_hide_sos() -> None:
    assert kinds(feed(write_v1("4210051415", **PLACE, status=0xFFFFFBFC))) == ["sos", "vibration"]


def test_sos_without_a_fix_and_without_a_date_alarms() -> None:
    output = feed(write_text("HQ", "4210051415", "V1", "", "V", "", "N", "", "E", "0.00", "0", "", "FFFFFBFD"))
    assert kinds(output) == ["sos"]
    assert not of(output, Position)


def test_minus_270_degrees_after_a_long_sleep_are_no_place() -> None:
    output = feed(
        write_text("HQ", "4210051415", "V1", "083000", "A", "3113.8250", "N", "27028.4221", "W", "0.00", "0", "221126", "FFFFFBFD")
    )
    assert kinds(output) == ["sos"]
    assert not of(output, Position)
    assert output.rejects


def test_a_fix_by_cells_says_so() -> None:
    assert [p.source.value for p in of(feed(write_v1("4210051415", **PLACE, letter="B")), Position)] == ["cell"]


def test_link_tells_steps_and_battery() -> None:
    output = feed(write_text("HQ", "1600068860", "LINK", "112137", "20", "8", "67", "1234", "5", "081116", "FFFFFBFF"))
    assert [(m.quantity.value, m.value) for m in of(output, Measurement)] == [("steps", 1234), ("tumbles", 5)]
    assert [h.battery_percent for h in of(output, DeviceHealth)] == [67]


def test_hexadecimal_and_decimal_cells_are_told_apart() -> None:
    head = ("HQ", "4210051415", "V1", "083000", "A", "3113.8250", "N", "12128.4221", "E", "0.00", "0", "221126", "FFFFFBFF")
    found = of(feed(write_text(*head, "106", "14", " 203", "1cd"), write_text(*head, "246", "03", "00002", "41565")), Position)
    assert [(p.cells[0].mcc, p.cells[0].lac, p.cells[0].cid) for p in found] == [(0x106, 0x203, 0x1CD), (246, 2, 41565)]
