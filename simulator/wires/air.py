"""BLE advertisements, heard by whatever listens to the (virtual) Bluetooth stack."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from simulator.wires.wire import Peer, WireStats

WAITING_ADVERTS = 1000


class Radio(Protocol):
    """The part of a virtual BlueZ that a sensor needs."""

    async def advertise(self, mac: str, service_data: dict[str, bytes], rssi: int = -60) -> None:
        """Let an advertisement be heard."""


class AirWire:
    """One sensor on the air. `to` of `send` is the UUID of the service data."""

    def __init__(self, radio: Radio, mac: str, *, rssi_dbm: int = -60) -> None:
        self.stats = WireStats()
        self._radio = radio
        self._mac = mac
        self._rssi_dbm = rssi_dbm
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._filled = asyncio.Event()

    async def run(self, peer: Peer) -> None:
        """Speak until cancelled; nothing comes back."""
        self.stats.connects += 1
        peer.up()
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                uuid, data = self._waiting.popleft()
                await self._radio.advertise(self._mac, service_data={uuid: data}, rssi=self._rssi_dbm)
                self.stats.took(data)

    def send(self, data: bytes, to: str = "") -> bool:
        """Queue an advertisement."""
        if len(self._waiting) >= WAITING_ADVERTS:
            self.stats.refused += 1
            return False
        self._waiting.append((to, data))
        self._filled.set()
        return True
