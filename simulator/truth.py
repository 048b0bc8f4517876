"""What really happened, and the judgement of what came out of the gateway.

Every virtual device writes into one `Truth` what a person or a thing did, at the moment when it was done, however the bytes
fare afterwards. `score` holds that against the events which the platform received.

    found        told upstream at least once
    missed       never told (entries younger than the grace time at the end are `pending`)
    late         told after the limit of its lane
    false        an alarm that nobody caused
    duplicates   one event id delivered twice (allowed by the contract, counted)
    repeated     a further event about the same happening (a device that repeats its alarm)
    out_of_order a later happening of one device and lane delivered before an earlier one: by the log, and by the events' own times
    derived      events that rules concluded; they are judged by scenarios, not here
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from drivers.events import epoch_ms
from drivers.vocabulary import OCCURRENCES, Lane, OccurrenceKind

LATE_MS: dict[str, int] = {Lane.ALARM: 3_000, Lane.STATE: 15_000, Lane.TELEMETRY: 60_000}
"""After this long an event counts as late, by lane. `score(limits=...)` overrides by lane or kind."""

REPEAT_MS = 10 * 60_000
"""An alarm about a happening that was found already is a repetition for this long, and false afterwards."""

SLACK_MS = 1_500
"""Device times have whole seconds, and the delivery stamp may come from another process: so much may an event precede its cause."""
RESOLUTION_MS = 1_000
"""Of two happenings of one device, one may be told in whole seconds."""

OF_BADGES = (OccurrenceKind.PRESENCE.value, OccurrenceKind.SERVICE_VISIT.value)
"""Kinds in which it matters who it was, and where."""
_EXACT_MS = 10_000
"""Latencies from here on are kept in whole seconds: their number stays bounded however long an outage was."""
_KEPT_IDS = 200_000
_KEPT_EXAMPLES = 50


class Fact(NamedTuple):
    """Something that should be seen upstream.

    `type`: body type. `kind`: occurrence kind, quantity, item of a service request, or the type again. `state`: `begin` (an event
    with state start or pulse), `end`, or empty where the body has no state. `who` and `where` of those whose badge was seen.
    """

    type: str
    kind: str
    state: str = ""
    who: str = ""
    where: str = ""


def begun(kind: OccurrenceKind, *, who: str = "", where: str = "") -> Fact:
    """The fact that something began or happened."""
    return Fact("occurrence", kind.value, "begin", who, where)


def ended(kind: OccurrenceKind, *, who: str = "", where: str = "") -> Fact:
    """The fact that something ended."""
    return Fact("occurrence", kind.value, "end", who, where)


class Entry(NamedTuple):
    """One line of the log. `at_ms`: when it happened, on the simulation's clock."""

    seq: int
    at_ms: int
    device: str
    person: str | None
    wire: str
    fact: Fact

    @property
    def lane(self) -> str:
        """Lane in which the fact should travel."""
        return _lane_of(self.fact)


@lru_cache(maxsize=1024)
def _lane_of(fact: Fact) -> str:
    if fact.type != "occurrence":
        return Lane.STATE if fact.type == "service_request" else Lane.TELEMETRY
    return OCCURRENCES[OccurrenceKind(fact.kind)].lane


class Truth:
    """The log. `keep` bounds it for runs without end; followers see every entry all the same."""

    def __init__(self, *, keep: int | None = None) -> None:
        self.entries: deque[Entry] = deque(maxlen=keep)
        self._people: dict[str, tuple[str | None, str]] = {}
        self._strangers: set[str] = set()
        self._followers: list[Callable[[Entry], None]] = []
        self._seq = 0

    def introduce(self, device: str, person: str | None, wire: str) -> None:
        """Say to whom a device belongs and which wire it speaks on."""
        self._people[device] = (person, wire)

    def ignore(self, device: str) -> None:
        """Nothing that befalls this device should be seen upstream: it is nobody's."""
        self._strangers.add(device)

    def follow(self, follower: Callable[[Entry], None]) -> None:
        """Call `follower` with every entry from now on."""
        self._followers.append(follower)

    def record(self, device: str, facts: Iterable[Fact], at_ms: int) -> None:
        """Write down what happened."""
        if device in self._strangers:
            return
        person, wire = self._people.get(device, (None, ""))
        for fact in facts:
            self._seq += 1
            entry = Entry(self._seq, at_ms, device, person, wire, fact)
            self.entries.append(entry)
            for follower in self._followers:
                follower(entry)


@dataclass
class Tally:
    """Figures of one kind or one wire; latencies in ms from the happening to the delivery (above 10 s in whole seconds), None without
    any."""

    expected: int = 0
    found: int = 0
    missed: int = 0
    pending: int = 0
    late: int = 0
    p50_ms: int | None = None
    p90_ms: int | None = None
    p99_ms: int | None = None
    max_ms: int | None = None


