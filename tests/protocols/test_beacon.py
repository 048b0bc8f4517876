"""Beacons: the shared vectors, round trips, damage."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ble.beacon import (
    Eid,
    OtherApple,
    Proximity,
    Telemetry,
    Uid,
    Url,
    decode,
    decode_eddystone,
    decode_manufacturer,
    encode,
)
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from tests.shared import vectors

NAMES = {"tx_power_1m": "power_dbm", "tx_power_0m": "power_dbm", "adv_count": "adverts"}
KINDS: dict[str, Any] = {
    "ibeacon": Proximity, "altbeacon": Proximity, "eddystone-uid": Uid, "eddystone-url": Url, "eddystone-tlm": Telemetry,
    "eddystone-etlm": Telemetry, "eddystone-eid": Eid, "other-apple": OtherApple,
}  # fmt: skip


@pytest.mark.parametrize("row", vectors("vectors/sensor/ble_beacons.jsonl"))
def test_shared_vector(row: dict[str, Any]) -> None:
    data, expect = bytes.fromhex(row["frame"]), row["expect"]

    def found() -> Any:
        return decode_manufacturer(row["manufacturer_id"], data) if "manufacturer_id" in row else decode_eddystone(data)

    if not expect["ok"]:
        with pytest.raises(RemoteProtocolError) as refused:
            found()
        assert refused.value.reason is Reason.TRUNCATED
        return
    beacon: Any = found()
    assert isinstance(beacon, KINDS[expect["kind"]])
    for key, value in expect.items():
        if key not in ("ok", "kind", "ignore", "note", "opaque"):
            assert getattr(beacon, NAMES.get(key, key)) == value, key
    if "opaque" in expect:
        assert beacon.is_encrypted
    elif not isinstance(beacon, OtherApple):
        assert (decode_manufacturer(0x4C, encode(beacon)) if "manufacturer_id" in row else decode_eddystone(encode(beacon))) == beacon


powers = st.integers(-128, 127)
words = st.integers(0, 0xFFFF)
beacons = st.one_of(
    st.tuples(st.uuids().map(str), words, words, powers, st.sampled_from(["ibeacon", "altbeacon"])).map(lambda t: Proximity(*t)),
    st.tuples(st.binary(min_size=10, max_size=10), st.binary(min_size=6, max_size=6), powers).map(
        lambda t: Uid(t[0].hex(), t[1].hex(), t[2])
    ),
    st.tuples(st.sampled_from(["http://www.", "https://"]), st.text("abz.-/", max_size=12), powers).map(lambda t: Url(t[0] + t[1], t[2])),
    st.tuples(st.one_of(st.none(), st.integers(1, 0xFFFF)), st.one_of(st.none(), st.integers(-0x7FFF, 0x7FFF)), words, words).map(
        lambda t: Telemetry(t[0], None if t[1] is None else t[1] / 256, t[2], t[3] / 10)
    ),
    st.tuples(st.binary(min_size=8, max_size=8), powers).map(lambda t: Eid(t[0].hex(), t[1])),
)


@settings(max_examples=250, deadline=None)
@given(beacons)
def test_what_is_encoded_is_decoded(beacon: Any) -> None:
    assert decode(encode(beacon)) == beacon


@settings(max_examples=250, deadline=None)
@given(beacons, st.data())
def test_a_truncated_beacon_is_refused_or_shorter(beacon: Any, data: st.DataObject) -> None:
    whole = encode(beacon)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decode(cut)
    except RemoteProtocolError as error:
        assert error.reason in (Reason.TRUNCATED, Reason.NOT_OURS)
    else:
        assert isinstance(beacon, Uid | Url | Proximity), "only names may end early: RFU bytes, maker byte, text"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.sampled_from([0x4C, 0x118]))
def test_any_bytes_give_a_beacon_or_a_refusal(data: bytes, company: int) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(data)
    with contextlib.suppress(RemoteProtocolError):
        decode_manufacturer(company, data)


def test_a_major_above_the_sign_bit_is_positive() -> None:
    found = decode(encode(Proximity("6513270e-269e-0d37-f2a7-4de452e6b438", 0x8000, 0xFFFF, -59)))
    assert isinstance(found, Proximity)
    assert (found.major, found.minor) == (0x8000, 0xFFFF)


U = "6513270e-269e-0d37-f2a7-4de452e6b438"


@pytest.mark.parametrize(
    "beacon",
    [
        Proximity("no uuid", 1, 1, 0),
        Proximity(U, 70000, 1, 0),
        Uid("00", "00", 0),
        Url("ftp://a", 0),
        Url("http://\u4e2d", 0),
        OtherApple(16),
        Telemetry(None, 1000, 0, 0),
    ],
)
def test_what_the_format_cannot_say_is_our_error(beacon: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode(beacon)
