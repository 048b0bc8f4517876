"""What a GPS103 tracker means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Measurement, Occurrence, Output, Position
from drivers.events import epoch_ms
from drivers.gps103.driver import Gps103
from drivers.harness import step
from protocols.tracker import gps103
from tests.shared import vectors

IMEI = "861234567890124"


def feed(*frames: bytes) -> Output:
    driver, total = Gps103({}, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    total.add(step(driver, {"wake": 3}))
    return total


def kinds(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/gps103.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, text = row["expect"], row.get("text") or ""
    output = feed(bytes.fromhex(row["frame"]))
    places = [event for event in output.events if isinstance(event.body, Position)]
    if expect["result"] == "position":
        [event] = places
        if "lat" in expect:
            assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
            assert (event.at_ms, event.body.valid) == (epoch_ms(expect["fix_time"]), expect["valid"])
    if expect["result"] == "some":
        assert [place.body.source.value for place in places] == ["cell"]
    if "temperature" in expect:
        assert expect["temperature"] in [event.body.value for event in output.events if isinstance(event.body, Measurement)]
    if ",help me," in text:
        assert "sos" in kinds(output)
        assert [send.data for send in output.acks] == [f"**,imei:{text[5:20]},E;".encode()]
    if text.startswith("##"):
        assert [send.data for send in output.replies] == [b"LOAD"]
    if text.isdigit():
        assert [send.data for send in output.replies] == [b"ON"]


@pytest.mark.parametrize(
    ("word", "kind"),
    [("help me", "sos"), ("low battery", "low_battery"), ("move", "motion"), ("speed", "overspeed"), ("ac alarm", "power_cut")],
)
def test_each_alarm_word_is_told_whatever_the_fix(word: str, kind: str) -> None:
    for letter in "AV":
        line = gps103.write_fix(IMEI, word, local="2611221630", utc="083000", lat=31.2, lon=121.4, letter=letter)
        assert kind in kinds(feed(line))
    assert kind in kinds(feed(f"imei:{IMEI},{word},;".encode()))


def test_an_alarm_word_nobody_knows_is_still_an_alarm() -> None:
    assert kinds(feed(f"imei:{IMEI},bonnet alarm,2611221630,,F,;".encode())) == ["general_alarm"]


def test_a_battery_in_the_place_of_the_number_is_read() -> None:
    output = feed(f"imei:{IMEI},,241214083746,84%,F,123746.000,A,1012.63368,N,06757.59559,W,0.00,340.61;".encode())
    assert [event.body.battery_percent for event in output.events if isinstance(event.body, DeviceHealth)] == [84]


def test_the_line_of_a_photo_has_a_place_and_its_parts_are_not_kept() -> None:
    output = feed(b"imei:861234567890124,vt14,261122083000,,F,083000.000,A,3113.8250,N,12128.4220,E,0.00,0,,0,0,51.93%,,+22;")
    assert [round(event.body.lat or 0, 4) for event in output.events if isinstance(event.body, Position)] == [31.2304]
    output = feed(b"imei:861234567890124,vr,0c00fa011ea05a03d7;")
    assert not output.events
    assert not output.rejects
