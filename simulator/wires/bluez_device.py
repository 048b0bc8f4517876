"""The objects of a BLE device as BlueZ shows them on D-Bus: Device1, GattService1, GattCharacteristic1."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Variant

SERVICE, CHARACTERISTIC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
MTU = 247


@dataclass
class Characteristic:
    """One GATT characteristic of an invented device.

    `flags`: BlueZ's words (`read`, `write`, `notify`, `indicate`, ...). `on_write` is called with what the client writes,
    `on_subscribe` when it enables notifications: the place to flush stored readings.
    """

    uuid: str
    flags: Sequence[str] = ("read", "notify")
    value: bytes = b""
    on_write: Callable[[bytes], None] | None = None
    on_subscribe: Callable[[], None] | None = None
    path: str = ""
    is_notifying: bool = False
    acquired: socket.socket | None = None
    written: list[bytes] = field(default_factory=list)


@dataclass
class Device:
    """One invented device. `services` maps a service UUID to its characteristics."""

    mac: str
    path: str
    adapter: str
    services: dict[str, list[Characteristic]] = field(default_factory=dict)
    service_paths: dict[str, str] = field(default_factory=dict)
    properties: dict[str, Variant] = field(default_factory=dict)
    is_shown: bool = False
    is_connected: bool = False
    payload: Any = None

    @property
    def characteristics(self) -> list[Characteristic]:
        """Of all services."""
        return [item for items in self.services.values() for item in items]


def full_uuid(uuid: str) -> str:
    """128-bit form, lower case, of a short or long UUID."""
    uuid = uuid.lower()
    return f"0000{uuid}-0000-1000-8000-00805f9b34fb" if len(uuid) == 4 else uuid


def gatt_objects(device: Device) -> dict[str, dict[str, dict[str, Variant]]]:
    """Services and characteristics: path, interface, property."""
    found: dict[str, dict[str, dict[str, Variant]]] = {}
    for uuid, items in device.services.items():
        base = device.service_paths[uuid]
        found[base] = {SERVICE: {"UUID": Variant("s", uuid), "Device": Variant("o", device.path), "Primary": Variant("b", True)}}
        for item in items:
            properties = {
                "UUID": Variant("s", item.uuid),
                "Service": Variant("o", base),
                "Value": Variant("ay", item.value),
                "Flags": Variant("as", list(item.flags)),
                "MTU": Variant("q", MTU),
                "Notifying": Variant("b", item.is_notifying),
            }
            if {"notify", "indicate"} & set(item.flags):
                properties["NotifyAcquired"] = Variant("b", item.acquired is not None)
            found[item.path] = {CHARACTERISTIC: properties}
    return found


def forget_connection(device: Device) -> None:
    """As after a disconnection: nothing is subscribed, descriptors are closed."""
    device.is_connected = False
    device.properties |= {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)}
    for item in device.characteristics:
        item.is_notifying = False
        if item.acquired is not None:
            item.acquired.close()
            item.acquired = None
