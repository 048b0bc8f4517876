"""`anhu doctor`: what is wrong with this machine, and the command that mends it. Looks, changes nothing."""

from __future__ import annotations

import argparse
import grp
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from gateway.cli.text import example
from gateway.errors import AnhuError
from gateway.pipeline import CLOCK_UNSET_MS
from gateway.settings import Settings, load

LEAST_FREE_MB = 500
PACKAGES = ("protocols", "drivers", "gateway", "simulator")


class Finding(NamedTuple):
    """`state` is ok, warn or FAIL; `hint` what to do."""

    state: str
    subject: str
    text: str
    hint: str = ""


def add(verbs: Any) -> None:
    """Register the verb."""
    parser = verbs.add_parser("doctor", help="look for what is wrong with this machine", epilog=example("anhu doctor --settings anhu.toml"))
    parser.add_argument("--settings", type=Path, help="settings file, for its data folder, broker and ports")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Print every finding; exit 1 where one fails."""
    settings = Settings()
    findings: list[Finding] = []
    if args.settings is not None:
        try:
            settings = load(args.settings)
            findings.append(Finding("ok", "settings", str(args.settings)))
        except AnhuError as error:
            findings.append(Finding("FAIL", "settings", error.message, error.hint))
    for check in CHECKS:
        findings += check(settings)
    for finding in findings:
        print(f"{finding.state:4}  {finding.subject}: {finding.text}")
        if finding.hint and finding.state != "ok":
            print(f"      Try: {finding.hint}")
    return 1 if any(finding.state == "FAIL" for finding in findings) else 0


def shadowed() -> list[str]:
    """Packages of ours that another distribution provides as well: our folder names are generic words."""
    owners = metadata.packages_distributions()
    return [f"{name} ({', '.join(owners[name])})" for name in PACKAGES if set(owners.get(name, ["anhu"])) - {"anhu"}]


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "FAIL", "python", version, "apt-get install python3 (3.11 or newer)")
    twice = shadowed()
    if twice:
        yield Finding(
            "FAIL",
            "packages",
            f"another distribution has the same package: {'; '.join(twice)}",
            "install Anhu into an environment of its own",
        )


def _clock(settings: Settings) -> Iterator[Finding]:
    now_ms = time.time_ns() // 1_000_000
    text = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if now_ms < CLOCK_UNSET_MS:
        yield Finding("warn", "clock", f"{text}: was never set; events are marked until it is", "timedatectl set-ntp true")
    else:
        yield Finding("ok", "clock", text)


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.path(settings.gateway.data_dir)
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("FAIL", "data folder", f"{existing}: not writable", f"chown $USER {existing}")
        return
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    state = "ok" if free_mb >= LEAST_FREE_MB else "FAIL"
    yield Finding(state, "data folder", f"{folder}: {free_mb} MB free", f"free {LEAST_FREE_MB} MB, or lower store.max_mb")


def _broker(settings: Settings) -> Iterator[Finding]:
    from gateway.broker.embedded import choose
    from gateway.errors import BrokerError

    wanted = settings.mqtt.broker if settings.mqtt.broker in ("mosquitto", "nats") else "auto"
    try:
        kind, program = choose(wanted)
        yield Finding("ok", "mqtt broker", f"{kind} ({program})")
    except BrokerError as error:
        state = "FAIL" if settings.mqtt.broker not in ("off", "external") else "warn"
        yield Finding(state, "mqtt broker", error.message, error.hint)


def _bluetooth(settings: Settings) -> Iterator[Finding]:
    bus = Path("/run/dbus/system_bus_socket")
    wanted = bool(settings.ble)
    if bus.exists() or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS"):
        yield Finding("ok", "bluetooth", "the system bus is there")
    else:
        yield Finding("FAIL" if wanted else "warn", "bluetooth", "no system D-Bus", "apt-get install bluez dbus; systemctl start bluetooth")


def _serial(settings: Settings) -> Iterator[Finding]:
    from gateway.transports import ports

    for row in ports.found():
        yield Finding("ok" if row["usable"] else "warn", "serial", row["port"], row["hint"] or "")
    for section in settings.serial:
        if section.port.startswith("/") and not Path(section.port).exists():
            yield Finding("FAIL", "serial", f"{section.port}: not there", "anhu ports; is the adapter plugged in?")
        usual = _bauds(section.driver)
        if section.baud != "auto" and usual and section.baud not in usual:
            text = f"{section.port}: {section.baud} baud, such a device usually speaks {' or '.join(map(str, usual))}"
            yield Finding("warn", "serial", text, f'serial.baud = {usual[0]}, or "auto"')
    try:
        inside = grp.getgrnam("dialout").gr_gid in {*os.getgroups(), os.getegid()} or os.geteuid() == 0
    except KeyError:
        return
    if settings.serial and not inside:
        yield Finding("warn", "serial", "this user is not in the group dialout", "adduser $USER dialout, then log in again")


def _bauds(driver: str) -> tuple[int, ...]:
    """Usual rates of a driver's devices; none for one that cannot be loaded (the settings check says why)."""
    from drivers import registry
    from drivers.api import DriverError

    try:
        return registry.load(driver).info.bauds
    except (DriverError, ImportError):
        return ()


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_python, _clock, _disk, _broker, _bluetooth, _serial)
