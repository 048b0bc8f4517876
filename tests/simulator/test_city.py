from __future__ import annotations

import asyncio
import json
import sys

import pytest

from simulator.city import BOXES, CITY, City, Fleet, UnitCosts, estimate
from simulator.cli import main


def test_the_city_offers_what_the_arithmetic_says() -> None:
    result = estimate(CITY)
    assert result.messages_s == pytest.approx(50_000 / 300 + 10_000 / 60 + 65_600 / 300, abs=0.1)
    assert result.storm_events_s == pytest.approx(10 * result.events_s, rel=0.01)
    assert result.sos_hour > 100


def test_dearer_events_need_more_boxes_and_none_needs_less_than_one() -> None:
    cheap, dear = estimate(CITY, UnitCosts(event_us=10)), estimate(CITY, UnitCosts(event_us=1000))
    assert all(dear.boxes[box.name] > cheap.boxes[box.name] for box in BOXES[:2])
    small = estimate(City(10, 1, (Fleet("wristbands", 1, 60.0, 1.0, 100),), 0.0))
    assert set(small.boxes.values()) == {1}


def test_every_assumption_is_stated() -> None:
    text = " ".join(estimate().assumptions)
    for figure in ("50000", "10000", "65600", "60 us", "420 bytes", "storm 10"):
        assert figure in text


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["city", "--json", "--event-us", "30"]) == 0
    assert json.loads(capsys.readouterr().out)["events_s"] > 1000


async def test_load_is_bounded_and_reported() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "simulator.cli", "load", "--devices", "30", "--tcp", f"127.0.0.1:{port}", "--for", "1", "--lively"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    server.close()
    result = json.loads(out)
    assert (process.returncode, result["connected"], result["refused"]) == (0, 30, 0)
    assert result["sent"] >= 30


def test_a_load_on_somebody_elses_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--tcp", "192.0.2.1:5093"]) == 2
    assert "--not-loopback" in capsys.readouterr().err
