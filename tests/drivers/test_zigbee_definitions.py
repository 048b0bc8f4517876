"""Every device definition that zigbee2mqtt knows, played through the driver: no error, nothing undeclared, no alarm of a meter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drivers.conformance import check_events
from drivers.zigbee2mqtt.driver import Zigbee2Mqtt
from drivers.zigbee2mqtt.survey import Survey, read_dump, render, states, survey
from tests.shared import ROOT

PACKAGE = "zigbee-herdsman-converters"
DUMP = Path(__file__).with_name("dump.mjs")


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent (apt-get install nodejs npm)")
    folder = tmp_path_factory.mktemp("zigbee")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    if installed.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr.strip()[-300:]}")
    done = subprocess.run(["node", str(DUMP), str(folder)], capture_output=True, text=True, timeout=120, check=True)
    return read_dump(done.stdout)


@pytest.fixture(scope="module")
def found(dumped: tuple[list[dict[str, Any]], dict[str, Any]]) -> Survey:
    return survey(dumped[0])


@pytest.mark.slow
def test_every_definition_can_be_dumped(dumped: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    rows, counts = dumped
    assert counts["failed"] == []
    assert counts["definitions"] == len(rows) >= 4500


@pytest.mark.slow
def test_every_definition_is_understood_without_error(found: Survey) -> None:
    check_events(Zigbee2Mqtt, found.events)
    # The only numbers refused are those that no working device sends (a scale's smallest step is no weight).
    assert all("expected, got" in detail for detail in found.rejects), found.rejects
    assert sum(found.rejects.values()) < 20, found.rejects


@pytest.mark.slow
def test_the_signals_that_matter_are_found_in_as_many_definitions_as_have_them(
    found: Survey, dumped: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    least = {
        "sos": 25, "fall": 3, "fall_suspected": 2, "gas": 26, "co_alarm": 20, "smoke": 51, "water_leak": 73, "door_open": 131,
        "vibration": 20, "motion": 197, "presence": 65, "temperature": 600, "humidity": 278, "tamper": 264, "low_battery": 459,
        "health battery_percent": 1140, "door_unlocked": 50, "command siren": 50, "command valve": 28, "respiration_rate": 1,
    }  # fmt: skip
    assert {name: len(found.kinds[name]) for name, count in least.items() if len(found.kinds[name]) < count} == {}


@pytest.mark.slow
def test_the_table_in_the_documentation_is_what_was_counted(found: Survey, dumped: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    text = (ROOT / "docs/devices.md").read_text("utf-8")
    if f"zigbee-herdsman-converters {dumped[1]['version']}." not in text:
        pytest.skip(f"docs/devices.md was made from another version than {dumped[1]['version']}")
    assert render(found, dumped[1]) == text


@pytest.mark.slow
def test_meters_breakers_and_vibrating_objects_raise_no_alarm(found: Survey, dumped: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    rows = dumped[0]
    assert found.kinds["gas_volume"] and not found.kinds["gas_volume"] & found.kinds["gas"], "a gas meter is no detector"
    breakers = {i for i, row in enumerate(rows) if "emergency_over" in json.dumps(row["exposes"])}
    assert breakers and not breakers & found.kinds["sos"], "an emergency cut-off of a breaker is no call for help"
    objects = {i for i, row in enumerate(rows) if '"shake"' in json.dumps(row["exposes"]) and '"fall"' in json.dumps(row["exposes"])}
    assert objects and not objects & found.kinds["fall"], "a cube that is dropped is nobody's fall"


def test_the_driver_knows_no_model() -> None:
    """Vendors and models of the definitions stand nowhere in the code."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "drivers/zigbee2mqtt").glob("*.py"))
    for name in ("Tuya", "Heiman", "OWON", "Aqara", "Xiaomi", "Sonoff", "TS0601", "HS2FD", "FDS315"):
        assert not re.search(name, code, re.IGNORECASE), name


def test_every_value_of_every_property_is_played() -> None:
    exposes = [
        {"type": "binary", "property": "contact", "value_on": False, "value_off": True},
        {"type": "enum", "property": "mode", "values": ["a", "b", "c"]},
        {"type": "composite", "property": "warning", "features": [{"type": "enum", "property": "level", "values": ["low", "high"]}]},
        {"type": "lock", "features": [{"type": "binary", "property": "state", "value_on": "LOCK", "value_off": "UNLOCK"}]},
    ]
    played = list(states(exposes))
    assert {state["contact"] for state in played} == {True, False}
    assert {state["mode"] for state in played} == {"a", "b", "c"}
    assert {state["warning"]["level"] for state in played} == {"low", "high"}
    assert {state["state"] for state in played} == {"LOCK", "UNLOCK"}
