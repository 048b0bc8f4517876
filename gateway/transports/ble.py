"""Bluetooth advertisements: one scanner per adapter, restarted whenever the scan is lost.

bleak calls back on any change of a device in BlueZ, with the payload that BlueZ has cached. Only what was heard is handed on, and of
a payload that a device says again and again one each second, with the mean of the signal strengths: most of what is on the air is
repetition, and it ends at one look into a table. A payload that differs from the last one of its device is always handed on.
Waiting advertisements are bounded; what comes from devices of ours and what comes from strangers waits in two lines, and what no
driver can use does not wait at all: nobody's phones, and nobody's flood, stand between a button and its driver.

A scan can end without a word: the bus dies, bluetoothd restarts, an adapter is pulled out. So a second, small connection watches
the bus, and silence for long ends a scan as well.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from operator import is_
from typing import TYPE_CHECKING, Any

import structlog

from drivers.api import Advert, Frame, Instant, Transport
from gateway.transports import dbus_pace
from gateway.transports.advert_queue import AdvertQueue

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

Deliver = Callable[[Frame], Awaitable[None] | None]


class Whose(Enum):
    """Where an advertisement waits: `OURS`, a device of the inventory or a badge; `STRANGERS`, known to a driver; `NOBODYS`, nowhere."""

    OURS = 0
    STRANGERS = 1
    NOBODYS = 2


Rank = Callable[[Frame], Whose]

RSSI_UNKNOWN = -127
"""What bleak reports where BlueZ has no signal strength (the device was not heard)."""
WAITING, STRANGERS_WAITING = 4096, 512
"""Advertisements of our devices, and of strangers that a driver recognises, which wait for their turn."""
MOST_DEVICES = 4096
"""Devices whose last payload is remembered: phones change their address every quarter of an hour."""
REPEAT_S = 1.0
"""The same payload of the same device is handed on this often. Drivers take what comes within 4 s for one advertisement, and rooms are
found by averages of 8 s: neither can tell more."""
BATCH = 64
"""Advertisements delivered before the loop gets a turn."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
START_S = 30.0
QUIET_S = 600.0
"""No advertisement at all for so long: bluetoothd before 5.88 can believe that it scans while it does not."""
STEADY_S = 60.0
"""A scan that lasted so long starts its back-off anew."""

SERVICE_DATA, SERVICES_SOME, SERVICES_ALL, MAKER = 0x16, 0x02, 0x03, 0xFF
HEALTH_SERVICES = (0x1810, 0x1809, 0x1808, 0x1822, 0x181D, 0x180D)
PATTERNS = (
    (0, SERVICE_DATA, b"\xd2\xfc"),
    (0, SERVICE_DATA, b"\x95\xfe"),
    (0, SERVICE_DATA, b"\xaa\xfe"),
    (0, SERVICE_DATA, b"\x1d\x18"),
    (0, SERVICE_DATA, b"\x1b\x18"),
    (0, MAKER, b"\x4c\x00"),
    (2, MAKER, b"\xbe\xac"),
    *((0, kind, uuid.to_bytes(2, "little")) for uuid in HEALTH_SERVICES for kind in (SERVICES_SOME, SERVICES_ALL)),
)
"""What a passive scan lets through (BlueZ wants patterns): offset, AD type, bytes. BTHome, MiBeacon, Eddystone, scales, iBeacon,
AltBeacon, and health devices that name their service first."""

_HINTS = {
    "NO_BLUETOOTH": "is the adapter plugged in? bluetoothctl list",
    "POWERED_OFF": "switch the adapter on: bluetoothctl power on",
    "DENIED_BY_SYSTEM": "add the user to the group bluetooth: adduser anhu bluetooth",
    "FileNotFoundError": "D-Bus is not running: systemctl start dbus bluetooth",
    "ConnectionRefusedError": "D-Bus is not running: systemctl start dbus bluetooth",
    "ServiceUnknown": "bluetoothd is not running: systemctl start bluetooth",
    "passive scanning": "set ble.active = true, or start bluetoothd with --experimental",
}


def _everything_is_ours(frame: Frame) -> Whose:
    return Whose.OURS


