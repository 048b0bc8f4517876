"""`make demo`: a gateway of its own, a small community on all four wires, and what the platform gets, live.

Starts `anhu run` as a separate process (settings, inventory and brokers in a temporary folder), plays `demo_community` against it on
TCP, MQTT, a pty and a virtual BlueZ, listens upstream as a platform would, and prints a line per event: who, what, where, and how
long it took from the device to here. Ctrl-C stops everything, sums up and exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiomqtt

from drivers.events import epoch_ms
from drivers.vocabulary import OCCURRENCES, QUANTITIES, OccurrenceKind, Quantity
from simulator import report
from simulator.clock import RealClock
from simulator.community import Community, demo_community
from simulator.errors import SimulatorError
from simulator.own_gateway import OwnGateway
from simulator.run import Targets, run_community, serial_lines
from simulator.truth import Scorer, Truth

GRACE_S = 3.0
REMIND_AT_S = 14.0
"""When the platform asks a TV to remind somebody of the medicine."""
QUIET = ("health", "position")
"""Body types that are counted but not shown: they would bury the rest."""
COLOURS = {"alarm": "\033[1;31m", "state": "\033[36m", "telemetry": "\033[2m"}
TEXTS = {
    "zh": {"start": "开始", "end": "结束", "pulse": "", "asks": "服务请求", "done": "指令完成", "after": "送达用时"},
    "en": {"start": "begins", "end": "ends", "pulse": "", "asks": "asks for", "done": "command", "after": "delivered after"},
}


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code."""
    args = parse(argv)
    try:
        return asyncio.run(Demo(args).run())
    except SimulatorError as error:
        print(f"anhu demo: {error}\nTry: {error.hint or 'anhu demo --help'}", file=sys.stderr)
        return 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="anhu demo", description="A simulated community on real wires, live. Ctrl-C ends it.")
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, default=None, metavar="30s", help="run so long, then sum up (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--json", action="store_true", help="no stream; one JSON object at the end: truth against delivered, latencies per wire"
    )
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="language of the stream (default zh)")
    parser.add_argument("--seed", type=int, default=2026, help="who lives there and what happens (default 2026)")
    parser.add_argument(
        "--broker", choices=("auto", "mosquitto", "nats"), default="auto", help="embedded broker (default: what is installed)"
    )
    parser.add_argument("--keep", type=Path, help="keep settings, database and logs in this folder")
    return parser.parse_args(argv)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"a span such as 30s, 5m or 1h expected, got {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[found[2]]


