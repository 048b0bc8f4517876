"""What a PT60 band means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Measurement, Position
from drivers.events import epoch_ms
from drivers.harness import step
from drivers.pt60.driver import Pt60
from tests.shared import vectors


@pytest.mark.parametrize("row", vectors("vectors/tracker/pt60.jsonl"))
def test_shared_captures(row: dict) -> None:
    driver, text = Pt60({}, None), row["text"]
    output = step(driver, {"frame": row["frame"]})
    output.add(step(driver, {"wake": 3}))
    values = {event.body.quantity.value: event.body.value for event in output.events if isinstance(event.body, Measurement)}
    places = [event.body for event in output.events if isinstance(event.body, Position)]
    battery = [event.body.battery_percent for event in output.events if isinstance(event.body, DeviceHealth)]
    if ",14," in text:
        assert (values, battery) == ({"heart_rate": 101}, [26])
        assert output.events[0].at_ms == epoch_ms("2018-04-19T16:56:04Z")
    if ",13," in text:
        assert values == {"steps": 1180}
    if "|001|" in text:
        assert [(place.lat, place.lon) for place in places] == [(37.615124, 125.48276)]
    if "|003|" in text:
        assert next((cell.mcc, cell.mnc, cell.lac, cell.cid) for cell in places[0].cells or []) == (425, 1, 10461, 40412)
        assert battery == [66]
    if ",43," in text:
        assert (len(places[0].cells or []), len(places[0].wifi or [])) == (5, 5)
    answer = (
        b"@G#@,V01,38,20261122083015,@R#@"
        if text[1] == "G"
        else f"@B#@|01|{int(text[8:11]) + 1:03d}|{text[12:27]}|0|20261122083015|@E#@".encode()
    )
    [ack] = output.acks
    assert ack.data.replace(b"20261122083018", b"20261122083015") == answer
