"""D-Bus read in batches: less often, all of it, and not after the end."""

from __future__ import annotations

import asyncio
import socket

from dbus_fast.aio import message_bus

from gateway.transports import dbus_pace
from gateway.transports.dbus_pace import Paced


async def test_what_comes_between_two_reads_is_read_at_once_and_whole() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reads: list[bytes] = []
    loop = asyncio.get_running_loop()
    paced = Paced(ours, lambda: reads.append(ours.recv(4096)), pause_s=0.05)
    loop.add_reader(ours.fileno(), paced)
    with ours, theirs:
        for number in range(20):
            theirs.send(bytes([number]))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while len(b"".join(reads)) < 20:
                await asyncio.sleep(0.01)
        assert b"".join(reads) == bytes(range(20))
        assert len(reads) <= 3
        loop.remove_reader(ours.fileno())


async def test_a_connection_that_ended_is_not_read_again() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    reads: list[int] = []

    def read() -> None:
        reads.append(1)
        loop.remove_reader(ours.fileno())
        ours.close()

    loop.add_reader(ours.fileno(), Paced(ours, read, pause_s=0.001))
    with theirs:
        theirs.send(b"x")
        await asyncio.sleep(0.02)
    assert reads == [1]


async def test_the_installed_dbus_fast_can_be_paced_and_is_once() -> None:
    assert dbus_pace.install()
    once = message_bus.__dict__["build_message_reader"]
    assert dbus_pace.install()
    assert message_bus.__dict__["build_message_reader"] is once
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert isinstance(once(ours, lambda message: None, lambda error: None, False), Paced)
