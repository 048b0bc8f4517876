"""Who lives in a community and what stands in the flats: the rows of which `simulator.community` is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulator.devices.device import Device
from simulator.places import Place


class Persona(NamedTuple):
    """A way of living. `walks`: outings a day; `speed_ms`: walking speed; `heart_bpm`: at rest; `pack`: which devices fit."""

    name: str
    walks: float
    speed_ms: float
    heart_bpm: int
    pack: tuple[str, ...]


@dataclass(frozen=True)
class Resident:
    """Somebody. `id` is the pseudonym under which the platform knows the person; the name stays in the registry."""

    id: str
    name: str
    flat: str
    persona: Persona
    home: Place


@dataclass(frozen=True)
class Member:
    """A device and to whom it belongs. `item`: its name in the pack. `mac`: BLE address; `topics`: MQTT subscriptions.

    `line`: name of the serial line that it shares with others; `through`: id of the device whose wire carries what it says;
    `receivers`: the Bluetooth receivers among which it moves, neighbours adjoining.
    """

    device: Device
    item: str
    subject: str | None
    name: str
    place: str
    seed: int
    mac: str = ""
    topics: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    baud: int = 115200
    line: str = ""
    through: str = ""
    receivers: tuple[str, ...] = ()
    is_known: bool = True
    """False: the device is not in the gateway's inventory; nothing that it says is anybody's."""


def adapters_of(members: Iterable[Member]) -> dict[str, str]:
    """The adapter of each Bluetooth receiver that devices move among; empty where one adapter hears everything."""
    rooms = dict.fromkeys(room for member in members for room in member.receivers)
    return {room: f"hci{number}" for number, room in enumerate(rooms)}


class Rates(NamedTuple):
    """How lively the devices are, seconds. The defaults are those of real firmware.

    `radar_s`, `moves_s`: heartbeat of a radar and how often it tells how strongly somebody moves; `settop_s`: heartbeat of a TV box.
    """

    heartbeat_s: float = 300.0
    walking_s: float = 20.0
    resting_s: float = 600.0
    health_s: float = 1800.0
    sensor_s: float = 300.0
    advert_s: float = 600.0
    radar_s: float = 60.0
    moves_s: float = 1.0
    settop_s: float = 60.0


DAILY = Rates()
LIVELY = Rates(heartbeat_s=10.0, walking_s=3.0, resting_s=8.0, health_s=12.0, sensor_s=6.0, advert_s=10.0, radar_s=5.0, settop_s=5.0)
"""For demonstrations: everything within half a minute."""
SPARSE = Rates(
    heartbeat_s=1800.0, walking_s=60.0, resting_s=1800.0, health_s=3600.0, sensor_s=1800.0, advert_s=3600.0,
    radar_s=1800.0, moves_s=600.0, settop_s=1800.0,
)  # fmt: skip
"""For weeks of whole districts in virtual time: every happening, but what says nothing new is said seldom."""

Installer = Callable[[Resident, int, int, Rates], Member]
"""Makes the device of a resident: number (unique in the community), seed, rates."""
