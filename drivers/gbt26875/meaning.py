"""What the states, parts and analogue kinds of GB/T 26875.3 mean to us (tables of clause 8.2.1)."""

from __future__ import annotations

from drivers.api import OccurrenceKind, Quantity

_K = OccurrenceKind

PART_KINDS: dict[int, OccurrenceKind] = {
    **dict.fromkeys((10, 11, 12, 13, 74), _K.GAS),
    **dict.fromkeys((16, 17, 18), _K.ELECTRICAL_FIRE),
    **dict.fromkeys((30, 31, 32, 33, 34, 35, 36, 37), _K.HEAT),
    **dict.fromkeys((40, 41, 42, 43, 44), _K.SMOKE),
}
"""What the fire bit of a part means; every other part of the standard: FIRE."""
ELECTRICAL = frozenset((16, 17, 18))
RESIDUAL_CURRENT = 17
SOUNDER = 121
HELP_WORDS = ("求助", "求救", "呼救", "急救", "紧急呼叫", "紧急按钮", "SOS", "sos")
"""A private part whose text says so is a call for help."""

SYSTEM_KINDS: dict[str, tuple[OccurrenceKind, str]] = {
    "fire_alarm": (_K.FIRE, "fire alarm"),
    "fault": (_K.FAULT, "fault"),
    "shielded": (_K.SHIELDED, "disabled"),
    "supervised": (_K.SUPERVISED, "supervisory signal"),
    "started": (_K.RUNNING, "started"),
    "main_power_fault": (_K.POWER_CUT, "mains power"),
    "backup_power_fault": (_K.FAULT, "backup power"),
    "power_fault": (_K.POWER_CUT, "power supply"),
    "bus_fault": (_K.FAULT, "bus"),
    "link_fault": (_K.NETWORK_LOST, "link to the centre"),
    "line_fault": (_K.FAULT, "monitored line"),
}
"""Flags that last; the second word tells apart flags of one kind."""
OWN_PLACE = frozenset(("backup_power_fault", "bus_fault", "line_fault"))
"""Flags that share a kind with another one and so need a place of their own."""
NOTED = {"feedback": "feedback", "delayed": "delayed", "manual": "manual mode", "config_changed": "configuration changed"}

ANALOGUES: dict[int, tuple[Quantity, float]] = {
    1: (Quantity.COUNT, 1),
    2: (Quantity.LEVEL, 1),
    3: (Quantity.TEMPERATURE, 1),
    4: (Quantity.WATER_PRESSURE, 1000),
    5: (Quantity.WATER_PRESSURE, 1),
    6: (Quantity.GAS_LEL, 1),
    7: (Quantity.DURATION, 1),
    8: (Quantity.VOLTAGE, 1),
    9: (Quantity.CURRENT, 1),
    10: (Quantity.WATER_FLOW, 60),
    11: (Quantity.AIR_FLOW, 1),
    12: (Quantity.SPEED, 1),
}
"""Quantity, and the factor from the unit of the standard to ours (MPa to kPa, L/s to L/min)."""
