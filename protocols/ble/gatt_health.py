"""Health profiles of Bluetooth LE: the values of their GATT characteristics, both directions.

Sources: Bluetooth SIG, Heart Rate, Blood Pressure, Pulse Oximeter, Health Thermometer, Glucose, Weight Scale and Battery services
and the GATT Specification Supplement. All little endian; a flags byte says which fields follow, in the order of its bits:

    2A37 heart rate        b0 rate is u16; b1-2 contact (2 supported, 1 detected); b3 energy u16 kJ; b4 R-R u16 1/1024 s, ...
    2A35 blood pressure    systolic, diastolic, mean SFLOAT (b0 kPa); b1 time; b2 pulse SFLOAT; b3 user u8; b4 status u16
    2A36 cuff pressure     as 2A35, while it measures
    2A5E SpO2, one         SpO2, pulse SFLOAT; b0 time; b1 measurement status u16; b2 device status u24; b3 amplitude SFLOAT
    2A5F SpO2, continuous  SpO2, pulse SFLOAT; b0 fast pair; b1 slow pair; b2 measurement status; b3 device status; b4 amplitude
    2A1C temperature       FLOAT (b0 Fahrenheit); b1 time; b2 site u8
    2A1E temperature       as 2A1C, while it measures
    2A18 glucose           number u16, time; b0 offset i16 min; b1 SFLOAT (b2 mol/L, else kg/L), type and place nibbles; b3 status u16
    2A34 glucose context   number u16; b7 extended flags; b0 carbohydrate u8 SFLOAT; b1 meal u8; and others that are not read
    2A52 record access     operation u8, operator u8, operand
    2A9D weight            u16 0.005 kg (b0 0.01 lb); b1 time; b2 user u8; b3 BMI u16 0.1, height u16 0.001 m (0.1 in)
    2A19 battery           u8 percent
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from protocols.ble.ieee11073 import (
    DATE_TIME_BYTES,
    FLOAT_BYTES,
    SFLOAT_BYTES,
    read_date_time,
    read_float,
    read_sfloat,
    write_date_time,
    write_float,
    write_sfloat,
)
from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

SITES = {
    1: "armpit",
    2: "body",
    3: "ear",
    4: "finger",
    5: "gastrointestinal",
    6: "mouth",
    7: "rectum",
    8: "toe",
    9: "tympanum",
}
USER_UNKNOWN = 0xFF
MG_DL_PER_MMOL_L = 18.0156
FAILED_WEIGHT = 0xFFFF


class HeartRate(NamedTuple):
    """2A37. `contact` None: the sensor cannot tell."""

    bpm: int
    contact: bool | None = None
    energy_kj: int | None = None
    rr_ms: tuple[float, ...] = ()


class BloodPressure(NamedTuple):
    """2A35, 2A36. Pressures in `unit` (`mmHg`, `kPa`); None: no value. `user` None: not sent, 255: not known."""

    systolic: float | None
    diastolic: float | None
    mean: float | None
    unit: str = "mmHg"
    time: datetime | None = None
    has_time: bool = False
    pulse: float | None = None
    user: int | None = None
    status: int | None = None

    @property
    def body_movement(self) -> bool:
        """Status bit 0."""
        return bool((self.status or 0) & 0x01)

    @property
    def cuff_loose(self) -> bool:
        """Status bit 1."""
        return bool((self.status or 0) & 0x02)

    @property
    def irregular_pulse(self) -> bool:
        """Status bit 2."""
        return bool((self.status or 0) & 0x04)

    @property
    def wrong_position(self) -> bool:
        """Status bit 5."""
        return bool((self.status or 0) & 0x20)


class PulseOximetry(NamedTuple):
    """2A5E, 2A5F. `fast`, `slow`: SpO2 and pulse of the other averages. `amplitude`: perfusion in percent."""

    spo2: float | None
    pulse: float | None
    time: datetime | None = None
    has_time: bool = False
    fast: tuple[float | None, float | None] | None = None
    slow: tuple[float | None, float | None] | None = None
    measurement_status: int | None = None
    device_status: int | None = None
    amplitude: float | None = None
    is_continuous: bool = False


class Temperature(NamedTuple):
    """2A1C, 2A1E. `unit` is `C` or `F`; `site` a word of `SITES`."""

    value: float | None
    unit: str = "C"
    time: datetime | None = None
    has_time: bool = False
    site: str | None = None


class Glucose(NamedTuple):
    """2A18. `concentration` in mol/L or kg/L as `unit` says; None: not sent or no value. `offset_min` is to be added to `time`."""

    sequence: int
    time: datetime | None
    offset_min: int | None = None
    concentration: float | None = None
    unit: str = "mol/L"
    kind: int | None = None
    location: int | None = None
    status: int | None = None
    has_context: bool = False

    @property
    def mmol_l(self) -> float | None:
        """Millimole per litre."""
        if self.concentration is None:
            return None
        return self.concentration * 1000 if self.unit == "mol/L" else self.concentration * 100_000 / MG_DL_PER_MMOL_L


class GlucoseContext(NamedTuple):
    """2A34, as far as it is read."""

    sequence: int
    carbohydrate_g: float | None = None
    meal: int | None = None


class Weight(NamedTuple):
    """2A9D. `value` in `unit` (`kg`, `lb`), None: the measurement failed. `height` in metres or inches."""

    value: float | None
    unit: str = "kg"
    time: datetime | None = None
    has_time: bool = False
    user: int | None = None
    bmi: float | None = None
    height: float | None = None


class Battery(NamedTuple):
    """2A19."""

    percent: int


class RecordAccess(NamedTuple):
    """2A52. Operations: 1 report, 4 number of, 5 number response, 6 response. Operators: 0 none, 1 all, 3 at least, 6 last."""

    operation: int
    operator: int = 0
    operand: bytes = b""


Message = HeartRate | BloodPressure | PulseOximetry | Temperature | Glucose | GlucoseContext | Weight | Battery | RecordAccess

REPORT_ALL = RecordAccess(1, 1)
RESPONSE, NUMBER_RESPONSE = 6, 5
RACP_SUCCESS, RACP_NO_RECORDS = 1, 6


def report_from(sequence: int) -> RecordAccess:
    """Records whose number is at least `sequence`."""
    return RecordAccess(1, 3, b"\x01" + sequence.to_bytes(2, "little"))


class _Fields:
    """Reads one value field by field."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int, what: str) -> int:
        """Position of a field of `size` bytes. Raises RemoteProtocolError (TRUNCATED)."""
        at = self._at
        if at + size > len(self._data):
            raise RemoteProtocolError(Reason.TRUNCATED, f"{what} of {size} bytes expected at byte {at}, got {self.left}", self._data)
        self._at = at + size
        return at

    def uint(self, size: int, what: str) -> int:
        at = self.take(size, what)
        return int.from_bytes(self._data[at : at + size], "little")

    def sfloat(self, what: str) -> float | None:
        return read_sfloat(self._data, self.take(SFLOAT_BYTES, what))

    def float32(self, what: str) -> float | None:
        return read_float(self._data, self.take(FLOAT_BYTES, what))

    def time(self) -> datetime | None:
        return read_date_time(self._data, self.take(DATE_TIME_BYTES, "time"))

    def rest(self) -> bytes:
        return self._data[self._at :]


