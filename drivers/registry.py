"""Finding drivers: ours by folder, a vendor's by the entry-point group `anhu.drivers`.

A driver's name is the name of its folder. Its module is imported only when it is asked for, so that a gateway with two drivers
does not pay for twenty.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from importlib import metadata
from pathlib import Path

from drivers.api import Driver, DriverError

ENTRY_POINT_GROUP = "anhu.drivers"
_HERE = Path(__file__).parent


class UnknownDriverError(DriverError):
    """No driver of that name; the message names the nearest ones."""


def names() -> list[str]:
    """Names of all drivers that are installed, sorted. Raises DriverError where two share a name."""
    return sorted(set(_own()) | set(_foreign()))


def folder(name: str) -> Path:
    """The folder that holds the driver's vectors and README."""
    if _is_own(name):
        return _HERE / name
    module = importlib.import_module(_foreign()[name].module)
    return Path(module.__file__ or ".").parent


def load(name: str) -> type[Driver]:
    """The driver class. Raises UnknownDriverError with the nearest names."""
    if _is_own(name):
        found = importlib.import_module(f"drivers.{name}.driver").DRIVER
    elif name in _foreign():
        found = _foreign()[name].load()
    else:
        near = difflib.get_close_matches(name, names(), 3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names())}"
        raise UnknownDriverError(f"no driver called {name!r}; {hint}")
    driver: type[Driver] = found
    if driver.info.name != name:
        raise DriverError(f"driver {name}: info.name is {driver.info.name!r}, it must equal the folder or entry-point name")
    return driver


def _own() -> list[str]:
    return [path.parent.name for path in _HERE.glob("*/driver.py") if not path.parent.name.startswith("_")]


def _is_own(name: str) -> bool:
    """One look at the disk, not thirty: a devices file asks for each of its thousands of rows."""
    return name.isidentifier() and not name.startswith("_") and (_HERE / name / "driver.py").is_file()


@functools.cache
def _foreign() -> dict[str, metadata.EntryPoint]:
    """What is installed, looked up once: it does not change while a process runs, and each look reads every package."""
    found: dict[str, metadata.EntryPoint] = {}
    own = set(_own())
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in own or entry.name in found:
            other = found[entry.name].value if entry.name in found else f"drivers/{entry.name}"
            raise DriverError(f"two drivers are called {entry.name!r}: {other} and {entry.value}; uninstall one of them")
        found[entry.name] = entry
    return found
