"""A UDP socket that talks to one server."""

from __future__ import annotations

import asyncio

from simulator.wires.wire import Peer, WireStats


class UdpWire:
    """Datagrams to and from `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self.stats = WireStats()
        self._host = host
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None

    async def run(self, peer: Peer) -> None:
        """Open the socket and hold it until cancelled."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Socket(peer, self.stats), remote_addr=(self._host, self._port))
        self.stats.connects += 1
        peer.up()
        try:
            await loop.create_future()
        finally:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0)

    def send(self, data: bytes, to: str = "") -> bool:
        """One datagram."""
        if self._transport is None:
            self.stats.refused += 1
            return False
        self._transport.sendto(data)
        self.stats.took(data)
        return True


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, peer: Peer, stats: WireStats) -> None:
        self._peer = peer
        self._stats = stats

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._stats.got(data)
        self._peer.receive(data, "")

    def error_received(self, exc: Exception) -> None:
        # Nobody listens (ICMP): the device does not learn it either.
        self._stats.failures += 1
        self._stats.last_failure = str(exc)
