"""Badges: from advertisements to rooms, visits and calls for help.

A badge is known by what it sends (UUID, major, minor; namespace, instance), not by its Bluetooth address, and the table of badges
says what it means: many SOS badges only change their minor number while the key is held.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from drivers.api import (
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Match,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
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
    in_range,
    read_options,
)
from drivers.ble_badge.rooms import Move, Rooms
from protocols.ble import beacon
from protocols.ble.beacon import Beacon, Eid, OtherApple, Proximity, Telemetry, Uid, Url

REPEAT_S = 60.0
"""A badge that goes on calling for help is told again after this time."""
TELEMETRY_S = 300.0
"""Battery and temperature of a beacon are told this often."""
SEEN_STEP_S = 15.0
"""Steps of the last hearing in a dump: else each advertisement would make a state to be written."""
DUMP_S = 1.0
"""Steps of all badges are written together, at most once in this time: a staircase full of badges is one state."""
MOST_BADGES = 256
"""Badges that one instance keeps apart; the longest silent one goes first."""
MOST_READ = 1024
"""Payloads whose meaning is kept: a badge says the same for years."""
MEANINGS = {"sos": OccurrenceKind.SOS, "fall": OccurrenceKind.FALL, "button": OccurrenceKind.BUTTON}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the table of badges. What is left out fits everything; `device` groups the lines of one badge."""

    uuid: str | None = None
    major: int | None = None
    minor: int | None = None
    namespace: str | None = None
    instance: str | None = None
    url: str | None = None
    device: str | None = None
    means: str = "presence"
    role: str = "resident"
    person: str | None = None


NO_ROW = Row()


