"""Topin, the look-alike of GT06 in the cheapest pendants (ZX303, ZX612, D-series): frames and contents, both directions.

    78 78 | length u8 | type u8 | content | 0D 0A        no serial, no crc, and `length` is not reliable

Source: Topin/Zhongxun protocol 1.x as observed, GT06 for the GPS block. For Wi-Fi messages `length` is the number of access points.
A frame ends at the first 0D 0A that its type allows; where a whole new frame stands inside, the outer one was cut short.

    01      IMEI 8 [+ version u8]                        30  time wanted
    10, 11  GPS block 18 [+ altitude i16, alarms u8]     11 recorded offline
    08, 09  time 6, lat 4, lon 4, 8 not used, km/h u8, course/2 u8, satellites u8; empty: heartbeat
            lat, lon: degrees u8, then 4 bits sign, 20 bits 1e-6 degree
    13      battery % u8, firmware u8, zone u8, interval u8 [, signal u8 [, temperature 3 [, charging u8 [, heart rate u8]]]]
    69 17 18 19 1A  time BCD 6, n * (mac 6, level u8), cells u8, mcc u16, mnc u8, cells * (lac u16, cid u16, level u8) [, alarms u8]
    94 vibration, 99 SOS, 92 93 vibration alarm on/off, 14 15 41 48 57 80 answers to commands
    alarms: bit 0 vibration, 1 overspeed, 4 low battery
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer, Tries
from protocols.tracker.fix import ApSeen, CellSeen, bcd_ms, civil_ms, dbm, is_real_mac, mac_text
from protocols.tracker.gt06_blocks import Gps, date_fits, read_gps

FRAME_LIMIT = 512
HEAD, TAIL = b"\x78\x78", b"\x0d\x0a"
LOGIN, HEARTBEAT, POSITION, POSITION_STORED, STATUS, TIME, VIBRATION, SOS = 0x01, 0x08, 0x10, 0x11, 0x13, 0x30, 0x94, 0x99
OWN_POSITION, OWN_POSITION_STORED = 0x08, 0x09
WIFI = frozenset((0x17, 0x18, 0x19, 0x1A, 0x69))
WIFI_STORED = frozenset((0x17, 0x19))
SLEEP, FACTORY, SOS_NUMBER, RESTART, PARAMETERS, LOCATE = 0x14, 0x15, 0x41, 0x48, 0x57, 0x80
ACCEPTED, REFUSED = 0x01, 0x44

_SIZES: dict[int, tuple[int, ...]] = {
    LOGIN: (8, 9, 10), POSITION: (18, 21, 23), POSITION_STORED: (18, 21, 23), OWN_POSITION: (0, 25), OWN_POSITION_STORED: (0, 25),
    STATUS: tuple(range(4, 17)), TIME: (0, 1), VIBRATION: (0, 1), SOS: (0, 1),
}  # fmt: skip
"""Content sizes that a type has; the smallest is where the search for its 0D 0A begins."""
_ALARM_BITS = {0: "vibration", 1: "overspeed", 4: "low_battery"}


class Packet(NamedTuple):
    """One message; `length` is the byte as sent, answers repeat it."""

    kind: int
    content: bytes
    length: int
    raw: bytes = b""


class Status(NamedTuple):
    """Message 13; None where the device sends less."""

    battery: int
    firmware: int
    zone: int
    interval: int
    signal: int | None = None
    charging: bool | None = None
    heart_rate: int | None = None


class Surroundings(NamedTuple):
    """A Wi-Fi message."""

    at_ms: int | None
    aps: list[ApSeen]
    cells: list[CellSeen]
    alarms: list[str]


class Connection:
    """One stream, either direction."""

    def __init__(self) -> None:
        self._framer = Framer(self._cut, limit=FRAME_LIMIT)
        self._tries = Tries()

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Packet | Reject]:
        """Every message and refusal that `data` completes, in order."""
        self._tries.earn(len(data))
        out: list[Packet | Reject] = []
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                out.append(found)
            elif len(found) < 6 or found[-2:] != TAIL:
                out.append(Reject(Reason.TRUNCATED, f"a whole frame expected, got {len(found)} bytes", found))
            else:
                out.append(Packet(found[3], found[4:-2], found[2], found))
        return out

    def send(self, packet: Packet) -> bytes:
        """The bytes of `packet`. Raises LocalProtocolError."""
        return encode(packet)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        at = buffer.find(HEAD, start)
        if at < 0:
            at = len(buffer) - (1 if buffer[-1] == 0x78 else 0)
        if at > start:
            return Cut(junk=at - start)
        have = len(buffer) - at
        if have < 4:
            return NEED_MORE
        least = _least(buffer, at)
        end = buffer.find(TAIL, at + 4 + least, at + FRAME_LIMIT)
        inner = _inner(buffer, at, end if end >= 0 else min(len(buffer) - 2, at + FRAME_LIMIT), self._tries)
        if inner:
            # Head, known type, size, values and tail do not come together by chance: the outer frame was cut short.
            return Cut(size=inner - at)
        if end < 0:
            return NEED_MORE if have < FRAME_LIMIT else Cut(junk=1)
        return Cut(size=end + 2 - at)


def _least(buffer: bytes, at: int) -> int:
    """Fewest content bytes that the frame at `at` can have."""
    kind = buffer[at + 3]
    if kind in WIFI:
        cells_at = at + 10 + 7 * buffer[at + 2]
        cells = buffer[cells_at] if cells_at < len(buffer) else 0
        return cells_at + 4 + 5 * min(cells, 32) - at - 4
    if kind in {OWN_POSITION, OWN_POSITION_STORED}:
        # Empty is a heartbeat; a time says that a position follows.
        return 25 if date_fits(buffer, at + 4) else 0
    return _SIZES.get(kind, (0,))[0]


def _inner(buffer: bytes, at: int, end: int, tries: Tries) -> int:
    """Where a complete frame of a known type begins inside, 0 where none does."""
    inner = at
    while True:
        inner = buffer.find(HEAD, inner + 1, end)
        if inner < 0 or inner + 4 > len(buffer) or not tries.spend():
            return 0
        kind = buffer[inner + 3]
        if kind not in _SIZES and kind not in WIFI:
            continue
        tail = buffer.find(TAIL, inner + 4 + _least(buffer, inner), inner + FRAME_LIMIT)
        if tail >= 0 and _makes_sense(kind, buffer[inner + 4 : tail]):
            return inner


def _makes_sense(kind: int, content: bytes) -> bool:
    """Whether a content has a size and values that its type can have."""
    if kind in WIFI:
        return content[:6].hex().isdecimal()
    if len(content) not in _SIZES.get(kind, (len(content),)):
        return False
    if kind == LOGIN:
        return content[:8].hex().isdecimal()
    if kind in {POSITION, POSITION_STORED}:
        gps = read_gps(content, 0, 0)
        return date_fits(content) and not gps.out_of_range
    if kind == STATUS:
        return content[0] <= 100
    return True


def encode(packet: Packet) -> bytes:
    """The frame of `packet`. Raises LocalProtocolError when it is too long."""
    if len(packet.content) > FRAME_LIMIT - 6 or not 0 <= packet.length <= 255:
        raise LocalProtocolError(f"a content of at most {FRAME_LIMIT - 6} bytes expected, got {len(packet.content)}")
    return HEAD + bytes((packet.length, packet.kind)) + packet.content + TAIL


def time_answer(year: int, month: int, day: int, hour: int, minute: int, second: int) -> bytes:  # noqa: PLR0917 - six parts of a time
    """The time, UTC: message 30.

    >>> time_answer(2026, 11, 22, 8, 30, 15).hex()
    '7878073007ea0b16081e0f0d0a'
    """
    return encode(Packet(TIME, struct.pack(">HBBBBB", year, month, day, hour, minute, second), 7))


def read_login(content: bytes) -> str:
    """The IMEI. Raises RemoteProtocolError (TRUNCATED, RANGE)."""
    digits = content[:8].hex()
    if len(digits) < 16:
        raise RemoteProtocolError(Reason.TRUNCATED, f"an IMEI of 8 bytes expected, got {len(content)}", content)
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"an IMEI in BCD expected, got {digits}", content)
    return digits[1:]


def write_login(imei: str, *, version: int = 1) -> Packet:
    """A login as a device makes it. Raises LocalProtocolError unless `imei` has 15 digits."""
    if len(imei) != 15 or not imei.isdecimal():
        raise LocalProtocolError(f"an IMEI of 15 digits expected, got {imei!r}")
    return Packet(LOGIN, bcd_encode("0" + imei) + bytes((version,)), 0x0D)


def read_position(content: bytes) -> tuple[Gps, list[str]]:
    """GPS block and alarms of 10 and 11. Raises RemoteProtocolError (TRUNCATED)."""
    gps = read_gps(content, 0, 0)
    if len(content) < 21:
        return gps, []
    return gps._replace(altitude_m=struct.unpack_from(">h", content, 18)[0]), alarms_of(content[20])


def read_own_position(content: bytes) -> Gps:
    """The position of 08 and 09. Raises RemoteProtocolError (TRUNCATED)."""
    if len(content) < 25:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a position of 25 bytes expected, got {len(content)}", content)
    lat, lon = _own_degrees(content[6:10]), _own_degrees(content[10:14])
    bad = abs(lat) > 90 or abs(lon) > 180
    placed = not bad and bool(lat or lon)
    course = content[23] * 2
    return Gps(
        civil_ms(*content[:6]), lat if placed else None, lon if placed else None, True, content[22], course if course <= 360 else 0,
        content[24], bad,
    )  # fmt: skip


def _own_degrees(data: bytes) -> float:
    fraction = int.from_bytes(data[1:], "big")
    value = data[0] + (fraction & 0xFFFFF) / 1e6
    return -value if fraction >> 20 else value


def read_status(content: bytes) -> Status:
    """Message 13. Raises RemoteProtocolError (TRUNCATED, RANGE)."""
    if len(content) < 4:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a status of 4 bytes expected, got {len(content)}", content)
    if content[0] > 100:
        raise RemoteProtocolError(Reason.RANGE, f"battery 0..100 expected, got {content[0]}", content)
    signal = content[4] if len(content) >= 5 else None
    charging = content[8] > 0 if len(content) >= 9 else None
    return Status(content[0], content[1], content[2], content[3], signal, charging, content[9] if len(content) >= 10 else None)


def read_surroundings(packet: Packet) -> Surroundings:
    """A Wi-Fi message. Raises RemoteProtocolError (TRUNCATED)."""
    content, count = packet.content, packet.length
    at = 6 + 7 * count
    if len(content) < at:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{count} access points expected, got {len(content)} bytes", content)
    points = (content[i : i + 7] for i in range(6, at, 7))
    aps = [ApSeen(mac_text(point[:6]), dbm(point[6])) for point in points if is_real_mac(point[:6])]
    cells: list[CellSeen] = []
    alarms: list[str] = []
    if len(content) >= at + 4:
        number, mcc, mnc = struct.unpack_from(">BHB", content, at)
        at += 4
        for _ in range(min(number, (len(content) - at) // 5)):
            lac, cid, level = struct.unpack_from(">HHB", content, at)
            at += 5
            if lac or cid:
                cells.append(CellSeen(mcc, mnc, lac, cid, dbm(level)))
        if len(content) > at:
            alarms = alarms_of(content[at])
    return Surroundings(bcd_ms(content[:6]), aps, cells, alarms)


def alarms_of(bits: int) -> list[str]:
    """Words of the alarm bits.

    >>> alarms_of(0b10001)
    ['vibration', 'low_battery']
    """
    return [word for bit, word in _ALARM_BITS.items() if bits >> bit & 1]
