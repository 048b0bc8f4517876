"""A disk whose power can be cut: ext4 on an nbdkit server with a volatile cache, reached through FUSE and a loop device.

`cut` kills the server first: everything that was not flushed is gone, as it is from a real disk. The image is then mounted afresh, as
after a reboot. It models a disk that honours flushes; cards that lie and torn sectors are not modelled. Needs root, /dev/fuse, a loop
device, nbdkit and nbdfuse.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SIZE_MB = 64


def need_rig() -> None:
    """Skip, with the reason, where power cannot be cut."""
    if os.geteuid() != 0:
        pytest.skip("power cuts need root (mount, loop device)")
    missing = [name for name in ("nbdkit", "nbdfuse", "mkfs.ext4", "losetup") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"power cuts need {', '.join(missing)}: apt-get install nbdkit nbdfuse e2fsprogs")
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        pytest.skip("power cuts need /dev/fuse and loop devices")


class Disk:
    """One disk. `mount_options` may hold `barrier=0` for the negative control."""

    def __init__(self, folder: Path, mount_options: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.image = folder / "disk.img"
        self.path = folder / "mnt"
        self._fuse = folder / "fuse"
        self._socket = folder / "nbd.sock"
        self._options = mount_options
        self._children: list[subprocess.Popen[bytes]] = []
        self._loop = ""
        for each in (self.path, self._fuse):
            each.mkdir(exist_ok=True)
        with self.image.open("wb") as file:
            file.truncate(SIZE_MB * 1_000_000)
        run("mkfs.ext4", "-q", "-F", str(self.image))

    def power_on(self) -> Path:
        """Bring the disk up behind its volatile cache; where it is mounted."""
        self._socket.unlink(missing_ok=True)
        self._spawn("nbdkit", "-f", "-U", str(self._socket), "--filter=cache", "file", str(self.image), "cache=writeback")
        wait_for(self._socket.exists)
        self._spawn("nbdfuse", f"{self._fuse}/disk", f"nbd+unix:///?socket={self._socket}")
        wait_for(lambda: (self._fuse / "disk").exists())
        self._loop = run("losetup", "-f", "--show", f"{self._fuse}/disk").strip()
        run("mount", *(["-o", self._options] if self._options else []), self._loop, str(self.path))
        return self.path

    def cut(self, *pids: int) -> None:
        """The power fails; `pids` are programs that lived on this machine."""
        for child in self._children:
            child.send_signal(signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        self._children.clear()
        self._unmount()

    def read_back(self) -> Path:
        """Mount what survived, as the next boot would."""
        run("mount", "-o", "loop", str(self.image), str(self.path))
        return self.path

    def close(self) -> None:
        """Take everything down."""
        self.cut()

    def _unmount(self) -> None:
        quiet("umount", "-l", str(self.path))
        if self._loop:
            quiet("losetup", "-d", self._loop)
            self._loop = ""
        quiet("umount", "-l", str(self._fuse / "disk"))
        quiet("umount", "-l", str(self._fuse))

    def _spawn(self, *words: str) -> None:
        self._children.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def quiet(*words: str) -> None:
    subprocess.run(words, check=False, capture_output=True)


def wait_for(condition: object, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError("the rig did not come up")
        time.sleep(0.01)
