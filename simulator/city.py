"""How much a whole city offers, and how many boxes it takes: arithmetic over stated assumptions and measured unit costs.

`estimate(CITY, costs)` gives mean and peak load, what a reconnect storm needs, disk for an outage, uplink bandwidth, and for each
box the number that is needed. Costs belong to a bench (`UnitCosts`); every assumption is printed with the result.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simulator.errors import SimulatorError

PEAK_FACTOR = 3.0
"""Busiest minute of an ordinary day against the mean (morning rise, meals)."""
STORM_FACTOR = 10.0
"""Load after a network failure of a district, while devices empty their memories, against the mean."""
HEADROOM = 0.5
"""A box is planned at half of what it can do: the other half is for storms and for its neighbour's failure."""


class Fleet(NamedTuple):
    """So many alike devices. `every_s`: mean interval of messages; `events`: events made of one message; `frame_bytes`: on the wire."""

    name: str
    devices: int
    every_s: float
    events: float
    frame_bytes: int


class City(NamedTuple):
    """What is to be served. `sos_a_day`: true and false calls of one device in a day."""

    people: int
    homes: int
    fleets: tuple[Fleet, ...]
    sos_a_day: float


class UnitCosts(NamedTuple):
    """CPU of one core for an event end to end, bytes of an event in the store and upstream, memory of an idle gateway and of a device.

    To be measured on the box in question (`make bench`); the defaults are the targets of the design, not measurements.
    """

    event_us: float = 60.0
    stored_bytes: int = 420
    upstream_bytes: int = 560
    idle_mb: float = 80.0
    device_kb: float = 24.0


COSTS = UnitCosts()


def measured(path: str) -> UnitCosts:
    """Costs out of the lines of `make bench`; what no bench measured keeps its default. Raises SimulatorError without such lines."""
    costs: dict[str, Any] = {}
    try:
        lines = [json.loads(text) for text in Path(path).read_text("utf-8").splitlines() if text.startswith("{")]
    except (OSError, ValueError) as error:
        raise SimulatorError(f"{path}: {error}", hint="make bench > FILE") from None
    for line in lines:
        found = {name: line.get(name) for name in COSTS._fields}
        if line.get("bench") == "pipeline":
            found["event_us"] = (line.get("with_rules") or {}).get("us_per_event")
        costs |= {name: value for name, value in found.items() if isinstance(value, int | float)}
    if not costs:
        raise SimulatorError(f"{path}: no unit cost in it", hint="python -m bench pipeline > FILE")
    return COSTS._replace(**costs)


class Box(NamedTuple):
    """A machine. `speed`: of one core against the one where the costs were measured; `cores` that the gateway may use."""

    name: str
    cores: int
    speed: float
    memory_mb: int
    disk_gb: int


CITY = City(
    people=1_100_000,
    homes=8_200,
    fleets=(
        Fleet("one-key phones", 50_000, 300.0, 2.0, 90),
        Fleet("wristbands", 10_000, 60.0, 3.0, 150),
        Fleet("home sensors, 8 a home", 8_200 * 8, 300.0, 1.5, 120),
    ),
    sos_a_day=0.02,
)
"""The district of the request: 1.1 million people of whom 60,000 carry something, 8,200 equipped homes."""

BOXES = (
    Box("home box (quad A53, 1 GB)", 1, 0.12, 1024, 16),
    Box("station box (quad A76, 8 GB)", 3, 0.45, 8192, 256),
    Box("server (8 cores, 32 GB)", 7, 1.0, 32_768, 1000),
)


@dataclass(frozen=True)
class Estimate:
    """Rates in events a second, sizes in the unit of their name. `boxes`: how many of each are needed if only they are used."""

    messages_s: float
    events_s: float
    peak_events_s: float
    storm_events_s: float
    storm_minutes: float
    sos_hour: float
    store_gb_72h: float
    uplink_mbit_s: float
    memory_gb: float
    boxes: dict[str, int]
    assumptions: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def estimate(city: City = CITY, costs: UnitCosts = COSTS, boxes: tuple[Box, ...] = BOXES) -> Estimate:
    """The load of a city and what carries it."""
    devices = sum(fleet.devices for fleet in city.fleets)
    messages_s = sum(fleet.devices / fleet.every_s for fleet in city.fleets)
    events_s = sum(fleet.devices / fleet.every_s * fleet.events for fleet in city.fleets)
    storm_s = events_s * STORM_FACTOR
    memory_mb = devices * costs.device_kb / 1024
    # One hour of silence of every device that can store, emptied at the storm's rate.
    storm_minutes = events_s * 3600 / max(storm_s - events_s, 1e-9) / 60
    return Estimate(
        messages_s=round(messages_s, 1),
        events_s=round(events_s, 1),
        peak_events_s=round(events_s * PEAK_FACTOR, 1),
        storm_events_s=round(storm_s, 1),
        storm_minutes=round(storm_minutes, 1),
        sos_hour=round(devices * city.sos_a_day / 24, 1),
        store_gb_72h=round(events_s * 72 * 3600 * costs.stored_bytes / 1e9, 1),
        uplink_mbit_s=round(events_s * PEAK_FACTOR * costs.upstream_bytes * 8 / 1e6, 2),
        memory_gb=round(memory_mb / 1024, 2),
        boxes={box.name: _needed(box, storm_s, events_s, memory_mb, costs) for box in boxes},
        assumptions=_assumptions(city, costs),
    )


def _needed(box: Box, storm_s: float, events_s: float, memory_mb: float, costs: UnitCosts) -> int:
    """The largest of what CPU, memory and disk ask for."""
    by_cpu = storm_s * costs.event_us / 1e6 / (box.cores * box.speed * HEADROOM)
    room_mb = box.memory_mb * HEADROOM - costs.idle_mb * box.cores
    by_memory = memory_mb / room_mb if room_mb > 0 else math.inf
    by_disk = events_s * 72 * 3600 * costs.stored_bytes / (box.disk_gb * 1e9 * HEADROOM)
    return max(1, math.ceil(max(by_cpu, by_memory, by_disk)))


def _assumptions(city: City, costs: UnitCosts) -> tuple[str, ...]:
    fleets = [f"{fleet.devices} {fleet.name}: a message every {fleet.every_s:g} s, {fleet.events:g} events each" for fleet in city.fleets]
    return (
        f"{city.people} people, {city.homes} equipped homes, {city.sos_a_day:g} calls a device and day",
        *fleets,
        f"peak {PEAK_FACTOR:g} times, storm {STORM_FACTOR:g} times the mean; boxes planned for the storm at {HEADROOM:.0%} of their power",
        f"{costs.event_us:g} us CPU, {costs.stored_bytes} bytes stored, {costs.upstream_bytes} bytes upstream for an event",
        f"{costs.device_kb:g} kB for a device, {costs.idle_mb:g} MB for an idle gateway process",
    )
