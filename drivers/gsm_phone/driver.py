"""A modem as a device: calls, keys and messages in; messages and calls out; supervision of signal, network and card.

The driver talks to the modem one command at a time. Messages pushed by the modem are acknowledged (AT+CNMA, or deleted from the
card) only after they are committed: such a command stands in `acks`.
"""

from __future__ import annotations

import json
from typing import Any

from drivers.api import (
    Body,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
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
    ServiceRequest,
    State,
    Transport,
    Verb,
    read_options,
)
from drivers.gsm_phone.book import CARE, CARE_ITEM, DEFAULT_PATTERNS, SOS, Known, Pattern, found_in, normalised, read_numbers, read_patterns
from drivers.gsm_phone.channel import SEND_S, Channel, Step
from drivers.gsm_phone.inbox import Inbox, Received
from drivers.gsm_phone.path import CARD, DENIED, LOW, MONEY, SmsPath, operator_says
from protocols.errors import LocalProtocolError
from protocols.serial import at_modem, sms_pdu

RING_GAP_S = 10.0
"""Rings come every 4 to 6 s; a longer silence is a new call."""
NAMELESS_S = 3.0
"""A ring without +CLIP for so long is a call without number."""
SILENT_STEPS = 3
_K = OccurrenceKind
_SETTINGS = ("AT", "ATE0", "AT+CMEE=1", "AT+CPIN?", "AT+CLIP=1", "AT+CRC=1", "AT+CREG=2", "AT+CSMS=1", "AT+CMGF=0")
_TONES = {"simcom": ("AT+DDET=1",), "quectel": ("AT+QTONEDET=1",), "huawei": (), "auto": ("AT+DDET=1", "AT+QTONEDET=1"), "none": ()}
_SIM_ERRORS = {10: "not inserted", 11: "PIN required", 12: "PUK required", 13: "failure", 15: "wrong", 16: "incorrect password"}
_POLLS = ("AT+CSQ", "AT+CREG?", "AT+CPIN?")
_QUERIES = {"signal": "AT+CSQ", "registration": "AT+CREG?", "sim": "AT+CPIN?", "calls": "AT+CLCC", "imei": "AT+CGSN", "model": "AT+CGMM"}


