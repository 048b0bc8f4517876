"""The content of each GT06 message type as a `Report`. Blocks and their source: `protocols.tracker.gt06_blocks`.

10 1A 1E            GPS
11 12 22 2D 31 37 A0 GPS + LBS [+ ignition u8, reason u8, re-upload u8 | odometer u32 | maker's own]
16 26 27 32 A3 A4   GPS + LBS with length + status tail [+ fence u8]
19 A5               LBS + status tail
13                  status; 23 heartbeat: information, voltage u16 0.01 V, GSM
18 24 28 2C 2E A1 A2 33  time + mcc, mnc + 7 cells + TA [+ access points]
17 69               counted Wi-Fi (BCD time), F3 Wi-Fi
34                  X1: GPS with voltages; 70 modules u16 id, u16 length; 36, F1 modules u16 id, u8 length
79 79 32 33         AZ735: GPS with length
94                  information by sub type; 95 alarm of cameras
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from protocols.errors import Reason, RemoteProtocolError
from protocols.tracker.fix import ApSeen, CellSeen, bcd_ms, civil_ms, dbm, is_real_mac, mac_text
from protocols.tracker.gt06 import Packet, read_command, read_string
from protocols.tracker.gt06_blocks import (
    DEGREE,
    GPS_BYTES,
    Report,
    date_fits,
    place,
    read_alarm_tail,
    read_aps,
    read_cell_list,
    read_cells,
    read_gps,
    read_information,
    read_lbs,
    set_level,
    set_signal,
    time_of,
)

MODULES_LIMIT = 64
CELL_LIST_BYTES = 18
"""A 19 of so many bytes holds more than one cell and a status."""


def read_report(packet: Packet, *, offset_minutes: int = 0) -> Report | None:
    """What `packet` tells, None for a type that is not decoded. What was read before a fault stays; the fault is in `fault`."""
    reader = (_EXTENDED if packet.extended else _BASIC).get(packet.kind)
    if packet.extended and reader is None:
        reader = _BASIC.get(packet.kind)
    if reader is None:
        return None
    report = Report()
    try:
        reader(packet, report, offset_minutes)
    except RemoteProtocolError as error:
        report.fault = error
    return report


def _gps(packet: Packet, report: Report, offset: int, at: int = 0) -> int:
    report.gps = read_gps(packet.content, at, offset)
    report.at_ms = report.gps.at_ms
    return at + GPS_BYTES


def _has_gps(content: bytes) -> bool:
    """A date, then the byte whose high nibble is the length of the GPS data."""
    return len(content) >= GPS_BYTES and date_fits(content) and content[6] >> 4 in {0x0C, 0x0B, 0x09}


def _position(packet: Packet, report: Report, offset: int) -> None:
    content = packet.content
    at = 0
    if not date_fits(content) and date_fits(content, 8):
        at = 8
    elif len(content) >= 33 and content[0] == 1 and not date_fits(content) and date_fits(content, 15):
        at = 15
    at = _gps(packet, report, offset, at)
    if packet.kind in {0x10, 0x1A, 0x1E} or len(content) < at + 8:
        return
    at = read_lbs(content, at, packet.kind, report, has_length=False)
    rest = content[at:]
    if packet.kind == 0x12:
        _tail_12(rest, len(content), report)
    elif packet.kind in {0x22, 0x2D, 0x37, 0xA0} and len(rest) >= 3:
        report.stored = rest[2] == 1
        if packet.kind == 0x37:
            _modules(rest[3:], report, width=1)
    elif packet.kind == 0x31 and len(rest) == 9 and report.gps is not None:
        report.gps = report.gps._replace(altitude_m=_signed(rest, 7))
    if len(rest) == 4 or (packet.kind in {0x22, 0x2D} and len(rest) == 7):
        report.odometer_m = int.from_bytes(rest[-4:], "big") or None


def _signed(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "big", signed=True)


def _tail_12(rest: bytes, size: int, report: Report) -> None:
    """Status behind the cell: VXT01 (31 bytes in all) and S5 (38 bytes) carry information, voltage, GSM and an alarm."""
    if size in {31, 38} and len(rest) >= 4:
        read_information(rest[0], report)
        report.external_mv = int.from_bytes(rest[1:3], "big") * 10
        set_signal(rest[3], report)
        if len(rest) >= 5:
            report.alarm(rest[4])


def _alarm(packet: Packet, report: Report, offset: int) -> None:
    content = packet.content
    if packet.kind == 0xA3 and not _has_gps(content):
        _band_status(content, report)
        return
    fault = None
    try:
        at = _gps(packet, report, offset)
        if len(content) == 31 and 200 <= content[18] << 8 | content[19] <= 999:
            at = read_lbs(content, at, packet.kind, report, has_length=False)
            if content[28] > 31 or content[27] > 6:
                _tail_12(content[26:], 31, report)
                return
            read_alarm_tail(content, at, report)
            return
        at = read_lbs(content, at, packet.kind, report, has_length=True)
    except RemoteProtocolError as error:
        fault, at = error, max(0, len(content) - 5)
    if len(content) >= at + 4:
        at = read_alarm_tail(content, at, report, size={0x27: 6, 0xA4: 6, 0x32: 7}.get(packet.kind, 5))
        if packet.kind == 0x32 and report.gps is not None and len(content) == at + 2:
            report.gps = report.gps._replace(altitude_m=_signed(content, at))
    elif fault is None:
        fault = RemoteProtocolError(Reason.TRUNCATED, f"a status of 5 bytes expected, got {len(content) - at}", content)
    if fault is not None:
        raise fault


def _band_status(content: bytes, report: Report) -> None:
    """A3 without GPS: 19 bytes of a step counter, or 7 of a status."""
    if len(content) >= 13:
        report.steps = content[11] << 8 | content[12]
    elif len(content) >= 5:
        report.charging = bool(content[0] & 4)


def _lbs_alarm(packet: Packet, report: Report, _offset: int) -> None:
    content = packet.content
    at = read_lbs(content, 0, packet.kind, report, has_length=False)
    # SPACE10X trackers send a list of cells under 19: what stands behind the first is no status.
    if len(content) >= at + 4 and not (packet.kind == 0x19 and len(content) >= CELL_LIST_BYTES):
        read_alarm_tail(content, at, report)


def _status(packet: Packet, report: Report, _offset: int) -> None:
    content = packet.content
    if len(content) < 3:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a status of 3 bytes expected, got {len(content)}", content)
    if len(content) == 16:
        report.alarm(content[3])
        report.percent = content[5] if content[5] <= 100 else None
        return
    information, level, signal = content[:3]
    if len(content) >= 4 and level > 6 and signal > 4:
        # Clones that report their supply instead of a level: u16 in 0.01 V, then GSM.
        report.external_mv = (level << 8 | signal) * 10
        set_signal(content[3], report)
    else:
        set_level(level, report)
        if signal <= 100:
            set_signal(signal, report)
        if len(content) == 5 and content[3] == 0x01:
            report.add("sos")
    read_information(information, report)


def _heartbeat(packet: Packet, report: Report, _offset: int) -> None:
    content = packet.content
    if not content:
        raise RemoteProtocolError(Reason.TRUNCATED, "an information byte expected", content)
    read_information(content[0], report)
    if len(content) >= 3:
        report.battery_mv = (content[1] << 8 | content[2]) * 10
    if len(content) >= 4:
        set_signal(content[3], report)


def _cells(packet: Packet, report: Report, offset: int) -> None:
    content, kind = packet.content, packet.kind
    if _has_gps(content):
        at = _gps(packet, report, offset)
        at = read_lbs(content, at, kind, report, has_length=False)
        if kind == 0x24 and len(content) >= at + 5:
            report.external_mv = (content[at + 1] << 8 | content[at + 2]) * 10
            report.battery_mv = (content[at + 3] << 8 | content[at + 4]) * 10
        return
    if len(content) < 9:
        raise RemoteProtocolError(Reason.TRUNCATED, f"time and network code expected, got {len(content)} bytes", content)
    report.at_ms = time_of(content, 0, offset)
    if kind == 0x24 and len(content) == 44:
        codes = (content[7] << 8 | content[8], content[9])
        read_cell_list(content, 11, report, codes=codes, count=content[10], lac_size=2, cid_size=3)
        return
    sizes = (4, 8) if kind in {0xA1, 0xA2, 0x33} else (2, 3)
    at = read_cells(content, 6, report, count=6 if kind == 0x33 else 7, lac_size=sizes[0], cid_size=sizes[1])
    if kind in {0x18, 0x2C, 0xA2, 0x33}:
        read_aps(content, at + 1, report)


def _wifi(packet: Packet, report: Report, offset: int) -> None:
    content = packet.content
    if packet.serial is not None:
        _position(packet, report, offset)
        return
    report.at_ms = bcd_ms(content[:6])
    count = packet.raw[2]
    at = read_aps(bytes((count,)) + content[6:], 0, report) + 5
    if at + 4 <= len(content):
        codes = (content[at + 1] << 8 | content[at + 2], content[at + 3])
        read_cell_list(content, at + 4, report, codes=codes, count=content[at], lac_size=2, cid_size=2)


def _wifi_f3(packet: Packet, report: Report, _offset: int) -> None:
    """F3: BCD time, count, then two bytes and a MAC each."""
    content = packet.content
    if len(content) < 7:
        raise RemoteProtocolError(Reason.TRUNCATED, f"time and count expected, got {len(content)} bytes", content)
    report.at_ms = bcd_ms(content[:6])
    for at in range(9, min(len(content), 7 + 8 * content[6]), 8):
        if at + 6 <= len(content) and is_real_mac(content[at : at + 6]):
            report.aps.append(ApSeen(mac_text(content[at : at + 6])))


def _x1(packet: Packet, report: Report, offset: int) -> None:
    content = packet.content
    at = _gps(packet, report, offset, 4)
    if len(content) < at + 19:
        return
    report.odometer_m = int.from_bytes(content[at + 2 : at + 6], "big") or None
    mcc, mnc, lac, cid = struct.unpack_from(">HBHI", content, at + 6)
    if lac or cid:
        report.cells.append(CellSeen(mcc, mnc, lac, cid))
    if len(content) >= at + 23:
        battery, supply = struct.unpack_from(">HH", content, at + 19)
        report.battery_mv, report.external_mv = battery * 10 or None, supply * 10 or None


def _status_36(packet: Packet, report: Report, offset: int) -> None:
    """36: GPS, mcc, mnc, lac, cell id u32; or information, level, GSM, language u16 and modules."""
    content = packet.content
    if not _has_gps(content):
        if len(content) < 5:
            raise RemoteProtocolError(Reason.TRUNCATED, f"a status of 5 bytes expected, got {len(content)}", content)
        read_information(content[0], report)
        set_level(content[1], report)
        set_signal(content[2], report)
        _modules(content[5:], report, width=1)
        return
    at = _gps(packet, report, offset)
    if len(content) >= at + 9:
        mcc, mnc, lac, cid = struct.unpack_from(">HBHI", content, at)
        if mcc and (lac or cid):
            report.cells.append(CellSeen(mcc, mnc, lac, cid))


def _modules(content: bytes, report: Report, *, width: int) -> None:
    """Modules of id u16, length of `width` bytes, value."""
    at = 0
    for _ in range(MODULES_LIMIT):
        if at + 2 + width > len(content):
            return
        kind = content[at] << 8 | content[at + 1]
        size = int.from_bytes(content[at + 2 : at + 2 + width], "big")
        value = content[at + 2 + width : at + 2 + width + size]
        at += 2 + width + size
        if len(value) < size:
            return
        _module(kind, value, report)


def _module(kind: int, value: bytes, report: Report) -> None:
    size = len(value)
    if kind == 0x0018 and size == 2:
        report.battery_mv = (value[0] << 8 | value[1]) * 10
    elif kind == 0x0027 and size == 2:
        report.external_mv = (value[0] << 8 | value[1]) * 10
    elif kind == 0x002E and size == 4:
        report.odometer_m = int.from_bytes(value, "big") or None


def _modular_70(packet: Packet, report: Report, _offset: int) -> None:
    """79 79 70: modules of u16 id and u16 length; 33 position, 2B event, 11 cell, 03 ICCID, 18 battery, 2A inputs."""
    content, at = packet.content, 0
    for _ in range(MODULES_LIMIT):
        if at + 4 > len(content):
            return
        kind, size = struct.unpack_from(">HH", content, at)
        value = content[at + 4 : at + 4 + size]
        at += 4 + size
        if len(value) < size:
            raise RemoteProtocolError(Reason.TRUNCATED, f"a module of {size} bytes expected, got {len(value)}", content)
        if kind == 0x33 and size >= 18:
            epoch, satellites, altitude, lat, lon, speed, flags = struct.unpack_from(">IBhIIBH", value)
            report.at_ms = epoch * 1000
            report.gps = place(epoch * 1000, lat, lon, flags, speed_kmh=speed, satellites=satellites, altitude_m=altitude)
        elif kind == 0x2B and size:
            word = {0x11: "low_battery", 0x12: "low_battery", 0x13: "power_cut", 0x14: "removed"}.get(value[0])
            if word:
                report.add(word)
        elif kind == 0x11 and size >= 10:
            mcc, mnc, lac = struct.unpack_from(">HHH", value)
            cid = int.from_bytes(value[6:9], "big")
            if cid:
                report.cells.append(CellSeen(mcc, mnc, lac, cid, dbm(value[9])))
        elif kind == 0x03 and size >= 10:
            report.iccid = value[:10].hex().rstrip("f")
        elif kind == 0x2A and size:
            report.door_open = bool(value[0] & 0x0F)
        else:
            _module(kind, value, report)


def _modular_f1(packet: Packet, report: Report, _offset: int) -> None:
    """79 79 F1: epoch u32, then modules of u16 id and u8 length; 5 supply 0.01 V."""
    content = packet.content
    if len(content) < 4:
        raise RemoteProtocolError(Reason.TRUNCATED, "a time expected", content)
    report.at_ms = int.from_bytes(content[:4], "big") * 1000
    at = 4
    while at + 3 <= len(content):
        kind, size = content[at] << 8 | content[at + 1], content[at + 2]
        if kind == 5 and size == 2 and at + 5 <= len(content):
            report.external_mv = (content[at + 3] << 8 | content[at + 4]) * 10
        at += 3 + size


def _az735(packet: Packet, report: Report, offset: int) -> None:
    """79 79 32 and 33: time, GPS with its own length u8 (0 none), LBS with length and level, cells, access points, state u8."""
    content = packet.content
    if len(content) < 8:
        raise RemoteProtocolError(Reason.TRUNCATED, f"time and GPS length expected, got {len(content)} bytes", content)
    report.at_ms = time_of(content, 0, offset)
    at = 7
    if content[6]:
        if len(content) < 19:
            raise RemoteProtocolError(Reason.TRUNCATED, "a GPS block expected", content)
        report.gps = read_gps(content[:6] + content[7:], 0, offset)
        at = 19
    if at < len(content) and content[at]:
        # The cell is followed by its level; the widths are those of 12, whatever the type.
        at = read_lbs(content, at, 0x12, report, has_length=True) + 1
    else:
        at += 1
    for _ in range(2):
        at += 1 + (content[at] if at < len(content) else 0)
    if packet.kind == 0x33 and at < len(content):
        word = {0xA2: "low_battery", 0xA3: "low_battery", 0xA4: "general", 0xA5: "door"}.get(content[at])
        if word:
            report.add(word)


def _information(packet: Packet, report: Report, _offset: int) -> None:
    content = packet.content
    if not packet.extended:
        if len(content) >= 2:
            report.external_mv = (content[0] << 8 | content[1]) * 10
        return
    if not content:
        raise RemoteProtocolError(Reason.TRUNCATED, "a sub type expected", content)
    sub, value = content[0], content[1:]
    if sub in {0x05, 0x0D} and len(value) >= 7 and date_fits(value):
        value = value[6:]
    if sub == 0x00 and len(value) >= 2:
        report.external_mv = (value[0] << 8 | value[1]) * 10
    elif sub == 0x05 and value:
        report.door_open = bool(value[0] & 1)
    elif sub == 0x0A and len(value) >= 26:
        report.imsi = value[8:16].hex()[1:]
        report.iccid = value[16:26].hex().replace("f", "")
    elif sub in {0x04, 0x0D, 0x1B}:
        report.text = value.decode("ascii", "replace").strip("\x00 ")


def _camera_alarm(packet: Packet, report: Report, offset: int) -> None:
    """95: time [+ lat, lon, flags] + alarm u8."""
    content = packet.content
    if len(content) < 7:
        raise RemoteProtocolError(Reason.TRUNCATED, f"time and alarm expected, got {len(content)} bytes", content)
    report.at_ms = time_of(content, 0, offset)
    long = len(content) >= 17
    if long:
        lat, lon, flags = struct.unpack_from(">IIH", content, 6)
        report.gps = place(report.at_ms, lat, lon, flags, speed_kmh=None, satellites=None)
    code = content[16 if long else 6]
    words = {0x01: "sos" if long else "general", 0x80: "vibration", 0x87: "overspeed", 0x90: "acceleration", 0x91: "braking",
             0x92: "cornering", 0x93: "crash"}  # fmt: skip
    report.add(words.get(code, "general"))


def _text_15(packet: Packet, report: Report, _offset: int) -> None:
    report.text = read_command(packet.content)[1]
    if report.text.startswith("<ICCID:"):
        report.iccid = report.text[7:27].rstrip(">")


_PLACE_TEXT = re.compile(
    r"Lat:([NS])(\d{1,2}\.\d+),Lon:([EW])(\d{1,3}\.\d+),Course:(\d{1,3})[.\d]*,Speed:(\d{1,4})[.\d]*,"
    r"DateTime:(\d{4})-(\d\d)-(\d\d) +(\d\d):(\d\d):(\d\d)"
)


def _text_21(packet: Packet, report: Report, offset: int) -> None:
    report.text = read_string(packet.content)[1]
    found = _PLACE_TEXT.search(report.text)
    if found is None:
        return
    north, lat, east, lon, course, speed, *time = found.groups()
    report.at_ms = civil_ms(*map(int, time), offset_minutes=offset)
    flags = min(int(course), 1023) | (1024 if north == "N" else 0) | (2048 if east == "W" else 0) | 4096
    report.gps = place(report.at_ms, round(float(lat) * DEGREE), round(float(lon) * DEGREE), flags, speed_kmh=int(speed), satellites=None)


def _address(packet: Packet, report: Report, offset: int) -> None:
    _gps(packet, report, offset)


_Reader = Callable[[Packet, Report, int], None]
_BASIC: dict[int, _Reader] = {
    **dict.fromkeys((0x10, 0x11, 0x12, 0x1A, 0x1E, 0x22, 0x25, 0x2D, 0x31, 0x37, 0xA0), _position),
    **dict.fromkeys((0x16, 0x26, 0x27, 0x32, 0xA3, 0xA4), _alarm),
    **dict.fromkeys((0x19, 0xA5), _lbs_alarm),
    **dict.fromkeys((0x18, 0x24, 0x28, 0x2C, 0x2E, 0x33, 0xA1, 0xA2), _cells),
    **dict.fromkeys((0x17, 0x69), _wifi),
    0x13: _status, 0x15: _text_15, 0x23: _heartbeat, 0x2A: _address, 0x34: _x1, 0x36: _status_36, 0x81: _text_15, 0x82: _text_15,
    0x94: _information, 0x95: _camera_alarm, 0xF3: _wifi_f3,
}  # fmt: skip
_EXTENDED: dict[int, _Reader] = {
    0x21: _text_21, 0x32: _az735, 0x33: _az735, 0x70: _modular_70, 0x94: _information, 0xF1: _modular_f1,
}  # fmt: skip
