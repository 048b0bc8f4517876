"""Xexun2, the protocol of XT-series cards and pendants over TCP. Both directions.

Source: Xexun XT protocol V2.x, chapters 3 (frame) and 4 (positions). Big endian.

    FA AF | type u16 | serial u16 | IMEI BCD 8 (15 digits and a filler) | attributes u16 (bits 0-9 length) | check u16 | body | FA AF
    between the marks FA AF is written FB BF 01, FB BF is written FB BF 02; check = complement of the byte sum of the body

Type 0014 body: count u8, length u16 per record, then the records:

    index u8 | epoch u32 | signal u8 | battery u16 (bit 15 charging, 0-14 %) | mask u8 | parts in the order of the mask bits
      0 alarms u32 (0 SOS, 1 removed, 15 fall)
      1 places: mask u8, then  0 satellites u8, lon f32, lat f32 (dddmm.mmmm, sign in front)   1 count u8, (MAC 6, level u8)
                               2 count u8, (mcc u16, mnc u16, lac u32, cid u32, level u8)     3 count u8, ranging 12 each
                               5 speed u16 0.1 km/h, course u16 0.1 degree                    6 satellites u8, lon f64, lat f64
                               7 length u16, blocks of kind u8, length u16, content; kind G: lon f64, lat f64, valid u8,
                                 satellites u8, signal u8, speed u16 0.1 km/h, course u16 0.1 degree, metres f32
      3 fingerprint u32      4 version 20 ASCII, IMSI BCD 8, ICCID BCD 10      5 parameters 12
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer
from protocols.tracker.fix import ApSeen, CellSeen, dbm, is_real_mac, mac_text

MARK = b"\xfa\xaf"
LENGTH_LIMIT = 1023
FRAME_LIMIT = 2 * LENGTH_LIMIT + 64
"""Every pair of a body of 1023 bytes may be an escape of three."""
_ESCAPE, _ESCAPED_MARK, _ESCAPED_ESCAPE = b"\xfb\xbf", b"\xfb\xbf\x01", b"\xfb\xbf\x02"
_HEAD = struct.Struct(">HH8sHH")
_FLOATS, _DOUBLES, _MOTION = struct.Struct(">Bff"), struct.Struct(">Bdd"), struct.Struct(">HH")
_BLOCK_HEAD, _BLOCK = struct.Struct(">BH"), struct.Struct(">ddBBBHHf")
_AP, _CELL = struct.Struct(">6sB"), struct.Struct(">HHIIB")

TEXT, POSITIONS = 0x0007, 0x0014
ALARMS: dict[int, str] = {0: "sos", 1: "removed", 15: "fall"}


class Message(NamedTuple):
    """One frame. `imei`: 15 digits. `check_ok` False when the check does not fit."""

    kind: int
    serial: int
    imei: str
    body: bytes = b""
    check_ok: bool = True
    raw: bytes = b""


class Record(NamedTuple):
    """One record of a position message; place in signed degrees. `fault` says what could not be read of it."""

    time_s: int
    signal: int
    battery: int
    is_charging: bool
    alarms: int = 0
    lat: float | None = None
    lon: float | None = None
    satellites: int | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    aps: tuple[ApSeen, ...] = ()
    cells: tuple[CellSeen, ...] = ()
    firmware: str | None = None
    imsi: str | None = None
    iccid: str | None = None
    fault: str | None = None
    altitude_m: float | None = None
    is_valid: bool = True


class _Place(NamedTuple):
    """What mask bit 1 tells; `raw` satellites, longitude and latitude as they were written."""

    raw: tuple[int, float, float] | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    aps: tuple[ApSeen, ...] = ()
    cells: tuple[CellSeen, ...] = ()
    altitude_m: float | None = None
    is_valid: bool = True


class Connection:
    """One TCP connection. A frame whose check does not fit is refused unless `tolerate_check`."""

    def __init__(self, *, tolerate_check: bool = False) -> None:
        self._framer = Framer(_cut, limit=FRAME_LIMIT)
        self._tolerate = tolerate_check

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes."""
        out: list[Message | Reject] = []
        for raw in self._framer.feed(data):
            if isinstance(raw, Reject):
                out.append(raw)
                continue
            try:
                message = decode(raw)
            except RemoteProtocolError as error:
                out.append(error.reject(raw))
                continue
            if message.check_ok or self._tolerate:
                out.append(message)
            else:
                out.append(Reject(Reason.INTEGRITY, "check does not fit", raw[:FRAME_SAMPLE_BYTES]))
        return out

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def _cut(buffer: bytes, start: int) -> Cut:
    """From mark to mark. The same mark begins and ends: what does not fit its length leaves its end mark to the next frame."""
    at = buffer.find(MARK, start)
    if at < 0:
        return Cut(len(buffer) - start - (1 if buffer.endswith(MARK[:1], start) else 0))
    end = buffer.find(MARK, at + 2, at + FRAME_LIMIT)
    if end < 0:
        return Cut(at - start) if at > start else NEED_MORE
    inner = unescape(buffer[at + 2 : end])
    if len(inner) >= _HEAD.size and int.from_bytes(inner[12:14], "big") & LENGTH_LIMIT == len(inner) - _HEAD.size:
        return Cut(at - start, end + 2 - at)
    return Cut(end - start)


