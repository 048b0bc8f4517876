"""`anhu sim run`, `list`, `check`, `score`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from drivers.events import epoch_ms
from simulator import report
from simulator.cli.text import address, say, tell
from simulator.errors import ScenarioError, SimulatorError
from simulator.journal import Journal, TruthFile, read_entry
from simulator.live import Foreign, run_live
from simulator.page import as_page
from simulator.run import MqttTarget, Targets
from simulator.scenario import Scenario, read, shipped
from simulator.truth import Score, Scorer
from simulator.virtual import Listener, run_virtual

PROGRESS_S = 1.0


def add(verbs: Any) -> None:
    """Register the verbs."""
    runs = verbs.add_parser(
        "run",
        help="play scenarios and judge what came out; in virtual time, or on real wires",
        description="Virtual time feeds the bytes of every device to `anhu replay`. --wires starts a gateway and a broker of its own and "
        "plays in real time; --target plays against a gateway that runs already, whose platform is --upstream.",
        epilog="Example: anhu sim run bathroom-fall --html report",
    )
    runs.add_argument("scenario", nargs="+", help="name of a shipped scenario (anhu sim list) or a file")
    runs.add_argument("--wires", action="store_true", help="real wires in real time, with a gateway of its own")
    runs.add_argument(
        "--target", action="append", default=[], metavar="[DRIVER=]HOST:PORT", help="TCP port of another gateway, may be repeated"
    )
    runs.add_argument("--target-mqtt", type=address, metavar="HOST:PORT", help="broker of its MQTT devices")
    runs.add_argument("--upstream", type=address, metavar="HOST:PORT", help="broker where its events come out (with --target)")
    runs.add_argument("--topic", default="anhu/v1/+/+/#", help="topic filter upstream (default anhu/v1/+/+/#)")
    runs.add_argument("--json", action="store_true", help="one JSON object a scenario on stdout")
    runs.add_argument("--junit", type=Path, metavar="FOLDER", help="write JUnit XML, one file a scenario")
    runs.add_argument("--html", type=Path, metavar="FOLDER", help="write a page a scenario: timelines, latencies, map")
    runs.add_argument("--lang", choices=("zh", "en"), default="en", help="language of table and page (default en)")
    runs.add_argument("--truth", type=Path, metavar="FOLDER", help="write what happened as JSON lines, for: anhu sim score")
    runs.set_defaults(handler=_run)

    lists = verbs.add_parser("list", help="the shipped scenarios and their stories", epilog="Example: anhu sim list")
    lists.set_defaults(handler=_list)

    checks = verbs.add_parser("check", help="read scenario files, say every mistake", epilog="Example: anhu sim check my.toml")
    checks.add_argument("scenario", nargs="+", help="file, or name of a shipped scenario")
    checks.set_defaults(handler=_check)

    scores = verbs.add_parser(
        "score",
        help="hold recorded events against a recorded truth",
        description="EVENTS are JSON lines as `anhu events` or `anhu replay` print them; the delivery time of each is its `received`.",
        epilog="Example: anhu sim score truth/sos-storm.jsonl events.jsonl",
    )
    scores.add_argument("truth", type=Path, help="file that `anhu sim run --truth` wrote")
    scores.add_argument("events", type=Path, help="file of events")
    scores.add_argument("--json", action="store_true", help="one JSON object")
    scores.set_defaults(handler=_score)


class _Outcome(NamedTuple):
    score: Score
    seconds: float
    how: str


def _run(args: argparse.Namespace) -> int:
    scenarios, faults = [], []
    for name in args.scenario:
        try:
            scenarios.append(read(name))
        except ScenarioError as error:
            faults += error.faults
    if faults:
        raise ScenarioError(faults)
    foreign = _foreign(args)
    return max([_judge(scenario, args, foreign) for scenario in scenarios])


def _foreign(args: argparse.Namespace) -> Foreign | None:
    if not args.target and args.target_mqtt is None:
        return None
    tcp = {}
    for text in args.target:
        driver, equals, where = text.rpartition("=")
        try:
            tcp[driver if equals else ""] = address(where)
        except argparse.ArgumentTypeError as error:
            raise ScenarioError([f"--target: {error}"]) from None
    if args.upstream is None:
        raise ScenarioError(["--upstream: needed with --target: the events of that gateway come out there"])
    mqtt = MqttTarget(*args.target_mqtt) if args.target_mqtt else None
    return Foreign(Targets(tcp=tcp or None, mqtt=mqtt), MqttTarget(*args.upstream), args.topic)


def _judge(scenario: Scenario, args: argparse.Namespace, foreign: Foreign | None) -> int:
    journal = Journal()
    hear: Listener = journal
    if args.truth:
        args.truth.mkdir(parents=True, exist_ok=True)
        hear = TruthFile(args.truth / f"{scenario.name}.jsonl", journal)
    try:
        outcome = _play(scenario, args, foreign, hear)
    finally:
        if isinstance(hear, TruthFile):
            hear.close()
    score, broken = outcome.score, scenario.broken(outcome.score)
    if args.json:
        document = {"scenario": scenario.name, "mode": outcome.how, "seconds": round(outcome.seconds, 2), "broken": broken}
        say(json.dumps({**document, **score.as_dict()}, ensure_ascii=False))
    else:
        verdict = "FAILED" if broken else "ok"
        say(f"{scenario.name}: {verdict}, {scenario.duration_s / 3600:.2f} h ({outcome.how}) in {outcome.seconds:.1f} s\n")
        say(report.as_text(score, language=args.lang))
        for sentence in broken:
            say(f"  expected otherwise: {sentence}")
    if args.junit:
        text = report.as_junit(score, name=scenario.name, seconds=outcome.seconds, broken=broken)
        _write(args.junit, f"{scenario.name}.xml", text)
    if args.html:
        _write(args.html, f"{scenario.name}.html", as_page(scenario, score, journal, broken, language=args.lang))
    return 1 if broken else 0


def _play(scenario: Scenario, args: argparse.Namespace, foreign: Foreign | None, hear: Listener) -> _Outcome:
    began_s = time.monotonic()
    community = scenario.community()
    faults = scenario.faults(community)
    if not (args.wires or foreign or scenario.needs_wires):
        run = run_virtual(
            community, seconds=scenario.duration_s, start_ms=scenario.start_ms, faults=faults, rules=scenario.rules, hear=hear
        )
        return _Outcome(run.score, time.monotonic() - began_s, "virtual time")
    live = asyncio.run(_live(scenario, foreign, hear))
    return _Outcome(live, time.monotonic() - began_s, "wires")


async def _live(scenario: Scenario, foreign: Foreign | None, hear: Listener) -> Score:
    """On wires, with a line of progress; Ctrl-C and SIGTERM end it in order."""
    community = scenario.community()
    life = asyncio.ensure_future(
        run_live(
            community,
            seconds=scenario.duration_s,
            faults=scenario.faults(community),
            troubles=scenario.site_troubles,
            foreign=foreign,
            hear=hear,
            rules=scenario.rules,
            speed=scenario.speed,
            start_ms=scenario.start_ms,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, life.cancel)
    began_s = time.monotonic()
    try:
        while not life.done():
            await asyncio.wait({life}, timeout=PROGRESS_S)
            if sys.stderr.isatty():
                passed = min(time.monotonic() - began_s, scenario.duration_s)
                sys.stderr.write(f"\r{scenario.name}: {passed:.0f} of {scenario.duration_s:.0f} s ")
        if life.cancelled():
            raise KeyboardInterrupt
        run = life.result()
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
    for line in run.left_out:
        tell(f"{scenario.name}: without {line}")
    return run.score


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, "utf-8")


def _list(args: argparse.Namespace) -> int:
    for name in shipped():
        scenario = read(name)
        wires = " (wires)" if scenario.needs_wires else ""
        say(f"{name:20} {' '.join(scenario.story.split())}{wires}")
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


def _score(args: argparse.Namespace) -> int:
    entries = _rows(args.truth, read_entry)
    documents = _rows(args.events, lambda number, text: (json.loads(text), epoch_ms(json.loads(text)["received"])))
    scorer = Scorer()
    for entry in entries:
        scorer.expect(entry)
    for document, delivered_ms in sorted(documents, key=lambda pair: pair[1]):
        scorer.deliver(document, delivered_ms)
    score = scorer.result()
    say(report.as_json(score) if args.json else report.as_text(score))
    return 0 if score.is_clean else 1


def _rows(path: Path, parse: Any) -> list[Any]:
    """Every line of a file, parsed. Raises ScenarioError with every line that cannot be, SimulatorError without a file."""
    rows, faults = [], []
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise SimulatorError(f"{path}: {error.strerror}", hint="anhu sim run SCENARIO --truth FOLDER; anhu events > FILE") from None
    for number, text in enumerate(lines, 1):
        try:
            rows.append(parse(number, text))
        except (ValueError, KeyError, TypeError) as error:
            faults.append(f"{path}:{number}: {type(error).__name__}: {error}")
    if faults:
        raise ScenarioError(faults[:50])
    return rows
