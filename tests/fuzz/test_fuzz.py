"""Every driver against damaged inputs, seeded: the part of fuzzing that each test run can afford. `make fuzz` runs the fuzzer."""

from __future__ import annotations

import os
import random
import time

import pytest

from drivers import registry
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, pack, pieces

ROUNDS = int(os.environ.get("ANHU_FUZZ_ROUNDS", "300"))
SEED = int(os.environ.get("ANHU_FUZZ_SEED", "20261122"))
ONE_INPUT_S, ALL_INPUTS_S = 1.0, 20.0
"""CPU seconds: one damaged input of some hundred bytes costs milliseconds; ten times as many frames must not cost a thousand times."""


@pytest.mark.parametrize("name", registry.names())
def test_damaged_inputs_give_rejects_or_legal_events(name: str) -> None:
    target = Target(name)
    corpus = target.corpus()
    dice = random.Random(f"{SEED} {name}")
    begun = time.process_time()
    for data in corpus:
        target.run(data)
    for turn in range(ROUNDS):
        data = mutated(dice.choice(corpus), corpus, dice)
        started = time.process_time()
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"seed {SEED}, round {turn}, input {data.hex()}")
            raise
        assert time.process_time() - started < ONE_INPUT_S, f"slow input: {data.hex()}"
    assert time.process_time() - begun < ALL_INPUTS_S


def test_an_input_comes_apart_as_it_was_put_together() -> None:
    assert list(pieces(pack(7, [b"abc", b"", b"\x00\x01"])[2:])) == [b"abc", b"", b"\x00\x01"]
    assert list(pieces(b"\x00\x09ab")) == [b"ab"], "a short last piece is played as it is"


FOUND = [
    ("minifinder", b"!D,22/11/2999999999,08:30:12,31.220200,121.503600,3,88,580001,12,80,9,12,0.9;"),
    ("gsm_phone", b"\r\n+QTONEDET: 359999999999\r\n"),
    ("trv", b"IWAP01261122A2313.2120N12130.2160E003.2083012088.20006000908000102,460,0,9520,36710000600090800010200000#"),
    ("trv", b"IWAP50,36.7," + b"9" * 5000 + b"#"),
    ("watch", b"[3G*8800000015*1394*LK,0,0," + b"9" * 5005 + b"]"),
]


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[f"{name}-{data[:12]!r}" for name, data in FOUND])
def test_an_input_that_once_broke_a_driver_no_longer_does(name: str, data: bytes) -> None:
    target = Target(name)
    for index in range(len(target.vectors)):
        target.run(pack(index, [data]))
