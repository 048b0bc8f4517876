"""What is believed of a person and each of its fences: one probability "on the wrong side" per fence, moved by every fix.

Between fixes the belief relaxes: people go out (sooner while they move) and come back. A fix at signed distance d with error s says
"outside" with (1-e) Phi(d/s) + e/2, where e is the chance that the fix is wrong altogether: small, larger for a jump that nobody walks,
for one of a wristband that reports rest, for Wi-Fi, largest for cells. Errors of poor fixes drift together for minutes, so a poor fix
soon after another counts for little. Neither HDOP nor satellites nor the reported accuracy predict the error well; how much a device
understates is learnt from the spread of its fixes round the place where it rests.

The constants were fitted on simulated person-days (`bench/geofence.py` measures them on others); thresholds are settings.
"""

from __future__ import annotations

from math import cos, erfc, exp, hypot, log, radians, sqrt

import msgspec

from drivers.events import Position
from drivers.vocabulary import Source
from gateway.rules.contract import RuleState

HOUR_S = 3600.0
GO_WALKING_S, GO_MOVING_S, GO_RESTING_S, GO_S = 0.18 * HOUR_S, 0.24 * HOUR_S, 6.9 * HOUR_S, 3.65 * HOUR_S
"""Mean time until somebody inside goes out: while the wristband reports movement with two fixes running, with one of the last two,
rest, or no speed."""
BACK_S = 2.6 * HOUR_S
"""Mean time until somebody outside is back, for beliefs without news."""
FLOOR, CEILING, FIRST = 0.013, 0.999, 0.05
"""Bounds of the belief and its start: a person may be out from the first fix on."""
WRONG, WRONG_JUMP, WRONG_REST, WRONG_WIFI, WRONG_CELL = 0.0032, 0.022, 0.0073, 0.0061, 0.73
JUMP_MPS, REST_JUMP_M, REST_KMH = 0.9, 204.0, 0.63 * 3.6
LEAST_M, LEAST_WIFI_M, LEAST_CELL_M, NO_ACCURACY_M = 5.3, 20.0, 1200.0, 20.0
WIFI_SHARE = 0.56
"""Error across a border as a share of the radius that a Wi-Fi fix claims."""
AHEAD_M = 4.8
"""Who walks away from a border has got farther since the fix was taken."""
SILENT_S, CROSS_LEAST = 75.0, 0.25
"""Who walked out across a border and is not heard of for so long is told, from that belief on."""
STAYS_OUT, LEAST_PACE, USUAL_PACE = 0.97, 0.3, 0.5
"""Chance to be out still after that time; pace away from the border as a share of the speed: at least, and where it is not known."""
GOOD_M = 6.2
"""Fixes that claim better are taken as independent of one another."""
DRIFT_S, DRIFT_MOVING_S = 276.0, 5.0
"""Correlation time of the errors of poor fixes."""
SPREAD_UP, SPREAD_DOWN, SPREAD_LOW, SPREAD_HIGH, SPREAD_STEP = 0.073, 0.0085, 0.65, 5.5, 8.0
SPREAD_LEAST_M = 6.0
"""Claims better than this are not held against a device when the spread is learnt."""
ANCHOR_STEP = 0.073
_M_PER_DEG = 111_195.0
_GNSS, _CELL, _NONE = Source.GNSS, Source.CELL, Source.NONE
"""Members as names of the module: looking one up in its class costs more than the comparison."""
_SQRT2 = sqrt(2.0)


INSIDE_M = -1e6
"""Well inside: where nobody looks at the metres."""


class Watch(msgspec.Struct, omit_defaults=True):
    """One fence: belief `p`, `level` told (0 none, 1 notice, 2 alarm), id of the event that opened it, metres beyond the border when
    last told and least since, fix time (ms) until which WAS_OUTSIDE has been told. Flags: told as accompanied, late, staying, in peril.
    `beyond_m` at the last fix, `soon_p` what is believed if nothing is heard for a while after it.
    """

    p: float = FLOOR
    level: int = 0
    cause: str = ""
    told_m: float = 0.0
    low_m: float = 0.0
    was_ms: int = 0
    is_noted: bool = False
    is_late: bool = False
    is_dwelling: bool = False
    is_weak: bool = False
    beyond_m: float = INSIDE_M
    soon_p: float = 0.0


