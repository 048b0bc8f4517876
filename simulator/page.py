"""The report as one self-contained HTML page: verdict, tables, a timeline per person, a latency plot, a map of outings.

Everything is inline (styles, SVG); nothing is loaded from anywhere, so the file can be mailed or kept for years.
"""

from __future__ import annotations

import math
from html import escape

from drivers.events import rfc3339
from drivers.vocabulary import Lane
from simulator.journal import Journal, Mark
from simulator.report import title
from simulator.scenario import Scenario
from simulator.truth import Score

WIDTH, LEFT, ROW_PX = 960, 90, 74
MOST_PEOPLE = 40
"""Lines of the timeline; those with most to tell are shown."""
COLOURS = {Lane.ALARM.value: "#c0392b", Lane.STATE.value: "#2471a3", Lane.TELEMETRY.value: "#7f8c8d"}
RULE_COLOUR = "#8e44ad"
TEXTS = {
    "en": {
        "ok": "expectations met", "bad": "expectations not met", "kinds": "By kind", "timeline": "Person by person",
        "latency": "Time from happening to delivery", "map": "Outings", "happened": "happened", "told": "told", "rule": "by rules",
        "head": ("", "expected", "found", "missed", "late", "p50 ms", "p90 ms", "p99 ms"), "none": "nothing to show",
        "sums": "found {found} of {expected}, missed {missed}, false {false}, alarms late {late}, duplicates {dup}, out of order {ooo}",
    },
    "zh": {
        "ok": "符合预期", "bad": "不符合预期", "kinds": "按类别", "timeline": "每个人的时间线",
        "latency": "从发生到送达的时间", "map": "外出轨迹", "happened": "发生", "told": "送达", "rule": "规则得出",
        "head": ("", "应有", "收到", "漏报", "迟到", "p50 毫秒", "p90 毫秒", "p99 毫秒"), "none": "没有内容",
        "sums": "应有 {expected}，收到 {found}，漏报 {missed}，误报 {false}，告警迟到 {late}，重复 {dup}，乱序 {ooo}",
    },
}  # fmt: skip
STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}
.ok{background:#1e8449;color:#fff}.bad{background:#c0392b;color:#fff}.verdict{padding:.4em .8em;border-radius:6px;display:inline-block}
table{border-collapse:collapse;width:100%}th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;background:#8881;border-radius:6px}
svg text{font-size:11px;fill:currentColor}li{color:#c0392b}.legend span{margin-right:1.2em}
"""


def as_page(scenario: Scenario, score: Score, journal: Journal, broken: list[str], *, language: str = "en") -> str:
    """The whole page."""
    texts = TEXTS[language]
    total = score.total
    sums = str(texts["sums"]).format(
        found=total.found, expected=total.expected, missed=total.missed, false=score.false, late=score.alarms.late,
        dup=score.duplicates, ooo=score.out_of_order,
    )  # fmt: skip
    verdict = f'<p class="verdict {"bad" if broken else "ok"}">{texts["bad" if broken else "ok"]}</p>'
    faults = "".join(f"<li>{escape(line)}</li>" for line in [*broken, *score.missed_entries, *score.false_entries])
    parts = [
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(scenario.name)}</title><style>{STYLE}</style><h1>{escape(scenario.name)}</h1>",
        f"<p>{escape(' '.join(scenario.story.split()))}</p>{verdict}<p>{sums}</p><ul>{faults}</ul>",
        f"<h2>{texts['kinds']}</h2>{_table(score, language)}",
        f"<h2>{texts['timeline']}</h2>{_legend(language)}{_timeline(journal, language)}",
        f"<h2>{texts['latency']}</h2>{_latencies(journal, language)}",
        f"<h2>{texts['map']}</h2>{_map(journal, language)}</html>",
    ]
    return "\n".join(parts)


def _table(score: Score, language: str) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in TEXTS[language]["head"])
    rows = []
    for kind, t in score.kinds.items():
        cells = (t.expected, t.found, t.missed, t.late, t.p50_ms, t.p90_ms, t.p99_ms)
        rows.append(
            f"<tr><td>{escape(title(kind, language))}</td>" + "".join(f"<td>{'–' if c is None else c}</td>" for c in cells) + "</tr>"
        )
    rows += [
        f"<tr><td>{escape(title(kind, language))} ({TEXTS[language]['rule']})</td><td></td><td>{n}</td></tr>"
        for kind, n in score.told.items()
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _legend(language: str) -> str:
    texts = TEXTS[language]
    rows = (("○", COLOURS["alarm"], "happened"), ("●", COLOURS["alarm"], "told"), ("◆", RULE_COLOUR, "rule"))
    return '<p class="legend">' + "".join(f'<span><b style="color:{c}">{s}</b> {texts[name]}</span>' for s, c, name in rows) + "</p>"


def _timeline(journal: Journal, language: str) -> str:
    people = sorted(journal.marks, key=lambda person: (-sum(m.lane == Lane.ALARM for m in journal.marks[person]), person))[:MOST_PEOPLE]
    marks = [mark for person in people for mark in journal.marks[person]]
    if not marks:
        return f"<p>{TEXTS[language]['none']}</p>"
    first, last = min(m.at_ms for m in marks), max(m.at_ms for m in marks)
    scale = (WIDTH - LEFT - 20) / max(last - first, 1)
    out = [f'<svg viewBox="0 0 {WIDTH} {len(people) * ROW_PX + 30}" role="img">']
    for row, person in enumerate(people):
        y = row * ROW_PX + 44
        out.append(f'<text x="6" y="{y + 4}">{escape(person)}</text><line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}" stroke="#8888"/>')
        free = {-1: 0.0, 1: 0.0}
        for mark in sorted(journal.marks[person], key=lambda mark: mark.at_ms):
            out.append(_shape(mark, LEFT + (mark.at_ms - first) * scale, y, free, language))
    out.append(_axis(first, last, scale, len(people) * ROW_PX + 20))
    return "".join(out) + "</svg>"


def _shape(mark: Mark, x: float, y: float, free: dict[int, float], language: str) -> str:
    """Happened below the line, told and concluded above it; a word where there is room for one."""
    side = 1 if mark.source == "happened" else -1
    colour = RULE_COLOUR if mark.source == "rule" else COLOURS.get(mark.lane, "#7f8c8d")
    word = title(f"{mark.kind} end" if mark.state == "end" else mark.kind, language)
    tip = f"{rfc3339(mark.at_ms)} {word}" + ("" if mark.latency_ms is None else f" +{mark.latency_ms} ms")
    fill = "none" if side == 1 else colour
    shape = f'<circle cx="{x:.1f}" cy="{y + side * 8}" r="4" fill="{fill}" stroke="{colour}"><title>{escape(tip)}</title></circle>'
    if mark.source == "rule":
        shape = f'<path d="M{x:.1f} {y - 13}l5 5-5 5-5-5z" fill="{colour}"><title>{escape(tip)}</title></path>'
    if x < free[side] or mark.lane != Lane.ALARM:
        return shape
    free[side] = x + 12 * len(word) if language == "zh" else x + 6.5 * len(word)
    # A word at the end of the line is written to the left.
    anchor = "end" if x > WIDTH - 120 else "start"
    return shape + f'<text x="{x:.1f}" y="{y + side * 24 + (4 if side == 1 else 0)}" text-anchor="{anchor}">{escape(word)}</text>'


def _axis(first: int, last: int, scale: float, y: int) -> str:
    ticks = [first + (last - first) * n // 5 for n in range(6)]
    ends = {0: "start", 5: "end"}
    return "".join(
        f'<text x="{LEFT + (at - first) * scale:.0f}" y="{y}" text-anchor="{ends.get(n, "middle")}">{rfc3339(at)[11:19]}</text>'
        for n, at in enumerate(ticks)
    )


def _latencies(journal: Journal, language: str) -> str:
    """Each delivery as a point; the axis is logarithmic, since a second and a minute matter, not their difference."""
    marks = [mark for marks in journal.marks.values() for mark in marks if mark.latency_ms is not None]
    if not marks:
        return f"<p>{TEXTS[language]['none']}</p>"
    first, last = min(m.at_ms for m in marks), max(m.at_ms for m in marks)
    scale = (WIDTH - LEFT - 20) / max(last - first, 1)
    top = max(4.0, math.log10(max(m.latency_ms or 1 for m in marks) + 1))
    height = 240
    out = [f'<svg viewBox="0 0 {WIDTH} {height + 30}" role="img">']
    for power in range(int(top) + 1):
        y = height - power / top * (height - 20)
        name = f"{10**power} ms" if power < 3 else f"{10 ** (power - 3)} s"
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.0f}" y2="{y:.0f}" stroke="#8884"/><text x="6" y="{y + 4:.0f}">{name}</text>'
        )
    for m in marks:
        y = height - math.log10((m.latency_ms or 0) + 1) / top * (height - 20)
        x, colour = LEFT + (m.at_ms - first) * scale, COLOURS.get(m.lane, "#7f8c8d")
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{escape(m.kind)} {m.latency_ms} ms</title></circle>')
    return "".join(out) + _axis(first, last, scale, height + 20) + "</svg>"


def _map(journal: Journal, language: str) -> str:
    """Ways in metres, north up, with a bar for the scale; a colour for each person."""
    ways = {person: points for person, points in journal.points.items() if len(points) > 1}
    if not ways:
        return f"<p>{TEXTS[language]['none']}</p>"
    lats = [lat for points in ways.values() for lat, _ in points]
    lons = [lon for points in ways.values() for _, lon in points]
    squeeze = math.cos(math.radians(sum(lats) / len(lats)))
    span = max((max(lons) - min(lons)) * squeeze, max(lats) - min(lats), 0.002)
    height = 560
    scale = (height - 40) / span

    def at(lat: float, lon: float) -> str:
        return f"{30 + (lon - min(lons)) * squeeze * scale:.1f},{height - 20 - (lat - min(lats)) * scale:.1f}"

    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img">']
    for n, (person, points) in enumerate(sorted(ways.items())):
        colour = f"hsl({n * 137 % 360} 65% 45%)"
        line, tip = " ".join(at(*point) for point in points), f"<title>{escape(person)}</title>"
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" opacity=".8">{tip}</polyline>')
        if n < 25:
            out.append(f'<text x="{WIDTH - 90}" y="{20 + 18 * n}" style="fill:{colour}">{escape(person)}</text>')
    metres = 10 ** math.floor(math.log10(span * 111_320 / 2))
    width = metres / 111_320 * scale
    out.append(f'<path d="M30 {height - 8}h{width:.0f}" stroke="currentColor" stroke-width="2"/>')
    out.append(f'<text x="{36 + width:.0f}" y="{height - 4}">{metres} m</text>')
    return "".join(out) + "</svg>"
