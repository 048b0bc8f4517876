"""One fuzz target for every driver: any bytes, in any pieces, never raise, never hang, and give only legal events.

An input is a scenario in bytes, so that a fuzzer may change every part of it:

    u16   which vector gives options, login and the envelopes of its frames
    then for each read or message:  u16 length, bytes        (with MQTT: topic, 00, payload)

All integers big endian; the last piece may be shorter than it says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from drivers import conformance, registry
from drivers.api import Driver, Frame, Instant, Output, Stateful, Transport
from drivers.events import document, seal
from drivers.harness import DEFAULT_RECEIVED, frame_of

PIECES_LIMIT = 64
WAKES = 3


class Target:
    """The driver called `name`, with its own vectors as starting points."""

    def __init__(self, name: str) -> None:
        self.driver: type[Driver] = registry.load(name)
        self.vectors = [v for v in conformance.read_vectors(registry.folder(name) / "vectors.jsonl") if self._templates(v)]

    def corpus(self) -> list[bytes]:
        """The vectors as inputs."""
        return [pack(index, [_piece(frame) for frame in self._templates(vector)]) for index, vector in enumerate(self.vectors)]

    def run(self, data: bytes) -> Output:
        """Play one input. Raises AssertionError or whatever the driver raises: each is a bug."""
        number = int.from_bytes(data[:2].rjust(2, b"\0"), "big")
        vector = self.vectors[number % len(self.vectors)]
        templates = self._templates(vector)
        driver = conformance.make(self.driver, vector)
        total = Output()
        for index, piece in enumerate(pieces(data[2:])):
            frame = _filled(templates[index % len(templates)], piece)
            output = driver.receive(frame)
            self._check(output, frame.received.ms)
            total.add(output)
            self._wake(driver, output.wake_s)
        if isinstance(driver, Stateful):
            state = driver.dump()
            fresh = conformance.make(self.driver, vector)
            assert isinstance(fresh, Stateful)
            fresh.load(state)
            fresh.load(data)
        return total

    def _check(self, output: Output, received_ms: int) -> None:
        output.events = seal(output.events, received_ms=received_ms)
        conformance.check_events(self.driver, output.events)
        for event in output.events:
            msgspec.json.encode(document(event))
        for send in output.replies + output.acks:
            assert isinstance(send.data, bytes)

    def _wake(self, driver: Driver, wake_s: float | None) -> None:
        for _ in range(WAKES):
            if wake_s is None:
                return
            now = Instant(DEFAULT_RECEIVED.ms + round(max(0.0, wake_s - DEFAULT_RECEIVED.s) * 1000), max(wake_s, DEFAULT_RECEIVED.s))
            output = driver.wake(now)
            self._check(output, now.ms)
            wake_s = output.wake_s

    def _templates(self, vector: dict[str, Any]) -> list[Frame]:
        lines = [{"frame": line} if isinstance(line, str) else line for line in vector["frames"]]
        return [frame_of(line, self.driver.info) for line in lines if "command" not in line and "wake" not in line]


def pack(vector: int, parts: list[bytes]) -> bytes:
    """An input out of its parts; `pieces` is the way back."""
    return struct.pack(">H", vector) + b"".join(struct.pack(">H", len(part)) + part for part in parts if len(part) < 1 << 16)


def pieces(data: bytes) -> Iterator[bytes]:
    """The parts of an input behind its vector number."""
    at = 0
    for _ in range(PIECES_LIMIT):
        if at >= len(data):
            return
        length = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


def _piece(frame: Frame) -> bytes:
    return frame.topic.encode() + b"\0" + frame.data if frame.transport is Transport.MQTT else frame.data


def _filled(frame: Frame, piece: bytes) -> Frame:
    """The envelope of `frame` with other bytes inside."""
    if frame.transport is Transport.MQTT:
        topic, _, payload = piece.partition(b"\0")
        return msgspec.structs.replace(frame, topic=topic.decode("utf-8", "replace"), data=payload, evidence="")
    advert = frame.advert
    if advert is not None:
        blocks = {
            "service_data": dict.fromkeys(advert.service_data, piece),
            "manufacturer_data": dict.fromkeys(advert.manufacturer_data, piece),
        }
        advert = msgspec.structs.replace(advert, **blocks)
    return msgspec.structs.replace(frame, data=piece, advert=advert, evidence="")
