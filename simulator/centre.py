"""The other end in virtual time: gives each device the answers that its protocol owes, as a perfect gateway would."""

from __future__ import annotations

from collections.abc import Callable

from protocols.errors import Reject, RemoteProtocolError
from protocols.mqtt import settop
from protocols.tracker import minifinder2, watch
from simulator.devices.device import Parcel

Answerer = Callable[[bytes, str], list[Parcel]]


class Centre:
    """Answers for a whole community. Understands what needs an answer: `watch`, `minifinder2`, `settop`."""

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


MAKERS: dict[str, Callable[[], Answerer]] = {"watch": _watch, "minifinder2": _minifinder2, "settop": _settop}
"""Who answers which driver's devices."""
