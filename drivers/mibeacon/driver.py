"""MiBeacon: from advertisements to events, once each.

Like every broadcaster the device repeats itself, and BlueZ repeats it again: a packet is new by its 32-bit counter where it is
encrypted, else by its bytes or a pause. In doubt an alarm is told twice, never not at all.
"""

from __future__ import annotations

import math
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
from drivers.mibeacon import meaning
from drivers.mibeacon.meaning import Press, Reading
from protocols.ble import mibeacon
from protocols.ble.mibeacon import Object, Packet

REPEAT_S = 4.0
"""The same bytes again within this time are the same advertisement."""
REFRESH_S = 60.0
"""A sensor that repeats one plain payload without a pause reports its readings again after this time."""
RESTART_BELOW = 256
"""A counter below this (its extended part is 0), after a higher one, is a device that was reset."""
MOST_DEVICES = 64
"""Devices that one instance keeps apart; normally it is one."""

PLAIN_UUIDS = {
    "0000181d-0000-1000-8000-00805f9b34fb": 10,
    "0000181b-0000-1000-8000-00805f9b34fb": 13,
    "0000fd50-0000-1000-8000-00805f9b34fb": 9,
}
"""Scales and one plant sensor that broadcast formats of their own: UUID and length."""


class Memory(msgspec.Struct):
    """What is remembered of one device. Counter, tag and states are kept over a restart."""

    counter: int | None = None
    tag: str = ""
    states: dict[str, bool] = {}
    block: bytes = b""
    seen_s: float = -math.inf
    told_s: float = -math.inf
    health: dict[str, Any] = {}


class Kept(msgspec.Struct):
    """The part of `Memory` that outlives a restart."""

    counter: int | None
    tag: str
    states: dict[str, bool]


