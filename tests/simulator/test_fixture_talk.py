"""Simulated devices on serial lines and the drivers that speak with them: settings are taken, told back, and obeyed."""

from __future__ import annotations

import heapq
from typing import Any

import pytest

from drivers import registry
from drivers.api import Command, CommandResult, DeviceHealth, Event, Frame, Instant, Occurrence, OccurrenceKind, State, Transport, Verb
from simulator.clock import Moment
from simulator.devices.bed_radar import BedRadar
from simulator.devices.ceiling_radar import CeilingRadar
from simulator.devices.device import Act
from simulator.devices.hilink_radars import PresenceRadar, TargetRadar
from simulator.devices.modbus_detector import ModbusDetector
from simulator.devices.one_key_phone import RINGS, OneKeyPhone
from simulator.devices.winsen_sensor import WinsenSensor

MS = 1795336215000


class Talk:
    """A driver and a device on one virtual line; time goes from deadline to deadline."""

    def __init__(self, device: Any, **options: Any) -> None:
        self.device = device
        self.driver = registry.load(device.driver)(options, device.id)
        self.events: list[Event] = []
        self.now_s = 0.0
        self._wake_s: float | None = 0.0
        self._hear(device.up(self._moment()))

    def run(self, seconds: float) -> list[Event]:
        """What the driver told within that time."""
        begun, end_s = len(self.events), self.now_s + seconds
        while (due_s := heapq.nsmallest(1, [self.device.next_s, *([] if self._wake_s is None else [self._wake_s])])[0]) <= end_s:
            self.now_s = max(self.now_s, due_s)
            if self.device.next_s <= self.now_s:
                self._hear(self.device.step(self._moment()))
            if self._wake_s is not None and self._wake_s <= self.now_s:
                self._take(self.driver.wake(self._instant()))
        self.now_s = end_s
        return self.events[begun:]

    def ask(self, verb: Verb, **args: Any) -> CommandResult:
        """The last word on a command, within five seconds."""
        begun = len(self.events)
        self._take(self.driver.command(Command(id="c", verb=verb, device=self.device.id, args=args), self._instant()))
        self.run(5.0)
        return [event.body for event in self.events[begun:] if isinstance(event.body, CommandResult)][-1]

    def happen(self, verb: str, **args: Any) -> list[str]:
        """What it made the driver say within three seconds."""
        begun = len(self.events)
        self._hear(self.device.happen(verb, args, self._moment()))
        self.run(4.0)
        bodies = [event.body for event in self.events[begun:]]
        return [f"{body.kind.value} {body.state.value}" for body in bodies if isinstance(body, Occurrence)]

    def _moment(self) -> Moment:
        return Moment(MS + round(self.now_s * 1000), self.now_s)

    def _instant(self) -> Instant:
        return Instant(MS + round(self.now_s * 1000), self.now_s)

    def _hear(self, act: Act) -> None:
        for parcel in act.parcels:
            self._take(self.driver.receive(Frame(data=parcel.data, received=self._instant(), transport=Transport.SERIAL)))

    def _take(self, output: Any) -> None:
        self.events += output.events
        self._wake_s = output.wake_s
        for send in output.replies:
            self._hear(self.device.receive(send.data, self._moment()))


def told(events: list[Event]) -> dict[str, str]:
    """Parameters and firmware that the driver passed on."""
    found: dict[str, str] = {}
    for event in events:
        if isinstance(event.body, DeviceHealth):
            found |= event.body.parameters or {}
            found |= {"firmware": event.body.firmware} if event.body.firmware else {}
    return found


def test_a_gate_radar_is_asked_set_and_goes_on_reporting() -> None:
    talk = Talk(PresenceRadar("ld2410:x", seed=1))
    assert {"firmware", "max_gate", "timeout_s"} <= told(talk.run(3)).keys()
    assert talk.ask(Verb.CONFIGURE, name="gates", value="6,6,10").status == "done"
    assert talk.happen("enter") == ["presence start", "motion start"], "the configuration was closed again"


