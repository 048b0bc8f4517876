"""One command at a time: what waits for the modem, what it is doing, and until when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from drivers.api import Command
from protocols.serial import at_modem

ANSWER_S = 10.0
SEND_S = 60.0
"""A network may take that long to accept a message (3GPP TS 27.005 gives no bound; modem manuals say 60 s)."""
RETRY_S = 5.0
TRIES = 3
MAX_WAITING = 64


@dataclass
class Step:
    """One AT command. `job` tells the driver what the end of it means."""

    text: str
    job: str = "setting"
    timeout_s: float = ANSWER_S
    pdus: list[tuple[str, int]] = field(default_factory=list)
    command: Command | None = None
    slot: int | None = None
    tries: int = 0
    not_before_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    acknowledges: bool = False

    @property
    def wire(self) -> bytes:
        """The command; for a message that of its first unsent part."""
        if self.pdus:
            return at_modem.message_command(*self.pdus[0])[0]
        return at_modem.command(self.text)


class Channel:
    """A queue with one step in flight."""

    def __init__(self) -> None:
        self.waiting: deque[Step] = deque()
        self.current: Step | None = None
        self.due_s = 0.0

    @property
    def wake_s(self) -> float | None:
        """When the step in flight is late, or the next one may start."""
        if self.current is not None:
            return self.due_s
        return self.waiting[0].not_before_s if self.waiting else None

    def push(self, step: Step) -> bool:
        """Append; False when too much waits already."""
        if len(self.waiting) >= MAX_WAITING:
            return False
        self.waiting.append(step)
        return True

    def again(self, step: Step, now_s: float) -> bool:
        """Try a step once more a little later; False after `TRIES`."""
        step.tries += 1
        if step.tries >= TRIES:
            return False
        step.not_before_s = now_s + RETRY_S
        self.waiting.appendleft(step)
        return True

    def start(self, now_s: float) -> Step | None:
        """The next step, now in flight; None while one is, or none may start."""
        if self.current is not None or not self.waiting or self.waiting[0].not_before_s > now_s:
            return None
        self.current = self.waiting.popleft()
        self.due_s = now_s + self.current.timeout_s
        return self.current

    def finish(self) -> Step | None:
        """The step that was in flight."""
        step, self.current = self.current, None
        return step

    def restart(self) -> list[Step]:
        """Everything that was asked for and must survive a restart of the modem; settings and polls are made anew."""
        kept = [step for step in [self.current, *self.waiting] if step is not None and step.command is not None]
        self.current = None
        self.waiting.clear()
        return kept