class MiBeacon:
    """One Xiaomi device."""

    info = DriverInfo(
        name="mibeacon",
        title="Xiaomi Bluetooth sensors, buttons, locks and scales",
        vendor="Xiaomi, Aqara, Qingping, Miaomiaoce, Linptech and others",
        models=("MiBeacon version 2 to 5", "Mi Smart Scale", "Mi Body Composition Scale"),
        transports=(Transport.BLE_ADVERT,),
        emits=(
            *dict.fromkeys(row.kind.value for row in meaning.STATES.values()),
            *dict.fromkeys(row.quantity.value for row in meaning.NUMBERS.values()),
            Quantity.BODY_TEMPERATURE.value,
            OccurrenceKind.BUTTON.value,
            OccurrenceKind.SOS.value,
            OccurrenceKind.BURGLARY.value,
            "health",
        ),
        options=(
            Option("bindkey", "str", None, "key, 32 hex digits (24 for version 2 and 3), as the vendor's cloud gave it", secret=True),
            Option("sos_button", "bool", False, "every press of a button is a call for help"),
            Option("sos_events", "list", [], "these presses are calls for help: press, double_press, long_press"),
            Option("counter_restart", "bool", True, "accept a counter that starts again below 256 (device reset)"),
        ),
        source="Xiaomi IoT documents, MiBeacon protocol; meaning of objects by xiaomi-ble",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        read = read_options(self.info, options)
        self._key = _key(self.info.name, read["bindkey"])
        self._all_sos = bool(read["sos_button"])
        self._sos = set(read["sos_events"])
        self._accept_restart = bool(read["counter_restart"])
        self._address = (device or "").removeprefix("mibeacon:").upper()
        self._devices: dict[str, Memory] = {}

    @classmethod
    def match(cls, frame: Frame) -> Match:
        """YES for service data of Xiaomi."""
        found = _block(frame) if frame.advert is not None else None
        return Match.NO if found is None else Match.YES

    def receive(self, frame: Frame) -> Output:
        """Events of one advertisement; nothing for a repetition."""
        found = _block(frame)
        if found is None:
            return Output(rejects=[Reject(Reason.NOT_OURS, "service data of UUID fe95 expected", frame.data)])
        uuid, block = found
        output = Output()
        address = frame.address or self._address
        memory = self._memory(address)
        now_s = frame.received.s
        repeated = block == memory.block and now_s - memory.seen_s <= REPEAT_S
        if repeated and now_s - memory.told_s <= REFRESH_S:
            memory.seen_s = now_s
            output.device = self._device(address)
            return output
        try:
            told = self._decode(frame, uuid, block, memory, output, presses=not repeated)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject())
            return output
        memory.block, memory.seen_s = block, now_s
        if told:
            memory.told_s = now_s
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A broadcaster hears nothing."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a MiBeacon device only broadcasts, it takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """Counters and states of every device seen."""
        kept = {address: Kept(m.counter, m.tag, m.states) for address, m in self._devices.items() if m.counter is not None or m.states}
        return msgspec.json.encode(kept)

    def load(self, state: bytes) -> None:
        """Take counters and states back."""
        try:
            kept = msgspec.json.decode(state, type=dict[str, Kept])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return
        self._devices = {a: Memory(counter=k.counter, tag=k.tag, states=k.states) for a, k in list(kept.items())[:MOST_DEVICES]}

    def _device(self, address: str) -> str:
        return f"mibeacon:{address or 'unknown'}"

    def _memory(self, address: str) -> Memory:
        memory = self._devices.get(address)
        if memory is None:
            if len(self._devices) >= MOST_DEVICES:
                del self._devices[next(iter(self._devices))]
            memory = self._devices[address] = Memory()
        return memory

    def _decode(self, frame: Frame, uuid: str, block: bytes, memory: Memory, output: Output, *, presses: bool) -> bool:
        """Whether events were told. Raises RemoteProtocolError."""
        address = frame.address or self._address
        trust = Trust.CLAIMED
        if uuid == mibeacon.UUID:
            packet = mibeacon.decode(block, address=address, key=self._key)
            address = address or packet.address or ""
            output.device = self._device(address)
            if not self._is_new(packet, block, memory, output):
                return False
            if packet.is_authenticated:
                trust = Trust.AUTHENTICATED
            reading = self._read(packet, block, address, output)
            memory.counter = packet.counter if packet.counter is not None else memory.counter
            memory.tag = packet.tag.hex() if packet.counter is not None else memory.tag
        else:
            if len(block) != PLAIN_UUIDS[uuid]:
                raise RemoteProtocolError(Reason.NOT_OURS, f"{PLAIN_UUIDS[uuid]} bytes expected, got {len(block)}", block)
            output.device = self._device(address)
            reading = meaning.read(uuid, block, address or "00:00:00:00:00:00")
        if reading is None:
            return False
        part = frame.part(block)
        for body in self._bodies(reading, block, memory, output, presses=presses):
            output.events.append(part.event(self._device(address), body, trust=trust))
        return True

    def _is_new(self, packet: Packet, block: bytes, memory: Memory, output: Output) -> bool:
        """False for the packet told last and for one without objects. Raises RemoteProtocolError for recordings and downgrades."""
        if not packet.objects and not packet.faults:
            return False
        if packet.counter is None:
            if self._key:
                raise RemoteProtocolError(Reason.INTEGRITY, "downgrade: plain advertisement, and a bindkey is set", block)
            return True
        last = memory.counter
        if last is None or packet.counter > last:
            return True
        if packet.counter == last:
            # One counter for two contents is seen where a button sends two kinds of press: the content is authenticated.
            return packet.tag.hex() != memory.tag
        detail = f"counter above {last} expected, got {packet.counter}"
        if self._accept_restart and packet.counter < RESTART_BELOW <= last:
            output.tolerated.append(Reject(Reason.INTEGRITY, f"counter restarted: {detail}", block))
            return True
        raise RemoteProtocolError(Reason.INTEGRITY, f"replay: {detail}", block)

    def _read(self, packet: Packet, block: bytes, address: str, output: Output) -> Reading | None:
        output.rejects += packet.faults
        if packet.product not in meaning.known_products():
            output.rejects.append(Reject(Reason.UNSUPPORTED, f"product {packet.product:04x}", block))
            return None
        known: list[Object] = []
        presses: list[Press] = []
        for item in packet.objects:
            error = meaning.lock_error(item.data) if item.id == meaning.LOCK_OBJECT else None
            if item.id not in meaning.known_objects():
                output.rejects.append(Reject(Reason.UNSUPPORTED, f"object id {item.id:04x}", block))
            elif item.id == meaning.SMOKE_OBJECT and item.data == meaning.SMOKE_FAULT:
                presses.append(Press("error", "smoke detector failure", {}))
            elif error is not None:
                presses.append(Press("error", error, {}))
                known.append(Object(item.id, item.data[:1] + meaning.INVALID_OPERATOR + item.data[5:]))
            else:
                known.append(item)
        if not known:
            return Reading("", {}, {}, presses) if presses else None
        mac = address or "00:00:00:00:00:00"
        plain = mibeacon.encode(known, product=packet.product, address=mac, frame_counter=packet.frame_counter, version=packet.version)
        reading = meaning.read(mibeacon.UUID, plain, mac)
        if reading is None or not (reading.numbers.keys() - meaning.IGNORED or reading.states or reading.presses):
            output.rejects.append(Reject(Reason.RANGE, "objects of a form that the product does not send", block))
            reading = reading or Reading("", {}, {}, [])
        return reading._replace(presses=reading.presses + presses)

    def _bodies(self, reading: Reading, block: bytes, memory: Memory, output: Output, *, presses: bool) -> list[Any]:
        bodies: list[Any] = []
        if presses:
            bodies += [self._press(press) for press in reading.presses if press.name not in ("lock", "fingerprint")]
        if presses and reading.numbers.get("lock_method") == meaning.DURESS:
            bodies.append(Occurrence(kind=OccurrenceKind.BURGLARY, detail="unlocked under duress"))
        bodies += _changes(reading, memory)
        bodies += _measurements(reading, block, output)
        fields = _health(reading)
        if any(memory.health.get(key) != value for key, value in fields.items()):
            memory.health = {**memory.health, **fields}
            bodies.append(DeviceHealth(**fields))
        return bodies

    def _press(self, press: Press) -> Occurrence:
        name, _, where = press.name.partition("_")
        if press.name == "motion":
            return Occurrence(kind=OccurrenceKind.MOTION, state=State.PULSE)
        if press.name == "error":
            kind = meaning.LOCK_ALARMS.get(press.event, OccurrenceKind.TAMPER)
            return Occurrence(kind=OccurrenceKind.FAULT if "failure" in press.event else kind, detail=press.event.replace("_", " "))
        parts = [where or (name if name != "button" else ""), press.event]
        detail = ": ".join(part for part in parts if part)
        detail += "".join(f" {value}" for value in press.properties.values())
        is_sos = name == "button" and (self._all_sos or press.event in self._sos)
        return Occurrence(kind=OccurrenceKind.SOS if is_sos else OccurrenceKind.BUTTON, detail=detail)


def _changes(reading: Reading, memory: Memory) -> list[Occurrence]:
    """States that differ from the last report. A first report counts, except the end of an alarm that never began."""
    out = []
    for name, is_on in reading.states.items():
        row = meaning.STATES.get(name)
        if row is None:
            continue
        before = memory.states.get(name)
        memory.states[name] = is_on
        if is_on != before and (is_on or before is not None or OCCURRENCES[row.kind].lane is not Lane.ALARM):
            out.append(Occurrence(kind=row.kind, state=State.START if is_on else State.END, detail=row.detail))
    return out


def _measurements(reading: Reading, block: bytes, output: Output) -> list[Measurement]:
    out = []
    profile = reading.numbers.get("profile_id")
    for name, value in reading.numbers.items():
        row = meaning.NUMBERS.get(name)
        if row is None or not isinstance(value, int | float):
            continue
        quantity = row.quantity
        if quantity is Quantity.TEMPERATURE and reading.model.startswith(meaning.THERMOMETERS):
            quantity = Quantity.BODY_TEMPERATURE
        scaled = round(value * row.factor, 4)
        if quantity is Quantity.WEIGHT and not scaled:
            continue
        if in_range(quantity, scaled):
            channel = str(profile) if profile is not None and name in meaning.PER_PERSON else None
            out.append(Measurement(quantity=quantity, value=scaled, channel=channel))
        else:
            output.rejects.append(Reject(Reason.RANGE, f"{quantity.value} out of range: {scaled}", block))
    return out


def _health(reading: Reading) -> dict[str, Any]:
    """Fields of `DeviceHealth` in this advertisement."""
    fields: dict[str, Any] = {}
    battery = reading.numbers.get("battery")
    if isinstance(battery, int | float) and 0 <= battery <= 100:
        fields["battery_percent"] = battery
    if "battery" in reading.states:
        fields["battery_low"] = reading.states["battery"]
    if "power" in reading.states:
        fields["external_power"] = reading.states["power"]
    parameters = {name: str(value) for name, value in reading.numbers.items() if name in meaning.PARAMETERS}
    parameters |= {name: str(is_on).lower() for name, is_on in reading.states.items() if name in meaning.PARAMETERS}
    parameters |= {f"{p.name}_event": p.event for p in reading.presses if p.name in ("lock", "fingerprint")}
    if parameters:
        fields["parameters"] = parameters
    return fields


def _block(frame: Frame) -> tuple[str, bytes] | None:
    if frame.advert is None:
        return mibeacon.UUID, frame.data
    for uuid, data in frame.advert.service_data.items():
        name = uuid.lower()
        name = f"0000{name}-0000-1000-8000-00805f9b34fb" if len(name) == 4 else name
        if name == mibeacon.UUID or name in PLAIN_UUIDS:
            return name, data
    return None


def _key(driver: str, text: str | None) -> bytes | None:
    if not text:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) not in (12, 16):
        raise OptionError(driver, [f"bindkey: 32 or 24 hex digits expected, got {len(text)} characters"])
    return key


DRIVER = MiBeacon
