"""The command line as people use it: every verb's example, every error with its cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.process import GatewayProcess, free_port
from tests.shared import ROOT

VERBS = [
    "run",
    "demo",
    "check",
    "status",
    "events",
    "command",
    "decode",
    "replay",
    "drivers",
    "driver",
    "schema",
    "doctor",
    "ports",
    "pair",
    "places",
    "reload",
    "explain",
]
LK = "5b33472a383830303030303031352a303030322a4c4b5d"


def anhu(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *args], input=stdin, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ}
    )


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str) -> None:
    done = anhu(verb, "--help")
    assert done.returncode == 0
    assert "usage" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["dance"], "invalid choice"),
        (["decode"], "required"),
        (["decode", "watc"], "did you mean watch"),
        (["decode", "watch", "--option", "x"], "K=V expected"),
        (["decode", "watch", "--option", "utc_offset=1"], "did you mean utc_offset_minutes"),
        (["decode", "watch", "absent.txt"], "No such file"),
        (["decode", "watch", "--at", "yesterday"], "--at"),
        (["run", "--settings", "absent.toml"], "no such file"),
        (["status", "--data-dir", "absent"], "no gateway answers"),
        (["events", "--data-dir", "absent"], "no database"),
        (["driver", "new", "Bad Name"], "snake_case"),
        (["driver", "new", "watch"], "installed already"),
        (["driver", "test", "absent"], "no driver"),
        (["replay", "--rules", "absent.toml"], "absent.toml"),
        (["demo", "--for", "soon"], "30s"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_what_to_try(args: list[str], words: str) -> None:
    done = anhu(*args)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Try: " in done.stderr or "usage" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_the_one_of_the_package() -> None:
    from gateway import __version__

    assert anhu("--version").stdout.strip() == f"anhu {__version__}"


def test_decode_gives_one_object_per_line_and_answers_bad_lines() -> None:
    lines = [LK, json.dumps({"frame": LK}), "zz", '{"frame": 5}', "{broken", ""]
    done = anhu("decode", "watch", stdin="\n".join(lines))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2
    assert [len(item["replies"]) for item in found] == [1, 1, 0, 0, 0]
    assert all(item["rejects"] for item in found[2:])
    assert set(found[0]) >= {"events", "replies", "acks", "rejects"}
    assert found[0]["replies"] == [LK]


def test_decode_stream_is_one_connection_and_pieces_join() -> None:
    done = anhu("decode", "watch", "--stream", "-", stdin=f"{LK[:20]}\n{LK[20:]}\n")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["replies"], second["replies"]) == ([], [LK])


def test_decode_takes_a_line_without_its_end_sign_as_whole() -> None:
    frames = {
        "gps103": b"imei:861234567890124,help me,2611220830,,L,,,1806,,A1B2,,,",
        "gl200": b"+RESP:GTSOS,1A0800,861234567890124,,0,0,1,0,,,,,,,0460,0000,1806,A1B2,,,20261122083010,11F0",
        "megastek": b"STX,,$GPRMC,083000.000,A,3113.825,N,12128.422,E,0.00,0.00,221126,,,A*67,L,SOS,imei:861234567890124,0/8,13.1,"
        b"Battery=90%,,0,460,00,1806,A1B2;8D",
    }
    for driver, frame in frames.items():
        [event, *_] = json.loads(anhu("decode", driver, stdin=frame.hex()).stdout)["events"]
        assert (event["device"], event["body"]["kind"]) == (f"{driver}:861234567890124", "sos")


def test_decode_takes_topics_and_addresses() -> None:
    mqtt = anhu(
        "decode", "mqtt_json", stdin=json.dumps({"topic": "anhu/dev/g1/up", "payload": {"id": "7", "kind": "gas", "state": "start"}})
    )
    event = json.loads(mqtt.stdout)["events"][0]
    assert (event["device"], event["ref"], event["body"]["kind"]) == ("mqtt_json:g1", "7", "gas")
    ble = anhu("decode", "bthome", stdin=json.dumps({"address": "A4:C1:38:8D:18:B2", "frame": "401a01"}))
    assert json.loads(ble.stdout)["events"][0]["body"]["kind"] == "door_open"


def test_replay_prints_events_and_what_rules_make_of_them() -> None:
    line = json.dumps(
        {
            "device": "watch:1",
            "subject": "r-1",
            "at": "2026-11-22T08:30:12Z",
            "body": {"type": "occurrence", "kind": "sos", "state": "start"},
        }
    )
    first, second = (anhu("replay", "--until", "2026-11-22T09:00:00Z", stdin=line + "\n") for _ in range(2))
    assert first.stdout == second.stdout, "a replay is deterministic"
    events = [json.loads(text) for text in first.stdout.splitlines()]
    assert events[0]["body"]["kind"] == "sos"
    incident = next(event for event in events if event["body"].get("kind") == "incident")
    assert incident["cause"] == events[0]["id"]
    assert incident["trust"] == "derived"


def test_replay_names_the_lines_that_are_no_events() -> None:
    done = anhu("replay", stdin='{"device": "x"}\nnonsense\n')
    assert done.returncode == 2
    assert "-:1:" in done.stderr
    assert "-:2:" in done.stderr


def test_a_new_driver_passes_its_own_test(tmp_path: Path) -> None:
    made = anhu("driver", "new", "bed_scale", "--into", str(tmp_path))
    assert made.returncode == 0
    tested = anhu("driver", "test", str(tmp_path / "bed_scale"))
    assert tested.returncode == 0, tested.stdout
    source = tmp_path / "bed_scale" / "driver.py"
    source.write_text(source.read_text().replace("0x5a", "0x5b").replace("/ 10", "/ 9"))
    broken = anhu("driver", "test", str(tmp_path / "bed_scale"))
    assert broken.returncode == 1
    assert "FAIL" in broken.stdout


def test_a_vendors_driver_is_tested_by_pytest_alone(tmp_path: Path) -> None:
    anhu("driver", "new", "bed_scale", "--into", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path / "bed_scale")], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert "15 passed" in done.stdout or "passed" in done.stdout


def test_check_names_every_fault_of_settings_and_devices(tmp_path: Path) -> None:
    (tmp_path / "anhu.toml").write_text('[devices]\nfile = "devices.csv"\n')
    (tmp_path / "devices.csv").write_text("device,driver\nwatch:1,wacth\n")
    done = anhu("check", "--settings", str(tmp_path / "anhu.toml"))
    assert done.returncode == 2
    assert "devices.csv:2: driver: no driver called 'wacth'" in done.stderr
    (tmp_path / "anhu.toml").write_text('[[listen]]\nport = 1\ndriver = "wacth"\n[[subscribe]]\ndriver = "settop"\n')
    done = anhu("check", "--settings", str(tmp_path / "anhu.toml"))
    assert "listen[1].driver" in done.stderr
    assert "broker: off" in done.stderr


def test_check_of_the_sample_is_good(tmp_path: Path) -> None:
    (tmp_path / "anhu.toml").write_text(anhu("check", "--sample").stdout)
    done = anhu("check", "--settings", str(tmp_path / "anhu.toml"))
    assert (done.returncode, "good" in done.stdout) == (0, True)


def test_status_events_and_command_of_a_running_gateway(tmp_path: Path) -> None:
    port = free_port()
    sections = f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\n'
    gateway = GatewayProcess(tmp_path, "device,driver,subject\nwatch:8800000015,watch,r-1\n", sections)
    try:
        gateway.start()
        data = str(gateway.data)
        assert "frames" in anhu("status", "--data-dir", data).stdout
        assert json.loads(anhu("status", "--data-dir", data, "--json").stdout)["frames"]["balanced"] is True
        waiting = anhu("command", "watch:8800000015", "locate", "--data-dir", data, "--wait", "0.3")
        assert json.loads(waiting.stdout)["status"] == "accepted", "the device sleeps, the command waits"
        refused = anhu("command", "watch:8800000015", "power_off", "--data-dir", data, "--wait", "0.3")
        assert refused.returncode == 1
        assert "dangerous" in refused.stdout
        second = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "run", "--settings", str(tmp_path / "anhu.toml")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 1
        assert "another gateway uses this folder" in second.stderr
        listed = anhu("events", "--data-dir", data, "--kind", "started")
        assert json.loads(listed.stdout.splitlines()[0])["body"]["kind"] == "started"
        assert gateway.stop() == 0
    finally:
        gateway.close()


def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "anhu.toml").write_text('[[serial]]\nport = "/dev/absent"\ndriver = "micradar"\ndevice = "x"\n')
    done = anhu("doctor", "--settings", str(tmp_path / "anhu.toml"))
    assert done.returncode == 1
    assert "FAIL  serial: /dev/absent: not there" in done.stdout
    assert "Try: anhu ports" in done.stdout
    (tmp_path / "anhu.toml").write_text("")
    assert anhu("doctor", "--settings", str(tmp_path / "anhu.toml")).returncode == 0


def test_a_verb_is_found_in_the_module_that_is_named_for_it() -> None:
    """Only that module is loaded for it, so it must be enough."""
    from gateway.cli.main import MODULES, build

    for verb in (verb for verbs in MODULES.values() for verb in verbs):
        help_text = build(verb).format_help()
        assert f"\n    {verb} " in help_text, verb
