"""Eelink, the protocol of GOT10, TPT02 and GPT badges over TCP and UDP. Both directions.

Source: Eelink communication protocol V2.0, chapters 2 (packages), 3 (upload), 4 (download). Big endian.

    package   67 67 (some models 28 28) | type u8 | length u16, from the serial on | serial u16 | body
    datagram  45 4C | length u16, from the check on | check u16 | IMEI BCD 8 | packages
              check = sum of IMEI and packages, rotated left by one bit before each byte

Several packages may stand in one segment and in one datagram. Times are unsigned UTC seconds. Block that begins 12..19:

    epoch u32 | mask u8 | parts in the order of the mask bits
      0 lat i32, lon i32 (1/1 800 000 degree), altitude i16 m, km/h u16, course u16, satellites u8
      1 mcc u16, mnc u16, lac u16, cid u32, level u8      2, 3  lac u16, cid u32, level u8
      4, 5, 6 MAC 6, level i8
      7 access technology u8, counts u8 (bits 0-2 cells, 3-6 access points), mcc, mnc, lac, tac u16, cid u32, ta, pcid, arfcn u16,
        level i8, further cells of 5 bytes, access points as above
    then  14 alarm u8   15 report u8   12, 14, 15 status u16
    then  12 mV u16, 2 analogue u16, odometer u32 m, 2 counters u16, steps u16, walking u16, sensors 12, temperature i16, tags

Block that begins 02, 04, 05, 06:

    epoch u32 | lat i32 | lon i32 | km/h u8 | course u16 | mcc u16, mnc u16, lac u16, cid u24 | flag u8 (bit 0 fixed)
"""

from __future__ import annotations

import re
import struct
from struct import Struct
from typing import NamedTuple

from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer, Tries
from protocols.tracker.fix import ApSeen, CellSeen, civil_ms, dbm, is_real_mac, mac_text

MARKS = (b"\x67\x67", b"\x28\x28")
UDP_MARK = b"EL"
_START = re.compile(rb"gg|\(\(|EL|[g(E]$")
"""A mark, or a last byte that may begin one."""
LENGTH_LIMIT = 2048
"""A package with a picture part holds 1 kB; nothing else comes near."""

LOGIN, GPS, HEARTBEAT, ALARM, STATE, SMS, OBD = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
NORMAL, WARNING, REPORT, COMMAND = 0x12, 0x14, 0x15, 0x16
DOWNLINK, DATA = 0x80, 0x81
UNANSWERED = frozenset((GPS, DATA))
_KINDS = frozenset((*range(0x01, 0x30), *range(0x80, 0x90)))
"""Types that a package may have, known to us or not: 67 67 67 in junk must not look like one of 26 kB."""
OLD_BLOCKS = frozenset((GPS, ALARM, STATE, SMS))
NEW_BLOCKS = frozenset(range(0x12, 0x1A))

ALARMS: dict[int, str] = {
    0x01: "power_off", 0x02: "sos", 0x03: "low_battery", 0x04: "vibration", 0x05: "moved", 0x08: "gnss_lost", 0x09: "gnss_lost",
    0x25: "removed", 0x81: "low_speed", 0x82: "overspeed", 0x83: "fence_entry", 0x84: "fence_exit", 0x85: "crash", 0x86: "fall",
}  # fmt: skip

_ODOMETER_KM = 0x8A
_UNKNOWN = 10_000_000
"""More kilometres than any car: vehicle data that the car does not give are filled with a pattern."""
_DEGREE = 1_800_000
_HEAD = Struct(">2sBHH")
_OLD = Struct(">IiiBHHHHBHB")
"""The cell id of 24 bits as its high byte and its low word."""
_FIX = Struct(">iihHHB")
_MAIN_CELL = Struct(">HHHIB")
_CELL = Struct(">HIB")
_LTE = Struct(">HHHHIHHHb")
_SENSORS = Struct(">hHII")


class Packet(NamedTuple):
    """One package. `imei` is what the header of its datagram says, empty on TCP; `mark` 67 67 or 28 28."""

    kind: int
    serial: int
    body: bytes
    imei: str = ""
    mark: bytes = MARKS[0]
    raw: bytes = b""


