"""Scenarios in a readable form: what happens when, then what the rules said when.

    12:00:00 pendant:1 fall start
    12:00:05 pir:1 motion start
    12:01:00 watch:1 heart_rate=72
    12:02:00 watch:1 battery=15
    12:03:00 watch:1 ack INCIDENT          (a person acknowledges the incident opened last; `close`, `cancel` likewise)
    +90s .                                  (time runs on)

A line `--- 2026-11-23` sets the date, `@` lines `clock +86400` step the wall clock while the steady clock goes on. Output lines:
`HH:MM:SS rule kind state [severity] [place]` for events, `HH:MM:SS rule > verb device args` for commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from drivers.api import CommandResult, CommandStatus, Instant, ServiceRequest
from drivers.events import DeviceHealth, Event, Measurement, Occurrence, epoch_ms, seal
from drivers.vocabulary import OCCURRENCES, OccurrenceKind, Quantity, Severity, State, Verb
from gateway.rules.contract import UNCHANGED, Context, Decision, DeviceFacts, PersonFacts, Rule, RuleState
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import Outcome, RuleEngine
from gateway.rules.settings import RuleSettings, read_tables

ZONE_MS = 8 * 3_600_000
DAY = "2026-11-22"
ANNA = "r-0417"

DEVICES = {
    "pendant:1": DeviceFacts(ANNA, "living room", "battery", role="pendant"),
    "watch:1": DeviceFacts(ANNA, None, "battery", role="wristband"),
    "radar:1": DeviceFacts("h-12", "bedroom", "mains", role="radar"),
    "radar:2": DeviceFacts("h-12", "bathroom", "mains", role="radar"),
    "pir:1": DeviceFacts("h-12", "living room", "battery", role="motion"),
    "pir:2": DeviceFacts("h-12", "bathroom", "battery", role="motion"),
    "pir:3": DeviceFacts("h-12", "bedroom", "battery", role="motion"),
    "bed:1": DeviceFacts("h-12", "bedroom", "mains", role="bed"),
    "door:1": DeviceFacts("h-12", "entrance", "battery", role="door"),
    "door:2": DeviceFacts("h-12", "bathroom", "battery", role="door"),
    "gas:1": DeviceFacts("h-12", "kitchen", "mains", role="gas"),
    "co:1": DeviceFacts("h-12", "kitchen", "mains", role="co"),
    "smoke:1": DeviceFacts("h-12", "kitchen", "battery", role="smoke"),
    "smoke:2": DeviceFacts("h-12", "bedroom", "battery", role="smoke"),
    "leak:1": DeviceFacts("h-12", "kitchen", "battery", role="leak"),
    "valve:1": DeviceFacts("h-12", "kitchen", "mains", role="valve"),
    "box:1": DeviceFacts("h-12", "kitchen", "battery", role="pillbox"),
    "climate:1": DeviceFacts("h-12", "living room", "battery", 600, role="climate"),
    "tv:1": DeviceFacts("h-12", "living room", "mains", role="tv"),
    "siren:1": DeviceFacts("h-12", "entrance", "mains", role="siren"),
    "modem:1": DeviceFacts(None, None, "mains", role="modem"),
}
PERSONS = {ANNA: PersonFacts(("alone",), "zh", "h-12")}


def wall_ms(clock: str, day: str = DAY) -> int:
    """Epoch ms of a local clock time."""
    return epoch_ms(f"{day}T{clock}+08:00")


class Held:
    """A rule held to its word: UNCHANGED means that the state encodes as before."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def apply(self, state: RuleState, event: Event, context: Context) -> Decision | None:
        before = msgspec.msgpack.encode(state)
        decision = self._rule.apply(state, event, context)
        assert decision is not UNCHANGED or msgspec.msgpack.encode(state) == before, f"{self._rule.name}: changed after all"
        return decision


