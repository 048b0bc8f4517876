"""TinyFrame radars: Seeed MR60FDA2, MR60BHA2; Hi-Link LD6002 (breath, heart), LD6002B (zones), LD6002C (fall).

115200 8N1, LD6002 1 382 400. Source: HLK-LD6002B/C TinyFrame interface V1.2, Seeed MR60FDA2/MR60BHA2 protocol pages.

    01 | id id | len len | type type | hck | data ... | dck
         |       |         |           |     |          +- NOT xor of data; absent or FF where len is 0
         |       |         |           |     +- `len` bytes, little endian inside
         |       |         |           +- NOT xor of every byte from 01 to the type
         |       |         +- u16 big endian
         |       +- u16 big endian, up to 1024
         +- u16 big endian, bit 15 marks the peer

There is no escaping: a byte 01 in noise looks like a start, so a start that fails its check costs one byte.
Types 0A13 to 0A16 mean breath and heart on LD6002 and MR60BHA2, power saving on LD6002B/C: the model decides, else the length.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial.scan import NOT_A_START, Scanner

HEADER = b"\x01"
HEAD_BYTES = 8
LENGTH_CAP = 1024
MODELS = ("auto", "mr60fda2", "mr60bha2", "ld6002", "ld6002b", "ld6002c")
VITAL_MODELS = ("mr60bha2", "ld6002")
ZONE_MODELS = ("ld6002b", "ld6002c")

FALL, PRESENCE, TARGET_HEIGHT = 0x0E02, 0x0F09, 0x0E0E
USER_LOG, SET_HEIGHT, PARAMETERS, SET_THRESHOLD, SET_SENSITIVITY, SET_AREA = 0x0E01, 0x0E04, 0x0E06, 0x0E08, 0x0E0A, 0x0E0C
CONTROL, ZONE_BOX, HOLD = 0x0201, 0x0202, 0x0203
TARGETS, POINT_CLOUD, ZONES, INTERFERENCE, DETECTION = 0x0A04, 0x0A08, 0x0A0A, 0x0A0B, 0x0A0C
HOLD_REPORT, SENSITIVITY_REPORT, TRIGGER_REPORT, INSTALL_REPORT, LOW_POWER = 0x0A0D, 0x0A0E, 0x0A0F, 0x0A10, 0x0A12
PHASE, BREATH, HEART, RANGE = 0x0A13, 0x0A14, 0x0A15, 0x0A16
FIRMWARE = 0xFFFF

INSTALL_HEIGHT_M = (1.0, 5.0)
THRESHOLD_M = (0.3, 1.5)
SENSITIVITY = (3, 30)
"""Frames of 1.5 s at most: detection takes 3 to 45 s."""
TARGET_BYTES = 20
AREA_BYTES = 24


class Message(NamedTuple):
    """One frame. `name` and `values` are filled where type, length and model are known."""

    type: int
    data: bytes = b""
    id: int = 0
    name: str = ""
    values: Mapping[str, Any] = {}


def check8(data: bytes) -> int:
    """NOT of the xor of every byte.

    >>> hex(check8(bytes.fromhex("01000000010e02")))
    '0xf3'
    """
    return ~reduce(xor, data, 0) & 0xFF


def judge(buffer: bytes, start: int) -> int | Reject:
    """Scanner's view of a start byte (see `protocols.serial.scan`).

    A failed header check is reported only where the type is a known one: everything else that begins with 01 is noise.
    """
    if len(buffer) - start < HEAD_BYTES:
        return 0
    head = buffer[start : start + HEAD_BYTES]
    length, kind = head[3] << 8 | head[4], head[5] << 8 | head[6]
    if length > LENGTH_CAP:
        return NOT_A_START
    if check8(head[:7]) != head[7]:
        if kind not in _LAYOUTS:
            return NOT_A_START
        claimed = buffer[start : start + HEAD_BYTES + length + (1 if length else 0)]
        return Reject(Reason.INTEGRITY, f"header check {check8(head[:7]):02x} expected, got {head[7]:02x}", claimed)
    if not length:
        return HEAD_BYTES + (1 if buffer[start + HEAD_BYTES : start + HEAD_BYTES + 1] == b"\xff" else 0)
    end = start + HEAD_BYTES + length + 1
    if len(buffer) < end:
        return 0
    expected = check8(buffer[start + HEAD_BYTES : end - 1])
    if expected != buffer[end - 1]:
        return Reject(Reason.INTEGRITY, f"data check {expected:02x} expected, got {buffer[end - 1]:02x}", buffer[start:end])
    return end - start


def decode(data: bytes, model: str = "auto") -> Message:
    """The message of one whole frame.

    Raises RemoteProtocolError: TRUNCATED, NOT_OURS (start, length), INTEGRITY, RANGE (length or value of a known type),
    UNSUPPORTED (unknown type, or one that this model does not send).
    """
    verdict = judge(data, 0) if data.startswith(HEADER) else NOT_A_START
    if isinstance(verdict, Reject):
        raise RemoteProtocolError(verdict.reason, verdict.detail, data)
    if verdict < 0:
        raise RemoteProtocolError(Reason.NOT_OURS, f"start 01 and length 0..{LENGTH_CAP} expected", data)
    if verdict != len(data):
        raise RemoteProtocolError(Reason.TRUNCATED, f"{verdict or 'more'} bytes expected, got {len(data)}", data)
    return meaning(data, model)


def meaning(frame: bytes, model: str = "auto") -> Message:
    """The message of a frame that the scanner has checked. Raises RemoteProtocolError (RANGE, UNSUPPORTED)."""
    ident, length, kind = struct.unpack_from(">HHH", frame, 1)
    data = frame[HEAD_BYTES : HEAD_BYTES + length]
    if not length:
        return Message(kind, b"", ident, "acknowledged")
    layouts = _LAYOUTS.get(kind)
    if layouts is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"type {kind:04x}", frame)
    if PHASE <= kind <= RANGE and model != "auto":
        layouts = _SHARED["vital" if model in VITAL_MODELS else "zone"].get(kind)
        if layouts is None:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"type {kind:04x} is not known from {model}", frame)
    row = layouts.get(length) or layouts.get(None)
    if row is None:
        sizes = " or ".join(map(str, layouts))
        raise RemoteProtocolError(Reason.RANGE, f"type {kind:04x}: {sizes} bytes expected, got {length}", frame)
    name, read = row
    try:
        return Message(kind, data, ident, name, read(data))
    except ValueError as error:
        raise RemoteProtocolError(Reason.RANGE, f"{name}: {error}", frame) from None


def encode(kind: int, data: bytes = b"", *, id: int = 0) -> bytes:
    """The bytes of a frame. Raises LocalProtocolError for factory reset (2110) and firmware upload (30xx), which brick the radar."""
    if kind == 0x2110 or kind >> 8 == 0x30:
        raise LocalProtocolError(f"type {kind:04x} (factory reset, firmware upload) is never sent")
    if not (0 <= kind <= 0xFFFF and 0 <= id <= 0xFFFF and len(data) <= LENGTH_CAP):
        raise LocalProtocolError(f"type, id 0..65535 and at most {LENGTH_CAP} bytes expected")
    head = HEADER + struct.pack(">HHH", id, len(data), kind)
    return head + bytes((check8(head),)) + (data + bytes((check8(data),)) if data else b"")


def encode_flag(kind: int, on: bool, *, id: int = 0) -> bytes:
    """A u8 of 0 or 1: fall, presence, success of a setting."""
    return encode(kind, bytes((on,)), id=id)


def encode_number(kind: int, *values: float, id: int = 0) -> bytes:
    """f32 for a float, u32 for an int, one after the other: settings, parameters, breath and heart rate."""
    try:
        data = b"".join(struct.pack("<f" if isinstance(value, float) else "<I", value) for value in values)
    except (struct.error, OverflowError) as error:
        raise LocalProtocolError(f"type {kind:04x}: cannot write {values}: {error}") from None
    return encode(kind, data, id=id)


def encode_targets(targets: list[tuple[float, float, float, int, int]], *, id: int = 0) -> bytes:
    """Targets as x, y, z (m), Doppler index, cluster."""
    return encode(TARGETS, struct.pack("<i", len(targets)) + b"".join(struct.pack("<3f2i", *target) for target in targets), id=id)


Read = Callable[[bytes], dict[str, Any]]


def _flag(key: str) -> Read:
    def read(data: bytes) -> dict[str, Any]:
        if data[0] > 1 or any(data[1:]):
            raise ValueError(f"{key} 0 or 1 expected, got {data.hex()}")
        return {key: data[0] == 1}

    return read


def _u8(data: bytes) -> dict[str, Any]:
    return {"value": data[0]}


def _u32(data: bytes) -> dict[str, Any]:
    return {"value": int.from_bytes(data, "little")}


def _floats(keys: tuple[str, ...], low: float, high: float) -> Read:
    layout = struct.Struct(f"<{len(keys)}f")

    def read(data: bytes) -> dict[str, Any]:
        found = layout.unpack(data)
        if not all(low <= value <= high for value in found):
            raise ValueError(f"{low:g}..{high:g} expected, got {', '.join(f'{value:g}' for value in found)}")
        return dict(zip(keys, map(_shorten, found), strict=True))

    return read


def _shorten(value: float) -> float:
    """An f32 as the shortest decimal that gives it back: 2.7, not 2.700000047683716."""
    return float(f"{value:.7g}")


def _range(data: bytes) -> dict[str, Any]:
    flag, value = struct.unpack("<If", data)
    if not math.isfinite(value) or not 0 <= value <= 100:
        raise ValueError(f"distance 0..100 m expected, got {value:g}")
    return {"valid": flag == 1, "value": _shorten(value)} if flag else {"valid": False}


def _parameters(data: bytes) -> dict[str, Any]:
    height, threshold, sensitivity = struct.unpack_from("<ffI", data)
    rect = struct.unpack_from("<4f", data, 12) if len(data) == 28 else ()
    if not all(math.isfinite(value) for value in (height, threshold, *rect)):
        raise ValueError("finite numbers expected")
    found = {"install_height_m": _shorten(height), "threshold_m": _shorten(threshold), "sensitivity": sensitivity}
    return {**found, "rect": [_shorten(value) for value in rect]} if rect else found


def _zones(data: bytes) -> dict[str, Any]:
    zones = [value != 0 for value in struct.unpack("<4I", data)]
    return {"zones": zones, "presence": any(zones)}


def _targets(data: bytes) -> dict[str, Any]:
    if len(data) < 4:
        raise ValueError(f"at least 4 bytes expected, got {len(data)}")
    (count,) = struct.unpack_from("<i", data)
    if count < 0 or len(data) != 4 + count * TARGET_BYTES:
        raise ValueError(f"{count} targets of {TARGET_BYTES} bytes expected, got {len(data) - 4} bytes")
    keys = ("x", "y", "z", "dop", "cluster")
    targets = [dict(zip(keys, row, strict=True)) for row in struct.iter_unpack("<3f2i", data[4:])]
    if not all(math.isfinite(target[axis]) and abs(target[axis]) <= 100 for target in targets for axis in "xyz"):
        raise ValueError("coordinates within 100 m expected")
    return {"targets": targets}


def _version(data: bytes) -> dict[str, Any]:
    return {"project": data[0], "version": ".".join(map(str, data[1:4]))}


def _nothing(data: bytes) -> dict[str, Any]:
    return {}


Layouts = dict[int | None, tuple[str, Read]]
"""Length of the data (None: any other) -> name and reader."""

_VITAL: dict[int, Layouts] = {
    PHASE: {12: ("phase", _floats(("total", "breath", "heart"), -1e6, 1e6))},
    BREATH: {4: ("breath_rate", _floats(("value",), 0, 100))},
    HEART: {4: ("heart_rate", _floats(("value",), 0, 300))},
    RANGE: {8: ("distance", _range)},
}
_ZONE: dict[int, Layouts] = {
    PHASE: {4: ("low_power_sleep_ms", _u32)},
    BREATH: {1: ("working_mode", lambda data: {"low_power": data[0] == 0})},
}
_SHARED = {"vital": _VITAL, "zone": _ZONE}

_LAYOUTS: dict[int, Layouts] = {
    FALL: {1: ("fall", _flag("fall"))},
    PRESENCE: {1: ("presence", _flag("presence")), 2: ("presence", _flag("presence"))},
    TARGET_HEIGHT: {4: ("target_height", _floats(("value",), -10, 10))},
    USER_LOG: {1: ("user_log_ack", _flag("success")), 4: ("user_log", _u32)},
    SET_HEIGHT: {1: ("set_height_ack", _flag("success")), 4: ("set_height", _floats(("m",), 0, 100))},
    SET_THRESHOLD: {1: ("set_threshold_ack", _flag("success")), 4: ("set_threshold", _floats(("m",), 0, 100))},
    SET_SENSITIVITY: {1: ("set_sensitivity_ack", _flag("success")), 4: ("set_sensitivity", _u32)},
    SET_AREA: {1: ("set_area_ack", _flag("success")), 16: ("set_area", _floats(("xl", "xr", "zf", "zb"), -100, 100))},
    PARAMETERS: {12: ("parameters", _parameters), 28: ("parameters", _parameters), None: ("short_parameters", _nothing)},
    CONTROL: {1: ("control_ack", _flag("success")), 4: ("control", _u32)},
    ZONE_BOX: {1: ("zone_box_ack", _flag("success")), None: ("zone_box", _nothing)},
    HOLD: {1: ("hold_ack", _flag("success")), 4: ("hold", _u32)},
    TARGETS: {None: ("targets", _targets)},
    POINT_CLOUD: {None: ("point_cloud", _nothing)},
    ZONES: {16: ("zones", _zones)},
    INTERFERENCE: {None: ("interference_area", _nothing)},
    DETECTION: {None: ("detection_area", _nothing)},
    HOLD_REPORT: {4: ("hold_s", _u32)},
    SENSITIVITY_REPORT: {1: ("zone_sensitivity", _u8)},
    TRIGGER_REPORT: {1: ("trigger_speed", _u8)},
    INSTALL_REPORT: {1: ("install_mode", _u8)},
    LOW_POWER: {1: ("low_power", _u8)},
    PHASE: {**_VITAL[PHASE], **_ZONE[PHASE]},
    BREATH: {**_VITAL[BREATH], **_ZONE[BREATH]},
    HEART: _VITAL[HEART],
    RANGE: _VITAL[RANGE],
    FIRMWARE: {4: ("firmware", _version), None: ("firmware_unknown", _nothing)},
}


class Connection:
    """One serial line to a TinyFrame radar of `model`."""

    def __init__(self, model: str = "auto") -> None:
        self.scanner = Scanner(HEADER, judge)
        self._model = model

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes, in order."""
        return [found if isinstance(found, Reject) else self._decoded(found) for found in self.scanner.feed(data)]

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message.type, message.data, id=message.id)

    def _decoded(self, frame: bytes) -> Message | Reject:
        try:
            return meaning(frame, self._model)
        except RemoteProtocolError as error:
            return error.reject()
