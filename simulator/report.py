"""What a run was like: for a terminal, as JSON, as JUnit XML."""

from __future__ import annotations

import json
import unicodedata
from xml.etree import ElementTree as ET

from drivers.vocabulary import OCCURRENCES, QUANTITIES, OccurrenceKind, Quantity
from simulator.truth import Score, Tally


def as_json(score: Score) -> str:
    """One line."""
    return json.dumps(score.as_dict(), ensure_ascii=False, separators=(",", ":"))


def as_text(score: Score, *, language: str = "en") -> str:
    """A table per kind and a verdict in one line; `language` en or zh."""
    lines = [_row("", "expected", "found", "missed", "late", "p50", "p90", "p99")]
    lines += [_tally(title(name, language), tally) for name, tally in score.kinds.items()]
    lines.append(_tally("all" if language == "en" else "合计", score.total))
    lines.append("")
    verdict = "clean" if score.is_clean else "NOT CLEAN"
    lines.append(
        f"{verdict}: {score.total.found} of {score.total.expected} found, {score.total.missed} missed, {score.false} false, "
        f"{score.alarms.late} alarms late, {score.duplicates} duplicates, {score.out_of_order} out of order, {score.derived} by rules"
    )
    lines += [f"  missed {entry}" for entry in score.missed_entries]
    lines += [f"  false  {entry}" for entry in score.false_entries]
    return "\n".join(lines)


def as_junit(score: Score, *, name: str, seconds: float, broken: list[str] | None = None) -> str:
    """JUnit XML with a case per kind; `broken` are expectations of a scenario that were not met."""
    cases = [(kind, tally.missed or 0, f"{tally.missed} of {tally.expected} missed") for kind, tally in score.kinds.items()]
    cases.append(("no false alarm", score.false, f"{score.false} false alarms: {'; '.join(score.false_entries)}"))
    cases += [(text, 1, text) for text in broken or []]
    failures = sum(1 for _, failed, _ in cases if failed)
    suite = ET.Element("testsuite", name=name, tests=str(len(cases)), failures=str(failures), time=f"{seconds:.3f}")
    for title, failed, text in cases:
        case = ET.SubElement(suite, "testcase", classname=name, name=title)
        if failed:
            ET.SubElement(case, "failure", message=text)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def title(name: str, language: str) -> str:
    """Name of a kind, quantity or service item for people; ends are marked."""
    bare = name.removesuffix(" end")
    rows = {kind.value: OCCURRENCES[kind] for kind in OccurrenceKind} | {quantity.value: QUANTITIES[quantity] for quantity in Quantity}
    row = rows.get(bare)
    if row is None:
        return name
    return row.zh + (" 结束" if bare != name else "") if language == "zh" else row.en + (" (end)" if bare != name else "")


def _tally(name: str, tally: Tally) -> str:
    times = (f"{value} ms" if value is not None else "-" for value in (tally.p50_ms, tally.p90_ms, tally.p99_ms))
    return _row(name, str(tally.expected), str(tally.found), str(tally.missed), str(tally.late), *times)


def _row(name: str, *cells: str) -> str:
    # A Chinese character takes two columns of a terminal.
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    return name.ljust(32 - wide) + "".join(cell.rjust(10) for cell in cells)
