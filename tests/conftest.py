"""Shared by all tests: programs of the system, and the rule that CI may not skip what it could run."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {"mosquitto": "mosquitto", "mosquitto_sub": "mosquitto-clients", "dbus-daemon": "dbus-daemon", "gammu": "gammu", "Xvfb": "xvfb"}
MAY_SKIP = ("shared vectors",)
"""Reasons that are no fault of the machine."""


def need(program: str) -> str:
    """The path of a program; skips the test, naming the Debian package, where it is absent."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is absent: apt-get install {PACKAGES.get(program, program)}")
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped although this machine must run it."""
    for report in _forbidden(terminalreporter):
        terminalreporter.write_line(f"MUST NOT SKIP: {report.nodeid}: {report.longrepr}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when a test skipped that should have run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and exitstatus == 0 and _forbidden(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _forbidden(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    if not os.environ.get("ANHU_NO_SKIP"):
        return []
    skipped = reporter.stats.get("skipped", [])
    return [report for report in skipped if not any(reason in str(report.longrepr) for reason in MAY_SKIP)]
