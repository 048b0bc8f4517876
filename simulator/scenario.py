"""Scenarios: a story in TOML, with what happens, what goes wrong and what is expected of the gateway.

    story = "Mrs Wang falls in the bathroom at night; the radar sees it."
    duration = "10m"
    residents = 5              # default 5, personas in turn
    pack = ["wristband"]       # the devices of everybody (default: those of the personas)
    seed = 7                   # default 1
    start = "2026-11-22T18:00:00Z"
    speed = 30                 # on wires, and so much faster (default 1: virtual time, or as the clock goes)
    rules = "[site.bathroom]..."   # settings of the gateway's rules, TOML (default: the built-in ones)
    rates = "lively"           # daily (default: as real firmware), lively or sparse
    plan = "none"              # none (default): only what stands below; everyday: ordinary life beside it; demo

    [[happening]]
    at = "30s"
    resident = 3               # from 1
    item = "radar"             # of that resident's pack
    verb = "fall"
    args = {}
    every = "10m"              # optional: again and again, `times` times (default: until the end)
    each = true                # optional, instead of resident: everybody who has the item

    [[fault]]
    kind = "slice"             # a file of simulator/faults, with its keywords in `args`
    wire = "tcp"               # or item, resident; nothing: everything
    from = "0s"
    to = "5m"
    args = { most = 3 }

    [[site_fault]]             # a kind of simulator/site: the scenario then runs on real wires
    kind = "gateway_kill"
    at = "10s"
    for = "2s"

    [expect]                   # at most (default 0 each)
    missed = 0
    false = 0
    late = 0
    duplicates = 10
    found = { fall = 1 }       # exactly so many of a kind
    told = { incident = 1 }    # what rules must have concluded, at least so often
    quiet = ["inactivity"]     # what rules must not have concluded

`read` reports every mistake at once, each as file:line.
"""

from __future__ import annotations

import difflib
import heapq
import inspect
import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivers.events import epoch_ms
from drivers.vocabulary import OccurrenceKind
from protocols.mqtt.toml_lines import Where, line_of, lines_of
from simulator.community import INSTALL, Community, build, demo_day, everyday
from simulator.devices.device import Happening, WireKind
from simulator.errors import ScenarioError
from simulator.faults import FAULTS
from simulator.faults.fault import Between, Fault
from simulator.live import SiteTrouble
from simulator.members import DAILY, LIVELY, SPARSE, Member
from simulator.site import SITE_FAULTS
from simulator.truth import Score

