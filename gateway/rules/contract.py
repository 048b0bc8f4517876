"""What a rule is: a pure state machine over events and time, one state per key (person, place or device).

    class DoorLeftOpen:
        name = "door"
        title = ("door left open", "门未关")
        settings = (Setting("open_min", 10, "min", "how long a door may stand open"),)
        state_type = DoorState                       # a RuleState
        listens = frozenset({OccurrenceKind.DOOR_OPEN})
        grace_ms = 0
        key = staticmethod(of_person)                # whose state an event belongs to
        def apply(self, state, event, context): ...  # -> Decision, None or UNCHANGED
        def wake(self, state, context): ...          # a named timer of the state came due

Both methods change `state` in place and return what the world shall know. A rule adds events and commands; it never edits,
drops or holds back one that it was given. It reads no clock: `context.now` is the moment, `context.steady_ms` the clock that
never steps, in which every timer is kept. Timers are names in `state.timers`; the engine wakes the rule at the earliest, also
after a restart. Two runs over the same events and moments give the same output, however often the process was killed between.

Most events mean nothing to most rules, and that is where the time goes. A rule tells early and cheaply: `listens` names its topics,
`without_ends` those whose ends it does not need, `rests` the settings under which it does nothing; `apply` returns UNCHANGED where
the state has stayed as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from drivers.api import Command, Instant, Verb
from drivers.events import Body, Event, Explanation, evidence_of
from drivers.vocabulary import OccurrenceKind, Quantity, TimeQuality, Trust

__all__ = [
    "RULE_DEVICE",
    "UNASSIGNED",
    "UNCHANGED",
    "Choosing",
    "Context",
    "Decision",
    "DeviceFacts",
    "Directory",
    "Faults",
    "PersonFacts",
    "Resting",
    "Rule",
    "RuleState",
    "Setting",
    "SettingsSource",
    "Topic",
    "Values",
    "is_rule_event",
    "of_device",
    "of_person",
    "owner",
]

RULE_DEVICE = "rule:"
"""Prefix of the device of an event that a rule concluded."""

UNASSIGNED = "unassigned:"
"""Key under which incidents of devices without an owner are kept: one list for the whole site, where a person can close them."""

Topic = OccurrenceKind | Quantity | type
"""What a rule can listen to: a kind of occurrence, a measured quantity, or any other body by its type."""


Faults = list[tuple[tuple[str | int, ...], str]]
"""Path inside a value (number of a table, name of a key) and what is wrong there."""


class RuleState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a rule remembers for one key. `timers`: name -> steady milliseconds. A state equal to its defaults is not stored.

    Fields are numbers, texts, lists, dicts and structs: a set has no stable order and would make equal states look different.
    """

    timers: dict[str, int] = {}

    def due(self, steady_ms: int) -> list[str]:
        """Names of the timers that have come, earliest first; they are taken out."""
        timers = self.timers
        names = [name for _, name in sorted([(at, name) for name, at in timers.items() if at <= steady_ms])]
        for name in names:
            del timers[name]
        return names


class Setting(NamedTuple):
    """One declared setting of a rule.

    `kind` is any type that msgspec can convert to (`int`, `float`, `str`, `bool`, `list[Dose]`); None = the type of the default.
    `source` names the standard or practice that the default comes from. `low`, `high` bound numbers, both inclusive; `check` gives
    what was expected where a value does not fit, None where it does; for a list of tables it may give every fault with its path.
    """

    name: str
    default: Any
    unit: str
    help: str
    source: str = ""
    low: float | None = None
    high: float | None = None
    kind: Any = None
    secret: bool = False
    check: Callable[[Any], str | Faults | None] | None = None


