"""Numbers and times of medical devices: SFLOAT and FLOAT of IEEE 11073-20601, Date Time of the Bluetooth SIG.

SFLOAT, u16 little endian    eeee mmmm mmmm mmmm              value = m * 10^e, both signed
FLOAT, u32 little endian     eeee eeee mmmm .. (24 bits)      value = m * 10^e, both signed
special mantissas (e = 0)    7FF / 7FFFFF not a number      800 / 800000 not at this resolution     801 / 800001 reserved
                             7FE / 7FFFFE +infinity         802 / 800002 -infinity
Date Time, 7 bytes           year u16, month, day, hours, minutes, seconds; local time; 0 in year, month or day: not known
"""

from __future__ import annotations

import math
from datetime import datetime

from protocols.errors import LocalProtocolError

SFLOAT_BYTES, FLOAT_BYTES, DATE_TIME_BYTES = 2, 4, 7

_SFLOAT_SPECIAL: dict[int, float | None] = {0x07FF: None, 0x0800: None, 0x0801: None, 0x07FE: math.inf, 0x0802: -math.inf}
_FLOAT_SPECIAL: dict[int, float | None] = {
    0x007FFFFF: None,
    0x00800000: None,
    0x00800001: None,
    0x007FFFFE: math.inf,
    0x00800002: -math.inf,
}


def read_sfloat(data: bytes, at: int = 0) -> float | None:
    """The SFLOAT at byte `at`; None where the device has no value, infinities where it is beyond its range.

    >>> read_sfloat(bytes.fromhex("6cf1"))
    36.4
    """
    raw = data[at] | data[at + 1] << 8
    if raw in _SFLOAT_SPECIAL:
        return _SFLOAT_SPECIAL[raw]
    return _scaled(_signed(raw & 0xFFF, 12), _signed(raw >> 12, 4))


def read_float(data: bytes, at: int = 0) -> float | None:
    """The FLOAT at byte `at`, as `read_sfloat`.

    >>> read_float(bytes.fromhex("6c0100ff"))
    36.4
    """
    raw = int.from_bytes(data[at : at + 4], "little")
    if raw in _FLOAT_SPECIAL:
        return _FLOAT_SPECIAL[raw]
    return _scaled(_signed(raw & 0xFFFFFF, 24), _signed(raw >> 24, 8))


def write_sfloat(value: float | None) -> bytes:
    """The SFLOAT nearest to `value`; None is "not a number". Raises LocalProtocolError beyond 2.045e10."""
    return _write(value, 12, 4, _SFLOAT_SPECIAL).to_bytes(2, "little")


def write_float(value: float | None) -> bytes:
    """The FLOAT nearest to `value`, as `write_sfloat`."""
    return _write(value, 24, 8, _FLOAT_SPECIAL).to_bytes(4, "little")


def read_date_time(data: bytes, at: int = 0) -> datetime | None:
    """Local time without zone; None where the clock of the device is not set or says no date.

    >>> read_date_time(bytes.fromhex("ea070b16081e0f")).isoformat()
    '2026-11-22T08:30:15'
    """
    try:
        return datetime(  # noqa: DTZ001  # the format has no zone; the driver knows it
            data[at] | data[at + 1] << 8, data[at + 2], data[at + 3], data[at + 4], data[at + 5], data[at + 6]
        )
    except ValueError:
        return None


def write_date_time(moment: datetime | None) -> bytes:
    """7 bytes; zeros for an unset clock."""
    if moment is None:
        return bytes(DATE_TIME_BYTES)
    return moment.year.to_bytes(2, "little") + bytes([moment.month, moment.day, moment.hour, moment.minute, moment.second])


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _scaled(mantissa: int, exponent: int) -> float:
    # Division by a power of ten rounds correctly, multiplication by 10^-n does not.
    return float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent


def _write(value: float | None, mantissa_bits: int, exponent_bits: int, special: dict[int, float | None]) -> int:
    if value is None or math.isnan(value):
        return next(raw for raw, meaning in special.items() if meaning is None)
    if math.isinf(value):
        return next(raw for raw, meaning in special.items() if meaning == value)
    # The outermost mantissas are the special values: never used for numbers.
    limit = (1 << mantissa_bits - 1) - 3
    lowest, highest = -(1 << exponent_bits - 1), (1 << exponent_bits - 1) - 1
    for exponent in range(lowest, highest + 1):
        if abs(value) > limit * 10.0**exponent * 1.0001:
            continue
        mantissa = round(value / 10.0**exponent) if exponent >= 0 else round(value * 10.0**-exponent)
        while mantissa and mantissa % 10 == 0 and exponent < 0:
            mantissa, exponent = mantissa // 10, exponent + 1  # noqa: PLW2901  # the shortest form, as devices write it
        if not mantissa:
            exponent = 0  # noqa: PLW2901  # as above
        if abs(mantissa) <= limit:
            return (exponent & (1 << exponent_bits) - 1) << mantissa_bits | mantissa & (1 << mantissa_bits) - 1
    raise LocalProtocolError(f"a value of at most {limit}e{highest} expected, got {value}")
