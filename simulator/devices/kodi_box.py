"""A television with Kodi: shows what it is told, changes its volume, plays, and has a red key. The gateway calls it.

Its answers are those of Kodi 20.1; what it does not know it refuses as Kodi does.
"""

from __future__ import annotations

from typing import Any

from drivers.vocabulary import OccurrenceKind
from protocols.errors import Reject, RemoteProtocolError
from protocols.mqtt.kodi import Answer, Notification, Request, Splitter, decode, encode
from protocols.mqtt.settop import BOARDS
from simulator.clock import Moment
from simulator.devices.device import NEVER_S, NOTHING, Act, Parcel, WireKind
from simulator.truth import Fact, begun

SHOWN = 100


class KodiBox:
    """One television. `shown`: what stood on the screen, newest last."""

    driver = "kodi"
    wire = WireKind.CALLED

    def __init__(self, id: str) -> None:
        self.id = id
        self.shown: list[dict[str, Any]] = []
        self.volume = 50
        self._is_muted = False
        self._splitter = Splitter()
        self.next_s = NEVER_S

    def up(self, now: Moment) -> Act:
        """Somebody has called; Kodi says nothing unasked."""
        self._splitter = Splitter()
        return NOTHING

    def down(self, now: Moment) -> None:
        """What was not answered is forgotten."""

    def step(self, now: Moment) -> Act:
        """It does nothing by itself."""
        return NOTHING

    def receive(self, data: bytes, now: Moment, to: str = "") -> Act:
        """Calls, answered one by one."""
        parcels: list[Parcel] = []
        for found in self._splitter.feed(data):
            if isinstance(found, Reject):
                continue
            try:
                message = decode(found)
            except RemoteProtocolError:
                continue
            if isinstance(message, Request):
                parcels += [Parcel(encode(answer)) for answer in self._call(message)]
        return Act(tuple(parcels))

    def happen(self, verb: str, args: dict[str, Any], now: Moment) -> Act:
        """`sos`: the red key, by the keymap; `service` (item: a board): a key of the menu."""
        if verb == "sos":
            return Act((Parcel(encode(Notification("Other.sos", "anhu", {"key": "red"}))),), (begun(OccurrenceKind.SOS),))
        if verb == "service" and args.get("item") in BOARDS:
            say = encode(Notification("Other.service", "anhu", {"board": args["item"]}))
            return Act((Parcel(say),), (Fact("service_request", args["item"]),))
        return NOTHING

    def _call(self, call: Request) -> list[Answer | Notification]:
        params = call.params
        if call.method == "JSONRPC.Ping":
            return [Answer(call.id, "pong", "")]
        if call.method == "Application.SetVolume" and isinstance(params.get("volume"), int):
            self.volume = max(0, min(params["volume"], 100))
            return [Answer(call.id, self.volume, ""), self._volume()]
        if call.method == "Application.SetMute":
            self._is_muted = params.get("mute") is True
            return [Answer(call.id, self._is_muted, ""), self._volume()]
        if call.method == "GUI.ShowNotification":
            self.shown = [*self.shown[-SHOWN + 1 :], params]
            return [Answer(call.id, "OK", "")]
        if call.method == "Player.Open":
            return [Answer(call.id, "OK", ""), Notification("Player.OnPlay", "xbmc", {"item": params.get("item")})]
        if call.method == "Input.ExecuteAction":
            return [Answer(call.id, "OK", ""), Notification("Player.OnStop", "xbmc", {"end": False})]
        return [Answer(call.id, None, "Method not found.")]

    def _volume(self) -> Notification:
        return Notification("Application.OnVolumeChanged", "xbmc", {"muted": self._is_muted, "volume": self.volume})
