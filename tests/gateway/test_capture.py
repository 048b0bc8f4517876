from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers.api import Frame, Instant, Transport
from drivers.watch.driver import DRIVER
from gateway.capture import Capture
from gateway.errors import AnhuError
from gateway.session import Session

LK = b"[3G*8800000015*0002*LK]"


def frames(*data: bytes) -> list[Frame]:
    return [Frame(data=one, received=Instant(1795336215000, 1.0), transport=Transport.TCP, peer="127.0.0.1:5000") for one in data]


def session() -> Session:
    return Session(DRIVER, {}, "watch:8800000015", lambda sends: None)


def test_a_recording_is_read_by_replay(tmp_path: Path) -> None:
    from gateway.cli.main import main

    path = tmp_path / "capture.jsonl"
    capture = Capture(path, most_bytes=10_000, mask=False)
    capture.take(session(), frames(LK, LK))
    capture.close()
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["driver"], line["frame"], line["device"]) == ("watch", LK.hex(), "watch:8800000015")
    assert path.stat().st_mode & 0o077 == 0
    assert main(["replay", "--capture", str(path)]) == 0


def test_a_recording_is_bounded_also_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    for _ in range(3):
        capture = Capture(path, most_bytes=1000, mask=False)
        for _ in range(20):
            capture.take(session(), frames(LK))
        capture.close()
    assert 500 < path.stat().st_size <= 1000


def test_masked_numbers_are_others_but_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    capture = Capture(path, most_bytes=10_000, mask=True)
    capture.take(session(), frames(LK, LK))
    capture.close()
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert "8800000015" not in path.read_text()
    assert "device" not in first
    assert first["frame"] == second["frame"] != LK.hex()
    assert len(bytes.fromhex(first["frame"])) == len(LK)


def test_a_folder_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(AnhuError, match="No such file"):
        Capture(tmp_path / "absent" / "x.jsonl", most_bytes=1, mask=False)