class GeofenceState(RuleState):
    """One person.

    `fix_ms` time of the newest fix taken, with the event and device that brought it; `seen_ms` steady time of it. `lat`, `lon`
    (WGS-84), `gnss_ms`, `was_moving` of the last satellite fix. `anchor_*` where the wristband rests, `spread` squared ratio of real
    to claimed error there; `in_doubt`: somewhere it may be out, and nothing is learnt. `gap_ms` longest usual silence, `offset_ms`
    clock error of the device with the evidence for it. `unknown` fence whose whereabouts are told as unknown. `escort_ms`, `live_ms`
    steady times: accompanied until, live mode asked at.
    """

    fix_ms: int = 0
    seen_ms: int = 0
    last: str = ""
    device: str = ""
    lat: float = 0.0
    lon: float = 0.0
    gnss_ms: int = 0
    was_moving: bool = False
    anchor_lat: float = 0.0
    anchor_lon: float = 0.0
    has_anchor: bool = False
    in_doubt: bool = False
    spread: float = 1.0
    gap_ms: int = 0
    offset_ms: int = 0
    lag_ms: int = 0
    lag_count: int = 0
    unknown: str = ""
    escort_ms: int = 0
    live_ms: int = 0
    watches: dict[str, Watch] = {}


class Evidence(msgspec.Struct):
    """What one fix is worth: error `sigma_m`, chance `wrong`, time in which its error drifts (0: independent), pace of the wearer;
    `is_going`: moving now or with the fix before; `is_walking`: both; `speed_mps` 0 while not moving."""

    source: Source
    span_s: float
    is_moving: bool = False
    is_resting: bool = False
    sigma_m: float = LEAST_M
    wrong: float = WRONG
    drift_s: float = 0.0
    is_going: bool = False
    is_walking: bool = False
    speed_mps: float = 0.0


def weigh(state: GeofenceState, body: Position, lat: float, lon: float, *, at_ms: int, scale: float) -> Evidence:
    """The evidence of a fix; learns the spread. `scale`: metres of a degree of longitude here."""
    source = body.source
    was_moving = state.was_moving
    found = Evidence(source, (at_ms - state.fix_ms) / 1000.0 if state.fix_ms else 60.0)
    claimed_m = body.accuracy_m
    if claimed_m is not None and not claimed_m > 0.0:
        claimed_m = None
    if source is _GNSS:
        if body.speed_kmh is not None:
            if body.speed_kmh > REST_KMH:
                found.is_moving = True
                found.speed_mps = body.speed_kmh / 3.6
            else:
                found.is_resting = True
        _weigh_gnss(state, found, claimed_m or NO_ACCURACY_M, (lat, lon, scale), at_ms)
        state.was_moving = found.is_moving
        found.is_going = was_moving or found.is_moving
        found.is_walking = was_moving and found.is_moving
        return found
    found.is_going = was_moving
    found.drift_s = DRIFT_S
    if source is _CELL or source is _NONE:
        found.sigma_m, found.wrong = max(LEAST_CELL_M, claimed_m or 0.0), WRONG_CELL
    else:
        found.sigma_m, found.wrong = max(LEAST_WIFI_M, WIFI_SHARE * (claimed_m or 50.0)), WRONG_WIFI
    return found


