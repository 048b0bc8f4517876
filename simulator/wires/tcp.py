"""A TCP client that keeps coming back, as tracker modems do."""

from __future__ import annotations

import asyncio
import random

from simulator.clock import Clock, RealClock
from simulator.wires.wire import Peer, WireStats

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 60.0
CONNECT_S = 10.0
SEND_BUFFER_BYTES = 256 * 1024
"""A peer that does not read: what is sent beyond this is refused, so that a hanging target costs no memory."""


class TcpWire:
    """One connection to `host:port`. `seed` sets the jitter of the reconnects, so that a fleet does not come back as one."""

    def __init__(self, host: str, port: int, *, clock: Clock | None = None, seed: int = 0) -> None:
        self.stats = WireStats()
        self._host = host
        self._port = port
        self._clock = clock or RealClock()
        self._random = random.Random(seed)
        self._transport: asyncio.Transport | None = None

    async def run(self, peer: Peer) -> None:
        """Connect, and connect again after every end or failure, with growing jittered pauses."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                line = _Line(self, peer)
                if await self._connect(line):
                    pause_s = FIRST_PAUSE_S
                    await line.ended
                await self._clock.sleep(pause_s * self._random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LAST_PAUSE_S)
        finally:
            if self._transport is not None:
                # A peer that does not read would hold up a polite close for ever.
                hangs = self._transport.get_write_buffer_size() > 0
                (self._transport.abort if hangs else self._transport.close)()
                await asyncio.sleep(0)

    def send(self, data: bytes, to: str = "") -> bool:
        """False when not connected, or when the peer has not read for too long."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > SEND_BUFFER_BYTES:
            self.stats.refused += 1
            return False
        transport.write(data)
        self.stats.took(data)
        return True

    def cut(self) -> None:
        """Lose the connection without a goodbye, as in a tunnel."""
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self, line: _Line) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: line, self._host, self._port)
        except OSError as error:  # TimeoutError is one
            self.stats.failures += 1
            self.stats.last_failure = str(error) or type(error).__name__
            return False
        return True

    def use(self, transport: asyncio.Transport | None) -> None:
        """Speak through this connection from now on (called by the connection itself)."""
        self._transport = transport
        if transport is None:
            self.stats.drops += 1
        else:
            self.stats.connects += 1


class _Line(asyncio.Protocol):
    def __init__(self, wire: TcpWire, peer: Peer) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wire = wire
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire.use(transport)
        self._peer.up()

    def data_received(self, data: bytes) -> None:
        self._wire.stats.got(data)
        self._peer.receive(data, "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.use(None)
        self._peer.down()
        if not self.ended.done():
            self.ended.set_result(None)
