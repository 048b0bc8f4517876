"""`anhu replay`: recorded events or raw frames through the same drivers and rules, on a virtual clock, as fast as the machine goes.

No broker, no network, no database; the same input gives the same output to the byte. Between two inputs the clock stops at every
deadline of a driver or rule, exactly as the running gateway would.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from drivers import registry
from drivers.api import Event, Instant, Output
from drivers.events import Body, epoch_ms, event_json, seal
from drivers.harness import LineError, frame_of, read_line
from drivers.vocabulary import TimeQuality, Trust
from gateway import inventory, people
from gateway.cli.text import example
from gateway.clock import VirtualClock
from gateway.errors import AnhuError, Fault, SettingsError
from gateway.rules import all_rules
from gateway.rules.engine import Outcome, RuleEngine
from gateway.rules.settings import RuleSettings, RuleSettingsError, read_tables
from gateway.session import Session

MOST_WAKES = 100_000
"""Deadlines between two inputs; more means a rule that wakes itself for ever."""


class Replay:
    """Drivers and rules on a virtual clock. `write` gets each event that comes out."""

    def __init__(self, engine: RuleEngine, devices: inventory.Inventory, out: TextIO) -> None:
        self.events = 0
        self.refused = 0
        self._engine = engine
        self._devices = devices
        self._out = out
        self._clock: VirtualClock | None = None
        self._sessions: dict[tuple[str, str], Session] = {}

    def event(self, event: Event) -> None:
        """One recorded event at its receive time."""
        self._move(event.received_ms)
        self._through([event])

    def frame(self, line: dict[str, Any]) -> None:
        """One recorded frame: `driver`, `received`, `frame` or `topic` and `payload`, `conn` (connection), `options`, `device`."""
        name = str(line.get("driver", ""))
        driver = registry.load(name)
        if "received" not in line:
            raise LineError("received: time expected")
        self._move(epoch_ms(str(line["received"])))
        frame = frame_of(line, driver.info, self._now())
        key = (name, str(line.get("conn", line.get("address", ""))))
        session = self._sessions.get(key)
        if session is None:
            session = Session(driver, dict(line.get("options", {})), line.get("device"), lambda sends: None)
            self._sessions[key] = session
        self._output(session.receive(frame))

    def until(self, ms: int) -> None:
        """Let time pass."""
        self._move(ms)

    def _output(self, output: Output) -> None:
        self.refused += len(output.rejects)
        self._through(seal(output.events, received_ms=self._now().ms, subject_of=self._devices.subject_of))

    def _through(self, events: list[Event]) -> None:
        self._print(events)
        if events:
            self._print_outcome(self._engine.apply(events, self._now()))

    def _move(self, ms: int) -> None:
        """To this time, stopping at every deadline on the way."""
        if self._clock is None:
            self._clock = VirtualClock(ms, ms / 1000)
            return
        clock = self._clock
        for _ in range(MOST_WAKES):
            target_s = clock.now().s + (ms - clock.now().ms) / 1000
            due = [session for session in self._sessions.values() if session.wake_s is not None and session.wake_s <= target_s]
            session = min(due, key=lambda each: each.wake_s or 0.0, default=None)
            rule_due = self._engine.due()
            first = min((s for s in (session.wake_s if session else None, rule_due) if s is not None), default=None)
            if first is None or first > target_s:
                break
            clock.advance(max(0.0, first - clock.now().s))
            if session is not None and session.wake_s == first:
                self._output(session.wake(clock.now()))
            else:
                self._print_outcome(self._engine.wake(clock.now()))
        clock.move_to(ms)

    def _now(self) -> Instant:
        assert self._clock is not None
        return self._clock.now()

    def _print_outcome(self, outcome: Outcome) -> None:
        self._print(outcome.events)

    def _print(self, events: list[Event]) -> None:
        for event in events:
            self.events += 1
            self._out.write(event_json(event).decode() + "\n")


def add(verbs: Any) -> None:
    """Register the verb."""
    parser = verbs.add_parser(
        "replay",
        help="events or captured frames through drivers and rules on a virtual clock",
        description="Prints every event that comes out: the given ones and those of rules (they carry `cause`). Input is JSON lines: "
        "events as `anhu events` prints them (only device, at and body must be there), or frames with driver and received.",
        epilog=example("anhu events --data-dir var | anhu replay --rules config/rules.example.toml"),
    )
    parser.add_argument("--rules", type=Path, help="settings of the rules (TOML); default: the built-in ones")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--events", default="-", help="file of events; - (default) for standard input")
    source.add_argument("--capture", help="file of frames instead of events")
    parser.add_argument("--devices", type=Path, help="devices file, for subjects and places")
    parser.add_argument("--people", type=Path, help="people file, for tags")
    parser.add_argument("--until", help="let time pass up to here after the last input, RFC 3339")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """The verb."""
    devices = inventory.Inventory(inventory.read(args.devices) if args.devices else [])
    known = people.read_people(args.people) if args.people else {}
    directory = people.directory_of(devices, known)
    rules = all_rules()
    tables = None
    if args.rules:
        try:
            tables = read_tables(args.rules.read_text("utf-8"), rules, file=str(args.rules))
        except RuleSettingsError as error:
            raise SettingsError([Fault("", 0, fault) for fault in error.faults]) from None
        except (OSError, UnicodeDecodeError) as error:
            raise AnhuError(f"{args.rules}: {error}", hint="see config/rules.example.toml") from None
    replay = Replay(RuleEngine(rules, RuleSettings(rules, directory, tables), directory), devices, sys.stdout)
    name = args.capture or args.events
    faults = []
    for number, text in enumerate(_lines(name), 1):
        if not text.strip():
            continue
        try:
            if args.capture:
                replay.frame(read_line(text))
            else:
                replay.event(read_event(text, devices))
        except (LineError, ValueError) as error:
            faults.append(f"{name}:{number}: {error}")
    if args.until:
        replay.until(epoch_ms(args.until))
    if faults:
        print("\n".join(f"anhu: {fault}" for fault in faults[:20]), file=sys.stderr)
        print(f"Try: mend these {len(faults)} lines; anhu replay --help shows what a line holds", file=sys.stderr)
        return 2
    return 0


class _Loose(msgspec.Struct):
    """An event as a person writes it: what can be told is filled in."""

    device: str
    at: str
    body: Any
    received: str | None = None
    id: str = ""
    subject: str | None = None
    time_quality: TimeQuality = TimeQuality.DEVICE
    trust: Trust = Trust.CLAIMED
    evidence: str | None = None
    cause: str | None = None
    ref: str | None = None


def read_event(text: str, devices: inventory.Inventory) -> Event:
    """The event of one line. Raises ValueError (msgspec.ValidationError is one) with the path of what is wrong."""
    loose = msgspec.json.decode(text.encode(), type=_Loose)
    body = msgspec.convert(loose.body, type=Body)
    at_ms = epoch_ms(loose.at)
    event = Event(
        device=loose.device,
        at_ms=at_ms,
        body=body,
        id=loose.id,
        subject=loose.subject or devices.subject_of(loose.device),
        received_ms=epoch_ms(loose.received) if loose.received else at_ms,
        time_quality=loose.time_quality,
        trust=loose.trust,
        evidence=loose.evidence,
        cause=loose.cause,
        ref=loose.ref,
    )
    return seal([event], received_ms=event.received_ms)[0]


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from (line.decode("utf-8", "replace") for line in sys.stdin.buffer)
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise AnhuError(f"{name}: {error.strerror}", hint="give a file of JSON lines, or - for standard input") from None
