"""Recordings of other makers: units, rates, column names, gaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gateway.cli.main import main
from gateway.cli.recordings import Recording, read_recordings
from tests.gateway.rules.test_fall_detector import fall

G = 9.80665


def written(path: Path, head: str, rows: np.ndarray, form: str, mark: str = ",") -> Path:
    lines = [mark.join(form % value for value in row) for row in rows]
    path.write_text("\n".join([head, *lines] if head else lines) + "\n")
    return path


def only(path: Path, hz: float | None = None) -> Recording:
    found = list(read_recordings(path, hz))
    assert len(found) == 1
    return found[0]


def stamped(hz: float, *, scale: float = 1.0, tick: float = 1.0, start: float = 0.0) -> np.ndarray:
    samples = fall(hz)
    return np.column_stack([(start + np.arange(len(samples)) / hz) * tick, samples * scale])


FORMS = {
    "WEDA": ("accel_time_list,accel_x_list,accel_y_list,accel_z_list", 50.0, G, 1.0, 1.6e9),
    "MetaWear": ("elapsed (s),x-axis (g),y-axis (g),z-axis (g)", 12.5, 1.0, 1.0, 0.0),
    "a phone": ("timestamp,AccX [m/s^2],AccY [m/s^2],AccZ [m/s^2]", 100.0, G, 1000.0, 1.7e9),
    "nanoseconds": ("time_ns,wrist_right_acc_x,wrist_right_acc_y,wrist_right_acc_z", 50.0, G, 1e9, 0.0),
    "microseconds": ("t,ax,ay,az", 25.0, 1000.0, 1e6, 0.0),
    "counts": ("ms,x,y,z", 32.0, 4096.0, 1000.0, 0.0),
    "a wrong header": ("t,x (g),y (g),z (g)", 25.0, G, 1.0, 0.0),
    "capitals": ("Time,Acceleration X (mg),Acceleration Y (mg),Acceleration Z (mg)", 25.0, 1000.0, 1.0, 0.0),
    "no header": ("", 25.0, G, 1.0, 0.0),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_units_rates_and_names_are_understood(tmp_path: Path, name: str, mark: str) -> None:
    head, hz, scale, tick, start = FORMS[name]
    path = written(tmp_path / "a.csv", head.replace(",", mark), stamped(hz, scale=scale, tick=tick, start=start), "%.6f", mark)
    found = only(path)
    assert found.hz == pytest.approx(hz, rel=0.01)
    assert np.allclose(found.samples, fall(hz) * 1000, atol=30)
    assert (np.diff(found.numbers) == 1).mean() > 0.99


def test_the_accelerometer_is_told_from_its_neighbours(tmp_path: Path) -> None:
    samples = fall(50.0)
    other = np.full_like(samples, 77.0)
    head = "time,gyro_x,gyro_y,gyro_z,acc_x,acc_y,acc_z,mag_x,mag_y,mag_z,wx,wy,wz"
    rows = np.column_stack([np.arange(len(samples)) / 50.0, other, samples, other, other])
    assert np.allclose(only(written(tmp_path / "a.csv", head, rows, "%.6f")).samples, samples * 1000, atol=1)


def test_times_of_day_decimal_commas_and_remarks(tmp_path: Path) -> None:
    samples = fall(25.0)
    stamps = np.datetime64("2026-11-22T08:00:00.000") + (np.arange(len(samples)) * 40).astype("timedelta64[ms]")
    lines = ["# made by hand", "timestamp;x;y;z"]
    lines += [f"{at};" + ";".join(f"{value:.4f}".replace(".", ",") for value in row) for at, row in zip(stamps, samples, strict=True)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    found = only(path)
    assert found.hz == pytest.approx(25.0) and np.allclose(found.samples, samples * 1000, atol=1)


def test_rows_without_numbers_are_lost_samples(tmp_path: Path) -> None:
    rows = [f"{n},{r[0]:.3f},{r[1]:.3f},{r[2]:.3f}" for n, r in enumerate(fall())]
    rows[40:43] = ["40,,,", "41,nan,nan,nan", "42,broken"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["seq,x,y,z", *rows]))
    found = only(path, 20.0)
    assert len(found.samples) == len(rows) - 3 and found.numbers[39:42].tolist() == [39, 43, 44]


def test_a_counter_of_eight_bits_goes_on(tmp_path: Path) -> None:
    samples = fall(50.0)
    path = written(tmp_path / "a.csv", "seq,x,y,z", np.column_stack([np.arange(len(samples)) % 256, samples]), "%.4f")
    assert (np.diff(only(path, 50.0).numbers) == 1).all()


def test_bursts_of_stamps_are_no_gaps(tmp_path: Path) -> None:
    samples = fall(50.0)
    stamps = np.repeat(np.arange(len(samples) // 5 + 1) * 0.1, 5)[: len(samples)]
    found = only(written(tmp_path / "a.csv", "t,x,y,z", np.column_stack([stamps, samples]), "%.4f"))
    assert (np.diff(found.numbers) == 1).all() and found.hz == pytest.approx(50.0, rel=0.03)


@pytest.mark.parametrize(
    "parts",
    [
        {"acc": np.round(fall() * 1000).astype(np.int16)},
        {"acc": fall() * G, "fs": np.array(20.0)},
        {"accel": fall().T},
        {"x": fall()[:, 0], "y": fall()[:, 1], "z": fall()[:, 2]},
        {"data": np.round(fall() * 2048).astype(np.int16), "off": np.array([0, len(fall())])},
    ],
)
def test_npz_of_any_unit_and_name(tmp_path: Path, parts: dict[str, np.ndarray]) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **parts)
    assert np.allclose(only(path).samples, fall() * 1000, atol=30)


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = written(tmp_path / "wide.csv", "", np.ones((9, 7)), "%.1f")
    bent = tmp_path / "bent.npz"
    np.savez(bent, acc=np.ones((9, 3)), off=np.array([0, 20]))
    empty = tmp_path / "empty.npz"
    np.savez(empty, gyr=np.ones((9, 3)))
    for path in (wide, bent, empty):
        assert main(["fall", str(path)]) == 1
        assert path.name in capsys.readouterr().err


def test_an_impact_before_a_long_gap_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = fall()[: round(8.0 * 20)]
    numbers = np.concatenate([np.arange(len(samples)), np.arange(len(samples)) + 2000])
    path = written(tmp_path / "a.csv", "seq,x,y,z", np.column_stack([numbers, np.tile(samples, (2, 1))]), "%.4f")
    assert main(["fall", str(path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    falls = [line["time_s"] for line in lines if line.get("verdict") == "fall"]
    assert falls == [pytest.approx(5.35, abs=0.2), pytest.approx(105.35, abs=0.2)]
