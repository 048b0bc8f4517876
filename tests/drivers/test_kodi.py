"""Kodi driver: keymap, pings, late answers."""

from __future__ import annotations

from xml.etree import ElementTree

from drivers.api import Command, Frame, Instant, Verb
from drivers.kodi.driver import Kodi, keymap
from protocols.mqtt.kodi import Answer, encode

NOW = Instant(1795336215000, 1.0)


def test_the_keymap_is_xml_that_calls_for_help() -> None:
    root = ElementTree.fromstring(keymap())
    red = root.find("global/remote/red")
    assert red is not None and red.text == 'NotifyAll(anhu,sos,{"key":"red"})'


def test_a_ping_asks_for_the_next_one() -> None:
    output = Kodi({}, "tv").wake(Instant(0, 100.0))
    assert len(output.replies) == 1 and output.wake_s == 160.0


def test_an_answer_to_nothing_is_no_result() -> None:
    assert Kodi({}, "tv").receive(Frame(data=encode(Answer("0 c-9", "OK", "")), received=NOW)).events == []


def test_commands_that_are_never_answered_are_forgotten() -> None:
    driver = Kodi({}, "tv")
    for n in range(300):
        driver.command(Command(id=f"c{n}", verb=Verb.VOLUME, device="kodi:tv", args={"percent": 5}), NOW)
    assert driver.receive(Frame(data=encode(Answer("0 c0", "OK", "")), received=NOW)).events == []
    assert len(driver.receive(Frame(data=encode(Answer("0 c299", "OK", "")), received=NOW)).events) == 1
