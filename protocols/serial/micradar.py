"""MicRadar mmWave radars on a serial line: R60AFD1, MR60FDA1 (fall), R60ABD1 (bed, sleep, breathing, heart), MR24HPC1.

115200 8N1. Source: MicRadar R60AFD1 and R60ABD1 user manuals, Seeed MR60FDA1 protocol pages.

    53 59 | ctrl | cmd | len len | data ... | sum | 54 43
          |      |     |         |          |     +- tail
          |      |     |         |          +- sum8 of every byte from 53 to the last data byte
          |      |     |         +- `len` bytes; may contain header and tail bytes, so the length rules
          |      |     +- u16 big endian
          |      +- bit 7 set: query (data 0F) and its answer; clear: report, setting and the echo of a setting
          +- group: 01 system, 02 product, 05 state, 06 installation, 07 range, 80 presence, 81 breath, 83 fall, 84 sleep, 85 heart

`TABLE` holds every known message once and drives the decoder and the encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from protocols.bits import sign_magnitude
from protocols.checksum import sum8
from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.serial.scan import NOT_A_START, Scanner

HEADER = b"\x53\x59"
TAIL = b"\x54\x43"
LENGTH_CAP = 80
"""Longest data accepted; the longest known is a product text of some 30 bytes. Below 53h on purpose: where a frame was cut off
in its length, the first byte of the next header is read as length 83 or more and the start is seen to be false at once."""
OVERHEAD_BYTES = 9
QUERY_DATA = b"\x0f"
ANSWER_BIT = 0x80

MOTION = ("none", "still", "active")
BREATH = {1: "normal", 2: "high", 3: "low", 4: "none"}
BED = ("out", "in", "none")
STAGE = ("deep", "light", "awake", "none")
LEVEL = ("none", "normal", "abnormal")
SLEEP_FAULT = ("short", "long", "nobody", "none")
RATING = ("none", "good", "fair", "poor")
APPROACH = ("none", "approaching", "leaving")

INSTALL_HEIGHT_CM = (220, 300)
"""Heights between which the fall radars work; outside falls are missed."""


class Message(NamedTuple):
    """One frame. `name` and `values` are filled where the table knows (ctrl, cmd); `is_reply` when bit 7 of cmd marks an answer."""

    ctrl: int
    cmd: int
    data: bytes = b""
    name: str = ""
    values: Mapping[str, Any] = {}
    is_reply: bool = False


class Shape(NamedTuple):
    """How the data of a message is laid out. `read` raises ValueError on a value that is outside its range."""

    size: int
    read: Callable[[bytes], dict[str, Any]]
    write: Callable[[Mapping[str, Any]], bytes]


def _number(size: int, key: str = "value", low: int = 0, high: int | None = None) -> Shape:
    top = (1 << 8 * size) - 1 if high is None else high

    def read(data: bytes) -> dict[str, Any]:
        value = int.from_bytes(data, "big")
        if not low <= value <= top:
            raise ValueError(f"{key} {low}..{top} expected, got {value}")
        return {key: value}

    return Shape(size, read, lambda values: int(values[key]).to_bytes(size, "big"))


def _switch(key: str = "value") -> Shape:
    def read(data: bytes) -> dict[str, Any]:
        if data[0] > 1:
            raise ValueError(f"{key} 0 or 1 expected, got {data[0]}")
        return {key: data[0] == 1}

    return Shape(1, read, lambda values: bytes([bool(values[key])]))


def _choice(key: str, names: Mapping[int, str]) -> Shape:
    codes = {name: code for code, name in names.items()}

    def read(data: bytes) -> dict[str, Any]:
        if data[0] not in names:
            raise ValueError(f"{key} one of {', '.join(map(str, names))} expected, got {data[0]}")
        return {key: names[data[0]]}

    return Shape(1, read, lambda values: bytes([codes[values[key]]]))


def _one_of(key: str, names: tuple[str, ...]) -> Shape:
    return _choice(key, dict(enumerate(names)))


def _read_signed(data: bytes) -> dict[str, Any]:
    return dict(zip("xyz", (sign_magnitude(value, 16) for value in struct.unpack(">3H", data)), strict=True))


def _write_signed(values: Mapping[str, Any]) -> bytes:
    return struct.pack(">3H", *(abs(values[axis]) | (0x8000 if values[axis] < 0 else 0) for axis in "xyz"))


def _read_text(data: bytes) -> dict[str, Any]:
    text = data.rstrip(b"\0 ").decode("ascii", "replace")
    if not text.isprintable() or "\ufffd" in text:
        raise ValueError("printable ASCII expected")
    return {"text": text}


_TEN_MINUTES = struct.Struct(">8B")
_NIGHT = struct.Struct(">BH9B")
_TEN_KEYS = ("present", "stage", "avg_breath", "avg_heart", "turns", "big_pct", "small_pct", "apnea")
_NIGHT_KEYS = (
    "score", "total_min", "awake_pct", "light_pct", "deep_pct", "out_min", "out_count", "turns", "avg_breath", "avg_heart", "apnea",
)  # fmt: skip


def _read_ten(data: bytes) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(_TEN_KEYS, _TEN_MINUTES.unpack(data), strict=True))
    if values["stage"] >= len(STAGE) or values["present"] > 1:
        raise ValueError(f"present 0..1 and stage 0..3 expected, got {values['present']} and {values['stage']}")
    values["present"], values["stage"] = bool(values["present"]), STAGE[values["stage"]]
    return values


def _write_ten(values: Mapping[str, Any]) -> bytes:
    shown = {**values, "stage": STAGE.index(values["stage"])}
    return _TEN_MINUTES.pack(*(int(shown[key]) for key in _TEN_KEYS))


def _read_night(data: bytes) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(_NIGHT_KEYS, _NIGHT.unpack(data), strict=True))
    if values["score"] > 100 or values["awake_pct"] + values["light_pct"] + values["deep_pct"] > 110:
        raise ValueError("score 0..100 and shares that make 100 % expected")
    return values


_U8, _U16, _U32 = _number(1), _number(2), _number(4)
_SWITCH = _switch()
_TEXT = Shape(-1, _read_text, lambda values: str(values["text"]).encode("ascii"))
_WAVE = Shape(5, lambda data: {"values": list(data)}, lambda values: bytes(values["values"]))
_PLACE = Shape(6, _read_signed, _write_signed)
_ANY = Shape(-1, lambda data: {}, lambda values: QUERY_DATA)
_TEN = Shape(8, _read_ten, _write_ten)
_RECORD = Shape(12, _read_night, lambda values: _NIGHT.pack(*(values[key] for key in _NIGHT_KEYS)))

TABLE: dict[tuple[int, int], tuple[str, Shape]] = {
    (0x01, 0x01): ("heartbeat", _ANY),
    (0x01, 0x02): ("reset", _ANY),
    (0x02, 0xA1): ("model", _TEXT),
    (0x02, 0xA2): ("product_id", _TEXT),
    (0x02, 0xA3): ("hardware", _TEXT),
    (0x02, 0xA4): ("firmware", _TEXT),
    (0x05, 0x01): ("init_done", _ANY),
    (0x06, 0x01): ("install_angles", _PLACE),
    (0x06, 0x02): ("install_height_cm", _U16),
    (0x07, 0x07): ("in_range", _SWITCH),
    (0x80, 0x00): ("presence_switch", _SWITCH),
    (0x80, 0x01): ("presence", _switch("presence")),
    (0x80, 0x02): ("motion", _one_of("motion", MOTION)),
    (0x80, 0x03): ("body_param", _number(1, high=100)),
    (0x80, 0x04): ("distance_cm", _U16),
    (0x80, 0x05): ("position", _PLACE),
    (0x80, 0x0B): ("approach", _one_of("approach", APPROACH)),
    (0x80, 0x0D): ("still_range_cm", _U16),
    (0x80, 0x0E): ("moving_range_cm", _U16),
    (0x80, 0x11): ("presence_threshold", _U32),
    (0x80, 0x12): ("nobody_time_s", _U32),
    (0x81, 0x00): ("breath_switch", _SWITCH),
    (0x81, 0x01): ("breath_state", _choice("state", BREATH)),
    (0x81, 0x02): ("breath_rate", _number(1, high=60)),
    (0x81, 0x05): ("breath_wave", _WAVE),
    (0x81, 0x0B): ("breath_low_limit", _U8),
    (0x81, 0x0C): ("breath_wave_switch", _SWITCH),
    (0x83, 0x00): ("fall_switch", _SWITCH),
    (0x83, 0x01): ("fall", _switch("fall")),
    (0x83, 0x05): ("static_residence", _switch("residence")),
    (0x83, 0x0A): ("residence_time_s", _U32),
    (0x83, 0x0B): ("residence_switch", _SWITCH),
    (0x83, 0x0C): ("fall_duration_s", _U32),
    (0x83, 0x0D): ("fall_sensitivity", _number(1, high=3)),
    (0x83, 0x0F): ("height_time_s", _U32),
    (0x83, 0x11): ("fall_break_height_cm", _U16),
    (0x84, 0x00): ("sleep_switch", _SWITCH),
    (0x84, 0x01): ("bed", _one_of("bed", BED)),
    (0x84, 0x02): ("sleep_stage", _one_of("stage", STAGE)),
    (0x84, 0x03): ("awake_min", _number(2, high=1440)),
    (0x84, 0x04): ("light_min", _number(2, high=1440)),
    (0x84, 0x05): ("deep_min", _number(2, high=1440)),
    (0x84, 0x06): ("sleep_score", _number(1, high=100)),
    (0x84, 0x0C): ("sleep_10min", _TEN),
    (0x84, 0x0D): ("night", _RECORD),
    (0x84, 0x0E): ("sleep_fault", _one_of("fault", SLEEP_FAULT)),
    (0x84, 0x10): ("sleep_rating", _one_of("rating", RATING)),
    (0x84, 0x11): ("struggle", _one_of("state", LEVEL)),
    (0x84, 0x12): ("nobody_timer", _one_of("state", LEVEL)),
    (0x84, 0x13): ("struggle_switch", _SWITCH),
    (0x84, 0x14): ("nobody_timer_switch", _SWITCH),
    (0x84, 0x15): ("nobody_timer_min", _U8),
    (0x84, 0x1A): ("struggle_sensitivity", _U8),
    (0x85, 0x00): ("heart_switch", _SWITCH),
    (0x85, 0x02): ("heart_rate", _number(1, high=250)),
    (0x85, 0x05): ("heart_wave", _WAVE),
    (0x85, 0x0A): ("heart_wave_switch", _SWITCH),
}
CODES = {name: code for code, (name, _) in TABLE.items()}

FORBIDDEN = frozenset({0x03, 0x04})
"""Groups that are never sent: firmware upload (03) and factory tests."""


def decode(data: bytes) -> Message:
    """The message of one whole frame.

    Raises RemoteProtocolError: TRUNCATED, NOT_OURS (header), INTEGRITY (tail, sum), RANGE (length or value of a known message),
    UNSUPPORTED (a group or command that the table does not know).
    """
    verdict = judge(data, 0) if data.startswith(HEADER) else NOT_A_START
    if isinstance(verdict, Reject):
        raise RemoteProtocolError(verdict.reason, verdict.detail, data)
    if verdict < 0:
        raise RemoteProtocolError(Reason.NOT_OURS, f"header 53 59 and length 0..{LENGTH_CAP} expected", data)
    if verdict != len(data):
        raise RemoteProtocolError(Reason.TRUNCATED, f"{verdict or 'more'} bytes expected, got {len(data)}", data)
    return meaning(data)


def meaning(frame: bytes) -> Message:
    """The message of a frame that the scanner has checked. Raises RemoteProtocolError (RANGE, UNSUPPORTED)."""
    ctrl, cmd, data = frame[2], frame[3], frame[6:-3]
    row, is_reply = _row(ctrl, cmd, len(data))
    if row is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"message {ctrl:02x}/{cmd:02x}", frame)
    name, shape = row
    if shape.size >= 0 and len(data) != shape.size:
        raise RemoteProtocolError(Reason.RANGE, f"{name}: {shape.size} bytes expected, got {len(data)}", frame)
    try:
        values = shape.read(data)
    except ValueError as error:
        raise RemoteProtocolError(Reason.RANGE, f"{name}: {error}", frame) from None
    return Message(ctrl, cmd, data, name, values, is_reply)


def _row(ctrl: int, cmd: int, size: int) -> tuple[tuple[str, Shape] | None, bool]:
    row = TABLE.get((ctrl, cmd))
    if ctrl == 0x84 and size in (8, 12) and cmd & 0x7F in (0x0C, 0x0D, 0x0E, 0x0F):
        # Firmware generations disagree on 0C/8D and 0D/8F: the length tells the ten-minute report from the night.
        return ("sleep_10min", _TEN) if size == 8 else ("night", _RECORD), bool(cmd & ANSWER_BIT)
    if row is not None:
        return row, False
    if (ctrl, cmd) == (0x01, 0x80):
        return TABLE[(0x01, 0x01)], True
    return TABLE.get((ctrl, cmd & 0x7F)) if cmd & ANSWER_BIT else None, True


def judge(buffer: bytes, start: int) -> int | Reject:
    """Scanner's view of a start: length, tail and sum (see `protocols.serial.scan`)."""
    if len(buffer) - start < 6:
        return 0
    length = buffer[start + 4] << 8 | buffer[start + 5]
    if length > LENGTH_CAP:
        return NOT_A_START
    end = start + OVERHEAD_BYTES + length
    if len(buffer) < end:
        return 0
    frame = buffer[start:end]
    if frame[-2:] != TAIL:
        return Reject(Reason.INTEGRITY, f"tail 54 43 expected, got {frame[-2:].hex(' ')}", frame)
    if sum8(frame[:-3]) != frame[-3]:
        return Reject(Reason.INTEGRITY, f"sum {sum8(frame[:-3]):02x} expected, got {frame[-3]:02x}", frame)
    return end - start


