"""Additional items of a JT/T 808 position, standard and vendor ones.

    id u8, length u8, value; vendors number theirs freely, so the same id may mean different things: length and content decide,
    what fits nothing is skipped by its length and named in `unknown`.

Source: JT/T 808-2019 table 27, vendor documents as far as public (Jimi, AOVX, Topflytech, "C5" cards), field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from protocols.tracker.fix import ApSeen, CellSeen, dbm, is_real_mac, mac_text

_I16 = struct.Struct(">h")
_CELLS_LIMIT, _APS_LIMIT = 32, 32


@dataclass(init=False)
class Items:
    """What the items of one position tell. Units in the names; None or empty where no item told.

    `signal` is 0..31 (99 unknown); `alarms` are words of `jt808_position.ALARMS`; `fence_side` is 0 entered, 1 left;
    `zone_minutes` the offset that the terminal says its times have.
    """

    odometer_m: int | None = None
    signal: int | None = None
    satellites: int | None = None
    battery_percent: int | None = None
    battery_mv: int | None = None
    external_mv: int | None = None
    charging: bool | None = None
    moving: bool | None = None
    steps: int | None = None
    humidity: float | None = None
    illuminance: int | None = None
    pressure_hpa: int | None = None
    hdop: float | None = None
    accuracy_m: float | None = None
    zone_minutes: int | None = None
    fence_side: int | None = None
    iccid: str | None = None
    imei: str | None = None
    firmware: str | None = None
    is_aovx: bool = False
    temperatures: dict[str, float] = field(default_factory=dict)
    cells: list[CellSeen] = field(default_factory=list)
    aps: list[ApSeen] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    truncated: bool = False

    def __init__(self, **known: Any) -> None:
        # What no item told stays the class's own default: a position sets three or four of these, and each one pays.
        self.temperatures, self.cells, self.aps, self.alarms, self.unknown = {}, [], [], [], []
        self.__dict__.update(known)


def read_items(data: bytes, at: int = 0) -> Items:
    """The items from offset `at` to the end. Never raises; an item that runs past the end sets `truncated`."""
    items = Items()
    end = len(data)
    while at + 2 <= end:
        kind, size = data[at], data[at + 1]
        at += 2
        if at + size > end:
            items.truncated = True
            break
        reader = _READERS.get(kind)
        if reader is None or not reader(data[at : at + size], items):
            items.unknown.append(kind)
        at += size
    else:
        items.truncated = at < end
    return items


def _u16(value: bytes, at: int = 0) -> int:
    return value[at] << 8 | value[at + 1]


def _u32(value: bytes, at: int = 0) -> int:
    return int.from_bytes(value[at : at + 4], "big")


def _percent(items: Items, value: int) -> bool:
    if value <= 100:
        items.battery_percent = value
    return value <= 100


def _odometer(value: bytes, items: Items) -> bool:
    if len(value) != 4:
        return False
    items.odometer_m = _u32(value) * 100
    return True


def _level_06(value: bytes, items: Items) -> bool:
    # 2 bytes are the carriage temperature of the 2019 standard, 1 byte a battery level.
    return len(value) == 1 and _percent(items, value[0])


def _fence_side(value: bytes, items: Items) -> bool:
    if len(value) == 6 and value[5] in {0, 1}:
        items.fence_side = value[5]
    return len(value) == 6


def _signal(value: bytes, items: Items) -> bool:
    if len(value) != 1:
        return False
    items.signal = value[0]
    return True


def _satellites(value: bytes, items: Items) -> bool:
    if len(value) != 1:
        return False
    items.satellites = value[0]
    return True


def _lock_text(value: bytes, items: Items) -> bool:
    """Item 33 of padlocks: `*M00,45,1138600...`, characters 2-4 of the status are the battery in 0.01 V."""
    if len(value) > 15 and value.startswith(b"*M00") and value[10:13].isdigit():
        items.battery_mv = int(value[10:13]) * 10
        return True
    return False


def _temperatures_51(value: bytes, items: Items) -> bool:
    if len(value) not in {2, 16}:
        return False
    for index in range(0, len(value), 2):
        word = _u16(value, index)
        if word != 0xFFFF:
            magnitude = (word & 0x7FFF) / 10
            items.temperatures[str(index // 2 + 1)] = -magnitude if word & 0x8000 else magnitude
    return True


def _level_56(value: bytes, items: Items) -> bool:
    return len(value) in {1, 2} and value[0] <= 10 and _percent(items, value[0] * 10)


def _behaviour_57(value: bytes, items: Items) -> bool:
    if len(value) < 2:
        return False
    word = _u16(value)
    items.alarms += [name for bit, name in ((8, "acceleration"), (9, "braking"), (10, "cornering")) if word >> bit & 1]
    return True


def _external_61(value: bytes, items: Items) -> bool:
    if len(value) != 2:
        return False
    items.external_mv = _u16(value) * 10
    return True


def _percent_68(value: bytes, items: Items) -> bool:
    return len(value) == 2 and _percent(items, round(_u16(value) / 100))


def _battery_centivolt(value: bytes, items: Items) -> bool:
    if len(value) != 2:
        return False
    items.battery_mv = _u16(value) * 10
    return True


def _impact_70(value: bytes, items: Items) -> bool:
    if len(value) < 6:
        return False
    name = {1: "acceleration", 2: "braking", 3: "cornering", 0x16: "crash"}.get(value[5])
    if name:
        items.alarms.append(name)
    return True


def _external_decivolt(value: bytes, items: Items) -> bool:
    if len(value) != 2:
        return False
    items.external_mv = _u16(value) * 100
    return True


def _user_status_d0(value: bytes, items: Items) -> bool:
    if len(value) == 4 and value[3] & 0x08:
        items.alarms.append("vibration")
    return len(value) == 4


def _level_or_driver(value: bytes, items: Items) -> bool:
    """D4, E9, FE of one byte: battery in percent, 255 while charging."""
    if len(value) != 1:
        return False
    if value[0] == 0xFF:
        items.charging = True
        return True
    return _percent(items, value[0])


def _e1(value: bytes, items: Items) -> bool:
    size = len(value)
    if size == 1:
        return _level_or_driver(value, items)
    if size == 2:
        return _external_decivolt(value, items)
    if size < 12 or (size - 4) % 8:
        return False
    mcc, mnc = _u16(value), _u16(value, 2)
    for at in range(4, size, 8):
        lac, cid = int.from_bytes(value[at : at + 3], "big"), _u32(value, at + 3)
        if 0 < lac <= 0xFFFF and 0 < cid <= 0x0FFFFFFF and len(items.cells) < _CELLS_LIMIT:
            items.cells.append(CellSeen(mcc, mnc, lac, cid, dbm(value[at + 7])))
    return True


def _e3(value: bytes, items: Items) -> bool:
    if len(value) != 6 or not value[1]:
        return len(value) == 6
    items.battery_mv = _u16(value, 2) * 10
    return _percent(items, value[1])


def _e4(value: bytes, items: Items) -> bool:
    if len(value) != 2:
        return False
    items.charging = value[0] == 0
    return _percent(items, value[1])


def _moving_e5(value: bytes, items: Items) -> bool:
    if len(value) != 1 or value[0] > 1:
        return False
    items.moving = value[0] == 1
    return True


def _sensors_e6(value: bytes, items: Items) -> bool:
    """E6: for each Bluetooth sensor its number, address 6, temperature and humidity (whole degrees and percent, signed, and 1/255)."""
    if not value or len(value) % 11 or value.startswith(b"$OBD"):
        return False
    for at in range(0, len(value), 11):
        whole = value[at + 7] - (value[at + 7] >> 7 << 8)
        items.temperatures[str(value[at])] = round(whole + (-1 if whole < 0 else 1) * value[at + 8] / 255, 1)
        if at == 0 and value[9] <= 100:
            items.humidity = round(value[9] + value[10] / 255, 1)
    return True


def _alarms_e7(value: bytes, items: Items) -> bool:
    """E7 of eight bytes (C5 cards): u16 alarms, bit 0 vibration, bits 1-3 SOS."""
    if len(value) != 8:
        return False
    word = _u16(value)
    if word & 0x000E:
        items.alarms.append("sos")
    if word & 0x0001:
        items.alarms.append("vibration")
    return True


_JIMI_ALARMS = {
    0x0001: "fault", 0x0400: "acceleration", 0x0412: "acceleration", 0x0401: "braking", 0x0413: "braking", 0x0402: "cornering",
    0x0414: "cornering", 0x0403: "overspeed", 0x0405: "crash", 0x0416: "crash", 0x0417: "crash", 0x0406: "vibration", 0x0407: "tow",
    0x0408: "fence_entry", 0x0409: "fence_exit", 0x040C: "door", 0x0C01: "sos", 0x0C02: "external_low", 0x0C05: "general",
    0x0C0E: "power_cut", 0x0C0F: "low_battery", 0x0C10: "power_off", 0x0C12: "tamper",
}  # fmt: skip


def _jimi_e8(value: bytes, items: Items) -> bool:
    """E8 of Jimi: u16 kind, u8 length, content; three bytes or fewer are a lock's state."""
    if len(value) < 3:
        return False
    kind = _u16(value)
    name = _JIMI_ALARMS.get(kind)
    if name:
        items.alarms.append(name)
    elif kind == 0x2003 and len(value) >= 10:
        items.charging = value[3] == 1
        items.battery_mv = _u16(value, 5) * 10
        items.external_mv = _u16(value, 8) * 10
    elif kind == 0x2005:
        _jimi_states(value, items)
    else:
        return False
    return True


