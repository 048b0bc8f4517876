"""Logging: one line per change of state, key-values, JSON unless a terminal reads along.

No names of residents and no payloads at info. Counts and rates are metrics (`health.py`), not lines.
"""

from __future__ import annotations

import logging
import sys

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", *, json: bool | None = None) -> None:
    """Set up logging for the process, to stderr."""
    if json is None:
        json = not sys.stderr.isatty()
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def logger() -> structlog.typing.FilteringBoundLogger:
    """A logger; bind `device`, `driver`, `uplink` where known."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log
