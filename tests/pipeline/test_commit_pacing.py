"""The cadence of commits."""

from __future__ import annotations

import asyncio

from forebay.stream.pipeline.commit_pacing import CommitPacing
from tests.core.build import ManualClock


async def starts_at_once(pacing: CommitPacing) -> bool:
    waiting = asyncio.create_task(pacing.wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    if done:
        pacing.record_start()
    return done


async def test_a_commit_waits_for_the_rest_of_the_interval() -> None:
    clock = ManualClock()
    pacing = CommitPacing(clock)
    assert await starts_at_once(pacing)
    assert await starts_at_once(pacing)
    pacing.interval_s = 5.0
    assert not await starts_at_once(pacing)
    clock.advance(5.0)
    assert await starts_at_once(pacing)
    assert not await starts_at_once(pacing)


async def test_nothing_is_delayed_when_no_more_can_be_read_and_while_a_rebalance_waits() -> None:
    pacing = CommitPacing(ManualClock())
    pacing.interval_s = 60.0
    pacing.record_start()
    waiting = asyncio.create_task(pacing.wait())
    await asyncio.sleep(0)
    pacing.hurry()
    await waiting
    assert not await starts_at_once(pacing), "only one"
    waiting = asyncio.create_task(pacing.wait())
    await asyncio.sleep(0)
    with pacing.suspended():
        await waiting
        assert await starts_at_once(pacing)
        assert await starts_at_once(pacing)
    assert not await starts_at_once(pacing)
