"""Modbus RTU for gas detectors: reading registers, and profiles that say what they hold.

Source: Modbus over Serial Line V1.02, Modbus Application Protocol V1.1b3 sections 6.3, 6.4 and 7.

    request    unit | 03/04 | start start | count count | crc crc       8 bytes
    response   unit | 03/04 | bytes | register register ... | crc crc    5 + bytes
    exception  unit | 83/84 | code | crc crc                             5 bytes
               |                             +- CRC-16/MODBUS, low byte first; registers are u16 big endian
               +- 1..247

RTU has no delimiter but silence, which a serial port of an operating system does not show: a frame is what has a good CRC.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protocols.bits import bits_set
from protocols.checksum import crc16_modbus
from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial.scan import NOT_A_START, Scanner

READS = (3, 4)
REQUEST_BYTES = 8
EXCEPTION_BYTES = 5
REGISTER_CAP = 125
EXCEPTIONS = {
    1: "illegal_function", 2: "illegal_data_address", 3: "illegal_data_value", 4: "device_failure", 5: "acknowledge", 6: "busy",
    8: "memory_parity_error", 10: "gateway_path_unavailable", 11: "gateway_target_failed",
}  # fmt: skip
WIDTHS = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "enum": 1, "bits": 1, "text": 2}
_FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f", "enum": ">H", "bits": ">H"}


class Request(NamedTuple):
    """A read of `registers` registers from `start`."""

    unit: int
    fc: int
    start: int
    registers: int


class Response(NamedTuple):
    """The registers as bytes."""

    unit: int
    fc: int
    data: bytes


class Failure(NamedTuple):
    """The unit refused: code and name of the exception."""

    unit: int
    fc: int
    code: int
    name: str


Message = Request | Response | Failure


class Field(NamedTuple):
    """One value in the registers.

    `type` of `WIDTHS`; `word_order` big (high word first) or little; value = raw * scale + offset. `over`, `under`: raw codes that
    mean out of the sensor's range; `low`, `high`: raw limits. `names`: of an enum's codes or of bits. `role`, `quantity`: for the driver.
    """

    name: str
    reg: int
    type: str
    width: int
    word_order: str = "big"
    scale: float = 1
    offset: float = 0
    unit: str = ""
    names: Mapping[int, str] = {}
    over: tuple[int, ...] = ()
    under: tuple[int, ...] = ()
    role: str = ""
    quantity: str = ""


@dataclass(frozen=True)
class Profile:
    """Which registers a product has: one block, read by one request."""

    unit: int
    fc: int
    base: int
    fields: tuple[Field, ...]
    title: str = ""
    source: str = ""

    @property
    def count(self) -> int:
        """Registers to read."""
        return max(item.reg + item.width for item in self.fields) - self.base

    def request(self, unit: int | None = None) -> Request:
        """The read of this block."""
        return Request(unit or self.unit, self.fc, self.base, self.count)


@dataclass
class Reading:
    """Values by field name: numbers, the name of an enum's state, names of set bits, text. `over`, `under`: fields out of range.

    `faults` names the fields that could not be read, and why: the others stand.
    """

    values: dict[str, Any] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)
    under: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


def read_profile(table: Mapping[str, Any]) -> Profile:
    """A profile from TOML or JSON. Raises LocalProtocolError that names every fault."""
    faults: list[str] = []
    fields = [_field(number, row, faults) for number, row in enumerate(table.get("fields", ()))]
    unit, fc, base = table.get("unit", 1), table.get("fc", 3), table.get("base", 0)
    if not isinstance(unit, int) or not 1 <= unit <= 247:
        faults.append(f"unit: expected 1..247, got {unit!r}")
    if fc not in READS:
        faults.append(f"fc: expected 3 or 4, got {fc!r}")
    if not isinstance(base, int) or not 0 <= base <= 65535:
        faults.append(f"base: expected 0..65535, got {base!r}")
    if not fields:
        faults.append("fields: at least one expected")
    known = tuple(item for item in fields if item is not None)
    if len({item.name for item in known}) != len(known):
        faults.append("fields: names must differ")
    if not faults:
        profile = Profile(unit, fc, base, known, str(table.get("title", "")), str(table.get("source", "")))
        if min(item.reg for item in known) < base or profile.count > REGISTER_CAP:
            faults.append(f"fields: registers within {base}..{base + REGISTER_CAP - 1} expected")
        else:
            return profile
    raise LocalProtocolError("profile: " + "; ".join(faults))


def _field(number: int, row: Any, faults: list[str]) -> Field | None:
    try:
        names = row.get("map") or row.get("bits") or {}
        kind = row["type"]
        found = Field(
            name=str(row["name"]),
            reg=int(row["reg"]),
            type=kind,
            width=int(row.get("count", WIDTHS[kind])) if kind == "text" else WIDTHS[kind],
            word_order=row.get("word_order", "big"),
            scale=float(row.get("scale", 1)),
            offset=float(row.get("offset", 0)),
            unit=str(row.get("unit", "")),
            names={int(code): str(name) for code, name in names.items()},
            over=_codes(row.get("over", ())),
            under=_codes(row.get("under", ())),
            role=str(row.get("role", "")),
            quantity=str(row.get("quantity", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        faults.append(f"fields[{number}]: name, reg and type ({', '.join(WIDTHS)}) expected: {error!r}")
        return None
    if found.word_order not in ("big", "little"):
        faults.append(f"{found.name}: word_order big or little expected, got {found.word_order!r}")
    if not 0 <= found.reg <= 65535 or found.width < 1 or not math.isfinite(found.scale) or not found.scale:
        faults.append(f"{found.name}: reg 0..65535, a width and a scale other than 0 expected")
    if found.type in ("enum", "bits") and not found.names:
        faults.append(f"{found.name}: {'map' if found.type == 'enum' else 'bits'} expected")
    return found


def _codes(value: Any) -> tuple[int, ...]:
    return tuple(int(code) for code in (value if isinstance(value, list | tuple) else (value,)))


def decode(data: bytes) -> Message:
    """The message of one whole frame. Raises RemoteProtocolError (TRUNCATED, NOT_OURS, INTEGRITY)."""
    verdict = judge(data, 0)
    if isinstance(verdict, Reject):
        raise RemoteProtocolError(verdict.reason, verdict.detail, data)
    if verdict < 0:
        raise RemoteProtocolError(Reason.NOT_OURS, "unit 1..247 and function 3, 4, 83 or 84 expected", data)
    if verdict != len(data):
        raise RemoteProtocolError(Reason.TRUNCATED, f"whole frame expected, got {len(data)} bytes", data)
    return meaning(data)


def meaning(frame: bytes) -> Message:
    """The message of a frame whose CRC the scanner has checked."""
    unit, fc = frame[0], frame[1]
    if fc & 0x80:
        return Failure(unit, fc & 0x7F, frame[2], EXCEPTIONS.get(frame[2], f"code_{frame[2]}"))
    if len(frame) == EXCEPTION_BYTES + frame[2] and frame[2]:
        return Response(unit, fc, frame[3:-2])
    start, count = struct.unpack_from(">HH", frame, 2)
    return Request(unit, fc, start, count)


def judge(buffer: bytes, start: int) -> int | Reject:
    """Scanner's view of a byte (see `protocols.serial.scan`): the first shape with a good CRC."""
    left = len(buffer) - start
    if not 1 <= buffer[start] <= 247:
        return NOT_A_START
    if left < 3:
        return 0 if left < 2 or buffer[start + 1] & 0x7F in READS else NOT_A_START
    fc, third = buffer[start + 1], buffer[start + 2]
    if fc & 0x7F not in READS:
        return NOT_A_START
    sizes = [EXCEPTION_BYTES] if fc & 0x80 else [REQUEST_BYTES]
    if not fc & 0x80 and third and third % 2 == 0 and third <= 2 * REGISTER_CAP:
        # The first 8 bytes of a response can have a CRC that holds: the longer shape is tried first.
        sizes.insert(0, EXCEPTION_BYTES + third)
    for size in sizes:
        if left < size:
            return 0
        if _crc_holds(buffer[start : start + size]):
            return size
    return Reject(Reason.INTEGRITY, "CRC does not hold", buffer[start : start + sizes[0]])


