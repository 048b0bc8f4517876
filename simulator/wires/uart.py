"""What a UART reads when the other end speaks at another rate: the bits of the line, sampled at the wrong moments.

line   idle 1 | start 0 | eight bits, lowest first | stop 1 | ...      each 1/sent seconds long
reader waits for 0, samples 1.5, 2.5, ... 8.5 of its own bits later, then waits for the next 0
"""

from __future__ import annotations

import fcntl
import struct

TCGETS2 = 0x802C542A
"""ioctl of Linux on most processors; `termios.tcgetattr` cannot tell rates such as 256000, which have no constant."""
_TERMIOS2 = struct.Struct("<4I B19s 2I")


def speed_of(fd: int) -> int:
    """Bits per second that a tty is set to."""
    raw = fcntl.ioctl(fd, TCGETS2, bytes(_TERMIOS2.size))
    return int(_TERMIOS2.unpack(raw)[-1])


def heard(data: bytes, sent: int, read: int) -> bytes:
    """The bytes that a reader at `read` bits per second makes of `data`, sent at `sent`.

    >>> heard(b"fall", 115200, 115200)
    b'fall'
    >>> heard(b"fall", 9600, 115200) == b"fall"
    False
    """
    if sent == read:
        return data
    bits = [bit for byte in data for bit in (0, *(byte >> n & 1 for n in range(8)), 1)]
    step, at, end = sent / read, 0.0, float(len(bits))
    out = bytearray()
    while at < end:
        if bits[int(at)]:
            at = int(at) + 1.0
            continue
        samples = [int(at + step * (1.5 + n)) for n in range(8)]
        out.append(sum(1 << n for n, place in enumerate(samples) if place >= end or bits[place]))
        at += step * 9.5
    return bytes(out)
