"""YX wristbands (low-power bands against wandering): text in a binary frame over TCP. Both directions.

Source: YX wristband protocol V1.0, chapters 2 (frame) and 3 (functions).

    00 01 02 | length of text u16 big endian | YX<imei>|V1.0|<model>|{Fnn#data} CR LF | FF FE FC

The text holds neither 00 nor FF, so a frame is what stands between head and tail; a wrong length is tolerated and counted.

    F01 battery %,..            F02 lon,lat,yyyymmddhhmm,km/h|...  (LONGITUDE FIRST, minutes only, wall clock of the band)
    F03 mac,rssi_...|cells      F04 lac,mnc,mcc,cid,rssi:...       F64 echo        F90 server?  F91 time and server?
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import ApSeen, CellSeen, civil_ms

HEAD, TAIL = b"\x00\x01\x02", b"\xff\xfe\xfc"
TEXT_LIMIT = 4096
"""A day of points, one per ten minutes, is 5 kB in two messages."""
POINTS_LIMIT = 200

STATUS, POINTS, ACCESS_POINTS, CELLS, ECHO, SERVER, TIME = 1, 2, 3, 4, 64, 90, 91

_TEXT = re.compile(r"(.{2})(\d{1,20})\|([vV]\d+\.\d+)\|(\d*)\|\{F(\d{1,3})(?:#(.*))?\}\s*", re.DOTALL)


class Message(NamedTuple):
    """One function. `version` as written; `length_ok` False when the length field does not fit."""

    imei: str
    function: int
    data: str = ""
    version: str = "V1.0"
    model: str = "1"
    head: str = "YX"
    length_ok: bool = True
    raw: bytes = b""


class Point(NamedTuple):
    """A place in signed degrees, None where it is 0, 0 or off the globe; `at_ms` None for an impossible time."""

    lat: float | None
    lon: float | None
    at_ms: int | None
    speed_kmh: float | None
    is_valid: bool = True
    out_of_range: bool = False


class Connection:
    """One TCP connection."""

    def __init__(self) -> None:
        self._framer = Framer(_cut, limit=TEXT_LIMIT + 8)

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
                out.append(decode(raw))
            except RemoteProtocolError as error:
                out.append(error.reject(raw))
        return out

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def _cut(buffer: bytes, start: int) -> Cut:
    """From a head to the next tail; a head that another one follows first was the start of a lost frame."""
    size = len(buffer)
    at = buffer.find(HEAD, start)
    if at < 0:
        kept = 2 if buffer.endswith(HEAD[:2], start) else 1 if buffer.endswith(HEAD[:1], start) else 0
        return Cut(size - start - kept)
    end = buffer.find(TAIL, at + 5)
    again = buffer.find(HEAD, at + 3, end if end >= 0 else size)
    if again >= 0:
        return Cut(again - start)
    return Cut(at - start, end + 3 - at if end >= 0 else 0)


def decode(frame: bytes) -> Message:
    """The message of one frame. Raises RemoteProtocolError (RANGE, UNSUPPORTED)."""
    text = frame[5:-3]
    if len(text) > TEXT_LIMIT:
        raise RemoteProtocolError(Reason.RANGE, f"text of at most {TEXT_LIMIT} bytes expected, got {len(text)}", frame)
    found = _TEXT.fullmatch(text.decode()) if text.isascii() and b"\0" not in text else None
    if found is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "text YX<imei>|V1.0|<model>|{Fnn#data} expected", frame)
    head, imei, version, model, function, data = found.groups()
    return Message(imei, int(function), data or "", version, model, head, int.from_bytes(frame[3:5], "big") == len(text), frame)


def encode(message: Message) -> bytes:
    """The frame of a message. Raises LocalProtocolError."""
    try:
        text = f"{message.head}{message.imei}|{message.version}|{message.model}|{{F{message.function:02d}#{message.data}}}\r\n".encode(
            "ascii"
        )
    except UnicodeEncodeError:
        raise LocalProtocolError("ASCII text expected") from None
    if len(text) > TEXT_LIMIT or b"\0" in text:
        raise LocalProtocolError(f"text of at most {TEXT_LIMIT} bytes without 00 expected, got {len(text)}")
    return HEAD + len(text).to_bytes(2, "big") + text + TAIL


def reply(message: Message, data: str) -> bytes:
    """The server's answer to a message: same function, model 0. An echo that no longer fits is cut: a band is better answered."""
    empty = len(encode(message._replace(model="0", data="")))
    return encode(message._replace(model="0", data=data[: TEXT_LIMIT + len(HEAD) + 2 + len(TAIL) - empty]))


