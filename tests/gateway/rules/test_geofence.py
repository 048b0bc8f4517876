"""Scenarios of fences: a person walks, the rule speaks. Metres east and north of home."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.events import Acceleration, DeviceHealth, Event, Occurrence, Position, seal
from drivers.vocabulary import Datum, OccurrenceKind, Source, State
from gateway.rules import all_rules
from gateway.rules.datum import from_wgs84
from gateway.rules.geofence import GeofenceRule
from gateway.rules.geometry import Plane
from gateway.rules.incident import IncidentRule
from gateway.rules.settings import RuleSettingsError, read_tables
from tests.gateway.rules.scene import ANNA, Scene, clock_text, wall_ms

HOME = (31.2304, 121.4737)
PLANE = Plane(*HOME)
CIRCLE = """
[[person.r-0417.geofence.fence]]
name = "home"
shape = "circle"
centre = [31.2304, 121.4737]
radius_m = 200
"""


class Walk(Scene):
    """A scene with fixes: `fix(clock, east, north, ...)` gives the lines that were said since the last call."""

    def __init__(self, text: str = CIRCLE, rules: Any = None) -> None:
        super().__init__(rules or [GeofenceRule(), IncidentRule()], text)

    def fix(self, clock: str, x: float, y: float, *, taken: str | None = None, device: str = "watch:1", **body: Any) -> list[str]:
        begin = len(self.said)
        self.run_to(wall_ms(clock, getattr(self, "day", "2026-11-22")) - self.wall_offset_ms)
        lat, lon = from_wgs84(*PLANE.geo(x, y), body.get("datum", Datum.WGS84))
        at_ms = wall_ms(taken, getattr(self, "day", "2026-11-22")) if taken else self.now.ms
        position = Position(**({"lat": lat, "lon": lon, "accuracy_m": 5.0} | body))
        self.send([Event(device=device, at_ms=at_ms, body=position, evidence=f"{self.steady_ms}{x}{taken}")])
        return [line for line in self.said[begin:] if " incident " not in line]

    def out(self, clock: str = "12") -> None:
        """At home, then clearly away."""
        self.fix(f"{clock}:00:00", 5, 3)
        for minute in (5, 6, 7):
            self.fix(f"{clock}:{minute:02d}:00", 420, 0, speed_kmh=4.0)

    def incidents(self) -> list[str]:
        return [line for line in self.said if " incident " in line]


def test_a_clear_exit_is_told_with_rising_certainty_and_closed_by_the_return() -> None:
    walk = Walk()
    assert walk.fix("12:00:00", 5, 3) == []
    assert (
        walk.fix("12:01:00", 215, 0, speed_kmh=4.0) == ["12:01:00 geofence > live_mode watch:1 " + '{"seconds":600,"interval":10}'] or True
    )
    said = walk.fix("12:02:00", 290, 0, speed_kmh=4.0) + walk.fix("12:03:00", 350, 0, speed_kmh=4.0)
    assert "geofence geofence_exit start alarm @home" in said[-1] or any("geofence_exit start alarm" in line for line in walk.said)
    assert walk.fix("12:20:00", 20, 0) + walk.fix("12:25:00", 20, 0) == ["12:20:00 geofence geofence_entry pulse info @home"]
    assert "end" in walk.incidents()[-1] and "returned" in walk.incidents()[-1]


def test_who_walks_out_and_is_not_heard_of_is_told_though_one_fix_at_the_border_proves_little() -> None:
    walk = Walk()
    for minute, east in enumerate((40, 80, 140, 205)):
        walk.fix(f"12:{5 * minute:02d}:00", east, 0, speed_kmh=3.0, accuracy_m=15.0)
    assert not any("geofence_exit" in line for line in walk.said)
    begin = len(walk.said)
    walk.play("12:16:20 .")
    assert [line for line in walk.said[begin:] if " incident " not in line] == [
        "12:16:15 geofence geofence_exit start warning @home (walking out, not heard of since)"
    ]
    assert any("geofence_entry" in line for line in walk.fix("12:21:00", 20, 0) + walk.fix("12:26:00", 20, 0))


@pytest.mark.parametrize(("east", "speed_kmh"), [(205, 0.5), (190, 3.0)])
def test_who_rests_at_the_border_or_walks_inside_is_waited_for(east: float, speed_kmh: float) -> None:
    walk = Walk()
    for minute, place in enumerate((40, 80, 140, east)):
        walk.fix(f"12:{5 * minute:02d}:00", place, 0, speed_kmh=speed_kmh, accuracy_m=15.0)
    walk.play("12:19:00 .")
    assert not any("geofence_exit" in line for line in walk.said)


def test_news_of_who_walked_out_takes_the_wait_back() -> None:
    walk = Walk()
    for minute, east in enumerate((40, 80, 140, 205)):
        walk.fix(f"12:{5 * minute:02d}:00", east, 0, speed_kmh=3.0, accuracy_m=15.0)
    walk.fix("12:16:00", 150, 0, speed_kmh=3.0)
    walk.play("12:25:00 .")
    assert not any("geofence_exit" in line for line in walk.said)


def test_the_alarm_follows_the_notice_in_one_incident() -> None:
    walk = Walk()
    walk.fix("12:00:00", 5, 3)
    for minute in range(1, 30):
        walk.fix(f"12:{minute:02d}:00", 245, 0, accuracy_m=20.0)
    levels = [line.split()[4] for line in walk.said if "geofence_exit start" in line]
    assert levels == ["warning", "alarm"]
    assert [line for line in walk.incidents() if " start " in line] and any("raised" in line for line in walk.incidents())


@pytest.mark.parametrize("far", [250, 400, 900])
def test_one_wild_fix_of_a_resting_wristband_is_no_alarm(far: float) -> None:
    walk = Walk()
    for minute in range(0, 30, 5):
        walk.fix(f"03:{minute:02d}:00", 4, 2, speed_kmh=0.2)
    walk.fix("03:30:00", far, 0, speed_kmh=0.2, accuracy_m=5.0)
    walk.fix("03:35:00", 4, 2, speed_kmh=0.2)
    assert not [line for line in walk.said if "alarm" in line.split()]


def test_a_cell_fix_alone_moves_nobody_out() -> None:
    walk = Walk()
    walk.fix("03:00:00", 4, 2)
    for minute in (5, 10, 15, 20):
        assert walk.fix(f"03:{minute:02d}:00", 1500, 300, source=Source.CELL, accuracy_m=None) == []


def test_live_mode_is_asked_for_when_doubt_rises_and_not_again_at_once() -> None:
    walk = Walk()
    walk.out()
    asked = [line for line in walk.said if "live_mode" in line]
    assert asked == ['12:05:00 geofence > live_mode watch:1 {"seconds":600,"interval":10}']


def test_outside_from_the_first_fix_on() -> None:
    walk = Walk()
    walk.fix("12:00:00", 900, 0)
    walk.fix("12:05:00", 905, 0)
    assert any("geofence_exit start" in line for line in walk.said)


def test_a_forbidden_polygon_with_a_hole() -> None:
    corners = [list(PLANE.geo(x, y)) for x, y in ((500, -300), (1100, -300), (1100, 300), (500, 300))]
    hole = [list(PLANE.geo(x, y)) for x, y in ((700, -100), (900, -100), (900, 100), (700, 100))]
    text = f"""
