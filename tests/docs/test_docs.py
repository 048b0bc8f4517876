"""The documentation says what is true: tables, samples and commands are checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drivers import catalog
from gateway.rules.document import document as rules_page
from tests.shared import ROOT

DOCS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("drivers/*/README.md")]


@pytest.mark.parametrize(("name", "language"), [("README.md", "en"), ("README.zh.md", "zh")])
def test_the_device_table_is_what_the_drivers_say(name: str, language: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert catalog.filled(text, language) == text, f"run: python -m drivers.catalog {name}"


def test_the_rules_page_is_what_the_rules_say() -> None:
    assert (ROOT / "docs" / "rules.md").read_text("utf-8") == rules_page(), "run: python -m gateway.rules.document > docs/rules.md"


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{target} does not exist"


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
    )


OFFLINE = ("decode", "drivers", "check --sample", "--version", "schema", "driver test")


def commands() -> list[str]:
    found = re.findall(r"^\$ (.*\banhu .*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    return [line.split(" > ")[0] for line in found if any(f"anhu {verb}" in line for verb in OFFLINE)]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(command: str) -> None:
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_nothing_in_the_repository_names_a_machine_or_an_index() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split("\n")
    forbidden = re.compile("|".join(("/wo" + "rk/", "/ro" + "ot/", "index" + "-url", "pypi" + r"\.org", "python" + "hosted")))
    for name in listed:
        path = ROOT / name
        if name and path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ".sh", ".jsonl", ".csv", ".yml", ""):
            found = forbidden.search(path.read_text("utf-8", "replace"))
            assert not found, f"{name}: {found[0] if found else ''}"


def test_no_source_file_is_longer_than_six_hundred_lines() -> None:
    for path in ROOT.glob("*/**/*.py"):
        if ".venv" not in path.parts and path.is_file():
            assert len(path.read_text("utf-8").splitlines()) <= 600, path
