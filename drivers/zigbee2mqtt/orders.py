"""Commands as messages to the bridge, made from what a device says that can be set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from drivers.api import Command, DriverError, Verb
from drivers.zigbee2mqtt.signals import is_valve
from protocols.mqtt.json_path import word
from protocols.mqtt.zigbee2mqtt import GETTABLE, SETTABLE, Definition, Property

JOIN_LIMIT_S = 254
"""Longest time that a Zigbee network may stay open (255 would mean for ever)."""
SIREN_S = 180
_VALVES = ("valve", "valve_state", "state", "water_valve", "gas_valve", "gas_valve_state")
_SIRENS = ("alarm", "siren", "sound_alarm", "siren_state", "beeper")


class OrderError(DriverError):
    """A command that this device cannot carry out."""


def order(command: Command, name: str, device: Definition | None) -> tuple[str, dict[str, Any]]:
    """Topic below the base and payload of a command. Raises OrderError."""
    args = command.args
    if command.verb is Verb.PERMIT_JOIN:
        seconds = min(max(int(args.get("seconds", 0)), 0), JOIN_LIMIT_S)
        return "bridge/request/permit_join", {"time": seconds, "transaction": command.id}
    if command.verb is Verb.SIREN:
        return f"{name}/set", _siren(bool(args.get("on")), args.get("seconds"), device)
    if command.verb is Verb.VALVE:
        return f"{name}/set", _valve(bool(args.get("open")), device)
    if command.verb is Verb.CONFIGURE:
        return f"{name}/set", _configure(str(args.get("name", "")), args.get("value"), device)
    if command.verb is Verb.QUERY:
        return f"{name}/get", _query(args.get("name"), device)
    raise OrderError(f"zigbee2mqtt has no {command.verb.value}")


def _siren(on: bool, seconds: Any, device: Definition | None) -> dict[str, Any]:
    wanted = seconds if isinstance(seconds, int) and 0 < seconds <= 1800 else SIREN_S
    warning = {"mode": "emergency" if on else "stop", "level": "very_high", "strobe": on, "duration": wanted if on else 0}
    if device is None:
        return {"warning": warning}
    tops = {leaf.path[0]: leaf for leaf in device.leaves if len(leaf.path) == 1 and leaf.access & SETTABLE}
    if "warning" in tops:
        modes = next((leaf.values for leaf in device.leaves if leaf.path == ("warning", "mode")), ())
        if on and modes and "emergency" not in modes:
            warning["mode"] = next((mode for mode in modes if mode != "stop"), "emergency")
        return {"warning": warning}
    for leaf in _named(tops, _SIRENS):
        timer = next((top for top in ("duration", "alarm_time") if top in tops and on), None)
        return {**({timer: wanted} if timer else {}), leaf.path[0]: _switched(leaf, on)}
    raise OrderError(f"{device.name} has no siren: nothing called warning, {', '.join(_SIRENS)} can be set")


def _valve(is_open: bool, device: Definition | None) -> dict[str, Any]:
    if device is None:
        # Its exposes are not known yet; nearly every valve is a switch, and closing gas must not wait.
        return {"state": "ON" if is_open else "OFF"}
    tops = {leaf.path[0]: leaf for leaf in device.leaves if len(leaf.path) == 1 and leaf.access & SETTABLE}
    for leaf in _named(tops, _VALVES):
        if leaf.name == "state" and not is_valve(device):
            continue
        return {leaf.path[0]: _switched(leaf, is_open)}
    raise OrderError(f"{device.name} ({device.vendor} {device.model}) has no valve that can be set")


def _configure(name: str, value: Any, device: Definition | None) -> dict[str, Any]:
    leaf = next((leaf for leaf in device.leaves if leaf.path == (name,)), None) if device else None
    if leaf is None or not leaf.access & SETTABLE:
        known = ", ".join(leaf.path[0] for leaf in device.leaves if leaf.access & SETTABLE) if device else ""
        raise OrderError(f"{name!r} cannot be set; it can: {known or 'nothing that is known yet'}")
    if leaf.values and word(value) not in map(word, leaf.values):
        raise OrderError(f"{name}: one of {', '.join(leaf.values)} expected, got {value!r}")
    try:
        return {name: json.loads(value) if isinstance(value, str) and leaf.kind != "enum" else value}
    except ValueError:
        return {name: value}


def _query(name: Any, device: Definition | None) -> dict[str, Any]:
    if isinstance(name, str) and name:
        return {name: ""}
    found = [leaf.path[0] for leaf in device.leaves if leaf.access & GETTABLE and len(leaf.path) == 1] if device else ["state"]
    if not found:
        raise OrderError(f"{device.name if device else 'the device'} has nothing that can be asked for")
    return dict.fromkeys(found, "")


def _named(tops: dict[str, Property], names: tuple[str, ...]) -> Iterator[Property]:
    for name in names:
        yield from (leaf for leaf in tops.values() if leaf.name == name)


def _switched(leaf: Property, on: bool) -> Any:
    """The device's own word for on (open) or off (closed)."""
    if leaf.kind == "binary":
        return leaf.value_on if on else leaf.value_off
    wanted = ("on", "open", "opened", "true", "high", "very_high", "medium") if on else ("off", "close", "closed", "false", "stop", "mute")
    words = {word(value): value for value in leaf.values}
    found = next((words[name] for name in wanted if name in words), None)
    if found is None:
        raise OrderError(f"{leaf.path[0]}: no word for {'on' if on else 'off'} among {', '.join(leaf.values)}")
    return found
