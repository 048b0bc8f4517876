"""BTHome: sensors, contacts and buttons that broadcast their state in BLE service data.

Source: bthome.io/format (version 2) and the version 1 page; object table as in bthome-ble 3.25, which the tests use as oracle.

Version 2, service data of UUID FCD2:

    ii [mm mm mm mm mm mm] oo vv.. oo vv.. [cc cc cc cc tt tt tt tt]
    |   |                  |  |             |           +- AES-CCM tag, 4 bytes      \\ only when
    |   |                  |  |             +- counter, u32 little endian            / encrypted
    |   |                  |  +- value, little endian, width by object; text, raw and command have a length byte first
    |   |                  +- object id, ascending
    |   +- address of the device, reversed, when bit 1
    +- bit 0 encrypted, bit 1 address included, bit 2 trigger device (sends only on events), bits 5..7 version (2)

    nonce = address (6, as read) | D2 FC | ii | counter (4)         the objects are what is encrypted

Version 1, service data of UUID 181C (plain) or 181E (encrypted, associated data 11): no info byte; before each object a control byte,
bits 0..4 length of id and value, bits 5..7 format (0 unsigned, 1 signed, 2 float, 3 text, 4 raw).
    nonce = address | 1E 18 | counter
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError

UUID_V2 = "0000fcd2-0000-1000-8000-00805f9b34fb"
UUID_V1 = "0000181c-0000-1000-8000-00805f9b34fb"
UUID_V1_ENCRYPTED = "0000181e-0000-1000-8000-00805f9b34fb"

ENCRYPTED, HAS_ADDRESS, TRIGGER = 0x01, 0x02, 0x04
TAG_BYTES, COUNTER_BYTES = 4, 4
LAST_PACKET_ID = 0xFF

BUTTON_EVENTS = {
    0x01: "press",
    0x02: "double_press",
    0x03: "triple_press",
    0x04: "long_press",
    0x05: "long_double_press",
    0x06: "long_triple_press",
    0x80: "hold_press",
    0x81: "hold_release",
}
DIMMER_EVENTS = {0x01: "rotate_left", 0x02: "rotate_right"}
COMMAND_EVENTS = {0x00: "off", 0x01: "on", 0x02: "toggle", 0x03: "step_up", 0x04: "step_down"}

Value = int | float | bool | str | None


class ObjectType(NamedTuple):
    """One row of the object table: what an id means and how its value is written.

    `form`: `uint`, `int` (scaled numbers), `binary`, `button`, `dimmer`, `command`, `text`, `raw`, `version`.
    """

    name: str
    size: int
    form: str = "uint"
    factor: float = 1
    digits: int = 0


class Object(NamedTuple):
    """One value. `value` is None for a button or dimmer that reports "no event" (a place holder for its number)."""

    id: int
    name: str
    value: Value


class Packet(NamedTuple):
    """One advertisement. `faults` tells what stood behind the last good object; `counter` only where it was encrypted."""

    objects: tuple[Object, ...]
    counter: int | None = None
    tag: bytes = b""
    trigger: bool = False
    address: str | None = None
    faults: tuple[Reject, ...] = ()
    version: int = 2

    @property
    def packet_id(self) -> int | None:
        """Number that the device gives to one event, so that repetitions of its advertisement can be told; None where absent."""
        for item in self.objects:
            if item.id == 0 and isinstance(item.value, int):
                return int(item.value)
        return None


def _binary(names: str, first: int) -> dict[int, ObjectType]:
    return {first + i: ObjectType(name, 1, "binary") for i, name in enumerate(names.split())}


OBJECTS: dict[int, ObjectType] = {
    0x00: ObjectType("packet_id", 1),
    0x01: ObjectType("battery", 1),
    0x02: ObjectType("temperature", 2, "int", 0.01, 2),
    0x03: ObjectType("humidity", 2, "uint", 0.01, 2),
    0x04: ObjectType("pressure", 3, "uint", 0.01, 2),
    0x05: ObjectType("illuminance", 3, "uint", 0.01, 2),
    0x06: ObjectType("mass_kg", 2, "uint", 0.01, 2),
    0x07: ObjectType("mass_lb", 2, "uint", 0.01, 2),
    0x08: ObjectType("dew_point", 2, "int", 0.01, 2),
    0x09: ObjectType("count", 1),
    0x0A: ObjectType("energy", 3, "uint", 0.001, 3),
    0x0B: ObjectType("power", 3, "uint", 0.01, 2),
    0x0C: ObjectType("voltage", 2, "uint", 0.001, 3),
    0x0D: ObjectType("pm25", 2),
    0x0E: ObjectType("pm10", 2),
    **_binary("generic_on power_on opening", 0x0F),
    0x12: ObjectType("co2", 2),
    0x13: ObjectType("tvoc", 2),
    0x14: ObjectType("moisture", 2, "uint", 0.01, 2),
    **_binary("battery_low charging carbon_monoxide cold connectivity door garage_door gas heat light lock moisture_detected", 0x15),
    **_binary("motion moving occupancy plug presence problem running safety smoke sound tamper vibration window", 0x21),
    0x2E: ObjectType("humidity", 1),
    0x2F: ObjectType("moisture", 1),
    0x3A: ObjectType("button", 1, "button"),
    0x3B: ObjectType("command", 1, "command"),
    0x3C: ObjectType("dimmer", 2, "dimmer"),
    0x3D: ObjectType("count", 2),
    0x3E: ObjectType("count", 4),
    0x3F: ObjectType("rotation", 2, "int", 0.1, 1),
    0x40: ObjectType("distance_mm", 2),
    0x41: ObjectType("distance_m", 2, "uint", 0.1, 1),
    0x42: ObjectType("duration", 3, "uint", 0.001, 3),
    0x43: ObjectType("current", 2, "uint", 0.001, 3),
    0x44: ObjectType("speed", 2, "uint", 0.01, 2),
    0x45: ObjectType("temperature", 2, "int", 0.1, 1),
    0x46: ObjectType("uv_index", 1, "uint", 0.1, 1),
    0x47: ObjectType("volume_l", 2, "uint", 0.1, 1),
    0x48: ObjectType("volume_ml", 2),
    0x49: ObjectType("volume_flow", 2, "uint", 0.001, 3),
    0x4A: ObjectType("voltage", 2, "uint", 0.1, 1),
    0x4B: ObjectType("gas_volume", 3, "uint", 0.001, 3),
    0x4C: ObjectType("gas_volume", 4, "uint", 0.001, 3),
    0x4D: ObjectType("energy", 4, "uint", 0.001, 3),
    0x4E: ObjectType("volume_l", 4, "uint", 0.001, 3),
    0x4F: ObjectType("water", 4, "uint", 0.001, 3),
    0x50: ObjectType("timestamp", 4),
    0x51: ObjectType("acceleration", 2, "uint", 0.001, 3),
    0x52: ObjectType("gyroscope", 2, "uint", 0.001, 3),
    0x53: ObjectType("text", 0, "text"),
    0x54: ObjectType("raw", 0, "raw"),
    0x55: ObjectType("volume_storage", 4, "uint", 0.001, 3),
    0x56: ObjectType("conductivity", 2),
    0x57: ObjectType("temperature", 1, "int"),
    0x58: ObjectType("temperature", 1, "int", 0.35, 1),
    0x59: ObjectType("count", 1, "int"),
    0x5A: ObjectType("count", 2, "int"),
    0x5B: ObjectType("count", 4, "int"),
    0x5C: ObjectType("power", 4, "int", 0.01, 2),
    0x5D: ObjectType("current", 2, "int", 0.001, 3),
    0x5E: ObjectType("direction", 2, "uint", 0.01, 2),
    0x5F: ObjectType("precipitation", 2, "uint", 0.1, 1),
    0x60: ObjectType("channel", 1),
    0x61: ObjectType("rotational_speed", 2),
    0x62: ObjectType("speed", 4, "int", 0.000001, 6),
    0x63: ObjectType("acceleration", 4, "int", 0.000001, 6),
    0x64: ObjectType("light_level", 1),
    0x65: ObjectType("settings_revision", 1),
    0xF0: ObjectType("device_type", 2),
    0xF1: ObjectType("firmware", 4, "version"),
    0xF2: ObjectType("firmware", 3, "version"),
}
"""Every object of the format by id; where two binary and numeric objects share a word the name says which."""


def decode(block: bytes, *, address: str = "", key: bytes | None = None, uuid: str = UUID_V2) -> Packet:
    """The advertisement in a service data block, decrypted with `key` (16 bytes) where it is encrypted.

    `address` (`AA:BB:..`) is part of the nonce. Raises RemoteProtocolError: TRUNCATED, NOT_OURS (version), UNSUPPORTED (encrypted and
    no key), INTEGRITY (tag). Objects that cannot be read do not take the ones before them along: see `Packet.faults`.
    """
    if uuid == UUID_V1:
        objects, faults = _walk_v1(block, block)
        return Packet(objects, faults=faults, version=1)
    counter: int | None
    if uuid == UUID_V1_ENCRYPTED:
        plain, counter = _decrypt(block, block, key, _address_bytes(address, block) + b"\x1e\x18", b"\x11")
        objects, faults = _walk_v1(plain, block)
        return Packet(objects, counter, block[-TAG_BYTES:], faults=faults, version=1)
    if len(block) < 1:
        raise RemoteProtocolError(Reason.TRUNCATED, "info byte expected, got an empty block", block)
    info = block[0]
    if info >> 5 != 2:
        raise RemoteProtocolError(Reason.NOT_OURS, f"BTHome version 2 expected, got {info >> 5}", block)
    body, included = block[1:], None
    if info & HAS_ADDRESS:
        if len(body) < 6:
            raise RemoteProtocolError(Reason.TRUNCATED, f"address of 6 bytes expected, got {len(body)}", block)
        included = ":".join(f"{b:02X}" for b in body[5::-1])
        body = body[6:]
    counter, tag = None, b""
    if info & ENCRYPTED:
        nonce_start = _address_bytes(included or address, block) + b"\xd2\xfc" + block[:1]
        body, counter = _decrypt(body, block, key, nonce_start, None)
        tag = block[-TAG_BYTES:]
    objects, faults = _walk(body, block)
    return Packet(objects, counter, tag, bool(info & TRIGGER), included, faults)


def is_encrypted(block: bytes, uuid: str = UUID_V2) -> bool:
    """Whether the block says that it is encrypted (nothing is verified)."""
    return uuid == UUID_V1_ENCRYPTED or (uuid == UUID_V2 and bool(block) and bool(block[0] & ENCRYPTED))


def encode(
    objects: Iterable[tuple[int, Value]],
    *,
    address: str = "",
    key: bytes | None = None,
    counter: int = 0,
    trigger: bool = False,
    include_address: bool = False,
) -> bytes:
    """The version 2 service data block that a device sends: `(object id, value)` pairs, sorted by id; encrypted when `key` is given.

    Raises LocalProtocolError for an unknown object, a value out of its width or a missing address.

    >>> encode([(0x00, 7), (0x1A, True)]).hex()
    '4000071a01'
    """
    body = b"".join(_encode_object(id_, value) for id_, value in sorted(objects, key=lambda pair: pair[0]))
    info = 2 << 5 | (ENCRYPTED if key else 0) | (HAS_ADDRESS if include_address else 0) | (TRIGGER if trigger else 0)
    head = bytes([info])
    mac = b""
    if key or include_address:
        try:
            mac = bytes.fromhex(address.replace(":", ""))
        except ValueError:
            mac = b""
        if len(mac) != 6:
            raise LocalProtocolError(f"address AA:BB:CC:DD:EE:FF expected, got {address!r}")
    prefix = head + (mac[::-1] if include_address else b"")
    if not key:
        return prefix + body
    written = counter.to_bytes(COUNTER_BYTES, "little")
    sealed = _cipher(key).encrypt(mac + b"\xd2\xfc" + head + written, body, None)
    return prefix + sealed[:-TAG_BYTES] + written + sealed[-TAG_BYTES:]


@lru_cache(maxsize=256)
def _cipher(key: bytes) -> AESCCM:
    return AESCCM(key, tag_length=TAG_BYTES)


def _address_bytes(address: str, block: bytes) -> bytes:
    try:
        mac = bytes.fromhex(address.replace(":", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise RemoteProtocolError(Reason.INTEGRITY, "encrypted, and the address that the key goes with is unknown", block)
    return mac


def _decrypt(body: bytes, block: bytes, key: bytes | None, nonce_start: bytes, associated: bytes | None) -> tuple[bytes, int]:
    if len(body) < COUNTER_BYTES + TAG_BYTES:
        raise RemoteProtocolError(Reason.TRUNCATED, f"counter and tag of 8 bytes expected, got {len(body)}", block)
    if not key:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "encrypted, and no bindkey is set", block)
    cipher, counter, tag = body[:-8], body[-8:-4], body[-4:]
    try:
        plain = _cipher(key).decrypt(nonce_start + counter, cipher + tag, associated)
    except InvalidTag:
        raise RemoteProtocolError(Reason.INTEGRITY, "decryption failed, wrong key?", block) from None
    return plain, int.from_bytes(counter, "little")


def _walk(body: bytes, block: bytes) -> tuple[tuple[Object, ...], tuple[Reject, ...]]:
    """Objects up to the first one whose width is not known; values that mean nothing are passed over."""
    objects: list[Object] = []
    faults: list[Reject] = []
    at, end = 0, len(body)
    while at < end:
        row = OBJECTS.get(body[at])
        if row is None:
            # Without its width nothing behind it can be found; what stood before it counts.
            faults.append(Reject(Reason.UNSUPPORTED, f"object id {body[at]:02x} at byte {at}, {end - at} bytes unread", block))
            break
        start, size = at + 1, row.size
        if row.form in ("text", "raw", "command"):
            size = body[start] if start < end else 0
            size = 1 + (size & 0x1F) if row.form == "command" else size
            start += 1
        if start + size > end:
            faults.append(Reject(Reason.TRUNCATED, f"{row.name} of {size} bytes expected, got {max(end - start, 0)}", block))
            break
        try:
            objects.append(Object(body[at], row.name, _value(row, body[start : start + size])))
        except ValueError as error:
            faults.append(Reject(Reason.UNSUPPORTED, f"{row.name}: {error}", block))
        at = start + size
    return tuple(objects), tuple(faults)


def _walk_v1(body: bytes, block: bytes) -> tuple[tuple[Object, ...], tuple[Reject, ...]]:
    objects: list[Object] = []
    faults: list[Reject] = []
    at, end = 0, len(body)
    while at < end:
        size, form = body[at] & 0x1F, body[at] >> 5
        if size < 2 or at + 1 + size > end:
            faults.append(Reject(Reason.TRUNCATED, f"object of {size} bytes at byte {at} expected, got {end - at - 1}", block))
            break
        row, data = OBJECTS.get(body[at + 1]), body[at + 2 : at + 1 + size]
        if row is None:
            faults.append(Reject(Reason.UNSUPPORTED, f"object id {body[at + 1]:02x}", block))
        else:
            try:
                objects.append(Object(body[at + 1], row.name, _value_v1(row, form, data)))
            except ValueError as error:
                faults.append(Reject(Reason.UNSUPPORTED, f"{row.name}: {error}", block))
        at += 1 + size
    return tuple(objects), tuple(faults)


def _value(row: ObjectType, data: bytes) -> Value:
    """Raises ValueError for a value that the format does not know."""
    form = row.form
    if form == "uint" or form == "int":  # noqa: PLR1714  # hot path: two comparisons are cheaper than a tuple
        number = int.from_bytes(data, "little", signed=form == "int")
        return round(number * row.factor, row.digits) if row.digits else number
    if form == "binary":
        return data[0] != 0
    if form == "button":
        return _event(BUTTON_EVENTS, data[0]) if data[0] else None
    if form == "dimmer":
        return f"{_event(DIMMER_EVENTS, data[0])} {data[1]}" if data[0] else None
    if form == "command":
        return " ".join([_event(COMMAND_EVENTS, data[0]), data[1:].hex()]).strip()
    if form == "version":
        return ".".join(str(part) for part in reversed(data))
    if form == "raw":
        return data.hex()
    return data.decode("utf-8")


def _value_v1(row: ObjectType, form: int, data: bytes) -> Value:
    if row.form not in ("uint", "int"):
        fixed = {"binary": 1, "button": 1, "dimmer": 2}.get(row.form, 1)
        if len(data) < fixed:
            raise ValueError(f"{fixed} bytes expected, got {len(data)}")
        return _value(row, data[:fixed] if row.form in ("binary", "button", "dimmer") else data)
    if form in (0, 1):
        number = int.from_bytes(data, "little", signed=form == 1)
        return round(number * row.factor, row.digits) if row.digits else number
    layout = {2: "<e", 4: "<f", 8: "<d"}.get(len(data))
    if form != 2 or layout is None:
        raise ValueError(f"number expected, got format {form} of {len(data)} bytes")
    value: float = struct.unpack(layout, data)[0]
    return round(value * row.factor, row.digits)


def _event(names: dict[int, str], code: int) -> str:
    name = names.get(code)
    if name is None:
        raise ValueError(f"event {code:02x} is not in the format")
    return name


def _encode_object(id_: int, value: Value) -> bytes:
    row = OBJECTS.get(id_)
    if row is None:
        raise LocalProtocolError(f"BTHome object expected, got id {id_:#04x}")
    try:
        return bytes([id_]) + _encode_value(row, value)
    except (ValueError, OverflowError, TypeError, KeyError):
        raise LocalProtocolError(f"{row.name}: {row.form} of {row.size} bytes expected, got {value!r}") from None


def _encode_value(row: ObjectType, value: Value) -> bytes:
    form, text = row.form, str(value)
    if form == "binary":
        return bytes([bool(value)])
    if form == "button":
        return bytes([_code(BUTTON_EVENTS, text) if value else 0])
    if form == "dimmer":
        name, _, steps = text.partition(" ")
        return bytes([_code(DIMMER_EVENTS, name), int(steps)]) if value else bytes(2)
    if form == "command":
        name, _, args = text.partition(" ")
        return bytes([len(args) // 2, _code(COMMAND_EVENTS, name)]) + bytes.fromhex(args)
    if form == "version":
        parts = bytes(int(part) for part in reversed(text.split(".")))
        if len(parts) != row.size:
            raise ValueError(text)
        return parts
    if form in ("text", "raw"):
        data = text.encode() if form == "text" else bytes.fromhex(text)
        return bytes([len(data)]) + data
    number = round(float(text) / row.factor)
    return number.to_bytes(row.size, "little", signed=form == "int")


def _code(names: dict[int, str], name: str) -> int:
    return next(code for code, known in names.items() if known == name) if name in names.values() else int(name, 16)
