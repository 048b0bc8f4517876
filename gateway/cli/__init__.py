"""The command line `anhu`."""

from gateway.cli.main import main

__all__ = ["main"]
