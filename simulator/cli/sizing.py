"""`anhu sim city` and `load`: how much a city offers, and whether a gateway carries it."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from simulator.city import UnitCosts, estimate, measured
from simulator.cli.text import address, say, span, tell
from simulator.clock import RealClock
from simulator.community import INSTALL, build
from simulator.members import DAILY, LIVELY
from simulator.run import Targets, run_community
from simulator.truth import Truth

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add(verbs: Any) -> None:
    """Register the verbs."""
    cities = verbs.add_parser("city", help="load of a city and the boxes that carry it", epilog="Example: anhu sim city --event-us 45")
    cities.add_argument("--event-us", type=float, help="measured CPU of an event, microseconds (default: what the design promises)")
    cities.add_argument("--bench", metavar="FILE", help="take measured unit costs from the output of: make bench")
    cities.add_argument("--json", action="store_true", help="one JSON object")
    cities.set_defaults(handler=_city)

    loads = verbs.add_parser(
        "load", help="many devices on real sockets", epilog="Example: anhu sim load --devices 1000 --tcp 127.0.0.1:5093 --for 60s"
    )
    loads.add_argument("--devices", type=int, default=100, help="how many, 1..20000 (default 100)")
    loads.add_argument("--item", choices=sorted(INSTALL), default="wristband", help="which device (default wristband)")
    loads.add_argument("--tcp", required=True, type=address, metavar="HOST:PORT", help="where the gateway listens for them")
    loads.add_argument("--for", dest="seconds", type=span, default=60.0, metavar="60s", help="1 s to 1 h (default 60s)")
    loads.add_argument("--lively", action="store_true", help="intervals of the demonstration instead of those of real firmware")
    loads.add_argument("--not-loopback", action="store_true", help="allow a target on another machine")
    loads.set_defaults(handler=_load)


def _city(args: argparse.Namespace) -> int:
    costs = measured(args.bench) if args.bench else UnitCosts()
    result = estimate(costs=costs if args.event_us is None else costs._replace(event_us=args.event_us))
    if args.json:
        say(json.dumps(result.as_dict(), ensure_ascii=False))
        return 0
    for name, value in result.as_dict().items():
        if name not in ("boxes", "assumptions"):
            say(f"{name:16} {value}")
    for box, count in result.boxes.items():
        say(f"{count:6} x {box}")
    for assumption in result.assumptions:
        say(f"  assumed: {assumption}")
    return 0


def _load(args: argparse.Namespace) -> int:
    host, port = args.tcp
    if not 1 <= args.devices <= 20_000 or not 1 <= args.seconds <= 3600:
        tell("anhu sim load: 1..20000 devices and 1..3600 seconds expected")
        return 2
    if host not in LOOPBACK and not args.not_loopback:
        tell(f"anhu sim load: {host} is not this machine\nTry: --not-loopback, if it is yours to load")
        return 2
    community = build(args.devices, seed=1, rates=LIVELY if args.lively else DAILY, make_plan=lambda _: iter(()), pack=(args.item,))
    truth = Truth(keep=1)
    target = Targets(tcp=(host, port))
    cpu_s = time.process_time()
    run = asyncio.run(run_community(community, target, clock=RealClock(), duration_s=args.seconds, truth=truth))
    rows = run.devices.values()
    result = {
        "devices": len(rows),
        "connected": sum(row["connects"] > 0 for row in rows),
        "seconds": round(run.seconds, 1),
        "sent": sum(row["sent"] for row in rows),
        "refused": sum(row["refused"] for row in rows),
        "received": sum(row["received"] for row in rows),
        "cpu_s": round(time.process_time() - cpu_s, 2),
    }
    say(json.dumps(result))
    return 0 if result["connected"] == result["devices"] else 1
