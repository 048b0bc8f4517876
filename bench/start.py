"""Start-up: from `anhu run` to the first device answered, and the memory of an idle gateway with every kind of wire."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 5


def measure() -> dict[str, Any]:
    """Seconds to the first acknowledged frame (best and median), RSS in MB."""
    seconds, rss = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            took, memory = once(Path(folder))
            seconds.append(took)
            rss.append(memory)
    return {
        "first_event_s": round(sorted(seconds)[ROUNDS // 2], 3),
        "first_event_best_s": round(min(seconds), 3),
        "idle_rss_mb": round(sorted(rss)[ROUNDS // 2], 1),
    }


def once(folder: Path) -> tuple[float, float]:
    """One start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "devices.csv").write_text("device,driver\nwatch:8800000015,watch\n")
    (folder / "anhu.toml").write_text(
        f'[gateway]\ndata_dir = "data"\n[devices]\nfile = "devices.csv"\n[mqtt]\nbroker = "auto"\nport = 0\n'
        f'[[subscribe]]\ndriver = "mqtt_json"\n[[subscribe]]\ndriver = "settop"\n[[listen]]\nport = {port}\ndriver = "watch"\n'
        '[[uplink]]\nname = "city"\nhost = "127.0.0.1"\nport = 9\n'
    )
    frame = b"[3G*8800000015*0009*LK,5,0,80]"
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "run", "--settings", str(folder / "anhu.toml")], stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as device:
                    device.sendall(frame)
                    assert device.recv(100)
                    break
            except OSError:
                time.sleep(0.005)
        took = time.monotonic() - begun
        time.sleep(1.5)
        pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
        return took, pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    finally:
        child.terminate()
        child.wait()
