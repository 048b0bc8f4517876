"""A device described by data: from topic and payload to device, readings, states and health, without code.

    name = "acme_gas"

    [[message]]
    topic = "acme/{device}/up"            # named levels; see protocols.mqtt.topic
    when = { type = ["data", "alarm"] }   # only messages with these values at these paths
    each = "sensors[*]"                   # one report for each element (bytes: {at = 4, size = 3})
    device = "{device}-{no}"              # placeholders are topic levels or JSON paths; default "{device}"
    ref = "msgid"                         # the device's own message id, travels upstream unchanged
    time = { path = "ts", unit = "ms" }   # s, ms, us, iso, auto; zone_minutes for times without a zone

    [[message.reading]]
    path = "temp"
    quantity = "temperature"
    scale = 0.1

    [[message.state]]                     # begins and ends, or happens (pulse)
    path = "alarm"
    kind = "gas"
    start = [1]                           # default: true, 1, on, yes, alarm
    end = [0]                             # default: false, 0, off, no, normal, ok, none

    [[message.state]]                     # an enumeration: each value has its kind
    path = "event"
    values = { help = "sos", lying = "fall:start", up = "fall:end", idle = "" }

    [message.health]
    battery_percent = "bat"

    [[command]]
    verb = "valve"
    topic = "acme/{device}/down"
    payload = { cmd = "valve", open = "{open}" }

    [[vector]]                            # proof, run by `anhu driver test FILE`
    name = "gas"
    topic = "acme/k1/up"
    payload = { type = "alarm", alarm = 1 }
    expect = [{ kind = "gas", state = "start" }]

Byte payloads: `format = "bytes"`, then `prefix`, `length`, `checksum` and fields with `at`/`type` (protocols.mqtt.mapping_fields).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from collections.abc import Mapping as MappingType
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.json_path import JSON_LIMIT, MISSING, Path, clean_text, load_json, time_ms, word
from protocols.mqtt.mapping_fields import NUMBER_KEYS, SHAPE_KEYS, Context, Envelope, Field, compile_envelope, compile_field
from protocols.mqtt.toml_lines import Where, line_of
from protocols.mqtt.topic import TopicPattern, plain_id

START_WORDS = ("true", "1", "on", "yes", "alarm")
END_WORDS = ("false", "0", "off", "no", "normal", "ok", "none")
EACH_BYTES_LIMIT = 256
_HOLE = re.compile(r"\{([^{}]+)\}")


class Vocabulary(NamedTuple):
    """The names that a mapping may use; `health` maps each field to `number`, `bool` or `text`."""

    quantities: Collection[str]
    kinds: Collection[str]
    verbs: Collection[str]
    health: MappingType[str, str]


class MappingFault(NamedTuple):
    """One thing wrong with a mapping; `line` 0 where it came as a table, not as text."""

    line: int
    where: str
    text: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.where}: {self.text}" if self.where else f"{place}{self.text}"


class MappingError(LocalProtocolError):
    """Every fault of a mapping at once."""

    def __init__(self, faults: list[MappingFault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class Reading(NamedTuple):
    """A number with the name of its quantity."""

    quantity: str
    value: float
    channel: str | None = None


class Happening(NamedTuple):
    """`state` is `start`, `end` or `pulse`; `key` tells apart states of one kind on one device."""

    kind: str
    state: str
    key: str
    place: str | None = None
    detail: str | None = None


class Report(NamedTuple):
    """What one element of a message says about one device; `faults` are the fields that were refused."""

    device: str
    at_ms: int | None
    ref: str | None
    readings: list[Reading]
    happenings: list[Happening]
    health: dict[str, Any]
    faults: list[tuple[Reason, str]]


class StateField(NamedTuple):
    """A field whose values are kinds: `table` maps a word to (kind, state) pairs, thresholds work on numbers."""

    field: Field
    table: dict[str, list[tuple[str, str]]]
    kind: str
    above: float | None
    below: float | None
    key: str
    place: str | None
    detail: str | None


class Message(NamedTuple):
    """One compiled `[[message]]`."""

    pattern: TopicPattern
    is_json: bool
    envelope: Envelope | None
    when: list[tuple[Path, frozenset[str]]]
    each: Any
    device: Any
    ref: Any
    time: tuple[Field, str, int] | None
    readings: list[tuple[Field, str, str | None]]
    states: list[StateField]
    health: list[tuple[str, str, Field]]


class CommandTemplate(NamedTuple):
    """One compiled `[[command]]`."""

    verb: str
    topic: TopicPattern
    payload: Any


class DeviceMapping:
    """A compiled mapping: `decode` for what comes, `encode` for what is asked. Made by `compile_mapping`."""

    def __init__(self, name: str, messages: list[Message], commands: list[CommandTemplate], vectors: list[dict[str, Any]]) -> None:
        self.name = name
        self.vectors = vectors
        self._messages = messages
        self._commands = {command.verb: command for command in commands}

    @property
    def topics(self) -> list[str]:
        """What to subscribe to."""
        return list(dict.fromkeys(message.pattern.filter for message in self._messages))

    @property
    def verbs(self) -> list[str]:
        """Verbs that have a template."""
        return list(self._commands)

    def decode(self, topic: str, data: bytes) -> list[Report]:
        """The reports of one message, of the first `[[message]]` that fits. Raises RemoteProtocolError where none does."""
        refusal = RemoteProtocolError(Reason.NOT_OURS, f"no message of mapping {self.name} has topic {topic[:80]!r}", data)
        loaded: Any = MISSING
        for message in self._messages:
            places = message.pattern.match(topic)
            if places is None:
                continue
            if message.is_json:
                loaded = load_json(data, JSON_LIMIT) if loaded is MISSING else loaded
                root = loaded
            else:
                root = data
            try:
                if message.envelope:
                    message.envelope.verify(data)
                fits = all(word(path.find(root)) in words for path, words in message.when)
            except RemoteProtocolError as error:
                refusal = error
                continue
            if fits:
                return _reports(message, root, places)
            refusal = RemoteProtocolError(Reason.UNSUPPORTED, f"no message of mapping {self.name} on this topic has these values", data)
        raise refusal

    def encode(self, verb: str, device: str, args: dict[str, Any]) -> tuple[str, Any] | None:
        """Topic and payload (a JSON value) of a command; None where the mapping has no such verb. Raises LocalProtocolError."""
        template = self._commands.get(verb)
        if template is None:
            return None
        return template.topic.fill({"device": device}), _filled(template.payload, {"device": device, **args})


def _filled(value: Any, args: dict[str, Any]) -> Any:
    """A payload template with its holes filled; a text that is one hole keeps the type of the argument."""
    if isinstance(value, dict):
        return {key: _filled(below, args) for key, below in value.items()}
    if isinstance(value, list):
        return [_filled(below, args) for below in value]
    if not isinstance(value, str):
        return value
    whole = _HOLE.fullmatch(value)
    if whole:
        return args.get(whole[1])
    return _HOLE.sub(lambda hole: word(args.get(hole[1], "")) if not isinstance(args.get(hole[1]), str) else args[hole[1]], value)


def _reports(message: Message, root: Any, places: dict[str, str]) -> list[Report]:
    if message.each is None:
        contexts = [Context(root, root, "", places)]
    elif message.is_json:
        contexts = [Context(root, item, key, places) for key, item in message.each.each(root)]
    else:
        at, size = message.each
        starts = range(at, len(root) - size + 1, size)[:EACH_BYTES_LIMIT]
        contexts = [Context(root, root[start : start + size], index, places) for index, start in enumerate(starts)]
    return [_report(message, context) for context in contexts]


def _report(message: Message, context: Context) -> Report:
    faults: list[tuple[Reason, str]] = []
    report = Report(_device(message, context), _time(message, context, faults), None, [], [], {}, faults)
    for field, quantity, channel in message.readings:
        try:
            value = field.number(context)
        except RemoteProtocolError as error:
            faults.append((error.reason, f"{quantity}: {error.detail}"))
            continue
        if value is not None:
            report.readings.append(Reading(quantity, value, _text(channel, context)))
    for state in message.states:
        _happen(state, context, report)
    for name, kind, field in message.health:
        found = _health(kind, field, context)
        if found is not None:
            report.health[name] = found
    if message.ref is not None:
        ref = word_of(message.ref.read(context))
        report = report._replace(ref=ref or None)
    return report


def word_of(value: Any) -> str:
    """A message id as text, its case kept; empty where there is none.

    >>> word_of(17), word_of("A-9")
    ('17', 'A-9')
    """
    return clean_text(value, 128) if isinstance(value, str) else word(value) if value is not MISSING else ""


def _happen(state: StateField, context: Context, report: Report) -> None:
    place, detail = _text(state.place, context), _text(state.detail, context)
    if state.above is not None or state.below is not None:
        try:
            value = state.field.number(context)
        except RemoteProtocolError as error:
            report.faults.append((error.reason, f"{state.kind}: {error.detail}"))
            return
        if value is not None:
            on = (state.above is not None and value >= state.above) or (state.below is not None and value <= state.below)
            report.happenings.append(Happening(state.kind, "start" if on else "end", state.key, place, detail))
        return
    found = state.field.word(context)
    if found is None:
        return
    pairs = state.table.get(found)
    if pairs is None:
        report.faults.append((Reason.UNSUPPORTED, f"{state.kind or state.key}: value {found[:60]!r} is not in the mapping"))
        return
    for kind, what in pairs:
        report.happenings.append(Happening(kind, what, state.key, place, detail))


def _health(kind: str, field: Field, context: Context) -> Any:
    try:
        if kind == "number":
            return field.number(context)
        found = field.word(context)
    except RemoteProtocolError:
        return None
    if kind == "bool":
        return True if found in START_WORDS else False if found in END_WORDS else None
    return clean_text(field.read(context)) if found else None


def _device(message: Message, context: Context) -> str:
    if isinstance(message.device, Field):
        found = message.device.read(context)
        return plain_id(word_of(found))
    return plain_id(_text(message.device, context) or "")


def _text(template: str | None, context: Context) -> str | None:
    """`{name}` is a level of the topic, else a JSON path."""
    if template is None or "{" not in template:
        return template

    def fill(hole: re.Match[str]) -> str:
        name = hole[1]
        if name in context.places:
            return context.places[name]
        return word_of(context.key if name == "@key" else _path(name).find(context.root, context.item, context.key))

    return clean_text(_HOLE.sub(fill, template)) or None


_paths: dict[str, Path] = {}


def _path(text: str) -> Path:
    """Paths of templates, compiled once; their number is bounded by the mappings that were loaded."""
    found = _paths.get(text)
    if found is None:
        found = _paths[text] = Path(text)
    return found


def _time(message: Message, context: Context, faults: list[tuple[Reason, str]]) -> int | None:
    if message.time is None:
        return None
    field, unit, zone = message.time
    raw = field.read(context)
    if raw is MISSING or raw is None or word(raw) in ("", "0"):
        return None
    found = time_ms(raw, unit, zone)
    if found is None:
        faults.append((Reason.RANGE, f"time: {unit} expected, got {clean_text(repr(raw), 60)}"))
    return found


def compile_mapping(table: dict[str, Any], vocabulary: Vocabulary, lines: dict[Where, int] | None = None) -> DeviceMapping:
    """The mapping of a parsed TOML table. Raises MappingError with every fault and, where `lines` is given, its line."""
    return _Compiler(vocabulary, lines or {}).mapping(table)


class _Compiler:
    def __init__(self, vocabulary: Vocabulary, lines: dict[Where, int]) -> None:
        self._words = vocabulary
        self._lines = lines
        self._faults: list[MappingFault] = []

    def mapping(self, table: dict[str, Any]) -> DeviceMapping:
        self._keys(table, ("name", "title", "message", "command", "vector"), ())
        messages = [m for index, t in self._tables(table, "message") if (m := self._message(t, ("message", index)))]
        commands = [c for index, t in self._tables(table, "command") if (c := self._command(t, ("command", index)))]
        vectors = [t for index, t in self._tables(table, "vector") if self._vector(t, ("vector", index))]
        if not messages and not self._faults:
            self._fault((), "at least one [[message]] expected, found none")
        if self._faults:
            raise MappingError(sorted(self._faults, key=lambda fault: fault.line))
        return DeviceMapping(clean_text(table.get("name", "mapping"), 64), messages, commands, vectors)

    def _fault(self, where: Where, text: str) -> None:
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        self._faults.append(MappingFault(line_of(self._lines, where), shown, text))

    def _keys(self, table: dict[str, Any], known: Collection[str], where: Where) -> None:
        for key in table:
            if key not in known:
                self._fault((*where, key), f"unknown key{near(key, known)}")

    def _tables(self, table: dict[str, Any], key: str, where: Where = ()) -> list[tuple[int, dict[str, Any]]]:
        found = table.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self._fault((*where, key), f"tables [[{key}]] expected, got {type(found).__name__}")
            return []
        return list(enumerate(found))

    def _one_of(self, name: Any, known: Collection[str], what: str, where: Where) -> bool:
        if isinstance(name, str) and name in known:
            return True
        self._fault(where, f"no {what} is called {name!r}{near(str(name), known)}" if name is not None else f"a {what} is missing")
        return False

    def _field(self, spec: Any, form: str, where: Where, extra: Collection[str] = ()) -> Field | None:
        if isinstance(spec, dict):
            self._keys(spec, (*SHAPE_KEYS[form], *NUMBER_KEYS, *extra), where)
        try:
            return compile_field(spec, form)
        except LocalProtocolError as error:
            self._fault(where, str(error))
            return None

    def _message(self, table: dict[str, Any], where: Where) -> Message | None:
        known = ("topic", "format", "prefix", "length", "checksum", "when", "each", "device", "ref", "time", "reading", "state", "health")
        self._keys(table, known, where)
        form = table.get("format", "json")
        if not isinstance(form, str) or form not in SHAPE_KEYS:
            self._fault((*where, "format"), f"json or bytes expected, got {form!r}")
            return None
        before = len(self._faults)
        pattern = self._pattern(table.get("topic"), (*where, "topic"))
        envelope = self._envelope(table, where) if form == "bytes" else None
        message = Message(
            pattern=pattern or TopicPattern("x"),
            is_json=form == "json",
            envelope=envelope,
            when=self._when(table.get("when", {}), (*where, "when")),
            each=self._each(table.get("each"), form, (*where, "each")),
            device=self._device(table.get("device", "{device}"), form, pattern, (*where, "device")),
            ref=self._field(table["ref"], form, (*where, "ref")) if "ref" in table else None,
            time=self._time(table.get("time"), form, (*where, "time")),
            readings=[r for i, t in self._tables(table, "reading", where) if (r := self._reading(t, form, (*where, "reading", i)))],
            states=[s for i, t in self._tables(table, "state", where) if (s := self._state(t, form, (*where, "state", i)))],
            health=self._health(table.get("health", {}), form, (*where, "health")),
        )
        if not (message.readings or message.states or message.health) and len(self._faults) == before:
            self._fault(where, "nothing to read: a [[message.reading]], [[message.state]] or [message.health] expected")
        return message if len(self._faults) == before else None

    def _pattern(self, text: Any, where: Where) -> TopicPattern | None:
        try:
            return TopicPattern(text if isinstance(text, str) else "")
        except LocalProtocolError as error:
            self._fault(where, str(error))
            return None

    def _envelope(self, table: dict[str, Any], where: Where) -> Envelope | None:
        try:
            return compile_envelope(table)
        except LocalProtocolError as error:
            self._fault((*where, str(error).split(":", 1)[0]), str(error))
            return None

    def _when(self, table: Any, where: Where) -> list[tuple[Path, frozenset[str]]]:
        if not isinstance(table, dict):
            self._fault(where, "a table of path = value or [values] expected")
            return []
        found = []
        for path, values in table.items():
            try:
                found.append((Path(path), frozenset(map(word, values if isinstance(values, list) else [values]))))
            except LocalProtocolError as error:
                self._fault((*where, path), str(error))
        return found

    def _each(self, spec: Any, form: str, where: Where) -> Any:
        if spec is None:
            return None
        if form == "json" and isinstance(spec, str):
            try:
                return Path(spec)
            except LocalProtocolError as error:
                self._fault(where, str(error))
                return None
        if form == "bytes" and isinstance(spec, dict) and all(type(spec.get(key)) is int for key in ("at", "size")) and spec["size"] > 0:
            return max(spec["at"], 0), spec["size"]
        self._fault(where, 'a path like "sensors[*]" expected' if form == "json" else "{at = 4, size = 3} expected")
        return None

    def _device(self, spec: Any, form: str, pattern: TopicPattern | None, where: Where) -> Any:
        if isinstance(spec, dict):
            return self._field(spec, form, where)
        if not isinstance(spec, str) or not spec:
            self._fault(where, f'a text like "{{device}}" or a field expected, got {spec!r}')
            return None
        for name in _HOLE.findall(spec):
            if pattern and name not in pattern.names and (form == "bytes" or name == "device"):
                self._fault(where, f"the topic has no level {{{name}}}{near(name, pattern.names)}")
        return self._template(spec, where)

    def _template(self, text: Any, where: Where) -> str | None:
        if text is None:
            return None
        if not isinstance(text, str):
            self._fault(where, f"text expected, got {text!r}")
            return None
        for name in _HOLE.findall(text):
            try:
                _path(name)
            except LocalProtocolError as error:
                self._fault(where, str(error))
        return text

    def _time(self, spec: Any, form: str, where: Where) -> tuple[Field, str, int] | None:
        if spec is None:
            return None
        unit, zone = (spec.get("unit", "auto"), spec.get("zone_minutes", 0)) if isinstance(spec, dict) else ("auto", 0)
        self._one_of(unit, ("auto", "s", "ms", "us", "iso"), "time unit", (*where, "unit"))
        if type(zone) is not int or abs(zone) > 14 * 60:
            self._fault((*where, "zone_minutes"), f"-840..840 expected, got {zone!r}")
            return None
        field = self._field(spec, form, where, ("unit", "zone_minutes"))
        return (field, unit, zone) if field else None

    def _reading(self, table: dict[str, Any], form: str, where: Where) -> tuple[Field, str, str | None] | None:
        field = self._field(table, form, where, ("quantity", "channel"))
        channel = self._template(table.get("channel"), (*where, "channel"))
        known = self._one_of(table.get("quantity"), self._words.quantities, "quantity", (*where, "quantity"))
        return (field, table["quantity"], channel) if field and known else None

    def _state(self, table: dict[str, Any], form: str, where: Where) -> StateField | None:
        field = self._field(table, form, where, ("kind", "start", "end", "pulse", "ignore", "values", "above", "below", "place", "detail"))
        words: dict[str, list[tuple[str, str]]] = {word(value): [] for value in _listed(table.get("ignore", []))}
        if "values" in table:
            self._values(table["values"], words, (*where, "values"))
        else:
            self._one_of(table.get("kind"), self._words.kinds, "kind", (*where, "kind"))
            pulse = _listed(table.get("pulse", []))
            defaults = ((), ()) if pulse else (START_WORDS, END_WORDS)
            for key, values in (("end", table.get("end", defaults[1])), ("start", table.get("start", defaults[0])), ("pulse", pulse)):
                for value in _listed(values):
                    words[word(value)] = [(str(table.get("kind")), key)]
        limits = [table.get(key) for key in ("above", "below")]
        if any(limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)) for limit in limits):
            self._fault(where, f"above, below: numbers expected, got {limits}")
            return None
        place, detail = (self._template(table.get(key), (*where, key)) for key in ("place", "detail"))
        shape = str(table.get("path", table.get("at", ""))) + str(table.get("bit", ""))
        return StateField(field, words, str(table.get("kind", "")), limits[0], limits[1], shape, place, detail) if field else None

    def _values(self, table: Any, words: dict[str, list[tuple[str, str]]], where: Where) -> None:
        if not isinstance(table, dict):
            self._fault(where, 'a table of value = "kind" or "kind:start" expected')
            return
        for value, targets in table.items():
            pairs = words.setdefault(word(value), [])
            for target in _listed(targets):
                kind, _, state = str(target).partition(":")
                if not kind:
                    continue
                self._one_of(kind, self._words.kinds, "kind", (*where, value))
                self._one_of(state or "pulse", ("start", "end", "pulse"), "state", (*where, value))
                pairs.append((kind, state or "pulse"))

    def _health(self, table: Any, form: str, where: Where) -> list[tuple[str, str, Field]]:
        if not isinstance(table, dict):
            self._fault(where, "a table of field = path expected")
            return []
        found = []
        for name, spec in table.items():
            if self._one_of(name, self._words.health, "health field", (*where, name)):
                field = self._field(spec, form, (*where, name))
                found += [(name, self._words.health[name], field)] if field else []
        return found

    def _command(self, table: dict[str, Any], where: Where) -> CommandTemplate | None:
        self._keys(table, ("verb", "topic", "payload"), where)
        known = self._one_of(table.get("verb"), self._words.verbs, "verb", (*where, "verb"))
        pattern = self._pattern(table.get("topic"), (*where, "topic"))
        if pattern and (set(pattern.names) - {"device"} or set(pattern.filter) & {"#"} or "+" in pattern.text):
            self._fault((*where, "topic"), "only {device} can be filled in, and no wildcards")
            return None
        if "payload" not in table:
            self._fault((*where, "payload"), "a text or table expected, found none")
        return CommandTemplate(table["verb"], pattern, table["payload"]) if known and pattern and "payload" in table else None

    def _vector(self, table: dict[str, Any], where: Where) -> bool:
        self._keys(table, ("name", "topic", "payload", "payload_hex", "received", "retained", "device", "expect", "rejects"), where)
        missing = [key for key in ("name", "topic") if not isinstance(table.get(key), str)]
        if missing or ("payload" in table) == ("payload_hex" in table):
            self._fault(where, "name, topic and one of payload and payload_hex expected")
        return not missing


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def near(name: str, known: Collection[str]) -> str:
    """`, did you mean ...?`, or the known names where nothing is close and they are few."""
    close = difflib.get_close_matches(name, known, 2)
    if close:
        return f", did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(known)}" if len(known) <= 14 else ""