def unescape(data: bytes) -> bytes:
    """What stands between the marks, as meant.

    >>> unescape(bytes.fromhex("12fbbf0134fbbf0256")).hex()
    '12faaf34fbbf56'
    """
    if _ESCAPE not in data:
        return data
    parts = data.split(_ESCAPE)
    meant = {1: MARK, 2: _ESCAPE}
    return parts[0] + b"".join(meant.get(part[0], b"") + part[1:] if part else b"" for part in parts[1:])


def escape(data: bytes) -> bytes:
    """The opposite of `unescape`."""
    return data.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(MARK, _ESCAPED_MARK)


def check_of(body: bytes) -> int:
    """Complement of the byte sum.

    >>> hex(check_of(b"\\x01"))
    '0xfffe'
    """
    return ~sum(body) & 0xFFFF


def decode(frame: bytes) -> Message:
    """The message of one frame, marks and escapes included. Raises RemoteProtocolError."""
    inner = unescape(frame[2:-2])
    if len(inner) < _HEAD.size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{_HEAD.size} bytes between the marks expected, got {len(inner)}", frame)
    kind, serial, imei, _, check = _HEAD.unpack_from(inner)
    digits = imei.hex()[:15]
    if not digits.isdecimal():
        raise RemoteProtocolError(Reason.RANGE, f"IMEI digits expected, got {digits}", frame)
    body = inner[_HEAD.size :]
    return Message(kind, serial, digits, body, check == check_of(body), frame)


def encode(message: Message) -> bytes:
    """The frame of a message. Raises LocalProtocolError."""
    if len(message.body) > LENGTH_LIMIT or len(message.imei) != 15 or not (message.imei.isascii() and message.imei.isdigit()):
        raise LocalProtocolError(f"IMEI of 15 digits and body of at most {LENGTH_LIMIT} bytes expected")
    head = _HEAD.pack(message.kind, message.serial, bytes.fromhex(message.imei + "0"), len(message.body), check_of(message.body))
    return MARK + escape(head + message.body) + MARK


def acknowledgement(message: Message) -> bytes:
    """The server's answer: same head, body 01."""
    return encode(message._replace(body=b"\x01"))


def read_records(message: Message) -> list[Record]:
    """The records of a position message; one that is cut off keeps what could be read. Raises RemoteProtocolError (TRUNCATED)."""
    body = message.body
    count = body[0] if body else 0
    at = 1 + 2 * count
    if not body or at > len(body):
        raise RemoteProtocolError(Reason.TRUNCATED, f"table of {count} record lengths expected, got {len(body)} bytes", message.raw)
    records = []
    for number in range(count):
        end = at + int.from_bytes(body[1 + 2 * number : 3 + 2 * number], "big")
        records.append(_record(body[at:end], cut_off=end > len(body)))
        at = min(end, len(body))
    return records


