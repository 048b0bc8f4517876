"""The modem of a gateway and the telephones that reach it: `SimulatedModem` on a serial line, in a mobile network that can fail.

A telephone speaks through the modem (`carry`): its calls ring, its messages are delivered. The operator writes, too, and stops the
service of a card without money.
"""

from __future__ import annotations

from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.serial.at_modem import command
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, Poll, WireKind
from simulator.devices.modem import SimulatedModem
from simulator.truth import Fact, begun, ended

RING, HANG_UP, TEXT = b"RING", b"HANG UP", b"TEXT "
"""What a telephone does; the number stands beside it."""
OPERATOR = "10086"
STOPPED = "【中国移动】尊敬的客户，您的话费余额为-3.20元，您的号码已停机，请及时充值。"
RECHARGED = "【中国移动】您已充值成功50.00元，号码已恢复服务。"
DENIED_AFTER_S = 3.0
"""The network throws a stopped card out a moment after the message."""
HOME, DENIED = 1, 3
_K = OccurrenceKind
SETTINGS = ("ATE0", "AT+CMEE=1", "AT+CLIP=1", "AT+CRC=1", "AT+CREG=2", "AT+CSMS=1", "AT+CMGF=0", "AT+CNMI=2,2,0,1,0")


class GsmModem:
    """`known`: numbers whose calls the gateway knows; the calls of others are told of the modem itself."""

    driver = "gsm_phone"
    wire = WireKind.SERIAL
    polls = (
        *(Poll(command(text), 0.2 + 0.1 * n) for n, text in enumerate(SETTINGS)),
        Poll(command("AT+CSQ"), 2.0, 8.0),
        Poll(command("AT+CREG?"), 4.0, 30.0),
    )
    """What a gateway sets, and asks to see whether the modem lives."""

    def __init__(self, id: str, *, known: frozenset[str] = frozenset(), dialect: str = "simcom") -> None:
        self.id = id
        self.modem = SimulatedModem(dialect=dialect)
        self._known = known
        self._ringing: set[str] = set()
        self._denied_s = NEVER_S
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """It waits for commands."""
        return NOTHING

    def down(self, now: Moment) -> None:
        """It stays in the network."""

    def step(self, now: Moment) -> Act:
        """The network throws the card out."""
        is_due = now.s >= self._denied_s
        self._denied_s = self.next_s = NEVER_S if is_due else self._denied_s
        return _act(self.modem.network(DENIED), begun(_K.NETWORK_LOST)) if is_due else NOTHING

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Answers to commands."""
        return _act(self.modem.receive(data))

    def carry(self, data: bytes, to: str, now: Moment) -> Act:
        """What the telephone `to` does. A network that denies the card lets nothing through."""
        if not self.is_in_service:
            return NOTHING
        if data == RING:
            is_new = to not in self._ringing
            self._ringing.add(to)
            facts = (begun(_K.INCOMING_CALL),) if is_new and to not in self._known else ()
            return _act(self.modem.ring(to), *facts)
        if data == HANG_UP:
            self._ringing.discard(to)
            return _act(self.modem.caller_hangs_up(), *(() if to in self._known else (begun(_K.CALL_ENDED),)))
        return self._delivered(to, data.removeprefix(TEXT).decode(), now, is_told=to not in self._known)

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`out_of_money`, `money_back`, `sim_out`, `sim_in`, `modem_restart`."""
        if verb == "out_of_money" and self.is_in_service:
            act = self._delivered(OPERATOR, STOPPED, now, is_told=True)
            self._denied_s = self.next_s = now.s + DENIED_AFTER_S
            return Act(act.parcels, (*act.facts, begun(_K.SIM_FAULT)))
        if verb == "money_back" and not self.is_in_service:
            registered = self.modem.network(HOME)
            act = self._delivered(OPERATOR, RECHARGED, now, is_told=True)
            return Act((Parcel(registered), *act.parcels), (ended(_K.NETWORK_LOST), *act.facts, ended(_K.SIM_FAULT)))
        if verb in ("sim_out", "sim_in") and self.modem.has_sim != (verb == "sim_in"):
            said = self.modem.insert_sim() if verb == "sim_in" else self.modem.remove_sim()
            tell = ended if verb == "sim_in" else begun
            return _act(said, tell(_K.SIM_FAULT), tell(_K.NETWORK_LOST))
        if verb == "modem_restart":
            return _act(self.modem.restart(), begun(_K.DEVICE_RESET))
        return NOTHING

    @property
    def is_in_service(self) -> bool:
        """Whether calls and messages come through."""
        return self.modem.has_sim and self.modem.registration == HOME

    def _delivered(self, number: str, text: str, now: Moment, *, is_told: bool) -> Act:
        return _act(self.modem.deliver(number, text, now.ms), *((begun(_K.MESSAGE_RECEIVED),) if is_told else ()))


def _act(data: bytes, *facts: Fact) -> Act:
    return Act((Parcel(data),) if data else (), facts)
