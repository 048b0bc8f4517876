"""Data records of Eview pendants: what the items of a data message say. Reader and writer.

Source: EV-07B communication protocol v1.2, data keys. All numbers little endian.

    01       IMEI, 15 ASCII digits                         24  u32 time, u32 status: 4 charging, 7 stored, 9 moving,
    02       u32 alarm bits, u32 time                              19-23 signal 0..31, 24-31 battery percent
    14       battery u8 percent, u16 mV                    25  call: u32 time, u8 status, u16 seconds, u8 result, number
    20       i32 lat, i32 lon 1e-7, u16 km/h, u16 course, i16 m, u16 hdop 0.1 (0 no fix), u32 odometer m, u8 satellites
    21       u16 mcc, u8 mnc, then i8 signal, u16 lac, u16 cid     29  the same, u32 cid     2B  u16 mnc, u32 cid
    19 / 22  access points: i8 signal, 6 address           (19: + u8 length, name)
    23 26 27 beacon or home Wi-Fi: 6 id reversed, [i32 lat, i32 lon], [text]
    28 / 2C  beacon: u8 flags (7 place follows, 6 name), 6 id reversed, i8 signal, i8 signal at 1 m, 2C: u8 battery,
             [i32 lat, i32 lon], [name; in 2C behind its u8 length]
    2A       home Wi-Fi: u8 flags, 6 address, i8 signal, [i32 lat, i32 lon], [text]
    30 31 37 u32 time, u32 steps / activity / barks        40 / 41  u32 time, u8 heart rate / SpO2

A message holds several records: a repeated key, other than 28 and 2C, opens the next one. The IMEI stands once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from protocols.bits import bit
from protocols.tracker.minifinder2 import DATA, IMEI, Item, Message, encode

ALARM, BATTERY, GNSS, BEACON, STATUS, CALL, STEPS, ACTIVITY, BARKS, HEART_RATE, SPO2 = (
    0x02, 0x14, 0x20, 0x23, 0x24, 0x25, 0x30, 0x31, 0x37, 0x40, 0x41,
)  # fmt: skip
_REPEATABLE = frozenset({0x28, 0x2C})
_GNSS = struct.Struct("<iiHHhHIB")
_TWO = struct.Struct("<II")
_PLACE = struct.Struct("<ii")
_CALL = struct.Struct("<IBHB")

Place = tuple[float, float]
"""Latitude, longitude in degrees."""


class Gnss(NamedTuple):
    """Key 20. `hdop` 0 means that there is no fix: the place is the last one."""

    lat: float
    lon: float
    speed_kmh: int
    course_deg: int
    altitude_m: int
    hdop: float
    odometer_m: int
    satellites: int


class Beacon(NamedTuple):
    """A beacon or a known Wi-Fi; `place` where the pendant was told it."""

    id: str
    place: Place | None = None
    text: str | None = None
    dbm: int | None = None


class Call(NamedTuple):
    """Key 25."""

    time_s: int
    status: int
    duration_s: int
    result: int
    number: str


class Reading(NamedTuple):
    """Keys 30, 31, 37, 40, 41: `key` tells what `value` counts."""

    key: int
    time_s: int
    value: int


class Record:
    """One record. Times are epoch seconds; None where the record has no such item. `faults` name items that could not be read."""

    __slots__ = (
        "alarm_s",
        "alarms",
        "battery",
        "battery_mv",
        "beacons",
        "calls",
        "cells",
        "faults",
        "gnss",
        "readings",
        "status",
        "time_s",
        "wifi",
    )

    def __init__(self) -> None:
        self.alarms: int | None = None
        self.alarm_s: int | None = None
        self.battery: int | None = None
        self.battery_mv: int | None = None
        self.gnss: Gnss | None = None
        self.status: int | None = None
        self.time_s: int | None = None
        self.cells: list[tuple[int, int, int, int, int | None]] = []
        self.wifi: list[tuple[str, int | None, str | None]] = []
        self.beacons: list[Beacon] = []
        self.calls: list[Call] = []
        self.readings: list[Reading] = []
        self.faults: list[str] = []

    @property
    def is_stored(self) -> bool:
        """Whether the record was kept while offline."""
        return self.status is not None and bit(self.status, 7)


def records(items: Iterable[Item]) -> Iterator[Record]:
    """The records of a data message. Unknown keys are skipped, short values named in `faults`."""
    record, seen = Record(), set[int]()
    for key, value in items:
        if key == IMEI:
            continue
        if key in seen:
            yield record
            record, seen = Record(), set()
        if key not in _REPEATABLE:
            seen.add(key)
        read = _READERS.get(key)
        if read is None:
            continue
        try:
            read(record, value)
        except (struct.error, IndexError):
            record.faults.append(f"value of key {key:02x} is too short, {len(value)} bytes")
    yield record


def imei_of(message: Message) -> str | None:
    """The identity of a data or service message."""
    value = message.value(IMEI)
    digits = value.decode("ascii", "replace").strip("\0 ") if value else ""
    return digits if digits.isascii() and digits.isdecimal() and 10 <= len(digits) <= 16 else None


def _alarm(record: Record, value: bytes) -> None:
    record.alarms = int.from_bytes(value[:4], "little")
    if len(value) >= 8:
        record.alarm_s = int.from_bytes(value[4:8], "little")
    if len(value) < 4:
        raise IndexError


def _battery(record: Record, value: bytes) -> None:
    record.battery = value[0] if value[0] <= 100 else None
    if len(value) >= 3:
        record.battery_mv = int.from_bytes(value[1:3], "little")


def _gnss(record: Record, value: bytes) -> None:
    lat, lon, speed, course, altitude, hdop, odometer, satellites = _GNSS.unpack_from(value)
    place = _place(record, lat, lon)
    if place is not None:
        record.gnss = Gnss(*place, speed, course, altitude, hdop / 10, odometer, satellites)


def _place(record: Record, lat: int, lon: int) -> Place | None:
    """A place in range; 0,0 is none."""
    if not (-900_000_000 <= lat <= 900_000_000 and -1_800_000_000 <= lon <= 1_800_000_000):
        record.faults.append(f"latitude within 90 and longitude within 180 degrees expected, got {lat / 1e7},{lon / 1e7}")
        return None
    return (lat / 1e7, lon / 1e7) if lat or lon else None


def _status(record: Record, value: bytes) -> None:
    record.time_s, record.status = _TWO.unpack_from(value)


def _cells(mnc_bytes: int, cid_bytes: int) -> Callable[[Record, bytes], None]:
    def read(record: Record, value: bytes) -> None:
        at = 2 + mnc_bytes
        mcc, mnc = int.from_bytes(value[:2], "little"), int.from_bytes(value[2:at], "little")
        step = 3 + cid_bytes
        for i in range(at, len(value) - step + 1, step):
            signal, lac = value[i], int.from_bytes(value[i + 1 : i + 3], "little")
            record.cells.append((mcc, mnc, lac, int.from_bytes(value[i + 3 : i + step], "little"), _dbm(signal)))

    return read


def _dbm(byte: int) -> int | None:
    """A signed byte; positive numbers are a scale of the modem's own."""
    return byte - 256 if byte > 127 else None


