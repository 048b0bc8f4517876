from __future__ import annotations

import asyncio
from pathlib import Path

from gateway import control
from gateway.admission import NEW_PER_MINUTE, TAKEOVERS, Strangers, Takeovers, append_row
from gateway.inventory import Device, Inventory, read
from tests.gateway.process import Platform
from tests.gateway.test_end_to_end import LK, exchange, has, site

NEW = b"[3G*9900000015*0002*LK]"


def test_one_stranger_is_noted_once_a_minute_and_many_not_without_end() -> None:
    strangers = Strangers()
    assert [strangers.worth_noting("watch:9", s) for s in (0.0, 1.0, 59.0, 61.0)] == [True, False, False, True]
    noted = sum(strangers.worth_noting(f"watch:{i}", 120.0) for i in range(1000))
    assert noted == NEW_PER_MINUTE
    assert strangers.worth_noting("watch:fresh", 180.0), "a new minute, a new allowance"


def test_a_bad_network_is_no_second_device() -> None:
    takeovers = Takeovers()
    assert not any(takeovers.note("watch:1", s) for s in (0.0, 300.0, 700.0, 1400.0, 2100.0))
    assert [takeovers.note("watch:2", float(s)) for s in range(TAKEOVERS)] == [False] * (TAKEOVERS - 1) + [True]


def test_a_paired_device_is_written_where_the_installer_looks(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    append_row(path, Device(device="watch:1", driver="watch"))
    path.write_text(path.read_text().rstrip("\r\n"))
    append_row(path, Device(device="watch:2", driver="watch"))
    assert [row.device for row in read(path)] == ["watch:1", "watch:2"]


def test_a_pairing_window_takes_in_only_well_formed_ids() -> None:
    inventory = Inventory([])
    inventory.on_stranger = lambda device: device.driver == "watch"
    assert inventory.find("watch:1") is not None
    assert inventory.find("other:1") is None
    assert inventory.find("watch:\x00") is None
    inventory.on_stranger = None
    assert inventory.find("watch:1") is not None, "what was taken in stays"
    assert inventory.find("watch:2") is None


async def test_pairing_through_the_control_socket_survives_a_restart(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.gateway.start()
        assert await exchange(s.tcp, NEW, timeout_s=0.5) == b""
        assert control.ask(s.gateway.data, {"do": "pair", "seconds": 60}) == {"seconds": 60.0}
        assert await exchange(s.tcp, NEW) == NEW
        s.gateway.kill()
        s.gateway.start()
        assert await exchange(s.tcp, NEW) == NEW
        assert await exchange(s.tcp, b"[3G*9900000016*0002*LK]", timeout_s=0.5) == b"", "the window does not outlive the process"


async def test_two_devices_with_one_identity_are_told_and_the_newest_serves(tmp_path: Path) -> None:
    async with site(tmp_path) as s, Platform(s.cloud.port) as platform:
        s.gateway.start()
        writers = []
        for _ in range(TAKEOVERS + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.tcp)
            writer.write(LK)
            assert await asyncio.wait_for(reader.readexactly(len(LK)), 5) == LK
            writers.append((reader, writer))
        await platform.until(lambda: has(platform, "identity_conflict"))
        assert await asyncio.wait_for(writers[0][0].read(), 5) == b"", "the old connection is closed"
        writers[-1][1].write(LK)
        assert await asyncio.wait_for(writers[-1][0].readexactly(len(LK)), 5) == LK
        assert "offline" not in platform.kinds()
        for _, writer in writers:
            writer.close()
