"""Fences as people write them into the settings of the rules, checked, and as the rule uses them.

    [[person.r-0417.geofence.fence]]          # a fence of one person; repeat the header for each
    name = "home"
    shape = "circle"
    centre = [31.2304, 121.4737]              # latitude, longitude
    radius_m = 200

    [[person.r-0417.geofence.fence]]
    name = "river bank"
    kind = "forbidden"
    shape = "polygon"
    points = [[31.2310, 121.4800], [31.2310, 121.4830], [31.2290, 121.4830]]
    holes = [[[31.2308, 121.4822], [31.2308, 121.4826], [31.2304, 121.4826]]]
    datum = "gcj02"                           # as it was drawn: wgs84, gcj02 (AMap, Tencent) or bd09 (Baidu)
    schedule = ["mo-fr 08:00-18:00"]

    [[person.r-0417.geofence.fence]]
    name = "to the clinic"
    kind = "allowed"                          # extends every safe fence while it holds
    shape = "corridor"
    line = [[31.2304, 121.4737], [31.2380, 121.4800]]
    width_m = 120
    begins = 2026-11-24T09:00:00+08:00
    ends = 2026-11-24T12:00:00+08:00

`[[site.geofence.area]]` and `[[group.TAG.geofence.area]]` hold fences of the same form for everyone in that scope, besides their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import floor, inf
from typing import Literal, NamedTuple

import msgspec

from drivers.vocabulary import Datum
from gateway.rules import schedule as times
from gateway.rules.contract import Faults, Values
from gateway.rules.datum import to_wgs84
from gateway.rules.geofence_state import scale_at
from gateway.rules.geometry import Circle, Corridor, GeometryError, Grid, Polygon, Shape

Point = tuple[float, float]
MOST_POINTS = 2000
DEEP_M = 600.0
"""So far on the allowed side of its border a fence learns nothing from a fix: even Wi-Fi and drift indoors do not reach it."""
_CELL = 1000.0
_CELL_M = 80.0
"""Plans are kept for cells of 1/1000 degree; half their diagonal is below this."""
_MOST_CELLS = 64
_FORMS: dict[str, tuple[str, ...]] = {"circle": ("centre", "radius_m"), "polygon": ("points",), "corridor": ("line", "width_m")}


class Fence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fence. Points are `[latitude, longitude]` in `datum`.

    `kind`: `safe` (stay inside), `forbidden` (stay outside), `allowed` (extends the safe fences while it holds).
    `shape` with its keys: `circle` centre, radius_m; `polygon` points, holes; `corridor` line, width_m.
    `schedule` when it watches, in `zone` (default: that of the person); `begins`, `ends` bound it, for appointments.
    `level`: `notice` never rises to an alarm (the inner of two nested fences). `not_back_by` HH:MM: outside at this time is NOT_BACK.
    `margin_m` is added outside the border. `min_trip_min`: only trips that last longer are told. `dwell_min`: staying inside so long
    is told as GEOFENCE_DWELL (0 = not).
    """

    name: str
    shape: Literal["circle", "polygon", "corridor"]
    kind: Literal["safe", "forbidden", "allowed"] = "safe"
    centre: Point | None = None
    radius_m: float | None = None
    points: list[Point] | None = None
    holes: list[list[Point]] = []
    line: list[Point] | None = None
    width_m: float | None = None
    datum: Datum = Datum.WGS84
    schedule: list[str] = msgspec.field(default_factory=lambda: ["always"])
    zone: str = ""
    begins: datetime | None = None
    ends: datetime | None = None
    level: Literal["notice", "alarm"] = "alarm"
    not_back_by: str = ""
    margin_m: float = 0.0
    min_trip_min: float = 0.0
    dwell_min: float = 0.0


def fence_faults(fences: list[Fence]) -> Faults | None:
    """Everything that is wrong with a list of fences: path inside the list and what was expected (`Setting.check`)."""
    faults: Faults = []
    names: set[str] = set()
    for number, fence in enumerate(fences):
        if not fence.name.strip() or "|" in fence.name:
            faults.append(((number, "name"), f"expected a name without |, got {fence.name!r}"))
        if fence.name in names:
            faults.append(((number, "name"), f"expected a name of its own, got {fence.name!r} again"))
        names.add(fence.name)
        faults += [((number, *path), text) for path, text in (*_time_faults(fence), *_form_faults(fence))]
    return faults or None


