"""MiBeacon: the broadcasts of Xiaomi's Bluetooth sensors, buttons and locks (service data FE95), both directions.

Sources: Xiaomi IoT documents, "BLE: MiBeacon protocol" and "object definition"; versions 2 to 5.

    cccc pppp nn [mm mm mm mm mm mm] [aa [ii]] objects [ee ee ee] [tt tt tt tt]
    |    |    |   |                   |         |       |          +- tag (version 4, 5), else 1 byte checksum (version 2, 3)
    |    |    |   |                   |         |       +- extended counter, u24: with nn a counter of 32 bits    \\ encrypted only
    |    |    |   |                   |         +- id u16, length u8, data; ...
    |    |    |   |                   +- capability; with bit 5 one more byte
    |    |    |   +- address, reversed
    |    |    +- frame counter u8
    |    +- product u16
    +- frame control u16: b3 encrypted, b4 address, b5 capability, b6 objects, b7 mesh, b12-15 version          all little endian

    AES-CCM, associated data 11. Version 4, 5: 16-byte key, nonce = address reversed | pppp nn | extended counter, tag of 4 bytes.
    Version 2, 3: 12-byte key, bytes 8D 3D 3C 97 put in after 6; nonce = first 5 bytes | extended counter | address reversed, 5 bytes;
    the tag is not kept, so a wrong key shows only in objects that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError

UUID = "0000fe95-0000-1000-8000-00805f9b34fb"
ENCRYPTED, HAS_ADDRESS, HAS_CAPABILITY, HAS_OBJECTS, MESH = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
HAS_IO = 0x20
"""Bit of the capability byte: one more byte follows."""
HEAD_BYTES = 5
ASSOCIATED = b"\x11"
LEGACY_FILL = bytes.fromhex("8d3d3c97")
TAG_BYTES = 4


class Object(NamedTuple):
    """One object: its id and its bytes."""

    id: int
    data: bytes


class Packet(NamedTuple):
    """One advertisement. `counter` joins frame counter and extended counter where it is encrypted, None where it is plain."""

    version: int
    product: int
    frame_counter: int
    objects: tuple[Object, ...] = ()
    address: str | None = None
    counter: int | None = None
    tag: bytes = b""
    is_authenticated: bool = False
    faults: tuple[Reject, ...] = ()


def legacy_key(key: bytes) -> bytes:
    """The AES key of a 12-byte key of version 2 and 3."""
    return key[:6] + LEGACY_FILL + key[6:]


def decode(block: bytes, *, address: str = "", key: bytes | None = None) -> Packet:
    """The advertisement in a service data block of FE95, decrypted with `key` (16 bytes; for version 2 and 3 12, or 16 with the fill).

    Raises RemoteProtocolError: TRUNCATED, NOT_OURS (mesh, version 0 and 1), INTEGRITY (tag, address that is not the sender's),
    UNSUPPORTED (encrypted, and no key or one of the wrong length). Objects behind a damaged one are in `faults`.
    """
    if len(block) < HEAD_BYTES:
        raise RemoteProtocolError(Reason.TRUNCATED, f"head of {HEAD_BYTES} bytes expected, got {len(block)}", block)
    control = block[0] | block[1] << 8
    version, product, frame_counter = control >> 12, block[2] | block[3] << 8, block[4]
    if control & MESH or version < 2:
        raise RemoteProtocolError(
            Reason.NOT_OURS, f"MiBeacon version 2 or later expected, got {version}{', mesh' * bool(control & MESH)}", block
        )
    at, found = HEAD_BYTES, None
    if control & HAS_ADDRESS:
        at += 6
        _need(block, at, "address")
        found = ":".join(f"{b:02X}" for b in block[at - 1 : at - 7 : -1])
        if address and found != address.upper():
            raise RemoteProtocolError(Reason.INTEGRITY, f"address {address.upper()} of the sender expected, got {found}", block)
    if control & HAS_CAPABILITY:
        at += 1
        _need(block, at, "capability")
        if block[at - 1] & HAS_IO:
            at += 1
            _need(block, at, "capability")
    if not control & HAS_OBJECTS:
        return Packet(version, product, frame_counter, address=found)
    if not control & ENCRYPTED:
        objects, faults = _objects(block[at:], block)
        return Packet(version, product, frame_counter, objects, found, faults=faults)
    if not key:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "encrypted, and no bindkey is set", block)
    mac = _mac(found or address, block)
    if version >= 4:
        return _decode_v4(block, at, key, mac, Packet(version, product, frame_counter, address=found))
    return _decode_legacy(block, at, key, mac, Packet(version, product, frame_counter, address=found))


def encode(
    objects: Sequence[Object | tuple[int, bytes]],
    *,
    product: int,
    address: str,
    frame_counter: int = 0,
    version: int = 5,
    key: bytes | None = None,
    extended_counter: int = 0,
    include_address: bool = True,
    capability: int | None = None,
) -> bytes:
    """The service data block that a device sends. Raises LocalProtocolError for numbers out of their width."""
    control = version << 12 | (ENCRYPTED if key else 0) | (HAS_ADDRESS if include_address else 0) | (HAS_OBJECTS if objects else 0)
    control |= HAS_CAPABILITY if capability is not None else 0
    try:
        mac = bytes.fromhex(address.replace(":", ""))[::-1]
        head = control.to_bytes(2, "little") + product.to_bytes(2, "little") + bytes([frame_counter])
        body = b"".join(number.to_bytes(2, "little") + bytes([len(data)]) + data for number, data in objects)
        extended = extended_counter.to_bytes(3, "little")
    except (ValueError, OverflowError) as error:
        raise LocalProtocolError(f"MiBeacon: {error}") from None
    if len(mac) != 6:
        raise LocalProtocolError(f"address AA:BB:CC:DD:EE:FF expected, got {address!r}")
    front = head + (mac if include_address else b"") + (bytes([capability]) if capability is not None else b"")
    if not key:
        return front + body
    if version >= 4:
        sealed = AESCCM(key, tag_length=TAG_BYTES).encrypt(mac + head[2:5] + extended, body, ASSOCIATED)
        return front + sealed[:-TAG_BYTES] + extended + sealed[-TAG_BYTES:]
    return front + _legacy_cipher(key, head + extended + mac[:5], body) + extended + b"\x00"


def _need(block: bytes, size: int, what: str) -> None:
    if len(block) < size:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{what} up to byte {size} expected, got {len(block)} bytes", block)


def _mac(address: str, block: bytes) -> bytes:
    try:
        mac = bytes.fromhex(address.replace(":", ""))[::-1]
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise RemoteProtocolError(Reason.INTEGRITY, "encrypted, and the address that the key goes with is unknown", block)
    return mac


def _decode_v4(block: bytes, at: int, key: bytes, mac: bytes, packet: Packet) -> Packet:
    if len(key) != 16:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"version {packet.version} needs a bindkey of 16 bytes, {len(key)} are set", block)
    _need(block, at + 3 + TAG_BYTES, "extended counter and tag")
    extended, tag = block[-7:-4], block[-4:]
    try:
        plain = AESCCM(key, tag_length=TAG_BYTES).decrypt(mac + block[2:5] + extended, block[at:-7] + tag, ASSOCIATED)
    except InvalidTag:
        raise RemoteProtocolError(Reason.INTEGRITY, "decryption failed, wrong key?", block) from None
    objects, faults = _objects(plain, block)
    counter = int.from_bytes(extended, "little") << 8 | packet.frame_counter
    return packet._replace(objects=objects, counter=counter, tag=tag, is_authenticated=True, faults=faults)


def _decode_legacy(block: bytes, at: int, key: bytes, mac: bytes, packet: Packet) -> Packet:
    if len(key) != 12 and key[6:10] != LEGACY_FILL:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"version {packet.version} needs a bindkey of 12 bytes, {len(key)} are set", block)
    _need(block, at + 4, "extended counter and checksum")
    extended = block[-4:-1]
    plain = _legacy_cipher(key, block[:5] + extended + mac[:5], block[at:-4])
    objects, faults = _objects(plain, block)
    if faults:
        # Without a tag this is the only sign of a wrong key; nothing of it can be believed.
        raise RemoteProtocolError(Reason.INTEGRITY, "decrypted objects do not fit, wrong key?", block)
    counter = int.from_bytes(extended, "little") << 8 | packet.frame_counter
    return packet._replace(objects=objects, counter=counter, tag=block[-1:])


def _legacy_cipher(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """CCM without its tag is counter mode from block 1 (RFC 3610, 2.3): flags 01 for a length of 2 bytes, nonce, counter."""
    stream = Cipher(AES(legacy_key(key) if len(key) == 12 else key), CTR(b"\x01" + nonce + b"\x00\x01")).encryptor()
    return stream.update(data) + stream.finalize()


def _objects(data: bytes, block: bytes) -> tuple[tuple[Object, ...], tuple[Reject, ...]]:
    objects: list[Object] = []
    at, end = 0, len(data)
    while at < end:
        size = data[at + 2] if at + 2 < end else 0
        if at + 3 + size > end:
            left = Reject(Reason.TRUNCATED, f"object of {3 + size} bytes at byte {at} expected, got {end - at}", block)
            return tuple(objects), (left,)
        objects.append(Object(data[at] | data[at + 1] << 8, data[at + 3 : at + 3 + size]))
        at += 3 + size
    return tuple(objects), ()