class Fix(NamedTuple):
    """A place in signed degrees; None where it is 0, 0 or off the globe. km/h, degrees, metres."""

    lat: float | None
    lon: float | None
    speed_kmh: float
    course_deg: float
    altitude_m: int | None = None
    satellites: int | None = None
    is_fixed: bool = True
    out_of_range: bool = False


class Block(NamedTuple):
    """What a package with a place tells. `status` bits: 0 fixed, 1/2 ignition, 7/8 charger, 9 moving, 10 GPS on."""

    time_s: int
    fix: Fix | None = None
    cells: tuple[CellSeen, ...] = ()
    aps: tuple[ApSeen, ...] = ()
    alarm: int | None = None
    report: int | None = None
    status: int | None = None
    battery_mv: int | None = None
    odometer_m: int | None = None
    steps: int | None = None
    walking: int | None = None
    temperatures: tuple[float, ...] = ()
    humidity: float | None = None
    number: str = ""
    text: str = ""


class Answer(NamedTuple):
    """The device's words on a command: `uid` of the command."""

    uid: int
    text: str


class Connection:
    """One TCP connection, or one peer of UDP."""

    def __init__(self, *, tolerate_check: bool = False) -> None:
        self._tries = Tries()
        self._framer = Framer(self._cut, limit=LENGTH_LIMIT + 64)
        self._tolerate = tolerate_check
        self.bad_checks = 0

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished package."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Packet | Reject]:
        """Packages and refusals that `data` completes."""
        self._tries.earn(len(data))
        out: list[Packet | Reject] = []
        for raw in self._framer.feed(data):
            if isinstance(raw, Reject):
                out.append(raw)
            elif raw[:2] == UDP_MARK:
                self._datagram(raw, out)
            else:
                mark, kind, _, serial = _HEAD.unpack_from(raw)
                out.append(Packet(kind, serial, raw[7:], "", mark, raw))
        return out

    def send(self, message: Packet) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        """67 67 or 28 28 with a sane length, or EL with one.

        There is no checksum. A package that is unfinished, or ends where no other begins, was cut short or never was one when a whole
        package further in fits better: one that ends with the bytes at hand, or where the next begins. (A datagram holds packages.)
        """
        size = len(buffer)
        at = start
        while at < size:
            end = _end(buffer, at)
            if end < 0:
                return Cut(at - start) if at > start else NEED_MORE
            if end:
                if not _fits(buffer, end):
                    marks = (UDP_MARK,) if buffer.startswith(UDP_MARK, at) else (*MARKS, UDP_MARK)
                    inner = _embedded(buffer, at, min(end, size), marks, self._tries)
                    if inner:
                        return Cut(inner - start)
                return Cut(at - start, end - at if end <= size else 0)
            found = _START.search(buffer, at + 1)
            at = found.start() if found else size
        return Cut(size - start)

    def _datagram(self, raw: bytes, out: list[Packet | Reject]) -> None:
        if rotated_sum(raw[6:]) != int.from_bytes(raw[4:6], "big"):
            if not self._tolerate:
                out.append(Reject(Reason.INTEGRITY, "check of the datagram does not fit", raw[:FRAME_SAMPLE_BYTES]))
                return
            self.bad_checks += 1
        inner = Framer(self._cut, limit=LENGTH_LIMIT + 64)
        digits = raw[6:14].hex()
        if not digits.isdecimal():
            out.append(Reject(Reason.RANGE, f"IMEI digits expected, got {digits}", raw[:FRAME_SAMPLE_BYTES]))
            return
        for part in inner.feed(raw[14:]) + inner.close():
            if isinstance(part, Reject):
                out.append(part)
            elif part[:2] in MARKS:
                out.append(Packet(part[2], int.from_bytes(part[5:7], "big"), part[7:], digits[1:], part[:2], part))


