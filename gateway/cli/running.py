"""Verbs round a running gateway: run, check, status, events, command, demo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway import control, logs
from gateway.cli import demo, history
from gateway.cli.text import example, print_json
from gateway.errors import AnhuError, SettingsError
from gateway.settings import Settings, load
from gateway.store.contract import LANES

AGAIN = -1
DEFAULT_SETTINGS = Path("/etc/anhu/anhu.toml")


def add(verbs: Any) -> None:
    """Register the verbs."""
    run = verbs.add_parser("run", help="run the gateway until it is stopped", epilog=example("anhu run --settings anhu.toml"))
    _settings_option(run)
    run.set_defaults(handler=_run)

    check = verbs.add_parser(
        "check", help="check settings, devices and drivers; no network", epilog=example("anhu check --settings anhu.toml")
    )
    _settings_option(check)
    check.add_argument("--sample", action="store_true", help="print a settings file with every key, its default and its meaning")
    check.set_defaults(handler=_check)

    status = verbs.add_parser("status", help="what a running gateway is doing", epilog=example("anhu status --data-dir var"))
    _data_dir_option(status)
    status.add_argument("--json", action="store_true", help="the whole snapshot as JSON")
    status.add_argument("--metrics", action="store_true", help="counters and histograms as Prometheus text")
    status.set_defaults(handler=_status)

    history.add(verbs, _data_dir_option)

    command = verbs.add_parser(
        "command",
        help="ask a device for something through the running gateway",
        epilog=example("""anhu command settop:tv-101 message '{"text":"吃药时间到了"}' --data-dir var"""),
    )
    _data_dir_option(command)
    command.add_argument("device", help="id of the device")
    command.add_argument("what", metavar="COMMAND", help="verb, such as locate, message, remind, ring (see docs/upstream.md)")
    command.add_argument("args", nargs="?", default="{}", help="arguments as a JSON object")
    command.add_argument("--allow-dangerous", action="store_true", help="permit verbs such as power_off or factory_reset")
    command.add_argument("--wait", type=float, default=5.0, help="seconds to wait for the device (default 5)")
    command.set_defaults(handler=_command)

    again = verbs.add_parser(
        "reload",
        help="read devices, people and rules files again; incidents and connections stay",
        epilog=example("anhu reload --data-dir var"),
    )
    _data_dir_option(again)
    again.set_defaults(handler=_reload)

    explain = verbs.add_parser(
        "explain", help="why a rule said something", epilog=example("anhu explain 01M81613H0VX3GAFADNA1K9FRD --lang en --data-dir var")
    )
    _data_dir_option(explain)
    explain.add_argument("id", help="id of the event")
    explain.add_argument("--lang", choices=("zh", "en"), default="zh", help="language (default zh)")
    explain.set_defaults(handler=_explain)

    pair = verbs.add_parser(
        "pair", help="take in devices that speak during the next minutes", epilog=example("anhu pair --seconds 300 --data-dir var")
    )
    _data_dir_option(pair)
    pair.add_argument("--seconds", type=float, default=300, help="length of the window, at most 3600; 0 closes it (default 300)")
    pair.set_defaults(handler=_pair)

    places = verbs.add_parser(
        "places",
        help="rows for rules.indoors out of what a device hears where it is now",
        epilog=example("anhu places watch:8800000015 home --data-dir var"),
    )
    _data_dir_option(places)
    places.add_argument("device", help="device that lies at the place to be taught")
    places.add_argument("place", help="name of the place")
    places.set_defaults(handler=_places)

    ports = verbs.add_parser("ports", help="serial ports of this machine, under names that stay", epilog=example("anhu ports"))
    ports.set_defaults(handler=_ports)

    demo.add(verbs)


def _settings_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, default=DEFAULT_SETTINGS, help=f"settings file (default {DEFAULT_SETTINGS})")


def _data_dir_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, help="data folder of the gateway")
    _settings_option(parser)


SWITCH_S = 0.0005
"""How long the loop may keep the interpreter while the writer of the store waits for it. A commit needs it a dozen times: at the usual
5 ms each, an SOS in a storm of logins would wait for its commit longer than for everything else."""


SLOW_COMMIT_S = 1.0
"""A commit that takes longer is told: devices wait for their acknowledgements meanwhile."""


def _tune() -> None:
    """What stands after the start stays: looking through it again and again (over 20 ms each time) would keep alarms waiting.

    Events hold no cycles, so that the collector of cycles may come more seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 50)
    sys.setswitchinterval(SWITCH_S)


def _run(args: argparse.Namespace) -> int:
    settings = load(args.settings)
    logs.configure(settings.gateway.log)
    while (code := asyncio.run(serve(settings))) == AGAIN:
        # The database was found damaged: the next start moves it aside and recovers what can be read.
        pass
    return code


async def serve(settings: Settings) -> int:
    """Run until SIGTERM, SIGINT or the control socket says stop; a second signal cuts the drain short. `AGAIN`: start once more."""
    from gateway.app import Gateway

    gateway = Gateway(settings)
    await gateway.start()
    _tune()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stopped.set)
    loop.add_signal_handler(signal.SIGHUP, _read_again, gateway)
    await gateway.stopped.wait()
    stopping = asyncio.create_task(gateway.stop(), name="stop")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    return AGAIN if gateway.again else 0


def _read_again(gateway: Any) -> None:
    """SIGHUP: as `anhu reload`; faults go to the log."""
    from gateway.reload import reload

    try:
        reload(gateway)
    except SettingsError as error:
        structlog.get_logger().error("files not taken", faults=error.message)


