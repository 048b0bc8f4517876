"""A device that is called: it listens on a TCP port, and the gateway connects."""

from __future__ import annotations

import asyncio

from simulator.wires.wire import Peer, WireStats

READ_BYTES = 65536


class ListenWire:
    """One port on loopback. The last one who called is spoken to; a broken connection waits for the next call."""

    def __init__(self, host: str, port: int) -> None:
        self.stats = WireStats()
        self._host, self._port = host, port
        self._writer: asyncio.StreamWriter | None = None
        self._peer: Peer | None = None

    async def run(self, peer: Peer) -> None:
        """Listen until cancelled."""
        self._peer = peer
        server = await asyncio.start_server(self._called, self._host, self._port)
        try:
            async with server:
                await server.serve_forever()
        finally:
            if self._writer is not None:
                self._writer.close()

    def send(self, data: bytes, to: str = "") -> bool:
        """Say it to who has called; refused while nobody has."""
        if self._writer is None or self._writer.is_closing():
            self.stats.refused += 1
            return False
        self._writer.write(data)
        self.stats.took(data)
        return True

    def cut(self) -> None:
        """Break the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._peer is not None
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self.stats.connects += 1
        self._peer.up()
        try:
            while data := await reader.read(READ_BYTES):
                self.stats.got(data)
                self._peer.receive(data, "")
        except OSError as error:
            self.stats.last_failure = str(error)
        if self._writer is writer:
            self._writer = None
            self.stats.drops += 1
            self._peer.down()
        writer.close()