def _jimi_states(value: bytes, items: Items) -> None:
    at = 3
    while at + 3 <= len(value):
        kind, size = _u16(value, at), value[at + 2]
        part = value[at + 3 : at + 3 + size]
        at += 3 + size
        if len(part) < size or not part:
            return
        if kind == 1 and size == 2:
            items.battery_mv = _u16(part) * 10
        elif kind == 3 and size == 1:
            _percent(items, part[0])
        elif kind == 4 and size == 1:
            items.charging = part[0] == 0
        elif kind == 5 and size == 10:
            items.iccid = part.hex()[:19]
        elif kind == 7 and size == 2:
            items.hdop = _u16(part) / 10
        elif kind == 0x2001 and size == 2:
            items.external_mv = _u16(part) * 100


def _environment_ea(value: bytes, items: Items) -> bool:
    at = 1
    while at + 2 <= len(value):
        kind, size = value[at], value[at + 1]
        part = value[at + 2 : at + 2 + size]
        at += 2 + size
        if len(part) != 2 or size != 2:
            continue
        number = _u16(part)
        if kind == 0x13:
            items.illuminance = number
        elif kind == 0x14:
            items.pressure_hpa = number
        elif kind == 0x15:
            items.humidity = number / 10
        elif kind == 0x16:
            items.temperatures["external"] = round(number / 10 - 50, 1)
    return True


