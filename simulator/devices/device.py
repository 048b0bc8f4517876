"""What every virtual device offers: a state machine without I/O, driven by time, by bytes and by what befalls its person.

    step      time has come (`next_s`): heartbeats, measurements, repetitions of an unanswered alarm
    receive   bytes from the server
    happen    something befalls the person, the home or the device itself
    up, down  the wire came or went

Each gives an `Act`: what goes out, and the facts which the outside should learn from it. Facts are told when they happen, not
when the bytes get through: a button pressed in a tunnel has been pressed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from simulator.clock import Moment
from simulator.truth import Fact

NEVER_S = float("inf")


class WireKind(StrEnum):
    """The wires of a community."""

    TCP = "tcp"
    UDP = "udp"
    MQTT = "mqtt"
    SERIAL = "serial"
    BLE = "ble"
    CALLED = "called"
    """A TCP port of the device: the gateway connects to it."""
    GSM = "gsm"
    """A telephone: what it does arrives at the modem of the gateway."""


class Parcel(NamedTuple):
    """Bytes for the wire; `to`: MQTT topic, or what they are on the air (`simulator.wires.on_air`)."""

    data: bytes
    to: str = ""


class Act(NamedTuple):
    """What a device did."""

    parcels: tuple[Parcel, ...] = ()
    facts: tuple[Fact, ...] = ()


NOTHING = Act()


class Happening(NamedTuple):
    """`verb` befalls `device` at `at_s` of the plan (`sos`, `fall`, `gas`, `walk`, `door_open`, ...)."""

    at_s: float
    device: str
    verb: str
    args: dict[str, Any] = {}


class Device(Protocol):
    """One virtual device. `id`: as the gateway names it (`watch:8800000015`)."""

    id: str
    driver: str
    wire: WireKind
    next_s: float

    def up(self, now: Moment) -> Act:
        """The wire can be used."""
        ...

    def down(self, now: Moment) -> None:
        """The wire is gone."""
        ...

    def step(self, now: Moment) -> Act:
        """What the device does by itself at `next_s`; sets the next one."""
        ...

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answer the server. Never raises, whatever the bytes."""
        ...

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """React to what befalls."""
        ...


class Poll(NamedTuple):
    """A question that the other end asks at `first_s` and then every `every_s` seconds.

    A device that only answers offers `polls`: in virtual time nobody else asks it.
    """

    data: bytes
    first_s: float
    every_s: float = NEVER_S


class Attribute(NamedTuple):
    """A GATT characteristic; `flags` in the words of BlueZ (`read`, `write`, `notify`, `indicate`), `value` where it can be read.

    A device that can be connected offers `services`: its characteristics by the UUID of their service.
    """

    uuid: str
    flags: tuple[str, ...]
    value: bytes = b""


class Carrier(Protocol):
    """A device whose wire carries what others say: a modem the telephones."""

    def carry(self, data: bytes, to: str, now: Moment) -> Act:
        """Something arrives from `to`, such as a number."""
        ...


class Rhythm:
    """Something that a device does every `every_s` seconds, first after `first_s`; jitter keeps a fleet from marching in step."""

    def __init__(self, every_s: float, first_s: float, *, jitter: float = 0.0) -> None:
        self.every_s = every_s
        self.due_s = first_s
        self._jitter = jitter

    def take(self, now: Moment, chance: float = 0.5) -> bool:
        """Whether it is due; sets the next time. `chance` 0..1 picks the jitter."""
        if now.s < self.due_s:
            return False
        self.due_s = now.s + self.every_s * (1 + self._jitter * (2 * chance - 1))
        return True