class Scene:
    """One home with its rules on a virtual clock."""

    def __init__(
        self,
        rules: Sequence[Rule],
        settings: str = "",
        *,
        devices: dict[str, DeviceFacts] | None = None,
        persons: dict[str, PersonFacts] | None = None,
    ) -> None:
        self.rules = list(rules)
        self.directory = HouseholdDirectory(DEVICES | (devices or {}), PERSONS if persons is None else persons)
        self.settings = RuleSettings(self.rules, self.directory, read_tables(settings, self.rules))
        self.engine = self._engine()
        self.rows: dict[tuple[str, str], bytes] = {}
        self.events: list[Event] = []
        self.commands: list[Any] = []
        self.said: list[str] = []
        self.wall_offset_ms = wall_ms("00:00:00") - 1_000_000_000
        self.steady_ms = 1_000_000_000
        self.incident: str | None = None
        self.about: str | None = ANNA

    @property
    def now(self) -> Instant:
        return Instant(self.steady_ms + self.wall_offset_ms, self.steady_ms / 1000)

    def _engine(self) -> RuleEngine:
        return RuleEngine([Held(rule) for rule in self.rules], self.settings, self.directory)

    def restart(self) -> None:
        """Kill the process: only what was written survives."""
        self.engine = self._engine()
        self.engine.restore([(rule, key, row) for (rule, key), row in self.rows.items()], self.steady_ms)

    def run_to(self, steady_ms: int) -> None:
        """Let time run, firing timers at their moments."""
        while True:
            due = self.engine.due()
            if due is None or round(due * 1000) > steady_ms:
                break
            self.steady_ms = max(self.steady_ms, round(due * 1000))
            self.take(self.engine.wake(self.now))
        self.steady_ms = max(self.steady_ms, steady_ms)

    def take(self, outcome: Outcome) -> None:
        for rule, key, packed in outcome.states:
            if packed is None:
                self.rows.pop((rule, key), None)
            else:
                self.rows[rule, key] = packed
        self.events += outcome.events
        self.commands += outcome.commands
        self.said += [render(event) for event in outcome.events]
        for command in outcome.commands:
            args = msgspec.json.encode(command.args).decode()
            self.said.append(f"{clock_text(self.now.ms)} {command.by[5:]} > {command.verb.value} {command.device} {args}")
        for event in outcome.events:
            body = event.body
            if isinstance(body, Occurrence) and body.kind is OccurrenceKind.INCIDENT and body.state is State.START:
                self.incident, self.about = body.incident, event.subject

    def send(self, events: Iterable[Event]) -> None:
        sealed = seal(list(events), received_ms=self.now.ms, subject_of=self._subject_of)
        self.take(self.engine.apply(sealed, self.now))

    def _subject_of(self, device: str) -> str | None:
        facts = self.directory.device(device)
        return facts.subject if facts else None

    def play(self, script: str) -> list[str]:
        """Run a script; the lines that were said since the last call."""
        begin = len(self.said)
        day = getattr(self, "day", DAY)
        for raw in script.strip().splitlines():
            line = raw.split("#")[0].strip()
            if not line:
                continue
            if line.startswith("---"):
                day = self.day = line[3:].strip()
                continue
            when, *words = line.split()
            if when == "clock":
                self.wall_offset_ms += int(float(words[0]) * 1000)
                continue
            if when.startswith("+"):
                self.run_to(self.steady_ms + span_ms(when[1:]))
            else:
                self.run_to(wall_ms(when, day) - self.wall_offset_ms)
            if words and words[0] != ".":
                self.send([self._event(words)])
        return self.said[begin:]

    def _event(self, words: list[str]) -> Event:
        device, what, *rest = words
        if what in ("ack", "close", "cancel", "handover"):
            from gateway.rules.incident import act  # the engine tests need no incident rule

            return Event(device="person:nurse-1", at_ms=self.now.ms, body=act(self.incident or "", "nurse-1", what), subject=self.about)
        return Event(device=device, at_ms=self.now.ms, body=body_of(what, rest), evidence=f"{self.steady_ms:016x}")


def body_of(what: str, rest: list[str]) -> Any:
    name, equals, value = what.partition("=")
    if name == "battery" and equals:
        return DeviceHealth(battery_percent=float(value))
    if name == "gone":
        return DeviceHealth(online=False)
    if name == "health":
        return DeviceHealth(online=True)
    if name == "wants":
        return ServiceRequest(item=value)
    if name == "result":
        return CommandResult(command=rest[0], verb=value, status=CommandStatus(rest[1]))
    if equals:
        return Measurement(quantity=Quantity(name), value=float(value))
    state = State(rest[0]) if rest else State.PULSE
    options: dict[str, Any] = dict(word.split("=", 1) for word in rest[1:])
    if "stored" in options:
        options["stored"] = True
    return Occurrence(kind=OccurrenceKind(name), state=state, **options)


def span_ms(text: str) -> int:
    units = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
    number = text.rstrip("mshdin")
    return int(float(number) * units[text[len(number) :]])


def clock_text(ms: int) -> str:
    second = (ms + ZONE_MS) // 1000 % 86400
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def render(event: Event) -> str:
    body = event.body
    if isinstance(body, Measurement):
        return f"{clock_text(event.at_ms)} {event.device.removeprefix('rule:')} {body.quantity.value}={body.value:g}"
    assert isinstance(body, Occurrence)
    severity = body.severity if body.severity is not None else OCCURRENCES[body.kind].severity
    words = [clock_text(event.at_ms), event.device.removeprefix("rule:"), body.kind.value, body.state.value]
    words.append(Severity(severity).name.lower())
    if body.place:
        words.append(f"@{body.place}")
    if body.detail:
        words.append(f"({body.detail})")
    return " ".join(words)


def lines(text: str) -> list[str]:
    """Expected output, one line each."""
    return [line.strip() for line in text.strip().splitlines()]


__all__ = ["ANNA", "Scene", "Verb", "lines", "wall_ms"]
