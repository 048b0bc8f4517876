"""Acts of people on incidents, asked for as commands to the device `gateway:<id>`: acknowledge, close, cancel, suppress.

Each names the person; the event that it makes goes the common way (store, rules, uplinks), so who silenced what stands in the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from drivers.api import Command, CommandStatus, Instant, Occurrence, Verb
from drivers.events import Event, event_from_json
from drivers.vocabulary import TimeQuality
from gateway.pipeline import Pipeline
from gateway.rules.contract import UNASSIGNED, Directory, owner
from gateway.rules.engine import RuleEngine
from gateway.rules.incident import MODES, IncidentState, act, suppress
from gateway.store.sqlite import SqliteStore

_WORDS = {Verb.ACKNOWLEDGE: "ack", Verb.CLOSE: "close", Verb.CANCEL: "cancel"}
VERBS_OF_PEOPLE = frozenset({*_WORDS, Verb.SUPPRESS})
LONGEST_PERSON = 64


class PeopleActs:
    """Carries out what people decide."""

    def __init__(
        self, pipeline: Pipeline, store: SqliteStore, rules: RuleEngine | None, directory: Directory, clock: Callable[[], Instant]
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._rules = rules
        self._directory = directory
        self._clock = clock

    async def do(self, command: Command) -> tuple[CommandStatus, str | None]:
        """Carry out one act; what became of it."""
        if self._rules is None:
            return CommandStatus.FAILED, "the rules are off, there are no incidents"
        person = str(command.args["person"])
        if not 1 <= len(person) <= LONGEST_PERSON:
            return CommandStatus.FAILED, f"person: 1..{LONGEST_PERSON} characters expected"
        if command.verb is Verb.SUPPRESS:
            return await self._suppress(command, person)
        incident = str(command.args["incident"])
        found = await self._find(incident)
        if found is None:
            return CommandStatus.FAILED, "no open incident of that id"
        body = act(incident, person, _WORDS[command.verb])
        await self._publish(body, person, found.subject, command)
        return CommandStatus.DONE, None

    async def _find(self, incident: str) -> Event | None:
        """The first event of an open incident (its id is the incident's)."""
        rows = await asyncio.to_thread(self._store.query, "SELECT data FROM alarm WHERE substr(data, 8, 26) = CAST(? AS BLOB)", (incident,))
        if not rows:
            return None
        event = event_from_json(bytes(rows[0][0]))  # type: ignore[call-overload]  # BLOB column
        assert self._rules is not None
        key = owner(event, self._directory) if event.subject else UNASSIGNED
        state = self._rules.state("incident", key)
        is_open = isinstance(state, IncidentState) and any(item.id == incident for item in state.open.values())
        return event if is_open else None

    async def _suppress(self, command: Command, person: str) -> tuple[CommandStatus, str | None]:
        mode, hours = str(command.args["mode"]), float(command.args.get("hours", 12.0))
        if mode not in MODES:
            return CommandStatus.FAILED, f"mode: one of {', '.join(MODES)} expected"
        if not 0 < hours <= 24:
            return CommandStatus.FAILED, "hours: more than 0, at most 24 expected"
        body = suppress(mode, hours, person, is_on=bool(command.args.get("on", True)))
        await self._publish(body, person, str(command.args["subject"]), command)
        return CommandStatus.DONE, None

    async def _publish(self, body: Occurrence, person: str, subject: str | None, command: Command) -> None:
        now = self._clock()
        event = Event(
            device=f"person:{person}", subject=subject, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED, ref=command.id
        )
        await self._pipeline.publish([event])
