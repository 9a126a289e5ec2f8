"""Stop requests by signal, for the worker and the aggregator."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from forebay.stream.core.cancellation import cancel_until_done

T = TypeVar("T")


class StoppedEarly(Exception):
    """The process was stopped before its start was complete. It had read nothing. number: the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} before the start was complete")
        self.number = number


class StopRequest:
    """Waits for SIGTERM or SIGINT. A second signal ends the process at once."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._number: int = signal.SIGTERM

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Install the signal handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request, number)

    def request(self, number: int) -> None:
        """Request a stop. A second request ends the process."""
        if self._requested.is_set():
            os._exit(128 + number)  # uncommitted events will be read again
        self._number = number
        self._requested.set()

    @property
    def is_requested(self) -> bool:
        """Whether a stop has been requested."""
        return self._requested.is_set()

    @property
    def number(self) -> int:
        """The signal that requested the stop."""
        return self._number

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._requested.wait()

    async def unless_requested(self, step: Coroutine[Any, Any, T]) -> T:
        """Await one step of the start. Raises StoppedEarly if a stop is requested before it ends."""
        if self._requested.is_set():
            step.close()
            raise StoppedEarly(self._number)
        working = asyncio.ensure_future(step)
        waiting = asyncio.ensure_future(self._requested.wait())
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if self._requested.is_set():
                raise StoppedEarly(self._number)
            return working.result()
        finally:
            await cancel_until_done(working, waiting)
