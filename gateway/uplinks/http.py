"""An HTTP/1.1 client for one thing: POST a body, read the status. One connection, kept alive, TLS by a given context.

The answer's body is read and thrown away, at most `LARGEST_ANSWER`; a server that sends more loses the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

LARGEST_ANSWER = 64 * 1024
LARGEST_HEAD = 16 * 1024


class HttpError(Exception):
    """The server cannot be reached, is too slow or does not speak HTTP."""


class Response(NamedTuple):
    """Status and headers (lower-case names)."""

    status: int
    headers: dict[str, str]


class HttpClient:
    """Posts to one URL."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"http:// or https:// address expected, got {url!r}")
        self._host = parts.hostname
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._authority = parts.netloc.rpartition("@")[2]
        self._timeout_s = timeout_s
        self._wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, headers: dict[str, str]) -> Response:
        """Send and wait for the status. Raises HttpError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(body, headers)
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise HttpError(str(error) or type(error).__name__) from error
        except BaseException:
            # Cancelled half-way: the answer of this request must not be taken for that of the next.
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._wire is not None:
            self._wire[1].close()
            self._wire = None

    async def _post(self, body: bytes, headers: dict[str, str]) -> Response:
        lines = [f"POST {self._path} HTTP/1.1", f"Host: {self._authority}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        for attempt in (1, 2):
            was_kept = self._wire is not None
            try:
                reader, writer = self._wire or await self._open()
                writer.write(request)
                await writer.drain()
                return await self._read(reader)
            except (OSError, EOFError):
                # A kept connection may have been closed by the server at any time: once more on a new one.
                self.close()
                if attempt == 2 or not was_kept:
                    raise
        raise AssertionError("not reached")

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._host if self._tls else None
        self._wire = await asyncio.open_connection(self._host, self._port, ssl=self._tls, server_hostname=name, limit=LARGEST_HEAD)
        return self._wire

    async def _read(self, reader: asyncio.StreamReader) -> Response:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            version, _, rest = head[0].partition(" ")
            status = int(rest[:3])
            if not version.startswith("HTTP/1."):
                raise ValueError(f"no HTTP answer: {head[0]!r:.80}")
            if status >= 200:
                break
        pairs = (line.partition(":") for line in head[1:] if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        await self._skip_body(reader, status, headers)
        if headers.get("connection", "").lower() == "close" or version == "HTTP/1.0":
            self.close()
        return Response(status, headers)

    async def _skip_body(self, reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> None:
        if status in (204, 304):
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            left = LARGEST_ANSWER
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                left -= size
                if left < 0 or size < 0:
                    raise ValueError("answer too large")
                await reader.readexactly(size + 2)
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif "content-length" in headers:
            size = int(headers["content-length"])
            if not 0 <= size <= LARGEST_ANSWER:
                raise ValueError("answer too large")
            await reader.readexactly(size)
        else:
            await reader.read(LARGEST_ANSWER)
            self.close()
