"""The other end in virtual time: gives each device the answers that its protocol owes, as a perfect gateway would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from protocols.building import gbt26875, sia_dc09
from protocols.errors import Reject, RemoteProtocolError
from protocols.framing import Framer
from protocols.mqtt import settop
from protocols.serial import at_modem
from protocols.tracker import eelink, gt06, jt808, jt808_bodies, minifinder2, topin, trv, watch, xexun2
from simulator.devices.device import Parcel
from simulator.devices.gsm_modem import SETTINGS
from simulator.devices.health_device import KINDS
from simulator.wires.on_air import OnAir, read

Message = TypeVar("Message")
Answerer = Callable[[bytes, str], list[Parcel]]


class Centre:
    """Answers for a whole community. Understands what needs an answer: see `MAKERS`."""

    def __init__(self) -> None:
        self._answerers: dict[str, Answerer] = {}

    def answers(self, device: str, parcel: Parcel) -> list[Parcel]:
        """What goes back to `device`."""
        answerer = self._answerers.get(device)
        if answerer is None:
            make = MAKERS.get(device.partition(":")[0])
            answerer = self._answerers[device] = make() if make else _nothing
        return answerer(parcel.data, parcel.to)


def _nothing(data: bytes, to: str) -> list[Parcel]:
    return []


def _watch() -> Answerer:
    connection = watch.WatchConnection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [message for message in connection.receive(data) if not isinstance(message, Reject)]
        return [Parcel(owed) for message in found if (owed := watch.answer(message))]

    return answer


def _minifinder2() -> Answerer:
    connection = minifinder2.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [message for message in connection.receive(data) if not isinstance(message, Reject)]
        return [Parcel(minifinder2.acknowledgement(message)) for message in found if message.wants_ack]

    return answer


def _settop() -> Answerer:
    def answer(data: bytes, to: str) -> list[Parcel]:
        try:
            message = settop.decode_up(to, data)
        except RemoteProtocolError:
            return []
        if message.ref is None:
            return []
        return [Parcel(settop.encode_down("ack", ref=message.ref), to.removesuffix("up") + "down")]

    return answer


def _trv() -> Answerer:
    connection = trv.TrvConnection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [message for message in connection.receive(data) if not isinstance(message, Reject)]
        return [Parcel(owed) for message in found if (owed := trv.answer(message))]

    return answer


def _gt06() -> Answerer:
    connection = gt06.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        return [Parcel(gt06.answer(packet)) for packet in connection.receive(data) if not isinstance(packet, Reject)]

    return answer


def _topin() -> Answerer:
    connection = topin.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [packet for packet in connection.receive(data) if not isinstance(packet, Reject)]
        content = {topin.LOGIN: b"\x01", topin.SOS: b""}
        return [Parcel(topin.encode(topin.Packet(p.kind, content.get(p.kind, p.content[:6]), p.length))) for p in found]

    return answer


def _jt808() -> Answerer:
    connection = jt808.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        out = []
        for found in connection.receive(data):
            if isinstance(found, jt808.Message):
                id, body = jt808.PLATFORM_ANSWER, jt808_bodies.write_answer(jt808_bodies.Answer(found.serial, found.id))
                if found.id == jt808.REGISTER:
                    id, body = jt808.REGISTER_ANSWER, jt808_bodies.write_register_answer(found.serial, "SIM")
                out.append(Parcel(jt808.encode(jt808.Message(id, found.header, found.serial, body))))
        return out

    return answer


def _eelink() -> Answerer:
    connection = eelink.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [packet for packet in connection.receive(data) if isinstance(packet, eelink.Packet)]
        return [Parcel(owed) for packet in found if (owed := eelink.acknowledgement(packet))]

    return answer


def _xexun2() -> Answerer:
    connection = xexun2.Connection()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [message for message in connection.receive(data) if isinstance(message, xexun2.Message)]
        return [Parcel(xexun2.acknowledgement(message)) for message in found]

    return answer


def _read(found: list[bytes | Reject], decode: Callable[[bytes], Message]) -> Iterator[Message]:
    """The messages of whole frames; what a fault has damaged gets no answer."""
    for raw in found:
        if not isinstance(raw, Reject):
            with contextlib.suppress(RemoteProtocolError):
                yield decode(raw)


def _gbt26875() -> Answerer:
    framer = Framer(gbt26875.cut, limit=gbt26875.MAX_FRAME)

    def answer(data: bytes, to: str) -> list[Parcel]:
        sent = [message for message in _read(framer.feed(data), gbt26875.decode) if message.command == gbt26875.Command.SEND]
        return [Parcel(gbt26875.encode(gbt26875.reply(message, gbt26875.Command.CONFIRM, message.local_ms))) for message in sent]

    return answer


def _dc09() -> Answerer:
    stream = sia_dc09.Dc09Stream()

    def answer(data: bytes, to: str) -> list[Parcel]:
        found = [message for message in _read(stream.receive(data), sia_dc09.decode) if message.crc_ok]
        return [Parcel(sia_dc09.acknowledge(message, "ACK", message.at_ms or 0)) for message in found]

    return answer


def _modem() -> Answerer:
    stream = at_modem.ModemStream()

    def answer(data: bytes, to: str) -> list[Parcel]:
        lines = [line for line in stream.receive(data) if isinstance(line, str)]
        owed = ["AT+CNMA" for line in lines if line.startswith("+CMT:")]
        # A modem that has started anew has forgotten its settings.
        owed += SETTINGS if "RDY" in lines else ()
        return [Parcel(at_modem.command(text)) for text in owed]

    return answer


def _gatt_health() -> Answerer:
    def answer(data: bytes, to: str) -> list[Parcel]:
        found = read(to)
        if found.kind != "uuids":
            return []
        return [Parcel(b"", str(OnAir("subscribed", value))) for service, value in KINDS.values() if service == found.number]

    return answer


MAKERS: dict[str, Callable[[], Answerer]] = {
    "watch": _watch, "minifinder2": _minifinder2, "settop": _settop, "trv": _trv, "gt06": _gt06, "topin": _topin, "jt808": _jt808,
    "eelink": _eelink, "xexun2": _xexun2, "gbt26875": _gbt26875, "dc09": _dc09, "gsm_phone": _modem, "gatt_health": _gatt_health,
}  # fmt: skip
"""Who answers which driver's devices."""
