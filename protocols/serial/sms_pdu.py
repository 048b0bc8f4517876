"""SMS as protocol data units (3GPP TS 23.040, alphabets TS 23.038), both directions.

DELIVER   smsc | oo | address | pid | dcs | scts x7 | udl | [udh] text         oo: first octet, bits 0-1 type (0 deliver,
SUBMIT    smsc | oo | mr | address | pid | dcs | [vp] | udl | [udh] text       1 submit, 2 status report), 0x40 user header,
REPORT    smsc | oo | mr | address | scts x7 | discharge x7 | st               0x20 status report wanted, 0x18 validity format
address   digits u8 | type | semi-octets; type 91 international, A1/81 national, D0 GSM 7-bit text
scts      YY MM DD hh mm ss zz, digits swapped; zz quarters of an hour, bit 3 of the first digit = west
udl       septets for the 7-bit alphabet, octets otherwise; header included
udh       length | 00 03 ref total seq   or   08 04 ref16 total seq
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

GSM7, DATA8, UCS2 = "gsm7", "data", "ucs2"
MAX_PARTS = 10
"""A longer text is no message to a person; networks drop such chains."""

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPED = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}
_ENCODE = {char: bytes([code]) for code, char in enumerate(_BASIC) if char != "\x1b"} | {
    char: bytes([0x1B, code]) for code, char in _ESCAPED.items()
}
_SEMI = "0123456789*#abc"


@dataclass(frozen=True, slots=True)
class Part:
    """Place in a chain: `ref` 8 or 16 bits (`wide`), `seq` from 1."""

    ref: int
    total: int
    seq: int
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """A received message. `number` with + where international, `at_ms` UTC epoch (None: no valid stamp), `data` for 8-bit messages."""

    number: str
    text: str = ""
    at_ms: int | None = None
    zone_minutes: int = 0
    part: Part | None = None
    coding: str = GSM7
    data: bytes = b""
    smsc: str = ""
    flash: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """A message to send, one part. `reference` is filled by the modem."""

    number: str
    text: str = ""
    part: Part | None = None
    coding: str = GSM7
    report: bool = False
    reference: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What became of a sent message: `status` 0..31 delivered, 32..63 still trying, 64.. failed."""

    reference: int
    number: str
    status: int
    at_ms: int | None = None
    discharge_ms: int | None = None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise RemoteProtocolError(Reason.TRUNCATED, f"{count} octets expected at {self.at}, got {len(piece)}", self.data)
        self.at += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]


def decode(pdu: str | bytes) -> Deliver | Submit | StatusReport:
    """The message in a PDU (hex text or bytes, service centre included). Raises RemoteProtocolError."""
    reader = _Reader(_bytes(pdu))
    size = reader.byte()
    smsc = _address(reader.take(size)[:1], reader.data[2 : 1 + size], 2 * (size - 1)) if size > 1 else ""
    first = reader.byte()
    kind = first & 3
    if kind == 0:
        return _deliver(reader, smsc, has_header=bool(first & 0x40))
    if kind == 1:
        return _submit(reader, first)
    if kind == 2:
        return _report(reader)
    raise RemoteProtocolError(Reason.UNSUPPORTED, f"message type {kind}", reader.data)


def _bytes(pdu: str | bytes) -> bytes:
    if isinstance(pdu, bytes):
        return pdu
    try:
        return bytes.fromhex(pdu)
    except ValueError:
        raise RemoteProtocolError(Reason.NOT_OURS, f"hex PDU expected, got {pdu[:40]!r}", pdu.encode("utf-8", "replace")) from None


def _deliver(reader: _Reader, smsc: str, *, has_header: bool) -> Deliver:
    number = _read_address(reader)
    reader.byte()
    dcs = reader.byte()
    at_ms, zone = _stamp(reader.take(7))
    coding = _coding(dcs)
    text, data, part = _user_data(reader, coding, has_header=has_header)
    return Deliver(number, text, at_ms, zone, part, coding, data, smsc, flash=dcs & 0xD3 == 0x10)


def _submit(reader: _Reader, first: int) -> Submit:
    reference = reader.byte()
    number = _read_address(reader)
    reader.byte()
    coding = _coding(reader.byte())
    reader.take({0x00: 0, 0x10: 1}.get(first & 0x18, 7))
    text, data, part = _user_data(reader, coding, has_header=bool(first & 0x40))
    return Submit(number, text, part, coding, bool(first & 0x20), reference, data)


def _report(reader: _Reader) -> StatusReport:
    reference = reader.byte()
    number = _read_address(reader)
    at_ms, _ = _stamp(reader.take(7))
    discharge_ms, _ = _stamp(reader.take(7))
    return StatusReport(reference, number, reader.byte(), at_ms, discharge_ms)


