"""Forwarding to a fire centre: send-data frames out of our events. No state: the caller counts serials and keeps time.

A centre takes them from a client that we are; it answers with CONFIRM of the same serial (decode with protocols.building.gbt26875).
"""

from __future__ import annotations

from drivers.api import Event, Measurement, Occurrence, OccurrenceKind, Quantity, State
from protocols.building.gbt26875 import Command, Message, encode
from protocols.building.gbt26875_objects import Analogue, Object, PartState, encode_unit

_K = OccurrenceKind
PARTS: dict[OccurrenceKind, int] = {
    _K.GAS: 12, _K.CO_ALARM: 74, _K.SMOKE: 40, _K.HEAT: 30, _K.FIRE: 25, _K.ELECTRICAL_FIRE: 16, _K.SOS: 130, _K.FALL: 131,
    _K.MEDICAL: 132, _K.WATER_LEAK: 133, _K.GENERAL_ALARM: 128,
}  # fmt: skip
"""Part type that stands for an alarm; those of care are private (128..255) and to be agreed with the centre."""
_NORMAL, _FIRE, _FAULT, _POWER = 0x0001, 0x0002, 0x0004, 0x0100
_STATES: dict[OccurrenceKind, int] = {_K.FAULT: _FAULT, _K.OFFLINE: _FAULT, _K.LOW_BATTERY: _POWER, _K.POWER_CUT: _POWER}
_ANALOGUES: dict[Quantity, tuple[int, float]] = {
    Quantity.TEMPERATURE: (3, 10), Quantity.WATER_PRESSURE: (5, 10), Quantity.GAS_LEL: (6, 10), Quantity.VOLTAGE: (8, 10),
    Quantity.CURRENT: (9, 10), Quantity.LEVEL: (2, 100),
}  # fmt: skip


def object_of(event: Event, *, part_address: int, text: str = "", part: int | None = None, utc_offset_minutes: int = 480) -> Object | None:
    """The object that tells an event to a centre; None for what a fire centre does not take.

    `part_address`: 32 bits, zone in the high word. `text`: what the centre shows (place and person), at most 31 bytes GB 18030.
    """
    body = event.body
    local_ms = event.at_ms + utc_offset_minutes * 60_000
    if isinstance(body, Occurrence):
        state = _FIRE if body.kind in PARTS else _STATES.get(body.kind)
        if state is None:
            return None
        number = part if part is not None else PARTS.get(body.kind, 0)
        state = _NORMAL if body.state is State.END else state | _NORMAL
        return PartState(1, 1, number, part_address, state, text or body.place or body.kind.value, local_ms)
    if isinstance(body, Measurement) and body.quantity in _ANALOGUES:
        kind, factor = _ANALOGUES[body.quantity]
        raw = round(body.value * factor)
        return Analogue(1, 1, part or 0, part_address, kind, raw, local_ms) if -32768 <= raw <= 32767 else None
    return None


def frame_of(things: list[Object], *, serial: int, source: str, dest: str, now_ms: int, utc_offset_minutes: int = 480) -> bytes:
    """A send-data frame of objects of one type. Raises LocalProtocolError where they do not fit into one."""
    return encode(Message(serial, Command.SEND, encode_unit(things), source, dest, now_ms + utc_offset_minutes * 60_000))


def heartbeat(*, source: str, dest: str, now_ms: int, utc_offset_minutes: int = 480) -> bytes:
    """The sign of life, every 20 to 30 s."""
    return encode(Message(0, Command.SEND, b"", source, dest, now_ms + utc_offset_minutes * 60_000))
