"""Verbs that need no gateway: decode, drivers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Driver, Instant, Output, Reason, Reject, Transport
from drivers.events import epoch_ms, seal
from drivers.harness import LineError, read_line, render, step
from gateway.cli.text import example, print_json
from gateway.errors import AnhuError

LOGGED_IN = "0"
"""The device behind a line without --stream that does not name one."""
SILENCE_S = 2.5
"""A silence of at most this ends a frame that has no end sign."""


def add(verbs: Any) -> None:
    """Register the verbs."""
    decode = verbs.add_parser(
        "decode",
        help="what a driver makes of frames; one JSON object per input line",
        description="Reads JSON lines ({'frame': hex}, {'topic', 'payload'}, {'address', 'frame'}) or bare hex lines. Without --stream "
        "every line meets a fresh connection in which the device is already logged in; with it one connection sees them in order.",
        epilog=example("echo 5b33472a383830303030303031352a303030322a4c4b5d | anhu decode watch"),
    )
    decode.add_argument("driver", help="name of the driver (anhu drivers)")
    decode.add_argument("file", nargs="?", default="-", help="file of lines; - for standard input")
    decode.add_argument("--stream", action="store_true", help="one connection for all lines")
    decode.add_argument("--option", action="append", default=[], metavar="K=V", help="option of the driver, may be repeated")
    decode.add_argument("--device", help="device that is logged in already")
    decode.add_argument("--at", help="receive time, RFC 3339 (default: now)")
    decode.set_defaults(handler=_decode)

    drivers = verbs.add_parser("drivers", help="the drivers that are installed", epilog=example("anhu drivers --json"))
    drivers.add_argument("name", nargs="?", help="one driver, with its options and commands")
    drivers.add_argument("--json", action="store_true", help="one JSON object per driver")
    drivers.set_defaults(handler=_drivers)


def _decode(args: argparse.Namespace) -> int:
    driver = registry.load(args.driver)
    options = _options(args.option)
    try:
        now = Instant(epoch_ms(args.at) if args.at else time.time_ns() // 1_000_000, 1000.0)
    except ValueError as error:
        raise AnhuError(f"--at: {error}", hint="--at 2026-11-22T08:30:00Z") from None
    first = driver(options, args.device)
    stream = first if args.stream else None
    unreadable = 0
    for number, text in enumerate(_lines(args.file), 1):
        if not text.strip():
            continue
        try:
            line = read_line(text)
            output = step(stream, line, now) if stream else _alone(_fresh(driver, options, line, args.device), line, now)
        except LineError as error:
            unreadable += 1
            output = Output(rejects=[Reject(Reason.NOT_OURS, f"line {number}: {error}", text[:256].encode())])
        print_json(render(output))
        sys.stdout.flush()
    if unreadable:
        print(f"anhu: {unreadable} lines are no input (see the rejects)\nTry: anhu decode --help", file=sys.stderr)
        return 2
    return 0


def _fresh(driver: type[Driver], options: dict[str, Any], line: dict[str, Any], device: str | None) -> Driver:
    return driver({**options, **line.get("options", {})}, str(line.get("device") or device or LOGGED_IN))


def _alone(driver: Driver, line: dict[str, Any], now: Instant) -> Output:
    """What one line gives on a connection that is silent afterwards: lines without an end sign are whole then."""
    output = step(driver, line, now)
    wake_s = output.wake_s
    is_network = not {Transport.TCP, Transport.UDP}.isdisjoint(driver.info.transports)
    if is_network and "frame" in line and wake_s is not None and 0 < wake_s - now.s <= SILENCE_S:
        late = driver.wake(Instant(now.ms, wake_s))
        late.events = seal(late.events, received_ms=now.ms)
        output.add(late)
    return output


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from (line.decode("utf-8", "replace") for line in sys.stdin.buffer)
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise AnhuError(f"{name}: {error.strerror}", hint="give a file of lines, or - for standard input") from None


def _options(pairs: Iterable[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise AnhuError(f"--option: K=V expected, got {pair!r}", hint="--option bindkey=231d39c1d7cc1ab1aee224cd096db932")
        if name == "mapping_file":
            # Drivers open nothing: the text of the file is their option.
            name, value = "mapping", "".join(_lines(value))
        options[name] = value
    return options


def _drivers(args: argparse.Namespace) -> int:
    names = [args.name] if args.name else registry.names()
    infos = [registry.load(name).info for name in names]
    if args.json:
        for info in infos:
            print_json({**info._asdict(), "options": [option._asdict() for option in info.options]})
        return 0
    width = max(len(info.name) for info in infos)
    for info in infos:
        print(f"{info.name:{width}}  {'/'.join(t.value for t in info.transports):10}  {info.title} ({info.vendor})")
    if args.name:
        info = infos[0]
        print(f"\nmodels    {', '.join(info.models)}\nemits     {', '.join(info.emits)}")
        print(f"commands  {', '.join(verb.value for verb in info.commands) or 'none'}")
        for option in info.options:
            default = "" if option.default is None else f" (default {option.default})"
            print(f"option    {option.name}: {option.kind}{default}: {option.help}")
    return 0
