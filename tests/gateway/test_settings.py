from __future__ import annotations

from pathlib import Path

import pytest

from gateway import sample, toml_lines
from gateway.errors import SettingsError
from gateway.settings import load
from tests.shared import ROOT

BAD = """
[gateway]
id = "gw 1"
tenat = "x"
[store]
commit_ms = -1
[[listen]]
prt = 5
[[listen]]
port = 99999
driver = 5
[[uplink]]
name = "city"
kind = "ftp"
[mqtt]
version = 5
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "anhu.toml"
    path.write_text(text, "utf-8")
    return path


def test_every_fault_is_told_at_once_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    path = written(tmp_path, BAD.lstrip("\n"))
    with pytest.raises(SettingsError) as caught:
        load(path)
    told = [(fault.line, fault.text) for fault in caught.value.faults]
    assert (3, "gateway.tenat: unknown key; did you mean tenant?") in told
    assert [line for line, _ in told] == [2, 3, 5, 6, 7, 9, 10, 13, 15]
    assert any(line == 6 and text.startswith("listen[1].port: missing") for line, text in told)
    assert any(line == 13 and "mqtt | " in text for line, text in told), told


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[gateway\n", 1, "not TOML"),
        ("x = 1\nx = 2\n", 2, "not TOML"),
        ("gateway = 3\n", 1, "expected a table"),
        ("listen = 3\n", 1, "[[listen]]"),
    ],
)
def test_text_that_is_no_settings_file_names_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    assert caught.value.faults[0].line == line
    assert words in caught.value.faults[0].text


def test_a_missing_or_binary_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "binary.toml")


def test_lines_of_arrays_of_tables_and_multiline_strings() -> None:
    lines = toml_lines.lines_of('a = """\nb = 1\n"""\n[[x]]\nc = 1\n[[x]]\nc = 2\n[x.y]\nd = 3\n')
    assert lines[("a",)] == 1
    assert ("b",) not in lines
    assert lines[("x", 0, "c")] == 5
    assert lines[("x", 1, "c")] == 7
    assert lines[("x", 1, "y", "d")] == 9


def test_the_shipped_sample_is_what_the_settings_say() -> None:
    assert (ROOT / "config" / "anhu.toml").read_text("utf-8") == sample.sample(), "run: anhu check --sample > config/anhu.toml"


def test_the_sample_with_every_single_table_uncommented_is_valid(tmp_path: Path) -> None:
    lines, repeated = [], False
    for line in sample.sample().splitlines():
        if line.lstrip("# ").startswith("["):
            repeated = "[[" in line
        lines.append(line[2:] if line.startswith("# ") and " = " in line and not repeated else line)
    assert load(written(tmp_path, "\n".join(lines))).store.commit_ms == 20.0
