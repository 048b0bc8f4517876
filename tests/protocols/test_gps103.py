"""GPS103 on the wire: lines with every end that firmware writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, Reject
from protocols.tracker import gps103
from protocols.tracker.gps103 import Connection, Line
from tests.shared import vectors

IMEI = "861234567890124"
SOS = gps103.write_fix(IMEI, "help me", local="2611221630", utc="083000", lat=31.230416, lon=121.473701)
LOGIN, BEAT = gps103.encode(Line("login", IMEI)), gps103.encode(Line("heartbeat", IMEI))


def lines(found: list[Line | Reject]) -> list[Line]:
    return [each for each in found if isinstance(each, Line)]


@pytest.mark.parametrize("row", vectors("vectors/tracker/gps103.jsonl"))
def test_shared_captures(row: dict) -> None:
    connection = Connection()
    found = connection.receive(bytes.fromhex(row["frame"])) + connection.flush()
    assert lines(found)
    assert not [each for each in found if isinstance(each, Reject)]


@pytest.mark.parametrize("order", [(LOGIN, BEAT, SOS), (SOS, b"\r\n", SOS), (BEAT[:-1], SOS, BEAT), (SOS, BEAT, b"\n", LOGIN)])
def test_any_segmentation_gives_the_same_lines(order: tuple[bytes, ...]) -> None:
    stream = b"".join(order)
    whole = lines(Connection().receive(stream))
    assert len(whole) == len([part for part in order if part.strip()])
    for cut in range(1, len(stream)):
        connection = Connection()
        assert lines(connection.receive(stream[:cut]) + connection.receive(stream[cut:])) == whole, cut


def test_a_line_cut_off_does_not_take_its_neighbour() -> None:
    for cut in range(6, len(SOS) - 1):
        assert [line.word for line in lines(Connection().receive(SOS[:cut] + SOS))][-1] == "help me"


def test_a_line_without_end_is_bounded_and_given_after_silence() -> None:
    connection = Connection()
    assert not connection.receive(SOS[:-1])
    assert [line.word for line in lines(connection.flush())] == ["help me"]
    for _ in range(20):
        connection.receive(b"imei:" + b"1" * 5000)
    assert connection.buffered <= gps103.LINE_LIMIT


@settings(max_examples=150)
@given(st.binary(max_size=80), st.sampled_from([b"", b"##,imei:", b"imei:1234567890,", SOS[:40], b"8612345678"]))
def test_any_bytes_give_lines_or_refusals(data: bytes, head: bytes) -> None:
    for found in Connection().receive(head + data + b";"):
        if isinstance(found, Line):
            gps103.read_report(found)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(["", "F", "L", "A", "V", "N", "S", "E", "W", "083000.000", "3113.8250", "12128.4221", "261122163000", "x", "9"]),
        max_size=18,
    )
)
def test_any_fields_are_read_or_left_out(fields: list[str]) -> None:
    report = gps103.read_report(Line("report", IMEI, tuple(fields)))
    assert report.lat is None or -90 <= report.lat <= 90


@settings(max_examples=80)
@given(st.floats(-89, 89).filter(lambda x: abs(x) > 1e-3), st.floats(-179, 179), st.integers(0, 99))
def test_places_survive_the_wire(lat: float, lon: float, knots: int) -> None:
    sent = gps103.write_fix(IMEI, "tracker", local="2611221630", utc="083000", lat=lat, lon=lon, knots=knots)
    [line] = lines(Connection().receive(sent))
    report = gps103.read_report(line)
    if "60.0000" in sent.decode():
        return
    assert (report.lat, report.lon) == (pytest.approx(lat, abs=2e-6), pytest.approx(lon, abs=2e-6))
    assert report.speed_kmh == pytest.approx(knots * 1.852)


@pytest.mark.parametrize(
    ("local", "utc", "at"),
    [("2611230029", "235930", 1795391970000), ("2611221630", "083000", 1795336200000), ("2611222330", "063000", 1795415400000)],
)
def test_the_day_of_the_fix_is_that_nearest_to_the_local_time(local: str, utc: str, at: int) -> None:
    [line] = lines(Connection().receive(gps103.write_fix(IMEI, "tracker", local=local, utc=utc, lat=1.5, lon=1.5)))
    assert gps103.read_report(line).at_ms == at


@pytest.mark.parametrize(("seconds", "text"), [(30, "30s"), (300, "05m"), (7200, "02h")])
def test_intervals_are_written_in_the_unit_that_fits(seconds: int, text: str) -> None:
    assert gps103.interval_text(seconds) == text


def test_what_the_wire_cannot_say_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        gps103.interval_text(100)
    with pytest.raises(LocalProtocolError):
        gps103.write_command(IMEI, "C", "1;2")
