"""Chains of messages, put together again; bounded in number and time, parts of a broken chain are given out too."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from protocols.serial.sms_pdu import Deliver, Part

PATIENCE_S = 180.0
"""Parts of one message come within seconds; a missing one after a coverage hole comes late."""
MAX_CHAINS = 16


class Received(NamedTuple):
    """A whole message, or what came of one (`missing` lists the numbers of the lost parts, `told` the alarms told from its parts)."""

    number: str
    text: str
    at_ms: int | None
    missing: tuple[int, ...] = ()
    told: tuple[str, ...] = ()


class Inbox:
    """Chains by sender, reference and total."""

    def __init__(self) -> None:
        self._chains: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @property
    def due_s(self) -> float | None:
        """When the oldest chain is given out."""
        if not self._chains:
            return None
        return float(min(chain["since"] for chain in self._chains.values())) + PATIENCE_S

    def add(self, message: Deliver, now_s: float) -> list[Received]:
        """The message when it is whole; the oldest chain as well when there are too many."""
        part = message.part
        text = message.text or message.data.hex()
        if part is None or part.total == 1:
            return [Received(message.number, text, message.at_ms)]
        key = _key(message, part)
        chain = self._chains.setdefault(
            key, {"number": message.number, "total": part.total, "since": now_s, "at_ms": message.at_ms, "texts": {}, "told": []}
        )
        chain["texts"][str(part.seq)] = text
        if len(chain["texts"]) == part.total:
            return [self._give(key)]
        return [self._give(next(iter(self._chains)))] if len(self._chains) > MAX_CHAINS else []

    def tell(self, message: Deliver, word: str) -> bool:
        """Note that a part has told an alarm; False when one of its chain did so before, or the chain is given out already."""
        part = message.part
        chain = self._chains.get(_key(message, part)) if part is not None else None
        if chain is None or word in chain["told"]:
            return False
        chain["told"].append(word)
        return True

    def overdue(self, now_s: float) -> list[Received]:
        """Chains that have waited long enough."""
        for chain in self._chains.values():
            chain["since"] = min(chain["since"], now_s)  # of a state from before a restart of the machine
        return [self._give(key) for key, chain in list(self._chains.items()) if now_s >= chain["since"] + PATIENCE_S]

    def state(self) -> list[Any]:
        """For a restart: the parts are acknowledged and only here."""
        return list(self._chains.items())

    def restore(self, rows: Any) -> None:
        """Raises ValueError, TypeError or KeyError on a damaged state."""
        chains: OrderedDict[str, dict[str, Any]] = OrderedDict()
        for key, chain in rows[:MAX_CHAINS]:
            chains[str(key)] = {
                "number": str(chain["number"]), "total": int(chain["total"]), "since": float(chain["since"]), "at_ms": chain["at_ms"],
                "texts": {str(int(k)): str(v) for k, v in chain["texts"].items()},
                "told": [str(word) for word in chain["told"]],
            }  # fmt: skip
        self._chains = chains

    def _give(self, key: str) -> Received:
        chain = self._chains.pop(key)
        texts = chain["texts"]
        numbers = range(1, chain["total"] + 1)
        missing = tuple(i for i in numbers if str(i) not in texts)
        whole = "".join(texts.get(str(i), " […] ") for i in numbers).strip()
        return Received(chain["number"], whole, chain["at_ms"], missing, tuple(chain["told"]))


def _key(message: Deliver, part: Part) -> str:
    return f"{message.number}|{part.ref}|{part.total}|{int(part.wide)}"
