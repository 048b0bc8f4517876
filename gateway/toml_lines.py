"""TOML with line numbers: `tomllib` gives values, this tells in which line each key stands.

A light scan of headers and `key =` lines; multi-line strings and arrays are skipped over. Where a key cannot be found the line
of its table is used: an error message then points a little too high, never to another file.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gateway.errors import Fault, SettingsError

Path_ = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_SYNTAX_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def load(path: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    """Values and the line of each key path. Raises SettingsError where the file is missing, no UTF-8 or no TOML."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        hint = "anhu run --settings FILE; a commented sample is config/anhu.toml"
        raise SettingsError([Fault(str(path), 0, "no such file")], hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        hint = "check the path, its permissions and that it is UTF-8"
        raise SettingsError([Fault(str(path), 0, f"cannot be read: {error}")], hint=hint) from None
    return loads(text, str(path))


def loads(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    """As `load`, from a text that is called `name` in errors."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX_LINE.search(str(error))
        message = _SYNTAX_LINE.sub("", str(error)).strip()
        raise SettingsError([Fault(name, int(found[1]) if found else 0, f"not TOML: {message}")]) from None
    return values, lines_of(text)


def lines_of(text: str) -> dict[Path_, int]:
    """The line (from 1) of every table header and key."""
    lines: dict[Path_, int] = {}
    counts: dict[Path_, int] = {}
    table: Path_ = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if line.count(quote) % 2 else quote
            continue
        header = _HEADER.match(line)
        if header:
            table = _resolve(_split(header[2]), counts)
            if header[1] == "[[":
                index = counts.get(table, 0)
                counts[table] = index + 1
                table = (*table, index)
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            lines.setdefault((*table, *_split(key[1])), number)
            quote = next((q for q in ('"""', "'''") if line.count(q) % 2), "")
    return lines


def line_of(lines: dict[Path_, int], path: Path_) -> int:
    """The line of a path, or of the nearest thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


def _split(dotted: str) -> Path_:
    parts = re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", dotted)
    return tuple(part.strip("\"'") for part in parts)


def _resolve(path: Path_, counts: dict[Path_, int]) -> Path_:
    """`[a.b]` below `[[a]]` belongs to the last element of a."""
    out: Path_ = ()
    for index, part in enumerate(path):
        out = (*out, part)
        if index < len(path) - 1 and out in counts:
            out = (*out, counts[out] - 1)
    return out
