"""Opening the database: connection settings, schema migrations forward, refusal of a newer schema."""

from __future__ import annotations

import secrets
import sqlite3
from importlib import resources
from pathlib import Path

from gateway.errors import StoreError

SCHEMA_VERSION = 3
WAL_PAGES = 1000
"""Checkpoint after so many pages: 4 MB of write-ahead log, kind to flash."""
_META = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"


def connect(path: Path) -> sqlite3.Connection:
    """A connection with our durability settings (any thread; callers take turns)."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    pragmas = (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={WAL_PAGES}",
        "temp_store=MEMORY",
        "foreign_keys=ON",
        # What is deleted is overwritten: an erased person must not be readable in free pages.
        "secure_delete=FAST",
    )
    for pragma in pragmas:
        db.execute(f"PRAGMA {pragma}")
    return db


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema forward, each step in a transaction of its own. Raises StoreError where a newer Anhu wrote the file."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written by a newer Anhu (schema {version}, this one knows {SCHEMA_VERSION})",
            hint="install that version again, or start with another gateway.data_dir",
        )
    folder = resources.files("gateway.store").joinpath("schema")
    for name in sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql")):
        number = int(name.split("_")[0])
        if number > version:
            script = folder.joinpath(name).read_text("utf-8")
            try:
                db.executescript(f"BEGIN IMMEDIATE; {_META} {script} PRAGMA user_version={number}; COMMIT;")
            except sqlite3.Error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
    db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?), ('boot', '0')", (secrets.token_hex(8),))
