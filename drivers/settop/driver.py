"""A set-top box as one more sensor, button and screen: SOS and service keys up; texts, reminders and video requests down.

Source: docs/settop.md, protocols/mqtt/settop.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from drivers.api import (
    OCCURRENCES,
    Body,
    Command,
    CommandResult,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Lane,
    Occurrence,
    OccurrenceKind,
    Option,
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
from protocols.errors import LocalProtocolError
from protocols.mqtt.edges import Edges
from protocols.mqtt.settop import DOWN_TOPIC, UP_TOPIC, SettopError, UpMessage, decode_up, encode_down
from protocols.mqtt.topic import plain_id

PENDING_LIMIT = 100
"""Commands whose answers are awaited; the oldest is forgotten first."""
MEDICINE = ("medicine", "medication", "drug")
SOS_KEYS = ("sos", "emergency", "help")

_K = OccurrenceKind


class SetTop:
    """One set-top box, or all boxes of a broker."""

    info = DriverInfo(
        name="settop",
        title="Television set-top box",
        vendor="any (profile of Anhu)",
        models=("anhu/tv profile 1",),
        transports=(Transport.MQTT,),
        emits=(
            "sos", "test", "button", "presence", "running", "offline", "reminder_confirmed", "reminder_snoozed", "reminder_unanswered",
            "medication_taken", "video_consent", "health", "service_request", "command_result",
        ),
        commands=(
            Verb.MESSAGE, Verb.REMIND, Verb.VIDEO_REQUEST, Verb.PLAY, Verb.VOLUME, Verb.SIREN, Verb.SILENCE, Verb.QUERY, Verb.RESTART,
        ),
        options=(Option("sos_keys", "list", list(SOS_KEYS), "keys of the remote control that call for help"),),
        source="docs/settop.md",
    )  # fmt: skip

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._sos_keys = {str(key).lower() for key in values["sos_keys"]}
        self._device = device.removeprefix("settop:") if device and not device.endswith("*") else ""
        self._edges = Edges()
        self._pending: dict[str, list[str]] = {}

    def topics(self) -> list[str]:
        """The topic of the box, or of all boxes."""
        return [f"anhu/tv/{self._device or '+'}/up"]

    def receive(self, frame: Frame) -> Output:
        """Events of one message; its `ref` is acknowledged after commit, also when the message was refused."""
        output = Output()
        if DOWN_TOPIC.match(frame.topic):
            return output  # our own words, echoed by the broker
        try:
            message = decode_up(frame.topic, frame.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
            if isinstance(error, SettopError):
                output.device = f"settop:{error.device}"
                _acknowledge(output, error.device, error.ref)
            return output
        output.device = f"settop:{message.device}"
        output.rejects += [Reject(reason, text, frame.data[:1024]) for reason, text in message.faults]
        for body in _MEANING[message.type](self, message):
            self._say(frame, message, body, output)
        _acknowledge(output, message.device, message.ref)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The command as a message for the box."""
        if command.verb not in self.info.commands:
            return Output(events=[command.result(CommandStatus.FAILED, now, f"a set-top box cannot {command.verb.value}")])
        try:
            device = plain_id(command.device.removeprefix("settop:") or self._device)
            data = encode_down(command.verb.value, command.id, **command.args)
        except (LocalProtocolError, RemoteProtocolError) as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._pending[command.id] = [command.verb.value, str(command.args.get("kind", ""))]
        if len(self._pending) > PENDING_LIMIT:
            del self._pending[next(iter(self._pending))]
        return Output(replies=[Send(data, to=DOWN_TOPIC.fill({"device": device}))])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """What is on, and which commands wait for an answer."""
        newest = dict(list(self._pending.items())[-20:])
        return json.dumps({"on": json.loads(self._edges.dump()), "pending": newest}).encode()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        try:
            found = json.loads(state)
            pending = {str(key): [str(verb), str(kind)] for key, (verb, kind) in found["pending"].items()}
            self._edges.load(json.dumps(found["on"]).encode())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        self._pending = pending

    def _say(self, frame: Frame, message: UpMessage, body: Body, output: Output) -> None:
        """Add the event, unless it repeats a state or is an old alarm that the broker kept."""
        device = f"settop:{message.device}"
        if isinstance(body, Occurrence):
            is_alarm = OCCURRENCES[body.kind].lane is Lane.ALARM
            key = f"{device}|{body.kind.value}"
            began = bool(self._edges.last(key))
            news = True
            if body.state is not State.PULSE:
                turned = self._edges.turn(key, "on" if body.state is State.START else "", retained=frame.retained and is_alarm)
                # Every SOS that somebody presses is news: repetition is the rules' business.
                news = turned or (body.kind is _K.SOS and body.state is State.START and not frame.retained)
            if body.state is State.END and is_alarm and not began:
                return
            if frame.retained and body.state is not State.END and (is_alarm or body.state is State.PULSE):
                output.tolerated.append(_old(body.kind.value, frame))
                return
            if not news:
                return
        elif frame.retained and not isinstance(body, DeviceHealth):
            output.tolerated.append(_old(message.type, frame))
            return
        output.events.append(frame.event(device, body, at_ms=message.at_ms, ref=message.ref))

    def _hello(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        health = DeviceHealth(online=True, model=fields.get("model"), firmware=fields.get("firmware"), serial=fields.get("serial"))
        return [Occurrence(kind=_K.OFFLINE, state=State.END), health, *_power(fields)]

    def _heartbeat(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        volume = {"volume": str(fields["volume"])} if "volume" in fields else None
        health = DeviceHealth(online=True, uptime_s=fields.get("uptime_s"), rssi_dbm=fields.get("rssi_dbm"), parameters=volume)
        return [Occurrence(kind=_K.OFFLINE, state=State.END), health, *_power(fields)]

    def _offline(self, message: UpMessage) -> list[Body]:
        return [Occurrence(kind=_K.OFFLINE, state=State.START), DeviceHealth(online=False)]

    def _sos(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        detail = fields.get("detail") or (f"key {fields['key']}" if "key" in fields else None)
        if fields.get("test"):
            return [Occurrence(kind=_K.TEST, detail=detail)]
        state = State.END if fields.get("state") == "cancel" else State.START
        return [Occurrence(kind=_K.SOS, state=state, detail=detail)]

    def _key(self, message: UpMessage) -> list[Body]:
        key, press = message.fields["key"], message.fields.get("press", "short")
        if key.lower() in self._sos_keys:
            return [Occurrence(kind=_K.SOS, state=State.START, detail=f"key {key}")]
        return [Occurrence(kind=_K.BUTTON, detail=key if press == "short" else f"{key} {press}")]

    def _service(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        item = f"{fields['board']}.{fields['item']}" if "item" in fields else fields["board"]
        return [ServiceRequest(item=item, detail=fields.get("detail"), number=fields.get("number"))]

    def _presence(self, message: UpMessage) -> list[Body]:
        return [Occurrence(kind=_K.PRESENCE, state=State.START if message.fields["present"] else State.END)]

    def _state(self, message: UpMessage) -> list[Body]:
        shown: dict[str, str] = {name: str(message.fields[name]) for name in ("power", "volume") if name in message.fields}
        return [*([DeviceHealth(parameters=shown)] if shown else []), *_power(message.fields)]

    def _reminder(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        answer, command = fields["answer"], fields["re"]
        verb, kind = self._answered(command, "remind", final=answer != "snooze")
        if answer == "snooze":
            wait = f"snoozed {fields['minutes']} min" if "minutes" in fields else "snoozed"
            result = CommandResult(command=command, verb=verb, status=CommandStatus.RUNNING, detail=wait)
            return [Occurrence(kind=_K.REMINDER_SNOOZED, detail=wait), result]
        if answer == "none":
            result = CommandResult(command=command, verb=verb, status=CommandStatus.DONE, detail="no answer")
            return [Occurrence(kind=_K.REMINDER_UNANSWERED), result]
        taken = (fields.get("kind") or kind) in MEDICINE
        result = CommandResult(command=command, verb=verb, status=CommandStatus.DONE, detail="confirmed")
        return [Occurrence(kind=_K.REMINDER_CONFIRMED), *([Occurrence(kind=_K.MEDICATION_TAKEN)] if taken else []), result]

    def _consent(self, message: UpMessage) -> list[Body]:
        answer, command = message.fields["answer"], message.fields["re"]
        verb, _ = self._answered(command, "video_request", final=True)
        said = {"accept": "accepted", "decline": "declined", "none": "no answer"}[answer]
        status = CommandStatus.DONE if answer == "accept" else CommandStatus.FAILED
        detail = f"{said}, session {message.fields['session']}" if answer == "accept" and "session" in message.fields else said
        return [Occurrence(kind=_K.VIDEO_CONSENT, detail=said), CommandResult(command=command, verb=verb, status=status, detail=detail)]

    def _result(self, message: UpMessage) -> list[Body]:
        fields = message.fields
        pending = self._pending.get(fields["re"], ["unknown", ""])[0]
        # A shown reminder or request is not over: its answer is still to come.
        final = fields["status"] == "failed" or (fields["status"] == "done" and pending not in ("remind", "video_request"))
        verb, _ = self._answered(fields["re"], "unknown", final=final)
        status = CommandStatus(fields["status"]) if final or fields["status"] != "done" else CommandStatus.RUNNING
        if verb == "unknown":
            status = CommandStatus(fields["status"])
        return [CommandResult(command=fields["re"], verb=verb, status=status, detail=fields.get("detail"))]

    def _answered(self, command: str, verb: str, *, final: bool) -> tuple[str, str]:
        found = self._pending.pop(command, None) if final else self._pending.get(command)
        return (found[0], found[1]) if found else (verb, "")


def _power(fields: dict[str, Any]) -> list[Body]:
    if "power" not in fields:
        return []
    return [Occurrence(kind=_K.RUNNING, state=State.START if fields["power"] == "on" else State.END)]


def _acknowledge(output: Output, device: str, ref: str | None) -> None:
    if ref:
        output.acks.append(Send(encode_down("ack", ref=ref), to=DOWN_TOPIC.fill({"device": device})))


def _old(what: str, frame: Frame) -> Reject:
    return Reject(Reason.UNSUPPORTED, f"retained message: {what} is from before, not news", frame.data[:200])


_MEANING: dict[str, Callable[[SetTop, UpMessage], list[Body]]] = {
    "hello": SetTop._hello, "heartbeat": SetTop._heartbeat, "offline": SetTop._offline, "sos": SetTop._sos, "key": SetTop._key,
    "service": SetTop._service, "presence": SetTop._presence, "state": SetTop._state, "reminder": SetTop._reminder,
    "consent": SetTop._consent, "result": SetTop._result,
}  # fmt: skip

DRIVER = SetTop

__all__ = ["DRIVER", "UP_TOPIC", "SetTop"]
