"""Queclink @Track, the protocol of GL200, GL300, GL320 lone-worker trackers and GV vehicle units over TCP and UDP. Both directions.

Source: Queclink GL300 @Track air interface protocol, chapters 3.3 (reports) and 3.4 (heartbeat). Text, no checksum.

    +RESP:GT<xxx>,<version hex>,<imei>,<name>,...,<send time>,<count hex>$      +BUFF: the same, kept while offline
    +ACK:GT<xxx>,<version>,<imei>,<name>,<serial hex>,<send time>,<count>$      answer to a command, heartbeat (GTHBD)
    place inside a report: accuracy (0 = last known), km/h, degrees, metres, longitude, latitude, yyyymmddhhmmss,
                           mcc, mnc, lac hex, cid hex      (all UTC; any of the leading four may be empty)
    AT+GT<xxx>=<password>,...,<serial hex>$       +SACK:<count>$       +SACK:GTHBD,<version>,<count>$

The fields around the places differ with every model and firmware: places, cells and access points are found by their form.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.errors import LocalProtocolError, Reason, Reject, RemoteProtocolError
from protocols.framing import Cut, Framer
from protocols.tracker.fix import ApSeen, CellSeen, clock_ms, day_ms

LINE_LIMIT = 4096
PLACES_LIMIT = 20
"""A GTFRI holds at most 15 places."""

_HEAD = re.compile(rb"\+(?:RESP|BUFF|ACK):GT")
_PARTIAL = re.compile(rb"\+(?:R(?:E(?:S(?:P(?::G?)?)?)?)?|B(?:U(?:F(?:F(?::G?)?)?)?)?|A(?:C(?:K(?::G?)?)?)?)?$")
_LINE = re.compile(r"\+(RESP|BUFF|ACK):GT([A-Z0-9]{3}),(.*)", re.DOTALL)
_PLACE = re.compile(
    r",(\d{0,2}(?:\.\d)?),(\d{0,3}(?:\.\d)?),(\d{0,3}(?:\.\d)?),(-?\d{1,5}(?:\.\d)?|),(-?\d{1,3}\.\d{5,6}),(-?\d{1,2}\.\d{5,6}),(\d{14})"
    r"(?=(?:,(\d{3,4}),(\d{1,4}),([0-9A-Fa-f]{1,8}),([0-9A-Fa-f]{1,8}))?)"
)
_CELL_ONLY = re.compile(r",,,,,,,(\d{3,4}),(\d{2,4}),([0-9A-Fa-f]{1,8}),([0-9A-Fa-f]{1,8}),")
_CELL = re.compile(r"(?:^|,)(\d{3,4}),(\d{2,4}),([0-9A-Fa-f]{1,8}),([0-9A-Fa-f]{1,8}),(\d{1,2})(?=,)")
_AP = re.compile(r",([0-9A-Fa-f]{12}),(-\d{1,3})(?=,)")
_NO_PLACE = "," * 7
"""Seven empty fields where a place would stand."""
_GL5_BATTERY = re.compile(r"(?:,\d{0,4}){2}(?:,[0-9A-Fa-f]{0,8}){2},\d{1,2},\d{1,2},,(\d{1,3}),")
"""GL500 family: cell, signal, its error rate, nothing, battery."""
_GL3_BATTERY = re.compile(r"(?:,\d{0,4}){2}(?:,[0-9A-Fa-f]{0,8}){2},,(\d{1,3}),")
"""GL320M family: cell, nothing, battery."""
_STATUS = re.compile(r",(\d{1,3}),[0-9A-F]{6}(?:,|$)")
_FIXED_BATTERY = {"STR": 7, "CTN": 7, "LBS": 5}
"""Field of the battery of reports that put it in front of the place."""
_COUNTER = re.compile(r"[0-9A-Fa-f]{4}").fullmatch


class Message(NamedTuple):
    """One line: `frame` RESP, BUFF or ACK; `kind` three letters; `fields` after the kind."""

    frame: str
    kind: str
    fields: tuple[str, ...]
    raw: bytes = b""

    @property
    def text(self) -> str:
        """The fields with a comma before each, as the patterns of places want them."""
        return "," + ",".join(self.fields)

    @property
    def id(self) -> str:
        """IMEI or MEID. A few reports of old firmware have no version in front of it."""
        first = self.fields[0]
        return first if len(first) >= 14 else self.fields[1]

    @property
    def version(self) -> str:
        """Protocol version, hex."""
        return "" if len(self.fields[0]) >= 14 else self.fields[0]

    @property
    def counter(self) -> str:
        """Count of the message, hex; empty where the firmware writes none."""
        return self.fields[-1] if _COUNTER(self.fields[-1]) else ""

    @property
    def sent_ms(self) -> int | None:
        """UTC milliseconds of the sending; None where the line does not tell."""
        return _time_ms(self.fields[-2]) if len(self.fields) > 2 else None


class Place(NamedTuple):
    """A place in signed degrees, None where it is nowhere; `accuracy` 0: the last known one."""

    at_ms: int | None
    lat: float | None
    lon: float | None
    accuracy: float | None
    speed_kmh: float | None
    course_deg: float | None
    altitude_m: float | None
    cell: CellSeen | None
    out_of_range: bool = False


class Info(NamedTuple):
    """What a GTINF tells; None where it does not."""

    iccid: str | None
    csq: int | None
    battery_mv: int | None
    is_charging: bool | None
    battery: int | None
    external_power: bool | None


class Connection:
    """One TCP connection, or one peer of UDP."""

    def __init__(self) -> None:
        self._framer = Framer(_cut, limit=LINE_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished line."""
        return self._framer.buffered

    def receive(self, data: bytes) -> list[Message | Reject]:
        """Lines and refusals that `data` completes."""
        out: list[Message | Reject] = []
        for raw in self._framer.feed(data):
            if isinstance(raw, Reject):
                # Line ends between lines are no junk.
                out += [raw] if raw.frame.strip(b"\r\n\0$ ") else []
                continue
            try:
                out.append(decode(raw))
            except RemoteProtocolError as error:
                out.append(error.reject(raw))
        return out

    def flush(self) -> list[Message | Reject]:
        """Firmware without an end sign: what stands there after a silence is a line."""
        return self.receive(b"$") if self._framer.buffered else []

    def send(self, message: Message) -> bytes:
        """The bytes of `message`."""
        return encode(message)


