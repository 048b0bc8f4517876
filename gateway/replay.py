"""`anhu replay`: recorded events or raw frames through the same drivers and rules, on a virtual clock, as fast as the machine goes.

No broker, no network, no database; the same input gives the same output to the byte. Between two inputs the clock stops at every
deadline of a driver or rule, exactly as the running gateway would.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from drivers import registry
from drivers.api import Driver, Event, Instant, Output
from drivers.events import Body, epoch_ms, event_json, seal
from drivers.harness import LineError, frame_of, read_line
from drivers.vocabulary import TimeQuality, Trust
from gateway import inventory, people
from gateway.cli.text import example
from gateway.clock import VirtualClock
from gateway.errors import AnhuError, Fault, SettingsError
from gateway.rules import all_rules
from gateway.rules.engine import RuleEngine
from gateway.rules.settings import RuleSettings, RuleSettingsError, read_tables
from gateway.session import Session

_decode_line = msgspec.json.Decoder().decode
MOST_WAKES = 100_000
"""Deadlines between two inputs; more means a rule that wakes itself for ever."""


class Replay:
    """Drivers and rules on a virtual clock. `write` gets the lines of JSON of the events that come out, in parcels."""

    def __init__(self, engine: RuleEngine, devices: inventory.Inventory, write: Callable[[bytes], object]) -> None:
        self.events = 0
        self.refused = 0
        self._engine = engine
        self._devices = devices
        self._write = write
        self._clock: VirtualClock | None = None
        self._drivers: dict[str, type[Driver]] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._wakes: list[tuple[float, int, Session]] = []
        self._planned: dict[Session, float] = {}
        self._tickets = itertools.count()

    def event(self, event: Event) -> None:
        """One recorded event at its receive time."""
        self._move(event.received_ms)
        self._through([event])

    def frame(self, line: dict[str, Any]) -> None:
        """One recorded frame: `driver`, `received`, `frame` or `topic` and `payload`, `conn` (connection), `options`, `device`."""
        driver = self._driver(str(line.get("driver", "")))
        received = line.pop("received", None)
        if received is None:
            raise LineError("received: time expected")
        try:
            ms = epoch_ms(str(received))
        except ValueError as error:
            raise LineError(f"received: {error}") from None
        self._move(ms)
        frame = frame_of(line, driver.info, Instant(ms, self._now().s))
        key = (driver.info.name, str(line.get("conn", line.get("address", ""))))
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._session(driver, line)
        self._output(session, session.receive(frame))

    def until(self, ms: int) -> None:
        """Let time pass."""
        self._move(ms)

    def _driver(self, name: str) -> type[Driver]:
        driver = self._drivers.get(name)
        if driver is None:
            driver = self._drivers[name] = registry.load(name)
        return driver

    def _session(self, driver: type[Driver], line: dict[str, Any]) -> Session:
        """A session as the running gateway would make it: the inventory's options of the device, then those of the line."""
        device = line.get("device")
        row = self._devices.find(str(device)) if device else None
        return Session(driver, {**(row.options if row else {}), **line.get("options", {})}, device, lambda sends: None)

    def _output(self, session: Session, output: Output) -> None:
        wake_s = session.wake_s
        if wake_s is not None and self._planned.get(session) != wake_s:
            self._planned[session] = wake_s
            heapq.heappush(self._wakes, (wake_s, next(self._tickets), session))
        self.refused += len(output.rejects)
        if output.events:
            self._through(seal(output.events, received_ms=self._now().ms, subject_of=self._devices.subject_of))

    def _through(self, events: list[Event]) -> None:
        self._print(events)
        self._print(self._engine.apply(events, self._now()).events)

    def _move(self, ms: int) -> None:
        """To this time, stopping at every deadline on the way."""
        clock = self._clock
        if clock is None:
            self._clock = VirtualClock(ms, ms / 1000)
            return
        now = clock.now()
        target_s = now.s + (ms - now.ms) / 1000
        due = self._engine.due
        for _ in range(MOST_WAKES):
            session, first = self._next_session()
            rule_due = due()
            if rule_due is not None and (first is None or rule_due < first):
                session, first = None, rule_due
            if first is None or first > target_s:
                break
            clock.advance(max(0.0, first - clock.now().s))
            if session is not None:
                heapq.heappop(self._wakes)
                del self._planned[session]
                self._output(session, session.wake(clock.now()))
            else:
                self._print(self._engine.wake(clock.now()).events)
        clock.move_to(ms)

    def _next_session(self) -> tuple[Session | None, float | None]:
        """The session that wants to be woken first, and when. Wishes that a session has changed since are stale."""
        heap = self._wakes
        while heap:
            due, _, session = heap[0]
            if session.wake_s == due and self._planned.get(session) == due:
                return session, due
            heapq.heappop(heap)
        return None, None

    def _now(self) -> Instant:
        assert self._clock is not None
        return self._clock.now()

    def _print(self, events: list[Event]) -> None:
        if events:
            self.events += len(events)
            self._write(b"".join([event_json(event) + b"\n" for event in events]))


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
    printer = _Printer()
    replay = Replay(RuleEngine(rules, RuleSettings(rules, directory, tables), directory), devices, printer.write)
    faults = _feed(replay, args.capture or args.events, devices, is_capture=bool(args.capture))
    if args.until:
        replay.until(epoch_ms(args.until))
    printer.flush()
    if faults:
        print("\n".join(f"anhu: {fault}" for fault in faults[:20]), file=sys.stderr)
        print(f"Try: mend these {len(faults)} lines; anhu replay --help shows what a line holds", file=sys.stderr)
        return 2
    return 0


def _feed(replay: Replay, name: str, devices: inventory.Inventory, *, is_capture: bool) -> list[str]:
    """Every line through the replay; those that are none, as `file:line: why`."""
    faults = []
    for number, raw in enumerate(_lines(name), 1):
        line = raw.strip()
        if not line:
            continue
        try:
            if is_capture:
                replay.frame(_frame_line(line))
            else:
                replay.event(read_event(line.decode("utf-8", "replace"), devices))
        except (LineError, ValueError) as error:
            faults.append(f"{name}:{number}: {error}")
    return faults


def _frame_line(line: bytes) -> dict[str, Any]:
    """The object of a line; one that is no JSON, or not quite, is looked at like any other input. Raises LineError."""
    try:
        found = _decode_line(line)
    except msgspec.DecodeError:
        found = None
    return found if type(found) is dict else read_line(line.decode("utf-8", "replace"))


class _Printer:
    """Lines to the standard output: at once to a terminal, in large pieces to anything else, since each piece wakes the reader."""

    _PIECE = 1 << 16

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._least = 0 if sys.stdout.isatty() else self._PIECE

    def write(self, lines: bytes) -> None:
        """Whole lines."""
        self._waiting += lines
        if len(self._waiting) >= self._least:
            self.flush()

    def flush(self) -> None:
        """Everything, now."""
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is not None:
            buffer.write(self._waiting)
        else:
            sys.stdout.write(self._waiting.decode())
        sys.stdout.flush()
        self._waiting.clear()


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


def _lines(name: str) -> Iterator[bytes]:
    if name == "-":
        yield from sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as file:
            yield from file
    except OSError as error:
        raise AnhuError(f"{name}: {error.strerror}", hint="give a file of JSON lines, or - for standard input") from None
