"""Megastek trackers over TCP. Lines: `protocols.tracker.megastek`."""

from __future__ import annotations

from drivers.api import (
    DATUM_OPTION,
    Body,
    Cell,
    Command,
    CommandStatus,
    Datum,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Options,
    Output,
    Position,
    Quantity,
    Reason,
    Reject,
    RemoteProtocolError,
    Source,
    State,
    Transport,
    WifiAp,
    in_range,
    read_options,
)
from protocols.tracker import megastek
from protocols.tracker.megastek import Connection, Line, Report

NAME = "megastek"
SILENCE_S = 2.0
"""A line without an end sign is whole after this."""

_K, _S = OccurrenceKind, State
_ALERTS: dict[str, tuple[OccurrenceKind, State, str | None]] = {
    "sos": (_K.SOS, _S.START, None),
    "help": (_K.SOS, _S.START, None),
    "fall": (_K.FALL, _S.START, None),
    "falldown": (_K.FALL, _S.START, None),
    "fall down": (_K.FALL, _S.START, None),
    "man down": (_K.FALL, _S.START, "man down"),
    "mandown": (_K.FALL, _S.START, "man down"),
    "lowbattery": (_K.LOW_BATTERY, _S.START, None),
    "low battery": (_K.LOW_BATTERY, _S.START, None),
    "belt off": (_K.REMOVED, _S.START, None),
    "beltoff": (_K.REMOVED, _S.START, None),
    "belt on": (_K.REMOVED, _S.END, None),
    "belt up": (_K.REMOVED, _S.END, None),
    "belton": (_K.REMOVED, _S.END, None),
    "pw on": (_K.POWER_ON, _S.PULSE, None),
    "poweron": (_K.POWER_ON, _S.PULSE, None),
    "poweroff": (_K.POWER_OFF, _S.PULSE, None),
    "pw off": (_K.POWER_OFF, _S.PULSE, None),
    "overspeed": (_K.OVERSPEED, _S.START, None),
    "over speed": (_K.OVERSPEED, _S.START, None),
    "vib": (_K.VIBRATION, _S.START, None),
    "hit": (_K.VIBRATION, _S.START, None),
    "psd": (_K.POWER_CUT, _S.START, None),
    "low extern voltage": (_K.POWER_CUT, _S.START, "external voltage low"),
    "low ext vol": (_K.POWER_CUT, _S.START, "external voltage low"),
    "psr": (_K.POWER_CUT, _S.END, None),
    "gps cut": (_K.GNSS_LOST, _S.START, "aerial"),
    "move in": (_K.DEVICE_FENCE_ENTRY, _S.START, None),
    "move out": (_K.DEVICE_FENCE_EXIT, _S.START, None),
    "error": (_K.FAULT, _S.START, None),
}
_BEGINNINGS = (("sos", _ALERTS["sos"]), ("help", _ALERTS["help"]), ("fall", _ALERTS["fall"]))
"""Words that mean the same whatever follows them."""
_ROUTINE = frozenset(
    {"", "timer", "distance", "dist", "angle", "corner", "restart", "demand", "heart", "acc on", "acc off", "status", "store", "nil-alarms"}
)
"""Why a report was sent, where that is nothing to be told."""


