"""BLE, heard by whatever listens to the (virtual) Bluetooth stack: advertisements, and devices that can be connected.

`to` of `send` says what the bytes are: see `simulator.wires.on_air`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from simulator.devices.device import Attribute
from simulator.wires.on_air import OnAir, read
from simulator.wires.wire import Peer, WireStats

WAITING_ADVERTS = 1000


class Radio(Protocol):
    """The part of a virtual BlueZ that devices need."""

    async def advertise(
        self,
        mac: str,
        service_data: Mapping[str, bytes] | None = None,
        rssi: int = -60,
        *,
        manufacturer_data: Mapping[int, bytes] | None = None,
        service_uuids: Sequence[str] = (),
        adapter: str = "",
    ) -> None:
        """Let an advertisement be heard."""

    def add_gatt_device(self, mac: str, services: Mapping[str, Sequence[Any]]) -> Any:
        """A device that can be connected."""

    async def notify(self, mac: str, uuid: str, data: bytes) -> bool:
        """A value for who has subscribed."""

    async def drop(self, mac: str) -> None:
        """The device ends its connection."""


class AirWire:
    """One device on the air. `adapters`: which adapter is which receiver. `services`: what can be found once it is connected."""

    def __init__(
        self,
        radio: Radio,
        mac: str,
        *,
        rssi_dbm: int = -60,
        adapters: Mapping[str, str] | None = None,
        services: Mapping[str, Sequence[Attribute]] | None = None,
    ) -> None:
        self.stats = WireStats()
        self._radio = radio
        self._mac = mac
        self._rssi_dbm = rssi_dbm
        self._adapters = adapters or {}
        self._services = services or {}
        self._waiting: deque[tuple[OnAir, bytes]] = deque()
        self._filled = asyncio.Event()

    async def run(self, peer: Peer) -> None:
        """Speak until cancelled."""
        if self._services:
            self._offer(peer)
        self.stats.connects += 1
        peer.up()
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                to, data = self._waiting.popleft()
                await self._say(to, data)
                self.stats.took(data)

    def send(self, data: bytes, to: str = "") -> bool:
        """Queue an advertisement or a value."""
        if len(self._waiting) >= WAITING_ADVERTS:
            self.stats.refused += 1
            return False
        self._waiting.append((read(to), data))
        self._filled.set()
        return True

    async def _say(self, to: OnAir, data: bytes) -> None:
        adapter = self._adapters.get(to.receiver)
        where: dict[str, Any] = {"adapter": adapter} if adapter else {}
        rssi = self._rssi_dbm if to.rssi_dbm is None else to.rssi_dbm
        if to.kind == "service":
            await self._radio.advertise(self._mac, {to.number: data}, rssi, **where)
        elif to.kind == "company":
            await self._radio.advertise(self._mac, rssi=rssi, manufacturer_data={int(to.number, 16): data}, **where)
        elif to.kind == "uuids":
            await self._radio.advertise(self._mac, rssi=rssi, service_uuids=[to.number], **where)
        elif to.kind == "value":
            await self._radio.notify(self._mac, to.number, data)
        elif to.kind == "hangup":
            await self._radio.drop(self._mac)

    def _offer(self, peer: Peer) -> None:
        """Put the services on the radio; what the other end does with them goes to the device."""
        from simulator.wires.bluez_device import Characteristic

        def made(item: Attribute) -> Characteristic:
            def subscribed() -> None:
                peer.receive(b"", str(OnAir("subscribed", item.uuid)))

            def written(data: bytes) -> None:
                self.stats.got(data)
                peer.receive(data, str(OnAir("written", item.uuid)))

            return Characteristic(item.uuid, item.flags, item.value, written, subscribed)

        self._radio.add_gatt_device(self._mac, {service: [made(item) for item in items] for service, items in self._services.items()})
