"""A television with Kodi: the real program under Xvfb, or a peer that answers as the real one was recorded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from drivers.kodi.driver import keymap
from protocols.mqtt.kodi import Splitter
from tests.conftest import need
from tests.gateway.process import free_port

START_S = 60.0
RECORDED = Path(__file__).with_name("kodi_frames.jsonl")
SETTINGS = """<settings version="2">
<setting id="services.esenabled">true</setting><setting id="services.esallinterfaces">false</setting>
<setting id="services.webserver">false</setting><setting id="services.zeroconf">false</setting><setting id="services.upnp">false</setting>
<setting id="general.addonupdates">2</setting>
</settings>
"""


class RealKodi:
    """Kodi with its JSON-RPC on `port`, a keymap of ours and a screen that nobody sees."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.program = find_kodi()
        self._xvfb_program = need("Xvfb")
        self.home = home
        self._children: list[subprocess.Popen[bytes]] = []
        self.display = ""

    def start(self) -> RealKodi:
        data = self.home / ".kodi" / "userdata"
        (data / "keymaps").mkdir(parents=True)
        (data / "guisettings.xml").write_text(SETTINGS)
        (data / "keymaps" / "anhu.xml").write_text(keymap())
        (data / "advancedsettings.xml").write_text(
            f"<advancedsettings><jsonrpc><tcpport>{self.port}</tcpport></jsonrpc></advancedsettings>"
        )
        read, write = os.pipe()
        xvfb = [self._xvfb_program, "-displayfd", str(write), "-screen", "0", "1280x720x24", "-nolisten", "tcp"]
        self._spawn(xvfb, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as said:
            self.display = f":{said.readline().strip()}"
        self._spawn([self.program, "--standalone"], env={**os.environ, "HOME": str(self.home), "DISPLAY": self.display})
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert self._children[-1].poll() is None, "Kodi ended"
                time.sleep(0.1)
        raise AssertionError("Kodi does not answer")

    def press(self, key: str) -> None:
        """A key of the keyboard, at the screen."""
        subprocess.run([need("xdotool"), "key", key], check=True, env={**os.environ, "DISPLAY": self.display})

    def stop(self) -> None:
        for child in reversed(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _spawn(self, command: list[str], **more: Any) -> None:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **more)
        self._children.append(child)


def find_kodi() -> str:
    """Path of the program itself (the script in /usr/bin wants a desktop). Skips the test where it is absent."""
    found = next((str(path) for path in Path("/usr/lib").glob("*/kodi/kodi.bin")), None) or shutil.which("kodi.bin")
    if found is None:
        pytest.skip("kodi is absent: apt-get install --no-install-recommends kodi xvfb xdotool")
    return found


class Recorder:
    """Stands between a gateway and Kodi and keeps what each says, in order."""

    def __init__(self, to_port: int) -> None:
        self.lines: list[dict[str, Any]] = []
        self._to_port = to_port
        self.port = 0

    async def __aenter__(self) -> Recorder:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_in, theirs_out = await asyncio.open_connection("127.0.0.1", self._to_port)
        await asyncio.gather(self._copy("gateway", reader, theirs_out), self._copy("kodi", theirs_in, writer))

    async def _copy(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                self.lines += [{"from": who, "text": found.decode()} for found in splitter.feed(data) if isinstance(found, bytes)]
                writer.write(data)
                await writer.drain()
        writer.close()


class RecordedKodi:
    """Answers each method as Kodi 20.1 was recorded to, and sends recorded notifications on demand."""

    def __init__(self, path: Path = RECORDED) -> None:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        self._methods: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self._answers: dict[str, list[str]] = {}
        self.unasked: list[str] = []
        for row in rows:
            body = json.loads(row["text"])
            if row["from"] == "gateway":
                self._methods[body["id"]] = body["method"]
            elif "id" in body:
                self._answers.setdefault(self._methods[body["id"]], [row["text"]])
            else:
                self.unasked.append(row["text"])
        self.port = 0
        self._writer: asyncio.StreamWriter | None = None
        self.connected = asyncio.Event()

    async def __aenter__(self) -> RecordedKodi:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self._writer is not None:
            self._writer.close()

    def say(self, method: str) -> None:
        """A recorded notification, as bytes of Kodi."""
        assert self._writer is not None
        self._writer.write(next(text for text in self.unasked if json.loads(text)["method"] == method).encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connected.set()
        splitter = Splitter()
        while data := await reader.read(65536):
            for found in splitter.feed(data):
                assert isinstance(found, bytes)
                body = json.loads(found)
                self.asked.append(body)
                for text in self._answers.get(body["method"], ()):
                    writer.write(json.dumps({**json.loads(text), "id": body["id"]}).encode())
