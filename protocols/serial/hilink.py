"""Hi-Link LD2410 (presence by gates) and LD2450 (three targets in the plane): reports, commands, acknowledgements.

256000 8N1. Source: HLK-LD2410 serial protocol V1.06, HLK-LD2450 serial protocol V1.03. Everything is little endian.

    LD2410 report   F4 F3 F2 F1 | len len | 02 AA | status | move cm, energy | still cm, energy | detect cm | 55 cal | F8 F7 F6 F5
                                            01 AA  engineering: then max gates, gate energies, light, out pin before 55
    LD2450 report   AA FF 03 00 | 3 x (x, y, speed, resolution), each u16 | 55 CC
                                       +- mm, mm, cm/s as sign and magnitude, bit 15 SET means positive; zeros: empty slot
    command         FD FC FB FA | len len | word word | arguments | 04 03 02 01
    acknowledgement FD FC FB FA | len len | word + 0100 | status u16, 0 good | values | 04 03 02 01

Neither report has a checksum: the byte behind 55 is a calibration value. A command is obeyed between open (FF) and close (FE).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial.exchange import Question
from protocols.serial.scan import NOT_A_START, Judge, Scanner

REPORT_2410, TAIL_2410 = b"\xf4\xf3\xf2\xf1", b"\xf8\xf7\xf6\xf5"
REPORT_2450, TAIL_2450 = b"\xaa\xff\x03\x00", b"\x55\xcc"
COMMAND, TAIL_COMMAND = b"\xfd\xfc\xfb\xfa", b"\x04\x03\x02\x01"
LENGTH_CAP = 64
SIZE_2450 = 30
SLOTS = 3
ACK_BIT = 0x0100

OPEN, CLOSE = 0x00FF, 0x00FE
SET_GATES, READ_PARAMETERS, ENGINEERING_ON, ENGINEERING_OFF, SET_SENSITIVITY = 0x60, 0x61, 0x62, 0x63, 0x64
SINGLE_TARGET, MULTI_TARGET, READ_TRACKING = 0x80, 0x90, 0x91
FIRMWARE, RESTART, MAC = 0xA0, 0xA3, 0xA5
READ_ZONES, SET_ZONES = 0xC1, 0xC2
ALLOWED = frozenset({
    OPEN, CLOSE, SET_GATES, READ_PARAMETERS, ENGINEERING_ON, ENGINEERING_OFF, SET_SENSITIVITY, SINGLE_TARGET, MULTI_TARGET,
    READ_TRACKING, FIRMWARE, RESTART, MAC, READ_ZONES, SET_ZONES,
})  # fmt: skip
"""What may be sent: neither another baud rate nor a factory reset, which cut us off."""


class Target(NamedTuple):
    """One target of an LD2450; `slot` 1..3 stays with the target while it is seen."""

    slot: int
    x_mm: int
    y_mm: int
    speed_cm_s: int
    resolution_mm: int


class Presence(NamedTuple):
    """LD2410 report. `status` bit 0 moving, bit 1 still; 4 and above: calibrating. Gate energies only in engineering mode."""

    status: int
    moving_distance_cm: int
    moving_energy: int
    static_distance_cm: int
    static_energy: int
    detection_distance_cm: int
    engineering: bool = False
    moving_gates: tuple[int, ...] = ()
    static_gates: tuple[int, ...] = ()
    light: int | None = None
    out_pin: int | None = None


class Targets(NamedTuple):
    """LD2450 report: the occupied slots."""

    targets: tuple[Target, ...]


class Ack(NamedTuple):
    """Acknowledgement of the command `word`; `values` where its layout is known."""

    word: int
    status: int
    data: bytes = b""
    values: Mapping[str, Any] = {}


class Order(NamedTuple):
    """A command as the radar reads it."""

    word: int
    arguments: bytes = b""


Message = Presence | Targets | Ack


def judge_for(report: bytes) -> Judge:
    """Scanner's view of a byte for reports that begin with `report`; acknowledgements are always found."""

    def judge(buffer: bytes, start: int) -> int | Reject:
        if buffer[start] != report[0] and buffer[start] != COMMAND[0]:
            return NOT_A_START
        head = buffer[start : start + 4]
        if not (report.startswith(head) or COMMAND.startswith(head)):
            return NOT_A_START
        if len(head) < 4:
            return 0
        if head == REPORT_2450:
            return _closed(buffer, start, SIZE_2450, TAIL_2450)
        if len(buffer) - start < 6:
            return 0
        length = buffer[start + 4] | buffer[start + 5] << 8
        if not 2 <= length <= LENGTH_CAP:
            return NOT_A_START
        return _closed(buffer, start, length + 10, TAIL_COMMAND if head == COMMAND else TAIL_2410)

    return judge


