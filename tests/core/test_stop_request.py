"""A request to stop, raced against the steps of a start."""

from __future__ import annotations

import asyncio
import signal

import pytest

from forebay.stream.core.stop_request import StoppedEarly, StopRequest


async def test_a_step_returns_its_result() -> None:
    async def step() -> int:
        return 7

    assert await StopRequest().unless_requested(step()) == 7


async def test_a_step_raises_its_error() -> None:
    async def step() -> None:
        raise ValueError("of the step")

    with pytest.raises(ValueError, match="of the step"):
        await StopRequest().unless_requested(step())


async def test_a_stop_request_ends_a_waiting_step() -> None:
    stop, cleaned_up = StopRequest(), asyncio.Event()

    async def step() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    asyncio.get_running_loop().call_soon(stop.request, signal.SIGINT)
    with pytest.raises(StoppedEarly) as stopped:
        await stop.unless_requested(step())
    assert stopped.value.number == signal.SIGINT
    assert cleaned_up.is_set()


async def test_no_step_begins_after_a_stop_request() -> None:
    stop, steps = StopRequest(), []

    async def step() -> None:
        await asyncio.sleep(0)
        steps.append(1)
        await asyncio.Event().wait()

    stop.request(signal.SIGTERM)
    with pytest.raises(StoppedEarly):
        await stop.unless_requested(step())
    await stop.wait()
    assert not steps
