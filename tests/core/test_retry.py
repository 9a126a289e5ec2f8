"""The retry loop by a manual clock: which errors it waits out, how long, and when it gives up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

import pytest

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.retry import Deadline, fixed, retry, warn_sparsely
from tests.core.build import ManualClock


class Caller:
    """Raises the errors one after the other, then returns the number of calls. Sleeping advances the clock."""

    def __init__(self, errors: Iterable[Exception]) -> None:
        self.clock = ManualClock()
        self.calls = 0
        self.slept: list[float] = []
        self.call_s = 0.0
        self._errors: Iterator[Exception] = iter(errors)

    async def __call__(self) -> int:
        self.calls += 1
        self.clock.advance(self.call_s)
        error = next(self._errors, None)
        if error is not None:
            raise error
        return self.calls

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


def passes(error: Exception, _failures: int) -> bool:
    return isinstance(error, ConnectionError)


def gone(times: int) -> list[Exception]:
    return [ConnectionError(f"gone {number}") for number in range(1, times + 1)]


async def test_a_successful_call_is_not_repeated() -> None:
    caller = Caller([])
    assert await retry(caller, should_retry=passes, wait_s=fixed(1.0), sleep=caller.sleep) == 1
    assert caller.slept == []


async def test_waits_follow_the_backoff() -> None:
    caller, seen = Caller(gone(4)), list[tuple[str, int]]()
    result = await retry(
        caller,
        should_retry=passes,
        wait_s=Backoff(0.5, 2.0, lambda: 0.0).wait_s,
        on_retry=lambda error, failures: seen.append((str(error), failures)),
        sleep=caller.sleep,
    )
    assert result == 5 and caller.slept == [0.25, 0.5, 1.0, 1.0]
    assert seen == [("gone 1", 1), ("gone 2", 2), ("gone 3", 3), ("gone 4", 4)]


async def test_a_permanent_error_is_raised_at_once() -> None:
    caller, seen = Caller([*gone(1), ValueError("wrong")]), list[int]()
    with pytest.raises(ValueError, match="wrong"):
        await retry(
            caller,
            should_retry=passes,
            wait_s=fixed(1.0),
            on_retry=lambda _error, failures: seen.append(failures),
            sleep=caller.sleep,
        )
    assert (caller.calls, caller.slept, seen) == (2, [1.0], [1])


async def test_the_number_of_attempts_can_be_limited() -> None:
    caller = Caller(gone(9))
    with pytest.raises(ConnectionError, match="gone 3"):
        await retry(caller, should_retry=lambda _error, failures: failures < 3, wait_s=fixed(1.0), sleep=caller.sleep)
    assert (caller.calls, caller.slept) == (3, [1.0, 1.0])


@pytest.mark.parametrize(("timeout_s", "calls"), [(0.0, 1), (2.9, 1), (3.0, 2), (7.0, 3)])
async def test_no_wait_exceeds_the_deadline(timeout_s: float, calls: int) -> None:
    caller = Caller(gone(9))
    caller.call_s = 1.0
    with pytest.raises(ConnectionError, match=f"gone {calls}"):
        await retry(
            caller,
            should_retry=passes,
            wait_s=fixed(2.0),
            deadline=Deadline(caller.clock, timeout_s),
            sleep=caller.sleep,
        )
    assert caller.calls == calls


def test_a_deadline_counts_from_its_creation() -> None:
    clock = ManualClock()
    deadline = Deadline(clock, 5.0)
    clock.advance(7.0)
    assert (deadline.elapsed_s(), deadline.left_s()) == (7.0, -2.0)


def test_only_some_of_many_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    warn = warn_sparsely(logging.getLogger("forebay"), "trying again: %s")
    for failures in range(1, 150):
        warn(TimeoutError() if failures == 10 else ConnectionError(f"gone {failures}"), failures)
    assert caplog.messages == ["trying again: gone 1", "trying again: timed out", "trying again: gone 100"]


async def test_a_cancellation_swallowed_by_the_call_ends_the_loop() -> None:
    calls = 0

    async def swallow() -> None:
        nonlocal calls
        calls += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("swallowed") from None

    task = asyncio.create_task(retry(swallow, should_retry=passes, wait_s=fixed(0.0), sleep=_no_sleep))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == 1


async def _no_sleep(_seconds: float) -> None:
    pass
