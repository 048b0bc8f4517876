"""Serial ports: one device per port, opened, lost and found again.

serialx gives asyncio streams over a tty, `socket://` or `rfc2217://`. A port that vanishes is an event (device offline) and is
looked for until it is back; a port that is busy or forbidden is explained once. A rate at which nothing makes sense is told, with the
one at which it would; with `baud = "auto"` that one is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import Counter

import structlog

from drivers.api import DeviceHealth, Driver, Event, Frame, Framing, Occurrence, OccurrenceKind, Send, State, Transport
from drivers.events import Body
from drivers.vocabulary import TimeQuality
from gateway.clock import Clock
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import SerialSection
from gateway.transports.line_speed import DEFAULT_BAUD, Ear, Heard, Reader, find_rate, others

READ_BYTES = 4096
CLOSE_S = 1.0
UNFRAMED, SILENT = "unframed", "silent"
"""Ends of an opening that are no loss of the port."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
PROBE_AGAIN_S = 600.0
"""A line that makes no sense at any rate is listened to again after this."""
TURN_S = 10.0
"""With `baud = "auto"`: a device that says nothing for so long, though it was asked, is asked at the driver's next rate."""
HINTS = {
    errno.EACCES: "add the user to the group of the port: adduser anhu dialout",
    errno.ENOENT: "is the adapter plugged in? ls -l /dev/serial/by-id",
    errno.EBUSY: "another program has the port: fuser -v PORT",
}


class LineSession(Session):
    """A session whose driver tells how much of a serial line it understands."""

    def framing(self) -> tuple[int, int] | None:
        """Bytes of frames, bytes of none; None for a driver that cannot tell."""
        return self._driver.framing() if isinstance(self._driver, Framing) else None

    def listener(self) -> Driver:
        """A driver of the same kind, to listen with: what it hears has no effect."""
        return self.driver_type(self._options, self.device)


