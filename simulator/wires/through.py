"""The wire of a device that speaks through another one: a telephone through the modem that it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from simulator.wires.wire import Peer, WireStats


class Through:
    """`relay` takes what is sent and who it is from. Up as long as it runs: whether the far end hears is the far end's business."""

    def __init__(self, relay: Callable[[bytes, str], None]) -> None:
        self.stats = WireStats()
        self._relay = relay

    async def run(self, peer: Peer) -> None:
        """Nothing to open."""
        self.stats.connects += 1
        peer.up()
        await asyncio.get_running_loop().create_future()

    def send(self, data: bytes, to: str = "") -> bool:
        """Hand it over."""
        self._relay(data, to)
        self.stats.took(data)
        return True
