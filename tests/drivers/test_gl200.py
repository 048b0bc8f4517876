"""What a Queclink tracker means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import DeviceHealth, Occurrence, Output, Position
from drivers.gl200.driver import Gl200
from drivers.harness import step
from protocols.tracker import gl200
from tests.shared import vectors

IMEI = "861234567890124"
KINDS = {"powerOff": "power_off", "powerOn": "power_on"}


def feed(*frames: bytes, **options: object) -> Output:
    driver, total = Gl200(options, None), Output()
    for frame in frames:
        total.add(step(driver, {"frame": frame.hex()}))
    total.add(step(driver, {"wake": 3}))
    return total


def kinds(output: Output) -> list[str]:
    return [event.body.kind.value for event in output.events if isinstance(event.body, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/gl200.jsonl"))
def test_shared_captures(row: dict) -> None:
    expect, data = row["expect"], bytes.fromhex(row["frame"])
    output = feed(data)
    assert output.device is not None
    assert output.device.startswith("gl200:")
    if "alarm" in expect:
        assert KINDS[expect["alarm"]] in kinds(output)
    for event in output.events:
        if isinstance(event.body, Position) and data.startswith(b"+BUFF"):
            assert event.body.stored
    if "ignition" in expect.get("other", {}):
        [ignition] = [event.body for event in output.events if isinstance(event.body, Occurrence)]
        assert ignition.state.value == ("start" if expect["other"]["ignition"] else "end")


def test_an_sos_kept_while_offline_alarms_late_and_moves_nothing() -> None:
    place = ("1", "4.3", "92", "70.0", "121.473701", "31.230416", "20261122083000", "", "", "", "")
    output = feed(gl200.write_report("SOS", IMEI, "0", "0", "1", *place, "", "92", sent="20261122083010", stored=True))
    assert kinds(output) == ["sos"]
    assert all(event.body.stored for event in output.events if isinstance(event.body, Occurrence | Position))


def test_reports_are_acknowledged_only_where_the_device_asks() -> None:
    line = gl200.write_report("PNA", IMEI, sent="20261122083010", count=0x11F0)
    assert not feed(line).acks
    assert [send.data for send in feed(line, sack=True).acks] == [b"+SACK:11F0$"]


def test_a_heartbeat_is_answered_at_once() -> None:
    assert [send.data for send in feed(f"+ACK:GTHBD,1A0401,{IMEI},,20261122083010,11F0$".encode()).replies] == [b"+SACK:GTHBD,1A0401,11F0$"]


@pytest.mark.parametrize(
    ("kind", "version", "middle", "battery"),
    [
        # GL500: signal, error rate and an empty field in front; what follows the battery is none.
        ("FRI", "DE0114", "0,0,1,2,0.0,0,36.9,121.473701,31.230416,20261122083000,0460,0000,1806,A1B2C3,19,0,,79,1,,0", 79),
        ("FRI", "DE0114", "0,0,1,2,0.0,0,36.9,121.473701,31.230416,20261122083000,0460,0000,1806,A1B2C3,24,0,,85,1,1,", 85),
        ("FRI", "DE0114", "0,1,,,,,,,,,,,,12,0,,98,1,0,,", 98),
        ("ERI", "C30209", "00000080,0,16,1,1,4.2,245,16.3,121.473701,31.230416,20261122083000,0460,0000,1806,A1B2,,27,", 27),
        ("STR", "440502", "0,0,2,21.5,64,3,0.6,0,12.5,121.473701,31.230416,20261122083000,0460,0000,1806,A1B2,,,0000", 64),
        ("LBS", "660400", "0,0,92,,2,,,0000,0460,0000,1806,a1b2,18,,0460,0000,1806,a1b3,15,,", 92),
        ("TMP", "110100", "2,60,1,1,4.3,92,70.0,121.473701,31.230416,20261122083000,0460,0000,1806,A1B2,00,80", 80),
    ],
)
def test_the_battery_stands_where_the_model_puts_it(kind: str, version: str, middle: str, battery: int) -> None:
    output = feed(gl200.write_report(kind, IMEI, *middle.split(","), sent="20261122083010", version=version))
    assert [event.body.battery_percent for event in output.events if isinstance(event.body, DeviceHealth)] == [battery]


def test_an_accuracy_with_a_decimal_is_a_place() -> None:
    place = ("1.5", "0.2", "90.5", "45.3", "121.473701", "31.230416", "20261122083000", "460", "00", "1806", "A1B2")
    line = gl200.write_report("FRI", IMEI, "0", "0", "1", "0", *place, "", "88", sent="20261122083010")
    [place] = [event.body for event in feed(line).events if isinstance(event.body, Position)]
    assert (place.lat, place.lon, place.hdop, place.course_deg) == (31.230416, 121.473701, 1.5, 90.5)


def test_every_cell_of_a_cell_report_is_told() -> None:
    middle = "0,0,92,,2,,,0000,0460,0000,1806,a1b2,18,,0460,0000,1806,a1b3,15,,,,,,,,,,,,,,0460,0000,1806,a1b4,11,"
    output = feed(gl200.write_report("LBS", IMEI, *middle.split(","), sent="20261122083010"))
    [heard] = [event.body for event in output.events if isinstance(event.body, Position)]
    assert [cell.cid for cell in heard.cells or []] == [0xA1B2, 0xA1B3, 0xA1B4]
