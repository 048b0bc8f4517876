"""MQTT through the gateway: between two mosquittos (native and paho link), with the native listener (one broker less), against a
mosquitto bridge under the same load. QoS 1 everywhere, FULL commits, rules on; variants interleaved, medians of `ROUNDS`.

`ratio` is messages per second over those of the bridge in the same run; `gateway_us` CPU microseconds of the gateway per event
(`gateway_us_scaled`: see bench/_yardstick.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._yardstick import scaled, yardstick_us
from gateway.accounts import enroll
from protocols.mqtt.wire import ConnAck, Connect, MqttWire, PubAck, Publish, SubAck, Subscribe, Subscription, puback_bytes

ROUNDS, MESSAGES, WINDOW, DEVICES = 3, 15_000, 400, 20
VARIANTS = ("bridge", "native", "paho", "listener")
WORD = "a password for benches"
TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> dict[str, Any]:
    """All variants."""
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None:
        return {"skipped": "mosquitto is absent: apt-get install mosquitto"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(_once(name, Path(folder)))
    result: dict[str, Any] = {"unit": "messages per second; CPU us per event", "messages": MESSAGES, "rounds": ROUNDS}
    for name, rows in found.items():
        result[name] = {key: round(statistics.median(row[key] for row in rows), 1) for key in rows[0]}
        rates = [row["per_s"] for row in rows]
        result[name]["spread"] = [round(min(rates)), round(max(rates))]
        result[name]["ratio"] = round(result[name]["per_s"] / result["bridge"]["per_s"], 2)
    return result


def _once(name: str, folder: Path) -> dict[str, float]:
    """One variant: from the first publish to the last event at the platform's broker."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        cloud = _mosquitto(folder / "cloud", children)
        if name == "bridge":
            port, watched = _bridge(folder / "devices", cloud, children), children[-1].pid
            sink = _child("sink", cloud, "anhu/dev/#", MESSAGES, out=subprocess.PIPE)
        else:
            port = _free_port() if name == "listener" else _mosquitto(folder / "devices", children)
            watched = _gateway(folder / "gw", name, port, cloud, children)
            sink = _child("sink", cloud, "anhu/v1/+/+/evt/telemetry", MESSAGES, out=subprocess.PIPE)
        assert sink.stdout is not None
        sink.stdout.readline()
        speed = yardstick_us()
        before = _cpu_s(watched)
        begun = time.monotonic()
        load = _child("publish", port, MESSAGES, *(("gas-0", WORD) if name == "listener" else ("", "")), out=subprocess.DEVNULL)
        children += [sink, load]
        load.wait(120)
        published = time.monotonic() - begun
        sink.wait(120)
        took = time.monotonic() - begun
        spent = _cpu_s(watched) - before
        us, speed = spent / MESSAGES * 1e6, (speed + yardstick_us()) / 2
        rates = {"per_s": MESSAGES / took, "published_per_s": MESSAGES / published}
        return {**rates, "gateway_us": us, "gateway_us_scaled": scaled(us, speed), "yardstick_us": speed}
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait()


def _mosquitto(folder: Path, children: list[subprocess.Popen[bytes]], *more: str) -> int:
    folder.mkdir(parents=True)
    port = _free_port()
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence true", f"persistence_location {folder}/"]
    lines += ["autosave_interval 1", "max_queued_messages 1000000", "max_inflight_messages 1000", "user root", "log_type error", *more]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or "mosquitto"
    children.append(subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL))
    _wait_open(port)
    return port


def _bridge(folder: Path, cloud: int, children: list[subprocess.Popen[bytes]]) -> int:
    more = ["connection up", f"address 127.0.0.1:{cloud}", "topic anhu/dev/# out 1", "cleansession false", "remote_clientid bridge"]
    port = _mosquitto(folder, children, *more)
    time.sleep(1.0)
    return port


