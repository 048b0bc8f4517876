"""Where a value stands in a message: a JSON path, or an offset in bytes. Used by `protocols.mqtt.mapping`.

A field of a JSON message is a path, or a table:   {path = "bat", scale = 0.1, offset = 0, skip = [255]}
A field of a byte message is always a table:       {at = 4, type = "u16", endian = "little", bits = [0, 3], scale = 0.1}

    type     u8 i8 u16 i16 u24 i24 u32 i32 u64 i64 f32 f64, bcd, hex, text (these three with size)
    at       offset from the start of the message or element; negative: from the end
    bit      one bit as true/false (0 = least significant); bits = [low, high] a part of an integer
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from protocols import checksum
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.json_path import MISSING, Path, clean_text, number, word

CHECKSUMS: dict[str, tuple[Callable[[bytes], int], int]] = {
    "sum8": (checksum.sum8, 1),
    "xor8": (checksum.xor8, 1),
    "sum8_negative": (lambda data: -sum(data) & 0xFF, 1),
    "sum8_inverted": (lambda data: ~sum(data) & 0xFF, 1),
    "sum16": (lambda data: sum(data) & 0xFFFF, 2),
    "crc16_modbus": (checksum.crc16_modbus, 2),
    "crc16_xmodem": (checksum.crc16_xmodem, 2),
    "crc16_x25": (checksum.crc16_x25, 2),
    "crc16_arc": (checksum.crc16_arc, 2),
}
_INTEGERS = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "u64": 8, "i64": 8}
_FLOATS = {"f32": ("f", 4), "f64": ("d", 8)}
_SIZED = ("bcd", "hex", "text")
TYPES = (*_INTEGERS, *_FLOATS, *_SIZED)
SHAPE_KEYS = {"json": ("path",), "bytes": ("at", "type", "size", "endian", "bit", "bits")}
NUMBER_KEYS = ("scale", "offset", "skip")


class Context(NamedTuple):
    """One element of a message: the whole, the element, its key, the named levels of the topic."""

    root: Any
    item: Any
    key: Any
    places: dict[str, str]


class Field(NamedTuple):
    """How to read one value. `read` gives MISSING where the message has none."""

    read: Callable[[Context], Any]
    scale: float
    offset: float
    skip: frozenset[str]

    def number(self, context: Context) -> float | None:
        """The scaled number; None where it is absent, null or a stand-in for `no reading`. Raises RemoteProtocolError (RANGE)."""
        raw = self.read(context)
        if raw is MISSING or raw is None or (self.skip and word(raw) in self.skip):
            return None
        if isinstance(raw, str) and raw.strip().lower() in ("", "nan", "null", "none", "unknown", "unavailable", "n/a", "-"):
            return None
        if isinstance(raw, float) and math.isnan(raw):  # NaN: the device says that it has no reading
            return None
        value = number(float(raw) if isinstance(raw, bool) else raw)
        if value is None:
            raise RemoteProtocolError(Reason.RANGE, f"number expected, got {clean_text(repr(raw), 60)}")
        # Ten digits: a scale of 0.1 must not leave binary dust behind.
        return value if self.scale == 1 and self.offset == 0 else round(value * self.scale + self.offset, 10)

    def word(self, context: Context) -> str | None:
        """The value as comparable text; None where it is absent, null or to be skipped."""
        raw = self.read(context)
        if raw is MISSING or raw is None:
            return None
        found = word(raw)
        return None if found in self.skip else found


def compile_field(spec: Any, form: str) -> Field:
    """A field of a `json` or `bytes` message. Raises LocalProtocolError saying what is wrong."""
    table = {"path": spec} if isinstance(spec, str) and form == "json" else spec
    if not isinstance(table, dict):
        shape = 'a path like "a.b[0]" or {path = ...}' if form == "json" else '{at = 0, type = "u8"}'
        raise LocalProtocolError(f"{shape} expected, got {spec!r}")
    read = _json_reader(table) if form == "json" else _bytes_reader(table)
    numbers = [table.get("scale", 1), table.get("offset", 0)]
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise LocalProtocolError(f"scale and offset: numbers expected, got {numbers}")
    skip = table.get("skip", [])
    return Field(read, float(numbers[0]), float(numbers[1]), frozenset(map(word, skip if isinstance(skip, list) else [skip])))


def _json_reader(table: dict[str, Any]) -> Callable[[Context], Any]:
    path = table.get("path")
    if not isinstance(path, str):
        raise LocalProtocolError(f"path: text expected, got {path!r}")
    compiled = Path(path)
    if compiled.wild:
        raise LocalProtocolError(f"path: {path!r} holds a star; stars belong into `each`")
    find = compiled.find
    return lambda context: find(context.root, context.item, context.key)


def _bytes_reader(table: dict[str, Any]) -> Callable[[Context], Any]:
    at, kind = table.get("at"), table.get("type", "u8")
    endian = table.get("endian", "big")
    if not isinstance(at, int) or isinstance(at, bool):
        raise LocalProtocolError(f"at: byte offset expected, got {at!r}")
    if kind not in TYPES:
        raise LocalProtocolError(f"type: one of {', '.join(TYPES)} expected, got {kind!r}")
    if endian not in ("big", "little"):
        raise LocalProtocolError(f"endian: big or little expected, got {endian!r}")
    size = _INTEGERS.get(kind) or (_FLOATS[kind][1] if kind in _FLOATS else table.get("size"))
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 256:
        raise LocalProtocolError(f"size: 1..256 expected for type {kind}, got {size!r}")
    convert = _converter(kind, endian)
    low, high = _bits(table)

    def read(context: Context) -> Any:
        data: bytes = context.item
        start = at if at >= 0 else len(data) + at
        if start < 0 or start + size > len(data):
            return MISSING
        value = convert(data[start : start + size])
        if low is None:
            return value
        if not isinstance(value, int):
            return MISSING
        part = value >> low & (1 << (high - low + 1)) - 1
        return bool(part) if "bit" in table else part

    return read


def _bits(table: dict[str, Any]) -> tuple[int | None, int]:
    if "bit" in table:
        pair = [table["bit"], table["bit"]]
    elif "bits" in table:
        pair = table["bits"]
    else:
        return None, 0
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int for n in pair) or not 0 <= pair[0] <= pair[1] < 64:
        raise LocalProtocolError(f"bit: 0..63, bits: [low, high] expected, got {pair!r}")
    return pair[0], pair[1]


def _converter(kind: str, endian: Any) -> Callable[[bytes], Any]:
    if kind in _INTEGERS:
        signed = kind[0] == "i"
        return lambda data: int.from_bytes(data, endian, signed=signed)
    if kind in _FLOATS:
        layout = struct.Struct((">" if endian == "big" else "<") + _FLOATS[kind][0])
        return lambda data: layout.unpack(data)[0]
    if kind == "text":
        return lambda data: data.split(b"\x00", 1)[0].decode("utf-8", "replace")
    if kind == "bcd":
        return lambda data: data.hex() if data.hex().isdecimal() else MISSING
    return lambda data: (data if endian == "big" else data[::-1]).hex()


class Envelope(NamedTuple):
    """What a byte message must look like before it is read: first bytes, length, checksum."""

    prefix: bytes
    least: int
    most: int
    check: Callable[[bytes], str]

    def verify(self, data: bytes) -> None:
        """Raises RemoteProtocolError: NOT_OURS, TRUNCATED, RANGE or INTEGRITY."""
        if data[: len(self.prefix)] != self.prefix[: len(data)]:
            raise RemoteProtocolError(Reason.NOT_OURS, f"first bytes {self.prefix.hex()} expected, got {data[:8].hex()}", data)
        if len(data) < max(self.least, len(self.prefix)):
            raise RemoteProtocolError(Reason.TRUNCATED, f"at least {self.least} bytes expected, got {len(data)}", data)
        if len(data) > self.most:
            raise RemoteProtocolError(Reason.RANGE, f"at most {self.most} bytes expected, got {len(data)}", data)
        fault = self.check(data)
        if fault:
            raise RemoteProtocolError(Reason.INTEGRITY, fault, data)


BYTES_LIMIT = 65536


def compile_envelope(message: dict[str, Any]) -> Envelope:
    """Envelope of a byte message from `prefix`, `length`, `checksum`. Raises LocalProtocolError."""
    prefix = message.get("prefix", "")
    try:
        start = bytes.fromhex(prefix)
    except (ValueError, TypeError):
        raise LocalProtocolError(f"prefix: hex digits expected, got {prefix!r}") from None
    length = message.get("length", [0, BYTES_LIMIT])
    pair = [length, length] if isinstance(length, int) else length
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int for n in pair) or not 0 <= pair[0] <= pair[1] <= BYTES_LIMIT:
        raise LocalProtocolError(f"length: a number of bytes or [least, most] expected, got {length!r}")
    return Envelope(start, pair[0], pair[1], _compile_check(message.get("checksum")))


def _compile_check(spec: Any) -> Callable[[bytes], str]:
    """`{type = "sum8", from = 0, to = -1, at = -1, endian = "little"}`: over [from, to), found at `at`."""
    if spec is None:
        return lambda data: ""
    if not isinstance(spec, dict) or str(spec.get("type")) not in CHECKSUMS:
        raise LocalProtocolError(f"checksum: type one of {', '.join(CHECKSUMS)} expected, got {spec!r}")
    compute, size = CHECKSUMS[spec["type"]]
    begin, end, at = spec.get("from", 0), spec.get("to", -size), spec.get("at", -size)
    endian: Any = spec.get("endian", "little")
    if not all(type(n) is int for n in (begin, end, at)) or endian not in ("big", "little"):
        raise LocalProtocolError("checksum: from, to and at are byte offsets, endian is big or little")

    def check(data: bytes) -> str:
        start = at if at >= 0 else len(data) + at
        found = data[start : start + size] if start >= 0 else b""
        expected = compute(data[begin:end]).to_bytes(size, endian)
        return "" if found == expected else f"{spec['type']} {expected.hex()} expected, got {found.hex() or 'nothing'}"

    return check
