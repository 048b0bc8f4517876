"""The control socket: how `anhu status` and `anhu command` talk to the running gateway.

A Unix socket of mode 600 in the data folder: whoever may read the database may ask. One JSON object a line in, one out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import AnhuError

SOCKET_NAME = "control.sock"
LONGEST_LINE = 256 * 1024
ANSWER_S = 10.0

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers on the socket. `handlers` maps the value of `do` to who answers."""

    def __init__(self, path: Path, handlers: dict[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket; a stale one is replaced (the data folder's lock says that nobody else runs)."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, path=self._path, limit=LONGEST_LINE)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Close it."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), ANSWER_S)
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a caller that goes away or sends a line without end has nobody to tell
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return {"error": f"JSON object expected: {error}"}
        handler = self._handlers.get(str(request.get("do")))
        if handler is None:
            return {"error": f"do: one of {', '.join(self._handlers)} expected"}
        return await handler(request)


def ask(data_dir: Path, request: dict[str, Any], *, timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """One question to the gateway that runs on this data folder. Raises AnhuError when none does."""
    path = data_dir / SOCKET_NAME
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as answer:
                found = json.loads(answer.readline(16 * 1024 * 1024))
    except (OSError, ValueError) as error:
        raise AnhuError(
            f"no gateway answers on {path}: {error}", hint="start it: anhu run --settings FILE; or give its --data-dir"
        ) from None
    return dict(found)
