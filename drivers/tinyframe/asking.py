"""What can be asked of a TinyFrame radar: settings with their limits, and commands as questions."""

from __future__ import annotations

from typing import Any, NamedTuple

from drivers.api import Command, DriverError, Verb
from protocols.serial import tinyframe as tf
from protocols.serial.exchange import Question

SETTINGS: dict[str, tuple[int, type, float, float]] = {
    "install_height": (tf.SET_HEIGHT, float, *tf.INSTALL_HEIGHT_M),
    "fall_threshold": (tf.SET_THRESHOLD, float, *tf.THRESHOLD_M),
    "fall_sensitivity": (tf.SET_SENSITIVITY, int, *tf.SENSITIVITY),
    "hold_time": (tf.HOLD, int, 0, 3600),
    "user_log": (tf.USER_LOG, int, 0, 1),
    "control": (tf.CONTROL, int, 1, 0x1A),
}
"""Name for `configure` -> type, number type, lowest and highest value. m, frames, seconds, control code."""
QUERIES = {"parameters": tf.PARAMETERS, "firmware": tf.FIRMWARE, "target_height": tf.TARGET_HEIGHT}
OPT_IN_ID = 0x8000


class CommandError(DriverError):
    """A command that cannot be carried out; the text says why."""


class Asked(NamedTuple):
    """Whose question it is; a setting ends with an acknowledgement, a query only with data."""

    command: Command
    is_setting: bool


def question_of(command: Command) -> Question:
    """The question that carries a command out. Raises CommandError."""
    args = command.args
    if command.verb is Verb.CONFIGURE:
        return _setting(command, str(args.get("name", "")), args.get("value"))
    if command.verb is Verb.FALL_DETECTION:
        if not args.get("on", True):
            raise CommandError("fall detection of a TinyFrame radar cannot be switched off")
        if args.get("sensitivity") is None:
            raise CommandError("fall detection is always on; sensitivity (3..30 frames) is what can be set")
        return _setting(command, "fall_sensitivity", args["sensitivity"])
    if command.verb is Verb.QUERY:
        name = str(args.get("name") or "parameters")
        if name not in QUERIES:
            raise CommandError(f"name: expected one of {', '.join(QUERIES)}, got {name!r}")
        return query(QUERIES[name], Asked(command, False))
    raise CommandError(f"a TinyFrame radar does not take {command.verb.value}")


def query(kind: int, tag: Asked | None = None) -> Question:
    """An empty frame of the type asks for its value."""
    return Question(kind, tf.encode(kind, id=OPT_IN_ID if kind == tf.TARGET_HEIGHT else 0), tag)


def _setting(command: Command, name: str, raw: Any) -> Question:
    if name == "area":
        return _area(command, raw)
    if name not in SETTINGS:
        raise CommandError(f"name: expected one of {', '.join([*SETTINGS, 'area'])}, got {name!r}")
    kind, number, low, high = SETTINGS[name]
    try:
        value = number(raw)
    except (TypeError, ValueError):
        raise CommandError(f"{name}: expected a number, got {raw!r}") from None
    if not low <= value <= high:
        raise CommandError(f"{name}: expected {low:g}..{high:g}, got {value:g}")
    return Question(kind, tf.encode_number(kind, value), Asked(command, True))


def _area(command: Command, raw: Any) -> Question:
    try:
        sides = [float(side) for side in str(raw).split(",")]
    except ValueError:
        sides = []
    if len(sides) != 4 or not all(0 <= side <= 5 for side in sides):
        raise CommandError(f"area: expected left,right,front,back in m, 0..5 each, got {raw!r}")
    return Question(tf.SET_AREA, tf.encode_number(tf.SET_AREA, *sides), Asked(command, True))
