"""Reliable cancellation of tasks that use the Kafka client.

Before Python 3.12, `asyncio.wait_for` can swallow a cancellation that arrives together with the result, and the Kafka client
uses it everywhere. A looping task then continues as if it was not cancelled, and a caller that awaits its end waits forever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

RETRY_AFTER_S = 1.0


async def cancel_until_done(*tasks: asyncio.Task[Any], retry_after_s: float = RETRY_AFTER_S) -> None:
    """Cancel tasks repeatedly until they have ended. Their errors are ignored.

    retry_after_s: seconds after which tasks that are still running are cancelled again.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=retry_after_s)
    await asyncio.gather(*tasks, return_exceptions=True)


def raise_if_cancelled() -> None:
    """Raise CancelledError if a cancellation of the current task was swallowed. For use in loops."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def within(timeout_s: float, step: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for at most `timeout_s` seconds, then cancel it reliably and raise TimeoutError."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        await cancel_until_done(task)
