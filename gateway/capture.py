"""A bounded recording of what came in, as the JSON lines that `anhu replay --capture` and `anhu sim replay` read.

Off unless `gateway.capture_file` is set. Writing stops for good at `capture_mb`: a forgotten recording must not fill the disk. With
`capture_mask` every run of eight digits and more (numbers of devices, phones, cards) in text frames is replaced by other digits, the
same ones each time; positions and names are left, and binary frames are written as they are: their numbers are packed and
checksummed.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from drivers.api import Frame
from drivers.events import rfc3339
from gateway.errors import AnhuError
from gateway.session import Session

_DIGITS = re.compile(rb"\d{8,}")
_encode = msgspec.json.Encoder().encode


class Capture:
    """One file. Raises AnhuError when it cannot be opened."""

    def __init__(self, path: Path, *, most_bytes: int, mask: bool) -> None:
        try:
            self._file: IO[bytes] | None = path.open("ab", buffering=0)
        except OSError as error:
            raise AnhuError(f"{path}: {error.strerror}", hint="gateway.capture_file names a file in a folder that exists") from None
        path.chmod(0o600)
        self._left = most_bytes - self._file.tell()
        self._key = secrets.token_bytes(16) if mask else b""

    def take(self, session: Session, frames: list[Frame]) -> None:
        """Write the frames of one read; a full disk or the limit ends the recording, never the work."""
        if self._file is None:
            return
        text = b"".join(_encode(self._line(session, frame)) + b"\n" for frame in frames)
        try:
            if len(text) > self._left:
                raise OSError(f"limit of {self._left} bytes left reached")
            self._left -= self._file.write(text)
        except OSError as error:
            structlog.get_logger().warning("capture ended", why=str(error))
            self.close()

    def close(self) -> None:
        """End the recording."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, session: Session, frame: Frame) -> dict[str, Any]:
        line: dict[str, Any] = {"driver": session.name, "received": rfc3339(frame.received.ms), "transport": frame.transport.value}
        line["conn"] = self._masked((frame.peer or frame.address or session.device or session.name).encode()).decode()
        if frame.topic:
            line["topic"] = self._masked(frame.topic.encode()).decode()
            line["payload_hex"] = self._masked(frame.data).hex()
            return line
        if frame.address:
            line["address"] = frame.address
        if frame.characteristic:
            line["characteristic"] = frame.characteristic
        if frame.advert is not None:
            line["rssi"] = frame.advert.rssi_dbm
            if frame.advert.receiver:
                line["receiver"] = frame.advert.receiver
            for uuid in list(frame.advert.service_data)[:1]:
                line["service_uuid"] = uuid
            for maker in list(frame.advert.manufacturer_data)[:1]:
                line["manufacturer_id"] = maker
        if session.device is not None and not self._key:
            line["device"] = session.device
        line["frame"] = self._masked(frame.data).hex()
        return line

    def _masked(self, data: bytes) -> bytes:
        if not self._key:
            return data
        if b"\0" in data or any(byte > 0x7E for byte in data[:16]):
            return data

        def other(found: re.Match[bytes]) -> bytes:
            digest = int.from_bytes(blake2b(found[0], key=self._key, digest_size=16).digest(), "big")
            return str(digest).zfill(40)[-len(found[0]) :].encode()[: len(found[0])].rjust(len(found[0]), b"0")

        return _DIGITS.sub(other, data)
