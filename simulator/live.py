"""A scenario on real wires in real time: against a gateway of the simulator's own, or any other, judged by what its platform got."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.clock import RealClock, ScaledClock
from simulator.community import Community
from simulator.devices.device import WireKind
from simulator.errors import TargetError
from simulator.faults.fault import Fault
from simulator.hurry import VARIABLE, Pace
from simulator.members import adapters_of
from simulator.own_gateway import RUN, OwnGateway
from simulator.platform import CloudBroker, Platform
from simulator.run import MqttTarget, RunReport, Targets, run_community, serial_lines
from simulator.site import Site
from simulator.truth import Score, Scorer, Truth
from simulator.virtual import Listener, write_people
from simulator.wires.proxy import Proxy

GRACE_S = 45.0
"""After the end of the plan, what is still under way gets this long to arrive: a link that was away pauses up to half a minute."""


LEAD_S = 8.0
"""A hurried clock begins so much (of real time) before the story: the gateway has to be up when it is told."""


@dataclass(frozen=True)
class SiteTrouble:
    """`kind` of simulator.site at `at_s` for `seconds`."""

    kind: str
    at_s: float
    seconds: float


@dataclass(frozen=True)
class LiveRun:
    """What came of it; `left_out` tells why devices of a wire did not take part."""

    score: Score
    wires: RunReport
    left_out: list[str]


@dataclass(frozen=True)
class Foreign:
    """A gateway that is not ours: where its devices connect and where its events come out."""

    targets: Targets
    upstream: MqttTarget
    topics: str


class _Ears:
    """Truth and deliveries in one scorer."""

    def __init__(self, hear: Listener | None, limits: Mapping[str, int] | None, clock: RealClock | ScaledClock) -> None:
        self.clock = clock
        self.truth = Truth(keep=10_000)
        self.scorer = Scorer(limits=limits)
        self._hear = hear or Listener()
        self.truth.follow(self.scorer.expect)
        self.truth.follow(self._hear.expect)

    def take(self, document: dict[str, Any]) -> None:
        now_ms = self.clock.now().ms
        self.scorer.deliver(document, now_ms)
        self._hear.deliver(document, now_ms)

    @property
    def is_waiting(self) -> bool:
        return bool(self.scorer.result().total.missed)


async def run_live(
    community: Community,
    *,
    seconds: float,
    faults: Mapping[str, Iterable[Fault]] | None = None,
    troubles: Sequence[SiteTrouble] = (),
    foreign: Foreign | None = None,
    hear: Listener | None = None,
    limits: Mapping[str, int] | None = None,
    folder: Path | None = None,
    program: Sequence[str] = RUN,
    rules: str = "",
    grace_s: float = GRACE_S,
    speed: float = 1.0,
    start_ms: int | None = None,
) -> LiveRun:
    """Let a community live on wires for `seconds`. Everything that was started is gone afterwards, also when this is cancelled.

    With a `speed` other than 1 the devices and the gateway of our own live so much faster, from `start_ms` on.
    """
    clock = RealClock() if speed == 1 else _early(speed, start_ms)
    ears = _Ears(hear, limits, clock)
    async with contextlib.AsyncExitStack() as stack:
        if foreign is not None:
            if troubles or speed != 1:
                what = "killed" if troubles else "hurried"
                raise TargetError(f"a foreign gateway cannot be {what} from here", hint="leave --target away, or use another scenario")
            return await _against(foreign, community, ears, seconds, faults, grace_s)
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anhu-sim-")))
        left_out: list[str] = []
        radio = await _radio(community, stack, left_out)
        lines = serial_lines(community, place / "serial")
        for line in lines.values():
            stack.callback(line.close)
        environment = dict(radio.environment) if radio is not None else {}
        if isinstance(clock, ScaledClock):
            environment[VARIABLE] = str(Pace(clock.began_s, clock.start_ms, speed))
            program = (sys.executable, "-m", "simulator.hurry", *program[program.index("-m") + 1 :])
        site = await _site(community, place, stack, environment, program, rules)
        platform = Platform("127.0.0.1", site.broker.port, site.gateway.topics, ears.take)
        listening = asyncio.create_task(platform.run(), name="platform")
        stack.push_async_callback(_end, listening)
        await asyncio.wait_for(platform.subscribed.wait(), 10)
        if isinstance(clock, ScaledClock):
            await clock.sleep(LEAD_S * speed - clock.now().s)
        trouble = asyncio.create_task(_go_wrong(site, troubles), name="trouble")
        stack.push_async_callback(_end, trouble)
        report = await run_community(
            community, site.gateway.targets(radio), clock=ears.clock, duration_s=seconds, truth=ears.truth, faults=faults, lines=lines
        )
        score = await _settle(ears, trouble, grace_s)
        return LiveRun(score, report, left_out)


def _early(speed: float, start_ms: int | None) -> ScaledClock:
    """The clock of a hurried run, which shows `start_ms` when the lead is over."""
    return ScaledClock(speed, None if start_ms is None else start_ms - round(LEAD_S * speed * 1000))


async def _site(  # noqa: PLR0917 - the parts of one site
    community: Community, place: Path, stack: contextlib.AsyncExitStack, environment: dict[str, str], program: Sequence[str], rules: str
) -> Site:
    broker = await stack.enter_async_context(CloudBroker(place / "cloud"))
    uplink = await stack.enter_async_context(Proxy("127.0.0.1", broker.port))
    write_people(community, place / "people.csv")
    extra = '[rules]\npeople_file = "people.csv"\n'
    if rules:
        (place / "rules.toml").write_text(rules, "utf-8")
        extra += 'file = "rules.toml"\n'
    upstream = ("127.0.0.1", uplink.port)
    gateway = OwnGateway(
        place,
        community,
        ble="DBUS_SYSTEM_BUS_ADDRESS" in environment,
        upstream=upstream,
        environment=environment,
        program=program,
        extra=extra,
    )
    await stack.enter_async_context(gateway)
    return Site(gateway, broker, uplink)


async def _radio(community: Community, stack: contextlib.AsyncExitStack, left_out: list[str]) -> Any:
    """The virtual BlueZ where the community needs one and the machine has a D-Bus daemon."""
    if not any(member.device.wire is WireKind.BLE for member in community.members):
        return None
    if shutil.which("dbus-daemon") is None:
        left_out.append("ble: dbus-daemon is absent: apt-get install dbus-daemon")
        sys.stderr.write(f"anhu sim: without {left_out[-1]}\n")
        return None
    from simulator.wires.bluez import VirtualBluez

    return await stack.enter_async_context(VirtualBluez(adapters=list(adapters_of(community.members).values()) or ["hci0"]))


async def _against(  # noqa: PLR0917 - what one run is made of
    foreign: Foreign,
    community: Community,
    ears: _Ears,
    seconds: float,
    faults: Mapping[str, Iterable[Fault]] | None,
    grace_s: float,
) -> LiveRun:
    to = foreign.upstream
    platform = Platform(to.host, to.port, foreign.topics, ears.take, user=to.user, password=to.password)
    listening = asyncio.create_task(platform.run(), name="platform")
    try:
        try:
            await asyncio.wait_for(platform.subscribed.wait(), 10)
        except TimeoutError:
            raise TargetError(f"{to.host}:{to.port}: no broker answers there", hint="--upstream names the platform's broker") from None
        report = await run_community(community, foreign.targets, clock=ears.clock, duration_s=seconds, truth=ears.truth, faults=faults)
        score = await _settle(ears, None, grace_s)
    finally:
        await _end(listening)
    if report.devices and all(not row["connects"] for row in report.devices.values()):
        raise TargetError(report.silent[0], hint="is the gateway listening there? --target HOST:PORT or DRIVER=HOST:PORT")
    return LiveRun(score, report, [f"{name}: no target for its wire" for name in report.skipped])


async def _go_wrong(site: Site, troubles: Sequence[SiteTrouble]) -> None:
    steps = sorted([(t.at_s, True, t.kind) for t in troubles] + [(t.at_s + t.seconds, False, t.kind) for t in troubles])
    began_s = time.monotonic()
    for at_s, begins, kind in steps:
        await asyncio.sleep(max(0.0, at_s - (time.monotonic() - began_s)))
        await (site.begin(kind) if begins else site.end(kind))


async def _settle(ears: _Ears, trouble: asyncio.Task[None] | None, grace_s: float) -> Score:
    """The judgement once everything has arrived or the patience is over."""
    if trouble is not None:
        await trouble
    end_ms = ears.clock.now().ms
    deadline = time.monotonic() + grace_s
    while ears.is_waiting and time.monotonic() < deadline:  # noqa: ASYNC110 - judged anew with every delivery, a poll is the simple form
        await asyncio.sleep(0.1)
    return ears.scorer.result(end_ms, grace_ms=500)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
