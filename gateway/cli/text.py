"""How the command line prints."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def print_json(value: Any) -> None:
    """One object, one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def example(line: str) -> str:
    """The epilog of a verb: one example that works."""
    return f"Example: {line}"