@dataclass
class Score:
    """The judgement. `alarms` counts only facts of the alarm lane, `kinds` and `wires` hold one tally each."""

    total: Tally = field(default_factory=Tally)
    alarms: Tally = field(default_factory=Tally)
    kinds: dict[str, Tally] = field(default_factory=dict)
    wires: dict[str, Tally] = field(default_factory=dict)
    delivered: int = 0
    false: int = 0
    duplicates: int = 0
    repeated: int = 0
    out_of_order: int = 0
    derived: int = 0
    wrong_person: int = 0
    unreadable: int = 0
    told: dict[str, int] = field(default_factory=dict)
    """What rules concluded, by kind; ends are not counted."""
    missed_entries: list[str] = field(default_factory=list)
    false_entries: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Every happening told, once, to the right person's name, no alarm invented, none late."""
        return not (self.total.missed or self.false or self.alarms.late or self.wrong_person)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "is_clean": self.is_clean}


class _Series:
    """Counts and latencies behind a `Tally`."""

    def __init__(self) -> None:
        self.expected = self.found = self.missed = self.pending = self.late = 0
        self.latencies: Counter[int] = Counter()

    def take(self, latency_ms: int) -> None:
        """Count something found."""
        self.found += 1
        self.latencies[latency_ms if latency_ms < _EXACT_MS else latency_ms - latency_ms % 1000] += 1

    def join(self, other: _Series) -> None:
        """Count what another has counted."""
        self.expected += other.expected
        self.found += other.found
        self.late += other.late
        self.latencies += other.latencies

    def tally(self) -> Tally:
        ranked = sorted(self.latencies.items())
        at = {name: _rank(ranked, share) for name, share in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0))}
        return Tally(self.expected, self.found, self.missed, self.pending, self.late, **at)


