from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.events import rfc3339
from protocols.tracker import minifinder2, watch
from simulator.clock import RealClock, ScaledClock
from simulator.community import Community, build, demo_community
from simulator.run import Targets, link_name, run_community, serial_lines
from simulator.stage import play
from simulator.truth import Truth, score

T0 = 1795336212000


def digest(community: Community, seconds: float) -> tuple[str, Truth]:
    truth, found = Truth(), hashlib.sha256()
    devices = [(member.device, member.subject) for member in community.members]
    for sent in play(devices, community.plan(), seconds=seconds, start_ms=T0, truth=truth):
        found.update(repr(sent).encode())
    return found.hexdigest(), truth


@pytest.mark.parametrize("make", [demo_community, lambda seed: build(7, seed=seed)], ids=["demo", "everyday"])
def test_the_same_seed_gives_the_same_bytes(make: Callable[[int], Community]) -> None:
    first, again, other = (digest(make(seed), 120)[0] for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_every_wire_and_every_kind_of_help_is_in_the_first_half_minute() -> None:
    _, truth = digest(demo_community(), 30)
    told = {(entry.wire, entry.fact.kind, entry.fact.state) for entry in truth.entries}
    assert {
        ("tcp", "sos", "begin"), ("mqtt", "gas", "begin"), ("mqtt", "gas", "end"), ("mqtt", "meal", ""), ("mqtt", "sos", "begin"),
        ("serial", "fall", "begin"), ("ble", "door_open", "begin"), ("ble", "door_open", "end"), ("ble", "motion", "begin"),
        ("ble", "motion", "end"), ("tcp", "position", ""),
    } <= told  # fmt: skip
    drivers = {entry.device.partition(":")[0] for entry in truth.entries if entry.fact.kind == "sos"}
    assert drivers == {"watch", "minifinder2", "settop"}


def test_the_registry_names_every_device_once_with_its_person() -> None:
    rows = build(40, seed=1).registry()
    assert len({row["device"] for row in rows}) == len(rows)
    assert all(row["device"].startswith(row["driver"] + ":") and row["subject"].startswith("r-") for row in rows)
    assert {row["wire"] for row in rows} == {"tcp", "mqtt", "serial", "ble"}


def test_everyday_happenings_come_in_order_and_never_end() -> None:
    plan = build(9, seed=2).plan()
    first = list(itertools.islice(plan, 3000))
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(first))
    assert first[-1].at_s > 86_400


class Centre:
    """A gateway in miniature: decodes what it needs for an SOS and answers, or (`is_deaf`) does not."""

    def __init__(self, *, is_deaf: bool = False) -> None:
        self.told: list[tuple[dict[str, object], int]] = []
        self.connections = 0
        self.clock = ScaledClock(8)
        self._is_deaf = is_deaf

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        tracker, care = watch.WatchConnection(), minifinder2.Connection()
        try:
            while data := await reader.read(4096):
                if data[:1] == b"[":
                    for message in tracker.receive(data):
                        self._watch(message, writer)
                else:
                    for found in care.receive(data):
                        if isinstance(found, minifinder2.Message) and found.command == minifinder2.DATA:
                            self._tell("minifinder2:" + (found.value(1) or b"").decode(), found.value(2) is not None)
                            writer.write(minifinder2.acknowledgement(found))
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _watch(self, message: object, writer: asyncio.StreamWriter) -> None:
        assert isinstance(message, watch.WatchMessage)
        self._tell(f"watch:{message.id}", message.kind == "AL")
        answer = watch.answer(message)
        if answer and not self._is_deaf:
            writer.write(answer)

    def _tell(self, device: str, is_sos: bool) -> None:
        if is_sos and not self._is_deaf:
            now_ms = self.clock.now().ms
            body = {"type": "occurrence", "kind": "sos", "state": "start"}
            document = {"id": str(len(self.told)), "device": device, "at": rfc3339(now_ms), "lane": "alarm", "body": body}
            self.told.append((document, now_ms))


async def run_against(centre: Centre, truth: Truth, seconds: float, folder: Path) -> None:
    server = await asyncio.start_server(centre.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    community = demo_community()
    try:
        report = await run_community(
            community, Targets(tcp=("127.0.0.1", port), serial=folder), clock=centre.clock, duration_s=seconds, truth=truth
        )
    finally:
        server.close()
        await asyncio.sleep(0.01)
    assert centre.connections == 6
    assert not report.silent
    assert {name.partition(":")[0] for name in report.skipped} == {"mqtt_json", "settop", "bthome"}
    if not centre._is_deaf:
        assert len(report.answered_ms) == 1
    assert list(folder.iterdir()) == []


async def test_a_run_on_real_wires_is_judged_and_leaves_nothing(tmp_path: Path) -> None:
    centre, truth = Centre(), Truth()
    await run_against(centre, truth, 5.5, tmp_path)
    alarms = [entry for entry in truth.entries if entry.fact.kind == "sos"]
    result = score(alarms, centre.told)
    assert (result.total.expected, result.total.found, result.false) == (1, 1, 0)
    assert (result.kinds["sos"].max_ms or 0) < 2500


async def test_a_centre_that_swallows_an_alarm_is_caught(tmp_path: Path) -> None:
    centre, truth = Centre(is_deaf=True), Truth()
    await run_against(centre, truth, 5.5, tmp_path)
    result = score([entry for entry in truth.entries if entry.fact.kind == "sos"], centre.told)
    assert (result.alarms.missed, result.is_clean) == (1, False)


async def test_a_cancelled_run_leaves_no_task_and_no_link(tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    community = demo_community()
    lines = serial_lines(community, tmp_path)
    targets = Targets(tcp=("127.0.0.1", 1), serial=tmp_path)
    task = asyncio.create_task(run_community(community, targets, clock=RealClock(), duration_s=None, truth=Truth(), lines=lines))
    await asyncio.sleep(0.1)
    assert (tmp_path / link_name(next(iter(lines)))).is_symlink()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == before
    assert list(tmp_path.iterdir()) == []
