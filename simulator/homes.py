"""What an installer brings in one box: badges, health devices, Zigbee behind a bridge, sensors that announce themselves."""

from __future__ import annotations

from drivers.vocabulary import OccurrenceKind
from simulator.devices.badge import Badge
from simulator.devices.discovered_sensor import DiscoveredSensor
from simulator.devices.health_device import HealthDevice
from simulator.devices.kodi_box import KodiBox
from simulator.devices.motion_band import MotionBand
from simulator.devices.zigbee import SENSES, ZigbeeBridge, ZigbeeSensor
from simulator.members import LIVELY, Installer, Member, Rates, Resident

BRIDGE = "zigbee2mqtt:bridge"
RECEIVERS = ("hall", "bedroom", "bathroom")
"""Where the receivers of a flat with badges stand: neighbours adjoin."""
TITLES = {
    "zigbee_gas": ("燃气探测器", "kitchen"),
    "zigbee_smoke": ("烟感", "bedroom"),
    "zigbee_leak": ("水浸传感器", "bathroom"),
    "zigbee_door": ("门磁", "entrance"),
    "zigbee_button": ("呼救按钮", "bedside"),
    "zigbee_siren": ("声光报警器", "hall"),
}
LIVELY_BADGE_S, BADGE_S = 0.5, 2.0
VISIT_END_S, EXPIRY_S = 300.0, 15.0
LIVELY_TIMES = {"visit_end_s": 15.0, "average_s": 1.5}


def _badge(item: str, kind: str, title: str, *, is_staff: bool) -> Installer:
    """`item` is also who wears it, where it is staff."""

    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        name = f"{item}-{number}"
        is_lively = rates is LIVELY
        device = Badge(
            f"ble_badge:{name}", number=number * 2, rooms=RECEIVERS, seed=seed, person=name if is_staff else person.id, is_staff=is_staff,
            every_s=LIVELY_BADGE_S if is_lively else BADGE_S, kind=kind,
        )  # fmt: skip
        times = {"visit_end_s": VISIT_END_S, "expiry_s": EXPIRY_S, **(LIVELY_TIMES if is_lively else {})}
        options = {"badges": device.rows(), **times}
        return Member(
            device, item, person.id, f"{person.flat} {title}", "", seed, mac=_mac(0xDD, number), options=options, receivers=RECEIVERS
        )

    return install


def _health(item: str, title: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        mac = _mac(0xC8, number)
        device = HealthDevice(f"gatt_health:{mac}", kind=item, seed=seed)
        return Member(device, item, person.id, f"{person.name} {title}", "living room", seed, mac=mac)

    return install


def _zigbee(item: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        name = f"{item.removeprefix('zigbee_')}-{number}"
        device = ZigbeeSensor(f"zigbee2mqtt:{name}", name=name, item=item, seed=seed, every_s=rates.sensor_s)
        title, place = TITLES[item]
        return Member(device, item, person.id, f"{person.flat} {title}", place, seed, through=BRIDGE)

    return install


def _discovered(item: str, dialect: str, senses: OccurrenceKind, title: str, place: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        ident = f"a4cf12{number:06x}"
        device = DiscoveredSensor(
            f"mqtt_discovery:{ident}", node=f"{dialect}-{number}", dialect=dialect, senses=senses, seed=seed, every_s=rates.sensor_s
        )
        return Member(device, item, person.id, f"{person.flat} {title}", place, seed)

    return install


def _kodi(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    return Member(KodiBox(f"kodi:tv-{number}"), "kodi", person.id, f"{person.flat} 电视", "living room", seed)


def _band(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    name = f"b-{number}"
    device = MotionBand(f"motion_band:{name}", name=name, seed=seed)
    return Member(device, "band", person.id, f"{person.name} 手环", "wrist", seed)


def _mac(first: int, number: int) -> str:
    return f"{first:02X}:00:00:" + ":".join(f"{byte:02X}" for byte in number.to_bytes(3, "big"))


HOMES: dict[str, Installer] = {
    "badge": _badge("badge", "ibeacon", "胸牌", is_staff=False),
    "badge_eddystone": _badge("badge_eddystone", "eddystone", "胸牌", is_staff=False),
    "aide": _badge("aide", "ibeacon", "护理员胸牌", is_staff=True),
    "nurse": _badge("nurse", "eddystone", "护士胸牌", is_staff=True),
    "cuff": _health("cuff", "血压计"),
    "oximeter": _health("oximeter", "血氧仪"),
    "strap": _health("strap", "心率带"),
    "kodi": _kodi,
    "band": _band,
    **{item: _zigbee(item) for item in SENSES},
    "esphome_gas": _discovered("esphome_gas", "esphome", OccurrenceKind.GAS, "燃气探测器", "kitchen"),
    "tasmota_leak": _discovered("tasmota_leak", "tasmota", OccurrenceKind.WATER_LEAK, "水浸传感器", "bathroom"),
}
"""How each item of a pack is made; the Zigbee bridge comes by itself where somebody has a Zigbee sensor."""


def bridges_of(members: list[Member]) -> list[Member]:
    """The bridge that all Zigbee sensors share."""
    sensors = tuple(member.device for member in members if isinstance(member.device, ZigbeeSensor))
    if not sensors:
        return []
    bridge = ZigbeeBridge(BRIDGE, sensors)
    return [Member(bridge, "zigbee_bridge", None, "Zigbee 网关", "office", 0, topics=bridge.topics)]
