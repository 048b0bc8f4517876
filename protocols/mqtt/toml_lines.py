"""In which line of a TOML text each table and key stands, so that a fault in a mapping can name it.

A light scan of headers and `key =` lines; `tomllib` has judged the syntax before.
"""

from __future__ import annotations

import re

Where = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def lines_of(text: str) -> dict[Where, int]:
    """Line (from 1) of every header and key."""
    lines: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if line.count(quote) % 2 else quote
            continue
        header = _HEADER.match(line)
        if header:
            table = _indexed(_parts(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            lines.setdefault((*table, *_parts(key[1])), number)
            quote = next((q for q in ('"""', "'''") if line.count(q) % 2), "")
    return lines


def line_of(lines: dict[Where, int], where: Where) -> int:
    """Line of `where`, or of the nearest thing around it; 0 where nothing is known."""
    while where:
        if where in lines:
            return lines[where]
        where = where[:-1]
    return 1 if lines else 0


def _parts(dotted: str) -> Where:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _indexed(parts: Where, counts: dict[Where, int]) -> Where:
    """`[a.b]` behind `[[a]]` belongs to the last element of a."""
    out: Where = ()
    for place, part in enumerate(parts):
        out = (*out, part)
        if place < len(parts) - 1 and out in counts:
            out = (*out, counts[out])
    return out
