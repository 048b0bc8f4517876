"""A community in virtual time against a gateway's own pipeline: a day in seconds, judged like a run on wires.

The bytes of the devices go as a capture into `anhu replay` (a process of its own: the simulator imports nothing of the gateway),
its events come back through a pipe and are held against the truth while both go on. Devices are answered by a `Centre`. Nothing
grows with the length of the run but what is outstanding.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from drivers.events import epoch_ms, rfc3339
from simulator.centre import Centre
from simulator.community import Community
from simulator.devices.device import WireKind
from simulator.errors import TargetError
from simulator.faults.fault import Fault
from simulator.members import Member
from simulator.stage import Sent, play
from simulator.truth import Entry, Score, Scorer, Truth
from simulator.wires.on_air import read

REPLAY = (sys.executable, "-m", "gateway.cli", "replay")
DEVICE_COLUMNS = ("device", "driver", "subject", "name", "place", "wire", "options")
PEOPLE_COLUMNS = ("subject", "tags", "language", "home")
ON_AIR = {"service": "service_uuid", "company": "manufacturer_id", "value": "characteristic"}
"""Keys of a capture by what the bytes are."""
LAST_LINE = 2000
"""How much of the gateway's complaint is shown."""
CHUNK_BYTES = 1 << 16

_quoted = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class VirtualRun:
    """What came of it. `frames`: bytes sent, in parcels; `events`: what the pipeline gave, rule events included."""

    score: Score
    frames: int
    events: int


class Listener:
    """Hears what happens and what comes out, for reports. Both are called in the order of the run, one at a time."""

    def expect(self, entry: Entry) -> None:
        """Something happened."""

    def deliver(self, document: Mapping[str, Any], delivered_ms: int) -> None:
        """Something was told."""


def capture(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    truth: Truth,
    faults: Mapping[str, Iterable[Fault]] | None = None,
) -> Iterator[bytes]:
    """The lines of a capture as `anhu replay --capture` reads them: JSON with driver, received, device, conn and the bytes."""
    write = {member.device.id: _writer(member) for member in community.members}
    # A replay has no door-keeper: what the running gateway would turn away is not fed to it.
    members = sorted((member for member in community.members if member.is_known or member.through), key=lambda member: bool(member.through))
    devices = [(member.device, member.subject) for member in members]
    through = {member.device.id: member.through for member in members if member.through}
    given: dict[str, Any] = {"seconds": seconds, "start_ms": start_ms, "truth": truth, "centre": Centre(), "faults": faults}
    for sent in play(devices, community.plan(), through=through, **given):
        yield write[sent.device](sent)


def run_virtual(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    faults: Mapping[str, Iterable[Fault]] | None = None,
    replay: Sequence[str] = REPLAY,
    limits: Mapping[str, int] | None = None,
    rules: str = "",
    hear: Listener | None = None,
) -> VirtualRun:
    """Play the community, feed the gateway, judge. `rules`: settings of the gateway's rules, TOML. Raises TargetError when it fails."""
    given: dict[str, Any] = {"seconds": seconds, "start_ms": start_ms, "faults": faults, "replay": replay, "rules": rules}
    judged = judge_virtual(community, **given, limits=limits, hear=hear)
    return judged.run(start_ms + round(seconds * 1000))


class Judged(NamedTuple):
    """A run before its end is counted: what was expected and found, parcels sent, events received."""

    scorer: Scorer
    frames: int
    events: int

    def run(self, end_ms: int) -> VirtualRun:
        """The result."""
        return VirtualRun(self.scorer.result(end_ms, grace_ms=1000), self.frames, self.events)


def judge_virtual(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    faults: Mapping[str, Iterable[Fault]] | None,
    replay: Sequence[str],
    limits: Mapping[str, int] | None,
    rules: str,
    hear: Listener | None,
) -> Judged:
    """`run_virtual` without the last count, for runs in parts."""
    truth = Truth(keep=0)
    judge = _Judge(Scorer(limits=limits), hear or Listener())
    truth.follow(judge.expect)
    end_ms = start_ms + round(seconds * 1000)
    with tempfile.TemporaryDirectory(prefix="anhu-sim-") as name:
        folder = Path(name)
        write_devices(community, folder / "devices.csv")
        write_people(community, folder / "people.csv")
        command = [*replay, "--capture", "-", "--devices", str(folder / "devices.csv"), "--people", str(folder / "people.csv")]
        if rules:
            (folder / "rules.toml").write_text(rules, "utf-8")
            command += ["--rules", str(folder / "rules.toml")]
        command += ["--until", rfc3339(end_ms)]
        lines = capture(community, seconds=seconds, start_ms=start_ms, truth=truth, faults=faults)
        with (folder / "complaints").open("w+b") as complaints:
            frames = _through(command, lines, judge, complaints)
    return Judged(judge.scorer, frames, judge.events)