class Values(dict[str, Any]):
    """The settings in force for one rule and key: `values["confirm_s"]`; `shown` tells people where each comes from. Not to be changed.

    One object serves everyone to whom the same tables apply: what is compiled from settings may be kept with it.
    """

    __slots__ = ("_rows", "_scopes", "_told")

    def __init__(self, values: Mapping[str, Any], scopes: Mapping[str, str], rows: Mapping[str, Setting]) -> None:
        super().__init__(values)
        self._scopes = scopes
        self._rows = rows
        self._told: dict[str, str] = {}

    def shown(self, names: Sequence[str]) -> dict[str, str]:
        """`{"confirm_s": "20 s (default)"}` for an Explanation."""
        return {name: self._told.get(name) or self._tell(name) for name in names}

    def _tell(self, name: str) -> str:
        row = self._rows[name]
        value = "set" if row.secret else _plain(self[name])
        unit = f" {row.unit}" if row.unit else ""
        told = self._told[name] = f"{value}{unit} ({self._scopes[name]})"
        return told


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class SettingsSource(Protocol):
    """Where settings come from (gateway/rules/settings.py)."""

    @property
    def version(self) -> int:
        """Grows whenever what `of` has given may be out of date."""
        ...

    def of(self, rule: str, key: str) -> Values:
        """The settings of a rule for a person, place or device."""
        ...

    def common(self, rule: str) -> Values | None:
        """The settings of a rule where they are the same for everyone, else None."""
        ...


class DeviceFacts(NamedTuple):
    """What the inventory knows of a device.

    `place` is the room; `power` `mains`, `battery` or empty (unknown); `interval_s` the expected report interval where it is known;
    `role` what it stands for (`pendant`, `wristband`, `radar`, `tv`, `modem`, `valve`, ...).
    """

    subject: str | None = None
    place: str | None = None
    power: str = ""
    interval_s: float | None = None
    role: str = ""


class PersonFacts(NamedTuple):
    """What the inventory knows of a resident. `tags` are groups and traits (`dementia`, `copd`, `wheelchair`), `language` `zh` or `en`."""

    tags: tuple[str, ...] = ()
    language: str = "zh"
    home: str | None = None


class Directory(Protocol):
    """Who lives where with which devices. Ids are pseudonyms; a name never enters a rule."""

    def device(self, device: str) -> DeviceFacts | None:
        """Facts of a device, None for one that nobody registered."""
        ...

    def person(self, subject: str) -> PersonFacts | None:
        """Facts of a resident, None for a place or an unknown."""
        ...

    def household(self, subject: str) -> tuple[str, ...]:
        """Residents who live at a place, or in the home of a resident; empty when nothing is known."""
        ...

    def spoken_for(self, subject: str) -> str:
        """The resident who lives alone at a place; else the subject itself."""
        ...

    def actuators(self, subject: str, verb: Verb) -> tuple[str, ...]:
        """Devices that can carry out `verb` for this person or place, best first (a valve, a TV, a siren, a modem)."""
        ...


class Decision(msgspec.Struct):
    """What a rule adds: events (made with `Context.event`) and commands (made with `Context.command`)."""

    events: list[Event] = []
    commands: list[Command] = []

    def add(self, other: Decision | None) -> None:
        """Append another decision to this one."""
        if other is not None:
            self.events += other.events
            self.commands += other.commands


UNCHANGED: Final = Decision((), ())  # type: ignore[arg-type]  # tuples: adding to it fails where a list would be changed for everyone
"""What `Rule.apply` may return for an event that left the state as it was and says nothing; the state is then not encoded anew.

None says that nothing is told and leaves it to the engine to find out whether the state has changed."""


