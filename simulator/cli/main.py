"""`anhu sim`: whole communities with faults and with truth.

stdout is data, stderr is for people. Exit 0: expectations met; 1: not met, or the target failed; 2: asked wrongly.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from simulator.cli import record, scenarios, sizing
from simulator.cli.text import tell
from simulator.errors import ScenarioError, SimulatorError


class Parser(argparse.ArgumentParser):
    """argparse that ends a wrong call with what to try."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what to do, exit 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="anhu sim", description="Whole communities with faults and with truth: did everybody who needed help get it?")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in (scenarios, record, sizing):
        module.add(verbs)
    args = parser.parse_args(argv)
    try:
        code: int = args.handler(args)
    except ScenarioError as error:
        tell("\n".join(error.faults))
        tell(f"Try: {error.hint}")
        return 2
    except SimulatorError as error:
        tell(f"anhu sim: {error}")
        tell(f"Try: {error.hint or 'anhu sim --help'}")
        return 1
    except KeyboardInterrupt:
        tell("anhu sim: stopped; nothing was left behind")
        return 130
    return code
