"""What the driver makes of a list of device definitions: every value that each can send is played, and what comes out is counted.

    python -m drivers.zigbee2mqtt.survey DUMP docs/devices.md

DUMP holds one JSON object a line (`vendor`, `model`, `description`, `exposes`) and a last line with counts, as
`node tests/drivers/dump.mjs FOLDER` prints it for the npm package zigbee-herdsman-converters.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from drivers.api import OCCURRENCES, QUANTITIES, Command, DeviceHealth, Event, Frame, Instant, Measurement, Occurrence, Transport, Verb
from drivers.vocabulary import Lane
from drivers.zigbee2mqtt.driver import Zigbee2Mqtt
from protocols.mqtt.zigbee2mqtt import encode, encode_device

NOW = Instant(1795336215000, 1000.0)
BATCH = 200
"""Definitions in one bridge/devices, as many as a large network has."""
ROUNDS_LIMIT = 60
"""Values of one property that are played; the longest list of a care signal is about 40."""


class Survey(NamedTuple):
    """`kinds`: capability -> numbers of the definitions that showed it. `rejects`: text -> how often. `events`: all, to be checked."""

    definitions: int
    kinds: dict[str, set[int]]
    rejects: Counter[str]
    events: list[Event]


def survey(rows: list[dict[str, Any]]) -> Survey:
    """Play every definition through the driver."""
    kinds: dict[str, set[int]] = defaultdict(set)
    rejects: Counter[str] = Counter()
    events: dict[Any, Event] = {}
    for begin in range(0, len(rows), BATCH):
        batch = rows[begin : begin + BATCH]
        driver = Zigbee2Mqtt({}, None)
        entries = [_entry(f"d{i}", row) for i, row in enumerate(batch, begin)]
        learned = driver.receive(_frame("zigbee2mqtt/bridge/devices", entries))
        rejects.update(reject.detail for reject in learned.rejects)
        for i, row in enumerate(batch, begin):
            for state in states(row["exposes"]):
                output = driver.receive(_frame(f"zigbee2mqtt/d{i}", state))
                rejects.update(f"{row.get('vendor')} {row.get('model')}: {reject.detail}" for reject in output.rejects)
                for event in output.events:
                    events[event.body] = event
                    for name in _names(event):
                        kinds[name].add(i)
            for verb, args in ((Verb.SIREN, {"on": True}), (Verb.VALVE, {"open": False})):
                if driver.command(Command(id="c", verb=verb, device=f"zigbee2mqtt:d{i}", args=args), NOW).replies:
                    kinds[f"command {verb.value}"].add(i)
    return Survey(len(rows), kinds, rejects, list(events.values()))


def states(exposes: list[Any]) -> Iterator[dict[str, Any]]:
    """States in which every property takes each of its values at least once: the n-th state holds the n-th value of all."""
    values: dict[tuple[str, ...], list[Any]] = {}
    _collect(exposes, (), values)
    for turn in range(min(ROUNDS_LIMIT, max(map(len, values.values()), default=0))):
        state: dict[str, Any] = {}
        for path, choice in values.items():
            inner = state
            for step in path[:-1]:
                inner = inner.setdefault(step, {}) if isinstance(inner, dict) else {}
            if isinstance(inner, dict):
                inner.setdefault(path[-1], choice[turn % len(choice)])
        yield state


def _collect(nodes: Any, path: tuple[str, ...], values: dict[tuple[str, ...], list[Any]]) -> None:
    for node in nodes if isinstance(nodes, list) else ():
        prop, kind = node.get("property"), node.get("type")
        if "features" in node:
            _collect(node["features"], (*path, prop) if kind in ("composite", "list") and prop else path, values)
        elif prop:
            values.setdefault((*path, prop), []).extend(_values(node, kind))


def _values(node: dict[str, Any], kind: Any) -> list[Any]:
    if kind == "binary":
        return [node.get("value_on", True), node.get("value_off", False)]
    if kind == "enum":
        return list(node.get("values") or [""])
    if kind == "numeric":
        low, high = node.get("value_min", 1), node.get("value_max", 60)
        return [low, high, (low + high) / 2] if isinstance(low, int | float) and isinstance(high, int | float) else [1, 60]
    return ["", "text"] if kind == "text" else [[]]


def _entry(name: str, row: dict[str, Any]) -> dict[str, Any]:
    entry = encode_device(name, row["exposes"], ieee=f"0x{name}", model=row.get("model", ""), vendor=row.get("vendor", ""))
    entry["definition"]["description"] = row.get("description", "")
    return entry


def _frame(topic: str, payload: Any) -> Frame:
    return Frame(data=encode(payload), received=NOW, transport=Transport.MQTT, topic=topic)


def _names(event: Event) -> Iterator[str]:
    body = event.body
    if isinstance(body, Occurrence):
        yield body.kind.value
    elif isinstance(body, Measurement):
        yield body.quantity.value
    elif isinstance(body, DeviceHealth):
        yield from (f"health {name}" for name in ("battery_percent", "battery_mv", "signal") if getattr(body, name) is not None)


def read_dump(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Definitions and counts of a dump."""
    *rows, counts = (json.loads(line) for line in text.splitlines() if line)
    return rows, counts


def render(found: Survey, counts: dict[str, Any]) -> str:
    """docs/devices.md."""
    lanes = {kind.value: row.lane for kind, row in OCCURRENCES.items()}
    english = {kind.value: row.en for kind, row in OCCURRENCES.items()} | {quantity.value: row.en for quantity, row in QUANTITIES.items()}
    groups: dict[str, Callable[[str], bool]] = {
        "Alarms": lambda name: lanes.get(name) is Lane.ALARM,
        "States and happenings": lambda name: name in lanes and lanes[name] is not Lane.ALARM,
        "Measurements": lambda name: name in english and name not in lanes,
        "Device health": lambda name: name.startswith("health "),
        "Commands": lambda name: name.startswith("command "),
    }
    lines = [
        "# Zigbee devices by what they can tell",
        "",
        f"Measured on the {found.definitions} device definitions of zigbee-herdsman-converters {counts.get('version', '')}.",
        "Every value that a definition can send was played through the driver [`zigbee2mqtt`](../drivers/zigbee2mqtt/README.md),",
        "which knows no models, only the rules of what a device exposes. A definition counts once for each thing that it showed.",
        f"Definitions that show at least one: {len(set().union(*found.kinds.values()))}. Generated; to make it anew:",
        "",
        "```",
        "npm install --prefix DIR zigbee-herdsman-converters",
        "node tests/drivers/dump.mjs DIR > dump.jsonl",
        "python -m drivers.zigbee2mqtt.survey dump.jsonl docs/devices.md",
        "```",
    ]
    for title, belongs in groups.items():
        names = sorted((name for name in found.kinds if belongs(name)), key=lambda name: (-len(found.kinds[name]), name))
        lines += ["", f"## {title}", "", "| what | name | definitions |", "|---|---|---|"]
        lines += [f"| {english.get(name, name.split(' ')[-1].replace('_', ' '))} | `{name}` | {len(found.kinds[name])} |" for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    dumped, summary = read_dump(Path(sys.argv[1]).read_text("utf-8"))
    Path(sys.argv[2]).write_text(render(survey(dumped), summary), "utf-8")
