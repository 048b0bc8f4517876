"""Seeded communities: residents with names, flats and ways of living, the devices in their homes, and what happens to them.

The same seed gives the same people, the same devices and the same bytes. Names and numbers are made up.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from drivers.vocabulary import OccurrenceKind
from simulator.devices.bthome_sensor import BthomeSensor
from simulator.devices.device import Device, Happening
from simulator.devices.fall_radar import FallRadar
from simulator.devices.json_sensor import JsonSensor
from simulator.devices.settop_box import SettopBox
from simulator.devices.sos_pendant import PendantHabits, SosPendant
from simulator.devices.tracker import Tracker, TrackerHabits
from simulator.devices.wristband import WatchHabits, Wristband
from simulator.fixtures import FIXTURES, shared_by
from simulator.homes import HOMES, bridges_of
from simulator.members import DAILY, LIVELY, Installer, Member, Persona, Rates, Resident
from simulator.places import Place

ESTATE = Place(31.2195, 121.5030)
"""Middle of the housing estate, WGS-84."""

FAMILY_NAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
GIVEN_NAMES = (
    "秀英", "桂兰", "玉珍", "淑华", "建国", "德明", "志强", "国庆", "凤英", "文斌",
    "美玲", "永康", "素芬", "长林", "惠芳", "福生", "宝珍", "家祥", "月娥", "振华",
)  # fmt: skip


PERSONAS = (
    Persona("lives alone", 2.0, 1.0, 70, ("wristband", "gas", "door", "motion")),
    Persona("dementia", 3.0, 0.9, 72, ("wristband", "door", "settop")),
    Persona("frail", 0.4, 0.6, 78, ("pendant", "radar", "settop", "smoke")),
    Persona("couple", 1.5, 1.1, 68, ("wristband", "pendant", "gas", "motion")),
    Persona("wheelchair", 0.6, 0.8, 75, ("wristband", "radar", "settop", "door_mqtt")),
)


@dataclass(frozen=True)
class Community:
    """Residents, devices, and a plan of what happens, in order of time and possibly without end."""

    seed: int
    residents: tuple[Resident, ...]
    members: tuple[Member, ...]
    make_plan: Callable[[Community], Iterator[Happening]]

    def plan(self) -> Iterator[Happening]:
        """What happens, from the beginning."""
        return self.make_plan(self)

    def registry(self) -> list[dict[str, Any]]:
        """The devices as an installer enters them: device, driver, subject, name, place, wire, options."""
        return [
            {
                "device": member.device.id,
                "driver": member.device.driver,
                "subject": member.subject,
                "name": member.name,
                "place": member.place,
                "wire": member.device.wire.value,
                "options": member.options,
            }
            for member in self.members
            if member.is_known
        ]

    def find(self, resident: str, item: str) -> str:
        """Id of a resident's device by its item in the pack, or of the one that all share; empty when there is none."""
        found = {m.subject: m.device.id for m in reversed(self.members) if m.item == item and m.subject in (resident, None)}
        return found.get(resident) or found.get(None, "")


def build(
    residents: int,
    *,
    seed: int,
    rates: Rates = DAILY,
    make_plan: Callable[[Community], Iterator[Happening]] | None = None,
    pack: tuple[str, ...] | None = None,
) -> Community:
    """A community of so many residents, each with the pack of a persona, or all with the same `pack`."""
    dice = random.Random(f"community {seed}")
    people, members = [], []
    for n in range(residents):
        person = _resident(dice, n, PERSONAS[n % len(PERSONAS)])
        people.append(person)
        for number, item in enumerate(person.persona.pack if pack is None else pack):
            members.append(INSTALL[item](person, n * 10 + number, dice.randrange(1 << 31), rates))
    members += [*shared_by(members, seed=dice.randrange(1 << 31)), *bridges_of(members)]
    return Community(seed, tuple(people), tuple(members), make_plan or everyday)


def demo_community(seed: int = 2026) -> Community:
    """Five residents on all four wires; everything that matters happens within the first half minute, then life goes on."""
    return build(5, seed=seed, rates=LIVELY, make_plan=demo_day)


