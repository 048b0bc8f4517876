"""Our profile for television set-top boxes: `anhu/tv/{id}/up` from the box, `anhu/tv/{id}/down` to it (docs/settop.md).

One JSON object a message. Up messages carry `type`, the box's own message id `ref` and the time `ts`; the box repeats a message
until `{"type": "ack", "ref": ...}` comes down. Down messages carry `type` and the id of the command; the box answers with `re`.

`UP` and `DOWN` are the one table of messages: `schema` makes JSON Schema of it, `decode_*` check by it. A wrong optional field is a
fault of its own and is left out; only a wrong required field costs the message. An SOS has no required field.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, load_object, time_ms
from protocols.mqtt.topic import TopicPattern, plain_id

UP_TOPIC = TopicPattern("anhu/tv/{device}/up")
DOWN_TOPIC = TopicPattern("anhu/tv/{device}/down")
MESSAGE_LIMIT = 16 * 1024
"""Bytes of a message: the longest text is 500 characters."""

BOARDS = {
    "meal": "助餐", "cleaning": "助洁", "bathing": "助浴", "medical": "助医",
    "escort": "助行", "errand": "代办", "repair": "维修", "company": "陪伴",
}  # fmt: skip
"""The eight boards of the service menu."""

Field = dict[str, Any]


def _text(limit: int, **more: Any) -> Field:
    return {"type": "string", "maxLength": limit, **more}


def _whole(low: int, high: int) -> Field:
    return {"type": "integer", "minimum": low, "maximum": high}


def _choice(*words: str) -> Field:
    return {"type": "string", "enum": list(words)}


_YES_NO: Field = {"type": "boolean"}
_RE = _text(128, minLength=1)
_NAME = {"type": "string", "pattern": "^[a-z0-9_.-]{1,40}$"}
_URL = {"type": "string", "maxLength": 500, "pattern": "^(https?|rtsp)://[!-~]+$"}
_PERCENT = _whole(0, 100)
_POWER = _choice("on", "standby")


class Shape(NamedTuple):
    """Fields of one message type; those in `required` must be there and right."""

    says: str
    fields: dict[str, Field]
    required: tuple[str, ...] = ()


UP: dict[str, Shape] = {
    "hello": Shape("the box started", {"model": _text(60), "firmware": _text(60), "serial": _text(60), "power": _POWER}),
    "heartbeat": Shape("every 60 s", {"uptime_s": _whole(0, 2**32), "rssi_dbm": _whole(-120, 0), "volume": _PERCENT, "power": _POWER}),
    "offline": Shape("last will, published by the broker", {}),
    "sos": Shape(
        "call for help, or its cancellation", {"state": _choice("start", "cancel"), "key": _text(20), "test": _YES_NO, "detail": _text(200)}
    ),
    "key": Shape("a key of the remote control", {"key": _text(20, minLength=1), "press": _choice("short", "long", "double")}, ("key",)),
    "service": Shape(
        "an entry of the service menu",
        {"board": _choice(*BOARDS), "item": _NAME, "detail": _text(200), "number": _text(30)},
        ("board",),
    ),
    "presence": Shape("somebody before the television", {"present": _YES_NO}, ("present",)),
    "state": Shape("switched on or to standby, volume changed", {"power": _POWER, "volume": _PERCENT}),
    "reminder": Shape(
        "answer to a reminder",
        {"re": _RE, "answer": _choice("confirm", "snooze", "none"), "kind": _NAME, "minutes": _whole(1, 1440)},
        ("re", "answer"),
    ),
    "consent": Shape(
        "answer to a video request", {"re": _RE, "answer": _choice("accept", "decline", "none"), "session": _text(200)}, ("re", "answer")
    ),
    "result": Shape(
        "what became of a command",
        {"re": _RE, "status": _choice("accepted", "running", "done", "failed"), "detail": _text(200)},
        ("re", "status"),
    ),
}

_SAID = {"voice": _YES_NO, "volume": _PERCENT}
DOWN: dict[str, Shape] = {
    "message": Shape(
        "show a text over the programme",
        {"text": _text(500, minLength=1), "title": _text(40), "seconds": _whole(1, 3600), **_SAID},
        ("text",),
    ),
    "remind": Shape(
        "remind, ask for confirmation",
        {
            "text": _text(500, minLength=1), "kind": _NAME, "time": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
            "days": {"type": "string", "pattern": "^[01]{7}$"}, "number": _whole(0, 99), "audio": _URL, **_SAID,
        },
        ("text",),
    ),
    "video_request": Shape("ask for a video look-in", {"from": _text(60, minLength=1), "seconds": _whole(1, 3600)}, ("from",)),
    "play": Shape("play a stream", {"url": _URL, "volume": _PERCENT}, ("url",)),
    "volume": Shape("set the volume", {"percent": _PERCENT}, ("percent",)),
    "siren": Shape("alarm sound at full volume, or its end", {"on": _YES_NO, "seconds": _whole(1, 3600)}, ("on",)),
    "silence": Shape("stop every alarm sound", {"person": _text(60)}),
    "query": Shape("send `state` and `heartbeat` now", {"name": _text(40)}),
    "restart": Shape("restart the box", {}),
    "ack": Shape("the message `ref` is stored; stop repeating it", {"ref": _RE}, ("ref",)),
}  # fmt: skip


class UpMessage(NamedTuple):
    """One message of a box. `fields` holds only what passed its check; `faults` what did not."""

    device: str
    type: str
    ref: str | None
    at_ms: int | None
    fields: dict[str, Any]
    faults: list[tuple[Reason, str]]


class DownMessage(NamedTuple):
    """One message to a box; `command` is empty for an acknowledgement."""

    type: str
    command: str
    fields: dict[str, Any]


class SettopError(RemoteProtocolError):
    """A refused message whose `ref` was readable: it must be acknowledged all the same, or the box repeats it for ever."""

    def __init__(self, reason: Reason, detail: str, frame: bytes, *, device: str, ref: str | None) -> None:
        super().__init__(reason, detail, frame)
        self.device = device
        self.ref = ref


def decode_up(topic: str, data: bytes) -> UpMessage:
    """The message of a box. Raises RemoteProtocolError, as SettopError where device and `ref` are known."""
    places = UP_TOPIC.match(topic)
    if places is None:
        raise RemoteProtocolError(Reason.NOT_OURS, f"topic {UP_TOPIC.text} expected, got {topic[:80]!r}", data)
    device = plain_id(places["device"])
    body = load_object(data, MESSAGE_LIMIT)
    raw_ref = body.get("ref")
    ref = clean_text(raw_ref, 128) or None if isinstance(raw_ref, str | int) and not isinstance(raw_ref, bool) else None
    kind = body.get("type")
    shape = UP.get(kind) if isinstance(kind, str) else None
    if shape is None:
        detail = f"type: one of {', '.join(UP)} expected, got {clean_text(repr(kind), 40)}"
        raise SettopError(Reason.UNSUPPORTED, detail, data, device=device, ref=ref)
    faults: list[tuple[Reason, str]] = []
    at_ms = time_ms(body["ts"]) if body.get("ts") is not None else None
    if at_ms is None and body.get("ts") is not None:
        faults.append((Reason.RANGE, f"ts: time expected, got {clean_text(repr(body['ts']), 60)}"))
    if body.get("device") not in (None, device):
        # The topic is what the broker's access list proves; a name in the payload is only a claim.
        faults.append((Reason.RANGE, f"device: {device} expected as in the topic, got {clean_text(repr(body['device']), 60)}"))
    try:
        fields = _checked(shape, body, faults)
    except RemoteProtocolError as error:
        raise SettopError(error.reason, f"{kind}: {error.detail}", data, device=device, ref=ref) from None
    return UpMessage(device, str(kind), ref, at_ms, fields, faults)


def encode_up(kind: str, /, *, ref: str | None = None, at_ms: int | None = None, **fields: Any) -> bytes:
    """The bytes that a box sends. Raises LocalProtocolError on a message that the table does not allow."""
    shape = UP.get(kind)
    if shape is None:
        raise LocalProtocolError(f"type: one of {', '.join(UP)} expected, got {kind!r}")
    _must_fit(shape, fields)
    head = {"type": kind, "ref": ref, "ts": at_ms}
    return _json({key: value for key, value in {**head, **fields}.items() if value is not None})


def encode_down(kind: str, command: str = "", /, **fields: Any) -> bytes:
    """The bytes of a message to a box; texts lose their markup. Raises LocalProtocolError on what the table does not allow."""
    shape = DOWN.get(kind)
    if shape is None:
        raise LocalProtocolError(f"type: one of {', '.join(DOWN)} expected, got {kind!r}")
    given = {name: plain_text(value) if name in ("text", "title", "from") else value for name, value in fields.items() if value is not None}
    _must_fit(shape, given)
    return _json({"type": kind, **({"id": command} if command else {}), **given})


def decode_down(data: bytes) -> DownMessage:
    """A message as the box reads it. Raises RemoteProtocolError."""
    body = load_object(data, MESSAGE_LIMIT)
    kind = body.get("type")
    shape = DOWN.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"type: one of {', '.join(DOWN)} expected", data)
    return DownMessage(str(kind), clean_text(body.get("id", ""), 128), _checked(shape, body, []))


_TAG = re.compile(r"<\s*[/!?]?\s*[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_ANGLES = str.maketrans({"<": "‹", ">": "›"})


def plain_text(text: Any) -> str:
    """Text without tags, control and direction characters: whatever shows it cannot be made to run it.

    >>> plain_text("吃<b>药</b> 2 < 3<script>x</script>")
    '吃药 2 ‹ 3x'
    """
    return clean_text(_TAG.sub("", text if isinstance(text, str) else str(text)), 500).translate(_ANGLES)


def schema(direction: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of `up` or `down`, one branch for each message type."""
    shapes = UP if direction == "up" else DOWN
    head: dict[str, Field] = (
        {"ref": {"type": ["string", "integer"]}, "ts": {"type": ["string", "integer", "number"]}, "device": _text(64)}
        if direction == "up"
        else {"id": _RE}
    )
    branches = []
    for kind, shape in shapes.items():
        needs_id = direction == "down" and kind != "ack"
        branches.append(
            {
                "title": kind,
                "description": shape.says,
                "type": "object",
                "properties": {"type": {"const": kind}, **head, **shape.fields},
                "required": ["type", *(["id"] if needs_id else []), *shape.required],
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Anhu set-top box, {'box to gateway' if direction == 'up' else 'gateway to box'}",
        "oneOf": branches,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _checked(shape: Shape, body: dict[str, Any], faults: list[tuple[Reason, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in shape.fields.items():
        value = body.get(name)
        if value is None:
            if name in shape.required:
                raise RemoteProtocolError(Reason.RANGE, f"{name} is missing")
            continue
        if name == "re" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value) if abs(value) < 10**18 else ""
        fault = _fault(field, value)
        if not fault:
            fields[name] = clean_text(value, field.get("maxLength", 200)) if isinstance(value, str) else value
        elif name in shape.required:
            raise RemoteProtocolError(Reason.RANGE, f"{name}: {fault} expected, got {clean_text(repr(value), 60)}")
        else:
            faults.append((Reason.RANGE, f"{name}: {fault} expected, got {clean_text(repr(value), 60)}"))
    return fields


def _must_fit(shape: Shape, fields: dict[str, Any]) -> None:
    faults = [f"{name}: unknown field" for name in fields if name not in shape.fields]
    faults += [f"{name} is missing" for name in shape.required if fields.get(name) is None]
    for name, value in fields.items():
        fault = _fault(shape.fields[name], value) if name in shape.fields and value is not None else ""
        faults += [f"{name}: {fault} expected, got {value!r:.60}"] if fault else []
    if faults:
        raise LocalProtocolError("; ".join(faults))


def _fault(field: Field, value: Any) -> str:
    """What was expected, where `value` is not that; empty where it is."""
    kind = field["type"]
    if kind == "boolean":
        return "" if isinstance(value, bool) else "true or false"
    if kind == "integer":
        fits = isinstance(value, int) and not isinstance(value, bool) and field["minimum"] <= value <= field["maximum"]
        return "" if fits else f"{field['minimum']}..{field['maximum']}"
    if not isinstance(value, str):
        return "a text"
    if "enum" in field:
        return "" if value in field["enum"] else "one of " + ", ".join(field["enum"])
    if "pattern" in field and not re.search(field["pattern"].removesuffix("$") + r"\Z", value):
        return f"text like {field['pattern']}"
    least, most = field.get("minLength", 0), field.get("maxLength", 10_000)
    return "" if least <= len(value) <= most else f"{least}..{most} characters"
