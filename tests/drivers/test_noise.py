"""Noise in front of an alarm: random bytes, beginnings of frames, a damaged and a cut frame. None may swallow what comes after it."""

from __future__ import annotations

import random
import time

import pytest

from drivers import registry
from drivers.api import Frame
from drivers.conformance import make, read_vectors
from drivers.fault_matrix import alarms
from drivers.harness import DEFAULT_RECEIVED, frame_of

ROUNDS = 12
FRAMES = 2
"""The alarm or its first repetition: one frame may prove with its own bytes that what stood before it was none."""
TRACKERS = (
    "watch", "trv", "minifinder", "minifinder2", "gt06", "topin", "jt808", "h02", "eelink", "xexun2", "gps103", "megastek", "pt215",
    "gl200",
)  # fmt: skip


def noises(dice: random.Random, frame: bytes) -> list[bytes]:
    damaged = bytearray(frame)
    damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    beginnings = [dice.randbytes(dice.randint(0, 6)) + frame[: dice.randint(1, 12)] for _ in range(dice.randint(1, 40))]
    return [dice.randbytes(dice.randint(1, 4096)), b"".join(beginnings), bytes(damaged), frame[: dice.randrange(1, len(frame))]]


@pytest.mark.parametrize("name", TRACKERS)
def test_no_noise_swallows_the_alarm_behind_it(name: str) -> None:
    driver = registry.load(name)
    tried = 0
    for vector in read_vectors(registry.folder(name) / "vectors.jsonl"):
        if len(vector["frames"]) != 1 or not isinstance(vector["frames"][0], str) or {"rejects", "tolerated"} & set(vector["expect"]):
            continue
        alarm = frame_of({"frame": vector["frames"][0]}, driver.info)
        wanted = alarms(make(driver, vector).receive(alarm).events)
        dice = random.Random(f"{name} {vector['name']}")
        for noise in [noise for _ in range(ROUNDS if wanted else 0) for noise in noises(dice, alarm.data)]:
            instance = make(driver, vector)
            instance.receive(Frame(data=noise, received=DEFAULT_RECEIVED, transport=alarm.transport))
            got = {kind for _ in range(FRAMES) for kind in alarms(instance.receive(alarm).events)}
            assert wanted <= got, f"{vector['name']}: lost {sorted(wanted - got)} behind {noise[:60].hex()}... ({len(noise)} bytes)"
            tried += 1
    assert tried


FLOOD_BYTES = 8192
FLOOD_S = 0.8
"""Ten times what it takes on a slow machine; a search that is quadratic takes ten times this."""


@pytest.mark.parametrize("name", [*TRACKERS, "wristband", "pt60"])
def test_a_flood_of_false_starts_costs_linear_time(name: str) -> None:
    driver = registry.load(name)
    vectors = [vector["frames"][0] for vector in read_vectors(registry.folder(name) / "vectors.jsonl")]
    frames = [bytes.fromhex(frame) for frame in vectors if isinstance(frame, str)][:4]
    starts = {frame[:size] for frame in frames for size in (1, 2, 4, 8, len(frame) - 1)}
    for start in sorted(starts):
        instance = driver({}, None)
        frame = Frame(data=(start * FLOOD_BYTES)[:FLOOD_BYTES], received=DEFAULT_RECEIVED, transport=driver.info.transports[0])
        begun = time.process_time()
        instance.receive(frame)
        took = time.process_time() - begun
        assert took < FLOOD_S, f"{took:.2f} s for {FLOOD_BYTES} bytes of {start.hex()}"