class Megastek:
    """One connection of one tracker. Every line names it; the server answers nothing."""

    info = DriverInfo(
        name=NAME,
        title="Megastek trackers and bracelets",
        vendor="Megastek",
        models=("MT-90", "MT-100", "GVT-430", "GVT-900", "MT200X bracelets"),
        transports=(Transport.TCP,),
        emits=(
            "position", "health", "sos", "fall", "low_battery", "removed", "power_on", "power_off", "overspeed", "vibration", "power_cut",
            "gnss_lost", "device_fence_entry", "device_fence_exit", "fault", "general_alarm", "heart_rate", "steps", "sleep_light",
            "sleep_deep", "temperature", "odometer",
        ),
        options=(DATUM_OPTION,),
        source="Megastek GPRS protocol V2",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        self._datum = Datum(read_options(self.info, options)["datum"])
        self._id = (device or "").removeprefix(f"{NAME}:")
        self._connection = Connection()
        self._silent_s: float | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """Whether the bytes begin with $MGV (its length in front), STX or LOGSTX."""
        data = frame.data.lstrip(b"\r\n")
        rest = data[4:] if data[:4].isdigit() and len(data) > 4 and data[4:5] == b"$" else data
        if rest.startswith((b"$MGV", b"STX", b"LOGSTX")):
            return Match.YES
        is_start = any(head.startswith(rest) for head in (b"$MGV", b"STX", b"LOGSTX")) or (data.isdigit() and len(data) <= 4)
        return Match.MORE if is_start else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events of every line that this read completes."""
        output = Output()
        for found in self._connection.receive(frame.data):
            self._take(found, frame, output)
        self._silent_s = output.wake_s = frame.received.s + SILENCE_S if self._connection.buffered else None
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """These trackers are set by SMS."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "Megastek trackers are set by SMS")])

    def wake(self, now: Instant) -> Output:
        """A line that ended in silence."""
        output = Output()
        if self._silent_s is not None and now.s >= self._silent_s:
            self._silent_s = None
            for found in self._connection.flush():
                self._take(found, Frame(data=b"", received=now), output)
        return output

    def _take(self, line: Line | Reject, frame: Frame, output: Output) -> None:
        if isinstance(line, Reject):
            output.rejects.append(line)
            return
        try:
            report = megastek.read_line(line)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(line.raw))
            return
        # A unit that has no IMEI yet: the line before it on this connection names the device, but no alarm waits for that.
        self._id = report.id or self._id
        device = f"{NAME}:{self._id or 'unknown'}"
        output.device = device if self._id else None
        frame = frame.part(line.raw)
        for body in [*_alerts(report), *self._bodies(report)]:
            output.events.append(frame.event(device, body, at_ms=report.at_ms))
        if report.out_of_range:
            output.rejects.append(Reject(Reason.RANGE, "latitude 0..90 and longitude 0..180 degrees expected", line.raw[:1024]))

    def _bodies(self, report: Report) -> list[Body]:
        """Place and readings."""
        bodies: list[Body] = []
        cells = [Cell(*report.cell)] if report.cell else None
        wifi = [WifiAp(*ap) for ap in report.aps] or None
        stored = report.is_stored
        if report.lat is not None:
            bodies.append(
                Position(
                    lat=report.lat, lon=report.lon, datum=self._datum, valid=report.is_valid, speed_kmh=report.speed_kmh,
                    course_deg=report.course_deg, altitude_m=report.altitude_m, satellites=report.satellites, hdop=report.hdop,
                    stored=stored, cells=cells, wifi=wifi,
                )
            )  # fmt: skip
        elif cells or wifi:
            bodies.append(Position(source=Source.WIFI if wifi else Source.CELL, valid=False, stored=stored, cells=cells, wifi=wifi))
        if not stored and (report.battery is not None or report.is_charging is not None):
            signal = round(report.csq * 100 / 31) if report.csq is not None and report.csq <= 31 else None
            bodies.append(DeviceHealth(battery_percent=report.battery, charging=report.is_charging, signal=signal))
        heart = report.heart_rate if report.heart_rate not in {0, 1, 255} else None
        readings = (
            (Quantity.HEART_RATE, heart), (Quantity.STEPS, report.steps or None), (Quantity.SLEEP_LIGHT, report.light_min or None),
            (Quantity.SLEEP_DEEP, report.deep_min or None), (Quantity.ODOMETER, report.odometer_m),
            *((Quantity.TEMPERATURE, value) for value in report.temperatures),
        )  # fmt: skip
        for quantity, value in readings:
            if value is not None and in_range(quantity, value):
                bodies.append(Measurement(quantity=quantity, value=value, stored=stored))
        return bodies


def _alerts(report: Report) -> list[Body]:
    word = report.alert
    known = _ALERTS.get(word) or next((meant for start, meant in _BEGINNINGS if word.startswith(start)), None)
    if known is None and word.startswith("geo"):
        known = (_K.DEVICE_FENCE_ENTRY if word.endswith("in") else _K.DEVICE_FENCE_EXIT, State.START, None)
    if known is not None:
        kind, state, detail = known
        return [Occurrence(kind=kind, state=state, detail=detail, stored=report.is_stored)]
    if word in _ROUTINE or word.isdigit():
        return []
    # A word that nobody has written down may be a cry for help of newer firmware.
    return [Occurrence(kind=_K.GENERAL_ALARM, state=State.START, detail=word[:60], stored=report.is_stored)]


DRIVER = Megastek
