"""The zone of a device's clock, learnt from live frames by every driver whose devices may keep local time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from drivers import registry
from drivers.api import DeviceHealth, Event, Frame, Instant, Stateful
from protocols.tracker import gps103, gt06, gt06_blocks, h02, jt808, jt808_position, minifinder, pt60, trv, watch
from protocols.tracker.fix import CellSeen
from protocols.tracker.zone import NEEDED

IMEI = "861234567890124"
NOW = 1795336215000
HOUR, MINUTE = 3_600_000, 60_000
Write = Callable[[int, bool], bytes]
"""A position whose clock shows these milliseconds; whether it is a stored one."""


def local(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def watch_frame(ms: int, stored: bool) -> bytes:
    body = f"{'UD2' if stored else 'UD'},{local(ms):%d%m%y,%H%M%S},A,31.23,N,121.47,E,0,0,0,9,80,90,0,0,00000000,0,0,0"
    return watch.frame_content(body.encode(), maker="3G", id="8800000015")


def jt808_frame(ms: int, stored: bool) -> bytes:
    body = jt808_position.encode_location(time=f"{local(ms):%y%m%d%H%M%S}", lat=31.23, lon=121.47)
    header = jt808.Header(jt808.phone_bytes("14450376202"))
    if stored:
        return jt808.encode(jt808.Message(jt808.BATCH, header, 1, jt808_position.encode_batch([body], stored=True)))
    return jt808.encode(jt808.Message(jt808.POSITION, header, 1, body))


def gt06_frame(ms: int, stored: bool) -> bytes:
    at = local(ms)
    gps = gt06_blocks.write_gps((at.year - 2000, at.month, at.day, at.hour, at.minute, at.second), 31.23, 121.47)
    content = gps + gt06_blocks.write_cell(CellSeen(460, 0, 6150, 41667)) + bytes((1, 0, stored))
    return gt06.encode(gt06.Packet(0x22, content, 1))


def h02_frame(ms: int, stored: bool) -> bytes:
    return h02.write_v1("4210051415", time=f"{local(ms):%H%M%S}", date=f"{local(ms):%d%m%y}", lat=31.23, lon=121.47)


def gps103_frame(ms: int, stored: bool) -> bytes:
    fields = ("tracker", f"{local(ms):%y%m%d%H%M%S}", "", "L", "", "", "1806", "", "a1b2", "", "", "")
    return gps103.encode(gps103.Line("report", IMEI, fields))


def pt60_frame(ms: int, stored: bool) -> bytes:
    return pt60.encode(pt60.Message("G", pt60.TRACK, IMEI, f"{local(ms):%Y%m%d%H%M%S}", "31.23;121.47"))


def trv_frame(ms: int, stored: bool) -> bytes:
    return trv.encode(trv.TrvMessage("IW", "AP01", trv.position_body(trv.TrvPosition(ms, True, 31.23, 121.47))))


def minifinder_frame(ms: int, stored: bool) -> bytes:
    position = minifinder.MinifinderPosition(ms, 31.23, 121.47, flags=1)
    return minifinder.encode(minifinder.position_message("B" if stored else "D", position))


FRAMES: dict[str, tuple[Write, int]] = {
    "watch": (watch_frame, 0), "jt808": (jt808_frame, 480), "gt06": (gt06_frame, 0), "h02": (h02_frame, 0), "gps103": (gps103_frame, 0),
    "pt60": (pt60_frame, 0), "trv": (trv_frame, 0), "minifinder": (minifinder_frame, 0),
}  # fmt: skip
"""How a position is written, and the minutes that the driver takes the clock for before it has learnt anything."""
KEEP_STORED = ("watch", "jt808", "gt06", "minifinder")
SETTABLE = ("watch", "jt808", "gt06", "h02", "gps103", "pt60")


def driver(name: str, **options: object) -> Stateful:
    made = registry.load(name)(options, f"{name}:{IMEI}")
    assert isinstance(made, Stateful)
    return made


def hear(instance: object, name: str, *, ahead_ms: int, frames: int, begin: int = 0, stored: bool = False) -> list[Event]:
    write, events = FRAMES[name][0], list[Event]()
    for number in range(begin, begin + frames):
        moment = NOW + number * MINUTE
        frame = Frame(data=write(moment + ahead_ms, stored), received=Instant(moment, 1000.0 + number * 60))
        events += instance.receive(frame).events  # type: ignore[attr-defined]  # a driver
    return events


def told(events: list[Event]) -> list[str]:
    found = [event.body.parameters for event in events if isinstance(event.body, DeviceHealth) and event.body.parameters]
    return [parameters["utc_offset_minutes"] for parameters in found if "utc_offset_minutes" in parameters]


@pytest.mark.parametrize("name", FRAMES)
def test_a_zone_is_learnt_told_and_kept(name: str) -> None:
    base = FRAMES[name][1]
    ahead = base + 330
    instance = driver(name)
    first = hear(instance, name, ahead_ms=ahead * MINUTE, frames=NEEDED - 1)
    assert told(first) == []
    assert {event.at_ms - 330 * MINUTE for event in first} <= {NOW + number * MINUTE for number in range(NEEDED)}
    assert told(hear(instance, name, ahead_ms=ahead * MINUTE, frames=1, begin=NEEDED - 1)) == [str(ahead)]
    again = driver(name)
    again.load(instance.dump())
    [at_ms] = {event.at_ms for event in hear(again, name, ahead_ms=ahead * MINUTE, frames=1, begin=9)}
    assert at_ms == NOW + 9 * MINUTE
    assert again.dump() == instance.dump()


@pytest.mark.parametrize("name", KEEP_STORED)
def test_stored_records_teach_no_zone_but_use_it(name: str) -> None:
    base = FRAMES[name][1]
    ahead_ms = (base + 480) * MINUTE
    instance = driver(name)
    assert told(hear(instance, name, ahead_ms=ahead_ms, frames=12, stored=True)) == []
    hear(instance, name, ahead_ms=ahead_ms, frames=NEEDED, begin=20)
    [at_ms] = {event.at_ms for event in hear(instance, name, ahead_ms=ahead_ms, frames=1, begin=30, stored=True)}
    assert at_ms == NOW + 30 * MINUTE


@pytest.mark.parametrize("name", SETTABLE)
def test_a_zone_that_the_installer_set_stands(name: str) -> None:
    instance = driver(name, utc_offset_minutes=60)
    events = hear(instance, name, ahead_ms=9 * HOUR, frames=12)
    assert told(events) == []
    assert {event.at_ms for event in events} == {NOW + 8 * HOUR + number * MINUTE for number in range(12)}


def test_a_login_that_names_another_zone_begins_afresh() -> None:
    instance = driver("gt06")
    hear(instance, "gt06", ahead_ms=8 * HOUR, frames=NEEDED)
    state = instance.dump()
    login = gt06.encode(gt06.Packet(gt06.LOGIN, gt06.write_login(IMEI, offset_minutes=480), 1))
    again = driver("gt06")
    again.receive(Frame(data=login, received=Instant(NOW, 0.0)))  # type: ignore[attr-defined]  # a driver
    again.load(state)
    [at_ms] = {event.at_ms for event in hear(again, "gt06", ahead_ms=8 * HOUR, frames=1, begin=9)}
    assert at_ms == NOW + 9 * MINUTE


@pytest.mark.parametrize("name", FRAMES)
def test_a_clock_that_is_right_is_left_alone(name: str) -> None:
    events = hear(driver(name), name, ahead_ms=FRAMES[name][1] * MINUTE - 4000, frames=12)
    assert told(events) == []
    assert {event.at_ms for event in events} <= {NOW + number * MINUTE - 4000 for number in range(12)} | {
        NOW + number * MINUTE - 5000 for number in range(12)
    }