class Demo:
    """One run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._community: Community = demo_community(args.seed)
        self._clock = RealClock()
        self._truth = Truth(keep=10_000)
        self._scorer = Scorer()
        self._truth.follow(self._scorer.expect)
        self._names = {row["device"]: row for row in self._community.registry()}
        self._people = {resident.id: resident.name for resident in self._community.residents}
        self._left_out: dict[str, str] = {}
        self._results: list[dict[str, Any]] = []
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Bring everything up, let it live, take it down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        with self._folder() as folder:
            async with contextlib.AsyncExitStack() as stack:
                radio = await self._radio(stack)
                lines = serial_lines(self._community, folder / "serial")
                for line in lines.values():
                    stack.callback(line.close)
                gateway = await stack.enter_async_context(
                    OwnGateway(
                        folder,
                        self._community,
                        ble=radio is not None,
                        language=self._args.lang,
                        broker=self._args.broker,
                        environment=radio.environment if radio is not None else {},
                    )
                )
                self._say(f"安护 Anhu: {len(self._names)} devices of {len(self._community.residents)} residents; Ctrl-C ends the demo")
                platform = asyncio.create_task(self._listen(gateway), name="platform")
                targets = gateway.targets(radio)
                await self._live(targets, lines, platform)
            return self._sum_up()

    async def _live(self, targets: Targets, lines: Any, platform: asyncio.Task[None]) -> None:
        """Until the time is over or somebody stops it; then wait a moment for what is under way."""
        life = run_community(self._community, targets, clock=self._clock, duration_s=self._args.seconds, truth=self._truth, lines=lines)
        living = asyncio.create_task(life, name="community")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({living, stopping, platform}, return_when=asyncio.FIRST_COMPLETED)
        self._stop_ms = self._clock.now().ms
        living.cancel()
        (lived,) = await asyncio.gather(living, return_exceptions=True)
        deadline = time.monotonic() + GRACE_S
        while self._scorer.result().total.missed and time.monotonic() < deadline and not platform.done():
            await asyncio.wait({platform}, timeout=0.1)
        for task in (stopping, platform):
            task.cancel()
        ended = await asyncio.gather(platform, stopping, return_exceptions=True)
        for result in (lived, ended[0]):
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result

    # --- the gateway -------------------------------------------------------------------------------------------------------------

    def _folder(self) -> Any:
        if self._args.keep is not None:
            self._args.keep.mkdir(parents=True, exist_ok=True)
            return contextlib.nullcontext(self._args.keep.resolve())
        return _Temporary()

    async def _radio(self, stack: contextlib.AsyncExitStack) -> Any:
        """The virtual BlueZ, or None where the machine has no D-Bus daemon."""
        if shutil.which("dbus-daemon") is None:
            self._leave_out("ble", "dbus-daemon is absent: apt-get install dbus-daemon")
            return None
        from simulator.wires.bluez import VirtualBluez

        return await stack.enter_async_context(VirtualBluez())

    def _leave_out(self, wire: str, why: str) -> None:
        self._left_out[wire] = why
        print(f"anhu demo: without {wire}: {why}", file=sys.stderr)

    # --- the platform ------------------------------------------------------------------------------------------------------------

    async def _listen(self, gateway: OwnGateway) -> None:
        """What a platform does: subscribe, read, and once ask a TV for something."""
        host, port = gateway.upstream
        password = gateway.secret("gateway")
        async with aiomqtt.Client(host, port, username="gateway", password=password, identifier="demo-platform") as client:
            await client.subscribe(gateway.topics, qos=1)
            reminder = asyncio.create_task(self._remind(client), name="reminder")
            try:
                async for message in client.messages:
                    topic, payload = str(message.topic), bytes(message.payload)
                    if "/evt/" in topic:
                        self._take(json.loads(payload))
                    elif topic.endswith("/cmd/res"):
                        self._results.append(json.loads(payload))
            finally:
                reminder.cancel()

    async def _remind(self, client: aiomqtt.Client) -> None:
        tv = next((device for device, row in self._names.items() if row["driver"] == "settop"), None)
        if tv is None:
            return
        await asyncio.sleep(REMIND_AT_S)
        request = {
            "specversion": "1.0",
            "id": f"demo-remind-{self._args.seed}",
            "source": "/demo/platform",
            "type": "cn.anhu.cmd.remind.v1",
            "subject": tv,
            "ttlms": 60_000,
            "data": {"device": tv, "args": {"text": "该吃降压药了", "kind": "medicine"}},
        }
        await client.publish("anhu/v1/demo/demo/cmd/req", json.dumps(request), qos=1)

    def _take(self, event: dict[str, Any]) -> None:
        now_ms = self._clock.now().ms
        data = event["data"]
        self._scorer.deliver(data, now_ms)
        if not self._args.json:
            line = self._line(data, now_ms)
            if line:
                print(line, flush=True)

    def _line(self, data: dict[str, Any], now_ms: int) -> str:
        """`14:03:12.421   18 ms  王秀英 301  紧急求助 开始  (watch)`"""
        body, texts, zh = data["body"], TEXTS[self._args.lang], self._args.lang == "zh"
        kind = body["type"]
        if kind in QUIET or data["device"].startswith("gateway:"):
            return ""
        if kind == "occurrence":
            row = OCCURRENCES[OccurrenceKind(body["kind"])]
            detail = f": {body['detail']}" if body.get("detail") else ""
            what = f"{row.zh if zh else row.en} {texts[body['state']]}{detail}"
        elif kind == "measurement":
            quantity = QUANTITIES[Quantity(body["quantity"])]
            what = f"{quantity.zh if zh else quantity.en} {body['value']:g} {body['unit']}"
        elif kind == "service_request":
            what = f"{texts['asks']} {body['item']}"
        else:
            what = f"{texts['done']} {body.get('verb', '')} {body.get('status', '')}"
        row_ = self._names.get(data["device"], {})
        who = row_.get("name") or self._people.get(data.get("subject") or "", "")
        received_ms = epoch_ms(data["received"])
        colour, reset = (COLOURS[data["lane"]], "\033[0m") if sys.stdout.isatty() else ("", "")
        stamp = time.strftime("%H:%M:%S", time.localtime(now_ms / 1000))
        by = data["device"].split(":", 1)[0] if not data["device"].startswith("rule:") else data["device"]
        return f"{stamp}  {max(now_ms - received_ms, 0):4d} ms  {colour}{who} {row_.get('place', '')}  {what.strip()}{reset}  ({by})"

    # --- the end -----------------------------------------------------------------------------------------------------------------

    def _sum_up(self) -> int:
        score = self._scorer.result(self._stop_ms, grace_ms=500)
        done = sum(1 for result in self._results if result.get("status") == "done")
        if self._args.json:
            wires = {name: {**tally.__dict__} for name, tally in score.wires.items()}
            summary = {
                "wires": wires,
                "total": score.total.__dict__,
                "alarms": score.alarms.__dict__,
                "kinds": {name: tally.__dict__ for name, tally in score.kinds.items()},
                "delivered": score.delivered,
                "false": score.false,
                "duplicates": score.duplicates,
                "by_rules": score.derived,
                "commands_done": done,
                "left_out": self._left_out,
                "clean": score.is_clean,
            }
            print(json.dumps(summary, ensure_ascii=False))
        else:
            print("\n" + report.as_text(score, language=self._args.lang))
            for wire, tally in score.wires.items():
                print(f"{wire:8} {tally.found} of {tally.expected} delivered, p50 {tally.p50_ms} ms, p99 {tally.p99_ms} ms")
            print(f"commands {done} done")
            for wire, why in self._left_out.items():
                print(f"without {wire}: {why}")
        return 0

    def _say(self, text: str) -> None:
        if not self._args.json:
            print(text, flush=True)


class _Temporary:
    """A temporary folder as a Path."""

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="anhu-demo-")
        return Path(self._folder.name)

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()


if __name__ == "__main__":
    sys.exit(main())
