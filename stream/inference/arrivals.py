"""The way of results from the threads that run a model to the event loop, which waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class Arrivals(Generic[ResultT]):
    """Results that have arrived. Threads append to `results` and `post` a wake-up; the event loop waits and takes them.

    results: those that were not taken yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.results: deque[ResultT] = deque()
        self._loop = loop
        self._ready = asyncio.Event()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there may be results, `wake` is called, or the timeout is over."""
        if not self.results:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._ready.wait()
        self._ready.clear()

    def wake(self) -> None:
        """Make `wait` return. Only on the event loop's thread: others post it."""
        self._ready.set()

    def post(self, function: Callable[..., None], *arguments: object) -> bool:
        """Call a function on the event loop, from any thread. Return False if the loop is closed: the worker has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True
