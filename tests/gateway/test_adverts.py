"""Whose an advertisement is, and which session hears it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers.api import Advert, Driver, Frame, Instant, Transport
from gateway.clock import SystemClock
from gateway.inventory import Device, Inventory
from gateway.pipeline import Pipeline
from gateway.session import Session
from gateway.settings import StoreSection
from gateway.store.sqlite import SqliteStore
from gateway.transports.adverts import AdvertRouter
from gateway.transports.ble import Whose
from protocols.ble.bthome import UUID_V2

DOOR, STRANGE, PHONE = "A4:C1:38:00:00:01", "A4:C1:38:00:00:02", "5A:00:00:00:00:03"
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"


def door(address: str) -> Frame:
    return heard(address, Advert(service_data={UUID_V2: b"\x40\x1a\x01"}))


def badge(address: str, minor: int) -> Frame:
    data = bytes.fromhex("0215" + UUID.replace("-", "") + f"0001{minor:04x}c5")
    return heard(address, Advert(manufacturer_data={0x004C: data}, receiver="hall"))


def heard(address: str, advert: Advert) -> Frame:
    now = SystemClock().now()
    block = next(iter([*advert.service_data.values(), *advert.manufacturer_data.values()]))
    return Frame(data=block, received=Instant(now.ms, now.s), transport=Transport.BLE_ADVERT, address=address, advert=advert)


@pytest.fixture
async def site(tmp_path: Path) -> Any:
    store = await SqliteStore.open(tmp_path / "anhu.db", StoreSection())
    rows = [Device(device=f"bthome:{DOOR}", driver="bthome")]
    # A row with options of its own must not take the session that serves all badges.
    rows += [Device(device=f"ble_badge:{name}", driver="ble_badge", options={"visit_end_s": 60.0}) for name in ("wang", "li")]
    inventory = Inventory(rows)
    pipeline = Pipeline(SystemClock(), inventory, store, None)
    sessions: list[Session] = []

    def make(driver: type[Driver], options: dict[str, Any], device: str | None) -> Session:
        sessions.append(Session(driver, options, device, lambda sends: None))
        return sessions[-1]

    table = [{"uuid": UUID, "minor": minor, "device": name} for minor, name in ((1, "wang"), (2, "li"))]
    router = AdvertRouter(
        pipeline, inventory, ["bthome", "ble_badge"], make=make, connect=lambda *_: None, options={"ble_badge": {"badges": table}}
    )
    yield router, pipeline, sessions
    await store.close()


async def test_ours_strangers_and_nobodys_are_told_apart(site: Any) -> None:
    router, _, _ = site
    phone = heard(PHONE, Advert(manufacturer_data={0x004C: bytes.fromhex("1005031c")}))
    found = [router.rank(frame) for frame in (door(DOOR), door(STRANGE), phone, badge("DD:00:00:00:00:01", 1))]
    assert found == [Whose.OURS, Whose.STRANGERS, Whose.NOBODYS, Whose.OURS]


async def test_an_open_pairing_window_takes_in_what_a_driver_knows_and_no_telephones(site: Any) -> None:
    router, pipeline, _ = site
    inventory = pipeline._inventory
    inventory.on_stranger = lambda device: True
    phone = heard(PHONE, Advert(manufacturer_data={0x004C: bytes.fromhex("1005031c")}))
    for frame in (phone, door(STRANGE)):
        if router.rank(frame) is not Whose.NOBODYS:
            router.deliver(frame)
    assert {row.device for row in inventory.all() if row.driver == "bthome"} == {f"bthome:{DOOR}", f"bthome:{STRANGE}"}


async def test_one_session_hears_every_badge_whatever_rows_they_have(site: Any) -> None:
    router, pipeline, sessions = site
    for number in (1, 2, 1, 2):
        router.deliver(badge(f"DD:00:00:00:00:0{number}", number))
    (shared,) = [session for session in sessions if session.name == "ble_badge"]
    assert (shared.device, shared.frames, pipeline.counts.understood) == (None, 4, 4)
    assert set(json.loads(shared._state)) == {"wang", "li"}
