"""Winsen gas sensors on a serial line, 9-byte frames: MH-Z19 (CO2), ZE07-CH2O, ZE07-CO, ZE15-CO, methane modules.

9600 8N1. Source: Winsen manuals of ZE07-CH2O, ZE07-CO, ZE15-CO, MH-Z19.

    active   FF | gas | unit | decimals | hi lo | full full | ck     value = hi lo * 10^-decimals, the same for the full scale
    answer   FF | 86  | by model, see `PROFILES`            | ck     to the read command
    command  FF | 01  | code | arguments                    | ck
             |                                                 +- two's complement of the sum of bytes 1..7
             +- may repeat before a frame
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial.scan import NOT_A_START, Scanner

HEADER = b"\xff"
FRAME_BYTES = 9
READ, MODE, SELF_CALIBRATION, ZERO, FULL_RANGE = 0x86, 0x78, 0x79, 0x87, 0x99
NO_VALUE = 0xFFFF
DECIMALS_CAP = 4

GASES = {0x01: "CH4", 0x04: "CO", 0x17: "CH2O"}
"""Gas codes of active frames; CH4 is not confirmed by a public sheet."""
UNITS = {0x03: "ppm", 0x04: "ppb"}


class Slot(NamedTuple):
    """A value in an answer: bytes `at`..`at + size - 1`, big endian; value = raw * scale + offset."""

    gas: str
    unit: str
    at: int
    size: int = 2
    scale: float = 1
    offset: float = 0


class Profile(NamedTuple):
    """What a model sends: the slots of its answer, its warm-up, whether it uploads by itself and takes the mode command."""

    answer: tuple[Slot, ...]
    warmup_s: float
    uploads: bool
    switches_mode: bool = True


PROFILES: dict[str, Profile] = {
    "mh-z19": Profile((Slot("CO2", "ppm", 2), Slot("temperature", "Cel", 4, 1, 1, -40)), 180, False, False),
    "ze07-ch2o": Profile((Slot("CH2O", "ug/m3", 2), Slot("CH2O", "ppb", 6)), 180, True),
    "ze07-co": Profile((Slot("CO", "ppm", 2, 2, 0.1),), 30, True),
    "ze15-co": Profile((Slot("CO", "ppm", 2, 2, 0.1),), 30, True),
    "generic-active": Profile((), 300, True),
}
"""By name of the model; the methane modules ZC05 and ZC13 are `generic-active`."""


class Value(NamedTuple):
    """One reading. `full_scale` in the same unit, None in answers. `value` None: the sensor has no valid one (FFFF)."""

    gas: str
    value: float | None
    unit: str
    full_scale: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One frame of the sensor. `mode` is active, answer or other (the echo of a command); `code` byte 1."""

    mode: str
    code: int
    payload: bytes
    values: tuple[Value, ...] = field(default_factory=tuple)


def check(payload: bytes) -> int:
    """Two's complement of the sum of bytes 1..7.

    >>> hex(check(bytes.fromhex("01860000000000")))
    '0x79'
    """
    return -sum(payload) & 0xFF


def judge(buffer: bytes, start: int) -> int | Reject:
    """Scanner's view of an FF (see `protocols.serial.scan`)."""
    if len(buffer) - start < 2:
        return 0
    if buffer[start + 1] == 0xFF:
        return NOT_A_START
    if len(buffer) - start < FRAME_BYTES:
        return 0
    frame = buffer[start : start + FRAME_BYTES]
    if check(frame[1:8]) != frame[8]:
        return Reject(Reason.INTEGRITY, f"check {check(frame[1:8]):02x} expected, got {frame[8]:02x}", frame)
    return FRAME_BYTES


def decode(data: bytes, profile: str = "generic-active", *, gases: Mapping[int, str] = GASES) -> Message:
    """The message of one whole frame.

    Raises RemoteProtocolError: TRUNCATED, NOT_OURS (start), INTEGRITY, RANGE (decimals), UNSUPPORTED (gas, unit or command code).
    """
    if not data.startswith(HEADER) or data[1:2] == HEADER:
        raise RemoteProtocolError(Reason.NOT_OURS, "one FF expected", data)
    if len(data) != FRAME_BYTES:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{FRAME_BYTES} bytes expected, got {len(data)}", data)
    verdict = judge(data, 0)
    if isinstance(verdict, Reject):
        raise RemoteProtocolError(verdict.reason, verdict.detail, data)
    return meaning(data, profile, gases=gases)


