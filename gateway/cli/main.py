"""`anhu`: verb first, each with one line of help and an example that a test runs.

stdout is data, stderr is for people. Exit 0: done; 1: the world failed; 2: you asked wrongly (the message ends with what to do).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from drivers.api import DriverError
from gateway import __version__
from gateway.cli import demo
from gateway.errors import AnhuError, SettingsError

Handler = Callable[[argparse.Namespace], int]
EXIT_OK, EXIT_WORLD, EXIT_USAGE = 0, 1, 2
MODULES = {
    "gateway.cli.running": ("run", "check", "status", "events", "command"),
    "gateway.cli.enroll": ("enroll",),
    "gateway.cli.offline": ("decode", "drivers"),
    "gateway.replay": ("replay",),
    "gateway.cli.vendor": ("driver", "schema"),
    "gateway.doctor": ("doctor",),
    "gateway.cli.fall": ("fall",),
}
"""Modules of verbs, and the verbs that need no other: `anhu decode` starts in a third of the time when it loads no rules."""


class Parser(argparse.ArgumentParser):
    """argparse that ends a wrong call with what to try."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what to do, exit 2."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


def build(verb: str = "") -> Parser:
    """The whole command line, or as much of it as a verb needs."""
    parser = Parser(prog="anhu", description="Edge gateway and device-protocol stack for elder care.")
    parser.add_argument("--version", action="version", version=f"anhu {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    home = [name for name, own in MODULES.items() if verb in own]
    for name in home or MODULES:
        importlib.import_module(name).add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in demo.MODULES:
            demo.hand_over(arguments[0], arguments[1:])
        parser = build(arguments[0] if arguments else "")
        args, rest = parser.parse_known_args(arguments)
        if args.verb == "decode" and len(rest) == 1 and not rest[0].startswith("--"):
            # argparse takes an optional positional only right behind the others: `decode NAME --stream FILE` is fair all the same.
            args.file = rest[0]
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        handler: Handler = args.handler
        return handler(args)
    except SettingsError as error:
        return _fail(error.message, error.hint, EXIT_USAGE)
    except AnhuError as error:
        return _fail(error.message, error.hint, EXIT_WORLD)
    except DriverError as error:
        return _fail(str(error), "anhu drivers", EXIT_USAGE)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return 130


def _fail(message: str, hint: str, code: int) -> int:
    print(f"anhu: {message}", file=sys.stderr)
    if hint:
        print(f"Try: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