def _time_faults(fence: Fence) -> Faults:
    faults: Faults = []
    text = times.schedule_fault(fence.schedule)
    if text is None:
        empty = [entry for entry in fence.schedule if entry != "never" and _is_empty(entry)]
        text = f"a window of some length, got {empty[0]!r} (the whole day is 00:00-24:00)" if empty else None
    if text:
        faults.append((("schedule",), f"expected {text}"))
    if fence.zone and times.zone_fault(fence.zone):
        faults.append((("zone",), f"expected {times.zone_fault(fence.zone)}, got {fence.zone!r}"))
    if fence.not_back_by and times.minute_fault(fence.not_back_by):
        faults.append((("not_back_by",), f"expected HH:MM, got {fence.not_back_by!r}"))
    if fence.not_back_by and fence.kind != "safe":
        faults.append((("not_back_by",), "expected on safe fences only"))
    for name in ("begins", "ends"):
        moment = getattr(fence, name)
        if moment is not None and moment.tzinfo is None:
            faults.append(((name,), f"expected a time with its offset such as 2026-11-24T09:00:00+08:00, got {moment.isoformat()}"))
            return faults
    if fence.begins and fence.ends and fence.begins >= fence.ends:
        faults.append((("ends",), "expected a time after `begins`"))
    for name, high in (("margin_m", 5000.0), ("min_trip_min", 1440.0), ("dwell_min", 10080.0)):
        if not 0.0 <= getattr(fence, name) <= high:
            faults.append(((name,), f"expected 0..{high:g}, got {getattr(fence, name):g}"))
    return faults


def _is_empty(entry: str) -> bool:
    window = times.parse_entry(entry).window
    return window.start == window.end


def _form_faults(fence: Fence) -> Faults:
    needed = _FORMS[fence.shape]
    missing = [name for name in needed if getattr(fence, name) is None]
    if missing:
        return [(("shape",), f"expected {' and '.join(needed)} with a {fence.shape}, missing {', '.join(missing)}")]
    foreign = [name for form in _FORMS.values() for name in form if name not in needed and getattr(fence, name) is not None]
    if foreign or (fence.holes and fence.shape != "polygon"):
        return [((foreign[0] if foreign else "holes",), f"expected with another shape than {fence.shape} only")]
    if sum(map(len, (fence.points or [], fence.line or [], *fence.holes))) > MOST_POINTS:
        return [((needed[0],), f"expected at most {MOST_POINTS} points")]
    try:
        shape_of(fence)
    except GeometryError as error:
        return [((needed[0],), f"expected {error}")]
    return []


def shape_of(fence: Fence) -> Shape:
    """The shape in WGS-84. Raises GeometryError."""

    def moved(points: Sequence[Point]) -> list[Point]:
        _in_range(points)
        return [to_wgs84(lat, lon, fence.datum) for lat, lon in points]

    if fence.shape == "circle":
        assert fence.centre is not None and fence.radius_m is not None
        return Circle(*moved([fence.centre])[0], fence.radius_m)
    if fence.shape == "polygon":
        assert fence.points is not None
        return Polygon(moved(fence.points), [moved(hole) for hole in fence.holes])
    assert fence.line is not None and fence.width_m is not None
    return Corridor(moved(fence.line), fence.width_m)


def _in_range(points: Sequence[Point]) -> None:
    for lat, lon in points:
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            raise GeometryError(f"latitude -90..90 and longitude -180..180, got {lat:g}, {lon:g}")


class Area:
    """A fence ready for use. `sign` turns the distance round for forbidden ones: positive is always where nobody should be."""

    __slots__ = ("_begins_ms", "_distance_m", "_ends_ms", "_margin_m", "fence", "is_always", "name", "schedule", "shape", "sign", "zone")

    def __init__(self, fence: Fence, zone: str) -> None:
        self.fence = fence
        self.name = fence.name
        self.shape = shape_of(fence)
        self._distance_m, self._margin_m = self.shape.distance_m, fence.margin_m
        self.sign = -1.0 if fence.kind == "forbidden" else 1.0
        self.zone = fence.zone or zone
        self.schedule = tuple(fence.schedule)
        self._begins_ms = round(fence.begins.timestamp() * 1000) if fence.begins else 0
        self._ends_ms = round(fence.ends.timestamp() * 1000) if fence.ends else 1 << 62
        self.is_always = any(entry.strip().lower() == "always" for entry in fence.schedule)

    def beyond_m(self, lat: float, lon: float) -> float:
        """Metres on the wrong side of the border (with its margin), negative where all is well."""
        return self.sign * self._distance_m(lat, lon) - self._margin_m

    def is_active(self, ms: int, holidays: tuple[str, ...] = ()) -> bool:
        """Whether the fence watches at a moment."""
        if not self._begins_ms <= ms < self._ends_ms:
            return False
        return self.is_always or times.is_active(self.schedule, ms, self.zone, holidays)

    def next_change(self, ms: int, holidays: tuple[str, ...] = ()) -> int | None:
        """The next moment at which that may change."""
        edges = [edge for edge in (self._begins_ms, self._ends_ms) if ms < edge < 1 << 62]
        change = None if self.is_always else times.next_change(self.schedule, ms, self.zone, holidays)
        return min([*edges, *([change] if change is not None else [])], default=None)


