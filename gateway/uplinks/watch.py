"""Watches over alarms that a platform has not taken: an UNDELIVERED event after `alarm_ack_s`, so that the rules take the second path.

Watched are occurrences of at least ALARM that begin; not our own steps and notes, which would watch each other for ever. A device
that repeats its alarm is told once per person and kind within `RETELL_S`. When the alarm arrives after all, the END is told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from drivers.events import Event, Occurrence, event_from_json
from drivers.vocabulary import Lane, OccurrenceKind, Severity, State
from gateway.settings import UplinkSection
from gateway.store.contract import Row

_K = OccurrenceKind
_OWN = frozenset({_K.UNDELIVERED, _K.LADDER_STEP, _K.LOSS, _K.RECOVERED, _K.INCIDENT, _K.SUPPRESSED})
MOST_WATCHED = 10_000
RETELL_S = 600.0
RECENT_MS = 15 * 60 * 1000
"""After a restart, alarms this young that are not delivered are watched again."""


class AlarmWatch:
    """The undelivered alarms of one uplink. `say` makes a gateway event for (body, subject, cause)."""

    def __init__(self, settings: UplinkSection, say: Callable[[Occurrence, str | None, str], None]) -> None:
        self.undelivered = 0
        self._settings = settings
        self._say = say
        self._pending: OrderedDict[str, tuple[float, Event]] = OrderedDict()
        self._told: dict[str, tuple[Occurrence, str | None]] = {}
        self._told_s: dict[tuple[str | None, str], float] = {}

    def hear(self, event: Event, now_s: float) -> None:
        """An event is on disk."""
        body = event.body
        if type(body) is not Occurrence or body.kind in _OWN or body.state is State.END or body.stored:
            return
        if event.severity < Severity.ALARM or not self._is_sent(event, body):
            return
        self._pending[event.id] = (now_s + self._settings.alarm_ack_s, event)
        while len(self._pending) > MOST_WATCHED:
            self._pending.popitem(last=False)

    def restore(self, rows: list[Row], now_ms: int, now_s: float) -> None:
        """Alarms that a restart finds undelivered."""
        for row in rows:
            if now_ms - row.received_ms < RECENT_MS:
                self.hear(event_from_json(row.data), now_s)

    def done(self, ident: str) -> None:
        """The platform has the alarm."""
        self._pending.pop(ident, None)
        told = self._told.pop(ident, None)
        if told is not None:
            body, subject = told
            ended = Occurrence(kind=body.kind, state=State.END, incident=body.incident, detail=f"{self._settings.name}: delivered late")
            self._say(ended, subject, ident)

    def tick(self, now_s: float) -> None:
        """Tell what is overdue."""
        while self._pending:
            ident, (due, event) = next(iter(self._pending.items()))
            if due > now_s:
                return
            del self._pending[ident]
            self._tell(event, now_s)

    def _tell(self, event: Event, now_s: float) -> None:
        body = event.body
        assert isinstance(body, Occurrence)
        key = (event.subject or event.device, body.kind.value)
        if now_s - self._told_s.get(key, float("-inf")) < RETELL_S:
            return
        if len(self._told_s) > MOST_WATCHED:
            self._told_s.clear()
        self._told_s[key] = now_s
        self.undelivered += 1
        detail = f"{self._settings.name}: {body.kind.value} not acknowledged within {self._settings.alarm_ack_s:g} s"
        told = Occurrence(kind=_K.UNDELIVERED, state=State.START, incident=body.incident, place=body.place, detail=detail)
        if len(self._told) < MOST_WATCHED:
            self._told[event.id] = (told, event.subject)
        self._say(told, event.subject, event.id)

    def _is_sent(self, event: Event, body: Occurrence) -> bool:
        s = self._settings
        if Lane.ALARM.value not in s.lanes or (s.kinds and body.kind.value not in s.kinds):
            return False
        return not s.subjects or event.subject in s.subjects
