"""A health device that is connected when it advertises, emptied, and let go.

Cuffs, thermometers, meters and scales advertise for seconds after a measurement, hand over what they stored as soon as somebody
subscribes, and hang up. So the driver asks for everything at the first advertisement, in the order that loses least:

    advertisement -> connect, subscribe (by the services that are advertised), record access (glucose), read battery
    value         -> events, unless told before
    record access response, silence, hang-up -> disconnect, wait for the next advertisement

The transport carries the operations out one after another and passes over a characteristic that the device does not have. It tells
the fate of the connection by frames without characteristic whose `peer` is `connected`, `disconnected` or `failed`.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import msgspec

from drivers.api import (
    Command,
    CommandStatus,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    Transport,
    Verb,
    read_options,
)
from drivers.gatt_health.meaning import bodies, user_of
from drivers.gatt_health.people import read_people, subject_of
from protocols.ble import gatt_health as codec
from protocols.ble.gatt_health import Battery, Glucose, HeartRate, Message, PulseOximetry, RecordAccess, long_uuid, short_uuid

SERVICES: dict[str, tuple[str, ...]] = {
    "1810": ("2a35",),
    "1809": ("2a1c",),
    "1808": ("2a18", "2a34", "2a52"),
    "1822": ("2a5e", "2a5f"),
    "181d": ("2a9d",),
    "180d": ("2a37",),
}
"""Characteristics that are subscribed to, by advertised service."""
RACP, BATTERY = "2a52", "2a19"
INTERMEDIATE = ("2a36", "2a1e")
"""Values while a measurement runs: they are no result."""

PAUSE_S = 10.0
"""Advertisements right after a hang-up are the end of the same visit."""
IDLE_S = 30.0
"""A connection that gives nothing for so long is closed: it costs the battery of the device."""
OLD_S = 600
"""A measurement older than this when it arrives was stored in the device."""
SAME_S = 60.0
"""The same value again without number and time, within this time, is a repetition."""
MOST_TOLD = 256
"""Measurements that are remembered as told; no meter reports more at once when asked for new ones only."""


class Kept(msgspec.Struct):
    """What outlives a restart: measurements that were told, the last record number of a glucose meter."""

    told: list[str] = []
    sequence: int | None = None


class GattHealth:
    """One health device."""

    info = DriverInfo(
        name="gatt_health",
        title="Health devices of the Bluetooth profiles",
        vendor="Bluetooth SIG profiles (Omron, A&D, Beurer, Accu-Chek, Contour, Nonin and others)",
        models=("blood pressure", "thermometer", "glucose", "pulse oximeter", "weight scale", "heart rate"),
        transports=(Transport.BLE_GATT, Transport.BLE_ADVERT),
        emits=(
            "systolic",
            "diastolic",
            "mean_arterial",
            "pulse_rate",
            "heart_rate",
            "rr_interval",
            "energy",
            "spo2",
            "perfusion_index",
            "body_temperature",
            "glucose",
            "weight",
            "bmi",
            "height",
            "vital_abnormal",
            "fault",
            "worn",
            "health",
            "command_result",
        ),
        commands=(Verb.QUERY,),
        options=(
            Option("services", "list", [], "services to read although they are not advertised: " + ", ".join(SERVICES)),
            Option("utc_offset_minutes", "int", 480, "what the clock of the device shows, minutes east of UTC", low=-840, high=840),
            Option("pair", "bool", False, "bond at the first connection (the device must be in pairing mode)"),
            Option("nearby", "bool", False, "a reading belongs to the one resident whose badge is at the place of the device"),
            Option("people", "list", [], "who shares the device: tables of subject with slot, or from and to, or both"),
        ),
        source="Bluetooth SIG service specifications and GATT Specification Supplement",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        read = read_options(self.info, options)
        unknown = [name for name in read["services"] if name not in SERVICES]
        if unknown:
            raise OptionError(self.info.name, [f"services: expected of {', '.join(SERVICES)}, got {unknown[0]!r}"])
        self._services: list[str] = list(read["services"])
        self._offset = timedelta(minutes=read["utc_offset_minutes"])
        self._pair = bool(read["pair"])
        self._people = read_people(self.info.name, read["people"])
        self._address = (device or "").removeprefix("gatt_health:").upper()
        self._told: dict[str, None] = {}
        self._sequence: int | None = None
        self._recent: dict[str, float] = {}
        self._busy_until_s: float | None = None
        self._free_from_s = 0.0
        self._asked_all = False
        self._worn: bool | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """YES for an advertisement of a health service."""
        advert = frame.advert
        if advert is None:
            return Match.NO
        return Match.YES if any(short_uuid(uuid) in SERVICES for uuid in advert.service_uuids) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Operations for an advertisement, events for a value."""
        output = Output()
        self._address = self._address or frame.address
        output.device = self._device()
        if frame.characteristic:
            self._value(frame, output)
        elif frame.transport is Transport.BLE_GATT and frame.peer:
            self._connection(frame, output)
        elif frame.advert is not None:
            self._advert(frame, output)
        else:
            output.rejects.append(Reject(Reason.NOT_OURS, "a GATT value or an advertisement expected", frame.data))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """`query` connects and reads, as after an advertisement."""
        if command.verb is not Verb.QUERY:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"{command.verb.value} is nothing that the device can do")])
        output = Output(events=[command.result(CommandStatus.RUNNING, now, "connecting")])
        self._begin(now, self._services or list(SERVICES), output)
        return output

    def wake(self, now: Instant) -> Output:
        """Closes a connection that gives nothing more."""
        output = Output()
        if self._busy_until_s is None:
            return output
        if now.s >= self._busy_until_s:
            self._end(now, output)
        else:
            output.wake_s = self._busy_until_s
        return output

    def dump(self) -> bytes:
        """What was told, so that stored readings are not told again after a restart."""
        return msgspec.json.encode(Kept(list(self._told), self._sequence))

    def load(self, state: bytes) -> None:
        """Take it back."""
        try:
            kept = msgspec.json.decode(state, type=Kept)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return
        self._told = dict.fromkeys(kept.told[-MOST_TOLD:])
        self._sequence = kept.sequence

    def _device(self) -> str:
        return f"gatt_health:{self._address or 'unknown'}"

    # The connection.

    def _advert(self, frame: Frame, output: Output) -> None:
        assert frame.advert is not None
        advertised = [short_uuid(uuid) for uuid in frame.advert.service_uuids]
        services = [name for name in SERVICES if name in advertised or name in self._services]
        if not services:
            output.rejects.append(Reject(Reason.NOT_OURS, "a health service expected in the advertisement", frame.data))
        elif self._busy_until_s is None and frame.received.s >= self._free_from_s:
            self._begin(frame.received, services, output)
        elif self._busy_until_s is not None:
            output.wake_s = self._busy_until_s

    def _begin(self, now: Instant, services: list[str], output: Output) -> None:
        self._busy_until_s = output.wake_s = now.s + 2 * IDLE_S
        self._asked_all = self._sequence is None
        sends = [Send(op="connect", to="pair" if self._pair else "")]
        sends += [Send(op="subscribe", to=long_uuid(item)) for name in services for item in SERVICES[name]]
        if "1808" in services:
            request = codec.REPORT_ALL if self._sequence is None else codec.report_from(self._sequence)
            sends.append(Send(codec.encode(request), long_uuid(RACP)))
        sends.append(Send(op="read", to=long_uuid(BATTERY)))
        output.replies += sends

    def _connection(self, frame: Frame, output: Output) -> None:
        now = frame.received
        if frame.peer == "connected":
            self._busy_until_s = output.wake_s = now.s + IDLE_S
        elif frame.peer.startswith(("disconnected", "failed")):
            self._busy_until_s = None
            self._free_from_s = now.s + PAUSE_S
        else:
            output.rejects.append(Reject(Reason.NOT_OURS, f"connected, disconnected or failed expected, got {frame.peer[:40]}"))

    def _end(self, now: Instant, output: Output) -> None:
        self._busy_until_s = None
        self._free_from_s = now.s + PAUSE_S
        output.replies.append(Send(op="disconnect"))

    # The values.

    def _value(self, frame: Frame, output: Output) -> None:
        short = short_uuid(frame.characteristic)
        if self._busy_until_s is not None:
            self._busy_until_s = output.wake_s = frame.received.s + IDLE_S
        try:
            message = codec.decode(short, frame.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject())
            return
        if isinstance(message, RecordAccess):
            self._record_access(message, frame.received, output)
        elif short not in INTERMEDIATE and not self._is_told(message, short, frame):
            self._tell(message, frame, output)

    def _record_access(self, message: RecordAccess, now: Instant, output: Output) -> None:
        if message.operation != codec.RESPONSE:
            return
        result = message.operand[1] if len(message.operand) > 1 else 0
        if result == codec.RACP_SUCCESS:
            self._end(now, output)
        elif not self._asked_all:
            # No record from the last number on, or a filter that this meter lacks: its numbers may have started again.
            self._asked_all = True
            output.replies.append(Send(codec.encode(codec.REPORT_ALL), long_uuid(RACP)))
        elif result == codec.RACP_NO_RECORDS:
            self._end(now, output)
        else:
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"record access answered {result}"))
            self._end(now, output)

    def _is_told(self, message: Message, short: str, frame: Frame) -> bool:
        """Whether this measurement was told before: by number and time, by time, or, without both, by its bytes within a minute."""
        if isinstance(message, HeartRate) or (isinstance(message, PulseOximetry) and message.is_continuous):
            return False
        now_s = frame.received.s
        if isinstance(message, Glucose):
            if self._sequence is None or message.sequence > self._sequence or self._asked_all:
                self._sequence = message.sequence
            key = f"{short}|{message.sequence}|{message.time}"
        elif getattr(message, "time", None) is not None:
            key = f"{short}|{frame.data.hex()}"
        else:
            key = f"{short}|{frame.data.hex()}"
            last = self._recent.get(key)
            self._recent = {name: at for name, at in self._recent.items() if now_s - at <= SAME_S}
            self._recent[key] = now_s
            return last is not None and now_s - last <= SAME_S
        if key in self._told:
            return True
        self._told[key] = None
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        return False

    def _tell(self, message: Message, frame: Frame, output: Output) -> None:
        at_ms = self._at_ms(message)
        stored = at_ms is not None and frame.received.ms - at_ms > OLD_S * 1000
        faults: list[Any] = []
        for body in bodies(message, faults, stored=stored):
            output.events.append(frame.event(self._device(), body, at_ms=at_ms))
        if self._people and not isinstance(message, Battery):
            measured_ms = frame.received.ms if at_ms is None else at_ms
            subject = subject_of(self._people, user_of(message), measured_ms + round(self._offset.total_seconds() * 1000))
            output.events = [msgspec.structs.replace(event, subject=subject) for event in output.events]
        for quantity, value in faults:
            output.rejects.append(Reject(Reason.RANGE, f"{quantity.value} out of range: {value}", frame.data))
        if isinstance(message, HeartRate) and message.contact is not None and message.contact != self._worn:
            self._worn = message.contact
            state = State.START if message.contact else State.END
            output.events.append(frame.event(self._device(), Occurrence(kind=OccurrenceKind.WORN, state=state)))

    def _at_ms(self, message: Message) -> int | None:
        """UTC milliseconds; None where the clock of the device is unset or it sends no time."""
        time = getattr(message, "time", None)
        if time is None:
            return None
        local: float = time.replace(tzinfo=UTC).timestamp() - self._offset.total_seconds()
        if isinstance(message, Glucose) and message.offset_min is not None:
            local += message.offset_min * 60
        return round(local * 1000)


DRIVER = GattHealth
