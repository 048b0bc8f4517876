"""History, erasure, metrics, and the contract as documents."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from drivers.api import Measurement, Quantity
from drivers.events import Event, event_json, seal
from drivers.vocabulary import Lane, OccurrenceKind
from gateway.metrics import Family, Histogram, render
from gateway.store.contract import Batch, CommandRow, Cursor, Dead, Refused, Trim
from gateway.uplinks import asyncapi
from gateway.uplinks.envelope import Wrapper
from tests.gateway.process import GatewayProcess, free_port
from tests.gateway.store_tools import events, opened

RELEASED = Path(__file__).parent / "events_v1.jsonl"


def anhu(*words: str, code: int = 0) -> str:
    result = subprocess.run([sys.executable, "-m", "gateway.cli", *words], capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    return result.stdout


def person(count: int, subject: str, start: int = 0) -> list[Event]:
    body = Measurement(quantity=Quantity.HEART_RATE, value=71)
    made = [
        Event(device="watch:7", at_ms=1795336215000 + i, body=body, evidence=f"{start + i:016x}", subject=subject) for i in range(count)
    ]
    return seal(made, received_ms=1795336215000)


async def test_an_erased_person_is_in_no_byte_of_the_database(tmp_path: Path) -> None:
    secret, other = "r-secret-0417", "r-other-0001"
    async with opened(tmp_path, commit_ms=1) as store:
        store.serve({"city": (Lane.TELEMETRY,)})
        for start in range(0, 4000, 500):
            await store.append(Batch(events=person(250, secret, start) + person(250, other, start + 250)))
        # The newest row of the lane is theirs, and an older part was trimmed before: free pages hold them as well.
        await store.append(Batch(events=person(1, secret, 99_999), trims=[Trim(Lane.TELEMETRY, 1, 1500)]))
        await store.append(
            Batch(
                refused=[Refused(1, "watch", "watch:7", "", "", "RANGE", "", f"x{secret}x".encode())],
                rule_states=[("fall", secret, b"a"), ("visits", "home", secret.encode()), ("fall", other, b"b")],
                commands=[CommandRow("c1", "city", "message", "settop:1", json.dumps({"x": secret}), 1, None, "done", None, 1)],
                dead=[Dead("city", Lane.TELEMETRY, 3, 1, "HTTP 422", event_json(person(1, secret)[0]))],
                desired=[(4, json.dumps({"watch:7": {"subject": secret}, "watch:8": {"subject": other}}), "city", 1)],
            )
        )
        store.settle("city", Lane.TELEMETRY, Cursor(next=3000))
        await store.append(Batch(urgent=True))
        high = store.high(Lane.TELEMETRY)
        gone = await store.erase(secret, ["watch:7"], 5)
        assert gone["telemetry"] == 1251
        assert not found(tmp_path, secret)
        assert found(tmp_path, other)
        [shed] = store.open_sheds()
        assert (shed.reason, shed.number > 0) == ("erased", True)
        assert store.query("SELECT patch FROM desired") == [('{"watch:8":{"subject":"r-other-0001"}}',)]
        rows = await store.read(Lane.TELEMETRY, 1, high, 5000)
        assert {json.loads(row.data)["subject"] for row in rows} == {other}
    async with opened(tmp_path, commit_ms=1) as store:
        await store.append(Batch(events=person(1, other, 5_000_000)))
        assert store.high(Lane.TELEMETRY) == high + 1, "numbers go on behind an erased newest row"
        assert store.query("PRAGMA integrity_check") == [("ok",)]


def found(folder: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_erase_works_beside_a_running_gateway(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    devices = "device,driver,subject\nwatch:8800000015,watch,r-secret-1\n"
    sections = f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\n'
    gateway = GatewayProcess(tmp_path / "gw", devices, sections, gateway=f"metrics_port = {metrics}")
    try:
        gateway.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = "AL,211126,083012,V,0,N,0,E,0,0,0,0,0,22,0,0,00010001,0,0,0"
        writer.write(f"[3G*8800000015*0002*LK][3G*8800000015*{len(body):04x}*{body}]".encode())
        await asyncio.wait_for(reader.readuntil(b"*AL]"), 5)
        writer.close()
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5).read().decode())
        assert 'anhu_events_total{lane="alarm"}' in text
        assert "anhu_store_commit_seconds_bucket" in text
        assert "8800000015" not in text and "r-secret-1" not in text
        for line in text.splitlines():
            assert re.fullmatch(r"# (HELP|TYPE) .*|[a-z_]+(\{[^}]*\})? -?[0-9.e+-]+", line), line
        assert anhu("status", "--metrics", "--data-dir", str(gateway.data)).splitlines()[0] == text.splitlines()[0]
        lines = anhu("events", "--data-dir", str(gateway.data), "--kind", "sos").splitlines()
        stages = [
            json.loads(line)["stage"]
            for line in anhu("events", "--data-dir", str(gateway.data), "--trace", json.loads(lines[0])["id"]).splitlines()
        ]
        assert stages[0] == "received"
        assert set(stages) >= {"received", "committed"}
        anhu("erase", "r-secret-1", "--data-dir", str(gateway.data), code=1)
        anhu("erase", "r-secret-1", "--yes", "--data-dir", str(gateway.data))
        assert not found(gateway.data, "r-secret-1")
        assert anhu("events", "--data-dir", str(gateway.data), "--kind", "sos") == ""
        assert gateway.stop() == 0
        assert not found(gateway.data, "r-secret-1")
    finally:
        gateway.close()


async def test_events_as_csv_open_in_a_spreadsheet_without_formulas(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        evil = [Event(device="=cmd:1", at_ms=1795336215000, body=Measurement(quantity=Quantity.CO, value=7.0))]
        await store.append(Batch(events=events(2) + seal(evil, received_ms=1795336215000)))
    rows = list(csv.DictReader(io.StringIO(anhu("events", "--data-dir", str(tmp_path), "--format", "csv"))))
    assert [row["kind"] for row in rows if row["kind"]] == ["door_open", "door_open"]
    [measured] = [row for row in rows if row["type"] == "measurement"]
    assert (measured["value"], measured["device"]) == ("7.0", "'=cmd:1")


def test_a_histogram_counts_and_shows_itself() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.05, 0.5, 7, -3):
        histogram.observe(seconds)
    assert histogram.quantile(0.5) == 0.1
    assert histogram.quantile(1.0) == float("inf")
    text = render([Family("x_seconds", "histogram", "h", [({"a": 'b"\n'}, histogram)])])
    assert 'x_seconds_bucket{a="b\\"\\n",le="1"} 4' in text
    assert 'x_seconds_count{a="b\\"\\n"} 5' in text


# --- documents -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", asyncapi.NAMES)
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(asyncapi.schema(name))


def test_the_asyncapi_document_hangs_together() -> None:
    document = json.loads(anhu("schema", "--asyncapi"))
    assert document["asyncapi"].startswith("3.")

    def resolve(reference: str) -> Any:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return found

    for operation in document["operations"].values():
        channel = resolve(operation["channel"]["$ref"])
        for message in operation["messages"]:
            assert resolve(resolve(message["$ref"])["$ref"])["payload"]["$id"]
        named = set(re.findall(r"\{(\w+)\}", channel["address"]))
        assert named == set(channel["parameters"])


def sealed_samples() -> list[Event]:
    return [*events(3), *events(2, OccurrenceKind.SOS, start=50), *person(2, "r-1")]


def test_what_is_sent_fits_its_schema() -> None:
    from gateway.store.contract import Row

    wrapper = Wrapper("t", "g", "00112233aabbccdd")
    validator = jsonschema.Draft202012Validator(asyncapi.schema("cloudevent"))
    for seq, event in enumerate(sealed_samples(), 1):
        message, _, _ = wrapper.wrap(event.lane, Row(seq, event.at_ms, event.received_ms, "sos", event_json(event)), replayed=False)
        validator.validate(json.loads(message))
        broken = {**json.loads(message), "sequence": "7"}
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(broken)


def test_every_event_of_the_first_release_fits_the_newest_schema_and_is_read_again() -> None:
    from drivers.events import event_from_json

    validator = jsonschema.Draft202012Validator(asyncapi.schema("event"))
    lines = RELEASED.read_text("utf-8").splitlines()
    assert len(lines) > 20
    for line in lines:
        validator.validate(json.loads(line))
        assert json.loads(event_json(event_from_json(line))) == json.loads(line)


def test_an_independent_library_accepts_our_cloudevents(tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are absent: apt-get install nodejs npm (independent CloudEvents library)")
    npm = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "cloudevents@10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if npm.returncode:
        pytest.skip(f"npm package cloudevents@10 cannot be installed: {npm.stderr.strip().splitlines()[-1:]}")
    from gateway.store.contract import Row

    wrapper = Wrapper("t", "g", "00112233aabbccdd")
    messages = []
    for seq, event in enumerate(sealed_samples(), 1):
        row = Row(seq, event.at_ms, event.received_ms, "sos", event_json(event))
        messages.append(json.loads(wrapper.wrap(event.lane, row, replayed=False)[0]))
    (tmp_path / "batch.json").write_text(json.dumps(messages))
    (tmp_path / "check.js").write_text(
        """
const { HTTP, CloudEvent } = require("cloudevents");
const body = require("fs").readFileSync("batch.json", "utf8");
const found = HTTP.toEvent({ headers: { "content-type": "application/cloudevents-batch+json" }, body });
for (const event of found) { event.validate(); }
console.log(JSON.stringify(found.map(e => [e.id, e.source, e.sequence, e.storeepoch])));
"""
    )
    node = subprocess.run(["node", "check.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert node.returncode == 0, node.stderr
    assert json.loads(node.stdout) == [[m["id"], m["source"], m["sequence"], m["storeepoch"]] for m in messages]
