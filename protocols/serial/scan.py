"""Finding checked frames in a serial stream, where noise looks like a start and a length cannot be believed.

`protocols.framing.Framer` gives up a whole frame when its check fails. On a serial line that loses neighbours: a byte that was
dropped makes one frame claim the beginning of the next. Here the check is part of finding: a start whose check fails costs one
byte, and the real frame inside is found. A false start that waits for bytes which never come is given up after `patience_s`:
the bytes of one UART frame follow each other at once, so a gap means that the start was noise and a fall may stand behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.errors import FRAME_SAMPLE_BYTES, Reason, Reject

NOT_A_START = -1
PATIENCE_S = 2.0
"""A frame of 265 bytes takes 0.28 s at 9600 baud; bridges add some latency."""

Judge = Callable[[bytes, int], int | Reject]
"""Looks at a start: the size of a whole frame whose check holds, 0 while bytes are missing, NOT_A_START where the header is
noise, or the Reject of a frame whose check failed (its `frame` tells how many bytes it claimed)."""


class Scanner:
    """Cuts a stream into frames that begin with `header`. `judge` bounds the frame length and so the buffer."""

    def __init__(self, header: bytes, judge: Judge, *, patience_s: float = PATIENCE_S) -> None:
        self._header = header
        self._judge = judge
        self._patience_s = patience_s
        self._buffer = b""
        self._since_s: float | None = None
        self._junk = b""
        self._junk_bytes = 0
        self._told = 0
        self.framed_bytes = 0
        """Bytes of whole frames so far."""
        self.thrown_bytes = 0
        """Bytes that belonged to none."""

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    @property
    def deadline_s(self) -> float | None:
        """When an unfinished frame is given up; None where none is pending."""
        return None if self._since_s is None else self._since_s + self._patience_s

    def feed(self, data: bytes, now_s: float = 0.0) -> list[bytes | Reject]:
        """Frames and refusals that `data` completes, in order."""
        if not self._buffer and not self._told and not self._junk_bytes and data.startswith(self._header) and data:
            # One read, one frame: the usual case.
            verdict = self._judge(data, 0)
            if verdict == len(data):
                self.framed_bytes += verdict
                return [data]
        out = self.expire(now_s)
        pending = len(self._buffer)
        self._scan(self._buffer + data if pending else data, out)
        if not self._buffer:
            self._since_s = None
        elif self._since_s is None or len(self._buffer) <= len(data):
            self._since_s = now_s
        return out

    def expire(self, now_s: float) -> list[bytes | Reject]:
        """Gives up an unfinished frame that is older than `patience_s`; what stands behind its start is looked at again."""
        out: list[bytes | Reject] = []
        deadline_s = self.deadline_s
        # The very sum that `deadline_s` names: a difference that rounds the other way would never be over.
        if deadline_s is None or now_s < deadline_s:
            return out
        buffer = self._buffer
        detail = f"frame not finished within {self._patience_s:g} s, {len(buffer)} bytes"
        out.append(Reject(Reason.TRUNCATED, detail, buffer[:FRAME_SAMPLE_BYTES]))
        self._told = len(buffer) - 1
        self._scan(buffer[1:], out)
        # What still waits may be a real frame whose bytes are on their way: it gets its own patience.
        self._since_s = now_s if self._buffer else None
        return out

    def _scan(self, buffer: bytes, out: list[bytes | Reject]) -> None:
        header, at, end = self._header, 0, len(buffer)
        while at < end:
            start = buffer.find(header, at)
            if start < 0:
                start = end - _overlap(buffer, at, header)
                self._throw(buffer, at, start - at)
                at = start
                break
            self._throw(buffer, at, start - at)
            at = start
            verdict = self._judge(buffer, start)
            if type(verdict) is not int:
                self._refuse(verdict, out)  # type: ignore[arg-type]  # the type test above is the fast form of isinstance
                self._throw(buffer, start, 1)
                at = start + 1
            elif verdict > 0:
                self._flush(out)
                self._told = 0
                self.framed_bytes += verdict
                out.append(buffer[start : start + verdict])
                at = start + verdict
            elif verdict == 0:
                break
            else:
                self._throw(buffer, start, 1)
                at = start + 1
        self._buffer = buffer[at:]
        if not self._buffer:
            self._flush(out)

    def _refuse(self, reject: Reject, out: list[bytes | Reject]) -> None:
        """A second start inside the bytes of a refused frame is no second fault."""
        if self._told:
            return
        self._flush(out)
        out.append(reject)
        self._told = len(reject.frame)

    def _throw(self, buffer: bytes, start: int, count: int) -> None:
        self.thrown_bytes += count
        told = min(self._told, count)
        self._told -= told
        start, count = start + told, count - told
        self._junk_bytes += count
        room = FRAME_SAMPLE_BYTES - len(self._junk)
        if room > 0 and count:
            self._junk += buffer[start : start + min(count, room)]

    def _flush(self, out: list[bytes | Reject]) -> None:
        if self._junk_bytes:
            out.append(Reject(Reason.NOT_OURS, f"{self._junk_bytes} bytes between frames", self._junk))
            self._junk, self._junk_bytes = b"", 0


def _overlap(buffer: bytes, at: int, header: bytes) -> int:
    """How many bytes at the end may be the beginning of a header."""
    for size in range(min(len(header) - 1, len(buffer) - at), 0, -1):
        if buffer.endswith(header[:size]):
            return size
    return 0
