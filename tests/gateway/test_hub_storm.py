"""Alarm hubs and fire units that all come back at once: none starves, and the alarms of the others are served meanwhile."""

from __future__ import annotations

import pytest

from bench.hubs import run


@pytest.mark.slow  # three processes and a second of storm: about five seconds
def test_a_house_full_of_hubs_comes_back_and_nobody_waits_for_a_repetition() -> None:
    found = run(120, quiet_s=0.3)
    assert found["starved"] == 0 and found["balanced"]
    assert found["alarm_quiet_ms"].get("unanswered") == found["alarm_storm_ms"].get("unanswered") == 0
    # Fire units repeat after 10 s, panels after 20 s: what is confirmed by then is not sent twice.
    assert found["back_ms"]["max"] < 10_000 and found["alarm_storm_ms"]["max"] < 10_000
