"""What the health messages of a TRV / IW watch mean. Any field may be empty, and 0, 1 and 255 are no reading."""

from __future__ import annotations

from collections.abc import Callable

from drivers.api import Body, DeviceHealth, Measurement, Occurrence, OccurrenceKind, Quantity, RemoteProtocolError, State, in_range
from protocols.errors import Reason

_Q, _K = Quantity, OccurrenceKind
_NO_READING = (0, 1, 255)
_ORDER = (_Q.HEART_RATE, _Q.SYSTOLIC, _Q.DIASTOLIC, _Q.SPO2, _Q.GLUCOSE, _Q.BODY_TEMPERATURE)
_JK = {"1": (_Q.SYSTOLIC, _Q.DIASTOLIC), "2": (_Q.HEART_RATE,), "3": (_Q.BODY_TEMPERATURE,), "4": (_Q.SPO2,)}


def number(quantity: Quantity, text: str) -> list[Body]:
    """One measurement; nothing for an empty field. Raises RemoteProtocolError (RANGE)."""
    if not text.strip():
        return []
    try:
        value = float(text)
    except ValueError:
        raise RemoteProtocolError(Reason.RANGE, f"{quantity.value}: number expected, got {text!r:.24}") from None
    if value in _NO_READING and not (quantity is _Q.GLUCOSE and value == 1):
        return []
    if not in_range(quantity, value):
        raise RemoteProtocolError(Reason.RANGE, f"{quantity.value}: {value:g} is not what a sensor gives")
    return [Measurement(quantity=quantity, value=int(value) if value.is_integer() else value)]


def percent(text: str) -> int | None:
    """Battery percent, None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) <= 100 else None


def _in_order(fields: list[str]) -> list[Body]:
    """Each field for itself: one that is impossible must not take the others with it."""
    found: list[Body] = []
    fault: RemoteProtocolError | None = None
    for quantity, text in zip(_ORDER, fields, strict=False):
        try:
            found += number(quantity, text)
        except RemoteProtocolError as error:
            fault = error
    if fault is not None and not found:
        raise fault
    return found


def _temperature(fields: list[str]) -> list[Body]:
    found: list[Body] = []
    if len(fields) > 1 and percent(fields[1]) is not None:
        found.append(DeviceHealth(battery_percent=percent(fields[1])))
    return number(_Q.BODY_TEMPERATURE, fields[0]) + found if fields else found


def _typed(fields: list[str]) -> list[Body]:
    """APJK: time, type, value; pressure is `high|low`."""
    quantities = _JK.get(fields[1].strip().lstrip("0")) if len(fields) > 2 else None
    if quantities is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"reading of type 1..4 expected, got {fields[1:2]}")
    values = "|".join(fields[2:]).replace("/", "|").split("|")
    return [body for quantity, text in zip(quantities, values, strict=False) for body in number(quantity, text)]


def _fall(fields: list[str]) -> list[Body]:
    return [Occurrence(kind=_K.FALL, state=State.START)]


def _still(fields: list[str]) -> list[Body]:
    return [Occurrence(kind=_K.NO_MOTION, state=State.START)]


def _worn(fields: list[str]) -> list[Body]:
    if fields and fields[-1].strip() == "0":
        return [Occurrence(kind=_K.REMOVED, state=State.START)]
    return [Occurrence(kind=_K.WORN)]


READERS: dict[str, Callable[[list[str]], list[Body]]] = {
    "AP49": _in_order, "APHT": _in_order, "APHP": _in_order, "AP50": _temperature, "APJK": _typed, "APFD": _fall, "APST": _still,
    "APWR": _worn,
}  # fmt: skip
