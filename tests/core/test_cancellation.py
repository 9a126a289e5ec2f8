"""A cancellation that was swallowed on the way is asked for again, or noticed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from forebay.stream.core.cancellation import cancel_until_done, raise_if_cancelled


async def swallow_once() -> None:
    swallowed = False
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallowed:
                raise
            swallowed = True


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    task = asyncio.create_task(swallow_once())
    await asyncio.sleep(0)
    await cancel_until_done(task, retry_after_s=0.001)
    assert task.cancelled()


async def test_errors_of_cancelled_tasks_are_ignored() -> None:
    async def fail() -> None:
        raise ValueError

    done = asyncio.create_task(fail())
    await asyncio.wait([done])
    await cancel_until_done(done)


async def test_a_loop_notices_a_swallowed_cancellation() -> None:
    async def loop() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise_if_cancelled()
        raise AssertionError("the loop continued")

    raise_if_cancelled()
    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
