"""The settings of the rules: declared by each rule, read from TOML, inherited site -> group -> person -> device.

    [site.time]
    zone = "Asia/Shanghai"
    [site.fall]
    still_s = 30
    [group.dementia.door]
    return_min = 3
    [person.r-0417.bathroom]
    day_min = 45
    [device."zigbee:0x00124b".supervision]
    interval_s = 600

A later scope overrides single keys of an earlier one; of several groups of a person the last tag wins. All faults of a file are
told at once, each with its line and, for a typing error, the nearest known name.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec

from gateway.rules.contract import Directory, Faults, Rule, Setting, Values
from gateway.rules.schedule import window_fault, zone_fault

TIME = "time"
"""The section of the settings that every rule sees."""
TIME_SETTINGS = (
    Setting("zone", "Asia/Shanghai", "", "time zone of the residents", check=zone_fault),
    Setting("night", "22:00-06:00", "", "hours that count as night", "GrandCare, common practice", check=window_fault),
    Setting("holidays", [], "", "dates such as 2026-10-01 on which schedules use their holiday entries", kind=list[str]),
)
Path_ = tuple[str | int, ...]
"""Keys down to a value; numbers count the tables of a list from 0."""
_SCOPES = ("site", "group", "person", "device")

Tables = dict[tuple[str, str], dict[str, dict[str, Any]]]
"""(scope, name) -> rule -> key -> value; the name of the site is empty."""


class RuleSettingsError(ValueError):
    """Settings that do not fit; `faults` holds every one as `file:line: path: expected ..., got ...`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class RuleSettings:
    """The settings in force (a `SettingsSource`). Everyone to whom the same tables apply gets the same object."""

    def __init__(self, rules: Iterable[Rule], directory: Directory, tables: Tables | None = None) -> None:
        self._declared = declared(rules)
        self._directory = directory
        self._tables = tables or {}
        self.version = 0
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], Values] = {}
        time_rows = self._declared[TIME]
        self._rows = {rule: {**time_rows, **rows} for rule, rows in self._declared.items()}

    def of(self, rule: str, key: str) -> Values:
        """The settings of a rule for a person, place or device."""
        scopes = tuple(scope for scope in self._scopes_of(key) if self._concerns(scope, rule))
        found = self._known.get((rule, scopes))
        if found is None:
            found = self._known[rule, scopes] = self._resolve(rule, scopes)
        return found

    def common(self, rule: str) -> Values | None:
        """The settings of a rule where they are the same for everyone; None where any group, person or device has its own."""
        if any(scope != "site" and (rule in table or TIME in table) for (scope, _), table in self._tables.items()):
            return None
        return self.of(rule, "")

    def replace(self, tables: Tables) -> None:
        """New tables, in force from the next event on."""
        self._tables = tables
        self.forget()

    def forget(self) -> None:
        """The inventory changed: look everything up anew."""
        self._known.clear()
        self.version += 1

    def _concerns(self, scope: tuple[str, str], rule: str) -> bool:
        table = self._tables.get(scope)
        return table is not None and (rule in table or TIME in table)

    def _resolve(self, rule: str, among: tuple[tuple[str, str], ...]) -> Values:
        rows = self._rows[rule]
        values = {name: row.default for name, row in rows.items()}
        scopes = dict.fromkeys(rows, "default")
        for scope, name in among:
            table = self._tables[scope, name]
            found = {**table.get(TIME, {}), **table.get(rule, {})}
            values.update(found)
            scopes.update(dict.fromkeys(found, f"{scope} {name}" if name else scope))
        return Values(values, scopes, rows)

    def _scopes_of(self, key: str) -> Iterator[tuple[str, str]]:
        yield "site", ""
        subject: str | None = key
        if ":" in key:
            facts = self._directory.device(key)
            subject = facts.subject if facts else None
        if subject is not None:
            person = self._directory.person(subject)
            yield from (("group", tag) for tag in (person.tags if person else ()))
            if person is not None and person.home:
                yield "person", person.home
            yield "person", subject
        if ":" in key:
            yield "device", key


def declared(rules: Iterable[Rule]) -> dict[str, dict[str, Setting]]:
    """Rule -> name -> declared setting, `time` included."""
    found = {TIME: {row.name: row for row in TIME_SETTINGS}}
    found.update({rule.name: {row.name: row for row in rule.settings} for rule in rules})
    return found


