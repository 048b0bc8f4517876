"""Shapes against slow references; datums to the millimetre; poles, the antimeridian and crossing outlines."""

from __future__ import annotations

from math import cos, hypot, radians, sin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.vocabulary import Datum
from gateway.rules.datum import from_wgs84, gcj02_to_wgs84, to_wgs84, wgs84_to_gcj02
from gateway.rules.geometry import Circle, Corridor, GeometryError, Grid, Plane, Polygon

A, F = 6378137.0, 1 / 298.257223563
OFFSETS = st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000))


def vincenty_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """The inverse problem on the ellipsoid (Vincenty 1975), as an independent reference."""
    from math import atan, atan2, tan

    b = A * (1 - F)
    u1, u2, span = atan((1 - F) * tan(radians(lat1))), atan((1 - F) * tan(radians(lat2))), radians((lon2 - lon1 + 180) % 360 - 180)
    turn = span
    for _ in range(50):
        s = hypot(cos(u2) * sin(turn), cos(u1) * sin(u2) - sin(u1) * cos(u2) * cos(turn))
        if s == 0:
            return 0.0
        c = sin(u1) * sin(u2) + cos(u1) * cos(u2) * cos(turn)
        sigma = atan2(s, c)
        alpha = cos(u1) * cos(u2) * sin(turn) / s
        square = 1 - alpha**2
        middle = c - 2 * sin(u1) * sin(u2) / square if square else 0.0
        k = F / 16 * square * (4 + F * (4 - 3 * square))
        turn = span + (1 - k) * F * alpha * (sigma + k * s * (middle + k * c * (-1 + 2 * middle**2)))
    u = square * (A**2 - b**2) / b**2
    big = 1 + u / 16384 * (4096 + u * (-768 + u * (320 - 175 * u)))
    small = u / 1024 * (256 + u * (-128 + u * (74 - 47 * u)))
    inner = c * (-1 + 2 * middle**2) - small / 6 * middle * (-3 + 4 * s**2) * (-3 + 4 * middle**2)
    return b * big * (sigma - small * s * (middle + small / 4 * inner))


@settings(max_examples=60)
@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(-1400, 1400), st.floats(-1400, 1400))
def test_the_plane_is_right_to_millimetres_at_two_kilometres(lat: float, lon: float, x: float, y: float) -> None:
    plane = Plane(lat, lon)
    there = plane.geo(x, y)
    assert abs(vincenty_m(lat, lon, *there) - hypot(x, y)) < 0.004
    assert plane.xy(*there) == pytest.approx((x, y), abs=1e-4)


def slow_inside(ring: list[tuple[float, float]], x: float, y: float) -> bool:
    inside = False
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


def slow_border(ring: list[tuple[float, float]], x: float, y: float) -> float:
    best = float("inf")
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        for step in range(2001):
            t = step / 2000
            best = min(best, hypot(ax + t * (bx - ax) - x, ay + t * (by - ay) - y))
    return best


RING = [(-800.0, -500.0), (900.0, -600.0), (700.0, 400.0), (0.0, 100.0), (-600.0, 700.0)]
HOLE = [(-300.0, -200.0), (200.0, -250.0), (100.0, 0.0)]


@pytest.mark.parametrize("home", [(31.23, 121.47), (-16.8, 179.999), (69.6, -179.9995), (-0.001, 0.0)])
@pytest.mark.parametrize("point", [(0.0, 50.0), (0.0, -100.0), (-700.0, 600.0), (899.0, -590.0), (1500.0, 1500.0), (-100.0, -210.0)])
def test_a_polygon_with_a_hole_agrees_with_the_slow_reference(home: tuple[float, float], point: tuple[float, float]) -> None:
    plane = Plane(*home)
    shape = Polygon([plane.geo(*corner) for corner in RING], [[plane.geo(*corner) for corner in HOLE]])
    distance = shape.distance_m(*plane.geo(*point))
    inside = slow_inside(RING, *point) and not slow_inside(HOLE, *point)
    border = min(slow_border(RING, *point), slow_border(HOLE, *point))
    assert (distance < 0) is inside and abs(distance) == pytest.approx(border, abs=0.6)


