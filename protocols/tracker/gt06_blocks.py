"""What the content of GT06 messages tells: GPS, LBS, Wi-Fi, status and alarm blocks, whatever clone laid them out.

    GPS, 18 bytes: yy mm dd hh mm ss | u8 low nibble satellites | lat u32 | lon u32 (1/1 800 000 degree, magnitudes) | km/h u8
                   | flags u16: 0-9 course, 10 NORTH, 11 WEST, 12 fixed, 14 ignition known, 15 ignition
    LBS: [length u8] | mcc u16 (bit 15: mnc has two bytes) | mnc | lac | cell id; widths by message type:
         most u16 + u24; 11, 31, 32 mnc u16 and u16 + u32; A0-A5 u32 + u64
    status tail of alarms: information u8 | level u8 | GSM u8 | alarm u8 | language u8
    information: bit 1 ignition, 2 charging, 3-5 alarm (1 vibration, 2 power cut, 3 low battery, 4 SOS, 6 fence, 7 removed)

The length byte of LBS counts itself on some clones, not on others, and is nonsense on a few: the country code decides whether
there is one, the width of the cell where it ends, and the tail is checked for sense before its alarm is believed.

Source: Concox GT06 1.8 sections 5.2-5.5, Jimi 4G documents; clone layouts as observed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.tracker.fix import ApSeen, CellSeen, civil_ms, dbm, is_real_mac, mac_text

ALARMS: dict[int, str] = {
    0x01: "sos", 0x02: "power_cut", 0x03: "vibration", 0x04: "fence_entry", 0x05: "fence_exit", 0x06: "overspeed", 0x09: "vibration",
    0x0C: "power_on", 0x0E: "low_battery", 0x0F: "low_battery", 0x10: "sim_change", 0x11: "power_off", 0x13: "tamper", 0x14: "door",
    0x15: "power_off", 0x16: "sound", 0x17: "false_base_station", 0x18: "removed", 0x19: "low_battery", 0x23: "fall", 0x25: "tamper",
    0x29: "acceleration", 0x2A: "cornering", 0x2B: "cornering", 0x2C: "crash", 0x2D: "crash", 0x30: "braking",
}  # fmt: skip
"""Word of each alarm code; 0 is none, 0A, 0B, 0D tell of reception."""
QUIET_CODES = frozenset((0x00, 0x0A, 0x0B, 0x0D, 0xFE, 0xFF))
INFORMATION_ALARMS = {1: "vibration", 2: "power_cut", 3: "low_battery", 4: "sos", 6: "fence_exit", 7: "removed"}

_GPS = struct.Struct(">6BBIIBH")
GPS_BYTES = 18
_WIDE = frozenset((0x11, 0x31, 0x32))
_LONG = frozenset((0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5))
DEGREE = 1_800_000


class Gps(NamedTuple):
    """One GPS block: signed degrees, None without a fix; `at_ms` None when the clock is unset."""

    at_ms: int | None
    lat: float | None
    lon: float | None
    valid: bool
    speed_kmh: int | None
    course_deg: int
    satellites: int | None
    out_of_range: bool = False
    altitude_m: int | None = None


@dataclass(init=False)
class Report:
    """What one message tells. `alarms` are words of `ALARMS`, SOS first; `level` 0..6; `fault` is what could not be read."""

    alarms: list[str] = field(default_factory=list)
    gps: Gps | None = None
    at_ms: int | None = None
    cells: list[CellSeen] = field(default_factory=list)
    aps: list[ApSeen] = field(default_factory=list)
    stored: bool = False
    level: int | None = None
    percent: int | None = None
    battery_mv: int | None = None
    external_mv: int | None = None
    signal: int | None = None
    charging: bool | None = None
    door_open: bool | None = None
    steps: int | None = None
    odometer_m: int | None = None
    iccid: str | None = None
    imsi: str | None = None
    text: str | None = None
    fault: RemoteProtocolError | None = None

    def __init__(self) -> None:
        # What a message does not tell stays the class's own default: most set a handful.
        self.alarms, self.cells, self.aps = [], [], []

    def alarm(self, code: int) -> None:
        """Add the alarm of a code; an unknown one is a general alarm that names it."""
        if code not in QUIET_CODES:
            self.add(ALARMS.get(code, f"code {code:02x}"))

    def add(self, word: str) -> None:
        """Add an alarm once, SOS in front."""
        if word not in self.alarms:
            self.alarms.insert(0 if word == "sos" else len(self.alarms), word)


def date_fits(content: bytes, at: int = 0) -> bool:
    """Whether six bytes can be yy mm dd hh mm ss."""
    part = content[at : at + 6]
    return len(part) == 6 and part[0] < 100 and 1 <= part[1] <= 12 and 1 <= part[2] <= 31 and part[3] < 24 and part[4] < 60 and part[5] < 60


def time_of(content: bytes, at: int, offset_minutes: int) -> int | None:
    """Epoch milliseconds of six plain bytes."""
    part = content[at : at + 6]
    return civil_ms(*part, offset_minutes=offset_minutes) if len(part) == 6 else None


def read_gps(content: bytes, at: int, offset_minutes: int) -> Gps:
    """The block at `at`. Raises RemoteProtocolError (TRUNCATED)."""
    if len(content) < at + GPS_BYTES:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a GPS block of {GPS_BYTES} bytes expected, got {len(content) - at}", content)
    year, month, day, hour, minute, second, packed, lat, lon, speed, flags = _GPS.unpack_from(content, at)
    at_ms = civil_ms(year, month, day, hour, minute, second, offset_minutes=offset_minutes)
    return place(at_ms, lat, lon, flags, speed_kmh=speed, satellites=packed & 15)


def place(
    at_ms: int | None, lat: int, lon: int, flags: int, *, speed_kmh: int | None, satellites: int | None, altitude_m: int | None = None
) -> Gps:
    """A block of raw magnitudes and flags with its signs and checks."""
    north, east = lat / DEGREE, lon / DEGREE
    bad = north > 90 or east > 180
    known = not bad and bool(lat or lon)
    course = flags & 1023
    return Gps(
        at_ms,
        (north if flags & 1024 else -north) if known else None,
        (-east if flags & 2048 else east) if known else None,
        bool(flags & 4096),
        speed_kmh,
        course if course <= 360 else 0,
        satellites,
        bad,
        altitude_m,
    )


def write_gps(
    time: tuple[int, int, int, int, int, int], lat: float, lon: float, *, fixed: bool = True, satellites: int = 9, speed_kmh: int = 0,
    course_deg: int = 0,
) -> bytes:  # fmt: skip
    """A GPS block as a device makes it; `time` yy mm dd hh mm ss in the device's zone. Raises LocalProtocolError."""
    flags = course_deg | (1024 if lat >= 0 else 0) | (2048 if lon < 0 else 0) | (4096 if fixed else 0)
    try:
        return _GPS.pack(*time, 0xC0 | satellites, round(abs(lat) * DEGREE), round(abs(lon) * DEGREE), speed_kmh, flags)
    except struct.error as error:
        raise LocalProtocolError(f"GPS block: {error}") from None


