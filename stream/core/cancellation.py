"""Cancelling for certain. `asyncio.wait_for`, before Python 3.12, can swallow a cancellation that comes together with the
answer that it waits for, and the Kafka client waits with it everywhere: a task that loops then goes on as though nothing
had been asked of it, and whoever awaits its end waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

RETRY_AFTER_S = 1.0


async def cancel_until_done(*tasks: asyncio.Task[Any], retry_after_s: float = RETRY_AFTER_S) -> None:
    """Cancel tasks, again and again until they have ended. What they raise is dropped."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=retry_after_s)
    await asyncio.gather(*tasks, return_exceptions=True)


def raise_if_cancelled() -> None:
    """Raise CancelledError where somebody has asked this task to end and it was swallowed. For loops."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def within(timeout_s: float, step: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for at most `timeout_s` seconds, then cancel it for certain and raise TimeoutError."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        await cancel_until_done(task)
