"""A serial line: a pty whose far end a gateway opens as if it were `/dev/ttyUSB0`."""

from __future__ import annotations

import asyncio
import os
import tty
from pathlib import Path

from simulator.errors import SimulatorError
from simulator.wires.uart import heard, speed_of
from simulator.wires.wire import Peer, WireStats

READ_BYTES = 4096


class PtyWire:
    """A raw pty pair. `link`: path of a symlink to the far end, made by `open` and removed at the end of `run`.

    `baud`: rate of the device, 0 for any. A pty carries bytes whatever its ends are set to; a far end that is set to another rate
    reads, and is read as, what a UART would make of it.
    """

    def __init__(self, link: Path, *, baud: int = 0) -> None:
        self.stats = WireStats()
        self.link = link
        self._baud = baud
        self._near: int | None = None
        self._far: int | None = None

    def open(self) -> None:
        """Make the pair and the symlink, so that a gateway can be started before the device speaks."""
        if self._near is not None:
            return
        if self.link.exists() and not self.link.is_symlink():
            raise SimulatorError(f"{self.link}: a symlink or nothing expected, got a file", hint="choose another path for the serial line")
        near, far = os.openpty()
        # Both ends raw: a pty begins as a terminal that turns CR into LF and echoes.
        tty.setraw(near)
        tty.setraw(far)
        os.set_blocking(near, False)
        self._near, self._far = near, far
        self.link.parent.mkdir(parents=True, exist_ok=True)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(far))

    async def run(self, peer: Peer) -> None:
        """Hold the line until cancelled."""
        self.open()
        near = self._near
        assert near is not None
        loop = asyncio.get_running_loop()
        loop.add_reader(near, self._read, near, peer)
        self.stats.connects += 1
        try:
            peer.up()
            await loop.create_future()
        finally:
            loop.remove_reader(near)
            self.close()

    def send(self, data: bytes, to: str = "") -> bool:
        """False when the far end does not read and the line is full: a UART does not wait, the bytes are lost."""
        if self._near is None:
            self.stats.refused += 1
            return False
        if self._baud:
            data = heard(data, self._baud, self._far_baud())
        try:
            written = os.write(self._near, data)
        except BlockingIOError:
            written = 0
        if written < len(data):
            self.stats.refused += 1
            return False
        self.stats.took(data)
        return True

    def close(self) -> None:
        """Close both ends and remove the symlink."""
        near, far, self._near, self._far = self._near, self._far, None, None
        if near is None or far is None:
            return
        target = os.ttyname(far)
        if self.link.is_symlink() and str(self.link.readlink()) == target:
            self.link.unlink()
        os.close(near)
        os.close(far)

    def _read(self, near: int, peer: Peer) -> None:
        try:
            data = os.read(near, READ_BYTES)
        except OSError:
            # Our own hold on the far end keeps the pair alive; there is nothing to read all the same.
            return
        if data:
            self.stats.got(data)
            peer.receive(heard(data, self._far_baud(), self._baud) if self._baud else data, "")

    def _far_baud(self) -> int:
        return (self._far is not None and speed_of(self._far)) or self._baud