def _zone_text(value: bytes) -> int | None:
    """Minutes of `UTC+08:00`; None when the text is none.

    >>> _zone_text(b"UTC-03:30")
    -210
    """
    text = value.decode("ascii", "replace")
    sign, rest = text[3:4], text[4:]
    hours, _, minutes = rest.partition(":")
    if sign not in {"+", "-"} or not hours.isdecimal() or not (minutes or "0").isdecimal() or len(rest) > 5:
        return None
    total = int(hours) * 60 + int(minutes or "0")
    return (total if sign == "+" else -total) if total <= 840 else None


def _eb(value: bytes, items: Items) -> bool:
    """EB: a time zone as text, cells (mcc u16, mnc u8, then lac u16, cid u16, level), or a list of length u16, kind u16, content."""
    size = len(value)
    if value[:3] in {b"UTC", b"GMT"}:
        items.zone_minutes = _zone_text(value)
        return True
    if size >= 8 and (size - 3) % 5 == 0 and 200 < _u16(value) < 1000:
        for at in range(3, size, 5):
            lac, cid = _u16(value, at), _u16(value, at + 2)
            if (lac or cid) and len(items.cells) < _CELLS_LIMIT:
                items.cells.append(CellSeen(_u16(value), value[2], lac, cid, dbm(value[at + 4])))
        return True
    at = 0
    while at + 4 <= size:
        length, kind = _u16(value, at), _u16(value, at + 2)
        part = value[at + 4 : at + 2 + length]
        if length < 2 or len(part) != length - 2:
            return at > 0
        _eb_part(kind, part, items)
        at += 2 + length
    return True


