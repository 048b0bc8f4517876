"""A community in virtual time against a gateway's own pipeline: a day in seconds, judged like a run on wires.

The bytes of the devices go as a capture into `anhu replay` (a process of its own: the simulator imports nothing of the gateway),
its events come back and are held against the truth. Devices are answered by a `Centre`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.events import epoch_ms, rfc3339
from simulator.centre import Centre
from simulator.community import Community
from simulator.devices.device import WireKind
from simulator.errors import TargetError
from simulator.faults.fault import Fault
from simulator.stage import Sent, play
from simulator.truth import Score, Scorer, Truth

REPLAY = (sys.executable, "-m", "gateway.cli", "replay")
DEVICE_COLUMNS = ("device", "driver", "subject", "name", "place", "wire", "options")
LAST_LINE = 2000
"""How much of the gateway's complaint is shown."""


@dataclass(frozen=True)
class VirtualRun:
    """What came of it. `frames`: bytes sent, in parcels; `events`: what the pipeline gave, rule events included."""

    score: Score
    frames: int
    events: int


def capture(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    truth: Truth,
    faults: Mapping[str, Iterable[Fault]] | None = None,
) -> Iterator[dict[str, Any]]:
    """The lines of a capture as `anhu replay --capture` reads them: driver, received, conn and the bytes."""
    members = {member.device.id: member for member in community.members}
    devices = [(member.device, member.subject) for member in community.members]
    for sent in play(devices, community.plan(), seconds=seconds, start_ms=start_ms, truth=truth, centre=Centre(), faults=faults):
        device = members[sent.device].device
        yield _line(sent, device.driver, device.wire, members[sent.device].mac)


def run_virtual(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    faults: Mapping[str, Iterable[Fault]] | None = None,
    replay: Sequence[str] = REPLAY,
    limits: Mapping[str, int] | None = None,
) -> VirtualRun:
    """Play the community, feed the gateway, judge. Raises TargetError when the gateway fails."""
    truth = Truth()
    scorer = Scorer(limits=limits)
    truth.follow(scorer.expect)
    frames = 0
    with tempfile.TemporaryDirectory(prefix="anhu-sim-") as name:
        folder = Path(name)
        with (folder / "capture.jsonl").open("w", encoding="utf-8") as file:
            for line in capture(community, seconds=seconds, start_ms=start_ms, truth=truth, faults=faults):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                frames += 1
        write_devices(community, folder / "devices.csv")
        command = [*replay, "--capture", str(folder / "capture.jsonl"), "--devices", str(folder / "devices.csv")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TargetError(f"replay ended with {done.returncode}: {done.stderr[-LAST_LINE:].strip()}", hint="run: anhu replay --help")
    documents = [json.loads(line) for line in done.stdout.splitlines() if line]
    for document in documents:
        scorer.deliver(document, epoch_ms(document["received"]))
    return VirtualRun(scorer.result(start_ms + round(seconds * 1000), grace_ms=1000), frames, len(documents))


def write_devices(community: Community, path: Path) -> None:
    """The registry as the gateway's devices file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(DEVICE_COLUMNS)
        for row in community.registry():
            options = json.dumps(row["options"], ensure_ascii=False) if row["options"] else ""
            writer.writerow([*(row[column] or "" for column in DEVICE_COLUMNS[:-1]), options])


def _line(sent: Sent, driver: str, wire: WireKind, mac: str) -> dict[str, Any]:
    line: dict[str, Any] = {"driver": driver, "received": rfc3339(sent.at_ms), "device": sent.device, "conn": sent.device}
    if wire is WireKind.MQTT:
        return {**line, "topic": sent.parcel.to, "payload": sent.parcel.data.decode("utf-8", "replace")}
    if wire is WireKind.BLE:
        return {**line, "address": mac, "uuid": sent.parcel.to, "frame": sent.parcel.data.hex()}
    return {**line, "frame": sent.parcel.data.hex()}