def _end(buffer: bytes, at: int) -> int:
    """Where a package or datagram that begins at `at` ends by its length; 0 where none begins, -1 while bytes are missing to tell."""
    mark = buffer[at : at + 2]
    if mark in MARKS or mark == UDP_MARK:
        length_at = at + (2 if mark == UDP_MARK else 3)
        if len(buffer) < length_at + 2:
            return -1
        length = buffer[length_at] << 8 | buffer[length_at + 1]
        if mark == UDP_MARK:
            is_start = 10 <= length <= LENGTH_LIMIT and (
                buffer[at + 14 : at + 16] in (*MARKS, b"", b"\x67", b"\x28") or buffer[at + 6 : at + 14].hex().isdecimal()
            )
        else:
            is_start = 2 <= length <= LENGTH_LIMIT and buffer[at + 2] in _KINDS
        return length_at + 2 + length if is_start else 0
    return -1 if len(mark) == 1 and mark in {b"\x67", b"\x28", b"E"} else 0


def _fits(buffer: bytes, end: int) -> bool:
    """Whether a package that ends here ends with the bytes at hand or in front of another."""
    return end == len(buffer) or (end < len(buffer) and _end(buffer, end) != 0)


def _embedded(buffer: bytes, at: int, limit: int, marks: tuple[bytes, ...], tries: Tries) -> int:
    """Where a whole package that fits begins behind `at` and before `limit`, 0 where none does."""
    while True:
        at = min((i for i in (buffer.find(mark, at + 1, limit + 1) for mark in marks) if i >= 0), default=-1)
        if at < 0 or not tries.spend():
            return 0
        end = _end(buffer, at)
        if end > 0 and end <= len(buffer) and _fits(buffer, end):
            return at


def rotated_sum(data: bytes) -> int:
    """Sum of 16 bits, rotated left by one before each byte.

    >>> hex(rotated_sum(bytes.fromhex("0123456789012345676780000f0000010000000052454c41592c3123")))
    '0xb41a'
    """
    total = 0
    for byte in data:
        total = ((total << 1 | total >> 15) + byte) & 0xFFFF
    return total


def encode(packet: Packet) -> bytes:
    """The bytes of a package, in a datagram of its own where it has an IMEI. Raises LocalProtocolError."""
    if len(packet.body) + 2 > LENGTH_LIMIT:
        raise LocalProtocolError(f"body of at most {LENGTH_LIMIT - 2} bytes expected, got {len(packet.body)}")
    data = _HEAD.pack(packet.mark, packet.kind, len(packet.body) + 2, packet.serial & 0xFFFF) + packet.body
    return datagram(packet.imei, data) if packet.imei else data


def datagram(imei: str, packages: bytes) -> bytes:
    """Packages in one datagram. Raises LocalProtocolError on an IMEI that is not 15 digits."""
    inner = _imei_bytes(imei) + packages
    return UDP_MARK + (len(inner) + 2).to_bytes(2, "big") + rotated_sum(inner).to_bytes(2, "big") + inner


def _imei_bytes(imei: str) -> bytes:
    if len(imei) != 15 or not (imei.isascii() and imei.isdigit()):
        raise LocalProtocolError(f"IMEI of 15 digits expected, got {imei!r:.40}")
    return bytes.fromhex("0" + imei)


def login_of(packet: Packet) -> tuple[str, int | None]:
    """IMEI and application version (None where the login is of the short form) of a login. Raises RemoteProtocolError."""
    digits = packet.body[:8].hex()
    if len(digits) < 16:
        raise RemoteProtocolError(Reason.TRUNCATED, f"login of 8 bytes or more expected, got {len(packet.body)}", packet.raw)
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"IMEI digits expected, got {digits}", packet.raw)
    return digits[1:], int.from_bytes(packet.body[12:14], "big") if len(packet.body) >= 14 else None


def write_login(imei: str, *, serial: int = 1, language: int = 1, quarters: int = 32) -> bytes:
    """A login: language 1 English, 0 Chinese; zone in quarters of an hour."""
    return encode(Packet(LOGIN, serial, _imei_bytes(imei) + bytes((language, quarters & 0xFF))))


def acknowledgement(packet: Packet, *, now_s: int = 0) -> bytes | None:
    """What the server answers: head and serial, for a login also time, version and action; None for 02 and 81."""
    if packet.kind in UNANSWERED:
        return None
    body = now_s.to_bytes(4, "big") + b"\x00\x01\x00" if packet.kind == LOGIN else b""
    return encode(packet._replace(body=body))