def _cut(buffer: bytes, start: int) -> Cut:
    """From a head to an end sign; another head in between means that the first line was cut off."""
    if buffer.startswith(b"+", start) and _HEAD.match(buffer, start):
        # The usual line: it has nothing inside that could be another.
        end = buffer.find(b"$", start)
        if end >= 0 and not (buffer.find(b"+", start + 1, end) >= 0 or buffer.find(b"\n", start, end) >= 0 or 0 in buffer[start:end]):
            return Cut(0, end + 1 - start)
    size = len(buffer)
    found = _HEAD.search(buffer, start)
    if found is None:
        partial = _PARTIAL.search(buffer, max(start, size - 9))
        return Cut(size - start - (size - partial.start() if partial else 0))
    at = found.start()
    ends = [end for end in (buffer.find(sign, found.end()) for sign in (b"$", b"\0", b"\n")) if end >= 0]
    again = _HEAD.search(buffer, found.end(), min(ends) if ends else size)
    if again:
        return Cut(again.start() - start)
    return Cut(at - start, min(ends) + 1 - at if ends else 0)


def decode(frame: bytes) -> Message:
    """The line of one frame. Raises RemoteProtocolError."""
    found = _LINE.fullmatch(frame.decode("latin-1").rstrip("$\0\r\n"))
    if found is None:
        raise RemoteProtocolError(Reason.UNSUPPORTED, "+RESP:GTxxx,... expected", frame)
    head, kind, rest = found.groups()
    fields = tuple(rest.split(","))
    if len(fields) < 3:
        raise RemoteProtocolError(Reason.TRUNCATED, "version, id and count expected", frame)
    message = Message(head, kind, fields, frame)
    if not (message.id.isascii() and message.id.isalnum() and 5 <= len(message.id) <= 17):
        raise RemoteProtocolError(Reason.RANGE, f"IMEI or MEID expected, got {message.id!r:.30}", frame)
    return message


def encode(message: Message) -> bytes:
    """The bytes of a line. Raises LocalProtocolError."""
    if any(sign in field for field in message.fields for sign in "$,\0\n"):
        raise LocalProtocolError("fields without $, commas and line ends expected")
    return f"+{message.frame}:GT{message.kind},{','.join(message.fields)}$".encode("latin-1", "replace")


def write_command(kind: str, password: str, *arguments: str, serial: int) -> bytes:
    """A command; the device repeats kind and serial. Raises LocalProtocolError."""
    parts = (password, *arguments)
    if not re.fullmatch(r"[A-Z0-9]{3}", kind) or any(sign in part for part in parts for sign in "$\0\n") or not "".join(parts).isascii():
        raise LocalProtocolError("three letters and ASCII arguments without $ expected")
    return f"AT+GT{kind}={','.join(parts)},{serial & 0xFFFF:04X}$".encode()


def heartbeat_answer(message: Message) -> bytes:
    """What the server answers to GTHBD."""
    return f"+SACK:GTHBD,{message.version},{message.counter}$".encode()


def acknowledgement(message: Message) -> bytes:
    """What the server answers to a report where the device is set to wait for it (SACK)."""
    return f"+SACK:{message.counter}$".encode()


