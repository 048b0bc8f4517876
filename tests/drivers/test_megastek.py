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
    ("word", "kind"), [("SOS", "sos"), ("Help", "sos"), ("Fall", "fall"), ("Belt Off", "removed"), ("Xyz", "general_alarm")]
)
def test_each_alert_is_told_whatever_the_fix(word: str, kind: str) -> None:
    for letter in "AV":
        sent = megastek.write_report("861234567890124", word, date="221126", time="083000", lat=0, lon=0, letter=letter)
        assert kind in [event.body.kind.value for event in feed(sent).events if isinstance(event.body, Occurrence)]
