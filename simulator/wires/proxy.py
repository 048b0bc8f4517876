"""A TCP proxy between two real programs whose middle can fail: refused, cut, swallowed, slow.

Stands between a gateway and the platform's broker, or between devices and a gateway that is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum

READ_BYTES = 65_536


class Link(StrEnum):
    """OPEN: all passes. DOWN: connections are cut and refused. BLACK_HOLE: they stand, nothing passes."""

    OPEN = "open"
    DOWN = "down"
    BLACK_HOLE = "black_hole"


class Proxy:
    """`async with Proxy(host, port) as proxy:` listens on `proxy.port` of loopback."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.delay_s = 0.0
        self.passed_bytes = 0
        self._target = (host, port)
        self._open = asyncio.Event()
        self._open.set()
        self._is_down = False
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()

    async def set(self, link: Link) -> None:
        """Change how the middle is."""
        self._is_down = link is Link.DOWN
        if link is Link.OPEN:
            self._open.set()
        else:
            self._open.clear()
        if self._is_down:
            await self._cut()

    async def _cut(self) -> None:
        for task in self._lines:
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            if self._is_down:
                return
            far_reader, far = await asyncio.open_connection(*self._target)
            ways = [asyncio.create_task(self._pass(reader, far)), asyncio.create_task(self._pass(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Cancelled means cut: the connection ends as when a cable is drawn, nobody waits for this task.
            pass
        finally:
            self._lines.discard(task)
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._open.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                self.passed_bytes += len(data)
                await writer.drain()
