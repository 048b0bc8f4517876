"""WGS-84, GCJ-02 and BD-09 into one another, to the millimetre.

GCJ-02 ("Mars coordinates", AMap and Tencent) shifts WGS-84 by 24-700 m inside China, BD-09 (Baidu) shifts that by 770-984 m more.
The datum is told by the device profile or by whoever drew the fence; it is never guessed from a bounding box: the usual box holds
Korea, Mongolia and Vietnam, and maps of Hong Kong, Macau and Taiwan are WGS-84. Constants as published with the open `eviltransform`.

The inverses are fixed points: three steps leave 0.2 mm, five leave rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, pi, radians, sin, sqrt

from drivers.vocabulary import Datum

_AXIS_M = 6378245.0
_ECCENTRICITY = 0.00669342162296594323
_BAIDU = pi * 3000.0 / 180.0
_STEPS = 5
Transform = Callable[[float, float], tuple[float, float]]


def wgs84_to_gcj02(lat: float, lon: float) -> tuple[float, float]:
    """Degrees WGS-84 as degrees GCJ-02."""
    east, north = lon - 105.0, lat - 35.0
    root = sqrt(abs(east))
    waves = (20.0 * sin(6.0 * east * pi) + 20.0 * sin(2.0 * east * pi)) * 2.0 / 3.0
    north_m = -100.0 + 2.0 * east + 3.0 * north + 0.2 * north * north + 0.1 * east * north + 0.2 * root + waves
    north_m += (20.0 * sin(north * pi) + 40.0 * sin(north / 3.0 * pi)) * 2.0 / 3.0
    north_m += (160.0 * sin(north / 12.0 * pi) + 320.0 * sin(north * pi / 30.0)) * 2.0 / 3.0
    east_m = 300.0 + east + 2.0 * north + 0.1 * east * east + 0.1 * east * north + 0.1 * root + waves
    east_m += (20.0 * sin(east * pi) + 40.0 * sin(east / 3.0 * pi)) * 2.0 / 3.0
    east_m += (150.0 * sin(east / 12.0 * pi) + 300.0 * sin(east / 30.0 * pi)) * 2.0 / 3.0
    angle = radians(lat)
    bend = 1.0 - _ECCENTRICITY * sin(angle) ** 2
    per_lat = _AXIS_M * (1.0 - _ECCENTRICITY) / (bend * sqrt(bend)) * pi / 180.0
    per_lon = _AXIS_M / sqrt(bend) * cos(angle) * pi / 180.0
    return lat + north_m / per_lat, lon + east_m / per_lon


def gcj02_to_bd09(lat: float, lon: float) -> tuple[float, float]:
    """Degrees GCJ-02 as degrees BD-09."""
    length = sqrt(lon * lon + lat * lat) + 0.00002 * sin(lat * _BAIDU)
    angle = atan2(lat, lon) + 0.000003 * cos(lon * _BAIDU)
    return length * sin(angle) + 0.006, length * cos(angle) + 0.0065


def gcj02_to_wgs84(lat: float, lon: float) -> tuple[float, float]:
    """Degrees GCJ-02 as degrees WGS-84."""
    return _inverse(wgs84_to_gcj02, lat, lon)


def bd09_to_gcj02(lat: float, lon: float) -> tuple[float, float]:
    """Degrees BD-09 as degrees GCJ-02."""
    return _inverse(gcj02_to_bd09, lat, lon)


def to_wgs84(lat: float, lon: float, datum: Datum) -> tuple[float, float]:
    """Degrees of any datum as degrees WGS-84."""
    if datum is Datum.WGS84:
        return lat, lon
    if datum is Datum.BD09:
        lat, lon = bd09_to_gcj02(lat, lon)
    return gcj02_to_wgs84(lat, lon)


def from_wgs84(lat: float, lon: float, datum: Datum) -> tuple[float, float]:
    """Degrees WGS-84 as degrees of any datum."""
    if datum is Datum.WGS84:
        return lat, lon
    lat, lon = wgs84_to_gcj02(lat, lon)
    return gcj02_to_bd09(lat, lon) if datum is Datum.BD09 else (lat, lon)


def _inverse(forward: Transform, lat: float, lon: float) -> tuple[float, float]:
    found_lat, found_lon = lat, lon
    for _ in range(_STEPS):
        there_lat, there_lon = forward(found_lat, found_lon)
        found_lat += lat - there_lat
        found_lon += lon - there_lon
    return found_lat, found_lon
