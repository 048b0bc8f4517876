"""The uplink over HTTP: CloudEvents in batches (HTTP protocol binding 1.0.2, batched content mode).

    POST url     Content-Type: application/cloudevents-batch+json    body: a JSON array of structured events
    Idempotency-Key: digest of the ids in the batch: the same batch, the same key
    Anhu-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, "<t>." + body)>

2xx: delivered. A status that blames the event (400, 413, 422, ...) splits the batch until the one event is alone, which then goes to
the dead letters. Everything else is tried again with jittered back-off: 5xx, time-outs, and those 4xx that blame the endpoint or our
credentials (401, 403, 404, 429, ...), because a wrong password must not throw away a day of alarms. Alarms have a connection of their
own, so a hanging request of the other lanes delays none.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import ssl
from collections.abc import Callable

import structlog

from drivers.vocabulary import Lane
from gateway.settings import UplinkSection
from gateway.store.contract import Row
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.http import HttpClient, HttpError, Response
from gateway.uplinks.pump import Pump
from protocols.cloud.cloudevents import BATCH_CONTENT_TYPE
from protocols.errors import LocalProtocolError

BATCH_ROWS = 100
TIMEOUT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
BLAMES_ENDPOINT = frozenset({401, 402, 403, 404, 405, 407, 408, 410, 421, 423, 425, 426, 429, 451})
"""4xx that say nothing about the event."""
PARK_AFTER, PARK_S = 3, 60.0
"""An event that the server fails on (5xx) so often while alone steps aside for so long: others must not wait behind it for ever."""


class WebhookUplink:
    """One platform behind a URL."""

    def __init__(
        self,
        pump: Pump,
        wrapper: Wrapper,
        *,
        secret: bytes = b"",
        tls: ssl.SSLContext | None = None,
        now_s: Callable[[], int],
    ) -> None:
        self.pump = pump
        self.settings: UplinkSection = pump.settings
        self.connected = False
        self._wrapper = wrapper
        self._secret = secret
        self._tls = tls
        self._now_s = now_s
        self._failed: dict[tuple[Lane, int], int] = {}

    async def run(self) -> None:
        """Send what the store holds, until cancelled."""
        end = self.pump.start()
        alarms: list[Lane] = [lane for lane in self.pump.lanes if lane is Lane.ALARM]
        rest: list[Lane] = [lane for lane in self.pump.lanes if lane is not Lane.ALARM]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pump.settle_often())
                for lanes in (alarms, rest):
                    if lanes:
                        group.create_task(self._work(lanes))
        finally:
            end()

    async def _work(self, lanes: list[Lane]) -> None:
        client = HttpClient(self.settings.url, tls=self._tls, timeout_s=TIMEOUT_S)
        wait = FIRST_WAIT_S
        size = BATCH_ROWS
        try:
            while True:
                taken = await self._next(lanes, size)
                if taken is None:
                    await self._idle(lanes)
                    continue
                lane, rows, replayed = taken
                retry_s = await self._deliver(client, lane, rows, replayed=replayed)
                if retry_s is None:
                    wait, size = FIRST_WAIT_S, min(size * 2, BATCH_ROWS)
                    continue
                size = max(1, size // 4)
                await asyncio.sleep(max(retry_s, random.uniform(wait / 2, wait)))  # noqa: S311 - jitter, no secret
                wait = min(wait * 2, LONGEST_WAIT_S)
        finally:
            client.close()

    async def _idle(self, lanes: list[Lane]) -> None:
        """Wait for rows; each worker polls its own lanes, for the wake-up is shared."""
        self.pump.news.clear()
        if not any(self.pump.has_more(lane) for lane in lanes):
            try:
                async with asyncio.timeout(1.0):
                    await self.pump.news.wait()
            except TimeoutError:
                pass  # the other worker may have taken the wake-up

    async def _next(self, lanes: list[Lane], size: int) -> tuple[Lane, list[Row], bool] | None:
        for lane in lanes:
            taken = await self.pump.take(lane, size)
            if taken is not None and taken[0]:
                return lane, *taken
        return None

    async def _deliver(self, client: HttpClient, lane: Lane, rows: list[Row], *, replayed: bool) -> float | None:
        """One batch to its end. None: all of it is settled; seconds: what is left waits again, not before so long."""
        pairs = []
        for row in rows:
            try:
                pairs.append((row, self._wrapper.wrap(lane, row, replayed=replayed)[0]))
            except LocalProtocolError as error:
                await self.pump.bury(lane, row, str(error))
        work = [pairs] if pairs else []
        while work:
            part = work.pop()
            for row, _ in part:
                self.pump.published(lane, row)
            try:
                answer = await client.post(*self._request(part))
            except HttpError as error:
                self._note(False, str(error))
                self.pump.give_back(lane, [row for left in [part, *work] for row, _ in left])
                return 0.0
            except asyncio.CancelledError:
                self.pump.give_back(lane, [row for left in [part, *work] for row, _ in left])
                raise
            if 200 <= answer.status < 300:
                self._note(True, "")
                for row, _ in part:
                    self._failed.pop((lane, row.seq), None)
                    self.pump.done(lane, row)
            elif 400 <= answer.status < 500 and answer.status not in BLAMES_ENDPOINT:
                self._note(True, "")
                if len(part) == 1:
                    await self.pump.bury(lane, part[0][0], f"HTTP {answer.status}")
                else:
                    work += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                self._note(False, f"HTTP {answer.status}")
                return self._failed_with(lane, part, work, answer)
        return None

    def _failed_with(self, lane: Lane, part: list[tuple[Row, bytes]], work: list[list[tuple[Row, bytes]]], answer: Response) -> float:
        """The server could not: all of it waits again, but a lone event that it keeps failing on steps aside."""
        if len(part) == 1 and answer.status >= 500:
            row = part[0][0]
            self._failed[lane, row.seq] = self._failed.get((lane, row.seq), 0) + 1
            if self._failed[lane, row.seq] >= PARK_AFTER:
                asyncio.get_running_loop().call_later(PARK_S, self.pump.give_back, lane, [row])
                part = []
        self.pump.give_back(lane, [row for left in [part, *work] for row, _ in left])
        try:
            return min(float(answer.headers.get("retry-after", "0")), LONGEST_WAIT_S)
        except ValueError:
            return 0.0

    def _request(self, part: list[tuple[Row, bytes]]) -> tuple[bytes, dict[str, str]]:
        body = b"[" + b",".join(message for _, message in part) + b"]"
        digest = hashlib.blake2b(b"|".join(row.id.encode() for row, _ in part), digest_size=16).hexdigest()
        headers = {"Content-Type": BATCH_CONTENT_TYPE, "Idempotency-Key": digest, "User-Agent": "anhu"}
        if self._secret:
            headers["Anhu-Signature"] = sign(self._secret, body, self._now_s())
        return body, headers

    def _note(self, is_up: bool, why: str) -> None:
        if is_up != self.connected:
            self.connected = is_up
            self.pump.link_back() if is_up else self.pump.link_lost()
            log = structlog.get_logger()
            log.info("uplink back", uplink=self.pump.name) if is_up else log.warning("uplink lost", uplink=self.pump.name, why=why)


def sign(secret: bytes, body: bytes, now_s: int) -> str:
    """The value of `Anhu-Signature`; receivers recompute it and refuse a `t` older than some minutes."""
    return f"t={now_s},v1={hmac.new(secret, f'{now_s}.'.encode() + body, hashlib.sha256).hexdigest()}"
