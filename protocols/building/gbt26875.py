"""GB/T 26875.3-2011 frames: fire alarm transmission units and their centre, both directions.

    40 40 | ss ss | 01 vv | S M H d m y | aa x6 | bb x6 | ll ll | cc | data unit | k | 23 23
            |       |  |    |             |       |       |       |    |           +- low byte of the sum from ss to the data unit
            |       |  |    |             |       |       |       |    +- 0..1024 bytes, see gbt26875_objects
            |       |  |    |             |       |       |       +- command
            |       |  |    |             |       |       +- length of the data unit
            |       |  |    |             +-------+- source and destination, 48 bits
            |       |  |    +- time of sending, local, one byte each, year since 2000
            |       |  +- user version
            |       +- major version, 1
            +- serial, echoed by confirm, deny and answer

All numbers little endian. The delimiters also occur inside, so only the length ends a frame.
Source: GB/T 26875.3-2011 clauses 6.6 and 8.2.2.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from protocols.checksum import sum8
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.framing import NEED_MORE, Cut

HEAD, TAIL = b"@@", b"##"
HEADER_BYTES = 27
MAX_UNIT = 1024
MAX_FRAME = HEADER_BYTES + MAX_UNIT + 3
NOWHERE = "000000000000"

_MONTH_DAYS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE = tuple(sum(_MONTH_DAYS[:month]) for month in range(13))
_DAYS_2000 = 10957
"""Days from 1970 to 2000."""

_HEADER = struct.Struct("<2xHBB6s6s6sHB")


class Command(IntEnum):
    """Command bytes; 7..127 are reserved, 128..255 belong to vendors."""

    CONTROL = 1
    SEND = 2
    CONFIRM = 3
    REQUEST = 4
    ANSWER = 5
    DENY = 6


class Message(NamedTuple):
    """One frame. `source`, `dest`: 12 hex digits, most significant first. `local_ms`: time of sending as epoch milliseconds of the
    unit's wall clock (None: no valid time). `unit`: the data unit, empty for heartbeat, confirm and deny.
    """

    serial: int
    command: int
    unit: bytes = b""
    source: str = NOWHERE
    dest: str = NOWHERE
    local_ms: int | None = None
    version: tuple[int, int] = (1, 1)

    @property
    def is_heartbeat(self) -> bool:
        """An empty SEND: the unit is alive."""
        return self.command == Command.SEND and not self.unit


def cut(buffer: bytes, start: int) -> Cut:
    """Where the next frame is: `@@`, a sane length and `##` at the place that the length names."""
    at = buffer.find(HEAD, start)
    if at < 0:
        keep = 1 if buffer.endswith(b"@") else 0
        return Cut(junk=len(buffer) - start - keep)
    if len(buffer) - at < HEADER_BYTES:
        # A longer run of @ may end in the real start.
        return Cut(junk=at - start)
    size = HEADER_BYTES + int.from_bytes(buffer[at + 24 : at + 26], "little") + 3
    if size > MAX_FRAME or buffer[at + 4] == 0:
        return Cut(junk=at + 1 - start)
    if len(buffer) - at < size:
        return Cut(junk=at - start) if at > start else NEED_MORE
    if buffer[at + size - 2 : at + size] != TAIL:
        return Cut(junk=at + 1 - start)
    return Cut(junk=at - start, size=size)


def decode(frame: bytes, *, big_endian_address: bool = False) -> Message:
    """The message of one whole frame. Raises RemoteProtocolError: NOT_OURS, TRUNCATED, INTEGRITY (sum)."""
    if frame[:2] != HEAD:
        raise RemoteProtocolError(Reason.NOT_OURS, "@@ expected", frame)
    if len(frame) < HEADER_BYTES + 3:
        raise RemoteProtocolError(Reason.TRUNCATED, f"at least {HEADER_BYTES + 3} bytes expected, got {len(frame)}", frame)
    serial, major, user, stamp, source, dest, length, command = _HEADER.unpack_from(frame)
    end = HEADER_BYTES + length
    if len(frame) != end + 3 or frame[-2:] != TAIL:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{end + 3} bytes up to ## expected, got {len(frame)}", frame)
    if sum8(frame[2:end]) != frame[end]:
        raise RemoteProtocolError(Reason.INTEGRITY, f"sum {sum8(frame[2:end]):02x} expected, got {frame[end]:02x}", frame)
    step = 1 if big_endian_address else -1
    return Message(
        serial, command, frame[HEADER_BYTES:end], source[::step].hex(), dest[::step].hex(), local_time(stamp), (major, user)
    )  # fmt: skip


def encode(message: Message, *, big_endian_address: bool = False) -> bytes:
    """The bytes of a message. Raises LocalProtocolError on a data unit over 1024 bytes or numbers that do not fit."""
    if len(message.unit) > MAX_UNIT:
        raise LocalProtocolError(f"data unit of at most {MAX_UNIT} bytes expected, got {len(message.unit)}")
    step = 1 if big_endian_address else -1
    try:
        source, dest = bytes.fromhex(message.source)[::step], bytes.fromhex(message.dest)[::step]
        stamp = encode_time(message.local_ms)
        head = HEAD + _HEADER.pack(message.serial, *message.version, stamp, source, dest, len(message.unit), message.command)[2:]
    except (struct.error, ValueError) as error:
        raise LocalProtocolError(f"field out of range: {error}") from None
    if len(source) != 6 or len(dest) != 6:
        raise LocalProtocolError("addresses of 12 hex digits expected")
    body = head[2:] + message.unit
    return head + message.unit + bytes([sum8(body)]) + TAIL


def reply(message: Message, command: Command, local_ms: int | None, unit: bytes = b"") -> Message:
    """Confirm, deny or answer: the serial and version of `message`, source and destination exchanged."""
    return Message(message.serial, command, unit, message.dest, message.source, local_ms, message.version)


def local_time(data: bytes, near_ms: int | None = None) -> int | None:
    """Six bytes S M H d m y as epoch milliseconds of the wall clock; None where they are no time.

    The standard wants binary numbers; some vendors send BCD. Bytes that read both ways go to the reading nearer to `near_ms`.
    """
    plain = _civil(tuple(data))
    if near_ms is None and plain is not None:
        return plain
    packed = _civil(tuple(int(f"{byte:x}") for byte in data)) if data.hex().isdecimal() else None
    if plain is None or packed is None or near_ms is None:
        return packed if plain is None else plain
    return packed if abs(packed - near_ms) < abs(plain - near_ms) else plain


def _civil(fields: tuple[int, ...]) -> int | None:
    second, minute, hour, day, month, year = fields
    if second > 59 or minute > 59 or hour > 23 or not 1 <= month <= 12 or year > 99:
        return None
    if not 1 <= day <= _MONTH_DAYS[month] + (month == 2 and year % 4 == 0):
        return None
    # 2000..2099: every fourth year is a leap year.
    days = _DAYS_2000 + 365 * year + (year + 3) // 4 + _DAYS_BEFORE[month] + (month > 2 and year % 4 == 0) + day - 1
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000


def encode_time(local_ms: int | None, *, bcd: bool = False) -> bytes:
    """Six bytes of a wall clock time; zeros for None and outside 2000..2099 (a clock that was never set must not stop a confirmation)."""
    if local_ms is None:
        return bytes(6)
    civil = _gmtime(local_ms // 1000)
    fields = (civil[5], civil[4], civil[3], civil[2], civil[1], civil[0] - 2000)
    if not 0 <= fields[5] <= 99:
        return bytes(6)
    return bytes(int(str(f), 16) for f in fields) if bcd else bytes(fields)


def _gmtime(seconds: int) -> tuple[int, int, int, int, int, int]:
    # time.gmtime without the module `time`: codecs import no clock.
    days, rest = divmod(seconds, 86400)
    shifted = days + 719468
    era, day_of_era = divmod(shifted, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return year, month, day, rest // 3600, rest // 60 % 60, rest % 60