class Context:
    """The moment in which a rule is asked, and what it may look up. Valid for the call only: the engine uses it again.

    `given` is the event that the rule is shown, None while a timer is served; `facts` what the directory knows of its device.
    """

    __slots__ = ("commands_made", "directory", "facts", "given", "key", "now", "rule", "settings", "steady_ms")

    def __init__(self, rule: str, key: str, settings: Values, directory: Directory) -> None:
        self.rule = rule
        self.key = key
        self.settings = settings
        self.directory = directory
        self.now = Instant(0, 0.0)
        self.steady_ms = 0
        self.given: Event | None = None
        self.facts: DeviceFacts | None = None
        self.commands_made = 0

    @property
    def cause(self) -> str | None:
        """Id of the event that the rule is shown."""
        given = self.given
        return given.id if given is not None else None

    @property
    def subject(self) -> str | None:
        """Whom it is about: the key where that is a person or place, else the subject of the event, or the owner of the device."""
        if ":" not in self.key:
            return self.key
        if self.given is not None:
            return self.given.subject
        facts = self.directory.device(self.key)
        return facts.subject if facts else None

    def event(self, body: Body, *, cause: str | None = None, subject: str | None = None) -> Event:
        """An event that this rule concludes now. `cause` defaults to the event that the rule was given; a timer names its own."""
        return Event(
            device=RULE_DEVICE + self.rule,
            at_ms=self.now.ms,
            body=body,
            subject=subject or self.subject,
            received_ms=self.now.ms,
            time_quality=TimeQuality.RECEIVED,
            trust=Trust.DERIVED,
            cause=cause or self.cause,
        )

    def command(self, verb: Verb, device: str, args: dict[str, Any], *, cause: str | None = None, expires_s: float = 60) -> Command:
        """A command whose id follows from what caused it, so that a repetition after a crash is the same command."""
        self.commands_made += 1
        seed = f"{self.key}|{cause or self.cause or ''}|{self.steady_ms}|{self.commands_made}|{verb.value}|{device}"
        ident = f"{self.rule}-{evidence_of(seed.encode())}"
        expires_ms = self.now.ms + int(expires_s * 1000)
        return Command(
            id=ident, verb=verb, device=device, args=args, issued_ms=self.now.ms, expires_ms=expires_ms, by=RULE_DEVICE + self.rule
        )

    def why(
        self, *, settings: Sequence[str] = (), inputs: Sequence[str | None] = (), numbers: Mapping[str, float] | None = None
    ) -> Explanation:
        """The explanation that every rule event carries."""
        ids = [ident for ident in inputs if ident]
        return Explanation(
            rule=self.rule,
            settings=self.settings.shown(settings) or None,
            inputs=ids or ([self.cause] if self.cause else None),
            numbers=dict(numbers) if numbers else None,
        )


class Rule(Protocol):
    """One rule. Stateless itself: all memory is in the states that the engine hands in."""

    @property
    def name(self) -> str:
        """Short and unique: the section of its settings, the device of its events."""
        ...

    @property
    def title(self) -> tuple[str, str]:
        """What it watches, in English and Chinese."""
        ...

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every setting that it reads."""
        ...

    @property
    def state_type(self) -> type[RuleState]:
        """What it remembers per key."""
        ...

    @property
    def listens(self) -> frozenset[Topic] | None:
        """Topics that concern the rule; None = every event."""
        ...

    @property
    def grace_ms(self) -> int:
        """How long a timer that came due while the gateway was off waits after the start.

        For rules that miss something (no report, no motion): while we were deaf, silence proves nothing. 0 for everything that
        answers an alarm.
        """
        ...

    def key(self, event: Event, directory: Directory) -> str | None:
        """Whose state this event belongs to; None = not my business. A device id (with a colon) or a person or place.

        Depends on nothing but its arguments. Rules that take `of_person` or `of_device` for it are asked once for all of them.
        """
        ...

    def apply(self, state: Any, event: Event, context: Context) -> Decision | None:
        """Take an event into the state. None: nothing is told; UNCHANGED: nor has the state changed."""
        ...

    def wake(self, state: Any, context: Context) -> Decision | None:
        """Called at or after the earliest timer of the state. Due timers must be taken out (`state.due`)."""
        ...


class Resting(Protocol):
    """What a rule may have besides: word that under some settings no event concerns it. Its timers are served all the same."""

    def rests(self, settings: Values) -> bool:
        """Whether no event shall be shown: the state stays as it is."""
        ...


class Choosing(Protocol):
    """What a rule may have besides: the kinds of which it wants the beginnings and pulses only. Their ends are not shown to it."""

    @property
    def without_ends(self) -> frozenset[Topic]:
        """Some of the topics that it listens to."""
        ...


def is_rule_event(event: Event) -> bool:
    """Whether a rule, not a device or a person, said this."""
    return event.device.startswith(RULE_DEVICE)


def owner(event: Event, directory: Directory) -> str:
    """The person that an event is about.

    A room sensor belongs to a place: where one person lives alone it speaks of that person; where several live it speaks of the
    place, since nobody can tell who moved. A device that nobody owns yet stands for itself: its alarm still counts.
    """
    subject = event.subject
    return event.device if subject is None else directory.spoken_for(subject)


def of_person(event: Event, directory: Directory) -> str | None:
    """`Rule.key` of rules that follow what devices and people say of a person or place."""
    return None if event.device.startswith(RULE_DEVICE) else owner(event, directory)


def of_device(event: Event, directory: Directory) -> str | None:
    """`Rule.key` of rules that follow each device by itself."""
    return None if event.device.startswith(RULE_DEVICE) else event.device
