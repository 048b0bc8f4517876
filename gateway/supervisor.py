"""Keeps long-running parts alive: each in a task of its own, started again with back-off when it fails, counted, logged once.

Failures do not cross: a part that raises is restarted alone. Cancellation is never swallowed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 30.0
STOP_S = 3.0
STEADY_S = 60.0
"""A part that has run so long starts its back-off anew."""


class Supervisor:
    """The tasks of one gateway."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """Run `part` until `stop`; it is called again whenever it raises or returns."""
        self._tasks.append(asyncio.create_task(self._keep(name, part), name=name))

    async def stop(self) -> None:
        """Cancel every part, last started first, and wait until each has ended, but not for ever: a part may hang on a dead peer."""
        for task in reversed(self._tasks):
            task.cancel()
            _, hanging = await asyncio.wait({task}, timeout=STOP_S)
            if hanging:
                structlog.get_logger().warning("part does not stop", part=task.get_name(), waited_s=STOP_S)
        self._tasks.clear()

    async def _keep(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT_S
        while True:
            start = loop.time()
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - one part must not take the others down
                self.failures[name] += 1
                if self.failures[name] in (1, 10, 100) or self.failures[name] % 1000 == 0:
                    structlog.get_logger().error("part failed", part=name, times=self.failures[name], exc_info=error)
            if loop.time() - start > STEADY_S:
                wait = FIRST_WAIT_S
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
