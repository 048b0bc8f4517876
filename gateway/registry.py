"""The registry: which devices there are, what is known of them, and what a platform has assigned.

The gateway is the authority for what is connected, the platform for what is assigned (resident, place, role, usual interval). Assignments
arrive as versions; a lower or equal one is ignored, one with a fault is refused whole. What is in force lies over the devices file and
survives restarts; the platform can always compare by `hash` and gets a full snapshot after every reconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from drivers.api import Instant
from drivers.events import DeviceHealth, Event, Occurrence
from drivers.vocabulary import Lane, State
from gateway.inventory import Device, Inventory
from gateway.store.contract import Batch
from gateway.uplinks.messages import Assignment, Desired, DeviceRow, RegistryChunk, RegistryHead, Reported

LARGEST_CHUNK = 60 * 1024
"""Of the 64 KiB that intermediaries must carry."""
MOST_ACTIVE = 16
_ASSIGNABLE = ("subject", "place", "role", "interval_s")


class Registry:
    """The devices of one gateway as a platform sees them. `on_change` hears that assignments came into force."""

    def __init__(self, inventory: Inventory, clock: Callable[[], Instant]) -> None:
        self.version = 0
        self.on_change: list[Callable[[], None]] = []
        self._inventory = inventory
        self._file = inventory.all()
        self._clock = clock
        self._desired: dict[str, Assignment] = {}
        self._last_ms: dict[str, int] = {}
        self._online: dict[str, bool] = {}
        self._battery: dict[str, float] = {}
        self._active: dict[str, set[str]] = {}

    def restore(self, version: int, patch: str) -> None:
        """Take up what was in force before a restart."""
        self.version = version
        self._desired = msgspec.json.decode(patch, type=dict[str, Assignment])
        self._lay_over()

    def take(self, rows: list[Device]) -> None:
        """The devices file was read again: what a platform has assigned lies over the new rows."""
        self._file = rows
        self._lay_over()

    def hear(self, event: Event) -> None:
        """An event is on disk."""
        device, body = event.device, event.body
        if self._inventory.find(device) is None:
            return
        self._last_ms[device] = event.received_ms
        kind = type(body)
        if kind is DeviceHealth:
            if body.online is not None:  # type: ignore[union-attr]  # the type test above is the fast form of isinstance
                self._online[device] = body.online  # type: ignore[union-attr]  # as above
            if body.battery_percent is not None:  # type: ignore[union-attr]  # as above
                self._battery[device] = body.battery_percent  # type: ignore[union-attr]  # as above
        elif kind is Occurrence and event.lane is Lane.ALARM:
            active = self._active.setdefault(device, set())
            if body.state is State.START and len(active) < MOST_ACTIVE:  # type: ignore[union-attr]  # as above
                active.add(body.kind.value)  # type: ignore[union-attr]  # as above
            elif body.state is State.END:  # type: ignore[union-attr]  # as above
                active.discard(body.kind.value)  # type: ignore[union-attr]  # as above

    def head(self) -> RegistryHead:
        """Version and hash."""
        return RegistryHead(self.version, self.hash())

    def hash(self) -> str:
        """16 hex digits over what is assigned: sorted `[device, driver, subject, place, role]` rows as compact JSON, BLAKE2b."""
        rows = sorted([d.device, d.driver, d.subject, d.place, d.role] for d in self._inventory.all())
        return blake2b(msgspec.json.encode(rows), digest_size=8).hexdigest()

    def chunks(self) -> list[bytes]:
        """A full snapshot, each part small enough for one message."""
        rows = [msgspec.json.encode(self._row(device)) for device in self._inventory.all()]
        parts: list[list[bytes]] = [[]]
        size = 0
        for row in rows:
            if size + len(row) + 1 > LARGEST_CHUNK and parts[-1]:
                parts.append([])
                size = 0
            parts[-1].append(row)
            size += len(row) + 1
        digest, now_ms = self.hash(), self._clock().ms
        heads = [RegistryChunk(self.version, digest, now_ms, number, len(parts), []) for number in range(1, len(parts) + 1)]
        return [msgspec.json.encode(head)[:-2] + b",".join(part) + b"]}" for head, part in zip(heads, parts, strict=True)]

    def desire(self, payload: bytes, uplink: str) -> tuple[Reported, Batch | None, bool]:
        """A platform's wish: what is reported, what has to be stored first, whether the platform needs a snapshot."""
        try:
            desired = msgspec.json.decode(payload, type=Desired)
        except (msgspec.DecodeError, RecursionError) as error:
            return self._report(0, str(error)), None, False
        needs = bool(desired.hash) and desired.hash != self.hash()
        if desired.version <= self.version:
            return self._report(0, ""), None, needs
        unknown = [device for device in desired.patch if self._inventory.find(device) is None]
        if unknown:
            return self._report(desired.version, f"unknown devices: {', '.join(sorted(unknown)[:5])}"), None, True
        for device, assignment in desired.patch.items():
            if assignment is None:
                self._desired.pop(device, None)
            else:
                self._desired[device] = _merged(self._desired.get(device), assignment)
        self.version = desired.version
        self._lay_over()
        text = msgspec.json.encode(self._desired).decode()
        batch = Batch(desired=[(self.version, text, uplink, self._clock().ms)], urgent=True)
        return self._report(0, ""), batch, True

    def _report(self, refused: int, detail: str) -> Reported:
        return Reported(self.version, self.hash(), refused, detail[:500])

    def _lay_over(self) -> None:
        rows: list[Device] = []
        for device in self._file:
            assignment = self._desired.get(device.device)
            values: dict[str, Any] = {}
            if assignment is not None:
                values = {name: value for name in _ASSIGNABLE if (value := getattr(assignment, name)) is not None}
            rows.append(msgspec.structs.replace(device, **values))
        self._inventory.replace(rows)
        for listener in self.on_change:
            listener()

    def _row(self, device: Device) -> DeviceRow:
        name = device.device
        return DeviceRow(
            device=name,
            driver=device.driver,
            subject=device.subject,
            place=device.place,
            role=device.role,
            online=self._online.get(name),
            last_ms=self._last_ms.get(name),
            battery_percent=self._battery.get(name),
            active=sorted(self._active.get(name, ())),
        )


def _merged(old: Assignment | None, new: Assignment) -> Assignment:
    if old is None:
        return new
    return Assignment(**{name: value if (value := getattr(new, name)) is not None else getattr(old, name) for name in _ASSIGNABLE})
