"""What a run was like, person by person: what happened, what came out, where people were. Bounded, for reports."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from drivers.events import epoch_ms, rfc3339
from drivers.vocabulary import Lane
from simulator.truth import SLACK_MS, Entry, Fact, fact_of
from simulator.virtual import Listener

KEPT_PER_PERSON = 2_000
KEPT_POINTS = 5_000


class Mark(NamedTuple):
    """Something on the line of a person. `source`: `happened`, `told` (came out) or `rule`; `latency_ms` of what was told."""

    at_ms: int
    source: str
    kind: str
    state: str
    lane: str
    latency_ms: int | None = None


class Journal(Listener):
    """Keeps marks and places by person."""

    def __init__(self) -> None:
        self.marks: dict[str, list[Mark]] = defaultdict(list)
        self.points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._open: dict[tuple[str, Fact], list[int]] = defaultdict(list)

    def expect(self, entry: Entry) -> None:
        """Something happened; measurements and positions are too many to show."""
        if entry.fact.type in ("measurement", "position"):
            return
        self._open[entry.device, entry.fact] = [*self._open[entry.device, entry.fact][-9:], entry.at_ms]
        self._mark(entry.person, Mark(entry.at_ms, "happened", entry.fact.kind, entry.fact.state, entry.lane))

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        """Something was told; what cannot be read is the scorer's business."""
        try:
            body, device, person = document["body"], document["device"], document.get("subject")
            fact = fact_of(body)
        except (KeyError, TypeError):
            return
        if fact.type == "position" and body.get("lat") is not None:
            points = self.points[str(person)]
            if len(points) < KEPT_POINTS:
                points.append((body["lat"], body["lon"]))
            return
        if fact.type not in ("occurrence", "service_request"):
            return
        source = "rule" if document.get("cause") is not None or document.get("trust") == "derived" else "told"
        latency = None
        waiting = self._open.get((device, fact), [])
        if source == "told" and waiting and waiting[0] <= delivered_ms + SLACK_MS:
            latency = max(delivered_ms - waiting.pop(0), 0)
        self._mark(person, Mark(delivered_ms, source, fact.kind, fact.state, str(document.get("lane", Lane.STATE)), latency))

    def _mark(self, person: str | None, mark: Mark) -> None:
        marks = self.marks[person or "-"]
        if len(marks) < KEPT_PER_PERSON:
            marks.append(mark)


class TruthFile(Listener):
    """Writes the truth as JSON lines, for `anhu sim score`."""

    def __init__(self, path: Path, inner: Listener) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._inner = inner

    def expect(self, entry: Entry) -> None:
        """One line."""
        line = {
            "at": rfc3339(entry.at_ms), "device": entry.device, "person": entry.person, "wire": entry.wire,
            "type": entry.fact.type, "kind": entry.fact.kind, "state": entry.fact.state,
        }  # fmt: skip
        self._file.write(json.dumps(line) + "\n")
        self._inner.expect(entry)

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        """Handed on."""
        self._inner.deliver(document, delivered_ms)

    def close(self) -> None:
        """The file is whole afterwards."""
        self._file.close()


def read_entry(number: int, text: str) -> Entry:
    """The entry of a line of a truth file. Raises ValueError, KeyError, TypeError."""
    row = json.loads(text)
    fact = Fact(str(row["type"]), str(row["kind"]), str(row.get("state", "")))
    return Entry(number, epoch_ms(row["at"]), str(row["device"]), row.get("person"), str(row.get("wire", "")), fact)