def meaning(frame: bytes, profile: str, *, gases: Mapping[int, str] = GASES) -> Message:
    """The message of a frame that the scanner has checked. Raises RemoteProtocolError (RANGE, UNSUPPORTED)."""
    code, payload = frame[1], frame[1:8]
    if code == READ:
        slots = PROFILES[profile].answer
        if not slots:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"layout of the answer of {profile} is not known", frame)
        return Message("answer", code, payload, tuple(_slot(slot, frame) for slot in slots))
    if code in (MODE, SELF_CALIBRATION, ZERO, FULL_RANGE):
        return Message("other", code, payload)
    unit, decimals = frame[2], frame[3]
    if code not in gases or unit not in UNITS:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"gas code {code:02x}, unit code {unit:02x}", frame)
    if decimals > DECIMALS_CAP:
        raise RemoteProtocolError(Reason.RANGE, f"decimals 0..{DECIMALS_CAP} expected, got {decimals}", frame)
    raw, full = frame[4] << 8 | frame[5], frame[6] << 8 | frame[7]
    value = None if raw == NO_VALUE else raw / 10**decimals
    return Message("active", code, payload, (Value(gases[code], value, UNITS[unit], full / 10**decimals),))


def _slot(slot: Slot, frame: bytes) -> Value:
    raw = int.from_bytes(frame[slot.at : slot.at + slot.size], "big")
    if slot.size == 2 and raw == NO_VALUE:
        return Value(slot.gas, None, slot.unit)
    return Value(slot.gas, round(raw * slot.scale + slot.offset, 6), slot.unit)


def frame_of(payload: bytes) -> bytes:
    """FF, 7 bytes, check. Raises LocalProtocolError for another length."""
    if len(payload) != FRAME_BYTES - 2 or payload[0] == 0xFF:
        raise LocalProtocolError(f"7 bytes that do not begin with FF expected, got {payload.hex()}")
    return HEADER + payload + bytes((check(payload),))


def command(code: int, *arguments: int) -> bytes:
    """A command to the sensor: `command(READ)`, `command(MODE, 0x40)` (upload), `command(MODE, 0x41)` (answer).

    >>> command(MODE, 0x41).hex()
    'ff0178410000000046'
    """
    return frame_of(bytes((0x01, code, *arguments)).ljust(7, b"\0"))


def encode_active(gas: int, unit: int, decimals: int, value: float, full_scale: float) -> bytes:
    """What an uploading sensor sends. Raises LocalProtocolError for a value that does not fit 16 bits."""
    raw, full = round(value * 10**decimals), round(full_scale * 10**decimals)
    if not (0 <= raw <= 0xFFFF and 0 <= full <= 0xFFFF and 0 <= decimals <= DECIMALS_CAP):
        raise LocalProtocolError(f"value and full scale 0..65535 with {decimals} decimals expected, got {value} and {full_scale}")
    return frame_of(bytes((gas, unit, decimals)) + raw.to_bytes(2, "big") + full.to_bytes(2, "big"))


def encode_answer(profile: str, *values: float) -> bytes:
    """What a model answers to a read: one number for each slot of its profile, in order. Raises LocalProtocolError."""
    slots = PROFILES[profile].answer
    payload = bytearray((READ, *bytes(6)))
    if not slots or len(values) != len(slots):
        raise LocalProtocolError(f"{profile} answers with {len(slots)} values, got {len(values)}")
    try:
        for slot, value in zip(slots, values, strict=True):
            raw = round((value - slot.offset) / slot.scale)
            payload[slot.at - 1 : slot.at - 1 + slot.size] = raw.to_bytes(slot.size, "big")
    except OverflowError as error:
        raise LocalProtocolError(f"{profile}: {values} do not fit: {error}") from None
    return frame_of(bytes(payload))


class Connection:
    """One serial line to a sensor of `profile` (`PROFILES`)."""

    def __init__(self, profile: str = "generic-active", *, gases: Mapping[int, str] = GASES) -> None:
        self.scanner = Scanner(HEADER, judge)
        self._profile = profile
        self._gases = gases

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes, in order."""
        return [found if isinstance(found, Reject) else self._decoded(found) for found in self.scanner.feed(data)]

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return frame_of(message.payload)

    def _decoded(self, frame: bytes) -> Message | Reject:
        try:
            return meaning(frame, self._profile, gases=self._gases)
        except RemoteProtocolError as error:
            return error.reject()