SHIPPED = Path(__file__).with_name("scenarios")
DEFAULT_START = "2026-11-22T00:00:00Z"
MOST_RESIDENTS = 20_000
PLANS: dict[str, Callable[[Community], Iterator[Happening]]] = {"none": lambda community: iter(()), "everyday": everyday, "demo": demo_day}
RATES = {"daily": DAILY, "lively": LIVELY, "sparse": SPARSE}
VERBS = (
    "active", "alive", "answers", "battery_low", "bed_in", "bed_out", "breath_back", "breath_stop", "co", "dead", "door_close", "door_open",
    "enter", "fall", "fault", "fault_gone", "fire", "fire_gone", "gas", "gas_gone", "get_up", "heat", "heat_gone", "leak", "leak_gone",
    "leave", "measure", "medical", "message", "modem_restart", "money_back", "motion", "no_motion", "out_of_money", "power_back",
    "power_cut", "reset", "service", "sim_in", "sim_out", "smoke", "smoke_gone", "sos", "sos_cancel", "still", "take_off", "walk",
)  # fmt: skip
EXPECTED = ("missed", "false", "late", "duplicates", "out_of_order", "wrong_person", "found", "told", "quiet")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A `[[happening]]`."""

    at_s: float
    item: str
    verb: str
    resident: int = 0
    args: dict[str, Any] = field(default_factory=dict)
    every_s: float = 0.0
    times: int = 0


@dataclass(frozen=True)
class Trouble:
    """A `[[fault]]`."""

    kind: str
    from_s: float = 0.0
    to_s: float = float("inf")
    wire: str = ""
    item: str = ""
    resident: int = 0
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """What a file says. `name` is the file's."""

    name: str
    story: str
    duration_s: float
    residents: int = 5
    pack: tuple[str, ...] = ()
    seed: int = 1
    start_ms: int = 0
    rates: str = "daily"
    plan: str = "none"
    happenings: tuple[Line, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    site_troubles: tuple[SiteTrouble, ...] = ()
    rules: str = ""
    speed: float = 1.0
    expect: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_wires(self) -> bool:
        """Whether it cannot be played in virtual time."""
        return bool(self.site_troubles) or self.speed != 1

    def community(self) -> Community:
        """The residents and what happens to them, ordinary life and the story merged by time."""
        made = build(self.residents, seed=self.seed, rates=RATES[self.rates], pack=self.pack or None)
        return replace(made, make_plan=self._plan)

    def faults(self, community: Community) -> dict[str, list[Fault]]:
        """The row of faults of every device that has one, each with a seed of its own."""
        rows: dict[str, list[Fault]] = {}
        people = [resident.id for resident in community.residents]
        for n, trouble in enumerate(self.troubles):
            for member in community.members:
                if _meets(trouble, member, people):
                    fault = FAULTS[trouble.kind](seed=self.seed * 1000 + n * 100_003 + member.seed, **trouble.args)
                    rows.setdefault(member.device.id, []).append(Between(fault, trouble.from_s, trouble.to_s))
        return rows

    def broken(self, score: Score) -> list[str]:
        """The expectations that the score does not meet, as sentences; none when all is well."""
        found = {
            "missed": score.total.missed,
            "false": score.false,
            "late": score.alarms.late,
            "duplicates": score.duplicates,
            "out_of_order": score.out_of_order,
            "wrong_person": score.wrong_person,
        }
        limits = {"missed": 0, "false": 0, "late": 0, "wrong_person": 0, **self.expect}
        out = [f"{name}: at most {limits[name]} expected, got {count}" for name, count in found.items() if count > limits.get(name, count)]
        for kind, wanted in self.expect.get("found", {}).items():
            tally = score.kinds.get(kind)
            got = tally.found if tally else 0
            if got != wanted:
                out.append(f"found {kind}: {wanted} expected, got {got}")
        out += [
            f"told {kind}: at least {least} expected, got {score.told.get(kind, 0)}"
            for kind, least in self.expect.get("told", {}).items()
            if score.told.get(kind, 0) < least
        ]
        out += [f"{kind}: not to be told, got {score.told[kind]}" for kind in self.expect.get("quiet", ()) if score.told.get(kind)]
        return out

    def _plan(self, community: Community) -> Iterator[Happening]:
        streams = [self._stream(line, community) for line in self.happenings]
        return heapq.merge(PLANS[self.plan](community), *streams, key=lambda happening: happening.at_s)

    def _stream(self, line: Line, community: Community) -> Iterator[Happening]:
        people = community.residents if line.resident == 0 else community.residents[line.resident - 1 : line.resident]
        devices = [device for person in people if (device := community.find(person.id, line.item))]
        times: Iterator[int] = itertools.count() if line.every_s and not line.times else iter(range(max(line.times, 1)))
        for n in times:
            at_s = line.at_s + n * line.every_s
            if at_s > self.duration_s:
                return
            yield from (Happening(at_s, device, line.verb, line.args) for device in devices)


def _meets(trouble: Trouble, member: Member, people: list[str]) -> bool:
    return (
        trouble.wire in ("", member.device.wire.value)
        and trouble.item in ("", member.item)
        and (trouble.resident == 0 or people[trouble.resident - 1] == member.subject)
    )


def shipped() -> list[str]:
    """Names of the scenarios that come with us."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str | Path) -> Scenario:
    """The scenario of a file, or of a shipped one by its name. Raises ScenarioError with every mistake."""
    path = Path(name)
    if path.suffix != ".toml":
        path = SHIPPED / f"{name}.toml"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(str(name), shipped(), 1)
        raise ScenarioError([f"{path}:0: {error}" + (f"; did you mean {near[0]}?" if near else "")]) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Scenario:
    """The scenario in `text`. Raises ScenarioError with every mistake."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ScenarioError([f"{path}:{found[1] if found else 1}: {error}"]) from None
    reader = _Reader(path, lines_of(text))
    scenario = reader.scenario(table)
    if reader.faults:
        raise ScenarioError(reader.faults)
    return scenario


class _Reader:
    """Walks the tables, collects faults."""

    def __init__(self, path: Path, lines: dict[Where, int]) -> None:
        self.faults: list[str] = []
        self._path = path
        self._lines = lines

    def scenario(self, table: Table) -> Scenario:
        known = (
            "story",
            "duration",
            "residents",
            "pack",
            "seed",
            "start",
            "rates",
            "speed",
            "plan",
            "rules",
            "happening",
            "fault",
            "site_fault",
            "expect",
        )
        self._known(table, known, ())
        story = self._text(table, "story", (), "")
        if not story.strip():
            self._wrong(("story",), "a story expected: what happens, and why it matters")
        if "duration" not in table:
            self._wrong(("duration",), "duration expected, such as 10m")
        plan = self._choice(table, "plan", (), PLANS, "none")
        residents = self._whole(table, "residents", (), 5, 5 if plan == "demo" else 1, MOST_RESIDENTS)
        return Scenario(
            name=self._path.stem,
            story=story,
            duration_s=self._span(table, "duration", (), 60.0),
            residents=residents,
            pack=self._pack(table),
            seed=self._whole(table, "seed", (), 1, 0, 2**31),
            start_ms=self._time(table, "start"),
            rates=self._choice(table, "rates", (), RATES, "daily"),
            plan=plan,
            happenings=tuple(self._happening(row, where, residents) for row, where in self._rows(table, "happening")),
            troubles=tuple(self._trouble(row, where, residents) for row, where in self._rows(table, "fault")),
            site_troubles=tuple(self._site_trouble(row, where) for row, where in self._rows(table, "site_fault")),
            rules=self._rules(table),
            speed=float(self._whole(table, "speed", (), 1, 1, 100)),
            expect=self._expect(table),
        )

    def _happening(self, row: Table, where: Where, residents: int) -> Line:
        self._known(row, ("at", "resident", "each", "item", "verb", "args", "every", "times"), where)
        for key in ("at", "item", "verb"):
            if key not in row:
                self._wrong((*where, key), f"{key} is missing")
        if ("resident" in row) == (row.get("each") is True):
            self._wrong((*where, "resident"), "either resident = 1.. or each = true expected")
        if "times" in row and "every" not in row:
            self._wrong((*where, "times"), "times needs every")
        return Line(
            at_s=self._span(row, "at", where, 0.0),
            item=self._choice(row, "item", where, (*INSTALL, "modem"), ""),
            verb=self._choice(row, "verb", where, VERBS, ""),
            resident=self._whole(row, "resident", where, 0, 1, residents),
            args=self._table(row, "args", where),
            every_s=self._span(row, "every", where, 0.0),
            times=self._whole(row, "times", where, 0, 1, 1_000_000),
        )

    def _trouble(self, row: Table, where: Where, residents: int) -> Trouble:
        self._known(row, ("kind", "wire", "item", "resident", "from", "to", "args"), where)
        if "kind" not in row:
            self._wrong((*where, "kind"), "kind is missing")
        kind = self._choice(row, "kind", where, FAULTS, "")
        args = self._table(row, "args", where)
        if kind:
            allowed = {name: entry.default for name, entry in inspect.signature(FAULTS[kind]).parameters.items() if name != "seed"}
            self._known(args, tuple(allowed), (*where, "args"))
            for name, value in args.items():
                if name in allowed and type(value) is not type(allowed[name]) and not (type(allowed[name]) is float and type(value) is int):
                    self._wrong((*where, "args"), f"args.{name}: {type(allowed[name]).__name__} expected, got {value!r}")
        from_s, to_s = self._span(row, "from", where, 0.0), self._span(row, "to", where, float("inf"))
        if to_s <= from_s:
            self._wrong((*where, "to"), "to after from expected")
        wire = self._choice(row, "wire", where, [kind.value for kind in WireKind], "")
        item = self._choice(row, "item", where, INSTALL, "")
        return Trouble(kind, from_s, to_s, wire, item, self._whole(row, "resident", where, 0, 1, residents), args)

    def _site_trouble(self, row: Table, where: Where) -> SiteTrouble:
        self._known(row, ("kind", "at", "for"), where)
        for key in ("kind", "at", "for"):
            if key not in row:
                self._wrong((*where, key), f"{key} is missing")
        kind = self._choice(row, "kind", where, SITE_FAULTS, "")
        return SiteTrouble(kind, self._span(row, "at", where, 0.0), self._span(row, "for", where, 1.0))

    def _pack(self, table: Table) -> tuple[str, ...]:
        named = table.get("pack", [])
        for name in named if isinstance(named, list) else [named]:
            if name not in INSTALL:
                near = difflib.get_close_matches(str(name), INSTALL, 1)
                self._wrong(("pack",), f"pack: no device is called {name!r}" + (f", did you mean {near[0]}?" if near else ""))
        return tuple(named) if isinstance(named, list) else ()

    def _rules(self, table: Table) -> str:
        text = self._text(table, "rules", (), "")
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._wrong(("rules",), f"rules: {error}")
        return text

    def _expect(self, table: Table) -> dict[str, Any]:
        expect = self._table(table, "expect", ())
        self._known(expect, EXPECTED, ("expect",))
        for name in expect:
            if name not in ("found", "told", "quiet"):
                self._whole(expect, name, ("expect",), 0, 0, 1_000_000_000)
        for group in ("found", "told"):
            for name in self._table(expect, group, ("expect",)):
                self._whole(expect[group], name, ("expect", group), 0, 0, 1_000_000_000)
        kinds = [kind.value for kind in OccurrenceKind]
        for group in ("told", "quiet"):
            named = expect.get(group, ())
            for name in named if isinstance(named, list | dict | tuple) else [named]:
                if name not in kinds:
                    near = difflib.get_close_matches(str(name), kinds, 1)
                    self._wrong(("expect", group), f"{group}: no kind is called {name!r}" + (f", did you mean {near[0]}?" if near else ""))
        return expect

    def _wrong(self, where: Where, text: str) -> None:
        self.faults.append(f"{self._path}:{line_of(self._lines, where)}: {text}")

    def _known(self, table: Table, known: tuple[str, ...], where: Where) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                self._wrong((*where, key), f"{key}: unknown key, " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"))

    def _rows(self, table: Table, key: str) -> list[tuple[Table, Where]]:
        rows = table.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._wrong((key,), f"[[{key}]] expected")
            return []
        return [(row, (key, n)) for n, row in enumerate(rows)]

    def _table(self, table: Table, key: str, where: Where) -> dict[str, Any]:
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self._wrong((*where, key), f"{key}: a table expected, got {value!r}")
        return {}

    def _text(self, table: Table, key: str, where: Where, default: str) -> str:
        value = table.get(key, default)
        if isinstance(value, str):
            return value
        self._wrong((*where, key), f"{key}: text expected, got {value!r}")
        return default

    def _choice(self, table: Table, key: str, where: Where, choices: Any, default: str) -> str:
        value = table.get(key, default)
        if value == default or (isinstance(value, str) and value in choices):
            return str(value)
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        self._wrong((*where, key), f"{key}: one of {', '.join(choices)} expected, got {value!r}{hint}")
        return default

    def _whole(self, table: Table, key: str, where: Where, default: int, *limits: int) -> int:
        low, high = limits
        value = table.get(key, default)
        if key not in table or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
            return int(value)
        self._wrong((*where, key), f"{key}: {low}..{high} expected, got {value!r}")
        return default

    def _span(self, table: Table, key: str, where: Where, default: float) -> float:
        if key not in table:
            return default
        value = table[key]
        parts = _SPAN.findall(value) if isinstance(value, str) else []
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self._wrong((*where, key), f"{key}: a span such as 30s or 1h30m expected, got {value!r}")
            return default
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))

    def _time(self, table: Table, key: str) -> int:
        value = table.get(key, DEFAULT_START)
        try:
            return epoch_ms(value if isinstance(value, str) else value.isoformat())
        except (ValueError, AttributeError, TypeError):
            self._wrong((key,), f"{key}: a time with zone such as {DEFAULT_START} expected, got {value!r}")
            return epoch_ms(DEFAULT_START)
