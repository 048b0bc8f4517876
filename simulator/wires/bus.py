"""A serial line that several devices share (RS-485): everybody hears everything, whoever is asked speaks."""

from __future__ import annotations

import asyncio

from simulator.wires.pty import PtyWire
from simulator.wires.wire import Peer, WireStats


class SharedLine:
    """One pty and its taps; the first tap that runs keeps the pty open for all."""

    def __init__(self, wire: PtyWire) -> None:
        self.wire = wire
        self.is_held = False
        self.peers: list[Peer] = []

    def tap(self) -> Tap:
        """A place for one more device."""
        return Tap(self)

    def up(self) -> None:
        """The taps tell their devices themselves."""

    def down(self) -> None:
        """As `up`."""

    def receive(self, data: bytes, to: str) -> None:
        """To everybody on the line."""
        for peer in self.peers:
            peer.receive(data, to)


class Tap:
    """Where one device is clamped to the line."""

    def __init__(self, line: SharedLine) -> None:
        self.stats = WireStats()
        self._line = line

    def open(self) -> None:
        """Open the pty, so that a gateway can be started before anybody speaks."""
        self._line.wire.open()

    async def run(self, peer: Peer) -> None:
        """Listen until cancelled."""
        line = self._line
        line.peers.append(peer)
        self.stats.connects += 1
        peer.up()
        try:
            if line.is_held:
                await asyncio.get_running_loop().create_future()
            line.is_held = True
            await line.wire.run(line)
        finally:
            line.peers.remove(peer)
            line.is_held = False

    def send(self, data: bytes, to: str = "") -> bool:
        """Onto the line."""
        is_sent = self._line.wire.send(data, to)
        if is_sent:
            self.stats.took(data)
        else:
            self.stats.refused += 1
        return is_sent

    def close(self) -> None:
        """Close the pty."""
        self._line.wire.close()
