"""Verbs on the history: events (filters, formats, traces), deadletters and erase."""

from __future__ import annotations

import argparse
import asyncio
import csv
import fcntl
import heapq
import sqlite3
import sys
import time
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from drivers.events import epoch_ms, rfc3339
from gateway import control, inventory
from gateway.cli.text import example, print_json
from gateway.errors import AnhuError
from gateway.settings import StoreSection, load
from gateway.store.contract import LANES

COLUMNS = (
    "lane", "sequence", "id", "at", "received", "time_quality", "device", "subject", "type", "kind", "state", "severity", "value", "unit",
    "lat", "lon", "place", "detail", "person", "incident", "cause",
)  # fmt: skip


def add(verbs: Any, data_dir_option: Any) -> None:
    """Register the verbs; `data_dir_option` adds --data-dir and --settings."""
    events = verbs.add_parser(
        "events", help="stored events, oldest first", epilog=example("anhu events --data-dir var --kind sos --since 24h --format csv")
    )
    data_dir_option(events)
    events.add_argument("--person", help="only this subject")
    events.add_argument("--device", help="only this device")
    events.add_argument("--kind", help="only this kind, quantity or body type")
    events.add_argument("--lane", choices=[lane.value for lane in LANES], help="only this lane")
    events.add_argument("--since", help="RFC 3339 time, or a span such as 90m, 24h, 7d")
    events.add_argument("--until", help="RFC 3339 time")
    events.add_argument("--limit", type=int, default=1000, help="at most so many, the newest ones (default 1000); 0: all of them")
    events.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="JSON lines (default) or CSV for a spreadsheet")
    what = events.add_mutually_exclusive_group()
    what.add_argument("--quarantine", action="store_true", help="refused frames instead of events")
    what.add_argument("--discovered", action="store_true", help="devices that spoke and are not known, instead of events")
    what.add_argument("--dead", action="store_true", help="events that a platform refused for good, instead")
    what.add_argument("--trace", metavar="ID", help="when an alarm was received, stored, acknowledged, published and delivered")
    events.set_defaults(handler=_events)

    letters = verbs.add_parser(
        "deadletters",
        help="events that a platform refused for good: list them, or send them again",
        epilog=example("anhu deadletters --uplink family --again --data-dir var"),
    )
    data_dir_option(letters)
    letters.add_argument("id", nargs="*", help="only these events")
    letters.add_argument("--uplink", default="", help="only those of this uplink")
    letters.add_argument("--again", action="store_true", help="send them once more; the gateway must run")
    letters.add_argument("--limit", type=int, default=1000, help="list at most so many, the newest ones (default 1000)")
    letters.set_defaults(handler=_deadletters)

    erase = verbs.add_parser(
        "erase", help="erase a person: events, frames, states, log", epilog=example("anhu erase r-0417 --yes --data-dir var")
    )
    data_dir_option(erase)
    erase.add_argument("subject", help="pseudonym of the resident or place")
    erase.add_argument("--yes", action="store_true", help="do it; without this nothing is changed")
    erase.set_defaults(handler=_erase)


def data_dir_of(args: argparse.Namespace) -> Path:
    """The data folder that the options name."""
    if args.data_dir is not None:
        return Path(args.data_dir)
    settings = load(args.settings)
    return settings.path(settings.gateway.data_dir)


def _events(args: argparse.Namespace) -> int:
    path = data_dir_of(args) / "anhu.db"
    if not path.exists():
        raise AnhuError(f"{path}: no database", hint="give --data-dir, or start the gateway once")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        if args.quarantine:
            for row in _newest(db, "quarantine", "n", args.limit):
                print_json({**row, "frame": bytes(row["frame"]).hex()})
        elif args.discovered:
            for row in _newest(db, "discovered", "last_ms", args.limit):
                print_json(row)
        elif args.dead:
            for row in _newest(db, "dead", "at_ms", args.limit):
                print_json({**row, "data": msgspec.Raw(bytes(row["data"]))})
        elif args.trace:
            return _trace(db, args.trace)
        else:
            _print_events(db, args)
    except sqlite3.Error as error:
        raise AnhuError(f"{path}: cannot be read: {error}", hint="is the gateway of this folder the same version? anhu --version") from None
    finally:
        db.close()
    return 0


def _deadletters(args: argparse.Namespace) -> int:
    folder = data_dir_of(args)
    if args.again:
        found = control.ask(folder, {"do": "revive", "uplink": args.uplink, "ids": args.id}, timeout_s=60)
        if "error" in found:
            raise AnhuError(str(found["error"]), hint="anhu status")
        print_json(found)
        return 0
    if not (folder / "anhu.db").exists():
        raise AnhuError(f"{folder / 'anhu.db'}: no database", hint="give --data-dir, or start the gateway once")
    db = sqlite3.connect(f"file:{folder / 'anhu.db'}?mode=ro", uri=True, timeout=10)
    try:
        for row in _newest(db, "dead", "at_ms", args.limit):
            ident = bytes(row["data"])[7:33].decode()
            if args.uplink in ("", row["uplink"]) and (not args.id or ident in args.id):
                print_json({"id": ident, **row, "data": msgspec.Raw(bytes(row["data"]))})
    finally:
        db.close()
    return 0


