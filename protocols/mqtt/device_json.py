"""Our own profile for devices that speak JSON over MQTT: what `mqtt_json` understands without a mapping.

    anhu/dev/{device}/up      from the device
    anhu/dev/{device}/down    to the device

Up, one JSON object; every key is optional:

    id        the device's own message id; equal ids are the same message
    ts        time: RFC 3339 text, or epoch seconds or milliseconds; absent: time of arrival
    kind      something that happened (`sos`, `gas`, ...), with state `start`, `end` or `pulse` (default), detail, place
    events    a list of such objects, for several at once
    <kind>: true|false           a state that is repeated with every report (`"gas": true`); changes make events
    <quantity>: number           a reading (`"temperature": 21.5`); also in `readings`, as an object or as a list of
                                 {quantity, value, channel}
    battery, health              battery in percent; further fields of the device's health
    lat, lon, accuracy_m         a position (WGS84)
    stored    true: recorded while offline
    re, status, detail           answer to a command: its id, `accepted`, `running`, `done` or `failed`

Down: `{"id": "c-1", "verb": "valve", "args": {"open": false}}`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, load_object, number, time_ms, word
from protocols.mqtt.mapping import Happening, Reading, near, word_of
from protocols.mqtt.topic import TopicPattern, plain_id

UP = TopicPattern("anhu/dev/{device}/up")
DOWN = TopicPattern("anhu/dev/{device}/down")
STATES = ("start", "end", "pulse")
STATUSES = ("accepted", "running", "done", "failed")
LIST_LIMIT = 500
KNOWN_TOPICS = 4096
"""Topics whose device is remembered (the name is checked once)."""
_OWN_KEYS = frozenset(
    ("id", "ts", "kind", "state", "detail", "place", "events", "readings", "health", "lat", "lon", "accuracy_m", "stored", "re", "status")
    + ("quantity", "value", "channel", "unit")
)


class Fix(NamedTuple):
    """A WGS84 position in degrees, already checked."""

    lat: float
    lon: float
    accuracy_m: float | None = None


class Answer(NamedTuple):
    """The device's answer to command `command`."""

    command: str
    status: str
    detail: str | None


class UpMessage(NamedTuple):
    """One decoded message. `happenings` with an empty key happened now, others are repeated states."""

    device: str
    ref: str | None
    at_ms: int | None
    stored: bool
    readings: list[Reading]
    happenings: list[Happening]
    health: dict[str, Any]
    fix: Fix | None
    answer: Answer | None
    faults: list[tuple[Reason, str]]


def decode_up(topic: str, data: bytes, *, quantities: Collection[str], kinds: Collection[str]) -> UpMessage:
    """The message of a device. Raises RemoteProtocolError; a single bad field is a fault of the message instead."""
    device = _device_of(topic)
    if device is None:
        raise RemoteProtocolError(Reason.NOT_OURS, f"topic {UP.text} expected, got {topic[:80]!r}", data)
    body = load_object(data)
    faults: list[tuple[Reason, str]] = []
    # Most messages hold an id, a time and a reading or two: what is rare is looked for only where its key stands.
    message = UpMessage(
        device=device,
        ref=word_of(body["id"]) or None if "id" in body else None,
        at_ms=_time(body, faults) if "ts" in body else None,
        stored="stored" in body and body["stored"] is True,
        readings=[],
        happenings=list(_happened(body, kinds, faults)) if "kind" in body or "events" in body else [],
        health=_health(body) if "health" in body else {},
        fix=_fix(body, faults) if "lat" in body or "lon" in body else None,
        answer=_answer(body, faults) if "re" in body else None,
        faults=faults,
    )
    for name, value in body.items():
        if name in _OWN_KEYS or value is None:
            continue
        if name in quantities or name == "battery":
            _reading(message, name, value, None)
        elif name in kinds:
            _state(message, name, value)
    if "readings" in body or "quantity" in body:
        _readings(message, body, quantities)
    known = message.readings or message.happenings or message.health or message.fix or message.answer
    if not known and not faults:
        raise RemoteProtocolError(Reason.UNSUPPORTED, _hint(body, quantities, kinds), data)
    return message


@lru_cache(maxsize=KNOWN_TOPICS)
def _device_of(topic: str) -> str | None:
    """The device that a topic names; None where it is not ours. Raises RemoteProtocolError on a name that is none."""
    places = UP.match(topic)
    return plain_id(places["device"]) if places is not None else None


def _time(body: dict[str, Any], faults: list[tuple[Reason, str]]) -> int | None:
    value = body["ts"]
    found = time_ms(value) if value is not None else None
    if found is None and value is not None:
        faults.append((Reason.RANGE, f"ts: time expected, got {clean_text(repr(value), 60)}"))
    return found


def encode_up(
    *,
    ref: str | None = None,
    at_ms: int | None = None,
    happenings: Mapping[str, str] | None = None,
    readings: Mapping[str, float] | None = None,
    health: Mapping[str, Any] | None = None,
    fix: Fix | None = None,
    stored: bool = False,
    answer: Answer | None = None,
    states: Mapping[str, bool] | None = None,
) -> bytes:
    """The bytes that a device sends; `happenings` maps kind to state. Raises LocalProtocolError on an unknown state."""
    wrong = [state for state in (happenings or {}).values() if state not in STATES]
    if wrong:
        raise LocalProtocolError(f"state: one of {', '.join(STATES)} expected, got {wrong[0]!r}")
    events = [{"kind": kind, "state": state} for kind, state in (happenings or {}).items()]
    body: dict[str, Any] = {"id": ref, "ts": at_ms, **(events[0] if len(events) == 1 else {}), **(states or {}), **(readings or {})}
    body |= {"events": events if len(events) > 1 else None, "health": dict(health) if health else None}
    body |= fix._asdict() if fix else {}
    body |= {"re": answer.command, "status": answer.status, "detail": answer.detail} if answer else {}
    body["stored"] = True if stored else None
    return _json({key: value for key, value in body.items() if value is not None})


