"""`python -m simulator.cli`: run a scenario in virtual time or on wires, list them, check files, size a city.

stdout is data, stderr is for people. Exit 0: expectations met; 1: not met, or the target failed; 2: asked wrongly.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from drivers.events import rfc3339
from simulator import report
from simulator.errors import ScenarioError, SimulatorError
from simulator.scenario import Scenario, read, shipped
from simulator.truth import Truth
from simulator.virtual import capture, run_virtual


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
    args = parser.parse_args(argv)
    try:
        return {"run": _run, "list": _list, "check": _check, "capture": _capture}[args.verb](args)
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
        _say(json.dumps(line, ensure_ascii=False))
    _tell(f"{scenario.name}: from {rfc3339(scenario.start_ms)}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
