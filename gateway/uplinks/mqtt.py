"""The uplink over MQTT: CloudEvents up, commands, acknowledgements and assignments down (contract `anhu/v1`).

    {root}/evt/alarm|state|telemetry   events, QoS 1            {root}/cmd/req            requests of the platform
    {root}/birth                       retained: who and what   {root}/cmd/res            what became of them
    {root}/registry                    snapshot in parts        {root}/registry/desired   assignments of the platform
    {root}/health                      once a minute, QoS 0     {root}/registry/reported  retained: the version in force
    {root}/ack                         {"lane","upto","missing"} from the platform (ack = "application")
    {root}/gone                        numbers that it will never get: named as missing in vain, or dead letters

with root = anhu/v1/{tenant}/{gateway}. Alarms go first, outside the window of the others. The window is sized in time: what the way to
the broker and back holds at the measured throughput, and `WINDOW_S` more, so that an alarm never waits behind more than that.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import structlog

from drivers.events import epoch_ms
from drivers.vocabulary import Lane
from gateway.links.contract import Inbound, Link, LinkEvents
from gateway.registry import Registry
from gateway.settings import UplinkSection
from gateway.store.contract import Batch, CommandRow, Row, WayBack
from gateway.uplinks.envelope import CONTRACT, Wrapper
from gateway.uplinks.messages import Ack, Answer, Birth, Gone, Health
from gateway.uplinks.pump import Pump
from protocols.cloud import cloudevents
from protocols.errors import LocalProtocolError, RemoteProtocolError

WINDOW_S = 0.05
"""Seconds of measured throughput that may queue up on the way: the longest wait of an alarm behind what is already sent. The shortest
round trip of the connection comes on top, or a window smaller than what the way holds would starve itself."""
LONGEST_ROUND_TRIP_S = 1.0
LEAST_WINDOW, MOST_WINDOW = 20, 1000
ALARM_WINDOW = 1000
LARGEST_REQUEST = 64 * 1024
LONGEST_CORRELATION, LONGEST_TOPIC = 256, 256
HEALTH_S = 60.0

Ask = Callable[[Any, UplinkSection, Callable[[str, str, str, str | None], None], WayBack], Awaitable[None]]


class Platform(msgspec.Struct, frozen=True):
    """What an MQTT uplink may ask of the gateway: `birth` and `health` messages, the road of commands, the registry, `commit`."""

    birth: Callable[[], Birth]
    health: Callable[[], Health]
    ask: Ask
    registry: Registry
    commit: Callable[[Batch], Awaitable[None]]


class MqttUplink:
    """One platform. The link is given (gateway/app.py), so that tests and benches may exchange it."""

    def __init__(self, pump: Pump, wrapper: Wrapper, *, root: str, platform: Platform) -> None:
        self.pump = pump
        self.settings = pump.settings
        self.window = LEAST_WINDOW
        self.link: Link | None = None
        self.requests_refused = 0
        self._wrapper = wrapper
        self._root = root
        self._platform = platform
        self._bulk: list[Lane] = [lane for lane in pump.lanes if lane is not Lane.ALARM]
        self._tokens: dict[int, tuple[Lane, Row]] = {}
        self._up = asyncio.Event()
        self._taken = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)
        self._sample: tuple[int, float] | None = None
        self._round_trip_s = LONGEST_ROUND_TRIP_S
        self._tasks: set[asyncio.Task[None]] = set()
        pump.on_gone = self._tell_gone

    @property
    def connected(self) -> bool:
        """Whether the platform can be reached."""
        return self.link is not None and self.link.connected

    @property
    def events(self) -> LinkEvents:
        """What the link calls."""
        return LinkEvents(self._on_messages, self._on_delivered, self._on_up, self._on_down, self._on_refused)

    @property
    def topics(self) -> list[str]:
        """What the uplink listens to."""
        return [f"{self._root}/cmd/req", f"{self._root}/ack", f"{self._root}/registry/desired"]

    async def run(self) -> None:
        """Send what the store holds, until cancelled."""
        end = self.pump.start()
        parts = [asyncio.create_task(self.pump.settle_often()), asyncio.create_task(self._tell_health())]
        try:
            while True:
                await self._up.wait()
                self.pump.news.clear()
                if not await self._send_some():
                    await self.pump.news.wait()
        finally:
            for part in parts:
                part.cancel()
            end()

    async def _send_some(self) -> bool:
        """One round over the lanes, alarms first; whether anything was sent. The other lanes share the window: neither starves."""
        sent = False
        for lane in self.pump.lanes:
            hungry = 1 if lane is Lane.ALARM else sum(1 for each in self._bulk if self.pump.has_more(each))
            room = -(-self._room(lane) // max(1, hungry))
            taken = await self.pump.take(lane, room) if room > 0 and self._up.is_set() else None
            if taken is None:
                continue
            self._send(lane, taken[0], replayed=taken[1])
            sent = True
            if lane is not Lane.ALARM and self.pump.has_more(Lane.ALARM):
                break
        return sent

    def _room(self, lane: Lane) -> int:
        if lane is Lane.ALARM:
            return ALARM_WINDOW - self.pump.in_flight([lane])
        return self.window - self.pump.in_flight(self._bulk)

    def _send(self, lane: Lane, rows: list[Row], *, replayed: bool) -> None:
        assert self.link is not None
        topic = self._wrapper.topics[lane]
        for row in rows:
            try:
                message, kind, severity = self._wrapper.wrap(lane, row, replayed=replayed)
            except LocalProtocolError as error:
                self._start(self.pump.bury(lane, row, str(error)))
                continue
            token = self.link.publish(topic, message, qos=1, properties=[("type", kind), ("severitynumber", str(severity))])
            self._tokens[token] = (lane, row)
            if self._sample is None:
                self._sample = (token, asyncio.get_running_loop().time())
            self.pump.published(lane, row)

    # --- what the link tells ---------------------------------------------------------------------------------------------------

    def _on_up(self) -> None:
        structlog.get_logger().info("uplink back", uplink=self.pump.name)
        self.introduce()
        self._sample, self._round_trip_s = None, LONGEST_ROUND_TRIP_S
        self.pump.link_back()
        self._up.set()
        self.pump.news.set()

    def introduce(self) -> None:
        """Birth, the version in force, and the whole registry."""
        if self.link is None:
            return
        self.link.publish(f"{self._root}/birth", msgspec.json.encode(self._platform.birth()), qos=1, retain=True)
        for chunk in self._platform.registry.chunks():
            self.link.publish(f"{self._root}/registry", chunk, qos=1)

    def _on_down(self, why: str) -> None:
        if self._up.is_set():
            structlog.get_logger().warning("uplink lost", uplink=self.pump.name, why=why)
        self.pump.link_lost()
        self._up.clear()

    def _on_delivered(self, tokens: list[int]) -> None:
        for token in tokens:
            found = self._tokens.pop(token, None)
            if found is not None:
                self._taken += 1
                self.pump.done(*found)
        now = asyncio.get_running_loop().time()
        if self._sample is not None and self._sample[0] in tokens:
            self._round_trip_s = min(self._round_trip_s, now - self._sample[1])
            self._sample = None
        self._size_window(now)
        self.pump.news.set()

    def _on_refused(self, token: int, why: str) -> None:
        found = self._tokens.pop(token, None)
        if found is not None:
            self._start(self.pump.bury(*found, why))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"uplink {self.pump.name} request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _size_window(self, now: float) -> None:
        """The throughput of the last second, times the shortest round trip and WINDOW_S."""
        self._recent.append((now, self._taken))
        first_at, first = next((entry for entry in self._recent if now - entry[0] < 1.0), self._recent[-1])
        if now - first_at > 0.02:
            rate = (self._taken - first) / (now - first_at)
            self.window = int(min(max(rate * (self._round_trip_s + WINDOW_S), LEAST_WINDOW), MOST_WINDOW))

    async def _tell_health(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_S)
            if self.link is not None and self._up.is_set():
                self.link.publish(f"{self._root}/health", msgspec.json.encode(self._platform.health()), qos=0)

    def _on_messages(self, batch: list[Inbound]) -> None:
        for message in batch:
            self._start(self._heed(message))

    async def _heed(self, message: Inbound) -> None:
        """A command, an acknowledgement or an assignment; the link's PUBACK follows once it is stored."""
        assert self.link is not None
        way_back = self._way_back(message)
        answer = partial(self._tell, way_back)
        try:
            if message.retained:
                # A retained command would be carried out again at every reconnect.
                self._refuse(answer, "retained commands are refused")
            elif len(message.payload) > LARGEST_REQUEST:
                self._refuse(answer, f"larger than {LARGEST_REQUEST} bytes")
            elif message.topic == f"{self._root}/ack":
                self._take_ack(message.payload)
            elif message.topic == f"{self._root}/registry/desired":
                await self._assign(message.payload)
            else:
                request = request_of(message.payload)
                if message.expiry_s is not None:
                    request["message_ttl_ms"] = message.expiry_s * 1000
                await self._platform.ask(request, self.settings, answer, way_back)
        except RemoteProtocolError as error:
            self._refuse(answer, str(error))
        finally:
            self.link.acknowledge([message.token])

    def _take_ack(self, payload: bytes) -> None:
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except (msgspec.DecodeError, RecursionError) as error:
            self.pump.acks_refused += 1
            wrong = str(error)
        else:
            wrong = self.pump.acknowledge(ack, self._wrapper.epoch)
        if wrong:
            structlog.get_logger().warning("acknowledgement refused", uplink=self.pump.name, why=wrong[:200])

    def _tell_gone(self, lane: Lane, ranges: list[tuple[int, int]]) -> None:
        if self.link is not None:
            self.link.publish(f"{self._root}/gone", msgspec.json.encode(Gone(lane, ranges, self._wrapper.epoch)), qos=1)

    async def _assign(self, payload: bytes) -> None:
        assert self.link is not None
        if not self.settings.assigns:
            self.requests_refused += 1
            structlog.get_logger().warning("assignment refused", uplink=self.pump.name, why="uplink.assigns is off")
            return
        reported, batch, needs_snapshot = self._platform.registry.desire(payload, self.pump.name)
        if batch is not None:
            await self._platform.commit(batch)
        self.link.publish(f"{self._root}/registry/reported", msgspec.json.encode(reported), qos=1, retain=True)
        if needs_snapshot:
            self.introduce()

    def _refuse(self, answer: Callable[[str, str, str, str | None], None], why: str) -> None:
        self.requests_refused += 1
        answer("", "", "failed", why)

    def _way_back(self, message: Inbound) -> WayBack:
        topic = message.response_topic or ""
        return WayBack(topic if self._may_answer_on(topic) else "", (message.correlation or b"")[:LONGEST_CORRELATION])

    def _may_answer_on(self, topic: str) -> bool:
        """A request names where it wants its answers: anywhere but on topics whose messages others take for a gateway's."""
        if not topic or len(topic) > LONGEST_TOPIC or topic[0] == "$" or not topic.isprintable() or any(mark in topic for mark in "+#"):
            return False
        return not topic.startswith(f"{CONTRACT}/") or topic.startswith(f"{self._root}/cmd/res/")

    def answer(self, row: CommandRow) -> None:
        """Tell the platform where a command stands that it asked for before a restart."""
        self._tell(WayBack(row.response_topic, row.correlation), row.id, row.verb, row.status, row.detail)

    def _tell(self, way_back: WayBack, command: str, verb: str, status: str, detail: str | None) -> None:
        if self.link is None:
            return
        topic, data = way_back
        correlation = base64.b64encode(data).decode() if data else None
        body = msgspec.json.encode(Answer(command, verb, status, detail or None, correlation))  # type: ignore[arg-type]  # statuses of CommandStatus
        self.link.publish(f"{self._root}/cmd/res", body, qos=1)
        if topic:
            self.link.publish(topic, body, qos=1, correlation=data)


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
