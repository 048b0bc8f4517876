"""`anhu sim capture` and `replay`: frames as files, into files and back onto a wire."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from drivers.events import rfc3339
from simulator.cli.sizing import LOOPBACK
from simulator.cli.text import address, say, tell
from simulator.errors import SimulatorError
from simulator.replay import read_capture, send, vectors
from simulator.run import MqttTarget
from simulator.scenario import read
from simulator.truth import Truth
from simulator.virtual import capture

DECODE = (sys.executable, "-m", "gateway.cli", "decode")


def add(verbs: Any) -> None:
    """Register the verbs."""
    captures = verbs.add_parser(
        "capture",
        help="the frames of a scenario as a capture; or a capture as vectors of a driver",
        description="Without --vector: the lines that `anhu replay --capture` reads. With it, WHAT is a capture (of a scenario, or of a "
        "running gateway: gateway.capture_file) and each connection becomes one vector, with what `anhu decode` makes of it: "
        "read it before you believe it.",
        epilog="Example: anhu sim capture night.jsonl --vector watch >> drivers/watch/vectors.jsonl",
    )
    captures.add_argument("what", help="scenario; with --vector a file of captured lines")
    captures.add_argument("--vector", metavar="DRIVER", help="make vectors for this driver")
    captures.add_argument("--frames", type=int, default=12, help="at most so many frames a vector (default 12)")
    captures.set_defaults(handler=_capture)

    replays = verbs.add_parser(
        "replay",
        help="send a capture into a wire, at any speed",
        description="Each connection of the capture becomes a TCP connection (or an MQTT client); times between frames are kept, divided "
        "by --speed. Answers are read and counted.",
        epilog="Example: anhu sim replay night.jsonl --target 127.0.0.1:5093 --driver watch --speed 60",
    )
    replays.add_argument("file", type=Path, help="capture, JSON lines")
    replays.add_argument("--target", type=address, required=True, metavar="HOST:PORT", help="TCP port of the gateway, or its broker")
    replays.add_argument("--driver", help="only frames of this driver")
    replays.add_argument("--speed", type=float, default=1.0, help="so many times as fast as recorded (default 1)")
    replays.add_argument("--user", help="user at the broker (frames with topics)")
    replays.add_argument("--password-file", type=Path, help="file with its password")
    replays.add_argument("--not-loopback", action="store_true", help="allow a target on another machine")
    replays.set_defaults(handler=_replay)


def _capture(args: argparse.Namespace) -> int:
    if args.vector:
        for vector in vectors(
            read_capture(Path(args.what), args.vector), _decoded(args.vector), source=Path(args.what).name, most=args.frames
        ):
            say(json.dumps(vector, ensure_ascii=False))
        return 0
    scenario = read(args.what)
    community = scenario.community()
    lines = capture(
        community, seconds=scenario.duration_s, start_ms=scenario.start_ms, truth=Truth(keep=0), faults=scenario.faults(community)
    )
    for line in lines:
        sys.stdout.buffer.write(line)
    sys.stdout.flush()
    tell(f"{scenario.name}: from {rfc3339(scenario.start_ms)}")
    return 0


def _decoded(driver: str) -> Any:
    def decode(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the gateway's own decoder makes of one connection."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        done = subprocess.run([*DECODE, driver, "--stream", "-"], input=text, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 2):
            raise SimulatorError(done.stderr.strip()[-500:], hint="anhu drivers")
        return [json.loads(line) for line in done.stdout.splitlines()]

    return decode


def _replay(args: argparse.Namespace) -> int:
    host, port = args.target
    if host not in LOOPBACK and not args.not_loopback:
        tell(f"anhu sim replay: {host} is not this machine\nTry: --not-loopback, if it is yours to load")
        return 2
    if not 0 < args.speed <= 1_000_000:
        tell("anhu sim replay: --speed above 0 expected\nTry: --speed 60")
        return 2
    password = args.password_file.read_text("utf-8").strip() if args.password_file else None
    lines = read_capture(args.file, args.driver)
    result = asyncio.run(send(lines, MqttTarget(host, port, args.user, password), speed=args.speed))
    say(json.dumps(result))
    return 0 if not result["failed"] else 1
