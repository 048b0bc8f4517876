"""H02, the protocol of Sinotrack, LK, Reachfar and "HQ" watches: text and binary frames on one connection. Both directions.

Source: "HQ" platform protocol 1.0.5 and Sinotrack ST-90x documents; clone forms as observed. No checksum.

    text    *MM,<id>,<command>,...#       CR LF may follow
    binary  24 | id BCD 5 (some: 8) | hhmmss ddmmyy BCD 6 | lat ddmmmmmm BCD 4 | battery u8 | lon dddmmmmmm BCD 4.5, flags nibble
            (8 EAST, 4 NORTH, 2 fixed) | knots BCD 1.5, degrees BCD 1.5 | status u32 | 3 to 19 bytes of the maker's own
    X       58 + 31 bytes, not documented

A binary frame is taken as its documented 29 (32) bytes. How much the maker appends cannot be known before the next frame begins, so
the appendix is passed over: neither does a report wait for it, nor does a wrong guess of its size derail the stream.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.errors import FRAME_SAMPLE_BYTES, LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut, Framer, Tries
from protocols.tracker.fix import clock_ms, day_ms

TEXT_LIMIT = 1024
APPENDIX_LIMIT = 19
X_BYTES = 32
KNOT_KMH = 1.852

STATUS_ALARMS: dict[int, str] = {1: "sos", 18: "sos", 0: "vibration", 2: "overspeed", 19: "power_cut"}
FENCE_ALARMS: dict[int, str] = {4: "fence_entry", 7: "fence_exit"}
"""Words of status bits, which are ACTIVE LOW; fences are Sinotrack's and not confirmed."""
_ALARM_BITS = sum(1 << bit for bit in STATUS_ALARMS | FENCE_ALARMS)


class Text(NamedTuple):
    """A text frame: its fields between `*` and `#` without padding; the first three are maker, id, command."""

    fields: tuple[str, ...]
    raw: bytes = b""

    @property
    def id(self) -> str:
        """Id as written; may be empty."""
        return self.fields[1] if len(self.fields) > 1 else ""

    @property
    def command(self) -> str:
        """Command in upper case."""
        return self.fields[2].upper() if len(self.fields) > 2 else ""


class Binary(NamedTuple):
    """The documented part of a binary frame."""

    raw: bytes


class Unknown(NamedTuple):
    """An X frame."""

    raw: bytes


class Fix(NamedTuple):
    """A position: signed degrees, None where there is none; `letter` A fixed, V last known, B by cells."""

    at_ms: int | None
    lat: float | None
    lon: float | None
    letter: str
    speed_kmh: float | None
    course_deg: float | None
    out_of_range: bool = False


class BinaryReport(NamedTuple):
    """What a binary frame tells. `battery` is its code, see `battery_of`."""

    id: str
    fix: Fix
    battery: int
    status: int


