"""The webhook against a real HTTP server on loopback that answers as it is told; and the file uplink."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.settings import UplinkSection
from gateway.store.contract import Batch
from gateway.store.sqlite import SqliteStore
from gateway.uplinks import webhook
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.file import FileUplink, whole_lines
from gateway.uplinks.pump import Pump
from gateway.uplinks.webhook import WebhookUplink
from tests.gateway.store_tools import events, opened

Judge = Callable[[list[dict[str, Any]]], int | None]


class Server:
    """An HTTP server; `judge` gives the status for a batch, None hangs. `got` are the events of 2xx answers."""

    def __init__(self) -> None:
        self.judge: Judge = lambda batch: 200
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.got: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append((headers, body))
                batch = json.loads(body)
                status = self.judge(batch)
                if status is None:
                    await asyncio.sleep(60)
                elif status < 300:
                    self.got += batch
                self.news.set()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len({event["id"] for event in self.got}) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def running(run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path, commit_ms=1) as store:
        yield store


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(webhook, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.5)
    server = Server()
    await server.start()
    yield server
    await server.stop()


async def owes(uplink: WebhookUplink, count: int) -> None:
    async with asyncio.timeout(5):
        while sum(uplink.pump.waiting().values()) != count:
            await asyncio.sleep(0.01)


def hook(store: SqliteStore, server: Server, **settings: Any) -> WebhookUplink:
    section = UplinkSection(name="family", kind="webhook", url=f"http://127.0.0.1:{server.port}/in?x=1", **settings)
    store.serve({"family": (Lane.ALARM, Lane.STATE, Lane.TELEMETRY)})
    pump = Pump(section, store, lambda: 1795336215000)
    return WebhookUplink(pump, Wrapper("t", "g", store.epoch), secret=b"key", now_s=lambda: 1000)


async def test_events_arrive_in_signed_batches_of_cloudevents(store: SqliteStore, server: Server) -> None:
    await store.append(Batch(events=events(250) + events(3, OccurrenceKind.SOS, start=900)))
    uplink = hook(store, server)
    async with running(uplink.run):
        await server.until(253)
        await owes(uplink, 0)
    headers, body = server.requests[0]
    assert headers["content-type"].startswith("application/cloudevents-batch+json")
    stamp, _, digest = headers["anhu-signature"].partition(",v1=")
    assert stamp == "t=1000"
    assert digest == hmac.new(b"key", b"1000." + body, hashlib.sha256).hexdigest()
    assert len({headers["idempotency-key"] for headers, _ in server.requests}) == len(server.requests)
    for lane in ("alarm", "state"):
        numbers = [int(event["sequence"]) for event in server.got if event["source"].endswith(lane)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert uplink.pump.delivered == 253
    assert store.cursor("family", Lane.STATE).missing == []


async def test_a_server_that_fails_gets_everything_once_it_works(store: SqliteStore, server: Server) -> None:
    await store.append(Batch(events=events(20)))
    failures = iter([500, 503, 429, 401, 404])
    server.judge = lambda batch: next(failures, 200)
    async with running(hook(store, server).run):
        await server.until(20)
    assert store.query("SELECT count(*) FROM dead") == [(0,)], "none of these blames the event"


async def test_an_event_that_is_refused_goes_to_the_dead_letters_and_its_neighbours_arrive(store: SqliteStore, server: Server) -> None:
    batch = events(40)
    bad = {batch[7].id, batch[31].id}
    await store.append(Batch(events=batch))
    server.judge = lambda posted: 422 if any(event["id"] in bad for event in posted) else 200
    uplink = hook(store, server)
    async with running(uplink.run):
        await server.until(38)
        async with asyncio.timeout(5):
            while uplink.pump.dead < 2:
                await asyncio.sleep(0.01)
        await owes(uplink, 0)
    assert store.query("SELECT uplink, lane, seq, status FROM dead ORDER BY seq") == [
        ("family", "state", 8, "HTTP 422"),
        ("family", "state", 32, "HTTP 422"),
    ]
    await store.append(Batch(urgent=True))
    assert store.undelivered(Lane.STATE) == []


async def test_a_server_that_hangs_on_state_does_not_hold_alarms(store: SqliteStore, server: Server) -> None:
    await store.append(Batch(events=events(10) + events(2, OccurrenceKind.SOS, start=900)))
    server.judge = lambda batch: 200 if batch[0]["source"].endswith("/alarm") else None
    async with running(hook(store, server).run):
        await server.until(2)
    assert [int(event["sequence"]) for event in server.got] == [1, 2]


async def test_one_event_on_which_the_server_breaks_does_not_hold_the_others(store: SqliteStore, server: Server) -> None:
    batch = events(30)
    await store.append(Batch(events=batch))
    server.judge = lambda posted: 500 if any(event["id"] == batch[0].id for event in posted) else 200
    uplink = hook(store, server)
    async with running(uplink.run):
        await server.until(29)
        await owes(uplink, 1)
    assert batch[0].id not in {event["id"] for event in server.got}
    await store.append(Batch(urgent=True))
    assert store.undelivered(Lane.STATE) == [(1, 1)], "it is still owed"


async def test_a_server_that_is_away_gets_it_after_a_restart(store: SqliteStore, server: Server, tmp_path: Path) -> None:
    uplink = hook(store, server)
    await server.stop()
    await store.append(Batch(events=events(5)))
    async with running(uplink.run):
        await asyncio.sleep(0.1)
    assert store.undelivered(Lane.STATE) == [(1, 5)]
    await server.start()
    async with running(hook(store, server).run):
        await server.until(5)


async def test_kinds_and_subjects_choose_what_a_platform_sees(store: SqliteStore, server: Server) -> None:
    await store.append(Batch(events=events(5) + events(3, OccurrenceKind.MOTION, start=50)))
    uplink = hook(store, server, kinds=["motion"])
    async with running(uplink.run):
        await server.until(3)
        await asyncio.sleep(0.05)
    assert uplink.pump.skipped == 5
    assert store.undelivered(Lane.STATE) == [], "what is not wanted does not hold the history"


# --- the file ------------------------------------------------------------------------------------------------------------------


def lines(folder: Path) -> list[dict[str, Any]]:
    texts = [file.read_text() for file in sorted(folder.glob("out.jsonl.*")) + [folder / "out.jsonl"]]
    assert all(text == "" or text.endswith("\n") for text in texts)
    return [json.loads(line) for text in texts for line in text.splitlines()]


async def written(store: SqliteStore, path: Path, **settings: Any) -> None:
    section = UplinkSection(name="export", kind="file", path=str(path), **settings)
    store.serve({"export": (Lane.ALARM, Lane.STATE, Lane.TELEMETRY)})
    pump = Pump(section, store, lambda: 1795336215000)
    async with running(FileUplink(pump, Wrapper("t", "g", store.epoch), path).run), asyncio.timeout(10):
        while not pump.feeds or any(pump.waiting().values()):
            await asyncio.sleep(0.01)


async def test_the_file_is_rotated_and_goes_on_where_it_stood(store: SqliteStore, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for start in (0, 2000):
        await store.append(Batch(events=events(1200, start=start)))
        await written(store, out, rotate_mb=0.3)
    assert len(list(tmp_path.glob("out.jsonl.*"))) >= 2
    assert [int(event["sequence"]) for event in lines(tmp_path)] == list(range(1, 2401))


async def test_a_torn_line_is_cut_off_and_written_again(store: SqliteStore, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    await store.append(Batch(events=events(3)))
    await written(store, out)
    with out.open("ab") as file:
        file.write(b'{"specversion":"1.0","id":"torn')
    assert whole_lines(out) < out.stat().st_size
    await store.append(Batch(events=events(2, start=10)))
    await written(store, out)
    assert [int(event["sequence"]) for event in lines(tmp_path)] == [1, 2, 3, 4, 5]


async def test_old_rotated_files_go(store: SqliteStore, tmp_path: Path) -> None:
    await store.append(Batch(events=events(2500)))
    await written(store, tmp_path / "out.jsonl", rotate_mb=0.05, keep_files=2)
    assert len(list(tmp_path.glob("out.jsonl.*"))) == 2
