"""The packets of MQTT 3.1.1 and 5 as plain values. What 3.1.1 cannot say (properties, reason codes) stays at its default there.

Source: OASIS MQTT 3.1.1 and 5.0, chapter 3.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.mqtt.wire_properties import NONE, Properties

V311, V5 = 4, 5
"""Protocol levels as CONNECT carries them."""


class WillMessage(NamedTuple):
    """What the server says for a client that is gone (3.1.2.5)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NONE


class Connect(NamedTuple):
    """3.1. `user` and `password` None: not sent."""

    client_id: str
    version: int = V311
    clean: bool = True
    keepalive_s: int = 0
    will: WillMessage | None = None
    user: str | None = None
    password: bytes | None = None
    properties: Properties = NONE


class ConnAck(NamedTuple):
    """3.2. `code`: return code (3.1.1: 0..5) or reason code."""

    session_present: bool = False
    code: int = 0
    properties: Properties = NONE


class Publish(NamedTuple):
    """3.3. `packet_id` 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NONE


class PubAck(NamedTuple):
    """3.4."""

    packet_id: int
    code: int = 0
    properties: Properties = NONE


class PubRec(NamedTuple):
    """3.5."""

    packet_id: int
    code: int = 0
    properties: Properties = NONE


class PubRel(NamedTuple):
    """3.6."""

    packet_id: int
    code: int = 0
    properties: Properties = NONE


class PubComp(NamedTuple):
    """3.7."""

    packet_id: int
    code: int = 0
    properties: Properties = NONE


class Subscription(NamedTuple):
    """One filter of a SUBSCRIBE; the flags are MQTT 5 only (3.8.3.1)."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(NamedTuple):
    """3.8."""

    packet_id: int
    filters: tuple[Subscription, ...]
    properties: Properties = NONE


class SubAck(NamedTuple):
    """3.9. One code per filter: the granted QoS, or 0x80 and above."""

    packet_id: int
    codes: tuple[int, ...]
    properties: Properties = NONE


class Unsubscribe(NamedTuple):
    """3.10."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NONE


class UnsubAck(NamedTuple):
    """3.11. 3.1.1 carries no codes."""

    packet_id: int
    codes: tuple[int, ...] = ()
    properties: Properties = NONE


class PingReq(NamedTuple):
    """3.12."""


class PingResp(NamedTuple):
    """3.13."""


class Disconnect(NamedTuple):
    """3.14."""

    code: int = 0
    properties: Properties = NONE


class Auth(NamedTuple):
    """3.15, MQTT 5 only."""

    code: int = 0
    properties: Properties = NONE


class Unusable(NamedTuple):
    """A PUBLISH that came and cannot be used: malformed, or larger than we take. With QoS it must be acknowledged all the same, or the
    broker brings it again for ever. `code` is the MQTT 5 reason."""

    packet_id: int
    qos: int
    code: int
    detail: str


Packet = (
    Connect | ConnAck | Publish | PubAck | PubRec | PubRel | PubComp | Subscribe | SubAck | Unsubscribe | UnsubAck
    | PingReq | PingResp | Disconnect | Auth | Unusable
)  # fmt: skip
