"""pytest plugin: every `vectors.jsonl` beside a `driver.py` becomes a file of tests.

Loaded by the entry point `anhu_conformance`, so a vendor's repository gets it by installing `anhu`:
`pytest anhu_acme_bed_scale/` runs each vector and the whole conformance suite.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from drivers import conformance


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the vectors of a driver folder."""
    if file_path.name == "vectors.jsonl" and (file_path.parent / "driver.py").exists():
        return VectorFile.from_parent(parent, path=file_path)
    return None


class VectorFile(pytest.File):
    """One driver's vectors and conformance checks."""

    def collect(self) -> Iterator[pytest.Item]:
        """Every check as an item."""
        driver = _module(self.path.parent / "driver.py").DRIVER
        for check in conformance.checks(driver, self.path.parent):
            yield ConformanceItem.from_parent(self, name=check.name, check=check)


class ConformanceItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: conformance.Check, **known: object) -> None:
        super().__init__(**known)  # type: ignore[arg-type]  # pytest passes name and parent
        self.check = check

    def runtest(self) -> None:
        """Run it."""
        self.check.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """An assertion's own text; a traceback for anything else."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return str(excinfo.getrepr(style="short"))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where and what."""
        return self.path, 0, f"{self.path.parent.name}: {self.name}"


def _module(path: Path) -> ModuleType:
    if path.parent.parent == Path(__file__).parent and not path.parent.name.startswith("_"):
        return importlib.import_module(f"drivers.{path.parent.name}.driver")
    name = f"anhu_driver_under_test_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
