"""Kodi JSON-RPC 2.0 as it is spoken on TCP 9090: one JSON text after the other, no separators, answers and notifications mixed.

    {"jsonrpc":"2.0","method":"Player.Open","params":{...},"id":"c-1"}        to Kodi
    {"jsonrpc":"2.0","result":"OK","id":"c-1"}                                answer
    {"jsonrpc":"2.0","method":"Other.sos","params":{"sender":"anhu","data":{"key":"red"}}}     notification

Source: Kodi wiki, "JSON-RPC API/v13"; framing observed on Kodi 20.1 (protocols notes, section 9).
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from protocols.errors import FRAME_SAMPLE_BYTES, Reason, Reject, RemoteProtocolError
from protocols.mqtt.json_path import clean_text, load_json

PORT = 9090
MESSAGE_LIMIT = 64 * 1024
"""Bytes of one message: what we ask for is answered in less than 1 kB."""

_INSIDE = re.compile(rb'[{}\[\]"]')
_STRING_END = re.compile(rb'["\\]')
_START = re.compile(rb'\{\s*(?:"|\})')
_RESTART = re.compile(rb'\{\s{0,8}"jsonrpc"')
"""A quote inside a JSON text is escaped, so these bytes inside a message mean that it was cut short and the next one began."""
_RESTART_BYTES = 20


class Answer(NamedTuple):
    """The answer to request `id`; `error` is empty where it went well."""

    id: str
    result: Any
    error: str


class Notification(NamedTuple):
    """Something that happened in Kodi; `sender` is `xbmc`, or whoever called NotifyAll."""

    method: str
    sender: str
    data: Any


class Request(NamedTuple):
    """A call, as Kodi reads it."""

    id: str
    method: str
    params: dict[str, Any]


Message = Answer | Notification | Request


class Splitter:
    """Cuts a stream into JSON objects: a state machine over brackets and quotes, each byte looked at once.

    An object that grows above `limit` is refused as a whole, one that was cut short ends where the next message begins.
    """

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._buffer = b""
        self._reset()

    def _reset(self) -> None:
        self._scanned = 0
        self._searched = 1
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[bytes | Reject]:
        """Objects and junk that `data` completes, in order."""
        self._buffer += data
        out: list[bytes | Reject] = []
        while self._buffer:
            if not self._depth and not self._begin(out):
                break
            size = self._end()
            restart = _RESTART.search(self._buffer, self._searched, size or len(self._buffer))
            self._searched = max(len(self._buffer) - _RESTART_BYTES, 1)
            if restart:
                cut = self._buffer[: restart.start()]
                out.append(Reject(Reason.TRUNCATED, f"message ended after {len(cut)} bytes", cut[:FRAME_SAMPLE_BYTES]))
                self._buffer = self._buffer[restart.start() :]
                self._reset()
            elif size:
                out.append(self._buffer[:size])
                self._buffer = self._buffer[size:]
                self._reset()
            elif len(self._buffer) > self._limit:
                out.append(Reject(Reason.RANGE, f"message of at most {self._limit} bytes expected", self._buffer[:FRAME_SAMPLE_BYTES]))
                self._skip()
            else:
                break
        return out

    def _begin(self, out: list[bytes | Reject]) -> bool:
        """Stand on a start; what lies before it is junk (white space is none)."""
        found = _START.search(self._buffer)
        at = found.start() if found else len(self._buffer)
        if not found:
            brace = self._buffer.rfind(b"{")
            # A brace with nothing but white space behind it may become a start.
            at = brace if brace >= 0 and not self._buffer[brace + 1 :].strip() else at
        junk, self._buffer = self._buffer[:at], self._buffer[at:]
        if junk.strip():
            out.append(Reject(Reason.NOT_OURS, f"{len(junk)} bytes between messages", junk[:FRAME_SAMPLE_BYTES]))
        return found is not None

    def _end(self) -> int:
        """Size of the first object of the buffer; 0 while it is not complete."""
        buffer, at = self._buffer, self._scanned
        while True:
            found = (_STRING_END if self._in_string else _INSIDE).search(buffer, at)
            if found is None:
                self._scanned = len(buffer)
                return 0
            byte, at = buffer[found.start()], found.end()
            if self._in_string:
                if byte == 0x22:
                    self._in_string = False
                elif at >= len(buffer):
                    self._scanned = at - 1
                    return 0
                else:
                    at += 1
            elif byte == 0x22:
                self._in_string = True
            elif byte in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return at

    def _skip(self) -> None:
        """Give up what never ends. A message that began inside would have been seen as a restart: only its first bytes may be left."""
        self._buffer = self._buffer[-_RESTART_BYTES:]
        self._reset()


def decode(data: bytes) -> Message:
    """The message in one JSON object. Raises RemoteProtocolError."""
    body = load_json(data, MESSAGE_LIMIT)
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise RemoteProtocolError(Reason.NOT_OURS, "JSON-RPC 2.0 object expected", data)
    ident, method, params = body.get("id"), body.get("method"), body.get("params")
    if isinstance(method, str):
        fields = params if isinstance(params, dict) else {}
        if ident is not None:
            return Request(clean_text(ident, 128), method, fields)
        return Notification(clean_text(method, 80), clean_text(fields.get("sender", ""), 80), fields.get("data"))
    if "error" in body:
        error = body["error"]
        text = clean_text(error.get("message", "error")) if isinstance(error, dict) else clean_text(error)
        return Answer(clean_text(ident, 128) if ident is not None else "", None, text or "error")
    if "result" in body and ident is not None:
        return Answer(clean_text(ident, 128), body["result"], "")
    raise RemoteProtocolError(Reason.UNSUPPORTED, "neither method, result nor error", data)


def encode(message: Message) -> bytes:
    """The bytes of a message, in either direction."""
    body: dict[str, Any] = {"jsonrpc": "2.0"}
    if isinstance(message, Request):
        body |= {"method": message.method, "params": message.params, "id": message.id}
    elif isinstance(message, Notification):
        body |= {"method": message.method, "params": {"sender": message.sender, "data": message.data}}
    elif message.error:
        body |= {"error": {"code": -32100, "message": message.error}, "id": message.id}
    else:
        body |= {"result": message.result, "id": message.id}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
