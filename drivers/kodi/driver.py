"""Kodi as screen, voice and SOS key, over its JSON-RPC on TCP 9090. The gateway connects to it.

Source: Kodi wiki, "JSON-RPC API/v13"; protocols/mqtt/kodi.py.
"""

from __future__ import annotations

import re
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
from protocols.mqtt.edges import Edges
from protocols.mqtt.json_path import clean_text, number
from protocols.mqtt.kodi import Answer, Notification, Request, Splitter, decode, encode
from protocols.mqtt.settop import BOARDS, plain_text
from protocols.mqtt.topic import plain_id

_K = OccurrenceKind
PING_S = 60.0
PENDING_LIMIT = 50
SHOWN_S = 20
_URL = re.compile(r"(?:https?|rtsp)://[!-~]{1,490}")


class Kodi:
    """One Kodi."""

    info = DriverInfo(
        name="kodi",
        title="Television with Kodi",
        vendor="Team Kodi",
        models=("Kodi 19", "Kodi 20", "Kodi 21"),
        transports=(Transport.TCP,),
        emits=("sos", "button", "running", "power_off", "health", "service_request", "command_result"),
        commands=(Verb.MESSAGE, Verb.REMIND, Verb.PLAY, Verb.VOLUME, Verb.SIREN, Verb.SILENCE, Verb.RING),
        options=(
            Option("sender", "str", "anhu", "sender of the notifications that the keymap sends"),
            Option("siren_url", "str", "special://xbmc/media/anhu-siren.wav", "sound that `siren` plays"),
        ),
        source="Kodi wiki, JSON-RPC API v13",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        values = read_options(self.info, options)
        self._sender, self._siren = values["sender"], values["siren_url"]
        self._device = "kodi:" + (device or "unnamed").removeprefix("kodi:")
        self._splitter = Splitter()
        self._edges = Edges()
        self._pending: dict[str, tuple[Command, int]] = {}

    def receive(self, frame: Frame) -> Output:
        """Events of every message that this read completes."""
        output = Output(device=self._device)
        for found in self._splitter.feed(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
                continue
            try:
                message = decode(found)
            except RemoteProtocolError as error:
                output.rejects.append(error.reject(found))
                continue
            part = frame.part(found)
            if isinstance(message, Notification):
                output.events += [part.event(self._device, body) for body in self._notified(message)]
            elif isinstance(message, Answer):
                self._answered(message, frame.received, output)
            else:
                output.rejects.append(Reject(Reason.UNSUPPORTED, "a request from Kodi", found[:200]))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """The command as calls; its result is the answer to the last one."""
        try:
            calls = _calls(command, self._siren)
        except ValueError as error:
            return Output(events=[command.result(CommandStatus.FAILED, now, str(error))])
        self._pending[command.id] = (command, len(calls))
        if len(self._pending) > PENDING_LIMIT:
            del self._pending[next(iter(self._pending))]
        return Output(replies=[Send(encode(Request(f"{n} {command.id}", method, params))) for n, (method, params) in enumerate(calls)])

    def wake(self, now: Instant) -> Output:
        """A ping each minute: a television that was unplugged leaves its connection open."""
        ping = Send(encode(Request("ping", "JSONRPC.Ping", {})))
        return Output(replies=[ping], wake_s=now.s + PING_S)

    def _notified(self, message: Notification) -> list[Body]:
        data = message.data if isinstance(message.data, dict) else {}
        if message.method.startswith("Other."):
            return self._other(message.method[6:].lower(), data) if message.sender == self._sender else []
        if message.method in ("Player.OnPlay", "Player.OnResume", "Player.OnStop"):
            is_on = message.method != "Player.OnStop"
            if self._edges.turn("running", "on" if is_on else ""):
                return [Occurrence(kind=_K.RUNNING, state=State.START if is_on else State.END)]
        if message.method == "System.OnQuit":
            return [Occurrence(kind=_K.POWER_OFF, detail="Kodi was ended")]
        if message.method == "Application.OnVolumeChanged" and number(data.get("volume")) is not None:
            return [DeviceHealth(parameters={"volume": f"{number(data['volume']):.0f}", "muted": str(data.get("muted") is True).lower()})]
        return []

    def _other(self, name: str, data: dict[str, Any]) -> list[Body]:
        """What the keymap sends by `NotifyAll(anhu,...)`."""
        key = clean_text(data["key"], 40) if isinstance(data.get("key"), str) else None
        if name == "sos":
            return [Occurrence(kind=_K.SOS, state=State.START, detail=f"key {key}" if key else None)]
        if name == "service":
            board = data.get("board")
            return [ServiceRequest(item=board)] if isinstance(board, str) and board in BOARDS else []
        return [Occurrence(kind=_K.BUTTON, detail=key or clean_text(name, 40) or None)]

    def _answered(self, answer: Answer, now: Instant, output: Output) -> None:
        if answer.id == "ping":
            return
        _, _, command_id = answer.id.partition(" ")
        command, left = self._pending.get(command_id, (None, 0))
        if command is None:
            return
        if answer.error:
            del self._pending[command_id]
            output.events.append(command.result(CommandStatus.FAILED, now, answer.error))
        elif left <= 1:
            del self._pending[command_id]
            output.events.append(command.result(CommandStatus.DONE, now))
        else:
            self._pending[command_id] = (command, left - 1)


def _calls(command: Command, siren: str) -> list[tuple[str, dict[str, Any]]]:
    """Methods and parameters of a command. Raises ValueError saying why not."""
    args = command.args
    if command.verb in (Verb.MESSAGE, Verb.REMIND, Verb.RING):
        text = plain_text(args.get("text", "")) or ("在这里" if command.verb is Verb.RING else "")
        if not text:
            raise ValueError("text: a text expected, got nothing")
        title = plain_text(args.get("title", "")) or {Verb.REMIND: "提醒"}.get(command.verb, "安护")
        shown = {"title": title, "message": text, "displaytime": _seconds(args.get("seconds")) * 1000}
        return [*_louder(args), ("GUI.ShowNotification", shown)]
    if command.verb is Verb.PLAY:
        url = str(args.get("url", ""))
        if not _URL.fullmatch(url):
            raise ValueError(f"url: http, https or rtsp address expected, got {url[:80]!r}")
        return [*_louder(args), ("Player.Open", {"item": {"file": url}})]
    if command.verb is Verb.VOLUME:
        return [("Application.SetVolume", {"volume": _percent(args.get("percent"))})]
    if command.verb is Verb.SIREN and args.get("on"):
        loud: list[tuple[str, dict[str, Any]]] = [("Application.SetMute", {"mute": False}), ("Application.SetVolume", {"volume": 100})]
        return [*loud, ("Player.Open", {"item": {"file": siren}, "options": {"repeat": "one"}})]
    if command.verb in (Verb.SIREN, Verb.SILENCE):
        return [("Input.ExecuteAction", {"action": "stop"})]
    raise ValueError(f"Kodi cannot {command.verb.value}")


def _louder(args: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("Application.SetVolume", {"volume": _percent(args["volume"])})] if args.get("volume") is not None else []


def _percent(value: Any) -> int:
    found = number(value)
    if found is None or not 0 <= found <= 100:
        raise ValueError(f"volume: 0..100 expected, got {value!r}")
    return round(found)


def _seconds(value: Any) -> int:
    found = number(value)
    return SHOWN_S if found is None else round(min(max(found, 2), 3600))


def keymap(sender: str = "anhu") -> str:
    """A Kodi keymap whose red key calls for help: `userdata/keymaps/anhu.xml`."""
    plain_id(sender)
    action = f'NotifyAll({sender},sos,{{"key":"red"}})'.replace('"', "&quot;")
    return f"<keymap><global><remote><red>{action}</red></remote><keyboard><f10>{action}</f10></keyboard></global></keymap>\n"


DRIVER = Kodi
