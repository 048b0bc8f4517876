"""One driver instance and the device or connection behind it.

The session feeds the driver and keeps one faulty driver away from its neighbours: an exception in a driver is our bug, the frame
is kept, the session goes on. It knows nothing of sockets: `send` is given by the transport.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import msgspec
import structlog

from drivers.api import Command, CommandStatus, Driver, Frame, Instant, Match, Output, Reason, Reject, Send, Stateful, Transport

KEPT_PER_MINUTE = 60
"""Refused frames of one session that are kept for inspection per minute; more are counted only (a flood must not fill the disk)."""


EARLY_LIMIT = 64 * 1024
"""Bytes of a stream that are kept until the peer has shown who it is: a login, and what a device sends together with it."""
_STREAMS = (Transport.TCP, Transport.SERIAL)


class Session:
    """A driver at work. `device` is None until the peer has shown who it is."""

    def __init__(
        self,
        driver_type: type[Driver],
        options: dict[str, Any],
        device: str | None,
        send: Callable[[list[Send]], None],
        *,
        peer: str = "",
        close: Callable[[str], None] | None = None,
        state: bytes | None = None,
        shared: bool = False,
    ) -> None:
        self.driver_type = driver_type
        self.name = driver_type.info.name
        self.device = device
        self.peer = peer
        self.accepted = device is not None
        self.shared = shared
        """Serves many devices at once (a driver on MQTT topics): it never becomes the session of one of them."""
        self.exclusive = False
        """A connection of its own (TCP): two of one identity cannot both be right."""
        self.wake_s: float | None = None
        self.frames = 0
        self.failures = 0
        self.last_s = 0.0
        self.send = send
        self.close = close or (lambda why: None)
        self._options = dict(options)
        self._driver = driver_type(options, device)
        self._stateful = self._ability()
        self._state = b""
        self._early = b""
        self._topics: list[str] = []
        self._kept = 0
        self._kept_minute = -1
        if state is not None:
            self.load(state)

    def receive(self, frame: Frame) -> Output:
        """What the driver makes of a frame."""
        self.frames += 1
        self.last_s = frame.received.s
        if self.device is None and frame.transport in _STREAMS:
            self._early = (self._early + frame.data)[-EARLY_LIMIT:]
        elif self._early:
            self._early = b""
        try:
            output = self._driver.receive(frame)
        except Exception as error:  # noqa: BLE001 - a driver's bug must not reach its neighbours
            return self._failed(error, frame.data)
        if output.wake_s is not None:
            self._wish(output.wake_s)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """What the driver makes of a command."""
        output = self._guard(lambda: self._driver.command(command, now))
        if output.rejects and not output.events:
            output.events.append(command.result(CommandStatus.FAILED, now, "the driver failed"))
        return output

    def wake(self, now: Instant) -> Output:
        """What the driver does at its wake time."""
        self.wake_s = None
        return self._guard(lambda: self._driver.wake(now))

    def topics(self) -> list[str]:
        """MQTT topics that the driver wants."""
        found = getattr(self._driver, "topics", None)
        if found is not None:
            try:
                self._topics = list(found())
            except Exception as error:  # noqa: BLE001 - as in `receive`: what it wanted before still comes to it
                self._note(error)
        return self._topics

    def again(self, options: dict[str, Any], device: str, frame: Frame) -> Output:
        """Start over with the options of the device that the peer turned out to be: what the driver makes of all that it has sent."""
        self._options.update(options)
        self._driver = self.driver_type(self._options, device)
        self._stateful = self._ability()
        if self._early:
            frame = msgspec.structs.replace(frame, data=self._early, evidence="")
        return self.receive(frame)

    def _ability(self) -> Stateful | None:
        return cast(Stateful, self._driver) if _keeps_state(self.driver_type) else None

    def load(self, state: bytes) -> None:
        """Give the driver its stored state."""
        if self._stateful is not None:
            with contextlib.suppress(Exception):
                # A damaged state is worth less than a working driver: it starts afresh.
                self._stateful.load(state)
            self._state = state

    def changed_state(self) -> bytes | None:
        """The driver's state where it differs from what was last stored."""
        if self._stateful is None:
            return None
        try:
            state = self._stateful.dump()
        except Exception as error:  # noqa: BLE001 - as in `receive`: what the frame held is committed and answered all the same
            self._note(error)
            return None
        if state == self._state:
            return None
        self._state = state
        return state

    def may_keep(self, now: Instant) -> bool:
        """Whether one more refused frame of this session goes to the quarantine."""
        minute = int(now.s // 60)
        if minute != self._kept_minute:
            self._kept_minute, self._kept = minute, 0
        self._kept += 1
        return self._kept <= KEPT_PER_MINUTE

    def _guard(self, work: Callable[[], Output]) -> Output:
        try:
            output = work()
        except Exception as error:  # noqa: BLE001 - as in `receive`
            return self._failed(error, b"")
        if output.wake_s is not None:
            self._wish(output.wake_s)
        return output

    def _wish(self, wake_s: float) -> None:
        self.wake_s = wake_s if self.wake_s is None else min(self.wake_s, wake_s)

    def _note(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            structlog.get_logger().error("driver failed", driver=self.name, device=self.device, exc_info=error)

    def _failed(self, error: Exception, data: bytes) -> Output:
        self._note(error)
        return Output(rejects=[Reject(Reason.UNSUPPORTED, f"driver failed: {type(error).__name__}: {error}", data[:1024])])


@cache
def _keeps_state(driver_type: type[Driver]) -> bool:
    """Asked once for a driver: the question costs as much as decoding a frame, and a storm of logins asks it thousands of times."""
    return issubclass(driver_type, Stateful)


def verdict(driver: type[Driver], frame: Frame) -> Match:
    """What a driver that can tell says of a frame; NO where it fails: its bug must not cost other drivers their devices."""
    try:
        return Match(cast(Any, driver).match(frame))
    except Exception as error:  # noqa: BLE001 - see above
        _tell_failed_match(driver, error)
        return Match.NO


_FAILED: set[str] = set()


def _tell_failed_match(driver: type[Driver], error: Exception) -> None:
    name = driver.info.name
    if name not in _FAILED:
        _FAILED.add(name)
        structlog.get_logger().error("driver failed to look at a frame", driver=name, exc_info=error)
