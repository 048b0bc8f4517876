"""Health characteristics: the shared vectors, both directions, damage."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ble import gatt_health as codec
from protocols.ble.gatt_health import (
    Battery,
    BloodPressure,
    Glucose,
    GlucoseContext,
    HeartRate,
    PulseOximetry,
    RecordAccess,
    Temperature,
    Weight,
    decode,
    encode,
)
from protocols.ble.ieee11073 import read_float, read_sfloat, write_float, write_sfloat
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from tests.shared import vectors

NAMES = {
    "bpm": "bpm", "contact": "contact", "energy_kj": "energy_kj", "systolic": "systolic", "diastolic": "diastolic", "map": "mean",
    "unit": "unit", "pulse": "pulse", "user": "user", "body_movement": "body_movement", "cuff_loose": "cuff_loose",
    "irregular_pulse": "irregular_pulse", "spo2": "spo2", "measurement_status": "measurement_status", "device_status": "device_status",
    "pai": "amplitude", "value": "value", "site": "site", "seq": "sequence", "offset_min": "offset_min", "type": "kind",
    "location": "location", "status": "status", "context": "has_context", "bmi": "bmi", "height": "height", "percent": "percent",
}  # fmt: skip


@pytest.mark.parametrize("row", vectors("vectors/sensor/ble_gatt_health.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    data, expect = bytes.fromhex(row["frame"]), row["expect"]
    if row["characteristic"] == "sfloat":
        assert read_sfloat(data) == (float(expect["value"]) if isinstance(expect["value"], str) else expect["value"])
        return
    if not expect["ok"]:
        with pytest.raises(RemoteProtocolError) as refused:
            decode(row["characteristic"], data)
        assert refused.value.reason is Reason.TRUNCATED
        return
    message = decode(row["characteristic"], data)
    for key, name in NAMES.items():
        if key in expect:
            got = getattr(message, name)
            assert got == pytest.approx(expect[key]) if isinstance(got, float) else got == expect[key], key
    if "time" in expect:
        assert getattr(message, "time").isoformat() == expect["time"]  # noqa: B009  # not every message has one
    if "rr_ms" in expect:
        assert [round(rr, 3) for rr in getattr(message, "rr_ms")] == expect["rr_ms"]  # noqa: B009  # as above
    for key in ("fast", "slow"):
        if key in expect:
            assert list(getattr(message, key)) == expect[key]
    if "mmol_l" in expect:
        assert isinstance(message, Glucose) and message.mmol_l is not None
        assert round(message.mmol_l, 2) == expect["mmol_l"]
        assert message.mmol_l * codec.MG_DL_PER_MMOL_L == pytest.approx(expect["mg_dl"], abs=0.1)


@pytest.mark.parametrize("row", vectors("vectors/sensor/ble_gatt_health.jsonl"))
def test_what_was_decoded_is_encoded_to_the_same_meaning(row: dict[str, Any]) -> None:
    if row["characteristic"] == "sfloat" or not row["expect"]["ok"]:
        return
    message = decode(row["characteristic"], bytes.fromhex(row["frame"]))
    assert decode(row["characteristic"], encode(message)) == message


sfloats = st.one_of(st.none(), st.integers(-2000, 2000).map(float), st.integers(-2000, 2000).map(lambda n: n / 10))
times = st.one_of(st.none(), st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)).map(lambda t: t.replace(microsecond=0)))  # noqa: DTZ001  # no zone
statuses = st.one_of(st.none(), st.integers(0, 0xFFFF))
users = st.one_of(st.none(), st.integers(0, 255))
pulses = st.one_of(st.none(), st.integers(0, 300).map(float))
pairs = st.one_of(st.none(), st.tuples(sfloats, sfloats))


@st.composite
def pressures(draw: st.DrawFn) -> BloodPressure:
    has_time = draw(st.booleans())
    unit = draw(st.sampled_from(["mmHg", "kPa"]))
    time = draw(times) if has_time else None
    tail = (draw(pulses), draw(users), draw(statuses))
    return BloodPressure(draw(sfloats), draw(sfloats), draw(sfloats), unit, time, has_time, *tail)


@st.composite
def oximetries(draw: st.DrawFn) -> PulseOximetry:
    is_continuous = draw(st.booleans())
    has_time = not is_continuous and draw(st.booleans())
    both = (draw(pairs), draw(pairs)) if is_continuous else (None, None)
    device = draw(st.one_of(st.none(), st.integers(0, 0xFFFFFF)))
    time = draw(times) if has_time else None
    return PulseOximetry(draw(sfloats), draw(sfloats), time, has_time, *both, draw(statuses), device, draw(pulses), is_continuous)


words = st.integers(0, 0xFFFF)
nibbles = st.integers(0, 15)
offsets = st.one_of(st.none(), st.integers(-1000, 1000))
contacts = st.sampled_from([None, True, False])
rates = st.tuples(words, contacts, statuses, st.sampled_from([(), (750.0, 1000.0)]))
temperatures = st.tuples(st.integers(-400, 1200).map(lambda n: n / 10), st.sampled_from("CF"), st.sampled_from([None, "ear"]))
glucoses = st.tuples(words, times, offsets, nibbles, nibbles, statuses, st.booleans())
kilograms = st.one_of(st.none(), st.integers(0, 60000).map(lambda n: round(n * 0.005, 3)))
grams = st.one_of(st.none(), st.integers(0, 200).map(float))
messages = st.one_of(
    rates.map(lambda t: ("2a37", HeartRate(*t))),
    pressures().map(lambda m: ("2a35", m)),
    oximetries().map(lambda m: ("2a5f" if m.is_continuous else "2a5e", m)),
    temperatures.map(lambda t: ("2a1c", Temperature(t[0], t[1], site=t[2]))),
    glucoses.map(lambda t: ("2a18", Glucose(t[0], t[1], t[2], 0.0056, "mol/L", *t[3:]))),
    st.tuples(words, grams, users).map(lambda t: ("2a34", GlucoseContext(*t))),
    st.tuples(kilograms, users).map(lambda t: ("2a9d", Weight(t[0], user=t[1]))),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=6)).map(lambda t: ("2a52", RecordAccess(*t))),
    st.integers(0, 255).map(lambda n: ("2a19", Battery(n))),
)


@settings(max_examples=250, deadline=None)
@given(messages)
def test_what_is_encoded_is_decoded(pair: tuple[str, Any]) -> None:
    assert decode(pair[0], encode(pair[1])) == pair[1]


@settings(max_examples=250, deadline=None)
@given(messages, st.data())
def test_a_truncated_value_is_refused_or_shorter(pair: tuple[str, Any], data: st.DataObject) -> None:
    whole = encode(pair[1])
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        decode(pair[0], whole[:cut])
    except RemoteProtocolError as error:
        assert error.reason is Reason.TRUNCATED


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["2a37", "2a35", "2a5e", "2a5f", "2a1c", "2a18", "2a34", "2a9d", "2a52", "2a19", "ffff"]), st.binary(max_size=30))
def test_any_bytes_give_a_message_or_a_refusal(characteristic: str, data: bytes) -> None:
    try:
        decode(characteristic, data)
    except RemoteProtocolError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 0xFFFF))
def test_every_sfloat_survives(raw: int) -> None:
    value = read_sfloat(raw.to_bytes(2, "little"))
    again = read_sfloat(write_sfloat(value))
    assert again == value or (value is not None and again is not None and math.isclose(again, value, rel_tol=0.0025))


@settings(max_examples=200, deadline=None)
@given(st.integers(-8_388_000, 8_388_000), st.integers(-20, 20))
def test_every_float_survives(mantissa: int, exponent: int) -> None:
    value = read_float((mantissa & 0xFFFFFF | (exponent & 0xFF) << 24).to_bytes(4, "little"))
    assert value is not None
    assert read_float(write_float(value)) == pytest.approx(value, rel=1e-6)


def test_special_floats() -> None:
    assert [read_float(bytes.fromhex(t)) for t in ("ffff7f00", "00008000", "feff7f00", "02008000")] == [None, None, math.inf, -math.inf]
    assert [write_float(v).hex() for v in (None, math.inf, -math.inf)] == ["ffff7f00", "feff7f00", "02008000"]


def test_a_date_that_does_not_exist_is_an_unset_clock() -> None:
    message = decode("2a1c", bytes.fromhex("026c0100ff" + "ea070d16081e0f"))
    assert isinstance(message, Temperature)
    assert (message.time, message.has_time) == (None, True)


def test_what_the_format_cannot_say_is_our_error() -> None:
    for message in (Battery(256), Weight(1000.0), HeartRate(70000), BloodPressure(1e30, None, None)):
        with pytest.raises(LocalProtocolError):
            encode(message)
