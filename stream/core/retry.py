"""The retry loop: call again after errors that are temporary.

The caller decides which errors are temporary and how long to wait: `core.backoff` has growing waits, `fixed` equal ones.
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
    """A moment after which no retry begins: `timeout_s` seconds after the creation of this object."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._timeout_s = timeout_s

    def elapsed_s(self) -> float:
        """Return the seconds since its creation."""
        return self._clock.monotonic_s() - self._began_s

    def left_s(self) -> float:
        """Return the remaining seconds; negative after the deadline."""
        return self._timeout_s - self.elapsed_s()


def warn_sparsely(log: logging.Logger, message: str) -> OnRetry:
    """Return an `on_retry` callback that logs the first, tenth and hundredth failure.

    message: log message with a %s for the error.
    """

    def warn(error: Exception, failures: int) -> None:
        if failures in (1, 10, 100):
            log.warning(message, str(error) or "timed out")

    return warn


def fixed(wait_s: float) -> Callable[[int], float]:
    """Return a function for `wait_s` that always waits `wait_s` seconds."""
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
    """Return the result of `call` once it succeeds. Raises its error if that should not be retried.

    should_retry: whether to call again after this error and this number of failures in a row.
    wait_s: seconds to wait after this number of failures.
    on_retry: called before each wait with the error and the number of failures.
    deadline: an error is raised instead of waiting beyond it. It does not interrupt a call.
    """
    failures = 0
    while True:
        # The Kafka client can swallow a cancellation (see `core.cancellation`): a loop must not continue then.
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
