"""What the trackers of each family write: one class per protocol, made of the encoders of `protocols.tracker`.

A dialect knows nothing of rhythm, memory or repetition: `Tracker` does. Alarms are named by the verbs that befall a person.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject
from protocols.tracker import eelink, gt06, gt06_blocks, h02, jt808, jt808_bodies, minifinder, topin, trv, wristband, xexun2
from protocols.tracker.fix import CellSeen
from protocols.tracker.jt808_position import encode_location
from simulator.clock import Moment
from simulator.places import Place

K = OccurrenceKind
HOME_CELL = CellSeen(460, 0, 9360, 4082, -75)
EIGHT_HOURS_MS = 8 * 3600 * 1000
"""Trackers sold in China keep Beijing time."""


class Seen(NamedTuple):
    """What the tracker knows at the moment of a report. `battery` in percent."""

    now: Moment
    place: Place
    speed_kmh: float
    course_deg: float
    battery: int


class Heard(NamedTuple):
    """What the server's bytes mean: `frames` to send back, `is_confirmed`: the oldest alarm has arrived."""

    frames: list[bytes]
    is_confirmed: bool = False


class Dialect(Protocol):
    """One protocol. `alarms`: what its alarm codes mean, by verb; `confirms`: the server says that an alarm has arrived."""

    alarms: dict[str, OccurrenceKind]
    confirms: bool

    def hello(self) -> list[bytes]:
        """After connecting."""
        ...

    def alive(self, battery: int) -> list[bytes]:
        """The heartbeat."""
        ...

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """A position, with an alarm where one is named."""
        ...

    def receive(self, data: bytes) -> Heard:
        """The server's bytes."""
        ...


