"""The parser libraries that are installed: each has one class that turns an advertisement into device classes and values.

A library belongs to the family when its distribution asks for `bluetooth-sensor-state-data`. Those for which a driver of ours exists
are left out unless they are named.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from drivers.api import Frame

FAMILY = "bluetooth-sensor-state-data"
OUR_OWN = frozenset({"bthome_ble", "xiaomi_ble", "ibeacon_ble"})
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
_REQUIRED = re.compile(rf"{FAMILY}(?![\w-])(?!.*extra\s*==)")
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error)
"""What a parser raises on bytes that its maker did not think of."""


@lru_cache(maxsize=1)
def installed() -> tuple[str, ...]:
    """Modules of the family on this machine, in alphabetical order."""
    found = {
        str(distribution.metadata["Name"]).lower().replace("-", "_")
        for distribution in importlib.metadata.distributions()
        if any(_REQUIRED.match(need) for need in distribution.requires or ())
    }
    return tuple(sorted(found - OUR_OWN))


@lru_cache(maxsize=64)
def parser_class(module: str) -> type[Any]:
    """The parser of a library. Raises ValueError where there is none."""
    if not _NAME.match(module):
        raise ValueError(f"name of a module such as govee_ble expected, got {module[:40]!r}")
    try:
        found = importlib.import_module(module)
    except ImportError:
        raise ValueError(f"{module} is not installed: pip install {module.replace('_', '-')}") from None
    base = importlib.import_module("bluetooth_sensor_state_data").BluetoothData
    classes = [item for item in vars(found).values() if isinstance(item, type) and issubclass(item, base) and item is not base]
    if not classes:
        raise ValueError(f"{module} has no parser of the family {FAMILY}")
    return classes[0]


def candidates(modules: Sequence[str]) -> Iterator[Any]:
    """A fresh parser of each library; one that cannot be loaded is passed over."""
    for module in modules:
        try:
            yield parser_class(module)()
        except ValueError:
            continue


def understands(parser: Any, info: Any) -> bool:
    """Whether the parser knows the device."""
    try:
        return bool(parser.supported(info))
    except FAULTS:
        return False


def service_info(frame: Frame) -> Any:
    """The advertisement as the family wants it."""
    from habluetooth import BluetoothServiceInfoBleak

    advert = frame.advert
    assert advert is not None
    rssi = -127 if advert.rssi_dbm is None else advert.rssi_dbm
    return BluetoothServiceInfoBleak(
        name=advert.name or frame.address,
        address=frame.address,
        rssi=rssi,
        manufacturer_data=dict(advert.manufacturer_data),
        service_data=dict(advert.service_data),
        service_uuids=list(advert.service_uuids),
        source=advert.receiver or "local",
        device=None,  # type: ignore[arg-type]  # no parser of advertisements connects
        advertisement=None,
        connectable=False,
        time=frame.received.s,
        tx_power=advert.tx_power_dbm,
    )