class Plan(NamedTuple):
    """What a fix in one cell concerns: each area with the most that a place in the cell can lie beyond its border (infinite where the
    area wants to see every fix), and the metres of a degree of longitude there."""

    areas: tuple[tuple[Area, float], ...]
    scale: float


class FenceSet:
    """All fences of one person: its own, and those of its site or group through the grid they share."""

    __slots__ = ("_own", "_plans", "_shared", "allowed", "by_name")

    def __init__(self, own: Sequence[Area], shared: SharedAreas) -> None:
        self._own = [area for area in own if area.fence.kind != "allowed"]
        self._shared = shared
        self.allowed = [area for area in (*own, *shared.areas) if area.fence.kind == "allowed"]
        # Of two with one name the person's own counts.
        self.by_name = {area.name: area for area in (*shared.areas, *own) if area.fence.kind != "allowed"}
        self._plans: dict[tuple[int, int], Plan] = {}

    def watched(self, lat: float, lon: float) -> Plan:
        """The fences that a fix here says something about; all others are far on the allowed side."""
        cell = (floor(lat * _CELL), floor(lon * _CELL))
        plan = self._plans.get(cell)
        if plan is None:
            if len(self._plans) >= _MOST_CELLS:
                self._plans.clear()
            middle = (cell[0] + 0.5) / _CELL
            plan = self._plans[cell] = Plan(self._near(middle, (cell[1] + 0.5) / _CELL), scale_at(middle))
        return plan

    def _near(self, lat: float, lon: float) -> tuple[tuple[Area, float], ...]:
        """For the middle of a cell, so that it does not matter which fix was the first there."""
        near = [area for area in (*self._shared.near(lat, lon), *self._own) if self.by_name[area.name] is area]
        found = [(area, area.beyond_m(lat, lon) + _CELL_M) for area in near]
        return tuple((area, inf if area.fence.dwell_min else most_m) for area, most_m in found if most_m > -DEEP_M)


class SharedAreas:
    """Fences of a site or group, found through a grid. A safe one concerns everyone everywhere: outside is where it matters."""

    __slots__ = ("_forbidden", "_grid", "_safe", "areas")

    def __init__(self, areas: Sequence[Area]) -> None:
        self.areas = tuple(areas)
        self._safe = [area for area in areas if area.fence.kind == "safe"]
        self._forbidden = [area for area in areas if area.fence.kind == "forbidden"]
        self._grid = Grid((area.shape for area in self._forbidden), margin_m=DEEP_M + 2 * _CELL_M)

    def near(self, lat: float, lon: float) -> list[Area]:
        """The areas that may matter here."""
        return [*(self._forbidden[number] for number in self._grid.near(lat, lon)), *self._safe]


class Kept(NamedTuple):
    """What a position needs of the settings of one person, ready for use."""

    values: Values
    fences: FenceSet
    late_ms: int
    return_p: float
    missed: int
    unknown_ms: int


class FenceBook:
    """Compiled fences by person, made when first asked for and again when the settings changed. Pure: a memo, no memory."""

    _MOST = 100_000

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._shared: dict[tuple[int, str], tuple[list[Fence], SharedAreas]] = {}

    def of(self, key: str, values: Values) -> Kept:
        """The fences of a person under the settings in force."""
        found = self._kept.get(key)
        if found is not None and found.values is values:
            return found
        if len(self._kept) >= self._MOST:
            self._kept.clear()
        own, areas, zone = values["fence"], values["area"], values["zone"]
        found = self._kept[key] = Kept(
            values=values,
            fences=FenceSet([Area(fence, zone) for fence in own], self._areas(areas, zone)),
            late_ms=values["late_min"] * times.MINUTE_MS,
            return_p=values["return_p"],
            missed=values["missed_reports"],
            unknown_ms=values["unknown_min"] * times.MINUTE_MS,
        )
        return found

    def _areas(self, areas: list[Fence], zone: str) -> SharedAreas:
        found = self._shared.get((id(areas), zone))
        if found is None or found[0] is not areas:
            if len(self._shared) >= 64:
                self._shared.clear()
            # The list itself is kept, so that its id cannot come to mean another one.
            found = self._shared[id(areas), zone] = (areas, SharedAreas([Area(fence, zone) for fence in areas]))
        return found[1]