class Badge:
    """One badge at work."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.row = self.last_row = NO_ROW
        self.found: Beacon | None = None
        self.identity = ""
        self.is_visiting = False
        self.called_s: dict[str, float] = {}
        self.calling_s: dict[str, float] = {}
        self.telemetry_s = -math.inf


class Kept(msgspec.Struct):
    """What outlives a restart: the room, an open visit and when the badge was heard last."""

    room: str | None
    person: str | None
    is_visiting: bool
    seen_s: float


class BleBadge:
    """Every badge that one session hears (normally one)."""

    info = DriverInfo(
        name="ble_badge",
        title="Bluetooth badges and beacons",
        vendor="any iBeacon, AltBeacon or Eddystone",
        models=("iBeacon", "AltBeacon", "Eddystone UID, URL, TLM, EID"),
        transports=(Transport.BLE_ADVERT,),
        emits=("presence", "service_visit", "sos", "fall", "button", "temperature", "position", "health"),
        options=(
            Option(
                "badges",
                "list",
                [],
                "what each badge means: tables of uuid, major, minor, namespace, instance, url, device, means, role, person",
            ),
            Option("average_s", "float", 8.0, "time constant of the average of signal strengths, seconds", low=0, high=120),
            Option("hysteresis_db", "float", 5.0, "how much stronger another room must be", low=0, high=30),
            Option("expiry_s", "float", 30.0, "a badge or receiver that is silent for so long counts no more", low=15, high=3600),
            Option("visit_end_s", "float", 300.0, "a visit ends when the badge of staff is silent for so long", low=15, high=86400),
        ),
        source="Apple Proximity Beacon Specification R1, AltBeacon 1.0, Eddystone",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        read = read_options(self.info, options)
        self._rows = _rows(self.info.name, read["badges"])
        self._average_s = max(float(read["average_s"]), 0.1)
        self._hysteresis_db = float(read["hysteresis_db"])
        self._expiry_s = float(read["expiry_s"])
        self._visit_end_s = max(float(read["visit_end_s"]), self._expiry_s)
        self._given = (device or "").removeprefix("ble_badge:")
        self._badges: dict[str, Badge] = {}
        self._names: dict[str, str] = {}
        self._read: dict[tuple[int | None, bytes], tuple[Beacon, Row]] = {}
        self._due_s = math.inf
        self._moved = True
        self._stepped = False
        self._now_s = self._dumped_s = -math.inf
        self._dump = b""

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """YES for a beacon."""
        advert = frame.advert
        if advert is None:
            return Match.NO
        is_beacon = advert.manufacturer_data.get(beacon.APPLE, b"")[:2] == beacon.IBEACON_START
        is_beacon = is_beacon or any(data[:2] == beacon.ALTBEACON_START for data in advert.manufacturer_data.values())
        return Match.YES if is_beacon or any(_is_eddystone(uuid) for uuid in advert.service_data) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events of one advertisement."""
        output = Output()
        self._now_s = frame.received.s
        blocks = _blocks(frame)
        if not blocks:
            output.rejects.append(Reject(Reason.NOT_OURS, "an iBeacon, AltBeacon or Eddystone expected", frame.data))
        for company, data in blocks:
            try:
                found, row = self._read.get((company, data)) or self._learn(company, data)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject())
                continue
            if not isinstance(found, OtherApple):
                self._tell(frame if data is frame.data else frame.part(data), frame, found, row, output)
        if self._now_s >= self._due_s:
            self._expire(frame, output)
        self._plan(output)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A badge hears nothing."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a badge only broadcasts, it takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Badges that are silent for long are gone."""
        output = Output()
        self._now_s = now.s
        self._expire(Frame(data=b"", received=now, transport=Transport.BLE_ADVERT), output)
        self._plan(output)
        return output

    def dump(self) -> bytes:
        """Rooms and open visits."""
        if not self._moved and not (self._stepped and self._now_s - self._dumped_s >= DUMP_S):
            return self._dump
        self._moved = self._stepped = False
        self._dumped_s = self._now_s
        kept = {
            name: Kept(badge.rooms.room, badge.row.person, badge.is_visiting, badge.rooms.seen_s // SEEN_STEP_S * SEEN_STEP_S)
            for name, badge in self._badges.items()
            if badge.rooms.room is not None or badge.is_visiting
        }
        self._dump = msgspec.json.encode(kept)
        return self._dump

    def load(self, state: bytes) -> None:
        """Take them back; a visit whose badge is silent is ended at the next chance."""
        try:
            kept = msgspec.json.decode(state, type=dict[str, Kept])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return
        self._badges.clear()
        for name, old in list(kept.items())[:MOST_BADGES]:
            badge = self._badge(name)
            badge.rooms.room, badge.rooms.seen_s = old.room, old.seen_s
            badge.row, badge.is_visiting = Row(person=old.person), old.is_visiting
        self._due_s, self._moved = -math.inf, True

    def _learn(self, company: int | None, data: bytes) -> tuple[Beacon, Row]:
        """What a payload says and its line in the table. Raises RemoteProtocolError."""
        found = _decode(company, data)
        known = found, next((row for row in self._rows if _fits(row, found)), NO_ROW)
        if len(self._read) >= MOST_READ:
            self._read.clear()
        self._read[company, data] = known
        return known

    def _tell(self, part: Frame, frame: Frame, found: Beacon, row: Row, output: Output) -> None:
        name = row.device or self._given or self._names.get(frame.address) or frame.address or _identity(found) or "unknown"
        if row.device and frame.address:
            # Telemetry names nobody: it belongs to the badge that was last seen at this address.
            self._names[frame.address] = row.device
            if len(self._names) > MOST_BADGES:
                del self._names[next(iter(self._names))]
        device = output.device = f"ble_badge:{name}"
        badge = self._badge(name)
        if row is not badge.last_row and row is not NO_ROW:
            # The line of an SOS key need not repeat whose badge it is.
            role = "staff" if "staff" in (row.role, badge.row.role) else row.role
            badge.last_row, badge.row = row, msgspec.structs.replace(row, person=row.person or badge.row.person, role=role)
            self._moved = True
        if found is not badge.found:
            badge.found, badge.identity = found, _identity(found) or badge.identity
        now_s = frame.received.s
        self._end_silent(part, device, badge, output)
        receiver = frame.advert.receiver if frame.advert else ""
        self._stepped = self._stepped or now_s // SEEN_STEP_S != badge.rooms.seen_s // SEEN_STEP_S
        move = badge.rooms.hear(receiver, frame.advert.rssi_dbm if frame.advert else None, now_s)
        # An alarm first: nothing that belongs to rooms may stand before it.
        kind = MEANINGS.get(row.means)
        if kind is not None:
            self._call(part, device, badge, kind, output)
        if move is not None:
            self._move(part, device, badge, move, output)
            self._due_s = min(self._due_s, self._deadline_s(badge))
        if isinstance(found, Telemetry):
            self._telemetry(part, device, badge, found, output)

    def _call(self, part: Frame, device: str, badge: Badge, kind: OccurrenceKind, output: Output) -> None:
        now_s = part.received.s
        silent = now_s - badge.calling_s.get(kind, -math.inf) > self._expiry_s
        badge.calling_s[kind] = now_s
        if silent or now_s - badge.called_s.get(kind, -math.inf) >= REPEAT_S:
            badge.called_s[kind] = now_s
            body = Occurrence(kind=kind, state=State.PULSE, place=badge.rooms.room or None, person=badge.row.person)
            output.events.append(part.event(device, body))

    def _move(self, part: Frame, device: str, badge: Badge, move: Move, output: Output) -> None:
        person = badge.row.person
        self._moved = True
        say = output.events.append
        if move.before is not None:
            body = Occurrence(kind=OccurrenceKind.PRESENCE, state=State.END, place=move.before or None, person=person)
            say(part.event(device, body))
        if move.after is None:
            return
        say(part.event(device, Occurrence(kind=OccurrenceKind.PRESENCE, state=State.START, place=move.after or None, person=person)))
        say(part.event(device, Position(source=Source.BEACON, beacon=badge.identity or None, place=move.after or None)))
        if badge.row.role == "staff" and not badge.is_visiting:
            badge.is_visiting = True
            visit = Occurrence(kind=OccurrenceKind.SERVICE_VISIT, state=State.START, place=move.after or None, person=person)
            say(part.event(device, visit))

    def _end_silent(self, part: Frame, device: str, badge: Badge, output: Output) -> None:
        """Ends of what the silence of a badge until now means."""
        silent, person = part.received.s - badge.rooms.seen_s, badge.row.person
        if silent < self._expiry_s or silent == math.inf:
            return
        # What ended, ended when the badge was heard last; that it has ended is known only now.
        heard = msgspec.structs.replace(part, received=_earlier(part.received, silent))
        if badge.rooms.room is not None:
            before = badge.rooms.leave().before
            self._moved = True
            gone = Occurrence(kind=OccurrenceKind.PRESENCE, state=State.END, place=before or None, person=person)
            output.events.append(heard.event(device, gone))
        if badge.is_visiting and silent >= self._visit_end_s:
            badge.is_visiting, self._moved = False, True
            output.events.append(heard.event(device, Occurrence(kind=OccurrenceKind.SERVICE_VISIT, state=State.END, person=person)))

    def _telemetry(self, part: Frame, device: str, badge: Badge, found: Telemetry, output: Output) -> None:
        now_s = part.received.s
        if found.is_encrypted or now_s - badge.telemetry_s < TELEMETRY_S:
            return
        badge.telemetry_s = now_s
        output.events.append(part.event(device, DeviceHealth(battery_mv=found.battery_mv, uptime_s=int(found.uptime_s))))
        value = found.temperature_c
        if value is None:
            return
        if in_range(Quantity.TEMPERATURE, value):
            output.events.append(part.event(device, Measurement(quantity=Quantity.TEMPERATURE, value=round(value, 2))))
        else:
            output.rejects.append(Reject(Reason.RANGE, f"temperature out of range: {value}", part.data))

    def _expire(self, frame: Frame, output: Output) -> None:
        """Ends of what was not heard for long, and when to look again: what is heard meanwhile only moves that back."""
        for name, badge in self._badges.items():
            part = frame.part(f"silent {name} {badge.rooms.seen_s}".encode())
            self._end_silent(part, f"ble_badge:{name}", badge, output)
        self._due_s = min((self._deadline_s(badge) for badge in self._badges.values()), default=math.inf)

    def _deadline_s(self, badge: Badge) -> float:
        """When the silence of a badge would mean something, from what is known now."""
        if badge.rooms.room is not None:
            return badge.rooms.seen_s + self._expiry_s
        return badge.rooms.seen_s + self._visit_end_s if badge.is_visiting else math.inf

    def _plan(self, output: Output) -> None:
        output.wake_s = self._due_s if self._due_s < math.inf else None

    def _badge(self, name: str) -> Badge:
        badge = self._badges.get(name)
        if badge is None:
            if len(self._badges) >= MOST_BADGES:
                del self._badges[min(self._badges, key=lambda known: self._badges[known].rooms.seen_s)]
                self._moved = True
            rooms = Rooms(average_s=self._average_s, hysteresis_db=self._hysteresis_db, expiry_s=self._expiry_s)
            badge = self._badges[name] = Badge(rooms)
        return badge


def _decode(company: int | None, data: bytes) -> Beacon:
    """`company` None: Eddystone; -1: not known, the bytes decide."""
    if company is None:
        return beacon.decode_eddystone(data)
    return beacon.decode(data) if company < 0 else beacon.decode_manufacturer(company, data)


def _blocks(frame: Frame) -> list[tuple[int | None, bytes]]:
    advert = frame.advert
    if advert is None or not (advert.manufacturer_data or advert.service_data):
        return [(-1, frame.data)]
    found: list[tuple[int | None, bytes]] = [
        (company, data)
        for company, data in advert.manufacturer_data.items()
        if company == beacon.APPLE or data[:2] == beacon.ALTBEACON_START
    ]
    return found + [(None, data) for uuid, data in advert.service_data.items() if _is_eddystone(uuid)]


def _is_eddystone(uuid: str) -> bool:
    return uuid.lower() in (beacon.EDDYSTONE_UUID, "feaa")


def _earlier(now: Instant, seconds: float) -> Instant:
    return Instant(now.ms - round(seconds * 1000), now.s - seconds)


def _identity(found: Beacon) -> str:
    """What the badge says it is, as text; empty where it says nothing that stays."""
    if isinstance(found, Proximity):
        return f"{found.uuid}/{found.major}/{found.minor}"
    if isinstance(found, Uid):
        return f"{found.namespace}/{found.instance}"
    if isinstance(found, Url):
        return found.url
    return found.eid if isinstance(found, Eid) else ""


def _fits(row: Row, found: Beacon) -> bool:
    """Whether a line names this beacon: every field that it has must be equal, and it must have one of its kind."""
    if isinstance(found, Proximity):
        pairs: list[tuple[object, object]] = [(row.uuid, found.uuid), (row.major, found.major), (row.minor, found.minor)]
    elif isinstance(found, Uid):
        pairs = [(row.namespace, found.namespace), (row.instance, found.instance)]
    elif isinstance(found, Url):
        pairs = [(row.url, found.url)]
    else:
        return False
    asked = [(want, got) for want, got in pairs if want is not None]
    return bool(asked) and all(want == got for want, got in asked)


def _rows(driver: str, tables: list[Any]) -> list[Row]:
    """Lines that name most first: a minor that means SOS goes before the UUID of all badges. Raises OptionError."""
    rows, faults = [], []
    for number, table in enumerate(tables, 1):
        try:
            row = msgspec.convert(table, Row)
        except msgspec.ValidationError as error:
            faults.append(f"badges[{number}]: {error}")
            continue
        names = (row.uuid, row.major, row.minor, row.namespace, row.instance, row.url)
        if row.means not in {"presence", *MEANINGS}:
            faults.append(f"badges[{number}].means: expected presence, {', '.join(MEANINGS)}, got {row.means!r}")
        if row.role not in ("resident", "staff"):
            faults.append(f"badges[{number}].role: expected resident or staff, got {row.role!r}")
        if all(name is None for name in names):
            faults.append(f"badges[{number}]: one of uuid, major, minor, namespace, instance, url expected")
        rows.append(msgspec.structs.replace(row, uuid=row.uuid.lower() if row.uuid else None))
    if faults:
        raise OptionError(driver, faults)
    return sorted(rows, key=lambda row: -sum(name is not None for name in (row.uuid, row.major, row.minor, row.namespace, row.instance)))


DRIVER = BleBadge
