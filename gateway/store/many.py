"""Many rows in one statement.

`executemany` runs one step per row, and Python lets go of its lock round every step. One statement for many rows takes three quarters
of the CPU, and the writer asks for the lock once where it would have asked a hundred times.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

LARGEST = 128
"""Rows of one statement; a rest goes in powers of two, so that few different statements are prepared."""


def insert(db: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]]) -> None:
    """`into` is the statement up to its values (`INSERT INTO t`); all rows are of one width."""
    at = 0
    size = LARGEST
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        db.execute(_statement(into, len(rows[at]), size), tuple(chain.from_iterable(rows[at : at + size])))
        at += size


@lru_cache(maxsize=256)
def _statement(into: str, width: int, size: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"{into} VALUES {','.join([row] * size)}"
