"""BTHome: from advertisements to events, once each.

A device repeats each advertisement for a second or longer, and BlueZ reports a cached one again whenever anything about the
device changes. So nothing here trusts a callback to be new: a packet is new by its encryption counter, its packet id, its
bytes, or a pause. In doubt an alarm is told twice, never not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from drivers.api import (
    OCCURRENCES,
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
    Quantity,
    Reason,
    Reject,
    RemoteProtocolError,
    State,
    Transport,
    Trust,
    in_range,
    read_options,
)
from drivers.bthome.meaning import FLAGS, NUMBERS, PARAMETERS, STATES
from protocols.ble import bthome
from protocols.ble.bthome import Object, Packet

REPEAT_S = 4.0
"""The same bytes again within this time are the same advertisement (bthome-ble uses the same pause)."""
REFRESH_S = 60.0
"""A sensor that repeats one payload without a pause reports its readings again after this time."""
HEALTH_S = 3600.0
"""Unchanged device health is told again after this time."""
RESTART_BELOW = 100
"""An encryption counter below this, after a higher one, is a changed battery (bthome-ble uses the same number)."""
MOST_DEVICES = 64
"""Devices that one instance keeps apart; normally it is one."""

PRESS_NAMES = ("button", "dimmer", "command")
PRESS, STATE, NUMBER, ABOUT = 1, 2, 4, 8
CLASSES = {
    name: (PRESS if name in PRESS_NAMES else 0)
    | (STATE if name in STATES else 0)
    | (NUMBER if name in NUMBERS else 0)
    | (ABOUT if name in ("battery", "firmware", "timestamp") or name in FLAGS or name in PARAMETERS else 0)
    for name in {*(row.name for row in bthome.OBJECTS.values()), *STATES, *NUMBERS, *FLAGS, *PARAMETERS}
}
"""What an object may become: most advertisements hold one class, and the others need not be looked for."""
PRESSES = tuple(bthome.BUTTON_EVENTS.values())
UUIDS = (bthome.UUID_V2, bthome.UUID_V1, bthome.UUID_V1_ENCRYPTED)


class Memory(msgspec.Struct):
    """What is remembered of one device. Counter, tag and states are kept over a restart."""

    counter: int | None = None
    tag: str = ""
    states: dict[str, bool] = {}
    packet_id: int | None = None
    block: bytes = b""
    seen_s: float = -math.inf
    told_s: float = -math.inf
    health: dict[str, Any] = {}
    health_s: float = -math.inf


class Kept(msgspec.Struct):
    """The part of `Memory` that outlives a restart."""

    counter: int | None
    tag: str
    states: dict[str, bool]


class Bthome:
    """One BTHome device."""

    info = DriverInfo(
        name="bthome",
        title="BTHome sensors, contacts and buttons",
        vendor="BTHome (Shelly BLU, b-parasite, pvvx/ATC and others)",
        models=("BTHome v2", "BTHome v1"),
        transports=(Transport.BLE_ADVERT,),
        emits=(
            *dict.fromkeys(row.kind.value for row in STATES.values()),
            *dict.fromkeys(row.quantity.value for row in NUMBERS.values()),
            OccurrenceKind.BUTTON.value,
            OccurrenceKind.SOS.value,
            "health",
        ),
        options=(
            Option("bindkey", "str", None, "encryption key, 32 hex digits; with it plain advertisements are refused", secret=True),
            Option("sos_button", "bool", False, "every press of a button is a call for help"),
            Option("sos_events", "list", [], "these presses are calls for help: " + ", ".join(PRESSES)),
            Option("counter_restart", "bool", True, "accept a counter that starts again below 100 (battery changed)"),
        ),
        source="bthome.io/format, version 2 and version 1",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        read = read_options(self.info, options)
        self._key = _key(self.info.name, read["bindkey"])
        unknown = [name for name in read["sos_events"] if name not in PRESSES]
        if unknown:
            raise OptionError(self.info.name, [f"sos_events: expected of {', '.join(PRESSES)}, got {unknown[0]!r}"])
        self._sos = set(PRESSES) - {"hold_release"} if read["sos_button"] else set(read["sos_events"])
        self._accept_restart = bool(read["counter_restart"])
        self._address = (device or "").removeprefix("bthome:").upper()
        self._devices: dict[str, Memory] = {}
        self._dump: bytes | None = None

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """YES for service data of BTHome."""
        advert = frame.advert
        if advert is None:
            return Match.NO
        return Match.YES if any(_uuid(uuid) in UUIDS for uuid in advert.service_data) else Match.NO

    def receive(self, frame: Frame) -> Output:
        """Events of one advertisement; nothing for a repetition."""
        found = _block(frame)
        if found is None:
            return Output(rejects=[Reject(Reason.NOT_OURS, "service data of UUID fcd2 expected", frame.data)])
        uuid, block = found
        address = frame.address or self._address
        memory = self._memory(address)
        now_s = frame.received.s
        repeated = block == memory.block and now_s - memory.seen_s <= REPEAT_S
        if repeated and now_s - memory.told_s <= REFRESH_S:
            memory.seen_s = now_s
            return Output(device=self._device(address))
        output = Output()
        try:
            packet = bthome.decode(block, address=address, key=self._key, uuid=uuid)
            is_told = self._check(packet, block, memory, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject())
            return output
        output.device = self._device(address or packet.address or "")
        if not is_told:
            number = packet.packet_id
            same_id = number is not None and number == memory.packet_id and now_s - memory.seen_s <= REPEAT_S
            memory.packet_id = number
            output.rejects += packet.faults
            self._tell(frame, block, packet, memory, output, presses=not (repeated or same_id))
            memory.told_s = now_s
        memory.block, memory.seen_s = block, now_s
        if packet.counter is not None:
            memory.counter, memory.tag = packet.counter, packet.tag.hex()
            self._dump = None
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A broadcaster hears nothing."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a BTHome device only broadcasts, it takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """Counters and states of every device seen."""
        if self._dump is not None:
            return self._dump
        kept = {address: Kept(m.counter, m.tag, m.states) for address, m in self._devices.items() if m.counter is not None or m.states}
        self._dump = msgspec.json.encode(kept)
        return self._dump

    def load(self, state: bytes) -> None:
        """Take counters and states back."""
        try:
            kept = msgspec.json.decode(state, type=dict[str, Kept])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return
        self._dump = None
        self._devices = {address: Memory(counter=k.counter, tag=k.tag, states=k.states) for address, k in list(kept.items())[:MOST_DEVICES]}

    def _device(self, address: str) -> str:
        return f"bthome:{address or 'unknown'}"

    def _memory(self, address: str) -> Memory:
        memory = self._devices.get(address)
        if memory is None:
            if len(self._devices) >= MOST_DEVICES:
                del self._devices[next(iter(self._devices))]
                self._dump = None
            memory = self._devices[address] = Memory()
        return memory

    def _check(self, packet: Packet, block: bytes, memory: Memory, output: Output) -> bool:
        """Whether this is the packet that was told last.

        Refuses what an attacker could send, plain where encryption is agreed and recordings: raises RemoteProtocolError.
        """
        if packet.counter is None:
            if self._key:
                raise RemoteProtocolError(Reason.INTEGRITY, "downgrade: plain advertisement, and a bindkey is set", block)
            return False
        last = memory.counter
        if last is None or packet.counter > last:
            return False
        if packet.counter == last and packet.tag.hex() == memory.tag:
            return True
        detail = f"counter above {last} expected, got {packet.counter}"
        if self._accept_restart and packet.counter < RESTART_BELOW <= last:
            output.tolerated.append(Reject(Reason.INTEGRITY, f"counter restarted: {detail}", block))
            return False
        raise RemoteProtocolError(Reason.INTEGRITY, f"replay: {detail}", block)

    def _tell(self, frame: Frame, block: bytes, packet: Packet, memory: Memory, output: Output, *, presses: bool) -> None:
        device = output.device or self._device("")
        trust = Trust.AUTHENTICATED if packet.counter is not None else Trust.CLAIMED
        classes = 0
        for item in packet.objects:
            classes |= CLASSES[item.name]
        bodies: list[Any] = self._presses(packet.objects) if presses and classes & PRESS else []
        if classes & STATE:
            bodies += _changes(packet.objects, memory)
            self._dump = None
        if classes & NUMBER:
            bodies += _measurements(packet.objects, block, output)
        at_ms = None
        if classes & ABOUT:
            at_ms = self._about(frame, packet, memory, output, block=block, bodies=bodies)
        part = frame if frame.data is block else frame.part(block)
        output.events += [part.event(device, body, at_ms=at_ms, trust=trust) for body in bodies]

    def _about(self, frame: Frame, packet: Packet, memory: Memory, output: Output, *, block: bytes, bodies: list[Any]) -> int | None:
        """What the device says of itself goes to `bodies` where it is news; the device's own time, UTC milliseconds, is returned."""
        stamp = next((int(o.value) for o in packet.objects if o.name == "timestamp" and isinstance(o.value, int)), None)
        fields = _health(packet.objects, block, output)
        if stamp is not None and not bodies and not fields:
            fields = {"parameters": {"timestamp": str(stamp)}}
        now_s = frame.received.s
        if _is_news(fields, memory.health) or (fields and now_s - memory.health_s > HEALTH_S):
            memory.health, memory.health_s = _merged(memory.health, fields), now_s
            bodies.append(DeviceHealth(**fields, rssi_dbm=frame.advert.rssi_dbm if frame.advert else None))
        return None if stamp is None else stamp * 1000

    def _presses(self, objects: Iterable[Object]) -> list[Occurrence]:
        found = [o for o in objects if o.name in PRESS_NAMES]
        out = []
        for number, item in enumerate(found, 1):
            if item.value is None:
                continue
            detail = str(item.value)
            is_sos = item.name == "button" and detail in self._sos
            where = f"{item.name} {number}: " if len(found) > 1 else ""
            kind = OccurrenceKind.SOS if is_sos else OccurrenceKind.BUTTON
            out.append(Occurrence(kind=kind, state=State.PULSE, detail=where + detail))
        return out


