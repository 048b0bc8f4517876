"""`python -m simulator.cli`: run a scenario in virtual time or on wires, list them, check files, size a city.

stdout is data, stderr is for people. Exit 0: expectations met; 1: not met, or the target failed; 2: asked wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from drivers.events import rfc3339
from simulator import report
from simulator.city import UnitCosts, estimate
from simulator.clock import RealClock
from simulator.community import DAILY, LIVELY, build
from simulator.errors import ScenarioError, SimulatorError
from simulator.run import Targets, run_community
from simulator.scenario import Scenario, read, shipped
from simulator.truth import Truth
from simulator.virtual import capture, run_virtual

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="anhu sim", description="Whole communities with faults and with truth.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run", help="a scenario in virtual time through `anhu replay`, judged; example: anhu sim run bathroom-fall")
    runs.add_argument("scenario", nargs="+", help="name of a shipped scenario or a file")
    runs.add_argument("--json", action="store_true", help="one JSON object a scenario on stdout")
    runs.add_argument("--junit", type=Path, metavar="FOLDER", help="write JUnit XML, one file a scenario")
    verbs.add_parser("list", help="the shipped scenarios and their stories")
    checks = verbs.add_parser("check", help="read scenario files, say every mistake")
    checks.add_argument("scenario", nargs="+")
    records = verbs.add_parser("capture", help="the frames of a scenario for `anhu replay --capture FILE`")
    records.add_argument("scenario")
    cities = verbs.add_parser("city", help="load of a city and the boxes that carry it; example: anhu sim city --event-us 45")
    cities.add_argument("--event-us", type=float, default=UnitCosts().event_us, help="measured CPU of an event, microseconds")
    cities.add_argument("--json", action="store_true", help="one JSON object")
    loads = verbs.add_parser(
        "load", help="many devices on real sockets; example: anhu sim load --devices 1000 --tcp 127.0.0.1:5093 --for 60s"
    )
    loads.add_argument("--devices", type=int, default=100, help="how many, 1..20000 (default 100)")
    loads.add_argument("--item", choices=("wristband", "pendant"), default="wristband")
    loads.add_argument("--tcp", required=True, metavar="HOST:PORT", help="where the gateway listens for them")
    loads.add_argument("--for", dest="seconds", type=float, default=60.0, metavar="SECONDS", help="1..3600 (default 60)")
    loads.add_argument("--lively", action="store_true", help="intervals of the demonstration instead of those of real firmware")
    loads.add_argument("--not-loopback", action="store_true", help="allow a target on another machine")
    args = parser.parse_args(argv)
    try:
        return {"run": _run, "list": _list, "check": _check, "capture": _capture, "city": _city, "load": _load}[args.verb](args)
    except ScenarioError as error:
        _tell("\n".join(error.faults))
        _tell(f"Try: {error.hint}")
        return 2
    except SimulatorError as error:
        _tell(f"anhu sim: {error}")
        _tell(f"Try: {error.hint or 'anhu sim --help'}")
        return 1


def _run(args: argparse.Namespace) -> int:
    scenarios = [read(name) for name in args.scenario]
    return max([_judge(scenario, args) for scenario in scenarios])


def _judge(scenario: Scenario, args: argparse.Namespace) -> int:
    began_s = time.monotonic()
    community = scenario.community()
    run = run_virtual(community, seconds=scenario.duration_s, start_ms=scenario.start_ms, faults=scenario.faults(community))
    seconds = time.monotonic() - began_s
    broken = scenario.broken(run.score)
    if args.json:
        _say(json.dumps({"scenario": scenario.name, "broken": broken, "frames": run.frames, **run.score.as_dict()}, ensure_ascii=False))
    else:
        _say(f"{scenario.name}: {'ok' if not broken else 'FAILED'}, {scenario.duration_s / 3600:.2f} h in {seconds:.1f} s\n")
        _say(report.as_text(run.score))
        for sentence in broken:
            _say(f"  expected otherwise: {sentence}")
    if args.junit:
        args.junit.mkdir(parents=True, exist_ok=True)
        text = report.as_junit(run.score, name=scenario.name, seconds=seconds, broken=broken)
        (args.junit / f"{scenario.name}.xml").write_text(text, "utf-8")
    return 1 if broken else 0


def _list(args: argparse.Namespace) -> int:
    for name in shipped():
        story = " ".join(read(name).story.split())
        _say(f"{name:20} {story}")
    return 0


def _check(args: argparse.Namespace) -> int:
    faults = []
    for name in args.scenario:
        try:
            read(name)
        except ScenarioError as error:
            faults += error.faults
    if faults:
        raise ScenarioError(faults)
    return 0


def _capture(args: argparse.Namespace) -> int:
    scenario = read(args.scenario)
    community = scenario.community()
    lines = capture(community, seconds=scenario.duration_s, start_ms=scenario.start_ms, truth=Truth(), faults=scenario.faults(community))
    for line in lines:
        sys.stdout.buffer.write(line)
    _tell(f"{scenario.name}: from {rfc3339(scenario.start_ms)}")
    return 0


def _city(args: argparse.Namespace) -> int:
    result = estimate(costs=UnitCosts(event_us=args.event_us))
    if args.json:
        _say(json.dumps(result.as_dict(), ensure_ascii=False))
        return 0
    for name, value in result.as_dict().items():
        if name not in ("boxes", "assumptions"):
            _say(f"{name:16} {value}")
    for box, count in result.boxes.items():
        _say(f"{count:6} x {box}")
    for assumption in result.assumptions:
        _say(f"  assumed: {assumption}")
    return 0


def _load(args: argparse.Namespace) -> int:
    host, _, port = args.tcp.rpartition(":")
    if not port.isdecimal() or not 1 <= args.devices <= 20_000 or not 1 <= args.seconds <= 3600:
        _tell("anhu sim load: HOST:PORT, 1..20000 devices and 1..3600 seconds expected")
        return 2
    if host not in LOOPBACK and not args.not_loopback:
        _tell(f"anhu sim load: {host} is not this machine\nTry: --not-loopback, if it is yours to load")
        return 2
    community = build(args.devices, seed=1, rates=LIVELY if args.lively else DAILY, make_plan=lambda _: iter(()), pack=(args.item,))
    truth = Truth(keep=1)
    target = Targets(tcp=(host, int(port)))
    cpu_s = time.process_time()
    run = asyncio.run(run_community(community, target, clock=RealClock(), duration_s=args.seconds, truth=truth))
    rows = run.devices.values()
    result = {
        "devices": len(rows),
        "connected": sum(row["connects"] > 0 for row in rows),
        "seconds": round(run.seconds, 1),
        "sent": sum(row["sent"] for row in rows),
        "refused": sum(row["refused"] for row in rows),
        "received": sum(row["received"] for row in rows),
        "cpu_s": round(time.process_time() - cpu_s, 2),
    }
    _say(json.dumps(result))
    return 0 if result["connected"] == result["devices"] else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