def _closed(buffer: bytes, start: int, size: int, tail: bytes) -> int | Reject:
    if len(buffer) - start < size:
        return 0
    found = buffer[start + size - len(tail) : start + size]
    if found != tail:
        return Reject(Reason.INTEGRITY, f"tail {tail.hex(' ')} expected, got {found.hex(' ')}", buffer[start : start + size])
    return size


def decode(data: bytes) -> Message:
    """The message of one whole frame. Raises RemoteProtocolError (TRUNCATED, NOT_OURS, INTEGRITY, RANGE, UNSUPPORTED)."""
    report = REPORT_2450 if data.startswith(REPORT_2450) else REPORT_2410
    verdict = judge_for(report)(data, 0) if data else NOT_A_START
    if isinstance(verdict, Reject):
        raise RemoteProtocolError(verdict.reason, verdict.detail, data)
    if verdict < 0:
        raise RemoteProtocolError(Reason.NOT_OURS, "header of a report or an acknowledgement expected", data)
    if verdict != len(data):
        raise RemoteProtocolError(Reason.TRUNCATED, f"{verdict or 'more'} bytes expected, got {len(data)}", data)
    return meaning(data)


def meaning(frame: bytes) -> Message:
    """The message of a frame that the scanner has checked. Raises RemoteProtocolError (RANGE, UNSUPPORTED)."""
    if frame[0] == 0xAA:
        return _targets(frame)
    try:
        return _ack(frame) if frame[0] == 0xFD else _presence(frame)
    except (struct.error, IndexError):
        raise RemoteProtocolError(Reason.RANGE, f"more data expected, got {len(frame) - 10} bytes", frame) from None


_SLOTS = struct.Struct("<12H")
_BASIC = struct.Struct("<BHBHBH")


def _targets(frame: bytes) -> Targets:
    raw = _SLOTS.unpack_from(frame, 4)
    found = []
    for slot in range(SLOTS):
        x, y, speed, resolution = raw[4 * slot : 4 * slot + 4]
        if x or y or speed or resolution:
            found.append(Target(slot + 1, _signed(x), _signed(y), _signed(speed), resolution))
    return Targets(tuple(found))


def _signed(raw: int) -> int:
    """Bit 15 set is positive: the reverse of everybody else."""
    return raw & 0x7FFF if raw & 0x8000 else -raw


def _presence(frame: bytes) -> Presence:
    data = frame[6:-4]
    kind = data[0]
    if kind not in (1, 2) or data[1] != 0xAA:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"report 01 AA or 02 AA expected, got {data[:2].hex(' ')}", frame)
    if data[-2] != 0x55 or (kind == 2 and len(data) != 13):
        raise RemoteProtocolError(Reason.RANGE, f"13 bytes that end in 55 expected, got {len(data)}", frame)
    basic = _BASIC.unpack_from(data, 2)
    if kind == 2:
        return Presence(*basic)
    moving, static = data[11] + 1, data[12] + 1
    rest = data[13:-2]
    if moving + static > len(rest):
        raise RemoteProtocolError(Reason.RANGE, f"{moving} and {static} gates expected, got {len(rest)} bytes", frame)
    tail = rest[moving + static :]
    return Presence(*basic)._replace(
        engineering=True,
        moving_gates=tuple(rest[:moving]),
        static_gates=tuple(rest[moving : moving + static]),
        light=tail[0] if len(tail) >= 2 else None,
        out_pin=tail[1] if len(tail) >= 2 else None,
    )


def _ack(frame: bytes) -> Ack:
    word, status = struct.unpack_from("<HH", frame, 6)
    data = frame[10:-4]
    if not word & ACK_BIT:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"acknowledgement expected, got command {word:04x}", frame)
    word &= ~ACK_BIT
    return Ack(word, status, data, _ack_values(word, data) if status == 0 else {})


