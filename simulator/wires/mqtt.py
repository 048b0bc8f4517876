"""An MQTT client with an outbox, as the firmware of a sensor has: QoS 1, sent again after a reconnect."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase

import aiomqtt

from simulator.clock import Clock, RealClock
from simulator.wires.wire import Peer, WireStats

OUTBOX_MESSAGES = 1000
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 60.0
ACK_S = 10.0


class MqttWire:
    """One client. `topics`: subscriptions for what comes down. `retained`: patterns of the topics that are published with that flag."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str | None = None,
        password: str | None = None,
        client_id: str | None = None,
        topics: Sequence[str] = (),
        clock: Clock | None = None,
        seed: int = 0,
        retained: Sequence[str] = (),
    ) -> None:
        self.stats = WireStats()
        self._host, self._port = host, port
        self._user, self._password = user, password
        self._client_id = client_id
        self._topics = tuple(topics)
        self._clock = clock or RealClock()
        self._random = random.Random(seed)
        self._retained = tuple(retained)
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._filled = asyncio.Event()

    async def run(self, peer: Peer) -> None:
        """Connect, and connect again after every failure."""
        pause_s = FIRST_PAUSE_S
        while True:
            connects = self.stats.connects
            try:
                await self._session(peer)
            except aiomqtt.MqttError as error:
                self.stats.failures += 1
                self.stats.last_failure = str(error)
            if self.stats.connects > connects:
                pause_s = FIRST_PAUSE_S
                self.stats.drops += 1
                peer.down()
            await self._clock.sleep(pause_s * self._random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    def send(self, data: bytes, to: str = "") -> bool:
        """Put into the outbox; a full one loses its oldest message."""
        is_full = len(self._outbox) >= OUTBOX_MESSAGES
        if is_full:
            self._outbox.popleft()
            self.stats.refused += 1
        self._outbox.append((to, data))
        self._filled.set()
        return not is_full

    @property
    def unsent(self) -> int:
        """Messages that no broker has acknowledged yet."""
        return len(self._outbox)

    async def _session(self, peer: Peer) -> None:
        client = aiomqtt.Client(
            self._host,
            self._port,
            username=self._user,
            password=self._password,
            identifier=self._client_id,
            timeout=ACK_S,
        )
        async with client:
            for topic in self._topics:
                await client.subscribe(topic, qos=1)
            self.stats.connects += 1
            peer.up()
            sender = asyncio.create_task(self._send_all(client), name="mqtt outbox")
            reader = asyncio.create_task(self._read_all(client, peer), name="mqtt reader")
            try:
                done, _ = await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                sender.cancel()
                reader.cancel()
                await asyncio.gather(sender, reader, return_exceptions=True)

    async def _send_all(self, client: aiomqtt.Client) -> None:
        while True:
            await self._filled.wait()
            while self._outbox:
                head = self._outbox[0]
                # Returns after the broker's PUBACK; after an error the message stays at the head of the outbox.
                is_kept = any(fnmatchcase(head[0], pattern) for pattern in self._retained)
                await client.publish(head[0], head[1], qos=1, retain=is_kept)
                if self._outbox and self._outbox[0] is head:
                    self._outbox.popleft()
                self.stats.took(head[1])
            self._filled.clear()

    async def _read_all(self, client: aiomqtt.Client, peer: Peer) -> None:
        async for message in client.messages:
            payload = message.payload
            data = payload if isinstance(payload, bytes) else bytes(str(payload), "utf-8")
            self.stats.got(data)
            peer.receive(data, str(message.topic))
