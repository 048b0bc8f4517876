"""What goes wrong with the place rather than with a wire: the gateway, its broker, its disk, its link to the platform.

Only on real wires, and only with a gateway that the simulator has started itself.

    gateway_kill     kill -9 of the gateway and of everything it started, after `seconds` it is started again
    gateway_freeze   the process stands still for `seconds` (an overloaded or swapping box)
    broker_kill      kill -9 of the platform's broker, after `seconds` it is started again
    uplink_down      connections to the platform are cut and refused for `seconds`
    uplink_hole      connections to the platform stand, nothing passes
    uplink_slow      everything to and from the platform takes a second more
    disk_full        no file of the gateway may grow for `seconds` (by a file-size limit: writes fail with EFBIG, not ENOSPC)

A disk that is slow but works cannot be made without privileges and is not offered; `gateway_freeze` is the nearest.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

from simulator.own_gateway import OwnGateway
from simulator.platform import CloudBroker
from simulator.wires.proxy import Link, Proxy

SLOW_S = 1.0
FULL_BYTES = 4096
"""Files may be this long while the disk is full: less than any page that SQLite wants to append."""


class Site:
    """One gateway with its platform."""

    def __init__(self, gateway: OwnGateway, broker: CloudBroker, uplink: Proxy) -> None:
        self.gateway = gateway
        self.broker = broker
        self.uplink = uplink

    async def begin(self, kind: str) -> None:
        """Let it go wrong."""
        await _BEGIN[kind](self)

    async def end(self, kind: str) -> None:
        """Let it be well again."""
        await _END[kind](self)


async def _kill(site: Site) -> None:
    await site.gateway.kill()


async def _start(site: Site) -> None:
    await site.gateway.start()


async def _freeze(site: Site) -> None:
    site.gateway.signal(signal.SIGSTOP)


async def _thaw(site: Site) -> None:
    site.gateway.signal(signal.SIGCONT)


async def _kill_broker(site: Site) -> None:
    await site.broker.stop(signal.SIGKILL)


async def _start_broker(site: Site) -> None:
    await site.broker.start()


async def _down(site: Site) -> None:
    await site.uplink.set(Link.DOWN)


async def _hole(site: Site) -> None:
    await site.uplink.set(Link.BLACK_HOLE)


async def _open(site: Site) -> None:
    site.uplink.delay_s = 0.0
    await site.uplink.set(Link.OPEN)


async def _slow(site: Site) -> None:
    site.uplink.delay_s = SLOW_S


async def _full(site: Site) -> None:
    site.gateway.limit_files(FULL_BYTES)


async def _room(site: Site) -> None:
    site.gateway.limit_files(None)


Step = Callable[[Site], Awaitable[None]]
_BEGIN: dict[str, Step] = {
    "gateway_kill": _kill, "gateway_freeze": _freeze, "broker_kill": _kill_broker, "uplink_down": _down, "uplink_hole": _hole,
    "uplink_slow": _slow, "disk_full": _full,
}  # fmt: skip
_END: dict[str, Step] = {
    "gateway_kill": _start, "gateway_freeze": _thaw, "broker_kill": _start_broker, "uplink_down": _open, "uplink_hole": _open,
    "uplink_slow": _open, "disk_full": _room,
}  # fmt: skip
SITE_FAULTS = tuple(_BEGIN)
"""Kinds that a scenario may name in `[[site_fault]]`."""
