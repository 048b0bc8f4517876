"""What an electrician installs: devices on serial lines, the modem, the transmission unit and the alarm hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.devices.alarm_hub import AlarmHub
from simulator.devices.bed_radar import BedRadar
from simulator.devices.ceiling_radar import CeilingRadar
from simulator.devices.device import Device, WireKind
from simulator.devices.gsm_modem import GsmModem
from simulator.devices.hilink_radars import PresenceRadar, TargetRadar
from simulator.devices.modbus_detector import PROFILE, ModbusDetector
from simulator.devices.one_key_phone import OneKeyPhone
from simulator.devices.transmission_unit import TransmissionUnit
from simulator.devices.winsen_sensor import WinsenSensor
from simulator.members import LIVELY, Installer, Member, Rates, Resident

MODEM = "gsm_phone:modem"
GAS_LINE = "gas-line"
UNITS_PER_LINE = 32
"""An RS-485 segment carries so many standard loads."""
SHORT_WARMUP_S = 3.0
"""At lively rates nobody waits five minutes for a sensor to become warm."""
MARGIN_S = 1.0
SLOWEST_REPORT_S = 10.0
"""Radars that report ten times a second: however sparse the rates, so often that they do not count as lost."""
CORNER = {"name": "bathroom corner", "x1": -1500, "y1": 0, "x2": 0, "y2": 2000, "minutes": 20}
_CORNER = {"bathroom corner": (-1500.0, 0.0, 0.0, 2000.0, 20.0)}


Make = Callable[[str, int, Rates], Device]


def _serial(
    item: str,
    title: str,
    place: str,
    make: Callable[[str, int, Rates], Device],
    *,
    baud: int = 115200,
    options: dict[str, Any] | None = None,
) -> Installer:
    """A device with a line of its own; `make` gets its name, seed and rates."""

    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        device = make(f"{item}-{number}", seed, rates)
        given = dict(options or {})
        if isinstance(device, WinsenSensor):
            # An installer leaves a margin: a sensor that is believed before it is warm gives false alarms.
            given["warmup_s"] = device.warmup_s + MARGIN_S
        return Member(device, item, person.id, f"{person.flat} {title}", place, seed, options=given, baud=baud)

    return install


def _reports_s(rates: Rates) -> float:
    return min(rates.moves_s / 10, SLOWEST_REPORT_S)


def _bed(name: str, seed: int, rates: Rates) -> Device:
    return BedRadar(f"micradar:{name}", seed=seed, quiet_s=min(rates.radar_s, 60.0), vital_s=min(3 * rates.moves_s, 60.0))


def _winsen(profile: str) -> Make:
    def make(name: str, seed: int, rates: Rates) -> Device:
        return WinsenSensor(f"winsen:{name}", profile=profile, seed=seed, warmup_s=SHORT_WARMUP_S if rates is LIVELY else None)

    return make


def _gas_line(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    line, unit = divmod(number // 10, UNITS_PER_LINE)
    name = f"gas-{number}"
    warmup_s = SHORT_WARMUP_S if rates is LIVELY else 30.0
    device = ModbusDetector(f"modbus_gas:{name}", unit=unit + 1, seed=seed, warmup_s=warmup_s)
    options = {"detectors": [{"unit": unit + 1, "profile": PROFILE, "name": name}]}
    title, where = f"{person.flat} 燃气探测器", f"{GAS_LINE}-{line + 1}"
    return Member(device, "gas_line", person.id, title, "kitchen", seed, options=options, baud=9600, line=where)


def _phone(item: str, key: str) -> Installer:
    """A telephone whose call means `key` (see `OneKeyPhone`)."""

    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        device = OneKeyPhone(f"gsm_phone:{item}-{number}", number=f"139{number:08d}", key=key)
        title = f"{person.name} 一键电话"
        return Member(device, item, person.id, title, "living room", seed, through=MODEM, is_known=bool(key))

    return install


def _transmission_unit(person: Resident, number: int, seed: int, rates: Rates) -> Member:
    address = f"{0x310000000000 + number:012x}"
    device = TransmissionUnit(f"gbt26875:{address}", address=address, seed=seed, heartbeat_s=min(rates.heartbeat_s, 30.0))
    return Member(device, "transmission_unit", person.id, f"{person.flat} 用户信息传输装置", "hall cupboard", seed)


def _hub(item: str, wire: WireKind, dialect: str) -> Installer:
    def install(person: Resident, number: int, seed: int, rates: Rates) -> Member:
        account = f"{0xA000 + number:04X}"
        device = AlarmHub(f"dc09:{account}", account=account, seed=seed, wire=wire, dialect=dialect, test_s=min(rates.heartbeat_s, 60.0))
        return Member(device, item, person.id, f"{person.flat} 报警主机", "hall", seed)

    return install


FIXTURES: dict[str, Installer] = {
    "ceiling": _serial("ceiling", "吸顶雷达", "bathroom", lambda name, seed, rates: CeilingRadar(f"tinyframe:{name}", seed=seed)),
    "zones": _serial(
        "zones", "分区雷达", "living room", lambda name, seed, rates: CeilingRadar(f"tinyframe:{name}", model="ld6002b", seed=seed),
        options={"model": "ld6002b"},
    ),
    "bed": _serial(
        "bed", "床位雷达", "bedroom", _bed
    ),
    "gates": _serial(
        "gates", "人在雷达", "bedroom", lambda name, seed, rates: PresenceRadar(f"ld2410:{name}", seed=seed, every_s=_reports_s(rates)),
        baud=256000,
    ),
    "corner": _serial(
        "corner", "定位雷达", "bathroom",
        lambda name, seed, rates: TargetRadar(f"ld2450:{name}", seed=seed, zones=_CORNER, every_s=_reports_s(rates)),
        baud=256000, options={"zones": [CORNER]},
    ),
    "co": _serial("co", "一氧化碳传感器", "kitchen", _winsen("ze07-co"), baud=9600, options={"profile": "ze07-co"}),
    "co2": _serial("co2", "二氧化碳传感器", "bedroom", _winsen("mh-z19"), baud=9600, options={"profile": "mh-z19"}),
    "gas_line": _gas_line,
    "phone": _phone("phone", "sos"),
    "care_phone": _phone("care_phone", "care"),
    "unknown_phone": _phone("unknown_phone", ""),
    "transmission_unit": _transmission_unit,
    "hub": _hub("hub", WireKind.TCP, "SIA-DCS"),
    "hub_udp": _hub("hub_udp", WireKind.UDP, "ADM-CID"),
}  # fmt: skip
"""How each item of a pack is made; `modem` comes by itself where somebody has a telephone."""
MEANING = {"phone": "sos", "care_phone": "care"}


def shared_by(members: list[Member], *, seed: int) -> list[Member]:
    """What the devices of several people need together: the modem that the telephones call."""
    phones = [member for member in members if isinstance(member.device, OneKeyPhone)]
    if not phones:
        return []
    rows = [(member.device, MEANING[member.item]) for member in phones if member.item in MEANING]
    numbers = [{"number": phone.number, "device": phone.id, "key": key} for phone, key in rows if isinstance(phone, OneKeyPhone)]
    modem = GsmModem(MODEM, known=frozenset(row["number"] for row in numbers))
    return [Member(modem, "modem", None, "值班室 短信模块", "office", seed, options={"numbers": numbers})]
