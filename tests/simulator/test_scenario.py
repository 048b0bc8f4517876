from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.cli import main
from simulator.errors import ScenarioError
from simulator.scenario import parse, read, shipped
from simulator.truth import Score, Tally

HERE = Path("mistakes.toml")

MISTAKES = """\
story = ""
duration = "10 minutes"
residents = 0
planet = "mars"
rates = "livly"
start = 7

[[happening]]
at = "1m"
item = "wristbnd"
verb = "sos"

[[happening]]
at = "1m"
resident = 9
each = true
item = "radar"
verb = "explode"
times = 3

[[fault]]
kind = "delay"
wire = "telepathy"
from = "5m"
to = "1m"
args = { secnds = 3, jitter_s = "much" }

[expect]
missed = -1
lost = 0
"""


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(MISTAKES, HERE)
    told = sorted(caught.value.faults, key=lambda fault: int(fault.split(":")[1]))
    assert [int(fault.split(":")[1]) for fault in told] == [1, 2, 3, 4, 5, 6, 8, 10, 15, 15, 18, 19, 23, 25, 26, 26, 29, 30]
    text = "\n".join(told)
    for hint in ("did you mean wristband?", "did you mean lively?", "did you mean seconds?", "1h30m", "needs every", "float expected"):
        assert hint in text


def test_what_is_no_toml_is_told_with_its_line() -> None:
    with pytest.raises(ScenarioError, match=r"mistakes.toml:2: "):
        parse('story = "x"\nduration = = 3\n', HERE)


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(ScenarioError, match="did you mean bathroom-fall"):
        read("bathroom-fal")


@pytest.mark.parametrize("text", ["", "x = 1", "happening = 3", "[[fault]]\nkind = 7", 'expect = "all"', "[happening]\nat = 1"])
def test_odd_files_give_mistakes_and_no_crash(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse(text, HERE)


def test_expectations_that_are_not_met_are_sentences() -> None:
    scenario = parse('story = "x"\nduration = "1m"\n[expect]\nlate = 1\nfound = { fall = 2 }\n', HERE)
    score = Score(total=Tally(missed=1), alarms=Tally(late=1), kinds={"fall": Tally(found=1)})
    assert scenario.broken(score) == ["missed: at most 0 expected, got 1", "found fall: 2 expected, got 1"]


def test_repeated_happenings_end_with_the_scenario() -> None:
    text = 'story = "x"\nduration = "10m"\n[[happening]]\nat = "1m"\nevery = "2m"\neach = true\nitem = "wristband"\nverb = "sos"\n'
    scenario = parse(text, HERE)
    plan = [happening.at_s for happening in scenario.community().plan()]
    assert plan == [at_s for at_s in (60, 180, 300, 420, 540) for _ in range(4)]


@pytest.mark.parametrize("name", [name for name in shipped() if not read(name).needs_wires])
def test_a_shipped_scenario_meets_its_expectations_in_virtual_time(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["run", name, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["broken"]) == (0, [])


def test_the_command_line_tells_mistakes_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(MISTAKES)
    assert main(["check", str(file), "bathroom-fall"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{file}:2: duration" in err


def test_junit_is_written_for_ci(tmp_path: Path) -> None:
    assert main(["run", "tv-service", "--junit", str(tmp_path)]) == 0
    assert 'failures="0"' in (tmp_path / "tv-service.xml").read_text()


SECOND = """\
story = "x"
duration = "1m"
pack = ["wristbnd"]
rules = "[broken"

[[site_fault]]
kind = "gateway_kil"
at = "1s"

[expect]
told = { wanderin = 1 }
quiet = ["inactivity"]
"""


def test_mistakes_in_packs_rules_and_site_faults_are_told_too() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(SECOND, HERE)
    told = "\n".join(caught.value.faults)
    for line, hint in (
        (3, "did you mean wristband"),
        (4, "rules"),
        (7, "did you mean gateway_kill"),
        (6, "for is missing"),
        (11, "did you mean wandering"),
    ):
        assert any(fault.startswith(f"mistakes.toml:{line}:") and hint in fault for fault in caught.value.faults), (line, hint, told)


def test_what_rules_said_is_part_of_the_judgement() -> None:
    scenario = parse('story = "x"\nduration = "1m"\n[expect]\ntold = { incident = 2 }\nquiet = ["inactivity"]\n', HERE)
    score = Score(told={"incident": 1, "inactivity": 1})
    assert scenario.broken(score) == ["told incident: at least 2 expected, got 1", "inactivity: not to be told, got 1"]


def test_a_truth_and_its_events_can_be_judged_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tv-service", "--truth", str(tmp_path), "--html", str(tmp_path)]) == 0
    (tmp_path / "none.jsonl").write_text("")
    assert main(["score", str(tmp_path / "tv-service.jsonl"), str(tmp_path / "none.jsonl")]) == 1
    assert "NOT CLEAN" in capsys.readouterr().out
    page = (tmp_path / "tv-service.html").read_text("utf-8")
    assert "expectations met" in page
    assert "http" not in page.replace("http-equiv", ""), "nothing is loaded from anywhere"


def test_a_capture_becomes_vectors_that_hold(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from drivers import conformance, registry

    assert main(["capture", "tv-service"]) == 0
    (tmp_path / "tv.jsonl").write_bytes(capfdbinary.readouterr().out)
    assert main(["capture", str(tmp_path / "tv.jsonl"), "--vector", "minifinder2"]) == 0
    vectors = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert vectors
    for vector in vectors:
        conformance.check_vector(registry.load("minifinder2"), vector)