def _crc_holds(frame: bytes) -> bool:
    return crc16_modbus(frame[:-2]) == frame[-2] | frame[-1] << 8


def encode(message: Message) -> bytes:
    """The bytes of a request, a response or an exception. Raises LocalProtocolError for what RTU cannot say."""
    if not 1 <= message.unit <= 247 or message.fc not in READS:
        raise LocalProtocolError(f"unit 1..247 and function 3 or 4 expected, got {message.unit} and {message.fc}")
    if isinstance(message, Request):
        if not (0 <= message.start <= 65535 and 1 <= message.registers <= REGISTER_CAP):
            raise LocalProtocolError(f"start 0..65535 and count 1..{REGISTER_CAP} expected, got {message.start} and {message.registers}")
        body = struct.pack(">BBHH", *message)
    elif isinstance(message, Response):
        if not message.data or len(message.data) % 2 or len(message.data) > 2 * REGISTER_CAP:
            raise LocalProtocolError(f"1..{REGISTER_CAP} registers expected, got {len(message.data)} bytes")
        body = bytes((message.unit, message.fc, len(message.data))) + message.data
    else:
        body = bytes((message.unit, message.fc | 0x80, message.code & 0xFF))
    return body + crc16_modbus(body).to_bytes(2, "little")


def read_registers(profile: Profile, data: bytes) -> Reading:
    """What the registers of a profile's block say. Raises RemoteProtocolError (RANGE) when the block has another length."""
    if len(data) != 2 * profile.count:
        raise RemoteProtocolError(Reason.RANGE, f"{profile.count} registers expected, got {len(data) / 2:g}", data)
    reading = Reading()
    for item in profile.fields:
        at = 2 * (item.reg - profile.base)
        _read(item, data[at : at + 2 * item.width], reading)
    return reading


