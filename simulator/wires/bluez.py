"""A virtual BlueZ on a private D-Bus: programs that use bleak (or any BlueZ client) hear invented devices, unchanged.

    async with VirtualBluez() as radio:
        # start the program under test with radio.environment in its environment
        await radio.advertise("A4:C1:38:8D:18:B2", service_data={"fcd2": bytes.fromhex("44003a01")})

The real daemon of D-Bus is started (`dbus-daemon`, no root), the service `org.bluez` on it is ours. Implemented is what clients
call: Adapter1 (discovery and its filter), AdvertisementMonitorManager1 (passive scanning), Device1, GATT with notifications by
signal and by file descriptor. Source of names and signatures: doc/org.bluez.*.rst of BlueZ 5.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from simulator.errors import SimulatorError
from simulator.wires.bluez_device import CHARACTERISTIC, MTU, Characteristic, Device, forget_connection, full_uuid, gatt_objects
from simulator.wires.dbus_daemon import PrivateBus

ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
OBJECTS, PROPERTIES, BUS = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties", "org.freedesktop.DBus"

BURST = 50
"""Signals between two cheap calls: dbus-fast kills its own connection when it sends into a full socket."""
ANSWER_S = 0.02
"""Time between Connected and the answer to Connect: the signal reaches clients on a connection of their own."""
RESOLVE_S = 0.02
"""Time between Connected and ServicesResolved, as real stacks have it: clients must not rely on both at once."""


NOWHERE = Device(mac="", path="", adapter="")


class BlueZError(SimulatorError):
    """A device is used that is not there, or no client listens."""


class VirtualBluez:
    """The service and its bus, as an asynchronous context manager. `adapters`: names such as `hci0`."""

    def __init__(self, *, adapters: Sequence[str] = ("hci0",)) -> None:
        self.adapters = list(adapters)
        self.heard = 0
        self.unheard = 0
        self.devices: dict[str, Device] = {}
        self._daemon = PrivateBus()
        self._bus: MessageBus | None = None
        # Of each adapter: what each client (its bus name) set as filter, and who is scanning.
        self._filters: dict[str, dict[str, dict[str, Variant]]] = {}
        self._scans: dict[str, set[str]] = {}
        self._monitors: dict[str, set[tuple[str, str]]] = {}
        self._off: set[str] = set()
        self._since_call = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Address of the bus."""
        return self._daemon.address

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make a program meet this BlueZ instead of the system's."""
        return {"DBUS_SYSTEM_BUS_ADDRESS": self.address}

    @property
    def is_scanned(self) -> bool:
        """Whether any client listens."""
        return any(self._scans.values()) or any(self._monitors.values())

    async def __aenter__(self) -> VirtualBluez:
        """Start the bus and the service. Raises BusError when dbus-daemon is absent or does not start."""
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything and leave no file behind."""
        await self.stop()
        self._daemon.remove()

    async def start(self) -> None:
        """Start the daemon and take the name org.bluez. The address stays the same over `stop` and `start`."""
        await self._daemon.start()
        self._bus = MessageBus(bus_address=self.address, bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        await self._bus.connect()
        self._bus.add_message_handler(self._handle)
        await self._call(BUS, "AddMatch", "s", [f"type='signal',sender='{BUS}',member='NameOwnerChanged'"])
        await self._bus.request_name("org.bluez")

    async def stop(self) -> None:
        """End the daemon, as when the bus dies."""
        for task in list(self._tasks):
            task.cancel()
        for device in self.devices.values():
            forget_connection(device)
            device.is_shown = False
        for known in (self._filters, self._scans, self._monitors):
            known.clear()
        if self._bus is not None:
            self._bus.disconnect()
            with contextlib.suppress(Exception):  # whatever ended the connection, it is over
                await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # has no annotations
            self._bus = None
        await self._daemon.stop()

    async def advertise(
        self,
        mac: str,
        service_data: Mapping[str, bytes] | None = None,
        rssi: int = -60,
        *,
        manufacturer_data: Mapping[int, bytes] | None = None,
        service_uuids: Sequence[str] = (),
        name: str | None = None,
        tx_power: int | None = None,
        adapter: str = "",
    ) -> None:
        """Let an advertisement be heard; counted in `unheard` when no client listens, as on the air."""
        adapter = adapter or self.adapters[0]
        device = self._device(mac, adapter)
        data = {full_uuid(uuid): Variant("ay", bytes(block)) for uuid, block in (service_data or {}).items()}
        made = {number: Variant("ay", bytes(block)) for number, block in (manufacturer_data or {}).items()}
        known: dict[str, Variant] = {"RSSI": Variant("n", rssi)}
        if data:
            known["ServiceData"] = Variant("a{sv}", data)
        if made:
            known["ManufacturerData"] = Variant("a{qv}", made)
        if service_uuids:
            known["UUIDs"] = Variant("as", [full_uuid(uuid) for uuid in service_uuids])
        if tx_power is not None:
            known["TxPower"] = Variant("n", tx_power)
        if name is not None:
            known |= {"Name": Variant("s", name), "Alias": Variant("s", name)}
        if not self._listens(adapter):
            self.unheard += 1
            return
        self.heard += 1
        payload = (data, made, name)
        if device.is_shown and payload == device.payload and not self._wants_duplicates(adapter):
            # Like bluetoothd without DuplicateData: an unchanged payload is silent, only the signal strength is told.
            known = {key: value for key, value in known.items() if device.properties.get(key) != value}
        device.payload = payload
        device.properties |= known
        if not device.is_shown:
            self._show(device)
        elif known:
            self._changed(device.path, DEVICE, known)
        await self._pace()

    async def touch(self, mac: str, **properties: Variant) -> None:
        """Change any property of a device (`Trusted`, ...): clients are told, although nothing was on the air."""
        device = self.devices[mac.upper()]
        device.properties |= properties
        self._changed(device.path, DEVICE, properties)
        await self._pace()

    async def vanish(self, mac: str) -> None:
        """The device has not been heard for long: BlueZ drops it."""
        device = self.devices.pop(mac.upper())
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [device.path, [DEVICE]])
        await self._pace()

    def add_gatt_device(self, mac: str, services: Mapping[str, Sequence[Characteristic]], *, adapter: str = "") -> Device:
        """A device that can be connected once it has advertised. UUIDs may be short."""
        device = self._device(mac, adapter or self.adapters[0])
        device.services = {full_uuid(uuid): list(found) for uuid, found in services.items()}
        handle = 0
        for uuid, found in device.services.items():
            handle += 1
            base = device.service_paths[uuid] = f"{device.path}/service{handle:04x}"
            for item in found:
                handle += 1
                item.uuid, item.path = full_uuid(item.uuid), f"{base}/char{handle:04x}"
        return device

    def characteristic(self, mac: str, uuid: str) -> Characteristic:
        """One characteristic of a device. Raises BlueZError when there is none."""
        device = self.devices.get(mac.upper())
        found = [item for item in device.characteristics if item.uuid == full_uuid(uuid)] if device else []
        if not found:
            raise BlueZError(f"{mac}: characteristic {uuid} expected, got none", hint="add_gatt_device comes first")
        return found[0]

    async def notify(self, mac: str, uuid: str, data: bytes) -> bool:
        """Send a notification or indication; False when no client has subscribed."""
        item = self.characteristic(mac, uuid)
        item.value = data
        if item.acquired is not None:
            try:
                await asyncio.get_running_loop().sock_sendall(item.acquired, data)
            except OSError:
                item.acquired.close()
                item.acquired = None
                return False
            return True
        if not item.is_notifying:
            return False
        self._changed(item.path, CHARACTERISTIC, {"Value": Variant("ay", data)})
        await self._pace()
        return True

    async def drop(self, mac: str) -> None:
        """The device ends its connection."""
        self._disconnect(self.devices[mac.upper()])
        await self._pace()

    async def remove_adapter(self, adapter: str) -> None:
        """Pull the adapter out."""
        self.adapters.remove(adapter)
        self._scans.pop(adapter, None)
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [f"/org/bluez/{adapter}", [ADAPTER, MONITORS]])
        await self._pace()

    async def add_adapter(self, adapter: str) -> None:
        """Plug an adapter in."""
        self.adapters.append(adapter)
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [f"/org/bluez/{adapter}", self._adapter_interfaces(adapter)])
        await self._pace()

    async def power(self, adapter: str, on: bool) -> None:
        """Switch an adapter on or off; switching off ends every scan on it."""
        (self._off.discard if on else self._off.add)(adapter)
        if not on:
            self._scans.pop(adapter, None)
        self._changed(f"/org/bluez/{adapter}", ADAPTER, {"Powered": Variant("b", on)})
        await self._pace()

    async def wait_scanned(self, limit_s: float = 10.0) -> None:
        """Until a client listens. Raises BlueZError when none does in time."""
        try:
            async with asyncio.timeout(limit_s):
                while not self.is_scanned:  # noqa: ASYNC110  # the bus tells by message, polling keeps the handler simple
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise BlueZError(f"no client began to scan within {limit_s:g} s", hint="is DBUS_SYSTEM_BUS_ADDRESS set for it?") from None

    # The objects that clients see.

    def _device(self, mac: str, adapter: str) -> Device:
        mac = mac.upper()
        # What a second adapter hears is a device of its own, as in BlueZ; the first one's is found by the address alone.
        key = mac if adapter == self.adapters[0] or self.devices.get(mac, NOWHERE).adapter == adapter else f"{mac} {adapter}"
        device = self.devices.get(key)
        if device is None:
            path = f"/org/bluez/{adapter}/dev_{mac.replace(':', '_')}"
            device = self.devices[key] = Device(mac=mac, path=path, adapter=adapter)
            flags = dict.fromkeys(("Connected", "ServicesResolved", "Paired", "Trusted", "Blocked", "LegacyPairing"), Variant("b", False))
            device.properties = {
                "Address": Variant("s", mac),
                "AddressType": Variant("s", "random"),
                "Alias": Variant("s", mac.replace(":", "-")),
                "Adapter": Variant("o", f"/org/bluez/{adapter}"),
                "UUIDs": Variant("as", []),
                **flags,
            }
        return device

    def _adapter_interfaces(self, adapter: str) -> dict[str, dict[str, Variant]]:
        number = self.adapters.index(adapter)
        return {
            ADAPTER: {
                "Address": Variant("s", f"00:1A:7D:DA:71:{number:02X}"),
                "Name": Variant("s", "virtual"),
                "Alias": Variant("s", "virtual"),
                "Powered": Variant("b", adapter not in self._off),
                "Discovering": Variant("b", bool(self._scans.get(adapter))),
                "Roles": Variant("as", ["central", "peripheral"]),
            },
            MONITORS: {
                "SupportedMonitorTypes": Variant("as", ["or_patterns"]),
                "SupportedFeatures": Variant("as", []),
            },
        }

    def _managed(self) -> dict[str, dict[str, dict[str, Variant]]]:
        found = {f"/org/bluez/{adapter}": self._adapter_interfaces(adapter) for adapter in self.adapters}
        for device in self.devices.values():
            if device.is_shown and device.adapter in self.adapters:
                found[device.path] = {DEVICE: device.properties}
            if device.is_connected:
                found |= gatt_objects(device)
        return found

    def _show(self, device: Device) -> None:
        device.is_shown = True
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [device.path, {DEVICE: device.properties}])

    def _listens(self, adapter: str) -> bool:
        return adapter in self.adapters and bool(self._scans.get(adapter) or self._monitors.get(adapter))

    def _wants_duplicates(self, adapter: str) -> bool:
        filters = self._filters.get(adapter, {})
        wishes = [filters.get(client, {}).get("DuplicateData") for client in self._scans.get(adapter, ())]
        return bool(self._monitors.get(adapter)) or any(wish is not None and wish.value for wish in wishes)

    # Calls from clients.

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and not message.body[2]:
                self._client_left(message.body[0])
            return None
        if message.message_type is not MessageType.METHOD_CALL or not (message.interface or "").startswith(("org.bluez.", OBJECTS)):
            return None
        answer: Callable[[Message], Message | None] | None = getattr(self, f"_on_{message.member}", None)
        if answer is None:
            return None
        try:
            return answer(message) or True
        except KeyError:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", f"{message.path}: no such object")

    def _on_GetManagedObjects(self, message: Message) -> Message:  # noqa: N802  # method names of the BlueZ interfaces, found by name
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._managed()])

    def _on_SetDiscoveryFilter(self, message: Message) -> Message:  # noqa: N802  # as above
        self._filters.setdefault(self._adapter_of(message), {})[str(message.sender)] = message.body[0]
        return Message.new_method_return(message)

    def _on_StartDiscovery(self, message: Message) -> Message:  # noqa: N802  # as above
        adapter = self._adapter_of(message)
        scans = self._scans.setdefault(adapter, set())
        if adapter in self._off:
            return Message.new_error(message, "org.bluez.Error.NotReady", "Resource Not Ready")
        if message.sender in scans:
            return Message.new_error(message, "org.bluez.Error.InProgress", "Operation already in progress")
        scans.add(str(message.sender))
        return Message.new_method_return(message)

    def _on_StopDiscovery(self, message: Message) -> Message:  # noqa: N802  # as above
        scans = self._scans.get(self._adapter_of(message), set())
        if message.sender not in scans:
            return Message.new_error(message, "org.bluez.Error.Failed", "No discovery started")
        scans.discard(message.sender)
        return Message.new_method_return(message)

    def _on_RegisterMonitor(self, message: Message) -> Message:  # noqa: N802  # as above
        self._monitors.setdefault(self._adapter_of(message), set()).add((str(message.sender), message.body[0]))
        return Message.new_method_return(message)

    def _on_UnregisterMonitor(self, message: Message) -> Message:  # noqa: N802  # as above
        self._monitors.get(self._adapter_of(message), set()).discard((str(message.sender), message.body[0]))
        return Message.new_method_return(message)

    def _on_Connect(self, message: Message) -> Message | None:  # noqa: N802  # as above
        device = self._device_of(message)
        if not device.services:
            return Message.new_error(message, "org.bluez.Error.Failed", "le-connection-abort-by-peer")
        self._spawn(self._finish_connect(device, message))
        return None

    def _on_Disconnect(self, message: Message) -> Message:  # noqa: N802  # as above
        device = self._device_of(message)
        # The answer comes before the signals, as from bluetoothd.
        asyncio.get_running_loop().call_soon(self._disconnect, device)
        return Message.new_method_return(message)

    def _on_Pair(self, message: Message) -> Message | None:  # noqa: N802  # as above
        device = self._device_of(message)
        device.properties["Paired"] = Variant("b", True)
        self._changed(device.path, DEVICE, {"Paired": Variant("b", True)})
        return self._on_Connect(message)

    def _on_ReadValue(self, message: Message) -> Message:  # noqa: N802  # as above
        item = self._characteristic_of(message)
        if "read" not in item.flags:
            return Message.new_error(message, "org.bluez.Error.NotPermitted", "Read not permitted")
        return Message.new_method_return(message, "ay", [item.value])

    def _on_WriteValue(self, message: Message) -> Message:  # noqa: N802  # as above
        item = self._characteristic_of(message)
        data = bytes(message.body[0])
        item.written.append(data)
        if item.on_write is not None:
            asyncio.get_running_loop().call_soon(item.on_write, data)
        return Message.new_method_return(message)

    def _on_StartNotify(self, message: Message) -> Message:  # noqa: N802  # as above
        item = self._characteristic_of(message)
        if not {"notify", "indicate"} & set(item.flags):
            return Message.new_error(message, "org.bluez.Error.NotSupported", "Operation is not supported")
        item.is_notifying = True
        if item.on_subscribe is not None:
            asyncio.get_running_loop().call_soon(item.on_subscribe)
        return Message.new_method_return(message)

    def _on_StopNotify(self, message: Message) -> Message:  # noqa: N802  # as above
        self._characteristic_of(message).is_notifying = False
        return Message.new_method_return(message)

    def _on_AcquireNotify(self, message: Message) -> Message | None:  # noqa: N802  # as above
        item = self._characteristic_of(message)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        item.acquired = ours
        reply = Message.new_method_return(message, "hq", [0, MTU], unix_fds=[theirs.fileno()])
        assert self._bus is not None
        # The descriptor is duplicated by sending it; ours is closed once that is done.
        self._bus.send(reply).add_done_callback(lambda _: theirs.close())
        if item.on_subscribe is not None:
            asyncio.get_running_loop().call_soon(item.on_subscribe)
        return None

    # How connections come and go.

    async def _finish_connect(self, device: Device, message: Message) -> None:
        """Connected, then the answer, then the services: a client that hears the answer first takes the device for gone."""
        device.is_connected = True
        device.properties["Connected"] = Variant("b", True)
        self._changed(device.path, DEVICE, {"Connected": Variant("b", True)})
        await asyncio.sleep(ANSWER_S)
        assert self._bus is not None
        self._bus.send(Message.new_method_return(message))
        await asyncio.sleep(RESOLVE_S)
        for path, interfaces in gatt_objects(device).items():
            self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])
        device.properties["ServicesResolved"] = Variant("b", True)
        self._changed(device.path, DEVICE, {"ServicesResolved": Variant("b", True)})

    def _disconnect(self, device: Device) -> None:
        if not device.is_connected:
            return
        objects = gatt_objects(device)
        forget_connection(device)
        gone = {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)}
        self._changed(device.path, DEVICE, gone)
        for path, interfaces in reversed(objects.items()):
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, list(interfaces)])

    def _client_left(self, name: str) -> None:
        for scans in self._scans.values():
            scans.discard(name)
        for filters in self._filters.values():
            filters.pop(name, None)
        for adapter, monitors in self._monitors.items():
            self._monitors[adapter] = {pair for pair in monitors if pair[0] != name}

    # Small parts.

    def _adapter_of(self, message: Message) -> str:
        adapter = str(message.path).rpartition("/")[2]
        if adapter not in self.adapters:
            raise KeyError(adapter)
        return adapter

    def _device_of(self, message: Message) -> Device:
        return {device.path: device for device in self.devices.values() if device.is_shown}[str(message.path)]

    def _characteristic_of(self, message: Message) -> Characteristic:
        connected = [device for device in self.devices.values() if device.is_connected]
        return {item.path: item for device in connected for item in device.characteristics}[str(message.path)]

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _changed(self, path: str, interface: str, properties: Mapping[str, Variant]) -> None:
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, dict(properties), []])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus is None or not self._bus.connected:
            return
        self._bus.send(Message.new_signal(path, interface, member, signature, body))
        self._since_call += 1

    async def _pace(self) -> None:
        if self._since_call >= BURST:
            self._since_call = 0
            await self._call(BUS, "GetId")

    async def _call(self, interface: str, member: str, signature: str = "", body: list[Any] | None = None) -> None:
        if self._bus is not None and self._bus.connected:
            await self._bus.call(
                Message(
                    destination=BUS, path="/org/freedesktop/DBus", interface=interface, member=member, signature=signature, body=body or []
                )
            )


async def _serve(lines: Sequence[str], *, repeat_s: float) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with VirtualBluez() as radio:
        sys.stdout.write(f"DBUS_SYSTEM_BUS_ADDRESS={radio.address}\n")
        sys.stdout.flush()
        while not stopped.is_set():
            for line in lines:
                wanted = json.loads(line)
                blocks = {uuid: bytes.fromhex(text) for uuid, text in wanted.get("service_data", {}).items()}
                made = {int(number): bytes.fromhex(text) for number, text in wanted.get("manufacturer_data", {}).items()}
                await radio.advertise(wanted["address"], blocks, wanted.get("rssi", -60), manufacturer_data=made, name=wanted.get("name"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), repeat_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a virtual BlueZ until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator.wires.bluez",
        description="A virtual BlueZ on a private D-Bus. Prints the variable that makes a BLE program use it, then advertises.",
        epilog='line: {"address": "A4:C1:38:8D:18:B2", "service_data": {"fcd2": "44003a01"}, "manufacturer_data": {}, "rssi": -60}',
    )
    parser.add_argument("file", nargs="?", help="JSON lines to advertise, again and again (default: none, the bus only)")
    parser.add_argument("--repeat", type=float, default=2.0, metavar="S", help="seconds between two rounds (default 2)")
    asked = parser.parse_args(arguments)
    try:
        lines = [line for line in Path(asked.file).read_text("utf-8").splitlines() if line.strip()] if asked.file else []
        asyncio.run(_serve(lines, repeat_s=asked.repeat))
    except (SimulatorError, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error}\nTry: {getattr(error, 'hint', '') or 'python -m simulator.wires.bluez --help'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
