"""Commands of Anhu as control and request frames of GB/T 26875.3 (types 61..68, 81..91)."""

from __future__ import annotations

from drivers.api import Command, Verb
from drivers.events import epoch_ms
from protocols.building.gbt26875 import Command as Code
from protocols.building.gbt26875_objects import Object, Query, UnitClock, encode_unit

QUERIES: dict[str, int] = {
    "system_state": 61, "part_state": 62, "analogue": 63, "operations": 64, "version": 65, "settings": 66, "part_settings": 67,
    "system_clock": 68, "unit_state": 81, "unit_operations": 84, "unit_version": 85, "unit_settings": 86, "unit_clock": 88,
}  # fmt: skip
"""Names of `query`; those of a building system take `name:system/address[/part/part_address]`."""
GUARD_CHECK, INITIALISE = 91, 89


def request_for(command: Command, local_ms: int) -> tuple[Code, bytes]:
    """Command byte and data unit. Raises ValueError with what is wrong, for people.

    `local_ms`: wall clock of the unit; queries of operations ask for those before it, `configure clock now` sets it.
    """
    if command.verb is Verb.RESTART:
        return Code.CONTROL, encode_unit([Query(INITIALISE)])
    if command.verb is Verb.QUERY:
        return Code.REQUEST, encode_unit([_query(str(command.args.get("name") or "unit_state"), local_ms)])
    name, value = str(command.args.get("name", "")), str(command.args.get("value", ""))
    if name == "clock":
        at_ms = (
            local_ms if value in ("", "now") else epoch_ms(value.replace(" ", "T") + ("Z" if "+" not in value and "Z" not in value else ""))
        )
        things: list[Object] = [UnitClock(at_ms)]
        return Code.CONTROL, encode_unit(things, set_clock=True)
    if name == "guard_check":
        if not value.isdecimal() or not 1 <= int(value) <= 255:
            raise ValueError(f"guard_check: minutes 1..255 expected, got {value!r}")
        return Code.CONTROL, encode_unit([Query(GUARD_CHECK, value=int(value))])
    raise ValueError(f"configure: clock or guard_check expected, got {name!r}")


def _query(text: str, local_ms: int) -> Query:
    name, _, where = text.partition(":")
    number = QUERIES.get(name)
    if number is None:
        raise ValueError(f"query: one of {', '.join(QUERIES)} expected, got {name!r}")
    parts = [int(part) for part in where.split("/")] if where.replace("/", "").isdecimal() else []
    if any(part > 0xFFFFFFFF for part in parts) or any(part > 255 for part in parts[:3]):
        raise ValueError(f"query: numbers out of range in {where!r}")
    system, address, part, part_address, *_ = [*parts, *(1, 1, 0, 0)[len(parts) :], 0]
    return Query(number, system, address, part, part_address, 1, local_ms)