def write_command(uid: int, text: str, *, serial: int = 0, imei: str = "", mark: bytes = MARKS[0]) -> bytes:
    """A text command; the device answers with the same `uid`. Raises LocalProtocolError."""
    return encode(Packet(DOWNLINK, serial, b"\x01" + uid.to_bytes(4, "big") + text.encode(), imei, mark))


def read_answer(packet: Packet) -> Answer:
    """The answer to a text command. Raises RemoteProtocolError."""
    if len(packet.body) < 5:
        raise RemoteProtocolError(Reason.TRUNCATED, f"answer of 5 bytes or more expected, got {len(packet.body)}", packet.raw)
    return Answer(int.from_bytes(packet.body[1:5], "big"), packet.body[5:].decode("utf-8", "replace").strip("\0"))


_PLACE = re.compile(
    r"Lat:\s*([NS])(\d+\.\d+).*?Lon:\s*([EW])(\d+\.\d+).*?Course:\s*(\d+(?:\.\d+)?).*?Speed:\s*(\d+(?:\.\d+)?)"
    r".*?Date ?Time:\s*(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)",
    re.DOTALL,
)


def place_in(text: str) -> tuple[Fix, int | None] | None:
    """The place and its UTC milliseconds that the answer to WHERE# tells in words; None where it tells none."""
    found = _PLACE.search(text)
    if found is None:
        return None
    north, lat, east, lon, course, speed, *clock = found.groups()
    fix = _checked(float(lat) * (-1 if north == "S" else 1), float(lon) * (-1 if east == "W" else 1), float(speed), float(course))
    year, month, day, hour, minute, second = map(int, clock)
    return fix, civil_ms(year, month, day, hour, minute, second)


def alarm_of(packet: Packet) -> int | None:
    """The alarm code of an alarm package whose block cannot be read to its end: None where not even that stands there."""
    return packet.body[25] if packet.kind == ALARM and len(packet.body) > 25 else None


def status_of(packet: Packet) -> int | None:
    """Status word of a heartbeat or of the short form of 07."""
    if packet.kind in {HEARTBEAT, OBD} and len(packet.body) >= 2:
        return int.from_bytes(packet.body[:2], "big")
    return None


def read_vehicle(packet: Packet) -> tuple[int, int | None]:
    """Time and odometer in metres (None where the car does not tell it) of a 07 with vehicle data: u32 time, then u8 id, i32 value each."""
    values = {packet.body[at]: int.from_bytes(packet.body[at + 1 : at + 5], "big") for at in range(4, len(packet.body) - 4, 5)}
    kilometres = values.get(_ODOMETER_KM)
    return int.from_bytes(packet.body[:4], "big"), kilometres * 1000 if kilometres and kilometres < _UNKNOWN else None


def read_block(packet: Packet) -> Block:
    """What a package with a place tells. Raises RemoteProtocolError (TRUNCATED)."""
    try:
        return _old(packet) if packet.kind in OLD_BLOCKS else _new(packet)
    except (IndexError, struct.error) as error:
        raise RemoteProtocolError(Reason.TRUNCATED, f"block of message {packet.kind:02x} ends too early", packet.raw) from error


def _checked(  # noqa: PLR0917 - in the order of the wire
    lat: float, lon: float, speed: float, course: float, altitude: int | None = None, satellites: int | None = None, *, fixed: bool = True
) -> Fix:
    """A fix whose place is None where it is nowhere."""
    bad = not (-90 <= lat <= 90 and -180 <= lon <= 180)
    if bad or not (lat or lon):
        return Fix(None, None, speed, course % 360, altitude, satellites, False, bad)
    return Fix(lat, lon, speed, course if course <= 360 else 0, altitude, satellites, fixed)


