"""Loses nothing, whatever dies: gateway, broker or both, link up, down or flapping, with a platform that stores and acknowledges.

The platform is docs/examples/consumer.py, unchanged, against the real gateway.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.settings import UplinkSection
from gateway.store.contract import Batch, Cursor
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.messages import Ack
from gateway.uplinks.pump import Pump
from simulator.wires.proxy import Link, Proxy
from tests.gateway.process import GatewayProcess, Mosquitto, free_port
from tests.gateway.store_tools import events, opened
from tests.gateway.test_kill import alarm

SEED = 20261122
DEVICES = "device,driver,subject\nwatch:8800000015,watch,r-1\n"
SECTIONS = """
[[listen]]
port = {port}
driver = "watch"
host = "127.0.0.1"
[[uplink]]
name = "city"
host = "127.0.0.1"
port = {upstream}
ack = "application"
alarm_ack_s = 3.0
"""


def example() -> Any:
    path = Path(__file__).parents[2] / "docs" / "examples" / "consumer.py"
    spec = importlib.util.spec_from_file_location("anhu_example_consumer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Watch:
    """A wristband that sends each alarm until it is acknowledged."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged = 0

    async def run(self) -> None:
        while True:
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"[3G*8800000015*0002*LK]")
                await self._answer(reader)
                while True:
                    writer.write(alarm(self.acknowledged))
                    while not (await self._answer(reader)).endswith(b"*AL]"):
                        pass
                    self.acknowledged += 1
                    await asyncio.sleep(0.01)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                await asyncio.sleep(0.05)
            finally:
                if writer is not None:
                    writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        # Not wait_for: up to Python 3.11 it swallows a cancellation that meets an answer.
        async with asyncio.timeout(5):
            return await reader.readuntil(b"]")


QUICK = [("gateway", "up", 2), ("broker", "down", 2), ("both", "flapping", 4), ("nothing", "flapping", 4), ("twice_while_away", "up", 2)]
LONG = [(victim, link, 200) for victim in ("gateway", "broker", "both") for link in ("up", "down", "flapping")]
LONG += [("nothing", "flapping", 200), ("twice_while_away", "up", 100), ("twice_while_away", "flapping", 100)]
CASES = [*QUICK, *(pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]) for case in LONG)]


@pytest.mark.parametrize(("victim", "link", "points"), CASES)
async def test_no_acknowledged_alarm_is_lost(tmp_path: Path, victim: str, link: str, points: int) -> None:
    """kill -9 at random points. The link is a proxy of its own: it cuts, swallows and heals while both ends live."""
    dice = random.Random(f"{SEED}{victim}{link}{points}")
    cloud = Mosquitto(tmp_path / "cloud").start()
    got: list[dict[str, Any]] = []
    module = example()
    # Now and then the client library does not notice that the broker was killed.
    module.SILENCE_S = 5.0
    consumer = module.Consumer(str(tmp_path / "platform.db"), got.append)
    port = free_port()
    async with Proxy("127.0.0.1", cloud.port) as proxy:
        gateway = GatewayProcess(tmp_path / "gw", DEVICES, SECTIONS.format(port=port, upstream=proxy.port))
        watch = Watch(port)
        tasks = []
        try:
            await asyncio.to_thread(gateway.start)
            tasks = [asyncio.create_task(watch.run()), asyncio.create_task(consumer.run("127.0.0.1", cloud.port))]
            tasks += [asyncio.create_task(flap(proxy, dice))] if link == "flapping" else []
            for _ in range(points):
                await asyncio.sleep(dice.uniform(0.05, 0.5))
                if link == "down":
                    await proxy.set(Link.DOWN)
                    await asyncio.sleep(dice.uniform(0.0, 0.2))
                await strike(victim, gateway, cloud, dice)
                if link == "down":
                    await asyncio.sleep(dice.uniform(0.0, 0.2))
                    await proxy.set(Link.OPEN)
            await settle(tasks, proxy)
            assert watch.acknowledged > points
            happened = lambda: {e["time"] for e in got if e["type"] == "cn.anhu.alarm.sos.v1"}  # noqa: E731
            for _ in range(3600):
                if len(happened()) >= watch.acknowledged:
                    break
                await asyncio.sleep(0.05)
            wanted = {at(number) for number in range(watch.acknowledged)}
            assert not wanted - happened(), f"{len(wanted - happened())} of {len(wanted)} acknowledged alarms did not arrive"
            judge(got)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(gateway.close)
            cloud.stop(signal.SIGKILL)


async def settle(tasks: list[asyncio.Task[None]], proxy: Proxy) -> None:
    """The device falls silent, the line heals for good; only the platform goes on."""
    device, _, *weather = tasks
    for task in (device, *weather):
        task.cancel()
    await asyncio.gather(device, *weather, return_exceptions=True)
    await proxy.set(Link.OPEN)


async def flap(proxy: Proxy, dice: random.Random) -> None:
    """A bad line: up for a moment, then cut, hung until it heals, or hung and then cut (what it had swallowed is gone)."""
    while True:
        await proxy.set(Link.OPEN)
        await asyncio.sleep(dice.uniform(0.1, 1.2))
        await proxy.set(dice.choice((Link.DOWN, Link.BLACK_HOLE)))
        await asyncio.sleep(dice.uniform(0.02, 0.5))
        if dice.random() < 0.5:
            await proxy.set(Link.DOWN)


