"""Commands: stored before they are carried out, each carried out once, its results remembered.

A platform asks with an id (its idempotency key), a verb, a device and an expiry. The road: permission of the uplink -> stored ->
`accepted` -> handed to the device's session, or kept until it wakes or the command expires -> `running` -> the device's answer.
A repeated id is answered with what became of the first, also after a restart. Rules use the same road for local actions.

A restart finds what it interrupted: commands that were accepted go out (again) until they expire, so across a crash a device may get one
twice; those that a device had begun end as `unknown`, for nobody can tell. Nothing that silences an alarm is done without a person's id.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from drivers.api import VERBS, Command, CommandStatus, Instant, Verb
from drivers.events import CommandResult, Event
from gateway.acts import VERBS_OF_PEOPLE
from gateway.clock import Clock
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import UplinkSection
from gateway.store.contract import Batch, CommandRow, WayBack

DEFAULT_EXPIRY_MS = 24 * 3600 * 1000
LONGEST_EXPIRY_MS = 30 * 24 * 3600 * 1000
WAITING_PER_DEVICE = 32
"""Commands that wait for one sleeping device; more are refused, a device that never wakes must not fill the memory."""
WAITING_IN_ALL = 10_000
FINISHED_MS = 10 * 60 * 1000
"""Finished commands stay in memory so long; the database remembers for a week."""
_FINISHED = frozenset({CommandStatus.DONE, CommandStatus.FAILED, CommandStatus.EXPIRED, CommandStatus.UNKNOWN})
_ID = re.compile(r"^[A-Za-z0-9_.:-]{1,128}$")
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "list": (list,)}

Answer = Callable[[str, str, str, str | None], None]
"""Called with (command id, verb, status, detail) for the uplink that asked."""
LaterAnswer = Callable[[CommandRow], None]
"""The same when only the stored command still knows who asked and where the answer goes."""
NO_WAY_BACK = WayBack()


class CommandMemory(Protocol):
    """What the command centre needs of the store."""

    def command_row(self, command: str) -> CommandRow | None:
        """A stored command."""
        ...

    def unfinished_commands(self) -> list[CommandRow]:
        """Commands that a restart has interrupted."""
        ...


class CommandCentre:
    """Takes commands, finds their device, follows them to their end."""

    def __init__(self, pipeline: Pipeline, store: CommandMemory, clock: Clock) -> None:
        self._pipeline = pipeline
        self._store = store
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._waiting: dict[str, list[Command]] = {}
        self._rows: dict[str, CommandRow] = {}
        self._answers: dict[str, Answer] = {}
        self._uplinks: dict[str, LaterAnswer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.knows: Callable[[str], bool] = lambda device: True
        """Whether a device is ours: commands to others are refused at once."""
        self.local: Callable[[Command], Awaitable[tuple[CommandStatus, str | None]]] | None = None
        """Carries out what is asked of the gateway itself (`local_device`)."""
        self.local_device = ""
        pipeline.on_command = self.act
        pipeline.on_result = self._note
        pipeline.on_event.append(self._tell)

    def answer_to(self, uplink: str, answer: LaterAnswer) -> None:
        """How an uplink hears of commands that it asked for before a restart."""
        self._uplinks[uplink] = answer

    def resume(self) -> None:
        """Take up what a restart has interrupted."""
        now = self._clock.now()
        for row in self._store.unfinished_commands():
            self._rows[row.id] = row
            command = Command(
                id=row.id,
                verb=Verb(row.verb),
                device=row.device,
                args=msgspec.json.decode(row.args),
                issued_ms=row.received_ms,
                expires_ms=row.expires_ms,
                by=row.uplink,
            )
            if row.status == CommandStatus.RUNNING.value:
                self._pipeline.publish([command.result(CommandStatus.UNKNOWN, now, "the gateway restarted while the device was at it")])
            elif self._live(command, now):
                self._dispatch(command)

    def attach(self, key: str, session: Session) -> None:
        """This session serves the device `key`, or all of a driver (`settop:*`). Waiting commands go out."""
        self._sessions[key] = session
        waiting = self._waiting.pop(key, [])
        now = self._clock.now()
        for command in waiting:
            if self._live(command, now):
                self._pipeline.command(session, command)

    def detach(self, key: str, session: Session) -> None:
        """The session has ended (a newer one may serve the device already)."""
        if self._sessions.get(key) is session:
            del self._sessions[key]

    def session_of(self, device: str) -> Session | None:
        """Who serves a device."""
        return self._sessions.get(device) or self._sessions.get(f"{device.split(':', 1)[0]}:*")

    async def ask(self, raw: Any, uplink: UplinkSection, answer: Answer, way_back: WayBack = NO_WAY_BACK) -> None:
        """A request of a platform: the `data` of its CloudEvent with id and verb filled in. Always answers; `way_back` is stored for
        the answers that come after a restart."""
        now = self._clock.now()
        command, fault = read_command(raw, now)
        if command is None:
            answer(str(raw.get("id", ""))[:128] if isinstance(raw, dict) else "", "", CommandStatus.FAILED.value, fault)
            return
        known = self._rows.get(command.id)
        if known is None:
            # Twice in one moment: the second look, after the wait, sees the row of the first.
            stored = await asyncio.to_thread(self._store.command_row, command.id)
            known = self._rows.get(command.id) or stored
        if known is not None:
            answer(command.id, known.verb, CommandStatus.DUPLICATE.value, f"{known.status}" + (f": {known.detail}" if known.detail else ""))
            return
        refused = permission_fault(command.verb, uplink) or self._fault(command)
        status = CommandStatus.FAILED if refused else CommandStatus.ACCEPTED
        if not refused and command.expires_ms is not None and command.expires_ms <= now.ms:
            status, refused = CommandStatus.EXPIRED, "expired on arrival"
        command = msgspec.structs.replace(command, by=uplink.name)
        row = _row(command, uplink.name, status, refused, now)._replace(**way_back._asdict())
        self._answers[command.id] = answer
        self._rows[command.id] = row
        await self._pipeline.publish([command.result(status, now, refused)], batch=Batch(commands=[row]))
        if status is CommandStatus.ACCEPTED:
            self._dispatch(command)

    def _fault(self, command: Command) -> str | None:
        """Why nobody may have this done; None when it may be tried."""
        if command.device == self.local_device:
            return None if command.verb in VERBS_OF_PEOPLE else f"the gateway itself takes {', '.join(sorted(VERBS_OF_PEOPLE))}"
        if command.verb in VERBS_OF_PEOPLE:
            return f"{command.verb.value} is asked of the device {self.local_device or 'gateway:<id>'}"
        if not self.knows(command.device):
            return "unknown device"
        if (command.verb is Verb.SILENCE or (command.verb is Verb.SIREN and command.args.get("on") is False)) and not str(
            command.args.get("person", "")
        ).strip():
            return "silencing needs args.person: who decided it"
        return None

    def act(self, command: Command) -> None:
        """A local action of a rule: no permission is asked, the rest of the road is the same."""
        if command.id in self._rows:
            return
        now = self._clock.now()
        row = _row(command, command.by or "rule", CommandStatus.ACCEPTED, None, now)
        self._rows[command.id] = row
        future = self._pipeline.publish([command.result(CommandStatus.ACCEPTED, now)], batch=Batch(commands=[row]))
        future.add_done_callback(lambda done: None if done.cancelled() else self._dispatch(command))

    def tick(self) -> None:
        """Once a second: expire what waits."""
        now = self._clock.now()
        for device, commands in list(self._waiting.items()):
            left = [command for command in commands if self._live(command, now)]
            if left:
                self._waiting[device] = left
            else:
                del self._waiting[device]
        for ident, row in list(self._rows.items()):
            # Without its row the end of a command is told to nobody, so one that still waits stays.
            waits_ms = DEFAULT_EXPIRY_MS + max(0, (row.expires_ms or 0) - row.updated_ms)
            kept = FINISHED_MS if row.status in _FINISHED else waits_ms
            if now.ms - row.updated_ms > kept:
                # The database remembers longer than memory does.
                del self._rows[ident]
                self._answers.pop(ident, None)

    def _live(self, command: Command, now: Instant) -> bool:
        if command.expires_ms is not None and command.expires_ms <= now.ms:
            self._pipeline.publish([command.result(CommandStatus.EXPIRED, now, "the device did not wake in time")])
            return False
        return True

    def _dispatch(self, command: Command) -> None:
        if self.local is not None and command.device == self.local_device:
            task = asyncio.create_task(self._do_local(command), name=f"command {command.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if command.verb is Verb.SIREN and "person" in command.args:
            # Who decided it stands in the stored command; the device has no use for it.
            command = msgspec.structs.replace(command, args={name: value for name, value in command.args.items() if name != "person"})
        session = self.session_of(command.device)
        if session is not None:
            self._pipeline.command(session, command)
            return
        waiting = self._waiting.setdefault(command.device, [])
        if len(waiting) >= WAITING_PER_DEVICE or sum(map(len, self._waiting.values())) >= WAITING_IN_ALL:
            detail = f"{WAITING_PER_DEVICE} commands wait for this device already"
            self._pipeline.publish([command.result(CommandStatus.FAILED, self._clock.now(), detail)])
            return
        waiting.append(command)

    async def _do_local(self, command: Command) -> None:
        assert self.local is not None
        status, detail = await self.local(command)
        await self._pipeline.publish([command.result(status, self._clock.now(), detail)])

    def _note(self, event: Event, batch: Batch) -> None:
        """A result is on its way into the store: note it in the same commit."""
        body = event.body
        assert isinstance(body, CommandResult)
        row = self._rows.get(body.command)
        if row is not None:
            row = row._replace(status=body.status.value, detail=body.detail, updated_ms=event.received_ms)
            self._rows[body.command] = row
            batch.commands = [*[r for r in batch.commands if r.id != row.id], row]

    def _tell(self, event: Event) -> None:
        """A result is on disk: tell the uplink that asked."""
        body = event.body
        if type(body) is CommandResult:
            row = self._rows.get(body.command)
            answer = self._answers.get(body.command)
            if answer is not None:
                answer(body.command, body.verb, body.status.value, body.detail)
            elif row is not None and row.uplink in self._uplinks:
                self._uplinks[row.uplink](row._replace(status=body.status.value, detail=body.detail))


def read_command(raw: Any, now: Instant) -> tuple[Command | None, str]:
    """A command out of untrusted JSON: (command, "") or (None, what is wrong)."""
    if not isinstance(raw, dict):
        return None, "object expected"
    ident, verb, device, args = raw.get("id"), raw.get("verb"), raw.get("device"), raw.get("args", {})
    if not isinstance(ident, str) or not _ID.match(ident):
        return None, "id: 1..128 letters, digits, . _ : - expected"
    if verb not in list(Verb):
        return None, f"verb: one of {', '.join(Verb)} expected, got {verb!r:.40}"
    if not isinstance(device, str) or not 1 <= len(device) <= 128:
        return None, "device: id expected"
    fault = args_fault(Verb(verb), args)
    if fault:
        return None, fault
    expires = raw.get("expires_ms")
    ttl = raw.get("ttl_ms")
    if ttl is not None:
        if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 0:
            return None, "ttlms: milliseconds expected"
        # The time to live counts from arrival: it needs no clock that agrees with ours.
        expires = now.ms + min(ttl, LONGEST_EXPIRY_MS)
    if expires is not None and (not isinstance(expires, int) or isinstance(expires, bool)):
        return None, "expirytime: RFC 3339 time expected"
    expires = now.ms + DEFAULT_EXPIRY_MS if expires is None else min(expires, now.ms + LONGEST_EXPIRY_MS)
    of_message = raw.get("message_ttl_ms")
    if isinstance(of_message, int):
        # What the transport grants (MQTT 5) is a bound of its own: the sooner one holds.
        expires = min(expires, now.ms + of_message)
    return Command(id=ident, verb=Verb(verb), device=device, args=args, issued_ms=now.ms, expires_ms=expires), ""


def args_fault(verb: Verb, args: Any) -> str:
    """What is wrong with the arguments of a verb; empty when nothing is."""
    if not isinstance(args, dict):
        return "args: object expected"
    row = VERBS[verb].args
    for name in args:
        if name not in row:
            return f"args.{name}: unknown; {verb.value} takes {', '.join(row) or 'none'}"
    for name, kind in row.items():
        if name not in args:
            if kind.endswith("?"):
                continue
            return f"args.{name}: missing"
        plain = kind.removesuffix("?")
        if not isinstance(args[name], _TYPES[plain]) or (plain != "bool" and isinstance(args[name], bool)):
            return f"args.{name}: {plain} expected"
    return ""


def permission_fault(verb: Verb, uplink: UplinkSection) -> str | None:
    """Why this uplink may not ask for this verb; None when it may."""
    if VERBS[verb].dangerous and verb.value not in uplink.dangerous:
        return f"{verb.value} is dangerous and not in uplink {uplink.name}.dangerous"
    if "*" not in uplink.commands and verb.value not in uplink.commands:
        return f"{verb.value} is not in uplink {uplink.name}.commands"
    return None


def _row(command: Command, uplink: str, status: CommandStatus, detail: str | None, now: Instant) -> CommandRow:
    args = msgspec.json.encode(command.args).decode()
    return CommandRow(
        command.id, uplink, command.verb.value, command.device, args, now.ms, command.expires_ms, status.value, detail, now.ms
    )
