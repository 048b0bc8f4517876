from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from simulator.community import build, demo_community
from simulator.errors import TargetError
from simulator.faults import FAULTS
from simulator.truth import Truth
from simulator.virtual import capture, run_virtual

T0 = 1795336212000


def test_every_happening_of_the_demo_comes_out_of_the_gateways_pipeline() -> None:
    run = run_virtual(demo_community(), seconds=32, start_ms=T0)
    assert run.score.is_clean, run.score.missed_entries + run.score.false_entries
    assert run.score.total.expected > 100
    assert run.score.alarms.found == run.score.alarms.expected >= 6


def test_an_sos_survives_slices_and_duplicates() -> None:
    community = demo_community()
    rows = {
        member.device.id: [FAULTS["slice"](seed=n), FAULTS["duplicate"](seed=n, share=0.0)]
        for n, member in enumerate(community.members)
        if member.device.wire in ("tcp", "serial")
    }
    run = run_virtual(community, seconds=40, start_ms=T0, faults=rows)
    assert run.score.alarms.missed == 0, run.score.missed_entries


def test_a_black_hole_is_noticed() -> None:
    community = demo_community()
    victim = community.find(community.residents[1].id, "wristband")
    run = run_virtual(community, seconds=32, start_ms=T0, faults={victim: [FAULTS["drop"](seed=1, share=1.0)]})
    assert not run.score.is_clean
    assert any(victim in entry and "sos" in entry for entry in run.score.missed_entries)


def test_a_capture_is_made_of_lines_that_replay_reads() -> None:
    lines = [json.loads(line) for line in capture(build(5, seed=1), seconds=60, start_ms=T0, truth=Truth())]
    assert {line["driver"] for line in lines} >= {"watch", "minifinder2", "micradar", "mqtt_json", "settop"}
    assert all({"received", "conn", "device"} <= set(line) for line in lines)


BROKEN = """
import json, sys
sys.path.insert(0, {root!r})
from gateway.cli.main import main
import io, contextlib
out = io.StringIO()
with contextlib.redirect_stdout(out):
    code = main(["replay", *sys.argv[1:]])
for line in out.getvalue().splitlines():
    if {drop}:
        continue
    print(line)
sys.exit(code or 0)
"""


@pytest.mark.parametrize(
    ("drop", "missed"),
    [
        ('"fall" in line and "start" in line', 1),
        ('"sos" in line and "minifinder2" in line', 1),
        ('json.loads(line)["body"]["type"] == "occurrence"', 7),
    ],
)
def test_a_gateway_that_swallows_alarms_is_caught(tmp_path: Path, drop: str, missed: int) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN.format(root=str(Path(__file__).resolve().parents[2]), drop=drop))
    run = run_virtual(demo_community(), seconds=25, start_ms=T0, replay=[sys.executable, str(script)])
    assert run.score.alarms.missed == missed
    assert not run.score.is_clean


def test_a_gateway_that_fails_is_told_with_its_own_words() -> None:
    with pytest.raises(TargetError, match="no such thing"):
        run_virtual(demo_community(), seconds=1, start_ms=T0, replay=[sys.executable, "-c", "raise SystemExit('no such thing')"])