def _gateway(folder: Path, name: str, port: int, cloud: int, children: list[subprocess.Popen[bytes]]) -> int:
    folder.mkdir()
    enroll(folder / "accounts", "gas-0", WORD)
    rows = "".join(f"mqtt_json:gas-{n},mqtt_json,r-{n}\n" for n in range(DEVICES))
    (folder / "devices.csv").write_text("device,driver,subject\n" + rows)
    broker = f'listen = "native"\nlisten_host = "127.0.0.1"\nlisten_port = {port}\naccounts_file = "accounts"\n'
    broker += 'rights = { gas-0 = ["anhu/dev/#"] }\n'
    if name != "listener":
        broker = f'broker = "external"\nport = {port}\nlink = "{name}"\n'
    (folder / "anhu.toml").write_text(
        '[gateway]\ndata_dir = "data"\nlog = "error"\n[devices]\nfile = "devices.csv"\n'
        f'[mqtt]\n{broker}[[subscribe]]\ndriver = "mqtt_json"\n[[uplink]]\nname = "city"\nhost = "127.0.0.1"\nport = {cloud}\n'
    )
    args = [sys.executable, "-m", "gateway.cli", "run", "--settings", str(folder / "anhu.toml")]
    children.append(subprocess.Popen(args, stderr=subprocess.DEVNULL))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (folder / "data" / "control.sock").exists():
        time.sleep(0.05)
    time.sleep(1.5)
    return children[-1].pid


def _child(*args: Any, out: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "bench.mqtt", *map(str, args)], stdout=out)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_open(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)


# --- the load and the platform, each a process of its own --------------------------------------------------------------------------


class _Load(asyncio.Protocol):
    """Publishes `count` messages, `WINDOW` under way."""

    def __init__(self, count: int, user: str, password: str) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._wire = MqttWire("client", version=4)
        hello = Connect("load", 4, True, 60, None, user or None, password.encode() if user else None)
        self._hello = self._wire.send(hello)
        body = '{{"id":"m{0}","ts":{1},"temperature":{2}}}'
        start = time.time_ns() // 1_000_000 - count
        self._packets = [
            self._wire.send(
                Publish(f"anhu/dev/gas-{n % DEVICES}/up", body.format(n, start + n, n % 400 / 10).encode(), 1, packet_id=n % 60000 + 1)
            )
            for n in range(count)
        ]
        self._next = self._acked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        for packet in self._wire.receive(data):
            if type(packet) is PubAck:
                self._acked += 1
        last = min(self._acked + WINDOW, len(self._packets))
        if last > self._next:
            self._out.write(b"".join(self._packets[self._next : last]))
            self._next = last
        if self._acked == len(self._packets) and not self.done.done():
            self.done.set_result(None)


class _Sink(asyncio.Protocol):
    """Counts different messages of a topic."""

    def __init__(self, topic: str, count: int) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._wire = MqttWire("client", version=4)
        self._topic, self._left = topic, count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        transport.write(self._wire.send(Connect("sink", 4, True, 60)))

    def data_received(self, data: bytes) -> None:
        ids = []
        for packet in self._wire.receive(data):
            if type(packet) is Publish:
                self._left -= not packet.dup
                ids.append(packet.packet_id)
            elif isinstance(packet, ConnAck):
                self._out.write(self._wire.send(Subscribe(1, (Subscription(self._topic, 1),))))
            elif isinstance(packet, SubAck):
                print("ready", flush=True)
        if ids:
            self._out.write(puback_bytes(ids))
        if self._left <= 0 and not self.done.done():
            self.done.set_result(None)


async def _play(args: list[str]) -> None:
    loop = asyncio.get_running_loop()
    if args[0] == "publish":
        user, password = args[3:5] if len(args) > 4 else ("", "")
        _, load = await loop.create_connection(lambda: _Load(int(args[2]), user, password), "127.0.0.1", int(args[1]))
        await load.done
    else:
        _, sink = await loop.create_connection(lambda: _Sink(args[2], int(args[3])), "127.0.0.1", int(args[1]))
        await sink.done


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_play(sys.argv[1:]))
    else:
        print(json.dumps({"bench": "mqtt", **measure()}))
