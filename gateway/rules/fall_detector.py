"""Falls in raw acceleration of a wristband or belt (20-50 Hz, by BLE or MQTT): a suspicion for the fall rule, with its score.

FALL_SUSPECTED (pulse) when the trees find a fall; the fall rule behind this one adds stillness, other sources and the cancel window.
UNSTABLE_SENSOR (pulse, once an hour) with the detail `cannot judge` when an impact could not be judged because packets are missing:
nobody shall believe in a watch that is deaf. A stream that falls silent right after an impact is judged with what it has.
The threshold is a score of 0..1; 0.5 is the point calibrated for the place of wear. Another type of device gets its own by group or device.
"""

from __future__ import annotations

import msgspec

from drivers.events import Acceleration, Event, Explanation, Occurrence
from drivers.vocabulary import OccurrenceKind, Severity
from gateway.rules.contract import Context, Decision, RuleState, Setting, Topic, of_device
from gateway.rules.fall_stream import CANNOT_JUDGE, FALL, Stream, Verdict, has_impact, take, verdicts
from gateway.rules.schedule import HOUR_MS

_K = OccurrenceKind
SILENT_MS = 8_000
"""A stream without a packet for so long has ended."""


def _place_fault(place: str) -> str | None:
    return None if place in ("", "wrist", "waist") else "wrist, waist or empty"


class DetectorState(RuleState):
    """The stream of one device, its place of wear, the last block, and when missing packets were last told (steady ms)."""

    stream: Stream = msgspec.field(default_factory=Stream)
    place: str = ""
    last: str = ""
    blind_ms: int = 0


class FallDetectorRule:
    """Judges impacts in streams of acceleration."""

    name = "fall_detector"
    title = ("fall detector", "跌倒检测")
    settings = (
        Setting("place", "", "", "wrist or waist; empty: as the device says", check=_place_fault),
        Setting("threshold", 0.5, "", "score from which an impact counts as a fall", "measured: bench/falls.py", low=0.01, high=0.99),
        Setting(
            "lost_pct",
            20.0,
            "%",
            "lost samples above which no impact is called harmless; twice as many: nor a fall",
            "measured",
            low=0,
            high=60,
        ),
    )
    state_type = DetectorState
    listens: frozenset[Topic] | None = frozenset({Acceleration})
    grace_ms = 0
    key = staticmethod(of_device)

    def apply(self, state: DetectorState, event: Event, context: Context) -> Decision | None:
        """Take a block of samples."""
        body = event.body
        assert isinstance(body, Acceleration)
        if not take(state.stream, body.samples, body.first, body.hz):
            return None
        state.last = event.id
        state.place = context.settings["place"] or body.place
        decision = self._judge(state, context, is_end=False)
        if has_impact(state.stream):
            state.timers["silent"] = context.steady_ms + SILENT_MS
        else:
            state.timers.pop("silent", None)
        return decision

    def wake(self, state: DetectorState, context: Context) -> Decision | None:
        """The stream fell silent after an impact."""
        return self._judge(state, context, is_end=True) if state.due(context.steady_ms) else None

    def _judge(self, state: DetectorState, context: Context, *, is_end: bool) -> Decision | None:
        values = context.settings
        decision = Decision()
        place, threshold = state.place, values["threshold"]
        for found in verdicts(state.stream, place, threshold=threshold, most_lost_pct=values["lost_pct"], is_end=is_end):
            if found.verdict == FALL:
                body = Occurrence(kind=_K.FALL_SUSPECTED, detail="impact like a fall", explain=_why(state, found, context))
                decision.events.append(context.event(body, cause=state.last))
            elif found.verdict == CANNOT_JUDGE and (not state.blind_ms or context.steady_ms - state.blind_ms >= HOUR_MS):
                state.blind_ms = context.steady_ms
                why = _why(state, found, context)
                body = Occurrence(kind=_K.UNSTABLE_SENSOR, severity=Severity.NOTICE, detail=CANNOT_JUDGE, explain=why)
                decision.events.append(context.event(body, cause=state.last))
        return decision if decision.events else None


def _why(state: DetectorState, found: Verdict, context: Context) -> Explanation:
    numbers = {"score_pct": 100 * found.score, "peak_g": found.peak_g, "lost_pct": found.lost_pct, "after_s": found.latency_s}
    return context.why(settings=("threshold", "lost_pct"), inputs=[state.last], numbers=numbers)
