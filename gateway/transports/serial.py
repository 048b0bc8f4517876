"""Serial ports: one device per port, opened, lost and found again.

serialx gives asyncio streams over a tty, `socket://` or `rfc2217://`. A port that vanishes is an event (device offline) and is
looked for until it is back; a port that is busy or forbidden is explained once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import Counter

import structlog

from drivers.api import DeviceHealth, Event, Frame, Send, Transport
from drivers.vocabulary import TimeQuality
from gateway.clock import Clock
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import SerialSection

READ_BYTES = 4096
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
HINTS = {
    errno.EACCES: "add the user to the group of the port: adduser anhu dialout",
    errno.ENOENT: "is the adapter plugged in? ls -l /dev/serial/by-id",
    errno.EBUSY: "another program has the port: fuser -v PORT",
}


class SerialPort:
    """One port and the session of the device on it."""

    def __init__(self, settings: SerialSection, session: Session, pipeline: Pipeline, clock: Clock, room: asyncio.Event) -> None:
        self.settings = settings
        self.session = session
        self.counts: Counter[str] = Counter()
        self.online = False
        self._pipeline = pipeline
        self._clock = clock
        self._room = room
        self._writer: asyncio.StreamWriter | None = None
        session.send = self._write
        session.peer = settings.port

    async def run(self) -> None:
        """Open, read, open again, until cancelled."""
        wait = FIRST_WAIT_S
        said = ""
        while True:
            why = "closed"
            try:
                await self._serve()
                wait = FIRST_WAIT_S
            except (OSError, ValueError) as error:
                why = str(error)
                if why != said:
                    code = error.errno if isinstance(error, OSError) else None
                    structlog.get_logger().warning("serial port lost", port=self.settings.port, why=why, hint=HINTS.get(code or 0, ""))
                    said = why
            finally:
                self._shut()
            if self.online:
                self.online, said, wait = False, "", FIRST_WAIT_S
                self._tell(why)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    async def _serve(self) -> None:
        import serialx

        s = self.settings
        parity = {"N": serialx.Parity.NONE, "E": serialx.Parity.EVEN, "O": serialx.Parity.ODD}[s.parity]
        reader, writer = await serialx.open_serial_connection(url=s.port, baudrate=s.baud, parity=parity, stopbits=s.stop_bits)
        self._writer = writer
        self.online = True
        self.counts["opened"] += 1
        structlog.get_logger().info("serial port open", port=s.port, device=self.session.device)
        self._tell(None)
        self._pipeline.wake(self.session)
        while True:
            data = await reader.read(READ_BYTES)
            if not data:
                return
            frame = Frame(data=data, received=self._clock.now(), transport=Transport.SERIAL, peer=s.port)
            self._pipeline.feed(self.session, [frame])
            if not self._room.is_set():
                await self._room.wait()

    def _write(self, sends: list[Send]) -> None:
        if self._writer is not None:
            self._writer.write(b"".join([send.data for send in sends]))

    def _shut(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _tell(self, why: str | None) -> None:
        device = self.session.device or self.session.name
        body = DeviceHealth(online=why is None)
        self._pipeline.publish([Event(device=device, at_ms=self._clock.now().ms, body=body, time_quality=TimeQuality.RECEIVED)])