class GsmPhone:
    """One modem and everybody who calls it."""

    info = DriverInfo(
        name="gsm_phone",
        title="GSM modem: one-key phones, SMS, phone menu",
        vendor="SIMCom, Quectel, Huawei and others",
        models=("SIM800", "A7670", "EC20", "E3372"),
        transports=(Transport.SERIAL,),
        emits=(
            *(k.value for k in (
                _K.SOS, _K.FALL, _K.GAS, _K.FIRE, _K.SMOKE, _K.WATER_LEAK, _K.POWER_CUT, _K.LOW_BATTERY, _K.INCOMING_CALL, _K.CALL_ENDED,
                _K.MESSAGE_RECEIVED, _K.BUTTON, _K.NETWORK_LOST, _K.SIM_FAULT, _K.DEVICE_RESET, _K.FAULT,
            )),
            "service_request", "health", "command_result",
        ),
        commands=(Verb.SEND_SMS, Verb.DIAL, Verb.CALL_BACK, Verb.CONFIGURE, Verb.QUERY),
        options=(
            Option("numbers", "list", (), "tables: number, device, key (sos, care or a service item)"),
            Option("menu", "table", {}, 'service items by key: "1" = "meal"'),
            Option("patterns", "list", DEFAULT_PATTERNS, "tables: match (words separated by |) and kind or item, for texts"),
            Option("country", "str", "86", "country code of numbers without one"),
            Option("answer", "bool", False, "answer calls (for the menu)"),
            Option("dtmf", "str", "auto", "dialect of the key detection", choices=tuple(_TONES)),
            Option("messages", "str", "direct", "direct: pushed; stored: read from the card", choices=("direct", "stored")),
            Option("poll_s", "int", 60, "interval of signal and network supervision, s", low=10, high=3600),
            Option("pin", "str", "", "PIN of the card, tried once", secret=True),
        ),
        source="3GPP TS 27.005, 27.007, 23.040; SIMCom, Quectel and Huawei AT manuals",
        bauds=(115_200, 9600),
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        faults: list[str] = []
        self._options = values
        self._book = read_numbers(values["numbers"], values["country"], faults)
        self._patterns = read_patterns(values["patterns"], faults)
        if faults:
            raise OptionError(self.info.name, faults)
        self._device = f"gsm_phone:{(device or 'modem').removeprefix('gsm_phone:')}"
        self._stream = at_modem.ModemStream()
        self._channel = Channel()
        self._inbox = Inbox()
        self._owed: list[Step] = []
        self._head: at_modem.MessageHead | None = None
        self._path = SmsPath()
        self._begun = False
        self._confirms = True
        self._pin_tried = False
        self._is_denied = False
        self._silent = 0
        self._reference = 0
        self._poll_s = 0.0
        self._caller: str | None = None
        self._ring_s: float | None = None
        self._nameless_s: float | None = None

    # --- the three methods

    def receive(self, frame: Frame) -> Output:
        """Reports of the modem as events; the next command, when it has answered."""
        # The first `wake` starts the modem; what it says before that is heard all the same.
        output, now = Output(device=self._device), frame.received
        for found in self._stream.receive(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            elif isinstance(found, at_modem.Prompt):
                self._prompt(output)
            else:
                self._line(found, frame, output)
        return self._close(output, now)

    def command(self, command: Command, now: Instant) -> Output:
        """Queues messages and calls; the result comes when the network has taken them."""
        output = Output()
        if command.verb not in self.info.commands:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"a modem cannot {command.verb.value}")])
        self._begin(now)
        try:
            step = self._step_for(command)
        except (LocalProtocolError, ValueError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        if not self._channel.push(step):
            return Output(events=[command.result(CommandStatus.FAILED, now, "too many commands wait for the modem")])
        self._close(output, now)
        if self._channel.current is not step:
            output.events.append(command.result(CommandStatus.ACCEPTED, now))
        return output

    def wake(self, now: Instant) -> Output:
        """Starts the modem, repeats what it did not answer, polls, gives out what waits."""
        output = Output(device=self._device)
        self._begin(now)
        frame = Frame(data=b"", received=now, transport=Transport.SERIAL)
        if self._channel.current is not None and now.s >= self._channel.due_s:
            self._late(now, output)
        if self._nameless_s is not None and now.s >= self._nameless_s:
            self._calling(None, frame, output)
        for received in self._inbox.overdue(now.s):
            self._message(received, frame, output)
        if now.s >= self._poll_s:
            self._poll_s = now.s + self._options["poll_s"]
            if not self._channel.waiting and self._channel.current is None:
                for text in _POLLS:
                    self._channel.push(Step(text, "poll"))
        return self._close(output, now)

    def dump(self) -> bytes:
        """Parts of messages (the network keeps no second copy) and the conditions that have begun."""
        return json.dumps({"inbox": self._inbox.state(), "active": self._path.state(), "reference": self._reference}).encode()

    def load(self, state: bytes) -> None:
        """Take them back; a damaged state is ignored."""
        try:
            found = json.loads(state)
            inbox = Inbox()
            inbox.restore(found["inbox"])
            path = SmsPath()
            path.restore(found["active"])
            reference = int(found["reference"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        self._inbox, self._path, self._reference = inbox, path, reference

    # --- the modem

    def _begin(self, now: Instant, kept: list[Step] | None = None) -> None:
        """Queue every setting, once or after a restart of the modem."""
        if self._begun:
            return
        self._begun = True
        self._silent = 0
        self._poll_s = now.s + self._options["poll_s"]
        direct = self._options["messages"] == "direct"
        push = "AT+CNMI=2,2,0,1,0" if direct else "AT+CNMI=2,1,0,1,0"
        for text in (*_SETTINGS, push, *_TONES[self._options["dtmf"]][:1], *_POLLS[:2], "AT+CMGL=4"):
            job = "phase" if text == "AT+CSMS=1" else "tone" if "DET" in text else "setting"
            self._channel.push(Step(text, job, SEND_S if text == "AT+CMGL=4" else 10.0))
        for step in kept or []:
            self._channel.push(step)

    def _close(self, output: Output, now: Instant) -> Output:
        """Start what may start; say when to be woken."""
        if self._channel.current is None and self._owed:
            step = self._owed.pop(0)
            self._channel.waiting.appendleft(step)
        step_or_none = self._channel.start(now.s)
        if step_or_none is not None:
            (output.acks if step_or_none.acknowledges else output.replies).append(Send(step_or_none.wire))
        moments = [self._channel.wake_s, self._inbox.due_s, self._nameless_s, self._poll_s]
        output.wake_s = min((s for s in moments if s is not None), default=None)
        return output

    def _late(self, now: Instant, output: Output) -> None:
        """No answer in time."""
        step = self._channel.finish()
        self._silent += 1
        if step is not None and step.pdus:
            output.replies.append(Send(at_modem.ESCAPE))  # leave the prompt, if we are in it
        if step is not None and step.command is not None and not self._channel.again(step, now.s):
            output.events.append(step.command.result(CommandStatus.FAILED, now, "no answer of the modem"))
        if self._silent < SILENT_STEPS:
            return
        frame = Frame(data=b"", received=now, transport=Transport.SERIAL)
        self._condition(_K.FAULT, "the modem does not answer", frame, output)
        kept = self._channel.restart()
        self._begun = False
        self._begin(now, kept)
        self._channel.waiting[0].not_before_s = now.s + 10.0

    def _prompt(self, output: Output) -> None:
        step = self._channel.current
        if step is None or not step.pdus:
            output.replies.append(Send(at_modem.ESCAPE))
            return
        output.replies.append(Send(at_modem.message_command(*step.pdus[0])[1]))

    def _line(self, text: str, frame: Frame, output: Output) -> None:
        part = frame.part(text.encode())
        if self._silent:
            self._silent = 0
            self._cleared(_K.FAULT, part, output)
        if self._head is not None and self._second_line(text, frame, output):
            return
        report = at_modem.parse(text)
        match report:
            case at_modem.Final():
                self._final(report, part, output)
            case at_modem.Ring():
                self._ring(part)
            case at_modem.Caller():
                self._calling(report.number, part, output)
            case at_modem.CallEnded():
                self._ended(report.reason, part, output)
            case at_modem.Dtmf():
                self._key(report, part, output)
            case at_modem.MessageStored():
                self._channel.push(Step(f"AT+CMGR={report.slot}", "read", slot=report.slot))
            case at_modem.MessageHead():
                self._head = report
            case at_modem.Registration():
                self._registered(report, part, output)
            case at_modem.Signal():
                percent = None if report.rssi_dbm is None else round(min(max((report.rssi_dbm + 113) / 62 * 100, 0), 100))
                if percent is not None:
                    self._say(part, output, DeviceHealth(signal=percent, rssi_dbm=report.rssi_dbm))
            case at_modem.Sim():
                self._sim(report.state, part, output)
            case at_modem.Call():
                self._note(f"call {report.id} {report.state} {report.number or 'withheld'}")
                if report.incoming and report.state in ("incoming", "waiting"):
                    self._calling(report.number, part, output)
            case at_modem.Sent():
                self._note(f"reference {report.reference}")
            case at_modem.Started():
                self._restarted(report.text, part, output)
            case at_modem.Text():
                if self._channel.current is None:
                    output.rejects.append(Reject(Reason.UNSUPPORTED, "report that we do not know", part.data[:128]))
                self._note(report.text)

    def _note(self, text: str) -> None:
        """A line of an answer, kept for the result of a command that asked."""
        step = self._channel.current
        if step is not None and step.command is not None and len(step.notes) < 16:
            step.notes.append(text)

    def _final(self, final: at_modem.Final, frame: Frame, output: Output) -> None:
        step = self._channel.finish()
        if final.error == "cme" and final.code in _SIM_ERRORS:
            self._condition(_K.SIM_FAULT, f"SIM {_SIM_ERRORS[final.code]}", frame, output, CARD)
        if step is None:
            return
        now, failed = frame.received, bool(final.error)
        if step.job == "phase":
            # A modem that does not know phase 2+ wants no confirmation of pushed messages.
            self._confirms = not failed
        elif step.job == "tone" and failed and len(_TONES[self._options["dtmf"]]) > 1 and step.text == _TONES["auto"][0]:
            self._channel.waiting.appendleft(Step(_TONES["auto"][1], "tone"))
        elif step.command is not None:
            self._command_done(step, final, now, output)

    def _command_done(self, step: Step, final: at_modem.Final, now: Instant, output: Output) -> None:
        assert step.command is not None
        if final.error:
            reason = f"{final.error} error {final.text}".strip()
            if step.pdus and self._channel.again(step, now.s):
                return
            output.events.append(step.command.result(CommandStatus.FAILED, now, reason))
            return
        if len(step.pdus) > 1:
            step.pdus.pop(0)
            step.tries = 0
            self._channel.waiting.appendleft(step)
            return
        output.events.append(step.command.result(CommandStatus.DONE, now, "; ".join(step.notes) or None))

    def _restarted(self, text: str, frame: Frame, output: Output) -> None:
        """Every setting is lost: begin again, keep what was asked for."""
        self._say(frame, output, Occurrence(kind=_K.DEVICE_RESET, detail=f"modem: {text}"))
        kept = self._channel.restart()
        self._owed.clear()
        self._begun = False
        self._pin_tried = False
        self._begin(frame.received, kept)

    def _registered(self, report: at_modem.Registration, frame: Frame, output: Output) -> None:
        if report.domain != "CREG":
            return
        self._note(f"registration {report.state}")
        if report.is_registered:
            # A network that takes the card again knows of its money, whatever the operator has written before.
            self._cleared(_K.NETWORK_LOST, frame, output)
            self._cleared(_K.SIM_FAULT, frame, output, DENIED, *((MONEY,) if self._is_denied else ()))
            self._is_denied = False
            return
        self._condition(_K.NETWORK_LOST, f"registration: {report.state.replace('_', ' ')}", frame, output)
        if report.state == "denied":
            self._is_denied = True
            self._condition(_K.SIM_FAULT, "the network denies the card", frame, output, DENIED)

    def _sim(self, state: str, frame: Frame, output: Output) -> None:
        self._note(f"SIM {state}")
        if state == "READY":
            self._cleared(_K.SIM_FAULT, frame, output, CARD)
        elif state == "SIM PIN" and self._options["pin"].isdecimal() and not self._pin_tried:
            self._pin_tried = True  # once: three wrong ones lock the card
            self._channel.waiting.appendleft(Step(f'AT+CPIN="{self._options["pin"]}"'))
        else:
            self._condition(_K.SIM_FAULT, f"SIM: {state}", frame, output, CARD)

    def _condition(self, kind: OccurrenceKind, detail: str, frame: Frame, output: Output, reason: str = "") -> None:
        self._tell(self._path.begins(kind, detail, reason), frame, output)

    def _cleared(self, kind: OccurrenceKind, frame: Frame, output: Output, *reasons: str) -> None:
        self._tell(self._path.ends(kind, *reasons), frame, output)

    def _tell(self, body: Body | None, frame: Frame, output: Output) -> None:
        """A condition, and what it means for the messages that should go out."""
        if body is not None:
            self._say(frame, output, body)
        path = self._path.changed()
        if path is not None:
            self._say(frame, output, DeviceHealth(parameters={"sms_path": path}))

    def _say(self, frame: Frame, output: Output, body: Body, device: str | None = None, at_ms: int | None = None) -> None:
        output.events.append(frame.event(device or self._device, body, at_ms=at_ms))

    # --- calls

    def _ring(self, frame: Frame) -> None:
        now_s = frame.received.s
        if self._ring_s is None or now_s - self._ring_s > RING_GAP_S:
            self._caller = None
            self._nameless_s = now_s + NAMELESS_S
        self._ring_s = now_s

    def _calling(self, number: str | None, frame: Frame, output: Output) -> None:
        """The caller of a ring; told once for each call."""
        now_s = frame.received.s
        person = normalised(number, self._options["country"]) if number else "withheld"
        fresh = self._ring_s is None or now_s - self._ring_s > RING_GAP_S or self._caller != person
        self._ring_s, self._nameless_s = now_s, None
        if not fresh:
            return
        self._caller = person
        known = self._book.get(person)
        device = self._device_of(known)
        if known is not None and known.meaning == SOS:
            self._say(frame, output, Occurrence(kind=_K.SOS, state=State.START, person=person, detail="call of a one-key phone"), device)
        elif known is not None:
            item = CARE_ITEM if known.meaning == CARE else known.meaning
            self._say(frame, output, ServiceRequest(item=item, number=person), device)
        self._say(frame, output, Occurrence(kind=_K.INCOMING_CALL, person=person, detail=None if known else "unknown caller"), device)
        if self._options["answer"]:
            self._channel.waiting.appendleft(Step("ATA", timeout_s=SEND_S))

    def _device_of(self, known: Known | None) -> str:
        if known is None or known.device is None:
            return self._device
        return known.device if ":" in known.device else f"gsm_phone:{known.device}"

    def _ended(self, reason: str, frame: Frame, output: Output) -> None:
        step = self._channel.current
        if step is not None and (step.text.startswith("ATD") or step.text == "ATA"):
            self._channel.finish()
            if step.command is not None:
                output.events.append(step.command.result(CommandStatus.FAILED, frame.received, reason.replace("_", " ")))
                return
        known = self._book.get(self._caller or "")
        body = Occurrence(kind=_K.CALL_ENDED, person=self._caller, detail=reason.replace("_", " "))
        self._say(frame, output, body, self._device_of(known))
        self._caller = self._ring_s = self._nameless_s = None

    def _key(self, report: at_modem.Dtmf, frame: Frame, output: Output) -> None:
        item = self._options["menu"].get(report.key)
        device = self._device_of(self._book.get(self._caller or ""))
        if item is None:
            self._say(frame, output, Occurrence(kind=_K.BUTTON, person=self._caller, detail=f"key {report.key}"), device)
        elif item == SOS:
            self._say(frame, output, Occurrence(kind=_K.SOS, state=State.START, person=self._caller, detail=f"key {report.key}"), device)
        else:
            self._say(frame, output, ServiceRequest(item=str(item), detail=f"key {report.key}", number=self._caller), device)

    # --- messages

    def _second_line(self, text: str, frame: Frame, output: Output) -> bool:
        """The PDU of a message; False when the line is something else and is still to be read."""
        head, self._head = self._head, None
        assert head is not None
        raw = b"" if len(text) % 2 else _hex(text)
        if not raw:
            if isinstance(at_modem.parse(text), at_modem.Started | at_modem.Final | at_modem.Text):
                output.rejects.append(Reject(Reason.TRUNCATED, f"PDU of +{head.source} expected", text.encode()[:128]))
                return False
            self._head = head  # a report came between the two lines
            return False
        part = frame.part(f"+{head.source}\n{text}".encode())
        if len(raw) - 1 - raw[0] != head.length:
            detail = f"PDU of {head.length} octets expected, got {len(raw) - 1 - raw[0]}"
            output.rejects.append(Reject(Reason.TRUNCATED, detail, text.encode()[:128]))
            if len(raw) - 1 - raw[0] < head.length:
                return True  # not acknowledged: the network or the card still has it
        try:
            self._pdu(sms_pdu.decode(raw), part, output)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject())
            self._say(part, output, Occurrence(kind=_K.MESSAGE_RECEIVED, detail="unreadable message"))
        self._owe(head)
        return True

    def _owe(self, head: at_modem.MessageHead) -> None:
        current = self._channel.current
        if head.source in ("CMT", "CDS"):
            if self._confirms and self._options["messages"] == "direct":
                self._owed.append(Step("AT+CNMA", "acknowledge", acknowledges=True))
            return
        slot = head.slot if head.slot is not None else current.slot if current is not None else None
        if slot is not None:
            self._owed.append(Step(f"AT+CMGD={slot}", "acknowledge", acknowledges=True))

    def _pdu(self, message: sms_pdu.Deliver | sms_pdu.Submit | sms_pdu.StatusReport, frame: Frame, output: Output) -> None:
        if isinstance(message, sms_pdu.StatusReport):
            word = "delivered" if message.status < 32 else "still trying" if message.status < 64 else "not delivered"
            self._say(frame, output, DeviceHealth(parameters={f"message {message.reference} to {message.number}": word}))
        elif isinstance(message, sms_pdu.Deliver):
            for received in self._inbox.add(message, frame.received.s):
                self._message(received, frame, output)
            if message.part is not None:
                self._part(message, frame, output)

    def _part(self, message: sms_pdu.Deliver, frame: Frame, output: Output) -> None:
        """An alarm in one part of a chain does not wait for the others."""
        person = self._person(message.number)
        for pattern in found_in(message.text, self._patterns):
            if self._inbox.tell(message, pattern.name):
                body = _meant(pattern, message.text, person)
                self._say(frame, output, body, self._device_of(self._book.get(person)), message.at_ms)

    def _person(self, number: str) -> str:
        """Names of senders stay as they are."""
        return normalised(number, self._options["country"]) if number[-4:].isdecimal() else number

    def _message(self, received: Received, frame: Frame, output: Output) -> None:
        person = self._person(received.number)
        known = self._book.get(person)
        device = self._device_of(known)
        for pattern in found_in(received.text, self._patterns):
            if pattern.name not in received.told:
                self._say(frame, output, _meant(pattern, received.text, person), device, received.at_ms)
        lost = f" (parts {', '.join(map(str, received.missing))} missing)" if received.missing else ""
        self._money(received, frame, output)
        body = Occurrence(kind=_K.MESSAGE_RECEIVED, person=person, detail=received.text + lost)
        self._say(frame, output, body, device, received.at_ms)

    def _money(self, received: Received, frame: Frame, output: Output) -> None:
        """The operator says that the card has no money, little, or some again."""
        said = operator_says(received.number, received.text)
        if said == "":
            self._cleared(_K.SIM_FAULT, frame, output, MONEY, LOW)
        elif said is not None:
            word = "no money on the card" if said == MONEY else "little money on the card"
            self._condition(_K.SIM_FAULT, f"{word}: {received.text}", frame, output, said)

    # --- commands

    def _step_for(self, command: Command) -> Step:
        """Raises LocalProtocolError or ValueError with what is wrong."""
        args: dict[str, Any] = command.args
        if command.verb is Verb.SEND_SMS:
            self._reference = self._reference % 255 + 1
            parts = sms_pdu.segments(_dialled(args.get("number")), str(args.get("text", "")), ref=self._reference)
            return Step("AT+CMGS", "send", SEND_S, [sms_pdu.encode(part) for part in parts], command)
        if command.verb in (Verb.DIAL, Verb.CALL_BACK):
            return Step(f"ATD{_dialled(args.get('number'))};", "dial", SEND_S, command=command)
        if command.verb is Verb.QUERY:
            name = str(args.get("name") or "signal")
            if name not in _QUERIES:
                raise ValueError(f"query: one of {', '.join(_QUERIES)} expected, got {name!r}")
            return Step(_QUERIES[name], "query", command=command)
        name, value = str(args.get("name", "")), str(args.get("value", ""))
        text = {("call", "hang_up"): "ATH", ("call", "answer"): "ATA"}.get((name, value))
        if text is None:
            raise ValueError(f"configure: call hang_up or call answer expected, got {name} {value}")
        return Step(text, "call", SEND_S, command=command)


def _meant(pattern: Pattern, text: str, person: str) -> Body:
    if pattern.kind is not None:
        return Occurrence(kind=pattern.kind, state=State.START, person=person, detail=text)
    return ServiceRequest(item=pattern.item or "", detail=text, number=person)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text) if text.isalnum() else b""
    except ValueError:
        return b""


def _dialled(number: object) -> str:
    """A number fit for ATD and CMGS: nothing but digits may reach the modem."""
    text = str(number or "").replace(" ", "").replace("-", "")
    if not text.removeprefix("+").replace("*", "").replace("#", "").isdecimal() or not text.isascii() or len(text) > 20:
        raise ValueError(f"phone number expected, got {text[:24]!r}")
    return text


DRIVER = GsmPhone