def write_cell(cell: CellSeen) -> bytes:
    """The eight bytes of a cell without its length: mcc u16, mnc u8, lac u16, cell id u24."""
    return struct.pack(">HBH", cell.mcc or 0, cell.mnc or 0, cell.lac) + cell.cid.to_bytes(3, "big")


def write_alarm_tail(alarm: int, *, information: int = 0x40, level: int = 6, signal: int = 4, language: int = 2) -> bytes:
    """The five bytes behind the cell of an alarm."""
    return bytes((information, level, signal, alarm, language))


def _mcc_fits(content: bytes, at: int) -> bool:
    return len(content) >= at + 2 and 200 <= (content[at] << 8 | content[at + 1]) & 0x7FFF <= 999


def read_lbs(content: bytes, at: int, kind: int, report: Report, *, has_length: bool) -> int:
    """One cell at `at`, with or without a length byte before it; returns where it ends. Raises RemoteProtocolError (TRUNCATED).

    `has_length` is what the type promises; a country code at only one of the two places overrules it.
    """
    plain, behind = _mcc_fits(content, at), _mcc_fits(content, at + 1)
    if plain != behind:
        has_length = behind
    length = None
    if has_length:
        if at >= len(content):
            raise RemoteProtocolError(Reason.TRUNCATED, "length of the cell expected", content)
        length = content[at]
        at += 1
    if length == 0 and not behind:
        return at
    wide = kind in _WIDE or bool(len(content) > at and content[at] & 0x80)
    lac_size, cid_size = (4, 8) if kind in _LONG else (2, 4) if kind in _WIDE else (2, 3)
    mnc_size = 2 if wide else 1
    size = 2 + mnc_size + lac_size + cid_size
    if len(content) < at + size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a cell of {size} bytes expected, got {len(content) - at}", content)
    mcc = (content[at] << 8 | content[at + 1]) & 0x7FFF
    mnc = int.from_bytes(content[at + 2 : at + 2 + mnc_size], "big")
    lac_at = at + 2 + mnc_size
    lac = int.from_bytes(content[lac_at : lac_at + lac_size], "big")
    cid = int.from_bytes(content[lac_at + lac_size : at + size], "big")
    if mcc and (lac or cid):
        report.cells.append(CellSeen(mcc, mnc, lac, cid))
    if length is not None and size + 1 < length <= size + 24 and at + length - 1 <= len(content):
        return at + length - 1
    return at + size


