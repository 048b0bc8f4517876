"""What can be wrong with bytes, and whose fault it is.

    ProtocolError
    +-- RemoteProtocolError   the device broke the rules of its protocol; counted, never fatal
    +-- LocalProtocolError    we asked a codec for something that the protocol cannot say; a bug or a bad command

A codec that meets bad bytes in a stream returns a `Reject` in the place of a message and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FRAME_SAMPLE_BYTES = 1024
"""How much of a refused frame a reject keeps: enough to recognise it, bounded against floods."""


class Reason(StrEnum):
    """Why bytes were refused, in the order in which a decoder checks."""

    TRUNCATED = "TRUNCATED"
    NOT_OURS = "NOT_OURS"
    INTEGRITY = "INTEGRITY"
    RANGE = "RANGE"
    UNSUPPORTED = "UNSUPPORTED"


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes that gave no message: why, what was expected, and the first `FRAME_SAMPLE_BYTES` of them."""

    reason: Reason
    detail: str
    frame: bytes = b""


class ProtocolError(Exception):
    """Root of every error of the `protocols` layer."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what its protocol does not allow.

    `reason` tells the kind, `detail` what was expected and what came, `frame` holds the refused bytes.
    """

    def __init__(self, reason: Reason, detail: str, frame: bytes = b"") -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.frame = frame

    def reject(self, frame: bytes | None = None) -> Reject:
        """The same refusal as data; `frame` replaces the bytes that the error carries."""
        data = self.frame if frame is None else frame
        return Reject(self.reason, self.detail, bytes(data[:FRAME_SAMPLE_BYTES]))


class LocalProtocolError(ProtocolError):
    """We asked for a message that the protocol cannot express (our fault, not the device's)."""
