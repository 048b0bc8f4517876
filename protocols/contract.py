"""The two shapes that every wire format takes.

Datagrams (BLE advertisement, MQTT payload, UDP) are a `Codec`; byte streams (TCP, serial) are a `Connection`.
Both directions are always there: the simulator and the tests need what the gateway does not send.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from protocols.errors import Reject

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class Codec(Protocol[M]):
    """One datagram, one message."""

    def decode(self, data: bytes) -> M:
        """The message in `data`. Raises RemoteProtocolError, and nothing else, on any other bytes."""
        ...

    def encode(self, message: M) -> bytes:
        """The bytes of `message`. Raises LocalProtocolError when the format cannot express it."""
        ...


class Connection(Protocol[M]):
    """One byte stream: keeps a bounded buffer and finds its way back after garbage."""

    def receive(self, data: bytes) -> list[M | Reject]:
        """Every message and refusal that `data` completes, in order. Never raises on bytes from outside."""
        ...

    def send(self, message: M) -> bytes:
        """The bytes of `message`. Raises LocalProtocolError when the format cannot express it."""
        ...
