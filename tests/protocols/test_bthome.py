"""BTHome codec: the shared vectors, round trips, damage, and the bthome-ble library as oracle."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bleak.backends.device import BLEDevice
from bthome_ble.const import MEAS_TYPES
from bthome_ble.parser import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ble import bthome
from protocols.ble.bthome import OBJECTS, Packet, decode, encode
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from tests.shared import vectors

ADDRESS = "A4:C1:38:8D:18:B2"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
# Our word for an object -> the key of the library's sensor, where they differ.
LIBRARY_NAME = {
    "generic_on": "generic", "power_on": "power", "battery_low": "battery", "charging": "battery_charging", "co2": "carbon_dioxide",
    "tvoc": "volatile_organic_compounds", "moisture_detected": "moisture", "mass_kg": "mass", "mass_lb": "mass", "volume_l": "volume",
    "volume_ml": "volume", "distance_mm": "distance", "distance_m": "distance", "volume_flow": "volume_flow_rate", "gas_volume": "gas",
}  # fmt: skip


def values(packet: Packet, name: str) -> list[Any]:
    return [o.value for o in packet.objects if LIBRARY_NAME.get(o.name, o.name) == name]


@pytest.mark.parametrize("row", vectors("vectors/sensor/bthome_v2.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    block, expect = bytes.fromhex(row["frame"]), row["expect"]
    key = bytes.fromhex(row["bindkey"]) if "bindkey" in row else None
    if expect["encryption"] != "NONE" and not expect["decrypted"]:
        with pytest.raises(RemoteProtocolError) as refused:
            decode(block, address=row["address"], key=key)
        assert refused.value.reason is (Reason.INTEGRITY if key else Reason.UNSUPPORTED)
        return
    packet = decode(block, address=row["address"], key=key)
    for name, sensor in expect.get("sensors", {}).items():
        if name == "timestamp":
            assert values(packet, name) == [1684093277]
            continue
        stem, _, number = name.rpartition("_")
        found = values(packet, stem)[int(number) - 1] if number.isdigit() else values(packet, name)[0]
        assert found == pytest.approx(sensor["value"]) if isinstance(found, int | float) else found == sensor["value"]
    for name, is_on in expect.get("binary", {}).items():
        assert values(packet, name)[-1] is is_on
    for name, event in expect.get("events", {}).items():
        number = int(name.partition("_")[2] or 1)
        assert values(packet, "button")[number - 1] == event["type"]
    if not {"sensors", "binary", "events"} & set(expect) and key is None:
        assert packet.faults, "nothing understood and nothing said"


def test_table_is_that_of_the_library() -> None:
    """A new release of the library with an object that we lack must fail here: without its width the objects behind it are lost."""
    assert set(MEAS_TYPES) <= set(OBJECTS)
    for id_, theirs in MEAS_TYPES.items():
        ours = OBJECTS[id_]
        if ours.form in ("uint", "int", "binary"):
            assert (ours.size, ours.factor, ours.form == "int") == (
                theirs.data_length,
                theirs.factor,
                theirs.data_format == "signed_integer",
            ), f"{id_:02x}"


def library_sensors(block: bytes) -> dict[str, Any]:
    info = BluetoothServiceInfoBleak(
        name="x", address=ADDRESS, rssi=-60, manufacturer_data={}, service_data={bthome.UUID_V2: block}, service_uuids=[], source="",
        device=BLEDevice(ADDRESS, "x", None), advertisement=None, connectable=False, time=0.0, tx_power=None,
    )  # fmt: skip
    found = BTHomeBluetoothDeviceData().update(info)
    return {key.key: value.native_value for key, value in found.entity_values.items()}


numbers = st.sampled_from([(i, row) for i, row in OBJECTS.items() if row.form in ("uint", "int") and i not in (0x50, 0xF0)])


@settings(max_examples=150, deadline=None)
@given(numbers, st.binary(min_size=4, max_size=4))
def test_numbers_agree_with_the_library(chosen: tuple[int, bthome.ObjectType], raw: bytes) -> None:
    id_, row = chosen
    block = bytes([0x40, id_]) + raw[: row.size]
    theirs = library_sensors(block)
    theirs.pop("signal_strength")
    assert [decode(block).objects[0].value] == [pytest.approx(v) for v in theirs.values()]


@st.composite
def pairs(draw: st.DrawFn) -> list[tuple[int, Any]]:
    out: list[tuple[int, Any]] = []
    for id_ in draw(st.lists(st.sampled_from(sorted(OBJECTS)), max_size=6)):
        row = OBJECTS[id_]
        match row.form:
            case "binary":
                value: Any = draw(st.booleans())
            case "button":
                value = draw(st.sampled_from([None, *bthome.BUTTON_EVENTS.values()]))
            case "dimmer":
                value = draw(st.sampled_from([None, "rotate_left 0", "rotate_right 255"]))
            case "command":
                value = draw(st.sampled_from(["off", "toggle", "step_up 0102"]))
            case "text":
                value = draw(st.text(max_size=8))
            case "raw":
                value = draw(st.binary(max_size=8)).hex()
            case "version":
                value = ".".join(str(b) for b in draw(st.binary(min_size=row.size, max_size=row.size)))
            case _:
                bits = 8 * row.size
                signed = row.form == "int"
                low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
                raw = draw(st.integers(low, high))
                value = round(raw * row.factor, row.digits) if row.digits else raw
        out.append((id_, value))
    return sorted(out, key=lambda pair: pair[0])


@settings(max_examples=150, deadline=None)
@given(pairs(), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_encoded_is_decoded(objects: list[tuple[int, Any]], secret: bool, include: bool, trigger: bool, counter: int) -> None:
    key = KEY if secret else None
    block = encode(objects, address=ADDRESS, key=key, counter=counter, include_address=include, trigger=trigger)
    packet = decode(block, address="" if include else ADDRESS, key=key)
    assert [(o.id, o.value) for o in packet.objects] == objects
    assert packet.counter == (counter if secret else None)
    assert packet.address == (ADDRESS if include else None)
    assert packet.trigger is trigger
    assert not packet.faults


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([bthome.UUID_V1, bthome.UUID_V1_ENCRYPTED, bthome.UUID_V2]), st.booleans())
def test_any_bytes_give_a_packet_or_a_refusal(block: bytes, uuid: str, secret: bool) -> None:
    try:
        decode(block, address=ADDRESS, key=KEY if secret else None, uuid=uuid)
    except RemoteProtocolError:
        pass


def test_every_truncation_keeps_the_objects_before_it() -> None:
    block = encode([(0x01, 97), (0x1C, True), (0x3A, "press")])
    for length in range(1, len(block)):
        packet = decode(block[:length])
        assert [o.name for o in packet.objects] == ["battery", "gas", "button"][: (length - 1) // 2]
        assert bool(packet.faults) is (length % 2 == 0)


def test_every_flipped_bit_of_an_encrypted_packet_is_noticed() -> None:
    block = encode([(0x1C, True)], address=ADDRESS, key=KEY, counter=1001)
    for bit in range(8, 8 * len(block)):
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError) as refused:
            decode(bytes(damaged), address=ADDRESS, key=KEY)
        assert refused.value.reason is Reason.INTEGRITY


def test_an_unknown_event_does_not_hide_the_next_button() -> None:
    packet = decode(bytes.fromhex("443afe3a01"))
    assert [o.value for o in packet.objects] == ["press"]
    assert [f.reason for f in packet.faults] == [Reason.UNSUPPORTED]


def test_encrypted_without_an_address_says_so() -> None:
    block = encode([(0x1C, True)], address=ADDRESS, key=KEY)
    with pytest.raises(RemoteProtocolError, match="address"):
        decode(block, key=KEY)


def test_version_1_number_formats() -> None:
    packet = decode(bytes.fromhex("2302c409" + "0303bf13" + "4302003c" + "020164" + "021001"), uuid=bthome.UUID_V1)
    assert [(o.name, o.value) for o in packet.objects] == [
        ("temperature", 25.0),
        ("humidity", 50.55),
        ("temperature", 0.01),
        ("battery", 100),
        ("power_on", True),
    ]


def test_version_1_float_that_is_no_number_stays_one() -> None:
    packet = decode(bytes.fromhex("4302007e"), uuid=bthome.UUID_V1)
    assert isinstance(packet.objects[0].value, float) and math.isnan(packet.objects[0].value)


@pytest.mark.parametrize(
    ("id_", "value"), [(0x01, 256), (0x02, 400.0), (0x99, 1), (0x3A, "stroke"), (0x54, "xyz"), (0xF1, "1.2"), (0x01, "many")]
)
def test_what_the_format_cannot_say_is_our_error(id_: int, value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode([(id_, value)])


def test_encrypting_needs_an_address() -> None:
    with pytest.raises(LocalProtocolError, match="address"):
        encode([(0x01, 1)], key=KEY, address="nonsense")
