"""An example platform: takes the events of Anhu gateways from a broker, each once, finds gaps, acknowledges what is safely stored.

    python consumer.py --host broker.example --database events.db

The gateway's uplink has `ack = "application"`. Rules of the contract that this file shows (docs/upstream.md):
- An event may arrive twice; (source, id) tells. It is stored before it is acknowledged, many of them with one commit.
- Sequences are contiguous per source and storeepoch; backlog arrives beside fresh events, so a gap is normal for a while.
- `upto` is the last number below the first gap. A gap that stays for GAP_S is named in `missing` until it is filled or told as gone.
- A `loss` event, and a `gone` message after a question, say which numbers will never come. A new `storeepoch` starts numbers over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import aiomqtt

GAP_S = 3.0
MOST_NAMED = 500
TICK_S = 0.2
SILENCE_S = 150.0
"""Gateways say how they are once a minute: when nothing is heard for so long the connection is made anew, whatever it claims."""
SOURCE = re.compile(r"^/anhu/([A-Za-z0-9_-]{1,64})/gw/([A-Za-z0-9_-]{1,64})/(alarm|state|telemetry)$")


class Lane:
    """What has arrived of one source: everything up to `upto`, and `above` with gaps between."""

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self.above: set[int] = set()
        self.acknowledged = -1
        self.gap_since: float | None = None

    def add(self, *numbers: int) -> None:
        """These have arrived, or will never come."""
        self.above.update(number for number in numbers if number > self.upto)
        before = self.upto
        while self.upto + 1 in self.above:
            self.upto += 1
            self.above.discard(self.upto)
        if self.upto != before:
            self.gap_since = None

    def missing(self) -> list[list[int]]:
        """Ranges between what has arrived."""
        spans, expected = [], self.upto + 1
        for number in sorted(self.above):
            if number > expected:
                spans.append([expected, number - 1])
            expected = number + 1
        return spans[:MOST_NAMED]


class Consumer:
    """Stores events in SQLite; `on_event` hears each once."""

    def __init__(self, database: str, on_event: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self.doubles = 0
        self._heard_s = 0.0
        self._db = sqlite3.connect(database)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS event (source TEXT, id TEXT, epoch TEXT, sequence INTEGER, data TEXT, PRIMARY KEY (source, id))"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS gone (source TEXT, epoch TEXT, first INTEGER, last INTEGER)")
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._on_event = on_event

    async def run(self, host: str, port: int, **options: Any) -> None:
        """Take events until cancelled; comes back by itself when the broker was away."""
        while True:
            try:
                async with aiomqtt.Client(host, port, identifier="anhu-consumer", clean_session=False, **options) as client:
                    await client.subscribe([("anhu/v1/+/+/evt/+", 1), ("anhu/v1/+/+/gone", 1), ("anhu/v1/+/+/health", 0)])
                    self._heard_s = time.monotonic()
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._listen(client))
                        group.create_task(self._acknowledge(client))
            except* aiomqtt.MqttError:
                await asyncio.sleep(0.5)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic, payload = str(message.topic), bytes(message.payload)  # type: ignore[arg-type]  # aiomqtt gives bytes for what a broker sent
            self._heard_s = time.monotonic()
            if topic.endswith("/gone"):
                _, _, tenant, gateway, _ = topic.split("/")
                self.take_gone(f"/anhu/{tenant}/gw/{gateway}", payload)
            elif "/evt/" in topic:
                self.take(payload)
        raise aiomqtt.MqttError("the broker has ended the connection")

    def take(self, payload: bytes) -> None:
        """One message: stored when new, counted when known, ignored when it is none of ours."""
        try:
            event = json.loads(payload)
            source, ident, epoch, number = event["source"], event["id"], event["storeepoch"], int(event["sequence"])
        except (ValueError, KeyError, TypeError):
            return
        lane = self.lane(source, epoch)
        values = (source, ident, epoch, number, payload.decode())
        fresh = self._db.execute("INSERT OR IGNORE INTO event VALUES (?,?,?,?,?)", values).rowcount
        lost = (event.get("data") or {}).get("body", {}).get("lost")
        if fresh and lost:
            self._give_up(source.rsplit("/", 1)[0] + "/" + lost["lane"], epoch, lost["first"], lost["last"])
        lane.add(number)
        if fresh:
            self._on_event(event)
        else:
            self.doubles += 1
            # It came again because our acknowledgement did not arrive: say it once more.
            lane.acknowledged = -1

    def take_gone(self, gateway: str, payload: bytes) -> None:
        """The gateway does not hold these numbers any more."""
        told = json.loads(payload)
        for first, last in told["ranges"]:
            self._give_up(f"{gateway}/{told['lane']}", told["storeepoch"], first, last)

    def _give_up(self, source: str, epoch: str, first: int, last: int) -> None:
        self._db.execute("INSERT INTO gone VALUES (?,?,?,?)", (source, epoch, first, last))
        self.lane(source, epoch).add(*range(first, last + 1))

    def lane(self, source: str, epoch: str) -> Lane:
        """The lane of a source, as far as the database knows it."""
        found = self._lanes.get((source, epoch))
        if found is None:
            found = self._lanes[source, epoch] = Lane(0)
            found.add(*(row[0] for row in self._db.execute("SELECT sequence FROM event WHERE source=? AND epoch=?", (source, epoch))))
            for first, last in self._db.execute("SELECT first, last FROM gone WHERE source=? AND epoch=?", (source, epoch)):
                found.add(*range(first, last + 1))
        return found

    async def _acknowledge(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if time.monotonic() - self._heard_s > SILENCE_S:
                raise aiomqtt.MqttError("nothing was heard")
            for topic, message in self.acknowledgements(time.monotonic()):
                await client.publish(topic, message, qos=1)

    def acknowledgements(self, now_s: float) -> list[tuple[str, str]]:
        """What is to be said now: (topic, payload). Everything that it speaks of is on disk."""
        self._db.commit()
        out = []
        for (source, epoch), lane in self._lanes.items():
            match = SOURCE.match(source)
            if match is None:
                continue
            body: dict[str, Any] = {"lane": match[3], "upto": lane.upto, "storeepoch": epoch}
            gaps = lane.missing()
            if not gaps:
                lane.gap_since = None
            elif lane.gap_since is None:
                lane.gap_since = now_s
            elif now_s - lane.gap_since > GAP_S:
                body |= {"upto": gaps[-1][1], "missing": gaps}
                lane.gap_since = now_s
            if "missing" in body or lane.upto != lane.acknowledged:
                lane.acknowledged = lane.upto
                out.append((f"anhu/v1/{match[1]}/{match[2]}/ack", json.dumps(body)))
        return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="example platform of Anhu")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--database", default="events.db")
    arguments = parser.parse_args()
    asyncio.run(Consumer(arguments.database, lambda event: print(event["type"], event["subject"])).run(arguments.host, arguments.port))
