"""Running the vectors that a mapping file carries (`anhu driver test FILE`)."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import msgspec

from drivers.api import Event, Frame, Instant, Output, Transport
from drivers.mqtt_json.driver import MqttJson, read_mapping

ARRIVAL = Instant(1795336215000, 1000.0)
"""2026-11-22T08:30:15Z: the moment at which the vectors arrive."""


class Proof(NamedTuple):
    """One vector of a mapping; `fault` is empty when it holds."""

    name: str
    fault: str


def prove(text: str) -> list[Proof]:
    """Every `[[vector]]` of a mapping text, each on a fresh driver. Raises OptionError with all faults of the mapping itself."""
    mapping = read_mapping({"mapping": text})
    assert mapping is not None
    return [Proof(str(vector["name"]), _fault(text, vector)) for vector in mapping.vectors]


def _fault(text: str, vector: dict[str, Any]) -> str:
    if "payload_hex" in vector:
        try:
            data = bytes.fromhex(vector["payload_hex"])
        except (ValueError, TypeError):
            return f"payload_hex: hex digits expected, got {vector['payload_hex']!r}"
    else:
        payload = vector["payload"]
        data = payload.encode() if isinstance(payload, str) else json.dumps(payload, default=str).encode()
    frame = Frame(data=data, received=ARRIVAL, transport=Transport.MQTT, topic=vector["topic"], retained=vector.get("retained") is True)
    output = MqttJson({"mapping": text}, None).receive(frame)
    return _difference(output, vector)


def _difference(output: Output, vector: dict[str, Any]) -> str:
    got = [_flat(event) for event in output.events]
    wanted = vector.get("expect", [])
    if len(got) != len(wanted):
        refused = "".join(f"; refused: {reject.reason.value} {reject.detail}" for reject in output.rejects)
        return f"{len(wanted)} events expected, got {len(got)}: {json.dumps(got, ensure_ascii=False)}{refused}"
    for index, (want, found) in enumerate(zip(wanted, got, strict=True)):
        for key, value in want.items():
            if not _equal(value, found.get(key)):
                return f"event {index}: {key} {value!r} expected, got {found.get(key)!r}"
    reasons = [reject.reason.value for reject in output.rejects]
    if reasons != vector.get("rejects", []):
        return f"rejects {vector.get('rejects', [])} expected, got {reasons}: {'; '.join(r.detail for r in output.rejects)}"
    return ""


def _flat(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(event.body)
    return {"device": event.device, "ref": event.ref, "at_ms": event.at_ms, **body}


def _equal(want: Any, got: Any) -> bool:
    if isinstance(want, int | float) and isinstance(got, int | float) and not isinstance(want, bool):
        return math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-6)
    return bool(want == got)
