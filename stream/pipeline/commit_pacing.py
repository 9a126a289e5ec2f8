"""The cadence of commits: how long after the start of one the next may start. Only with an objective."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

from forebay.stream.core.clock import Clock


class CommitPacing:
    """Delays commits, so that more micro-batches share one.

    interval_s: the shortest time between the starts of two commits; 0 for none.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.interval_s = 0.0
        self._started_s = -math.inf
        self._hurry = asyncio.Event()
        self._suspended = 0

    async def wait(self) -> None:
        """Wait until a commit may start."""
        remaining_s = self._started_s + self.interval_s - self._clock.monotonic_s()
        if remaining_s > 0 and not self._suspended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining_s):
                    await self._hurry.wait()
        self._hurry.clear()

    def record_start(self) -> None:
        """Record that a commit starts."""
        self._started_s = self._clock.monotonic_s()

    def hurry(self) -> None:
        """Let the next commit start at once: nothing more can be read before it."""
        self._hurry.set()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Delay no commits: a rebalance or the end of the worker waits for them."""
        self._suspended += 1
        self._hurry.set()
        try:
            yield
        finally:
            self._suspended -= 1
