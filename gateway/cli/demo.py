"""`anhu demo` and `anhu sim`: hand over to the simulator, which plays communities against a gateway.

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

MODULES = {"demo": "simulator.demo", "sim": "simulator.cli"}
"""Verbs whose arguments the simulator parses itself."""


def add(verbs: Any) -> None:
    """List the verbs; `main` hands their arguments over before they are parsed here."""
    verbs.add_parser("demo", help="a simulated community on real wires, live", add_help=False, epilog=example("anhu demo --for 30s --json"))
    verbs.add_parser("sim", help="scenarios with faults and truth: run, list, check, capture, replay, city, load, score", add_help=False)


def hand_over(verb: str, arguments: Sequence[str]) -> NoReturn:
    """Become the simulator. Raises AnhuError where it is not installed."""
    if importlib.util.find_spec("simulator") is None:
        raise AnhuError("the simulator is not installed", hint="install the whole distribution: pip install anhu")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", MODULES[verb], *arguments])  # noqa: S606 - our own interpreter and module