def _old(packet: Packet) -> Block:
    body, kind = packet.body, packet.kind
    time_s, lat, lon, speed, course, mcc, mnc, lac, cid_high, cid_low, flag = _OLD.unpack_from(body)
    cells = (CellSeen(mcc, mnc, lac, cid_high << 16 | cid_low),) if mcc else ()
    fix = _checked(lat / _DEGREE, lon / _DEGREE, speed, course, fixed=bool(flag & 1))
    rest = body[_OLD.size :]
    if kind == ALARM:
        return Block(time_s, fix, cells, alarm=rest[0])
    if kind == STATE:
        # Report, then the device's own clock and, in newer firmware, the status word.
        status = int.from_bytes(rest[5:7], "big") if len(rest) >= 7 and rest[0] in {1, 2, 3} else None
        return Block(time_s, fix, cells, report=rest[0], status=status)
    if kind == SMS:
        number, text = rest[:21].rstrip(b"\0").decode("ascii", "replace"), rest[21:].rstrip(b"\0").decode("utf-8", "replace")
        return Block(time_s, fix, cells, number=number.strip(), text=text)
    status = int.from_bytes(rest[:2], "big") if len(rest) >= 2 else None
    return Block(time_s, fix, cells, status=status, battery_mv=int.from_bytes(rest[2:4], "big") if len(rest) >= 10 else None)


def _new(packet: Packet) -> Block:
    body, kind = packet.body, packet.kind
    time_s, mask, at = int.from_bytes(body[:4], "big"), body[4], 5
    raw_fix = None
    if mask & 1:
        raw_fix = _FIX.unpack_from(body, at)
        at += _FIX.size
    cells: list[CellSeen] = []
    aps: list[ApSeen] = []
    if mask & 0xFE:
        at = _surroundings(body, at, mask, cells, aps)
    alarm = report = status = None
    if kind == WARNING:
        alarm, at = body[at], at + 1
    elif kind == REPORT:
        report, at = body[at], at + 1
    if kind in {NORMAL, WARNING, REPORT} and len(body) >= at + 2:
        status, at = body[at] << 8 | body[at + 1], at + 2
    fix = None
    if raw_fix is not None:
        lat, lon, altitude, speed, course, satellites = raw_fix
        fix = _checked(lat / _DEGREE, lon / _DEGREE, speed, course, altitude, satellites, fixed=status is None or bool(status & 1))
    block = Block(time_s, fix, tuple(cells), tuple(aps), alarm, report, status)
    if kind == NORMAL and len(body) >= at + 2:
        return _extras(block, body, at)
    if kind == COMMAND and len(body) > at + 21:
        number, text = body[at : at + 21].rstrip(b"\0"), body[at + 21 :].rstrip(b"\0")
        return block._replace(number=number.decode("ascii", "replace").strip(), text=text.decode("utf-8", "replace"))
    return block


def _surroundings(body: bytes, at: int, mask: int, cells: list[CellSeen], aps: list[ApSeen]) -> int:
    """Cells and access points of mask bits 1-7; where the next part begins."""
    mcc = mnc = None
    if mask & 2:
        mcc, mnc, lac, cid, level = _MAIN_CELL.unpack_from(body, at)
        cells.append(CellSeen(mcc, mnc, lac, cid, _level(level)))
        at += _MAIN_CELL.size
    for bit in (4, 8):
        if mask & bit:
            lac, cid, level = _CELL.unpack_from(body, at)
            cells.append(CellSeen(mcc, mnc, lac, cid, _level(level)))
            at += _CELL.size
    for bit in (0x10, 0x20, 0x40):
        if mask & bit:
            at = _ap(body, at, aps)
    if not mask & 0x80:
        return at
    counts = body[at + 1]
    at += 2
    if counts & 7:
        mcc, mnc, lac, _, cid, _, _, _, level = _LTE.unpack_from(body, at)
        cells.append(CellSeen(mcc, mnc, lac, cid, level if level < 0 else None))
        at += _LTE.size + ((counts & 7) - 1) * 5
    for _ in range(counts >> 3 & 15):
        at = _ap(body, at, aps)
    return at


def _ap(body: bytes, at: int, aps: list[ApSeen]) -> int:
    mac, level = body[at : at + 6], body[at + 6]
    if is_real_mac(mac):
        aps.append(ApSeen(mac_text(mac), dbm(level)))
    return at + 7


def _level(level: int) -> int | None:
    """GSM RxLev counts up from -110 dBm; a larger byte is two's complement."""
    if level <= 63:
        return level - 110 if level else None
    return dbm(level)