def encode(message: Message) -> bytes:
    """The bytes of a message. Raises LocalProtocolError for a width that does not fit or a group that must never be sent."""
    if message.ctrl in FORBIDDEN:
        raise LocalProtocolError(f"group {message.ctrl:02x} (firmware upload, factory test) is never sent")
    if not (0 <= message.ctrl <= 255 and 0 <= message.cmd <= 255 and len(message.data) <= LENGTH_CAP):
        raise LocalProtocolError(f"ctrl and cmd 0..255 and at most {LENGTH_CAP} bytes expected, got {message}")
    body = HEADER + bytes((message.ctrl, message.cmd)) + len(message.data).to_bytes(2, "big") + message.data
    return body + bytes((sum8(body),)) + TAIL


def report(name: str, *, is_reply: bool = False, **values: Any) -> bytes:
    """What the radar sends: `report("fall", fall=True)`; `is_reply` makes the answer to a query. Also the setting of a parameter.

    >>> report("fall", fall=True).hex()
    '53598301000101325443'
    """
    ctrl, cmd = _code(name)
    try:
        data = TABLE[(ctrl, cmd)][1].write(values)
    except (KeyError, ValueError, OverflowError, TypeError, struct.error) as error:
        raise LocalProtocolError(f"{name}: cannot write {values}: {error!r}") from None
    return encode(Message(ctrl, _answer_code(ctrl, cmd) if is_reply else cmd, data))


