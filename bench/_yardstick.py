"""How fast this machine is just now: a fixed piece of Python, timed beside what is measured.

Virtual machines share their cores: the same code takes two to five times as long from one minute to the next, and CPU time does not
tell. The piece is an XOR over 120 bytes in a loop. `REFERENCE_US` is what it took on the machine on which the goals were set; a
figure is brought there by `scaled`.
"""

from __future__ import annotations

import time

REFERENCE_US = 1.34
_DATA = bytes(range(120))
_TIMES = 40


def yardstick_us() -> float:
    """CPU microseconds of one turn of the fixed piece, now."""
    begun = time.process_time()
    for _ in range(_TIMES):
        found = 0
        for byte in _DATA:
            found ^= byte
    return (time.process_time() - begun) / _TIMES * 1e6


def scaled(us: float, yardstick: float) -> float:
    """What `us` would be where the fixed piece takes `REFERENCE_US`."""
    return us * REFERENCE_US / yardstick
