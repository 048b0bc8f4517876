"""Forwarding to an alarm centre: DC-09 messages out of our events. No state: the caller counts sequences and keeps time.

`protocols.building.sia_dc09.encode(message, key)` makes the bytes; the centre answers ACK, NAK (wrong time) or DUH (decode, decrypt).
"""

from __future__ import annotations

from drivers.api import Event, Occurrence, OccurrenceKind, State
from protocols.building import contact_id
from protocols.building.sia_dc09 import Message, SiaEvent, sia_block, stamp_of

_K = OccurrenceKind
CODES: dict[OccurrenceKind, tuple[str, str, str]] = {
    _K.SOS: ("QA", "QH", "101"), _K.FALL: ("MA", "MH", "100"), _K.MEDICAL: ("MA", "MH", "100"), _K.WELFARE_MISSED: ("NA", "NS", "102"),
    _K.INACTIVITY: ("NA", "NS", "654"), _K.FIRE: ("FA", "FH", "110"), _K.SMOKE: ("FA", "FH", "111"), _K.HEAT: ("KA", "KH", "114"),
    _K.GAS: ("GA", "GH", "151"), _K.CO_ALARM: ("GA", "GH", "162"), _K.WATER_LEAK: ("WA", "WH", "154"), _K.COLD: ("ZA", "ZH", "159"),
    _K.BURGLARY: ("BA", "BH", "130"), _K.TAMPER: ("TA", "TR", "144"), _K.GENERAL_ALARM: ("UA", "UH", "140"),
    _K.POWER_CUT: ("AT", "AR", "301"), _K.LOW_BATTERY: ("XT", "XR", "384"), _K.OFFLINE: ("EM", "EN", "381"), _K.FAULT: ("IA", "IR", "380"),
    _K.NETWORK_LOST: ("YC", "YK", "350"), _K.TEST: ("RP", "RP", "602"),
}  # fmt: skip
"""SIA code of the begin, of the end, and Contact ID number (whose end is qualifier 3)."""


def message_of(
    event: Event, *, account: str, sequence: int, now_ms: int, area: int = 1, zone: int = 0, contact: bool = False, text: str = ""
) -> Message | None:
    """The message that tells an occurrence to a centre; None for what an alarm centre does not take.

    `sequence` 1..9999; `zone` 0..999; `contact`: ADM-CID instead of SIA-DCS. `text` (place, person) travels with SIA codes.
    The stamp is `now_ms`; an older time of occurrence goes along as `[H...]`.
    """
    body = event.body
    codes = CODES.get(body.kind) if isinstance(body, Occurrence) else None
    if codes is None or not isinstance(body, Occurrence):
        return None
    ended = body.state is State.END
    if contact:
        qualifier = contact_id.RESTORE if ended else contact_id.NEW
        data = contact_id.encode(contact_id.ContactId(qualifier, codes[2], f"{area:02d}", f"{zone:03d}"))
    else:
        words = "".join(char for char in text if char not in "[]^|/\r\n")
        data = sia_block([SiaEvent(codes[ended], f"{zone:03d}", words, modifiers=(("ri", str(area)),))])
    token = "ADM-CID" if contact else "SIA-DCS"
    return Message(token, f"{sequence % 10000:04d}", account=account, data=data, extended=_happened(event.at_ms, now_ms), at_ms=now_ms)


def link_test(*, account: str, now_ms: int) -> Message:
    """The sign of life: NULL, sequence 0000."""
    return Message("NULL", "0000", account=account, at_ms=now_ms)


def _happened(at_ms: int, now_ms: int) -> tuple[str, ...]:
    return (f"H{stamp_of(at_ms)[1:]}",) if now_ms - at_ms > 30_000 else ()
