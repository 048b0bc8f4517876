"""Beacons: iBeacon, AltBeacon and Eddystone, both directions.

Sources: Apple, "Proximity Beacon Specification" R1; altbeacon.org specification 1.0; github.com/google/eddystone, protocol 2016-04.

    iBeacon, manufacturer data of company 004C     02 15 | UUID 16 | major u16 | minor u16 | power i8 at 1 m        big endian
    AltBeacon, manufacturer data of any company    BE AC | id 16 | major u16 | minor u16 | power i8 at 1 m | maker u8
    Eddystone, service data of UUID FEAA
        00 | power i8 at 0 m | namespace 10 | instance 6 | two bytes that may be missing
        10 | power i8 at 0 m | scheme u8 | text with expansions
        20 | 00 | battery u16 mV (0: mains) | temperature i16 8.8 Cel (8000: none) | advertisements u32 | uptime u32 0.1 s
        20 | 01 | encrypted telemetry, 12 | salt 2 | check 2
        30 | power i8 at 0 m | ephemeral id 8
"""

from __future__ import annotations

import struct
import uuid as uuids
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

APPLE = 0x004C
EDDYSTONE_UUID = "0000feaa-0000-1000-8000-00805f9b34fb"
IBEACON_START, ALTBEACON_START = b"\x02\x15", b"\xbe\xac"
NO_TEMPERATURE = -0x8000

_PROXIMITY = struct.Struct(">16sHHb")
_TELEMETRY = struct.Struct(">HhII")
_SCHEMES = ("http://www.", "https://www.", "http://", "https://")
_ENDS = (".com/", ".org/", ".edu/", ".net/", ".info/", ".biz/", ".gov/", ".com", ".org", ".edu", ".net", ".info", ".biz", ".gov")


class Proximity(NamedTuple):
    """iBeacon (`kind` `ibeacon`) or AltBeacon (`altbeacon`). `uuid` lower case with dashes; `power_dbm` measured at 1 m."""

    uuid: str
    major: int
    minor: int
    power_dbm: int
    kind: str = "ibeacon"


class Uid(NamedTuple):
    """Eddystone UID. `namespace` 20 and `instance` 12 hex digits; `power_dbm` at 0 m."""

    namespace: str
    instance: str
    power_dbm: int


class Url(NamedTuple):
    """Eddystone URL."""

    url: str
    power_dbm: int


class Telemetry(NamedTuple):
    """Eddystone TLM. None: the beacon cannot tell (`battery_mv`: it has mains). `is_encrypted`: nothing can be read."""

    battery_mv: int | None
    temperature_c: float | None
    adverts: int
    uptime_s: float
    is_encrypted: bool = False


class Eid(NamedTuple):
    """Eddystone EID: 16 hex digits that change all the time."""

    eid: str
    power_dbm: int


class OtherApple(NamedTuple):
    """Another message of Apple's company id, of phones and watches: no beacon."""

    type: int


Beacon = Proximity | Uid | Url | Telemetry | Eid | OtherApple


def decode_manufacturer(company: int, data: bytes) -> Beacon:
    """The beacon in a manufacturer data block. Raises RemoteProtocolError: TRUNCATED, NOT_OURS."""
    is_ibeacon = company == APPLE and data[:2] == IBEACON_START
    if not is_ibeacon and data[:2] != ALTBEACON_START:
        if company == APPLE and data:
            return OtherApple(data[0])
        raise RemoteProtocolError(Reason.NOT_OURS, f"a beacon expected, got company {company:04x}, {data[:2].hex()}", data)
    if len(data) < 2 + _PROXIMITY.size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"beacon of {2 + _PROXIMITY.size} bytes expected, got {len(data)}", data)
    raw, major, minor, power = _PROXIMITY.unpack_from(data, 2)
    return Proximity(str(uuids.UUID(bytes=raw)), major, minor, power, "ibeacon" if is_ibeacon else "altbeacon")


def decode_eddystone(data: bytes) -> Beacon:
    """The frame in a service data block of FEAA. Raises RemoteProtocolError: TRUNCATED, NOT_OURS, RANGE, UNSUPPORTED."""
    if len(data) < 2:
        raise RemoteProtocolError(Reason.TRUNCATED, f"Eddystone frame of 2 bytes or more expected, got {len(data)}", data)
    kind = data[0]
    if kind == 0x20:
        return _telemetry(data)
    power = struct.unpack_from("b", data, 1)[0]
    if kind == 0x00:
        _need(data, 18)
        return Uid(data[2:12].hex(), data[12:18].hex(), power)
    if kind == 0x10:
        return _url(data, power)
    if kind == 0x30:
        _need(data, 10)
        return Eid(data[2:10].hex(), power)
    raise RemoteProtocolError(Reason.NOT_OURS, f"Eddystone frame 00, 10, 20 or 30 expected, got {kind:02x}", data)