def _ack_values(word: int, data: bytes) -> dict[str, Any]:
    if word == FIRMWARE and len(data) >= 8:
        return {"version": f"{data[3]}.{data[2]:02x}.{int.from_bytes(data[4:8], 'little'):08x}"}
    if word == MAC and len(data) >= 6:
        return {"mac": data[:6].hex(":")}
    if word == READ_PARAMETERS and data[:1] == b"\xaa":
        moving, static = data[2] + 1, data[3] + 1
        gates = data[4 : 4 + moving + static]
        (timeout,) = struct.unpack_from("<H", data, 4 + moving + static)
        return {"max_gate": data[1], "moving": list(gates[:moving]), "static": list(gates[moving:]), "timeout_s": timeout}
    if word == READ_TRACKING and len(data) >= 2:
        return {"tracking": {1: "single", 2: "multi"}.get(data[0], f"code_{data[0]}")}
    if word == READ_ZONES and len(data) >= 26:
        kind, *sides = struct.unpack_from("<H12h", data)
        return {"type": kind, "zones": [tuple(sides[at : at + 4]) for at in (0, 4, 8)]}
    return {}


def command(word: int, arguments: bytes = b"") -> bytes:
    """A command. Raises LocalProtocolError for one that is never sent (baud rate, factory reset, Bluetooth).

    >>> command(ENGINEERING_ON).hex()
    'fdfcfbfa0200620004030201'
    """
    if word not in ALLOWED:
        raise LocalProtocolError(f"command {word:04x} is never sent")
    return COMMAND + struct.pack("<HH", len(arguments) + 2, word) + arguments + TAIL_COMMAND


def read_order(frame: bytes) -> Order:
    """The command in a checked frame: the radar's side. Raises RemoteProtocolError (UNSUPPORTED) where it is none."""
    (word,) = struct.unpack_from("<H", frame, 6)
    if not frame.startswith(COMMAND) or word & ACK_BIT:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "command expected", frame)
    return Order(word, frame[8:-4])


def open_command() -> bytes:
    """Opens the configuration."""
    return command(OPEN, b"\x01\x00")


def words(pairs: Sequence[tuple[int, int]]) -> bytes:
    """Arguments of SET_GATES and SET_SENSITIVITY: pairs of parameter u16 and value u32."""
    try:
        return b"".join(struct.pack("<HI", *pair) for pair in pairs)
    except struct.error as error:
        raise LocalProtocolError(f"parameter u16 and value u32 expected, got {pairs}: {error}") from None


def conversation(steps: Sequence[tuple[int, bytes, Any]]) -> list[Question]:
    """Open, the steps (word, arguments, tag), close: the only way in which a command is obeyed."""
    asked = [Question(OPEN, open_command())]
    asked += [Question(word, command(word, arguments), tag) for word, arguments, tag in steps]
    if steps[-1][0] != RESTART:
        asked.append(Question(CLOSE, command(CLOSE)))
    return asked


def encode(message: Message) -> bytes:
    """What the radar sends. Raises LocalProtocolError for values that do not fit."""
    try:
        if isinstance(message, Ack):
            body = struct.pack("<HH", message.word | ACK_BIT, message.status) + message.data
            return COMMAND + struct.pack("<H", len(body)) + body + TAIL_COMMAND
        if isinstance(message, Targets):
            raw = [0] * 12
            for slot, x, y, speed, resolution in message.targets:
                raw[4 * slot - 4 : 4 * slot] = [*(abs(v) | (0x8000 if v >= 0 else 0) for v in (x, y, speed)), resolution]
            return REPORT_2450 + _SLOTS.pack(*raw) + TAIL_2450
        body = bytes((1 if message.engineering else 2, 0xAA)) + _BASIC.pack(
            message.status, message.moving_distance_cm, message.moving_energy, message.static_distance_cm, message.static_energy,
            message.detection_distance_cm,
        )  # fmt: skip
        if message.engineering:
            body += bytes((len(message.moving_gates) - 1, len(message.static_gates) - 1, *message.moving_gates, *message.static_gates))
            body += bytes((message.light or 0, message.out_pin or 0))
        body += b"\x55\x00"
        return REPORT_2410 + struct.pack("<H", len(body)) + body + TAIL_2410
    except (struct.error, ValueError, IndexError) as error:
        raise LocalProtocolError(f"cannot write {message}: {error}") from None


class Connection:
    """One serial line to a radar whose reports begin with `report` (REPORT_2410 or REPORT_2450)."""

    def __init__(self, report: bytes) -> None:
        self.scanner = Scanner(b"", judge_for(report))

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes, in order."""
        return [found if isinstance(found, Reject) else self._decoded(found) for found in self.scanner.feed(data)]

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    @staticmethod
    def _decoded(frame: bytes) -> Message | Reject:
        try:
            return meaning(frame)
        except RemoteProtocolError as error:
            return error.reject()
