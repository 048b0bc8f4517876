"""TCP ports for devices: one `asyncio.Protocol` per connection, no task per message.

A connection costs about 3 KiB while it is idle. Reading stops while the disk is behind (the peer feels it through TCP), so memory
is bounded without dropping anything. One port may know one protocol, or tell protocols apart by the first bytes
(`driver = "auto"`), never by a guess that sticks: while the bytes do not decide, they are kept and no driver is chosen.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import structlog

from drivers import registry
from drivers.api import Driver, Frame, Match, Matcher, Send, Transport
from gateway.clock import Clock
from gateway.errors import TransportError
from gateway.pipeline import Pipeline
from gateway.session import Session, verdict
from gateway.settings import ListenSection

UNDECIDED_BYTES = 64
"""First bytes that are looked at to tell the protocol; more without a decision is no device of ours."""
WRITE_HIGH_BYTES = 256 * 1024
"""A peer that does not read its acknowledgements is cut off at this."""
SWEEP_S = 5.0
ACCEPTS_PER_TURN = 8
"""New connections per turn of the loop. asyncio takes as many as the backlog holds before it reads from anyone: after a power cut that
would be thousands of logins in front of an SOS. The rest waits in the kernel."""
WAITING_CONNECTIONS = 4096
SPARE_FILES = 256
"""Open files that connections never take: the store must be able to write what they bring."""


class TcpListener:
    """One port. `attach`/`detach` tell the command centre which session serves which device."""

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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self.port = settings.port
        self.most_connections = settings.max_connections
        self.counts: Counter[str] = Counter()
        self.connections: set[TcpConnection] = set()
        self._pipeline = pipeline
        self._clock = clock
        self._make = make
        self._candidates = candidates
        self._detach = detach
        self._room = room
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._held: set[TcpConnection] = set()
        self._beginnings: dict[bytes, list[type[Driver]]] = {}
        self._release: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the port. Raises TransportError."""
        loop = asyncio.get_running_loop()
        s = self.settings
        try:
            self._server = await loop.create_server(lambda: TcpConnection(self), s.host, s.port, ssl=self._tls, backlog=ACCEPTS_PER_TURN)
            for each in self._server.sockets:
                with closing(each.dup()) as twin:
                    twin.listen(WAITING_CONNECTIONS)
        except OSError as error:
            hint = "another program has it: ss -ltnp; or choose another listen.port"
            raise TransportError(f"tcp port {s.host}:{s.port}: {error.strerror or error}", hint=hint) from error
        self.port = self._server.sockets[0].getsockname()[1]
        self.most_connections = _make_room(s.max_connections)
        if self.most_connections < s.max_connections:
            structlog.get_logger().info(
                "fewer connections than set: open files are limited", port=self.port, connections=self.most_connections, hint="LimitNOFILE"
            )

    async def run(self) -> None:
        """Close connections that say nothing, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = self._clock.now().s
            for connection in list(self.connections):
                connection.sweep(now)

    def beginning_with(self, byte: bytes) -> list[type[Driver]]:
        """The drivers that a first byte leaves: whoever refuses a beginning refuses all that begins so. Asked once per byte."""
        found = self._beginnings.get(byte)
        if found is None:
            frame = Frame(data=byte, received=self._clock.now(), transport=Transport.TCP)
            found = [driver for driver, match in verdicts_on(frame, self._candidates) if match is not Match.NO]
            self._beginnings[byte] = found
        return found

    def hold(self, connection: TcpConnection) -> None:
        """Stop reading from a connection until the disk has caught up."""
        connection.pause(True)
        self._held.add(connection)
        if self._release is None or self._release.done():
            self._release = asyncio.get_running_loop().create_task(self._go_on(), name="tcp back-pressure")

    async def _go_on(self) -> None:
        await self._room.wait()
        held, self._held = self._held, set()
        for connection in held:
            connection.pause(False)

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.shut("gateway stops")
        if self._release is not None:
            self._release.cancel()
        if self._server is not None:
            await self._server.wait_closed()


class TcpConnection(asyncio.Protocol):
    """One device's connection."""

    __slots__ = ("_first", "_listener", "_out", "_peer", "_session", "_since_s")

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._session: Session | None = None
        self._first = b""
        self._out: asyncio.Transport | None = None
        self._peer = ""
        self._since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device has connected."""
        assert isinstance(transport, asyncio.Transport)
        listener = self._listener
        self._out = transport
        keep_alive(transport.get_extra_info("socket"))
        name = transport.get_extra_info("peername") or ("?", 0)
        self._peer = f"{name[0]}:{name[1]}"
        self._since_s = listener._clock.now().s
        listener.counts["connections"] += 1
        if len(listener.connections) >= listener.most_connections:
            listener.counts["refused"] += 1
            transport.abort()
            return
        listener.connections.add(self)
        if listener.settings.driver != "auto":
            self._begin(listener._candidates[0])

    def data_received(self, data: bytes) -> None:
        """One read."""
        if self._session is None:
            self._first += data
            chosen = self._choose()
            if chosen is None:
                return
            self._begin(chosen)
            data, self._first = self._first, b""
        assert self._session is not None
        self._listener._pipeline.feed(self._session, [self._frame(data)])
        if not self._listener._room.is_set():
            self._listener.hold(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._listener.connections.discard(self)
        self._out = None
        if self._session is not None:
            self._listener._detach(self._session)

    def sweep(self, now_s: float) -> None:
        """Close a connection that is silent, has never said who it is, or does not read."""
        s = self._listener.settings
        session = self._session
        last = max(self._since_s, session.last_s if session else 0.0)
        if now_s - last > s.idle_s:
            self.shut("idle")
        elif (session is None or not session.accepted) and now_s - self._since_s > s.login_s:
            self.shut("no login")

    def pause(self, stop: bool) -> None:
        """Stop or go on reading."""
        if self._out is not None and not self._out.is_closing():
            (self._out.pause_reading if stop else self._out.resume_reading)()

    def shut(self, why: str) -> None:
        """Close."""
        if self._out is not None:
            self._listener.counts[f"closed: {why}"] += 1
            self._out.close()

    def write(self, sends: list[Send]) -> None:
        """Bytes for the device."""
        out = self._out
        if out is None or out.is_closing():
            return
        out.write(b"".join([send.data for send in sends]))
        if out.get_write_buffer_size() > WRITE_HIGH_BYTES:
            self._listener.counts["closed: does not read"] += 1
            out.abort()

    def _frame(self, data: bytes) -> Frame:
        return Frame(data=data, received=self._listener._clock.now(), transport=Transport.TCP, peer=self._peer)

    def _begin(self, driver: type[Driver]) -> None:
        session = self._listener._make(driver, dict(self._listener.settings.options))
        session.peer, session.send, session.close = self._peer, self.write, self.shut
        session.exclusive = True
        self._session = session

    def _choose(self) -> type[Driver] | None:
        """The protocol of the first bytes; None while they do not decide. Closes on bytes that are nobody's."""
        frame = self._frame(self._first)
        verdicts = verdicts_on(frame, self._listener.beginning_with(self._first[:1]))
        certain = [driver for driver, match in verdicts if match is Match.YES]
        open_ = [driver for driver, match in verdicts if match is Match.MORE]
        if certain and not open_:
            return certain[0]
        if len(self._first) >= UNDECIDED_BYTES or not open_:
            if certain:
                return certain[0]
            self._listener.counts["unrecognised"] += 1
            structlog.get_logger().info(
                "connection not recognised", peer=self._peer, port=self._listener.port, first=self._first[:16].hex()
            )
            self._listener._pipeline.drop(1)
            self.shut("not recognised")
        return None


