"""MQTT topics: patterns with named levels, and names that are safe as device identities.

A pattern is a topic whose levels may be or contain `{name}` (one level), `+` (one level, unnamed) or end in `#` (the rest):
`home/{device}/sensor`, `gw-{site}/up/+`, `v1/{device}/#`. `{name+}` takes one or more levels (a device whose name holds slashes).
"""

from __future__ import annotations

import re

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

ID_LIMIT = 64
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\+?)\}")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f+#\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def plain_id(text: str) -> str:
    """`text` when it is 1..64 characters of letters, digits and `_.:-`. Raises RemoteProtocolError (RANGE)."""
    if not _PLAIN_ID.fullmatch(text):
        raise RemoteProtocolError(Reason.RANGE, f"device id of 1..64 characters A-Z a-z 0-9 _ . : - expected, got {text[:80]!r}")
    return text


def printable_id(text: str) -> str:
    """As `plain_id` for names that people give: any printable character, also spaces, slashes and Chinese; no wildcards."""
    if not text.strip() or len(text) > ID_LIMIT or _UNSAFE.search(text):
        raise RemoteProtocolError(Reason.RANGE, f"device name of 1..{ID_LIMIT} printable characters expected, got {text[:80]!r}")
    return text


class TopicPattern:
    """A compiled pattern. `names` are its placeholders, `filter` what to subscribe to. Raises LocalProtocolError."""

    __slots__ = ("_regex", "filter", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        levels, expression, spread = [], [], False
        if not text or "\x00" in text:
            raise LocalProtocolError("topic pattern expected, got an empty text")
        parts = text.split("/")
        for index, level in enumerate(parts):
            last = index == len(parts) - 1
            if level == "#" and last:
                levels.append("#")
                expression.append(".*")
                continue
            if level == "+":
                levels.append("+")
                expression.append("[^/]+")
                continue
            bare = _PLACE.sub("", level)
            if set(bare) & set("+#{}"):
                raise LocalProtocolError(f"topic pattern level {level!r}: expected text, {{name}}, + or a final #")
            spread = spread or bool(_PLACE.search(level) and "+}" in level)
            levels.append("#" if spread else "+" if bare != level else level)
            expression.append(_level(level))
            if spread:
                expression += [_level(rest) for rest in parts[index + 1 :]]
                break
        self.filter = "/".join(levels)
        self.names = tuple(found[1] for found in _PLACE.finditer(text))
        if len(set(self.names)) != len(self.names):
            raise LocalProtocolError(f"topic pattern {text!r} uses a name twice")
        self._regex = re.compile("/".join(expression))

    def match(self, topic: str) -> dict[str, str] | None:
        """The named levels of `topic`; None where it does not fit."""
        found = self._regex.fullmatch(topic)
        return found.groupdict() if found else None

    def fill(self, values: dict[str, str]) -> str:
        """The topic for `values`. Raises LocalProtocolError where a name is missing or a wildcard remains."""
        missing = [name for name in self.names if name not in values]
        if missing or "#" in self.filter.replace("#", "", "+}" in self.text) or "+" in self.text.split("/"):
            raise LocalProtocolError(f"topic {self.text!r} cannot be filled in: {', '.join(missing) or 'it holds wildcards'}")
        return _PLACE.sub(lambda found: values[found[1]], self.text)


def _level(level: str) -> str:
    out, at = [], 0
    for found in _PLACE.finditer(level):
        out.append(re.escape(level[at : found.start()]))
        out.append(f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})")
        at = found.end()
    out.append(re.escape(level[at:]))
    return "".join(out)
