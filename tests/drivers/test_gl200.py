"""What a Queclink tracker means, and what it must be answered."""

from __future__ import annotations

import pytest

from drivers.api import Occurrence, Output, Position
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