def decode(block: bytes) -> Beacon:
    """A block whose origin is not known, told by its first bytes. Raises RemoteProtocolError."""
    if block[:2] == IBEACON_START or block[:2] == ALTBEACON_START:
        return decode_manufacturer(APPLE, block)
    return decode_eddystone(block)


def encode(beacon: Beacon) -> bytes:
    """The block that a beacon sends (manufacturer data for `Proximity`, else service data). Raises LocalProtocolError."""
    try:
        if isinstance(beacon, Proximity):
            start = IBEACON_START if beacon.kind == "ibeacon" else ALTBEACON_START
            body = _PROXIMITY.pack(uuids.UUID(beacon.uuid).bytes, beacon.major, beacon.minor, beacon.power_dbm)
            return start + body + (b"" if beacon.kind == "ibeacon" else b"\x00")
        if isinstance(beacon, Uid):
            names = bytes.fromhex(beacon.namespace), bytes.fromhex(beacon.instance)
            if (len(names[0]), len(names[1])) != (10, 6):
                raise ValueError("namespace of 10 and instance of 6 bytes expected")
            return struct.pack(">Bb", 0, beacon.power_dbm) + b"".join(names) + bytes(2)
        if isinstance(beacon, Url):
            return struct.pack(">Bb", 0x10, beacon.power_dbm) + _packed(beacon.url)
        if isinstance(beacon, Telemetry) and not beacon.is_encrypted:
            raw = NO_TEMPERATURE if beacon.temperature_c is None else round(beacon.temperature_c * 256)
            return b"\x20\x00" + _TELEMETRY.pack(beacon.battery_mv or 0, raw, beacon.adverts, round(beacon.uptime_s * 10))
        if isinstance(beacon, Eid):
            return struct.pack(">Bb8s", 0x30, beacon.power_dbm, bytes.fromhex(beacon.eid))
    except (struct.error, ValueError) as error:
        raise LocalProtocolError(f"{type(beacon).__name__}: {error}") from None
    raise LocalProtocolError(f"a beacon that can be written expected, got {beacon}")


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"Eddystone frame of {size} bytes expected, got {len(data)}", data)


def _telemetry(data: bytes) -> Telemetry:
    if data[1] == 1:
        return Telemetry(None, None, 0, 0.0, is_encrypted=True)
    if data[1] != 0:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"telemetry version 0 or 1 expected, got {data[1]}", data)
    _need(data, 14)
    battery, temperature, count, uptime = _TELEMETRY.unpack_from(data, 2)
    return Telemetry(battery or None, None if temperature == NO_TEMPERATURE else temperature / 256, count, uptime / 10)


def _url(data: bytes, power: int) -> Url:
    _need(data, 3)
    if data[2] >= len(_SCHEMES):
        raise RemoteProtocolError(Reason.RANGE, f"URL scheme 0..3 expected, got {data[2]}", data)
    parts = [_SCHEMES[data[2]]]
    for code in data[3:]:
        if code == 0x2F and parts[-1] in _ENDS and parts[-1].endswith("/"):
            continue  # encoders are seen that write the slash of an expansion once more
        if code < len(_ENDS):
            parts.append(_ENDS[code])
        elif 0x20 < code < 0x7F:
            parts.append(chr(code))
        else:
            raise RemoteProtocolError(Reason.RANGE, f"URL character expected, got {code:02x}", data)
    return Url("".join(parts), power)


def _packed(url: str) -> bytes:
    scheme = next((n for n, text in enumerate(_SCHEMES) if url.startswith(text)), None)
    if scheme is None:
        raise ValueError(f"http:// or https:// expected, got {url!r}")
    rest, out = url[len(_SCHEMES[scheme]) :], bytes([scheme])
    while rest:
        code = next((n for n, text in enumerate(_ENDS) if rest.startswith(text)), None)
        if code is None and not "\x20" < rest[0] < "\x7f":
            raise ValueError(f"printable ASCII expected, got {rest[0]!r}")
        out += bytes([ord(rest[0]) if code is None else code])
        rest = rest[1 if code is None else len(_ENDS[code]) :]
    return out