def decode(characteristic: str, data: bytes) -> Message:
    """The message in a value. `characteristic`: 4 hex digits or the 128-bit form.

    Raises RemoteProtocolError: TRUNCATED; UNSUPPORTED for a characteristic that is not of this family. Surplus bytes are let be.
    """
    reader = _READERS.get(short_uuid(characteristic))
    if reader is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, f"a health characteristic expected, got {characteristic or 'none'}", data)
    return reader(_Fields(data))


def encode(message: Message) -> bytes:
    """The value that a device sends (or, for `RecordAccess`, is sent). Raises LocalProtocolError for numbers out of their width."""
    try:
        return _WRITERS[type(message)](message)
    except (struct.error, OverflowError, ValueError, KeyError) as error:
        raise LocalProtocolError(f"{type(message).__name__}: {error}") from None


def short_uuid(uuid: str) -> str:
    """4 hex digits for UUIDs of the Bluetooth SIG, the text in lower case for others.

    >>> short_uuid("00002A37-0000-1000-8000-00805F9B34FB")
    '2a37'
    """
    uuid = uuid.lower()
    return uuid[4:8] if len(uuid) == 36 and uuid.startswith("0000") and uuid.endswith("-0000-1000-8000-00805f9b34fb") else uuid


def long_uuid(short: str) -> str:
    """128-bit form of a UUID of the Bluetooth SIG."""
    return f"0000{short}-0000-1000-8000-00805f9b34fb"


def _heart_rate(f: _Fields) -> HeartRate:
    flags = f.uint(1, "flags")
    bpm = f.uint(2 if flags & 1 else 1, "rate")
    contact = bool(flags & 2) if flags & 4 else None
    energy = f.uint(2, "energy") if flags & 8 else None
    rr = []
    # An odd byte at the end is passed over: seen where a stack cuts the list at its MTU.
    while flags & 16 and f.left >= 2:
        rr.append(f.uint(2, "R-R") * 1000 / 1024)
    return HeartRate(bpm, contact, energy, tuple(rr))


