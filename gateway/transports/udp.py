"""UDP ports for devices: each datagram stands alone, sessions are kept per peer address and forgotten when silent."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from drivers.api import Driver, Frame, Match, Send, Transport
from gateway.clock import Clock
from gateway.errors import TransportError
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import ListenSection
from gateway.transports.tcp import verdicts_on

MOST_PEERS = 20_000
"""Peers that are remembered; the longest silent one goes first (addresses can be forged, memory must not follow)."""


class UdpListener(asyncio.DatagramProtocol):
    """One port."""

    def __init__(
        self,
        settings: ListenSection,
        pipeline: Pipeline,
        clock: Clock,
        *,
        make: Callable[[type[Driver], dict[str, Any]], Session],
        candidates: list[type[Driver]],
        detach: Callable[[Session], None],
        room: asyncio.Event,
    ) -> None:
        self.settings = settings
        self.port = settings.port
        self.counts: Counter[str] = Counter()
        self._pipeline = pipeline
        self._clock = clock
        self._make = make
        self._candidates = candidates
        self._detach = detach
        self._room = room
        self._out: asyncio.DatagramTransport | None = None
        self._sessions: OrderedDict[tuple[str, int], Session] = OrderedDict()

    async def start(self) -> None:
        """Open the port. Raises TransportError."""
        s = self.settings
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(s.host, s.port))
        except OSError as error:
            hint = "another program has it: ss -lunp; or choose another listen.port"
            raise TransportError(f"udp port {s.host}:{s.port}: {error.strerror or error}", hint=hint) from error
        self._out = transport
        self.port = transport.get_extra_info("sockname")[1]

    async def run(self) -> None:
        """Forget silent peers, until cancelled."""
        while True:
            await asyncio.sleep(30)
            now = self._clock.now().s
            while self._sessions:
                address, session = next(iter(self._sessions.items()))
                if now - session.last_s <= self.settings.idle_s:
                    break
                del self._sessions[address]
                self._detach(session)

    async def stop(self) -> None:
        """Close the port."""
        if self._out is not None:
            self._out.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One datagram."""
        if not self._room.is_set():
            # Nothing can be stored: an unanswered device sends again, an answered one would not.
            self._pipeline.drop(1)
            return
        frame = Frame(data=data, received=self._clock.now(), transport=Transport.UDP, peer=f"{addr[0]}:{addr[1]}")
        session = self._sessions.get(addr) or self._begin(frame, addr)
        if session is None:
            self.counts["unrecognised"] += 1
            self._pipeline.drop(1)
            return
        self._sessions.move_to_end(addr)
        self._pipeline.feed(session, [frame])

    def _begin(self, frame: Frame, addr: tuple[str, int]) -> Session | None:
        driver = self._candidates[0] if self.settings.driver != "auto" else self._choose(frame)
        if driver is None:
            return None
        session = self._make(driver, dict(self.settings.options))
        session.peer = frame.peer
        session.send = lambda sends: self._write(sends, addr)
        self._sessions[addr] = session
        if len(self._sessions) > MOST_PEERS:
            self._detach(self._sessions.popitem(last=False)[1])
        return session

    def _choose(self, frame: Frame) -> type[Driver] | None:
        return next((driver for driver, match in verdicts_on(frame, self._candidates) if match is Match.YES), None)

    def _write(self, sends: list[Send], addr: tuple[str, int]) -> None:
        if self._out is not None and not self._out.is_closing():
            for send in sends:
                self._out.sendto(send.data, addr)
