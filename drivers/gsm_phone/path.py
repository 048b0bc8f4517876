"""Whether a message can get out: what is wrong with card, money, network and modem, and what the operator writes about it."""

from __future__ import annotations

import re

from drivers.api import Occurrence, OccurrenceKind, Severity, State

_K = OccurrenceKind
CARD, DENIED, MONEY = "card", "denied", "money"
"""Reasons for SIM_FAULT; each is cleared by its own."""
LOW = "low"
"""Little money left: a SIM_FAULT that does not close the path."""

_OPERATOR = re.compile(r"(100\d{2,3}|106\d+|9[56]\d{3,}|\d{3,6})\Z")
"""Service numbers of Chinese operators, and short codes anywhere; never a subscriber."""
_WORDS: tuple[tuple[str, str], ...] = (
    (r"充值成功|缴费成功|已恢复|恢复服务|已开机|复机|recharge(d)? success|top-?up success|restored|reactivated", ""),
    (r"已停机|被停机|停止服务|暂停服务|已欠费|欠费停|余额为\s*-|service (is |has been )?(suspended|barred)|out of credit", MONEY),
    (r"余额不足|余额低|余额已低|即将停机|请及时充值|请及时缴费|low balance|balance is (low|below)|insufficient balance", LOW),
)


def operator_says(number: str, text: str) -> str | None:
    """What a message says about the money on the card: MONEY, LOW, "" (all is well again), None (nothing, or not from an operator).

    >>> operator_says("10086", "您的号码已停机"), operator_says("13900000001", "您的号码已停机")
    ('money', None)
    >>> operator_says("10086", "您的余额不足10元，请及时充值")
    'low'
    """
    digits = number.removeprefix("+86")
    is_operator = _OPERATOR.match(digits) is not None or not any(char.isdigit() for char in digits)
    if not is_operator:
        return None
    return next((meaning for words, meaning in _WORDS if re.search(words, text, re.IGNORECASE)), None)


class SmsPath:
    """The conditions that last, told once each; the path is dead while one of them closes it."""

    def __init__(self) -> None:
        self._active: dict[str, str] = {}
        self._told = True

    def begins(self, kind: OccurrenceKind, detail: str, reason: str = "") -> Occurrence | None:
        """The event of a condition; None when it lasts already, or one of its kind that is as bad."""
        key = f"{kind.value}|{reason}"
        if key in self._active:
            return None
        known = self._reasons(kind)
        self._active[key] = detail
        if reason == MONEY:
            # It has come to what the warning said.
            self._active.pop(f"{kind.value}|{LOW}", None)
        if any(other != LOW for other in known) or (known and reason == LOW):
            return None
        severity = Severity.NOTICE if reason == LOW else None
        return Occurrence(kind=kind, state=State.START, severity=severity, detail=detail)

    def ends(self, kind: OccurrenceKind, *reasons: str) -> Occurrence | None:
        """The end of a condition, when it was the last of its kind."""
        ended = [self._active.pop(f"{kind.value}|{reason}", None) for reason in reasons or ("",)]
        if not any(detail is not None for detail in ended) or self._reasons(kind):
            return None
        return Occurrence(kind=kind, state=State.END)

    def changed(self) -> str | None:
        """`alive`, or `dead: ...` with every reason, once when it turns."""
        reasons = [detail for key, detail in self._active.items() if not key.endswith(f"|{LOW}")]
        is_alive = not reasons
        if is_alive == self._told:
            return None
        self._told = is_alive
        return "alive" if is_alive else f"dead: {'; '.join(reasons)}"

    def state(self) -> dict[str, str]:
        """For a restart."""
        return dict(self._active)

    def restore(self, rows: dict[str, str]) -> None:
        """Raises ValueError, TypeError or AttributeError on a damaged state."""
        active: dict[str, str] = {}
        for key, detail in rows.items():
            kind, _, reason = str(key).partition("|")
            active[f"{OccurrenceKind(kind).value}|{reason}"] = str(detail)
        self._active = active
        self._told = all(key.endswith(f"|{LOW}") for key in active)

    def _reasons(self, kind: OccurrenceKind) -> list[str]:
        return [key.partition("|")[2] for key in self._active if key.startswith(f"{kind.value}|")]
