"""A community on real wires, in real (or scaled) time, against any gateway.

    truth = Truth()
    report = await run_community(community, Targets(tcp=("127.0.0.1", 5093)), clock=RealClock(), duration_s=30, truth=truth)

Everything that was opened is closed when the time is over or the task is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from simulator.clock import Clock
from simulator.community import Community
from simulator.devices.device import WireKind
from simulator.errors import TargetError
from simulator.faults.fault import Fault
from simulator.members import Member, adapters_of
from simulator.stage import Actor, Stage
from simulator.truth import Truth
from simulator.wires.air import AirWire, Radio
from simulator.wires.bus import SharedLine, Tap
from simulator.wires.listen import ListenWire
from simulator.wires.mqtt import MqttWire
from simulator.wires.pty import PtyWire
from simulator.wires.tcp import TcpWire
from simulator.wires.through import Through
from simulator.wires.udp import UdpWire
from simulator.wires.wire import Wire

FLUSH_S = 5.0
"""At the end of a run the MQTT outboxes get this long to empty."""


class MqttTarget(NamedTuple):
    """A broker."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True)
class Targets:
    """Where the gateway listens. A wire without a target is left out of the run.

    `tcp`: host and port, or one for each driver (`{"watch": ("127.0.0.1", 5093)}`; the key "" is for all others).
    `called`: where a device listens, by its id. `serial`: folder for the symlinks to the ptys, `<name of the device without its
    driver>` each. `bluez`: a virtual BlueZ.
    """

    tcp: tuple[str, int] | Mapping[str, tuple[str, int]] | None = None
    udp: tuple[str, int] | Mapping[str, tuple[str, int]] | None = None
    mqtt: MqttTarget | None = None
    serial: Path | None = None
    called: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    bluez: Radio | None = None


@dataclass
class RunReport:
    """What the wires did. `devices`: figures per device; `skipped`: devices whose wire had no target."""

    seconds: float = 0.0
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    answered_ms: list[int] = field(default_factory=list)

    @property
    def silent(self) -> list[str]:
        """Devices whose wire never came up, each with the last reason."""
        return [f"{name}: {row['last_failure'] or 'never connected'}" for name, row in self.devices.items() if not row["connects"]]


def serial_lines(community: Community, folder: Path) -> dict[str, SerialLine]:
    """The ptys of a community, opened, so that a gateway can be started before the community speaks; those of one line share one."""
    lines: dict[str, SerialLine] = {}
    shared: dict[str, SharedLine] = {}
    for member in community.members:
        if member.device.wire is not WireKind.SERIAL:
            continue
        if member.line:
            bus = shared.get(member.line) or SharedLine(PtyWire(folder / member.line, baud=member.baud))
            shared[member.line] = bus
            lines[member.device.id] = bus.tap()
        else:
            lines[member.device.id] = PtyWire(folder / link_name(member.device.id), baud=member.baud)
        lines[member.device.id].open()
    return lines


def link_name(device: str) -> str:
    """File name of the symlink of a serial device: its id without the driver."""
    return device.partition(":")[2].replace("/", "_")


SerialLine = PtyWire | Tap


async def run_community(
    community: Community,
    targets: Targets,
    *,
    clock: Clock,
    duration_s: float | None,
    truth: Truth,
    faults: Mapping[str, Iterable[Fault]] | None = None,
    lines: Mapping[str, SerialLine] | None = None,
) -> RunReport:
    """Let the community live for `duration_s` (None: until cancelled) and write what happens into `truth`.

    `faults`: rows of faults by device id, "" for every device without a row. `lines`: ptys that `serial_lines` opened before.
    Raises TargetError when a wire cannot be made at all; a target that refuses or hangs is only reported.
    """
    stage = Stage(truth, clock.now)
    report = RunReport()
    faults = faults or {}
    if lines is None and targets.serial is not None:
        lines = serial_lines(community, targets.serial)
    adapters = adapters_of(community.members)
    for member in sorted(community.members, key=lambda member: bool(member.through)):
        carrier = stage.actors.get(member.through)
        wire = Through(carrier.relay) if carrier else (lines or {}).get(member.device.id) or wire_for(member, targets, clock, adapters)
        if wire is None:
            report.skipped.append(member.device.id)
            continue
        if not member.is_known:
            truth.ignore(member.device.id)
        row = faults.get(member.device.id, faults.get("", ()))
        stage.enter(member.device, wire, person=member.subject, faults=row)
    begun_s = clock.now().s
    stage.follow(community.plan(), begun_s)
    try:
        await _live(stage, clock, duration_s)
    finally:
        report.seconds = clock.now().s - begun_s
        _fill(report, stage.actors.values())
    return report


def wire_for(member: Member, targets: Targets, clock: Clock, adapters: Mapping[str, str] | None = None) -> Wire | None:
    """The wire of a device that has one of its own and no serial line; None without a target for it. `adapters` by receiver."""
    device = member.device
    if device.wire is WireKind.TCP and (address := _address(targets.tcp, device.driver)):
        return TcpWire(*address, clock=clock, seed=member.seed)
    if device.wire is WireKind.UDP and (address := _address(targets.udp, device.driver)):
        return UdpWire(*address)
    if device.wire is WireKind.MQTT and targets.mqtt:
        to = targets.mqtt
        name = f"sim-{device.id.replace(':', '-')}"
        return MqttWire(
            to.host, to.port, user=to.user, password=to.password, client_id=name, topics=member.topics, clock=clock, seed=member.seed,
            retained=getattr(device, "retained", ()),
        )  # fmt: skip
    if device.wire is WireKind.CALLED and device.id in targets.called:
        return ListenWire(*targets.called[device.id])
    if device.wire is WireKind.BLE and targets.bluez is not None:
        services = getattr(device, "services", None)
        return AirWire(targets.bluez, member.mac, rssi_dbm=-50 - member.seed % 30, adapters=adapters, services=services)
    return None


def _address(target: tuple[str, int] | Mapping[str, tuple[str, int]] | None, driver: str) -> tuple[str, int] | None:
    if isinstance(target, Mapping):
        return target.get(driver) or target.get("")
    return target


async def _live(stage: Stage, clock: Clock, duration_s: float | None) -> None:
    script = asyncio.create_task(stage.agenda.run(clock, duration_s), name="agenda")
    wires = {asyncio.create_task(actor.wire.run(actor), name=actor.device.id) for actor in stage.actors.values()}
    try:
        running = {script, *wires}
        while not script.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {script}:
                _check(task)
        script.result()
        await _flush(stage)
    finally:
        for task in (script, *wires):
            task.cancel()
        await asyncio.gather(script, *wires, return_exceptions=True)


def _check(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, OSError):
        raise TargetError(f"{task.get_name()}: {error}", hint="is the folder writable, does the host exist?") from error
    if error is not None:
        raise error


async def _flush(stage: Stage) -> None:
    """What the MQTT clients still hold is not lost because the run ended."""
    clients = [actor.wire for actor in stage.actors.values() if isinstance(actor.wire, MqttWire) and actor.is_up]
    for _ in range(int(FLUSH_S / 0.05)):
        if not any(client.unsent for client in clients):
            return
        await asyncio.sleep(0.05)


def _fill(report: RunReport, actors: Iterable[Actor]) -> None:
    for actor in actors:
        stats = actor.wire.stats
        report.devices[actor.device.id] = {"wire": actor.device.wire.value, **vars(stats)}
        report.answered_ms += [round(1000 * seconds) for seconds in getattr(actor.device, "answered", ())]