def _read_address(reader: _Reader) -> str:
    digits = reader.byte()
    if digits > 20:
        raise RemoteProtocolError(Reason.RANGE, f"address of at most 20 digits expected, got {digits}", reader.data)
    kind = reader.take(1)
    return _address(kind, reader.take((digits + 1) // 2), digits)


def _address(kind: bytes, raw: bytes, digits: int) -> str:
    """Semi-octets, low digit first; F fills. `digits` counts semi-octets, for text addresses too."""
    if kind and kind[0] & 0x70 == 0x50:
        return unpack7(raw, digits * 4 // 7)
    text = "".join(_SEMI[nibble] for byte in raw for nibble in (byte & 15, byte >> 4) if nibble != 15)[:digits]
    return "+" + text if kind and kind[0] & 0x70 == 0x10 and text else text


def _coding(dcs: int) -> str:
    group = dcs >> 4
    if group in (12, 13):
        return GSM7
    if group == 14:
        return UCS2
    if group == 15:
        return DATA8 if dcs & 4 else GSM7
    return (GSM7, DATA8, UCS2, GSM7)[dcs >> 2 & 3]


def _stamp(raw: bytes) -> tuple[int | None, int]:
    """UTC epoch milliseconds and zone in minutes of a service centre time stamp; None where it is no time."""
    digits = [(byte & 15) * 10 + (byte >> 4) for byte in raw[:6]]
    quarters = (raw[6] & 7) * 10 + (raw[6] >> 4)
    zone = -15 * quarters if raw[6] & 8 else 15 * quarters
    year, month, day, hour, minute, second = digits
    fine = 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60 and abs(zone) <= 14 * 60
    if not fine or not 1 <= day <= calendar.monthrange(2000 + year % 100, month)[1]:
        return None, 0
    local = calendar.timegm((2000 + year, month, day, hour, minute, second))
    return (local - zone * 60) * 1000, zone


def _user_data(reader: _Reader, coding: str, *, has_header: bool) -> tuple[str, bytes, Part | None]:
    size = reader.byte()
    octets = (size * 7 + 7) // 8 if coding == GSM7 else size
    if octets > 140:
        raise RemoteProtocolError(Reason.RANGE, f"at most 140 octets expected, got {octets}", reader.data)
    raw = reader.take(octets)
    part, skip = None, 0
    if has_header and raw:
        skip = raw[0] + 1
        part = _part(raw[1:skip])
    if coding == GSM7:
        fill = -skip * 8 % 7
        count = size - (skip * 8 + fill) // 7
        return unpack7(raw[skip:], max(count, 0), fill), b"", part
    body = raw[skip:]
    return ("", body, part) if coding == DATA8 else (body.decode("utf-16-be", "replace"), b"", part)


def _part(header: bytes) -> Part | None:
    """The chain element of a user header; other elements (ports, fonts) are passed over."""
    at = 0
    while at + 2 <= len(header):
        kind, size = header[at], header[at + 1]
        body = header[at + 2 : at + 2 + size]
        part = None
        if kind == 0 and len(body) == 3:
            part = Part(body[0], body[1], body[2])
        elif kind == 8 and len(body) == 4:
            part = Part(body[0] << 8 | body[1], body[2], body[3], wide=True)
        if part is not None:
            return part if part.total and 1 <= part.seq <= part.total else None
        at += 2 + size
    return None


def unpack7(raw: bytes, count: int, fill: int = 0) -> str:
    """`count` septets behind `fill` bits as text.

    >>> unpack7(bytes.fromhex("d3e714"), 3)
    'SOS'
    """
    bits = int.from_bytes(raw, "little") >> fill
    out, escaped = [], False
    for index in range(count):
        code = bits >> (7 * index) & 0x7F
        if escaped:
            out.append(_ESCAPED.get(code, _BASIC[code]))
            escaped = False
        elif code == 0x1B:
            escaped = True
        else:
            out.append(_BASIC[code])
    return "".join(out)


def septets(text: str) -> bytes | None:
    """Septets, one per byte, escapes included; None where the 7-bit alphabet cannot say it."""
    try:
        return b"".join([_ENCODE[char] for char in text])
    except KeyError:
        return None


def pack7(codes: bytes, fill: int = 0) -> bytes:
    """Septets packed low bits first behind `fill` bits."""
    bits = sum(code << (7 * index) for index, code in enumerate(codes)) << fill
    return bits.to_bytes((len(codes) * 7 + fill + 7) // 8, "little")


# --- encoding


def segments(number: str, text: str, *, ref: int = 0, report: bool = False) -> list[Submit]:
    """A text as one message or a chain. `ref` (0..255) tells chains apart. Raises LocalProtocolError over MAX_PARTS."""
    codes = septets(text)
    coding = UCS2 if codes is None else GSM7
    if (len(codes) <= 160) if codes is not None else (len(text.encode("utf-16-be")) <= 140):
        return [Submit(number, text, None, coding, report)]
    pieces = _pieces(text, coding)
    if len(pieces) > MAX_PARTS:
        raise LocalProtocolError(f"text of at most {MAX_PARTS} parts expected, got {len(pieces)}")
    return [Submit(number, piece, Part(ref & 255, len(pieces), i), coding, report) for i, piece in enumerate(pieces, 1)]


def _pieces(text: str, coding: str) -> list[str]:
    """Cuts at characters: neither an escape pair nor a surrogate pair is torn."""
    room = 153 if coding == GSM7 else 134
    pieces, size = [""], 0
    for char in text:
        width = len(_ENCODE[char]) if coding == GSM7 else len(char.encode("utf-16-be"))
        if size + width > room:
            pieces.append("")
            size = 0
        pieces[-1] += char
        size += width
    return pieces


def encode(message: Deliver | Submit | StatusReport) -> tuple[str, int]:
    """The PDU as hex with an empty (SUBMIT) or given service centre, and its length without it, as AT+CMGS and +CMT want.

    Raises LocalProtocolError on a number or text that does not fit.
    """
    if isinstance(message, Submit):
        first = 0x01 | 0x40 * (message.part is not None) | 0x20 * message.report
        body = bytes([first, message.reference & 255]) + _write_address(message.number)
        body += bytes([0, _dcs(message.coding)]) + _write_user_data(message)
        return ("00" + body.hex()).upper(), len(body)
    if isinstance(message, StatusReport):
        body = bytes([0x06, message.reference & 255]) + _write_address(message.number)
        body += _write_stamp(message.at_ms, 480) + _write_stamp(message.discharge_ms, 480) + bytes([message.status])
        return ("00" + body.hex()).upper(), len(body)
    first = 0x04 | 0x40 * (message.part is not None)
    body = bytes([first]) + _write_address(message.number) + bytes([0, _dcs(message.coding)])
    body += _write_stamp(message.at_ms, message.zone_minutes) + _write_user_data(message)
    centre = _write_address(message.smsc)[1:] if message.smsc else b""
    return (bytes([len(centre)]) + centre + body).hex().upper(), len(body)


def _dcs(coding: str) -> int:
    return {GSM7: 0, DATA8: 4, UCS2: 8}[coding]


def _write_address(number: str) -> bytes:
    international = number.startswith("+")
    digits = number[1:] if international else number
    if digits and all(char in _SEMI for char in digits) and len(digits) <= 20:
        padded = [_SEMI.index(char) for char in digits] + [15] * (len(digits) % 2)
        pairs = bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))
        return bytes([len(digits), 0x91 if international else 0xA1]) + pairs
    codes = septets(number)
    if not codes or len(codes) > 11:
        raise LocalProtocolError(f"phone number or name of at most 11 characters expected, got {number!r}")
    return bytes([(len(codes) * 7 + 3) // 4, 0xD0]) + pack7(codes)


def _write_stamp(at_ms: int | None, zone_minutes: int) -> bytes:
    if at_ms is None:
        return bytes(7)
    local = datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(minutes=zone_minutes)
    digits = f"{local:%y%m%d%H%M%S}{abs(zone_minutes) // 15:02d}"
    raw = bytearray(int(digits[i + 1] + digits[i], 16) for i in range(0, 14, 2))
    raw[6] |= 8 * (zone_minutes < 0)
    return bytes(raw)


def _write_user_data(message: Deliver | Submit) -> bytes:
    part, header = message.part, b""
    if part is not None:
        body = part.ref.to_bytes(2, "big") if part.wide else bytes([part.ref & 255])
        element = bytes([8 if part.wide else 0, len(body) + 2]) + body + bytes([part.total, part.seq])
        header = bytes([len(element)]) + element
    if message.coding == GSM7:
        codes = septets(message.text)
        if codes is None:
            raise LocalProtocolError("text is not of the GSM 7-bit alphabet")
        fill = -len(header) * 8 % 7
        size = (len(header) * 8 + fill) // 7 + len(codes)
        raw, limit = header + pack7(codes, fill), 160
    else:
        raw = header + (message.data if message.coding == DATA8 else message.text.encode("utf-16-be"))
        size, limit = len(raw), 140
    if size > limit:
        raise LocalProtocolError(f"at most {limit} units in one part expected, got {size}")
    return bytes([size]) + raw
