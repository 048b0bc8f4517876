"""Options of drivers: declared as rows, read from TOML or from `--option k=v`, every fault told at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from drivers.vocabulary import Datum

Options = Mapping[str, Any]
"""Settings of one driver instance, as read from TOML or `--option k=v`."""


class DriverError(Exception):
    """Root of the errors of the `drivers` layer."""


class OptionError(DriverError):
    """Options that do not fit the driver; `faults` holds every one as text."""

    def __init__(self, driver: str, faults: list[str]) -> None:
        super().__init__(f"{driver}: " + "; ".join(faults))
        self.faults = faults


class Option(NamedTuple):
    """One setting of a driver. `kind` is `str`, `int`, `float`, `bool`, `list` or `table`; `secret` values are never shown."""

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    secret: bool = False


DATUM_OPTION = Option(
    "datum",
    "str",
    "wgs84",
    "datum of the coordinates that this device sends (Chinese map firmware: gcj02, bd09)",
    tuple(datum.value for datum in Datum),
)
"""For every driver of something that tells its place; `Datum(values["datum"])` goes into each `Position`."""


class Described(Protocol):
    """What has a name and declared options (a DriverInfo)."""

    @property
    def name(self) -> str:
        """Name of the driver."""
        ...

    @property
    def options(self) -> tuple[Option, ...]:
        """The rows."""
        ...


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "list": (list, tuple), "table": (dict,),
}  # fmt: skip


def read_options(info: Described, options: Options) -> dict[str, Any]:
    """Every option of `info`, defaults filled in. Texts (`--option k=v`) are converted. Raises OptionError with all faults."""
    known = {option.name: option for option in info.options}
    faults = []
    values = {option.name: option.default for option in info.options}
    for name, raw in options.items():
        option = known.get(name)
        if option is None:
            near = difflib.get_close_matches(name, known, 1)
            faults.append(f"{name}: unknown option" + (f", did you mean {near[0]}?" if near else f", known: {', '.join(known) or 'none'}"))
            continue
        value = _from_text(option.kind, raw) if isinstance(raw, str) else raw
        fault = _fault(option, value)
        if fault:
            faults.append(f"{name}: expected {fault}, got {'<secret>' if option.secret else repr(raw)}")
        else:
            values[name] = value
    if faults:
        raise OptionError(info.name, faults)
    return values


def _from_text(kind: str, text: str) -> Any:
    try:
        if kind == "int":
            return int(text, 0)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind in ("list", "table"):
            return msgspec.json.decode(text.encode())
    except (ValueError, KeyError, msgspec.DecodeError):
        return text
    return text


def _fault(option: Option, value: Any) -> str | None:
    low, high = option.low, option.high
    if value is None and option.default is None:
        return None
    number: Any = value
    if not isinstance(value, _KINDS[option.kind]) or (option.kind != "bool" and isinstance(value, bool)):
        return option.kind
    if option.choices and value not in option.choices:
        return "one of " + ", ".join(map(str, option.choices))
    if (low is not None and number < low) or (high is not None and number > high):
        return f"{low}..{high}"
    return None
