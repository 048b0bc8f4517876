"""A serial line that is read at a wrong rate: told, or found. The simulated line reads like a UART whose ends differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers import registry
from drivers.api import DeviceHealth, OccurrenceKind, State
from gateway.doctor import CHECKS
from gateway.settings import SerialSection, Settings
from gateway.transports import line_speed, serial
from gateway.transports.line_speed import Ear, others
from protocols.serial import micradar
from protocols.serial import modbus_gas as mb
from simulator.wires.uart import heard
from tests.gateway.serial_line import line


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_speed, "LEAST_S", 0.2)
    monkeypatch.setattr(line_speed, "LISTEN_S", 0.3)
    monkeypatch.setattr(serial, "TURN_S", 0.3)


def report() -> bytes:
    return micradar.report("body_param", value=40) + micradar.report("fall", fall=True)


async def test_a_wrong_rate_is_told_with_the_right_one_and_a_fall_heard_on_the_way_is_not_lost(tmp_path: Path) -> None:
    async with line(tmp_path, speaks=115_200, settings=9600) as found:
        found.say = report
        await found.until(lambda: bool(found.told(OccurrenceKind.FAULT, State.START)))
        assert found.told(OccurrenceKind.FAULT, State.START) == [f"port {tmp_path}/radar speaks 115200, settings say 9600"]
        await found.until(lambda: bool(found.told(OccurrenceKind.FALL, State.START)))
        assert found.port.baud == 9600, "the settings are obeyed"


async def test_with_auto_the_rate_is_found_and_used(tmp_path: Path) -> None:
    async with line(tmp_path, speaks=57_600, settings="auto") as found:
        found.say = report
        await found.until(lambda: found.port.baud == 57_600)
        await found.until(lambda: bool(found.told(OccurrenceKind.FALL, State.START)))
        await found.until(lambda: any(isinstance(event.body, DeviceHealth) and event.body.parameters for event in found.events))
        assert not found.told(OccurrenceKind.FAULT, State.START)
        assert not any(isinstance(event.body, DeviceHealth) and event.body.online is False for event in found.events)


async def test_a_line_that_makes_no_sense_at_any_rate_is_told_and_heals(tmp_path: Path) -> None:
    async with line(tmp_path, speaks=115_200, settings="auto") as found:
        found.say = lambda: bytes(range(200, 232))
        await found.until(lambda: bool(found.told(OccurrenceKind.FAULT, State.START)))
        assert "nothing that a micradar says" in found.told(OccurrenceKind.FAULT, State.START)[0]
        found.say = report
        await found.until(lambda: bool(found.told(OccurrenceKind.FAULT, State.END)))
        assert found.port.fault == ""


async def test_with_auto_a_device_that_only_answers_is_asked_at_each_usual_rate(tmp_path: Path) -> None:
    options = {"poll_s": 0.2, "timeout_s": 0.1, "detectors": [{"unit": 1, "name": "x"}]}
    async with line(tmp_path, speaks=19_200, settings="auto", driver="modbus_gas", options=options) as found:
        connection = mb.Connection()
        found.answer = lambda data: b"".join(
            mb.encode(mb.Response(1, 3, bytes((0, 123, 0, 2)))) for asked in connection.receive(data) if isinstance(asked, mb.Request)
        )
        await found.until(lambda: bool(found.told(OccurrenceKind.GAS, State.START)))
        assert found.port.baud == 19_200


async def test_noise_on_a_line_at_its_rate_is_no_wrong_rate(tmp_path: Path) -> None:
    async with line(tmp_path, speaks=115_200, settings=115_200) as found:
        found.say = lambda: bytes(range(60)) + report()
        await found.until(lambda: found.port.session.frames > 40)
        assert found.port.counts["probes"] == 0 and not found.told(OccurrenceKind.FAULT, State.START)


def test_a_quiet_line_is_listened_to_for_longer() -> None:
    ear = Ear()
    assert not ear.is_hopeless((0, 0), 0.0)
    assert ear.is_hopeless((0, 128), 64.0), "two bytes a second"
    assert ear.listen_s == line_speed.LONGEST_LISTEN_S
    assert not ear.is_hopeless((200, 128), 65.0) and ear.makes_sense


def test_a_line_that_made_sense_is_not_left_for_a_burst_of_noise() -> None:
    ear = Ear()
    assert not ear.is_hopeless((500, 0), 0.0)
    assert not ear.is_hopeless((500, 3000), 120.0)
    assert ear.is_hopeless((500, 5000), 121.0), "but it is not clung to"


def test_the_rates_of_the_driver_are_tried_first() -> None:
    assert others((256_000, 115_200), 9600)[:2] == (256_000, 115_200) and 9600 not in others((), 9600)


@pytest.mark.parametrize("read", [4800, 9600, 57_600, 115_200, 256_000])
def test_a_uart_at_another_rate_reads_no_frames(read: int) -> None:
    sent = report() * 20
    session = registry.load("micradar")({}, None)
    from drivers.api import Frame, Instant, Transport

    session.receive(Frame(data=heard(sent, 38_400, read), received=Instant(0, 0.0), transport=Transport.SERIAL))
    assert session.framing()[0] == 0  # type: ignore[attr-defined]  # an optional capability
    assert heard(sent, 38_400, 38_400) == sent


def test_the_doctor_knows_what_a_device_usually_speaks(tmp_path: Path) -> None:
    settings = Settings(serial=[SerialSection(port="socket://x:1", driver="ld2410", device="x", baud=115_200)])
    wrong = Settings(serial=[SerialSection(port="socket://x:1", driver="ld2410", device="x", baud=9600)])
    said = [[finding.text for check in CHECKS for finding in check(one) if "baud" in finding.text] for one in (settings, wrong)]
    assert said == [[], ["socket://x:1: 9600 baud, such a device usually speaks 256000 or 115200"]]


async def test_an_adapter_that_is_pulled_out_is_told_and_taken_up_again_when_it_is_back(tmp_path: Path) -> None:
    async with line(tmp_path, speaks=115_200, settings=115_200) as found:

        def online() -> list[bool]:
            bodies = [event.body for event in found.events]
            return [body.online for body in bodies if isinstance(body, DeviceHealth) and body.online is not None]

        found.say = report
        await found.until(lambda: online() == [True])
        found.unplug()
        await found.until(lambda: online() == [True, False])
        found.plug()
        await found.until(lambda: online() == [True, False, True])
        assert found.port.counts["opened"] == 2 and not found.told(OccurrenceKind.FAULT, State.START)
