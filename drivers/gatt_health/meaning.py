"""What each health message means: bodies of events, without device, time and repetition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers.api import DeviceHealth, Measurement, Occurrence, OccurrenceKind, Quantity, State, in_range
from protocols.ble.gatt_health import (
    USER_UNKNOWN,
    Battery,
    BloodPressure,
    Glucose,
    HeartRate,
    Message,
    PulseOximetry,
    Temperature,
    Weight,
)

MMHG_PER_KPA = 7.500617
KG_PER_LB, M_PER_INCH = 0.45359237, 0.0254
CONTROL_SOLUTION = 10
"""Glucose type of a test of the meter: no reading of a person."""

OXIMETER_STORED, OXIMETER_UNUSABLE = 1 << 9, (1 << 10 | 1 << 11 | 1 << 13 | 1 << 15)
"""Measurement status: from storage; demonstration, test, unavailable, invalid."""
OXIMETER_STATUS = {
    1: "equipment malfunction",
    3: "inadequate signal",
    4: "poor signal",
    5: "low perfusion",
    6: "erratic signal",
    7: "no pulsation",
    8: "questionable pulse",
    11: "sensor not on the finger",
    13: "sensor displaced",
    14: "sensor malfunction",
    15: "sensor disconnected",
}
OXIMETER_FAULTS = 1 << 1 | 1 << 14
GLUCOSE_FAULTS = {1: "sensor malfunction", 3: "strip error", 4: "wrong strip", 10: "general fault", 11: "time fault"}

Fault = tuple[Quantity, float]


def bodies(message: Message, faults: list[Fault], *, stored: bool) -> Iterator[Any]:
    """Event bodies of one message; values no working device reports go to `faults`."""
    if isinstance(message, HeartRate):
        yield from _numbers([(Quantity.HEART_RATE, message.bpm or None), (Quantity.ENERGY, message.energy_kj)], faults)
        yield from _numbers([(Quantity.RR_INTERVAL, round(rr, 3)) for rr in message.rr_ms], faults)
    elif isinstance(message, BloodPressure):
        yield from _blood_pressure(message, faults, stored)
    elif isinstance(message, PulseOximetry):
        yield from _oximetry(message, faults, stored)
    elif isinstance(message, Temperature):
        yield from _numbers([(Quantity.BODY_TEMPERATURE, _celsius(message))], faults, stored=stored)
    elif isinstance(message, Glucose):
        yield from _glucose(message, faults, stored)
    elif isinstance(message, Weight):
        yield from _weight(message, faults, stored)
    elif isinstance(message, Battery):
        if in_range(Quantity.BATTERY, message.percent):
            yield DeviceHealth(battery_percent=message.percent)
        else:
            faults.append((Quantity.BATTERY, message.percent))


def user_of(message: Message) -> str | None:
    """The user slot of a device that several persons share."""
    user = getattr(message, "user", None)
    return None if user is None or user == USER_UNKNOWN else str(user)


def _blood_pressure(m: BloodPressure, faults: list[Fault], stored: bool) -> Iterator[Any]:
    factor = MMHG_PER_KPA if m.unit == "kPa" else 1
    scaled = [None if value is None else round(value * factor, 1) for value in (m.systolic, m.diastolic, m.mean)]
    quantities = (Quantity.SYSTOLIC, Quantity.DIASTOLIC, Quantity.MEAN_ARTERIAL)
    values = [*zip(quantities, scaled, strict=True), (Quantity.PULSE_RATE, m.pulse)]
    yield from _numbers(values, faults, channel=user_of(m), stored=stored)
    if m.irregular_pulse:
        yield Occurrence(kind=OccurrenceKind.VITAL_ABNORMAL, state=State.PULSE, detail="irregular pulse", stored=stored)
    doubts = {"body movement": m.body_movement, "cuff too loose": m.cuff_loose, "wrong position": m.wrong_position}
    said = ", ".join(text for text, is_so in doubts.items() if is_so)
    if said:
        yield DeviceHealth(parameters={"measurement": said})


def _oximetry(m: PulseOximetry, faults: list[Fault], stored: bool) -> Iterator[Any]:
    status, device = m.measurement_status or 0, m.device_status or 0
    if not status & OXIMETER_UNUSABLE:
        was_stored = stored or bool(status & OXIMETER_STORED)
        values = [(Quantity.SPO2, m.spo2), (Quantity.PULSE_RATE, m.pulse), (Quantity.PERFUSION_INDEX, m.amplitude)]
        yield from _numbers(values, faults, stored=was_stored)
    said = ", ".join(text for bit, text in OXIMETER_STATUS.items() if device >> bit & 1)
    if device & OXIMETER_FAULTS:
        yield Occurrence(kind=OccurrenceKind.FAULT, state=State.PULSE, detail=said)
    elif said:
        yield DeviceHealth(parameters={"measurement": said})


def _glucose(m: Glucose, faults: list[Fault], stored: bool) -> Iterator[Any]:
    status = m.status or 0
    value = None if m.kind == CONTROL_SOLUTION or m.mmol_l is None else round(m.mmol_l, 2)
    yield from _numbers([(Quantity.GLUCOSE, value)], faults, stored=stored)
    # A meter that shows HI or LO sends no usable number: the bit is the reading.
    for bit, detail in ((5, "glucose above the range of the meter"), (6, "glucose below the range of the meter")):
        if status >> bit & 1 and m.kind != CONTROL_SOLUTION:
            yield Occurrence(kind=OccurrenceKind.VITAL_ABNORMAL, state=State.PULSE, detail=detail, stored=stored)
    said = ", ".join(text for bit, text in GLUCOSE_FAULTS.items() if status >> bit & 1)
    if said:
        yield Occurrence(kind=OccurrenceKind.FAULT, state=State.PULSE, detail=said, stored=stored)
    if status & 1:
        yield DeviceHealth(battery_low=True)


def _weight(m: Weight, faults: list[Fault], stored: bool) -> Iterator[Any]:
    is_lb = m.unit == "lb"
    value = None if not m.value else round(m.value * (KG_PER_LB if is_lb else 1), 3)
    height = None if not m.height else round(m.height * (M_PER_INCH if is_lb else 1), 3)
    values = [(Quantity.WEIGHT, value), (Quantity.BMI, m.bmi or None), (Quantity.HEIGHT, height)]
    yield from _numbers(values, faults, channel=user_of(m), stored=stored)


def _celsius(m: Temperature) -> float | None:
    if m.value is None or m.unit == "C":
        return m.value
    return round((m.value - 32) / 1.8, 2)


def _numbers(
    values: list[tuple[Quantity, float | None]], faults: list[Fault], *, channel: str | None = None, stored: bool = False
) -> Iterator[Measurement]:
    for quantity, value in values:
        if value is None:
            continue
        if in_range(quantity, value):
            yield Measurement(quantity=quantity, value=value, channel=channel, stored=stored)
        else:
            faults.append((quantity, value))
