"""`anhu demo`: hands over to the simulator, which plays a community against a gateway of its own.

The gateway never imports the simulator: they meet on real wires, in two processes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from gateway.cli.text import example
from gateway.errors import AnhuError


def add(verbs: Any) -> None:
    """List the verb; `main` hands its arguments over before they are parsed here."""
    verbs.add_parser("demo", help="a simulated community on real wires, live", add_help=False, epilog=example("anhu demo --for 30s --json"))


def hand_over(arguments: Sequence[str]) -> NoReturn:
    """Become the simulator. Raises AnhuError where it is not installed."""
    if importlib.util.find_spec("simulator") is None:
        raise AnhuError("the simulator is not installed", hint="install the whole distribution: pip install anhu")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "simulator.demo", *arguments])  # noqa: S606 - our own interpreter and module