async def strike(victim: str, gateway: GatewayProcess, cloud: Mosquitto, dice: random.Random) -> None:
    if victim == "nothing":
        return
    if victim == "twice_while_away":
        # What every measured peer fails: the power flaps twice while the platform is away.
        cloud.stop(signal.SIGKILL)
        for _ in range(2):
            await asyncio.sleep(dice.uniform(0.05, 0.3))
            await asyncio.to_thread(gateway.kill)
            await asyncio.to_thread(gateway.start)
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        await asyncio.to_thread(cloud.start)
        return
    if victim in ("broker", "both"):
        cloud.stop(signal.SIGKILL)
    if victim in ("gateway", "both"):
        await asyncio.to_thread(gateway.kill)
    await asyncio.sleep(dice.choice((0.0, 0.02, 0.3)))
    if victim in ("gateway", "both"):
        await asyncio.to_thread(gateway.start)
    if victim in ("broker", "both"):
        await asyncio.to_thread(cloud.start)


def at(number: int) -> str:
    return f"2026-11-21T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z"


def judge(got: list[dict[str, Any]]) -> None:
    """One number, one event; one happening, one id; the order of the device is that of the numbers."""
    numbers = Counter((e["source"], e["storeepoch"], e["sequence"]) for e in got)
    assert max(numbers.values()) == 1, "the consumer was given an event twice"
    alarms = sorted((e["sequence"], e["time"]) for e in got if e["type"] == "cn.anhu.alarm.sos.v1")
    times = [time for _, time in alarms]
    assert times == sorted(times)
    assert len(set(times)) == len(times), "one alarm, two ids"


# --- a platform of bad manners, simulated ---------------------------------------------------------------------------------------


class Rows:
    """Drives a pump as an uplink does, without a wire: what was sent, and what a platform says about it."""

    def __init__(self, store: Any) -> None:
        section = UplinkSection(name="city", host="x", ack="application", alarm_ack_s=0.05)
        self.pump = Pump(section, store, lambda: 1795336215000)
        self.store = store
        self.wrapper = Wrapper("t", "g", store.epoch)
        self.end = self.pump.start()

    async def send(self, lane: Lane, room: int) -> list[bytes]:
        taken = await self.pump.take(lane, room)
        out = []
        for row in taken[0] if taken else []:
            self.pump.published(lane, row)
            out.append(self.wrapper.wrap(lane, row, replayed=False)[0])
            self.pump.done(lane, row)
        return out


@pytest.mark.parametrize("seed", range(5))
async def test_a_consumer_that_drops_doubles_and_reorders_acknowledgements(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    module = example()
    module.GAP_S = 0.0
    async with opened(tmp_path, commit_ms=1) as store:
        rows = Rows(store)
        consumer = module.Consumer(str(tmp_path / "platform.db"))
        said: list[str] = []
        written = 0
        for turn in range(5000):
            if written < 400:
                batch = events(dice.randint(1, 7), OccurrenceKind.SOS, start=written)
                written += len(batch)
                await store.append(Batch(events=batch))
            for message in await rows.send(Lane.ALARM, dice.randint(1, 30)):
                for _ in range(dice.choice((0, 1, 1, 2))):
                    consumer.take(message)
            said += [payload for _, payload in consumer.acknowledgements(float(turn))]
            while said and dice.random() < 0.7:
                payload = said.pop(dice.randrange(len(said)))
                for _ in range(dice.choice((0, 1, 2))):
                    rows.pump.acknowledge(json_ack(payload), store.epoch)
            if turn % 10 == 0:
                rows.pump._repeat_overdue()
                await asyncio.sleep(0.01 if written >= 400 else 0)
            if written >= 400 and sum(rows.pump.waiting().values()) == 0:
                break
        db = consumer._db
        assert db.execute("SELECT count(*), count(DISTINCT sequence), max(sequence) FROM event").fetchone() == (written, written, written)
        rows.end()
        await store.append(Batch(urgent=True))
        assert store.cursor("city", Lane.ALARM) == Cursor(next=written + 1, missing=[])


def json_ack(payload: str) -> Ack:
    import msgspec

    return msgspec.json.decode(payload, type=Ack)


async def test_an_outage_of_72_hours_ends_with_every_event_once_and_alarms_first(tmp_path: Path) -> None:
    """72 hours at one event each 5 s per home: 51,840 state rows, an alarm each hour; fresh alarms never wait behind them."""
    hours, per_hour = 72, 720
    async with opened(tmp_path, commit_ms=1) as store:
        store.serve({"city": (Lane.ALARM, Lane.STATE)})
        for hour in range(hours):
            batch = events(per_hour, start=hour * 3_600_000) + events(1, OccurrenceKind.SOS, start=hour * 3_600_000 + 1)
            await store.append(Batch(events=batch))
    async with opened(tmp_path, commit_ms=1) as store:
        store.serve({"city": (Lane.ALARM, Lane.STATE)})
        rows = Rows(store)
        seen: Counter[str] = Counter()
        turns = 0
        late = 0
        while sum(rows.pump.waiting().values()) - sum(len(feed.awaiting) for feed in rows.pump.feeds.values()):
            turns += 1
            if turns % 20 == 0 and late < 20:
                late += 1
                [fresh] = events(1, OccurrenceKind.FALL, start=400_000_000 + late)
                await store.append(Batch(events=[fresh]))
                first = await rows.send(Lane.ALARM, 1000)
                assert fresh.id in first[0].decode(), "a fresh alarm goes before the backlog"
                seen.update(json.loads(message)["id"] for message in first)
            for lane in (Lane.ALARM, Lane.STATE):
                messages = await rows.send(lane, 200)
                seen.update(json.loads(message)["id"] for message in messages)
                if messages:
                    rows.pump.acknowledge(Ack(lane, rows.pump.feeds[lane].sent_high), store.epoch)
        assert len(seen) == hours * (per_hour + 1) + late
        assert max(seen.values()) == 1
        rows.end()