def query(name: str) -> bytes:
    """What asks the radar for a value.

    >>> query("model").hex()
    '535902a100010f5f5443'
    """
    ctrl, cmd = _code(name)
    return encode(Message(ctrl, _answer_code(ctrl, cmd), QUERY_DATA))


def reset() -> bytes:
    """Restarts the radar."""
    return encode(Message(0x01, 0x02, QUERY_DATA))


def _code(name: str) -> tuple[int, int]:
    if name not in CODES:
        raise LocalProtocolError(f"no MicRadar message called {name!r}")
    return CODES[name]


_ODD_QUERIES = {(0x01, 0x01): 0x80, (0x84, 0x0C): 0x8D, (0x84, 0x0D): 0x8F}


def _answer_code(ctrl: int, cmd: int) -> int:
    return _ODD_QUERIES.get((ctrl, cmd), cmd | ANSWER_BIT)


class Connection:
    """One serial line. `requests=True` is the radar's side: queries and settings come as bare (ctrl, cmd, data)."""

    def __init__(self, *, requests: bool = False) -> None:
        self.scanner = Scanner(HEADER, judge)
        self._requests = requests

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Messages and refusals that `data` completes, in order."""
        return [found if isinstance(found, Reject) else self._decoded(found) for found in self.scanner.feed(data)]

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)

    def _decoded(self, frame: bytes) -> Message | Reject:
        if self._requests:
            return Message(frame[2], frame[3], frame[6:-3])
        try:
            return meaning(frame)
        except RemoteProtocolError as error:
            return error.reject()
