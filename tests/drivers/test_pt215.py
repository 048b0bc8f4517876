"""What a PT215 must be answered."""

from __future__ import annotations

import pytest

from drivers.api import Occurrence
from drivers.harness import step
from drivers.pt215.driver import Pt215
from tests.shared import vectors


@pytest.mark.parametrize("row", vectors("vectors/tracker/pt215.jsonl"))
def test_shared_captures(row: dict) -> None:
    output = step(Pt215({}, None), {"frame": row["frame"]})
    assert [send.data for send in output.replies] == [b"XX\x01" + bytes.fromhex(row["frame"])[3:4] + b"\r\n"]
    assert not output.rejects


def test_an_sos_is_told_and_answered_even_before_the_login() -> None:
    output = step(Pt215({}, None), {"frame": "585801990d0a"})
    assert [(event.device, event.body.kind.value) for event in output.events if isinstance(event.body, Occurrence)] == [
        ("pt215:unknown", "sos")
    ]
    assert [send.data.hex() for send in output.acks] == ["585801990d0a"]


def test_both_halves_of_a_position_answer_are_its_time() -> None:
    driver = Pt215({}, "861234567890124")
    output = step(driver, {"frame": "585811101a0b16081e00035d0e4a0d0854851c000d0a"})
    assert [send.data.hex() for send in output.acks] == ["585807101a0b16081e000d0a"]
