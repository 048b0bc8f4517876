"""JSON from strangers, and paths into it.

`load_json` gives a value or a typed refusal, whatever the bytes. `Path` is the small part of JSONPath that sensor payloads need:

    temperature            a key of the object (or of the element, inside a list)
    sensors[0].value       keys and indices, any depth; a negative index counts from the end
    $.header.id            from the root, also inside a list
    readings[*]  AM.*      every element or value (only for `each`)
    @key                   the key or index of the element
    "odd.key"              a key in quotes may hold anything

Nothing here computes: no filters, no scripts, no slices.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

JSON_LIMIT = 256 * 1024
"""A sensor's message is below 2 kB; a quarter of a megabyte leaves room for lists and bounds the work that a flood can ask for."""
TEXT_LIMIT = 200
EACH_LIMIT = 1000

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
"""What a path gives where there is nothing (JSON null is a value of its own)."""

_decode_json = json.JSONDecoder().decode
_STEP = re.compile(r"""\.?(?:([^.\[\]"'*@$\s]+)|"([^"]*)"|'([^']*)'|\[(-?\d+)\]|(\[\*\]|\*))""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


def load_json(data: bytes, limit: int = JSON_LIMIT) -> Any:
    """The value of a JSON text. Raises RemoteProtocolError: TRUNCATED, RANGE (too long, too deep) or NOT_OURS."""
    if len(data) > limit:
        raise RemoteProtocolError(Reason.RANGE, f"JSON of at most {limit} bytes expected, got {len(data)}", data)
    try:
        # RFC 8259: UTF-8. Decoding here spares the guess at the encoding; some senders write a byte order mark.
        text = data.decode()
        return _decode_json(text) if text[:1] != "\ufeff" else _decode_json(text[1:])
    except json.JSONDecodeError as error:
        whole = error.pos < len(error.doc.rstrip()) and not error.msg.startswith("Unterminated")
        raise RemoteProtocolError(Reason.NOT_OURS if whole else Reason.TRUNCATED, f"JSON expected: {error}", data) from None
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(Reason.NOT_OURS, f"UTF-8 expected: {error.reason} at byte {error.start}", data) from None
    except (RecursionError, ValueError) as error:
        raise RemoteProtocolError(Reason.RANGE, f"JSON of sane depth and numbers expected: {error}", data) from None


def load_object(data: bytes, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """As `load_json`; anything but an object is NOT_OURS."""
    value = load_json(data, limit)
    if not isinstance(value, dict):
        raise RemoteProtocolError(Reason.NOT_OURS, f"JSON object expected, got {type(value).__name__}", data)
    return value


class Path:
    """A compiled path. Raises LocalProtocolError on a text that is none."""

    __slots__ = ("_from_root", "_steps", "is_key", "text", "wild")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_key = text == "@key"
        rest = text.strip()
        self._from_root = rest.startswith("$")
        rest = rest[1:] if self._from_root else rest
        steps: list[str | int | None] = []
        at = 0
        while at < len(rest) and not self.is_key:
            found = _STEP.match(rest, at)
            if not found or (at == 0 and rest[0] == "." and not self._from_root):
                raise LocalProtocolError(f"JSON path expected (like a.b[0].c), got {text!r}")
            name = next((found[i] for i in (1, 2, 3) if found[i] is not None), None)
            steps.append(name if name is not None else int(found[4]) if found[4] is not None else None)
            at = found.end()
        if not steps and not self.is_key and not self._from_root:
            raise LocalProtocolError("JSON path expected, got an empty text")
        self.wild = None in steps
        self._steps = steps

    def find(self, root: Any, item: Any = None, key: Any = None) -> Any:
        """The value below `item` (or below `root` for `$` paths); MISSING where there is none."""
        if self.is_key:
            return key
        value = root if self._from_root or item is None else item
        for step in self._steps:
            value = _below(value, step)
            if value is MISSING:
                return MISSING
        return value

    def each(self, root: Any) -> list[tuple[Any, Any]]:
        """(key, value) of everything that a path with stars reaches, in order; at most EACH_LIMIT."""
        found: list[tuple[Any, Any]] = [("", root)]
        for step in self._steps:
            ahead: list[tuple[Any, Any]] = []
            for key, value in found:
                if step is None:
                    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
                    ahead += list(pairs)[:EACH_LIMIT]
                else:
                    below = _below(value, step)
                    ahead += [] if below is MISSING else [(key, below)]
            found = ahead[:EACH_LIMIT]
        if not self.wild and len(found) == 1 and isinstance(found[0][1], list):
            return list(enumerate(found[0][1][:EACH_LIMIT]))
        return found


def _below(value: Any, step: str | int | None) -> Any:
    if isinstance(value, dict):
        return value.get(step, MISSING) if isinstance(step, str) else MISSING
    if isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
        return value[step]
    return MISSING


def number(value: Any) -> float | None:
    """A finite number, also from text; None for anything else (also for booleans, NaN and infinities).

    >>> number(" 21.5 "), number(True), number("nan")
    (21.5, None, None)
    """
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 40 or not _NUMBER.fullmatch(text):
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def word(value: Any) -> str:
    """A scalar as comparable text: `true`, `1`, `on`; whole floats lose their point, texts their case.

    >>> word(True), word(1.0), word(" ON ")
    ('true', '1', 'on')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "big"
    return value.strip().lower() if isinstance(value, str) else ""


def clean_text(value: Any, limit: int = TEXT_LIMIT) -> str:
    """Text that is safe to store and show: no control, direction or surrogate characters, one space for each run, bounded."""
    text = value if isinstance(value, str) else word(value)
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text.strip()
    return _CONTROL.sub(" ", text[: limit * 4]).strip()[:limit]


def time_ms(value: Any, unit: str = "auto", zone_minutes: int = 0) -> int | None:
    """UTC milliseconds of a time as devices write it; None where it is none.

    `unit` is `s`, `ms`, `us`, `iso` or `auto`: numbers above 1e14 are microseconds, above 1e11 milliseconds, others seconds.
    A text without a zone is local time at `zone_minutes` east of UTC.
    """
    if type(value) is int and unit == "auto" and 1e11 < value <= 1e14:
        return value  # milliseconds, as nearly every device writes them
    count = number(value)
    if count is not None and unit != "iso":
        scale = {"s": 1000.0, "ms": 1.0, "us": 0.001}.get(unit) or (0.001 if count > 1e14 else 1.0 if count > 1e11 else 1000.0)
        found = count * scale
        return round(found) if 0 < found < 253402300800000 else None
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        stamp = datetime.fromisoformat(value.strip().replace("/", "-"))
    except ValueError:
        return None
    try:
        if stamp.tzinfo is None:
            return round(stamp.replace(tzinfo=UTC).timestamp() * 1000) - zone_minutes * 60_000
        return round(stamp.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None
