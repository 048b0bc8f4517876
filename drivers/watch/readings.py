"""What the short health and information messages of a watch mean."""

from __future__ import annotations

from collections.abc import Callable

from drivers.api import Body, DeviceHealth, Measurement, Occurrence, OccurrenceKind, Quantity, RemoteProtocolError, Severity, in_range
from protocols.errors import Reason

_NO_READING = (0, 1, 255)
"""Values by which sensors say that they measured nothing."""


def readings(kind: str, fields: list[str]) -> list[Body]:
    """The bodies of a message of `kind` (upper case). Raises RemoteProtocolError (RANGE) on a value that no sensor gives."""
    reader = READERS.get(kind)
    return reader(fields) if reader else []


def link_battery(fields: list[str]) -> int | None:
    """Battery percent of an LK body: the third field, in some firmware the second; 0 means that the firmware does not know.

    >>> link_battery(["0", "0", "53"]), link_battery(["0", "97", "0"]), link_battery(["0", "100"]), link_battery(["0", "0", "0"])
    (53, 97, 100, None)
    """
    for index in (2, 1):
        percent = _percent(fields[index].strip()) if len(fields) > index else None
        if percent:
            return percent
    return None


def _link(fields: list[str]) -> list[Body]:
    bodies: list[Body] = [DeviceHealth(online=True, battery_percent=link_battery(fields))]
    if len(fields) > 2:
        bodies += _quantity(Quantity.STEPS, fields[0], nothing=())
    return bodies


def _quantity(quantity: Quantity, text: str, nothing: tuple[float, ...] = _NO_READING) -> list[Body]:
    """One measurement, none for an empty field or a value that means nothing."""
    if not text.strip():
        return []
    try:
        value = float(text)
    except ValueError:
        raise RemoteProtocolError(Reason.RANGE, f"{quantity.value}: number expected, got {text!r:.24}") from None
    if value in nothing:
        return []
    if not in_range(quantity, value):
        raise RemoteProtocolError(Reason.RANGE, f"{quantity.value}: {value:g} is not what a sensor gives")
    return [Measurement(quantity=quantity, value=int(value) if value.is_integer() else value)]


def _field(fields: list[str], index: int) -> str:
    return fields[index] if index < len(fields) else ""


def _heart(fields: list[str]) -> list[Body]:
    return _quantity(Quantity.HEART_RATE, _field(fields, 0))


def _pressure(fields: list[str]) -> list[Body]:
    """High, low, heart rate; the person's height, sex, age and weight behind them are settings, not readings."""
    found = _quantity(Quantity.SYSTOLIC, _field(fields, 0)) + _quantity(Quantity.DIASTOLIC, _field(fields, 1))
    return found + _quantity(Quantity.HEART_RATE, _field(fields, 2))


def _oxygen(fields: list[str]) -> list[Body]:
    return _quantity(Quantity.SPO2, _field(fields, 1))


def _skin(fields: list[str]) -> list[Body]:
    """Mode 0 forehead, 1 wrist; temperature 0 and 1 say "too low", "too high" without a number."""
    mode, text = _field(fields, 0), _field(fields, 1)
    try:
        verdict = {0.0: "low", 1.0: "high"}.get(float(text or "nan"))
    except ValueError:
        verdict = None
    if verdict:
        detail = f"body temperature too {verdict}, no value"
        return [Occurrence(kind=OccurrenceKind.VITAL_ABNORMAL, severity=Severity.WARNING, detail=detail)]
    channel = {"0": "forehead", "1": "wrist"}.get(mode.strip())
    return [
        Measurement(quantity=body.quantity, value=body.value, channel=channel) if isinstance(body, Measurement) else body
        for body in _quantity(Quantity.BODY_TEMPERATURE, text)
    ]


def _temperature(fields: list[str]) -> list[Body]:
    return _quantity(Quantity.BODY_TEMPERATURE, _field(fields, 0))


def _card(fields: list[str]) -> list[Body]:
    number = _field(fields, 0).strip()
    return [DeviceHealth(iccid=number)] if number.isalnum() and number.isascii() and 18 <= len(number) <= 22 else []


def _version(fields: list[str]) -> list[Body]:
    text = ",".join(fields).strip()
    return [DeviceHealth(firmware=text[:120])] if text else []


def _percent(text: str) -> int | None:
    return int(text) if len(text) <= 4 and text.isdecimal() and int(text) <= 100 else None


def _status(fields: list[str]) -> list[Body]:
    """`ver:G4C_...; batlevel:87; ...`: the answer to TS."""
    known = {key.strip(): value.strip() for key, colon, value in (pair.partition(":") for pair in ",".join(fields).split(";")) if colon}
    battery = known.get("batlevel", "")
    percent = _percent(battery)
    return [DeviceHealth(firmware=known["ver"][:120], battery_percent=percent)] if "ver" in known else []


def _capabilities(fields: list[str]) -> list[Body]:
    """`TY:G75,UL:600,DD:2`: what the model can do."""
    known = dict(pair.split(":", 1) for pair in fields[:64] if ":" in pair and len(pair) <= 80)
    return [DeviceHealth(model=known.get("TY"), parameters=known)] if known else []


READERS: dict[str, Callable[[list[str]], list[Body]]] = {
    "LK": _link, "HEART": _heart, "PULSE": _heart, "BPHRT": _pressure, "BLOOD": _pressure, "OXYGEN": _oxygen, "BTEMP2": _skin,
    "TEMP": _temperature, "CCID": _card, "ICCID": _card, "CONFIG": _capabilities, "VERNO": _version,
    "TS": _status,
}  # fmt: skip

SILENT = frozenset({"INIT", "TKQ", "TKQ2", "GS1", "WIFIINFOUP", "APPLOCK", "DW", "TIME", "RYIMEI", "RPTSTATE", "SB"})
"""Kinds that tell nothing about a person: understood, answered where the protocol wants it, no event."""
