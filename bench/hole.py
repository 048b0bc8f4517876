"""The hole in front of the gateway: of 1,000 QoS 1 messages that were acknowledged while the gateway was away, how many are there
after the broker was killed (kill -9), or its power was cut (ext4 on nbdkit's volatile cache), `wait_s` after the last PUBACK.

`lost` per broker: mosquitto as we configure it (autosave_interval 1), mosquitto as it comes, nats-server, and the native listener,
whose PUBACK follows our commit (there the messages are counted in the gateway's database).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.accounts import enroll
from protocols.mqtt.wire import Connect, MqttWire, PubAck, Publish, SubAck, Subscribe, Subscription
from tests.gateway.power import Disk

MESSAGES, WINDOW = 1000, 100
WAITS_S = (0.0, 3.0)
WORD = "a password for benches"
KINDS = ("mosquitto", "mosquitto_default", "nats", "native")


def measure() -> dict[str, Any]:
    """Every broker, killed and cut."""
    result: dict[str, Any] = {"unit": f"lost of {MESSAGES} acknowledged", "power_cut": _rig_fault() or "nbdkit, ext4, volatile cache"}
    for kind in KINDS:
        row: dict[str, Any] = {}
        for wait_s in WAITS_S:
            with tempfile.TemporaryDirectory() as folder:
                row[f"kill_{wait_s:g}s"] = _killed(kind, Path(folder), wait_s)
            if not _rig_fault():
                with tempfile.TemporaryDirectory() as folder:
                    row[f"power_{wait_s:g}s"] = _cut(kind, Path(folder), wait_s)
        result[kind] = row
    return result


def _rig_fault() -> str:
    if os.geteuid() != 0:
        return "skipped: needs root"
    missing = [name for name in ("nbdkit", "nbdfuse", "mkfs.ext4", "losetup") if shutil.which(name) is None]
    return f"skipped: needs {', '.join(missing)}" if missing or not Path("/dev/fuse").exists() else ""


def _killed(kind: str, folder: Path, wait_s: float) -> int:
    server = Server(kind, folder)
    try:
        server.start()
        server.fill()
        time.sleep(wait_s)
        server.kill()
        return MESSAGES - server.count(folder)
    finally:
        server.kill()


def _cut(kind: str, folder: Path, wait_s: float) -> int:
    disk = Disk(folder)
    server = None
    try:
        server = Server(kind, disk.power_on() / "data")
        server.start()
        # A broker that has run for a while has its files on disk; only what comes now is at stake.
        subprocess.run(["sync", "-f", str(disk.path)], check=True)
        server.fill()
        time.sleep(wait_s)
        assert server.child is not None
        disk.cut(server.child.pid)
        server.kill()
        return MESSAGES - server.count(disk.read_back() / "data")
    finally:
        if server is not None:
            server.kill()
        disk.close()


class Server:
    """A broker, or the gateway with its listener, with all its files in one folder."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = _free_port()
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again with what is in the folder."""
        self.child = subprocess.Popen(getattr(self, f"_{self.kind.split('_', maxsplit=1)[0]}")(), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with Peer(self.port, "probe"):
                    return
            except OSError:
                assert time.monotonic() < deadline, f"{self.kind} did not open its port"
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def fill(self) -> None:
        """The gateway's session exists and is away; then 1,000 messages are acknowledged."""
        if self.kind != "native":
            with Peer(self.port, "gateway", clean=False) as peer:
                peer.subscribe("anhu/dev/+/up")
        with Peer(self.port, "device") as peer:
            peer.publish_all()

    def count(self, folder: Path) -> int:
        """How many of them are there."""
        if self.kind == "native":
            database = folder / "data" / "anhu.db"
            if not database.exists():
                return 0
            with contextlib.closing(sqlite3.connect(database)) as db:
                rows = [row for lane in ("alarm", "state", "telemetry") for row in db.execute(f"SELECT data FROM {lane}")]
            return len({ref for ref in (json.loads(row[0]).get("ref") for row in rows) if ref})
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.start()
        with Peer(self.port, "gateway", clean=False) as peer:
            peer.subscribe("anhu/dev/+/up")
            return len(peer.drain())

    def _mosquitto(self) -> list[str]:
        conf = self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true", f"persistence_location {self.folder}/"]
        lines += ["user root", "max_queued_messages 100000"] + (["autosave_interval 1"] if self.kind == "mosquitto" else [])
        conf.write_text("\n".join(lines) + "\n")
        return [shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or "mosquitto", "-c", str(conf)]

    def _nats(self) -> list[str]:
        conf = self.folder / "nats.conf"
        conf.write_text(
            f'server_name: "t"\nlisten: "127.0.0.1:{_free_port()}"\n'
            f'jetstream {{ store_dir: "{self.folder}/js", max_mem: 16M, max_file: 48M }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}", max_ack_pending: 1000 }}\n'
        )
        return [str(Path(sys.executable).parent / "nats-server"), "-c", str(conf)]

    def _native(self) -> list[str]:
        enroll(self.folder / "accounts", "device", WORD)
        (self.folder / "devices.csv").write_text("device,driver\nmqtt_json:device,mqtt_json\n")
        (self.folder / "anhu.toml").write_text(
            '[gateway]\ndata_dir = "data"\nlog = "error"\n[devices]\nfile = "devices.csv"\n[mqtt]\nlisten = "native"\n'
            f'listen_host = "127.0.0.1"\nlisten_port = {self.port}\naccounts_file = "accounts"\n[[subscribe]]\ndriver = "mqtt_json"\n'
        )
        return [sys.executable, "-m", "gateway.cli", "run", "--settings", str(self.folder / "anhu.toml")]


class Peer:
    """A blocking MQTT client, as small as a bench needs."""

    def __init__(self, port: int, client_id: str, *, clean: bool = True) -> None:
        self._wire = MqttWire("client", version=4)
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
        self._inbox: list[Any] = []
        self._socket.sendall(self._wire.send(Connect(client_id, 4, clean, 60, None, "device", WORD.encode())))
        self._next()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\xe0\0")
        self._socket.close()

    def subscribe(self, topic: str) -> None:
        self._socket.sendall(self._wire.send(Subscribe(1, (Subscription(topic, 1),))))
        waiting = []
        while not isinstance(packet := self._next(), SubAck):
            waiting.append(packet)
        self._inbox = waiting + self._inbox

    def publish_all(self) -> None:
        sent = acked = 0
        while acked < MESSAGES:
            while sent < MESSAGES and sent - acked < WINDOW:
                body = f'{{"id":"m{sent}","temperature":{sent % 40}}}'.encode()
                self._socket.sendall(self._wire.send(Publish("anhu/dev/device/up", body, 1, packet_id=sent + 1)))
                sent += 1
            acked += isinstance(self._next(), PubAck)

    def drain(self) -> set[bytes]:
        """Every different message that comes until nothing comes for a while."""
        found = set()
        for packet in self._until_quiet():
            if isinstance(packet, Publish):
                found.add(packet.payload)
                self._socket.sendall(self._wire.send(PubAck(packet.packet_id)))
        return found

    def _until_quiet(self) -> Iterator[Any]:
        self._socket.settimeout(1.5)
        while True:
            try:
                yield self._next()
            except TimeoutError:
                return

    def _next(self) -> Any:
        while not self._inbox:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self._inbox += self._wire.receive(data)
        return self._inbox.pop(0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