def test_a_command_without_opening_is_refused_by_the_radar() -> None:
    from protocols.serial import hilink

    device = PresenceRadar("ld2410:x", seed=1)
    act = device.receive(hilink.command(hilink.ENGINEERING_ON), Moment(MS, 0.0))
    answer = hilink.decode(act.parcels[0].data)
    assert isinstance(answer, hilink.Ack) and answer.status == 1


def test_a_target_radar_tells_zones_and_takes_the_tracking_mode() -> None:
    zones = {"corner": (-1500.0, 0.0, 0.0, 2000.0, 0.1)}
    row = {"name": "corner", "x1": -1500, "y1": 0, "x2": 0, "y2": 2000, "minutes": 0.1}
    talk = Talk(TargetRadar("ld2450:x", seed=1, zones=zones), zones=[row])
    assert told(talk.run(3))["tracking"] == "multi"
    assert talk.ask(Verb.CONFIGURE, name="tracking", value="single").status == "done"
    assert talk.happen("enter", x_mm=-500, y_mm=1000) == ["presence start", "zone_occupied start"]
    late = [event.body for event in talk.run(4) if isinstance(event.body, Occurrence)]
    assert [body.detail for body in late] == ["longer than 0.1 minutes"]


def test_a_ceiling_radar_hung_at_the_wrong_height_is_set_right() -> None:
    talk = Talk(CeilingRadar("tinyframe:x", seed=1), install_height_m=2.6)
    assert told(talk.run(5))["install_height_m"] == "2.6"
    assert talk.ask(Verb.FALL_DETECTION, on=True, sensitivity=5).status == "done"
    assert told(talk.run(3)) == {} and talk.ask(Verb.QUERY, name="parameters").status == "done"
    assert talk.happen("fall") == ["presence start", "fall start"]


def test_a_bed_radar_says_who_it_is() -> None:
    talk = Talk(BedRadar("micradar:x", seed=1))
    assert told(talk.run(5))["firmware"] == "G60BD1SYv010309"
    assert talk.happen("bed_in") == ["presence start", "bed_entry start"]
    assert talk.happen("breath_stop") == ["breathing_abnormal start"]


@pytest.mark.parametrize(("profile", "quantity"), [("ze07-co", "co"), ("mh-z19", "co2")])
def test_a_cold_gas_sensor_is_not_believed(profile: str, quantity: str) -> None:
    talk = Talk(WinsenSensor("winsen:x", profile=profile, seed=1, warmup_s=10), profile=profile, warmup_s=10)
    rows = [(getattr(e.body, "quantity", ""), getattr(e.body, "channel", None)) for e in talk.run(30)]
    assert (quantity, "warming_up") in rows and (quantity, None) in rows
    if profile == "mh-z19":
        assert talk.ask(Verb.QUERY).status == "done"


def test_a_detector_that_is_dead_on_the_line_is_offline_and_its_alarm_stays() -> None:
    talk = Talk(ModbusDetector("modbus_gas:x", unit=3, seed=1, warmup_s=0), detectors=[{"unit": 3, "name": "x"}], poll_s=0.5)
    talk.run(5)
    assert talk.happen("gas", peak=30, rise_s=1, hold_s=1)[:1] == ["gas start"]
    talk.run(60)
    assert talk.happen("dead") == ["offline start"]
    assert talk.happen("reset") == [] and talk.run(70) == []
    talk.happen("alive")
    ends = [event.body.kind for event in talk.run(70) if isinstance(event.body, Occurrence) and event.body.state is State.END]
    assert OccurrenceKind.GAS in ends


def test_a_telephone_rings_and_gives_up() -> None:
    phone = OneKeyPhone("gsm_phone:x", number="13900000001")
    said = [parcel.data for parcel in phone.happen("sos", {}, Moment(MS, 0.0)).parcels]
    while phone.next_s < 1000:
        said += [parcel.data for parcel in phone.step(Moment(MS, phone.next_s)).parcels]
    assert said == [b"RING"] * RINGS + [b"HANG UP"]
