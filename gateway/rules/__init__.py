"""The rules: pure state machines over events and time (contract.py), run by the engine (engine.py)."""

from __future__ import annotations

from gateway.rules.contract import Rule
from gateway.rules.fall import FallRule
from gateway.rules.incident import IncidentRule
from gateway.rules.supervision import SupervisionRule


def all_rules() -> list[Rule]:
    """Every rule in the order in which it sees an event: what detects first, then incidents, then the ladder."""
    return [FallRule(), SupervisionRule(), IncidentRule()]