def read_information(information: int, report: Report) -> None:
    """The information byte: charging and the alarm of bits 3-5."""
    report.charging = bool(information & 4)
    word = INFORMATION_ALARMS.get(information >> 3 & 7)
    if word and not (word == "fence_exit" and "fence_entry" in report.alarms):
        report.add(word)


def set_level(value: int, report: Report) -> None:
    """A level byte: 0..6 steps, above that percent."""
    if value <= 6:
        report.level, report.percent = value, round(value * 100 / 6)
    elif value <= 100:
        report.percent = value


def set_signal(value: int, report: Report) -> None:
    """A GSM byte: 0..4 bars, above that the modem's 0..31 or percent; larger values are no signal."""
    if value <= 4:
        report.signal = value * 25
    elif value <= 31:
        report.signal = round(value * 100 / 31)
    elif value <= 100:
        report.signal = value


def _tail_fits(content: bytes, at: int) -> bool:
    part = content[at : at + 5]
    return len(part) == 5 and part[1] <= 100 and (part[3] in ALARMS or part[3] in QUIET_CODES) and part[4] in {0, 1, 2, 0x82, 0xFF}


def read_alarm_tail(content: bytes, at: int, report: Report, *, size: int = 5) -> int:
    """Information, level, GSM, alarm, language at `at`, or where they make sense instead; returns their end.

    `size` is what the type promises. A clone whose cell is one byte longer than it says would turn SOS into another alarm
    if `at` were trusted: up to three bytes too many belong to the cell when only the rest makes sense.
    """
    if len(content) < at + 4:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a status of 5 bytes expected, got {len(content) - at}", content)
    surplus = len(content) - at - size
    makes_sense = _tail_fits(content, at) and content[at + 1] <= 6
    padded = content[at : at + 5] == bytes(5) and surplus > size
    if padded or (1 <= surplus <= 3 and not makes_sense and _tail_fits(content, len(content) - size)):
        at = len(content) - size
    information, level, signal, alarm = content[at : at + 4]
    report.alarm(alarm)
    read_information(information, report)
    set_level(level, report)
    set_signal(signal, report)
    return at + 5


def read_aps(content: bytes, at: int, report: Report) -> int:
    """Count u8, then MAC and level; returns their end. Stops where the content ends."""
    if at >= len(content):
        return at
    count, at = content[at], at + 1
    for _ in range(count):
        if at + 7 > len(content):
            return at
        if is_real_mac(content[at : at + 6]):
            report.aps.append(ApSeen(mac_text(content[at : at + 6]), dbm(content[at + 6])))
        at += 7
    return at


def read_cells(content: bytes, at: int, report: Report, *, count: int, lac_size: int, cid_size: int) -> int:
    """mcc u16, mnc, then up to `count` cells with level; returns their end."""
    if len(content) < at + 3:
        raise RemoteProtocolError(Reason.TRUNCATED, "country and network code expected", content)
    mcc = content[at] << 8 | content[at + 1]
    mnc_size = 2 if mcc & 0x8000 else 1
    mnc = int.from_bytes(content[at + 2 : at + 2 + mnc_size], "big")
    return read_cell_list(content, at + 2 + mnc_size, report, codes=(mcc & 0x7FFF, mnc), count=count, lac_size=lac_size, cid_size=cid_size)


def read_cell_list(content: bytes, at: int, report: Report, *, codes: tuple[int, int], count: int, lac_size: int, cid_size: int) -> int:
    """`count` cells of lac, cell id and level u8; empty ones are skipped. Stops where the content ends."""
    for _ in range(count):
        if at + lac_size + cid_size + 1 > len(content):
            break
        lac = int.from_bytes(content[at : at + lac_size], "big")
        cid = int.from_bytes(content[at + lac_size : at + lac_size + cid_size], "big")
        at += lac_size + cid_size + 1
        if lac or cid:
            report.cells.append(CellSeen(codes[0], codes[1], lac, cid, dbm(content[at - 1])))
    return at
