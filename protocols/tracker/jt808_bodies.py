"""Bodies of JT/T 808 messages other than positions: what the platform sends, what a terminal answers. Both directions.

Source: JT/T 808-2013 chapter 8 and JT/T 808-2019 chapter 8; message numbers are in `jt808`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocols.bits import bcd_encode
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.tracker.fix import bcd_ms

OK, FAILURE, WRONG, UNSUPPORTED = 0, 1, 2, 3
"""Results of the general answers 0001 and 8001."""
PARAMETERS_LIMIT = 256


class Answer(NamedTuple):
    """A general answer (0001, 8001): to message `serial` of kind `id`."""

    serial: int
    id: int
    result: int = OK


class Registration(NamedTuple):
    """What 0100 tells of the terminal."""

    maker: str
    model: str
    terminal: str
    plate: str


class Attributes(NamedTuple):
    """What 0107 tells of the terminal."""

    maker: str
    model: str
    terminal: str
    iccid: str
    hardware: str
    firmware: str


def _text(data: bytes) -> str:
    return data.decode("gbk", "replace").strip("\x00 \r\n")


def write_answer(answer: Answer) -> bytes:
    """The body of 0001 or 8001.

    >>> write_answer(Answer(2, 0x0704)).hex()
    '0002070400'
    """
    return struct.pack(">HHB", answer.serial, answer.id, answer.result)


def read_answer(body: bytes) -> Answer:
    """The body of 0001 or 8001. Raises RemoteProtocolError (TRUNCATED)."""
    if len(body) < 5:
        raise RemoteProtocolError(Reason.TRUNCATED, f"an answer of 5 bytes expected, got {len(body)}", body)
    return Answer(*struct.unpack_from(">HHB", body))


def write_register_answer(serial: int, code: str, *, result: int = OK) -> bytes:
    """The body of 8100; the code is left out unless the result is 0."""
    return struct.pack(">HB", serial, result) + (code.encode("gbk") if result == OK else b"")


def read_register_answer(body: bytes) -> tuple[int, int, str]:
    """Serial, result and authentication code of 8100. Raises RemoteProtocolError (TRUNCATED)."""
    if len(body) < 3:
        raise RemoteProtocolError(Reason.TRUNCATED, f"a registration answer of 3 bytes expected, got {len(body)}", body)
    return body[0] << 8 | body[1], body[2], _text(body[3:])


def read_registration(body: bytes, *, version: int | None = None) -> Registration:
    """The body of 0100. Maker 5, model 20, terminal 7 bytes (2011: model 8; 2019: 11, 30, 30). Raises RemoteProtocolError."""
    if version is not None:
        sizes = (11, 30, 30)
    elif len(body) >= 37:
        sizes = (5, 20, 7)
    else:
        sizes = (5, 8, 7)
    if len(body) < 4 + sum(sizes):
        raise RemoteProtocolError(Reason.TRUNCATED, f"a registration of {4 + sum(sizes)} bytes expected, got {len(body)}", body)
    at, found = 4, []
    for size in sizes:
        found.append(_text(body[at : at + size]))
        at += size
    number = body[at - sizes[2] : at]
    if version is None and not all(0x20 <= byte < 0x7F for byte in number.strip(b"\x00")):
        # Some put their number there in BCD.
        found[2] = number.hex().lstrip("0") if number.hex().isdecimal() else ""
    return Registration(found[0], found[1], found[2], _text(body[at + 1 :]))


def write_registration(registration: Registration, *, version: int | None = None) -> bytes:
    """The body of 0100 for province 0, city 0, no colour. Raises LocalProtocolError when a text is too long."""
    sizes = (5, 20, 7) if version is None else (11, 30, 30)
    parts = []
    for text, size in zip(registration[:3], sizes, strict=True):
        data = text.encode("gbk")
        if len(data) > size:
            raise LocalProtocolError(f"at most {size} bytes expected, got {text!r}")
        parts.append(data.ljust(size, b"\x00"))
    return bytes(4) + b"".join(parts) + b"\x00" + registration.plate.encode("gbk")


def read_authentication(body: bytes, *, version: int | None = None) -> str:
    """The code of 0102 (2019: length, code, IMEI 15, version 20)."""
    if version is not None and body and len(body) >= 1 + body[0]:
        return _text(body[1 : 1 + body[0]])
    return _text(body)


def write_authentication(code: str, *, version: int | None = None, imei: str = "", firmware: str = "") -> bytes:
    """The body of 0102."""
    data = code.encode("gbk")
    if version is None:
        return data
    return bytes((len(data),)) + data + imei.encode()[:15].ljust(15, b"\x00") + firmware.encode()[:20].ljust(20, b"\x00")


def read_attributes(body: bytes, *, version: int | None = None) -> Attributes:
    """The body of 0107: kind u16, maker 5, model 20 (30), terminal 7 (30), ICCID BCD 10, hardware and firmware as u8 + text."""
    model_size, terminal_size = (20, 7) if version is None else (30, 30)
    at = 2 + 5 + model_size + terminal_size
    if len(body) < at + 10:
        raise RemoteProtocolError(Reason.TRUNCATED, f"attributes of {at + 10} bytes expected, got {len(body)}", body)
    model = _text(body[7 : 7 + model_size])
    terminal = _text(body[7 + model_size : at])
    iccid = body[at : at + 10].hex()
    hardware, at = _counted(body, at + 10)
    firmware, _ = _counted(body, at)
    return Attributes(_text(body[2:7]), model, terminal, iccid, hardware, firmware)


def _counted(body: bytes, at: int) -> tuple[str, int]:
    size = body[at] if at < len(body) else 0
    return _text(body[at + 1 : at + 1 + size]), at + 1 + size


_NUMBERS = frozenset(range(0x01, 0x08)) | frozenset((0x18, 0x19, 0x1B, 0x1C)) | frozenset(range(0x20, 0x40)) | frozenset(range(0x45, 0x48))
_NUMBERS |= frozenset(range(0x50, 0x58)) | frozenset(range(0x59, 0x5F)) | {0x80, 0x81, 0x82, 0x84, 0x90, 0x93, 0x94, 0x95, 0x100, 0x101}


def write_parameters(values: dict[int, int | str]) -> bytes:
    """The body of 8103: count, then id u32, length u8, value (numbers u32, 0081/0082 u16, 0084 and 0090-0094 u8, texts GBK)."""
    out = bytes((len(values),))
    for kind, value in values.items():
        if isinstance(value, str):
            data = value.encode("gbk", "replace")
        else:
            width = {0x81: 2, 0x82: 2, 0x31: 2, 0x84: 1, 0x90: 1, 0x94: 1}.get(kind, 4)
            if not 0 <= value < 1 << 8 * width:
                raise LocalProtocolError(f"parameter {kind:04x}: at most {width} bytes expected, got {value}")
            data = value.to_bytes(width, "big")
        if len(data) > 255:
            raise LocalProtocolError(f"parameter {kind:04x}: at most 255 bytes expected, got {len(data)}")
        out += struct.pack(">IB", kind, len(data)) + data
    return out


def read_parameters(body: bytes, *, answer: bool = True) -> tuple[int, dict[int, int | str]]:
    """Serial answered and values of 0104 (`answer`), or 0 and values of 8103. Stops at the first item that does not fit."""
    at, serial = (3, body[0] << 8 | body[1]) if answer and len(body) >= 3 else (1, 0)
    values: dict[int, int | str] = {}
    while at + 5 <= len(body) and len(values) < PARAMETERS_LIMIT:
        kind, size = struct.unpack_from(">IB", body, at)
        data = body[at + 5 : at + 5 + size]
        at += 5 + size
        if len(data) < size:
            break
        values[kind] = int.from_bytes(data, "big") if kind in _NUMBERS and size <= 4 else _text(data)
    return serial, values


def write_track(interval_s: int, duration_s: int) -> bytes:
    """The body of 8202; interval 0 stops."""
    return struct.pack(">HI", interval_s, duration_s) if interval_s else struct.pack(">H", 0)


def read_track(body: bytes) -> tuple[int, int]:
    """Interval and duration of 8202."""
    if len(body) < 2:
        raise RemoteProtocolError(Reason.TRUNCATED, "an interval expected", body)
    return body[0] << 8 | body[1], int.from_bytes(body[2:6], "big")


def write_text(text: str, *, show: bool = True, speak: bool = False, urgent: bool = False, version: int | None = None) -> bytes:
    """The body of 8300: flags (bit 0 urgent, 2 display, 3 speak), in 2019 a kind (1 notice), text in GBK."""
    flags = urgent | show << 2 | speak << 3
    data = text.encode("gbk", "replace")
    if len(data) > 1000:
        raise LocalProtocolError(f"a text of at most 1000 bytes expected, got {len(data)}")
    return bytes((flags,)) + (b"\x01" if version is not None else b"") + data


def read_text(body: bytes, *, version: int | None = None) -> tuple[int, str]:
    """Flags and text of 8300 (also 6006: encoding and text)."""
    if not body:
        raise RemoteProtocolError(Reason.TRUNCATED, "flags and text expected", body)
    return body[0], _text(body[2 if version is not None else 1 :])


def write_call_back(number: str, *, listen: bool = False) -> bytes:
    """The body of 8400: 0 talk or 1 listen, number of at most 20 characters."""
    if not number.isascii() or not 1 <= len(number) <= 20:
        raise LocalProtocolError(f"a number of 1..20 characters expected, got {number!r}")
    return bytes((int(listen),)) + number.encode()


def read_call_back(body: bytes) -> tuple[bool, str]:
    """Whether to listen only, and the number, of 8400."""
    if len(body) < 2:
        raise RemoteProtocolError(Reason.TRUNCATED, "a kind and a number expected", body)
    return body[0] == 1, _text(body[1:])


def write_phone_book(entries: list[tuple[str, str]]) -> bytes:
    """The body of 8401, replacing all: kind 1, count, then flag 3 (both directions), number, name as u8 + text."""
    out = bytes((1, len(entries)))
    for name, number in entries:
        title = name.encode("gbk", "replace")
        if len(title) > 20 or not 1 <= len(number) <= 20 or not number.isascii():
            raise LocalProtocolError(f"a name and a number of at most 20 bytes expected, got {name!r}, {number!r}")
        out += bytes((3, len(number))) + number.encode() + bytes((len(title),)) + title
    return out


def write_circle(number: int, lat: float, lon: float, radius_m: int) -> bytes:
    """The body of 8600 with one circle: alarm to the platform on entry and exit."""
    return struct.pack(">BBI", 0, 1, number) + _fence_head(lat, lon, radius_m)


def _fence_head(lat: float, lon: float, radius_m: int) -> bytes:
    return struct.pack(">HIII", _fence_flags(lat, lon), _micro(lat), _micro(lon), radius_m)


def _fence_flags(lat: float, lon: float) -> int:
    """Bits 3 and 5: report entry and exit to the platform; 6 south, 7 west."""
    return 1 << 3 | 1 << 5 | (lat < 0) << 6 | (lon < 0) << 7


def _micro(value: float) -> int:
    return round(abs(value) * 1e6)


def write_rectangle(number: int, top_left: tuple[float, float], bottom_right: tuple[float, float]) -> bytes:
    """The body of 8602 with one rectangle, corners as (lat, lon)."""
    flags = _fence_flags(*top_left)
    corners = (_micro(top_left[0]), _micro(top_left[1]), _micro(bottom_right[0]), _micro(bottom_right[1]))
    return struct.pack(">BBIHIIII", 0, 1, number, flags, *corners)


def write_polygon(number: int, points: list[tuple[float, float]]) -> bytes:
    """The body of 8604, points as (lat, lon)."""
    head = struct.pack(">IHH", number, _fence_flags(*points[0]), len(points))
    return head + b"".join(struct.pack(">II", _micro(lat), _micro(lon)) for lat, lon in points)


def write_fence_delete(number: int | None = None) -> bytes:
    """The body of 8601, 8603, 8605: one fence, or all."""
    return b"\x00" if number is None else struct.pack(">BI", 1, number)


def write_resend_request(first_serial: int, numbers: list[int]) -> bytes:
    """The body of 8003: serial of part 1, count, numbers of the missing parts (at most 255)."""
    numbers = numbers[:255]
    return struct.pack(">HB", first_serial, len(numbers)) + b"".join(struct.pack(">H", number) for number in numbers)


def write_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> bytes:  # noqa: PLR0917 - six parts of a time
    """The body of 8109: year u16 and five bytes, UTC."""
    return struct.pack(">HBBBBB", year, month, day, hour, minute, second)


def write_time_bcd(time: str) -> bytes:
    """The body of 8004: yymmddhhmmss as BCD, UTC."""
    return bcd_encode(time)


def read_battery_report(body: bytes, *, offset_minutes: int) -> tuple[int, int | None]:
    """The 7-byte form of 0210: battery percent and time."""
    return body[0], bcd_ms(body[1:7], offset_minutes=offset_minutes)


def read_command_text(body: bytes) -> str:
    """The text of 0701: u32 length and ASCII."""
    size = int.from_bytes(body[:4], "big")
    return _text(body[4 : 4 + size] if size == len(body) - 4 else body[4:])


def read_utf16_answer(body: bytes) -> tuple[int, str]:
    """Serial answered and text (UTF-16BE) of 1300. Raises RemoteProtocolError (TRUNCATED)."""
    if len(body) < 2:
        raise RemoteProtocolError(Reason.TRUNCATED, "a serial and a text expected", body)
    return body[0] << 8 | body[1], body[2:].decode("utf-16-be", "replace").strip("\x00 \r\n")
