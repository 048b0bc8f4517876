"""Seeded damage to inputs of the fuzz target, for the run without a fuzzer: bytes, digits, JSON values, splices, repetitions."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fuzz.target import pack, pieces

ODD_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
ODD_TEXTS = (
    b"-1", b"0", b"999999999", b"1e999", b"NaN", b"", b" ", b"\xe5\xae\x89", b"\xff", b"1_0", b"\xc2\xb2", b"+5", b"0x10", b",", b"*",
    b"9" * 25, b"9" * 5000,
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, 10**30, float("nan"), "", "x", "²", "1_0", "\ud83d", [], {}, [[]], {"a": {}}, "9" * 300, ["x", None],
)  # fmt: skip


def mutated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """One input with one to four damages."""
    number = int.from_bytes(data[:2], "big")
    parts = list(pieces(data[2:])) or [b""]
    for _ in range(dice.randint(1, 4)):
        index = dice.randrange(len(parts))
        parts[index] = dice.choice(_DAMAGES)(parts[index], dice)
    if dice.random() < 0.1:
        parts.insert(dice.randrange(len(parts) + 1), dice.choice(list(pieces(dice.choice(others)[2:])) or [b""]))
    if dice.random() < 0.1:
        parts *= 2
    return pack(number, parts)


def _flip(part: bytes, dice: random.Random) -> bytes:
    out = bytearray(part or b"\0")
    out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def _set(part: bytes, dice: random.Random) -> bytes:
    out = bytearray(part or b"\0")
    at = dice.randrange(len(out))
    out[at : at + dice.choice((1, 1, 2, 4))] = bytes([dice.choice(ODD_BYTES)]) * dice.choice((1, 1, 2, 4))
    return bytes(out)


def _cut(part: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(part) + 1)
    return part[:begin] + part[begin + dice.choice((1, 2, 5, 1000)) :]


def _grow(part: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(part) + 1)
    block = dice.choice((dice.randbytes(dice.choice((1, 3, 40))), part[: dice.randrange(len(part) + 1)], dice.choice(ODD_TEXTS)))
    return part[:at] + block + part[at:]


def _digits(part: bytes, dice: random.Random) -> bytes:
    """A field of a text protocol replaced, or one digit changed."""
    places = [i for i, byte in enumerate(part) if 0x30 <= byte <= 0x39]
    if not places:
        return _flip(part, dice)
    begin = end = dice.choice(places)
    while dice.random() < 0.8 and end + 1 < len(part) and 0x30 <= part[end + 1] <= 0x39:
        end += 1
    return part[:begin] + dice.choice((*ODD_TEXTS, b"%d" % dice.randrange(100000))) + part[end + 1 :]


def _value(part: bytes, dice: random.Random) -> bytes:
    """A value somewhere in a JSON payload replaced."""
    topic, nul, payload = part.partition(b"\0")
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError):
        return _digits(part, dice)
    holder: Any = {"": tree}
    top, key = holder, ""
    while True:
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.15:
            break
        holder, key = inner, dice.choice(list(inner) if isinstance(inner, dict) else list(range(len(inner))))
    holder[key] = dice.choice(ODD_VALUES)
    return topic + nul + json.dumps(top[""]).encode("utf-8", "replace")


_DAMAGES = (_flip, _flip, _set, _cut, _grow, _digits, _value)
