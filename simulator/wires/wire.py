"""What every wire offers to the device at its end.

`send` never waits: a radio, a UART and a small firmware do not wait either. What a wire cannot take is refused and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass
class WireStats:
    """What went over a wire. `refused`: bytes or messages that the wire could not take; `failures`: connects that failed."""

    connects: int = 0
    failures: int = 0
    drops: int = 0
    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    refused: int = 0
    last_failure: str = ""

    def took(self, data: bytes) -> None:
        """Count something sent."""
        self.sent += 1
        self.sent_bytes += len(data)

    def got(self, data: bytes) -> None:
        """Count something received."""
        self.received += 1
        self.received_bytes += len(data)


class Peer(Protocol):
    """Who is called when something happens on the wire. `to` is the MQTT topic, empty elsewhere."""

    def up(self) -> None:
        """The wire can be used from now on."""

    def down(self) -> None:
        """The wire is gone."""

    def receive(self, data: bytes, to: str) -> None:
        """Bytes came in."""


class Wire(Protocol):
    """One end of a real wire."""

    stats: WireStats

    async def run(self, peer: Peer) -> None:
        """Open the wire, keep it open (again and again after failures), close it and leave nothing behind when cancelled."""
        ...

    def send(self, data: bytes, to: str = "") -> bool:
        """Hand over bytes; False when the wire is down or full. `to`: MQTT topic or UUID of BLE service data."""
        ...
