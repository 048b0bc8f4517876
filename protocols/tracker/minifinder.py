"""The older Eview / MiniFinder protocol (EV-07P, EV-07S, EV-07W, MiniFinder Pico, "TK5"): framing, messages, both directions.

Source: EV-07S GPRS protocol. TCP, ASCII, no checksum, the server never answers:

    !1,<imei>;                                              who speaks
    !D,dd/mm/yy,hh:mm:ss,lat,lon,km/h,course,flags,m,battery,satellites used,seen,hdop;
    !B  the same, recorded while offline     !C  other numbers behind the battery     !A  up to the course only
    !3,<text>;  answer to a command          !4,<number>,..;  phone numbers           !5,csq,A|V[,battery];  state

    flags (hex):  22 charging | 20..16 signal 0..31 | 15 14 movement | 12 battery low | 11..9 fence 3..1 |
                  8 fall | 7 overspeed | 6 SOS | 2 fault | 1 other fix | 0 GPS fix

Commands travel down as text without an end mark: password, then letters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import epoch_day

FIX, OTHER_FIX, FAULT, SOS, OVERSPEED, FALL, FENCE_1, LOW_BATTERY, MOVEMENT, MOVEMENT_2, SIGNAL, CHARGING = (
    0,
    1,
    2,
    6,
    7,
    8,
    9,
    12,
    14,
    15,
    16,
    22,
)
"""Bits of the flags; fences are 9, 10, 11, the signal is 16 to 20."""

FRAME_LIMIT = 1024
_START = re.compile(rb"![0-9A-Za-z][,;]")


class MinifinderMessage(NamedTuple):
    """One frame: its letter or digit, and the text behind the first comma."""

    kind: str
    body: str = ""
    raw: bytes = b""

    @property
    def fields(self) -> list[str]:
        """The body split at commas."""
        return self.body.split(",") if self.body else []


class MinifinderPosition(NamedTuple):
    """A position. `flags` None and everything behind it where the frame (!A) has none; `lat`, `lon` None where there is no place."""

    clock_ms: int | None
    lat: float | None
    lon: float | None
    speed_kmh: float = 0.0
    course_deg: float = 0.0
    flags: int | None = None
    altitude_m: float | None = None
    battery: int | None = None
    satellites: int | None = None
    seen: int | None = None
    hdop: float | None = None
    fault: str | None = None


class MinifinderConnection:
    """One TCP stream of a device."""

    def __init__(self) -> None:
        self._framer = Framer(cut, limit=FRAME_LIMIT)

    def receive(self, data: bytes) -> list[MinifinderMessage | Reject]:
        """Every message and refusal that `data` completes."""
        out: list[MinifinderMessage | Reject] = []
        for found in self._framer.feed(data):
            if isinstance(found, Reject):
                if found.frame.strip(b"\r\n \0;"):
                    out.append(found)
            else:
                out.append(decode(found))
        return out

    def send(self, message: MinifinderMessage) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def cut(buffer: bytes, start: int) -> Cut:
    """Where the next frame is: from `!x,` to `;`, unless another start stands between them."""
    found = _START.search(buffer, start)
    if found is None:
        partial = buffer.rfind(b"!", max(start, len(buffer) - 2))
        return Cut(junk=(partial if partial >= 0 else len(buffer)) - start)
    begin = found.start()
    end = buffer.find(b";", begin)
    following = _START.search(buffer, begin + 2, end if end >= 0 else len(buffer))
    if following:
        return Cut(junk=following.start() - start)
    return Cut(junk=begin - start, size=end + 1 - begin if end >= 0 else 0)


def decode(frame: bytes) -> MinifinderMessage:
    """The message of one whole frame. Raises RemoteProtocolError."""
    if not _START.match(frame) or frame[-1:] != b";":
        raise RemoteProtocolError(Reason.TRUNCATED if frame[:1] == b"!" else Reason.NOT_OURS, "! letter , ... ; expected", frame)
    return MinifinderMessage(chr(frame[1]), frame[3:-1].decode("utf-8", "replace"), frame)


def encode(message: MinifinderMessage) -> bytes:
    """The frame of a message. Raises LocalProtocolError where the text holds the end mark."""
    frame = f"!{message.kind}{',' + message.body if message.body else ''};".encode()
    if not _START.match(frame) or ";" in message.body:
        raise LocalProtocolError(f"one letter and a text without ; expected, got {message.kind!r}, {message.body!r:.40}")
    return frame


def imei_of(message: MinifinderMessage) -> str | None:
    """The IMEI of a login."""
    digits = message.body.partition(",")[0].strip()
    return digits if 10 <= len(digits) <= 16 and digits.isascii() and digits.isdecimal() else None


def parse_position(message: MinifinderMessage) -> MinifinderPosition:
    """The position of !A, !B, !C, !D. Raises RemoteProtocolError (TRUNCATED, RANGE)."""
    fields = message.fields
    if len(fields) < 6 or (message.kind != "A" and len(fields) < 7):
        raise RemoteProtocolError(
            Reason.TRUNCATED, f"date, time, place, speed, course, flags expected, got {len(fields)} fields", message.raw
        )
    is_long = message.kind != "A"
    lat, lon, fault = _place(fields[2], fields[3])
    course = _number(fields[5], 0, 360)
    with_satellites = message.kind in "BD"
    return MinifinderPosition(
        clock_ms=_clock_ms(fields[0], fields[1]),
        lat=lat,
        lon=lon,
        speed_kmh=_number(fields[4], 0, 2000) or 0.0,
        # Firmware writes numbers beyond the circle where it has no course.
        course_deg=course or 0.0,
        flags=flags_of(fields) if is_long else None,
        altitude_m=_number(fields[7], -1000, 20_000) if is_long and len(fields) > 7 else None,
        battery=_count(fields, 8, 100) if is_long else None,
        satellites=_count(fields, 9, 99) if with_satellites else None,
        seen=_count(fields, 10, 99) if with_satellites else None,
        hdop=_number(fields[11], 0.1, 100) if with_satellites and len(fields) > 11 else None,
        fault=fault,
    )


def flags_of(fields: list[str]) -> int:
    """The flags of a body that may be damaged elsewhere; 0 where they cannot be read."""
    try:
        value = int(fields[6], 16)
    except (ValueError, IndexError):
        return 0
    return value if 0 <= value <= 0xFFFFFFFF else 0


def _place(lat_text: str, lon_text: str) -> tuple[float | None, float | None, str | None]:
    try:
        lat, lon = float(lat_text), float(lon_text)
    except ValueError:
        return None, None, f"coordinates expected, got {lat_text!r:.24},{lon_text!r:.24}"
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None, None, f"latitude within 90 and longitude within 180 degrees expected, got {lat},{lon}"
    return (lat, lon, None) if lat or lon else (None, None, None)


def _number(text: str, low: float, high: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if low <= value <= high else None


def _count(fields: list[str], index: int, high: int) -> int | None:
    value = _number(fields[index], 0, high) if len(fields) > index else None
    return int(value) if value is not None else None


def _clock_ms(day: str, time: str) -> int | None:
    """`d/m/yy` and `h:m:s`, with or without leading zeros."""
    try:
        dd, mm, yy = map(int, day.split("/"))
        hours, minutes, seconds = map(int, time.split(":"))
        days = epoch_day(yy, mm, dd)
    except ValueError:
        return None
    if days is None or not (0 <= yy <= 99 and 0 <= hours <= 23 and 0 <= minutes <= 59 and 0 <= seconds <= 60):
        return None
    return (days * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1000


def position_message(kind: str, position: MinifinderPosition) -> MinifinderMessage:
    """Device side: !A, !B, !C or !D."""
    moment = datetime.fromtimestamp((position.clock_ms or 0) / 1000, UTC)
    fields = [f"{moment:%d/%m/%y}", f"{moment:%H:%M:%S}", f"{position.lat or 0:.6f}", f"{position.lon or 0:.6f}"]
    fields += [f"{position.speed_kmh:g}", f"{position.course_deg:g}"]
    if kind != "A":
        fields += [f"{position.flags or 0:x}", f"{position.altitude_m or 0:g}", str(position.battery or 0)]
        fields += [str(position.satellites or 0), str(position.seen or 0)] if kind in "BD" else ["0", "0"]
    fields.append(f"{position.hdop or 0:g}")
    return MinifinderMessage(kind, ",".join(fields))


def login(imei: str) -> bytes:
    """Device side: who speaks."""
    return encode(MinifinderMessage("1", imei))