def _blood_pressure(f: _Fields) -> BloodPressure:
    flags = f.uint(1, "flags")
    systolic, diastolic, mean = f.sfloat("systolic"), f.sfloat("diastolic"), f.sfloat("mean")
    time = f.time() if flags & 2 else None
    pulse = f.sfloat("pulse") if flags & 4 else None
    user = f.uint(1, "user") if flags & 8 else None
    status = f.uint(2, "status") if flags & 16 else None
    return BloodPressure(systolic, diastolic, mean, "kPa" if flags & 1 else "mmHg", time, bool(flags & 2), pulse, user, status)


def _spot(f: _Fields) -> PulseOximetry:
    flags = f.uint(1, "flags")
    spo2, pulse = f.sfloat("SpO2"), f.sfloat("pulse")
    time = f.time() if flags & 1 else None
    status = f.uint(2, "measurement status") if flags & 2 else None
    device = f.uint(3, "device status") if flags & 4 else None
    amplitude = f.sfloat("amplitude") if flags & 8 else None
    return PulseOximetry(spo2, pulse, time, bool(flags & 1), None, None, status, device, amplitude)


def _continuous(f: _Fields) -> PulseOximetry:
    flags = f.uint(1, "flags")
    spo2, pulse = f.sfloat("SpO2"), f.sfloat("pulse")
    fast = (f.sfloat("fast SpO2"), f.sfloat("fast pulse")) if flags & 1 else None
    slow = (f.sfloat("slow SpO2"), f.sfloat("slow pulse")) if flags & 2 else None
    status = f.uint(2, "measurement status") if flags & 4 else None
    device = f.uint(3, "device status") if flags & 8 else None
    amplitude = f.sfloat("amplitude") if flags & 16 else None
    return PulseOximetry(spo2, pulse, None, False, fast, slow, status, device, amplitude, True)


def _temperature(f: _Fields) -> Temperature:
    flags = f.uint(1, "flags")
    value = f.float32("temperature")
    time = f.time() if flags & 2 else None
    site = f.uint(1, "site") if flags & 4 else None
    return Temperature(value, "F" if flags & 1 else "C", time, bool(flags & 2), SITES.get(site) if site is not None else None)


def _glucose(f: _Fields) -> Glucose:
    flags = f.uint(1, "flags")
    sequence, time = f.uint(2, "number"), f.time()
    offset = _signed16(f.uint(2, "offset")) if flags & 1 else None
    concentration = kind = location = None
    if flags & 2:
        concentration = f.sfloat("concentration")
        nibbles = f.uint(1, "type")
        kind, location = nibbles & 0x0F, nibbles >> 4
    status = f.uint(2, "status") if flags & 8 else None
    unit = "mol/L" if flags & 4 else "kg/L"
    return Glucose(sequence, time, offset, concentration, unit, kind, location, status, bool(flags & 16))


def _glucose_context(f: _Fields) -> GlucoseContext:
    flags = f.uint(1, "flags")
    sequence = f.uint(2, "number")
    if flags & 0x80:
        f.take(1, "extended flags")
    carbohydrate = None
    if flags & 1:
        f.take(1, "carbohydrate type")
        kilograms = f.sfloat("carbohydrate")
        carbohydrate = kilograms * 1000 if kilograms is not None else None
    return GlucoseContext(sequence, carbohydrate, f.uint(1, "meal") if flags & 2 else None)


def _weight(f: _Fields) -> Weight:
    flags = f.uint(1, "flags")
    is_lb = bool(flags & 1)
    raw = f.uint(2, "weight")
    value = None if raw == FAILED_WEIGHT else round(raw * (0.01 if is_lb else 0.005), 3)
    time = f.time() if flags & 2 else None
    user = f.uint(1, "user") if flags & 4 else None
    bmi = height = None
    if flags & 8:
        bmi = round(f.uint(2, "BMI") * 0.1, 1)
        height = round(f.uint(2, "height") * (0.1 if is_lb else 0.001), 3)
    return Weight(value, "lb" if is_lb else "kg", time, bool(flags & 2), user, bmi, height)


def _battery(f: _Fields) -> Battery:
    return Battery(f.uint(1, "battery"))


def _record_access(f: _Fields) -> RecordAccess:
    return RecordAccess(f.uint(1, "operation"), f.uint(1, "operator"), f.rest())


