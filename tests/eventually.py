"""Waiting until a condition is true. A failure reports what was expected and what was seen last."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

TIMEOUT_S = 90.0
"""The limit of waits, which end as soon as possible. It is long, for busy machines."""
EVERY_S = 0.05


@overload
async def eventually(  # type: ignore[overload-overlap, unused-ignore]  # an awaitable is awaited
    look: Callable[[], Awaitable[T]],
    awaited: str,
    *,
    until: Callable[[T], object] = bool,
    timeout_s: float = TIMEOUT_S,
    every_s: float = EVERY_S,
    context: Callable[[], object] | None = None,
) -> T: ...


@overload
async def eventually(
    look: Callable[[], T],
    awaited: str,
    *,
    until: Callable[[T], object] = bool,
    timeout_s: float = TIMEOUT_S,
    every_s: float = EVERY_S,
    context: Callable[[], object] | None = None,
) -> T: ...


async def eventually(
    look: Callable[[], T | Awaitable[T]],
    awaited: str,
    *,
    until: Callable[[T], object] = bool,
    timeout_s: float = TIMEOUT_S,
    every_s: float = EVERY_S,
    context: Callable[[], object] | None = None,
) -> T:
    """Wait until `until` accepts what `look` returns, and return that.

    look: a function or a coroutine function. An exception that it raises, such as AssertionError, ends the wait.
    awaited: what is expected, for the failure message.
    until: the condition; by default, that the value is true.
    context: more text for the failure message, such as a log.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = look()
        seen: T = await found if inspect.isawaitable(found) else found
        if until(seen):
            return seen
        if time.monotonic() >= deadline_s:
            raise _failure(awaited, seen, timeout_s, context)
        await asyncio.sleep(every_s)


def eventually_sync(
    look: Callable[[], T],
    awaited: str,
    *,
    until: Callable[[T], object] = bool,
    timeout_s: float = TIMEOUT_S,
    every_s: float = EVERY_S,
    context: Callable[[], object] | None = None,
) -> T:
    """As `eventually`, for code that is not asynchronous."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        if until(seen := look()):
            return seen
        if time.monotonic() >= deadline_s:
            raise _failure(awaited, seen, timeout_s, context)
        time.sleep(every_s)


def _failure(awaited: str, seen: object, timeout_s: float, context: Callable[[], object] | None) -> AssertionError:
    more = "" if context is None else f"\n{context()}"
    return AssertionError(f"not within {timeout_s:g} s: {awaited}; last seen: {seen!r}{more}")
