"""What a Megastek tracker means."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Occurrence, Output, Position
from drivers.events import epoch_ms
from drivers.harness import step
from drivers.megastek.driver import Megastek
from protocols.tracker import megastek
from tests.shared import vectors


def feed(data: bytes) -> Output:
    driver = Megastek({}, None)
    output = step(driver, {"frame": data.hex()})
    output.add(step(driver, {"wake": 3}))
    return output


@pytest.mark.parametrize("row", vectors("vectors/tracker/megastek.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect = row["expect"]
    output = feed(bytes.fromhex(row["frame"]))
    assert output.device is not None
    places = [event for event in output.events if isinstance(event.body, Position)]
    if "lat" in expect:
        [event] = places
        assert (event.body.lat, event.body.lon) == (pytest.approx(expect["lat"], abs=1e-5), pytest.approx(expect["lon"], abs=1e-5))
        assert (event.at_ms, event.body.valid) == (epoch_ms(expect["fix_time"]), expect["valid"])
    if "battery_percent" in expect:
        assert expect["battery_percent"] in [e.body.battery_percent for e in output.events if isinstance(e.body, DeviceHealth)]
    assert "general_alarm" not in [e.body.kind.value for e in output.events if isinstance(e.body, Occurrence)]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("SOS", "sos"),
        ("Help", "sos"),
        ("SOS key", "sos"),
        ("Fall", "fall"),
        ("Fall alarm", "fall"),
        ("Belt Off", "removed"),
        ("Xyz", "general_alarm"),
    ],
)
def test_each_alert_is_told_whatever_the_fix(word: str, kind: str) -> None:
    for letter in "AV":
        sent = megastek.write_report("861234567890124", word, date="221126", time="083000", lat=0, lon=0, letter=letter)
        assert kind in [event.body.kind.value for event in feed(sent).events if isinstance(event.body, Occurrence)]


@pytest.mark.parametrize("word", ["Nil-Alarms", "Dist", "Store", "Timer"])
def test_a_reason_of_sending_is_no_alarm(word: str) -> None:
    sent = megastek.write_report("861234567890124", word, date="221126", time="083000", lat=31.2, lon=121.4)
    assert not [event for event in feed(sent).events if isinstance(event.body, Occurrence)]


def test_an_alarm_of_a_unit_without_imei_is_told() -> None:
    sent = b"0096$MGV002,,GVT900,S,221126,083000,,,,,,00,00,00,,0.000,0.00,,0.0,,,,,,0000,0000,14,10,0, , ,,1-0,0,SOS;!"
    [event] = feed(sent).events
    assert (event.device, event.body.kind.value) == ("megastek:unknown", "sos")  # type: ignore[union-attr]
    known = b"$MGV002,861234567890124,,R,221126,083000,V,,,,,00,00,00,,,,,,,,,,,,,,,,,,,10,085,Timer;!"
    assert {event.device for event in feed(known + sent).events} == {"megastek:861234567890124"}


def test_a_heart_rate_in_front_may_leave_the_alert_where_it_was() -> None:
    head = "$MGV002,861234567890124,,R,221126,083000,A,3113.82500,N,12128.42200,E,00,07,00,1.2,0.5,,12.0,,460,00,1806,A1B2,14"
    for spare, tail in (",,,,,", "01000,078,SOS,d46e0e112233:55;!"), (",,,,,,", "10,078,SOS,d46e0e112233:55;!"):
        output = feed(f"{head},072,0000,0000,0{spare}{tail}".encode())
        assert [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)] == ["sos"]
        [health] = [event.body for event in output.events if isinstance(event.body, DeviceHealth)]
        [place] = [event.body for event in output.events if isinstance(event.body, Position)]
        assert (health.battery_percent, len(place.wifi or [])) == (78, 1)


def test_the_id_of_the_first_protocol_is_sixteen_characters_wide() -> None:
    line = b"STX2010101801      j$GPRMC,083000.000,A,3113.8250,N,12128.4220,E,0.00,,221126,,,A*7F,460,00,1806,A1B2,14,94,1,0,91,SOS;1D\r\n"
    assert {event.device for event in feed(line).events} == {"megastek:2010101801"}
