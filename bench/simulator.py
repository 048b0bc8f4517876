"""The simulator itself: virtual time, start of a thousand devices, memory of a person, devices of one core on real sockets."""

from __future__ import annotations

import asyncio
import os
import resource
import time
import tracemalloc
from typing import Any

from simulator.clock import RealClock
from simulator.community import build, everyday
from simulator.members import DAILY, SPARSE, Rates
from simulator.parts import run_in_parts
from simulator.run import Targets, run_community
from simulator.truth import Truth
from simulator.virtual import capture, run_virtual

START_MS = 1795276800000
DAY_S = 86_400.0
PEOPLE, DEVICES, WIRE_S = 100, 1_000, 20.0
CORES = len(os.sched_getaffinity(0))


def measure() -> dict[str, Any]:
    """Person-days a minute of generation alone and through `anhu replay`, by rates; start, memory and CPU of devices."""
    return {
        "person_days_per_minute": {name: virtual(rates) for name, rates in (("sparse", SPARSE), ("daily", DAILY))},
        "kb_per_person": memory(),
        **asyncio.run(wires()),
    }


def virtual(rates: Rates) -> dict[str, float]:
    """One day of some people. `generated`: by the CPU of the simulator alone; `judged`: by the wall, through the gateway's drivers and
    rules and the score, `judged_in_parts`: the same in a part for each core; `judged_on_free_cores`: by the CPU of the busier of the
    two processes, which is the wall on a machine that does nothing else. `*_cpu_ms`: of a person's day, with the start of the
    processes; `week_of_1000_in_gateway_min`: the same for 7,000 days."""
    people = build(PEOPLE, seed=1, make_plan=everyday, rates=rates)
    cpu = time.process_time()
    frames = sum(1 for _ in capture(people, seconds=DAY_S, start_ms=START_MS, truth=Truth(keep=0)))
    generated_s = time.process_time() - cpu
    begun, cpu, child = time.monotonic(), time.process_time(), _children_s()
    run = run_virtual(build(PEOPLE, seed=1, make_plan=everyday, rates=rates), seconds=DAY_S, start_ms=START_MS)
    judged_s, simulator_s, gateway_s = time.monotonic() - begun, time.process_time() - cpu, _children_s() - child
    assert run.score.total.missed == 0
    begun = time.monotonic()
    parted = run_in_parts(build(PEOPLE, seed=1, make_plan=everyday, rates=rates), seconds=DAY_S, start_ms=START_MS, parts=CORES)
    parts_s = time.monotonic() - begun
    assert parted == run
    return {
        "generated": round(PEOPLE / generated_s * 60),
        "judged": round(PEOPLE / judged_s * 60),
        "judged_in_parts": round(PEOPLE / parts_s * 60),
        "judged_on_free_cores": round(PEOPLE / max(simulator_s, gateway_s) * 60),
        "simulator_cpu_ms": round(simulator_s / PEOPLE * 1000, 1),
        "gateway_cpu_ms": round(gateway_s / PEOPLE * 1000, 1),
        "week_of_1000_in_gateway_min": round(7000 * gateway_s / PEOPLE / 60, 1),
        "frames_per_person_day": round(frames / PEOPLE),
    }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory() -> float:
    """Python memory of a resident with all devices, kB."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    people = build(500, seed=1)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert people.members
    return round(used / 500 / 1024, 1)


async def wires() -> dict[str, Any]:
    """A thousand wristbands with the intervals of real firmware against a socket that only reads."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(4096):
            pass
        writer.close()

    connections = 0
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    begun = time.monotonic()
    people = build(DEVICES, seed=1, make_plan=lambda _: iter(()), pack=("wristband",))
    started = asyncio.create_task(
        run_community(people, Targets(tcp=("127.0.0.1", port)), clock=RealClock(), duration_s=WIRE_S, truth=Truth(keep=1))
    )
    start_s = 0.0
    while connections < DEVICES and time.monotonic() - begun < WIRE_S:
        await asyncio.sleep(0.02)
        start_s = time.monotonic() - begun
    # The first seconds (login, first fix) are not what a day is like.
    await asyncio.sleep(5)
    cpu, since = time.process_time(), time.monotonic()
    report = await started
    share = (time.process_time() - cpu) / (time.monotonic() - since)
    server.close()
    return {
        "start_1000_s": round(start_s, 2),
        "connected": sum(row["connects"] > 0 for row in report.devices.values()),
        "devices_per_core": round(DEVICES / share) if share else None,
    }