def demo_day(community: Community) -> Iterator[Happening]:
    """The compressed day: one of each within 28 s, then a small thing every few seconds, without end."""
    alone, dementia, frail, couple, wheelchair = (resident.id for resident in community.residents[:5])
    find = community.find
    door, motion, radar = find(alone, "door"), find(alone, "motion"), find(frail, "radar")
    yield Happening(1.5, radar, "enter")
    yield Happening(2.0, door, "door_open")
    yield Happening(2.5, motion, "motion")
    yield Happening(3.0, find(alone, "wristband"), "walk", {"seconds": 300, "speed_ms": 1.0})
    yield Happening(4.0, door, "door_close")
    yield Happening(5.0, find(dementia, "wristband"), "sos")
    yield Happening(7.0, find(alone, "gas"), "gas", {"peak_lel": 32, "rise_s": 4, "hold_s": 4})
    yield Happening(9.0, find(couple, "pendant"), "sos")
    yield Happening(11.0, find(dementia, "settop"), "service", {"item": "meal"})
    yield Happening(13.0, find(frail, "settop"), "sos")
    yield Happening(15.0, find(couple, "motion"), "motion")
    yield Happening(16.0, radar, "fall")
    yield Happening(18.0, find(wheelchair, "door_mqtt"), "door_open")
    yield Happening(20.0, find(wheelchair, "door_mqtt"), "door_close")
    yield Happening(22.0, radar, "get_up")
    yield Happening(23.0, door, "door_open")
    yield Happening(25.0, door, "door_close")
    small: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (motion, "motion", {}),
        (find(couple, "motion"), "motion", {}),
        (find(couple, "wristband"), "walk", {"seconds": 120, "speed_ms": 1.1}),
        (find(dementia, "settop"), "service", {"item": "cleaning"}),
        (find(wheelchair, "settop"), "service", {"item": "meal"}),
        (radar, "active", {}),
        (radar, "still", {}),
    )
    dice = random.Random(f"demo {community.seed}")
    at_s = 32.0
    while True:
        at_s += dice.uniform(1.5, 4.0)
        device, verb, args = dice.choice(small)
        yield Happening(at_s, device, verb, args)
        if dice.random() < 0.08:
            yield Happening(at_s + 0.5, dice.choice((find(dementia, "wristband"), find(couple, "pendant"))), "sos")


def everyday(community: Community) -> Iterator[Happening]:
    """Ordinary days without end, the plan beginning at midnight: outings, doors, movement at home; now and then a call for help."""
    return heapq.merge(*(_days(resident, community) for resident in community.residents), key=lambda happening: happening.at_s)


DAY_S = 86_400.0
CALLS_PER_YEAR = 6.0
"""SOS calls of one resident in a year (telecare services report 3..12 true calls; an assumption)."""


def _days(resident: Resident, community: Community) -> Iterator[Happening]:
    dice = random.Random(f"{community.seed} {resident.id}")
    mine = [member.device for member in community.members if member.subject == resident.id]
    for day in itertools.count():
        start_s = day * DAY_S
        happenings: list[Happening] = []
        for _ in range(_count(dice, resident.persona.walks)):
            out_s = start_s + dice.uniform(7.5, 18.5) * 3600
            away_s = dice.uniform(1200, 5400)
            happenings += _doorway(mine, out_s) + _doorway(mine, out_s + away_s)
            walk = {"seconds": round(away_s), "speed_ms": resident.persona.speed_ms}
            happenings += _everywhere(mine, out_s + 10, "walk", walk)
        for _ in range(dice.randint(12, 30)):
            at_s = start_s + min(max(dice.gauss(14, 5), 0), 23.9) * 3600
            stay_s = dice.uniform(120, 900)
            happenings += _everywhere(mine, at_s, "motion") + _everywhere(mine, at_s, "enter") + _everywhere(mine, at_s + stay_s, "leave")
        if dice.random() < CALLS_PER_YEAR / 365:
            carried = [device for device in mine if device.driver in ("watch", "minifinder2", "settop")]
            if carried:
                happenings.append(Happening(start_s + dice.uniform(0, DAY_S - 1), dice.choice(carried).id, "sos"))
        # A walk may end after midnight; the days are merged, so each must stay in its own 24 hours.
        yield from sorted((h for h in happenings if h.at_s < start_s + DAY_S), key=lambda happening: happening.at_s)


def _count(dice: random.Random, mean: float) -> int:
    return int(mean) + (dice.random() < mean % 1)


def _everywhere(devices: list[Device], at_s: float, verb: str, args: dict[str, Any] | None = None) -> list[Happening]:
    return [Happening(at_s, device.id, verb, args or {}) for device in devices]


def _doorway(devices: list[Device], at_s: float) -> list[Happening]:
    return _everywhere(devices, at_s, "door_open") + _everywhere(devices, at_s + 6, "door_close")


def _resident(dice: random.Random, n: int, persona: Persona) -> Resident:
    name = dice.choice(FAMILY_NAMES) + dice.choice(GIVEN_NAMES)
    flat = f"{n // 24 + 1}幢{n // 4 % 6 + 1}0{n % 4 + 1}室"
    home = ESTATE.moved(dice.uniform(-400, 400), dice.uniform(-400, 400))
    return Resident(f"r-{417 + n:04d}", name, flat, persona, Place(round(home.lat, 6), round(home.lon, 6)))