def read_tables(text: str, rules: Iterable[Rule], *, file: str = "rules.toml") -> Tables:
    """The tables of a TOML text. Raises RuleSettingsError with every fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise RuleSettingsError([f"{file}:{line[1] if line else 1}: {error}"]) from None
    reader = _Reader(declared(rules), _lines(text), file)
    tables = reader.read(document)
    if reader.faults:
        raise RuleSettingsError(reader.faults)
    return tables


def settings_table(rules: Iterable[Rule], language: str = "en") -> str:
    """Every setting as a Markdown table, for the documentation and the sample file."""
    heads = {"en": "| setting | default | unit | meaning | source |", "zh": "| 设置 | 默认值 | 单位 | 含义 | 依据 |"}
    lines = [heads[language], "|---|---|---|---|---|"]
    for rule, rows in declared(rules).items():
        for row in rows.values():
            default = msgspec.json.encode(row.default).decode()
            lines.append(f"| `{rule}.{row.name}` | `{default}` | {row.unit} | {row.help} | {row.source} |")
    return "\n".join(lines) + "\n"


class _Reader:
    """Walks a parsed document and collects faults."""

    def __init__(self, known: dict[str, dict[str, Setting]], lines: Mapping[Path_, int], file: str) -> None:
        self.faults: list[str] = []
        self._known = known
        self._lines = lines
        self._file = file

    def read(self, document: dict[str, Any]) -> Tables:
        tables: Tables = {}
        for scope, content in document.items():
            if scope not in _SCOPES:
                self._fault((scope,), f"unknown section{_hint(scope, _SCOPES)}")
            elif not isinstance(content, dict):
                self._fault((scope,), f"table expected, got {content!r}")
            elif scope == "site":
                tables["site", ""] = self._rules(content, (scope,))
            else:
                for name, inner in content.items():
                    if not isinstance(inner, dict):
                        self._fault((scope, name), f"table expected, got {inner!r}")
                        continue
                    tables[scope, name] = self._rules(inner, (scope, name))
        return tables

    def _rules(self, content: dict[str, Any], path: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        found = {}
        for rule, rows in content.items():
            if rule not in self._known:
                self._fault((*path, rule), f"unknown rule{_hint(rule, self._known)}")
            elif not isinstance(rows, dict):
                self._fault((*path, rule), f"table expected, got {rows!r}")
            else:
                found[rule] = self._values(rule, rows, (*path, rule))
        return found

    def _values(self, rule: str, rows: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        found = {}
        for name, raw in rows.items():
            row = self._known[rule].get(name)
            if row is None:
                self._fault((*path, name), f"unknown setting{_hint(name, self._known[rule])}")
                continue
            value = self._converted(raw, row, (*path, name))
            if value is None:
                continue
            expected = _misfit(row, value)
            if isinstance(expected, list):
                for inner, text in expected:
                    self._fault((*path, name, *inner), text)
            elif expected:
                self._fault((*path, name), f"expected {expected}, got {'<secret>' if row.secret else repr(raw)}")
            else:
                found[name] = value
        return found

    def _converted(self, raw: Any, row: Setting, path: Path_) -> Any:
        """The value in its type, None with its faults told. The tables of a list are read one by one, so that each tells its own."""
        kind = row.kind or type(row.default)
        items = get_args(kind)
        if isinstance(raw, list) and items and isinstance(items[0], type) and issubclass(items[0], msgspec.Struct):
            converted = [self._item(item, items[0], (*path, number)) for number, item in enumerate(raw)]
            return None if None in converted else converted
        return self._item(raw, kind, path)

    def _item(self, raw: Any, kind: Any, path: Path_) -> Any:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            text, _, where = str(error).partition(" - at `$")
            field = re.match(r"\.(\w+)", where)
            self._fault((*path, field[1]) if field else path, text[:1].lower() + text[1:])
            return None

    def _fault(self, path: Path_, text: str) -> None:
        line = next((self._lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in self._lines), 1)
        name = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
        self.faults.append(f"{self._file}:{line}: {name}: {text}")


def _misfit(row: Setting, value: Any) -> str | Faults | None:
    if row.check is not None:
        return row.check(value)
    below = row.low is not None and value < row.low
    above = row.high is not None and value > row.high
    if not (below or above):
        return None
    low = "" if row.low is None else f"{row.low:g}"
    high = "" if row.high is None else f"{row.high:g}"
    return f"{low}..{high} {row.unit}".rstrip()


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f", did you mean {near[0]}?" if near else f", known: {', '.join(names)}"


_HEADER = re.compile(r"^\s*\[\[?(.+?)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _lines(text: str) -> dict[Path_, int]:
    """Path -> line number of headers and keys. The TOML reader of the standard library does not keep them."""
    found: dict[Path_, int] = {}
    counts: dict[Path_, int] = {}
    header: Path_ = ()
    for number, line in enumerate(text.splitlines(), 1):
        key = _KEY.match(line)
        if key:
            found.setdefault(header + _path(key[1]), number)
            continue
        opened = _HEADER.match(line)
        if opened:
            header = _placed(_path(opened[1]), counts, found, number)
            if line.lstrip().startswith("[["):
                found.setdefault(header, number)
                counts[header] = counts.get(header, -1) + 1
                header = (*header, counts[header])
            found.setdefault(header, number)
    return found


def _placed(path: tuple[str, ...], counts: Mapping[Path_, int], found: dict[Path_, int], number: int) -> Path_:
    """A header with the number of the table that each list on its way has reached."""
    header: Path_ = ()
    for part in path[:-1]:
        header = (*header, part)
        found.setdefault(header, number)
        if header in counts:
            header = (*header, counts[header])
    return (*header, path[-1])


def _path(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