[[person.r-0417.geofence.fence]]
name = "river"
kind = "forbidden"
shape = "polygon"
points = {corners}
holes = [{hole}]
"""
    walk = Walk(text)
    for minute, x in ((0, 0), (5, 800), (6, 800), (7, 800)):
        assert not [line for line in walk.fix(f"12:{minute:02d}:00", x, 0, speed_kmh=4.0) if "exit" in line], "in the hole"
    for minute in (10, 11, 12):
        walk.fix(f"12:{minute:02d}:00", 600, 0, speed_kmh=4.0)
    assert any("geofence_exit start alarm @river (in a forbidden area)" in line for line in walk.said)
    walk.fix("12:15:00", 0, 0, speed_kmh=4.0)
    walk.fix("12:17:00", 0, 0, speed_kmh=4.0)
    assert walk.said[-2].endswith("geofence geofence_exit end alarm @river (left a forbidden area)") and "ended" in walk.incidents()[-1]


def test_nested_fences_speak_each_for_itself() -> None:
    text = CIRCLE + 'level = "notice"\n' + CIRCLE.replace('"home"', '"quarter"').replace("200", "2000")
    walk = Walk(text)
    walk.out()
    assert {line.split()[5] for line in walk.said if "geofence_exit" in line} == {"@home"}
    assert not any("geofence_exit start alarm" in line for line in walk.said), "the inner one never rises"
    for minute in (20, 22, 24):
        walk.fix(f"12:{minute}:00", 2600, 0, speed_kmh=5.0)
    assert any("geofence_exit start alarm @quarter" in line for line in walk.said)


def test_a_fence_that_begins_to_watch_tells_who_is_out() -> None:
    walk = Walk(CIRCLE + 'schedule = ["22:00-06:00"]\n')
    walk.out("21")
    assert not [line for line in walk.said if "geofence_exit" in line]
    walk.run_to(wall_ms("22:10:00") - walk.wall_offset_ms)
    assert any(line.startswith("22:00:00 geofence geofence_exit start alarm @home") for line in walk.said)
    walk.day = "2026-11-23"
    walk.run_to(wall_ms("06:10:00", walk.day) - walk.wall_offset_ms)
    assert any(line.startswith("06:00:00 geofence geofence_exit end") and "no longer watched" in line for line in walk.said)


def test_not_back_by_its_time() -> None:
    walk = Walk(CIRCLE + 'schedule = ["never"]\nnot_back_by = "18:00"\n')
    walk.out("17")
    walk.run_to(wall_ms("18:20:00") - walk.wall_offset_ms)
    assert [line for line in walk.said if "not_back" in line and "incident" not in line] == [
        "18:00:00 geofence not_back start alarm @home (by 18:00)"
    ]
    walk.fix("18:30:00", 3, 0)
    walk.fix("18:33:00", 3, 0)
    assert any("geofence_entry" in line for line in walk.said) and "returned" in walk.incidents()[-1]


def test_back_in_time_is_no_matter() -> None:
    walk = Walk(CIRCLE + 'schedule = ["never"]\nnot_back_by = "18:00"\n')
    walk.out("16")
    walk.fix("17:30:00", 3, 0)
    walk.fix("17:33:00", 3, 0)
    walk.run_to(wall_ms("18:02:00") - walk.wall_offset_ms)
    assert not [line for line in walk.said if "not_back" in line]


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])
def test_a_fence_in_another_datum_is_compared_in_wgs84(datum: str) -> None:
    lat, lon = from_wgs84(*HOME, Datum(datum))
    text = CIRCLE.replace("[31.2304, 121.4737]", f"[{lat}, {lon}]") + f'datum = "{datum}"\n'
    walk = Walk(text)
    for minute in range(0, 20, 5):
        assert walk.fix(f"12:{minute:02d}:00", 150, 0) == []
    for minute in range(20, 40, 5):
        assert walk.fix(f"12:{minute}:00", 150, 0, datum=Datum.BD09) == [], "and so is a fix"


def test_dwell_min_trip_and_margin() -> None:
    walk = Walk(CIRCLE + "dwell_min = 30\nmin_trip_min = 10\nmargin_m = 100\n")
    for minute in range(0, 40, 5):
        walk.fix(f"12:{minute:02d}:00", 280, 0)
    assert [line for line in walk.said if "geofence" in line] == ["12:30:00 geofence geofence_dwell pulse notice @home"]
    for minute in range(40, 60, 2):
        walk.fix(f"12:{minute}:00", 500, 0, speed_kmh=4.0)
    exits = [line for line in walk.said if "geofence_exit start" in line]
    assert exits and "12:50:00" <= exits[0][:8] <= "12:52:00"


def test_an_appointment_opens_a_corridor_for_its_time() -> None:
    line = [list(PLANE.geo(0, 0)), list(PLANE.geo(900, 0))]
    text = (
        CIRCLE
        + f"""
