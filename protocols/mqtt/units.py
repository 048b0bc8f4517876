"""Units as zigbee2mqtt, Home Assistant and Tasmota write them, turned into the one that we keep."""

from __future__ import annotations

_SAME = (1.0, 0.0)
# wanted (UCUM) -> unit as written, lower case -> (scale, offset): wanted = value * scale + offset
_UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "Cel": {
        "°c": _SAME,
        "c": _SAME,
        "℃": _SAME,
        "°f": (5 / 9, -160 / 9),
        "f": (5 / 9, -160 / 9),
        "℉": (5 / 9, -160 / 9),
        "k": (1, -273.15),
    },
    "%": {"%": _SAME, "％": _SAME, "%rh": _SAME},
    "lx": {"lx": _SAME, "lux": _SAME, "klx": (1000, 0)},
    "hPa": {
        "hpa": _SAME,
        "mbar": _SAME,
        "kpa": (10, 0),
        "pa": (0.01, 0),
        "bar": (1000, 0),
        "mmhg": (1.33322387, 0),
        "inhg": (33.8638866, 0),
    },
    "kPa": {"kpa": _SAME, "hpa": (0.1, 0), "pa": (0.001, 0), "bar": (100, 0), "mpa": (1000, 0), "psi": (6.894757, 0)},
    "[ppm]": {"ppm": _SAME, "ppb": (0.001, 0)},
    "ug/m3": {"µg/m³": _SAME, "μg/m³": _SAME, "ug/m3": _SAME, "ug/m³": _SAME, "mg/m³": (1000, 0), "mg/m3": (1000, 0)},
    "%[LEL]": {"%lel": _SAME, "lel": _SAME, "% lel": _SAME, "%[lel]": _SAME},
    "m": {"m": _SAME, "cm": (0.01, 0), "mm": (0.001, 0), "km": (1000, 0), "in": (0.0254, 0), "ft": (0.3048, 0)},
    "m/s": {"m/s": _SAME, "km/h": (1 / 3.6, 0), "mph": (0.44704, 0), "cm/s": (0.01, 0), "kn": (0.514444, 0)},
    "V": {"v": _SAME, "mv": (0.001, 0), "kv": (1000, 0)},
    "A": {"a": _SAME, "ma": (0.001, 0)},
    "mA": {"ma": _SAME, "a": (1000, 0)},
    "W": {"w": _SAME, "kw": (1000, 0), "mw": (0.001, 0)},
    "kW.h": {"kwh": _SAME, "wh": (0.001, 0), "mwh": (1000, 0)},
    "Hz": {"hz": _SAME, "khz": (1000, 0)},
    "L/min": {"l/min": _SAME, "l/h": (1 / 60, 0), "m³/h": (1000 / 60, 0), "m3/h": (1000 / 60, 0), "l/s": (60, 0)},
    "L": {"l": _SAME, "m³": (1000, 0), "m3": (1000, 0), "ml": (0.001, 0), "gal": (3.785412, 0)},
    "m3": {"m³": _SAME, "m3": _SAME, "l": (0.001, 0), "ft³": (0.0283168, 0)},
    "bpm": {"bpm": _SAME, "/min": _SAME, "1/min": _SAME, "beats/min": _SAME, "次/分": _SAME},
    "/min": {"bpm": _SAME, "/min": _SAME, "1/min": _SAME, "rpm": _SAME, "br/min": _SAME, "breaths/min": _SAME, "次/分": _SAME},
    "mm[Hg]": {"mmhg": _SAME, "kpa": (7.50061683, 0)},
    "kg": {"kg": _SAME, "g": (0.001, 0), "lb": (0.45359237, 0), "lbs": (0.45359237, 0), "st": (6.35029318, 0), "斤": (0.5, 0)},
    "mmol/L": {"mmol/l": _SAME, "mg/dl": (1 / 18.0182, 0)},
    "dB": {"db": _SAME, "dba": _SAME, "db(a)": _SAME},
    "dBm": {"dbm": _SAME, "db": _SAME},
    "s": {"s": _SAME, "sec": _SAME, "ms": (0.001, 0), "min": (60, 0), "h": (3600, 0), "d": (86400, 0)},
    "min": {"min": _SAME, "s": (1 / 60, 0), "h": (60, 0)},
    "uS/cm": {"µs/cm": _SAME, "μs/cm": _SAME, "us/cm": _SAME, "ms/cm": (1000, 0)},
    "{steps}": {"steps": _SAME, "步": _SAME},
    "{index}": {"uv index": _SAME, "index": _SAME},
}


def convert(value: float, unit: str, wanted: str) -> float | None:
    """`value` in the wanted unit; as it is where no unit is written; None where the unit is of another kind.

    >>> convert(70.0, "°F", "Cel"), convert(12, "m³", "Cel"), convert(5, "", "Cel")
    (21.1111111111, None, 5)
    """
    written = unit.strip().lower()
    if not written:
        return value
    found = _UNITS.get(wanted, {}).get(written)
    if found is None:
        return None
    return value if found is _SAME else round(value * found[0] + found[1], 10)


def is_known(unit: str, wanted: str) -> bool:
    """Whether `unit` is written and can be turned into `wanted`."""
    return unit.strip().lower() in _UNITS.get(wanted, {})