def _eb_part(kind: int, part: bytes, items: Items) -> None:
    size = len(part)
    if kind == 0x002D and size == 4:
        items.external_mv = _u32(part)
    elif kind == 0x002D and size == 2:
        items.battery_mv = _u16(part)
    elif kind == 0x0089 and size == 4:
        # Active low: all ones is the rest state.
        items.alarms += [name for bit, name in ((0, "power_off"), (12, "removed")) if not _u32(part) >> bit & 1]
    elif kind == 0x0024:
        network = part.decode("ascii", "replace").split(";")
        if len(network) == 4 and all(number.isdecimal() and len(number) < 10 for number in network):
            items.cells.append(CellSeen(*map(int, network)))
    elif kind == 0x00FB and size == 20:
        _iccid_text(part, items)
    elif kind == 0x00B2 and size == 10:
        items.iccid = part.hex().rstrip("f")
    elif kind == 0x00B9 and size > 1:
        _eb_aps(part, items)
    elif kind == 0x00C5 and size == 4:
        word = _u32(part)
        if not word >> 6 & 1:
            items.alarms.append("vibration")
        items.moving = {0: True, 1: False}.get(word >> 23 & 3, items.moving)
    elif kind == 0x00C6 and size == 1 and part[0] in {3, 4}:
        items.alarms.append("low_battery")
    elif kind == 0x00CE and size == 2:
        items.external_mv = _u16(part) * 10
    elif kind == 0x00D5 and size == 15 and part.isdigit():
        items.imei = part.decode()
    elif kind == 0x00D8 and size == 9:
        items.cells.append(CellSeen(_u16(part), part[2], _u16(part, 3), _u32(part, 5)))
    elif kind in {0x00A8, 0x00E1} and size == 1:
        _percent(items, part[0])


def _eb_aps(part: bytes, items: Items) -> None:
    texts = part[1:].decode("ascii", "replace").split(",")
    for mac, level in zip(texts[::2], texts[1::2], strict=False):
        try:
            address = bytes.fromhex(mac.replace(":", ""))
            items.aps.append(ApSeen(mac_text(address), -abs(int(level))))
        except ValueError:
            continue
    del items.aps[_APS_LIMIT:]


def _ee(value: bytes, items: Items) -> bool:
    """EE of six bytes: signal, external mV, battery mV, satellites. Of ten: mcc, mnc, lac u16, cid u32 (some firmware: two words)."""
    if len(value) == 6:
        items.signal, items.external_mv, items.battery_mv, items.satellites = value[0], _u16(value, 1), _u16(value, 3), value[5]
        return True
    if len(value) == 10 and 200 < _u16(value) < 1000:
        lac, cid = _u16(value, 3), int.from_bytes(value[5:9], "big")
        if lac or cid:
            items.cells.append(CellSeen(_u16(value), value[2], lac, cid, dbm(value[9])))
        return True
    return False


def _cells_f0(value: bytes, items: Items) -> bool:
    if not value or len(value) % 13:
        return False
    for at in range(0, len(value), 13):
        mcc, mnc, cid, lac, level = struct.unpack_from(">HHIIB", value, at)
        if (cid or lac) and len(items.cells) < _CELLS_LIMIT:
            items.cells.append(CellSeen(mcc, mnc, lac, cid, dbm(level)))
    return True


def _external_f1(value: bytes, items: Items) -> bool:
    if len(value) == 4:
        items.external_mv = _u32(value)
    return len(value) == 4


def _firmware_f2(value: bytes, items: Items) -> bool:
    items.firmware = value.decode("ascii", "replace").strip("\x00 ") or None
    return True


def _aps_f4(value: bytes, items: Items) -> bool:
    if not value or len(value) % 7:
        return False
    for at in range(0, len(value), 7):
        if is_real_mac(value[at : at + 6]) and len(items.aps) < _APS_LIMIT:
            items.aps.append(ApSeen(mac_text(value[at : at + 6]), dbm(value[at + 6])))
    return True


def _light_f5(value: bytes, items: Items) -> bool:
    if len(value) == 2:
        items.illuminance = _u16(value)
    return len(value) == 2


def _sensors_f6(value: bytes, items: Items) -> bool:
    """F6: 2 bytes air pressure, 8 bytes IMEI in BCD, else AOVX: event u8, mask u8 and what the mask names."""
    size = len(value)
    if size == 2:
        items.pressure_hpa = _u16(value)
        return True
    if size == 8:
        items.imei = value.hex()[1:]
        return True
    if size < 2:
        return False
    items.is_aovx = True
    mask, at = value[1], 2
    if value[0] == 2:
        items.moving = True
    for bit, width in ((0, 2), (1, 2), (2, 2), (3, 6), (4, 10), (5, 2)):
        if not mask >> bit & 1:
            continue
        if at + width > size:
            break
        if bit == 0:
            items.illuminance = _u16(value, at)
        elif bit == 1:
            items.temperatures["1"] = _I16.unpack_from(value, at)[0] / 10
        elif bit == 2:
            items.humidity = _I16.unpack_from(value, at)[0] / 10
        elif bit == 5:
            items.pressure_hpa = _u16(value, at)
        at += width
    return True