def _signed16(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value


_READERS: dict[str, Callable[[_Fields], Message]] = {
    "2a37": _heart_rate,
    "2a35": _blood_pressure,
    "2a36": _blood_pressure,
    "2a5e": _spot,
    "2a5f": _continuous,
    "2a1c": _temperature,
    "2a1e": _temperature,
    "2a18": _glucose,
    "2a34": _glucose_context,
    "2a9d": _weight,
    "2a19": _battery,
    "2a52": _record_access,
}


def _flags(*present: object) -> int:
    """Bit n set where the n-th argument is true, or a value (0 counts, None and False do not)."""
    return sum(1 << n for n, item in enumerate(present) if item is not None and item is not False)


def _write_heart_rate(m: HeartRate) -> bytes:
    wide = m.bpm > 0xFF
    flags = (
        (1 if wide else 0) | (0 if m.contact is None else 6 if m.contact else 4) | _flags(None, None, None, m.energy_kj, m.rr_ms or None)
    )
    out = struct.pack("<BH" if wide else "<BB", flags, m.bpm)
    if m.energy_kj is not None:
        out += struct.pack("<H", m.energy_kj)
    return out + b"".join(struct.pack("<H", round(rr * 1024 / 1000)) for rr in m.rr_ms)


def _write_blood_pressure(m: BloodPressure) -> bytes:
    out = bytes([_flags(m.unit == "kPa", m.has_time, m.pulse, m.user, m.status)])
    out += write_sfloat(m.systolic) + write_sfloat(m.diastolic) + write_sfloat(m.mean)
    out += write_date_time(m.time) if m.has_time else b""
    out += write_sfloat(m.pulse) if m.pulse is not None else b""
    out += bytes([m.user]) if m.user is not None else b""
    return out + (struct.pack("<H", m.status) if m.status is not None else b"")


def _write_oximetry(m: PulseOximetry) -> bytes:
    status = struct.pack("<H", m.measurement_status) if m.measurement_status is not None else b""
    device = m.device_status.to_bytes(3, "little") if m.device_status is not None else b""
    amplitude = write_sfloat(m.amplitude) if m.amplitude is not None else b""
    tail = (m.measurement_status, m.device_status, m.amplitude)
    first = write_sfloat(m.spo2) + write_sfloat(m.pulse)
    if m.is_continuous:
        pairs = b"".join(write_sfloat(v) for pair in (m.fast, m.slow) if pair is not None for v in pair)
        return bytes([_flags(m.fast, m.slow, *tail)]) + first + pairs + status + device + amplitude
    time = write_date_time(m.time) if m.has_time else b""
    return bytes([_flags(m.has_time, *tail)]) + first + time + status + device + amplitude


def _write_temperature(m: Temperature) -> bytes:
    site = next((code for code, name in SITES.items() if name == m.site), None)
    out = bytes([_flags(m.unit == "F", m.has_time, site)]) + write_float(m.value)
    out += write_date_time(m.time) if m.has_time else b""
    return out + (bytes([site]) if site is not None else b"")


def _write_glucose(m: Glucose) -> bytes:
    flags = _flags(m.offset_min, m.kind, m.unit == "mol/L", m.status, m.has_context)
    out = struct.pack("<BH", flags, m.sequence) + write_date_time(m.time)
    out += struct.pack("<h", m.offset_min) if m.offset_min is not None else b""
    if m.kind is not None:
        out += write_sfloat(m.concentration) + bytes([(m.location or 0) << 4 | m.kind])
    return out + (struct.pack("<H", m.status) if m.status is not None else b"")


def _write_glucose_context(m: GlucoseContext) -> bytes:
    out = struct.pack("<BH", _flags(m.carbohydrate_g, m.meal), m.sequence)
    if m.carbohydrate_g is not None:
        out += b"\x01" + write_sfloat(m.carbohydrate_g / 1000)
    return out + (bytes([m.meal]) if m.meal is not None else b"")


def _write_weight(m: Weight) -> bytes:
    is_lb = m.unit == "lb"
    raw = FAILED_WEIGHT if m.value is None else round(m.value / (0.01 if is_lb else 0.005))
    out = struct.pack("<BH", _flags(is_lb, m.has_time, m.user, m.bmi), raw)
    out += write_date_time(m.time) if m.has_time else b""
    out += bytes([m.user]) if m.user is not None else b""
    if m.bmi is not None:
        out += struct.pack("<HH", round(m.bmi * 10), round((m.height or 0) / (0.1 if is_lb else 0.001)))
    return out


_WRITERS: dict[type, Callable[..., bytes]] = {
    HeartRate: _write_heart_rate,
    BloodPressure: _write_blood_pressure,
    PulseOximetry: _write_oximetry,
    Temperature: _write_temperature,
    Glucose: _write_glucose,
    GlucoseContext: _write_glucose_context,
    Weight: _write_weight,
    Battery: lambda m: bytes([m.percent]),
    RecordAccess: lambda m: bytes([m.operation, m.operator]) + m.operand,
}
