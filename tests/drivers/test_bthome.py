"""BTHome driver: shared vectors, repetitions, replay, restart."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.api import (
    Advert,
    DeviceHealth,
    Frame,
    Instant,
    Match,
    Measurement,
    Occurrence,
    OccurrenceKind,
    OptionError,
    Output,
    Reason,
    State,
    Transport,
    Trust,
)
from drivers.bthome.driver import Bthome
from protocols.ble import bthome
from protocols.ble.bthome import encode
from tests.shared import vectors

ADDRESS = "A4:C1:38:8D:18:B2"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def frame(block: bytes, at_s: float = 0.0, address: str = ADDRESS, uuid: str = bthome.UUID_V2) -> Frame:
    return Frame(
        data=b"",
        received=Instant(1795336215000 + round(at_s * 1000), 1000.0 + at_s),
        transport=Transport.BLE_ADVERT,
        address=address,
        advert=Advert(service_data={uuid: block}, rssi_dbm=-60),
    )


def happenings(output: Output) -> list[tuple[OccurrenceKind, State]]:
    return [(e.body.kind, e.body.state) for e in output.events if isinstance(e.body, Occurrence)]


KINDS = {
    "opening": "door_open", "door": "door_open", "garage_door": "door_open", "window": "window_open", "battery": "low_battery",
    "battery_charging": "charging", "carbon_monoxide": "co_alarm", "moisture": "water_leak", "occupancy": "presence", "problem": "fault",
    "safety": "general_alarm",
}  # fmt: skip


@pytest.mark.parametrize("row", vectors("vectors/sensor/bthome_v2.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    expect = row["expect"]
    options = {"bindkey": row["bindkey"]} if "bindkey" in row else {}
    data = bytes.fromhex(row["frame"])
    for shape in (
        frame(data, address=row["address"]),
        Frame(data=data, received=Instant(1795336215000, 1000.0), transport=Transport.BLE_ADVERT, address=row["address"]),
    ):
        output = Bthome(options, None).receive(shape)
        shown = happenings(output)
        for name, is_on in expect.get("binary", {}).items():
            kind = KINDS.get(name, name)
            if kind in ("generic", "power", "plug", "lock", "connectivity"):
                assert any(isinstance(e.body, DeviceHealth) for e in output.events)
            elif is_on or (kind, "end") in [(k.value, "end") for k in OccurrenceKind if k.value in ("door_open", "window_open", "motion")]:
                assert (kind, "start" if is_on else "end") in [(k.value, s.value) for k, s in shown]
        if expect.get("events"):
            assert sum(kind is OccurrenceKind.BUTTON for kind, _ in shown) == len(expect["events"])
        understood = {"sensors", "binary", "events"} & set(expect)
        only_false_alarms = not output.events and not any(expect.get("binary", {}).values()) and "sensors" in expect
        if expect.get("sensors", {}).keys() - {"packet_id"} and not output.rejects:
            assert output.events
        assert output.events or output.rejects or only_false_alarms or not understood
        assert output.device == f"bthome:{row['address']}" or output.rejects


def test_a_callback_that_repeats_a_cached_advertisement_gives_nothing() -> None:
    driver = Bthome({}, None)
    block = encode([(0x00, 7), (0x3A, "press")], trigger=True)
    assert happenings(driver.receive(frame(block))) == [(OccurrenceKind.BUTTON, State.PULSE)]
    for at in (0.1, 0.5, 3.9, 7.8, 11.0):
        assert not driver.receive(frame(block, at)).events


def test_one_press_told_with_more_objects_and_the_same_packet_id_is_one_press() -> None:
    driver = Bthome({"sos_button": True}, None)
    first = driver.receive(frame(encode([(0x00, 7), (0x3A, "press")])))
    second = driver.receive(frame(encode([(0x00, 7), (0x01, 50), (0x3A, "press")]), 0.2))
    assert [k for k, _ in happenings(first) + happenings(second)] == [OccurrenceKind.SOS]
    assert [e.body.battery_percent for e in second.events if isinstance(e.body, DeviceHealth)] == [50]


def test_the_same_press_after_a_pause_is_a_new_call_for_help() -> None:
    driver = Bthome({"sos_button": True}, None)
    block = encode([(0x3A, "press")])
    given = [len(driver.receive(frame(block, at)).events) for at in (0, 1, 2, 7, 8)]
    assert given == [1, 0, 0, 1, 0]


def test_a_button_whose_packet_id_never_moves_is_still_heard() -> None:
    driver = Bthome({"sos_button": True}, None)
    block = encode([(0x00, 0), (0x3A, "press")])
    assert [len(driver.receive(frame(block, at)).events) for at in (0, 60, 3600)] == [1, 1, 1]


def test_a_sensor_that_repeats_one_payload_reports_every_minute() -> None:
    driver = Bthome({}, None)
    block = encode([(0x02, 21.5)])
    told = [at for at in range(200) if driver.receive(frame(block, at)).events]
    assert told == [0, 61, 122, 183]


def test_states_are_told_on_change_only() -> None:
    driver = Bthome({}, None)
    seen = [happenings(driver.receive(frame(encode([(0x00, n), (0x29, on)]), n * 10))) for n, on in enumerate([0, 1, 1, 0, 0])]
    assert seen == [[], [(OccurrenceKind.SMOKE, State.START)], [], [(OccurrenceKind.SMOKE, State.END)], []]


def test_a_smoke_alarm_that_ends_after_a_restart_is_ended() -> None:
    before = Bthome({}, None)
    before.receive(frame(encode([(0x29, True)])))
    after = Bthome({}, None)
    after.load(before.dump())
    assert happenings(after.receive(frame(encode([(0x29, False)]), 30))) == [(OccurrenceKind.SMOKE, State.END)]


def secret(counter: int, event: str = "press") -> bytes:
    return encode([(0x3A, event)], address=ADDRESS, key=KEY, counter=counter)


def test_a_replay_is_refused_also_after_a_restart() -> None:
    driver = Bthome({"bindkey": KEY.hex()}, None)
    first = driver.receive(frame(secret(1001)))
    assert [e.trust for e in first.events] == [Trust.AUTHENTICATED]
    again = Bthome({"bindkey": KEY.hex()}, None)
    again.load(driver.dump())
    assert not again.receive(frame(secret(1001), 10)).events, "the packet told last is a repetition, not an attack"
    refused = again.receive(frame(secret(1000), 20))
    assert not refused.events
    assert [(r.reason, r.detail.split(":")[0]) for r in refused.rejects] == [(Reason.INTEGRITY, "replay")]
    assert len(again.receive(frame(secret(1002), 30)).events) == 1


def test_one_counter_with_two_contents_is_refused() -> None:
    driver = Bthome({"bindkey": KEY.hex()}, None)
    driver.receive(frame(secret(1001)))
    assert [r.reason for r in driver.receive(frame(secret(1001, "long_press"), 9)).rejects] == [Reason.INTEGRITY]


def test_an_sos_button_works_after_a_change_of_battery_unless_forbidden() -> None:
    for allowed, events in ((True, 1), (False, 0)):
        driver = Bthome({"bindkey": KEY.hex(), "sos_button": True, "counter_restart": allowed}, None)
        driver.receive(frame(secret(5000)))
        output = driver.receive(frame(secret(0), 60))
        assert len(output.events) == events
        assert len(output.tolerated) == events


def test_plain_where_a_key_is_set_is_a_downgrade() -> None:
    output = Bthome({"bindkey": KEY.hex()}, None).receive(frame(encode([(0x3A, "press")])))
    assert [(r.reason, r.detail.split(":")[0]) for r in output.rejects] == [(Reason.INTEGRITY, "downgrade")]


def test_a_refused_packet_does_not_hide_the_good_one_behind_it() -> None:
    driver = Bthome({"bindkey": KEY.hex()}, None)
    wrong = encode([(0x3A, "press")], address=ADDRESS, key=bytes(16), counter=99999)
    assert driver.receive(frame(wrong)).rejects
    assert len(driver.receive(frame(secret(1001), 0.1)).events) == 1


def test_devices_that_share_an_instance_are_kept_apart() -> None:
    driver = Bthome({}, None)
    block = encode([(0x1A, True)])
    outputs = [driver.receive(frame(block, 0.1 * n, address=a)) for n, a in enumerate((ADDRESS, "54:48:E6:8F:80:A5", ADDRESS))]
    assert [o.device for o in outputs] == [f"bthome:{ADDRESS}", "bthome:54:48:E6:8F:80:A5", f"bthome:{ADDRESS}"]
    assert [len(o.events) for o in outputs] == [1, 1, 0]


def test_the_timestamp_of_the_device_is_the_time_of_its_events() -> None:
    output = Bthome({}, None).receive(frame(encode([(0x02, 21.5), (0x50, 1795336000)])))
    assert [(e.at_ms, type(e.body)) for e in output.events] == [(1795336000000, Measurement)]


def test_values_spread_over_advertisements_are_told_once_each() -> None:
    driver = Bthome({}, None)
    blocks = [encode([(0x01, 90)]), encode([(0xF2, "6.1.0")])]
    told = [len(driver.receive(frame(blocks[n % 2], n)).events) for n in range(8)]
    assert told == [1, 1, 0, 0, 0, 0, 0, 0]


def test_other_service_data_is_not_ours() -> None:
    driver = Bthome({}, None)
    other = frame(b"\x40\x1a\x01", uuid="0000feaa-0000-1000-8000-00805f9b34fb")
    assert [r.reason for r in driver.receive(other).rejects] == [Reason.NOT_OURS]
    assert Bthome.match(other) is Match.NO
    assert Bthome.match(frame(b"\x40\x1a\x01")) is Match.YES


@pytest.mark.parametrize("options", [{"bindkey": "12"}, {"bindkey": "zz" * 16}, {"sos_events": ["shout"]}, {"sos": 1}])
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Bthome(options, None)


def test_a_faulty_option_never_shows_the_key() -> None:
    with pytest.raises(OptionError) as refused:
        Bthome({"bindkey": "secret-of-the-house"}, None)
    assert "secret-of-the-house" not in str(refused.value)