class _Judge:
    """Brings what happens and what comes out together from two threads."""

    def __init__(self, scorer: Scorer, hear: Listener) -> None:
        self.scorer = scorer
        self.events = 0
        self._hear = hear
        self._lock = threading.Lock()

    def expect(self, entry: Entry) -> None:
        with self._lock:
            self.scorer.expect(entry)
            self._hear.expect(entry)

    def listen(self, pipe: IO[bytes]) -> None:
        """Take every document of the pipe, until it ends."""
        decode = msgspec.json.Decoder().decode
        for line in pipe:
            try:
                document = decode(line)
                received_ms = epoch_ms(document["received"])
            except (ValueError, KeyError, TypeError):
                document, received_ms = {}, 0
            with self._lock:
                self.events += 1
                self.scorer.deliver(document, received_ms)
                self._hear.deliver(document, received_ms)


def _through(command: Sequence[str], lines: Iterable[bytes], judge: _Judge, complaints: IO[bytes]) -> int:
    """Feed the gateway while its answers are read; how many lines went in."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, bufsize=CHUNK_BYTES)
    assert child.stdin is not None and child.stdout is not None
    reader = threading.Thread(target=judge.listen, args=(child.stdout,), name="replayed events", daemon=True)
    reader.start()
    frames = 0
    try:
        frames = _write(child.stdin, lines)
    except BaseException:
        child.kill()
        raise
    finally:
        reader.join()
        child.stdout.close()
        code = child.wait()
    if code != 0:
        complaints.seek(0)
        text = complaints.read().decode("utf-8", "replace")
        raise TargetError(f"replay ended with {code}: {text[-LAST_LINE:].strip()}", hint="run: anhu replay --help")
    return frames


def _write(pipe: IO[bytes], lines: Iterable[bytes]) -> int:
    """Everything into the pipe; how many lines. A gateway that ends before its input tells why by its exit code and its words."""
    frames, chunk = 0, bytearray()
    try:
        with pipe:
            for line in lines:
                frames += 1
                chunk += line
                if len(chunk) >= CHUNK_BYTES:
                    pipe.write(chunk)
                    chunk.clear()
            pipe.write(chunk)
    except BrokenPipeError:
        pass
    return frames


def write_devices(community: Community, path: Path) -> None:
    """The registry as the gateway's devices file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(DEVICE_COLUMNS)
        for row in community.registry():
            options = json.dumps(row["options"], ensure_ascii=False) if row["options"] else ""
            writer.writerow([*(row[column] or "" for column in DEVICE_COLUMNS[:-1]), options])


def write_people(community: Community, path: Path) -> None:
    """The residents as the gateway's people file: the persona is the group whose rule settings they get."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(PEOPLE_COLUMNS)
        for resident in community.residents:
            writer.writerow([resident.id, resident.persona.name.replace(" ", "_"), "zh", resident.flat])


def _writer(member: Member) -> Callable[[Sent], bytes]:
    """Makes the line of a parcel; what is the same for every line of a device is written once."""
    device = member.device
    ident = _quoted(device.id).decode()
    head = f'{{"driver":"{device.driver}","device":{ident},"conn":{ident}'
    if device.wire is WireKind.MQTT:

        def published(sent: Sent) -> bytes:
            topic = _quoted(sent.parcel.to).decode()
            try:
                payload = '"payload":' + _quoted(sent.parcel.data.decode()).decode()
            except UnicodeDecodeError:
                payload = f'"payload_hex":"{sent.parcel.data.hex()}"'
            return f'{head},"received":"{rfc3339(sent.at_ms)}","topic":{topic},{payload}}}\n'.encode()

        return published
    if device.wire is WireKind.BLE:
        head += f',"address":"{member.mac}"'

        def heard(sent: Sent) -> bytes:
            to = read(sent.parcel.to)
            if to.kind not in ON_AIR:
                # An advertisement that only asks to be connected, and the end of a connection: in virtual time nobody connects.
                return b""
            what = f'"{ON_AIR[to.kind]}":' + (str(int(to.number, 16)) if to.kind == "company" else f'"{to.number}"')
            where = f',"receiver":{_quoted(to.receiver).decode()},"rssi":{to.rssi_dbm}' if to.rssi_dbm is not None else ""
            return f'{head},"received":"{rfc3339(sent.at_ms)}",{what}{where},"frame":"{sent.parcel.data.hex()}"}}\n'.encode()

        return heard

    def said(sent: Sent) -> bytes:
        return f'{head},"received":"{rfc3339(sent.at_ms)}","frame":"{sent.parcel.data.hex()}"}}\n'.encode()

    return said
