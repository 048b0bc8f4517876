"""What a driver may be able to do beyond the contract: keep a state, tell its frames, know its devices, ask for topics.

A driver has an ability by having the method; nothing is declared.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from drivers.api import Frame


@runtime_checkable
class Stateful(Protocol):
    """A driver whose state must outlive a restart (replay counters, authentication codes, offsets)."""

    def dump(self) -> bytes:
        """The state, at most a few kB."""
        ...

    def load(self, state: bytes) -> None:
        """Take a state back; a damaged one is ignored."""
        ...


@runtime_checkable
class Framing(Protocol):
    """A driver on a serial line that tells how much of what it got were frames: next to nothing means a wrong rate."""

    def framing(self) -> tuple[int, int]:
        """Bytes of whole frames so far, and bytes that belonged to none."""
        ...


class Match(StrEnum):
    """How well first bytes fit a protocol."""

    NO = "no"
    MORE = "more"
    YES = "yes"


@runtime_checkable
class Matcher(Protocol):
    """A driver that can tell from a frame whether the device is its own (discovery, one port for many protocols)."""

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """NO, YES, or MORE while the bytes do not decide."""
        ...


@runtime_checkable
class Subscriber(Protocol):
    """A driver on MQTT that says which topics it wants."""

    def topics(self) -> list[str]:
        """Topic filters. The list may grow while the driver learns (discovery): ask again after each `receive`."""
        ...