def _extras(block: Block, body: bytes, at: int) -> Block:
    """What firmware by firmware was appended to a normal report; a part that is cut off is not there."""
    rest = body[at:]
    size = len(rest)
    temperatures: list[float] = []
    humidity = None
    if size >= 30:
        celsius, tenths, light, co2 = _SENSORS.unpack_from(rest, 18)
        if celsius or tenths or light or co2:
            temperatures.append(celsius / 256)
            humidity = tenths / 10
    if size >= 32:
        raw = int.from_bytes(rest[30:32], "big", signed=True)
        temperatures += [raw / 16] if raw else []
    return block._replace(
        battery_mv=int.from_bytes(rest[:2], "big") or None,
        odometer_m=int.from_bytes(rest[6:10], "big") if size >= 10 else None,
        steps=int.from_bytes(rest[14:16], "big") if size >= 18 else None,
        walking=int.from_bytes(rest[16:18], "big") if size >= 18 else None,
        temperatures=tuple(temperatures),
        humidity=humidity,
    )


def write_report(kind: int, block: Block, *, serial: int = 1, imei: str = "") -> bytes:
    """A package 12, 14 or 15, or an old 02, 04, 05, as a device sends it. Raises LocalProtocolError."""
    if kind in OLD_BLOCKS:
        return encode(Packet(kind, serial, _old_bytes(kind, block), imei))
    fix, mask, body = block.fix, 0, b""
    if fix is not None and fix.lat is not None and fix.lon is not None:
        mask |= 1
        lat, lon = round(fix.lat * _DEGREE), round(fix.lon * _DEGREE)
        body += _FIX.pack(lat, lon, fix.altitude_m or 0, round(fix.speed_kmh), round(fix.course_deg), fix.satellites or 0)
    for index, cell in enumerate(block.cells[:3]):
        mask |= 2 << index
        level = 0 if cell.rssi_dbm is None else min(max(cell.rssi_dbm + 110, 0), 63)
        body += (
            _MAIN_CELL.pack(cell.mcc or 0, cell.mnc or 0, cell.lac, cell.cid, level) if not index else _CELL.pack(cell.lac, cell.cid, level)
        )
    for index, ap in enumerate(block.aps[:3]):
        mask |= 0x10 << index
        body += bytes.fromhex(ap.mac.replace(":", "")) + ((ap.rssi_dbm or 0) & 0xFF).to_bytes(1, "big")
    body = block.time_s.to_bytes(4, "big") + bytes((mask,)) + body
    if kind in {WARNING, REPORT}:
        body += bytes(((block.alarm if kind == WARNING else block.report) or 0,))
    body += ((int(fix.is_fixed) if fix else 0) if block.status is None else block.status).to_bytes(2, "big")
    if kind == NORMAL:
        parts = ((block.battery_mv, 2), (0, 4), (block.odometer_m, 4), (0, 4), (block.steps, 2), (block.walking, 2))
        body += b"".join((value or 0).to_bytes(width, "big") for value, width in parts)
    return encode(Packet(kind, serial, body, imei))


def _old_bytes(kind: int, block: Block) -> bytes:
    fix = block.fix or Fix(None, None, 0, 0, is_fixed=False)
    cell = block.cells[0] if block.cells else CellSeen(0, 0, 0, 0)
    lat, lon = round((fix.lat or 0) * _DEGREE), round((fix.lon or 0) * _DEGREE)
    body = _OLD.pack(
        block.time_s, lat, lon, round(fix.speed_kmh), round(fix.course_deg), cell.mcc or 0, cell.mnc or 0, cell.lac,
        cell.cid >> 16 & 0xFF, cell.cid & 0xFFFF, int(fix.is_fixed),
    )  # fmt: skip
    status = (block.status or 0).to_bytes(2, "big")
    if kind == ALARM:
        return body + bytes((block.alarm or 0,))
    if kind == STATE:
        return body + bytes((block.report or 0,)) + block.time_s.to_bytes(4, "big") + status
    if kind == SMS:
        return body + block.number.encode("ascii", "replace")[:21].ljust(21, b"\0") + block.text.encode()
    return body + status
