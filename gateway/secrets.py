"""Secrets: made on first start, kept in files of mode 600 below the data folder, never in settings, logs or messages."""

from __future__ import annotations

import secrets
from pathlib import Path

from gateway.errors import AnhuError

PASSWORD_BYTES = 18
"""144 bits, 24 characters of base64."""


def read(path: Path) -> str:
    """The secret in a file. Raises AnhuError where it is missing, empty or readable by others."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AnhuError(
            f"{path}: secret cannot be read: {error}", hint=f"put the password alone into that file, then: chmod 600 {path}"
        ) from None
    if mode & 0o077:
        raise AnhuError(f"{path}: others can read this secret (mode {mode & 0o777:o})", hint=f"chmod 600 {path}")
    if not text:
        raise AnhuError(f"{path}: empty", hint="put the password alone into that file")
    return text


def ensure(path: Path) -> str:
    """The secret in a file, made where there is none."""
    if path.exists():
        return read(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = secrets.token_urlsafe(PASSWORD_BYTES)
    write(path, text + "\n")
    return text


def write(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, "utf-8")
