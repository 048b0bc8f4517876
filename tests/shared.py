"""Vectors and recordings that lie beside the project; tests that need them skip where they are absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ANHU_SHARED", ROOT.parent / "shared"))
REASON = "the folder of shared vectors is absent (set ANHU_SHARED to its path)"


def shared_file(relative: str) -> Path:
    """A file of the shared folder; skips the test where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{relative}: {REASON}")
    return path


def vectors(relative: str) -> list[Any]:
    """The rows of a vector file as pytest parameters, named by their id; one skipped parameter where the file is absent."""
    path = SHARED / relative
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{relative}: {REASON}"), id="absent")]
    return [pytest.param(row, id=row["id"]) for row in map(json.loads, path.read_text("utf-8").splitlines())]
