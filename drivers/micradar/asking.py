"""What can be asked of a MicRadar radar: parameters with their limits, and commands as questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from drivers.api import Command, DriverError, Verb
from protocols.serial import micradar
from protocols.serial.exchange import Question

PROBES = ("model", "product_id", "hardware", "firmware", "install_height_cm", "fall_switch", "presence", "bed")
"""Asked when the line opens and after every restart of the radar."""

SETTINGS: dict[str, tuple[str, int, int]] = {
    "install_height": ("install_height_cm", *micradar.INSTALL_HEIGHT_CM),
    "fall_switch": ("fall_switch", 0, 1),
    "fall_sensitivity": ("fall_sensitivity", 0, 3),
    "fall_duration": ("fall_duration_s", 5, 180),
    "fall_break_height": ("fall_break_height_cm", 0, 150),
    "height_time": ("height_time_s", 0, 300),
    "residence_switch": ("residence_switch", 0, 1),
    "residence_time": ("residence_time_s", 60, 3600),
    "presence_switch": ("presence_switch", 0, 1),
    "presence_threshold": ("presence_threshold", 0, 0xFFFFFFFF),
    "still_range": ("still_range_cm", 0, 1000),
    "moving_range": ("moving_range_cm", 0, 1000),
    "nobody_time": ("nobody_time_s", 5, 1800),
    "breath_switch": ("breath_switch", 0, 1),
    "heart_switch": ("heart_switch", 0, 1),
    "sleep_switch": ("sleep_switch", 0, 1),
    "struggle_switch": ("struggle_switch", 0, 1),
    "struggle_sensitivity": ("struggle_sensitivity", 0, 2),
    "nobody_timer_switch": ("nobody_timer_switch", 0, 1),
    "nobody_timer_minutes": ("nobody_timer_min", 5, 120),
}
"""Name for `configure` -> message, lowest and highest value. cm, s, minutes; switches 0 or 1."""

_WORDS = {"on": 1, "true": 1, "yes": 1, "off": 0, "false": 0, "no": 0}


class CommandError(DriverError):
    """A command that cannot be carried out; the text says why."""


class Asked(NamedTuple):
    """Whose question it is, the value that the echo must show (None: any), whether the command ends with it."""

    command: Command
    value: int | None
    is_last: bool


def questions_of(command: Command) -> list[Question]:
    """The questions that carry a command out, in order. Raises CommandError."""
    args = command.args
    if command.verb is Verb.CONFIGURE:
        return [_setting(command, str(args.get("name", "")), args.get("value"))]
    if command.verb is Verb.FALL_DETECTION:
        steps = [("fall_switch", args.get("on", True))]
        if args.get("sensitivity") is not None:
            steps.insert(0, ("fall_sensitivity", args["sensitivity"]))
        return [_setting(command, name, value, is_last=name == "fall_switch") for name, value in steps]
    if command.verb is Verb.QUERY:
        return [_query(command, str(args.get("name") or "model"))]
    if command.verb is Verb.RESTART:
        return [Question((0x01, 0x02), micradar.reset(), Asked(command, None, True))]
    raise CommandError(f"a MicRadar radar does not take {command.verb.value}")


def value_of(values: Mapping[str, Any]) -> Any:
    """The one value of a parameter message as text or whole number, None where it carries none."""
    if len(values) != 1:
        return ", ".join(f"{key}={value}" for key, value in values.items()) or None
    (value,) = values.values()
    return int(value) if isinstance(value, bool) else value


def _setting(command: Command, name: str, raw: Any, *, is_last: bool = True) -> Question:
    if name not in SETTINGS:
        raise CommandError(f"name: expected one of {', '.join(SETTINGS)}, got {name!r}")
    message, low, high = SETTINGS[name]
    try:
        value = _WORDS[raw.lower()] if isinstance(raw, str) and raw.lower() in _WORDS else int(raw)
    except (TypeError, ValueError):
        raise CommandError(f"{name}: expected a whole number, got {raw!r}") from None
    if not low <= value <= high:
        raise CommandError(f"{name}: expected {low}..{high}, got {value}")
    data = micradar.report(message, value=value)
    return Question((data[2], data[3]), data, Asked(command, value, is_last))


def _query(command: Command, name: str) -> Question:
    message = SETTINGS[name][0] if name in SETTINGS else name
    if message not in micradar.CODES or message in ("reset", "init_done"):
        raise CommandError(f"name: expected one of {', '.join([*SETTINGS, *PROBES])}, got {name!r}")
    data = micradar.query(message)
    return Question((data[2], data[3]), data, Asked(command, None, True))