def read_places(message: Message, text: str = "") -> tuple[list[Place], int]:
    """Every place of a report, in the order sent, and where the last one begins to end in `text` (`message.text`); -1 without any."""
    found: list[Place] = []
    end = -1
    for match in _PLACE.finditer(text or message.text):
        accuracy, speed, course, altitude, lon_text, lat_text, clock, mcc, mnc, lac, cid = match.groups()
        end = match.end()
        if len(found) >= PLACES_LIMIT:
            continue
        lat, lon = float(lat_text), float(lon_text)
        bad = not (-90 <= lat <= 90 and -180 <= lon <= 180)
        is_place = not bad and bool(lat or lon)
        degrees = float(course) if course else None
        found.append(
            Place(
                _time_ms(clock), lat if is_place else None, lon if is_place else None, float(accuracy) if accuracy else None,
                float(speed) if speed else None, degrees if degrees is not None and degrees <= 360 else None,
                float(altitude) if altitude else None, _cell(mcc, mnc, lac, cid), bad,
            )
        )  # fmt: skip
    return found, end


def read_surroundings(message: Message, text: str = "") -> tuple[list[CellSeen], list[ApSeen]]:
    """Cells of a report without a place, and access points of any."""
    text = text or message.text
    cells: list[CellSeen] = []
    if message.kind in {"GSM", "LBS"}:
        for match in _CELL.finditer(",".join(message.fields[3 if message.kind == "GSM" else 11 :])):
            cell = _cell(*match.groups()[:4])
            cells += [cell._replace(rssi_dbm=int(match[5]) - 110)] if cell else []
    elif ",,,,,,," in text:
        alone = _CELL_ONLY.search(text)
        cell = _cell(*alone.groups()) if alone else None
        cells += [cell] if cell else []
    if ",-" not in text:
        return cells, []
    aps = [ApSeen(":".join(mac[i : i + 2] for i in range(0, 12, 2)).lower(), int(level)) for mac, level in _AP.findall(text)]
    return cells, aps


def read_battery(message: Message, text: str, end: int) -> int | None:
    """Battery in % of a report with a place or cell; its field moves with the model. `text`, `end`: of `read_places`."""
    tail = text[end + 1 :].split(",")[1:-2] if end >= 0 else list(message.fields[3:-2])
    if not tail:
        return None
    if message.kind in _FIXED_BATTERY:
        at = _FIXED_BATTERY[message.kind]
        return _small(message.fields[at], 100) if len(message.fields) > at + 2 else None
    family = _GL5_BATTERY.match(text, end if end >= 0 else text.find(_NO_PLACE) + len(_NO_PLACE))
    if family is None and end >= 0 and message.version.startswith("C3"):
        family = _GL3_BATTERY.match(text, end)
    if family:
        return _small(family[1], 100)
    status = _STATUS.search("," + ",".join(tail))
    if status and int(status[1]) <= 100:
        return int(status[1])
    if len(tail) > 1 and (last := _small(tail[-1], 100)) is not None:
        return last
    if len(tail) > 4 and not tail[-1] and not tail[-2]:
        return _small(tail[-4], 100) or None
    return None


def read_info(message: Message) -> Info:
    """State, card, signal and battery of a GTINF. Fields 4 state, 5 ICCID, 6 CSQ, 8 external power, then a voltage, charging."""
    fields = [*message.fields, *[""] * 20]
    shift = next((index for index in range(3, 6) if re.fullmatch(r"89\w{16,18}", fields[index])), 4)
    volts_at = next((i for i in range(shift + 3, shift + 8) if re.fullmatch(r"[345]\.\d{1,2}", fields[i])), None)
    clock_at = next((i for i in range(shift + 5, shift + 16) if re.fullmatch(r"20\d{12}", fields[i])), None)
    battery = _small(fields[clock_at + 1], 100) if clock_at is not None and clock_at < len(message.fields) - 2 else None
    csq = _small(fields[shift + 1], 31)
    charging = fields[volts_at + 1] if volts_at is not None else ""
    return Info(
        fields[shift] if fields[shift].startswith("89") else None, csq,
        round(float(fields[volts_at]) * 1000) if volts_at is not None else None,
        charging == "1" if charging in {"0", "1"} else None, battery or None,
        fields[shift + 3] == "1" if fields[shift + 3] in {"0", "1"} else None,
    )  # fmt: skip


def _small(text: str, most: int) -> int | None:
    return int(text) if len(text) <= 3 and text.isdecimal() and int(text) <= most else None


def _cell(mcc: str | None, mnc: str | None, lac: str | None, cid: str | None) -> CellSeen | None:
    if not (mcc and mnc and lac and cid) or not int(mcc):
        return None
    return CellSeen(int(mcc), int(mnc), int(lac, 16), int(cid, 16))


def _time_ms(text: str) -> int | None:
    midnight, since = day_ms(text[:8], "ymd"), clock_ms(text[8:])
    return None if midnight is None or since is None else midnight + since


def write_report(kind: str, imei: str, *middle: str, sent: str, count: int = 1, stored: bool = False, version: str = "1A0800") -> bytes:
    """A report as a device sends it; `middle` stands between name and send time (yyyymmddhhmmss)."""
    return encode(Message("BUFF" if stored else "RESP", kind, (version, imei, "", *middle, sent, f"{count:04X}")))
