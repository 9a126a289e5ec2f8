"""The retry loop: call, and where the call fails with an error that may pass by itself, wait and call again.

Which errors those are and how long to wait is the caller's: `core.backoff` grows the waits, `fixed` keeps them the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.clock import Clock

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
OnRetry = Callable[[Exception, int], None]


class Deadline:
    """A moment after which no retry begins: `timeout_s` seconds after the deadline was made."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._timeout_s = timeout_s

    def elapsed_s(self) -> float:
        """Return the seconds since it was made."""
        return self._clock.monotonic_s() - self._began_s

    def left_s(self) -> float:
        """Return the seconds that are left; negative once it has passed."""
        return self._timeout_s - self.elapsed_s()


def warn_sparsely(log: logging.Logger, message: str) -> OnRetry:
    """Return an `on_retry` that logs the first, tenth and hundredth failure. message: with a %s for the error."""

    def warn(error: Exception, failures: int) -> None:
        if failures in (1, 10, 100):
            log.warning(message, str(error) or "timed out")

    return warn


def fixed(wait_s: float) -> Callable[[int], float]:
    """Return waits that are all the same."""
    return lambda _failures: wait_s


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    should_retry: Callable[[Exception, int], bool],
    wait_s: Callable[[int], float],
    on_retry: OnRetry | None = None,
    deadline: Deadline | None = None,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Return what `call` returns once it succeeds. Raises its error where that is not to be retried.

    should_retry: whether to call again after this error, which is the n-th failure in a row (from 1).
    wait_s: seconds to wait after this number of failures.
    on_retry: gets each error that is retried and the number of failures so far, before the wait.
    deadline: an error is raised instead of waiting beyond it; it does not interrupt a call.
    """
    failures = 0
    while True:
        # The Kafka client can swallow a cancellation (see `stream.core.cancellation`): a loop must not continue then.
        raise_if_cancelled()
        try:
            return await call()
        except Exception as error:
            failures += 1
            if not should_retry(error, failures):
                raise
            seconds = wait_s(failures)
            if deadline is not None and seconds > deadline.left_s():
                raise
            if on_retry is not None:
                on_retry(error, failures)
        await sleep(seconds)
