"""Shapes on the ground: signed distance in metres from a position to a circle, a polygon with holes or a corridor.

A plane touches the ellipsoid (WGS-84) at the shape; longitude differences are wrapped first, so shapes across the antimeridian are
like any other. Both radii of curvature are taken at the middle latitude of point and origin: the error stays below 3 mm at 2 km and
0.33 m at 20 km up to 80 degrees of latitude. One radius for the whole globe would be wrong by 11 m at 2 km, and degrees taken as plane
units by 40 % at 45 degrees. Shapes near a pole, larger than `LARGEST_M` or crossing themselves are refused (GeometryError).

Distances are negative inside. Beyond `FAR_M` from everything the distance may be the bound given by the enclosing circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import cos, degrees, floor, hypot, inf, radians, sin, sqrt
from typing import Protocol

A_M = 6378137.0
E2 = 0.00669437999014
LARGEST_M = 100_000.0
"""Half the extent of a shape; beyond, straight lines on the plane and on the ground part by metres."""
FAR_M = 5_000.0
POLE_M = 1_000.0
_POLE_LAT = 90.0 - degrees(POLE_M / 6_399_594.0)

LatLon = tuple[float, float]
XY = tuple[float, float]
Ring = tuple[XY, ...]


class GeometryError(ValueError):
    """A shape that cannot be a fence."""


class Shape(Protocol):
    """What a fence looks like: `lat`, `lon` of a centre, `reach_m` of the circle round it that holds everything."""

    @property
    def lat(self) -> float:
        """Degrees WGS-84."""
        ...

    @property
    def lon(self) -> float:
        """Degrees WGS-84."""
        ...

    @property
    def reach_m(self) -> float:
        """Radius round the centre that holds the shape."""
        ...

    def distance_m(self, lat: float, lon: float) -> float:
        """Metres to the border, negative inside."""
        ...


class Plane:
    """Metres east and north of an origin."""

    __slots__ = ("_east", "_east1", "_east2", "_north", "_north1", "lat", "lon")

    def __init__(self, lat: float, lon: float) -> None:
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            raise GeometryError(f"latitude -90..90 and longitude -180..180, got {lat:g}, {lon:g}")
        if abs(lat) > _POLE_LAT:
            raise GeometryError("a place more than 1 km from a pole")
        self.lat = lat
        self.lon = lon
        angle = radians(lat)
        bend = 1.0 - E2 * sin(angle) ** 2
        along = A_M * (1.0 - E2) / (bend * sqrt(bend))
        # Both scales as series in the latitude difference: cheaper than a cosine per position, equal to 0.1 mm at 20 km.
        half = radians(0.5)
        self._east = radians(A_M / sqrt(bend) * cos(angle))
        self._east1 = -radians(along * sin(angle)) * half
        self._east2 = -radians(along * cos(angle)) * half * half / 2.0
        self._north = radians(along)
        self._north1 = radians(along * 3.0 * E2 * sin(angle) * cos(angle) / bend) * half

    def xy(self, lat: float, lon: float) -> XY:
        """Metres east, metres north."""
        north = lat - self.lat
        east = lon - self.lon
        if east > 180.0:
            east -= 360.0
        elif east < -180.0:
            east += 360.0
        return east * (self._east + north * (self._east1 + north * self._east2)), north * (self._north + north * self._north1)

    def terms(self) -> tuple[float, float, float, float, float, float, float]:
        """Latitude and longitude of the origin, and the factors of `xy`."""
        return self.lat, self.lon, self._east, self._east1, self._east2, self._north, self._north1

    def geo(self, x: float, y: float) -> LatLon:
        """Degrees of a point of the plane."""
        north = y / self._north
        for _ in range(3):
            north = y / (self._north + north * self._north1)
        lon = self.lon + x / (self._east + north * (self._east1 + north * self._east2))
        return self.lat + north, (lon + 180.0) % 360.0 - 180.0


class Circle:
    """All places within a radius."""

    __slots__ = ("_terms", "lat", "lon", "reach_m")

    def __init__(self, lat: float, lon: float, radius_m: float) -> None:
        if not 0.0 < radius_m <= LARGEST_M:
            raise GeometryError(f"radius of 0..{LARGEST_M:g} m, got {radius_m:g}")
        self._terms = _plane_for(lat, lon, radius_m).terms()
        self.lat, self.lon, self.reach_m = lat, lon, radius_m

    def distance_m(self, lat: float, lon: float) -> float:
        """Metres to the border, negative inside."""
        # `Plane.xy`, written out: each position pays it for each circle near it.
        at_lat, at_lon, east, east1, east2, north, north1 = self._terms
        y, x = lat - at_lat, lon - at_lon
        if x > 180.0:
            x -= 360.0
        elif x < -180.0:
            x += 360.0
        return hypot(x * (east + y * (east1 + y * east2)), y * (north + y * north1)) - self.reach_m


class Polygon:
    """The inside of a closed line, without its holes. The last point joins the first; either may be repeated."""

    __slots__ = ("_edges", "_plane", "lat", "lon", "reach_m")

    def __init__(self, outline: Sequence[LatLon], holes: Sequence[Sequence[LatLon]] = ()) -> None:
        plane, rings = _rings([outline, *holes])
        for number, ring in enumerate(rings):
            name = "outline" if number == 0 else f"hole {number}"
            crossing = _crossing(ring)
            if crossing is not None:
                raise GeometryError(f"{name} that does not cross itself (edges {crossing[0] + 1} and {crossing[1] + 1} do)")
        for number, ring in enumerate(rings[1:], 1):
            if not all(_holds(rings[0], x, y) for x, y in ring) or any(
                _meet(edge, other) for edge in _edges(ring) for other in _edges(rings[0])
            ):
                raise GeometryError(f"hole {number} inside the outline")
        self._plane = plane
        self._edges = [_prepared(first, second) for ring in rings for first, second in _edges(ring)]
        self.lat, self.lon = plane.lat, plane.lon
        self.reach_m = max(hypot(x, y) for x, y in rings[0])

    def distance_m(self, lat: float, lon: float) -> float:
        """Metres to the border, negative inside; on the border 0."""
        x, y = self._plane.xy(lat, lon)
        beyond = hypot(x, y) - self.reach_m
        if beyond > FAR_M:
            return beyond
        best, is_inside = inf, False
        for ax, ay, dx, dy, scale, slope in self._edges:
            px, py = x - ax, y - ay
            along = (px * dx + py * dy) * scale
            if along <= 0.0:
                square = px * px + py * py
            elif along >= 1.0:
                square = (px - dx) ** 2 + (py - dy) ** 2
            else:
                square = (px - along * dx) ** 2 + (py - along * dy) ** 2
            if square < best:  # noqa: PLR1730  # min() costs three times as much in this loop
                best = square
            # Even-odd over all rings at once: a hole turns inside into outside.
            if (py < 0.0) is not (py - dy < 0.0) and px < py * slope:
                is_inside = not is_inside
        return -sqrt(best) if is_inside else sqrt(best)


class Corridor:
    """All places within half a width of a line."""

    __slots__ = ("_edges", "_half_m", "_plane", "lat", "lon", "reach_m")

    def __init__(self, line: Sequence[LatLon], width_m: float) -> None:
        if not 0.0 < width_m <= LARGEST_M:
            raise GeometryError(f"width of 0..{LARGEST_M:g} m, got {width_m:g}")
        if len(set(line)) < 2:
            raise GeometryError(f"a line of 2 different points or more, got {len(set(line))}")
        plane, points = _centred([line])
        self._plane = plane
        self._half_m = width_m / 2.0
        self._edges = [_prepared(first, second) for first, second in zip(points[0], points[0][1:], strict=False) if first != second]
        self.lat, self.lon = plane.lat, plane.lon
        self.reach_m = max(hypot(x, y) for x, y in points[0]) + self._half_m

    def distance_m(self, lat: float, lon: float) -> float:
        """Metres to the border, negative inside."""
        x, y = self._plane.xy(lat, lon)
        beyond = hypot(x, y) - self.reach_m
        if beyond > FAR_M:
            return beyond
        best = inf
        for ax, ay, dx, dy, scale, _ in self._edges:
            px, py = x - ax, y - ay
            along = min(max((px * dx + py * dy) * scale, 0.0), 1.0)
            best = min(best, (px - along * dx) ** 2 + (py - along * dy) ** 2)
        return sqrt(best) - self._half_m


class Grid:
    """Which of many shapes lie within `margin_m` of a position: a dictionary of cells, one look-up per question.

    Shapes that would fill more than `_MOST_CELLS` cells are named for every position.
    """

    __slots__ = ("_cells", "_wide")
    _CELL_DEG = 0.01
    _COLUMNS = 36000
    _MOST_CELLS = 4096

    def __init__(self, shapes: Iterable[Shape], *, margin_m: float) -> None:
        cells: dict[int, list[int]] = {}
        wide: list[int] = []
        for number, shape in enumerate(shapes):
            found = self._span(shape, margin_m)
            if found is None:
                wide.append(number)
                continue
            for cell in found:
                cells.setdefault(cell, []).append(number)
        self._wide = tuple(wide)
        self._cells = {cell: tuple(sorted({*members, *wide})) for cell, members in cells.items()}

    def near(self, lat: float, lon: float) -> tuple[int, ...]:
        """Numbers of the shapes, ascending."""
        return self._cells.get(floor(lat / self._CELL_DEG) * self._COLUMNS + floor(lon / self._CELL_DEG) % self._COLUMNS, self._wide)

    def _span(self, shape: Shape, margin_m: float) -> list[int] | None:
        reach_m = shape.reach_m + margin_m
        high = degrees(reach_m / 6_335_000.0)
        widest = min(abs(shape.lat) + high, 89.9)
        wide = degrees(reach_m / (6_335_000.0 * cos(radians(widest))))
        rows = range(floor((shape.lat - high) / self._CELL_DEG), floor((shape.lat + high) / self._CELL_DEG) + 1)
        columns = range(floor((shape.lon - wide) / self._CELL_DEG), floor((shape.lon + wide) / self._CELL_DEG) + 1)
        if len(rows) * len(columns) > self._MOST_CELLS:
            return None
        return [row * self._COLUMNS + column % self._COLUMNS for row in rows for column in columns]


def _prepared(first: XY, second: XY) -> tuple[float, float, float, float, float, float]:
    """`ax, ay` of the first point, `dx, dy` to the second, 1/length squared, dx/dy (0 for a level edge, which no test crosses)."""
    dx, dy = second[0] - first[0], second[1] - first[1]
    return (first[0], first[1], dx, dy, 1.0 / (dx * dx + dy * dy), dx / dy if dy else 0.0)


def _plane_for(lat: float, lon: float, reach_m: float) -> Plane:
    plane = Plane(lat, lon)
    if abs(lat) + degrees(reach_m / 6_356_752.0) > _POLE_LAT:
        raise GeometryError("a place more than 1 km from a pole")
    return plane


def _centred(lines: Sequence[Sequence[LatLon]]) -> tuple[Plane, list[Ring]]:
    """A plane at the middle of the first line and all lines on it."""
    for lat, lon in (point for line in lines for point in line):
        Plane(lat, lon)
    first = lines[0][0]
    offsets = [((lon - first[1] + 180.0) % 360.0 - 180.0) for _, lon in lines[0]]
    lats = [lat for lat, _ in lines[0]]
    middle = (first[1] + (min(offsets) + max(offsets)) / 2.0 + 180.0) % 360.0 - 180.0
    plane = Plane((min(lats) + max(lats)) / 2.0, middle)
    found = [tuple(plane.xy(lat, lon) for lat, lon in line) for line in lines]
    if max(hypot(x, y) for ring in found for x, y in ring) > LARGEST_M:
        raise GeometryError(f"a shape within {LARGEST_M / 1000:g} km of its middle")
    return plane, found


def _rings(lines: Sequence[Sequence[LatLon]]) -> tuple[Plane, list[Ring]]:
    cleaned = []
    for number, line in enumerate(lines):
        points = [point for place, point in enumerate(line) if point != line[place - 1] or len(line) == 1]
        if len(set(points)) < 3:
            raise GeometryError(f"{'outline' if number == 0 else f'hole {number}'} of 3 different points or more, got {len(set(points))}")
        cleaned.append(points)
    return _centred(cleaned)


def _edges(ring: Ring) -> list[tuple[XY, XY]]:
    return [(ring[place], ring[(place + 1) % len(ring)]) for place in range(len(ring))]


def _side(a: XY, b: XY, c: XY) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _on(a: XY, b: XY, c: XY) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _meet(one: tuple[XY, XY], other: tuple[XY, XY]) -> bool:
    """Whether two edges have a point in common."""
    (a, b), (c, d) = one, other
    s1, s2, s3, s4 = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if ((s1 > 0) != (s2 > 0)) and ((s3 > 0) != (s4 > 0)) and s1 and s2 and s3 and s4:
        return True
    return (s1 == 0 and _on(a, b, c)) or (s2 == 0 and _on(a, b, d)) or (s3 == 0 and _on(c, d, a)) or (s4 == 0 and _on(c, d, b))


def _crossing(ring: Ring) -> tuple[int, int] | None:
    """The first two edges that meet elsewhere than at their common corner; a spike (an edge going back) counts."""
    edges = _edges(ring)
    for first in range(len(edges)):
        for second in range(first + 1, len(edges)):
            is_next = second == first + 1
            is_last = first == 0 and second == len(edges) - 1
            if not (is_next or is_last):
                if _meet(edges[first], edges[second]):
                    return first, second
                continue
            one, other = (edges[first], edges[second]) if is_next else (edges[second], edges[first])
            a, b, c = one[0], one[1], other[1]
            is_back = (a[0] - b[0]) * (c[0] - b[0]) + (a[1] - b[1]) * (c[1] - b[1]) > 0
            if _side(a, b, c) == 0 and is_back:
                return first, second
    return None


def _holds(ring: Ring, x: float, y: float) -> bool:
    is_inside = False
    for (ax, ay), (bx, by) in _edges(ring):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            is_inside = not is_inside
    return is_inside
