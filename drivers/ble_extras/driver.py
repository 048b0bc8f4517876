"""Any Bluetooth sensor whose advertisement an installed parser library understands.

Source: sensor-state-data 2.20 (device classes and units), bluetooth-sensor-state-data 1.9 (the interface of the parsers).
"""

from __future__ import annotations

import math
from typing import Any

from drivers.api import (
    OCCURRENCES,
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Lane,
    Match,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Reason,
    Reject,
    State,
    Transport,
    in_range,
    read_options,
)
from drivers.ble_extras.meaning import IGNORED, NUMBERS, STATES
from drivers.ble_extras.parsers import FAULTS, candidates, installed, parser_class, service_info, understands

REFRESH_S = 60.0
"""An unchanged value is told again after this time."""
PRESS_S = 4.0
"""The same bytes again within this time are the same press: parsers tell an event with each repetition."""
MOST_DEVICES = 64


class _Known:
    """One device: its parser, and what was told."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser
        self.told: dict[str, tuple[Any, float]] = {}
        self.states: dict[str, bool] = {}
        self.said: Any = None
        self.said_s = -math.inf
        self.model = ""


class BleExtras:
    """One sensor, or all that are heard."""

    info = DriverInfo(
        name="ble_extras",
        title="Bluetooth sensors by parser libraries",
        vendor="Govee, Inkbird, Qingping, ThermoBeacon and others for which a library is installed",
        models=("what govee-ble, inkbird-ble, qingping-ble, thermobeacon-ble, ... understand",),
        transports=(Transport.BLE_ADVERT,),
        emits=(
            *dict.fromkeys(kind.value for kind in STATES.values()),
            *dict.fromkeys(row.quantity.value for row in NUMBERS.values()),
            OccurrenceKind.BUTTON.value, OccurrenceKind.SOS.value, "health",
        ),
        options=(
            Option("parsers", "list", [], "modules of parser libraries, such as govee_ble; empty: every one that is installed"),
            Option("sos_button", "bool", False, "every press of a button is a call for help"),
        ),
        source="sensor-state-data 2.20",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        read = read_options(self.info, options)
        faults = []
        for module in read["parsers"]:
            try:
                parser_class(str(module))
            except ValueError as error:
                faults.append(f"parsers: {error}")
        if faults:
            raise OptionError(self.info.name, faults)
        self._modules = tuple(str(module) for module in read["parsers"]) or installed()
        self._is_sos = bool(read["sos_button"])
        self._address = (device or "").removeprefix("ble_extras:").upper()
        self._known: dict[str, _Known] = {}

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """YES when an installed library knows the device."""
        if frame.advert is None:
            return Match.NO
        info = service_info(frame)
        return Match.YES if any(understands(parser, info) for parser in candidates(installed())) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events of one advertisement."""
        output = Output()
        if frame.advert is None:
            output.rejects.append(Reject(Reason.NOT_OURS, "an advertisement expected", frame.data))
            return output
        info = service_info(frame)
        known = self._find(frame.address, info)
        if known is None:
            which = ", ".join(self._modules) or "no parser library is installed"
            output.rejects.append(Reject(Reason.NOT_OURS, f"not understood ({which})", frame.data))
            return output
        output.device = f"ble_extras:{frame.address or self._address or 'unknown'}"
        try:
            update = known.parser.update(info)
        except FAULTS as error:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"{type(known.parser).__name__}: {type(error).__name__}: {error}", frame.data))
            return output
        bodies = [*self._pressed(update, known, frame), *_changed(update, known), *_read(update, known, frame, output)]
        output.events += [frame.event(output.device, body) for body in bodies]
        known.said, known.said_s = (frame.advert.service_data, frame.advert.manufacturer_data), frame.received.s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A broadcaster hears nothing."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a broadcasting sensor takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def _find(self, address: str, info: Any) -> _Known | None:
        known = self._known.get(address)
        if known is not None:
            return known
        parser = next((parser for parser in candidates(self._modules) if understands(parser, info)), None)
        if parser is None:
            return None
        if len(self._known) >= MOST_DEVICES:
            del self._known[next(iter(self._known))]
        # `supported` has taken the bytes in: a fresh one does not take the first reading for old.
        known = self._known[address] = _Known(type(parser)())
        return known

    def _pressed(self, update: Any, known: _Known, frame: Frame) -> list[Body]:
        """Presses; the same bytes within some seconds are the same press."""
        assert frame.advert is not None
        said = (frame.advert.service_data, frame.advert.manufacturer_data)
        if not update.events or (said == known.said and frame.received.s - known.said_s <= PRESS_S):
            return []
        kind = OccurrenceKind.SOS if self._is_sos else OccurrenceKind.BUTTON
        return [Occurrence(kind=kind, detail=f"{key.key}: {event.event_type}") for key, event in update.events.items()]


def _changed(update: Any, known: _Known) -> list[Body]:
    """States that differ from the last report; the end of an alarm that never began is none."""
    out: list[Body] = []
    for key, value in update.binary_entity_values.items():
        kind = STATES.get(_class_of(update.binary_entity_descriptions.get(key)))
        if kind is None or value.native_value is None:
            continue
        is_on, before = bool(value.native_value), known.states.get(key.key)
        known.states[key.key] = is_on
        if is_on == before or (before is None and not is_on and OCCURRENCES[kind].lane is Lane.ALARM):
            continue
        out.append(Occurrence(kind=kind, state=State.START if is_on else State.END))
    return out


def _read(update: Any, known: _Known, frame: Frame, output: Output) -> list[Body]:
    """Numbers in our units, and what the device says of itself."""
    out: list[Body] = []
    health: dict[str, Any] = {}
    for key, value in update.entity_values.items():
        description = update.entity_descriptions.get(key)
        name, number = _class_of(description), value.native_value
        if name in IGNORED or isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            continue
        if not _is_news(known, key.key, number, frame.received.s):
            continue
        scale = NUMBERS.get((name, str(getattr(description, "native_unit_of_measurement", None) or "")))
        if name == "battery" and 0 <= number <= 100:
            health["battery_percent"] = round(number)
        elif scale is None:
            health.setdefault("parameters", {})[key.key] = str(number)
        elif in_range(scale.quantity, ours := round((number + scale.shift) * scale.factor, 6)):
            channel = None if key.key == name else key.key
            out.append(Measurement(quantity=scale.quantity, value=ours, channel=channel))
        else:
            output.rejects.append(Reject(Reason.RANGE, f"{scale.quantity.value} out of range: {ours}", frame.data))
    model = next((" ".join(filter(None, (info.manufacturer, info.model))) for info in update.devices.values()), "")
    if model and model != known.model:
        known.model = health["model"] = model
    if health:
        out.append(DeviceHealth(**health, rssi_dbm=frame.advert.rssi_dbm if frame.advert else None))
    return out


def _is_news(known: _Known, key: str, number: float, now_s: float) -> bool:
    before = known.told.get(key)
    if before is not None and before[0] == number and now_s - before[1] < REFRESH_S:
        return False
    known.told[key] = (number, now_s)
    return True


def _class_of(description: Any) -> str:
    found = getattr(description, "device_class", None)
    return str(getattr(found, "value", found) or "")


DRIVER = BleExtras