def _record(data: bytes, *, cut_off: bool) -> Record:
    fault = "the record ends too early" if cut_off else None
    if len(data) < 9:
        return Record(0, 0, 0, False, fault="the record ends too early")
    battery = data[6] << 8 | data[7]
    record = Record(int.from_bytes(data[1:5], "big"), data[5], battery & 0x7FFF, bool(battery & 0x8000), fault=fault)
    try:
        return _parts(data, record)
    except (struct.error, IndexError):
        # The alarms come first: they are there although the rest is not.
        alarms = int.from_bytes(data[9:13], "big") if data[8] & 1 and len(data) >= 13 else 0
        return record._replace(alarms=alarms, fault="the record ends too early")


def _parts(data: bytes, record: Record) -> Record:
    mask, at, alarms = data[8], 9, 0
    if mask & 1:
        alarms = int.from_bytes(data[9:13], "big")
        at = 13
        if len(data) < at:
            raise IndexError
    place = _Place()
    if mask & 2:
        place, at = _places(data, at)
    firmware = imsi = iccid = None
    # The layout of the parts of mask bit 2 is not known: what stands behind them cannot be found.
    if not mask & 4 and at >= 0 and mask & 0x10:
        at += 4 if mask & 8 else 0
        version, imsi_digits, iccid_digits = struct.unpack_from(">20s8s10s", data, at)
        firmware = version.split(b"\0")[0].decode("ascii", "replace").strip() or None
        imsi, iccid = _digits(imsi_digits, 15), _digits(iccid_digits, 20)
    raw = place.raw
    lat, lon, fault = (None, None, None) if raw is None else _placed(raw[1], raw[2])
    return Record(
        record.time_s, record.signal, record.battery, record.is_charging, alarms, lat, lon, None if raw is None else raw[0],
        place.speed_kmh, place.course_deg, place.aps, place.cells, firmware, imsi, iccid, fault or record.fault, place.altitude_m,
        place.is_valid,
    )  # fmt: skip


def _digits(data: bytes, count: int) -> str | None:
    text = data.hex()[:count]
    return text if text.isdecimal() and text.strip("0") else None


def _places(data: bytes, at: int) -> tuple[_Place, int]:
    """Everything of mask bit 1; the next part's place, -1 when it cannot be known."""
    mask, at = data[at], at + 1
    raw: tuple[int, float, float] | None = None
    if mask & 1:
        raw, at = _FLOATS.unpack_from(data, at), at + 9
    aps: list[ApSeen] = []
    cells: list[CellSeen] = []
    if mask & 2:
        count, at = data[at], at + 1
        for _ in range(count):
            mac, level = _AP.unpack_from(data, at)
            at += 7
            if is_real_mac(mac):
                aps.append(ApSeen(mac_text(mac), dbm(level)))
    if mask & 4:
        count, at = data[at], at + 1
        for _ in range(count):
            mcc, mnc, lac, cid, level = _CELL.unpack_from(data, at)
            cells.append(CellSeen(mcc, mnc, lac, cid, dbm(level)))
            at += 13
    if mask & 8:
        at += 1 + 12 * data[at]
    place = _Place(raw, aps=tuple(aps), cells=tuple(cells))
    if mask & 0x10:
        return place, -1
    if mask & 0x20:
        place, at = place._replace(**_motion(*_MOTION.unpack_from(data, at))), at + 4
    if mask & 0x40:
        place, at = place._replace(raw=_DOUBLES.unpack_from(data, at)), at + 17
    if mask & 0x80:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            raise IndexError
        place, at = _block(data[at + 2 : end], place), end
    return place, at


def _motion(speed: int, course: int) -> dict[str, Any]:
    return {"speed_kmh": speed / 10, "course_deg": course / 10 if course <= 3600 else None}