def _read(item: Field, data: bytes, reading: Reading) -> None:
    if item.type == "text":
        reading.values[item.name] = "".join(chr(byte) for byte in data if 32 <= byte < 127).strip()
        return
    if item.word_order == "little":
        data = data[2:] + data[:2]
    (raw,) = struct.unpack(_FORMATS[item.type], data)
    if item.type == "enum":
        if raw in item.names:
            reading.values[item.name] = item.names[raw]
        else:
            reading.faults[item.name] = f"code {raw} is not in the profile"
    elif item.type == "bits":
        reading.values[item.name] = [item.names.get(index, f"bit_{index}") for index in bits_set(raw, 16)]
    elif raw in item.over:
        reading.over.append(item.name)
    elif raw in item.under:
        reading.under.append(item.name)
    elif not math.isfinite(raw):
        reading.faults[item.name] = f"finite number expected, got {raw}"
    else:
        value = raw * item.scale + item.offset
        reading.values[item.name] = float(f"{value:.7g}") if item.type == "f32" or item.scale != 1 or item.offset else raw


def write_registers(profile: Profile, values: Mapping[str, Any]) -> bytes:
    """The block that a detector answers with: the inverse of `read_registers`; absent fields are 0. Raises LocalProtocolError."""
    block = bytearray(2 * profile.count)
    for item in profile.fields:
        if item.name in values:
            at = 2 * (item.reg - profile.base)
            block[at : at + 2 * item.width] = _written(item, values[item.name])
    return bytes(block)


def _written(item: Field, value: Any) -> bytes:
    codes = {name: code for code, name in item.names.items()}
    try:
        if item.type == "text":
            return str(value).encode("ascii").ljust(2 * item.width)[: 2 * item.width]
        if item.type == "enum":
            raw: float = codes[value]
        elif item.type == "bits":
            raw = sum(1 << codes[name] for name in value)
        else:
            raw = (value - item.offset) / item.scale
            raw = raw if item.type == "f32" else round(raw)
        data = struct.pack(_FORMATS[item.type], raw)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise LocalProtocolError(f"{item.name}: cannot write {value!r}: {error!r}") from None
    return data[2:] + data[:2] if item.word_order == "little" else data


class Connection:
    """One RS-485 line, either side: requests, responses and exceptions of every unit come in order."""

    def __init__(self) -> None:
        self.scanner = Scanner(b"", judge)

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes, in order."""
        return [found if isinstance(found, Reject) else meaning(found) for found in self.scanner.feed(data)]

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)
