"""A GSM modem as a state machine without I/O: AT commands in, answers and reports out.

    modem = SimulatedModem()
    modem.receive(b"AT+CSQ\\r")           -> answer bytes
    modem.ring("13800138000")             -> report bytes, to be sent to the host
    modem.sent, modem.dialled             -> what went out over the air

Every method that the world calls (`ring`, `deliver`, `remove_sim`, ...) returns the bytes that the modem says by itself.
Messages are pushed one at a time when the host asked for confirmation (AT+CNMI=2,2 with AT+CSMS=1): the next one follows AT+CNMA.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from protocols.errors import ProtocolError
from protocols.serial import sms_pdu
from protocols.serial.at_modem import line

SLOTS = 20
OK, ERROR = line("OK"), line("ERROR")
_DIALECTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "simcom": ("AT+DDET=1", lambda key: f"+DTMF: {key}"),
    "sim7600": ("AT+DDET=1", lambda key: f"+RXDTMF: {key}"),
    "quectel": ("AT+QTONEDET=1", lambda key: f"+QTONEDET: {ord(key)}"),
    "huawei": ("", lambda key: f"^DTMF: 1,{key}"),
}


_FACTS: dict[str, tuple[str, ...]] = {
    "Z": (), "&F": (), "I": ("ANHU-SIM",), "I3": ("ANHU-SIM",), "+CGMI": ("ANHU",), "+CGMR": ("1.0",), "+CFUN=1": (),
    "+CFUN?": ("+CFUN: 1",), "+CIMI": ("460001234567890",), "+CMGF=?": ("+CMGF: (0)",), "+CSCS=?": ('+CSCS: ("GSM","UCS2","IRA")',),
    "+CSCS?": ('+CSCS: "GSM"',), '+CSCS="GSM"': (), '+CSCS="UCS2"': (), "+CSCA?": ('+CSCA: "+8613800100500",145',),
    "+CPMS=?": ('+CPMS: ("SM"),("SM"),("SM")',), "+CPMS?": ('+CPMS: "SM",0,50,"SM",0,50,"SM",0,50',),
    '+CPMS="SM"': ("+CPMS: 0,50,0,50,0,50",), '+CPMS="SM","SM"': ("+CPMS: 0,50,0,50,0,50",),
    '+CPMS="SM","SM","SM"': ("+CPMS: 0,50,0,50,0,50",), "+CNMI=?": ("+CNMI: (0-2),(0-2),(0),(0),(0)",), "+COPS=3,2": (),
    "+COPS?": ('+COPS: 0,2,"46000"',),
}  # fmt: skip
"""What a foreign client (gammu) asks before it trusts a modem."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """One part that the host sent, as the network took it."""

    number: str
    text: str
    part: sms_pdu.Part | None


class SimulatedModem:
    """One modem with a card. `dialect` of key reports; `phase2` False: no confirmation of pushed messages; `pin`: card is locked."""

    def __init__(self, *, dialect: str = "simcom", phase2: bool = True, pin: str = "", rssi: int = 21) -> None:
        self._tone_command, self._tone = _DIALECTS[dialect]
        self._phase2, self._pin = phase2, pin
        self.rssi, self.registration = rssi, 1
        self.has_sim, self.silent = True, False
        self.sent: list[SentMessage] = []
        self.dialled: list[str] = []
        self.card: dict[int, str] = {}
        self.fail_sends: deque[int] = deque()
        self.in_call = False
        self._incoming: str | None = None
        self._locked = bool(pin)
        self._undelivered: deque[tuple[str, int]] = deque()
        self._reference = 0
        self._forget()

    def _forget(self) -> None:
        """Settings after power-up."""
        self._buffer = b""
        self._echo, self._errors, self._clip, self._tones = True, 0, False, False
        self._ring_kind, self._creg, self._service, self._pdu_mode = False, 0, 0, False
        self._push = (0, 0)
        self._unconfirmed = False
        self._prompted: int | None = None

    # --- the host's side

    def receive(self, data: bytes) -> bytes:
        """Answer to what the host wrote; any split of the bytes gives the same."""
        out = b""
        self._buffer = (self._buffer + data)[-4096:]
        while self._buffer:
            if self._prompted is not None:
                found = re.search(rb"[\x1a\x1b]", self._buffer)
                if found is None:
                    break
                text, self._buffer = self._buffer[: found.start()], self._buffer[found.end() :]
                out += self._message(text, cancelled=found.group() == b"\x1b")
                continue
            text, end, self._buffer = self._buffer.partition(b"\r")
            if not end:
                self._buffer = text
                break
            command = text.replace(b"\x1b", b"").strip().decode("ascii", "replace")
            out += self._command(command) if command else b""
        return b"" if self.silent else out

    def _command(self, text: str) -> bytes:
        echo = text.encode("ascii", "replace") + b"\r" if self._echo else b""
        upper = text.upper()
        if not upper.startswith("AT"):
            return echo
        dial = re.fullmatch(r"ATD([0-9+*#]+);?", upper)
        if dial:
            return echo + self._dial(dial[1])
        name, _, value = upper[2:].partition("=")
        handler = {
            "": self._fine, "E0": self._echo_off, "E1": self._fine, "A": self._answer, "H": self._hang_up, "+CHUP": self._hang_up,
            "+CSQ": self._signal, "+CREG?": self._registration, "+CPIN?": self._card_state, "+CLCC": self._calls, "+CNMA": self._confirm,
            "+CMEE": self._set_errors, "+CLIP": self._set_clip, "+CRC": self._set_crc, "+CREG": self._set_creg, "+CSMS": self._set_service,
            "+CMGF": self._set_format, "+CNMI": self._set_push, "+CPIN": self._unlock, "+CMGS": self._send, "+CMGR": self._read,
            "+CMGD": self._delete, "+CMGL": self._list, "+CGSN": self._identity, "+CGMM": self._model,
        }.get(name)  # fmt: skip
        if upper[2:] in _FACTS:
            return echo + b"".join(line(fact) for fact in _FACTS[upper[2:]]) + OK
        if upper == self._tone_command:
            self._tones = True
            return echo + OK
        return echo + (ERROR if handler is None else handler(value))

    def _fine(self, value: str) -> bytes:
        return OK

    def _echo_off(self, value: str) -> bytes:
        self._echo = False
        return OK

    def _set_errors(self, value: str) -> bytes:
        self._errors = int(value or 0)
        return OK

    def _set_clip(self, value: str) -> bytes:
        self._clip = value == "1"
        return OK

    def _set_crc(self, value: str) -> bytes:
        self._ring_kind = value == "1"
        return OK

    def _set_creg(self, value: str) -> bytes:
        self._creg = int(value[:1] or 0)
        return OK

    def _set_service(self, value: str) -> bytes:
        if not self._phase2 and value == "1":
            return self._error("CMS", 302)
        self._service = int(value or 0)
        return line(f"+CSMS: 1,1,{int(self._phase2)}") + OK

    def _set_format(self, value: str) -> bytes:
        self._pdu_mode = value == "0"
        return OK

    def _set_push(self, value: str) -> bytes:
        numbers = [int(v) if v.isdecimal() else 0 for v in value.split(",")]
        self._push = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
        return OK + self._deliver_next()

    def _error(self, kind: str, code: int) -> bytes:
        return line(f"+{kind} ERROR: {code}") if self._errors or kind == "CMS" else ERROR

    def _signal(self, value: str) -> bytes:
        return line(f"+CSQ: {self.rssi},0") + OK

    def _registration(self, value: str) -> bytes:
        state = self.registration if self.has_sim else 0
        where = ',"12AB","00C3"' if self._creg == 2 and state in (1, 5) else ""
        return line(f"+CREG: {self._creg},{state}{where}") + OK

    def _card_state(self, value: str) -> bytes:
        if not self.has_sim:
            return self._error("CME", 10)
        return line("+CPIN: SIM PIN" if self._locked else "+CPIN: READY") + OK

    def _unlock(self, value: str) -> bytes:
        if value.strip('"') != self._pin:
            return self._error("CME", 16)
        self._locked = False
        return OK + line("+CPIN: READY")

    def _calls(self, value: str) -> bytes:
        if self._incoming is not None:
            return line(f'+CLCC: 1,1,{0 if self.in_call else 4},0,0,"{self._incoming}",129') + OK
        return (line(f'+CLCC: 1,0,0,0,0,"{self.dialled[-1]}",129') if self.in_call else b"") + OK

    def _identity(self, value: str) -> bytes:
        return line("866123456789012") + OK

    def _model(self, value: str) -> bytes:
        return line("ANHU-SIM") + OK

    def _answer(self, value: str) -> bytes:
        if self._incoming is None:
            return line("NO CARRIER")
        self.in_call = True
        return OK

    def _hang_up(self, value: str) -> bytes:
        self.in_call, self._incoming = False, None
        return OK

    def _dial(self, number: str) -> bytes:
        if not self.has_sim or self.registration not in (1, 5):
            return line("NO CARRIER")
        self.dialled.append(number)
        self.in_call = True
        return OK

    # --- messages

    def _send(self, value: str) -> bytes:
        if not self._pdu_mode or not value.isdecimal():
            return self._error("CMS", 304)
        self._prompted = int(value)
        return b"\r\n> "

    def _message(self, text: bytes, *, cancelled: bool) -> bytes:
        length, self._prompted = self._prompted, None
        if cancelled:
            return OK
        if self.fail_sends:
            return self._error("CMS", self.fail_sends.popleft())
        if not self.has_sim or self.registration not in (1, 5):
            return self._error("CMS", 331)
        try:
            raw = bytes.fromhex(text.strip().decode("ascii", "replace"))
            message = sms_pdu.decode(raw)
        except (ValueError, ProtocolError):
            return self._error("CMS", 304)
        if not isinstance(message, sms_pdu.Submit) or len(raw) - 1 - raw[0] != length:
            return self._error("CMS", 304)
        self.sent.append(SentMessage(message.number, message.text, message.part))
        self._reference = (self._reference + 1) & 255
        return line(f"+CMGS: {self._reference}") + OK

    def _confirm(self, value: str) -> bytes:
        if not self._unconfirmed:
            return self._error("CMS", 340)
        self._unconfirmed = False
        self._undelivered.popleft()
        return OK + self._deliver_next()

    def _read(self, value: str) -> bytes:
        pdu = self.card.get(int(value)) if value.isdecimal() else None
        if pdu is None:
            return self._error("CMS", 321)
        return line(f"+CMGR: 0,,{_length(pdu)}")[:-2] + line(pdu) + OK

    def _delete(self, value: str) -> bytes:
        slot = value.split(",", maxsplit=1)[0]
        if not slot.isdecimal():
            return self._error("CMS", 321)
        self.card.pop(int(slot), None)
        return OK

    def _list(self, value: str) -> bytes:
        rows = [line(f"+CMGL: {slot},0,,{_length(pdu)}")[:-2] + line(pdu) for slot, pdu in sorted(self.card.items())]
        return b"".join(rows) + OK

    def _deliver_next(self) -> bytes:
        out = b""
        while self._undelivered and not self._unconfirmed and self._push[0] == 2:
            pdu, length = self._undelivered[0]
            if self._push[1] == 2:
                out += line(f"+CMT: ,{length}")[:-2] + line(pdu)
                self._unconfirmed = self._phase2 and self._service == 1
                if not self._unconfirmed:
                    self._undelivered.popleft()
                continue
            slot = next((s for s in range(1, SLOTS + 1) if s not in self.card), None)
            if slot is None:
                break  # the network keeps it until the card has room
            self.card[slot] = pdu
            self._undelivered.popleft()
            out += line(f'+CMTI: "SM",{slot}') if self._push[1] == 1 else b""
        return out

    # --- the world's side

    def ring(self, number: str | None) -> bytes:
        """One ring of a call; call again every 5 s. `number` None: withheld."""
        self._incoming = number or ""
        out = line("+CRING: VOICE" if self._ring_kind else "RING")
        if self._clip:
            kind = 128 if not number else 145 if number.startswith("+") else 129
            out += line(f'+CLIP: "{number or ""}",{kind},"",0,"",0')
        return b"" if self.silent else out

    def caller_hangs_up(self) -> bytes:
        """The far end ends the call."""
        self.in_call, self._incoming = False, None
        return line("NO CARRIER")

    def press(self, key: str) -> bytes:
        """A key of the far phone during a call."""
        return line(self._tone(key)) if self._tones or not self._tone_command else b""

    def deliver(self, number: str, text: str, at_ms: int, *, ref: int = 1, zone_minutes: int = 480) -> bytes:
        """A message for the host, in as many parts as it needs."""
        for part in sms_pdu.segments(number, text, ref=ref):
            deliver = sms_pdu.Deliver(number, part.text, at_ms, zone_minutes, part.part, part.coding, smsc="+8613800210500")
            self._undelivered.append(sms_pdu.encode(deliver))
        return self._deliver_next()

    def store(self, number: str, text: str, at_ms: int) -> int:
        """A message that lies on the card already; its slot."""
        part = sms_pdu.segments(number, text)[0]
        slot = max(self.card, default=0) + 1
        self.card[slot], _ = sms_pdu.encode(sms_pdu.Deliver(number, part.text, at_ms, 480, coding=part.coding))
        return slot

    def network(self, state: int) -> bytes:
        """New registration state (27.007: 0 off, 1 home, 2 searching, 3 denied, 5 roaming)."""
        self.registration = state
        where = ',"12AB","00C3"' if self._creg == 2 and state in (1, 5) else ""
        return line(f"+CREG: {state}{where}") if self._creg else b""

    def remove_sim(self) -> bytes:
        """The card falls out."""
        self.has_sim = False
        return line("+CPIN: NOT INSERTED") + self.network(0)

    def insert_sim(self) -> bytes:
        """The card is back."""
        self.has_sim = True
        return line("+CPIN: READY") + self.network(1)

    def restart(self) -> bytes:
        """Power dip: every setting is lost, unconfirmed messages come again."""
        self._forget()
        self._locked = bool(self._pin)
        self.in_call, self._incoming = False, None
        return line("RDY")


def _length(pdu: str) -> int:
    return len(pdu) // 2 - 1 - int(pdu[:2], 16)
