"""Receiver for alarm panels: every message of the panel becomes events, then it is acknowledged.

What stands against forged and late messages, and what never costs an alarm:
- A stamp outside the window gets NAK with our time (the panel sets its clock and repeats). Its events are told all the same;
  only on an account with a key, where a recording could be played back, is a restore or housekeeping of such a message left out.
- A repetition of one message (same account, sequence and data) is acknowledged again and carries the `ref` of the first.
- An account with a key that speaks in clear is treated like one with a stale stamp.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from typing import Any

import msgspec

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Event,
    Frame,
    Instant,
    Lane,
    Occurrence,
    OccurrenceKind,
    Option,
    OptionError,
    Options,
    Output,
    Position,
    Reason,
    Reject,
    RemoteProtocolError,
    Send,
    State,
    TimeQuality,
    Transport,
    Trust,
    read_options,
)
from drivers.dc09.codes import Meaning, cid, sia
from drivers.events import lane_of
from protocols.building import contact_id
from protocols.building.sia_dc09 import (
    KEY_BYTES,
    LEAST_TEXT,
    Dc09Stream,
    Message,
    acknowledge,
    decode,
    decrypt,
    epoch_ms,
    is_answer,
    sia_events,
    split_datagram,
)

REPEAT_S = 60.0
"""Panels repeat after 20 s, three times; a later equal message is a new happening."""
MEMORY = 128
"""Messages that the repeat guard remembers, none for longer than REPEAT_S."""
STORED_AFTER_MS = 5 * 60 * 1000
"""A time of occurrence this much older than the message: the panel was offline."""
DAY_MS = 24 * 3600 * 1000

_K = OccurrenceKind
_EMITS = (
    _K.SOS, _K.MEDICAL, _K.FIRE, _K.SMOKE, _K.HEAT, _K.GAS, _K.CO_ALARM, _K.WATER_LEAK, _K.COLD, _K.BURGLARY, _K.TAMPER, _K.GENERAL_ALARM,
    _K.WELFARE_MISSED, _K.INACTIVITY, _K.POWER_CUT, _K.LOW_BATTERY, _K.OFFLINE, _K.NETWORK_LOST, _K.FAULT, _K.SHIELDED, _K.SUPERVISED,
    _K.DEVICE_RESET, _K.POWER_ON, _K.POWER_OFF, _K.DOOR_OPEN, _K.DOOR_LEFT_OPEN, _K.BUTTON, _K.SIREN, _K.ARMED, _K.TEST,
)  # fmt: skip
_XCOORD = re.compile(r"([XY])(\d{2,3})([EWNS])(\d{1,2}(?:\.\d+)?)\Z")


class Dc09:
    """One panel, or one connection or socket on which any number of panels report."""

    info = DriverInfo(
        name="dc09",
        title="SIA DC-09 alarm panel",
        vendor="any (Ajax, Hikvision, Dahua, Paradox, Texecom, ...)",
        models=("SIA-DCS", "ADM-CID", "NULL"),
        transports=(Transport.TCP, Transport.UDP),
        emits=(*(kind.value for kind in _EMITS), "position", "health"),
        options=(
            Option(
                "accounts", "list", (), "tables: account, key (16, 24 or 32 characters) or key_hex, device (name instead of the account)"
            ),
            Option("key", "str", "", "AES key of accounts without one of their own (characters or hex)", secret=True),
            Option("accept_unknown", "bool", True, "take messages of accounts that are not listed"),
            Option("check_time", "bool", True, "answer NAK to a stamp outside the window"),
            Option("seconds_old", "int", 40, "how old a stamp may be, s", low=0, high=86400),
            Option("seconds_ahead", "int", 20, "how far ahead a stamp may be, s", low=0, high=86400),
            Option("utc_offset_minutes", "int", 0, "offset of the panel's clock where it sends local time", low=-840, high=840),
            Option("tolerate_length", "bool", True, "take a wrong length field when the CRC is right"),
            Option("tolerate_crc", "bool", False, "take a wrong CRC when the grammar is right"),
            Option("text_encoding", "str", "cp1252", "of texts that are not UTF-8", choices=("cp1252", "gb18030")),
            Option("places", "table", {}, 'rooms by zone: "area/zone" or "zone" = "kitchen"'),
        ),
        source="ANSI/SIA DC-09-2013, DC-03, DC-05",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._options = values
        self._accounts, self._keys = _accounts(self.info.name, values["accounts"])
        self._default_keys = _key_candidates(values["key"], "")
        if self._default_keys is None:
            raise OptionError(self.info.name, ["key: 16, 24 or 32 characters or hex of as many bytes expected, got <secret>"])
        self._bare = device.removeprefix("dc09:") if device else None
        self._stream = Dc09Stream()
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._rows: OrderedDict[str, str] = OrderedDict()
        """`_seen` as JSON, row by row: the state is asked for after every read."""
        self._dumped: bytes | None = None

    def receive(self, frame: Frame) -> Output:
        """Events of every message that this read completes; ACK, NAK and DUH as acknowledgements."""
        output = Output()
        for found in split_datagram(frame.data) if frame.transport is Transport.UDP else self._stream.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
                continue
            try:
                self._message(frame.part(found), output)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(found))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A receiver of alarms sends nothing but answers."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "DC-09 has no commands to a panel")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """The repeat guard."""
        if self._dumped is None:
            self._dumped = f"[{','.join(self._rows.values())}]".encode()
        return self._dumped

    def load(self, state: bytes) -> None:
        """Take the repeat guard back; a damaged one is ignored."""
        try:
            rows = [(str(key), (str(ref), float(at_s))) for key, (ref, at_s) in json.loads(state)]
        except (ValueError, TypeError):
            return
        self._seen, self._rows = OrderedDict(), OrderedDict()
        for key, (ref, at_s) in rows[-MEMORY:]:
            self._remember(key, ref, at_s)

    def _remember(self, key: str, ref: str, at_s: float) -> None:
        self._seen[key] = (ref, at_s)
        self._rows[key] = json.dumps([key, [ref, at_s]])
        self._dumped = None
        self._seen.move_to_end(key)
        self._rows.move_to_end(key)
        while len(self._seen) > MEMORY or at_s - next(iter(self._seen.values()))[1] > REPEAT_S:
            self._seen.popitem(last=False)
            self._rows.popitem(last=False)

    def _message(self, frame: Frame, output: Output) -> None:
        message = decode(frame.data, self._options["text_encoding"])
        if not self._intact(message, frame, output):
            return
        if is_answer(message):
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"an answer ({message.token}) sent to a receiver")
        keys = self._keys.get(message.account) or self._default_keys or ()
        if not self._options["accept_unknown"] and message.account not in self._accounts:
            self._answer(message, "NAK", frame, output)
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"account {message.account or 'none'} is not listed")
        used: bytes | None = None
        if message.encrypted:
            message, used = self._open(message, keys, frame, output)
        name = self._accounts.get(message.account) or message.account or self._bare or "unknown"
        output.device = f"dc09:{name}"
        proven = self._proven(message, frame, keyed=bool(keys), output=output)
        try:
            self._events(message, frame, output, proven=proven, keyed=bool(keys))
        except RemoteProtocolError:
            self._answer(message, "DUH", frame, output, used)
            raise
        self._answer(message, "ACK" if proven else "NAK", frame, output, used)

    def _intact(self, message: Message, frame: Frame, output: Output) -> bool:
        """Whether CRC and length are right, or wrong in a way that the options allow. A broken message is not answered."""
        if not message.crc_ok:
            fault = Reject(Reason.INTEGRITY, "CRC is wrong", frame.data[:128])
            (output.tolerated if self._options["tolerate_crc"] else output.rejects).append(fault)
            return bool(self._options["tolerate_crc"])
        if not message.length_ok:
            detail = f"length {message.claimed_bytes} claimed, {message.text_bytes} came"
            fault = Reject(Reason.INTEGRITY, detail, frame.data[:128])
            fine = self._options["tolerate_length"] and message.claimed_bytes >= LEAST_TEXT
            (output.tolerated if fine else output.rejects).append(fault)
            return bool(fine)
        return True

    def _open(self, message: Message, keys: tuple[bytes, ...], frame: Frame, output: Output) -> tuple[Message, bytes]:
        for key in keys:
            try:
                return decrypt(message, key, self._options["text_encoding"]), key
            except RemoteProtocolError:
                continue
        # NAK, not DUH: the panel keeps the message and reports that it cannot deliver.
        self._answer(message, "NAK", frame, output)
        detail = "no key of the account decrypts this" if keys else f"no key for account {message.account or 'none'}"
        raise RemoteProtocolError(Reason.INTEGRITY if keys else Reason.UNSUPPORTED, detail)

    def _proven(self, message: Message, frame: Frame, *, keyed: bool, output: Output) -> bool:
        """Whether the stamp is inside the window and an account with a key used it."""
        fault = ""
        if keyed and not message.encrypted:
            fault = "account with a key sent in clear"
        elif self._options["check_time"]:
            at_ms = self._utc(message.at_ms)
            late_s = 0.0 if at_ms is None else (frame.received.ms - at_ms) / 1000
            if message.encrypted and at_ms is None:
                fault = "encrypted message without time"
            elif late_s > self._options["seconds_old"] or -late_s > self._options["seconds_ahead"] + 1:
                fault = f"stamp is {late_s:+.0f} s old, window {self._options['seconds_old']}/{self._options['seconds_ahead']} s"
        if fault:
            output.tolerated.append(Reject(Reason.RANGE, fault, frame.data[:128]))
        return not fault

    def _utc(self, at_ms: int | None) -> int | None:
        return None if at_ms is None else at_ms - int(self._options["utc_offset_minutes"]) * 60_000

    def _answer(self, message: Message, token: str, frame: Frame, output: Output, key: bytes | None = None) -> None:
        output.acks.append(Send(acknowledge(message, token, frame.received.ms, key if token == "ACK" else None)))  # noqa: S105  # a message name

    def _events(self, message: Message, frame: Frame, output: Output, *, proven: bool, keyed: bool) -> None:
        bodies = self._bodies(message)
        at_ms, stored = self._time(message)
        ref = self._ref(message, frame, proven=proven)
        trust = Trust.AUTHENTICATED if message.encrypted and proven else Trust.CLAIMED
        for body in bodies:
            if keyed and not proven and not _alarming(body):
                continue
            if stored and isinstance(body, Occurrence | Position):
                body = msgspec.structs.replace(body, stored=True)  # noqa: PLW2901  # the same body, marked
            event = frame.event(output.device or "dc09:unknown", body, at_ms=at_ms, ref=ref, trust=trust)
            output.events.append(_at_receipt(event, frame.received) if not proven and not stored else event)

    def _bodies(self, message: Message) -> list[Body]:
        if message.token == "NULL":  # noqa: S105  # a message name, no password
            return [DeviceHealth(online=True)]
        found: list[tuple[Meaning, str, str]] = []
        if message.token == "ADM-CID":  # noqa: S105  # as above
            event = contact_id.decode(message.data)
            found.append((cid(event), self._place(event.partition.strip("0") and event.partition, event.zone), event.text))
        elif message.token == "SIA-DCS":  # noqa: S105  # as above
            found += [(sia(e.code), self._place(e.modifier("ri"), e.point), e.text) for e in sia_events(message.data)]
        else:
            raise RemoteProtocolError(Reason.UNSUPPORTED, f"SIA-DCS, ADM-CID or NULL expected, got {message.token}")
        notes = " ".join(block[1:].strip() for block in message.extended if block[:1] in ("I", "V"))
        where = " ".join(block[1:].strip() for block in message.extended if block[:1] in ("L", "R", "O", "S"))
        bodies: list[Body] = []
        for meaning, place, text in found:
            detail = "; ".join(filter(None, (meaning.text, text, notes)))
            if meaning.kind is None:
                bodies.append(DeviceHealth(parameters={"event": f"{detail} ({place})" if place else detail}))
            else:
                bodies.append(Occurrence(kind=meaning.kind, state=meaning.state, place=where or place or None, detail=detail))
        position = _position(message.extended)
        return bodies + [position] if position else bodies

    def _place(self, area: str, point: str) -> str:
        full = "/".join(filter(None, (area, point)))
        places: dict[str, Any] = self._options["places"]
        return str(places.get(full) or places.get(point) or full)

    def _time(self, message: Message) -> tuple[int | None, bool]:
        """When it happened (UTC ms), and whether the panel kept the message before it sent it."""
        at_ms = self._utc(message.at_ms)
        for block in message.extended:
            if block.startswith("H"):
                happened = self._utc(epoch_ms(block[1:].strip()))
                if happened is not None:
                    return happened, at_ms is not None and at_ms - happened > STORED_AFTER_MS
        return at_ms, False

    def _ref(self, message: Message, frame: Frame, *, proven: bool) -> str | None:
        """The message's own number, equal for a repetition and different for the next round of the sequence."""
        if message.token == "NULL":  # noqa: S105  # a message name, no password
            return None
        base = f"{message.account}:{message.sequence}:{message.data}"
        key = base if message.at_ms is None or not proven else f"{base}:{message.at_ms}"
        known = self._seen.get(key) or self._seen.get(base)
        if known and 0 <= frame.received.s - known[1] <= REPEAT_S:
            ref = known[0]
        else:
            ref = f"{message.sequence}:{message.at_ms or frame.received.ms}:{message.account}"
        self._remember(key, ref, frame.received.s)
        return ref