def test_a_corridor_is_half_its_width_round_the_line() -> None:
    plane = Plane(31.0, 121.0)
    corridor = Corridor([plane.geo(0, 0), plane.geo(1000, 0), plane.geo(1000, 800)], 120)
    assert corridor.distance_m(*plane.geo(500, 30)) == pytest.approx(-30, abs=0.05)
    assert corridor.distance_m(*plane.geo(1200, 500)) == pytest.approx(140, abs=0.1)
    assert corridor.distance_m(*plane.geo(-100, 0)) == pytest.approx(40, abs=0.05)


def test_a_circle_holds_across_the_antimeridian() -> None:
    circle = Circle(-16.5, 179.9995, 300)
    distance = circle.distance_m(-16.5, -179.9995)
    assert distance < 0 and distance == pytest.approx(vincenty_m(-16.5, 179.9995, -16.5, -179.9995) - 300, abs=0.01)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Circle(89.995, 0, 50), "pole"),
        (lambda: Circle(89.9, 0, 20_000), "pole"),
        (lambda: Circle(31, 121, 0), "radius"),
        (lambda: Circle(31, 181, 10), "longitude"),
        (lambda: Circle(float("nan"), 0, 10), "latitude"),
        (lambda: Polygon([(31, 121), (31.001, 121.001), (31.001, 121), (31, 121.001)]), "cross"),
        (lambda: Polygon([(31, 121), (31.001, 121), (31, 121)]), "3 different"),
        (lambda: Polygon([(31, 121), (31.002, 121), (31.001, 121), (31.001, 121.001)]), "cross"),
        (lambda: Polygon([(31, 121), (31, 121.01), (31.01, 121.01)], [[(31, 121.02), (31, 121.03), (31.01, 121.03)]]), "hole 1"),
        (lambda: Polygon([(31, 121), (31, 125), (35, 125)]), "100 km"),
        (lambda: Corridor([(31, 121), (31, 121)], 100), "2 different"),
    ],
)
def test_what_cannot_be_a_fence_is_refused(make: object, text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        make()  # type: ignore[operator]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-30, 30), st.floats(-180, 180), st.floats(20, 3000)), min_size=1, max_size=8), st.integers(0, 7), OFFSETS
)
def test_the_grid_misses_no_shape_within_its_margin(
    rows: list[tuple[float, float, float]], which: int, offset: tuple[float, float]
) -> None:
    shapes = [Circle(*row) for row in rows]
    grid = Grid(shapes, margin_m=500)
    lat, lon, _ = rows[which % len(rows)]
    there = Plane(lat, lon).geo(*offset)
    near = {number for number, shape in enumerate(shapes) if shape.distance_m(*there) < 500}
    assert near <= set(grid.near(*there))


def test_ten_thousand_fences_leave_few_to_look_at() -> None:
    grid = Grid((Circle(30 + number % 100 / 50, 120 + number // 100 / 50, 200) for number in range(10_000)), margin_m=600)
    assert 1 <= len(grid.near(30.5, 120.5)) <= 9


@settings(max_examples=100)
@given(st.floats(18, 53), st.floats(74, 134), st.sampled_from([Datum.GCJ02, Datum.BD09]))
def test_datums_come_back_to_the_millimetre(lat: float, lon: float, datum: Datum) -> None:
    there = from_wgs84(lat, lon, datum)
    back = to_wgs84(*there, datum)
    assert hypot(back[0] - lat, back[1] - lon) * 111_195 < 0.001
    assert 20 < hypot((there[0] - lat), (there[1] - lon) * cos(radians(lat))) * 111_195 < 1600


def test_known_shift_of_beijing() -> None:
    lat, lon = wgs84_to_gcj02(39.908823, 116.397470)
    assert (lat, lon) == pytest.approx((39.910226, 116.403714), abs=2e-5)
    assert gcj02_to_wgs84(lat, lon) == pytest.approx((39.908823, 116.397470), abs=1e-8)


def test_wgs84_stays_as_it_is() -> None:
    assert to_wgs84(31.0, 121.0, Datum.WGS84) == from_wgs84(31.0, 121.0, Datum.WGS84) == (31.0, 121.0)
