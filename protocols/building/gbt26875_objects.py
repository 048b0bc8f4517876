"""GB/T 26875.3-2011 data units: `type u8 | count u8 | objects`, each object a body and, for most types, a six-byte time.

    1  system state     sys adr state16                              t     21 unit state      state8            t
    2  part state       sys adr part part_address32 state16 text31   t     24 unit operation  bits operator     t
    3  analogue value   sys adr part part_address32 kind value16     t     25 unit version    major minor
    4  operation        sys adr bits operator                        t     26 unit settings   length text
    5  version          sys adr major minor                                28 unit clock                        t
    6  system settings  sys adr length text                                61..68, 81..88 queries, 89 initialise,
    7  part settings    sys adr part part_address32 text31                 90 set clock, 91 guard check (downlink)
    8  system clock     sys adr                                      t

Texts are GB 18030, numbers little endian. Vendors miscount, and leave out times or send one for all: the size of the data decides.
Source: GB/T 26875.3-2011 clauses 7 and 8.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from protocols.building.gbt26875 import encode_time, local_time
from protocols.errors import LocalProtocolError, Reason, Reject

TEXT_BYTES = 31
TIME_BYTES = 6
MAX_OBJECTS = 255

SYSTEM_FLAGS = (
    "normal_run", "fire_alarm", "fault", "shielded", "supervised", "started", "feedback", "delayed",
    "main_power_fault", "backup_power_fault", "bus_fault", "manual", "config_changed", "reset",
)  # fmt: skip
PART_FLAGS = (*SYSTEM_FLAGS[:8], "power_fault")
UNIT_FLAGS = ("normal_watch", "fire_alarm", "fault", "main_power_fault", "backup_power_fault", "link_fault", "line_fault")
OPERATIONS = ("reset", "mute", "manual_alarm", "alarm_cleared", "self_test", "confirm", "test")
UNIT_OPERATIONS = ("reset", "mute", "manual_alarm", "alarm_cleared", "self_test", "guard_answer", "test")

ANALOGUES: dict[int, tuple[str, float]] = {
    1: ("count", 1), 2: ("m", 0.01), 3: ("℃", 0.1), 4: ("MPa", 0.1), 5: ("kPa", 0.1), 6: ("%LEL", 0.1), 7: ("s", 1),
    8: ("V", 0.1), 9: ("A", 0.1), 10: ("L/s", 0.1), 11: ("m³/min", 0.1), 12: ("m/s", 1),
}  # fmt: skip
"""Unit and step of each analogue kind (clause 8.2.1.3)."""

SYSTEM_NAMES: dict[int, str] = {
    0: "general", 1: "fire alarm", 10: "linkage controller", 11: "hydrants", 12: "sprinklers", 13: "gas extinguishing",
    14: "water spray, pump", 15: "water spray, vessel", 16: "foam", 17: "powder", 18: "smoke extraction", 19: "fire doors and shutters",
    20: "fire lift", 21: "emergency broadcast", 22: "emergency lighting", 23: "fire power supply", 24: "fire telephone",
}  # fmt: skip
PART_NAMES: dict[int, str] = {
    0: "general", 1: "fire alarm controller", 10: "combustible gas detector", 11: "point gas detector", 12: "stand-alone gas detector",
    13: "line gas detector", 16: "electrical fire monitor", 17: "residual current detector", 18: "electrical temperature detector",
    21: "detection loop", 22: "repeater panel", 23: "manual call point", 24: "hydrant button", 25: "fire detector", 30: "heat detector",
    31: "point heat detector", 32: "point heat detector S", 33: "point heat detector R", 34: "line heat detector",
    35: "line heat detector S", 36: "line heat detector R", 37: "fibre heat detector", 40: "smoke detector",
    41: "ionisation smoke detector",
    42: "optical smoke detector", 43: "beam smoke detector", 44: "aspirating smoke detector", 50: "combined detector",
    51: "smoke and heat detector", 52: "flame and heat detector", 53: "flame and smoke detector", 61: "ultraviolet flame detector",
    62: "infrared flame detector", 69: "flame detector", 74: "gas detector", 78: "video fire detector", 79: "acoustic fire detector",
    81: "gas extinguishing controller", 82: "electrical control device", 83: "control room display", 84: "module", 85: "input module",
    86: "output module", 87: "input and output module", 88: "relay module", 91: "fire pump", 92: "fire water tank", 95: "sprinkler pump",
    96: "flow indicator", 97: "signal valve", 98: "alarm valve", 99: "pressure switch", 101: "valve actuator", 102: "fire door",
    103: "fire damper", 104: "ventilation", 105: "foam pump", 106: "pipe valve", 111: "smoke fan", 113: "smoke damper",
    114: "air supply vent", 115: "smoke vent", 116: "smoke curtain", 117: "shutter controller", 118: "fire door monitor", 121: "sounder",
}  # fmt: skip


class SystemState(NamedTuple):
    """Type 1. `state`: bits named by SYSTEM_FLAGS."""

    system: int
    address: int
    state: int
    local_ms: int | None = None


class PartState(NamedTuple):
    """Type 2. `state`: bits named by PART_FLAGS."""

    system: int
    address: int
    part: int
    part_address: int
    state: int
    text: str = ""
    local_ms: int | None = None


class Analogue(NamedTuple):
    """Type 3. `raw` in steps of `ANALOGUES[kind]`."""

    system: int
    address: int
    part: int
    part_address: int
    kind: int
    raw: int
    local_ms: int | None = None

    @property
    def value(self) -> float:
        """In the unit of the kind; raw for vendor kinds."""
        return round(self.raw * ANALOGUES.get(self.kind, ("", 1.0))[1], 4)


class Operation(NamedTuple):
    """Type 4. `bits` named by OPERATIONS."""

    system: int
    address: int
    bits: int
    operator: int
    local_ms: int | None = None


class Version(NamedTuple):
    """Type 5."""

    system: int
    address: int
    major: int
    minor: int


class Settings(NamedTuple):
    """Type 6."""

    system: int
    address: int
    text: str


class PartSettings(NamedTuple):
    """Type 7."""

    system: int
    address: int
    part: int
    part_address: int
    text: str


class Clock(NamedTuple):
    """Type 8."""

    system: int
    address: int
    local_ms: int | None


class UnitState(NamedTuple):
    """Type 21. `state`: bits named by UNIT_FLAGS."""

    state: int
    local_ms: int | None = None


class UnitOperation(NamedTuple):
    """Type 24. `bits` named by UNIT_OPERATIONS."""

    bits: int
    operator: int
    local_ms: int | None = None


class UnitVersion(NamedTuple):
    """Type 25."""

    major: int
    minor: int


class UnitSettings(NamedTuple):
    """Type 26."""

    text: str


class UnitClock(NamedTuple):
    """Types 28 (report) and 90 (set)."""

    local_ms: int | None


class Query(NamedTuple):
    """Types 61..68, 81..89 and 91, downlink. Only the fields of its type are sent (see `_QUERIES`).

    `value` is the reserved zero of 81..89 and the minutes of the guard check.
    """

    type: int
    system: int = 0
    address: int = 0
    part: int = 0
    part_address: int = 0
    records: int = 1
    local_ms: int | None = None
    value: int = 0


Object = (
    SystemState | PartState | Analogue | Operation | Version | Settings | PartSettings | Clock
    | UnitState | UnitOperation | UnitVersion | UnitSettings | UnitClock | Query
)  # fmt: skip

_FIXED: dict[int, tuple[Callable[..., Object], struct.Struct, bool]] = {
    1: (SystemState, struct.Struct("<BBH"), True),
    2: (PartState, struct.Struct("<BBBIH31s"), True),
    3: (Analogue, struct.Struct("<BBBIBh"), True),
    4: (Operation, struct.Struct("<BBBB"), True),
    5: (Version, struct.Struct("<BBBB"), False),
    7: (PartSettings, struct.Struct("<BBBI31s"), False),
    8: (Clock, struct.Struct("<BB"), True),
    21: (UnitState, struct.Struct("<B"), True),
    24: (UnitOperation, struct.Struct("<BB"), True),
    25: (UnitVersion, struct.Struct("<BB"), False),
    28: (UnitClock, struct.Struct("<"), True),
    90: (UnitClock, struct.Struct("<"), True),
}
_TYPES: dict[object, int] = {
    SystemState: 1, PartState: 2, Analogue: 3, Operation: 4, Version: 5, Settings: 6, PartSettings: 7, Clock: 8,
    UnitState: 21, UnitOperation: 24, UnitVersion: 25, UnitSettings: 26, UnitClock: 28,
}  # fmt: skip

_PART = ("system", "address", "part", "part_address")
_QUERIES: dict[int, tuple[str, ...]] = {
    61: ("system", "address"), 62: _PART, 63: _PART, 64: ("system", "address", "records", "local_ms"), 65: ("system", "address"),
    66: ("system", "address"), 67: _PART, 68: ("system", "address"), 81: ("value",), 84: ("records", "local_ms"), 85: ("value",),
    86: ("value",), 88: ("value",), 89: ("value",), 91: ("value",),
}  # fmt: skip
_WIDTHS = {"part_address": 4, "local_ms": 6}


class Unit(NamedTuple):
    """A data unit as read: what was good, and what was not."""

    type: int
    claimed: int
    objects: list[Object]
    rejects: list[Reject]


def decode_unit(data: bytes, near_ms: int | None = None) -> Unit:
    """The objects of a data unit; damage ends it, what stood before stays. Never raises.

    `near_ms`: wall clock time that tells BCD times from binary ones (see gbt26875.local_time).
    """
    if len(data) < 2:
        return Unit(data[0] if data else 0, 0, [], [Reject(Reason.TRUNCATED, "type and count expected", data)])
    number, count, body = data[0], data[1], data[2:]
    unit = Unit(number, count, [], [])
    if number in _FIXED:
        _fixed(unit, body, near_ms)
    elif number in (6, 26):
        _texts(unit, body)
    elif number in _QUERIES:
        _query(unit, body, near_ms)
    else:
        unit.rejects.append(Reject(Reason.UNSUPPORTED, f"data unit of type {number}", data))
    return unit


def _fixed(unit: Unit, body: bytes, near_ms: int | None) -> None:
    made, layout, timed = _FIXED[unit.type]
    size = layout.size
    step, shared = _step(unit, body, size, timed=timed)
    here = len(body) // step if step else 0
    tail = body[-TIME_BYTES:] if shared else b""
    for index in range(min(here, MAX_OBJECTS)):
        raw = body[index * step : (index + 1) * step]
        fields: list[object] = [decode_text(f) if isinstance(f, bytes) else f for f in layout.unpack_from(raw)]
        if timed:
            stamp = tail or raw[size:]
            fields.append(local_time(stamp, near_ms) if stamp else None)
        unit.objects.append(made(*fields))
    rest = len(body) - here * step - (TIME_BYTES if shared else 0)
    if rest or here < unit.claimed or not here:
        detail = f"{unit.claimed} objects of {size + TIME_BYTES * timed} bytes expected, {here} found, {rest} bytes left"
        unit.rejects.append(Reject(Reason.TRUNCATED, detail, body[len(body) - rest :]))


def _step(unit: Unit, body: bytes, size: int, *, timed: bool) -> tuple[int, bool]:
    """Distance of two objects, and whether one time at the end stands for all."""
    full, length = size + TIME_BYTES * timed, len(body)
    if not timed or not size or length == unit.claimed * full:
        return full, False
    if unit.claimed > 1 and local_time(body[size : size + TIME_BYTES].ljust(TIME_BYTES, b"\xff")) is not None:
        # The first object has a time: this unit was cut, it is not of a dialect without times.
        return full, False
    if length == unit.claimed * size:
        return size, False
    if unit.claimed > 1 and length == unit.claimed * size + TIME_BYTES:
        return size, True
    return full, False


def _texts(unit: Unit, body: bytes) -> None:
    head = 3 if unit.type == 6 else 1
    at = 0
    while at < len(body) and len(unit.objects) < MAX_OBJECTS:
        end = at + head + body[at + head - 1] if at + head <= len(body) else len(body) + 1
        if end > len(body):
            unit.rejects.append(Reject(Reason.TRUNCATED, "text is shorter than its length", body[at:]))
            return
        text = decode_text(body[at + head : end])
        unit.objects.append(Settings(body[at], body[at + 1], text) if head == 3 else UnitSettings(text))
        at = end
    if len(unit.objects) < unit.claimed:
        unit.rejects.append(Reject(Reason.TRUNCATED, f"{unit.claimed} texts expected, got {len(unit.objects)}", body))


def _query(unit: Unit, body: bytes, near_ms: int | None) -> None:
    names = _QUERIES[unit.type]
    size = sum(_WIDTHS.get(name, 1) for name in names)
    if not body or len(body) % size:
        unit.rejects.append(Reject(Reason.TRUNCATED, f"query of {size} bytes expected, got {len(body)}", body))
    for start in range(0, len(body) - size + 1, size):
        at, fields = start, {}
        for name in names:
            raw = body[at : at + _WIDTHS.get(name, 1)]
            at += len(raw)
            fields[name] = local_time(raw, near_ms) if name == "local_ms" else int.from_bytes(raw, "little")
        unit.objects.append(Query(unit.type, **fields))  # type: ignore[arg-type]  # local_ms may be None, the others are numbers


def encode_unit(objects: list[Object], *, set_clock: bool = False, bcd_time: bool = False) -> bytes:
    """The data unit of objects of one type. `set_clock`: a UnitClock is sent as type 90. Raises LocalProtocolError."""
    if not objects or len(objects) > MAX_OBJECTS or any(type(o) is not type(objects[0]) for o in objects):
        raise LocalProtocolError("1..255 objects of one type expected")
    first = objects[0]
    number = first.type if isinstance(first, Query) else 90 if set_clock else _TYPES[type(first)]
    try:
        body = b"".join(_encode(o, number, bcd_time) for o in objects)
    except (struct.error, OverflowError, ValueError) as error:
        raise LocalProtocolError(f"field of a type {number} object out of range: {error}") from None
    return bytes([number, len(objects)]) + body


def _encode(thing: Object, number: int, bcd: bool) -> bytes:
    if isinstance(thing, Query):
        names = _QUERIES.get(number)
        if names is None:
            raise LocalProtocolError(f"query 61..68, 81, 84..86, 88, 89 or 91 expected, got {number}")
        return b"".join(
            encode_time(thing.local_ms, bcd=bcd) if name == "local_ms" else getattr(thing, name).to_bytes(_WIDTHS.get(name, 1), "little")
            for name in names
        )
    if isinstance(thing, Settings | UnitSettings):
        text = encode_text(thing.text, 255)
        head = bytes([thing.system, thing.address]) if isinstance(thing, Settings) else b""
        return head + bytes([len(text)]) + text
    _, layout, timed = _FIXED[number]
    fields: list[object] = list(thing)
    stamp = encode_time(fields.pop(), bcd=bcd) if timed else b""  # type: ignore[arg-type]  # the last field of timed types
    return layout.pack(*(encode_text(f, TEXT_BYTES) if isinstance(f, str) else f for f in fields)) + stamp


def flags(state: int, names: tuple[str, ...]) -> list[str]:
    """Names of the set bits; reserved ones have none.

    >>> flags(0b110, UNIT_FLAGS)
    ['fire_alarm', 'fault']
    """
    return [name for i, name in enumerate(names) if state >> i & 1]


def decode_text(data: bytes) -> str:
    """GB 18030 up to the first NUL, blanks and a cut last character dropped."""
    return data.split(b"\x00", 1)[0].decode("gb18030", "ignore").strip()


def encode_text(text: str, limit: int) -> bytes:
    """GB 18030 of whole characters, at most `limit` bytes.

    >>> len(encode_text("燃气" * 20, 31))
    30
    """
    out = b""
    for char in text:
        piece = char.encode("gb18030")
        if len(out) + len(piece) > limit:
            break
        out += piece
    return out