class Connection:
    """One stream, device side to platform."""

    def __init__(self) -> None:
        self._kinds: deque[str] = deque()
        self._framer = Framer(self._cut, limit=TEXT_LIMIT)
        self._appendix = 0
        self._tries = Tries()

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished frame."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Text | Binary | Unknown | Reject]:
        """Every frame and refusal that `data` completes, in order. Appendices and line ends are passed over."""
        self._tries.earn(len(data))
        out: list[Text | Binary | Unknown | Reject] = []
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                out.append(found)
                continue
            kind = self._kinds.popleft()
            if kind == "text":
                out.append(Text(tuple([part.strip() for part in found[1:-1].decode("utf-8", "replace").split(",")]), found))
            elif kind == "binary":
                out.append(Binary(found))
            elif kind == "x":
                out.append(Unknown(found))
        return out

    def send(self, text: Text) -> bytes:
        """The bytes of a text frame. Raises LocalProtocolError when a field holds a delimiter."""
        return write_text(*text.fields)

    def _take(self, kind: str, size: int, *, appendix: int = 0) -> Cut:
        self._kinds.append(kind)
        self._appendix = appendix
        return Cut(size=size)

    def _cut(self, buffer: bytes, start: int) -> Cut:
        byte, have = buffer[start], len(buffer) - start
        if byte in {0x0D, 0x0A} and not self._appendix:
            return self._take("", 1)
        verdict = _head(buffer, start)
        if verdict is None:
            return NEED_MORE
        if verdict:
            return self._frame(buffer, start, verdict)
        if self._appendix:
            return self._take("", 1, appendix=self._appendix - 1)
        if byte == 0x58 and have < X_BYTES and not _inner_head(buffer, start, len(buffer), self._tries):
            return NEED_MORE
        if byte == 0x58 and have >= X_BYTES and not _inner_head(buffer, start, start + X_BYTES, self._tries):
            return self._take("x", X_BYTES)
        return Cut(junk=1)

    def _frame(self, buffer: bytes, start: int, size: int) -> Cut:
        """A frame whose head is right: binary of `size` bytes, or text (size 1) up to its `#`."""
        if size > 1:
            return self._take("binary", size, appendix=APPENDIX_LIMIT)
        end = buffer.find(b"#", start, start + TEXT_LIMIT)
        inner = _inner_head(buffer, start, end if end >= 0 else min(len(buffer), start + TEXT_LIMIT), self._tries)
        if inner:
            return Cut(junk=inner - start)
        if end < 0:
            return NEED_MORE if len(buffer) - start < TEXT_LIMIT else Cut(junk=1)
        return self._take("text", end + 1 - start)


def _head(buffer: bytes, at: int) -> int | None:
    """1 for a text head, the size for a whole binary frame, 0 for neither, None while bytes are missing to tell."""
    byte = buffer[at]
    if byte == 0x2A:
        head = buffer[at + 1 : at + 4]
        if not head[:2].isalnum() and head[:2]:
            return 0
        if len(head) < 3:
            return None
        return int(head[2:] == b",")
    if byte != 0x24:
        return 0
    for size, id_bytes in ((29, 5), (32, 8)):
        part = buffer[at : at + size]
        fits = _binary_fits(part, id_bytes)
        if fits:
            return size if len(part) == size else None
    return 0


_BEHIND_ID = r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:[0-2]\d|3[01])(?:0\d|1[0-2])\d{4}[0-5]\d{5}..\d{9}.\d{6}.{8}"
_WHOLE = {5: re.compile(r"24\d{10}" + _BEHIND_ID), 8: re.compile(r"24\d{16}" + _BEHIND_ID)}


def _binary_fits(part: bytes, id_bytes: int) -> bool:
    """Whether what is there of a frame can be one: digits where BCD stands, a time and a date."""
    text = part.hex()
    if len(part) == 24 + id_bytes:
        return _WHOLE[id_bytes].fullmatch(text) is not None
    at = 2 + 2 * id_bytes
    if not _digits(text[2 : at + 20]) or not _digits(text[at + 22 : at + 31]) or not _digits(text[at + 32 : at + 38]):
        return False
    limits = ((0, 23), (0, 59), (0, 59), (0, 31), (0, 12), (0, 99), (0, 99), (0, 59))
    for index, (low, high) in enumerate(limits):
        pair = text[at + 2 * index : at + 2 * index + 2]
        if len(pair) == 2 and not low <= int(pair) <= high:
            return False
    return True


def _digits(text: str) -> bool:
    return text.isdecimal() or not text


def _inner_head(buffer: bytes, start: int, end: int, tries: Tries) -> int:
    """Where a whole frame or a text head with an id begins between `start` and `end`, 0 where none does: `start` was cut short."""
    if buffer.find(b"*", start + 1, end) < 0 and buffer.find(b"$", start + 1, end) < 0:
        return 0
    at = start
    while True:
        at = min((i for i in (buffer.find(b"*", at + 1, end), buffer.find(b"$", at + 1, end)) if i >= 0), default=-1)
        if at < 0 or not tries.spend():
            return 0
        verdict = _head(buffer, at)
        if (verdict and verdict > 1) or (verdict == 1 and buffer[at + 4 : at + 8].isdigit() and len(buffer) >= at + 8):
            return at