def _wifi(record: Record, value: bytes) -> None:
    for i in range(0, len(value) - 6, 7):
        record.wifi.append((value[i + 1 : i + 7].hex(":"), _dbm(value[i]), None))


def _named_wifi(record: Record, value: bytes) -> None:
    at = 0
    while at + 8 <= len(value):
        end = at + 8 + value[at + 7]
        name = value[at + 8 : end].decode("utf-8", "replace")
        record.wifi.append((value[at + 1 : at + 7].hex(":"), _dbm(value[at]), name or None))
        at = end


def _tag(value: bytes) -> str:
    return value[::-1].hex()


def _text(value: bytes) -> str | None:
    return value.decode("utf-8", "replace").strip("\0 ") or None


def _known(record: Record, value: bytes) -> None:
    """Keys 23, 26, 27: the place is there when the value is long enough and its numbers are a place."""
    if len(value) < 6:
        raise IndexError
    place, text = None, value[6:]
    if len(value) >= 14:
        place, text = _place(record, *_PLACE.unpack_from(value, 6)), value[14:]
    record.beacons.append(Beacon(_tag(value[:6]), place, _text(text)))


def _beacon(record: Record, value: bytes) -> None:
    place, at = _flagged_place(record, value, 9)
    record.beacons.append(Beacon(_tag(value[1:7]), place, _text(value[at:]) if bit(value[0], 6) else None, _dbm(value[7])))


def _beacon_with_battery(record: Record, value: bytes) -> None:
    place, at = _flagged_place(record, value, 10)
    text = _text(value[at + 1 : at + 1 + value[at]]) if bit(value[0], 6) and at < len(value) else None
    record.beacons.append(Beacon(_tag(value[1:7]), place, text, _dbm(value[7])))


