"""Feeding a driver from text: `anhu decode`, the vectors and the conformance suite share this.

One input line is a JSON object, or bare hex. Keys: `frame` (hex), or `topic` and `payload` (text; `payload_hex` for bytes);
for BLE also `address`, `service_uuid` or `manufacturer_id`, `name`, `rssi`, `characteristic`; for any `received` (RFC 3339),
`retained`, `peer`. A step may instead be `{"command": {"verb": ..., "args": ...}}` or `{"wake": seconds}`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.api import Advert, Command, Driver, DriverError, DriverInfo, Frame, Instant, Output, Send, Transport, Verb
from drivers.events import document, epoch_ms, seal

DEFAULT_RECEIVED = Instant(1795336215000, 1000.0)
"""2026-11-22T08:30:15Z: the moment at which vectors arrive that do not say when."""


class LineError(DriverError):
    """An input line that cannot be turned into a frame."""


def read_line(text: str) -> dict[str, Any]:
    """The object of one input line. Raises LineError."""
    text = text.strip()
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text.encode())
        except msgspec.DecodeError as error:
            raise LineError(f"JSON object expected: {error}") from None
        return dict(found)
    return {"frame": text}


def frame_of(line: dict[str, Any], info: DriverInfo, now: Instant = DEFAULT_RECEIVED) -> Frame:
    """The frame that a line describes. Raises LineError with the key that is wrong."""
    received = now
    if "received" in line:
        try:
            received = Instant(epoch_ms(str(line["received"])), now.s)
        except ValueError as error:
            raise LineError(f"received: {error}") from None
    if "topic" in line:
        return Frame(
            data=_payload(line), received=received, transport=Transport.MQTT, topic=str(line["topic"]), retained=bool(line.get("retained"))
        )
    if "frame" not in line and "payload" not in line and "payload_hex" not in line:
        raise LineError("one of frame, payload (with topic), command or wake expected, got " + (", ".join(line) or "nothing"))
    data = _hex(line, "frame") if "frame" in line else _payload(line)
    transport = info.transports[0]
    advert = None
    if "characteristic" in line:
        transport = Transport.BLE_GATT
    elif Transport.BLE_ADVERT in info.transports and "peer" not in line:
        transport = Transport.BLE_ADVERT
        advert = _advert(line, data)
    return Frame(
        data=data,
        received=received,
        transport=Transport(line["transport"]) if "transport" in line and line["transport"] in list(Transport) else transport,
        peer=str(line["peer"]) if "peer" in line else "",
        address=str(line["address"]).upper() if "address" in line else "",
        characteristic=str(line["characteristic"]).lower() if "characteristic" in line else "",
        advert=advert,
    )


def step(driver: Driver, line: dict[str, Any], now: Instant = DEFAULT_RECEIVED) -> Output:
    """What the driver gives for one line (frame, command or wake), events sealed. Raises LineError."""
    if "command" in line:
        asked = line["command"]
        try:
            command = Command(
                id=str(asked.get("id", "c1")),
                verb=Verb(asked["verb"]),
                device=str(asked.get("device", "")),
                args=dict(asked.get("args", {})),
                issued_ms=now.ms,
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise LineError(f"command: {error}") from None
        output = driver.command(command, now)
    elif "wake" in line:
        later = float(line["wake"])
        now = Instant(now.ms + round(later * 1000), now.s + later)
        output = driver.wake(now)
    else:
        frame = frame_of(line, driver.info, now)
        now = frame.received
        output = driver.receive(frame)
    output.events = seal(output.events, received_ms=now.ms)
    return output


def render(output: Output) -> dict[str, Any]:
    """The output as the object that `anhu decode` prints."""
    shown: dict[str, Any] = {
        "events": [msgspec.to_builtins(document(event)) for event in output.events],
        "replies": [render_send(send) for send in output.replies],
        "acks": [render_send(send) for send in output.acks],
        "rejects": [{"reason": r.reason.value, "detail": r.detail, "frame": r.frame.hex()} for r in output.rejects],
    }
    if output.tolerated:
        shown["tolerated"] = [{"reason": r.reason.value, "detail": r.detail, "frame": r.frame.hex()} for r in output.tolerated]
    if output.device:
        shown["device"] = output.device
    return shown


def render_send(send: Send) -> Any:
    """Hex for a stream; an object where the bytes go to a topic or characteristic."""
    if not send.to and send.op == "write":
        return send.data.hex()
    if "/" in send.to:
        return {"topic": send.to, "payload": send.data.decode("utf-8", "backslashreplace")}
    return {"op": send.op, "to": send.to, "data": send.data.hex()}


def _hex(line: dict[str, Any], key: str) -> bytes:
    value = line[key]
    if not isinstance(value, str):
        raise LineError(f"{key}: hex text expected, got {value!r:.80}")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise LineError(f"{key}: hex digits expected, got {value[:80]!r}") from None


def _payload(line: dict[str, Any]) -> bytes:
    if "payload_hex" in line:
        return _hex(line, "payload_hex")
    payload = line.get("payload", line.get("frame", ""))
    if "payload" not in line and "frame" in line:
        return _hex(line, "frame")
    return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)


def _advert(line: dict[str, Any], data: bytes) -> Advert | None:
    rssi = line.get("rssi")
    known: dict[str, Any] = {
        "name": line.get("name"),
        "rssi_dbm": None if rssi == -127 else rssi,
        "receiver": str(line.get("receiver", "")),
    }
    if "service_uuid" in line:
        uuid = str(line["service_uuid"]).lower()
        return Advert(service_data={uuid: data}, service_uuids=[uuid], **known)
    if "manufacturer_id" in line:
        return Advert(manufacturer_data={int(line["manufacturer_id"]): data}, **known)
    return None
