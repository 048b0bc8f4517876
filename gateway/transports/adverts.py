"""From advertisements to sessions: known devices by address, strangers by what the drivers recognise."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from drivers import registry
from drivers.api import Driver, Frame, Match, Matcher, Send, Transport
from gateway.inventory import Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session, verdict
from gateway.transports.ble import Whose

STRANGERS = 512
"""Sessions of unknown addresses that are kept: enough to decode what an installer wants to see, bounded against random addresses."""


class AdvertRouter:
    """All BLE sessions of a gateway. `make` builds a session for a known device id, `connect` gives it a way to its values (GATT).

    A driver with an entry in `options` hears all addresses in one session: badges change their address and are known by content.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inventory: Inventory,
        drivers: list[str],
        *,
        make: Callable[[type[Driver], dict[str, Any], str | None], Session],
        connect: Callable[[str, Session], None],
        options: dict[str, dict[str, Any]],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._connect = connect
        self._shared = [
            (driver, make(driver, options[driver.info.name], None)) for driver in map(registry.load, drivers) if driver.info.name in options
        ]
        for _, session in self._shared:
            # It serves all badges and never becomes the session of the first that is heard.
            session.shared = True
        shared = {driver.info.name for driver, _ in self._shared}
        self._pipeline = pipeline
        self._inventory = inventory
        self._drivers = [registry.load(name) for name in drivers if name not in shared]
        # Asked once: the question costs more than the answer of a driver to an advertisement.
        self._matchers = [driver for driver in self._drivers if isinstance(driver, Matcher)]
        self._make = make
        self._sessions: dict[str, Session] = {}
        self._strangers: OrderedDict[str, Session] = OrderedDict()

    def rank(self, frame: Frame) -> Whose:
        """Whose an advertisement is, before it waits for its turn."""
        if frame.address in self._sessions or self._known(frame) or self._together(frame):
            return Whose.OURS
        if frame.address in self._strangers or any(verdict(driver, frame) is Match.YES for driver in self._matchers):
            return Whose.STRANGERS
        return Whose.NOBODYS

    def deliver(self, frame: Frame) -> None:
        """One advertisement."""
        session = self._sessions.get(frame.address) or self._known(frame) or self._together(frame) or self._stranger(frame)
        if session is None:
            self.counts["not ours"] += 1
            return
        self._pipeline.feed(session, [frame])

    def _known(self, frame: Frame) -> Session | None:
        for driver in self._drivers:
            # Not `find`: while a pairing window is open that would take every telephone in, as a device of the first driver.
            row = self._inventory.row(f"{driver.info.name}:{frame.address}")
            if row is not None:
                session = self._make(driver, row.options, row.device)
                self._sessions[frame.address] = session
                if Transport.BLE_GATT in driver.info.transports:
                    self._connect(frame.address, session)
                return session
        return None

    def _together(self, frame: Frame) -> Session | None:
        for driver, session in self._shared:
            if verdict(driver, frame) is Match.YES:
                return session
        return None

    def _stranger(self, frame: Frame) -> Session | None:
        session = self._strangers.get(frame.address)
        if session is not None:
            self._strangers.move_to_end(frame.address)
            return session
        for driver in self._matchers:
            if verdict(driver, frame) is Match.YES:
                session = Session(driver, {}, None, _nobody, peer=frame.address)
                self._strangers[frame.address] = session
                if len(self._strangers) > STRANGERS:
                    self._pipeline.forget(self._strangers.popitem(last=False)[1])
                return session
        return None


def _nobody(sends: list[Send]) -> None:
    """Advertisements have no way back."""
