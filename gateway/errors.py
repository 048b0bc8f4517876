"""Errors of the gateway: each says what is wrong and what to do.

AnhuError(message, hint=)
+-- SettingsError    settings or inventory; carries every fault at once, each with file and line
+-- StoreError       the database
+-- TransportError   a wire towards devices
+-- UplinkError      a wire towards a platform
+-- BrokerError      the embedded MQTT broker
"""

from __future__ import annotations

from dataclasses import dataclass


class AnhuError(Exception):
    """`message`: subject first, rule, what came. `hint`: a command to run or a file to open."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file. `line` 0 where it cannot be told."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class SettingsError(AnhuError):
    """Settings that cannot be used."""

    def __init__(self, faults: list[Fault], *, hint: str = "mend the lines above, then run: anhu check") -> None:
        super().__init__("\n".join(map(str, faults)), hint=hint)
        self.faults = faults


class StoreError(AnhuError):
    """The database cannot be opened, written or read."""


class TransportError(AnhuError):
    """A wire towards devices cannot be opened."""


class UplinkError(AnhuError):
    """A wire towards a platform cannot be opened."""


class BrokerError(AnhuError):
    """The embedded broker cannot be started."""
