"""Bits, BCD and sign-magnitude numbers, as field devices write them."""

from __future__ import annotations

from protocols.errors import Reason, RemoteProtocolError


def bit(value: int, index: int) -> bool:
    """Whether bit `index` (0 = least significant) is set."""
    return bool(value >> index & 1)


def bits_set(value: int, width: int = 32) -> list[int]:
    """Indices of the set bits, lowest first.

    >>> bits_set(0b1010)
    [1, 3]
    """
    return [i for i in range(width) if value >> i & 1]


def bcd_digits(data: bytes) -> str:
    """Packed BCD as decimal digits. Raises RemoteProtocolError (RANGE) on a nibble above 9.

    >>> bcd_digits(bytes.fromhex("0866"))
    '0866'
    """
    text = data.hex()
    if not text.isdecimal() and text:
        raise RemoteProtocolError(Reason.RANGE, f"BCD digits expected, got {text}", data)
    return text


def bcd_encode(digits: str) -> bytes:
    """Decimal digits as packed BCD; an odd count is padded with a leading zero.

    >>> bcd_encode("123").hex()
    '0123'
    """
    return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)


def sign_magnitude(value: int, width: int) -> int:
    """A number whose top bit is the sign (set = negative) and whose other bits are the magnitude.

    >>> sign_magnitude(0x8005, 16)
    -5
    """
    top = 1 << (width - 1)
    return -(value & (top - 1)) if value & top else value
