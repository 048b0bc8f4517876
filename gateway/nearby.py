"""Who is where, by their badges: so that a device which several people use knows whose reading it just took.

Only what badges say counts: presence with a place and a person. Staff come and go, and a reading is never theirs.
"""

from __future__ import annotations

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, State

MOST_BADGES = 1024


class Nearby:
    """The places of residents, from the events of their badges."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str]] = {}

    def hear(self, event: Event) -> None:
        """Take an event that is on disk."""
        body = event.body
        if type(body) is not Occurrence or body.kind is not OccurrenceKind.PRESENCE or not body.place or not event.subject:
            return
        # A badge of staff is entered for the home that it visits, and names somebody else as its person.
        if body.person is not None and body.person != event.subject:
            return
        known = self._places.pop(event.device, None)
        if body.state is State.START:
            self._places[event.device] = (body.place, event.subject)
            if len(self._places) > MOST_BADGES:
                del self._places[next(iter(self._places))]
        elif known is not None and known[0] != body.place:
            # The end of a room that was left before: where the badge is now still holds.
            self._places[event.device] = known

    def subject_in(self, place: str) -> str | None:
        """The one resident who is at a place; None where nobody is, or several are."""
        found = {subject for where, subject in self._places.values() if where == place}
        return found.pop() if len(found) == 1 else None