def _block(data: bytes, place: _Place) -> _Place:
    """The place with what a block of kind G says of it; a block that ends too early says nothing."""
    at = 0
    while at + _BLOCK_HEAD.size <= len(data):
        kind, size = _BLOCK_HEAD.unpack_from(data, at)
        at += _BLOCK_HEAD.size
        if kind == ord("G") and size >= _BLOCK.size and at + _BLOCK.size <= len(data):
            lon, lat, valid, satellites, _, speed, course, metres = _BLOCK.unpack_from(data, at)
            height = round(metres, 1) if math.isfinite(metres) else None
            place = place._replace(raw=(satellites, lon, lat), altitude_m=height, is_valid=valid > 0, **_motion(speed, course))
        at += size
    return place


def _placed(lon_dm: float, lat_dm: float) -> tuple[float | None, float | None, str | None]:
    """Signed degrees, None where there is no place; and what is wrong with them."""
    if not (math.isfinite(lat_dm) and math.isfinite(lon_dm)):
        return None, None, "latitude and longitude in degrees expected, got no number"
    lat, lon = _degrees(lat_dm), _degrees(lon_dm)
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None, None, "latitude -90..90 and longitude -180..180 degrees expected"
    return (lat, lon, None) if lat or lon else (None, None, None)


def _degrees(value: float) -> float:
    degrees, minutes = divmod(abs(value), 100)
    return math.copysign(degrees + minutes / 60, value)


def _degree_minutes(value: float) -> float:
    degrees = math.floor(abs(value))
    return math.copysign(degrees * 100 + (abs(value) - degrees) * 60, value)


def write_records(imei: str, records: list[Record], *, serial: int = 1) -> bytes:
    """A position message as a device sends it, places as doubles. Raises LocalProtocolError."""
    parts = [_record_bytes(record, number) for number, record in enumerate(records)]
    body = bytes((len(parts),)) + b"".join(len(part).to_bytes(2, "big") for part in parts) + b"".join(parts)
    return encode(Message(POSITIONS, serial, imei, body))


def _record_bytes(record: Record, number: int) -> bytes:
    battery = record.battery | (0x8000 if record.is_charging else 0)
    mask = (1 if record.alarms else 0) | (0x10 if record.firmware else 0)
    body = record.alarms.to_bytes(4, "big") if record.alarms else b""
    place_mask, place = 0, b""
    if record.aps:
        place_mask |= 2
        aps = (bytes.fromhex(ap.mac.replace(":", "")) + bytes(((ap.rssi_dbm or 0) & 0xFF,)) for ap in record.aps)
        place += bytes((len(record.aps),)) + b"".join(aps)
    if record.cells:
        place_mask |= 4
        cells = (struct.pack(">HHIIB", c.mcc or 0, c.mnc or 0, c.lac, c.cid, (c.rssi_dbm or 0) & 0xFF) for c in record.cells)
        place += bytes((len(record.cells),)) + b"".join(cells)
    if record.speed_kmh is not None:
        place_mask |= 0x20
        place += struct.pack(">HH", round(record.speed_kmh * 10), round((record.course_deg or 0) * 10))
    if record.lat is not None and record.lon is not None:
        place_mask |= 0x40
        place += struct.pack(">Bdd", record.satellites or 0, _degree_minutes(record.lon), _degree_minutes(record.lat))
    if place_mask:
        mask |= 2
        body += bytes((place_mask,)) + place
    if record.firmware:
        imsi, iccid = (record.imsi or "").ljust(16, "0"), (record.iccid or "").ljust(20, "0")
        body += record.firmware.encode("ascii", "replace")[:20].ljust(20, b"\0") + bytes.fromhex(imsi) + bytes.fromhex(iccid)
    return (
        bytes((number & 0xFF,))
        + record.time_s.to_bytes(4, "big")
        + bytes((record.signal,))
        + battery.to_bytes(2, "big")
        + bytes((mask,))
        + body
    )
