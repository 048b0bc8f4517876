"""Finding frames in a byte stream: one bounded buffer, one cut function per protocol.

A protocol describes its framing by a function `cut(buffer, start) -> Cut`. It looks at `buffer[start:]` and says how many bytes
of junk stand in front and how long the frame behind them is. The framer does the rest: split and glued segments, junk
collected into one `Reject`, a limit on the memory that a silent or malicious peer can hold. (`start` is passed, instead of a
slice, so that a flood of false starts costs linear time.)

Order of a cut function: find a start -> enough bytes for the length? -> length sane? -> enough bytes for the frame?
A start that proves false (length out of range, bad tail) must be skipped by ONE byte, not by the claimed length:
the real frame may begin inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from protocols.errors import FRAME_SAMPLE_BYTES, Reason, Reject


class Cut(NamedTuple):
    """`junk` bytes to throw away, then a frame of `size` bytes; `size` 0 means that more bytes are needed."""

    junk: int = 0
    size: int = 0


NEED_MORE = Cut(0, 0)


PIECE_BYTES = 16_384
"""A larger read is looked at in pieces: a cut function may search to the end of what it is given, from every false start."""
TRIES_LIMIT = 4096


class Tries:
    """How often a cut function may still look for a frame inside a frame: once per byte received.

    Noise is full of false starts, and each may hide a good frame behind it; looking for one at every start would make a flood of
    starts cost quadratic time.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0

    def earn(self, count: int) -> None:
        """`count` bytes have come."""
        self._left = min(self._left + count, TRIES_LIMIT)

    def spend(self) -> bool:
        """Whether one more look is paid for."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True


class Framer:
    """Cuts a stream into frames. `limit` bounds an unfinished frame (bytes)."""

    def __init__(self, cut: Callable[[bytes, int], Cut], *, limit: int) -> None:
        self._cut = cut
        self._limit = limit
        self._buffer = b""
        self._junk = b""
        self._junk_bytes = 0

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Reject]:
        """Frames and refusals that `data` completes, in order."""
        out: list[bytes | Reject] = []
        if len(data) <= PIECE_BYTES:
            self._feed(data, out)
        else:
            for at in range(0, len(data), PIECE_BYTES):
                self._feed(data[at : at + PIECE_BYTES], out)
        if not self._buffer:
            self._flush(out)
        return out

    def close(self) -> list[bytes | Reject]:
        """What is left when the peer goes: an unfinished frame is a TRUNCATED reject."""
        out: list[bytes | Reject] = []
        self._flush(out)
        if self._buffer:
            detail = f"stream ended inside a frame, {len(self._buffer)} bytes"
            out.append(Reject(Reason.TRUNCATED, detail, self._buffer[:FRAME_SAMPLE_BYTES]))
        self._buffer = b""
        return out

    def _feed(self, data: bytes, out: list[bytes | Reject]) -> None:
        buffer = self._buffer + data if self._buffer else data
        start, end, cut = 0, len(buffer), self._cut
        while start < end:
            junk, size = cut(buffer, start)
            if junk:
                self._throw(buffer, start, junk)
                start += junk
            if size:
                if self._junk_bytes:
                    self._flush(out)
                out.append(buffer[start : start + size])
                start += size
            elif end - start > self._limit:
                # A frame that never ends: give up its first byte, the next start may be real.
                self._throw(buffer, start, 1)
                start += 1
            elif not junk:
                break
        self._buffer = buffer[start:]

    def _throw(self, buffer: bytes, start: int, count: int) -> None:
        self._junk_bytes += count
        room = FRAME_SAMPLE_BYTES - len(self._junk)
        if room > 0:
            self._junk += buffer[start : start + min(count, room)]

    def _flush(self, out: list[bytes | Reject]) -> None:
        if self._junk_bytes:
            out.append(Reject(Reason.NOT_OURS, f"{self._junk_bytes} bytes between frames", self._junk))
            self._junk, self._junk_bytes = b"", 0