def write_text(*fields: str) -> bytes:
    """A text frame of its fields. Raises LocalProtocolError when one holds `#` or is no ASCII.

    >>> write_text("HQ", "4210051415", "HTBT", "84")
    b'*HQ,4210051415,HTBT,84#'
    """
    body = ",".join(fields)
    if "#" in body or not body.isascii():
        raise LocalProtocolError(f"ASCII without # expected, got {body!r:.80}")
    return f"*{body}#".encode()


def alarms_of(status: int, *, fences: bool = False) -> list[str]:
    """Words of every alarm in a status, SOS first, each once. Bits are active low.

    >>> alarms_of(0xFFFFFFFC)
    ['sos', 'vibration']
    """
    if status in {0xFFFFFBFF, 0xFFFFFFFF}:
        return []
    if status & _ALARM_BITS == _ALARM_BITS:
        return []
    table = STATUS_ALARMS | FENCE_ALARMS if fences else STATUS_ALARMS
    return list(dict.fromkeys(word for bit, word in table.items() if not status >> bit & 1))


def battery_of(code: int) -> int | None:
    """Percent of a battery code: 1-6 and F1-F6 are steps, 7-100 percent; None for no reading.

    >>> [battery_of(code) for code in (0, 3, 6, 84, 0xF6)]
    [None, 20, 100, 84, 100]
    """
    if 0xF1 <= code <= 0xF6:
        code -= 0xF0
    if 1 <= code <= 3:
        return (code - 1) * 10
    if 4 <= code <= 6:
        return (code - 1) * 20
    return code if 7 <= code <= 100 else None


def read_binary(raw: bytes) -> BinaryReport:
    """The report of a whole binary frame (29 or 32 bytes, or more). Raises RemoteProtocolError."""
    wide = len(raw) >= 32 and not _binary_fits(raw[:29], 5)
    at = 9 if wide else 6
    if len(raw) < at + 23:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a binary frame of {at + 23} bytes expected, got {len(raw)}", raw)
    if not _binary_fits(raw[: at + 23], at - 1):
        raise RemoteProtocolError(Reason.RANGE, "BCD time and coordinates expected", raw)
    text = raw[at : at + 19].hex()
    lat = int(text[12:14]) + int(text[14:20]) / 600_000
    lon = int(text[22:25]) + int(text[25:31]) / 600_000
    flags = int(text[31], 16)
    identity = raw[1:at].hex()[:15] if wide else raw[1:at].hex()
    bad = lat > 90 or lon > 180
    placed = not bad and bool(lat or lon)
    fix = Fix(
        text_ms(text[6:12], text[:6]),
        (lat if flags & 4 else -lat) if placed else None,
        (lon if flags & 8 else -lon) if placed else None,
        "A" if flags & 2 else "V",
        int(text[32:35]) * KNOT_KMH,
        _course(int(text[35:38])),
        bad,
    )
    return BinaryReport(identity, fix, raw[at + 10], int.from_bytes(raw[at + 19 : at + 23], "big"))


def write_binary(
    device: str, *, time: str, lat: float, lon: float, fixed: bool = True, battery: int = 0, knots: int = 0, course_deg: int = 0,
    status: int = 0xFFFFFBFF,
) -> bytes:  # fmt: skip
    """A binary frame of 32 bytes as a device makes it; `device` 10 digits, `time` hhmmssddmmyy. Raises LocalProtocolError."""
    if len(device) != 10 or not device.isdecimal() or len(time) != 12 or not time.isdecimal():
        raise LocalProtocolError(f"an id of 10 digits and a time hhmmssddmmyy expected, got {device!r}, {time!r}")
    lat_digits = _bcd_degrees(lat, 2)
    lon_digits = _bcd_degrees(lon, 3)
    flags = (2 if fixed else 0) | (4 if lat >= 0 else 0) | (8 if lon >= 0 else 0)
    head = b"\x24" + bcd_encode(device) + bcd_encode(time) + bcd_encode(lat_digits) + bytes((battery,))
    tail = bytes.fromhex(f"{lon_digits}{flags:x}{knots:03d}{course_deg:03d}")
    return head + tail + status.to_bytes(4, "big") + b"\xff\x00\x00"