def _check(args: argparse.Namespace) -> int:
    if args.sample:
        from gateway.sample import sample

        print(sample(), end="")
        return 0
    from gateway.app import Gateway

    settings = load(args.settings)
    gateway = Gateway(settings)
    print(
        f"{args.settings}: good. {len(gateway.inventory)} devices, {len(settings.listen)} ports, {len(settings.serial)} serial ports, "
        f"{len(settings.ble)} BLE adapters, {len(settings.subscribe)} MQTT drivers, {len(settings.uplink)} uplinks."
    )
    return 0


def _status(args: argparse.Namespace) -> int:
    if args.metrics:
        sys.stdout.write(control.ask(history.data_dir_of(args), {"do": "metrics"})["text"])
        return 0
    found = control.ask(history.data_dir_of(args), {"do": "status"})
    if args.json:
        print_json(found)
        return 0
    frames, store = found["frames"], found["store"]
    print(f"anhu {found['version']} gateway {found['gateway']} boot {found['boot']}, up {found['uptime_s']:.0f} s, {found['rss_mb']} MB")
    print(
        f"frames   {frames['in']} in = {frames['understood']} understood + {frames['rejected']} rejected "
        f"+ {frames['unknown']} unknown + {frames['dropped']} dropped" + ("" if frames["balanced"] else "  NOT BALANCED")
    )
    print(f"refused  {found['refused'] or 'nothing'}")
    print(f"events   {found['events'] or 'none yet'}")
    print(f"store    {store['commits']} commits, {store['commit_ms']} ms each, sequence {store['sequence']}")
    if store["failing"]:
        print(f"store    CANNOT WRITE: {store['failing']}")
    elif store["commit_under_way_s"] > SLOW_COMMIT_S:
        print(f"store    SLOW DISK: a commit takes {store['commit_under_way_s']:.0f} s by now, {store['waiting_rows']} rows wait")
    for uplink in found["uplinks"]:
        state = "connected" if uplink["connected"] else "NOT CONNECTED"
        print(f"uplink   {uplink['name']}: {state}, {uplink['delivered']} delivered, waiting {uplink['waiting']}")
    if found["broker"]:
        print(f"broker   {found['broker']}")
    for kind in ("ports", "serial", "ble"):
        for port in found[kind]:
            print(f"{kind:8} {port}")
    if found["failures"]:
        print(f"failures {found['failures']}")
    return 0


def _reload(args: argparse.Namespace) -> int:
    found = control.ask(history.data_dir_of(args), {"do": "reload"})
    if "error" in found:
        raise AnhuError(found["error"], hint="mend the lines above; the files that were in force still are")
    print_json(found)
    return 0


def _explain(args: argparse.Namespace) -> int:
    from drivers.events import event_from_json
    from gateway.rules.explain import explain

    path = history.data_dir_of(args) / "anhu.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        sql = " UNION ALL ".join(f"SELECT data FROM {lane.value} WHERE substr(data, 8, 26) = ?1" for lane in LANES)  # noqa: S608 - names are ours
        row = db.execute(sql, (args.id.encode(),)).fetchone()
    except sqlite3.Error as error:
        raise AnhuError(f"{path}: cannot be read: {error}", hint="give --data-dir") from None
    finally:
        db.close()
    if row is None:
        raise AnhuError(f"no event {args.id} is stored", hint="anhu events --kind incident shows ids")
    event = event_from_json(bytes(row[0]))
    print(explain(event, args.lang) or bytes(row[0]).decode())
    return 0


def _pair(args: argparse.Namespace) -> int:
    print_json(control.ask(history.data_dir_of(args), {"do": "pair", "seconds": args.seconds}))
    return 0


def _places(args: argparse.Namespace) -> int:
    """The strongest access points and the beacon of the device's newest positions, as TOML to paste."""
    path = history.data_dir_of(args) / "anhu.db"
    sql = "SELECT data FROM telemetry WHERE kind='position' AND json_extract(data,'$.device')=? ORDER BY seq DESC LIMIT 20"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        bodies = [json.loads(bytes(row[0]))["body"] for row in db.execute(sql, (args.device,))]
    except sqlite3.Error as error:
        raise AnhuError(f"{path}: cannot be read: {error}", hint="give --data-dir, or start the gateway once") from None
    finally:
        db.close()
    loudest: dict[str, int] = {}
    for body in bodies:
        for point in body.get("wifi", []):
            loudest[point["mac"]] = max(loudest.get(point["mac"], -999), point.get("rssi_dbm") or -95)
        if body.get("beacon"):
            loudest[body["beacon"]] = 0
    if not loudest:
        raise AnhuError(f"{args.device}: no position with access points or a beacon is stored", hint="let it lie there for some minutes")
    for mac in sorted(loudest, key=lambda each: -loudest[each])[:8]:
        print(f"{{mac = {json.dumps(mac)}, place = {json.dumps(args.place, ensure_ascii=False)}}},")
    return 0


def _ports(args: argparse.Namespace) -> int:
    from gateway.transports import ports

    rows = ports.found()
    for row in rows:
        print_json(row)
    if not rows:
        print("anhu: no serial port found\nTry: plug the adapter in, then: ls -l /dev/serial/by-id", file=sys.stderr)
    return 0


def _command(args: argparse.Namespace) -> int:
    try:
        arguments = msgspec.json.decode(args.args.encode(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise SettingsError([], hint="""arguments are a JSON object: '{"text":"hello"}'""") from error
    ident = f"cli-{time.time_ns()}"
    request = {
        "do": "command",
        "command": {"id": ident, "verb": args.what, "device": args.device, "args": arguments, "ttl_ms": 60_000},
        "wait_s": args.wait,
        "allow": [args.what] if args.allow_dangerous else [],
    }
    found = control.ask(history.data_dir_of(args), request, timeout_s=args.wait + 10)
    answers = found.get("answers", [])
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
    return 0 if answers and answers[-1]["status"] in ("accepted", "running", "done") else 1
