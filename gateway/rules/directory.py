"""A directory held in memory: what the inventory gives to the rules, what `anhu replay` builds from a file, what tests write down."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.api import Verb
from gateway.rules.contract import DeviceFacts, PersonFacts

_ROLES: dict[Verb, tuple[str, ...]] = {
    Verb.SIREN: ("siren", "gateway"),
    Verb.VALVE: ("valve", "gas_valve", "water_valve"),
    Verb.FAN: ("fan",),
    Verb.MESSAGE: ("tv", "speaker"),
    Verb.REMIND: ("tv", "speaker", "wristband"),
    Verb.RING: ("wristband", "pendant"),
    Verb.CALL_BACK: ("wristband", "pendant", "phone"),
    Verb.LOCATE: ("wristband", "pendant"),
    Verb.LIVE_MODE: ("wristband", "pendant"),
    Verb.SEND_SMS: ("modem",),
    Verb.DIAL: ("modem",),
}
"""Which role serves a verb, best first."""


class HouseholdDirectory:
    """Devices and residents as two tables. Actuators are found by role: of the person first, then of the home, then of the site."""

    def __init__(self, devices: Mapping[str, DeviceFacts], persons: Mapping[str, PersonFacts]) -> None:
        self.replace(devices, persons)

    def replace(self, devices: Mapping[str, DeviceFacts], persons: Mapping[str, PersonFacts]) -> None:
        """Take new tables: a platform has assigned a device to somebody else."""
        self._devices = dict(devices)
        self._persons = dict(persons)
        self._households: dict[str, tuple[str, ...]] = {}
        for subject, facts in self._persons.items():
            if facts.home is not None:
                self._households[facts.home] = (*self._households.get(facts.home, ()), subject)
        self._roles: dict[tuple[str | None, str], list[str]] = {}
        for device in sorted(self._devices):
            row = self._devices[device]
            self._roles.setdefault((row.subject, row.role), []).append(device)
        self._alone = {home: those[0] for home, those in self._households.items() if len(those) == 1 and home not in self._persons}

    def device(self, device: str) -> DeviceFacts | None:
        """Facts of a device."""
        return self._devices.get(device)

    def person(self, subject: str) -> PersonFacts | None:
        """Facts of a resident."""
        return self._persons.get(subject)

    def household(self, subject: str) -> tuple[str, ...]:
        """Residents of a place, or of the home of a resident."""
        facts = self._persons.get(subject)
        if facts is None:
            return self._households.get(subject, ())
        return self._households.get(facts.home, (subject,)) if facts.home else (subject,)

    def spoken_for(self, subject: str) -> str:
        """The only resident of a place; else the subject itself."""
        return self._alone.get(subject, subject)

    def actuators(self, subject: str, verb: Verb) -> tuple[str, ...]:
        """Devices whose role serves the verb."""
        facts = self._persons.get(subject)
        scopes = dict.fromkeys((subject, facts.home if facts else None, None))
        return tuple(device for scope in scopes for role in _ROLES.get(verb, ()) for device in self._roles.get((scope, role), ()))
