"""Who calls, what a key means, what a text says: the tables of the installer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from drivers.api import OccurrenceKind

_K = OccurrenceKind
SOS, CARE = "sos", "care"
CARE_ITEM = "care_call"

DEFAULT_PATTERNS: tuple[dict[str, str], ...] = (
    {"match": "SOS|求助|求救|救命|呼救|help", "kind": "sos"},
    {"match": "摔倒|跌倒|fall alarm", "kind": "fall"},
    {"match": "燃气泄漏|燃气报警|gas alarm|gas leak", "kind": "gas"},
    {"match": "火警|着火|火灾|fire alarm", "kind": "fire"},
    {"match": "烟雾报警|smoke alarm", "kind": "smoke"},
    {"match": "漏水|浸水|water leak", "kind": "water_leak"},
    {"match": "断电|停电|power cut|power failure", "kind": "power_cut"},
    {"match": "电量低|低电|low battery", "kind": "low_battery"},
)


class Known(NamedTuple):
    """A row of `numbers`: whose phone it is and what its call means (`sos`, `care`, or an item of the service catalogue)."""

    device: str | None
    meaning: str


class Pattern(NamedTuple):
    """Words of which one is enough, lower case, and what they mean."""

    words: tuple[str, ...]
    kind: OccurrenceKind | None
    item: str | None

    @property
    def name(self) -> str:
        """What it means, as text."""
        return self.kind.value if self.kind is not None else str(self.item)


def normalised(number: str, country: str = "86") -> str:
    """One written form per line: mobile numbers bare, land lines with one zero, foreign numbers with +.

    >>> [normalised(n) for n in ("+8613800138000", "008613800138000", "013800138000", "+8657187654321", "+441632960000")]
    ['13800138000', '13800138000', '13800138000', '057187654321', '+441632960000']
    """
    digits = re.sub(r"[^0-9+*#]", "", number)
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if digits.startswith("+" + country):
        digits = digits[1 + len(country) :]
        return digits if _is_mobile(digits, country) or digits.startswith("0") or len(digits) < 7 else "0" + digits
    if digits.startswith("+"):
        return digits
    if digits.startswith(country) and _is_mobile(digits[len(country) :], country):
        return digits[len(country) :]
    if digits.startswith("0") and _is_mobile(digits[1:], country):
        return digits[1:]
    return digits


def _is_mobile(digits: str, country: str) -> bool:
    return len(digits) == 11 and digits[0] == "1" if country == "86" else False


def read_numbers(rows: Any, country: str, faults: list[str]) -> dict[str, Known]:
    """The table of known callers by normalised number; faults are added to `faults`."""
    book = {}
    for row in rows:
        number = str(row.get("number", "")) if isinstance(row, dict) else ""
        if not normalised(number, country):
            faults.append(f"numbers: tables with number expected, got {row!r}")
            continue
        meaning = str(row.get("key") or row.get("meaning") or SOS)
        book[normalised(number, country)] = Known(str(row["device"]) if row.get("device") else None, meaning)
    return book


def read_patterns(rows: Any, faults: list[str]) -> list[Pattern]:
    """The table of words; faults are added to `faults`."""
    patterns = []
    for row in rows:
        words = tuple(w.strip().lower() for w in str(row.get("match", "")).split("|") if w.strip()) if isinstance(row, dict) else ()
        kind, item = (row.get("kind"), row.get("item")) if words else (None, None)
        if not words or (kind is None) == (item is None) or (kind is not None and kind not in list(_K)):
            faults.append(f"patterns: tables with match and either kind or item expected, got {row!r}")
            continue
        patterns.append(Pattern(words, _K(kind) if kind else None, str(item) if item else None))
    return patterns


def found_in(text: str, patterns: list[Pattern]) -> list[Pattern]:
    """Every pattern of which a word stands in the text; Latin words only as whole words."""
    low = text.lower()
    return [p for p in patterns if any(_stands(word, low) for word in p.words)]


def _stands(word: str, text: str) -> bool:
    at = text.find(word)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(word) : at + len(word) + 1]
        latin = word.isascii()
        if not (latin and (_is_latin(before) or _is_latin(after))):
            return True
        at = text.find(word, at + 1)
    return False


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalpha()
