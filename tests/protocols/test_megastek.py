"""Megastek on the wire: lines with and without a length in front."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject, RemoteProtocolError
from protocols.tracker import megastek
from protocols.tracker.megastek import Connection, Line
from tests.shared import vectors

NOW = {"date": "221126", "time": "083000"}
SOS = megastek.write_report("861234567890124", "SOS", lat=31.230416, lon=121.473701, vitals=(72, 1180), **NOW)
OLD = (
    b"STX,dev1,$GPRMC,083000.000,A,3113.8250,N,12128.4221,E,0.50,90.00,221126,,,A*6B,"
    b"F,sos,imei:861234567890124,05,1.6,Battery=92%,,1,460,00,1806,A1B2;8F\r\n"
)


def lines(found: list[Line | Reject]) -> list[Line]:
    return [each for each in found if isinstance(each, Line)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/megastek.jsonl"))
def test_shared_captures(row: dict) -> None:
    connection = Connection()
    [line] = connection.receive(bytes.fromhex(row["frame"])) + connection.flush()
    assert isinstance(line, Line)
    report = megastek.read_line(line)
    if row["expect"].get("result") == "position" and not row["text"].endswith("!") and "," in row["text"]:
        assert report.lat is not None


@pytest.mark.parametrize("order", [(SOS, OLD, SOS), (b"0132" + SOS, SOS, OLD, b"\r\n" + SOS)])
def test_any_segmentation_gives_the_same_lines(order: tuple[bytes, ...]) -> None:
    stream = b"".join(order)
    whole = lines(Connection().receive(stream))
    assert len(whole) == len(order)
    for cut in range(1, len(stream)):
        connection = Connection()
        assert lines(connection.receive(stream[:cut]) + connection.receive(stream[cut:])) == whole


def test_a_line_cut_off_does_not_take_its_neighbour() -> None:
    for cut in range(1, len(SOS) - 1):
        assert [megastek.read_line(line).alert for line in lines(Connection().receive(SOS[:cut] + SOS))] == ["sos"]


def test_a_line_without_end_is_bounded() -> None:
    connection = Connection()
    for _ in range(20):
        connection.receive(b"$MGV002," + b"1" * 5000)
    assert connection.buffered <= megastek.LINE_LIMIT


@settings(max_examples=150)
@given(st.binary(max_size=80), st.sampled_from([b"", b"$MGV002,", b"STX,1,", SOS[:60], OLD[:70]]))
def test_any_bytes_give_lines_or_refusals(data: bytes, head: bytes) -> None:
    for line in lines(Connection().receive(head + data + b"!\r\n")):
        try:
            megastek.read_line(line)
        except RemoteProtocolError:
            pass


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(["", "0", "000", "0101", "99.9", "3113.8250", "N", "A", "221126", "083000", "460", "Timer;", "x", "-1"]),
        max_size=45,
    )
)
def test_any_fields_are_read_or_refused(fields: list[str]) -> None:
    try:
        report = megastek.read_line(Line(",".join(["$MGV002", "861234567890124", *fields])))
    except RemoteProtocolError:
        return
    assert report.lat is None or -90 <= report.lat <= 90


@settings(max_examples=80)
@given(st.floats(-89, 89).filter(lambda x: abs(x) > 1e-3), st.floats(-179, 179), st.integers(40, 200), st.integers(1, 99999))
def test_reports_survive_the_wire(lat: float, lon: float, rate: int, steps: int) -> None:
    sent = megastek.write_report("861234567890124", "Timer", lat=lat, lon=lon, vitals=(rate, steps), **NOW)
    if b"60.00000" in sent:
        return
    [line] = lines(Connection().receive(sent))
    report = megastek.read_line(line)
    assert (report.lat, report.lon) == (pytest.approx(lat, abs=1e-6), pytest.approx(lon, abs=1e-6))
    assert (report.heart_rate, report.steps, report.at_ms, report.battery) == (rate, steps, 1795336200000, 85)


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        megastek.write_report("x", "SOS", lat=1, lon=1, **NOW)
