"""A capture back onto a real wire, and a capture as vectors of a driver.

A capture is JSON lines as a gateway writes them (`gateway.capture_file`) and `anhu replay --capture` reads them: `driver`, `received`,
`conn`, and `frame` (hex) or `topic` and `payload`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt

from drivers.events import epoch_ms
from simulator.errors import ScenarioError, SimulatorError
from simulator.run import MqttTarget

MOST_CONNECTIONS = 20_000
ANSWER_S = 1.0
"""After the last frame answers are awaited for so long."""
FRAME_KEYS = (
    "frame",
    "topic",
    "payload",
    "payload_hex",
    "address",
    "uuid",
    "service_uuid",
    "manufacturer_id",
    "name",
    "rssi",
    "characteristic",
)

Line = dict[str, Any]


def read_capture(path: Path, driver: str | None = None) -> list[Line]:
    """The lines of a file, of one driver where it is named. Raises ScenarioError with every line that is none."""
    rows, faults = [], []
    try:
        texts = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise SimulatorError(f"{path}: {error.strerror}", hint="anhu sim capture SCENARIO > FILE") from None
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            at_ms = epoch_ms(str(row["received"]))
            bytes.fromhex(row.get("frame", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{path}:{number}: {type(error).__name__}: {error}")
            continue
        if driver in (None, row.get("driver")):
            rows.append({**row, "at_ms": at_ms})
    if faults:
        raise ScenarioError(faults[:50])
    if not rows:
        raise SimulatorError(f"{path}: no frames" + (f" of {driver}" if driver else ""), hint="its lines name their driver")
    return rows


async def send(lines: list[Line], target: MqttTarget, *, speed: float) -> dict[str, Any]:
    """Send every line at its time; the sum of what happened. Frames of the air have no wire to go to and are left out."""
    streams: dict[str, list[Line]] = {}
    for line in lines:
        streams.setdefault(str(line.get("conn") or line.get("device") or ""), []).append(line)
    if len(streams) > MOST_CONNECTIONS:
        raise SimulatorError(f"{len(streams)} connections, at most {MOST_CONNECTIONS}", hint="replay a part of the file")
    result: dict[str, Any] = {"connections": 0, "sent": 0, "answered_bytes": 0, "left_out": 0, "failed": 0}
    first_ms = min(line["at_ms"] for line in lines)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def until(at_ms: int) -> None:
        await asyncio.sleep(max(0.0, began_s + (at_ms - first_ms) / 1000 / speed - loop.time()))

    await asyncio.gather(*(_one(stream, target, until, result) for stream in streams.values()))
    return result


async def _one(stream: list[Line], target: MqttTarget, until: Callable[[int], Any], result: dict[str, Any]) -> None:
    try:
        await until(stream[0]["at_ms"])
        if "topic" in stream[0]:
            await _publish(stream, target, until, result)
        elif "address" in stream[0] or "frame" not in stream[0]:
            result["left_out"] += len(stream)
        else:
            await _write(stream, target, until, result)
    except (OSError, aiomqtt.MqttError):
        result["failed"] += 1


async def _publish(stream: list[Line], target: MqttTarget, until: Callable[[int], Any], result: dict[str, Any]) -> None:
    async with aiomqtt.Client(target.host, target.port, username=target.user, password=target.password) as client:
        result["connections"] += 1
        for line in stream:
            await until(line["at_ms"])
            payload = bytes.fromhex(line["payload_hex"]) if "payload_hex" in line else line.get("payload", "")
            await client.publish(line["topic"], payload if isinstance(payload, bytes) else str(payload).encode(), qos=1)
            result["sent"] += 1


async def _write(stream: list[Line], target: MqttTarget, until: Callable[[int], Any], result: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    result["connections"] += 1
    reading = asyncio.create_task(_count(reader, result))
    try:
        for line in stream:
            await until(line["at_ms"])
            writer.write(bytes.fromhex(line["frame"]))
            await writer.drain()
            result["sent"] += 1
        await asyncio.wait({reading}, timeout=ANSWER_S)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()


async def _count(reader: asyncio.StreamReader, result: dict[str, Any]) -> None:
    while data := await reader.read(65_536):
        result["answered_bytes"] += len(data)


def vectors(lines: list[Line], decode: Callable[[list[Line]], list[Line]], *, source: str, most: int) -> Iterator[Line]:
    """A vector for each connection. Expectations are what the decoder says today: a net against change, not a proof."""
    streams: dict[str, list[Line]] = {}
    for line in lines:
        streams.setdefault(str(line.get("conn", "")), []).append(line)
    for number, stream in enumerate(streams.values(), 1):
        frames = [{key: line[key] for key in FRAME_KEYS if key in line} | {"received": line["received"]} for line in stream[:most]]
        expect: dict[str, Any] = {}
        device = ""
        for found in decode(frames):
            for event in found["events"]:
                expect.setdefault("events", []).append({"device": event["device"], "at": event["at"], "body": event["body"]})
            for key in ("replies", "acks"):
                expect.setdefault(key, []).extend(found[key])
            for key in ("rejects", "tolerated"):
                expect.setdefault(key, []).extend(reject["reason"] for reject in found.get(key, ()))
            device = found.get("device") or device
        expect = {key: value for key, value in expect.items() if value} | ({"device": device} if device else {})
        yield {"name": f"{source}, connection {number}", "origin": "captured", "source": source, "frames": frames, "expect": expect}