def _changes(objects: Iterable[Object], memory: Memory) -> list[Occurrence]:
    """States that differ from the last report. A first report counts, except the end of an alarm that never began."""
    out = []
    numbers: dict[str, int] = {}
    for item in objects:
        row = STATES.get(item.name)
        if row is None:
            continue
        number = numbers[item.name] = numbers.get(item.name, 0) + 1
        key, is_on = f"{item.name} {number}", bool(item.value)
        before = memory.states.get(key)
        memory.states[key] = is_on
        if is_on == before or (before is None and not is_on and OCCURRENCES[row.kind].lane is Lane.ALARM):
            continue
        detail = row.detail if number == 1 else f"{row.detail or item.name} {number}"
        out.append(Occurrence(kind=row.kind, state=State.START if is_on else State.END, detail=detail))
    return out


def _measurements(objects: Iterable[Object], block: bytes, output: Output) -> list[Measurement]:
    found: list[tuple[Quantity, float]] = []
    for item in objects:
        row = NUMBERS.get(item.name)
        if row is None or not isinstance(item.value, int | float) or (row.zero_is_none and not item.value):
            continue
        value = item.value if row.factor == 1 else round(item.value * row.factor, 6)
        if in_range(row.quantity, value):
            found.append((row.quantity, value))
        else:
            output.rejects.append(Reject(Reason.RANGE, f"{row.quantity.value} out of range: {value}", block))
    if len(found) == 1:
        return [Measurement(quantity=found[0][0], value=found[0][1])]
    names = [quantity for quantity, _ in found]
    out = []
    for index, (quantity, value) in enumerate(found):
        several = names.count(quantity) > 1
        channel = str(names[: index + 1].count(quantity)) if several else None
        out.append(Measurement(quantity=quantity, value=value, channel=channel))
    return out


