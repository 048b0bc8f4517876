"""The uplink over MQTT: CloudEvents up, commands and acknowledgements down (contract `anhu/v1`).

    {root}/evt/alarm|state|telemetry   events, QoS 1           {root}/cmd/req   requests of the platform
    {root}/birth                       retained: who and what  {root}/cmd/res   what became of them
    {root}/ack                         {"lane","upto","missing"} from the platform (ack = "application")

with root = anhu/v1/{tenant}/{gateway}. Alarms go first, outside the window of the others. The window is sized in time: at most
`WINDOW_S` of the measured throughput is under way, so that an alarm never waits behind more than that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from drivers.events import epoch_ms
from drivers.vocabulary import Lane
from gateway.links.contract import Inbound, Link, LinkEvents
from gateway.settings import UplinkSection
from gateway.store.contract import LANES, Row, Store
from gateway.uplinks.envelope import CONTRACT, Wrapper
from gateway.uplinks.feed import LaneFeed
from protocols.cloud import cloudevents
from protocols.errors import LocalProtocolError, RemoteProtocolError

WINDOW_S = 0.1
"""Seconds of measured throughput that may be under way: the longest wait of an alarm behind what is already sent."""
LEAST_WINDOW, MOST_WINDOW = 20, 1000
ALARM_WINDOW = 1000
PAGE_ROWS = 500
SETTLE_S = 0.5
LARGEST_REQUEST = 64 * 1024

Ask = Callable[[Any, UplinkSection, Callable[[str, str, str, str | None], None]], Awaitable[None]]


class MqttUplink:
    """One platform. The link is given (gateway/app.py), so that tests and benches may exchange it."""

    def __init__(
        self, settings: UplinkSection, store: Store, wrapper: Wrapper, *, root: str, birth: Callable[[], dict[str, Any]], ask: Ask
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.sent = 0
        self.delivered = 0
        self.skipped = 0
        self.window = LEAST_WINDOW
        self.link: Link | None = None
        self.on_delivered: list[Callable[[str, Row], None]] = []
        self._store = store
        self._wrapper = wrapper
        self._root = root
        self._birth = birth
        self._ask = ask
        self._lanes = [lane for lane in LANES if lane.value in settings.lanes]
        self._feeds: dict[Lane, LaneFeed] = {}
        self._tokens: dict[int, tuple[Lane, Row]] = {}
        self._kick = asyncio.Event()
        self._up = asyncio.Event()
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled = False

    @property
    def connected(self) -> bool:
        """Whether the platform can be reached."""
        return self.link is not None and self.link.connected

    @property
    def events(self) -> LinkEvents:
        """What the link calls."""
        return LinkEvents(self._on_messages, self._on_delivered, self._on_up, self._on_down)

    @property
    def topics(self) -> list[str]:
        """What the uplink listens to."""
        return [f"{self._root}/cmd/req", f"{self._root}/ack"]

    def waiting(self) -> dict[str, int]:
        """Rows not delivered yet, per lane."""
        found = {}
        for lane in self._lanes:
            feed = self._feeds.get(lane)
            if feed is not None:
                found[lane.value] = feed.waiting(self._store.high(lane)) + len(feed.in_flight) + len(feed.awaiting)
        return found

    async def run(self) -> None:
        """Send what the store holds, until cancelled."""
        for lane in self._lanes:
            cursor = self._store.cursor(self.name, lane)
            self._feeds[lane] = LaneFeed(cursor, self._store.high(lane), application=self.settings.ack == "application")
        stop = self._store.subscribe(self._kick.set)
        settler = asyncio.create_task(self._settle_often(), name=f"uplink {self.name} cursor")
        try:
            while True:
                await self._up.wait()
                self._kick.clear()
                if not await self._send_some():
                    await self._kick.wait()
        finally:
            stop()
            settler.cancel()
            self._settle()

    async def _send_some(self) -> bool:
        """One round over the lanes, alarms first; whether anything was sent."""
        sent = False
        for lane in self._lanes:
            feed = self._feeds[lane]
            while self._up.is_set():
                room = self._room(lane)
                if room <= 0:
                    break
                high = self._store.high(lane)
                span, backlog = feed.plan(high, min(room, PAGE_ROWS))
                if span is None:
                    break
                feed.take(*span, backlog=backlog)
                rows = await self._store.read(lane, *span, PAGE_ROWS)
                self._send(lane, feed, rows, replayed=backlog)
                sent = True
                if lane is not Lane.ALARM and self._alarm_waits():
                    return True
        return sent

    def _alarm_waits(self) -> bool:
        feed = self._feeds.get(Lane.ALARM)
        return feed is not None and feed.waiting(self._store.high(Lane.ALARM)) > 0

    def _room(self, lane: Lane) -> int:
        if lane is Lane.ALARM:
            return ALARM_WINDOW - len(self._feeds[lane].in_flight)
        return self.window - sum(len(feed.in_flight) for other, feed in self._feeds.items() if other is not Lane.ALARM)

    def _send(self, lane: Lane, feed: LaneFeed, rows: list[Row], *, replayed: bool) -> None:
        assert self.link is not None
        topic = self._wrapper.topics[lane]
        for row in rows:
            if not self._wanted(row):
                self.skipped += 1
                self._unsettled = True
                continue
            try:
                message, kind, severity = self._wrapper.wrap(lane, row, replayed=replayed)
            except LocalProtocolError as error:
                structlog.get_logger().error("event too large for the uplink", uplink=self.name, why=str(error))
                self.skipped += 1
                continue
            feed.send(row.seq)
            token = self.link.publish(topic, message, qos=1, properties=[("type", kind), ("severitynumber", str(severity))])
            self._tokens[token] = (lane, row)
            self.sent += 1

    def _wanted(self, row: Row) -> bool:
        s = self.settings
        if s.kinds and row.kind not in s.kinds:
            return False
        if s.subjects:
            return any(f'"subject":"{subject}"'.encode() in row.data for subject in s.subjects)
        return True

    # --- what the link tells ---------------------------------------------------------------------------------------------------

    def _on_up(self) -> None:
        assert self.link is not None
        structlog.get_logger().info("uplink back", uplink=self.name)
        self.link.publish(f"{self._root}/birth", msgspec.json.encode(self._birth()), qos=1, retain=True)
        self._up.set()
        self._kick.set()

    def _on_down(self, why: str) -> None:
        if self._up.is_set():
            structlog.get_logger().warning("uplink lost", uplink=self.name, why=why)
        self._up.clear()

    def _on_delivered(self, tokens: list[int]) -> None:
        now = asyncio.get_running_loop().time()
        for token in tokens:
            found = self._tokens.pop(token, None)
            if found is None:
                continue
            lane, row = found
            self._feeds[lane].delivered(row.seq)
            self.delivered += 1
            for listener in self.on_delivered:
                listener(self.name, row)
        self._unsettled = True
        self._size_window(now)
        self._kick.set()

    def _size_window(self, now: float) -> None:
        """Window = WINDOW_S times the throughput of the last second."""
        self._recent.append((now, self.delivered))
        first_at, first = next((entry for entry in self._recent if now - entry[0] < 1.0), self._recent[-1])
        if now - first_at > 0.02:
            rate = (self.delivered - first) / (now - first_at)
            self.window = int(min(max(rate * WINDOW_S, LEAST_WINDOW), MOST_WINDOW))

    def _on_messages(self, batch: list[Inbound]) -> None:
        for message in batch:
            work = self._heed(message)
            task = asyncio.create_task(work, name=f"uplink {self.name} request")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _heed(self, message: Inbound) -> None:
        """A command or an acknowledgement; the link's PUBACK follows once a command is stored."""
        assert self.link is not None
        try:
            if message.retained:
                # A retained command would be carried out again at every reconnect.
                self._answer("", "", "failed", "retained commands are refused")
            elif len(message.payload) > LARGEST_REQUEST:
                self._answer("", "", "failed", f"larger than {LARGEST_REQUEST} bytes")
            elif message.topic.endswith("/ack"):
                self._take_ack(message.payload)
            else:
                await self._ask(request_of(message.payload), self.settings, self._answer)
        except RemoteProtocolError as error:
            self._answer("", "", "failed", str(error))
        finally:
            self.link.acknowledge([message.token])

    def _take_ack(self, payload: bytes) -> None:
        try:
            ack = msgspec.json.decode(payload, type=_Ack)
        except msgspec.DecodeError as error:
            structlog.get_logger().warning("acknowledgement refused", uplink=self.name, why=str(error))
            return
        feed = self._feeds.get(ack.lane)
        wrong = feed.acknowledged(ack.upto, ack.missing) if feed is not None else "lane is not sent to this uplink"
        if wrong:
            structlog.get_logger().warning("acknowledgement refused", uplink=self.name, why=wrong)
            return
        self._unsettled = True
        self._kick.set()

    def _answer(self, command: str, verb: str, status: str, detail: str | None) -> None:
        if self.link is None:
            return
        body = {"id": command, "verb": verb, "status": status}
        if detail:
            body["detail"] = detail
        self.link.publish(f"{self._root}/cmd/res", msgspec.json.encode(body), qos=1)

    async def _settle_often(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            if self._unsettled:
                self._settle()

    def _settle(self) -> None:
        self._unsettled = False
        for lane, feed in self._feeds.items():
            self._store.settle(self.name, lane, feed.cursor())


class _Ack(msgspec.Struct, forbid_unknown_fields=True):
    """{"lane": "alarm", "upto": 120, "missing": [118]}"""

    lane: Lane
    upto: int
    missing: list[int] = []


def request_of(payload: bytes) -> dict[str, Any]:
    """A command out of a CloudEvent `cn.anhu.cmd.<verb>.v1`: id, verb, device (subject), args (data.args), expiry.

    Raises RemoteProtocolError.
    """
    attributes, data = cloudevents.decode(payload)
    kind = str(attributes["type"])
    verb = kind.removeprefix("cn.anhu.cmd.").removesuffix(".v1")
    fields = data if isinstance(data, dict) else {}
    found = {"id": attributes["id"], "verb": verb, "device": fields.get("device", attributes.get("subject"))}
    found["args"] = fields.get("args", {})
    if "expirytime" in attributes:
        try:
            found["expires_ms"] = epoch_ms(str(attributes["expirytime"]))
        except ValueError as error:
            found["expires_ms"] = f"{error}"
    if "ttlms" in attributes:
        found["ttl_ms"] = attributes["ttlms"]
    return found


def root_of(tenant: str, gateway: str) -> str:
    """The topic prefix of a gateway."""
    return f"{CONTRACT}/{tenant}/{gateway}"