def files_for(connections: int, soft: int, hard: int) -> tuple[int, int]:
    """The limit of open files to ask for, and the connections that it leaves room for. Limits as of getrlimit (-1: none)."""
    wanted = connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft, connections
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return limit, max(1, min(connections, limit - SPARE_FILES))


def _make_room(connections: int) -> int:
    """Raise this process's limit of open files where that is allowed (1024 is usual, a town has more); the connections that fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit, fit = files_for(connections, soft, hard)
    if limit != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return fit


def keep_alive(sock: Any) -> None:
    """Notice a half-open connection within four minutes: a device behind a mobile network often vanishes without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


def verdicts_on(frame: Frame, drivers: list[type[Driver]]) -> list[tuple[type[Driver], Match]]:
    """What each driver says of first bytes. `drivers` are `candidates` of an `auto` port: each of them can tell."""
    return [(driver, verdict(driver, frame)) for driver in drivers]


def candidates(name: str, transport: Transport) -> list[type[Driver]]:
    """The drivers that a port may meet: the named one, or every one on this wire that can recognise its first bytes."""
    if name != "auto":
        return [registry.load(name)]
    found = [registry.load(each) for each in registry.names()]
    return [driver for driver in found if transport in driver.info.transports and isinstance(driver, Matcher)]
