"""Data to stdout, words to stderr."""

from __future__ import annotations

import argparse
import re
import sys


def say(text: str) -> None:
    """A line of data."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """A line for people."""
    sys.stderr.write(text + "\n")


def span(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h` or a bare number; for argparse."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"a span such as 30s, 5m or 1h expected, got {text!r}")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, None: 1}[found[2]]


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; for argparse."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise argparse.ArgumentTypeError(f"HOST:PORT expected, got {text!r}")
    return host, int(port)