class Scorer:
    """Judges while the run goes on; memory is bounded by what is still outstanding."""

    def __init__(self, *, limits: Mapping[str, int] | None = None) -> None:
        self._limits = {**LATE_MS, **(limits or {})}
        self._open: dict[tuple[str, Fact], deque[Entry]] = defaultdict(deque)
        self._last_found: dict[tuple[str, Fact], Entry] = {}
        self._last_seq: dict[tuple[str, str], tuple[int, int]] = {}
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._series: dict[tuple[str, str], _Series] = defaultdict(_Series)
        self._among: dict[tuple[Fact, str], list[_Series]] = {}
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._false: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which only joins and counts: without what is needed for judging on."""
        return {**self.__dict__, "_ids": OrderedDict(), "_last_found": {}, "_last_seq": {}, "_among": {}}

    def expect(self, entry: Entry) -> None:
        """Take an entry of the truth (give this to `Truth.follow`)."""
        self._open[entry.device, entry.fact].append(entry)
        for series in self._of(entry):
            series.expected += 1

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        """Take an event as the platform received it (a CloudEvent's `data`)."""
        self._counts["delivered"] += 1
        try:
            event, device = str(document["id"]), str(document["device"])
            fact = fact_of(document["body"])
            at_ms = epoch_ms(document["at"])
        except (KeyError, TypeError, ValueError):
            self._counts["unreadable"] += 1
            return
        if event in self._ids:
            self._counts["duplicates"] += 1
            return
        self._ids[event] = None
        if len(self._ids) > _KEPT_IDS:
            self._ids.popitem(last=False)
        if document.get("cause") is not None or document.get("trust") == "derived":
            self._counts["derived"] += 1
            if fact.state != "end":
                self._told[fact.kind] += 1
            return
        entry = self._take((device, fact), at_ms, delivered_ms)
        if entry is None:
            self._unexpected(device, fact, document, delivered_ms)
        else:
            self._found(entry, document, delivered_ms)

    def join(self, other: Scorer) -> None:
        """Take over what another has judged: of other devices and other people. Nothing is given to either afterwards."""
        for name, series in other._series.items():
            self._series[name].join(series)
        for key, waiting in other._open.items():
            self._open[key].extend(waiting)
        self._among.clear()
        self._counts += other._counts
        self._told += other._told
        self._false = sorted([*self._false, *other._false])[:_KEPT_EXAMPLES]

    def result(self, now_ms: int | None = None, *, grace_ms: int = 0) -> Score:
        """The judgement so far. What happened less than `grace_ms` before `now_ms` is pending, not missed."""
        missed: list[Entry] = []
        series: dict[tuple[str, str], _Series] = defaultdict(_Series, self._series)
        for one in series.values():
            one.missed = one.pending = 0
        for waiting in self._open.values():
            for entry in waiting:
                is_young = now_ms is not None and entry.at_ms > now_ms - grace_ms
                for one in self._of(entry):
                    one.pending += is_young
                    one.missed += not is_young
                if not is_young:
                    missed.append(entry)
        counts = self._counts
        return Score(
            total=series["", "total"].tally(),
            alarms=series["", "alarms"].tally(),
            kinds={name: one.tally() for (group, name), one in sorted(series.items()) if group == "kind"},
            wires={name: one.tally() for (group, name), one in sorted(series.items()) if group == "wire"},
            delivered=counts["delivered"],
            false=counts["false"],
            duplicates=counts["duplicates"],
            repeated=counts["repeated"],
            out_of_order=counts["out_of_order"],
            derived=counts["derived"],
            wrong_person=counts["wrong_person"],
            unreadable=counts["unreadable"],
            told=dict(sorted(self._told.items())),
            missed_entries=[_told(entry) for entry in sorted(missed, key=_by_time)[:_KEPT_EXAMPLES]],
            false_entries=sorted(self._false),
        )

    def _of(self, entry: Entry) -> list[_Series]:
        found = self._among.get((entry.fact, entry.wire))
        if found is None:
            names = [("", "total"), ("kind", _name(entry.fact)), ("wire", entry.wire)]
            if entry.lane == Lane.ALARM:
                names.append(("", "alarms"))
            found = self._among[entry.fact, entry.wire] = [self._series[name] for name in names]
        return found

    def _take(self, key: tuple[str, Fact], at_ms: int, delivered_ms: int) -> Entry | None:
        """The outstanding entry nearest to the event's own time, among those that lie before the delivery."""
        waiting = self._open.get(key)
        if not waiting:
            return None
        if len(waiting) == 1:
            if waiting[0].at_ms > delivered_ms + SLACK_MS:
                return None
            del self._open[key]
            return waiting[0]
        possible = [entry for entry in waiting if entry.at_ms <= delivered_ms + SLACK_MS]
        if not possible:
            return None
        entry = min(possible, key=lambda entry: (abs(entry.at_ms - at_ms), entry.seq))
        waiting.remove(entry)
        return entry

    def _found(self, entry: Entry, document: Mapping[str, Any], delivered_ms: int) -> None:
        self._last_found[entry.device, entry.fact] = entry
        latency = max(delivered_ms - entry.at_ms, 0)
        limit = self._limits.get(entry.fact.kind, self._limits[entry.lane])
        for series in self._of(entry):
            series.take(latency)
            series.late += latency > limit
        if entry.person is not None and document.get("subject") != entry.person:
            self._counts["wrong_person"] += 1
        line = (entry.device, str(document.get("lane", "")))
        seq, at_ms = self._last_seq.get(line, (0, 0))
        told_ms = epoch_ms(document["at"])
        # Both must go back: which of several like happenings an event tells is a guess, and a device's own clock may be set back.
        if seq > entry.seq and told_ms <= at_ms - RESOLUTION_MS:
            self._counts["out_of_order"] += 1
        self._last_seq[line] = (max(entry.seq, seq), max(told_ms, at_ms))

    def _unexpected(self, device: str, fact: Fact, document: Mapping[str, Any], delivered_ms: int) -> None:
        # The end of an alarm that nobody noticed calls no one out.
        if fact.type != "occurrence" or fact.state != "begin" or document.get("lane") != Lane.ALARM:
            return
        last = self._last_found.get((device, fact))
        if last is not None and delivered_ms - last.at_ms <= REPEAT_MS:
            self._counts["repeated"] += 1
            return
        self._counts["false"] += 1
        if len(self._false) < _KEPT_EXAMPLES:
            self._false.append(f"{document['at']} {device} {_name(fact)}")


def score(
    truth: Iterable[Entry] | Truth,
    delivered: Iterable[tuple[Mapping[str, Any], int]],
    *,
    limits: Mapping[str, int] | None = None,
    until_ms: int | None = None,
    grace_ms: int = 0,
) -> Score:
    """Hold what was delivered (event document and delivery time, UTC ms, in order of delivery) against the truth."""
    scorer = Scorer(limits=limits)
    for entry in truth.entries if isinstance(truth, Truth) else truth:
        scorer.expect(entry)
    for document, delivered_ms in delivered:
        scorer.deliver(document, delivered_ms)
    return scorer.result(until_ms, grace_ms=grace_ms)


def fact_of(body: Mapping[str, Any]) -> Fact:
    """The fact that an event's body tells. Raises KeyError when it is no body."""
    shape = body["type"]
    if shape == "occurrence":
        state = "end" if body.get("state") == "end" else "begin"
        if body["kind"] in OF_BADGES and body.get("person"):
            return Fact(shape, body["kind"], state, body["person"], body.get("place") or "")
        return Fact(shape, body["kind"], state)
    if shape == "measurement":
        return Fact(shape, body["quantity"])
    if shape == "service_request":
        return Fact(shape, body["item"])
    return Fact(shape, shape)


def _name(fact: Fact) -> str:
    return f"{fact.kind} end" if fact.state == "end" else fact.kind


def _told(entry: Entry) -> str:
    return f"{entry.at_ms} {entry.device} {_name(entry.fact)} ({entry.person or 'nobody'}, {entry.wire})"


def _by_time(entry: Entry) -> tuple[int, str, int]:
    return entry.at_ms, entry.device, entry.seq


def _rank(ranked: list[tuple[int, int]], share: float) -> int | None:
    """Nearest-rank percentile of (value, how often)."""
    left = max(math.ceil(share * sum(often for _, often in ranked)), 1)
    for value, often in ranked:
        left -= often
        if left <= 0:
            return value
    return None