def _battery_f7(value: bytes, items: Items) -> bool:
    """F7: 2 bytes humidity 0.1 %; else mV u32, state u8 (2 charging, 3 full), percent u8."""
    if len(value) == 2:
        items.humidity = _u16(value) / 10
        return True
    if len(value) < 4:
        return False
    items.battery_mv = _u32(value)
    if len(value) >= 5:
        items.charging = value[4] in {2, 3}
    return len(value) < 6 or _percent(items, value[5])


def _f8(value: bytes, items: Items) -> bool:
    """F8: 2 bytes steps (C5 cards); 19 bytes AOVX: mode, IMEI, ICCID."""
    if len(value) == 2:
        items.steps = _u16(value)
        return True
    if len(value) >= 19:
        items.is_aovx = True
        items.imei = value[1:9].hex()[1:]
        items.iccid = value[9:19].hex()
        return True
    return False


def _f9(value: bytes, items: Items) -> bool:
    if len(value) < 2:
        return False
    mask, at = _u16(value), 2
    for bit, width in ((0, 4), (1, 4), (2, 2), (3, 6), (5, 8), (6, 6)):
        if not mask >> bit & 1:
            continue
        if at + width > len(value):
            break
        if bit == 2:
            items.hdop = _u16(value, at) / 10
        elif bit == 6:
            items.temperatures["3"] = _I16.unpack_from(value, at)[0] / 10
        at += width
    return True


def _iccid_text(value: bytes, items: Items) -> bool:
    if len(value) == 20 and value.isalnum():
        items.iccid = value.decode()
    return len(value) == 20


_EXTENDED_ALARMS = ((3, "crash"), (4, "tamper"), (0, "acceleration"), (1, "braking"), (2, "cornering"))


def _fe(value: bytes, items: Items) -> bool:
    """FE: 1 byte battery, 2 external voltage, 4 mileage; 7C and items of its own, of which 01 is u32 alarms."""
    at = 1
    while value[:1] == b"\x7c" and at + 2 <= len(value) and len(value) > 4:
        if value[at : at + 2] == b"\x01\x04" and at + 6 <= len(value):
            items.alarms += [name for bit, name in _EXTENDED_ALARMS if _u32(value, at + 2) >> bit & 1]
        at += 2 + value[at + 1]
    if at > 1:
        return True
    if len(value) == 1:
        return _level_or_driver(value, items)
    if len(value) == 2:
        return _external_decivolt(value, items)
    if len(value) == 4:
        items.odometer_m = _u32(value)
        return True
    return False


def _odometer_ac(value: bytes, items: Items) -> bool:
    if len(value) != 4:
        return False
    items.odometer_m = _u32(value)
    return True


_READERS: dict[int, Callable[[bytes, Items], bool]] = {
    0x01: _odometer, 0x06: _level_06, 0x12: _fence_side, 0x30: _signal, 0x31: _satellites, 0x33: _lock_text, 0x51: _temperatures_51,
    0x56: _level_56, 0x57: _behaviour_57, 0x61: _external_61, 0x68: _percent_68, 0x69: _battery_centivolt, 0x70: _impact_70,
    0x82: _external_decivolt, 0xAC: _odometer_ac, 0xCC: _iccid_text, 0xD0: _user_status_d0, 0xD3: _external_decivolt,
    0xD4: _level_or_driver, 0xD5: _battery_centivolt, 0xE1: _e1, 0xE3: _e3, 0xE4: _e4, 0xE5: _moving_e5, 0xE6: _sensors_e6,
    0xE7: _alarms_e7, 0xE8: _jimi_e8, 0xE9: _level_or_driver, 0xEA: _environment_ea, 0xEB: _eb, 0xEC: _aps_f4, 0xEE: _ee, 0xF0: _cells_f0,
    0xF1: _external_f1, 0xF2: _firmware_f2, 0xF4: _aps_f4, 0xF5: _light_f5, 0xF6: _sensors_f6, 0xF7: _battery_f7, 0xF8: _f8, 0xF9: _f9,
    0xFE: _fe,
}  # fmt: skip


def encode_item(kind: int, value: bytes) -> bytes:
    """One item. The caller keeps `value` within 255 bytes."""
    return bytes((kind, len(value))) + value
