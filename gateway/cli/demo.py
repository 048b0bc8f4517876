"""`anhu demo`: hands over to the simulator, which plays a community against a gateway of its own.

The gateway never imports the simulator: they meet on real wires, in two processes.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from typing import Any

from gateway.cli.text import example
from gateway.errors import AnhuError


def add(verbs: Any) -> None:
    """Register the verb."""
    parser = verbs.add_parser(
        "demo", help="a simulated community on real wires, live", add_help=False, epilog=example("anhu demo --for 30s --json")
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(handler=_demo)


def _demo(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("simulator") is None:
        raise AnhuError("the simulator is not installed", hint="install the whole distribution: pip install anhu")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "simulator.demo", *args.rest])  # noqa: S606 - our own interpreter and module
