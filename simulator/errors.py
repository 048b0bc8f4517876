"""What can go wrong in a simulation, told so that a tester knows what to do next."""

from __future__ import annotations


class SimulatorError(Exception):
    """Root of the errors of the `simulator` layer; `hint` is a command to run or a file to open."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TargetError(SimulatorError):
    """The gateway under test refuses, hangs or answers what it should not."""


class ScenarioError(SimulatorError):
    """A scenario file with mistakes; `faults` holds every one as `file:line: text`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults), hint="simulator/scenarios holds files that work")
        self.faults = faults
