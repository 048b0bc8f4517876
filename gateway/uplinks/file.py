"""The uplink into a file: one structured CloudEvent per line, fsynced before the cursor moves, rotated by size.

The file being written has the name of the settings; a full one gets the moment of its rotation behind its name
(`events.jsonl.20261122T083012Z`) and is left to whoever collects it; the oldest beyond `keep_files` are removed. A line that a crash
tore is cut off at the next start; its event is written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog

from drivers.vocabulary import Lane
from gateway.settings import UplinkSection
from gateway.store.contract import Row
from gateway.uplinks.envelope import Wrapper
from gateway.uplinks.pump import Pump
from protocols.errors import LocalProtocolError

RETRY_S = 5.0
BATCH_ROWS = 500


class FileUplink:
    """One file."""

    def __init__(self, pump: Pump, wrapper: Wrapper, path: Path) -> None:
        self.pump = pump
        self.settings: UplinkSection = pump.settings
        self.connected = False
        self._wrapper = wrapper
        self._path = path
        self._file: BinaryIO | None = None

    async def run(self) -> None:
        """Write what the store holds, until cancelled."""
        end = self.pump.start()
        settler = asyncio.create_task(self.pump.settle_often())
        try:
            while True:
                self.pump.news.clear()
                if not await self._write_some():
                    await self.pump.news.wait()
        finally:
            settler.cancel()
            self._close()
            end()

    async def _write_some(self) -> bool:
        for lane in self.pump.lanes:
            taken = await self.pump.take(lane, BATCH_ROWS)
            if taken is None or not taken[0]:
                continue
            rows, replayed = taken
            lines = await self._lines(lane, rows, replayed=replayed)
            try:
                await asyncio.to_thread(self._append, [line for _, line in lines])
            except OSError as error:
                self._close()
                self.pump.give_back(lane, [row for row, _ in lines])
                if self.connected or self.pump.sent == 0:
                    structlog.get_logger().warning("uplink lost", uplink=self.pump.name, why=str(error))
                self.connected = False
                self.pump.link_lost()
                await asyncio.sleep(RETRY_S)
                return True
            if not self.connected:
                self.connected = True
                self.pump.link_back()
            for row, _ in lines:
                self.pump.published(lane, row)
                self.pump.done(lane, row)
            return True
        return False

    async def _lines(self, lane: Lane, rows: list[Row], *, replayed: bool) -> list[tuple[Row, bytes]]:
        lines = []
        for row in rows:
            try:
                lines.append((row, self._wrapper.wrap(lane, row, replayed=replayed)[0] + b"\n"))
            except LocalProtocolError as error:
                await self.pump.bury(lane, row, str(error))
        return lines

    def _append(self, lines: list[bytes]) -> None:
        """In a thread: write, then fsync. A half-written batch is cut off again."""
        file = self._file or self._open()
        if file.tell() >= self.settings.rotate_mb * 1e6:
            file = self._rotate()
        start = file.tell()
        try:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), start)
            raise

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists()
        file = self._path.open("ab", buffering=0)
        self._file = file
        if is_new:
            sync_folder(self._path.parent)
        else:
            os.ftruncate(file.fileno(), whole_lines(self._path))
            file.seek(0, os.SEEK_END)
        return file

    def _rotate(self) -> BinaryIO:
        self._close()
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        target = self._path.with_name(f"{self._path.name}.{stamp}")
        number = 1
        while target.exists():
            number += 1
            target = self._path.with_name(f"{self._path.name}.{stamp}-{number:04d}")
        self._path.rename(target)
        old = sorted(self._path.parent.glob(f"{self._path.name}.*Z*"))
        for file in old[: max(0, len(old) - self.settings.keep_files)]:
            file.unlink()
        return self._open()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def whole_lines(path: Path) -> int:
    """Length of a file without a torn last line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = size
        while start > 0:
            step = min(65536, start)
            file.seek(start - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                return start - step + found + 1
            start -= step
    return 0


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
