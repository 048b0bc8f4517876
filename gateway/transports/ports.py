"""Which serial ports this machine has, under names that stay, and whether we may open them (pyserial's list)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

STABLE = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
"""by-id names the adapter, by-path the socket it is plugged into: for two adapters without serial numbers."""


def found() -> list[dict[str, Any]]:
    """One row a port: `port` (the name to put into the settings), `device`, `vid`, `pid`, `serial`, `product`, `usable`, `hint`."""
    from serial.tools import list_ports

    names = stable_names()
    rows = []
    for info in sorted(list_ports.comports(), key=lambda port: port.device):
        usable = os.access(info.device, os.R_OK | os.W_OK)
        rows.append(
            {
                "port": names.get(os.path.realpath(info.device), info.device),
                "device": info.device,
                "vid": f"{info.vid:04x}" if info.vid is not None else None,
                "pid": f"{info.pid:04x}" if info.pid is not None else None,
                "serial": info.serial_number,
                "product": info.product,
                "usable": usable,
                "hint": None if usable else "adduser $USER dialout, then log in again",
            }
        )
    return rows


def stable_names(folders: tuple[Path, ...] = STABLE) -> dict[str, str]:
    """Real path of a port -> its stable name, by-id before by-path."""
    names: dict[str, str] = {}
    for folder in folders:
        if folder.is_dir():
            for link in sorted(folder.iterdir()):
                names.setdefault(os.path.realpath(link), str(link))
    return names
