"""How much an MQTT uplink has under way: enough for a far broker, little enough for an alarm behind a backlog."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.settings import UplinkSection
from gateway.store.contract import Batch
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.mqtt import MqttUplink
from gateway.uplinks.pump import Pump
from tests.gateway.store_tools import events, opened


class Way:
    """A link whose way takes `round_trip_s` there and back and carries `rate` messages a second; whoever sends more stands in line."""

    connected = True

    def __init__(self, round_trip_s: float, rate: float) -> None:
        self.uplink: MqttUplink | None = None
        self.taken: list[tuple[float, bytes]] = []
        self._round_trip_s, self._rate = round_trip_s, rate
        self._free_s = 0.0
        self._token = 0

    def publish(self, topic: str, payload: bytes, **_: Any) -> int:
        loop = asyncio.get_running_loop()
        self._token += 1
        self._free_s = max(self._free_s, loop.time()) + 1 / self._rate
        if "/evt/" in topic:
            loop.call_at(self._free_s + self._round_trip_s, self._arrive, self._token, payload)
        return self._token

    def _arrive(self, token: int, payload: bytes) -> None:
        assert self.uplink is not None
        self.taken.append((asyncio.get_running_loop().time(), payload))
        self.uplink.events.on_delivered([token])


class Nothing:
    """A platform that asks for nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: []


@pytest.mark.parametrize(("round_trip_s", "rate", "rows"), [(0.2, 2000.0, 2500), (0.002, 500.0, 700)])
async def test_a_far_platform_is_served_at_speed_and_an_alarm_waits_a_moment(
    tmp_path: Path, round_trip_s: float, rate: float, rows: int
) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        await store.append(Batch(events=events(rows)))
        way = Way(round_trip_s, rate)
        pump = Pump(UplinkSection(name="city", host="x"), store, lambda: 0)
        platform: Any = Nothing()
        platform.registry = Nothing()
        platform.birth = dict
        uplink = way.uplink = MqttUplink(pump, Wrapper("t", "g", store.epoch), root="anhu/v1/t/g", platform=platform)
        uplink.link = way  # type: ignore[assignment]  # as much of a link as is used
        running = asyncio.create_task(uplink.run())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.01)
        begun = loop.time()
        uplink.events.on_up()
        while len(way.taken) < rows * 0.6:
            await asyncio.sleep(0.01)
        [alarm] = events(1, OccurrenceKind.SOS, start=99_999)
        asked = loop.time()
        await store.append(Batch(events=[alarm], urgent=True))
        while len(way.taken) < rows + 1:
            await asyncio.sleep(0.01)
            assert loop.time() - begun < 3 * rows / rate + 12 * round_trip_s + 1, f"{len(way.taken)} of {rows} so far"
        [came] = [at for at, payload in way.taken if alarm.id.encode() in payload]
        assert came - asked < round_trip_s + 0.3
        assert pump.waiting()[Lane.STATE.value] == 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