def _alarming(body: Body) -> bool:
    return isinstance(body, Position) or (isinstance(body, Occurrence) and body.state is not State.END and lane_of(body) is Lane.ALARM)


def _at_receipt(event: Event, received: Instant) -> Event:
    """A clock that is a day off tells nothing about when it happened."""
    if abs(event.at_ms - received.ms) <= DAY_MS:
        return event
    return msgspec.structs.replace(event, at_ms=received.ms, time_quality=TimeQuality.SUSPECT)


def _position(extended: tuple[str, ...]) -> Position | None:
    """Latitude `Y49N06.6667` and longitude `X006E07.7778`: degrees, hemisphere, minutes."""
    found: dict[str, float] = {}
    for block in extended:
        match = _XCOORD.match(block.strip())
        if match:
            axis, degrees, side, minutes = match.groups()
            value = int(degrees) + float(minutes) / 60
            found[axis] = -value if side in "WS" else value
    lat, lon = found.get("Y"), found.get("X")
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180) or (lat, lon) == (0, 0):
        return None
    return Position(lat=round(lat, 7), lon=round(lon, 7))


def _accounts(driver: str, rows: Any) -> tuple[dict[str, str], dict[str, tuple[bytes, ...]]]:
    """Names and keys by account. Raises OptionError with every fault."""
    names: dict[str, str] = {}
    keys: dict[str, tuple[bytes, ...]] = {}
    faults = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("account"), str) or not row["account"]:
            faults.append("accounts: tables with account expected")
            continue
        account = row["account"].upper()
        names[account] = str(row.get("device") or account)
        found = _key_candidates(str(row.get("key") or ""), str(row.get("key_hex") or ""))
        if found is None:
            faults.append(f"accounts.{account}: key of 16, 24 or 32 characters or hex of as many bytes expected, got <secret>")
        elif found:
            keys[account] = found
    if faults:
        raise OptionError(driver, faults)
    return names, keys


def _key_candidates(text: str, digits: str) -> tuple[bytes, ...] | None:
    """Keys that the settings may mean: 32 hex digits are a 256-bit text to some panels and a 128-bit number to others."""
    found = []
    if len(text) in KEY_BYTES and text.isascii():
        found.append(text.encode())
    for source in filter(None, (text, digits)):
        try:
            number = bytes.fromhex(source)
        except ValueError:
            continue
        if len(number) in KEY_BYTES:
            found.append(number)
    return tuple(found) if found or not (text or digits) else None


DRIVER = Dc09
