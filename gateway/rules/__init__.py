"""The rules: pure state machines over events and time (contract.py), run by the engine (engine.py)."""

from __future__ import annotations

from gateway.rules.bathroom import BathroomRule
from gateway.rules.bed import BedRule
from gateway.rules.contract import Rule
from gateway.rules.door import DoorRule
from gateway.rules.environment import EnvironmentRule
from gateway.rules.fall import FallRule
from gateway.rules.fall_detector import FallDetectorRule
from gateway.rules.geofence import GeofenceRule
from gateway.rules.inactivity import InactivityRule
from gateway.rules.incident import IncidentRule
from gateway.rules.indoors import IndoorsRule
from gateway.rules.ladder import LadderRule
from gateway.rules.medication import MedicationRule
from gateway.rules.steps import StepsRule
from gateway.rules.supervision import SupervisionRule
from gateway.rules.visits import VisitsRule
from gateway.rules.vitals import VitalsRule
from gateway.rules.wandering import WanderingRule


def all_rules() -> list[Rule]:
    """Every rule in the order in which it sees an event: what detects first, then incidents, then the ladder."""
    return [
        FallDetectorRule(),
        FallRule(),
        SupervisionRule(),
        EnvironmentRule(),
        InactivityRule(),
        BathroomRule(),
        BedRule(),
        DoorRule(),
        VitalsRule(),
        MedicationRule(),
        VisitsRule(),
        StepsRule(),
        IndoorsRule(),
        GeofenceRule(),
        WanderingRule(),
        IncidentRule(),
        LadderRule(),
    ]
