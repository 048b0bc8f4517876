"""D-Bus signals read in batches: a busy bus wakes the event loop a hundred times a second, not once a signal.

Half of what an advertisement costs in bleak and dbus-fast is the turn of the event loop that each signal takes (`python -m bench ble`
prints the share). Neither library can be asked to read later, so the reader that dbus-fast hands to the loop is wrapped: after each
read it looks away for a moment, and the kernel collects. Nothing is lost by that, the socket holds back its sender when it is full.

The wrapping takes the place of one function of dbus-fast. Where a later version has no such function everything works as before,
only dearer, and `install` says so.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

PAUSE_S = 0.01
"""A fifth of what an alarm may take from the air to the disk. A question to a GATT device waits less for it than for its radio."""

Reader = Callable[[], None]


def install() -> bool:
    """Let every D-Bus connection that is opened from now on read in batches. False: this dbus-fast cannot be told to."""
    from dbus_fast.aio import message_bus

    original = getattr(message_bus, "build_message_reader", None)
    if original is None:
        return False
    if not isinstance(original, _Builder):
        vars(message_bus)["build_message_reader"] = _Builder(original)
    return True


class _Builder:
    def __init__(self, original: Callable[..., Reader]) -> None:
        self._original = original

    def __call__(self, sock: socket.socket | None, *args: Any) -> Reader:
        read = self._original(sock, *args)
        return read if sock is None else Paced(sock, read)


class Paced:
    """Calls `read` when the socket has something, then not again before `pause_s` have passed."""

    def __init__(self, sock: socket.socket, read: Reader, *, pause_s: float = PAUSE_S) -> None:
        self._sock = sock
        self._read = read
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> None:
        """Called by the loop."""
        self._read()
        number = self._sock.fileno()
        # The read may have closed the connection, or taken its reader back because it is about to.
        if number >= 0 and self._loop.remove_reader(number):
            self._loop.call_later(self._pause_s, self._again)

    def _again(self) -> None:
        number = self._sock.fileno()
        if number >= 0:
            self._loop.add_reader(number, self)