def _bcd_degrees(value: float, width: int) -> str:
    total = round(abs(value) * 600_000)
    degrees, minutes = divmod(total, 600_000)
    return f"{degrees:0{width}d}{minutes:06d}"


def _course(value: float) -> float | None:
    return value if 0 <= value <= 360 else None


def read_degrees(text: str) -> float | None:
    """Degrees of `ddmm.mmmm`, `-dd-mm.mmmm`, `mm.mmmm` or digits without a point (four decimals); None when it is none of them.

    >>> [round(read_degrees(text) or 0, 6) for text in ("-23-29.0095", "38.6508", "3542.2043")]
    [23.483492, 0.64418, 35.703405]
    """
    text = text.strip().lstrip("-")
    if "-" in text:
        degrees, _, minutes = text.partition("-")
    else:
        if "." not in text:
            if not text.isdecimal() or len(text) < 6:
                return None
            text = f"{text[:-4]}.{text[-4:]}"
        whole = text.index(".")
        degrees, minutes = text[: max(0, whole - 2)] or "0", text[max(0, whole - 2) :]
    if not degrees.isdecimal() or not minutes.replace(".", "", 1).isdecimal() or not minutes.isascii() or len(text) > 16:
        return None
    return int(degrees) + float(minutes) / 60


def read_fix(fields: tuple[str, ...], at: int, *, date: str, time: str) -> Fix:
    """The position whose letter stands at `at`, followed by lat, N|S, lon, E|W, knots, course. Never raises on what a field holds."""
    lat, lon = read_degrees(fields[at + 1]), read_degrees(fields[at + 3])
    letter = fields[at].strip() or "V"
    bad = (lat or 0) > 90 or (lon or 0) > 180
    placed = lat is not None and lon is not None and not bad and bool(lat or lon)
    knots = _number(fields[at + 5]) if len(fields) > at + 5 else None
    course = _number(fields[at + 6]) if len(fields) > at + 6 else None
    return Fix(
        text_ms(date, time),
        (-lat if fields[at + 2].strip() == "S" else lat) if placed and lat is not None else None,
        (-lon if fields[at + 4].strip() == "W" else lon) if placed and lon is not None else None,
        letter if letter in {"A", "V", "B"} else "A",
        None if knots is None else knots * KNOT_KMH,
        None if course is None else _course(course),
        bad,
    )


def fix_index(fields: tuple[str, ...]) -> int | None:
    """Where the validity letter of a position stands: two before N|S and four before E|W."""
    for at in range(3, len(fields) - 4):
        if fields[at + 2].strip() in {"N", "S", "0"} and fields[at + 4].strip() in {"E", "W", "0"}:
            return at
    return None


def _number(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or not text.replace(".", "", 1).isdecimal() or len(text) > 12:
        return None
    return float(text)


def text_ms(date: str, time: str) -> int | None:
    """Epoch milliseconds of `ddmmyy` and `hhmmss`; None when either is missing or impossible."""
    midnight, since = day_ms(date) if len(date) == 6 else None, clock_ms(time)
    return None if midnight is None or since is None else midnight + since


def write_v1(
    device: str, *, time: str, date: str, lat: float, lon: float, letter: str = "A", knots: float = 0.0, course_deg: int = 0,
    status: int = 0xFFFFFBFF,
) -> bytes:  # fmt: skip
    """A V1 report as a device makes it; `time` hhmmss, `date` ddmmyy."""
    places = []
    for value, width, letters in ((lat, 2, "NS"), (lon, 3, "EW")):
        degrees, minutes = divmod(round(abs(value) * 600_000), 600_000)
        places += [f"{degrees:0{width}d}{minutes / 10_000:07.4f}", letters[value < 0]]
    return write_text("HQ", device, "V1", time, letter, *places, f"{knots:06.2f}", f"{course_deg:03d}", date, f"{status:08X}")


def sample(raw: bytes) -> bytes:
    """What a refusal keeps of a frame."""
    return raw[:FRAME_SAMPLE_BYTES]