def _health(objects: Iterable[Object], block: bytes, output: Output) -> dict[str, Any]:
    """Fields of `DeviceHealth` in this advertisement."""
    fields: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    for item in objects:
        name, value = item.name, item.value
        if name == "battery" and isinstance(value, int):
            if value <= 100:
                fields["battery_percent"] = value
            else:
                output.rejects.append(Reject(Reason.RANGE, f"battery 0..100 expected, got {value}", block))
        elif name == "firmware":
            fields["firmware"] = str(value)
        elif name in FLAGS:
            fields[FLAGS[name]] = bool(value)
        elif name in PARAMETERS:
            parameters[name] = str(value).lower() if isinstance(value, bool) else str(value)
    if parameters:
        fields["parameters"] = parameters
    return fields


def _is_news(fields: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether anything differs from what is known; a device may spread its values over several advertisements."""
    old = known.get("parameters", {})
    return any(
        any(old.get(name) != text for name, text in value.items()) if key == "parameters" else known.get(key) != value
        for key, value in fields.items()
    )


def _merged(known: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    both = {**known, **fields}
    if "parameters" in fields:
        both["parameters"] = {**known.get("parameters", {}), **fields["parameters"]}
    return both


def _uuid(text: str) -> str:
    """128-bit form of a UUID as text."""
    return f"0000{text}-0000-1000-8000-00805f9b34fb" if len(text) == 4 else text


def _block(frame: Frame) -> tuple[str, bytes] | None:
    advert = frame.advert
    if advert is None:
        return bthome.UUID_V2, frame.data
    data = advert.service_data.get(bthome.UUID_V2)
    if data is not None:
        return bthome.UUID_V2, data
    for uuid, data in advert.service_data.items():
        if _uuid(uuid.lower()) in UUIDS:
            return _uuid(uuid.lower()), data
    return None


def _key(driver: str, text: str | None) -> bytes | None:
    if not text:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise OptionError(driver, [f"bindkey: 32 hex digits expected, got {len(text)} characters"])
    return key


DRIVER = Bthome
