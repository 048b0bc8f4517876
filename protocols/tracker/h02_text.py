"""Text reports of H02 other than the position itself: cells, links, status words.

V1 V5 V6 V8 V19  position [, battery], ddmmyy, [sim info x3,] status [, mcc, mnc, lac, cid ...]
V4   answer to a command, then a position
NBR  hhmmss, mcc, mnc, delay, count, (lac, cid, level)*, ddmmyy, status
LINK hhmmss, GSM, satellites, battery, steps, turn-overs, ddmmyy, status
V3   hhmmss, mccmnc, count, (lac, cid, level, x)*, voltage hex, reboots, X, ddmmyy, status
VP1  V, mcc, mnc, lac, cid, level Y lac, cid, level ...   or   A|B, lat, N|S, lon, E|W, knots, course, ddmmyy
HTBT [battery]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from protocols.errors import Reason, RemoteProtocolError
from protocols.tracker.fix import CellSeen
from protocols.tracker.h02 import Fix, Text, battery_of, fix_index, read_fix, text_ms

CELLS_LIMIT = 32
_STATUS = re.compile(r"[0-9a-fA-F]{8}").fullmatch


@dataclass(slots=True)
class TextReport:
    """What one text frame tells; `result` are the device's own words."""

    fix: Fix | None = None
    at_ms: int | None = None
    status: int | None = None
    battery: int | None = None
    signal: int | None = None
    satellites: int | None = None
    steps: int | None = None
    tumbles: int | None = None
    cells: list[CellSeen] = field(default_factory=list)
    result: str | None = None


def read_text(text: Text) -> TextReport | None:
    """The report of a text frame, None for a command that is not decoded. Raises RemoteProtocolError (TRUNCATED, RANGE)."""
    fields, command = text.fields, text.command
    if command == "NBR":
        return _nbr(fields)
    if command == "LINK":
        return _link(fields)
    if command == "V3":
        return _v3(fields)
    if command == "VP1":
        return _vp1(fields)
    if command in {"HTBT", "V0", "BASE", "XT"}:
        found = TextReport()
        if command == "HTBT" and len(fields) > 3:
            found.battery = battery_of(_int(fields[3]))
        return found
    if command == "SMS":
        return TextReport(result=",".join(fields[3:]))
    return _position(fields, command)


def status_of(text: Text) -> int | None:
    """The last field that looks like a status: whatever became of the rest of a report, its alarms are readable."""
    found = next((part for part in reversed(text.fields[3:]) if _is_status(part)), None)
    return None if found is None else int(found.strip(), 16)


def _position(fields: tuple[str, ...], command: str) -> TextReport | None:
    """Any command with a position in it, wherever it stands."""
    at = fix_index(fields)
    if at is None:
        if command == "V4":
            return TextReport(result=",".join(fields[3:]))
        if command.startswith("V") and command[1:].isdecimal():
            raise RemoteProtocolError(Reason.RANGE, "a position expected", ",".join(fields).encode())
        return None
    time = fields[at - 1].strip()
    date_at = at + 7
    report = TextReport()
    if not _is_date(fields, date_at) and _is_date(fields, date_at + 1):
        report.battery = battery_of(_int(fields[date_at]))
        date_at += 1
    date = fields[date_at].strip() if len(fields) > date_at else ""
    report.fix = read_fix(fields, at, date=date, time=time)
    report.at_ms = report.fix.at_ms
    status_at = date_at + 4 if command == "V19" else date_at + 1
    if len(fields) > status_at and _is_status(fields[status_at]):
        report.status = int(fields[status_at].strip(), 16)
        _cell(fields[status_at + 1 : status_at + 5], report)
    if command == "V4":
        report.result = ",".join(fields[3 : max(3, at - 2)])
    return report


def _is_date(fields: tuple[str, ...], at: int) -> bool:
    text = fields[at].strip() if len(fields) > at else "x"
    return not text or (len(text) == 6 and text.isdecimal())


def _is_status(text: str) -> bool:
    return _STATUS(text.strip()) is not None


def _int(text: str) -> int:
    text = text.strip()
    if not text.isascii() or not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise RemoteProtocolError(Reason.RANGE, f"a number expected, got {text!r:.40}", text.encode())
    return int(text)


def _cell(fields: tuple[str, ...], report: TextReport) -> None:
    """mcc, mnc, lac, cid: decimal, or hexadecimal where a letter or an impossible country code tells so."""
    texts = [text.strip() for text in fields]
    if len(texts) < 4 or not all(text.isalnum() and text.isascii() and len(text) <= 8 for text in texts):
        return
    decimal = all(text.isdecimal() for text in texts) and len(texts[0]) <= 4 and 200 <= int(texts[0]) <= 799
    try:
        mcc, mnc, lac, cid = (int(text, 10 if decimal else 16) for text in texts)
    except ValueError:
        return
    if 200 <= mcc <= 799 and (lac or cid):
        report.cells.append(CellSeen(mcc, mnc, lac, cid))


def _ends(fields: tuple[str, ...], at: int, report: TextReport, time: str) -> None:
    """Date and status behind everything else."""
    if len(fields) > at + 1:
        report.at_ms = text_ms(fields[at].strip(), time)
        if _is_status(fields[at + 1]):
            report.status = int(fields[at + 1].strip(), 16)


def _need(fields: tuple[str, ...], count: int) -> None:
    if len(fields) < count:
        raise RemoteProtocolError(Reason.TRUNCATED, f"{count} fields expected, got {len(fields)}", ",".join(fields).encode())


def _cells(fields: tuple[str, ...], at: int, count: int, width: int, codes: tuple[int, int], report: TextReport) -> int:  # noqa: PLR0917
    for _ in range(min(max(count, 0), CELLS_LIMIT)):
        if at + width > len(fields):
            break
        level = _int(fields[at + 2]) if width == 3 and fields[at + 2].strip() else 0
        report.cells.append(CellSeen(codes[0], codes[1], _int(fields[at]), _int(fields[at + 1]), level if level < 0 else None))
        at += width
    return at


def _nbr(fields: tuple[str, ...]) -> TextReport:
    _need(fields, 8)
    report = TextReport()
    at = _cells(fields, 8, _int(fields[7]), 3, (_int(fields[4]), _int(fields[5])), report)
    _ends(fields, at, report, fields[3].strip())
    return report


def _link(fields: tuple[str, ...]) -> TextReport:
    _need(fields, 9)
    signal, satellites, battery, steps, tumbles = map(_int, fields[4:9])
    report = TextReport(signal=signal, satellites=satellites, battery=battery if 0 < battery <= 100 else None, steps=steps, tumbles=tumbles)
    _ends(fields, 9, report, fields[3].strip())
    return report


def _v3(fields: tuple[str, ...]) -> TextReport:
    _need(fields, 6)
    network = fields[4].strip()
    codes = (_int(network[:3]), _int(network[3:] or "0"))
    report = TextReport()
    at = _cells(fields, 6, _int(fields[5]), 4, codes, report)
    _ends(fields, at + 3, report, fields[3].strip())
    return report


def _vp1(fields: tuple[str, ...]) -> TextReport:
    _need(fields, 7)
    report = TextReport()
    if fields[3].strip() == "V":
        codes = (_int(fields[4]), _int(fields[5]))
        for cell in ",".join(fields[6:]).split("Y")[:CELLS_LIMIT]:
            values = cell.split(",")
            if len(values) >= 2:
                report.cells.append(CellSeen(codes[0], codes[1], _int(values[0]), _int(values[1])))
        return report
    _need(fields, 10)
    report.fix = read_fix(fields, 3, date="", time="")
    return report
