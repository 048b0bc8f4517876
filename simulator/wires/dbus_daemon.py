"""A private D-Bus for programs under test: started, killed and started again on one address."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from simulator.errors import SimulatorError

START_S = 10.0

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class BusError(SimulatorError):
    """The private bus cannot be started."""


class PrivateBus:
    """One `dbus-daemon` on a socket in a folder of its own. Everything is allowed on it; no file of the system is read."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="anhu-bus-"))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """What a client connects to."""
        return f"unix:path={self._folder / 'bus'}"

    async def start(self) -> None:
        """Ready when it returns. Raises BusError when dbus-daemon is absent or does not start."""
        program = shutil.which("dbus-daemon")
        if program is None:
            raise BusError("dbus-daemon is not installed", hint="apt-get install dbus-daemon")
        config = self._folder / "bus.conf"
        config.write_text(_CONFIG.format(address=self.address), "utf-8")
        self._process = await asyncio.create_subprocess_exec(
            program, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        if not line:
            raise BusError(f"dbus-daemon did not start on {self.address}", hint="run it by hand to see why")

    async def stop(self) -> None:
        """End the daemon; every connection to it breaks."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()
        self._process = None
        (self._folder / "bus").unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave no file behind."""
        shutil.rmtree(self._folder, ignore_errors=True)