def encode_down(command: str, verb: str, args: Mapping[str, Any]) -> bytes:
    """A command for a device."""
    return _json({"id": command, "verb": verb, "args": dict(args)})


def decode_down(data: bytes) -> tuple[str, str, dict[str, Any]]:
    """Id, verb and arguments of a command, as the device reads it. Raises RemoteProtocolError."""
    body = load_object(data)
    args = body.get("args", {})
    if not isinstance(body.get("id"), str) or not isinstance(body.get("verb"), str) or not isinstance(args, dict):
        raise RemoteProtocolError(Reason.RANGE, "id, verb and args expected", data)
    return body["id"], body["verb"], args


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _happened(body: dict[str, Any], kinds: Collection[str], faults: list[tuple[Reason, str]]) -> Iterator[Happening]:
    listed = body.get("events", [])
    records = ([body] if "kind" in body else []) + (listed[:LIST_LIMIT] if isinstance(listed, list) else [listed])
    for record in records:
        kind = record.get("kind") if isinstance(record, dict) else record
        if not isinstance(kind, str) or kind not in kinds:
            faults.append((Reason.UNSUPPORTED, f"kind: no kind is called {clean_text(repr(kind), 60)}{near(str(kind)[:60], kinds)}"))
            continue
        fields = record if isinstance(record, dict) else {}
        state = fields.get("state", "pulse")
        if state not in STATES:
            # An alarm with an odd state is an alarm all the same.
            faults.append((Reason.RANGE, f"state: one of {', '.join(STATES)} expected, got {clean_text(repr(state), 60)}"))
            state = "start"
        place, detail = (clean_text(fields[key]) or None if isinstance(fields.get(key), str) else None for key in ("place", "detail"))
        yield Happening(kind, state, "", place, detail)


def _state(message: UpMessage, kind: str, value: Any) -> None:
    found = word(value)
    if found not in ("true", "false", "1", "0", "on", "off", "start", "end"):
        message.faults.append((Reason.RANGE, f"{kind}: true or false expected, got {clean_text(repr(value), 60)}"))
        return
    message.happenings.append(Happening(kind, "start" if found in ("true", "1", "on", "start") else "end", kind))


def _reading(message: UpMessage, name: str, value: Any, channel: str | None) -> None:
    found = number(value)
    if found is None:
        message.faults.append((Reason.RANGE, f"{name}: number expected, got {clean_text(repr(value), 60)}"))
    elif name == "battery":
        message.health["battery_percent"] = found
    else:
        message.readings.append(Reading(name, found, channel))


def _readings(message: UpMessage, body: dict[str, Any], quantities: Collection[str]) -> None:
    listed = body.get("readings")
    records: list[Any] = [{"quantity": name, "value": value} for name, value in listed.items()] if isinstance(listed, dict) else []
    records = listed if isinstance(listed, list) else records
    records = ([body] if "quantity" in body else []) + records[:LIST_LIMIT]
    for record in records:
        name = record.get("quantity") if isinstance(record, dict) else None
        if not isinstance(name, str) or (name not in quantities and name != "battery"):
            text = f"no quantity is called {clean_text(repr(name), 60)}{near(str(name)[:60], quantities)}"
            message.faults.append((Reason.UNSUPPORTED, f"readings: {text}"))
        elif record.get("value") is not None:
            _reading(message, name, record["value"], clean_text(record.get("channel", "")) or None)


def _health(body: dict[str, Any]) -> dict[str, Any]:
    found = body.get("health")
    return dict(found) if isinstance(found, dict) else {}


def _fix(body: dict[str, Any], faults: list[tuple[Reason, str]]) -> Fix | None:
    if body.get("lat") is None and body.get("lon") is None:
        return None
    lat, lon, accuracy = (number(body.get(key)) for key in ("lat", "lon", "accuracy_m"))
    if lat is None or lon is None or not -90 <= lat <= 90 or not -180 <= lon <= 180 or lat == lon == 0:
        faults.append((Reason.RANGE, f"lat, lon: a place expected, got {clean_text(repr((body.get('lat'), body.get('lon'))), 60)}"))
        return None
    return Fix(lat, lon, accuracy if accuracy is not None and 0 <= accuracy <= 100_000 else None)


def _answer(body: dict[str, Any], faults: list[tuple[Reason, str]]) -> Answer | None:
    if body.get("re") is None:
        return None
    status = body.get("status", "done")
    if status not in STATUSES:
        faults.append((Reason.RANGE, f"status: one of {', '.join(STATUSES)} expected, got {clean_text(repr(status), 60)}"))
        return None
    detail = body.get("detail")
    return Answer(word_of(body["re"]), status, clean_text(detail) or None if isinstance(detail, str) else None)


def _hint(body: dict[str, Any], quantities: Collection[str], kinds: Collection[str]) -> str:
    strangers = [clean_text(key, 40) for key in body if key not in _OWN_KEYS][:5]
    hints = [f"{key}{near(key, [*quantities, *kinds])}" for key in strangers]
    return "nothing known in this message: " + ("; ".join(hints) or "it is empty")