def _wristband(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    written = f"88{number + 15:08d}"
    habits = WatchHabits(rates.heartbeat_s, rates.walking_s, rates.resting_s, rates.health_s)
    device = Wristband(f"watch:{written}", number=written, home=person.home, seed=seed, habits=habits, heart_bpm=person.persona.heart_bpm)
    return Member(device, "wristband", person.id, f"{person.name} 手环", "wrist", seed)


def _stranger(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    """A wristband that nobody has entered: stolen, misconfigured, or played by somebody."""
    return replace(_wristband(person, number + 5_000_000, seed, rates), item="stranger", is_known=False)


def _pendant(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    imei = f"86316006{number:07d}"
    habits = PendantHabits(rates.heartbeat_s, rates.resting_s)
    device = SosPendant(f"minifinder2:{imei}", imei=imei, home=person.home, seed=seed, habits=habits)
    return Member(device, "pendant", person.id, f"{person.name} 呼救吊坠", "neck", seed)


def _settop(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    name = f"tv-{number}"
    device = SettopBox(f"settop:{name}", name=name, seed=seed, heartbeat_s=rates.settop_s)
    return Member(device, "settop", person.id, f"{person.flat} 电视机顶盒", "living room", seed, topics=(device.down_topic,))


def _radar(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    device = FallRadar(f"micradar:bath-{number}", seed=seed, quiet_s=rates.radar_s, moves_s=rates.moves_s)
    # The driver asks a silent radar three times before it gives it up: no heartbeat may come later than the first question.
    options = {"offline_s": max(180.0, 4 * rates.radar_s)}
    return Member(device, "radar", person.id, f"{person.flat} 卫生间雷达", "bathroom", seed, options=options)


def _bthome(item: str, senses: OccurrenceKind, place: str, title: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        mac = "A4:C1:38:" + ":".join(f"{byte:02X}" for byte in number.to_bytes(3, "big"))
        device = BthomeSensor(f"bthome:{mac}", mac=mac, senses=senses, seed=seed, alive_s=rates.advert_s)
        return Member(device, item, person.id, f"{person.flat} {title}", place, seed, mac=mac)

    return install


def _json(item: str, senses: OccurrenceKind, place: str, title: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        name = f"{senses.value.split('_')[0]}-{number}"
        device = JsonSensor(f"mqtt_json:{name}", name=name, senses=senses, seed=seed, every_s=rates.sensor_s)
        return Member(device, item, person.id, f"{person.flat} {title}", place, seed, topics=(device.down_topic,))

    return install


def _tracker(driver: str, number_of: str, item: str = "") -> Installer:
    """A tracker of a family; `number_of` is a format of its number."""

    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        written = number_of.format(number)
        habits = TrackerHabits(rates.heartbeat_s, rates.walking_s, rates.resting_s)
        device = Tracker(f"{driver}:{written}", driver=driver, number=written, home=person.home, seed=seed, habits=habits)
        return Member(device, item or driver, person.id, f"{person.name} {driver}", "neck", seed)

    return install


INSTALL: dict[str, Installer] = {
    "wristband": _wristband,
    "pendant": _pendant,
    "settop": _settop,
    "radar": _radar,
    "door": _bthome("door", OccurrenceKind.DOOR_OPEN, "entrance", "门磁"),
    "motion": _bthome("motion", OccurrenceKind.MOTION, "living room", "人体感应"),
    "gas": _json("gas", OccurrenceKind.GAS, "kitchen", "燃气探测器"),
    "smoke": _json("smoke", OccurrenceKind.SMOKE, "bedroom", "烟感"),
    "door_mqtt": _json("door_mqtt", OccurrenceKind.DOOR_OPEN, "entrance", "门磁"),
    "water": _json("water", OccurrenceKind.WATER_LEAK, "kitchen", "水浸传感器"),
    "mains": _json("mains", OccurrenceKind.POWER_CUT, "hall cupboard", "断电报警器"),
    "stranger": _stranger,
    "trv": _tracker("trv", "35393404{:07d}"),
    "gt06": _tracker("gt06", "86612345{:07d}"),
    "topin": _tracker("topin", "35889905{:07d}"),
    "jt808": _tracker("jt808", "139{:08d}"),
    "h02": _tracker("h02", "421{:07d}"),
    "minifinder": _tracker("minifinder", "86053702{:07d}"),
    "eelink": _tracker("eelink", "35418802{:07d}"),
    "xexun2": _tracker("xexun2", "86225303{:07d}"),
    "wristband_yx": _tracker("wristband", "35255701{:07d}", "wristband_yx"),
    **FIXTURES,
    **HOMES,
}
"""How each item of a pack is made."""