class SerialPort:
    """One port and the session of the device on it. `baud`: the rate in use; `fault`: what is wrong with the line, or empty."""

    def __init__(self, settings: SerialSection, session: Session, pipeline: Pipeline, clock: Clock, room: asyncio.Event) -> None:
        self.settings = settings
        self.session = session
        self.counts: Counter[str] = Counter()
        self.online = False
        self.fault = ""
        self._usual = session.driver_type.info.bauds
        self.baud = (self._usual or (DEFAULT_BAUD,))[0] if settings.baud == "auto" else settings.baud
        self._pipeline = pipeline
        self._clock = clock
        self._room = room
        self._writer: asyncio.StreamWriter | None = None
        self._ear = Ear()
        self._is_proven = False
        self._proven_baud = 0
        self._probe_s = 0.0
        session.send = self._write
        session.peer = settings.port

    async def run(self) -> None:
        """Open, read, open again, until cancelled."""
        wait = FIRST_WAIT_S
        said = ""
        while True:
            why: str | None = "closed"
            try:
                why = await self._serve()
                if why == UNFRAMED:
                    await self._probe()
                wait = FIRST_WAIT_S
            except (OSError, ValueError) as error:
                why = str(error)
                if why != said:
                    code = error.errno if isinstance(error, OSError) else None
                    structlog.get_logger().warning("serial port lost", port=self.settings.port, why=why, hint=HINTS.get(code or 0, ""))
                    said = why
            finally:
                await self._shut()
            if why in (UNFRAMED, SILENT):
                continue
            if self.online:
                self.online, said, wait = False, "", FIRST_WAIT_S
                self._say(DeviceHealth(online=False))
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    async def _serve(self) -> str:
        """Read until the line ends, or makes no sense (UNFRAMED), or nobody answers at a rate that is only tried (SILENT)."""
        reader, self._writer = await self._open(self.baud)
        self._ear = Ear(is_trusted=self.baud == self._proven_baud)
        self.counts["opened"] += 1
        if not self.online:
            self.online = True
            structlog.get_logger().info("serial port open", port=self.settings.port, device=self.session.device, baud=self.baud)
            self._say(DeviceHealth(online=True))
        self._pipeline.wake(self.session)
        while True:
            try:
                # Not wait_for: up to Python 3.11 it swallows a cancellation that meets an answer.
                async with asyncio.timeout(self._patience_s):
                    data = await reader.read(READ_BYTES)
            except TimeoutError:
                self.baud = self._usual[(self._usual.index(self.baud) + 1) % len(self._usual)]
                return SILENT
            if not data:
                return "closed"
            frame = Frame(data=data, received=self._clock.now(), transport=Transport.SERIAL, peer=self.settings.port)
            self._pipeline.feed(self.session, [frame])
            if self._is_hopeless(frame.received.s):
                return UNFRAMED
            if not self._room.is_set():
                await self._room.wait()

    async def _open(self, baud: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        import serialx

        s = self.settings
        parity = {"N": serialx.Parity.NONE, "E": serialx.Parity.EVEN, "O": serialx.Parity.ODD}[s.parity]
        return await serialx.open_serial_connection(url=s.port, baudrate=baud, parity=parity, stopbits=s.stop_bits)

    # --- the rate of the line

    @property
    def _patience_s(self) -> float | None:
        is_tried = self.settings.baud == "auto" and not self._is_proven and self.baud in self._usual and len(self._usual) > 1
        return TURN_S if is_tried and self._is_tty else None

    @property
    def _is_tty(self) -> bool:
        return "://" not in self.settings.port

    def _is_hopeless(self, now_s: float) -> bool:
        """Whether it is time to listen at other rates."""
        framing = self.session.framing() if isinstance(self.session, LineSession) else None
        if framing is None or not self._is_tty:
            self._is_proven = True
            return False
        is_hopeless = self._ear.is_hopeless(framing, now_s)
        if self._ear.makes_sense and not is_hopeless:
            self._is_proven, self._proven_baud = True, self.baud
            self._set_fault("")
        return is_hopeless and now_s >= self._probe_s

    async def _probe(self) -> None:
        """Listen at the other usual rates; use what was understood, and the rate where the settings leave it open."""
        await self._shut()
        self._proven_baud = 0
        self.counts["probes"] += 1
        session, s = self.session, self.settings
        assert isinstance(session, LineSession)
        rates = others(self._usual, self.baud)
        heard = await find_rate(self._listen_at, session.listener, rates, clock=self._clock, listen_s=self._ear.listen_s, peer=s.port)
        if heard is None:
            self._probe_s = self._clock.now().s + PROBE_AGAIN_S
            self._set_fault(f"port {s.port}: nothing that a {session.name} says, at {self.baud} or any usual rate; wiring, parity, device?")
            return
        if s.baud == "auto":
            structlog.get_logger().info("serial rate found", port=s.port, baud=heard.baud, was=self.baud)
            self.baud = heard.baud
            self._say(DeviceHealth(parameters={"baud": str(heard.baud)}))
        else:
            self._probe_s = self._clock.now().s + PROBE_AGAIN_S
            self._set_fault(f"port {s.port} speaks {heard.baud}, settings say {s.baud}")
        self._use(heard)

    def _use(self, heard: Heard) -> None:
        """What was heard at the right rate may be an alarm."""
        self._pipeline.feed(self.session, heard.frames)

    async def _listen_at(self, baud: int) -> Reader:
        reader, writer = await self._open(baud)
        return Reader(reader.read, lambda: _closed(writer))

    def _set_fault(self, fault: str) -> None:
        if fault == self.fault:
            return
        self.fault = fault
        state = State.START if fault else State.END
        if fault:
            hint = 'set serial.baud to the rate that the device speaks, or to "auto"'
            structlog.get_logger().warning("serial line makes no sense", fault=fault, hint=hint)
        else:
            structlog.get_logger().info("serial line makes sense", port=self.settings.port, baud=self.baud)
        self._say(Occurrence(kind=OccurrenceKind.FAULT, state=state, detail=fault or f"port {self.settings.port} is understood"))

    # --- bytes and words

    def _write(self, sends: list[Send]) -> None:
        if self._writer is not None:
            self._writer.write(b"".join([send.data for send in sends]))

    async def _shut(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await _closed(writer)

    def _say(self, body: Body) -> None:
        device = self.session.device or self.session.name
        self._pipeline.publish([Event(device=device, at_ms=self._clock.now().ms, body=body, time_quality=TimeQuality.RECEIVED)])


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close and wait until the port is free for the next opening."""
    with contextlib.suppress(OSError, TimeoutError):
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
