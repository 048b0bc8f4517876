"""MiBeacon driver: shared vectors, repetitions, replay, errors of the library."""

from __future__ import annotations

from typing import Any

import pytest
from xiaomi_ble.locks import BLE_LOCK_ERROR

from drivers.api import Advert, DeviceHealth, Frame, Instant, Match, Measurement, Occurrence, OptionError, Output, Transport
from drivers.mibeacon import meaning
from drivers.mibeacon.driver import MiBeacon
from protocols.ble.mibeacon import UUID, encode
from tests.shared import vectors

ADDRESS = "A4:C1:38:66:E5:67"
KEY = bytes(range(16))
LOCK, SMOKE, BUTTON = 0x11C2, 0x0997, 0x38BB


def frame(block: bytes, at_s: float = 0.0, address: str = ADDRESS, uuid: str = UUID) -> Frame:
    return Frame(
        data=b"",
        received=Instant(1795336215000 + round(at_s * 1000), 1000.0 + at_s),
        transport=Transport.BLE_ADVERT,
        address=address,
        advert=Advert(service_data={uuid: block}),
    )


def kinds(output: Output) -> list[str]:
    return [f"{e.body.kind} {e.body.state}" for e in output.events if isinstance(e.body, Occurrence)]


@pytest.mark.parametrize("row", vectors("vectors/sensor/mibeacon.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    expect = row["expect"]
    options = {"bindkey": row["bindkey"]} if "bindkey" in row else {}
    output = MiBeacon(options, None).receive(frame(bytes.fromhex(row["frame"]), address=row["address"]))
    if expect.get("decrypted") is False:
        assert output.rejects and not output.events
        return
    numbers = {e.body.quantity.value: e.body.value for e in output.events if isinstance(e.body, Measurement)}
    health = [e.body for e in output.events if isinstance(e.body, DeviceHealth)]
    parameters = {key: text for body in health for key, text in (body.parameters or {}).items()}
    for name, sensor in expect.get("sensors", {}).items():
        known = meaning.NUMBERS.get(name)
        if known is not None:
            quantity = "body_temperature" if expect["model"].startswith("MMC-") and name == "temperature" else known.quantity.value
            assert numbers[quantity] == pytest.approx(sensor["value"] * known.factor, abs=0.001)
        elif name == "battery":
            assert health[0].battery_percent == sensor["value"]
        elif name != "profile_id":
            assert parameters[name] == str(sensor["value"])
    for name, is_on in expect.get("binary", {}).items():
        if name in meaning.STATES and is_on:
            assert f"{meaning.STATES[name].kind} start" in kinds(output)
        elif name in meaning.PARAMETERS:
            assert parameters[name] == str(bool(is_on)).lower()
    pressed = [name for name in expect.get("events", {}) if name not in ("lock", "fingerprint")]
    assert sum(kind.endswith("pulse") for kind in kinds(output)) == len(pressed)


def test_a_repeated_advertisement_gives_nothing() -> None:
    driver = MiBeacon({"sos_button": True}, None)
    block = encode([(0x4A0C, b"")], product=BUTTON, address=ADDRESS, frame_counter=1)
    assert [len(driver.receive(frame(block, at)).events) for at in (0, 1, 4, 7.9, 20)] == [1, 0, 0, 0, 1]


def test_an_encrypted_packet_is_told_once_for_ever() -> None:
    driver = MiBeacon({"bindkey": KEY.hex()}, None)
    block = encode([(0x4A0C, b"")], product=BUTTON, address=ADDRESS, frame_counter=1, key=KEY)
    assert [len(driver.receive(frame(block, at)).events) for at in (0, 1, 1000)] == [1, 0, 0]
    again = MiBeacon({"bindkey": KEY.hex()}, None)
    again.load(driver.dump())
    assert not again.receive(frame(block, 2000)).events


def test_two_presses_with_one_counter_are_both_heard() -> None:
    driver = MiBeacon({"bindkey": KEY.hex()}, None)
    blocks = [encode([(number, b"\x01")], product=0x5968, address=ADDRESS, frame_counter=1, key=KEY) for number in (0x4A0D, 0x4A0E)]
    assert [len(driver.receive(frame(block, n)).events) for n, block in enumerate(blocks)] == [1, 1]


def test_every_error_of_a_lock_is_told() -> None:
    for number, name in BLE_LOCK_ERROR.items():
        block = encode([(0x0B, b"\x2f" + number.to_bytes(4, "little") + bytes(4))], product=LOCK, address=ADDRESS)
        output = MiBeacon({}, None).receive(frame(block))
        told = [e.body for e in output.events if isinstance(e.body, Occurrence)]
        assert [body.detail for body in told] == [name.replace("_", " ")]
    assert meaning.LOCK_ALARMS.keys() <= set(BLE_LOCK_ERROR.values())


def test_smoke_that_ends_after_a_restart_is_ended() -> None:
    before = MiBeacon({}, None)
    before.receive(frame(encode([(0x1015, b"\x01")], product=SMOKE, address=ADDRESS)))
    after = MiBeacon({}, None)
    after.load(before.dump())
    assert kinds(after.receive(frame(encode([(0x1015, b"\x00")], product=SMOKE, address=ADDRESS)))) == ["smoke end"]


def test_a_refused_packet_does_not_hide_the_good_one_behind_it() -> None:
    driver = MiBeacon({"bindkey": KEY.hex()}, None)
    wrong = encode([(0x1015, b"\x01")], product=SMOKE, address=ADDRESS, key=bytes(16), extended_counter=0xFFFF)
    assert driver.receive(frame(wrong)).rejects
    right = encode([(0x1015, b"\x01")], product=SMOKE, address=ADDRESS, key=KEY)
    assert kinds(driver.receive(frame(right, 0.1))) == ["smoke start"]


def test_scales_of_the_first_generations_are_ours() -> None:
    scale = frame(bytes.fromhex("22b436ea070b16081e0f"), uuid="0000181d-0000-1000-8000-00805f9b34fb")
    assert MiBeacon.match(scale) is Match.YES
    assert [e.body.value for e in MiBeacon({}, None).receive(scale).events if isinstance(e.body, Measurement)] == [70.02]
    assert MiBeacon.match(frame(b"", uuid="0000fcd2-0000-1000-8000-00805f9b34fb")) is Match.NO


def test_every_object_of_every_known_product_is_survived() -> None:
    """The library indexes and unpacks what the device sends: none of its faults may come through."""
    driver = MiBeacon({}, None)
    for number in sorted(meaning.known_objects()):
        for data in (b"", b"\x00", b"\xff" * 3, bytes(range(9)), b"\x7f" * 5):
            for product in (LOCK, SMOKE, 0x3BD5, 0x0DB):
                driver.receive(frame(encode([(number, data)], product=product, address=ADDRESS)))


@pytest.mark.parametrize("options", [{"bindkey": "12"}, {"bindkey": "zz" * 16}, {"sos": 1}])
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        MiBeacon(options, None)
