"""The rule engine: order, loop guard, isolation, timers that survive restarts and clock steps."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import Instant, Verb
from drivers.events import Event, Occurrence, seal
from drivers.vocabulary import OccurrenceKind, State, Trust
from gateway.rules.contract import UNCHANGED, Context, Decision, Directory, RuleState, Setting, Topic, Values, owner
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import LONGEST_TIMER_MS, RuleEngine
from gateway.rules.settings import RuleSettings
from tests.gateway.rules.scene import ANNA, Scene

KIND = OccurrenceKind


class CountState(RuleState):
    count: int = 0
    first: str = ""


class Repeater:
    """Says `says` for every `hears`, and again by timer after 10 s; fails where the detail is `boom`."""

    title = ("repeater", "测试")
    settings: tuple[Setting, ...] = ()
    state_type = CountState

    def __init__(self, name: str, hears: OccurrenceKind, says: OccurrenceKind, *, grace_ms: int = 0) -> None:
        self.name = name
        self.says = says
        self.grace_ms = grace_ms
        self.listens: frozenset[Topic] | None = frozenset({hears})

    def key(self, event: Event, directory: Directory) -> str | None:
        return owner(event, directory)

    def apply(self, state: CountState, event: Event, context: Context) -> Decision | None:
        state.count += 1
        state.first = state.first or event.id
        if getattr(event.body, "detail", None) == "boom":
            raise RuntimeError("boom")
        state.timers["again"] = context.steady_ms + 10_000
        return Decision([context.event(Occurrence(kind=self.says, explain=context.why(numbers={"count": state.count})))])

    def wake(self, state: CountState, context: Context) -> Decision | None:
        if not state.due(context.steady_ms):
            return None
        body = Occurrence(kind=self.says, state=State.END, detail=f"{state.count}")
        state.count, state.first, cause = 0, "", state.first
        return Decision([context.event(body, cause=cause)], [context.command(Verb.RING, "watch:1", {}, cause=cause)])


def engine_of(*rules: Any) -> RuleEngine:
    directory = HouseholdDirectory({}, {})
    return RuleEngine(rules, RuleSettings(rules, directory), directory)


def event_at(ms: int, kind: OccurrenceKind = KIND.MOTION, subject: str = "p", **fields: Any) -> Event:
    return seal([Event(device="d:1", at_ms=ms, body=Occurrence(kind=kind, **fields), subject=subject, evidence=f"{ms}")], received_ms=ms)[0]


def test_a_derived_event_is_sealed_with_cause_subject_and_trust() -> None:
    given_event = event_at(1_800_000_000_000)
    (event,) = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND)).apply([given_event], Instant(1_800_000_000_500, 5.0)).events
    assert (event.device, event.cause, event.subject, event.trust) == ("rule:a", given_event.id, "p", Trust.DERIVED)
    assert len(event.id) == 26 and event.evidence is None and event.at_ms == 1_800_000_000_500
    assert isinstance(event.body, Occurrence) and event.body.explain is not None and event.body.explain.inputs == [given_event.id]


def test_rule_events_reach_later_rules_and_never_earlier_ones() -> None:
    engine = engine_of(
        Repeater("late", KIND.LIGHT, KIND.COLD), Repeater("a", KIND.MOTION, KIND.SOUND), Repeater("b", KIND.SOUND, KIND.LIGHT)
    )
    said = engine.apply([event_at(1000)], Instant(1000, 1.0)).events
    assert [event.device for event in said] == ["rule:a", "rule:b"]


def test_a_loop_of_two_rules_ends() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND), Repeater("b", KIND.SOUND, KIND.MOTION))
    assert len(engine.apply([event_at(1000)], Instant(1000, 1.0)).events) == 2


def test_a_chain_ends_at_four() -> None:
    kinds = [KIND.MOTION, KIND.SOUND, KIND.LIGHT, KIND.COLD, KIND.TILT, KIND.MOVING, KIND.VIBRATION]
    engine = engine_of(*[Repeater(f"r{n}", kinds[n], kinds[n + 1]) for n in range(6)])
    assert [event.device for event in engine.apply([event_at(1000)], Instant(1000, 1.0)).events] == [
        "rule:r0",
        "rule:r1",
        "rule:r2",
        "rule:r3",
    ]
    assert engine.cut == 1


def test_a_faulty_rule_is_counted_rolled_back_and_stops_nobody() -> None:
    engine = engine_of(Repeater("bad", KIND.MOTION, KIND.SOUND), Repeater("good", KIND.SOUND, KIND.LIGHT))
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    before = engine.rows()
    outcome = engine.apply([event_at(2000, detail="boom"), event_at(2001, KIND.SOUND)], Instant(2000, 2.0))
    assert engine.faults == {"bad": 1} and engine.last_fault["bad"] == "RuntimeError: boom"
    assert [event.device for event in outcome.events] == ["rule:good"]
    assert [row for row in engine.rows() if row[0] == "bad"] == [row for row in before if row[0] == "bad"]


def test_a_rule_that_fails_on_its_timer_is_tried_again_after_a_minute() -> None:
    rule = Repeater("a", KIND.MOTION, KIND.SOUND)
    engine = engine_of(rule)
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    healthy, rule.wake = rule.wake, lambda state, context: 1 // 0  # type: ignore[method-assign,assignment]
    assert engine.wake(Instant(11000, 11.0)).events == []
    assert engine.due() == 71.0
    rule.wake = healthy  # type: ignore[method-assign]
    assert len(engine.wake(Instant(71000, 71.0)).events) == 1


def test_a_rule_that_never_takes_its_timer_out_does_not_spin() -> None:
    rule = Repeater("a", KIND.MOTION, KIND.SOUND)
    rule.wake = lambda state, context: None  # type: ignore[method-assign]
    engine = engine_of(rule)
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    engine.wake(Instant(11000, 11.0))
    assert engine.due() == 71.0


def test_a_state_back_at_its_defaults_is_deleted() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    assert engine.apply([event_at(1000)], Instant(1000, 1.0)).states[0][2]
    assert engine.wake(Instant(11000, 11.0)).states == [("a", "p", None)]
    assert engine.rows() == [] and engine.due() is None


def test_wall_clock_steps_neither_fire_nor_swallow_a_timer() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    assert engine.wake(Instant(1000 + 86_400_000, 10.9)).events == []
    assert len(engine.wake(Instant(-86_400_000, 11.0)).events) == 1


def test_due_timers_fire_before_the_events_of_a_late_call() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    states = [getattr(event.body, "state", None) for event in engine.apply([event_at(15000)], Instant(15000, 15.0)).events]
    assert states == [State.END, State.PULSE]


def test_equal_news_of_two_persons_in_one_millisecond_are_two() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000), event_at(1000, subject="q")], Instant(1000, 1.0))
    events = engine.wake(Instant(11000, 11.0)).events
    assert len({event.id for event in events}) == 2


def test_a_damaged_row_and_a_row_of_an_unknown_rule_are_survived() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.restore([("a", "p", b"\xff\x00junk"), ("gone", "p", b"\x80"), ("a", "q", b"\x80")], 0)
    assert engine.damaged == 1


def test_a_timer_from_a_lost_steady_clock_fires_at_once() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000)], Instant(1000, LONGEST_TIMER_MS))
    other = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    other.restore(engine.rows(), 5000)
    assert other.due() == 5.0


def test_grace_delays_only_what_came_due_while_the_gateway_was_off() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND, grace_ms=60_000))
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    other = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND, grace_ms=60_000))
    other.restore(engine.rows(), 5000)
    assert other.due() == 11.0
    other.restore(engine.rows(), 500_000)
    assert other.due() == 560.0


def test_an_often_pushed_timer_does_not_grow_the_heap() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    for second in range(2000):
        engine.apply([event_at(second * 1000)], Instant(second * 1000, float(second)))
    assert len(engine._heap) < 200


def test_a_forgotten_person_leaves_neither_state_nor_timer() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000), event_at(1000, subject="q")], Instant(1000, 1.0))
    assert engine.forget("p") == [("a", "p", None)] and engine.forget("p") == []
    assert [key for _, key, _ in engine.rows()] == ["q"]
    assert len(engine.wake(Instant(11000, 11.0)).events) == 1


RULES = [Repeater("a", KIND.MOTION, KIND.SOUND), Repeater("b", KIND.SOUND, KIND.LIGHT), Repeater("c", KIND.LIGHT, KIND.COLD)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from(["motion", "sound", "light"]), st.booleans()), max_size=25))
def test_any_kill_point_gives_the_same_output(steps: list[tuple[int, str, bool]]) -> None:
    whole, killed = Scene(RULES), Scene(RULES)
    for wait_ms, kind, kill in steps:
        for scene in (whole, killed):
            scene.play(f"+{wait_ms}ms watch:1 {kind}")
        if kill:
            killed.restart()
    assert whole.said == killed.said and whole.rows == killed.rows
    assert [event.id for event in whole.events] == [event.id for event in killed.events]
    assert [command.id for command in whole.commands] == [command.id for command in killed.commands]
    assert all(event.subject == ANNA for event in whole.events)


class Idler(Repeater):
    """Answers UNCHANGED where the detail is `nothing`; where it is `lie` it has written into the state before. Rests where `on` is off."""

    settings = (Setting("on", True, "", "whether it works"),)

    def rests(self, values: Values) -> bool:
        return not values["on"]

    def apply(self, state: CountState, event: Event, context: Context) -> Decision | None:
        detail = getattr(event.body, "detail", None)
        if detail == "lie":
            state.first = event.id
        return UNCHANGED if detail in ("nothing", "lie") else super().apply(state, event, context)


def test_what_is_unchanged_leaves_no_row() -> None:
    engine = engine_of(Idler("a", KIND.MOTION, KIND.SOUND))
    assert engine.apply([event_at(1000, detail="nothing")], Instant(1000, 1.0)).states == []
    assert engine.rows() == []


def test_a_wrong_word_of_a_rule_does_not_put_one_persons_state_into_anothers() -> None:
    engine = engine_of(Idler("a", KIND.MOTION, KIND.SOUND))
    lie = event_at(1000, detail="lie")
    engine.apply([lie], Instant(1000, 1.0))
    engine.apply([event_at(2000, subject="q")], Instant(2000, 2.0))
    assert engine.state("a", "p").first == lie.id and engine.state("a", "q").first != lie.id


def test_a_failure_on_a_blank_state_is_nobody_elses() -> None:
    engine = engine_of(Repeater("a", KIND.MOTION, KIND.SOUND))
    engine.apply([event_at(1000, detail="boom")], Instant(1000, 1.0))
    engine.apply([event_at(2000, subject="q")], Instant(2000, 2.0))
    assert engine.state("a", "q").count == 1 and engine.state("a", "p") is None


def test_a_resting_rule_sees_no_event_but_serves_its_timers_and_wakes_with_its_settings() -> None:
    rules = [Idler("a", KIND.MOTION, KIND.SOUND)]
    directory = HouseholdDirectory({}, {})
    source = RuleSettings(rules, directory)
    engine = RuleEngine(rules, source, directory)
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    for scope in (("site", ""), ("person", "p")):
        source.replace({scope: {"a": {"on": False}}})
        assert engine.apply([event_at(2000)], Instant(2000, 2.0)).events == []
    assert len(engine.apply([event_at(2000, subject="q")], Instant(2000, 2.0)).events) == 1
    assert len(engine.wake(Instant(11000, 11.0)).events) == 1
    source.replace({})
    assert len(engine.apply([event_at(11500)], Instant(11500, 11.5)).events) == 1


def test_a_deadline_that_a_restart_moves_is_written() -> None:
    rule = Repeater("a", KIND.MOTION, KIND.SOUND, grace_ms=60_000)
    engine = engine_of(rule)
    engine.apply([event_at(1000)], Instant(1000, 1.0))
    other, third = engine_of(rule), engine_of(rule)
    other.restore(engine.rows(), 500_000)
    ((name, key, packed),) = other.wake(Instant(500_000, 500.0)).states
    assert packed is not None and other.wake(Instant(500_001, 500.001)).states == []
    third.restore([(name, key, packed)], 530_000)
    assert third.due() == 560.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from("pqr"), st.integers(1, 40)), max_size=40))
def test_timers_fire_at_their_moment_however_they_were_moved(steps: list[tuple[int, str, int]]) -> None:
    """Against a plain table of deadlines: the heap is left alone while timers move later."""
    rule = Repeater("a", KIND.MOTION, KIND.SOUND)
    engine, table, now, fired, expected = engine_of(rule), dict[str, int](), 1000, [], []
    waits = iter([wait for _, _, wait in steps] * 2)
    plain = rule.apply

    def apply(state: CountState, event: Event, context: Context) -> Decision | None:
        plain(state, event, context)
        state.timers["again"] = table[context.key] = context.steady_ms + 1000 * next(waits)
        return None

    rule.apply = apply  # type: ignore[method-assign]
    engine = engine_of(rule)
    for wait, subject, _ in steps:
        now += 1000 * wait
        expected += [(at, key) for at, key in sorted((at, key) for key, at in table.items()) if at <= now]
        table = {key: at for key, at in table.items() if at > now}
        while (due := engine.due()) is not None and due * 1000 <= now:
            fired += [(round(due * 1000), event.subject) for event in engine.wake(Instant(round(due * 1000), due)).events]
        engine.apply([event_at(now, subject=subject)], Instant(now, now / 1000))
    assert fired == expected
