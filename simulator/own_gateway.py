"""A gateway of the simulator's own: settings and inventory in a folder, `anhu run` as a process, killed, frozen and restarted at will.

    async with OwnGateway(folder, community, ble=False) as gateway:
        await run_community(community, gateway.targets(None), ...)

The process is a group of its own: Ctrl-C at the terminal reaches the simulator alone, which then takes everything down in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simulator.community import Community
from simulator.devices.device import WireKind
from simulator.errors import SimulatorError
from simulator.members import Member, adapters_of
from simulator.run import MqttTarget, Targets, link_name

RUN = (sys.executable, "-m", "gateway.cli", "run")
READY_S, STOP_S = 15.0, 10.0
TENANT = "demo"
COLUMNS = ("device", "driver", "subject", "name", "place", "wire")


class OwnGateway:
    """`upstream`: broker of the platform (host, port), None for the gateway's own. `program`: what is started instead of `anhu run`."""

    def __init__(
        self,
        folder: Path,
        community: Community,
        *,
        ble: bool,
        language: str = "en",
        broker: str = "auto",
        upstream: tuple[str, int] | None = None,
        environment: dict[str, str] | None = None,
        program: Sequence[str] = RUN,
        extra: str = "",
    ) -> None:
        self.folder = folder
        self.mqtt_port = free_port()
        self._rows = community.registry()
        self.ports = {driver: free_port() for driver in sorted({row["driver"] for row in self._rows if row["wire"] == "tcp"})}
        self.udp_ports = {driver: free_port() for driver in sorted({row["driver"] for row in self._rows if row["wire"] == "udp"})}
        self.called = {row["device"]: ("127.0.0.1", free_port()) for row in self._rows if row["wire"] == "called"}
        self._lines = list(_lines(community))
        self._adapters = adapters_of(community.members)
        self._broker, self._language, self._ble, self._extra = broker, language, ble, extra
        self._upstream = upstream
        self._environment = {**os.environ, **(environment or {})}
        self._program = tuple(program)
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> OwnGateway:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write()
        try:
            await self.start()
        except BaseException:
            # Cancelled half-way: nobody else would end the process.
            await asyncio.shield(self.stop())
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def upstream(self) -> tuple[str, int]:
        """Where a platform listens for this gateway's events."""
        return self._upstream or ("127.0.0.1", self.mqtt_port)

    @property
    def topics(self) -> str:
        """Everything that goes up and down between this gateway and its platform."""
        return f"anhu/v1/{TENANT}/{TENANT}/#"

    def secret(self, name: str) -> str:
        """The password that the gateway made for `gateway` or `devices`."""
        return (self.folder / "data" / "secrets" / f"mqtt-{name}").read_text("utf-8").strip()

    def targets(self, radio: Any) -> Targets:
        """Where the devices find it."""
        return Targets(
            tcp={driver: ("127.0.0.1", port) for driver, port in self.ports.items()},
            udp={driver: ("127.0.0.1", port) for driver, port in self.udp_ports.items()},
            mqtt=MqttTarget("127.0.0.1", self.mqtt_port, "devices", self.secret("devices")) if self._uses_mqtt else None,
            serial=self.folder / "serial",
            called=self.called,
            bluez=radio,
        )

    async def start(self) -> None:
        """Start it and wait until its ports answer. Raises SimulatorError with the gateway's own words."""
        if importlib.util.find_spec("gateway") is None:
            raise SimulatorError("no gateway is installed", hint="pip install anhu")
        log_path = self.folder / "gateway.log"
        with log_path.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._program, "--settings", str(self.folder / "anhu.toml"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S
        waiting = [*self.ports.values(), *([self.mqtt_port] if self._uses_mqtt or self._upstream is None else [])]
        while time.monotonic() < deadline and self._child.returncode is None:
            waiting = [port for port in waiting if not await _answers(port)]
            if not waiting:
                return
            await asyncio.sleep(0.02)
        await self.stop()
        raise SimulatorError(f"the gateway did not start: {log_path.read_text('utf-8', 'replace')[-1500:]}", hint="see the lines above")

    async def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGCONT)
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_S)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await child.wait()

    async def kill(self) -> None:
        """kill -9, the gateway with everything that it started, as when the power goes."""
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the gateway alone."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def limit_files(self, size_bytes: int | None) -> None:
        """Let no file of the gateway grow beyond this (None: as before): to SQLite a disk that takes nothing more."""
        if self._child is not None and self._child.returncode is None:
            soft = resource.RLIM_INFINITY if size_bytes is None else size_bytes
            resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    @property
    def _uses_mqtt(self) -> bool:
        return any(row["wire"] == "mqtt" for row in self._rows)

    def _write(self) -> None:
        """Settings and inventory as an installer would write them."""
        with (self.folder / "devices.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow([*COLUMNS, "options"])
            for row in self._rows:
                options = json.dumps(row["options"]) if row["options"] else ""
                table.writerow([row[column] or "" for column in COLUMNS] + [options])
            for line in self._lines:
                if line.options is not None:
                    table.writerow([f"{line.driver}:{line.name}", line.driver, "", line.name, "", "serial", json.dumps(line.options)])
        (self.folder / "anhu.toml").write_text(self._settings(), "utf-8")

    def _settings(self) -> str:
        head = f'[gateway]\nid = "{TENANT}"\ntenant = "{TENANT}"\ndata_dir = "data"\nlanguage = "{self._language}"\n'
        text = head + '[devices]\nfile = "devices.csv"\n'
        if self._uses_mqtt or self._upstream is None:
            text += f'[mqtt]\nbroker = "{self._broker}"\nport = {self.mqtt_port}\n'
        for driver in sorted({row["driver"] for row in self._rows if row["wire"] == "mqtt"}):
            text += f'[[subscribe]]\ndriver = "{driver}"\n'
        for transport, ports in (("tcp", self.ports), ("udp", self.udp_ports)):
            for driver, port in ports.items():
                text += f'[[listen]]\nport = {port}\ndriver = "{driver}"\nhost = "127.0.0.1"\ntransport = "{transport}"\n'
        for line in self._lines:
            text += f'[[serial]]\nport = "{self.folder / "serial" / line.name}"\ndriver = "{line.driver}"\ndevice = "{line.name}"\n'
            text += f"baud = {line.baud}\n"
        for device, (host, port) in self.called.items():
            driver, _, name = device.partition(":")
            text += f'[[serial]]\nport = "socket://{host}:{port}"\ndriver = "{driver}"\ndevice = "{name}"\n'
        if self._ble:
            text += _air(self._rows, self._adapters)
        host, port = self.upstream
        text += f'[[uplink]]\nname = "city"\nhost = "{host}"\nport = {port}\nversion = "3.1.1"\n'
        if self._upstream is None:
            text += 'user = "gateway"\npassword_file = "data/secrets/mqtt-gateway"\n'
        return text + self._extra


def _air(rows: Sequence[dict[str, Any]], adapters: dict[str, str]) -> str:
    """One section for each receiver. What a badge means stands in the settings: its address says nothing."""
    found = [row for row in rows if row["wire"] == "ble"]
    drivers = sorted({row["driver"] for row in found})
    if not drivers:
        return ""
    text = ""
    badges = [row["options"] for row in found if "badges" in row["options"]]
    for room, adapter in (adapters or {"": ""}).items():
        text += f"[[ble]]\ndrivers = {json.dumps(drivers)}\n" + (f'adapter = "{adapter}"\nroom = "{room}"\n' if room else "")
        if badges:
            text += "[ble.options.ble_badge]\n"
            text += "".join(f"{name} = {value}\n" for name, value in badges[0].items() if name != "badges")
            lines = [line for options in badges for line in options["badges"]]
            text += "badges = [" + ", ".join(_inline(line) for line in lines) + "]\n"
    return text


def _inline(table: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


class _Line(NamedTuple):
    """A serial line as the settings name it. `options`: of the line where several devices share it, else None."""

    name: str
    driver: str
    baud: int
    options: dict[str, list[Any]] | None = None


def _lines(community: Community) -> Iterator[_Line]:
    """One for each pty; what the devices of a shared line have as options are lists, and the line has all of them."""
    shared: dict[str, dict[str, list[Any]]] = {}
    heads: dict[str, Member] = {}
    for member in community.members:
        if member.device.wire is not WireKind.SERIAL or not member.is_known:
            continue
        if not member.line:
            yield _Line(link_name(member.device.id), member.device.driver, member.baud)
            continue
        heads.setdefault(member.line, member)
        for name, rows in member.options.items():
            shared.setdefault(member.line, {}).setdefault(name, []).extend(rows)
    for name, head in heads.items():
        yield _Line(name, head.device.driver, head.baud, shared[name])


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
