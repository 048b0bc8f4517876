"""What every rule promises, over all rules: any event of any device is survived, quickly told apart, and leads to lawful output."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.events import CommandResult, CommandStatus, DeviceHealth, Event, Measurement, Occurrence, Position, ServiceRequest, seal
from drivers.vocabulary import QUANTITIES, VERBS, OccurrenceKind, Quantity, State, Trust
from gateway.rules import all_rules
from gateway.rules.contract import RULE_DEVICE, Rule
from tests.gateway.rules.scene import ANNA, DEVICES, Scene, wall_ms

SUBJECTS = [ANNA, "h-12", "nobody", None]


def numbers() -> st.SearchStrategy[Measurement]:
    return st.sampled_from(list(Quantity)).flatmap(
        lambda quantity: st.floats(QUANTITIES[quantity].low, QUANTITIES[quantity].high).map(
            lambda value: Measurement(quantity=quantity, value=value)
        )
    )


BODIES = st.one_of(
    st.builds(
        Occurrence,
        kind=st.sampled_from(list(OccurrenceKind)),
        state=st.sampled_from(list(State)),
        place=st.sampled_from([None, "bathroom", "entrance", "x|y"]),
        detail=st.sampled_from([None, "ok", "guest nan", "away -1", "opened: nonsense", "raised: fall", "a: b: c"]),
        person=st.sampled_from([None, "b-7"]),
        incident=st.sampled_from([None, "", "0" * 26]),
        stored=st.booleans(),
    ),
    numbers(),
    st.builds(DeviceHealth, battery_percent=st.sampled_from([None, 0.0, 7.0, 100.0]), online=st.sampled_from([None, True, False])),
    st.just(Position(lat=31.0, lon=121.0)),
    st.just(ServiceRequest(item="meal")),
    st.builds(CommandResult, command=st.just("c"), verb=st.sampled_from(["valve", "ring"]), status=st.sampled_from(list(CommandStatus))),
)
EVENTS = st.tuples(
    st.sampled_from([*DEVICES, "stranger:9", "person:nurse-1"]), BODIES, st.sampled_from(SUBJECTS), st.integers(0, 7_200_000)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_any_events_are_survived_and_lawful(events: list[tuple[str, object, str | None, int]]) -> None:
    scene = Scene(all_rules(), '[site.ladder]\nguardian_1 = "+861"\n')
    scene.run_to(wall_ms("06:00:00") - scene.wall_offset_ms)
    for device, body, subject, wait in events:
        scene.run_to(scene.steady_ms + wait)
        event = Event(device=device, at_ms=scene.now.ms, body=body, subject=subject, evidence=f"{scene.steady_ms}")  # type: ignore[arg-type]
        outcome = scene.engine.apply(seal([event], received_ms=scene.now.ms), scene.now)
        for said in outcome.events:
            assert said.device.startswith(RULE_DEVICE) and said.id and said.trust is Trust.DERIVED and said.evidence is None
        for command in outcome.commands:
            assert set(command.args) <= {name.rstrip("?") for name in VERBS[command.verb].args}
            assert command.args.get("open") is not True, "no rule opens a valve"
    assert not scene.engine.faults, scene.engine.last_fault


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_a_rule_is_well_declared(rule: Rule) -> None:
    assert rule.name.isidentifier() and all(rule.title) and rule.grace_ms >= 0
    assert len({row.name for row in rule.settings}) == len(rule.settings)
    assert rule.state_type() == rule.state_type()


def test_detectors_come_before_incidents_and_incidents_before_the_ladder() -> None:
    assert [rule.name for rule in all_rules()][-2:] == ["incident", "ladder"]


def test_only_rows_of_verbs_are_commanded() -> None:
    scene = Scene(all_rules(), '[site.ladder]\nguardian_1 = "+861"\n')
    scene.play("12:00:00 pendant:1 sos\n12:00:01 gas:1 gas start\n12:10:00 .")
    assert scene.commands
    for command in scene.commands:
        row = VERBS[command.verb].args
        needed = {name for name, kind in row.items() if not kind.endswith("?")}
        assert needed <= set(command.args) <= set(row)
        assert command.by.startswith(RULE_DEVICE) and command.expires_ms and len(command.id) <= 64