class ScanLostError(Exception):
    """The scan has ended; the text says why."""


@dataclass(frozen=True, slots=True)
class ScanStatus:
    """`state`: `starting`, `scanning` or `lost`. `why` and `hint` where it is lost. `since` on both clocks."""

    state: str
    adapter: str
    since: Instant
    why: str = ""
    hint: str = ""


class BleScanner:
    """One adapter. `now` gives the time; `adapter` such as `hci0` (None: the first that is on); `receiver` names the room it stands in.

    `counts`: callbacks, cached (not on the air), repeated (on the air, and handed on within the second), nobodys (no driver can use
    it), delivered, dropped, scans, lost.
    """

    def __init__(
        self, now: Callable[[], Instant], *, adapter: str | None = None, active: bool = True, receiver: str = "", quiet_s: float = QUIET_S
    ) -> None:
        self.adapter = adapter
        self.receiver = receiver or adapter or ""
        self.counts: Counter[str] = Counter()
        self._now = now
        self._active = active
        self._quiet_s = quiet_s
        self._status = ScanStatus("starting", adapter or "default", now())
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self._rank: Rank = _everything_is_ours
        self._ours, self._strangers = AdvertQueue(WAITING), AdvertQueue(STRANGERS_WAITING)
        self._filled = asyncio.Event()
        self._moment: Instant | None = None
        self._last_s = 0.0

    @property
    def status(self) -> ScanStatus:
        """Whether it scans, and if not why."""
        return self._status

    @property
    def waiting(self) -> int:
        """Advertisements not yet delivered."""
        return len(self._ours) + len(self._strangers)

    def device(self, address: str) -> BLEDevice | None:
        """The device that bleak can connect to, if it was heard."""
        found = self._heard.get(address)
        return found.device if found is not None else None

    async def run(self, deliver: Deliver, rank: Rank | None = None) -> None:
        """Scan and deliver until cancelled. What `deliver` raises ends it; a lost scan does not. `rank` says whose a frame is."""
        self._rank = rank or _everything_is_ours
        consumer = asyncio.create_task(self._consume(deliver), name="ble deliver")
        scanner = asyncio.create_task(self._keep_scanning(), name="ble scan")
        try:
            done, _ = await asyncio.wait((consumer, scanner), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (scanner, consumer):
                task.cancel()
            await asyncio.gather(scanner, consumer, return_exceptions=True)

    async def _keep_scanning(self) -> None:
        wait = FIRST_WAIT_S
        while True:
            began = self._now().s
            try:
                await self._scan()
            except Exception as error:
                if not _is_lost(error):
                    raise
                self._lose(error)
            if self._now().s - began > STEADY_S:
                wait = FIRST_WAIT_S
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    async def _scan(self) -> None:
        """One scan, until it is lost. Raises what bleak and D-Bus raise, or ScanLostError."""
        from bleak import BleakScanner

        options: dict[str, Any] = {"filters": {"DuplicateData": True}}
        if self.adapter:
            options["adapter"] = self.adapter
        if not self._active:
            options["or_patterns"] = list(PATTERNS)
        dbus_pace.install()
        watch = _Watch(self.adapter)
        await watch.open()
        scanner = BleakScanner(self._on_advert, scanning_mode="active" if self._active else "passive", bluez=options)  # type: ignore[arg-type]  # a plain dict is what bleak's typed dicts are
        try:
            async with asyncio.timeout(START_S):
                await scanner.start()
            self.counts["scans"] += 1
            self._last_s = self._now().s
            self._say(ScanStatus("scanning", self._status.adapter, self._now()))
            await self._until_lost(watch)
        finally:
            await _stop(scanner)
            watch.close()

    async def _until_lost(self, watch: _Watch) -> None:
        while True:
            try:
                async with asyncio.timeout(self._quiet_s / 4):
                    raise ScanLostError(await watch.lost())
            except TimeoutError:
                quiet = self._now().s - self._last_s
                if quiet > self._quiet_s:
                    raise ScanLostError(f"nothing heard for {quiet:.0f} s") from None

    def _lose(self, error: BaseException) -> None:
        self.counts["lost"] += 1
        why = str(error.args[0]) if error.args else type(error).__name__
        text = f"{type(error).__name__} {error!r}"
        hint = next((hint for word, hint in _HINTS.items() if word in text), "")
        if not isinstance(error, ScanLostError):
            why = f"{type(error).__name__}: {why}"
        self._say(ScanStatus("lost", self._status.adapter, self._now(), why, hint))

    def _say(self, status: ScanStatus) -> None:
        changed = status.state != self._status.state or (status.why != self._status.why and status.state == "lost")
        self._status = status
        if changed and status.state == "lost":
            structlog.get_logger().warning("ble scan lost", adapter=status.adapter, why=status.why, hint=status.hint)
        elif changed:
            structlog.get_logger().info("ble scan started", adapter=status.adapter)

    def _on_advert(self, device: BLEDevice, data: AdvertisementData) -> None:
        self.counts["callbacks"] += 1
        now = self._moment or self._look()
        address = device.address.upper()
        rssi = data.rssi if data.rssi != RSSI_UNKNOWN else None
        said = _said(data)
        known = self._heard.get(address)
        if known is not None and said is not None and known.said is not None:
            # bleak keeps each property as the object that the last signal brought: the same objects again mean that the signal was
            # about something else. Without them (another backend) everything is handed on; drivers know repetitions themselves.
            if all(map(is_, said, known.said)) and (rssi is None or rssi == known.rssi):
                self.counts["cached"] += 1
                return
            if said == known.said and now.s - known.told_s < REPEAT_S:
                known.said = said
                known.hear(rssi)
                self.counts["repeated"] += 1
                return
        if known is None:
            known = self._heard[address] = _Heard()
            if len(self._heard) > MOST_DEVICES:
                self._heard.popitem(last=False)
        else:
            self._heard.move_to_end(address)
            if said != known.said or now.s - known.told_s > 2 * REPEAT_S:
                known.forget()
        known.device, known.said, known.told_s = device, said, now.s
        known.hear(rssi)
        self._put(self._frame(address, data, now, known.mean() if rssi is not None else None))

    def _look(self) -> Instant:
        """What was read together has come at one moment: one look at the clock for all of it."""
        now = self._moment = self._now()
        self._last_s = now.s
        asyncio.get_running_loop().call_soon(self._look_away)
        return now

    def _look_away(self) -> None:
        self._moment = None

    def _frame(self, address: str, data: AdvertisementData, now: Instant, rssi: int | None) -> Frame:
        blocks = [*data.service_data.values(), *data.manufacturer_data.values()]
        return Frame(
            data=blocks[0] if len(blocks) == 1 else b"",
            received=now,
            transport=Transport.BLE_ADVERT,
            peer=self.receiver,
            address=address,
            advert=Advert(
                service_data={uuid.lower(): block for uuid, block in data.service_data.items()},
                manufacturer_data=data.manufacturer_data,
                service_uuids=[uuid.lower() for uuid in data.service_uuids],
                name=data.local_name,
                tx_power_dbm=data.tx_power,
                rssi_dbm=rssi,
                receiver=self.receiver,
            ),
        )

    def _put(self, frame: Frame) -> None:
        rank = self._rank(frame)
        if rank is Whose.NOBODYS:
            self.counts["nobodys"] += 1
            return
        queue = self._ours if rank is Whose.OURS else self._strangers
        queue.put(frame)
        self.counts["dropped"] = self._ours.dropped + self._strangers.dropped
        self._filled.set()

    async def _consume(self, deliver: Deliver) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            turn = 0
            while queue := self._ours or self._strangers:
                frame = queue.pop()
                self.counts["delivered"] += 1
                result = deliver(frame)
                if inspect.isawaitable(result):
                    await result
                turn += 1
                if turn % BATCH == 0:
                    await asyncio.sleep(0)


class _Heard:
    """One device: what it said last, when that was handed on, and the signal strengths since."""

    __slots__ = ("_count", "_sum", "device", "rssi", "said", "told_s")

    def __init__(self) -> None:
        self.device: BLEDevice | None = None
        self.said: tuple[Any, ...] | None = None
        self.told_s = 0.0
        self.rssi: int | None = None
        self._sum = self._count = 0

    def hear(self, rssi: int | None) -> None:
        if rssi is not None:
            self.rssi = rssi
            self._sum += rssi
            self._count += 1

    def mean(self) -> int | None:
        """Mean of the signal strengths since the last call."""
        mean = round(self._sum / self._count) if self._count else None
        self.forget()
        return mean

    def forget(self) -> None:
        """Strengths of another payload, or of long ago, say nothing about this one."""
        self._sum = self._count = 0


def _said(data: AdvertisementData) -> tuple[Any, ...] | None:
    """What an advertisement says, as the objects that BlueZ's properties are; None where bleak runs on something else."""
    platform = data.platform_data
    properties = platform[1] if len(platform) > 1 else None
    if not isinstance(properties, dict):
        return None
    get = properties.get
    return get("ServiceData"), get("ManufacturerData"), get("UUIDs"), get("Name")


class _Watch:
    """A connection to the bus of its own that tells when a scan cannot be alive any more. Closed by `close`."""

    def __init__(self, adapter: str | None) -> None:
        self._adapter = adapter
        self._bus: Any = None
        self._news: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect. Raises OSError and what D-Bus raises."""
        from dbus_fast import BusType
        from dbus_fast.aio import MessageBus

        self._bus = MessageBus(bus_type=BusType.SYSTEM)
        async with asyncio.timeout(START_S):
            await self._bus.connect()
            self._bus.add_message_handler(self._on_message)
            for rule in (
                "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'",
                "type='signal',sender='org.bluez',member='InterfacesRemoved',arg0path='/org/bluez/'",
                "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.Properties',arg0='org.bluez.Adapter1'",
            ):
                await self._add_match(rule)

    async def lost(self) -> str:
        """Why the scan is lost, when it is."""
        ended = asyncio.ensure_future(self._ended())
        try:
            await asyncio.wait((ended, self._news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        return self._news.result() if self._news.done() else "the D-Bus connection broke"

    def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None:
            self._bus.disconnect()
        self._news.cancel()

    async def _ended(self) -> None:
        try:
            await self._bus.wait_for_disconnect()
        except (OSError, EOFError):
            return

    async def _add_match(self, rule: str) -> None:
        from dbus_fast import Message

        bus = "org.freedesktop.DBus"
        await self._bus.call(
            Message(destination=bus, path="/org/freedesktop/DBus", interface=bus, member="AddMatch", signature="s", body=[rule])
        )

    def _on_message(self, message: Any) -> None:
        why = _why_lost(message, self._adapter)
        if why and not self._news.done():
            self._news.set_result(why)


def _why_lost(message: Any, adapter: str | None) -> str | None:
    """What a signal says about the scan, if anything."""
    path = str(message.path or "")
    if message.member == "NameOwnerChanged":
        name, owner, _ = message.body
        return "bluetoothd ended" if name == "org.bluez" and owner else None
    if message.member == "InterfacesRemoved":
        gone, interfaces = message.body
        is_ours = adapter is None or gone == f"/org/bluez/{adapter}"
        return f"adapter {gone.rpartition('/')[2]} was removed" if is_ours and "org.bluez.Adapter1" in interfaces else None
    if (
        message.member == "PropertiesChanged"
        and message.body[0] == "org.bluez.Adapter1"
        and (adapter is None or path.endswith(f"/{adapter}"))
    ):
        powered = message.body[1].get("Powered")
        return "the adapter was switched off" if powered is not None and not powered.value else None
    return None


def _is_lost(error: BaseException) -> bool:
    """Whether an error is the world's (restart the scan) and not ours (raise)."""
    from bleak.exc import BleakError
    from dbus_fast.errors import DBusFastError

    # AssertionError: bleak asserts that it has a bus, and after its death it has none.
    return isinstance(error, ScanLostError | BleakError | DBusFastError | OSError | EOFError | TimeoutError | AssertionError)


async def _stop(scanner: Any) -> None:
    try:
        async with asyncio.timeout(START_S):
            await scanner.stop()
    except Exception as error:
        # bleak takes its callbacks back first; that the dead bus then refuses is what we know already.
        if not _is_lost(error):
            raise
