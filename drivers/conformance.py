"""What every driver must keep to, as checks that pytest, `anhu driver test` and a vendor's own repository run.

Vectors (`vectors.jsonl`, one JSON object a line):

    {"name": "a sentence", "origin": "captured|datasheet|synthetic", "source": "document or capture",
     "options": {...}, "device": "id if already logged in",
     "frames": ["<hex>" or a line of drivers.harness, ...],
     "expect": {"events": [{"body": {"kind": "sos"}}], "replies": ["<hex>"], "acks": ["<hex>"], "rejects": ["INTEGRITY"]}}

`events` are compared in order and in number; each expected object must be contained in the event (numbers to 1e-6). A key that is
absent from `expect` means: none.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from drivers.api import (
    VERBS,
    Command,
    Driver,
    Event,
    Frame,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Output,
    Position,
    Quantity,
    Reason,
    Stateful,
    Transport,
    in_range,
)
from drivers.events import document, seal
from drivers.harness import DEFAULT_RECEIVED, frame_of, render, render_send, step

ORIGINS = ("captured", "datasheet", "synthetic")
BODY_TYPES = ("position", "health", "service_request", "command_result", "acceleration")
README_HEADINGS = ("Device", "Events", "Options", "Quirks")
STREAMS = (Transport.TCP, Transport.SERIAL)
FUZZ_ROUNDS = 200
JUNK = bytes.fromhex("00ff1300ff")
"""Junk between frames: no printable text, no start byte of a known protocol."""


@dataclass(frozen=True)
class Check:
    """One named thing to hold. `run` raises AssertionError when it does not."""

    name: str
    run: Callable[[], None]


def checks(driver: type[Driver], folder: Path) -> Iterator[Check]:
    """Every check for one driver: each vector by its name, then the general ones."""
    vectors = read_vectors(folder / "vectors.jsonl")
    for vector in vectors:
        yield Check(f"vector: {vector['name']}", lambda v=vector: check_vector(driver, v))  # type: ignore[misc]  # default binds the loop variable
    general: list[tuple[str, Callable[[], None]]] = [
        ("vectors are enough", lambda: check_coverage(driver, vectors)),
        ("README has its headings", lambda: check_readme(folder / "README.md")),
        ("info is complete", lambda: check_info(driver, folder)),
        ("random bytes never raise", lambda: check_random(driver, vectors)),
        ("damaged frames never raise", lambda: check_damage(driver, vectors)),
        ("same input, same output", lambda: check_repeatable(driver, vectors)),
        ("state survives", lambda: check_state(driver, vectors)),
        ("every declared command is answered", lambda: check_commands(driver)),
    ]
    if driver.info.transports[0] in STREAMS:
        general.append(("split at every byte gives the same", lambda: check_segmentation(driver, vectors)))
        general.append(("a frame after junk is found", lambda: check_junk(driver, vectors)))
    for name, run in general:
        yield Check(name, run)


def read_vectors(path: Path) -> list[dict[str, Any]]:
    """The vectors of a driver. Raises AssertionError naming the line that is not JSON."""
    vectors = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if text.strip():
            try:
                vectors.append(json.loads(text))
            except ValueError as error:
                raise AssertionError(f"{path.name}:{number}: {error}") from None
    return vectors


def play(driver: Driver, vector: dict[str, Any]) -> Output:
    """All frames of a vector through one driver instance; the sum of its outputs."""
    total = Output()
    for line in vector["frames"]:
        total.add(step(driver, {"frame": line} if isinstance(line, str) else line))
    return total


def make(driver: type[Driver], vector: dict[str, Any]) -> Driver:
    """The instance that a vector asks for."""
    return driver(vector.get("options", {}), vector.get("device"))


def check_vector(driver: type[Driver], vector: dict[str, Any]) -> None:
    """Events, replies, acknowledgements and refusals are those expected."""
    output = play(make(driver, vector), vector)
    shown, expect = render(output), vector["expect"]
    events, wanted = shown["events"], expect.get("events", [])
    assert len(events) == len(wanted), f"{len(wanted)} events expected, got {len(events)}: {json.dumps(events, ensure_ascii=False)}"
    for index, (event, want) in enumerate(zip(events, wanted, strict=True)):
        missing = difference(want, event)
        assert not missing, f"event {index}: {missing}; got {json.dumps(event, ensure_ascii=False)}"
    for key in ("replies", "acks"):
        want_bytes = expect.get(key, [])
        assert shown[key] == want_bytes, f"{key}: expected {want_bytes}, got {shown[key]}"
    for key in ("rejects", "tolerated"):
        reasons = [r["reason"] for r in shown.get(key, [])]
        assert reasons == expect.get(key, []), f"{key}: expected {expect.get(key, [])}, got {shown.get(key)}"
    if "device" in expect:
        assert output.device == expect["device"], f"device: expected {expect['device']}, got {output.device}"
    check_events(driver, output.events)


def difference(want: Any, got: Any, path: str = "") -> str:
    """Where `got` does not contain `want`; empty when it does."""
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return f"{path}: object expected, got {got!r}"
        for key, value in want.items():
            if value is None and key not in got:
                continue
            if key not in got:
                return f"{path}.{key}: missing, expected {value!r}"
            found = difference(value, got[key], f"{path}.{key}")
            if found:
                return found
        return ""
    if isinstance(want, list):
        if not isinstance(got, list) or len(want) != len(got):
            return f"{path}: expected {want!r}, got {got!r}"
        return next(filter(None, (difference(w, g, f"{path}[{i}]") for i, (w, g) in enumerate(zip(want, got, strict=True)))), "")
    if isinstance(want, int | float) and isinstance(got, int | float) and not isinstance(want, bool) and not isinstance(got, bool):
        return "" if math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-6) else f"{path}: expected {want!r}, got {got!r}"
    return "" if want == got else f"{path}: expected {want!r}, got {got!r}"


def check_events(driver: type[Driver], events: list[Event]) -> None:
    """Only declared bodies, legal ranges and units."""
    for event in events:
        body = event.body
        assert event.device, f"event without device: {event}"
        if isinstance(body, Measurement):
            name = body.quantity.value
            assert in_range(body.quantity, body.value), f"{name}: {body.value} is outside its range"
        elif isinstance(body, Occurrence):
            name = body.kind.value
        else:
            name = str(type(body).__struct_config__.tag)
        assert name in driver.info.emits, f"{name} is not declared in info.emits"
        if isinstance(body, Position) and body.lat is not None:
            assert body.lon is not None and -90 <= body.lat <= 90 and -180 <= body.lon <= 180, f"position out of range: {body}"
            assert (body.lat, body.lon) != (0, 0), "0,0 is never a position"


def check_info(driver: type[Driver], folder: Path) -> None:
    """Names, declared vocabulary and options are valid."""
    info = driver.info
    assert info.transports, "no transport declared"
    known = {q.value for q in Quantity} | {k.value for k in OccurrenceKind} | set(BODY_TYPES)
    assert set(info.emits) <= known, f"unknown in emits: {sorted(set(info.emits) - known)}"
    for option in info.options:
        assert option.help, f"option {option.name} has no help"
    driver({}, None)


def check_coverage(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """At least three good vectors, a refusal, one that is not synthetic; every declared emit is shown by some vector."""
    names = [vector["name"] for vector in vectors]
    assert len(names) == len(set(names)), "vector names must differ"
    assert all(vector.get("origin") in ORIGINS for vector in vectors), f"origin must be one of {ORIGINS}"
    assert sum(1 for v in vectors if v["expect"].get("events")) >= 3, "at least three vectors with events expected"
    assert any(v["expect"].get("rejects") for v in vectors), "at least one vector with a reject expected"
    assert any(v["origin"] != "synthetic" for v in vectors), "at least one captured or datasheet vector expected"
    shown: set[str] = set()
    for vector in vectors:
        for event in vector["expect"].get("events", []):
            body = event.get("body", {})
            shown |= {str(body[key]) for key in ("kind", "quantity", "type") if key in body}
    missing = set(driver.info.emits) - shown
    assert not missing, f"declared in info.emits, shown by no vector: {sorted(missing)}"


def check_readme(path: Path) -> None:
    """The README has the headings that installers look for."""
    text = path.read_text("utf-8")
    missing = [heading for heading in README_HEADINGS if f"## {heading}" not in text]
    assert not missing, f"README.md lacks headings {missing}"


def check_segmentation(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """Whole, byte by byte and in two pieces: the same events, replies and acknowledgements."""
    for vector in vectors:
        stream = _stream(driver, vector)
        if stream is None:
            continue
        whole = _feed(make(driver, vector), [stream])
        assert _essence(_feed(make(driver, vector), [stream[i : i + 1] for i in range(len(stream))])) == _essence(whole), (
            f"byte by byte differs: {vector['name']}"
        )
        for cut in range(1, len(stream), max(1, len(stream) // 64)):
            pieces = _feed(make(driver, vector), [stream[:cut], stream[cut:]])
            assert _essence(pieces) == _essence(whole), f"cut at byte {cut} differs: {vector['name']}"


def check_junk(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """After junk and a truncated frame the second whole repetition is understood.

    A driver that tells changes only is silent at a repetition: it must give as much as without the junk.
    """
    for vector in vectors:
        stream = _stream(driver, vector)
        if stream is None or vector["expect"].get("rejects") or vector["expect"].get("tolerated"):
            continue
        alone = len(_feed(make(driver, vector), [stream]).events)
        least = min(min(alone, 1) * 2, len(_feed(make(driver, vector), [stream, stream]).events))
        for noise in (JUNK, stream[: len(stream) // 2]):
            after = _feed(make(driver, vector), [stream, noise, stream, stream])
            assert len(after.events) >= least, f"lost behind junk {noise.hex()[:40]}: {vector['name']}"
            first = _feed(make(driver, vector), [noise, stream, stream])
            assert len(first.events) >= min(alone, 1), f"lost behind leading junk {noise.hex()[:40]}: {vector['name']}"


def check_random(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """Random bytes, alone and behind a good start, give rejects or nothing, never an exception."""
    dice = random.Random(20261122)
    starts = [b""] + [frame[:4] for vector in vectors for frame in _frames(driver, vector)]
    for _ in range(FUZZ_ROUNDS):
        data = dice.choice(starts) + dice.randbytes(dice.choice((0, 1, 3, 17, 64, 300)))
        template = frame_of({"frame": "00"}, driver.info)
        check_events(driver, _feed_frames(driver({}, "fuzz"), [template.part(data)]).events)


def check_damage(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """Every truncation and many bit flips of every vector: never an exception, never an undeclared or illegal event."""
    dice = random.Random(20261122)
    for vector in vectors:
        for line in vector["frames"]:
            if isinstance(line, dict) and ("command" in line or "wake" in line):
                continue
            frame = frame_of({"frame": line} if isinstance(line, str) else line, driver.info)
            data = frame.data
            for cut in range(0, len(data), max(1, len(data) // 80)):
                check_events(driver, _feed_frames(make(driver, vector), [_with(frame, data[:cut])]).events)
            for _ in range(60 if data else 0):
                damaged = bytearray(data)
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
                check_events(driver, _feed_frames(make(driver, vector), [_with(frame, bytes(damaged))]).events)


def check_repeatable(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """Two instances, the same frames: equal to the last byte."""
    for vector in vectors:
        first, second = (render(play(make(driver, vector), vector)) for _ in range(2))
        assert first == second, f"two runs differ: {vector['name']}"


def check_state(driver: type[Driver], vectors: list[dict[str, Any]]) -> None:
    """A dumped state loads into a fresh instance and dumps equal; damaged states are ignored."""
    for vector in vectors:
        instance = make(driver, vector)
        if not isinstance(instance, Stateful):
            return
        play(instance, vector)
        state = instance.dump()
        fresh = make(driver, vector)
        assert isinstance(fresh, Stateful)
        fresh.load(state)
        assert fresh.dump() == state, f"state does not survive: {vector['name']}"
        for damaged in (b"", b"\x00" * 9, state[: len(state) // 2]):
            fresh.load(damaged)


def check_commands(driver: type[Driver]) -> None:
    """Every declared verb gives bytes or a result that says why not; every other verb gives a FAILED result."""
    for verb in VERBS:
        args = {name: _sample(kind) for name, kind in VERBS[verb].args.items() if not kind.endswith("?")}
        command = Command(id="c1", verb=verb, device="fuzz", args=args, issued_ms=DEFAULT_RECEIVED.ms)
        output = driver({}, "fuzz").command(command, DEFAULT_RECEIVED)
        results = [event for event in output.events if document(event).body.__struct_config__.tag == "command_result"]
        assert output.replies or results, f"{verb.value}: neither bytes nor a result"
        if verb not in driver.info.commands:
            assert results and not output.replies, f"{verb.value} is not declared in info.commands but was sent"


def _sample(kind: str) -> Any:
    return {"str": "1", "int": 60, "float": 1.0, "bool": True, "list": ["13800000000"]}[kind]


def _with(frame: Frame, data: bytes) -> Frame:
    advert = frame.advert
    if advert is not None:
        advert = msgspec.structs.replace(
            advert,
            service_data=dict.fromkeys(advert.service_data, data),
            manufacturer_data=dict.fromkeys(advert.manufacturer_data, data),
        )
    return msgspec.structs.replace(frame, data=data, advert=advert, evidence="")


def _frames(driver: type[Driver], vector: dict[str, Any]) -> list[bytes]:
    lines = [line for line in vector["frames"] if isinstance(line, str) or "frame" in line]
    return [frame_of({"frame": line} if isinstance(line, str) else line, driver.info).data for line in lines]


def _stream(driver: type[Driver], vector: dict[str, Any]) -> bytes | None:
    """The frames of a vector as one stream; None where commands, wakes or datagram fields stand between."""
    if any(isinstance(line, dict) and set(line) - {"frame"} for line in vector["frames"]):
        return None
    return b"".join(_frames(driver, vector))


def _feed(driver: Driver, pieces: list[bytes]) -> Output:
    frame = frame_of({"frame": "00"}, driver.info)
    return _feed_frames(driver, [_with(frame, piece) for piece in pieces])


def _feed_frames(driver: Driver, frames: list[Frame]) -> Output:
    total = Output()
    for frame in frames:
        output = driver.receive(frame)
        output.events = seal(output.events, received_ms=frame.received.ms)
        total.add(output)
    return total


def _essence(output: Output) -> Any:
    """What must not depend on segmentation: junk may be reported in one piece or several."""
    refused = [r.reason for r in output.rejects if r.reason is not Reason.NOT_OURS]
    sends = [render_send(send) for send in output.replies + output.acks]
    return [document(event) for event in output.events], sends, refused, output.device


__all__ = ["Check", "check_vector", "checks", "difference", "play", "read_vectors"]