def _flagged_place(record: Record, value: bytes, at: int) -> tuple[Place | None, int]:
    """The place at `at`, which is there only when bit 7 of the flags says so, and where the rest begins."""
    if not bit(value[0], 7):
        return None, at
    return _place(record, *_PLACE.unpack_from(value, at)), at + 8


def _home_wifi(record: Record, value: bytes) -> None:
    place, at = _flagged_place(record, value, 8)
    record.beacons.append(Beacon(value[1:7].hex(), place, _text(value[at:]), _dbm(value[7])))


def _call(record: Record, value: bytes) -> None:
    time_s, status, duration_s, result = _CALL.unpack_from(value)
    record.calls.append(Call(time_s, status, duration_s, result, value[_CALL.size :].decode("ascii", "replace").strip("\0 ")))


def _counts(key: int) -> Callable[[Record, bytes], None]:
    def read(record: Record, value: bytes) -> None:
        if len(value) < 8:
            raise IndexError
        # Bit 31 marks the end of an interval.
        record.readings += [Reading(key, time, count & 0x7FFFFFFF) for time, count in _TWO.iter_unpack(value[: len(value) // 8 * 8])]

    return read


def _vitals(key: int) -> Callable[[Record, bytes], None]:
    def read(record: Record, value: bytes) -> None:
        if len(value) < 5:
            raise IndexError
        for i in range(0, len(value) - 4, 5):
            record.readings.append(Reading(key, int.from_bytes(value[i : i + 4], "little"), value[i + 4]))

    return read


_READERS: dict[int, Callable[[Record, bytes], None]] = {
    ALARM: _alarm, BATTERY: _battery, GNSS: _gnss, STATUS: _status, CALL: _call, 0x21: _cells(1, 2), 0x29: _cells(1, 4),
    0x2B: _cells(2, 4), 0x22: _wifi, 0x19: _named_wifi, BEACON: _known, 0x26: _known, 0x27: _known,
    0x28: _beacon, 0x2C: _beacon_with_battery,
    0x2A: _home_wifi, STEPS: _counts(STEPS), ACTIVITY: _counts(ACTIVITY), BARKS: _counts(BARKS), HEART_RATE: _vitals(HEART_RATE),
    SPO2: _vitals(SPO2),
}  # fmt: skip


def imei_item(imei: str) -> Item:
    """Device side: who speaks."""
    return IMEI, imei.encode()


def alarm_item(bits: int, time_s: int) -> Item:
    """Device side: alarm bits, e.g. `1 << 12` for SOS."""
    return ALARM, _TWO.pack(bits, time_s)


def status_item(time_s: int, *, battery: int, signal: int = 31, charging: bool = False, stored: bool = False, moving: bool = False) -> Item:
    """Device side: general state."""
    return STATUS, _TWO.pack(time_s, charging << 4 | stored << 7 | moving << 9 | (signal & 31) << 19 | (battery & 0xFF) << 24)


def gnss_item(gnss: Gnss) -> Item:
    """Device side: a fix."""
    lat, lon, hdop = round(gnss.lat * 1e7), round(gnss.lon * 1e7), round(gnss.hdop * 10)
    return GNSS, _GNSS.pack(lat, lon, gnss.speed_kmh, gnss.course_deg, gnss.altitude_m, hdop, gnss.odometer_m, gnss.satellites)


def beacon_item(beacon: Beacon) -> Item:
    """Device side: key 23, a beacon with its place."""
    lat, lon = beacon.place or (0.0, 0.0)
    value = bytes.fromhex(beacon.id)[::-1] + _PLACE.pack(round(lat * 1e7), round(lon * 1e7)) + (beacon.text or "").encode()
    return BEACON, value


def wifi_item(points: Iterable[tuple[str, int]]) -> Item:
    """Device side: key 22, addresses with colons and dBm."""
    return 0x22, b"".join(struct.pack("b", dbm) + bytes.fromhex(address.replace(":", "")) for address, dbm in points)


def reading_item(reading: Reading) -> Item:
    """Device side: steps, activity, heart rate or SpO2."""
    if reading.key in (HEART_RATE, SPO2):
        return reading.key, struct.pack("<IB", reading.time_s, reading.value)
    return reading.key, _TWO.pack(reading.time_s, reading.value)


def data_message(imei: str, *items: Item, sequence: int = 1) -> bytes:
    """Device side: a data message that wants an answer."""
    return encode(Message(DATA, (imei_item(imei), *items), sequence))
