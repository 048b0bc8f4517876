"""The eleven points at which the best open tracker server can be beaten, one behaviour test each.

The order is that of the study "Beat it on" in the protocol notes; the details of each are proven beside its protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers import registry
from drivers.api import DeviceHealth, Driver, Frame, Instant, Match, Measurement, Occurrence, Output, Position, Reason, Transport
from drivers.events import epoch_ms, seal
from gateway.rules.contract import Rule
from gateway.rules.datum import to_wgs84
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import RuleEngine
from gateway.rules.geofence import GeofenceRule
from gateway.rules.settings import RuleSettings, read_tables
from gateway.transports.tcp import candidates, verdicts_on
from protocols.checksum import crc16_x25
from protocols.tracker import eelink, h02, minifinder2_records, topin, trv, watch, wristband, xexun2
from protocols.tracker.watch_position import WatchPosition, position_body
from tests.gateway.test_one_port import port

NOW = Instant(1795336215000, 1000.0)
WATCH = "8800000015"
IMEI = "861234567890124"
HERE = WatchPosition(clock_ms=1795336212000, is_valid=True, lat=31.2304, lon=121.4737, battery=60, signal=80, steps=100)


def driver(name: str, device: str | None = None, **options: Any) -> Driver:
    return registry.load(name)(options, device)


def take(instance: Driver, *frames: bytes) -> Output:
    total = Output()
    for data in frames:
        total.add(instance.receive(Frame(data=data, received=NOW)))
    return total


def happened(output: Output) -> list[tuple[str, bool]]:
    """Kinds of what happened, and whether it was told late."""
    return [(event.body.kind.value, event.body.stored) for event in output.events if isinstance(event.body, Occurrence)]


def kinds(output: Output) -> list[str]:
    return [kind for kind, _ in happened(output)]


def places(output: Output) -> list[Position]:
    return [event.body for event in output.events if isinstance(event.body, Position)]


def sent(output: Output) -> list[bytes]:
    return [send.data for send in output.replies + output.acks]


def watch_frame(content: str) -> bytes:
    return f"[3G*{WATCH}*{len(content):04X}*{content}]".encode()


def watch_alarm(status: int, kind: str = "AL", **known: Any) -> bytes:
    return watch.encode(watch.WatchMessage("3G", WATCH, kind, position_body(HERE._replace(status=status, **known))))


def test_1_an_alarm_is_never_filtered_and_a_late_one_still_alarms() -> None:
    everything = take(driver("watch"), watch_alarm(1 << 16 | 1 << 17 | 1 << 20 | 1 << 21))
    assert set(kinds(everything)) >= {"sos", "low_battery", "removed", "fall"}, "a set of alarms, not the first of them"
    nowhere = take(driver("watch"), watch_alarm(1 << 16, is_valid=False, lat=0.0, lon=0.0))
    assert "sos" in kinds(nowhere)
    assert not any(place.valid for place in places(nowhere))
    late = take(driver("watch"), watch_alarm(1 << 16, kind="UD2"))
    assert ("sos", True) in happened(late), "recorded while offline: it alarms, and says that it is late"
    assert all(place.stored for place in places(late))
    record = xexun2.Record(1795330000, 20, 80, False, alarms=0x8001)
    assert happened(take(driver("xexun2"), xexun2.write_records(IMEI, [record, record._replace(time_s=1795336200, alarms=0)]))) == [
        ("sos", True),
        ("fall", True),
    ]


def test_2_checksums_and_lengths_are_verified_and_counted() -> None:
    pendant = minifinder2_records.data_message(IMEI, minifinder2_records.alarm_item(1 << 12, 1795336200))
    broken = pendant[:-1] + bytes((pendant[-1] ^ 1,))
    refused = take(driver("minifinder2"), broken)
    assert [reject.reason for reject in refused.rejects] == [Reason.INTEGRITY]
    assert not sent(refused), "not acknowledged: the pendant sends it again"
    tolerated = take(driver("minifinder2", tolerate_crc=True), broken)
    assert (kinds(tolerated), [note.reason for note in tolerated.tolerated]) == (["sos"], [Reason.INTEGRITY])
    card = xexun2.write_records(IMEI, [xexun2.Record(1795336200, 20, 80, False, alarms=1)])
    assert [reject.reason for reject in take(driver("xexun2"), card[:-3] + bytes((card[-3] ^ 1,)) + card[-2:]).rejects] == [
        Reason.INTEGRITY
    ]
    counted = take(driver("watch"), watch_frame("LK").replace(b"0002", b"0009"))
    assert [note.reason for note in counted.tolerated] == [Reason.INTEGRITY], "a wrong length of a text frame is used, and counted"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("bphrt,120,80,70,170,1,70,60", "bphrt"),
        ("oxygen,0,97", "oxygen,1"),
        ("btemp2,1,36.6", "btemp2"),
        ("CONFIG,TY:g36,UL:600", "CONFIG,1"),
        ("LK", "LK"),
    ],
)
def test_3_every_acknowledgement_that_a_vendor_asks_for_goes_out(said: str, answer: str) -> None:
    assert sent(take(driver("watch"), watch_frame(said))) == [watch_frame(answer)]


def test_3_the_sos_of_a_topin_pendant_is_acknowledged() -> None:
    output = take(driver("topin", IMEI), bytes.fromhex("787801990d0a"))
    assert kinds(output) == ["sos"]
    assert sent(output) == [bytes.fromhex("787801990d0a")]


def test_4_framing_holds_under_any_segmentation_and_garbage() -> None:
    text = h02.write_text("HQ", "4210051415", "V1", "083000", "V", "", "N", "", "E", "0.00", "0", "221126", "FFFFFBFD")
    binary = h02.write_binary("4210051415", time="083000221126", lat=31.2, lon=121.4)
    login = topin.encode(topin.write_login(IMEI))
    streams = {"h02": binary + text + binary + binary, "topin": login + bytes.fromhex("787801990d0a") * 3}
    for name, stream in streams.items():
        whole = kinds(take(driver(name), stream))
        assert whole.count("sos") == (1 if name == "h02" else 3)
        for cut in range(1, len(stream)):
            assert kinds(take(driver(name), stream[:cut], stream[cut:])) == whole, (name, cut)
        assert kinds(take(driver(name), b"\xff\x00junk" + stream + b"\xfe\xfd" + stream))[-len(whole) :] == whole


def fence(*fixes: tuple[float, float, float | None, int]) -> list[str]:
    """What a fence of 200 m round 31.2304, 121.4737 says of fixes (latitude, longitude, accuracy in metres, minute)."""
    rule: Rule = GeofenceRule()
    directory = HouseholdDirectory({}, {})
    table = '[[site.geofence.area]]\nname = "home"\nshape = "circle"\ncentre = [31.2304, 121.4737]\nradius_m = 200\n'
    engine = RuleEngine([rule], RuleSettings([rule], directory, read_tables(table, [rule])), directory)
    said = []
    for lat, lon, accuracy, minute in fixes:
        ms = NOW.ms + minute * 60_000
        frame = Frame(data=str(minute).encode(), received=Instant(ms, ms / 1000))
        event = frame.event("watch:1", Position(lat=lat, lon=lon, accuracy_m=accuracy), at_ms=ms)
        outcome = engine.apply(seal([event], received_ms=ms), frame.received)
        said += [found.body.kind.value for found in outcome.events if isinstance(found.body, Occurrence)]
    return said


def test_5_a_fence_weighs_accuracy_and_does_not_believe_one_bad_fix() -> None:
    inside, far = (31.2304, 121.4737), (31.2404, 121.4837)
    assert "geofence_exit" not in fence((*inside, 10, 0), (*inside, 10, 2), (*far, 3000, 4)), "a fix by cells decides nothing"
    assert "geofence_exit" not in fence((*inside, 10, 0), (31.2304, 121.4759, 40, 2), (*inside, 10, 4)), "a fix on the border is no exit"
    assert fence((*inside, 10, 0), (*far, 10, 4), (*far, 10, 6), (*far, 10, 8)).count("geofence_exit") >= 1


@pytest.mark.parametrize("status", [0x00010001, 0x00110001, 0x00010002])
def test_6_sos_is_not_hidden_by_a_low_battery_or_a_fence(status: int) -> None:
    assert "sos" in kinds(take(driver("watch"), watch_alarm(status)))


def test_6_at_rest_is_no_motion_and_a_heart_alarm_is_no_fall() -> None:
    assert ("moving", False) not in happened(take(driver("watch"), watch_alarm(1 << 22)))
    rest = take(driver("watch"), watch_alarm(1 << 4, kind="UD"))
    assert [event.body.state.value for event in rest.events if isinstance(event.body, Occurrence)] == ["end"]
    assert "fall" not in kinds(take(driver("watch"), watch_alarm(1 << 22)))
    assert "vital_abnormal" in kinds(take(driver("watch"), watch_alarm(1 << 22)))


@pytest.mark.parametrize(("content", "battery"), [("LK,100,0,85", 85), ("LK,0,97,0", 97)])
def test_7_the_battery_of_a_heartbeat_stands_where_this_firmware_writes_it(content: str, battery: int) -> None:
    output = take(driver("watch"), watch_frame(content))
    assert [event.body.battery_percent for event in output.events if isinstance(event.body, DeviceHealth)] == [battery]


async def test_8_replies_and_sessions_are_proven_over_a_socket(tmp_path: Path) -> None:
    async with port(tmp_path) as opened_port:
        login, sos = eelink.write_login(IMEI, serial=5), eelink.write_report(eelink.WARNING, eelink.Block(1795336200, alarm=2), serial=6)
        answer = bytes.fromhex("67670100090005") + (opened_port.clock.now().ms // 1000).to_bytes(4, "big") + bytes.fromhex("000100")
        assert await opened_port.say(login, answer) == answer
        assert await opened_port.say(login + sos, answer + bytes.fromhex("67671400020006")) == answer + bytes.fromhex("67671400020006")
        assert [session.device for session in opened_port.sessions] == [f"eelink:{IMEI}"] * 2
        assert [event.device for event in opened_port.events] == [f"eelink:{IMEI}"]


def test_9_datum_and_zone_of_a_device_are_settings_and_converted_exactly() -> None:
    here = wristband.encode(wristband.Message(IMEI, 2, "121.478222,31.228347,202611221630,0"))
    [plain], [shifted] = (places(take(driver("wristband", datum=datum), here)) for datum in ("wgs84", "gcj02"))
    assert (plain.lat, plain.datum.value, shifted.lat, shifted.datum.value) == (31.228347, "wgs84", 31.228347, "gcj02")
    lat, lon = to_wgs84(shifted.lat or 0, shifted.lon or 0, shifted.datum)
    assert 100 < ((lat - 31.228347) ** 2 + (lon - 121.478222) ** 2) ** 0.5 * 111_000 < 700, "the map offset of Shanghai"
    [event] = take(driver("wristband", utc_offset_minutes=480), here).events
    assert event.at_ms == epoch_ms("2026-11-22T08:30:00Z")
    datums = {name for name in registry.names() if any(option.name == "datum" for option in registry.load(name).info.options)}
    trackers = {"watch", "trv", "minifinder", "minifinder2", "gt06", "topin", "jt808", "h02", "eelink", "wristband", "xexun2"}
    assert trackers <= datums


def test_10_an_empty_health_field_does_not_cost_the_others() -> None:
    output = take(driver("trv", IMEI), trv.report("IW", "APHP", "72", "", "", "97", "", "", ""))
    told = {event.body.quantity.value: event.body.value for event in output.events if isinstance(event.body, Measurement)}
    assert (told["heart_rate"], told["spo2"]) == (72, 97)
    assert "systolic" not in told


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"[3G*8800000015*0002*LK]", "watch"),
        (bytes.fromhex("78780d01086123456789012400010d0a"), "topin"),
        (b"~\x01\x00\x00\x2d\x01\x39\x12\x34\x56\x78\x00\x01", "jt808"),
        (b"*HQ,4210051415,V1,", "h02"),
        (bytes.fromhex("24421005141508300022112631138250"), "h02"),
        (minifinder2_records.data_message(IMEI), "minifinder2"),
        (b"!1,861234567890124;", "minifinder"),
        (eelink.write_login(IMEI), "eelink"),
        (eelink.datagram(IMEI, eelink.write_login(IMEI)), "eelink"),
        (wristband.encode(wristband.Message(IMEI, 1, "94,1")), "wristband"),
        (xexun2.write_records(IMEI, []), "xexun2"),
        (b"IWAP00861234567890124#", "trv"),
        (b"TRVAP00861234567890124#", "trv"),
    ],
)
def test_11_one_port_recognises_each_protocol_by_its_first_bytes(first: bytes, name: str) -> None:
    found = verdicts_on(Frame(data=first, received=NOW), candidates("auto", Transport.TCP))
    assert [each.info.name for each, match in found if match is Match.YES] == [name]


def test_11_a_gt06_login_is_told_from_its_cousins_by_length_and_checksum() -> None:
    body = bytes.fromhex("0d0108612345678901240d0a")
    found = verdicts_on(
        Frame(data=b"xx" + body + crc16_x25(body).to_bytes(2, "big") + b"\r\n", received=NOW), candidates("auto", Transport.TCP)
    )
    assert [each.info.name for each, match in found if match is Match.YES] == ["gt06"]