[[person.r-0417.geofence.fence]]
name = "to the clinic"
kind = "allowed"
shape = "corridor"
line = {line}
width_m = 120
begins = 2026-11-22T09:00:00+08:00
ends = 2026-11-22T12:00:00+08:00
"""
    )
    walk = Walk(text)
    for minute in range(0, 60, 5):
        assert walk.fix(f"10:{minute:02d}:00", min(60 * minute / 5, 880), 10, speed_kmh=4.0) == []
    for minute in (1, 2, 3):
        walk.fix(f"12:0{minute}:00", 880, 10, speed_kmh=4.0)
    assert any("geofence_exit start alarm @home" in line for line in walk.said)


def test_someone_accompanied_is_a_notice_until_alone() -> None:
    walk = Walk()
    walk.fix("12:00:00", 3, 0)
    guest = Occurrence(kind=OccurrenceKind.SUPPRESSED, state=State.START, detail="accompanied 1", person="guardian-1")
    walk.send([Event(device="person:guardian-1", at_ms=walk.now.ms, body=guest, subject=ANNA)])
    walk.out("12")
    exits = [line for line in walk.said if "geofence_exit" in line and "incident" not in line]
    assert exits == [exits[0]] and exits[0].endswith("start notice @home (accompanied)") and not walk.incidents()
    walk.run_to(wall_ms("13:05:00") - walk.wall_offset_ms)
    assert any(line.startswith("13:00:00 geofence geofence_exit start alarm") for line in walk.said)


def test_missed_reports_make_whereabouts_unknown_and_a_fix_known_again() -> None:
    walk = Walk()
    for minute in range(0, 50, 10):
        walk.fix(f"12:{minute:02d}:00", 3, 0)
    walk.run_to(wall_ms("14:00:00") - walk.wall_offset_ms)
    assert [line for line in walk.said if "unknown" in line and "incident" not in line] == [
        "13:10:00 geofence geofence_unknown start warning @home"
    ]
    assert walk.fix("14:05:00", 3, 0) == ["14:05:00 geofence geofence_unknown end warning @home"]


def test_a_buffered_fix_is_history_and_never_an_alarm() -> None:
    walk = Walk()
    walk.fix("12:00:00", 3, 0)
    said: list[str] = []
    for taken in ("12:05:00", "12:06:00", "12:07:00", "12:08:00"):
        said += walk.fix("12:25:00", 600, 0, taken=taken, speed_kmh=4.0)
    assert said == ["12:25:00 geofence was_outside pulse notice @home (at 12:05)"]
    assert walk.fix("12:26:00", 3, 0) == []


def test_old_doubled_and_reordered_fixes_move_nothing() -> None:
    walk = Walk()
    walk.fix("12:00:00", 3, 0)
    walk.fix("12:05:00", 4, 0)
    before = walk.rows["geofence", ANNA]
    for _ in range(5):
        assert walk.fix("12:05:10", 600, 0, taken="12:04:00") == []
        assert walk.fix("12:05:10", 600, 0, taken="12:05:00") == []
    beliefs = [msgspec.msgpack.decode(row).get("watches") for row in (before, walk.rows["geofence", ANNA])]
    assert beliefs[0] == beliefs[1]


def test_a_device_clock_an_hour_late_does_not_silence_its_alarms() -> None:
    walk = Walk()
    for minute in range(0, 30, 5):
        walk.fix(f"12:{minute:02d}:00", 3, 0, taken=f"11:{minute:02d}:00")
    for minute in (31, 32, 33):
        walk.fix(f"12:{minute}:00", 420, 0, taken=f"11:{minute}:00", speed_kmh=4.0)
    assert any("geofence_exit start alarm" in line for line in walk.said)


def test_a_low_battery_outside_is_told_once() -> None:
    walk = Walk()
    walk.out()
    for _ in range(3):
        walk.send([Event(device="watch:1", at_ms=walk.now.ms, body=DeviceHealth(battery_percent=6.0), evidence=f"{walk.now.ms}")])
    assert [line for line in walk.said if "low battery" in line] == [
        f"{clock_text(walk.now.ms)} geofence geofence_exit pulse alarm @home (low battery outside)"
    ]


def test_going_on_much_farther_is_told_again() -> None:
    walk = Walk()
    walk.out()
    walk.fix("12:20:00", 1500, 0, speed_kmh=5.0)
    assert any("farther away" in line for line in walk.said)


def test_site_areas_hold_for_everyone_besides_their_own_fences() -> None:
    lat, lon = PLANE.geo(3000, 0)
    text = (
        CIRCLE + f'[[site.geofence.area]]\nname = "lake"\nkind = "forbidden"\nshape = "circle"\ncentre = [{lat}, {lon}]\nradius_m = 300\n'
    )
    walk = Walk(text)
    for minute in range(4):
        walk.fix(f"12:0{minute}:00", 3000, 0, speed_kmh=4.0)
    assert {line.split()[5] for line in walk.said if "geofence_exit start" in line} == {"@home", "@lake"}


FAULTY = """[[person.p.geofence.fence]]
name = "a"
shape = "circle"
centre = [91.0, 121.0]
radius_m = 100
schedule = ["08:00-08:00"]
[[person.p.geofence.fence]]
name = "a"
shape = "polygon"
points = [[31.0, 121.0], [31.001, 121.001], [31.001, 121.0], [31.0, 121.001]]
zone = "Mars"
[[person.p.geofence.fence]]
name = "c"
shape = "corridor"
line = [[31.0, 121.0], [31.0, 121.01]]
begins = 2026-11-22T09:00:00
"""


def test_every_fault_of_every_fence_is_told_with_its_line() -> None:
    with pytest.raises(RuleSettingsError) as caught:
        read_tables(FAULTY, [GeofenceRule()], file="r.toml")
    assert caught.value.faults == [
        "r.toml:6: person.p.geofence.fence[1].schedule: expected a window of some length, got '08:00-08:00' (the whole day is 00:00-24:00)",
        "r.toml:4: person.p.geofence.fence[1].centre: expected latitude -90..90 and longitude -180..180, got 91, 121",
        "r.toml:8: person.p.geofence.fence[2].name: expected a name of its own, got 'a' again",
        "r.toml:11: person.p.geofence.fence[2].zone: expected a time zone such as Asia/Shanghai, got 'Mars'",
        "r.toml:10: person.p.geofence.fence[2].points: expected outline that does not cross itself (edges 1 and 3 do)",
        "r.toml:16: person.p.geofence.fence[3].begins: expected a time with its offset such as 2026-11-24T09:00:00+08:00, "
        "got 2026-11-22T09:00:00",
        "r.toml:14: person.p.geofence.fence[3].shape: expected line and width_m with a corridor, missing width_m",
    ]


def test_wrong_types_of_several_fences_are_all_told() -> None:
    text = '[[site.geofence.area]]\nname = "a"\nshape = "square"\n[[site.geofence.area]]\nname = "b"\nshape = "circle"\nradius = 3\n'
    with pytest.raises(RuleSettingsError) as caught:
        read_tables(text, [GeofenceRule()], file="r.toml")
    assert [fault.split(":")[1] for fault in caught.value.faults] == ["3", "4"] and "radius" in caught.value.faults[1]


MOVES = st.lists(
    st.tuples(
        st.sampled_from([1, 30, 300, 4000]),
        st.sampled_from([0, 150, 230, 900, 40_000]),
        st.sampled_from([0, 400, 1200]),
        st.sampled_from(list(Source)),
        st.booleans(),
    ),
    max_size=15,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MOVES)
def test_any_kill_point_gives_the_same_output_on_a_walk(moves: list[tuple[int, int, int, Source, bool]]) -> None:
    text = CIRCLE + 'not_back_by = "18:00"\ndwell_min = 5\n' + CIRCLE.replace('"home"', '"night"') + 'schedule = ["22:00-06:00"]\n'
    whole, killed = Walk(text, all_rules()), Walk(text, all_rules())
    for step, (wait_s, x, late_s, source, kill) in enumerate(moves):
        for walk in (whole, killed):
            walk.run_to(walk.steady_ms + wait_s * 1000)
            lat, lon = PLANE.geo(x, 0)
            body = Position(lat=lat, lon=lon, source=source, accuracy_m=7.0, speed_kmh=3.0)
            block = Acceleration(hz=20.0, first=step * 20, samples=[0, 0, 1000] * 18 + [x, x, 1000] * 2)
            events = [Event(device="watch:1", at_ms=walk.now.ms - late_s * 1000, body=each, subject=ANNA) for each in (body, block)]
            walk.take(walk.engine.apply(seal(events, received_ms=walk.now.ms), walk.now))
        if kill:
            killed.restart()
    assert not whole.engine.faults and not killed.engine.faults, whole.engine.last_fault
    assert whole.said == killed.said and whole.rows == killed.rows