def _trace(db: sqlite3.Connection, ident: str) -> int:
    rows = db.execute("SELECT stage, at_ms FROM trace WHERE id=? ORDER BY at_ms, stage", (ident,)).fetchall()
    if not rows:
        raise AnhuError(f"{ident}: no alarm of that id is traced", hint="anhu events --lane alarm")
    first = rows[0][1]
    for stage, at_ms in rows:
        print_json({"id": ident, "stage": stage, "at": rfc3339(at_ms), "after_ms": at_ms - first})
    return 0


def _print_events(db: sqlite3.Connection, args: argparse.Namespace) -> None:
    where, values = ["1"], []
    for column, value in (
        ("kind", args.kind),
        ("json_extract(data,'$.device')", args.device),
        ("json_extract(data,'$.subject')", args.person),
    ):
        if value:
            where.append(f"{column}=?")
            values.append(value)
    for compare, text in ((">=", args.since), ("<=", args.until)):
        if text:
            where.append(f"at_ms{compare}?")
            values.append(_moment(text))
    lanes = [args.lane] if args.lane else [lane.value for lane in LANES]
    parts = [f"SELECT received_ms, '{lane}' AS lane, seq, data FROM {lane} WHERE {' AND '.join(where)}" for lane in lanes]  # noqa: S608 - names are ours
    rows: Iterable[tuple[Any, ...]]
    if args.limit:
        sql = f"SELECT * FROM ({' UNION ALL '.join(parts)} ORDER BY received_ms DESC, seq DESC LIMIT ?)"  # noqa: S608 - as above
        rows = reversed(db.execute(sql, [*values * len(lanes), args.limit]).fetchall())
    else:
        # An export of everything is never held in memory: the lanes are in order by themselves.
        rows = heapq.merge(*(db.execute(f"{part} ORDER BY seq", values) for part in parts), key=itemgetter(0))
    if args.format == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for _, lane, seq, data in rows:
            event = msgspec.json.decode(data)
            writer.writerow({name: _harmless(value) for name, value in {**event, **event["body"], "lane": lane, "sequence": seq}.items()})
        return
    for *_, data in rows:
        sys.stdout.write(bytes(data).decode() + "\n")


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is quoted: device names come from outside."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _moment(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        if text[-1:] in units:
            return int(time.time() * 1000) - int(float(text[:-1]) * units[text[-1]] * 1000)
        return epoch_ms(text)
    except ValueError:
        raise AnhuError(f"time expected, got {text!r}", hint="2026-11-22T08:00:00+08:00, or 90m, 24h, 7d") from None


def _newest(db: sqlite3.Connection, table: str, order: str, limit: int) -> list[dict[str, Any]]:
    """The newest rows of an administrative table, oldest first."""
    from sqlite_utils import Database

    rows: list[dict[str, Any]] = list(Database(db)[table].rows_where(order_by=f"{order} desc", limit=limit))
    return rows[::-1]


def _erase(args: argparse.Namespace) -> int:
    if not args.yes:
        raise AnhuError("nothing was changed: this cannot be undone", hint=f"anhu erase {args.subject} --yes")
    folder = data_dir_of(args)
    if not (folder / "anhu.db").exists():
        raise AnhuError(f"{folder / 'anhu.db'}: no database", hint="give --data-dir, or start the gateway once")
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = control.ask(folder, {"do": "erase", "subject": args.subject}, timeout_s=300)
        else:
            found = {"erased": asyncio.run(_erase_offline(folder, args))}
    if "error" in found:
        raise AnhuError(str(found["error"]), hint="anhu status")
    print_json(found["erased"])
    left = "rows of the devices and people files, copies that were sent upstream, and damaged databases (*.corrupt-*)"
    print(f"anhu: {args.subject} is erased from {folder / 'anhu.db'}. Not touched: {left}.", file=sys.stderr)
    return 0


async def _erase_offline(folder: Path, args: argparse.Namespace) -> dict[str, int]:
    from gateway.store.sqlite import SqliteStore

    rows: list[inventory.Device] = []
    if args.data_dir is None:
        settings = load(args.settings)
        rows = inventory.read(settings.path(settings.devices.file)) if settings.devices.file else []
    store = await SqliteStore.open(folder / "anhu.db", StoreSection())
    try:
        return await store.erase(args.subject, [row.device for row in rows if row.subject == args.subject], time.time_ns() // 1_000_000)
    finally:
        await store.close()
