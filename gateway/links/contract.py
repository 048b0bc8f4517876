"""What the gateway needs of an MQTT client, towards devices and towards a platform.

Messages come in batches (one socket read, one batch). Nothing is acknowledged by itself: `acknowledge` is called after the commit
and sends PUBACKs in arrival order (MQTT-4.6.0-2). `publish` never waits; `on_delivered` tells which tokens the broker has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec


class Inbound(NamedTuple):
    """A received message; `token` goes back to `acknowledge`."""

    topic: str
    payload: bytes
    retained: bool
    token: int
    correlation: bytes | None = None
    response_topic: str | None = None
    expiry_s: int | None = None
    """MQTT 5: what is left of its life."""


class Will(NamedTuple):
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes
    retain: bool = True


class LinkOptions(msgspec.Struct, kw_only=True):
    """Where and how to connect. `window` bounds unacknowledged messages in each direction."""

    host: str
    port: int
    client_id: str
    version: str = "3.1.1"
    user: str = ""
    password: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: int = 12
    window: int = 1000
    will: Will | None = None
    session_expiry_s: int = 7 * 24 * 3600
    topics: list[str] = []


POISON = frozenset((0x90, 0x95, 0x99))
"""Refusals of a broker that no repetition can mend: invalid topic, too large, wrong payload format."""
LARGEST_PACKET = 268_435_455
"""MQTT allows no more; a broker may allow less."""


class LinkEvents(NamedTuple):
    """What the owner of a link hears. All are called in the event loop and must not block.

    `on_refused` gets (token, why) of a publish that the broker will never take, before `on_delivered` ends it."""

    on_messages: Callable[[list[Inbound]], None]
    on_delivered: Callable[[list[int]], None]
    on_up: Callable[[], None]
    on_down: Callable[[str], None]
    on_refused: Callable[[int, str], None] = lambda token, why: None


class Link(Protocol):
    """An MQTT connection that comes back by itself."""

    connected: bool

    async def run(self) -> None:
        """Connect and stay connected until cancelled."""
        ...

    def subscribe(self, topics: list[str]) -> None:
        """Have these topics (QoS 1), now and after every reconnect."""
        ...

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: list[tuple[str, str]] | None = None,
        correlation: bytes = b"",
    ) -> int:
        """Send; the token comes back in `on_delivered` once the broker has it. Returns 0 for QoS 0. MQTT 5: `properties` are user
        properties of an event, `correlation` is the correlation data of the request that this answers."""
        ...

    def acknowledge(self, tokens: list[int]) -> None:
        """PUBACK messages whose events are on disk, in the order of arrival."""
        ...

    def pause(self, reading: bool) -> None:
        """Stop or go on reading: back-pressure by TCP."""
        ...