def _weigh_gnss(state: GeofenceState, found: Evidence, claimed_m: float, place: tuple[float, float, float], at_ms: int) -> None:
    lat, lon, scale = place
    if state.gnss_ms:
        east = lon - state.lon
        jump_m = hypot((east if -180.0 < east < 180.0 else wrapped(east)) * scale, (lat - state.lat) * _M_PER_DEG)
        if jump_m > JUMP_MPS and jump_m > JUMP_MPS * (at_ms - state.gnss_ms) / 1000.0:
            found.wrong = WRONG_JUMP
        elif jump_m > REST_JUMP_M and found.is_resting:
            found.wrong = WRONG_REST
    spread = state.spread
    sigma_m = sqrt(spread) * claimed_m
    if sigma_m > LEAST_M:
        found.sigma_m = sigma_m
    if claimed_m > GOOD_M:
        found.drift_s = DRIFT_MOVING_S if found.is_moving else DRIFT_S
    if state.has_anchor and not found.is_moving and not state.in_doubt:
        east, north = lon - state.anchor_lon, (lat - state.anchor_lat) * _M_PER_DEG
        east = (east if -180.0 < east < 180.0 else wrapped(east)) * scale
        least_m = claimed_m if claimed_m > SPREAD_LEAST_M else SPREAD_LEAST_M
        ratio = (east * east + north * north) / (2.0 * least_m * least_m)
        if ratio > spread:
            state.spread = min(spread + SPREAD_UP * (min(ratio, SPREAD_STEP) - spread), SPREAD_HIGH)
        elif spread > SPREAD_LOW:
            state.spread = max(spread + SPREAD_DOWN * (ratio - spread), SPREAD_LOW)
    state.lat, state.lon, state.gnss_ms = lat, lon, at_ms


def rest(state: GeofenceState, found: Evidence, lat: float, lon: float, worst: float) -> None:
    """Move the place of rest; `worst` is the highest belief of all fences: in doubt nothing is learnt."""
    if found.source is _CELL:
        return
    state.in_doubt = worst >= 0.2
    if state.in_doubt:
        if found.is_moving or worst > 0.9:
            state.has_anchor = False
        return
    if not state.has_anchor:
        state.anchor_lat, state.anchor_lon, state.has_anchor = lat, lon, True
        return
    step = 0.5 if found.is_moving else ANCHOR_STEP if found.sigma_m <= 30.0 else ANCHOR_STEP * (30.0 / found.sigma_m) ** 2
    east = lon - state.anchor_lon
    state.anchor_lat += step * (lat - state.anchor_lat)
    if -180.0 < east < 180.0:
        state.anchor_lon += step * east
    else:
        state.anchor_lon = wrapped(state.anchor_lon + step * wrapped(east))


def believe(p: float, beyond_m: float, found: Evidence, before_m: float = INSIDE_M) -> float:
    """The belief after a fix `beyond_m` metres on the wrong side (negative: on the right one), `before_m` at the fix before."""
    go_s = GO_WALKING_S if found.is_walking else GO_MOVING_S if found.is_going else GO_RESTING_S if found.is_resting else GO_S
    p += (1.0 - p) * (1.0 - exp(-found.span_s / go_s)) - p * (1.0 - exp(-found.span_s / BACK_S))
    if found.is_moving and beyond_m > before_m:
        beyond_m += AHEAD_M
    out = 0.5 * erfc(-beyond_m / (found.sigma_m * _SQRT2))
    right, blind = 1.0 - found.wrong, found.wrong / 2.0
    weight = 1.0 - exp(-found.span_s / found.drift_s) if found.drift_s else 1.0
    odds = log(p / (1.0 - p)) + weight * log((right * out + blind) / (right * (1.0 - out) + blind))
    return min(max(1.0 / (1.0 + exp(-odds)), FLOOR), CEILING)


def soon(p: float, beyond_m: float, before_m: float, found: Evidence) -> float:
    """The belief `SILENT_S` after a fix on the wrong side, of a walk away from the border; 0 where it was none."""
    speed = found.speed_mps
    if not speed or p < CROSS_LEAST or beyond_m <= max(before_m, 0.0):
        return 0.0
    pace = USUAL_PACE * speed
    if before_m > INSIDE_M:
        pace = min(speed, max(LEAST_PACE * speed, (beyond_m - before_m) / max(found.span_s, 1.0)))
    spread_m = hypot(found.sigma_m, 0.5 * speed * SILENT_S)
    out = 0.5 * erfc(-(beyond_m + pace * SILENT_S) / (spread_m * _SQRT2))
    return STAYS_OUT * p + (1.0 - p) * out


def scale_at(lat: float) -> float:
    """Metres of a degree of longitude."""
    return _M_PER_DEG * cos(radians(lat))


def wrapped(lon: float) -> float:
    """A longitude or difference within -180..180."""
    return lon - 360.0 if lon > 180.0 else lon + 360.0 if lon < -180.0 else lon
