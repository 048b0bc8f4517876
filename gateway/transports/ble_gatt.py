"""One Bluetooth device that is connected now and then: carries out what its driver asks for and hands values back.

Operations of a driver (`Send.op`): `connect` (`to` = `pair`: bond first), `subscribe`, `read`, `write`, `disconnect`; `to` is the
128-bit characteristic. They are carried out one after another, each with a time limit. A characteristic that the device does not
have is passed over and counted: one driver knows many models. When the connection fails or ends, what is left of the list is
dropped, and the driver is told by a frame without characteristic whose `peer` is `connected`, `disconnected` or `failed: why`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from drivers.api import Frame, Instant, Send, Transport

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice

CONNECT_S, PAIR_S, OPERATION_S = 20.0, 60.0, 10.0
"""Health devices advertise for 20 to 60 seconds; bonding needs a person who presses a key."""
WAITING_OPERATIONS = 256
"""A driver that asks for more at once is broken; the rest is dropped and counted."""

CONNECT_TRIES, RETRY_S = 3, 0.2
"""The first connection to a device that has just woken up often breaks off at once, and it is awake for seconds only."""


class GattSession:
    """One device. `find` gives what bleak needs to connect (`BleScanner.device`); `deliver` takes each frame, in order.

    `counts`: connects, failures, values, absent (characteristics), errors, dropped.
    """

    def __init__(
        self,
        address: str,
        now: Callable[[], Instant],
        deliver: Callable[[Frame], None],
        *,
        find: Callable[[str], BLEDevice | None],
        connect_s: float = CONNECT_S,
        operation_s: float = OPERATION_S,
    ) -> None:
        self.address = address
        self.counts: Counter[str] = Counter()
        self._now = now
        self._deliver = deliver
        self._find = find
        self._connect_s = connect_s
        self._operation_s = operation_s
        self._waiting: asyncio.Queue[Send] = asyncio.Queue(WAITING_OPERATIONS)
        self._client: Any = None
        self._said = ""

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands."""
        return self._client is not None and bool(self._client.is_connected)

    def send(self, sends: list[Send]) -> None:
        """Queue operations of the driver; never waits."""
        for item in sends:
            try:
                self._waiting.put_nowait(item)
            except asyncio.QueueFull:
                self.counts["dropped"] += 1

    async def run(self) -> None:
        """Carry out operations until cancelled; the connection is closed at the end."""
        try:
            while True:
                await self._carry_out(await self._waiting.get())
        finally:
            await asyncio.shield(self._disconnect())

    async def _carry_out(self, item: Send) -> None:
        if item.op == "connect":
            await self._connect(pair=item.to == "pair")
        elif item.op == "disconnect":
            await self._disconnect()
        elif not self.is_connected:
            self.counts["dropped"] += 1
        else:
            await self._operate(item)

    async def _connect(self, *, pair: bool) -> None:
        from bleak import BleakClient

        if self.is_connected:
            return
        device = self._find(self.address)
        if device is None:
            self._fail("not heard yet, it must advertise first")
            return
        limit = PAIR_S if pair else self._connect_s
        for attempt in range(1, CONNECT_TRIES + 1):
            client = BleakClient(device, disconnected_callback=self._on_gone, timeout=limit, pair=pair)
            self._client = client
            try:
                async with asyncio.timeout(limit + 1):
                    await client.connect()
                break
            except Exception as error:
                self._client = None
                if not _is_radio(error):
                    raise
                if attempt == CONNECT_TRIES:
                    self._fail(f"{type(error).__name__}: {error}")
                    return
            await asyncio.sleep(RETRY_S)
        self.counts["connects"] += 1
        self._said = ""
        self._tell("connected")

    async def _operate(self, item: Send) -> None:
        """One operation on an open connection. Errors of the radio are counted; the connection stays if it stands."""
        characteristic = self._client.services.get_characteristic(item.to)
        if characteristic is None:
            self.counts["absent"] += 1
            return
        try:
            async with asyncio.timeout(self._operation_s):
                if item.op == "subscribe":
                    await self._client.start_notify(characteristic, lambda found, data: self._value(found.uuid, bytes(data)))
                elif item.op == "read":
                    self._value(item.to, bytes(await self._client.read_gatt_char(characteristic)))
                else:
                    await self._client.write_gatt_char(characteristic, item.data, response="write" in characteristic.properties)
        except Exception as error:
            if not _is_radio(error):
                raise
            self.counts["errors"] += 1
            structlog.get_logger().debug("gatt operation failed", address=self.address, op=item.op, to=item.to, why=repr(error))

    async def _disconnect(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(self._operation_s):
                await client.disconnect()
        except Exception as error:
            if not _is_radio(error):
                raise
            self.counts["errors"] += 1
        self._on_gone(client)

    def _on_gone(self, client: Any) -> None:
        if self._client is not client or client is None:
            return
        self._client = None
        self._clear()
        self._tell("disconnected")

    def _fail(self, why: str) -> None:
        self.counts["failures"] += 1
        self._clear()
        if why != self._said:
            self._said = why
            structlog.get_logger().warning("ble device not reached", address=self.address, why=why)
        self._tell(f"failed: {why}")

    def _clear(self) -> None:
        """What was asked for on a connection that is gone means nothing on the next one."""
        kept: list[Send] = []
        while not self._waiting.empty():
            item = self._waiting.get_nowait()
            if item.op == "connect" or kept:
                kept.append(item)
            else:
                self.counts["dropped"] += 1
        for item in kept:
            self._waiting.put_nowait(item)

    def _value(self, uuid: str, data: bytes) -> None:
        self.counts["values"] += 1
        self._deliver(
            Frame(data=data, received=self._now(), transport=Transport.BLE_GATT, address=self.address, characteristic=uuid.lower())
        )

    def _tell(self, peer: str) -> None:
        self._deliver(Frame(data=b"", received=self._now(), transport=Transport.BLE_GATT, address=self.address, peer=peer))


def _is_radio(error: BaseException) -> bool:
    """Whether an error is the world's (device away, bus dead) and not ours."""
    from bleak.exc import BleakError
    from dbus_fast.errors import DBusFastError

    # AssertionError: bleak asserts that it has a bus, and after its death it has none.
    return isinstance(error, BleakError | DBusFastError | OSError | EOFError | TimeoutError | AssertionError)