def read_points(message: Message, *, offset_minutes: int) -> list[Point]:
    """Points of an F02; a damaged one has no place. `offset_minutes`: how far the band's clock runs ahead of UTC."""
    return [_point(part.split(","), offset_minutes) for part in message.data.split("|")[:POINTS_LIMIT] if part.strip()]


def _point(fields: list[str], offset_minutes: int) -> Point:
    lon, lat = _number(fields, 0), _number(fields, 1)
    clock = fields[2].strip() if len(fields) > 2 else ""
    at_ms = None
    if len(clock) in {12, 14} and clock.isascii() and clock.isdigit():
        parts = [int(clock[:4]), *(int(clock[i : i + 2]) for i in range(4, len(clock), 2)), 0]
        at_ms = civil_ms(*parts[:6], offset_minutes=offset_minutes)
    speed = _number(fields, 3)
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return Point(None, None, at_ms, speed, False, out_of_range=True)
    if not (lat or lon):
        return Point(None, None, at_ms, speed, False)
    return Point(lat, lon, at_ms, speed if speed is None or 0 <= speed <= 1000 else None, "V" not in fields[4:])


def _number(fields: list[str], index: int) -> float | None:
    try:
        value = float(fields[index])
    except (ValueError, IndexError):
        return None
    return value if -1e9 < value < 1e9 else None


def read_surroundings(message: Message) -> tuple[list[ApSeen], list[CellSeen]]:
    """Access points and cells of an F03 or F04; items that cannot be read are left out."""
    parts = message.data.split("|")
    wifi, cells = (parts[0], parts[1] if len(parts) > 1 else "") if message.function == ACCESS_POINTS else ("", parts[0])
    aps = [_ap(item.split(",")) for item in wifi.split("_") if item]
    towers = [_cell(item.split(",")) for item in cells.split(":") if item]
    return [ap for ap in aps if ap is not None], [cell for cell in towers if cell is not None]


def _ap(fields: list[str]) -> ApSeen | None:
    digits = re.sub(r"[^0-9a-f]", "", fields[0].lower())
    if len(digits) != 12 or digits in {"0" * 12, "f" * 12}:
        return None
    level = _number(fields, 1)
    return ApSeen(":".join(digits[i : i + 2] for i in range(0, 12, 2)), -abs(int(level)) if level and abs(level) < 128 else None)


def _cell(fields: list[str]) -> CellSeen | None:
    numbers = [field.strip() for field in fields[:4]]
    if len(numbers) < 4 or not all(number.isascii() and number.isdigit() and len(number) <= 10 for number in numbers):
        return None
    lac, mnc, mcc, cid = map(int, numbers)
    level = _number(fields, 4)
    # 0..31 is the scale of AT+CSQ, more is dBm without its sign.
    rssi = None if level is None or not -140 <= level <= 140 else 2 * int(level) - 113 if 0 <= level <= 31 else -abs(int(level))
    return CellSeen(mcc, mnc, lac, cid, rssi)


def read_battery(message: Message) -> int | None:
    """Battery in % of an F01."""
    first = message.data.split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and len(first) <= 3 and int(first) <= 100 else None