def _beijing(now: Moment) -> datetime:
    return datetime.fromtimestamp((now.ms + EIGHT_HOURS_MS) // 1000, UTC)


class Trv:
    """TRV / IW pendants: text frames that end in #."""

    alarms = {"sos": K.SOS, "battery_low": K.LOW_BATTERY, "take_off": K.REMOVED, "fall": K.FALL}
    confirms = True
    _CODES = {"sos": "01", "battery_low": "02", "take_off": "03", "fall": "05"}

    def __init__(self, imei: str) -> None:
        self._imei = imei
        self._connection = trv.TrvConnection()

    def hello(self) -> list[bytes]:
        """AP00."""
        self._connection = trv.TrvConnection()
        return [trv.login("IW", self._imei)]

    def alive(self, battery: int) -> list[bytes]:
        """AP03."""
        return [trv.report("IW", "AP03", f"080009{battery:03d}00102")]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """AP01, or AP10 with its code."""
        rest = () if alarm is None else (self._CODES[alarm], "zh-cn", "00")
        place = seen.place
        body = trv.position_body(
            trv.TrvPosition(
                seen.now.ms,
                True,
                round(place.lat, 6),
                round(place.lon, 6),
                seen.speed_kmh,
                seen.course_deg,
                80,
                9,
                seen.battery,
                ((460, 0, 9360, 4082, None),),
                (),
                rest,
            )
        )  # fmt: skip
        return [trv.encode(trv.TrvMessage("IW", "AP01" if alarm is None else "AP10", body))]

    def receive(self, data: bytes) -> Heard:
        """BP10 confirms."""
        found = [m for m in self._connection.receive(data) if not isinstance(m, Reject)]
        return Heard([], any(message.code == "BP10" for message in found))


class Gt06:
    """GT06 / Concox: 78 78 frames with serial and CRC."""

    alarms = {"sos": K.SOS}
    confirms = True
    _ALARM = 0x26

    def __init__(self, imei: str) -> None:
        self._imei = imei
        self._serial = 0
        self._connection = gt06.Connection()

    def _frame(self, kind: int, content: bytes) -> bytes:
        self._serial = self._serial % 0xFFFF + 1
        return gt06.encode(gt06.Packet(kind, content, self._serial))

    def hello(self) -> list[bytes]:
        """01 with IMEI and zone."""
        self._connection = gt06.Connection()
        return [self._frame(gt06.LOGIN, gt06.write_login(self._imei))]

    def alive(self, battery: int) -> list[bytes]:
        """13 with the level 0..6."""
        return [self._frame(gt06.STATUS, bytes((0x40, min(6, 1 + battery // 20), 4, 0, 2)))]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """12, or 26 for an SOS."""
        clock = _beijing(seen.now)
        time = (clock.year % 100, clock.month, clock.day, clock.hour, clock.minute, clock.second)
        place = seen.place
        gps = gt06_blocks.write_gps(time, place.lat, place.lon, speed_kmh=round(seen.speed_kmh), course_deg=round(seen.course_deg) % 360)
        cell = gt06_blocks.write_cell(HOME_CELL)
        if alarm is None:
            return [self._frame(0x12, gps + cell)]
        return [self._frame(self._ALARM, gps + b"\x09" + cell + gt06_blocks.write_alarm_tail(1))]

    def receive(self, data: bytes) -> Heard:
        """An answer of the alarm's type confirms."""
        found = [packet for packet in self._connection.receive(data) if not isinstance(packet, Reject)]
        return Heard([], any(packet.kind == self._ALARM for packet in found))


class Topin:
    """Topin / Zhongxun pendants: GT06 heads without checksum."""

    alarms = {"sos": K.SOS}
    confirms = True

    def __init__(self, imei: str) -> None:
        self._imei = imei
        self._connection = topin.Connection()

    def hello(self) -> list[bytes]:
        """01."""
        self._connection = topin.Connection()
        return [topin.encode(topin.write_login(self._imei))]

    def alive(self, battery: int) -> list[bytes]:
        """13."""
        return [topin.encode(topin.Packet(topin.STATUS, bytes((battery, 1, 8, 5)), 5))]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """99 for an SOS, then 10."""
        clock = datetime.fromtimestamp(seen.now.ms // 1000, UTC)
        time = (clock.year % 100, clock.month, clock.day, clock.hour, clock.minute, clock.second)
        gps = gt06_blocks.write_gps(time, seen.place.lat, seen.place.lon, speed_kmh=round(seen.speed_kmh))
        position = topin.encode(topin.Packet(topin.POSITION, gps, len(gps) + 1))
        return [position] if alarm is None else [topin.encode(topin.Packet(topin.SOS, b"", 1)), position]

    def receive(self, data: bytes) -> Heard:
        """99 confirms."""
        found = [packet for packet in self._connection.receive(data) if not isinstance(packet, Reject)]
        return Heard([], any(packet.kind == topin.SOS for packet in found))


class Jt808:
    """JT/T 808 personal terminals: registration, authentication, 0200 with alarm bits."""

    alarms = {"sos": K.SOS, "battery_low": K.LOW_BATTERY}
    confirms = True
    _BITS = {"sos": 1 << 0, "battery_low": 1 << 7}

    def __init__(self, phone: str) -> None:
        self._header = jt808.Header(jt808.phone_bytes(phone))
        self._serial = 0
        self._alarms: set[int] = set()
        self._connection = jt808.Connection()

    def _frame(self, id: int, body: bytes) -> bytes:
        self._serial = self._serial % 0xFFFF + 1
        return jt808.encode(jt808.Message(id, self._header, self._serial, body))

    def hello(self) -> list[bytes]:
        """0100; 0102 follows the answer."""
        self._connection = jt808.Connection()
        return [self._frame(jt808.REGISTER, jt808_bodies.write_registration(jt808_bodies.Registration("ANHU", "SIM1", "SIM0001", "")))]

    def alive(self, battery: int) -> list[bytes]:
        """0002."""
        return [self._frame(jt808.HEARTBEAT, b"")]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """0200."""
        body = encode_location(
            time=f"{_beijing(seen.now):%y%m%d%H%M%S}", lat=seen.place.lat, lon=seen.place.lon, speed_kmh=seen.speed_kmh,
            course_deg=round(seen.course_deg) % 360, altitude_m=12, alarms=0 if alarm is None else self._BITS[alarm],
        )  # fmt: skip
        frame = self._frame(jt808.POSITION, body)
        if alarm is not None:
            self._alarms.add(self._serial)
        return [frame]

    def receive(self, data: bytes) -> Heard:
        """8100 is answered with 0102; 8001 to the serial of an alarm confirms."""
        frames: list[bytes] = []
        confirmed = False
        for found in self._connection.receive(data):
            if not isinstance(found, jt808.Message):
                continue
            if found.id == jt808.REGISTER_ANSWER:
                _, result, code = jt808_bodies.read_register_answer(found.body)
                frames += [self._frame(jt808.AUTHENTICATE, jt808_bodies.write_authentication(code))] if result == 0 else []
            elif found.id == jt808.PLATFORM_ANSWER:
                answer = jt808_bodies.read_answer(found.body)
                confirmed |= answer.serial in self._alarms
                self._alarms.discard(answer.serial)
        return Heard(frames, confirmed)


class H02:
    """H02 text reports: alarms are bits that are zero; nothing is confirmed."""

    alarms = {"sos": K.SOS}
    confirms = False

    def __init__(self, number: str) -> None:
        self._number = number

    def hello(self) -> list[bytes]:
        """A link message serves as the first word."""
        return []

    def alive(self, battery: int) -> list[bytes]:
        """HTBT."""
        return [h02.write_text("HQ", self._number, "HTBT", str(battery))]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """V1."""
        clock = datetime.fromtimestamp(seen.now.ms // 1000, UTC)
        status = 0xFFFFFBFF if alarm is None else 0xFFFFFBFF & ~2
        return [
            h02.write_v1(
                self._number,
                time=f"{clock:%H%M%S}",
                date=f"{clock:%d%m%y}",
                lat=seen.place.lat,
                lon=seen.place.lon,
                knots=seen.speed_kmh / h02.KNOT_KMH,
                course_deg=round(seen.course_deg) % 360,
                status=status,
            )
        ]  # fmt: skip

    def receive(self, data: bytes) -> Heard:
        """Commands are not carried out."""
        return Heard([])


class Minifinder:
    """MiniFinder pendants: !D reports, nothing is confirmed."""

    alarms = {"sos": K.SOS, "fall": K.FALL, "battery_low": K.LOW_BATTERY}
    confirms = False
    _BITS = {"sos": minifinder.SOS, "fall": minifinder.FALL, "battery_low": minifinder.LOW_BATTERY}

    def __init__(self, imei: str) -> None:
        self._imei = imei

    def hello(self) -> list[bytes]:
        """!1."""
        return [minifinder.login(self._imei)]

    def alive(self, battery: int) -> list[bytes]:
        """The reports are its heartbeat."""
        return []

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """!D."""
        flags = 1 << minifinder.FIX | 20 << minifinder.SIGNAL | (0 if alarm is None else 1 << self._BITS[alarm])
        position = minifinder.MinifinderPosition(
            seen.now.ms, round(seen.place.lat, 6), round(seen.place.lon, 6), round(seen.speed_kmh, 1), round(seen.course_deg),
            flags, 12.0, seen.battery, 9, 12, 1.1,
        )  # fmt: skip
        return [minifinder.encode(minifinder.position_message("D", position))]

    def receive(self, data: bytes) -> Heard:
        """Commands are not carried out."""
        return Heard([])


class Eelink:
    """Eelink TK trackers: 67 67 packages, each answered by head and serial."""

    alarms = {"sos": K.SOS}
    confirms = True

    def __init__(self, imei: str) -> None:
        self._imei = imei
        self._serial = 0
        self._connection = eelink.Connection()

    def _next(self) -> int:
        self._serial = self._serial % 0xFFFF + 1
        return self._serial

    def hello(self) -> list[bytes]:
        """01."""
        self._connection = eelink.Connection()
        return [eelink.write_login(self._imei, serial=self._next())]

    def alive(self, battery: int) -> list[bytes]:
        """03."""
        return [eelink.encode(eelink.Packet(0x03, self._next(), b"\x00\x01"))]

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """12, or 14 with the code of an SOS."""
        fix = eelink.Fix(seen.place.lat, seen.place.lon, seen.speed_kmh, seen.course_deg, 12, 9)
        code = next(code for code, word in eelink.ALARMS.items() if word == "sos") if alarm else None
        block = eelink.Block(seen.now.ms // 1000, fix, (HOME_CELL,), alarm=code, battery_mv=3300 + 9 * seen.battery)
        return [eelink.write_report(eelink.WARNING if alarm else eelink.NORMAL, block, serial=self._next())]

    def receive(self, data: bytes) -> Heard:
        """An answer to a warning confirms."""
        found = [packet for packet in self._connection.receive(data) if isinstance(packet, eelink.Packet)]
        return Heard([], any(packet.kind == eelink.WARNING for packet in found))


class Xexun2:
    """Xexun's second protocol: records with alarm bits, answered with body 01."""

    alarms = {"sos": K.SOS, "take_off": K.REMOVED, "fall": K.FALL}
    confirms = True
    _BITS = {"sos": 1, "take_off": 2, "fall": 1 << 15}

    def __init__(self, imei: str) -> None:
        self._imei = imei
        self._serial = 0
        self._alarms: set[int] = set()
        self._connection = xexun2.Connection()

    def hello(self) -> list[bytes]:
        """Every message names its device."""
        self._connection = xexun2.Connection()
        return []

    def alive(self, battery: int) -> list[bytes]:
        """The records are its heartbeat."""
        return []

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """0014."""
        self._serial = self._serial % 0xFFFF + 1
        record = xexun2.Record(
            seen.now.ms // 1000, 25, seen.battery, False, 0 if alarm is None else self._BITS[alarm], seen.place.lat, seen.place.lon, 9,
            round(seen.speed_kmh, 1), round(seen.course_deg),
        )  # fmt: skip
        if alarm is not None:
            self._alarms.add(self._serial)
        return [xexun2.write_records(self._imei, [record], serial=self._serial)]

    def receive(self, data: bytes) -> Heard:
        """The answer to the serial of an alarm confirms."""
        serials = {found.serial for found in self._connection.receive(data) if isinstance(found, xexun2.Message)}
        confirmed = bool(serials & self._alarms)
        self._alarms -= serials
        return Heard([], confirmed)


class Wristband:
    """A band that tells points and its state, but knows no alarm."""

    alarms: dict[str, OccurrenceKind] = {}
    confirms = False

    def __init__(self, imei: str) -> None:
        self._imei = imei

    def hello(self) -> list[bytes]:
        """Every message names its device."""
        return []

    def alive(self, battery: int) -> list[bytes]:
        """The points are its heartbeat."""
        return []

    def report(self, seen: Seen, alarm: str | None) -> list[bytes]:
        """F02 with one point."""
        clock = f"{_beijing(seen.now):%Y%m%d%H%M%S}"
        data = f"{seen.place.lon:.6f},{seen.place.lat:.6f},{clock},{seen.speed_kmh:.1f},A"
        return [wristband.encode(wristband.Message(self._imei, wristband.POINTS, data))]

    def receive(self, data: bytes) -> Heard:
        """Settings are taken in silence."""
        return Heard([])


DIALECTS: dict[str, Callable[[str], Dialect]] = {
    "trv": Trv, "gt06": Gt06, "topin": Topin, "jt808": Jt808, "h02": H02, "minifinder": Minifinder, "eelink": Eelink,
    "xexun2": Xexun2, "wristband": Wristband,
}  # fmt: skip
"""The dialect of each driver, made with the number of its device."""
